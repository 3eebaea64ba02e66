"""``score``: a forecast against what really happened."""

from __future__ import annotations

import numpy as np

from gemel.core.advice import Score, ScoreRow
from gemel.core.code import Code
from gemel.core.errors import ModelError
from gemel.core.record import PatientRecord
from gemel.core.time import MINUTE
from gemel.core.units import convert, is_convertible
from gemel.engine.forecast import Forecast
from gemel.engine.score import crps_draws, log_score_kernel, pit

__all__ = ["COVERAGE_LEVELS", "score"]

COVERAGE_LEVELS = (0.5, 0.8, 0.9, 0.95)


def _readings(record: PatientRecord, code: str, unit: str, now: int) -> tuple[np.ndarray, np.ndarray]:
    wanted = Code.parse(code)
    times, values = [], []
    for series in record.series:
        analyte = _analyte(series.unit, unit)
        if series.code != wanted and not (analyte and series.code in _SAME.get(wanted, ())):
            continue
        kept = series.as_of(now).current()
        exact = kept.take(kept.censored == 0)
        times.append(exact.time)
        values.append(convert(exact.value, series.unit, unit, analyte=analyte))
    if not times:
        return np.zeros(0, np.int64), np.zeros(0)
    time, value = np.concatenate(times), np.concatenate(values)
    order = np.argsort(time, kind="stable")
    return time[order], value[order]


_SAME = {Code.parse("loinc:99504-3"): (Code.parse("loinc:105272-9"),), Code.parse("loinc:105272-9"): (Code.parse("loinc:99504-3"),)}


def _analyte(unit: str, wanted: str) -> str | None:
    return None if is_convertible(unit, wanted) else "glucose"


def score(forecast: Forecast, record: PatientRecord, now: int, *, tolerance: float = 2.5) -> Score:
    """Say how a forecast did.

    Parameters
    ----------
    forecast : as it was made.
    record : the record with what has been measured since; only facts whose true time lies after the issue are used.
    now : ns UTC; only what was known by then.
    tolerance : minutes a reading may lie from a forecast time.

    Returns
    -------
    Score
        One row per forecast time and output with a reading; the others are listed as missing. The naive forecast beside each row is the last
        reading before issue (CRPS of a point forecast is its absolute error).

    Raises
    ------
    ModelError
        When the forecast abstained: there is nothing to score.
    """
    if len(forecast.draws) == 0:
        raise ModelError("an abstained forecast has no draws to score", seen=forecast.reason)
    rows, missing = [], []
    for i, output in enumerate(forecast.outputs):
        time, value = _readings(record, output.code, output.unit, now)
        before = value[time <= forecast.issued]
        after = time > forecast.issued
        for j, (moment, horizon) in enumerate(zip(forecast.times, forecast.horizons, strict=True)):
            near = np.flatnonzero(after & (np.abs(time - moment) <= tolerance * MINUTE))
            if len(near) == 0:
                missing.append((int(moment), output.name))
                continue
            y = float(value[near[np.argmin(np.abs(time[near] - moment))]])
            draws = forecast.draws[:, j, i]
            inside, width = {}, {}
            for level in COVERAGE_LEVELS:
                low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
                inside[f"{level:.2f}"], width[f"{level:.2f}"] = bool(low <= y <= high), float(high - low)
            rows.append(
                ScoreRow(
                    time=int(moment),
                    horizon=float(horizon),
                    output=output.name,
                    observed=y,
                    median=float(np.median(draws)),
                    mean=float(draws.mean()),
                    crps=float(crps_draws(draws, y)),
                    log_score=float(log_score_kernel(draws, y)),
                    pit=float(pit(draws, y)),
                    inside=inside,
                    width=width,
                    naive_crps=abs(float(before[-1]) - y) if len(before) else None,
                )
            )
    return Score(twin=forecast.patient, issued=forecast.issued, rows=tuple(rows), missing=tuple(missing), lineage=forecast.lineage)
