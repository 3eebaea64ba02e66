"""What can be done in the toys, what is good, and what must not happen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gemel.engine.carry_out import Written
from gemel.engine.forecast import Forecast
from gemel.engine.plan import Plan
from gemel.engine.recommend import Limit, Objective
from gemel.engine.twin import Twin
from gemel.twins.toys.observe import DOSE

__all__ = ["WRITTEN", "growth_limits", "growth_objective", "growth_plans", "linear_limits", "linear_objective", "linear_plans"]

TARGET = 16.0
MOST_AT_ONCE, MOST_IN_ALL = 20.0, 60.0
WRITTEN = {0: Written(DOSE, "mg")}
"""How a dose is written once it is given."""


def _now(twin: Twin) -> float:
    return float(twin.model_time(np.array([twin.now]))[0])


def _later(twin: Twin, *doses: tuple[float, float]) -> Plan:
    """Return what is known, and further doses ``(hours from now, mg)``."""
    return twin.observed.plan.with_events(*((_now(twin) + hours, 0.0, amount, 0) for hours, amount in doses))


def linear_plans(twin: Twin) -> Mapping[str, Plan | None]:
    """Return: no dose, 2 mg, 6 mg in an hour."""
    return {"no dose": None, "2 mg": _later(twin, (1.0, 2.0)), "6 mg": _later(twin, (1.0, 6.0))}


def linear_objective() -> Objective:
    """Return the closeness of the signal to its target, at the end."""

    def utility(forecast: Forecast) -> np.ndarray:
        return -np.abs(forecast.draws[:, -1, 0] - TARGET)

    return Objective("closeness to the target", "[arb'U]", utility, threshold=0.5)


def growth_plans(twin: Twin) -> Mapping[str, Plan | None]:
    """Return: wait, one dose, three doses, and one that is too large."""
    return {
        "wait": None,
        "one dose of 6 mg": _later(twin, (0.5, 6.0)),
        "three doses of 6 mg": _later(twin, (0.5, 6.0), (4.0, 6.0), (8.0, 6.0)),
        "30 mg at once": _later(twin, (0.5, 30.0)),
    }


def growth_objective() -> Objective:
    """Return the smallness of the colony, averaged over the horizon."""

    def utility(forecast: Forecast) -> np.ndarray:
        return -forecast.draws[:, :, 0].mean(axis=1)

    return Objective("smallness of the colony", "[arb'U]", utility)


def _check(plan: Plan) -> str | None:
    amounts = [amount for _, _, amount, _ in plan.events]
    if max(amounts, default=0.0) > MOST_AT_ONCE:
        return f"{max(amounts):g} mg at once; at most {MOST_AT_ONCE:g} mg"
    return None if sum(amounts) <= MOST_IN_ALL else f"{sum(amounts):g} mg in all; at most {MOST_IN_ALL:g} mg"


def linear_limits() -> tuple[Limit, ...]:
    """Return: the signal stays below 30, and no dose is too large."""
    return (
        Limit("signal above 30", 0.05, violated=lambda forecast: (forecast.draws[:, :, 0] > 30.0).any(axis=1)),
        Limit("largest dose", 0.0, check=_check),
    )


def growth_limits() -> tuple[Limit, ...]:
    """Return: no dose is too large."""
    return (Limit("largest dose", 0.0, check=_check),)
