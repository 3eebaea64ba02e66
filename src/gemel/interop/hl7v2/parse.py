r"""HL7 v2 messages as segments and fields: hand-written, one pass, no backtracking, every repair named.

Fields stay text as sent until they are asked for: escapes are undone by :meth:`Message.text`, components cut by :meth:`Message.components`.

References
----------
HL7 Version 2.8.2, chapter 2: 2.5 (separators), 2.7 (escapes), 2.14.9 (MSH); table 0211 (character sets).
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field

from gemel.core.errors import FormatError

__all__ = ["CHARSETS", "MAX_SEGMENTS", "Message", "parse"]

MAX_SEGMENTS = 20_000
"""Segments of one message; more is no message."""

CHARSETS: dict[str, str] = {
    "ASCII": "ascii",
    **{f"8859/{n}": f"iso8859-{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UNICODE": "utf-8",  # withdrawn by the standard, sent all the same
    "GB 18030-2000": "gb18030",
    "BIG-5": "big5",
    "KS X 1001": "euc_kr",
    "ISO IR87": "iso2022_jp",
    "CNS 11643-1992": "euc_tw",
}
"""MSH-18 -> codec. One that is not here, or that Python lacks, is refused by name."""

_DEFAULTS = "^~\\&"
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_LONGEST_HEX = 8192


@dataclass(slots=True)
class Message:
    """A message cut into fields.

    Parameters
    ----------
    segments : name, then the fields as sent. Of MSH, item 1 is the separator itself, so that ``segment[n]`` is field n in every segment.
    separators : component, repetition, escape, subcomponent.
    charset : codec that the text was read with.
    repairs : what was put right or assumed, in words.
    """

    segments: list[list[str]]
    separators: str = _DEFAULTS
    field_separator: str = "|"
    charset: str = "utf-8"
    repairs: list[str] = field(default_factory=list)

    @property
    def header(self) -> list[str]:
        """The MSH segment."""
        return self.segments[0]

    def get(self, number: int) -> str:
        """Return field ``number`` of MSH as sent; empty when it is not there."""
        header = self.segments[0]
        return header[number] if number < len(header) else ""

    def all(self, name: str) -> list[list[str]]:
        """Return the segments of a name, in order."""
        return [segment for segment in self.segments if segment[0] == name]

    def components(self, raw: str) -> list[str]:
        """Cut a field, or one of its repetitions, into components; escapes are undone."""
        mark = self.separators[0]
        if mark not in raw:
            return [self.text(raw)]
        parts = raw.split(mark)
        return [self.text(part) for part in parts] if self.separators[2] in raw else parts

    def repetitions(self, raw: str) -> list[str]:
        """Cut a field into its repetitions, as sent."""
        return raw.split(self.separators[1]) if raw else []

    def text(self, raw: str) -> str:
        r"""Undo the escapes of a piece of text.

        An escape that is not closed, not known or not well formed stays as it was sent.

        Examples
        --------
        >>> parse(b"MSH|^~\\&").text("a\\F\\b\\X41\\c\\.br\\d")
        'a|bAc\nd'
        """
        mark = self.separators[2]
        if mark not in raw:
            return raw
        pieces = raw.split(mark)  # text, escape, text, escape, ...: each piece is looked at once
        out, i = [pieces[0]], 1
        while i < len(pieces):
            meant = None if i + 1 >= len(pieces) else self._escape(pieces[i])
            if meant is None:  # a lone mark: what follows it is text, and may itself be followed by an escape
                out.append(mark + pieces[i])
                i += 1
                continue
            out += (meant, pieces[i + 1])
            i += 2
        return "".join(out)

    def _escape(self, code: str) -> str | None:
        component, repetition, escape, subcomponent = self.separators
        plain = {"F": self.field_separator, "S": component, "R": repetition, "E": escape, "T": subcomponent, "H": "", "N": "", ".br": "\n"}
        if code in plain:
            return plain[code]
        if code.startswith("X") and 1 < len(code) < _LONGEST_HEX:
            try:
                return bytes.fromhex(code[1:]).decode(self.charset)
            except ValueError:
                return None
        if code.startswith((".sp", ".in", ".ti", ".sk", ".ce", ".fi", ".nf")):
            return "\n" if code.startswith((".sp", ".ce")) else " "
        return None


def _declared(body: bytes) -> str:
    """MSH-18, before anything is decoded: its characters are ASCII in every charset that is read."""
    first = body.partition(b"\r")[0].partition(b"\n")[0]
    if len(first) < 5:
        return ""
    fields = first.split(first[3:4])
    return fields[17].split(first[5:6] if len(fields[1]) > 1 else b"~")[0].strip().decode("latin-1").upper() if len(fields) > 17 else ""


def _decode(body: bytes, fallback: str, repairs: list[str]) -> tuple[str, str]:
    declared = _declared(body)
    if declared and declared not in CHARSETS:
        raise FormatError(
            "unknown character set in MSH-18", seen=declared[:40], expected=", ".join(CHARSETS), fix="have the sender use UNICODE UTF-8"
        )
    codec = CHARSETS.get(declared, fallback)
    try:
        codecs.lookup(codec)
    except LookupError as error:
        raise FormatError("a character set that cannot be read here", seen=declared or fallback, expected=", ".join(CHARSETS)) from error
    if not declared and not body.isascii():
        repairs.append(f"MSH-18 is empty: {codec} assumed")
    try:
        return body.decode(codec), codec
    except UnicodeDecodeError:
        wrong = "iso8859-1" if codec in ("utf-8", "ascii") else codec
        repairs.append(f"text is not {codec}: read as {wrong}" + ("" if wrong != codec else ", bytes that do not fit replaced"))
        return body.decode(wrong, errors="replace"), wrong


def _lines(text: str, separator: str, repairs: list[str]) -> list[str]:
    if "\n" not in text:
        return text.split("\r")
    if "\r" not in text:
        repairs.append("segments end with LF")
        return text.split("\n")
    if "\r\n" in text:
        repairs.append("segments end with CR LF")
        text = text.replace("\r\n", "\r")
    if "\n" not in text:
        return text.split("\r")
    lines: list[str] = []
    for line in text.split("\r"):
        head, *rest = line.split("\n")
        lines.append(head)
        for piece in rest:  # a line feed among carriage returns: the end of a segment where one follows, else part of the text
            if _NAME.match(piece) and piece[3:4] in (separator, ""):
                repairs.append("segments end with LF")
                lines.append(piece)
            else:
                repairs.append("line feed inside a field kept as text")
                lines[-1] += "\n" + piece
    return lines


def _marks(text: str, repairs: list[str]) -> tuple[str, str]:
    if text.startswith("MSH|^~\\&|"):
        return "|", _DEFAULTS
    separator = text[3:4]
    if not separator or not separator.isascii() or separator.isalnum() or separator.isspace():
        raise FormatError(
            "MSH-1 is no separator", seen=repr(separator), expected="a sign such as |", fix="check how the message was cut out"
        )
    given = text[4:].partition("\r")[0].partition("\n")[0].partition(separator)[0]
    marks = given[:4]
    if len(marks) < 4:
        repairs.append("MSH-2 is short: the usual separators assumed")
        marks += _DEFAULTS[len(marks) :]
    if len({separator, *marks}) < 5 or not marks.isascii() or any(m.isalnum() or m.isspace() for m in marks):
        raise FormatError("the separators of MSH-2 cannot be told apart", seen=repr(given[:8]), expected="four different signs, ^~\\&")
    return separator, marks


def parse(body: bytes, *, fallback: str = "utf-8") -> Message:
    r"""Cut the bytes of one message into segments and fields.

    Parameters
    ----------
    body : the message without its frame.
    fallback : codec where MSH-18 is empty; that it was assumed stands in the repairs.

    Raises
    ------
    FormatError
        When it does not begin with MSH, its separators or its charset cannot be used, or it has too many segments.

    Examples
    --------
    >>> message = parse(b"MSH|^~\\&|LAB||||20260131||ORU^R01|7|P|2.5\rPID|1||a^^^H~b\r")
    >>> message.get(10), message.all("PID")[0][3]
    ('7', 'a^^^H~b')
    """
    repairs: list[str] = []
    if b"\0" in body:
        body = body.replace(b"\0", b"")
        repairs.append("NUL bytes removed")
    stripped = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not stripped.startswith(b"MSH"):
        raise FormatError(
            "the message does not begin with MSH", seen=f"{len(body)} bytes", expected="MSH|^~\\&|...", fix="check the sender's framing"
        )
    text, codec = _decode(stripped, fallback, repairs)
    separator, marks = _marks(text, repairs)
    segments: list[list[str]] = []
    for line in _lines(text, separator, repairs):
        if not line:
            continue
        fields = line.split(separator)
        if not _NAME.fullmatch(fields[0]):
            name = fields[0].strip()
            if name and _NAME.fullmatch(name.upper()):
                repairs.append(
                    "name of a segment put in capitals" if name != name.upper() else "blanks around the name of a segment removed"
                )
                fields[0] = name.upper()
            elif line.strip():
                repairs.append("line without a segment name left out")
                continue
            else:
                continue
        segments.append(fields)
        if len(segments) > MAX_SEGMENTS:
            raise FormatError("too many segments", seen=f"more than {MAX_SEGMENTS}", expected="one message", fix="split the batch")
    segments[0].insert(1, separator)
    return Message(segments, marks, separator, codec, repairs)
