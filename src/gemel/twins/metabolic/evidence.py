"""Evidence of the room: the validation protocol it declares, its verification problems, and what is conserved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from gemel.core.code import Code
from gemel.core.record import Finding, PatientRecord
from gemel.core.time import HOUR
from gemel.evidence.stream_protocol import Alarm, Forecasts, StreamProtocol, Windows
from gemel.physics.ode import integrate
from gemel.twins.metabolic import observe
from gemel.twins.metabolic._evidence_answers import VERIFICATION
from gemel.twins.metabolic._minimal import WINDOWS, bounded, delayed
from gemel.twins.metabolic.correct import learn, recording, slot_minutes
from gemel.twins.metabolic.discrepancy import PersonSeries
from gemel.twins.metabolic.error_grids import clarke, dts, parkes
from gemel.twins.metabolic.model import CARBOHYDRATE, MetabolicModel

__all__ = ["CONSERVATION", "CONTEXT", "OUTSIDE", "PROTOCOL", "VALIDATION", "VERIFICATION", "forecaster", "recordings", "traits"]

SHORTEST = 50
"""Readings below which a recording is left out."""


def recordings(records: Sequence[PatientRecord]) -> tuple[list[PersonSeries], list[str]]:
    """Return recordings on a common slot length, and what was left out."""
    known = [(r, observe.glucose(r)) for r in records]
    notes = [f"{r.id}: {len(g.time)} readings, left out (fewer than {SHORTEST})" for r, g in known if len(g.time) < SHORTEST]
    kept = [(r, g) for r, g in known if len(g.time) >= SHORTEST]
    step = slot_minutes([g.time for _, g in kept])
    return [recording(r, step) for r, _ in kept], notes


def forecaster(
    people: Sequence[PersonSeries], parts: Sequence[Windows], horizons: tuple[int, ...], options: Mapping[str, Any]
) -> list[Forecasts]:
    """Forecast every window of every recording, each from what was known at its origin.

    ``options["without"]`` names what is not used (``inputs``: meals and insulin; ``wearables``); ``options["only"]`` are the recordings whose forecasts are wanted, the others' stay zero.
    """
    without = options.get("without", ())
    if "inputs" in without:
        people = [replace(p, carbohydrate=p.carbohydrate * 0, meal=p.meal * 0, insulin=p.insulin * 0) for p in people]
    _, members = learnt = learn(
        people,
        [w.origin for w in parts],
        [w.lags for w in parts],
        [w.outcome for w in parts],
        [w.part for w in parts],
        horizons,
        without=without,
    )
    only = set(options.get("only", range(len(parts))))
    out = []
    for i, w in enumerate(parts):
        mean, quantiles = np.zeros((len(w.origin), len(horizons))), np.zeros((len(w.origin), len(horizons), 99))
        if len(w.origin) and i in only:
            for j, (d, group) in enumerate(zip(learnt[0].parts, members, strict=True)):
                made = d.distribution(group[i])
                mean[:, j], quantiles[:, j] = made.mean, made.quantiles
        out.append(Forecasts(mean, quantiles))
    return out


PROTOCOL = StreamProtocol(
    output="glucose",
    unit="mg/dL",
    horizons=(15, 30, 60, 120),
    recordings=recordings,
    forecaster=forecaster,
    bands=(70.0, 180.0 + 1e-9),
    zones={"Clarke": clarke, "Parkes": parkes, "DTS": dts},
    alarm=Alarm("glucose below 70 mg/dL within 30 min", 70.0, 30, 15),
    question="Given this person's CGM (and meals and insulin where logged), where will glucose be in 15 to 120 minutes, and with what certainty?",
)


VALIDATION = ("shanghai",)
"""Data sets on whose people the protocol is run for the dossier."""

CONTEXT = {"mean glucose": (100.0, 250.0), "coefficient of variation": (0.15, 0.5)}
"""Context of use as a box of traits: mg/dL, and the variation of glucose about its mean. ASSUMED. Age is part of the context, and is not in the public records."""


def traits(record: PatientRecord) -> dict[str, float]:
    """Return the traits by which a person is compared with the context of use."""
    value = observe.glucose(record).value
    found = (
        {"mean glucose": float(np.mean(value)), "coefficient of variation": float(np.std(value) / np.mean(value))} if len(value) > 1 else {}
    )
    return found if record.demographics.age is None else found | {"age": float(record.demographics.age)}


def eaten_is_absorbed_or_in_the_gut(model: MetabolicModel, params, plan, times, context):
    """Relative error, slot by slot, of carbohydrate absorbed and still in stomach and gut against what had been eaten.

    What is absorbed is the outflow of the gut integrated by the same Runge-Kutta steps, which keep linear invariants exactly.
    """
    del times
    count = context.window.shape[0]
    rates = plan.rates(0.0, model.slot, count, len(model.channels))
    kempt = bounded(params["kempt"])
    worst = jnp.zeros(count)
    for window in WINDOWS:
        meal = delayed(rates[:, CARBOHYDRATE[window]], params[f"delay_{window}"], model.slot) * 1000.0 / context.weight
        kabs = bounded(params[f"kabs_{window}"])

        def flow(time, amount, eaten, p, kabs=kabs):
            del time, p
            solid, liquid, gut, _ = amount
            return -kempt * solid + eaten, kempt * (solid - liquid), kempt * liquid - kabs * gut, kabs * gut

        zero = jnp.zeros(())
        *_, absorbed = integrate(flow, (zero, zero, zero, zero), meal, None, step=model.slot, integrator=model.integrator)
        path = model.trajectory(params, plan, context)
        inside = sum((getattr(path, f"{part}_{window}") for part in ("solid", "liquid", "gut")), zero)
        eaten = jnp.cumsum(meal) * model.slot
        worst = jnp.maximum(worst, jnp.abs(inside + absorbed - eaten) / jnp.maximum(eaten[-1], 1.0))
    return worst


eaten_is_absorbed_or_in_the_gut.tolerance = 1e-10  # type: ignore[attr-defined]  # rounding over some hundred slots: 1e-13 was seen

CONSERVATION = (eaten_is_absorbed_or_in_the_gut,)
"""Laws: ``law(model, params, plan, times, context) -> relative errors``."""


def a_silent_sensor(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask two hours after the last reading."""
    return record, now + 2 * HOUR


def less_than_a_day(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask with the readings of the last twelve hours only."""
    return record.model_copy(update={"series": tuple(s.between(now - 12 * HOUR, now + 1) for s in record.series)}), now


def pregnancy(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask about somebody who is known to be pregnant."""
    return record.with_facts(Finding(code=Code(system="snomed", code="77386006"), time=now - HOUR)), now


def a_child_of_five(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask about a child under six years."""
    return record.model_copy(update={"demographics": record.demographics.model_copy(update={"age": 5.0})}), now


OUTSIDE = (a_silent_sensor, less_than_a_day, pregnancy, a_child_of_five)
"""Questions outside the validated domain: ``(record, now) -> (record, now)``."""
