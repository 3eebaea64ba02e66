"""What can be done over months: energy, activity, drugs started and stopped; what is good; what must not happen.

A plan is what is kept, not what is advised: how many keep it is a question for a trial, and here an assumption of whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gemel.core.errors import DomainError
from gemel.engine.carry_out import Written
from gemel.engine.forecast import Forecast
from gemel.engine.plan import Plan
from gemel.engine.recommend import Limit, Objective
from gemel.engine.twin import Twin
from gemel.twins.metabolic._daily_dose import written_drugs
from gemel.twins.metabolic.slow.observe import ACTIVITY, CHANNEL, DAYS, ENERGY, INSULIN
from gemel.twins.metabolic.slow.priors import DRUGS

__all__ = [
    "HIGHEST", "LOWEST_INTAKE", "activity", "energy_change", "limits", "named_plans", "objective", "start_drug", "start_insulin", "stop", "written",
]  # fmt: skip

HIGHEST = 6.5
"""HbA1c (%) that the objective aims to stay below: the threshold of the diagnosis."""
FADING = 0.3
"""Width (%) over which a lower HbA1c ceases to matter below that threshold. ASSUMED."""
MOST_DEFICIT, LOWEST_INTAKE = 1000.0, 800.0
"""Walls on a plan, kcal/d: largest deficit, and least intake in the plans that this room offers. ASSUMED; less than that is for supervised care."""
MOST_SHARE = 2.0
"""Largest multiple of the defined daily dose. ASSUMED."""


def written() -> dict[int, Written]:
    """Return how plans are written once they are begun: rates per day; a class of drugs by its first substance that has a defined daily dose."""
    return {
        CHANNEL["energy"]: Written(ENERGY, "kcal/d", is_rate=True),
        CHANNEL["activity"]: Written(ACTIVITY, "1", is_rate=True),
        CHANNEL["insulin"]: Written(INSULIN[-1], "[iU]/d", is_rate=True),
    } | written_drugs({CHANNEL[name]: drug.codes for name, drug in DRUGS.items()}, "mg/d", is_rate=True)


def _now(twin: Twin) -> float:
    return float(twin.model_time(np.asarray([twin.now]))[0])


def _until_the_end(twin: Twin, days: float | None) -> float:
    rest = DAYS - _now(twin)
    return rest if days is None else min(days, rest)


def energy_change(twin: Twin, kcal: float, *, days: float | None = None) -> Plan:
    """Return the known plan with so many kcal/d more (negative: less) from now on, for so many days (left out: to the end)."""
    length = _until_the_end(twin, days)
    return twin.observed.plan.with_events((_now(twin), length, kcal * length, CHANNEL["energy"]))


def activity(twin: Twin, change: float, *, days: float | None = None) -> Plan:
    """Return the known plan with a change of the physical activity level from now on (0.1: about half an hour of brisk walking a day)."""
    length = _until_the_end(twin, days)
    return twin.observed.plan.with_events((_now(twin), length, change * length, CHANNEL["activity"]))


def start_drug(twin: Twin, name: str, *, share: float = 1.0, days: float | None = None) -> Plan:
    """Return the known plan with a class of drugs from now on, at a share of the defined daily dose."""
    if name not in CHANNEL or CHANNEL[name] < 3:
        raise DomainError("no such class of drugs", seen=name, expected=[n for n, i in CHANNEL.items() if i >= 3])
    length = _until_the_end(twin, days)
    return twin.observed.plan.with_events((_now(twin), length, share * length, CHANNEL[name]))


def start_insulin(twin: Twin, units: float, *, days: float | None = None) -> Plan:
    """Return the known plan with so many units of injected insulin a day from now on."""
    length = _until_the_end(twin, days)
    return twin.observed.plan.with_events((_now(twin), length, units * length, CHANNEL["insulin"]))


def stop(twin: Twin, *names: str) -> Plan:
    """Return the known plan without these channels from now on: what was taken up to now stays taken."""
    now, channels = _now(twin), {CHANNEL[name] for name in names}
    kept = []
    for start, length, amount, channel in twin.observed.plan.events:
        if channel not in channels or start + length <= now:
            kept.append((start, length, amount, channel))
        elif start < now:
            kept.append((start, now - start, amount * (now - start) / length, channel))
    return Plan.of(kept, smallest=32)


def taken(twin: Twin) -> list[str]:
    """Return the drugs, insulin included, that are taken at the twin's *now*."""
    now = _now(twin)
    running = {c for s, d, a, c in twin.observed.plan.events if s <= now < s + d and a > 0}
    return [name for name, channel in CHANNEL.items() if channel >= 2 and channel in running]


def named_plans(twin: Twin) -> Mapping[str, Plan | None]:
    """Return the plans worth comparing: as known; 300 and 600 kcal less a day; half an hour's walk; each drug taken, stopped; metformin or a GLP-1 agonist where not taken."""
    plans: dict[str, Plan | None] = {
        "as known": None,
        "300 kcal/d less": energy_change(twin, -300.0),
        "600 kcal/d less": energy_change(twin, -600.0),
        "activity level up by 0.1": activity(twin, 0.1),
    }
    running = taken(twin)
    for name in running:
        plans[f"without {_words(name)}"] = stop(twin, name)
    for name in ("metformin", "glp1"):
        if name not in running:
            plans[f"with {_words(name)}"] = start_drug(twin, name)
    return plans


def _words(name: str) -> str:
    return {"glp1": "a GLP-1 agonist", "alpha_glucosidase": "the alpha-glucosidase inhibitor"}.get(name, name)


def _above(forecast: Forecast) -> np.ndarray:
    return -FADING * np.logaddexp(0.0, (forecast.draws[:, :, 0] - HIGHEST) / FADING).mean(axis=1)


def objective() -> Objective:
    """Return the objective: least HbA1c above 6.5 %, averaged over the horizon; below, less is still better, and matters less and less.

    What a plan costs a person is not in it.
    """
    return Objective("HbA1c above 6.5 % (negative)", "%", _above, threshold=0.6)


def _check(plan: Plan) -> str | None:
    deficit = -min((a / max(d, 1.0) for _, d, a, c in plan.events if c == CHANNEL["energy"]), default=0.0)
    if deficit > MOST_DEFICIT:
        return f"a deficit of {deficit:.0f} kcal/d; at most {MOST_DEFICIT:.0f}"
    share = max((a / max(d, 1.0) for _, d, a, c in plan.events if c >= 3), default=0.0)
    return f"{share:.1f} times the defined daily dose; at most {MOST_SHARE:g}" if share > MOST_SHARE + 1e-9 else None


def limits() -> tuple[Limit, ...]:
    """Return the limits: no low fasting glucose, not more than a quarter of the weight lost, no plan beyond the walls."""
    return (
        Limit("mean fasting glucose below 70 mg/dL", 0.05, lambda f: f.draws[:, :, 2].mean(axis=1) < 70.0),
        Limit("a quarter of the weight lost", 0.05, lambda f: (f.draws[:, :, 1] < 0.75 * f.draws[:, :1, 1]).any(axis=1)),
        Limit("walls of the plan", 0.0, None, _check),
    )
