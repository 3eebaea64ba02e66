"""CGMacros: one file per person (``CGMacros-001.csv``), a row every minute, two sensors, a wristband, and meals with their nutrients.

Columns: ``Timestamp, Libre GL, Dexcom GL, HR, Calories (Activity), METs, Meal Type, Calories, Carbs, Protein, Fat, Fiber, Amount Consumed``. The publisher
interpolated the glucose of both sensors to one minute. A line between two readings knows the second of them: only the readings themselves are kept (see
:func:`readings_only`). Nutrients are of the meal as served; the share that was eaten is ``Amount Consumed`` in percent.

References
----------
CGMacros, PhysioNet 1.0.0 (share-alike, non-commercial): an importer only, nothing of it is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gemel.core import Code, Demographics, Exposure, PatientRecord, Series
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._grid import Grid, has_columns, read_grid
from gemel.interop.wearables.base import Layout, Options, Parsed, Source

__all__ = ["LAYOUT", "readings_only"]

_SENSORS = {"Libre GL": (15, "cgmacros:libre"), "Dexcom GL": (5, "cgmacros:dexcom")}  # minutes between readings; source
_NUTRIENTS = {
    "Calories": (facts.ENERGY, "kcal"),
    "Carbs": (facts.CARBOHYDRATES, "g"),
    "Protein": (facts.PROTEIN, "g"),
    "Fat": (facts.FAT, "g"),
    "Fiber": (facts.FIBRE, "g"),
}
_SERIES = {
    "HR": (facts.HEART_RATE, "/min"),
    "Steps": (facts.STEPS, "{steps}"),
    "Calories (Activity)": (facts.ENERGY_SPENT, "kcal"),
    "METs": (Code.parse("gemel:activity-level"), "1"),
}
_MEALS = "Meal Type"
_MINUTE = 60_000_000_000


def readings_only(time: np.ndarray, values: np.ndarray, period: int) -> np.ndarray:
    """Take the interpolated points out of a line drawn through readings.

    Kept are the corners of the line, its ends, and the points at whole periods after a corner (a reading may lie on the line).

    Parameters
    ----------
    time : (n,) ns UTC, increasing.
    values : (n,) with NaN where there is none.
    period : minutes between the sensor's readings.

    Returns
    -------
    (n,) values, NaN where the point was interpolated.

    Examples
    --------
    >>> minutes = np.arange(11) * 60_000_000_000
    >>> line = np.interp(np.arange(11), [0, 5, 10], [100.0, 110.0, 105.0])
    >>> np.flatnonzero(np.isfinite(readings_only(minutes, line, 5))).tolist()
    [0, 5, 10]
    """
    out = np.full(len(values), np.nan)
    has = np.flatnonzero(np.isfinite(values))
    if not len(has):
        return out
    breaks = np.flatnonzero((np.diff(time[has]) > 1.5 * _MINUTE) | (np.diff(time[has]) < 0.5 * _MINUTE)) + 1
    for run in np.split(has, breaks):
        bend = np.abs(np.diff(values[run], 2)) > 1e-3  # values carry a few decimals; a sensor's step is 1 mg/dL
        corners = [0, *(np.flatnonzero(bend) + 1).tolist(), len(run) - 1]
        kept = {
            corner + k
            for corner, after in zip(corners, [*corners[1:], len(run)], strict=True)
            for k in range(0, max(after - corner, 1), period)
        }
        chosen = run[sorted(kept)]
        out[chosen] = values[chosen]
    return out


@dataclass(frozen=True)
class _Readings:
    """Takes the interpolated points out of one sensor's column, and says how many."""

    grid: Grid
    column: str
    period: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        kept = readings_only(self.grid.time, values, self.period)
        gone = int(np.isfinite(values).sum() - np.isfinite(kept).sum())
        self.grid.notes.repair(f"{self.column}: points interpolated by the publisher taken out", gone)
        return kept


def _meals(grid: Grid) -> list[Exposure]:
    notes = grid.notes
    kinds = [cell.strip() for cell in grid.table.columns.get(_MEALS, [""] * len(grid.time))]
    meal = np.array([bool(kind) and kind.lower() != "nan" for kind in kinds])
    share = grid.numbers("Amount Consumed") if "Amount Consumed" in grid.table.columns else np.full(len(meal), np.nan)
    odd = meal & np.isfinite(share) & ((share < 0) | (share > 100))
    if odd.any():
        notes.unclear(
            f"meals of which more than 100 % was eaten, first in row {grid.rows[np.flatnonzero(odd)[0]]}: size unknown", int(odd.sum())
        )
    partly = meal & (share >= 0) & (share < 100)
    if partly.any():
        notes.repair("nutrients taken as the share that was eaten", int(partly.sum()), int(grid.rows[np.flatnonzero(partly)[0]]))
    unknown = meal & ~np.isfinite(share)
    if unknown.any():
        notes.warn(f"{int(unknown.sum())} meal(s) without Amount Consumed are taken as eaten whole")
    eaten = np.where(np.isfinite(share), share, 100.0) / 100.0
    found: list[Exposure] = []
    for key, (code, unit) in _NUTRIENTS.items():
        if key in grid.table.columns:
            amounts = grid.numbers(key)
            outside = np.isfinite(amounts) & (amounts > 0) & ~meal
            if outside.any():
                notes.unclear(f"{key} in rows without a meal type", int(outside.sum()))
            found += grid.doses(code, unit, np.where(meal & ~odd, amounts * eaten, np.nan))
    carbs = grid.numbers("Carbs") if "Carbs" in grid.table.columns else np.full(len(meal), np.nan)
    for index in np.flatnonzero(meal & (odd | ~np.isfinite(carbs))).tolist():
        at = int(grid.time[index])
        found.append(Exposure(code=facts.MEAL_UNQUANTIFIED, quantity=None, start=at, source=grid.origin, note=kinds[index][:30]))
    return found


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    for source in sources:
        grid = read_grid(source, "cgmacros", "Timestamp", (_MEALS,), options, None, in_order=True)
        notes = grid.notes
        sensors: list[Series] = []
        for column, (period, origin) in _SENSORS.items():
            if column in grid.table.columns:
                sensors += grid.glucose(column, limits=((40.0,), (400.0, 500.0)), keep=_Readings(grid, column, period), source=origin)
        facts.require_glucose(sensors, grid.name)
        found: list[Series | Exposure] = [*sensors, *_meals(grid)]
        found += grid.series(_SERIES, zero_is_absent=("HR",))
        if "METs" in grid.table.columns:
            notes.warn("METs are kept as the table has them; their scale is the publisher's")
        notes.warn("dates are shifted by the publisher: no season")
        grid.ignore_others(("Timestamp", _MEALS, "Amount Consumed", *_SENSORS, *_NUTRIENTS, *_SERIES))
        record = PatientRecord(
            id=options.id if options.id and len(sources) == 1 else source.stem,
            demographics=Demographics(zone=grid.zone, traits={"dataset": "CGMacros"}),
        ).with_facts(*found)
        parsed.append((record, notes.report(record)))
    return parsed


LAYOUT = Layout(
    "cgmacros",
    "CGMacros (two sensors, wristband, meals with nutrients and the share eaten)",
    has_columns("Timestamp", _MEALS, "Amount Consumed"),
    _parse,
)
