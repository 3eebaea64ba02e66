"""Simulated treatment comparison: a regression among the treated says what their outcome would be in the published population.

A mean is linear in the covariates and is read off at the published means. A rate is not: patients of the published means and standard deviations are drawn,
with the trial's correlations, and the logistic model is averaged over them.

References
----------
Caro and Ishak 2010, doi:10.2165/11537420-000000000-00000; Phillippo et al. 2018, doi:10.1177/0272989X17725740.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import EvidenceError
from gemel.trials.adjust.ancova import least_squares
from gemel.trials.adjust.base import ArmMeans
from gemel.trials.adjust.gcomputation import canonical
from gemel.trials.external.data import Aggregate

__all__ = ["simulated_comparison"]

DRAWN = 20_000
"""Patients drawn for a rate."""


def simulated_comparison(
    y: Float[np.ndarray, " treated"], x: Float[np.ndarray, "treated covariate"], target: Aggregate, *, seed: int = 0
) -> ArmMeans:
    """Return the means of those from outside, as published, and of the treated as they would be there.

    Parameters
    ----------
    y, x : outcomes and covariates of the treated.
    target : the summary, its covariates in the order of the columns.
    seed : of the patients drawn for a rate.

    Raises
    ------
    EvidenceError
        When the covariates are linearly dependent or separate the outcomes, or a rate needs a standard deviation that is not known.
    """
    if not np.isin(y, (0.0, 1.0)).all():
        found = least_squares(np.column_stack([np.ones(len(y)), x - target.means]), y, variance="hc3")
        return ArmMeans(np.array([target.outcome, found.coefficients[0]]), np.diag([target.error**2, found.covariance[0, 0]]))
    two = np.array([len(np.unique(c)) == 2 for c in x.T])
    sds = np.where(two, np.sqrt(np.clip(target.means * (1 - target.means), 0, None)), target.sds)
    if not np.isfinite(sds).all():
        raise EvidenceError(
            "a rate needs the spread of each covariate", seen="a standard deviation is not known", expected="COLUMN_sd in the summary"
        )
    correlation = np.atleast_2d(np.corrcoef(x, rowvar=False))
    values, vectors = np.linalg.eigh(correlation)
    z = np.random.default_rng(seed).normal(size=(DRAWN, x.shape[1])) @ (vectors * np.sqrt(np.clip(values, 0, None))).T
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    drawn = np.where(two, x.min(axis=0) + np.ptp(x, axis=0) * (special.ndtr(z) < target.means), target.means + sds * z)
    design, there = np.column_stack([np.ones(len(y)), x]), np.column_stack([np.ones(DRAWN), drawn])
    beta = canonical(design, y, "binomial")
    e, mu = special.expit(design @ beta), special.expit(there @ beta)
    inverse = np.linalg.inv((design * (e * (1 - e))[:, None]).T @ design)
    slope = (there * (mu * (1 - mu))[:, None]).mean(axis=0)
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design) * e * (1 - e)
    scores = design * ((y - e) / (1 - leverage))[:, None]
    covariance = inverse @ (scores.T @ scores) @ inverse
    return ArmMeans(np.array([target.outcome, mu.mean()]), np.diag([target.error**2, float(slope @ covariance @ slope)]))
