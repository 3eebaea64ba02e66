"""Weights by a propensity: who might as well have been in the trial. ATT weights, overlap weights.

With S membership of the trial, e the chance of it given X, Y outcomes: outsiders get e / (1 - e) and stand for the trial (ATT); or outsiders get e
and the treated 1 - e, and both stand for those who might have been in either (overlap). Variances are those of stacked estimating equations, the
propensity among them.

References
----------
Hirano and Imbens 2001, doi:10.1023/A:1020371312283; overlap: Li, Morgan and Zalesky 2018, doi:10.1080/01621459.2016.1260466.
Cross-fitting: Chernozhukov et al. 2018, doi:10.1111/ectj.12097. Stacked equations: Stefanski and Boos 2002, doi:10.1198/000313002753631330.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import DataError, EvidenceError
from gemel.trials.adjust.base import ArmMeans
from gemel.trials.adjust.gcomputation import canonical
from gemel.trials.external.balance import effective_size
from gemel.trials.external.data import ExternalData

__all__ = ["Weighted", "folds_of_sources", "iptw", "membership", "overlap", "propensity"]


@dataclass(frozen=True)
class Weighted:
    """Weighted means of the arms, and the weights.

    Parameters
    ----------
    means : reference first: of those from outside, then of the treated.
    treated, outside : weights, each with sum 1.
    """

    means: ArmMeans
    treated: Float[np.ndarray, " treated"]
    outside: Float[np.ndarray, " outside"]

    @property
    def effective_n(self) -> float:
        """Effective number of those from outside: (sum w)² / sum w²."""
        return effective_size(self.outside)


def propensity(x: Float[np.ndarray, "row covariate"], s: Float[np.ndarray, " row"]) -> Float[np.ndarray, " coefficient"]:
    """Return the coefficients of a logistic model of membership, intercept first.

    Raises
    ------
    EvidenceError
        When the two groups do not overlap, or the covariates are linearly dependent.
    """
    design = np.column_stack([np.ones(len(s)), x])
    try:
        return canonical(design, s, "binomial")
    except EvidenceError as error:
        if "separate" not in error.what:
            raise
        raise EvidenceError(
            "the trial and the controls from outside do not overlap",
            seen=f"{design.shape[1] - 1} covariates tell the source of some patients for certain",
            expected="patients of either source with like covariates",
            fix="restrict both to a common population, or do not compare them",
        ) from error


def folds_of_sources(sizes: tuple[int, int], folds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a fold for each treated patient and each from outside.

    Raises
    ------
    DataError
        When the number of folds is out of range.
    """
    if not 2 <= folds <= 20:
        raise DataError("the number of folds is out of range", seen=folds, expected="2 to 20; 5 to 10 are usual")
    rng = np.random.default_rng(seed)
    return rng.permutation(np.arange(sizes[0]) % folds), rng.permutation(np.arange(sizes[1]) % folds)


def membership(data: ExternalData, *, folds: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log odds of membership of the treated and then of those from outside, the design, and the inverse information.

    Parameters
    ----------
    folds : 0 for one model; otherwise each patient's odds come from a model of the other folds.
    """
    xt, xo = data.x
    x, s = np.vstack([xt, xo]), np.repeat([1.0, 0.0], [len(xt), len(xo)])
    design = np.column_stack([np.ones(len(s)), x])
    if folds:
        fold, eta = np.concatenate(folds_of_sources((len(xt), len(xo)), folds, seed)), np.empty(len(s))
        for k in range(folds):
            eta[fold == k] = design[fold == k] @ propensity(x[fold != k], s[fold != k])
    else:
        eta = design @ propensity(x, s)
    e = special.expit(eta)
    return eta, design, np.linalg.inv((design * (e * (1 - e))[:, None]).T @ design / len(s))


def _weighted(data: ExternalData, folds: int, seed: int, is_overlap: bool) -> Weighted:
    (yt, yo), m = data.y, len(data.y[0])
    eta, design, inverse = membership(data, folds=folds, seed=seed)
    e, n = special.expit(eta), len(eta)
    y, s = np.concatenate([yt, yo]), np.arange(n) < m
    weight = np.where(s, 1 - e, e) if is_overlap else np.where(s, 1.0, np.exp(eta))
    slope = np.where(s, -1.0, 1.0) * e * (1 - e) if is_overlap else np.where(s, 0.0, weight)
    of_beta = (design * (s - e)[:, None]) @ inverse
    influence, means = np.empty((n, 2)), np.empty(2)
    for a, own in enumerate((~s, s)):
        w = np.where(own, weight, 0.0)
        means[a] = w @ y / w.sum()
        moved = (design * np.where(own, slope * (y - means[a]), 0.0)[:, None]).mean(axis=0)
        influence[:, a] = (w * (y - means[a]) + of_beta @ moved) / w.mean()
    return Weighted(ArmMeans(means, influence.T @ influence / n**2), weight[:m] / weight[:m].sum(), weight[m:] / weight[m:].sum())


def iptw(data: ExternalData, *, folds: int = 0, seed: int = 0) -> Weighted:
    """Weight those from outside so that they stand for the trial's treated patients (ATT).

    Parameters
    ----------
    folds : cross-fit the propensity; to first order the variance is the same.

    Raises
    ------
    EvidenceError
        When the two groups do not overlap.
    """
    return _weighted(data, folds, seed, False)


def overlap(data: ExternalData, *, folds: int = 0, seed: int = 0) -> Weighted:
    """Weight both groups so that they stand for patients who might have been in either; the covariates' means are then equal.

    Parameters
    ----------
    folds : cross-fit the propensity; to first order the variance is the same.

    Raises
    ------
    EvidenceError
        When the two groups do not overlap.
    """
    return _weighted(data, folds, seed, True)
