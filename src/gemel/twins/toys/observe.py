"""From a record to data: readings and doses in the toys' units, and when to abstain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from gemel.core.advice import AbstentionReason
from gemel.core.code import Code
from gemel.core.record import PatientRecord
from gemel.core.time import HOUR, local_minutes_of_day
from gemel.engine.compile import bucket
from gemel.engine.data import Dataset, Slots
from gemel.engine.model import Domain, Observed
from gemel.engine.plan import Plan

if TYPE_CHECKING:
    from gemel.twins.toys.model import GrowthModel

__all__ = ["DOSE", "SIGNAL", "Clock", "Grid", "domain", "doses", "observe_growth", "observe_linear", "readings", "slots"]

SIGNAL, DOSE = Code.parse("gemel:toy-signal"), Code.parse("gemel:toy-dose")
UNIT = "[arb'U]"
OLDEST = 48 * HOUR
"""A last reading older than this says too little about now."""
LARGEST_DOSE = 20.0
FEWEST = 3


class Clock(eqx.Module):
    """Context of the linear toy: hour of the day at the epoch."""

    hour: Array


class Grid(eqx.Module):
    """Context of the growth toy: the hours at which its slots end, padded to a bucket length."""

    end: Float[Array, " slot"]


def readings(record: PatientRecord) -> tuple[np.ndarray, np.ndarray, int]:
    """Return times (ns UTC) and values of the exact readings, and how many censored ones were left out."""
    return record.exact_readings(SIGNAL, unit=UNIT)


def doses(record: PatientRecord, epoch: int) -> list[tuple[float, float, float, int]]:
    """Return plan events ``(start, duration, milligrams, channel 0)``, hours since the epoch."""
    return [
        ((e.start - epoch) / HOUR, (e.end - e.start) / HOUR, e.quantity.in_unit("mg"), 0)
        for e in record.find_exposures(DOSE)
        if e.quantity is not None
    ]


def _gathered(record: PatientRecord, now: int, epoch: int | None, *, step: int) -> tuple[int, np.ndarray, np.ndarray, tuple[str, ...]]:
    time, value, censored = readings(record)
    notes = [f"{censored} reading(s) beyond a limit were left out"] if censored else []
    if (time > now).any():
        notes.append(f"{int((time > now).sum())} reading(s) later than now were ignored")
    if epoch is None:
        first = [int(time[0])] if len(time) and time[0] <= now else []
        first += [e.start for e in record.find_exposures(DOSE) if e.start <= now][:1]
        epoch = min(first, default=now) // step * step
    use = (time <= now) & (time >= epoch)
    return epoch, time[use], value[use], tuple(notes)


def observe_linear(record: PatientRecord, now: int, *, epoch: int | None) -> Observed:
    """Turn a record into data of the linear toy; time zero is the first fact."""
    epoch, time, value, notes = _gathered(record, now, epoch, step=1)
    hour = local_minutes_of_day(np.array([epoch]), record.demographics.zone)[0] / 60.0
    given = doses(record, epoch)
    data = Dataset.of((time - epoch) / HOUR, value)
    latest = int(time[-1]) if len(time) else None
    return Observed(epoch, data, Plan.of(given), Clock(np.asarray(hour)), latest, notes, {"readings": len(time), "doses": len(given)})


def _slot_of(time: np.ndarray, epoch: int, slot: float) -> np.ndarray:
    return np.floor((time - epoch) / (slot * HOUR) + 0.5).astype(np.int64)


def observe_growth(model: GrowthModel, record: PatientRecord, now: int, *, epoch: int | None) -> Observed:
    """Turn a record into data of the growth toy: readings on the nearest slot, time zero a slot's edge before the first fact."""
    step = round(model.slot * HOUR)
    epoch, time, value, notes = _gathered(record, now, epoch, step=step)
    index = _slot_of(time, epoch, model.slot)
    span = bucket(max(1, -(-(now - epoch) // step) + 1), smallest=64)
    given = doses(record, epoch)
    data = Dataset.of(index * model.slot, value)
    latest = int(time[-1]) if len(time) else None
    grid = Grid(model.slot * (1.0 + np.arange(span)))
    return Observed(epoch, data, Plan.of(given), grid, latest, notes, {"readings": len(time), "doses": len(given)})


def slots(model: GrowthModel, record: PatientRecord, now: int, *, epoch: int) -> Slots:
    """Put readings on their nearest slot and doses where they act, from the epoch to ``now``."""
    time, value, _ = readings(record)
    count = int((now - epoch) // round(model.slot * HOUR)) + 1
    index = _slot_of(time, epoch, model.slot)
    use = (index >= 0) & (index < count) & (time <= now)
    shown, mask = np.zeros((count, 1)), np.zeros((count, 1), bool)
    shown[index[use], 0], mask[index[use], 0] = value[use], True
    inputs = np.zeros((count, 1))
    for start, length, amount, _ in doses(record, epoch):
        edge = np.clip((model.slot * np.arange(-1, count) - start) / max(length, model.slot), 0.0, 1.0)
        inputs[:, 0] += amount * np.diff(edge) / model.slot
    return Slots(shown, mask, np.zeros((count, 1), int), inputs)


def domain(record: PatientRecord, now: int, *, low: float, high: float) -> Domain:
    """Abstain when readings are few, old or beyond the validated range, or a dose is."""
    time, value, _ = readings(record)
    time, value = time[time <= now], value[time <= now]
    if len(time) < FEWEST:
        return Domain(AbstentionReason.OUT_OF_DOMAIN, f"{len(time)} reading(s) are known; at least {FEWEST} are needed")
    if now - time[-1] > OLDEST:
        return Domain(
            AbstentionReason.DATA_TOO_OLD,
            f"the last reading is {(now - time[-1]) / HOUR:.0f} h old; at most {OLDEST / HOUR:.0f} h is accepted",
        )
    if not low <= value[-1] <= high:
        return Domain(AbstentionReason.OUT_OF_DOMAIN, f"the last reading is {value[-1]:.1f} {UNIT}, outside {low:g} to {high:g}")
    given = [amount for _, _, amount, _ in doses(record, now)]
    if any(not 0 <= amount <= LARGEST_DOSE for amount in given):
        return Domain(AbstentionReason.OUT_OF_DOMAIN, f"a dose of {max(given, key=abs):g} mg lies outside 0 to {LARGEST_DOSE:g} mg")
    return Domain()
