"""Single facts as bytes and back, bit for bit: JSON, and for geometry a zip of JSON and ``.npy`` arrays. Never pickle."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np

from gemel.core.errors import DataError, StoreError
from gemel.core.geometry import Geometry, Surface, Tree, Volume
from gemel.core.record import Document, Exposure, Fact, Finding

__all__ = ["TABLES", "decode", "encode"]

TABLES = ("exposure", "finding", "document", "geometry")
"""Tables of single facts; series lie in chunks."""

_KINDS: dict[str, type[Exposure] | type[Finding] | type[Document]] = {"exposure": Exposure, "finding": Finding, "document": Document}
_SHAPES: dict[str, type[Geometry]] = {"Volume": Volume, "Surface": Surface, "Tree": Tree}
_EPOCH = (1980, 1, 1, 0, 0, 0)


def encode(fact: Fact) -> bytes:
    """Return a fact as bytes: the same fact, the same bytes.

    Raises
    ------
    DataError
        When it is not a fact that stands by itself (a series lies in chunks).
    """
    if isinstance(fact, (Exposure, Finding, Document)):
        return json.dumps(fact.model_dump(mode="python"), sort_keys=True, separators=(",", ":")).encode()
    if isinstance(fact, Geometry) and type(fact).__name__ in _SHAPES:
        fields = {name: getattr(fact, name) for name in type(fact).model_fields}
        arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
        plain: dict[str, Any] = {"type": type(fact).__name__} | {name: value for name, value in fields.items() if name not in arrays}
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as bundle:
            bundle.writestr(zipfile.ZipInfo("fact.json", _EPOCH), json.dumps(plain, sort_keys=True))
            for name in sorted(arrays):
                body = io.BytesIO()
                np.lib.format.write_array(body, np.ascontiguousarray(arrays[name]), allow_pickle=False)
                info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                bundle.writestr(info, body.getvalue())
        return sink.getvalue()
    raise DataError(
        "not a fact of a record", seen=type(fact).__name__, expected="Series, Exposure, Finding, Document, Volume, Surface or Tree"
    )


def decode(kind: str, body: bytes) -> Exposure | Finding | Document | Geometry:
    """Return the fact that :func:`encode` was given.

    Parameters
    ----------
    kind : the table: ``exposure``, ``finding``, ``document`` or ``geometry``.

    Raises
    ------
    StoreError
        When the bytes are damaged.
    """
    try:
        if kind in _KINDS:
            return _KINDS[kind].model_validate(json.loads(body))
        with zipfile.ZipFile(io.BytesIO(body)) as bundle:
            plain = json.loads(bundle.read("fact.json"))
            arrays = {
                name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(bundle.read(name)), allow_pickle=False)
                for name in bundle.namelist()
                if name.endswith(".npy")
            }
        return _SHAPES[plain.pop("type")](**plain, **arrays)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StoreError(
            f"a stored {kind} is damaged", seen=type(error).__name__, fix="restore the last backup, and import again what came since"
        ) from error
