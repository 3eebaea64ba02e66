"""What can be done within hours: meals, by grams or energy, and drugs by class; what is good; hard limits on the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import equinox as eqx
import numpy as np

from gemel.core.errors import DomainError
from gemel.engine.carry_out import Written
from gemel.engine.plan import Plan
from gemel.engine.recommend import Limit, Objective
from gemel.engine.twin import Twin
from gemel.twins.metabolic import observe as shared
from gemel.twins.metabolic._daily_dose import written_drugs
from gemel.twins.metabolic.plans import SafetyLimits
from gemel.twins.metabolic.plans import objective as risk
from gemel.twins.metabolic.priors import fixed as shared_constant
from gemel.twins.metabolic.t2d.observe import CARBOHYDRATE, CHANNEL, INSULIN
from gemel.twins.metabolic.t2d.priors import DRUGS

__all__ = ["changed", "energy", "limits", "meal", "named_plans", "objective", "with_drug", "written"]

MEAL_NOW = 50.0
MOST_DRUG = 2.0
"""Largest multiple of a defined daily dose in one event. ASSUMED."""


def written() -> dict[int, Written]:
    """Return how meals, boluses and drugs are written once they are given: a class of drugs by its first substance that has a defined daily dose."""
    return {INSULIN: Written(shared.FAST, "[iU]"), CARBOHYDRATE: Written(shared.CARBOHYDRATE, "g")} | written_drugs(
        {CHANNEL[name]: drug.codes for name, drug in DRUGS.items()}, "mg"
    )


def _now(twin: Twin) -> float:
    return float(twin.model_time(np.asarray([twin.now]))[0])


def meal(twin: Twin, grams: float, *, after: float = 0.0) -> Plan:
    """Return the known plan with a meal so many minutes from now."""
    largest = SafetyLimits().largest_meal
    if not 0 <= grams <= largest:
        raise DomainError(
            "a meal of this size is not accepted", seen=f"{grams} g", expected=f"0 to {largest:g} g", fix="split it, or correct the amount"
        )
    return twin.observed.plan.with_events((_now(twin) + after, shared_constant("meal_minutes"), grams, CARBOHYDRATE))


def energy(twin: Twin, kcal: float, *, after: float = 0.0) -> Plan:
    """Return the known plan with a meal of which only the energy is known: half of it is taken for carbohydrate (ASSUMED)."""
    return meal(twin, kcal * shared_constant("energy_share") / shared_constant("energy_density"), after=after)


def with_drug(twin: Twin, name: str, *, doses: float = 1.0, after: float = 0.0, plan: Plan | None = None) -> Plan:
    """Return a plan (left out: the known one) with usual single doses of a class of drugs so many minutes from now."""
    if name not in DRUGS:
        raise DomainError("no such class of drugs", seen=name, expected=list(DRUGS))
    drug = DRUGS[name]
    base = twin.observed.plan if plan is None else plan
    return base.with_events((_now(twin) + after, drug.minutes, doses / drug.a_day, CHANNEL[name]))


def changed(twin: Twin, *, sensitivity: float = 1.0, function: float = 1.0, weight: float | None = None) -> Twin:
    """Return the twin of the same person after insulin sensitivity, beta-cell function or weight have changed: what the slow axis hands over.

    The factors are against the time of calibration; nothing is learnt again. The first day after it glucose moves to where it then rests.
    """
    context = twin.observed.context
    values = (
        np.asarray(context.sensitivity) * sensitivity,
        np.asarray(context.function) * function,
        np.asarray(context.weight) if weight is None else np.asarray(float(weight)),
    )
    moved = eqx.tree_at(lambda c: (c.sensitivity, c.function, c.weight), context, values)
    note = f"insulin sensitivity times {sensitivity:.2f}, beta-cell function times {function:.2f}: assumed, not observed"
    return replace(twin, observed=replace(twin.observed, context=moved), notes=(*twin.notes, note))


def _ahead(twin: Twin) -> list[tuple[float, float, float, int]]:
    now = _now(twin) - 2.5
    return [e for e in twin.observed.plan.events if e[3] == CARBOHYDRATE and e[0] >= now]


def _scaled(twin: Twin, factor: float) -> Plan:
    chosen = set(_ahead(twin))
    return Plan.of([(s, d, a * factor if (s, d, a, c) in chosen else a, c) for s, d, a, c in twin.observed.plan.events], smallest=64)


def named_plans(twin: Twin) -> Mapping[str, Plan | None]:
    """Return the plans worth comparing: with a meal ahead, the meal as announced, half of it, and with an alpha-glucosidase inhibitor; else 50 g now or not."""
    if _ahead(twin):
        return {
            "as logged": None,
            "half the meal": _scaled(twin, 0.5),
            "with an alpha-glucosidase inhibitor": with_drug(twin, "alpha_glucosidase"),
        }
    whole = meal(twin, MEAL_NOW)
    return {
        "as known": None,
        "50 g carbohydrate now": whole,
        "25 g carbohydrate now": meal(twin, MEAL_NOW / 2),
        "50 g with an alpha-glucosidase inhibitor": with_drug(twin, "alpha_glucosidase", plan=whole),
    }


def objective() -> Objective:
    """Return the objective of the room: the least mean blood-glucose risk (Kovatchev 1997, doi:10.2337/diacare.20.11.1655)."""
    return risk()


def limits() -> tuple[Limit, ...]:
    """Return the hard limits: forecast hypoglycaemia, and walls on meals, boluses and doses."""
    walls = SafetyLimits()

    def check(plan: Plan) -> str | None:
        for start, length, amount, channel in plan.events:
            if channel == CARBOHYDRATE and amount > walls.largest_meal:
                return f"a meal of {amount:.0f} g; at most {walls.largest_meal:.0f} g"
            if channel == INSULIN and length < 60.0 and amount > walls.largest_bolus:
                return f"a bolus of {amount:.1f} U at {start:.0f} min; at most {walls.largest_bolus:.1f} U"
            if channel > CARBOHYDRATE and amount > MOST_DRUG * max(1.0, length / 1440.0):
                return f"{amount:.1f} defined daily doses of a drug at {start:.0f} min; at most {MOST_DRUG:g}"
        return None

    return (Limit("glucose below 54 mg/dL", 0.05, lambda f: (f.draws[:, :, 0] < 54.0).any(axis=1)), Limit("dose walls", 0.0, None, check))
