"""Delimited text into columns: encodings, separators, numbers and times, each repair noted."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gemel.core.errors import FormatError, TimeError, UnitError
from gemel.core.time import MINUTE, local_minutes_of_day, local_to_utc, zone
from gemel.interop.wearables.base import Notes

__all__ = ["MISSING", "Table", "decode", "glucose_unit", "header_cells", "parse_numbers", "parse_times", "read_table", "to_utc"]

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "nat", "-", "--", "."})
_HOUR = 60 * MINUTE
_DATE = re.compile(r"^(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(\.\d+)?)?\s*([AaPp])?\.?[Mm]?\.?)?$")


@dataclass
class Table:
    """Columns of text by name, with the number of the first data row in the file."""

    columns: dict[str, Sequence[str]]
    length: int
    first_row: int

    def row(self, index: int) -> int:
        """Row number in the file, the first line being 1."""
        return self.first_row + int(index)


def decode(raw: bytes, name: str, notes: Notes | None = None) -> str:
    """Turn bytes into text.

    Raises
    ------
    FormatError
        When the file is empty or binary.
    """
    if not raw.strip(b"\x00 \t\r\n\xef\xbb\xbf"):
        raise FormatError(f"{name} is empty", expected="a header line and rows", fix="export the file again")
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark):
            try:
                text = raw.decode(encoding)
            except UnicodeDecodeError as error:
                raise FormatError(
                    f"{name} is not text", seen="a byte order mark and unreadable bytes", expected="UTF-8", fix="save the file as UTF-8 CSV"
                ) from error
            if not text.strip("\ufeff\x00 \t\r\n"):
                raise FormatError(f"{name} is empty", expected="a header line and rows", fix="export the file again")
            if notes:
                notes.repair(f"byte order mark removed ({encoding})", 1, 1)
            return text
    if b"\x00" in raw[:65536]:
        raise FormatError(
            f"{name} is a binary file",
            seen=repr(raw[:8]),
            expected="CSV text (or a zip, gz or .xls of a known layout)",
            fix="export as CSV",
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if notes:
            notes.repair("not UTF-8; read as Windows-1252", 1)
        return raw.decode("cp1252", errors="replace")


def _delimiter(line: str) -> str:
    counts = {mark: line.count(mark) for mark in (",", ";", "\t", "|")}
    return max(counts, key=lambda mark: counts[mark]) if any(counts.values()) else ","


def header_cells(line: str) -> list[str]:
    """Split a header line at its own separator."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=_delimiter(line)), [])]


def read_table(text: str, name: str, notes: Notes, *, header_row: int = 0) -> Table:
    """Split text into named columns.

    Parameters
    ----------
    text : the whole file.
    name : how the file is called in messages.
    notes : where repairs go.
    header_row : how many lines stand above the header.

    Raises
    ------
    FormatError
        When a row has more cells than the header, or two columns have one name.
    """
    stream = io.StringIO(text, newline="")
    for _ in range(header_row):
        stream.readline()
    position = stream.tell()
    delimiter = _delimiter(stream.readline())
    stream.seek(position)
    try:
        rows = list(csv.reader(stream, delimiter=delimiter))
    except csv.Error as error:
        raise FormatError(f"{name} cannot be split into columns", seen=str(error), expected="CSV", fix="export the file again") from error
    if delimiter != ",":
        notes.repair(f"columns separated by {'tab' if delimiter == chr(9) else delimiter!r} instead of ','", 1, header_row + 1)
    header = [cell.strip() for cell in rows[0]]
    while header and not header[-1]:
        header.pop()
    if len(set(header)) != len(header):
        twice = sorted({cell for cell in header if header.count(cell) > 1})
        raise FormatError(
            f"{name} has two columns of one name", seen=", ".join(twice)[:80], expected="one column per name", fix="rename or remove one"
        )
    width, body = len(header), rows[1:]
    if any(len(row) != width for row in body):
        fixed, ragged = [], 0
        for number, row in enumerate(body, header_row + 2):
            if len(row) > width:
                if any(cell.strip() for cell in row[width:]):
                    raise FormatError(
                        f"row {number} of {name} has more cells than the header",
                        seen=len(row),
                        expected=width,
                        fix="quote cells that hold the separator",
                    )
                row = row[:width]
            elif len(row) < width:
                ragged += bool(row)
                row = row + [""] * (width - len(row))
            fixed.append(row)
        body = fixed
        notes.repair("short rows filled with empty cells", ragged)
    columns: dict[str, Sequence[str]] = dict(zip(header, zip(*body, strict=True), strict=True)) if body else dict.fromkeys(header, ())
    return Table(columns, len(body), header_row + 2)


