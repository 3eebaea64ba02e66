"""The marginal hazard ratio: the one of the whole population, with covariates for precision only.

The root of the adjusted score of :mod:`gemel.trials.survival.adjusted_logrank`. It is **not** the coefficient of a Cox model with
covariates, which is conditional on them and another number (hazard ratios do not collapse): the two never share a label.

References
----------
Ye, Shao and Yi 2024, doi:10.1093/biomet/asad045; Cox 1972, with Breslow's handling of ties.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gemel.core.errors import EvidenceError, InferenceError
from gemel.trials.survival.adjusted_logrank import adjustment, scores, slopes_cost
from gemel.trials.survival.data import SurvivalData

__all__ = ["MarginalHazard", "marginal_hazard"]

STEPS = 100
"""Newton steps, each halved where the score does not shrink, before the search is called off; usual is five."""


@dataclass(frozen=True)
class MarginalHazard:
    """A marginal hazard ratio, treatment against reference.

    Parameters
    ----------
    log_ratio, standard_error : of the logarithm.
    unadjusted, unadjusted_error : the same without covariates.
    """

    log_ratio: float
    standard_error: float
    unadjusted: float
    unadjusted_error: float


def _root(data: SurvivalData, strata: Sequence[str], shift: float, start: float) -> float:
    theta = start
    found = scores(data, strata=strata, log_ratio=theta)
    for _ in range(STEPS):
        value = found.total - shift
        if abs(value) < 1e-9 * max(1.0, float(data.event.sum())):
            return theta
        step = value / found.information if found.information > 0 else math.copysign(1.0, value)
        size = 1.0 if abs(step) < 2 else 2 / abs(step)
        while True:
            after = scores(data, strata=strata, log_ratio=theta + size * step)
            if abs(after.total - shift) < abs(value) or size < 1e-6:
                break
            size /= 2
        theta, found = theta + size * step, after
        if abs(theta) > 15:
            break
    raise InferenceError(
        "the search for the hazard ratio has not converged, so there is no result",
        seen=f"log ratio {theta:.3g}",
        expected="a root of the score",
        fix="the events of one arm may all come before those of the other: compare restricted means",
    )


def marginal_hazard(data: SurvivalData, *, strata: Sequence[str] = (), small_sample: bool = False) -> MarginalHazard:
    """Estimate the marginal hazard ratio of two arms, adjusted for all covariates of the data.

    Parameters
    ----------
    data : two arms, by :meth:`SurvivalData.pair`.
    strata : factors among the strata of the data; the baseline hazard differs by stratum, the ratio does not.
    small_sample : multiply the variance by :func:`gemel.trials.survival.adjusted_logrank.slopes_cost`.

    Returns
    -------
    The slopes of the adjustment are those at the unadjusted ratio; the standard error is sqrt(variance of the score) / information.

    Raises
    ------
    EvidenceError
        When an arm has no events, or the covariates are linearly dependent.
    InferenceError
        When the search does not converge.
    """
    for a, name in enumerate(data.trial.arms):
        if not data.event[data.trial.arm == a].any():
            raise EvidenceError(
                "an arm has no events, so there is no hazard ratio",
                seen=f"arm {name}: 0 events in {int((data.trial.arm == a).sum())}",
                expected="events in both arms",
                fix="the log-rank test, or the difference of restricted means",
            )
    plain = _root(data, strata, 0.0, 0.0)
    at = scores(data, strata=strata, log_ratio=plain)
    shift, _ = adjustment(data, at.outcome, strata=strata)
    theta = _root(data, strata, shift, plain) if shift else plain
    there = scores(data, strata=strata, log_ratio=theta)
    saved = adjustment(data, there.outcome, strata=strata)[1]
    if there.information - saved <= 1e-9 * there.information:
        raise EvidenceError(
            "the covariates explain all of the variance", seen=f"{len(data.trial.names)} covariates", expected="fewer than events"
        )
    cost = slopes_cost(data, strata) if small_sample else 1.0
    error = math.sqrt(cost * (there.information - saved)) / there.information
    return MarginalHazard(theta, error, plain, 1 / math.sqrt(at.information))
