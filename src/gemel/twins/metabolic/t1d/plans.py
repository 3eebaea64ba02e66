"""What can be done to the person: bolus, basal and carbohydrate more or less; objective and hard limits are those of the metabolic room."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gemel.core.errors import DomainError
from gemel.engine.carry_out import Written
from gemel.engine.plan import Plan
from gemel.engine.recommend import Limit, Objective
from gemel.engine.twin import Twin
from gemel.twins.metabolic import observe as shared
from gemel.twins.metabolic.plans import SafetyLimits
from gemel.twins.metabolic.plans import objective as shared_objective
from gemel.twins.metabolic.plans import plan_limits as shared_limits
from gemel.twins.metabolic.priors import fixed
from gemel.twins.metabolic.t1d.observe import CARBOHYDRATE, INSULIN

__all__ = ["WRITTEN", "limits", "meal", "named_plans", "objective", "scaled_basal", "scaled_bolus", "scaled_carbohydrate", "with_bolus"]

SLOWLY = 60.0
"""Insulin given over so many minutes and more is basal."""
JUST_NOW = 2.5
"""Minutes: what is given at this very moment is still ahead."""

WRITTEN = {INSULIN: Written(shared.FAST, "[iU]"), CARBOHYDRATE: Written(shared.CARBOHYDRATE, "g")}
"""How boluses and meals are written once they are given."""

Event = tuple[float, float, float, int]


def _now(twin: Twin) -> float:
    return float(twin.model_time(np.asarray([twin.now]))[0])


def _is_ahead(event: Event, now: float) -> bool:
    return event[0] >= now - JUST_NOW


def _changed(twin: Twin, channel: int, factor: float, *, basal: bool) -> Plan:
    """Return the known plan with amounts of a channel multiplied from now on; basal pieces that run already are divided at this moment."""
    if not 0.0 <= factor <= SafetyLimits().basal_factor:
        raise DomainError("a change of this size is not accepted", seen=factor, expected=f"0 to {SafetyLimits().basal_factor:g}")
    now, out = _now(twin), []
    for start, length, amount, at in twin.observed.plan.events:
        is_basal = at == INSULIN and length >= SLOWLY
        if at != channel or is_basal != basal or (not basal and not _is_ahead((start, length, amount, at), now)) or start + length <= now:
            out.append((start, length, amount, at))
            continue
        if basal and start < now:
            given = amount * (now - start) / length
            out.append((start, now - start, given, at))
            out.append((now, start + length - now, (amount - given) * factor, at))
        else:
            out.append((start, length, amount * factor, at))
    return Plan.of(out, smallest=32)


def scaled_bolus(twin: Twin, factor: float) -> Plan:
    """Return the known plan with boluses from now on multiplied."""
    return _changed(twin, INSULIN, factor, basal=False)


def scaled_basal(twin: Twin, factor: float) -> Plan:
    """Return the known plan with basal insulin from now on multiplied; at most three times."""
    return _changed(twin, INSULIN, factor, basal=True)


def scaled_carbohydrate(twin: Twin, factor: float) -> Plan:
    """Return the known plan with meals from now on multiplied."""
    return _changed(twin, CARBOHYDRATE, factor, basal=False)


def with_bolus(twin: Twin, units: float, *, after: float = 0.0) -> Plan:
    """Return the known plan with a bolus so many minutes from now."""
    return twin.observed.plan.with_events((_now(twin) + after, fixed("bolus_minutes"), units, INSULIN))


def meal(twin: Twin, grams: float, *, after: float = 0.0) -> Plan:
    """Return the known plan with a meal so many minutes from now.

    Raises
    ------
    DomainError
        When it is larger than what the walls accept.
    """
    if not 0 <= grams <= SafetyLimits().largest_meal:
        raise DomainError(
            "a meal of this size is not accepted", seen=f"{grams} g", expected=f"0 to {SafetyLimits().largest_meal:g} g", fix="split it, or correct the amount"
        )  # fmt: skip
    return twin.observed.plan.with_events((_now(twin) + after, fixed("meal_minutes"), grams, CARBOHYDRATE))


def named_plans(twin: Twin) -> Mapping[str, Plan | None]:
    """Return the plans that are worth comparing at this moment.

    With a bolus given now or ahead: as logged, a third less, a third more. With a meal only: as logged, half of it, none. Else: as known, 15 g and 30 g
    of carbohydrate now, and, where basal insulin runs, a third less of it.
    """
    now = _now(twin)
    ahead = [e for e in twin.observed.plan.events if _is_ahead(e, now) and e[2] > 0 and not (e[3] == INSULIN and e[1] >= SLOWLY)]
    if any(e[3] == INSULIN for e in ahead):
        return {"as logged": None, "bolus 30 % less": scaled_bolus(twin, 0.7), "bolus 30 % more": scaled_bolus(twin, 1.3)}
    if ahead:
        return {"as logged": None, "half the meal": scaled_carbohydrate(twin, 0.5), "no meal": scaled_carbohydrate(twin, 0.0)}
    plans: dict[str, Plan | None] = {"as known": None, "15 g carbohydrate now": meal(twin, 15.0), "30 g carbohydrate now": meal(twin, 30.0)}
    if float(twin.observed.context.basal) > 0.0:
        plans["basal 30 % less"] = scaled_basal(twin, 0.7)
    return plans


def objective() -> Objective:
    """Return the objective of the metabolic room: the least mean blood-glucose risk."""
    return shared_objective()


def limits() -> tuple[Limit, ...]:
    """Return the hard limits of the metabolic room: forecast hypoglycaemia, and the walls on doses and meals."""
    return shared_limits()
