"""From a record to data of the UVA/Padova twin: the room's CGM, meals and insulin, in two channels and without a delay before insulin acts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from gemel.core.record import PatientRecord
from gemel.engine.data import Slots
from gemel.engine.model import Domain, Observed
from gemel.engine.plan import Plan
from gemel.twins.metabolic import observe as shared
from gemel.twins.metabolic.priors import fixed
from gemel.twins.metabolic.t1d.priors import FREE, group_of, typical

if TYPE_CHECKING:
    from gemel.twins.metabolic.t1d.model import T1DModel

__all__ = ["CARBOHYDRATE", "INSULIN", "Context", "domain", "events", "observe", "slot_context", "slots"]

INSULIN, CARBOHYDRATE = 0, 1


class Context(eqx.Module):
    """What the model needs beside data and plan: weights of the meal windows per slot, first reading (mg/dL), basal insulin (U/min; zero where none is logged),
    body weight (kg), and the free parameters of a typical person of the same group, in the order of ``FREE``.
    """

    window: Float[Array, "slot window"]
    first: Array
    basal: Array
    weight: Array
    typical: Float[Array, " free"]


def events(record: PatientRecord, epoch: int) -> list[tuple[float, float, float, int]]:
    """Return plan events ``(start, duration, amount, channel)``: insulin when it is injected (the compartments under the skin are the delay), then meals."""
    found, _ = shared.events(record, epoch)
    return [(s - fixed("tau"), d, a, INSULIN) if c == 0 else (s, d, a, CARBOHYDRATE) for s, d, a, c in found]


def observe(model: T1DModel, record: PatientRecord, now: int, *, epoch: int | None = None) -> Observed:
    """Turn a record into data: the last 72 h before ``now``, on slots of five minutes."""
    seen = shared.observe(model, record, now, epoch=epoch)  # type: ignore[arg-type]  # of the model only the slot is read
    notes = list(seen.notes)
    age = record.demographics.age
    group = group_of(age)
    like = typical(group)
    if age is None:
        notes.append("no age is known: what is not personal is taken from adults")
    weight = float(seen.context.weight)
    if not any(len(s.current()) for s in record.find_series(shared.WEIGHT)):
        weight = like["BW"]
        notes.append(f"no body weight is known: {weight:.0f} kg are assumed, the mean of a virtual {group}")
    basal = float(seen.context.basal)
    if basal <= 0.0:
        notes.append("no basal insulin is logged: the model assumes the rate that keeps the person at rest")
    context = Context(
        seen.context.window, seen.context.first, np.asarray(max(basal, 0.0)), np.asarray(weight), np.array([like[n] for n in FREE])
    )
    return replace(seen, plan=Plan.of(events(record, seen.epoch), smallest=32), context=context, notes=tuple(notes))


def slots(model: T1DModel, record: PatientRecord, now: int, *, epoch: int) -> Slots:
    """Put readings on their nearest slot (of two the later) and inputs where they act, from the epoch to ``now``."""
    return shared.slots_of(record, events(record, epoch), now, epoch=epoch, slot=model.slot, channels=len(model.channels))


def slot_context(model: T1DModel, observed: Observed, start: int, count: int) -> Context:
    """Return the context of each slot from ``start`` on."""
    base = observed.context
    plain = shared.slot_context(model, observed, start, count)  # type: ignore[arg-type]  # of the model only the slot is read
    return Context(plain.window, plain.first, plain.basal, plain.weight, np.broadcast_to(base.typical, (count, len(FREE))))


def domain(record: PatientRecord, now: int) -> Domain:
    """Abstain where the metabolic room does: the sensor silent, the record too short, a value impossible, the person outside its context of use."""
    return shared.domain(record, now)
