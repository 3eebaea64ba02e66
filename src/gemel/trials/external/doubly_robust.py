"""Doubly robust comparison: an outcome model of those from outside and their odds of membership, either of which may be wrong.

    mu_0 = mean over the treated of m(X) + weighted mean over outside of Y - m(X),   weights e / (1 - e),   m and e from the other folds

References
----------
Robins, Rotnitzky and Zhao 1994, doi:10.1080/01621459.1994.10476818; for the treated: Mercatanti and Li 2014, doi:10.1214/14-AOAS767.
Cross-fitting: Chernozhukov et al. 2018, doi:10.1111/ectj.12097.
"""

from __future__ import annotations

import numpy as np

from gemel.trials.adjust.base import ArmMeans
from gemel.trials.external.data import ExternalData
from gemel.trials.external.weights import Weighted, folds_of_sources, propensity
from gemel.trials.learners import Learner, Ridge

__all__ = ["doubly_robust"]


def doubly_robust(data: ExternalData, *, learner: Learner | None = None, folds: int = 5, seed: int = 0) -> Weighted:
    """Compare the treated with those from outside by cross-fitted AIPW for the trial's population (ATT).

    Parameters
    ----------
    learner : of the outcome among those from outside; left out, ridge regression.
    folds : 2 to 20; 5 to 10 are usual.

    Raises
    ------
    EvidenceError
        When the two groups do not overlap.
    """
    taught = Ridge() if learner is None else learner
    (yt, yo), (xt, xo) = data.y, data.x
    m, k = len(yt), len(yo)
    fold_t, fold_o = folds_of_sources((m, k), folds, seed)
    there, own, odds = np.empty(m), np.empty(k), np.empty(k)
    for f in range(folds):
        it, io = fold_t != f, fold_o != f
        rule = taught.calibrate(xo[io], yo[io])
        there[~it], own[~io] = rule(xt[~it]), rule(xo[~io])
        beta = propensity(np.vstack([xt[it], xo[io]]), np.repeat([1.0, 0.0], [int(it.sum()), int(io.sum())]))
        odds[~io] = np.exp(beta[0] + xo[~io] @ beta[1:])
    w, residual = odds / odds.sum(), yo - own
    rest = float(w @ residual)
    means = np.array([there.mean() + rest, yt.mean()])
    n = m + k
    influence = np.zeros((n, 2))
    influence[:m, 0], influence[:m, 1] = (there - there.mean()) * n / m, (yt - means[1]) * n / m
    influence[m:, 0] = n * w * (residual - rest)
    return Weighted(ArmMeans(means, influence.T @ influence / n**2), np.full(m, 1 / m), w)