def parse_numbers(cells: Sequence[str], words: Mapping[str, float] | None = None) -> tuple[np.ndarray, list[int], int, int]:
    """Turn cells into numbers.

    Parameters
    ----------
    cells : text.
    words : lower-case words that stand for a number.

    Returns
    -------
    (n,) values with NaN where missing or unreadable; indices of unreadable cells; how many decimal commas were repaired, and
    where first (-1: none).
    """
    try:
        return np.array([cell or "nan" for cell in cells], dtype=np.float64), [], 0, -1  # plain numbers and empty cells: the fast road
    except ValueError:
        pass
    values = np.full(len(cells), np.nan)
    unreadable: list[int] = []
    commas, first = 0, -1
    words = words or {}
    for index, cell in enumerate(cells):
        try:
            values[index] = float(cell)
        except ValueError:
            plain = cell.strip().lower()
            if plain in words:
                values[index] = words[plain]
            elif plain in MISSING:
                continue
            else:
                try:
                    values[index] = float(plain.replace(",", ".", 1))
                    commas, first = commas + 1, index if first < 0 else first
                except ValueError:
                    unreadable.append(index)
    return values, unreadable, commas, first


def _by_hand(cell: str, order: str) -> tuple[dt.datetime | None, str]:
    """Read ``YYYY/MM/DD HH:MM``, ``DD.MM.YYYY HH:MM`` and their like; ``order`` is 'day', 'month' or ''."""
    found = _DATE.match(cell.strip())
    if found is None:
        return None, ""
    a, mark, b, c = found[1], found[2], found[3], found[4]
    if len(a) == 4:
        year, month, day, kind = int(a), int(b), int(c), f"YYYY{mark}MM{mark}DD"
    elif len(c) == 4 and (mark == "." or order):
        first, second = int(a), int(b)
        month_first = order == "month"
        year, month, day = int(c), (first if month_first else second), (second if month_first else first)
        kind = f"MM{mark}DD{mark}YYYY" if month_first else f"DD{mark}MM{mark}YYYY"
    else:
        return None, ""
    hour, minute, second_, half = int(found[5] or 0), int(found[6] or 0), int(found[7] or 0), (found[9] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
        kind += " AM/PM"
    try:
        return dt.datetime(year, month, day, hour, minute, second_, round(float(found[8] or 0) * 1e6)), kind
    except ValueError:
        return None, ""


def parse_times(cells: Sequence[str], name: str, notes: Notes, table: Table, *, order: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Read times as written, without looking at zones yet.

    Parameters
    ----------
    cells : text, none empty.
    name, notes, table : for messages.
    order : 'day' or 'month' first where the year comes last and the separator is not a full stop.

    Returns
    -------
    (n,) ns: UTC where the cell has an offset, else wall clock; (n,) whether it has an offset.

    Raises
    ------
    TimeError
        When a cell cannot be read; with its row.
    """
    parsed: list[dt.datetime] = []
    aware = np.zeros(len(cells), bool)
    other, first, kinds = 0, -1, set[str]()
    read = dt.datetime.fromisoformat
    for index, cell in enumerate(cells):
        try:
            value = read(cell)
        except ValueError:
            try:
                value = read(cell.strip())
            except ValueError:
                hand, kind = _by_hand(cell, order)
                if hand is None:
                    raise TimeError(
                        f"cannot read the time in row {table.row(index)} of {name}",
                        seen=cell.strip()[:32],
                        expected="ISO 8601 (2026-01-31T08:05 or with +01:00), YYYY/MM/DD HH:MM or DD.MM.YYYY HH:MM",
                        fix="correct the row, or export with ISO times",
                    ) from None
                value, other, first = hand, other + 1, index if first < 0 else first
                kinds.add(kind)
        if value.tzinfo is not None:
            aware[index] = True
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        parsed.append(value)
    if other:
        notes.repair(f"times written as {', '.join(sorted(kinds))} instead of ISO 8601", other, table.row(first))
    return np.array(parsed, dtype="datetime64[us]").astype("datetime64[ns]").astype(np.int64), aware


def to_utc(wall: np.ndarray, aware: np.ndarray, tz: str | None, notes: Notes) -> tuple[np.ndarray, str]:
    """Place wall-clock times on the UTC axis.

    Without a zone they are taken as UTC, and the report says so. In the hour that a clock shows twice at the end of
    daylight saving, readings after the step back belong to the second pass. Readings in the hour that a clock skips
    prove that it does not follow daylight saving: the whole file then keeps the offset of its first reading.

    Returns
    -------
    (n,) ns UTC; the zone's name.
    """
    if tz is not None:
        zone(tz)
    if aware.all():
        return wall, tz or "UTC"
    if tz is None:
        notes.warn("zone unknown: times without offset taken as UTC; name the zone (tz=) to have meals at the right hour of the day")
        return wall, "UTC"
    naive = ~aware
    local = wall[naive]
    utc, odd = local_to_utc(local, tz)
    if odd:
        skipped = np.abs(local_minutes_of_day(utc, tz) - (local % (24 * _HOUR)) / MINUTE) > 0.5
        if skipped.any():
            offset = int(local[0] - utc[0])
            utc = local - offset
            hours = offset / _HOUR
            notes.warn(
                f"the clock does not follow the daylight saving of {tz}: {int(skipped.sum())} reading(s) in an hour that it skips; "
                f"all times read with the fixed offset {hours:+.1f} h of the first reading"
            )
        else:
            doubled = np.abs(local_minutes_of_day(utc + _HOUR, tz) - (local % (24 * _HOUR)) / MINUTE) < 0.5
            second, previous, moved = False, None, 0
            for index in np.flatnonzero(doubled):
                if previous is not None:
                    if local[index] - previous > 2 * _HOUR:
                        second = False
                    elif local[index] < previous:
                        second = True
                previous = local[index]
                if second:
                    utc[index] += _HOUR
                    moved += 1
            notes.repair("readings of the doubled hour at the end of daylight saving put into its second pass", moved)
            notes.repair("readings of the doubled hour at the end of daylight saving taken as its first pass", int(doubled.sum()) - moved)
    out = wall.copy()
    out[naive] = utc
    return out, tz


def glucose_unit(header: str) -> str | None:
    """Find the unit of a glucose column in its name: ``mg/dL``, ``mmol/L`` or none.

    Raises
    ------
    UnitError
        When the column says glucose and an unknown unit.

    Examples
    --------
    >>> glucose_unit("glucose_mg_dl"), glucose_unit("Glucose Value (mmol/L)"), glucose_unit("time")
    ('mg/dL', 'mmol/L', None)
    """
    plain = re.sub(r"[^a-z]+", "", header.lower())
    if "glucose" not in plain and plain not in {"gl", "sgv", "cgm", "bg"}:
        return None
    if plain.endswith("mgdl"):
        return "mg/dL"
    if plain.endswith("mmoll"):
        return "mmol/L"
    raise UnitError(
        f"the glucose column {header!r} has no known unit",
        seen=header[:40],
        expected="glucose_mg_dl or glucose_mmol_l",
        fix="write the unit into the column's name",
    )
