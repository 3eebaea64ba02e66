"""Polygonal data of VTK (``.vtp``) without VTK: points, lines, triangles and their arrays. ASCII, inline binary and appended, zlib or plain.

Format: VTK file formats, https://docs.vtk.org/en/latest/vtk_file_formats/vtkxml_file_format.html. Numbers come without a unit: whoever builds
geometry from them says which.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from gemel.core.errors import FormatError

__all__ = ["PolyData", "read_vtp"]

LARGEST = 1 << 30  # bytes of one file or one array: a centreline has 1e5
_FORBIDDEN = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
_TYPES = {
    "Int8": "i1", "UInt8": "u1", "Int16": "i2", "UInt16": "u2", "Int32": "i4", "UInt32": "u4", "Int64": "i8", "UInt64": "u8", "Float32": "f4", "Float64": "f8",
}  # fmt: skip


@dataclass(frozen=True)
class PolyData:
    """Points (p, 3), lines and polygons as index arrays, and the arrays on points, each (p,) or (p, components)."""

    points: np.ndarray
    lines: tuple[np.ndarray, ...]
    polygons: tuple[np.ndarray, ...]
    point_data: Mapping[str, np.ndarray]

    def lines_with(self, name: str) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Return each line as its points and one array on them, such as ``MaximumInscribedSphereRadius``.

        Raises
        ------
        FormatError
            If there is no such array.
        """
        if name not in self.point_data:
            raise FormatError("the file has no such array on its points", seen=name, expected=sorted(self.point_data))
        return tuple((self.points[line], self.point_data[name][line]) for line in self.lines)


def _bad(what: str, seen: object = None, expected: object = None) -> FormatError:
    return FormatError(
        f"not a readable .vtp file: {what}", seen=seen, expected=expected, fix="write it again as ASCII or zlib-compressed .vtp"
    )


