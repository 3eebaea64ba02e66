"""From a record to data: CGM with censored limits, meals with uncertain time and size, insulin by kind; and when to abstain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from gemel.core.advice import AbstentionReason
from gemel.core.code import Code
from gemel.core.errors import DataError, UnitError
from gemel.core.record import Exposure, PatientRecord
from gemel.core.series import ABOVE, BELOW, EXACT
from gemel.core.time import HOUR, MINUTE, iso, local_minutes_of_day
from gemel.core.units import is_convertible
from gemel.engine.compile import bucket
from gemel.engine.data import Dataset, Slots
from gemel.engine.model import Domain, Observed
from gemel.engine.plan import Plan
from gemel.twins.metabolic.priors import fixed

if TYPE_CHECKING:
    from gemel.twins.metabolic.model import MetabolicModel

__all__ = ["CGM", "Context", "Glucose", "body_weight", "domain", "events", "glucose", "observe", "slot_context", "slots", "slots_of"]

CGM = (Code.parse("loinc:99504-3"), Code.parse("loinc:105272-9"))
CARBOHYDRATE, ENERGY, UNQUANTIFIED = Code.parse("loinc:9059-7"), Code.parse("loinc:9052-2"), Code.parse("gemel:meal-unquantified")
FAST, INTERMEDIATE, PREMIXED, LONG = (Code.parse(f"atc:A10A{letter}") for letter in "BCDE")
WEIGHT = Code.parse("loinc:29463-7")
HISTORY_HOURS = 72.0
"""How much of the record before *now* the calibration reads."""


class Context(eqx.Module):
    """What the model needs beside data and plan: weights of the meal windows per slot, first reading, basal insulin (U/min), body weight (kg)."""

    window: Float[Array, "slot window"]
    first: Array
    basal: Array
    weight: Array


class Glucose(eqx.Module):
    """CGM readings of a record in mg/dL, in order of time; ``censored`` as in Series; ``read`` is what stands in the record, beyond the limits too."""

    time: np.ndarray
    value: np.ndarray
    censored: np.ndarray
    read: np.ndarray


def glucose(record: PatientRecord) -> Glucose:
    """Return the CGM of a record in mg/dL; readings at or beyond the sensor's limits are censored there."""
    parts = [s.current() for s in record.find_series(*CGM)]
    if not parts:
        empty = np.zeros(0)
        return Glucose(empty.astype(np.int64), empty, empty.astype(int), empty)
    time = np.concatenate([p.time for p in parts])
    value = np.concatenate([p.values_in("mg/dL", analyte="glucose") for p in parts])
    censored = np.concatenate([p.censored for p in parts]).astype(int)
    order = np.argsort(time, kind="stable")
    time, value, censored = time[order], value[order], censored[order]
    censored = np.where(value <= fixed("sensor_low"), BELOW, np.where(value >= fixed("sensor_high"), ABOVE, censored))
    return Glucose(time, np.where(censored == EXACT, value, np.clip(value, fixed("sensor_low"), fixed("sensor_high"))), censored, value)


def _amount(exposure: Exposure, unit: str) -> float | None:
    return None if exposure.quantity is None else exposure.quantity.in_unit(unit)


def _insulin(exposure: Exposure, epoch: int) -> list[tuple[float, float, float]]:
    """Return (start, duration, units) pieces of one insulin exposure, minutes since the epoch, later by the delay of absorption."""
    quantity = exposure.quantity
    if quantity is None:
        return []
    start = (exposure.start - epoch) / MINUTE + fixed("tau")
    length = (exposure.end - exposure.start) / MINUTE
    if is_convertible(quantity.unit, "[iU]/h"):
        rate = quantity.in_unit("[iU]/min")
        return [(start, length, rate * length)] if rate > 0 and length > 0 else []
    if not is_convertible(quantity.unit, "[iU]"):
        raise UnitError(
            f"insulin {exposure.code} at {iso(exposure.start)}",
            seen=quantity.unit,
            expected="[iU] or [iU]/h",
            fix="correct the unit at the source",
        )
    units = quantity.in_unit("[iU]")
    if units <= 0:
        return []
    fast = (start, max(length, fixed("bolus_minutes")))
    if exposure.code == LONG:
        return [(start, fixed("long_acting_minutes"), units)]
    if exposure.code == INTERMEDIATE:
        return [(start, fixed("intermediate_minutes"), units)]
    if exposure.code == PREMIXED:
        share = fixed("premix_fast_share")
        return [(*fast, share * units), (start, fixed("intermediate_minutes"), (1 - share) * units)]
    return [(*fast, units)]


