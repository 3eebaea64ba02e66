"""The answer to a message: always one, whatever came.

References
----------
HL7 Version 2.8.2, chapter 2: 2.9 (original and enhanced mode), 2.14.8 (MSA), 2.14.5 (ERR); tables 0008 and 0357.
"""

from __future__ import annotations

from dataclasses import dataclass

from gemel.core.errors import ValueRangeError
from gemel.core.time import SECOND, iso
from gemel.interop.hl7v2.parse import Message

__all__ = ["ACCEPTED", "ERROR", "REJECTED", "Header", "acknowledge", "read_header"]

ACCEPTED, ERROR, REJECTED = "AA", "AE", "AR"
"""Committed; understood, but not taken as it is; not understood."""

_ENHANCED = {ACCEPTED: "CA", ERROR: "CE", REJECTED: "CR"}
_IN_USE = "-+.: "
_LONGEST = 199  # of what is sent back of a header: MSH-10 has 199 characters at most since 2.7


@dataclass(frozen=True)
class Header:
    """What an answer needs of a message, however broken the rest is."""

    application: str = ""
    facility: str = ""
    receiver: str = ""
    receiving_facility: str = ""
    event: str = ""
    control: str = ""
    processing: str = "P"
    version: str = "2.5.1"
    is_enhanced: bool = False
    separator: str = "|"
    marks: str = "^~\\&"


def _clean(text: str, *forbidden: str) -> str:
    """Only what cannot break the answer: printable, none of the separators."""
    return "".join(c for c in text[:_LONGEST] if c.isprintable() and c not in forbidden)


def read_header(source: Message | bytes) -> Header:
    r"""Read the header of a message; of bytes that are no message, whatever of it can be found. Never fails.

    Examples
    --------
    >>> read_header(b"MSH|^~\\&|LAB|H|||2026||ORU^R01|77|P|2.5\x00\xff").control
    '77'
    """
    if isinstance(source, Message):
        fields, separator, marks = source.header, source.field_separator, source.separators
    else:
        at = source.find(b"MSH")
        line = source[at : at + 4096].replace(b"\n", b"\r").partition(b"\r")[0].replace(b"\0", b"").decode("latin-1") if at >= 0 else ""
        separator = line[3:4]
        if not separator.isascii() or not separator or separator.isalnum() or not separator.isprintable() or separator.isspace():
            return Header()
        fields = line.split(separator)
        fields.insert(1, separator)
        marks = fields[2] if len(fields) > 2 else ""
        if (
            len(marks) != 4
            or not marks.isascii()
            or len({separator, *marks}) != 5
            or any(m.isalnum() or m.isspace() or not m.isprintable() for m in marks)
        ):
            marks = "^~\\&" if separator not in "^~\\&" else "!$%*"
    component, repetition = marks[0], marks[1]
    usable = not set(_IN_USE) & {separator, *marks}  # a separator that stands in a time or a charset would break the answer

    def get(n: int, *more: str) -> str:
        return _clean(fields[n] if n < len(fields) else "", separator, *more, *("" if usable else "|^~\\&"))

    kind = get(9).split(component)
    return Header(
        application=get(3, repetition), facility=get(4, repetition), receiver=get(5, repetition), receiving_facility=get(6, repetition),
        event=_clean(kind[1], *marks, *"|^~\\&") if len(kind) > 1 else "", control=get(10, *marks[:2]), processing=get(11, repetition) or "P",
        version=get(12, *marks[1:]) or "2.5.1", is_enhanced=get(15) in ("AL", "ER", "SU"),
        separator=separator if usable else "|", marks=marks if usable else "^~\\&",
    )  # fmt: skip


def acknowledge(
    source: Message | bytes | Header, code: str, *, now: int, control: str, error: str = "", number: str = "207", place: str = ""
) -> bytes:
    r"""Write the answer to a message.

    Parameters
    ----------
    source : the message, its bytes, or its header.
    code : ``AA``, ``AE`` or ``AR``; to a sender in enhanced mode ``CA``, ``CE``, ``CR``, for the answer speaks of the commit.
    now : ns UTC.
    control : MSH-10 of the answer; unique.
    error : in words, without any value of the message.
    number, place : table 0357, and the segment it is about, when there is an error.

    Examples
    --------
    >>> acknowledge(b"MSH|^~\\&|LAB|H|GEMEL||2026||ORU^R01|77|P|2.5", "AA", now=0, control="a1").split(b"\r")
    [b'MSH|^~\\&|GEMEL||LAB|H|19700101000000+0000||ACK^R01^ACK|a1|P|2.5||||||UNICODE UTF-8', b'MSA|AA|77', b'']
    """
    if code not in _ENHANCED:
        raise ValueRangeError("no code of an answer", seen=code, expected="AA, AE or AR")
    header = source if isinstance(source, Header) else read_header(source)
    s, c = header.separator, header.marks[0]
    stamp = iso(now - now % SECOND).translate({ord(x): None for x in "-:TZ"}) + "+0000"
    kind = f"ACK{c}{header.event}{c}ACK" if header.event else "ACK"
    msh = ["MSH", header.marks, header.receiver, header.receiving_facility, header.application, header.facility, stamp, "", kind]
    msh += [_clean(control, s, *header.marks), header.processing, header.version, "", "", "", "", "", "UNICODE UTF-8"]
    lines = [s.join(msh), s.join(("MSA", _ENHANCED[code] if header.is_enhanced else code, header.control))]
    if code != ACCEPTED:
        words = _clean(error, s, *header.marks)
        lines.append(s.join(("ERR", "", _clean(place, s, *header.marks), _clean(number, s, *header.marks), "E", "", "", "", words)))
    return "".join(line + "\r" for line in lines).encode()
