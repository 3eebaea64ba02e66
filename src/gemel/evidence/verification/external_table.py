"""Tables of outside studies: read strictly, every complaint with line and column."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gemel.core.errors import FormatError, UnitError, ValueRangeError
from gemel.core.units import parse_unit

__all__ = ["SETTINGS", "Column", "ExternalTable", "read_table"]

SETTINGS = ("dimension", "gci_limit", "level", "mae_limit", "order", "people", "source", "study", "unit")
"""What may stand above the header as ``# name = value``."""
_HEADER = re.compile(r"^(?P<name>[^\[]+?)\s*(?:\[(?P<unit>.*)\])?$")


@dataclass(frozen=True)
class Column:
    """One column: its name, its unit (empty where the header gives none), and the header as written."""

    name: str
    unit: str
    header: str


@dataclass(frozen=True)
class ExternalTable:
    """Cells as text, with the line of the file on which each row stands."""

    name: str
    settings: dict[str, str]
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, column: str) -> bool:
        return any(c.name == column for c in self.columns)

    def needs(self, *columns: str) -> None:
        """Refuse a table that lacks columns."""
        missing = [c for c in columns if c not in self]
        if missing:
            raise FormatError(f"{self.name} lacks columns", seen=[c.header for c in self.columns], expected=f"also {', '.join(missing)}")

    def needs_one_of(self, *columns: str) -> None:
        """Refuse a table that has none or several of these columns."""
        found = [c for c in columns if c in self]
        if len(found) != 1:
            raise FormatError(f"{self.name} needs one of the columns {', '.join(columns)}", seen=[c.header for c in self.columns])

    def words(self, column: str) -> list[str]:
        """Return a column as text; an empty cell is refused."""
        at = [c.name for c in self.columns].index(column)
        for line, row in zip(self.lines, self.rows, strict=True):
            if not row[at]:
                raise FormatError(f"{self.name}, line {line}, column {column!r} is empty", fix="give the value, or leave out the row")
        return [row[at] for row in self.rows]

    def numbers(self, column: str, *, positive: bool = False, negative: bool = True) -> np.ndarray:
        """Return a column as numbers.

        Parameters
        ----------
        positive : refuse zero and below.
        negative : whether values below zero are possible.
        """
        out = []
        for line, text in zip(self.lines, self.words(column), strict=True):
            where = f"{self.name}, line {line}, column {column!r}"
            try:
                value = float(text)
            except ValueError:
                comma = "write decimals with a point" if re.fullmatch(r"-?\d+,\d+", text) else None
                raise FormatError(f"{where} is not a number", seen=repr(text), fix=comma) from None
            if not math.isfinite(value):
                raise FormatError(f"{where} is not a finite number", seen=repr(text))
            if (positive and value <= 0) or (not negative and value < 0):
                raise ValueRangeError(f"{where} is out of range", seen=text, expected="above 0" if positive else "0 or above")
            out.append(value)
        return np.array(out)

    def told(self, setting: str) -> str | None:
        """Return a setting from above the header."""
        return self.settings.get(setting)

    def number(self, setting: str, *, positive: bool = False) -> float | None:
        """Return a setting as a number; a value in per cent becomes a share."""
        text = self.settings.get(setting)
        if text is None:
            return None
        share = text.endswith("%")
        try:
            value = float(text.removesuffix("%").strip()) / (100 if share else 1)
        except ValueError:
            raise FormatError(f"{self.name}, setting {setting!r} is not a number", seen=repr(text)) from None
        if not math.isfinite(value) or (positive and value <= 0):
            raise ValueRangeError(f"{self.name}, setting {setting!r} is out of range", seen=text, expected="above 0")
        return value

    def unit_of(self, column: Column) -> str:
        """Return the unit of a column, checked."""
        if not column.unit:
            raise UnitError(
                f"{self.name}, column {column.header!r} has no unit",
                expected=f"'{column.name} [MPa]' in the header ('[1]' if it has none)"
                if not column.header.startswith("#")
                else "'# unit = mm[Hg]' above the header",
                fix="state the unit in UCUM",
            )
        return _checked(column.unit, f"{self.name}, column {column.header!r}")

    def check_units(self, column: str) -> None:
        """Refuse rows whose unit is missing or unknown."""
        at = [c.name for c in self.columns].index(column)
        for line, row in zip(self.lines, self.rows, strict=True):
            where = f"{self.name}, line {line}, column {column!r}"
            if not row[at]:
                raise UnitError(f"{where} has no unit", expected="a UCUM unit", fix="write '1' if it has none")
            _checked(row[at], where)


def _checked(unit: str, where: str) -> str:
    try:
        parse_unit(unit)
    except UnitError as error:
        raise UnitError(f"{where}: {error.what}", seen=error.seen, expected=error.expected, fix=error.fix) from error
    return unit


def read_table(path: Path) -> ExternalTable:
    """Read a CSV file with settings above its header.

    Raises
    ------
    FormatError
        When the file is missing, not UTF-8, empty, has a column twice, a row of another length, or a setting that nobody reads.
    """
    name = path.name
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{name} cannot be read", seen=type(error).__name__, expected="a CSV file in UTF-8") from error
    settings: dict[str, str] = {}
    body: list[tuple[int, list[str]]] = []
    lines = text.splitlines()
    above = 0
    while above < len(lines) and lines[above].strip(' ,"')[:1] in ("", "#"):
        key, equals, value = (part.strip() for part in lines[above].strip(' ,"').lstrip("#").partition("="))  # spreadsheets pad and quote
        above += 1
        if not equals:
            continue
        if key not in SETTINGS:
            raise FormatError(f"{name}, line {above}: no such setting", seen=key, expected=", ".join(SETTINGS))
        settings[key] = value
    reader = csv.reader(lines[above:])
    for cells in reader:
        row = [c.strip() for c in cells]
        if any(row):
            body.append((above + reader.line_num, row))
    if len(body) < 2:
        raise FormatError(f"{name} has no rows", seen=f"{len(body)} line(s)", expected="a header and at least one row")
    (top, header), rows = body[0], body[1:]
    while header and not header[-1]:
        header = header[:-1]
    if len(header) == 1 and ";" in header[0]:
        raise FormatError(f"{name}, line {top}: separated by semicolons", expected="commas, and decimals with a point")
    columns = []
    for at, title in enumerate(header, 1):
        found = _HEADER.match(title)
        if found is None:
            raise FormatError(f"{name}, line {top}: column {at} has no name", seen=repr(title), expected="'name' or 'name [unit]'")
        columns.append(Column(found["name"], (found["unit"] or "").strip(), title))
    names = [c.name for c in columns]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise FormatError(f"{name}, line {top}: a column stands twice", seen=twice)
    told = []
    for line, row in rows:
        if len(row) < len(columns) or any(row[len(columns) :]):
            raise FormatError(f"{name}, line {line} has another number of cells", seen=len(row), expected=len(columns))
        told.append(tuple(row[: len(columns)]))
    return ExternalTable(name, settings, tuple(columns), tuple(told), tuple(line for line, _ in rows))
