"""From a record to data of the type 2 twin: CGM, meals and insulin as in the room's default twin, other drugs by class; and when to abstain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from gemel.core.advice import AbstentionReason
from gemel.core.code import Code
from gemel.core.errors import DataError
from gemel.core.record import Exposure, PatientRecord
from gemel.core.series import EXACT
from gemel.core.time import HOUR, MINUTE
from gemel.core.units import is_convertible
from gemel.engine.compile import bucket
from gemel.engine.data import Dataset, Slots
from gemel.engine.model import Domain, Observed
from gemel.engine.plan import Plan
from gemel.twins.metabolic import observe as shared
from gemel.twins.metabolic._daily_dose import DAILY_DOSE
from gemel.twins.metabolic.priors import fixed as shared_constant
from gemel.twins.metabolic.t2d.priors import DRUGS

if TYPE_CHECKING:
    from gemel.twins.metabolic.t2d.model import Type2Model

__all__ = [
    "CARBOHYDRATE",
    "CHANNEL",
    "INSULIN",
    "Context",
    "class_of",
    "domain",
    "drug_events",
    "events",
    "observe",
    "slot_context",
    "slots",
]

INSULIN, CARBOHYDRATE = 0, 1
CHANNEL = {name: i for i, name in enumerate(("insulin", "carbohydrate", *DRUGS))}
"""Channels of the plan: [iU], g, and days of the defined daily dose of each class."""
TYPE_1 = Code.parse("snomed:46635009")
DAY_MINUTES = 1440.0


class Context(eqx.Module):
    """What the model needs beside data and plan, per slot in a stream.

    ``end`` : minutes at the end of each slot. ``first`` : first reading, mg/dL. ``basal`` : long insulin at the start, [iU]/min. ``weight`` : kg.
    ``sensitivity``, ``function`` : factors by which insulin sensitivity and beta-cell function have changed since the calibration; 1 where nothing has.
    """

    end: Float[Array, " slot"]
    first: Array
    basal: Array
    weight: Array
    sensitivity: Array
    function: Array


def class_of(code: Code) -> str | None:
    """Return the class of a drug, or ``None`` where it has no mapping."""
    return next((name for name, drug in DRUGS.items() if code.system == "atc" and code.code.startswith(drug.codes)), None)


def _daily_doses(exposure: Exposure, name: str) -> float | None:
    """Return how many defined daily doses an exposure is; a usual single dose where no amount is told, ``None`` where its dose is not known."""
    if exposure.quantity is None:
        return 1.0 / DRUGS[name].a_day
    dose = DAILY_DOSE.get(exposure.code.code)
    if dose is None:
        return None
    if is_convertible(exposure.quantity.unit, "mg/d"):
        return exposure.quantity.in_unit("mg/d") * (exposure.end - exposure.start) / MINUTE / DAY_MINUTES / dose
    return exposure.quantity.in_unit("mg") / dose if is_convertible(exposure.quantity.unit, "mg") else None


def drug_events(record: PatientRecord, epoch: int) -> tuple[list[tuple[float, float, float, int]], list[str]]:
    """Return plan events of drugs other than insulin, and what had no mapping or no amount."""
    found: list[tuple[float, float, float, int]] = []
    notes: set[str] = set()
    for exposure in record.exposures:
        if exposure.code.system != "atc" or not exposure.code.code.startswith("A10") or exposure.code.code.startswith("A10A"):
            continue
        name = class_of(exposure.code)
        amount = None if name is None else _daily_doses(exposure, name)
        if name is None or amount is None:
            notes.add(f"{exposure.code}: a drug or dose without a mapping; the model takes it for none")
            continue
        if exposure.quantity is None:
            notes.add(f"{exposure.code}: no amount is told; a usual single dose is ASSUMED")
        length = max((exposure.end - exposure.start) / MINUTE, DRUGS[name].minutes)
        found.append(((exposure.start - epoch) / MINUTE, length, amount, CHANNEL[name]))
    return found, sorted(notes)


def events(record: PatientRecord, epoch: int) -> tuple[list[tuple[float, float, float, int]], dict[str, int], list[str]]:
    """Return all plan events, counts of what was found, and notes. One gut takes all meals; insulin appears by its own compartments, without delay."""
    known, counts = shared.events(record, epoch)
    found = [(s - shared_constant("tau") if c == 0 else s, d, a, min(c, CARBOHYDRATE)) for s, d, a, c in known]
    drugs, notes = drug_events(record, epoch)
    return found + drugs, counts | {"drugs": len(drugs)}, notes


def observe(model: Type2Model, record: PatientRecord, now: int, *, epoch: int | None = None) -> Observed:
    """Turn a record into data: the last 72 h before ``now``, on slots of five minutes."""
    known = shared.glucose(record)
    notes: list[str] = []
    past = known.time <= now
    if not past.all():
        notes.append(f"{int((~past).sum())} reading(s) later than now were ignored")
    slot_ns = round(model.slot * MINUTE)
    if epoch is None:
        oldest = int(known.time[past][0]) if past.any() else now - round(shared.HISTORY_HOURS * HOUR)
        epoch = max(oldest, now - round(shared.HISTORY_HOURS * HOUR)) // slot_ns * slot_ns
    use = past & (known.time > epoch + slot_ns // 2)
    time, value, censored = known.time[use], known.value[use], known.censored[use]
    if (censored != EXACT).any():
        notes.append(f"{int((censored != EXACT).sum())} reading(s) at the sensor's limits enter as censored")
    if len(time) >= 12 and np.median(known.read[use]) < 30:
        raise DataError(
            "glucose looks like mmol/L read as mg/dL", seen=f"median {np.median(known.read[use]):.1f} mg/dL", expected="> 30",
            fix="import the file with its true unit",
        )  # fmt: skip
    found, counts, told = events(record, epoch)
    notes += told
    if counts["meals of unknown size"]:
        notes.append(f"{counts['meals of unknown size']} meal(s) of unknown size are left to unannounced appearance")
    if not counts["meals"]:
        notes.append("no meals of known size are logged: plans about meals cannot be compared")
    span = bucket(max(1, round((now - epoch) / slot_ns)), smallest=72)
    given = past & (np.abs(known.time - epoch) <= slot_ns // 2)  # the reading from which the trajectory starts is not scored as well
    first = known.value[given][-1] if given.any() else value[0] if len(value) else 150.0
    context = Context(
        model.slot * (1.0 + np.arange(span)), np.asarray(float(first)), np.asarray(_basal(found)), np.asarray(shared.body_weight(record)),
        np.asarray(1.0), np.asarray(1.0),
    )  # fmt: skip
    grid = np.round((time - epoch) / MINUTE / model.slot) * model.slot
    data = Dataset.of(grid, value, 0, censored, smallest=span // (3 if len(value) * 2 < span else 1))
    latest, last = (int(time[-1]), float(value[-1])) if len(time) else (None, None)
    return Observed(epoch, data, Plan.of(found, smallest=64), context, latest, tuple(notes), counts | {"readings": len(time)}, last)


def _basal(found: list[tuple[float, float, float, int]]) -> float:
    """Mean rate ([iU]/min) of what is injected slowly in the day before the epoch: pieces of an hour and more."""
    total = 0.0
    for begin, length, amount, channel in found:
        if channel == INSULIN and length >= 60.0:
            total += amount * max(0.0, min(begin + length, 0.0) - max(begin, -DAY_MINUTES)) / length
    return total / DAY_MINUTES


def slots(model: Type2Model, record: PatientRecord, now: int, *, epoch: int) -> Slots:
    """Put readings on their nearest slot (of two the later) and inputs where they act, from the epoch to ``now``."""
    return shared.slots_of(record, events(record, epoch)[0], now, epoch=epoch, slot=model.slot, channels=len(model.channels))


def slot_context(model: Type2Model, observed: Observed, start: int, count: int) -> Context:
    """Return the context of each slot from ``start`` on."""
    base = observed.context
    rest = (base.first, base.basal, base.weight, base.sensitivity, base.function)
    return Context(model.slot * (start + np.arange(count, dtype=float)), *(np.broadcast_to(x, (count,)) for x in rest))


def domain(record: PatientRecord, now: int) -> Domain:
    """Abstain where the room's default twin does, in type 1 diabetes, and below eighteen years."""
    found = shared.domain(record, now)
    if found.reason is not None:
        return found
    if record.demographics.age is not None and record.demographics.age < 18:
        return Domain(AbstentionReason.OUT_OF_DOMAIN, f"age {record.demographics.age:.0f} years; the twin is for adults")
    if record.demographics.traits.get("diabetes") in ("type 1", "T1D") or any(f.code == TYPE_1 and f.time <= now for f in record.findings):
        return Domain(AbstentionReason.OUT_OF_DOMAIN, "type 1 diabetes: this twin has a beta cell")
    return Domain()
