"""What a watch or a strap says beside glucose: heart rate, movement and sleep on the slots of a recording, and the features made of them.

They enter the learnt part of the forecast as covariates of glucose's change, for insulin acts more strongly during and after exercise and after enough
sleep. Everything is relative to the person's own past mean, because devices differ more than people do. What they add is printed by
``gemel validate`` as *twin without wearables*, also where it is nothing.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from gemel.core.code import Code
from gemel.core.record import PatientRecord
from gemel.core.time import MINUTE

__all__ = ["COLUMNS", "COUNT", "features", "on_slots"]

HEART_RATE = Code.parse("loinc:8867-4")
MOVEMENT = (Code.parse("loinc:55423-8"), Code.parse("gemel:activity-level"))
EXERCISE, SLEEP = Code.parse("loinc:73985-4"), Code.parse("gemel:sleep")
COLUMNS = ("heart", "movement", "exercise", "sleep")
COUNT = 12
"""Features made of them."""
HEART_UNIT, LONGEST_SLEEP_H = 15.0, 12.0
"""Beats per minute of one step of the feature; a longer entry of sleep is a forgotten button. ASSUMED."""


def on_slots(record: PatientRecord, first: int, count: int, step: int) -> Float[np.ndarray, "slot column"] | None:
    """Return slot means of heart rate and movement (NaN where silent), shares of exercise and sleep; ``None`` without any of them.

    Slot *k* holds what was true and known by its end.
    """
    slot = step * MINUTE
    out = np.full((count, len(COLUMNS)), np.nan)
    found = False
    for column, codes in ((0, (HEART_RATE,)), (1, MOVEMENT)):
        for series in record.find_series(*codes):
            kept = series.current()
            k = np.ceil(kept.time / slot).astype(np.int64) - first
            inside = (k >= 0) & (k < count) & np.isfinite(kept.value)
            total = np.bincount(k[inside], kept.value[inside], count)
            number = np.bincount(k[inside], minlength=count)
            heard = number > 0
            out[heard, column] = total[heard] / number[heard]
            found = found or bool(heard.any())
    for column, code in ((2, EXERCISE), (3, SLEEP)):
        entries = record.find_exposures(code)
        if entries:
            out[:, column] = 0.0
        for entry in entries:
            end = min(entry.end, entry.start + round(LONGEST_SLEEP_H * 60) * MINUTE)
            edges = (first + np.arange(count + 1) - 1) * slot
            share = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], entry.start), 0, None) / slot
            share[edges[1:] < entry.recorded] = 0.0  # told later than it was true
            out[:, column] = np.maximum(out[:, column], share)
            found = True
    return out if found else None


def _mean(x: np.ndarray, first: int, last: int) -> np.ndarray:
    """Mean of the entries between ``first`` and ``last`` slots ago (NaN where none is real), causal."""
    real = ~np.isnan(x)
    total = np.concatenate([[0.0], np.cumsum(np.where(real, x, 0.0))])
    number = np.concatenate([[0.0], np.cumsum(real)])
    i = np.maximum(np.arange(1, len(x) + 1) - first, 0)
    j = np.maximum(np.arange(1, len(x) + 1) - last, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total[i] - total[j]) / (number[i] - number[j])


def features(table: Float[np.ndarray, "slot column"], step: int) -> Float[np.ndarray, "slot feature"]:
    """Return covariates at every slot from that slot and earlier ones; zero where nothing is known.

    Heart rate and movement: now, over the last half hour, one to three hours ago, three to twelve hours ago. Exercise: last half hour and last six.
    Sleep: now, and hours of the last day against seven.
    """
    s, out = step, []
    for column in (0, 1):
        x = table[:, column]
        usual = _mean(x, 1, 10**9)
        if column == 0:
            relative = np.clip((x - usual) / HEART_UNIT, -4.0, 6.0)
        else:
            relative = np.clip(x / np.where(usual > 0, usual, np.nan) - 1.0, -1.0, 6.0)
        out += [
            _mean(relative, 0, a // s) if b is None else _mean(relative, a // s, b // s)
            for a, b in ((15, None), (30, None), (60, 180), (180, 720))
        ]
    exercise, sleep = table[:, 2], table[:, 3]
    out += [_mean(exercise, 0, 30 // s), _mean(exercise, 0, 360 // s), sleep, _mean(sleep, 0, 1440 // s) * 24.0 - 7.0]
    return np.nan_to_num(np.stack(out, axis=1))
