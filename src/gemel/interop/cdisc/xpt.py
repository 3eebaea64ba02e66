"""SAS transport files, version 5 and 8 (XPORT): read as they are, written as version 5, which regulators take.

A file is a library of data sets in records of 80 bytes. Reading never writes 5.4e-79 for nothing: zero is zero (:mod:`gemel.interop.cdisc.ibm`).

References
----------
SAS Institute, TS-140, "The record layout of a data set in SAS transport (XPORT) format", and its extension for version 8 and 9 (long names and labels).
"""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from gemel.core.errors import DataError, FormatError
from gemel.interop.cdisc.dataset import Dataset, Value, Variable
from gemel.interop.cdisc.ibm import from_ibm, to_ibm

__all__ = ["read_xpt", "write_xpt"]

RECORD = 80
LONGEST = 100_000_000
"""Rows beyond which a head is not believed."""

_HEAD = re.compile(rb"HEADER RECORD\*{7}(.{8})HEADER RECORD!{7}(.{30})  ", re.DOTALL)
_NAMESTR = struct.Struct(">hhhh8s40s8shhh2s8shhl52s")


@dataclass
class _Reader:
    """Goes through a file record by record."""

    body: bytes
    at: int = 0

    def take(self, size: int, what: str) -> bytes:
        part = self.body[self.at : self.at + size]
        if len(part) < size:
            raise FormatError(
                "the transport file is cut off",
                seen=f"{len(self.body)} bytes, {what} needs {self.at + size}",
                expected="the whole file",
                fix="copy it again, in binary mode",
            )
        self.at += size
        return part

    def head(self, *names: str) -> tuple[str, bytes]:
        record = self.take(RECORD, f"the header {names[0]}")
        match = _HEAD.fullmatch(record)
        name = match[1].decode("ascii", "replace").strip() if match else ""
        if match is None or name not in names:
            raise FormatError("not a SAS transport file", seen=record[:48].decode("latin-1"), expected=f"the header {' or '.join(names)}")
        return name, match[2]

    def peek(self) -> str:
        match = _HEAD.fullmatch(self.body[self.at : self.at + RECORD])
        return match[1].decode("ascii", "replace").strip() if match else ""

    def align(self) -> None:
        self.at = -(-self.at // RECORD) * RECORD


def _text(raw: bytes) -> str:
    raw = raw.rstrip(b" \0")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def _format(name: bytes, width: int, decimals: int) -> str:
    stem = _text(name)
    return f"{stem}{width or ''}.{decimals or ''}" if stem or width else ""


def _count(digits: bytes) -> int:
    try:
        return int(digits)
    except ValueError as error:
        raise FormatError("a count in the transport file is no number", seen=digits.decode("latin-1"), expected="digits") from error


def _variables(reader: _Reader, size: int) -> tuple[list[Variable], list[int]]:
    """Read the descriptions of the variables: themselves, and where each begins in a row."""
    name, rest = reader.head("NAMESTR", "NAMSTV8")
    count = _count(rest[4:10])
    body = reader.take(count * size, f"{count} variables")
    reader.align()
    found, places = [], []
    for i in range(count):
        part = body[i * size : (i + 1) * size].ljust(140, b"\0")[:140]
        kind, _, length, _, short, label, form, width, decimals, _, _, inform, iwidth, idecimals, place, more = _NAMESTR.unpack(part)
        if kind not in (1, 2) or length < 1 or place < 0 or (kind == 1 and not 2 <= length <= 8):
            raise FormatError("a variable is not well described", seen=f"number {i + 1}: kind {kind}, {length} bytes", expected="a number of 2 to 8 bytes, or text")  # fmt: skip
        named = _text(more[:32]) if name == "NAMSTV8" else ""
        found.append(
            Variable(
                named or _text(short), _text(label), kind == 1, length, _format(form, width, decimals), _format(inform, iwidth, idecimals)
            )
        )
        places.append(place)
    return found, places


def _long_labels(reader: _Reader, variables: list[Variable]) -> list[Variable]:
    """Read names, labels and formats that are too long for their description."""
    while reader.peek() in ("LABELV8", "LABELV9"):
        name, rest = reader.head("LABELV8", "LABELV9")
        parts = 5 if name == "LABELV9" else 3
        for _ in range(_count(rest.split()[0][:15] if rest.split() else b"0")):
            number, *sizes = struct.unpack(f">{parts}h", reader.take(2 * parts, "a long label"))
            texts = [_text(reader.take(n, "a long label")) for n in sizes]
            if not 1 <= number <= len(variables):
                raise FormatError("a long label belongs to no variable", seen=number, expected=f"1 to {len(variables)}")
            old = variables[number - 1]
            new = replace(old, name=texts[0] or old.name, label=texts[1])
            variables[number - 1] = replace(new, format=texts[2] or old.format, informat=texts[3] or old.informat) if parts == 5 else new
        reader.align()
    return variables


def _member(reader: _Reader) -> Dataset:
    _, rest = reader.head("MEMBER", "MEMBV8")
    size = _count(rest[-4:])
    if size not in (136, 140):
        raise FormatError("descriptions of an unknown length", seen=size, expected="136 or 140 bytes a variable")
    reader.head("DSCRPTR", "DSCPTV8")
    first, second = reader.take(RECORD, "the data set"), reader.take(RECORD, "the data set")
    is_long = first[40:48] == b"SASDATA "
    name = _text(first[8:40] if is_long else first[8:16])
    created, label = _text(first[64:80]), _text(second[32:72])
    variables, places = _variables(reader, size)
    variables = _long_labels(reader, variables)
    _, rest = reader.head("OBS", "OBSV8")
    width = max((p + v.length for p, v in zip(places, variables, strict=True)), default=0)
    raw = _rows(reader, width, rest)
    columns: dict[str, list[Value]] = {}
    special: dict[str, dict[int, str]] = {}
    for place, v in zip(places, variables, strict=True):
        part = raw[:, place : place + v.length]
        if v.is_number:
            values, kinds = from_ibm(part)
            columns[v.name] = [None if math.isnan(x) else x for x in values.tolist()]
            others = {i: kind for i, kind in kinds.items() if kind != "."}
            if others:
                special[v.name] = others
        else:
            joined = part.tobytes()
            columns[v.name] = [_text(joined[i : i + v.length]) for i in range(0, len(joined), v.length)]
    return Dataset(name, tuple(variables), columns, label, special, created)


def _rows(reader: _Reader, width: int, rest: bytes) -> np.ndarray:
    """Read the rows up to the next data set or the end; blanks that fill the last record are no rows."""
    counted = int(rest[:15]) if rest[:15].strip(b"0 ") and rest[:15].strip().isdigit() else None
    start, end = reader.at, len(reader.body)
    if counted is not None:
        if counted > LONGEST:
            raise FormatError("the transport file claims too many rows", seen=counted, expected=f"at most {LONGEST:,}")
        end = start + len(reader.take(counted * width, f"{counted} rows"))
        reader.align()
    else:
        for match in re.finditer(rb"HEADER RECORD\*{7}MEMB(?:ER  |V8  )HEADER RECORD!{7}", reader.body[start:]):
            if match.start() % RECORD == 0 and (start % RECORD == 0):
                end = start + match.start()
                break
        reader.at = end
    body = reader.body[start:end]
    if width == 0:
        return np.zeros((0, 0), np.uint8)
    tail = len(body) % width
    if counted is None and body[len(body) - tail :].strip(b" "):
        raise FormatError(
            "the transport file is cut off",
            seen=f"{tail} bytes of a row of {width}",
            expected="whole rows",
            fix="copy it again, in binary mode",
        )
    whole = body[: len(body) - tail]
    padding = tail
    while counted is None and len(whole) >= width and not whole[-width:].strip(b" ") and padding + width < RECORD:
        whole, padding = whole[:-width], padding + width
    return np.frombuffer(whole, np.uint8).reshape(-1, width)


def read_xpt(body: bytes) -> tuple[Dataset, ...]:
    """Read every data set of a transport file, version 5 or 8.

    Parameters
    ----------
    body : the file.

    Raises
    ------
    FormatError
        When it is no transport file, is cut off, or describes a variable that cannot be.
    """
    reader = _Reader(body)
    if not body:
        raise FormatError("the file is empty", seen="0 bytes", expected="a SAS transport file")
    reader.head("LIBRARY", "LIBV8")
    reader.take(2 * RECORD, "the library")
    if len(body) % RECORD:  # whole rows may be missing without any other sign
        raise FormatError(
            "the transport file is cut off", seen=f"{len(body)} bytes", expected="whole records of 80", fix="copy it again, in binary mode"
        )
    found = []
    while reader.at < len(body) and reader.peek():
        found.append(_member(reader))
        reader.align()
    if not found:
        raise FormatError("the transport file holds no data set", seen=f"{len(body)} bytes", expected="at least one")
    return tuple(found)


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,7}")


