"""Polygonal data of VTK's older format (``.vtk``), ASCII and binary, versions 2 to 4: points, lines, polygons, arrays on points.

Format: VTK file formats, https://docs.vtk.org/en/latest/vtk_file_formats/vtk_legacy_file_format.html.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gemel.core.errors import FormatError
from gemel.interop.geometry.vtk_xml import LARGEST, PolyData

__all__ = ["read_vtk"]

_TYPES = {
    "char": "i1", "unsigned_char": "u1", "short": "i2", "unsigned_short": "u2", "int": "i4", "unsigned_int": "u4", "long": "i8", "unsigned_long": "u8",
    "float": "f4", "double": "f8", "vtktypeint64": "i8", "vtkidtype": "i4",
}  # fmt: skip


def _bad(what: str, seen: object = None, expected: object = None) -> FormatError:
    return FormatError(f"not a readable .vtk file: {what}", seen=seen, expected=expected, fix="write it again as .vtp")


class _Stream:
    def __init__(self, body: bytes) -> None:
        if len(body) > LARGEST:
            raise _bad("too large", len(body))
        self.body, self.at = body, 0
        self.line()  # version
        self.line()  # title
        kind = self.line().strip().upper()
        if not body.startswith(b"# vtk DataFile") or kind not in ("ASCII", "BINARY"):
            raise _bad("no header of VTK", kind[:20], "# vtk DataFile ... ASCII or BINARY")
        self.is_binary = kind == "BINARY"

    def line(self) -> str:
        end = self.body.find(b"\n", self.at)
        end = len(self.body) if end < 0 else end
        found = self.body[self.at : end].decode("ascii", "replace")
        self.at = end + 1
        return found

    def word_line(self) -> list[str]:
        """The next line that is not empty, in words; nothing at the end."""
        while self.at < len(self.body):
            words = self.line().split()
            if words:
                return words
        return []

    def numbers(self, count: int, kind: str) -> np.ndarray:
        code = _TYPES.get(kind.lower())
        if code is None:
            raise _bad("an array of a type that is not read", kind, sorted(_TYPES))
        if not 0 <= count <= LARGEST // 8:
            raise _bad("an array of impossible length", count)
        if self.is_binary:
            width = count * int(code[1])
            found = np.frombuffer(self.body[self.at : self.at + width], ">" + code)
            self.at += width
        else:
            values: list[str] = []
            while len(values) < count and self.at < len(self.body):
                values += self.line().split()
            found = np.array(values, dtype=np.float64 if code[0] == "f" else np.int64)
        if len(found) != count:
            raise _bad("an array ends early", len(found), count)
        return found.astype(np.float64 if code[0] == "f" else np.int64)


def _cells(stream: _Stream, words: list[str], points: int) -> tuple[np.ndarray, ...]:
    count, size = int(words[1]), int(words[2])
    ahead = stream.at
    following = stream.word_line()
    if following and following[0].upper() == "OFFSETS":  # since version 5.1
        offsets = stream.numbers(count, following[1])
        kind = stream.word_line()
        flat = stream.numbers(size, kind[1])
        cells = tuple(np.split(flat, offsets[1:-1])) if count else ()
    else:
        stream.at = ahead
        flat, cells_found, at = stream.numbers(size, "int"), [], 0
        while at < size:
            length = int(flat[at])
            if length < 0 or at + 1 + length > size:
                raise _bad("a cell of impossible length", length)
            cells_found.append(flat[at + 1 : at + 1 + length])
            at += 1 + length
        if len(cells_found) != count:
            raise _bad("another number of cells than was said", len(cells_found), count)
        cells = tuple(cells_found)
    if any(len(c) and (c.min() < 0 or c.max() >= points) for c in cells):
        raise _bad("a cell names a point that does not exist", expected=f"0..{points - 1}")
    return cells


def read_vtk(source: bytes | Path) -> PolyData:
    """Read polygonal data of the older format from its bytes or a path.

    Raises
    ------
    FormatError
        If it is another kind of data, damaged or too large.
    """
    stream = _Stream(source.read_bytes() if isinstance(source, Path) else source)
    points, lines, polygons = np.zeros((0, 3)), (), ()
    data: dict[str, np.ndarray] = {}
    on_points = False
    try:
        while words := stream.word_line():
            key = words[0].upper()
            if key == "DATASET" and words[1].upper() != "POLYDATA":
                raise _bad("not polygonal data", words[1], "POLYDATA")
            if key == "POINTS":
                points = stream.numbers(3 * int(words[1]), words[2]).reshape(-1, 3)
            elif key in ("LINES", "POLYGONS", "VERTICES", "TRIANGLE_STRIPS"):
                cells = _cells(stream, words, len(points))
                lines, polygons = (cells if key == "LINES" else lines), (cells if key == "POLYGONS" else polygons)
            elif key in ("POINT_DATA", "CELL_DATA"):
                on_points, rows = key == "POINT_DATA", int(words[1])
            elif key == "SCALARS":
                parts = int(words[3]) if len(words) > 3 else 1
                stream.word_line()  # LOOKUP_TABLE
                values = stream.numbers(parts * rows, words[2])
                if on_points:
                    data[words[1]] = values.reshape(-1, parts) if parts > 1 else values
            elif key == "FIELD":
                for _ in range(int(words[2])):
                    name, parts, count, kind = stream.word_line()[:4]
                    values = stream.numbers(int(parts) * int(count), kind)
                    if on_points and int(count) == len(points):
                        data[name] = values.reshape(-1, int(parts)) if int(parts) > 1 else values
            elif key in ("VECTORS", "NORMALS"):
                values = stream.numbers(3 * rows, words[2]).reshape(-1, 3)
                if on_points:
                    data[words[1]] = values
            elif key not in ("DATASET", "METADATA", "INFORMATION", "NAME", "DATA", "LOOKUP_TABLE"):
                raise _bad("a section that is not read", words[0][:20])
    except (ValueError, IndexError, UnboundLocalError) as error:
        if isinstance(error, FormatError):
            raise
        raise _bad("a section cannot be read", type(error).__name__) from None
    if any(len(a) != len(points) for a in data.values()):
        raise _bad("an array on points has another length than the points")
    return PolyData(points, lines, polygons, data)
