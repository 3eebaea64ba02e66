"""Triangulated surfaces in STL, binary and ASCII, to vertices that are shared. Numbers come without a unit: whoever calls says which."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from gemel.core.errors import FormatError, UnitError
from gemel.core.geometry import Surface

__all__ = ["read_stl"]

METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6}
_ROW = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("extra", "<u2")])
_VERTEX = re.compile(rb"vertex\s+(\S+)\s+(\S+)\s+(\S+)")


def read_stl(source: bytes | Path, *, unit: str, name: str, time: int, recorded: int) -> Surface:
    """Read a surface; corners at the same place become one vertex, triangles without an area are left out.

    Parameters
    ----------
    unit : in which the file is written; STL does not say.
    name, time, recorded : of the fact.

    Raises
    ------
    FormatError
        If it is neither kind of STL, or ends early.
    UnitError
        If the unit is not known.
    """
    if unit not in METRES:
        raise UnitError("lengths need a unit", seen=unit, expected=f"one of {', '.join(METRES)}")
    body = source.read_bytes() if isinstance(source, Path) else source
    count = int.from_bytes(body[80:84], "little") if len(body) >= 84 else -1
    if len(body) == 84 + 50 * count:  # the only safe sign: binary files may begin with "solid" too
        corners = np.frombuffer(body[84:], _ROW)["corners"].astype(np.float64)
    elif body.lstrip()[:5] == b"solid":
        try:
            flat = np.array([[float(x) for x in row] for row in _VERTEX.findall(body)])
        except ValueError:
            raise FormatError("a corner of the surface is not a number", expected="vertex x y z") from None
        if len(flat) == 0 or len(flat) % 3 or len(flat) // 3 != len(re.findall(rb"endfacet", body)):
            raise FormatError("the surface ends early", seen=f"{len(flat)} corners", expected="three for each facet")
        corners = flat.reshape(-1, 3, 3)
    else:
        raise FormatError(
            "not a surface in STL", seen=f"{len(body)} bytes", expected="84 + 50 per triangle, or text that begins with solid"
        )
    if not np.isfinite(corners).all():
        raise FormatError("a corner of the surface is not a number", seen="NaN or infinite", expected="finite coordinates")
    vertices, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    triangles = index.reshape(-1, 3)
    solid = (triangles[:, 0] != triangles[:, 1]) & (triangles[:, 1] != triangles[:, 2]) & (triangles[:, 2] != triangles[:, 0])
    return Surface(vertices=vertices * METRES[unit], triangles=triangles[solid], name=name, time=time, recorded=recorded)
