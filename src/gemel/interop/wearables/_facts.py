"""Columns into facts: the checks that every layout goes through before a number enters a record."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gemel.core import Code, Exposure, Quantity, Series
from gemel.core.errors import DataError, FormatError
from gemel.core.series import ABOVE, BELOW, EXACT
from gemel.core.time import MINUTE, SECOND
from gemel.core.units import convert
from gemel.interop.wearables._checks import MAX_CARBOHYDRATES, check_amounts, check_glucose, check_rates, check_recorded
from gemel.interop.wearables._codes import (
    BASAL_UNIT,
    CAPILLARY,
    CARBOHYDRATES,
    CGM,
    ENERGY,
    ENERGY_SPENT,
    EXERCISE,
    FAT,
    FIBRE,
    HEART_RATE,
    INSULIN_LONG,
    INSULIN_RAPID,
    KETONE,
    MEAL_UNQUANTIFIED,
    PROTEIN,
    RELATION_TO_MEAL,
    SLEEP,
    STEPS,
    WEIGHT,
)
from gemel.interop.wearables._text import Table, parse_numbers
from gemel.interop.wearables.base import Notes

__all__ = [
    "BASAL_UNIT",
    "CAPILLARY",
    "CARBOHYDRATES",
    "CGM",
    "ENERGY",
    "ENERGY_SPENT",
    "EXERCISE",
    "FAT",
    "FIBRE",
    "HEART_RATE",
    "INSULIN_LONG",
    "INSULIN_RAPID",
    "KETONE",
    "MAX_CARBOHYDRATES",
    "MEAL_UNQUANTIFIED",
    "PROTEIN",
    "RELATION_TO_MEAL",
    "SLEEP",
    "STEPS",
    "WEIGHT",
    "basal_exposures",
    "dose_exposures",
    "glucose_cells",
    "glucose_series",
    "limit_hits",
    "plain_series",
]

_SAME_BOLUS = 60 * SECOND
_WORDS = {"low": BELOW, "lo": BELOW, "below": BELOW, "high": ABOVE, "hi": ABOVE, "above": ABOVE}


def glucose_cells(
    cells: Sequence[str], unit: str, table: Table, name: str, notes: Notes, *, low: float = 40.0, high: float = 400.0
) -> tuple[np.ndarray, np.ndarray]:
    """Read glucose cells: numbers, and the words of sensors beyond their range.

    Parameters
    ----------
    cells : text.
    unit : ``mg/dL`` or ``mmol/L``.
    low, high : mg/dL, the limits that the words ``LOW`` and ``HIGH`` stand for.

    Returns
    -------
    (n,) values in ``unit``, NaN where there is none; (n,) censoring.

    Raises
    ------
    UnitError
        When the values look like the other unit.
    ValueRangeError
        When a value is impossible.
    FormatError
        When more than one cell in twenty cannot be read.
    """
    censored = np.zeros(len(cells), np.int8)
    limits = {BELOW: float(convert(low, "mg/dL", unit, analyte="glucose")), ABOVE: float(convert(high, "mg/dL", unit, analyte="glucose"))}
    values, unreadable, commas, first_comma = parse_numbers(cells, {word: limits[side] for word, side in _WORDS.items()})
    if np.isnan(values).any() or unreadable or commas or _has_words(cells):
        for index, cell in enumerate(cells):
            side = _WORDS.get(cell.strip().lower(), EXACT)
            if side:
                censored[index] = side
    notes.repair("decimal commas read as points", commas, table.row(first_comma))
    if unreadable:
        if len(unreadable) > 0.05 * len(cells):
            raise FormatError(
                f"{len(unreadable)} of {len(cells)} glucose cells of {name} cannot be read",
                seen=f"{cells[unreadable[0]][:20]!r} in row {table.row(unreadable[0])}",
                expected="numbers, LOW or HIGH, or empty cells",
                fix="check that the right column is called glucose",
            )
        notes.unclear(f"glucose cells that are no number, first in row {table.row(unreadable[0])}", len(unreadable))
    for side, word in ((BELOW, "LOW"), (ABOVE, "HIGH")):
        hits = np.flatnonzero(censored == side)
        if len(hits):
            notes.repair(
                f"{word} kept as censored {'below' if side == BELOW else 'above'} {limits[side]:g} {unit}", len(hits), table.row(hits[0])
            )
    check_glucose(values, censored, unit, table.row, name, notes)
    return values, censored


def _has_words(cells: Sequence[str]) -> bool:
    return any(cell.strip().lower() in _WORDS for cell in cells if cell[:1].isalpha())


def limit_hits(values: np.ndarray, censored: np.ndarray, notes: Notes, *, lows: Sequence[float], highs: Sequence[float]) -> np.ndarray:
    """Mark readings that sit at the sensor's own limit as censored there.

    Only when the limit is the person's smallest (largest) reading: a sensor that reports beyond it does not clip at it.
    """
    out = censored.copy()
    finite = values[np.isfinite(values)]
    if not len(finite):
        return out
    for side, limits, edge in ((BELOW, lows, finite.min()), (ABOVE, highs, finite.max())):
        if any(abs(edge - limit) < 0.05 for limit in limits):
            hits = (np.abs(values - edge) < 0.05) & (out == EXACT)
            out[hits] = side
            if hits.any():
                notes.repair(f"readings at the sensor's limit of {edge:g} kept as censored there", int(hits.sum()))
    return out


def _once(time: np.ndarray, value: np.ndarray, recorded: np.ndarray, rows: np.ndarray, what: str, notes: Notes) -> np.ndarray:
    """Order by time, keep one row per (time, recorded): the last in the file; says what was done. Returns indices."""
    backwards = np.flatnonzero(np.diff(time) < 0)
    if len(backwards):
        notes.repair(f"{what}: rows out of order of time, sorted", len(backwards), int(rows[backwards[0] + 1]))
        steps = -np.diff(time)[backwards]
        if len(backwards) <= 0.01 * len(time) and len(time) > 20 and steps.max() <= 25 * 60 * MINUTE:
            notes.warn(
                f"{what}: the clock went backwards {len(backwards)} time(s), by up to {steps.max() / MINUTE:.0f} min; "
                "readings of two clocks may overlap there"
            )
    order = np.lexsort((np.arange(len(time)), recorded, time))
    later = (np.diff(time[order]) == 0) & (np.diff(recorded[order]) > 0)
    if later.any():
        again = later & (np.diff(value[order]) == 0)
        notes.repair(
            f"{what}: reported again later, counted once", int(again.sum()), int(rows[order[1:][again][0]]) if again.any() else None
        )
        changed = later & ~again
        what_changed = f"{what}: two values at one time, the one recorded later supersedes"
        notes.repair(what_changed, int(changed.sum()), int(rows[order[1:][changed][0]]) if changed.any() else None)
        order = order[np.append(True, ~again)]
    same = (np.diff(time[order]) == 0) & (np.diff(recorded[order]) == 0)
    if not same.any():
        return order
    equal = same & (np.diff(value[order]) == 0)
    conflict = same & ~equal
    if equal.any():
        notes.repair(f"{what}: duplicate rows merged", int(equal.sum()), int(rows[order[1:][equal][0]]))
    if conflict.any():
        notes.repair(
            f"{what}: two values at one time, the later row kept as the newer version",
            int(conflict.sum()),
            int(rows[order[1:][conflict][0]]),
        )
    return order[np.append(~same, True)]


def glucose_series(
    time: np.ndarray,
    values: np.ndarray,
    censored: np.ndarray,
    recorded: np.ndarray,
    rows: np.ndarray,
    *,
    code: Code,
    unit: str,
    source: str,
    name: str,
    notes: Notes,
    gaps: bool = True,
    status: np.ndarray | None = None,
) -> Series | None:
    """Build one series out of the rows that have a value; says about order, duplicates and gaps. None when no row has one."""
    has = np.isfinite(values)
    if not has.any():
        return None
    states = np.zeros(len(time), np.uint8) if status is None else status
    time, values, censored, recorded, rows, states = time[has], values[has], censored[has], recorded[has], rows[has], states[has]
    check_recorded(time, recorded, rows, name)
    kept = _once(time, values, recorded, rows, "glucose" if gaps else str(code), notes)
    time, values, censored, recorded, states = time[kept], values[kept], censored[kept], recorded[kept], states[kept]
    if gaps and len(time) > 2:
        steps = np.diff(time) / MINUTE
        typical = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
        wide = steps > max(3 * typical, 1.0)
        notes.gaps += int(wide.sum())
        notes.longest_gap_min = max(notes.longest_gap_min, float(steps[wide].max()) if wide.any() else 0.0)
    return Series(
        code=code,
        unit=unit,
        time=time,
        value=values,
        recorded=np.maximum(recorded, time),
        status=states,
        censored=censored,
        source=source,
    )


def plain_series(
    time: np.ndarray, values: np.ndarray, rows: np.ndarray, *, code: Code, unit: str, source: str, notes: Notes
) -> Series | None:
    """Build a series of anything else; zero and missing values must be NaN by now."""
    return glucose_series(
        time, values, np.zeros(len(values), np.int8), time, rows, code=code, unit=unit, source=source, name=source, notes=notes, gaps=False
    )


def dose_exposures(
    time: np.ndarray,
    amounts: np.ndarray,
    recorded: np.ndarray,
    rows: np.ndarray,
    *,
    code: Code,
    unit: str,
    source: str,
    name: str,
    notes: Notes,
) -> list[Exposure]:
    """Turn amounts at single moments (meals, boluses) into exposures. Zero and missing: not logged.

    Raises
    ------
    ValueRangeError
        For a negative amount, more than 200 g of carbohydrate or more than 150 U of insulin at once.
    """
    check_amounts(amounts, rows, code=code, unit=unit, name=name)
    has = np.flatnonzero(amounts > 0)
    if not len(has):
        return []
    time, amounts, recorded, rows = time[has], amounts[has], recorded[has], rows[has]
    check_recorded(time, recorded, rows, name)
    kept = _once(time, amounts, recorded, rows, code.display or str(code), notes)
    time, amounts, recorded = time[kept], amounts[kept], recorded[kept]
    if unit == "[iU]":
        twins = int(((np.diff(time) <= _SAME_BOLUS) & (np.diff(time) > 0) & (np.diff(amounts) == 0)).sum())
        if twins:
            notes.warn(
                f"{twins} pair(s) of identical doses of {code.display or code} within 60 s: both kept; a double upload looks like this"
            )
    return [
        Exposure(
            code=code, quantity=Quantity(value=float(a), unit=unit), start=int(t), end=int(t), recorded=max(int(r), int(t)), source=source
        )
        for t, a, r in zip(time, amounts, recorded, strict=True)
    ]


def basal_exposures(
    time: np.ndarray,
    rates: np.ndarray,
    recorded: np.ndarray,
    rows: np.ndarray,
    *,
    until: int,
    code: Code,
    source: str,
    name: str,
    notes: Notes,
    longest: int | None = None,
    note: str = "",
) -> list[Exposure]:
    """Turn pump rates in U/h, each valid until the next entry, into exposures with a rate unit. A rate of 0 is a pump that stands still.

    Parameters
    ----------
    until : ns UTC, when the last entry ends (the last row of the file).
    longest : ns, how long an entry may hold without another.

    Raises
    ------
    UnitError
        When a rate looks like U/min.
    """
    check_rates(rates, rows, name)
    has = np.flatnonzero(np.isfinite(rates))
    if not len(has) or not (rates[has] > 0).any():
        return []
    time, rates, recorded, rows = time[has], rates[has], recorded[has], rows[has]
    check_recorded(time, recorded, rows, name)
    kept = _once(time, rates, recorded, rows, "basal rate", notes)
    time, rates, recorded = time[kept], rates[kept], recorded[kept]
    change = np.append(True, np.diff(rates) != 0) if longest is None else np.ones(len(rates), bool)
    time, rates, recorded = time[change], rates[change], recorded[change]
    ends = np.append(time[1:], max(until, int(time[-1])))
    if longest is not None:
        over = np.flatnonzero(ends - time > longest)
        if len(over):
            notes.repair(f"basal entries without a successor within {longest / (60 * MINUTE):.0f} h ended there", len(over))
        ends = np.minimum(ends, time + longest)
    return [
        Exposure(
            code=code,
            quantity=Quantity(value=float(v), unit=BASAL_UNIT),
            start=int(s),
            end=int(e),
            recorded=max(int(r), int(s)),
            source=source,
            note=note,
        )
        for s, e, v, r in zip(time, ends, rates, recorded, strict=True)
        if e > s
    ]


def require_glucose(series: Sequence[Series | None], name: str) -> None:
    """Refuse a record without a single glucose reading."""
    if not any(s is not None and len(s) for s in series):
        raise FormatError(
            f"{name} holds no glucose reading",
            expected="at least one value in the glucose column",
            fix="check column names and units; see gemel.interop.wearables.FORMATS",
        )


def no_rows(name: str) -> DataError:
    """The error for a header without rows."""
    return FormatError(f"{name} has a header and no rows", expected="rows of data", fix="export the file again")
