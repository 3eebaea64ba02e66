"""Refusals that every layout shares: what no sensor, pump or person does is a fault of the file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gemel.core import Code
from gemel.core.errors import TimeError, UnitError, ValueRangeError
from gemel.core.series import EXACT
from gemel.core.time import MINUTE, iso
from gemel.interop.wearables._codes import CARBOHYDRATES, ENERGY, FAT, FIBRE, HEART_RATE, PROTEIN, STEPS, WEIGHT
from gemel.interop.wearables.base import Notes

__all__ = ["MAX_CARBOHYDRATES", "check_amounts", "check_glucose", "check_measurements", "check_rates", "check_recorded", "refuse_backwards"]

MAX_CARBOHYDRATES = 200.0  # g at once; above it a typing error or a day's sum is likelier than a meal
_BASAL_RANGE = (0.005, 30.0)  # U/h; outside it the rate is likelier in U/min (or in mU/h)
_MAX_NUTRIENT = 400.0  # g at once of protein, fat or fibre
_MAX_DOSE = 150.0  # U at once: five times a large dose
_MEDIAN_LIMIT = {"mg/dL": ("below", 30.0, "mmol/L"), "mmol/L": ("above", 35.0, "mg/dL")}
_POSSIBLE = {"mg/dL": 1000.0, "mmol/L": 55.5}
_MEASUREMENTS = {HEART_RATE: (1.0, 350.0), STEPS: (0.0, 200_000.0), WEIGHT: (0.2, 700.0)}  # /min, steps, kg: no person is outside


def refuse_backwards(wall: np.ndarray, rows: np.ndarray, name: str) -> None:
    """Refuse a table on one clock whose times go back by more than the hour of a change to winter time.

    For layouts whose rows stand in order of time by design; elsewhere rows out of order are sorted and reported.

    Raises
    ------
    TimeError
        With the row.
    """
    steps = np.diff(wall)
    back = np.flatnonzero(steps < -65 * MINUTE)
    if len(back):
        index = int(back[0])
        raise TimeError(
            f"the clock goes backwards in row {rows[index + 1]} of {name}",
            seen=f"{-steps[index] / MINUTE:.0f} min earlier than the row before",
            expected="rows in order of time",
            fix="correct the clock, or sort the rows if they are events of one clock",
        )


def check_recorded(time: np.ndarray, recorded: np.ndarray, rows: np.ndarray, name: str) -> None:
    ahead = np.flatnonzero(time - recorded > 2 * MINUTE)
    if len(ahead):
        index = ahead[0]
        raise TimeError(
            f"row {rows[index]} of {name} was recorded before it was true ({len(ahead)} such rows)",
            seen=f"time {iso(int(time[index]))}, recorded {iso(int(recorded[index]))}",
            expected="recorded at or after time (2 min of clock difference allowed)",
            fix="correct the clock or the zone of one of the two columns, or drop 'recorded'",
        )


def check_glucose(values: np.ndarray, censored: np.ndarray, unit: str, row: Callable[[int], int], name: str, notes: Notes) -> None:
    """Refuse glucose of another unit or beyond what is possible; take what is not above zero as missing, in place.

    Parameters
    ----------
    values, censored : (n,) in ``unit``, NaN where there is none.
    row : index -> number of the row or entry in the file.

    Raises
    ------
    UnitError
        When the median looks like the other unit: below 30 mg/dL, above 35 mmol/L.
    ValueRangeError
        When a value is impossible.
    """
    nothing = np.flatnonzero(values <= 0)
    if len(nothing):
        notes.repair("glucose of zero or less taken as missing", len(nothing), row(nothing[0]))
        values[nothing] = np.nan
    infinite = np.flatnonzero(np.isinf(values))
    measured = values[(censored == EXACT) & np.isfinite(values)]
    if len(measured):
        side, limit, other = _MEDIAN_LIMIT[unit]
        column = "glucose_mmol_l" if other == "mmol/L" else "glucose_mg_dl"
        median = float(np.median(measured))
        if (median < limit) if side == "below" else (median > limit):
            raise UnitError(
                f"glucose in a {unit} column of {name} looks like {other}",
                seen=f"median {median:.1f} {unit}",
                expected=f"a median {'above' if side == 'below' else 'below'} {limit:g} {unit}",
                fix=f"name the column by its true unit ({column}); nothing was converted",
            )
    bad = np.flatnonzero(values > _POSSIBLE[unit])
    bad = bad if len(bad) else infinite
    if len(bad):
        raise ValueRangeError(
            f"impossible glucose in row {row(bad[0])} of {name}",
            seen=f"{values[bad[0]]:g} {unit}",
            expected=f"at most {_POSSIBLE[unit]:g} {unit}",
            fix="correct the row or the unit",
        )


def check_measurements(values: np.ndarray, rows: np.ndarray, *, code: Code, unit: str, name: str) -> None:
    """Refuse heart rates, steps and weights that no person has; every other code may be any number.

    Raises
    ------
    ValueRangeError
        With the row.
    """
    low, high = _MEASUREMENTS.get(code, (-np.inf, np.inf))
    bad = np.flatnonzero((values < low) | (values > high))
    if len(bad):
        raise ValueRangeError(
            f"impossible {code.display or code} in row {rows[bad[0]]} of {name}",
            seen=f"{values[bad[0]]:g} {unit}",
            expected=f"{low:g} to {high:g} {unit}",
            fix="correct the row, or its unit",
        )


def check_amounts(amounts: np.ndarray, rows: np.ndarray, *, code: Code, unit: str, name: str) -> None:
    """Refuse amounts that nobody takes at once.

    Raises
    ------
    ValueRangeError
        For a negative amount, more than 200 g of carbohydrate or more than 150 U of insulin at once.
    """
    negative = np.flatnonzero(amounts < 0)
    if len(negative):
        raise ValueRangeError(
            f"negative {code.display or code} in row {rows[negative[0]]} of {name}",
            seen=f"{amounts[negative[0]]:g} {unit}",
            expected="0 or more",
            fix="correct the row",
        )
    limit, advice = {
        CARBOHYDRATES: (MAX_CARBOHYDRATES, "split the meal into its parts, or correct the row"),
        ENERGY: (10_000.0, "check the unit (kcal, not J)"),
        **dict.fromkeys((PROTEIN, FAT, FIBRE), (_MAX_NUTRIENT, "check the unit (g, not mg)")),
    }.get(code, (_MAX_DOSE, "correct the row, or its unit"))
    much = np.flatnonzero(amounts > limit)
    if len(much):
        raise ValueRangeError(
            f"too much at once in row {rows[much[0]]} of {name}: {code.display or code}",
            seen=f"{amounts[much[0]]:g} {unit}",
            expected=f"at most {limit:g} {unit}",
            fix=advice,
        )


def check_rates(rates: np.ndarray, rows: np.ndarray, name: str) -> None:
    """Refuse pump rates that are not in U/h.

    Raises
    ------
    UnitError
        When a rate is negative, above 30 U/h, or above zero and below 0.005 U/h: it looks like U/min or mU/h.
    """
    bad = np.flatnonzero((rates < 0) | (rates > _BASAL_RANGE[1]) | ((rates > 0) & (rates < _BASAL_RANGE[0])))
    if len(bad):
        raise UnitError(
            f"basal rate in row {rows[bad[0]]} of {name} does not look like U/h",
            seen=f"{rates[bad[0]]:g} U/h",
            expected=f"0, or {_BASAL_RANGE[0]:g} to {_BASAL_RANGE[1]:g} U/h",
            fix="U/min or mU/h? convert the column to U/h",
        )