def events(record: PatientRecord, epoch: int) -> tuple[list[tuple[float, float, float, int]], dict[str, int]]:
    """Return the plan events ``(start, duration, amount, channel)`` of a record's exposures, and counts of what was found."""
    found: list[tuple[float, float, float, int]] = []
    counts = {"meals": 0, "meals from energy": 0, "meals of unknown size": 0, "insulin": 0}
    meals = record.find_exposures(CARBOHYDRATE, ENERGY)
    carbs_at = {e.start for e in meals if e.code == CARBOHYDRATE}
    if meals:
        minute = local_minutes_of_day(np.array([e.start for e in meals]), record.demographics.zone)
        hour = minute / 60.0
        windows = np.where((hour >= 4) & (hour < 11), 0, np.where((hour >= 11) & (hour < 17), 1, 2))
        for exposure, window in zip(meals, windows, strict=True):
            if exposure.code == ENERGY:
                if exposure.start in carbs_at:
                    continue
                energy = _amount(exposure, "kcal")
                grams = None if energy is None else energy * fixed("energy_share") / fixed("energy_density")
                counts["meals from energy"] += 1
            else:
                grams = _amount(exposure, "g")
            if grams is None or grams <= 0:
                continue
            counts["meals"] += 1
            length = max((exposure.end - exposure.start) / MINUTE, fixed("meal_minutes"))
            found.append(((exposure.start - epoch) / MINUTE, length, grams, 1 + int(window)))
    counts["meals of unknown size"] = len(record.find_exposures(UNQUANTIFIED))
    for exposure in record.find_exposures(FAST, INTERMEDIATE, PREMIXED, LONG):
        pieces = _insulin(exposure, epoch)
        counts["insulin"] += bool(pieces)
        found.extend((*piece, 0) for piece in pieces)
    return found, counts


def _weights(minute_of_day: np.ndarray) -> np.ndarray:
    hour = minute_of_day / 60.0
    breakfast = ((hour >= 4) & (hour < 11)).astype(float)
    lunch = ((hour >= 11) & (hour < 17)).astype(float)
    return np.stack([breakfast, lunch, 1.0 - breakfast - lunch], axis=1)


def _basal(found: list[tuple[float, float, float, int]], start: float, stop: float) -> float:
    """Mean rate (U/min) of what is given slowly: pieces of an hour and more."""
    total = 0.0
    for begin, length, amount, channel in found:
        if channel == 0 and length >= 60.0:
            overlap = max(0.0, min(begin + length, stop) - max(begin, start))
            total += amount * overlap / length
    return total / max(stop - start, 60.0)


def body_weight(record: PatientRecord) -> float:
    """Return the last body weight of a record, kg; where there is none, the assumed one."""
    for series in record.find_series(WEIGHT):
        kept = series.current()
        if len(kept):
            return float(kept.values_in("kg")[-1])
    return fixed("body_weight")


