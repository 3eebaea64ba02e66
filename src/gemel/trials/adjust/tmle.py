"""Targeted maximum likelihood: a learner's means, moved along a logistic path until each arm's residuals sum to nothing; estimates stay in range.

    logit mu*_a = logit mu_a + e_a,   e_a such that the sum over arm a of Y - mu*_a is zero

References
----------
van der Laan and Rubin 2006, doi:10.2202/1557-4679.1043. Gruber and van der Laan 2010, doi:10.2202/1557-4679.1260 (bounded continuous outcomes).
Moore and van der Laan 2009, doi:10.1002/sim.3445 (randomised trials).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import DataError, EvidenceError
from gemel.trials.adjust.aipw import cross_fitted
from gemel.trials.adjust.base import ArmMeans, Result
from gemel.trials.adjust.gcomputation import contrast_of
from gemel.trials.adjust.randomisation import SIMPLE, Randomisation, block_correction
from gemel.trials.data import TrialData
from gemel.trials.estimand import Estimand
from gemel.trials.learners import Learner, Ridge

__all__ = ["targeted", "tmle"]

EDGE = 0.005
"""Initial means are kept this far inside the range, as a share of it: a logit needs room (Gruber and van der Laan 2010 take the same)."""


def _shift(logit: np.ndarray, y: np.ndarray) -> float:
    """Return e with sum(y - expit(logit + e)) = 0, by Newton steps kept inside a bracket that halves."""
    low, high = -special.logit(1 - 1e-9) - float(logit.max()), special.logit(1 - 1e-9) - float(logit.min())
    shift = 0.0
    for _ in range(200):
        mean = special.expit(logit + shift)
        gap = float((y - mean).sum())
        if abs(gap) < 1e-12 * len(y):
            return shift
        low, high = (shift, high) if gap > 0 else (low, shift)
        step = shift + gap / max(float((mean * (1 - mean)).sum()), 1e-300)
        shift = step if low < step < high else (low + high) / 2
    raise EvidenceError(
        "the targeting step does not converge", seen=f"arm mean {y.mean():.3g} of the range", expected="inside the range", fix="use aipw"
    )


def targeted(
    data: TrialData,
    *,
    learner: Learner | None = None,
    bounds: tuple[float, float] | None = None,
    folds: int = 10,
    randomisation: Randomisation = SIMPLE,
    seed: int = 0,
) -> tuple[ArmMeans, Float[np.ndarray, "subject arm"]]:
    """Return targeted arm means with the variance of their influence function, and what the model says of each subject under each arm.

    Parameters
    ----------
    bounds : range of the outcome, its unit; left out, the range that was seen (0 and 1 for events). Means never leave it.

    Raises
    ------
    DataError
        When an outcome lies outside the bounds.
    EvidenceError
        When all outcomes of an arm lie on one bound.
    """
    low, high = bounds or (float(data.outcome.min()), float(data.outcome.max()))
    if not low < high or (data.outcome < low).any() or (data.outcome > high).any():
        seen = f"outcomes from {data.outcome.min():g} to {data.outcome.max():g}"
        raise DataError("the bounds do not hold the outcome", seen=seen, expected=f"inside {low:g} to {high:g}")
    y = (data.outcome - low) / (high - low)
    initial = (cross_fitted(data, learner or Ridge(), folds, seed) - low) / (high - low)
    mu = np.empty_like(initial)
    for a in range(len(data.arms)):
        mine = data.arm == a
        if not 0 < y[mine].mean() < 1:
            raise EvidenceError(
                "all outcomes of an arm lie on one bound",
                seen=f"{data.arms[a]}: {data.outcome[mine][0]:g}",
                expected="more than one value",
                fix="method unadjusted",
            )
        logit = special.logit(np.clip(initial[:, a], EDGE, 1 - EDGE))
        mu[:, a] = special.expit(logit + _shift(logit[mine], y[mine]))
    mu = low + (high - low) * mu
    residual = data.outcome - mu[np.arange(data.n), data.arm]
    influence = mu + (np.arange(len(data.arms)) == data.arm[:, None]) * residual[:, None] / data.shares
    covariance = np.atleast_2d(np.cov(influence, rowvar=False)) - block_correction(residual, data, randomisation)
    return ArmMeans(mu.mean(axis=0), covariance / data.n), mu


def tmle(
    data: TrialData,
    estimand: Estimand,
    *,
    learner: Learner | None = None,
    bounds: tuple[float, float] | None = None,
    folds: int = 10,
    randomisation: Randomisation = SIMPLE,
    seed: int = 0,
    level: float = 0.95,
    status: tuple[str, ...] = (),
    parents: tuple[str, ...] = (),
) -> Result:
    """Compare two arms by cross-fitted targeted maximum likelihood; three arms or more may be in the trial.

    Parameters
    ----------
    learner : trained within each arm on the other folds; left out, ridge regression.
    bounds : range of the outcome, its unit; left out, the range that was seen.
    folds : 5 to 10 are usual.
    seed : of the folds; stands in the lineage.
    """
    means, _ = targeted(data, learner=learner, bounds=bounds, folds=folds, randomisation=randomisation, seed=seed)
    method = f"tmle/{(learner or Ridge()).name}/{folds} folds/{randomisation}"
    return contrast_of(means, data, estimand, randomisation, method=method, level=level, status=status, seed=seed, parents=parents)
