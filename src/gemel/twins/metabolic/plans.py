"""What can be done to the person: interventions as plans; what is good; hard limits, checked by small pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DomainError
from gemel.engine.carry_out import Written
from gemel.engine.forecast import Forecast
from gemel.engine.plan import Plan
from gemel.engine.recommend import Limit, Objective
from gemel.engine.twin import Twin
from gemel.twins.metabolic import observe
from gemel.twins.metabolic._minimal import WINDOWS
from gemel.twins.metabolic.metrics import risk_transform
from gemel.twins.metabolic.priors import fixed

__all__ = [
    "SafetyLimits",
    "limits",
    "meal",
    "named_plans",
    "objective",
    "plan_limits",
    "refusal",
    "scaled_basal",
    "with_bolus",
    "without_next_meal",
]

INSULIN = 0


@dataclass(frozen=True)
class SafetyLimits:
    """Walls that no proposal may pass. ASSUMED defaults; a site sets its own, with two people's names.

    Parameters
    ----------
    largest_bolus, largest_correction : units in one dose, with and without announced carbohydrate.
    insulin_on_board : units still acting, the proposal included.
    largest_meal : grams at once.
    lowest_glucose : mg/dL below which the only advice is to treat.
    low_quantile, low_threshold, low_within : suspend when this forecast quantile lies below the threshold (mg/dL) within so many minutes.
    basal_factor : largest basal rate as a multiple of the programmed one.
    """

    largest_bolus: float = 15.0
    largest_correction: float = 0.0
    insulin_on_board: float = 20.0
    largest_meal: float = 200.0
    lowest_glucose: float = 54.0
    low_quantile: float = 0.05
    low_threshold: float = 70.0
    low_within: float = 30.0
    basal_factor: float = 3.0


def refusal(
    *,
    bolus: float,
    basal: float,
    programmed: float,
    carbohydrate: float,
    glucose: float,
    on_board: float,
    forecast_low: float,
    walls: SafetyLimits | None = None,
) -> str | None:
    """Say why a proposal may not be made, or ``None`` when it keeps every wall. Pure: it sees only these numbers.

    Parameters
    ----------
    bolus : units proposed. basal, programmed : U/h. carbohydrate : grams announced with it.
    glucose : last reading, mg/dL. on_board : units still acting. forecast_low : the low quantile of the forecast within the time looked at, mg/dL.
    """
    w = SafetyLimits() if walls is None else walls
    numbers = {
        "bolus": bolus,
        "basal": basal,
        "programmed basal": programmed,
        "carbohydrate": carbohydrate,
        "glucose": glucose,
        "insulin on board": on_board,
    }
    for name, value in numbers.items():
        if not np.isfinite(value) or value < 0:
            return f"{name} is not a number that can be used ({value})"
    if glucose < w.lowest_glucose:
        return f"glucose {glucose:.0f} mg/dL: treat hypoglycaemia first"
    if carbohydrate > w.largest_meal:
        return f"{carbohydrate:.0f} g of carbohydrate at once; at most {w.largest_meal:.0f} g"
    if bolus > w.largest_bolus:
        return f"a bolus of {bolus:.1f} U; at most {w.largest_bolus:.1f} U"
    if bolus > w.largest_correction and carbohydrate <= 0:
        return "no bolus without announced carbohydrate"
    if bolus > 0 and on_board + bolus > w.insulin_on_board:
        return f"{on_board + bolus:.1f} U would be on board; at most {w.insulin_on_board:.1f} U"
    if basal > w.basal_factor * programmed:
        return f"basal {basal:.2f} U/h is more than {w.basal_factor:g} times the programmed {programmed:.2f} U/h"
    if (bolus > 0 or basal > programmed) and not w.low_threshold <= forecast_low < np.inf:
        return f"the {w.low_quantile:.0%} forecast is {forecast_low:.0f} mg/dL within {w.low_within:.0f} min: no more insulin"
    return None


def written() -> dict[int, Written]:
    """Return how boluses and meals are written once they are given; slow insulin that runs already is changed at its source."""
    return {INSULIN: Written(observe.FAST, "[iU]", delay=fixed("tau"))} | {
        1 + i: Written(observe.CARBOHYDRATE, "g") for i in range(len(WINDOWS))
    }


def _now(twin: Twin) -> float:
    return float(twin.model_time(np.asarray([twin.now]))[0])


def _ahead(twin: Twin, channels: tuple[int, ...]) -> list[tuple[float, float, float, int]]:
    """Events from now on, boluses and meals given at this moment included."""
    now = _now(twin) - 2.5
    return [e for e in twin.observed.plan.events if e[3] in channels and (e[0] - (fixed("tau") if e[3] == INSULIN else 0.0)) >= now]


def with_bolus(twin: Twin, units: float, *, after: float = 0.0) -> Plan:
    """Return the known plan with a bolus so many minutes from now."""
    return twin.observed.plan.with_events((_now(twin) + after + fixed("tau"), fixed("bolus_minutes"), units, INSULIN))


def meal(twin: Twin, grams: float, *, after: float = 0.0) -> Plan:
    """Return the known plan with a meal so many minutes from now, in the gut of the window in which it is eaten."""
    if not 0 <= grams <= SafetyLimits().largest_meal:
        raise DomainError(
            "a meal of this size is not accepted",
            seen=f"{grams} g",
            expected=f"0 to {SafetyLimits().largest_meal:g} g",
            fix="split it, or correct the amount",
        )
    context = twin.observed.context
    start = _now(twin) + after
    step = 1440.0 / max(1, round(1440.0 / 5.0))
    index = min(int(start / step), len(np.asarray(context.window)) - 1)
    window = int(np.argmax(np.asarray(context.window)[index]))
    return twin.observed.plan.with_events((start, fixed("meal_minutes"), grams, 1 + window))


def _scaled(twin: Twin, channels: tuple[int, ...], factor: float) -> Plan:
    chosen = set(_ahead(twin, channels))
    return Plan.of([(s, d, a * factor if (s, d, a, c) in chosen else a, c) for s, d, a, c in twin.observed.plan.events], smallest=32)


def scaled_basal(twin: Twin, factor: float) -> Plan:
    """Return the known plan with slow insulin (pieces of an hour and longer) multiplied from now on; what runs already is divided at this moment."""
    most = SafetyLimits().basal_factor
    if not 0.0 <= factor <= most:
        raise DomainError(
            "a basal rate of this size is not accepted", seen=f"{factor:g} times", expected=f"0 to {most:g} times the programmed rate"
        )
    now, out = _now(twin), []
    for start, length, amount, channel in twin.observed.plan.events:
        begun = min(max((now - start) / length, 0.0), 1.0) if channel == INSULIN and length >= 60.0 else 1.0
        if begun > 0.0:
            out.append((start, length * begun, amount * begun, channel))
        if begun < 1.0:
            out.append((max(start, now), length * (1.0 - begun), amount * (1.0 - begun) * factor, channel))
    return Plan.of(out, smallest=32)


def without_next_meal(twin: Twin) -> Plan:
    """Return the known plan without meals from now on."""
    return _scaled(twin, tuple(range(1, len(WINDOWS) + 1)), 0.0)


def named_plans(twin: Twin) -> Mapping[str, Plan | None]:
    """Return the plans that are worth comparing at this moment.

    With insulin given now or ahead: as logged, a fifth less, a fifth more. With a meal only: as logged, half of it, none. Else: as known,
    15 g of carbohydrate now, 30 g now.
    """
    if any(length < 60.0 for _, length, _, _ in _ahead(twin, (INSULIN,))):
        fast = {e for e in _ahead(twin, (INSULIN,)) if e[1] < 60.0}

        def scaled(factor: float) -> Plan:
            return Plan.of([(s, d, a * factor if (s, d, a, c) in fast else a, c) for s, d, a, c in twin.observed.plan.events], smallest=32)

        return {"as logged": None, "insulin 20 % less": scaled(0.8), "insulin 20 % more": scaled(1.2)}
    if _ahead(twin, (1, 2, 3)):
        return {"as logged": None, "half the meal": _scaled(twin, (1, 2, 3), 0.5), "no meal": without_next_meal(twin)}
    return {"as known": None, "15 g carbohydrate now": meal(twin, 15.0), "30 g carbohydrate now": meal(twin, 30.0)}


def _risk(forecast: Forecast) -> Float[np.ndarray, " draw"]:
    glucose = np.clip(forecast.draws[:, :, 0], 20.0, 600.0)
    return -10.0 * np.mean(risk_transform(glucose) ** 2, axis=1)


def objective() -> Objective:
    """Return the objective: the least mean blood-glucose risk, ``10 f(G)^2`` (Kovatchev 1997, doi:10.2337/diacare.20.11.1655)."""
    return Objective("glucose risk (negative)", "risk units", _risk, threshold=0.6)


def plan_limits(walls: SafetyLimits | None = None) -> tuple[Limit, ...]:
    """Return the hard limits: forecast hypoglycaemia, and the walls on the doses themselves."""
    w = SafetyLimits() if walls is None else walls

    def check(plan: Plan) -> str | None:
        for start, length, amount, channel in plan.events:
            if channel == INSULIN and length < 60.0 and amount > w.largest_bolus:
                return f"a bolus of {amount:.1f} U at {start:.0f} min; at most {w.largest_bolus:.1f} U"
            if channel > 0 and amount > w.largest_meal:
                return f"a meal of {amount:.0f} g; at most {w.largest_meal:.0f} g"
        return None

    return (
        Limit("glucose below 54 mg/dL", 0.05, lambda f: (f.draws[:, :, 0] < 54.0).any(axis=1)),
        Limit("dose walls", 0.0, None, check),
    )


def limits() -> tuple[Limit, ...]:
    """Return the default limits."""
    return plan_limits()