def observe(model: MetabolicModel, record: PatientRecord, now: int, *, epoch: int | None = None) -> Observed:
    """Turn a record into data: the last 72 h before ``now``, on slots of five minutes."""
    known = glucose(record)
    notes: list[str] = []
    ahead = known.time > now
    if ahead.any():
        notes.append(f"{int(ahead.sum())} reading(s) later than now were ignored")
    past = ~ahead
    slot_ns = round(model.slot * MINUTE)
    if epoch is None:
        oldest = int(known.time[past][0]) if past.any() else now - round(HISTORY_HOURS * HOUR)
        epoch = max(oldest, now - round(HISTORY_HOURS * HOUR)) // slot_ns * slot_ns
    use = past & (known.time > epoch + slot_ns // 2)
    time, value, censored = known.time[use], known.value[use], known.censored[use]
    if (censored != EXACT).any():
        notes.append(f"{int((censored != EXACT).sum())} reading(s) at the sensor's limits enter as censored")
    read = known.read[use]  # before limits: clipped to 40, nothing would look wrong
    if len(read) >= 12 and np.median(read) < 30:
        raise DataError(
            "glucose looks like mmol/L read as mg/dL",
            seen=f"median {np.median(read):.1f} mg/dL",
            expected="> 30",
            fix="import the file with its true unit",
        )
    found, counts = events(record, epoch)
    if counts["meals of unknown size"]:
        notes.append(f"{counts['meals of unknown size']} meal(s) of unknown size are left to unannounced appearance")
    if not counts["meals"]:
        notes.append("no meals of known size are logged: plans about meals cannot be compared")
    minutes = (time - epoch) / MINUTE
    span = bucket(max(1, round((now - epoch) / slot_ns)), smallest=72)
    minute_of_day = local_minutes_of_day(epoch + slot_ns * (1 + np.arange(span)), record.demographics.zone)
    end = (now - epoch) / MINUTE
    given = past & (np.abs(known.time - epoch) <= slot_ns // 2)  # the reading from which the trajectory starts is not scored as well
    first = known.value[given][-1] if given.any() else value[0] if len(value) else 130.0
    context = Context(
        _weights(minute_of_day), np.asarray(float(first)), np.asarray(_basal(found, end - 1440.0, end)), np.asarray(body_weight(record))
    )
    grid = np.round(minutes / model.slot) * model.slot
    data = Dataset.of(grid, value, 0, censored, smallest=span // (3 if len(value) * 2 < span else 1))
    return Observed(
        epoch,
        data,
        Plan.of(found, smallest=32),
        context,
        int(time[-1]) if len(time) else None,
        tuple(notes),
        counts | {"readings": len(time)},
        float(value[-1]) if len(value) else None,
    )


def slots(model: MetabolicModel, record: PatientRecord, now: int, *, epoch: int) -> Slots:
    """Put readings on their nearest slot (of two the later) and inputs where they act, from the epoch to ``now``."""
    return slots_of(record, events(record, epoch)[0], now, epoch=epoch, slot=model.slot, channels=len(model.channels))


def slots_of(
    record: PatientRecord, found: list[tuple[float, float, float, int]], now: int, *, epoch: int, slot: float, channels: int
) -> Slots:
    """Return the slots of every twin of this room: readings on their nearest slot (of two the later), the events ``found`` as rates where they act.

    Parameters
    ----------
    found : ``(start, duration, amount, channel)``, minutes since the epoch.
    slot : minutes.
    """
    known = glucose(record)
    slot_ns = round(slot * MINUTE)
    count = int((now - epoch) // slot_ns) + 1
    index = np.floor((known.time - epoch) / slot_ns + 0.5).astype(np.int64)
    index = np.where((index == count) & (known.time <= now), count - 1, index)
    use = (index >= 0) & (index < count) & (known.time <= now)
    value, mask, censored = np.zeros((count, 1)), np.zeros((count, 1), bool), np.zeros((count, 1), int)
    value[index[use], 0], mask[index[use], 0], censored[index[use], 0] = known.value[use], True, known.censored[use]
    return Slots(value, mask, censored, _rates(found, slot, count, channels))


def _rates(found: list[tuple[float, float, float, int]], slot: float, count: int, channels: int) -> np.ndarray:
    """Mean rates over slot ``k`` = ``(k - 1, k] * slot``, host side, event by event: long records have many slots and few events."""
    inputs = np.zeros((count, channels))
    for start, length, amount, channel in found:
        length = max(length, slot)
        low, high = int(np.floor(start / slot)) + 1, int(np.ceil((start + length) / slot)) + 1
        k = np.arange(max(low, 0), min(high, count))
        overlap = np.minimum(k * slot, start + length) - np.maximum((k - 1) * slot, start)
        inputs[k, channel] += amount / length * np.maximum(overlap, 0.0) / slot
    return inputs


def slot_context(model: MetabolicModel, observed: Observed, start: int, count: int) -> Context:
    """Return the context of each slot from ``start`` on: the day repeats, so slots beyond the observed ones are known too."""
    base = observed.context
    day = round(1440.0 / model.slot)
    window = np.asarray(base.window)
    index = start - 1 + np.arange(count)
    beyond = index >= len(window)
    if len(window) >= day:
        index = np.where(beyond, len(window) - day + (index - len(window)) % day, index)
    index = np.clip(index, 0, len(window) - 1)
    return Context(
        window[index], np.broadcast_to(base.first, (count,)), np.broadcast_to(base.basal, (count,)), np.broadcast_to(base.weight, (count,))
    )


def domain(record: PatientRecord, now: int) -> Domain:
    """Abstain when the sensor is silent, the record too short, a value impossible, or the person outside the room's context of use."""
    known = glucose(record)
    past = known.time <= now
    time, value = known.time[past], known.read[past]
    if len(time) < 2:
        return Domain(AbstentionReason.DATA_TOO_OLD, "fewer than two CGM readings are known")
    cadence = float(np.median(np.diff(time[-min(len(time), 200) :]))) / MINUTE
    limit = 30.0 if cadence > 10.0 else 15.0
    age = (now - int(time[-1])) / MINUTE
    if age > limit:
        return Domain(
            AbstentionReason.DATA_TOO_OLD,
            f"the last reading is {age:.0f} min old; at most {limit:.0f} min is accepted for a sensor that reads every {cadence:.0f} min",
        )
    hours = (int(time[-1]) - int(time[0])) / HOUR
    if hours < 24.0:
        return Domain(AbstentionReason.OUT_OF_DOMAIN, f"{hours:.1f} h of CGM are known; at least 24 h are needed")
    if not 39.0 <= value[-1] <= 500.0:
        return Domain(AbstentionReason.OUT_OF_DOMAIN, f"the last reading is {value[-1]:.0f} mg/dL, outside 39 to 500")
    age_years = record.demographics.age
    if age_years is not None and age_years < 6:
        return Domain(AbstentionReason.OUT_OF_DOMAIN, f"age {age_years:.0f} years; the room is for six years and older")
    too_much = _too_much(record, now)
    if too_much is not None:
        return Domain(AbstentionReason.OUT_OF_DOMAIN, too_much)
    for finding in record.findings:
        if finding.code in _EXCLUDED and finding.time <= now:
            return Domain(AbstentionReason.OUT_OF_DOMAIN, f"{_EXCLUDED[finding.code]} is outside the room's context of use")
    return Domain()


def _too_much(record: PatientRecord, now: int) -> str | None:
    """Say which amount of the time that calibration reads, or of what is announced, lies outside what the manifest accepts."""
    for code, unit, most in ((CARBOHYDRATE, "g", 200.0), (FAST, "[iU]", 50.0)):
        for exposure in record.find_exposures(code):
            if exposure.quantity is None or exposure.end < now - HISTORY_HOURS * HOUR or not is_convertible(exposure.quantity.unit, unit):
                continue
            amount = exposure.quantity.in_unit(unit)
            if not 0.0 <= amount <= most:
                return f"{amount:.0f} {unit} at {iso(exposure.start)} lie outside 0 to {most:.0f} {unit}"
    weight = body_weight(record)
    if not 15.0 <= weight <= 250.0:
        return f"a body weight of {weight:.0f} kg lies outside 15 to 250 kg"
    return None


_EXCLUDED = {
    Code(system="snomed", code="77386006"): "pregnancy",
    Code(system="snomed", code="420422005"): "diabetic ketoacidosis",
    Code(system="snomed", code="265764009"): "dialysis",
}
