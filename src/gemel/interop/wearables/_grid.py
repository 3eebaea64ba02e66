"""Tables of studies with one row per moment: times placed, columns as numbers, doses and readings as facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gemel.core import Code, Exposure, Series
from gemel.core.errors import FormatError, TimeError
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._checks import check_measurements, refuse_backwards
from gemel.interop.wearables._text import Table, decode, header_cells, parse_numbers, parse_times, read_table, to_utc
from gemel.interop.wearables.base import Notes, Options, Source

__all__ = ["Grid", "has_columns", "read_grid"]


def has_columns(*needed: str) -> Callable[[str, bytes], bool]:
    """Return a sniffer that asks for columns by name."""

    def sniff(name: str, head: bytes) -> bool:
        try:
            cells = header_cells(decode(head, name).lstrip("\ufeff\r\n").splitlines()[0])
        except (FormatError, IndexError):
            return False
        return set(needed) <= set(cells)

    return sniff


@dataclass
class Grid:
    """One person's table: rows with a time, in the order of the file."""

    table: Table
    name: str
    origin: str
    time: np.ndarray
    rows: np.ndarray
    zone: str
    notes: Notes

    def numbers(self, key: str) -> np.ndarray:
        """Return a column as numbers, NaN where empty.

        Raises
        ------
        FormatError
            When a cell is no number.
        """
        cells = self.table.columns[key]
        values, unreadable, commas, first = parse_numbers(cells)
        if commas:
            self.notes.repair("decimal commas read as points", commas, int(self.rows[first]))
        if unreadable:
            raise FormatError(
                f"row {self.rows[unreadable[0]]} of {self.name} has no number in {key}",
                seen=repr(cells[unreadable[0]][:20]),
                expected="a number, or an empty cell",
                fix="correct the row",
            )
        values[np.isinf(values)] = np.nan
        return values

    def glucose(
        self,
        key: str,
        *,
        limits: Sequence[tuple[float, ...]] = ((40.0,), (400.0,)),
        keep: Callable[[np.ndarray], np.ndarray] | None = None,
        source: str = "",
    ) -> list[Series]:
        """Read a column of sensor glucose in mg/dL; ``keep(values)`` may take readings out (as NaN)."""
        values, censored = facts.glucose_cells(self.table.columns[key], "mg/dL", self.table, self.name, self.notes)
        if keep is not None:
            values = keep(values)
        censored = facts.limit_hits(values, censored, self.notes, lows=limits[0], highs=limits[1])
        series = facts.glucose_series(
            self.time, values, censored, self.time, self.rows, code=facts.CGM["mg/dL"], unit="mg/dL",
            source=source or self.origin, name=self.name, notes=self.notes,
        )  # fmt: skip
        return [] if series is None else [series]

    def doses(self, code: Code, unit: str, amounts: np.ndarray) -> list[Exposure]:
        """Turn amounts into exposures; zero and empty: not logged."""
        return list(
            facts.dose_exposures(
                self.time, amounts, self.time, self.rows, code=code, unit=unit, source=self.origin, name=self.name, notes=self.notes
            )
        )

    def basal(self, rates: np.ndarray, *, longest: int | None = None) -> list[Exposure]:
        """Turn rates in U/h, each valid until the next, into exposures."""
        return list(
            facts.basal_exposures(
                self.time, rates, self.time, self.rows, until=int(self.time.max()), code=facts.INSULIN_RAPID, source=self.origin,
                name=self.name, notes=self.notes, longest=longest,
            )
        )  # fmt: skip

    def series(self, columns: Mapping[str, tuple[Code, str]], *, zero_is_absent: Sequence[str] = ()) -> list[Series]:
        """Read columns of anything else that the table has."""
        found: list[Series] = []
        for key, (code, unit) in columns.items():
            if key not in self.table.columns:
                continue
            values = self.numbers(key)
            if key in zero_is_absent:
                values[values == 0] = np.nan
            has = np.isfinite(values)
            check_measurements(values[has], self.rows[has], code=code, unit=unit, name=self.name)
            series = facts.plain_series(self.time, values, self.rows, code=code, unit=unit, source=self.origin, notes=self.notes)
            found += [] if series is None else [series]
        return found

    def ignore_others(self, used: Sequence[str]) -> None:
        """List every column that was not used."""
        for header in self.table.columns:
            if header and header not in used:
                self.notes.ignore(f"column {header[:40]!r}")


def read_grid(
    source: Source,
    format: str,
    time_column: str,
    needed: Sequence[str],
    options: Options,
    zone: str | None,
    *,
    in_order: bool,
    order: str = "",
) -> Grid:
    """Read one person's table.

    Parameters
    ----------
    time_column, needed : columns that must be there.
    zone : where the study was made; the caller's ``tz`` goes before.
    in_order : the layout's rows stand in order of time; a clock that goes back is refused.
    order : 'day' or 'month' first, where a date does not say.
    """
    name = source.base
    notes = Notes(name, format)
    table = read_table(decode(source.read(), name, notes).lstrip("\ufeff"), name, notes)
    missing = [key for key in (time_column, *needed) if key not in table.columns]
    if missing:
        raise FormatError(
            f"{name} is not of the layout {format}",
            seen=", ".join(table.columns)[:160],
            expected=", ".join((time_column, *needed)),
            fix="leave format out, or fetch the file again",
        )
    stamps = [cell.strip() for cell in table.columns[time_column]]
    kept = [index for index, stamp in enumerate(stamps) if stamp]
    lost = [index for index, stamp in enumerate(stamps) if not stamp and any(cells[index].strip() for cells in table.columns.values())]
    if lost:
        raise TimeError(
            f"row {table.row(lost[0])} of {name} has no time", expected="a time in every row", fix="fill it in or delete the row"
        )
    if not kept:
        raise facts.no_rows(name)
    notes.repair("empty lines skipped", len(stamps) - len(kept), table.row(next((i for i in range(len(stamps)) if not stamps[i]), 0)))
    rows = np.array(kept, np.int64) + table.first_row
    if len(kept) < len(stamps):
        table = Table({key: [cells[i] for i in kept] for key, cells in table.columns.items()}, len(kept), table.first_row)
    wall, aware = parse_times([stamps[i] for i in kept], name, notes, table, order=order)
    if in_order:
        refuse_backwards(wall, rows, name)
    time, placed = to_utc(wall, aware, options.tz or zone, notes)
    notes.rows = len(kept)
    return Grid(table, name, format, time, rows, placed, notes)