def _described(v: Variable, values: list[bytes] | None, number: int, place: int) -> tuple[bytes, int]:
    """Return the 140 bytes that describe a variable, and how many bytes a row gives it."""
    if not _NAME.fullmatch(v.name):
        raise DataError(
            "a name does not fit version 5", seen=v.name, expected="letters, digits and _; at most 8, no digit first", fix="rename it"
        )
    label = v.label.encode("utf-8")
    if len(label) > 40:
        raise DataError("a label does not fit version 5", seen=f"{v.name}: {len(label)} bytes", expected="at most 40", fix="shorten it")
    length = 8 if values is None else max(1, v.length if v.length != 8 else 1, *(len(x) for x in values))
    if length > 200:
        raise DataError(
            "text does not fit version 5", seen=f"{v.name}: {length} bytes", expected="at most 200", fix="shorten it, or split the variable"
        )
    forms = []
    for said in (v.format, v.informat):
        match = re.fullmatch(r"(\$?[A-Za-z_]*[A-Za-z0-9_]*?[A-Za-z_]|\$?)(\d*)\.?(\d*)", said)
        if match is None or len(match[1]) > 8:
            raise DataError("a format does not fit version 5", seen=f"{v.name}: {said}", expected="a name of at most 8, a width, as DATE9.")
        forms.append((match[1].upper().ljust(8).encode("ascii"), int(match[2] or 0), int(match[3] or 0)))
    (form, width, decimals), (inform, iwidth, idecimals) = forms
    body = _NAMESTR.pack(
        1 if values is None else 2, 0, length, number, v.name.ljust(8).encode("ascii"), label.ljust(40), form, width, decimals, 0, b"\0\0",
        inform, iwidth, idecimals, place, b"\0" * 52,
    )  # fmt: skip
    return body, length


