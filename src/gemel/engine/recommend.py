"""``recommend``: a ranked choice under hard limits, or an abstention with its reason. Every choice explains itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.optimize import differential_evolution

from gemel.core.advice import AbstentionReason, PlanScore, Proposal
from gemel.core.errors import ModelError
from gemel.core.lineage import Lineage
from gemel.core.record import PatientRecord
from gemel.engine.explain import explain
from gemel.engine.forecast import Comparison, Forecast, compare
from gemel.engine.keys import stream
from gemel.engine.plan import ContinuousPlans, GridPlans, Plan
from gemel.engine.status import Status, usable
from gemel.engine.twin import Twin

__all__ = ["Abstained", "Choice", "Limit", "Objective", "recommend"]


DUEL = 0.55
"""Least probability, ties counted half, with which a choice must beat the second best: among many plans that do the same, one is always first. ASSUMED."""


@dataclass(frozen=True)
class Objective:
    """What is good: ``utility(forecast) -> (draw,)``, larger is better. ``threshold`` is the least ``P(best)`` that counts as a ranking."""

    name: str
    unit: str
    utility: Callable[[Forecast], Float[np.ndarray, " draw"]]
    threshold: float = 0.6


@dataclass(frozen=True)
class Limit:
    """What must not happen: ``violated(forecast) -> (draw,)`` truth values, with probability at most ``at_most``.

    ``check(plan)`` looks at the plan itself (a largest dose, say) and returns a sentence when it is not allowed: that is a hard wall.
    """

    name: str
    at_most: float = 0.05
    violated: Callable[[Forecast], np.ndarray] | None = None
    check: Callable[[Plan], str | None] | None = None


@dataclass(frozen=True)
class Choice:
    """The plan of highest expected utility among those that keep every limit."""

    plan: str
    ranking: tuple[PlanScore, ...]
    evpi: float
    comparison: Comparison
    explanation: dict[str, Any]
    objective: str
    limits: dict[str, str]
    patient: str
    issued: int
    lineage: Lineage
    sentence: str

    def proposal(self) -> Proposal:
        """Return the plain type that goes back to people."""
        return Proposal(
            twin=self.patient, issued=self.issued, choice=self.plan, sentence=self.sentence, ranking=self.ranking, evpi=self.evpi,
            explanation=self.explanation, limits=self.limits, lineage=self.lineage,
        )  # fmt: skip


@dataclass(frozen=True)
class Abstained:
    """No advice, and why."""

    reason: AbstentionReason
    sentence: str
    patient: str
    issued: int
    lineage: Lineage
    ranking: tuple[PlanScore, ...] = ()
    comparison: Comparison | None = None
    explanation: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    evpi: float | None = None

    def proposal(self) -> Proposal:
        """Return the plain type that goes back to people."""
        return Proposal(
            twin=self.patient, issued=self.issued, choice=None, reason=self.reason, sentence=self.sentence, ranking=self.ranking, evpi=self.evpi,
            explanation=self.explanation, limits=self.limits, lineage=self.lineage,
        )  # fmt: skip


def _rank(
    comparison: Comparison, objective: Objective, limits: tuple[Limit, ...], plans: Mapping[str, Plan | None]
) -> tuple[list[PlanScore], np.ndarray]:
    names = list(comparison.forecasts)
    utilities = np.stack([np.asarray(objective.utility(comparison.forecasts[n]), float) for n in names], axis=1)
    if utilities.shape[0] != len(comparison.forecasts[names[0]].draws):
        raise ModelError(
            f"objective {objective.name!r} must return one utility per draw",
            seen=utilities.shape[0],
            expected=len(comparison.forecasts[names[0]].draws),
        )
    scores = []
    for i, name in enumerate(names):
        violations, feasible = {}, True
        plan = plans[name]
        for limit in limits:
            probability = 0.0 if limit.violated is None else float(np.mean(limit.violated(comparison.forecasts[name])))
            wall = limit.check(plan) if limit.check is not None and plan is not None else None
            violations[limit.name] = 1.0 if wall else probability
            feasible &= probability <= limit.at_most and wall is None
        error = float(utilities[:, i].std(ddof=1) / np.sqrt(len(utilities)))
        scores.append(
            PlanScore(
                plan=name,
                utility=float(utilities[:, i].mean()),
                utility_error=error,
                probability_best=0.0,
                violations=violations,
                feasible=feasible,
            )
        )
    allowed = [i for i, s in enumerate(scores) if s.feasible] or list(range(len(names)))
    top = utilities[:, allowed] == utilities[:, allowed].max(axis=1, keepdims=True)
    for i, chance in zip(allowed, (top / top.sum(axis=1, keepdims=True)).mean(axis=0), strict=True):
        scores[i] = scores[i].model_copy(update={"probability_best": float(chance)})
    return scores, utilities


def _search(
    twin: Twin, space: ContinuousPlans, objective: Objective, limits: tuple[Limit, ...], times: np.ndarray, n: int, key: PRNGKeyArray
) -> dict[str, Plan | None]:
    """Find good settings on fixed draws by differential evolution; the final choice is re-evaluated on fresh draws by the caller."""
    names = list(space.bounds)

    def loss(setting: np.ndarray) -> float:
        plan = space.build(dict(zip(names, setting, strict=True)))
        found = compare(twin, {"candidate": plan}, times, n=n, key=key)
        if len(found.forecasts["candidate"].draws) == 0:
            return 1e12
        scores, _ = _rank(found, objective, limits, {"candidate": plan})
        excess = sum(max(0.0, v - l.at_most) for (v, l) in zip(scores[0].violations.values(), limits, strict=True))
        return -scores[0].utility + 1e6 * excess

    seed = int(np.asarray(jax.random.key_data(stream(key, "search"))).astype(np.uint32)[-1])
    rounds = max(1, space.evaluations // (8 * len(names)) - 1)
    found = differential_evolution(loss, list(space.bounds.values()), popsize=8, maxiter=rounds, rng=seed, polish=False, tol=1e-3)
    middle = {n_: 0.5 * (low + high) for n_, (low, high) in space.bounds.items()}
    best = dict(zip(names, (float(v) for v in found.x), strict=True))
    label = ", ".join(f"{k} {v:.3g}" for k, v in best.items())
    return {label: space.build(best), "middle of the bounds": space.build(middle)}


def recommend(
    twin: Twin, plans: Mapping[str, Plan | None] | GridPlans | ContinuousPlans, objective: Objective, limits: tuple[Limit, ...] = (), *,
    times: np.ndarray, n: int = 512, key: PRNGKeyArray, measuring_cost: float | None = None, record: PatientRecord | None = None,
) -> Choice | Abstained:  # fmt: skip
    """Choose the plan of highest expected utility among those that keep every limit, or abstain and say why.

    Parameters
    ----------
    twin : the twin at its *now*.
    plans : named plans, a grid, or a bounded continuous space (searched on one set of draws, judged on fresh ones).
    objective : utility per draw, and the least ``P(best)`` that counts.
    limits : hard limits, each with the largest probability that is accepted.
    times : ns UTC at which the forecasts are made.
    n : draws.
    measuring_cost : in units of utility; when the expected value of perfect information exceeds it and the plans cannot be told apart,
        the advice is to measure first.
    record : the person's, for the explanation: what a reading was worth then counts what the learnt correction made of it.

    Notes
    -----
    Advisory only. A choice carries its probabilities, violations, the value of perfect information and its explanation.
    """
    lineage = twin.lineage.then(f"recommend:{objective.name}")
    told = {limit.name: f"at most {limit.at_most:.0%}" for limit in limits}
    about = {"patient": twin.patient, "issued": twin.now, "lineage": lineage, "limits": told}
    if twin.domain.reason is not None:
        return Abstained(twin.domain.reason, twin.domain.sentence, **about)
    if twin.status == Status.PRIOR_DATA_CONFLICT:
        return Abstained(AbstentionReason.PRIOR_DATA_CONFLICT, twin.sentence, **about)
    if not usable(twin.status):
        return Abstained(AbstentionReason.POSTERIOR_NOT_USABLE, twin.sentence, **about)
    if isinstance(plans, ContinuousPlans):
        named = _search(twin, plans, objective, limits, times, min(n, 128), stream(key, "optimise"))
    else:
        named = plans.named() if isinstance(plans, GridPlans) else dict(plans)
    if not named:
        raise ModelError("there is no plan to choose from", fix="name at least one plan")
    named = {name: twin.observed.plan if plan is None else plan for name, plan in named.items()}
    comparison = compare(twin, named, times, n=n, key=stream(key, "judge"))
    for name, made in comparison.forecasts.items():
        if len(made.draws) == 0:
            return Abstained(AbstentionReason.POSTERIOR_NOT_USABLE, f"the forecast under {name!r} gave no numbers: {made.reason}", **about)
    scores, utilities = _rank(comparison, objective, limits, named)
    ranking = tuple(sorted(scores, key=lambda s: (not s.feasible, -s.utility)))
    feasible = [i for i, s in enumerate(scores) if s.feasible]
    common = about | {"ranking": ranking, "comparison": comparison}
    if not feasible:
        worst = {name: min(s.violations[name] for s in scores) for name in told}
        names = ", ".join(f"{k} (best plan: {v:.0%})" for k, v in worst.items() if v > next(l.at_most for l in limits if l.name == k))
        return Abstained(AbstentionReason.NO_FEASIBLE_PLAN, f"no plan keeps every limit: {names or 'together'}", **common)
    kept = utilities[:, feasible]
    evpi = float(kept.max(axis=1).mean() - kept.mean(axis=0).max())
    winner = feasible[int(np.argmax(kept.mean(axis=0)))]
    others = [i for i in feasible if i != winner]
    best = scores[winner]
    if others:
        chance = best.probability_best
        second = max(others, key=lambda i: scores[i].utility)
        explanation = explain(
            twin,
            comparison,
            utilities[:, winner] - utilities[:, second],
            best.plan,
            scores[second].plan,
            objective,
            key=stream(key, "judge"),
            plans=named,
            record=record,
        )
        needed = max(objective.threshold if len(feasible) == 2 else objective.threshold * 2 / len(feasible), 1.0 / len(feasible) + 0.05)
        ahead, behind = utilities[:, winner], utilities[:, second]
        duel = float(np.mean(ahead > behind) + 0.5 * np.mean(ahead == behind))
        if chance < needed or duel < DUEL:
            sentence = f"{best.plan!r} is best with probability {chance:.0%} only; {needed:.0%} is asked for"
            if chance >= needed:
                sentence = f"{best.plan!r} beats {scores[second].plan!r} with probability {duel:.0%} only; {DUEL:.0%} is asked for"
            if measuring_cost is not None and evpi > measuring_cost:
                return Abstained(
                    AbstentionReason.MEASURE_FIRST,
                    sentence + f", and knowing more would be worth {evpi:.3g} {objective.unit}",
                    evpi=evpi,
                    explanation=explanation,
                    **common,
                )
            return Abstained(AbstentionReason.INDISTINGUISHABLE, sentence, evpi=evpi, explanation=explanation, **common)
        text = f"{best.plan!r}: best of {len(feasible)} with probability {chance:.0%}; expected {objective.name} {best.utility:.3g} against {scores[second].utility:.3g} {objective.unit} for {scores[second].plan!r}"
    else:
        explanation, text = {}, f"{best.plan!r} is the only plan that keeps every limit"
    return Choice(plan=best.plan, evpi=evpi, explanation=explanation, objective=objective.name, sentence=text, **common)