class _Reader:
    def __init__(self, body: bytes) -> None:
        if len(body) > LARGEST:
            raise _bad("too large", f"{len(body)} bytes", f"at most {LARGEST}")
        self.appended, head = b"", body
        cut = re.search(rb"<AppendedData[^>]*>\s*_", body)
        if cut is not None:  # raw bytes are not XML: cut them out before it is read
            end = body.rfind(b"</AppendedData>")
            if end < cut.end():
                raise _bad("appended data without an end")
            self.appended = body[cut.end() : end]
            self.is_raw = b'encoding="raw"' in cut.group()
            head = body[: cut.start()] + b"</VTKFile>"
        if _FORBIDDEN.search(head):
            raise _bad("a document type or entities", "<!DOCTYPE or <!ENTITY", "plain XML")
        try:
            self.root = ElementTree.fromstring(head)
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise _bad("not well formed", type(error).__name__) from None
        if self.root.tag != "VTKFile" or self.root.get("type") != "PolyData":
            raise _bad("not polygonal data", (self.root.tag, self.root.get("type")), "VTKFile of type PolyData")
        order = self.root.get("byte_order", "LittleEndian")
        self.order = "<" if order == "LittleEndian" else ">"
        self.header = np.dtype(self.order + _TYPES.get(self.root.get("header_type", "UInt32"), "u4"))
        compressor = self.root.get("compressor", "")
        if compressor not in ("", "vtkZLibDataCompressor"):
            raise _bad("compressed in a way that is not read", compressor, "vtkZLibDataCompressor or none")
        self.is_packed = bool(compressor)

    def _unpack(self, raw: bytes, is_base64: bool) -> bytes:
        """Bytes of one array from its header and blocks; base64 encodes header and body apart when packed, together when not."""
        size = self.header.itemsize

        def decode(text: bytes) -> bytes:
            return base64.b64decode(text, validate=False) if is_base64 else text

        def encoded(count: int) -> int:
            return -(-count // 3) * 4 if is_base64 else count

        if not self.is_packed:
            length = int(np.frombuffer(decode(raw[: encoded(size)])[:size], self.header)[0])
            if length > LARGEST:
                raise _bad("an array is too large", length)
            body = decode(raw[: encoded(size + length)])[size : size + length]
            if len(body) != length:
                raise _bad("an array ends early", len(body), length)
            return body
        count = int(np.frombuffer(decode(raw[: encoded(size)])[:size], self.header)[0])
        if not 0 <= count <= LARGEST // (1 << 10):
            raise _bad("too many blocks", count)
        begin = encoded(size * (3 + count))
        header = np.frombuffer(decode(raw[:begin])[: size * (3 + count)], self.header).astype(np.int64)
        if len(header) != 3 + count:
            raise _bad("an array without its header")
        body, out, at, total = decode(raw[begin : begin + encoded(int(header[3:].sum()))]), [], 0, 0
        for packed in header[3:].tolist():
            worker = zlib.decompressobj()
            out.append(worker.decompress(body[at : at + packed], LARGEST - total + 1))
            total += len(out[-1])
            if total > LARGEST:
                raise _bad("an array unpacks too large")
            at += packed
        return b"".join(out)

    def array(self, element: ElementTree.Element | None, width: int = 1) -> np.ndarray:
        """One DataArray as (n,) or (n, components)."""
        if element is None:
            return np.zeros((0, width) if width > 1 else 0)
        kind = _TYPES.get(element.get("type", ""))
        if kind is None:
            raise _bad("an array of a type that is not read", element.get("type"), sorted(_TYPES))
        form, text = element.get("format", "ascii"), (element.text or "")
        if form == "ascii":
            flat = np.array(text.split(), dtype=np.float64 if kind[0] == "f" else np.int64)
        elif form == "binary":
            flat = np.frombuffer(self._unpack("".join(text.split()).encode(), True), self.order + kind)
        elif form == "appended" and self.appended:
            flat = np.frombuffer(self._unpack(self.appended[int(element.get("offset", "0")) :], not self.is_raw), self.order + kind)
        else:
            raise _bad("an array in a format that is not read", form, "ascii, binary or appended")
        parts = int(element.get("NumberOfComponents", "1") or 1)
        if parts < 1 or flat.size % parts:
            raise _bad("an array with an incomplete row", (flat.size, parts))
        return flat.reshape(-1, parts) if parts > 1 else flat


def _cells(reader: _Reader, piece: ElementTree.Element, name: str, points: int) -> tuple[np.ndarray, ...]:
    group = piece.find(name)
    if group is None:
        return ()
    found = {e.get("Name"): reader.array(e) for e in group.findall("DataArray")}
    connectivity, offsets = (np.asarray(found.get(k, np.zeros(0)), dtype=np.int64).ravel() for k in ("connectivity", "offsets"))
    if len(connectivity) and (connectivity.min() < 0 or connectivity.max() >= points):
        raise _bad(f"{name} name a point that does not exist", int(connectivity.max()), f"0..{points - 1}")
    if len(offsets) and ((np.diff(offsets, prepend=0) < 0).any() or offsets[-1] != len(connectivity)):
        raise _bad(f"offsets of {name} do not fit", int(offsets[-1]), len(connectivity))
    return tuple(np.split(connectivity, offsets[:-1])) if len(offsets) else ()


def read_vtp(source: bytes | Path) -> PolyData:
    """Read a ``.vtp`` file from its bytes or a path. Several pieces are put behind one another.

    Raises
    ------
    FormatError
        If it is not polygonal data, damaged, too large, compressed with anything but zlib, or declares entities.
    """
    reader = _Reader(source.read_bytes() if isinstance(source, Path) else source)
    points, lines, polygons, arrays, total = [], [], [], [], 0
    try:
        for piece in reader.root.iter("Piece"):
            holder = piece.find("Points")
            xyz = reader.array(None if holder is None else holder.find("DataArray"), 3)
            if xyz.ndim != 2 or xyz.shape[1] != 3:
                raise _bad("points without three coordinates", xyz.shape)
            lines += [c + total for c in _cells(reader, piece, "Lines", len(xyz))]
            polygons += [c + total for c in _cells(reader, piece, "Polys", len(xyz))]
            data = piece.find("PointData")
            numeric = [e for e in (() if data is None else data.findall("DataArray")) if e.get("type") != "String"]
            arrays.append({str(e.get("Name")): reader.array(e) for e in numeric})
            if any(len(a) != len(xyz) for a in arrays[-1].values()):
                raise _bad("an array on points has another length than the points", {k: len(a) for k, a in arrays[-1].items()}, len(xyz))
            points.append(np.asarray(xyz, dtype=np.float64))
            total += len(xyz)
    except (ValueError, IndexError, OverflowError, MemoryError, binascii.Error, zlib.error) as error:
        if isinstance(error, FormatError):
            raise
        raise _bad("an array cannot be read", type(error).__name__) from None
    if not points:
        raise _bad("no piece of data")
    shared = set.intersection(*(set(a) for a in arrays))
    data = {name: np.concatenate([a[name] for a in arrays]) for name in sorted(shared)}
    return PolyData(np.concatenate(points), tuple(lines), tuple(polygons), data)
