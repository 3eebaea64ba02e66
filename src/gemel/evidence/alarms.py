"""Alarms from forecasts: sensitivity against false alarms per day, as one would live with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gemel.engine.bands import LEVELS
from gemel.evidence.stream_protocol import Alarm, Recording, Windows

__all__ = ["AlarmCurve", "alarm_curve", "events"]

THRESHOLDS = (0.02, *(round(0.05 + 0.025 * i, 3) for i in range(19)), 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class AlarmCurve:
    """For each probability at which the alarm would ring: share of events warned of, and false alarms per day.

    ``chosen`` is the threshold with the highest sensitivity on the calibration parts at no more than one false alarm a day there.
    """

    name: str
    events: int
    days: float
    thresholds: tuple[float, ...]
    sensitivity: tuple[float, ...]
    false_per_day: tuple[float, ...]
    chosen: float

    def at_chosen(self) -> tuple[float, float]:
        """Return (sensitivity, false alarms per day) on the test parts at the chosen threshold."""
        i = self.thresholds.index(self.chosen)
        return self.sensitivity[i], self.false_per_day[i]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        sensitivity, false = self.at_chosen()
        return {
            "name": self.name, "events": self.events, "days": round(self.days, 2), "chosen_probability": self.chosen, "sensitivity": round(sensitivity, 4),
            "false_alarms_per_day": round(false, 4),
            "curve": [{"probability": t, "sensitivity": round(s, 4), "false_alarms_per_day": round(f, 4)} for t, s, f in zip(self.thresholds, self.sensitivity, self.false_per_day, strict=True)],
        }  # fmt: skip


def events(value: Float[np.ndarray, " n"], step: int, alarm: Alarm) -> np.ndarray:
    """Return the slots at which an event begins: below the threshold after ``clear`` minutes of readings above it."""
    k = alarm.clear // step
    found = []
    for i in np.flatnonzero(value < alarm.threshold):
        before = value[max(0, i - k) : i]
        real = before[~np.isnan(before)]
        if i >= k and len(real) and (real >= alarm.threshold).all():
            found.append(int(i))
    return np.asarray(found, int)


def _probability_below(quantiles: Float[np.ndarray, "w level"], threshold: float) -> np.ndarray:
    """Return P(value < threshold) by linear interpolation of the quantile function."""
    below = (quantiles < threshold).sum(axis=1)
    i = np.clip(below, 1, len(LEVELS) - 1)
    rows = np.arange(len(quantiles))
    low, high = quantiles[rows, i - 1], quantiles[rows, i]
    share = np.clip((threshold - low) / np.maximum(high - low, 1e-9), 0.0, 1.0)
    return np.where(below == 0, LEVELS[0] / 2, np.where(below == len(LEVELS), 1 - LEVELS[0] / 2, LEVELS[i - 1] + share * 0.01))


def _count(
    recording: Recording, w: Windows, probability: np.ndarray, alarm: Alarm, part: int, threshold: float
) -> tuple[int, int, int, float]:
    """Events, events warned of, false alarms and days in one part of one recording."""
    n = len(recording.value)
    use = w.part == part
    if not use.any():
        return 0, 0, 0, 0.0
    span, step = alarm.within // recording.step, recording.step
    first, last = int(w.origin[use][0]), int(w.origin[use][-1])
    covered = np.zeros(n, bool)
    covered[w.origin[use]] = True
    begins = [
        e for e in events(np.asarray(recording.value), step, alarm) if first < e <= last + span and covered[max(0, e - span) : e].any()
    ]
    awake = use & (w.lags[:, 0] >= alarm.threshold)
    ringing = w.origin[awake & (probability > threshold)]
    warned = sum(1 for e in begins if ((ringing >= e - span) & (ringing < e)).any())
    false, quiet_until = 0, -1
    starts = np.asarray(begins, int)
    for o in ringing:
        if o < quiet_until:
            continue
        quiet_until = o + span
        false += not ((starts > o) & (starts <= o + span)).any()
    return len(begins), warned, false, use.sum() * step / 1440.0


def alarm_curve(
    alarm: Alarm, recordings: Sequence[Recording], parts: Sequence[Windows], quantiles: Sequence[Float[np.ndarray, "w level"]]
) -> AlarmCurve:
    """Return the curve on the test parts, with the threshold chosen on the calibration parts.

    An alarm rings when the probability of lying below the threshold at the end of the span exceeds a level; a ringing alarm stays silent for the span.
    """
    probability = [_probability_below(q, alarm.threshold) for q in quantiles]

    def total(part: int, threshold: float) -> tuple[float, float, int, float]:
        found = np.sum([_count(r, w, p, alarm, part, threshold) for r, w, p in zip(recordings, parts, probability, strict=True)], axis=0)
        n, warned, false, days = found
        return (warned / n if n else float("nan")), (false / days if days else float("nan")), int(n), float(days)

    calibration = [total(1, t) for t in THRESHOLDS]
    allowed = [(s, -t, t) for (s, f, _, _), t in zip(calibration, THRESHOLDS, strict=True) if f <= 1.0 and np.isfinite(s)]
    chosen = max(allowed)[2] if allowed else THRESHOLDS[-1]
    test = [total(2, t) for t in THRESHOLDS]
    return AlarmCurve(alarm.name, test[0][2], test[0][3], THRESHOLDS, tuple(t[0] for t in test), tuple(t[1] for t in test), chosen)
