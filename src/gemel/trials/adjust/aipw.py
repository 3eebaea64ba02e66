"""Augmented inverse probability weighting with cross-fitting: any learner, trained on the trial itself, without double dipping.

    phi_a = 1(A = a)/pi_a (Y - mu_a) + mu_a,   mu_a learnt on the other folds

References
----------
Robins, Rotnitzky and Zhao 1994, doi:10.1080/01621459.1994.10476818; Chernozhukov et al. 2018, doi:10.1111/ectj.12097.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from gemel.core.errors import DataError
from gemel.trials.adjust.base import ArmMeans, Result
from gemel.trials.adjust.gcomputation import contrast_of
from gemel.trials.adjust.randomisation import SIMPLE, Randomisation, block_correction
from gemel.trials.data import TrialData
from gemel.trials.estimand import Estimand
from gemel.trials.learners import Learner, Ridge

__all__ = ["aipw", "augmented", "cross_fitted", "folds_of"]


def folds_of(data: TrialData, folds: int, seed: int) -> Int[np.ndarray, " subject"]:
    """Return a fold for each subject, balanced within arm; by identifier, so that the order of rows does not matter."""
    if not 2 <= folds <= 20:
        raise DataError("the number of folds is out of range", seen=folds, expected="2 to 20; 5 to 10 are usual")
    order = sorted(range(data.n), key=data.subjects.__getitem__)
    rng = np.random.default_rng(seed)
    out = np.empty(data.n, int)
    for a in range(len(data.arms)):
        members = np.array([i for i in order if data.arm[i] == a])
        out[members[rng.permutation(len(members))]] = np.arange(len(members)) % folds
    return out


def cross_fitted(data: TrialData, learner: Learner, folds: int, seed: int) -> Float[np.ndarray, "subject arm"]:
    """Return what the learner says of each subject under each arm, trained within the arm on the folds that the subject is not in."""
    fold = folds_of(data, folds, seed)
    mu = np.empty((data.n, len(data.arms)))
    for k in range(folds):
        out = fold == k
        for a in range(len(data.arms)):
            inside = ~out & (data.arm == a)
            mu[out, a] = learner.calibrate(data.covariates[inside], data.outcome[inside])(data.covariates[out])
    return mu


def augmented(
    data: TrialData, *, learner: Learner | None = None, folds: int = 10, randomisation: Randomisation = SIMPLE, seed: int = 0
) -> tuple[ArmMeans, Float[np.ndarray, "subject arm"]]:
    """Return cross-fitted arm means with the variance of their influence function, and the values phi."""
    mu, shares = cross_fitted(data, Ridge() if learner is None else learner, folds, seed), data.shares
    own = mu[np.arange(data.n), data.arm]
    residual = data.outcome - own
    phi = mu + (np.arange(len(data.arms)) == data.arm[:, None]) * residual[:, None] / shares
    covariance = np.atleast_2d(np.cov(phi, rowvar=False)) - block_correction(residual, data, randomisation)
    return ArmMeans(phi.mean(axis=0), covariance / data.n), phi


def aipw(
    data: TrialData,
    estimand: Estimand,
    *,
    learner: Learner | None = None,
    folds: int = 10,
    randomisation: Randomisation = SIMPLE,
    seed: int = 0,
    level: float = 0.95,
    status: tuple[str, ...] = (),
    parents: tuple[str, ...] = (),
) -> Result:
    """Compare two arms by cross-fitted AIPW; three arms or more may be in the trial.

    Parameters
    ----------
    learner : trained within each arm on the other folds; left out, ridge regression.
    folds : 5 to 10 are usual.
    seed : of the folds; stands in the lineage.
    """
    means, _ = augmented(data, learner=learner, folds=folds, randomisation=randomisation, seed=seed)
    method = f"aipw/{(learner or Ridge()).name}/{folds} folds/{randomisation}"
    return contrast_of(means, data, estimand, randomisation, method=method, level=level, status=status, seed=seed, parents=parents)