def _header(name: str, rest: str = "0" * 30) -> bytes:
    return f"HEADER RECORD*******{name:8}HEADER RECORD!!!!!!!{rest}  ".encode("ascii")


def _padded(body: bytes) -> bytes:
    return body + b" " * (-len(body) % RECORD)


def _written(data: Dataset, stamp: bytes) -> Iterator[bytes]:
    if not _NAME.fullmatch(data.name):
        raise DataError(
            "a data set's name does not fit version 5", seen=data.name, expected="letters, digits and _; at most 8, no digit first"
        )
    if len(data.label.encode()) > 40:
        raise DataError("a label does not fit version 5", seen=f"{data.name}: {data.label}", expected="at most 40 bytes")
    descriptions, parts, place = [], [], 0
    for i, v in enumerate(data.variables, start=1):
        if v.is_number:
            numbers = np.array([math.nan if x is None else float(x) for x in data.columns[v.name]], float)
            description, length = _described(v, None, i, place)
            parts.append(to_ibm(numbers, dict(data.special.get(v.name, {}))))
        else:
            texts = [("" if x is None else str(x)).encode("utf-8") for x in data.columns[v.name]]
            description, length = _described(v, texts, i, place)
            parts.append(np.frombuffer(b"".join(x.ljust(length) for x in texts), np.uint8).reshape(-1, length))
        descriptions.append(description)
        place += length
    yield _header("MEMBER", "0" * 17 + "160" + "0" * 7 + "140")
    yield _header("DSCRPTR")
    yield b"SAS     " + data.name.ljust(8).encode() + b"SASDATA " + b"9.4     " + b"GEMEL   " + b" " * 24 + stamp
    yield stamp + b" " * 16 + data.label.encode("utf-8").ljust(40) + b" " * 8
    yield _header("NAMESTR", f"000000{len(descriptions):04d}" + "0" * 20)
    yield _padded(b"".join(descriptions))
    yield _header("OBS")
    if parts and data.rows:
        yield _padded(np.concatenate(parts, axis=1).tobytes())


def write_xpt(*datasets: Dataset, created: dt.datetime) -> bytes:
    """Write data sets as a SAS transport file of version 5.

    Parameters
    ----------
    created : the time that stands in the file; the same data at the same time give the same bytes.

    Raises
    ------
    DataError
        When a name, label, format or text is longer than version 5 allows (8, 40, 8, 200 bytes).
    ValueRangeError
        For a number outside 5.4e-79 to 7.2e75.
    """
    if not 1960 <= created.year <= 2059:
        raise DataError("a transport file writes years with two digits", seen=created.year, expected="1960 to 2059")
    if not datasets:
        raise DataError("there is nothing to write", seen="no data set", expected="at least one")
    months = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
    stamp = f"{created.day:02d}{months[created.month - 1]}{created.year % 100:02d}:{created:%H:%M:%S}".encode("ascii")
    parts = [_header("LIBRARY"), b"SAS     SAS     SASLIB  9.4     GEMEL   " + b" " * 24 + stamp, stamp.ljust(RECORD)]
    for data in datasets:
        parts += _written(data, stamp)
    return b"".join(parts)
