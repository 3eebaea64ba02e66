"""Compression lows: a sensor that is lain upon reads too low for a while. Found in retrospect and as they happen; marked, never deleted.

The sign in retrospect is a fall faster than the body's, a low stretch, and a rebound as fast to the level before, with no insulin, exercise or carbohydrate
that explains it. While it lasts only the fall can be seen, which a real low may share: what is said then is a suspicion. A mark is a new
version of a reading, preliminary in status with the same value: the twin, the metrics and every alarm still see it. A real low must never be hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gemel.core.code import Code
from gemel.core.errors import DomainError, TimeError
from gemel.core.record import PatientRecord
from gemel.core.series import PRELIMINARY, Series
from gemel.core.time import MINUTE, iso, local_minutes_of_day
from gemel.twins.metabolic import observe

__all__ = ["CANDIDATE", "CompressionLow", "compression_lows", "compression_suspected", "marked"]

EXERCISE = Code.parse("loinc:73985-4")
STEP = 5 * MINUTE
SLOWEST = 7.5
"""Minutes between readings beyond which the edges of such a low cannot be seen."""
CANDIDATE = 1.5
"""mg/dL/min, mean of ten minutes: a fall and a rebound at least so fast make a stretch worth weighing. Published rules ask for 2 to 3."""
LONGEST = 24
"""Slots: two hours of lying on one side. ASSUMED."""
NIGHT = (22.0, 8.0)
"""Local hours in which people lie. ASSUMED."""

LEARNT = "estimated on virtual people drawn anew with planted lows (benchmarks/metabolic_detect.py --learn); ASSUMED for real ones"
WEIGHTS = {"one": -7.5, "fall": 0.85, "rebound": 0.94, "depth": 8.65, "night": 1.15, "explained": -1.87}
"""Log odds per feature in retrospect; fall and rebound in mg/dL/min, depth as share of the level. Source: ``LEARNT``."""
SUSPICION = {"one": -6.83, "fall": 1.06, "depth": 4.14, "before": -0.65, "night": 1.96, "explained": -0.63}
"""The same while it lasts; ``before`` is the fall that was already under way (mg/dL/min)."""


@dataclass(frozen=True)
class CompressionLow:
    """A stretch of readings that the sensor may have made too low.

    ``first`` and ``last`` are the times of its readings (ns UTC); ``probability`` that it is an artefact; ``level`` before it and ``lowest`` in it, mg/dL;
    ``ended`` is false while it lasts; ``explained`` whether insulin, exercise or carbohydrate could be the cause; ``features`` what was weighed.
    """

    first: int
    last: int
    probability: float
    level: float
    lowest: float
    ended: bool
    explained: bool
    features: dict[str, float]


def _grid(record: PatientRecord) -> tuple[int, Float[np.ndarray, " slot"], np.ndarray]:
    """Put readings on slots of five minutes, NaN where none is; return the first slot's time, the values and the readings' times."""
    known = observe.glucose(record)
    if len(known.time) < 3:
        return 0, np.zeros(0), known.time
    cadence = float(np.median(np.diff(known.time))) / MINUTE
    if cadence > SLOWEST:
        raise DomainError(
            "a compression low cannot be told from readings this far apart", seen=f"{cadence:.0f} min", expected=f"at most {SLOWEST:g} min"
        )
    k = np.floor(known.time / STEP + 0.5).astype(np.int64)
    value = np.full(int(k[-1] - k[0]) + 1, np.nan)
    value[k - k[0]] = known.read
    return int(k[0]) * STEP, value, known.time


def _rate(value: np.ndarray) -> np.ndarray:
    """Rate over the last ten minutes (mg/dL/min), NaN where a reading is missing."""
    out = np.full(len(value), np.nan)
    out[2:] = (value[2:] - value[:-2]) / 10.0
    return out


def _is_night(record: PatientRecord, time: int) -> float:
    hour = local_minutes_of_day(np.array([time]), record.demographics.zone)[0] / 60.0
    return float(hour >= NIGHT[0] or hour < NIGHT[1])


def _explained(record: PatientRecord, start: int, end: int) -> float:
    """Whether something known could have made the fall (insulin in the last three hours, exercise in the last two) or the rebound (carbohydrate)."""
    for e in record.find_exposures(observe.FAST, observe.PREMIXED):
        if start - 180 * MINUTE <= e.start <= end and e.end - e.start < 60 * MINUTE:
            return 1.0
    if any(e.start <= end and e.end >= start - 120 * MINUTE for e in record.find_exposures(EXERCISE)):
        return 1.0
    carbs = record.find_exposures(observe.CARBOHYDRATE, observe.ENERGY, observe.UNQUANTIFIED)
    return float(any(start - 20 * MINUTE <= e.start <= end + 10 * MINUTE for e in carbs))


def _odds(weights: dict[str, float], features: dict[str, float]) -> float:
    logit = sum(weights[name] * features[name] for name in weights)
    return float(1.0 / (1.0 + np.exp(-np.clip(logit, -50.0, 50.0))))


def _median(value: np.ndarray) -> float:
    real = value[np.isfinite(value)]
    return float(np.median(real)) if len(real) else float("nan")


def candidates(record: PatientRecord) -> list[CompressionLow]:
    """Return every stretch with a fast fall and a fast rebound to about the level before, each with its probability."""
    begin, value, times = _grid(record)
    rate, found, i = _rate(value), [], 3
    while i < len(value) - 3:
        if not rate[i] <= -CANDIDATE:
            i += 1
            continue
        top = i - 2  # the last slot before the fall
        level = _median(value[max(0, top - 3) : top + 1])
        end = _rebound(value, rate, i, level)
        if end is None:
            i += 1
            continue
        inside = value[top + 1 : end]
        lowest = float(np.nanmin(inside)) if np.isfinite(inside).any() else float("nan")
        depth = level - lowest
        if np.isfinite(depth) and depth > 0:
            first, last = _covered(times, begin, top + 1, end - 1)
            said = {
                "one": 1.0, "fall": float(-np.nanmin(rate[i : min(i + 3, end)])), "rebound": float(np.nanmax(rate[end - 1 : end + 3])), "depth": depth / level,
                "night": _is_night(record, first), "explained": _explained(record, first, last),
            }  # fmt: skip
            found.append(CompressionLow(first, last, _odds(WEIGHTS, said), level, lowest, True, bool(said["explained"]), said))
            i = end
        i += 1
    return found


def _rebound(value: np.ndarray, rate: np.ndarray, i: int, level: float) -> int | None:
    """Return the first slot after a fall at ``i`` that has come back fast to at least half of what was lost, within two hours."""
    lowest = np.inf
    for j in range(i, min(i + LONGEST, len(value) - 1)):
        if np.isfinite(value[j]):
            lowest = min(lowest, value[j])
        if j > i and rate[j] >= CANDIDATE and value[j] >= level - 0.5 * (level - lowest):
            return j
    return None


def _covered(times: np.ndarray, begin: int, a: int, b: int) -> tuple[int, int]:
    """Times of the first and last reading in slots ``a`` to ``b``."""
    low, high = begin + a * STEP - STEP // 2, begin + b * STEP + STEP // 2
    inside = times[(times >= low) & (times < high)]
    return (int(inside[0]), int(inside[-1])) if len(inside) else (begin + a * STEP, begin + b * STEP)


def compression_lows(record: PatientRecord, *, least: float = 0.5) -> tuple[CompressionLow, ...]:
    """Return the ended stretches whose probability of being an artefact of pressure is at least ``least``, in order of time.

    In retrospect: the rebound is part of the evidence. ``compression_lows(record.as_of(now))`` says what could be said at ``now`` of those already over.

    Raises
    ------
    DomainError
        When readings are more than 7.5 min apart: the edges cannot be seen.

    Notes
    -----
    The probability is a logistic regression; its weights were learnt on virtual people with planted lows, whose share among candidates is not that of
    real nights: it orders stretches well and is calibrated for those people only.
    """
    return tuple(low for low in candidates(record) if low.probability >= least)


def suspicion(record: PatientRecord, now: int) -> CompressionLow | None:
    """Weigh the fall of the last hour, if there is one, whatever its probability."""
    known = record.as_of(now)
    known = known.model_copy(update={"series": tuple(s.between(now - 120 * MINUTE, now + 1) for s in known.series)})
    begin, value, times = _grid(known)
    if len(value) < 8 or not len(times) or now - int(times[-1]) > 15 * MINUTE:
        return None
    rate, n = _rate(value), len(value)
    back = np.arange(max(2, n - 12), n)
    falls = back[rate[back] <= -CANDIDATE]
    if not len(falls):
        return None
    i = int(falls[0])
    top = i - 2
    level, lowest = _median(value[max(0, top - 3) : top + 1]), float(np.nanmin(value[top + 1 :]))
    depth = level - lowest
    if not np.isfinite(depth) or depth <= 0 or not value[-1] < level - 0.5 * depth:
        return None
    steepest = float(-np.nanmin(rate[i:]))
    first, last = _covered(times, begin, top + 1, n - 1)
    said = {
        "one": 1.0, "fall": steepest, "depth": depth / level,
        "before": float(max(0.0, -np.nan_to_num(rate[top]))) if top >= 2 else 0.0, "night": _is_night(known, first), "explained": _explained(known, first, now),
    }  # fmt: skip
    return CompressionLow(first, last, _odds(SUSPICION, said), level, lowest, False, bool(said["explained"]), said)


def compression_suspected(record: PatientRecord, now: int, *, least: float = 0.5) -> CompressionLow | None:
    """Say whether the readings up to ``now`` look like pressure on the sensor, from what was known at ``now`` only.

    A suspicion, for display beside an alarm and never in its place: without the rebound nobody can tell it from a real fast fall.
    """
    found = suspicion(record, now)
    return None if found is None or found.probability < least else found


def marked(record: PatientRecord, lows: tuple[CompressionLow, ...] | list[CompressionLow], now: int) -> PatientRecord:
    """Return the record with the readings of these stretches appended again as preliminary: same time, same value, recorded at ``now``.

    Nothing is deleted and no value changes: ``as_of`` an earlier moment gives the unmarked readings, and forecasts, metrics and alarms see every one.

    Raises
    ------
    TimeError
        When a stretch ends after ``now``.
    """
    late = [low for low in lows if low.last > now]
    if late:
        raise TimeError("a reading cannot be marked before it was true", seen=iso(late[0].last), expected=f"at or before {iso(now)}")
    facts: list[Series] = []
    for series in record.find_series(*observe.CGM):
        kept = series.as_of(now).current()
        chosen = np.zeros(len(kept), bool)
        for low in lows:
            chosen |= (kept.time >= low.first) & (kept.time <= low.last)
        chosen &= kept.status != PRELIMINARY
        if chosen.any():
            part = kept.take(chosen)
            facts.append(part.model_copy(update={"recorded": np.full(len(part), now), "status": np.full(len(part), PRELIMINARY, np.uint8)}))
    return record.with_facts(*facts)
