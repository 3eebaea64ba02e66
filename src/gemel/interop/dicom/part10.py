"""The bytes of a DICOM file, walked without decoding a value: what it claims to be, and whether every length stays inside it.

A file may be hostile. Before any library sees it, this walk has bounded its size, what it inflates to, how deep it nests and how many elements it has.

References
----------
DICOM PS3.5 2024e, 7.1 (data elements), 7.5 (sequences), A.4 (encapsulated pixels), A.5 (deflated); PS3.10 2024e, 7.1 (file meta information).
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, field

from gemel.core.errors import FormatError

__all__ = ["DEFLATED", "IMPLICIT", "MAX_DEPTH", "MAX_ELEMENTS", "MAX_INFLATED", "Part10", "assemble_file", "is_uid", "scan"]

MAX_DEPTH = 32
"""Sequences inside sequences; deeper is refused."""

MAX_INFLATED = 1 << 28
"""Bytes that a file may have, and that a deflated one may become."""

MAX_ELEMENTS = 1 << 20
"""Elements of one file, those inside sequences counted."""

IMPLICIT, EXPLICIT, DEFLATED, BIG = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI",
     b"UL", b"US")
)  # fmt: skip
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF
_PIXELS = (0x7FE0, 0x0010)
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_UNCOMPRESSED = (IMPLICIT, EXPLICIT, DEFLATED, BIG)


def is_uid(text: str) -> bool:
    """Say whether a text is a UID: digits and dots, at most 64 characters.

    Examples
    --------
    >>> is_uid("1.2.840.10008.1.1"), is_uid("1.02"), is_uid("../x")
    (True, False, False)
    """
    return len(text) <= 64 and _UID.fullmatch(text) is not None


@dataclass(frozen=True, repr=False)
class Part10:
    """A file that was walked to its end.

    Parameters
    ----------
    syntax : transfer syntax UID.
    dataset : the bytes after the file meta information, as they came; of a deflated file still deflated.
    plain : the same, inflated.
    elements : how many there are.
    depth : deepest sequence.
    """

    syntax: str
    dataset: bytes
    plain: bytes
    elements: int
    depth: int
    meta: dict[int, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Part10({self.elements} elements, {len(self.dataset)} bytes)"


def _broken(what: str, expected: str = "a whole DICOM file") -> FormatError:
    return FormatError(what, seen="bytes that do not add up", expected=expected, fix="export it again")


class _Walk:
    """One pass over a data set; positions only, nothing is copied."""

    def __init__(self, body: bytes, *, implicit: bool, big: bool) -> None:
        self.body, self.elements, self.deepest = body, 0, 0
        self._implicit, self._order = implicit, ">" if big else "<"

    def _header(self, at: int, end: int, implicit: bool) -> tuple[tuple[int, int], bytes, int, int]:
        """Return tag, VR, length and where the value begins."""
        if at + 8 > end:
            raise _broken("an element is cut off")
        group, number = struct.unpack_from(f"{self._order}HH", self.body, at)
        if group == 0xFFFE or implicit:
            return (group, number), b"", struct.unpack_from(f"{self._order}I", self.body, at + 4)[0], at + 8
        vr = self.body[at + 4 : at + 6]
        if vr in _LONG:
            if at + 12 > end:
                raise _broken("an element is cut off")
            return (group, number), vr, struct.unpack_from(f"{self._order}I", self.body, at + 8)[0], at + 12
        if vr not in _SHORT:
            raise _broken("a value representation that there is not", "one of PS3.5, 6.2")
        return (group, number), vr, struct.unpack_from(f"{self._order}H", self.body, at + 6)[0], at + 8

    def dataset(self, at: int, end: int, depth: int, *, implicit: bool | None = None, is_item: bool = False) -> int:
        """Walk elements from ``at``; return where they end: at ``end``, or behind the delimiter of an item of undefined length."""
        if depth > MAX_DEPTH:
            raise FormatError("sequences are nested too deeply", seen=f"more than {MAX_DEPTH}", expected=f"at most {MAX_DEPTH}")
        self.deepest = max(self.deepest, depth)
        implicit = self._implicit if implicit is None else implicit
        while at < end:
            tag, vr, length, start = self._header(at, end, implicit)
            if tag == _ITEM_END and is_item:
                return start
            self.elements += 1
            if self.elements > MAX_ELEMENTS:
                raise FormatError("too many elements", seen=f"more than {MAX_ELEMENTS}", expected=f"at most {MAX_ELEMENTS}")
            if length == _UNDEFINED:
                if tag == _PIXELS or (vr in (b"OB", b"OW") and vr != b"UN"):
                    at = self._fragments(start, end)
                elif implicit or vr in (b"SQ", b"UN"):
                    at = self._sequence(start, end, depth + 1, delimited=True, implicit=implicit or vr == b"UN")
                else:
                    raise _broken("a value of undefined length that cannot have one")
                continue
            if start + length > end:
                raise _broken("a length reaches beyond the file")
            if vr == b"SQ":
                self._sequence(start, start + length, depth + 1, delimited=False, implicit=implicit)
            at = start + length
        if is_item:
            raise _broken("an item does not end")
        return at

    def _sequence(self, at: int, end: int, depth: int, *, delimited: bool, implicit: bool) -> int:
        if depth > MAX_DEPTH:
            raise FormatError("sequences are nested too deeply", seen=f"more than {MAX_DEPTH}", expected=f"at most {MAX_DEPTH}")
        while at < end:
            tag, _, length, start = self._header(at, end, implicit)
            if tag == _SEQUENCE_END and delimited:
                return start
            if tag != _ITEM:
                raise _broken("a sequence without an item")
            self.elements += 1
            if length == _UNDEFINED:
                at = self.dataset(start, end, depth, implicit=implicit, is_item=True)
            elif start + length > end:
                raise _broken("a length reaches beyond the file")
            else:
                self.dataset(start, start + length, depth, implicit=implicit)
                at = start + length
        if delimited:
            raise _broken("a sequence does not end")
        return at

    def _fragments(self, at: int, end: int) -> int:
        while at < end:
            tag, _, length, start = self._header(at, end, True)
            if tag == _SEQUENCE_END:
                return start
            if tag != _ITEM or length == _UNDEFINED or start + length > end:
                raise _broken("the fragments of compressed pixels do not add up")
            at = start + length
        raise _broken("compressed pixels do not end")


def _meta(body: bytes) -> tuple[dict[int, str], int]:
    """Read the file meta information, always explicit little endian; return its text values by element number, and where the data set begins."""
    if body[128:132] != b"DICM":
        raise FormatError("no DICOM file", seen="no DICM after 128 bytes", expected="a Part 10 file")
    walk, at, found = _Walk(body, implicit=False, big=False), 132, {}
    while at + 8 <= len(body) and struct.unpack_from("<H", body, at)[0] == 2:
        tag, vr, length, start = walk._header(at, len(body), False)
        if length == _UNDEFINED or start + length > len(body):
            raise _broken("a length reaches beyond the file")
        if vr == b"UI":
            found[tag[1]] = body[start : start + length].rstrip(b"\0 ").decode("ascii", "replace")
        at = start + length
    return found, at


def _inflate(body: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(body, MAX_INFLATED)
    except zlib.error as error:
        raise FormatError("the deflated part is broken", seen="not a deflate stream", expected="RFC 1951") from error
    if inflater.unconsumed_tail:
        raise FormatError("the file inflates beyond the limit", seen=f"{len(body)} bytes become more", expected=f"at most {MAX_INFLATED}")
    if not inflater.eof:
        raise FormatError("the deflated part is broken", seen="it does not end", expected="RFC 1951")
    return plain


def scan(body: bytes) -> Part10:
    """Walk a Part 10 file to its end.

    Raises
    ------
    FormatError
        When it is none, is cut off, too large, nested too deeply, or a length in it reaches beyond it.
    """
    if len(body) > MAX_INFLATED:
        raise FormatError(
            "the file is too large", seen=f"{len(body)} bytes", expected=f"at most {MAX_INFLATED}", fix="read it with another tool"
        )
    meta, start = _meta(body)
    syntax, dataset = meta.get(0x0010, ""), body[start:]
    if not is_uid(syntax):
        raise FormatError("the file does not say how it is written", seen="no transfer syntax", expected="(0002,0010)")
    plain = _inflate(dataset) if syntax == DEFLATED else dataset
    walk = _Walk(plain, implicit=syntax == IMPLICIT, big=syntax == BIG)
    walk.dataset(0, len(plain), 0)
    return Part10(syntax, dataset, plain, walk.elements, walk.deepest, meta)


def is_compressed(syntax: str) -> bool:
    """Say whether pixels of this transfer syntax are compressed."""
    return syntax not in _UNCOMPRESSED


def assemble_file(
    dataset: bytes, *, sop_class: str, instance: str, syntax: str, implementation: str = "1.2.826.0.1.3680043.8.498.1"
) -> bytes:
    """Put the file meta information before a data set that came over the network: the data set itself is not touched.

    Parameters
    ----------
    implementation : UID of what wrote the file; left out, that of the UID root that pydicom lends to its users.
    """
    for uid in (sop_class, instance, syntax, implementation):
        if not is_uid(uid):
            raise FormatError("not a UID", seen=f"{len(uid)} characters", expected="digits and dots, at most 64")

    def element(number: int, vr: bytes, value: bytes) -> bytes:
        if vr == b"OB":
            return struct.pack("<HH2sHI", 2, number, vr, 0, len(value)) + value
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HH2sH", 2, number, vr, len(value)) + value

    rest = element(1, b"OB", b"\0\x01")
    for number, text in ((2, sop_class), (3, instance), (0x10, syntax), (0x12, implementation)):
        rest += element(number, b"UI", text.encode())
    return b"\0" * 128 + b"DICM" + element(0, b"UL", struct.pack("<I", len(rest))) + rest + dataset
