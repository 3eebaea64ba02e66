"""Exports as they lie on a disk: Bundles, NDJSON of a bulk export, folders of either, in gzip or zip, cut into pieces that fit into memory.

A piece is the unit that is kept, read and acknowledged: a document whole, NDJSON some hundred lines at a time, by the same cuts each time, so that an import that was
stopped goes on where it was. What a bulk export says of itself (its manifest, its log) is no resource and is passed over by name.

References
----------
HL7 FHIR Bulk Data Access 2.0.0, https://hl7.org/fhir/uv/bulkdata/export.html; the log format of SMART's bulk data client
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from gemel.core.errors import FormatError
from gemel.interop.fhir.codec import BODY, Element, decode
from gemel.interop.fhir.files import unpack
from gemel.interop.fhir.xml import decode_xml

__all__ = ["LINES", "Piece", "is_export", "pieces", "read_piece"]

LINES = 500
"""Lines of NDJSON in a piece."""
PIECE = 8 * 1024 * 1024
"""Bytes of NDJSON in a piece, unless one line has more."""
_ENDS = (".json", ".ndjson", ".xml", ".json.gz", ".ndjson.gz", ".xml.gz", ".zip")
# What others refer to comes first: people, then drugs, devices and places.
_FIRST = {name: i for i, name in enumerate(("Patient", "Medication", "Device", "Organization", "Location", "Practitioner", "PractitionerRole", "Encounter"))}  # fmt: skip


class Piece(NamedTuple):
    """Part of an export: its file, the number of its first line (0: the whole document), and its bytes.

    Parameters
    ----------
    file : relative to what was named.
    line : of the first line in it, from 1.
    body : one document, or whole lines.
    """

    file: str
    line: int
    body: bytes

    @property
    def name(self) -> str:
        """Name of the piece: the same each time the same export is read."""
        return f"{self.file}:{self.line}" if self.line else self.file


def _rank(path: Path) -> tuple[int, str]:
    return _FIRST.get(path.name.partition(".")[0], 99), path.as_posix()


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    root = source.resolve()
    found = [
        path for path in source.rglob("*") if path.name.lower().endswith(_ENDS) and path.is_file() and path.resolve().is_relative_to(root)
    ]
    return sorted(found, key=_rank)


def pieces(source: Path, *, limit: int = BODY) -> Iterator[Piece]:
    """Cut an export into pieces; people first, then what others refer to.

    Parameters
    ----------
    source : a file or a folder; links that lead out of the folder are not followed.
    limit : bytes that a document, a line or an archive may have once unpacked.

    Raises
    ------
    FormatError
        When something cannot be unpacked, or is larger than ``limit``.
    """
    for path in _files(source):
        name = path.relative_to(source).as_posix() if source.is_dir() else path.name
        with path.open("rb") as stream:
            head = stream.read(4)
            stream.seek(0)
            plain = name.removesuffix(".gz")
            if plain.lower().endswith(".ndjson") and head[:4] != b"PK\x03\x04":
                unpacked = cast("IO[bytes]", gzip.GzipFile(fileobj=stream)) if head[:2] == b"\x1f\x8b" else stream
                yield from _cut(unpacked, plain, limit)
                continue
            if path.stat().st_size > limit:
                raise FormatError(
                    f"{name} is too large for one document", seen=f"{path.stat().st_size} bytes", expected=f"at most {limit}", fix="export it as NDJSON"
                )  # fmt: skip
            for inner, body in unpack(stream.read(), name, limit=limit):
                if inner.lower().endswith(".ndjson"):
                    yield from _cut(_Lines(body), inner, limit)
                else:
                    yield Piece(inner, 0, body)


class _Lines:
    """Bytes in memory, read by line."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def readline(self, size: int) -> bytes:
        end = self._body.find(b"\n", self._at) + 1 or len(self._body)
        line = self._body[self._at : min(end, self._at + size)]
        self._at += len(line)
        return line


def _cut(stream: Any, name: str, limit: int) -> Iterator[Piece]:
    held: list[bytes] = []
    first, number, size = 1, 0, 0
    while True:
        try:
            line = stream.readline(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise FormatError(f"{name} cannot be unpacked to its end", seen=type(error).__name__, expected="a whole gzip file", fix="fetch it again") from None  # fmt: skip
        if not line:
            break
        number += 1
        if len(line) > limit:
            raise FormatError(f"{name} has a line that is too long", seen=f"line {number}", expected=f"at most {limit} bytes", fix="check the export")  # fmt: skip
        held.append(line)
        size += len(line)
        if len(held) >= LINES or size >= PIECE:
            yield Piece(name, first, b"".join(held))
            held, first, size = [], number + 1, 0
    if held:
        yield Piece(name, first, b"".join(held))


_NO_RESOURCE = ("transactionTime", "exportId")  # of a manifest, of a line of a log


def is_about_export(tree: Any) -> bool:
    """Say whether a document is the manifest of a bulk export or a line of its log: about the export, no resource."""
    return isinstance(tree, dict) and "resourceType" not in tree and any(key in tree for key in _NO_RESOURCE)


class Broken(NamedTuple):
    """A line or document that cannot be read, and why."""

    what: str
    seen: str
    fix: str


def read_piece(piece: Piece, *, limit: int = BODY) -> Iterator[tuple[str, Element | Broken, bytes]]:
    """Read a piece: each resource with its place and its bytes; a line that cannot be read is told, and those after it are read.

    What a bulk export says of itself is left out.
    """
    whole = piece.line == 0
    lines = [piece.body] if whole else piece.body.split(b"\n")
    for number, line in enumerate(lines, piece.line):
        if not line.strip():
            continue
        place = piece.file if whole else f"{piece.file}:{number}"
        try:
            tree = decode_xml(line, limit=limit) if line.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<" else decode(line, limit=limit)
        except FormatError as error:
            yield place, Broken(error.what, "" if error.seen is None else str(error.seen)[:60], error.fix or ""), line
            continue
        if is_about_export(tree):
            continue
        if not isinstance(tree, Element):
            yield place, Broken("not a resource", type(tree).__name__, "check the file"), line
            continue
        yield place, tree, line


def is_export(source: Path) -> bool:
    """Say whether a file, or a folder by its first files, holds FHIR: JSON or NDJSON of resources, or XML in FHIR's namespace."""
    for path in _files(source)[:8]:
        try:
            with path.open("rb") as stream:
                head = stream.read(65_536)
            if head[:2] == b"\x1f\x8b":
                head = zlib.decompressobj(wbits=31).decompress(head, 65_536)
            if head[:4] == b"PK\x03\x04":
                head = (
                    next((body[:65_536] for _, body in unpack(path.read_bytes(), path.name)), b"") if path.stat().st_size <= BODY else b""
                )
        except (OSError, zlib.error, FormatError):
            continue
        if _looks(head):
            return True
    return False


def _looks(head: bytes) -> bool:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"<":
        return b"http://hl7.org/fhir" in start[:2000]
    if start[:1] != b"{":
        return False
    line = start.partition(b"\n")[0]
    try:  # a line of NDJSON, or a small document, whole
        tree = json.loads(line)
        return isinstance(tree, dict) and isinstance(tree.get("resourceType"), str)
    except ValueError:
        return b'"resourceType"' in start[:4096]
