"""Standardised means of a generalised linear model, and a variance that holds whatever the model is and knows how patients were randomised.

    V_aa = [var_a(Y) + var(mu_a) - 2 cov_a(Y, mu_a)]/pi_a + 2 cov_a(Y, mu_a) - var(mu_a)
    V_ab = cov_a(Y, mu_b) + cov_b(Y, mu_a) - cov(mu_a, mu_b)

divided by n: var(mu) and cov(mu) over all patients, var_a and cov_a within arm, all with n - 1.

References
----------
Ye et al. 2023, doi:10.1080/24754269.2023.2205802; Bannick et al. 2025, doi:10.1093/biomet/asaf029; the package RobinCar2, arXiv:2601.14498.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import DataError, EvidenceError
from gemel.trials.adjust.base import ArmMeans, Result, made, of_means
from gemel.trials.adjust.randomisation import SIMPLE, Randomisation, block_correction
from gemel.trials.data import TrialData
from gemel.trials.estimand import Estimand

__all__ = ["FAMILIES", "canonical", "contrast_of", "family_of", "gcomputation", "standardised", "unadjusted_means"]


@dataclass(frozen=True)
class _Family:
    name: str

    def mean(self, eta: np.ndarray) -> np.ndarray:
        if self.name == "binomial":
            return special.expit(eta)
        return np.exp(np.clip(eta, -700, 700)) if self.name == "poisson" else eta

    def variance(self, mu: np.ndarray) -> np.ndarray:
        if self.name == "binomial":
            return mu * (1 - mu)
        return mu if self.name == "poisson" else np.ones_like(mu)

    def loss(self, eta: np.ndarray, y: np.ndarray) -> float:
        if self.name == "binomial":
            return float((np.logaddexp(0, eta) - y * eta).sum())
        if self.name == "poisson":
            return float((np.exp(np.clip(eta, -700, 700)) - y * eta).sum())
        return float(0.5 * np.square(y - eta).sum())


FAMILIES = ("gaussian", "binomial", "poisson")
"""Families, each with its canonical link: identity, logit, log."""


def family_of(y: Float[np.ndarray, " subject"], name: str = "auto") -> str:
    """Return the family: as named, or binomial for 0 and 1 and gaussian for all else.

    Raises
    ------
    DataError
        When there is no such family, or the outcome cannot come from it.
    """
    if name == "auto":
        return "binomial" if np.isin(y, (0.0, 1.0)).all() else "gaussian"
    if name not in FAMILIES:
        raise DataError("no such family", seen=name, expected=("auto", *FAMILIES))
    if name == "binomial" and not np.isin(y, (0.0, 1.0)).all():
        raise DataError("a binomial outcome is 0 or 1", seen=f"from {y.min():g} to {y.max():g}", expected="0 or 1")
    if name == "poisson" and (y < 0).any():
        raise DataError("a count is not negative", seen=f"{y.min():g}", expected="0 or more")
    return name


def canonical(x: Float[np.ndarray, "row coefficient"], y: Float[np.ndarray, " row"], family: str) -> Float[np.ndarray, " coefficient"]:
    """Return the coefficients of a generalised linear model with canonical link, by damped Newton steps.

    Raises
    ------
    EvidenceError
        When the covariates are linearly dependent, or separate the outcomes, so that there is no maximum.
    """
    f = _Family(family)
    scale = np.sqrt(np.square(x).mean(axis=0))
    scale[scale == 0] = 1.0
    z = x / scale
    if np.linalg.matrix_rank(z, tol=1e-8 * np.sqrt(len(z))) < z.shape[1]:
        raise EvidenceError(
            "the covariates are linearly dependent", seen=f"{x.shape[1]} columns", expected="full rank", fix="leave one out"
        )
    beta = np.zeros(z.shape[1])
    value = f.loss(z @ beta, y)
    for _ in range(100):
        mu = f.mean(z @ beta)
        information = (z * f.variance(mu)[:, None]).T @ z
        gradient = z.T @ (y - mu)
        if np.linalg.cond(information) > 1e13:
            break
        step = np.linalg.solve(information, gradient)
        size = 1.0
        while not (after := f.loss(z @ (beta + size * step), y)) <= value + 1e-12 * abs(value) and size > 1e-8:
            size /= 2
        beta, value = beta + size * step, after
        if gradient @ step < 1e-22 * max(1.0, len(y)) or (family == "gaussian"):
            edge = f.mean(z @ beta)
            if family == "gaussian" or (edge.min() > 1e-9 and (family == "poisson" or edge.max() < 1 - 1e-9)):
                return beta / scale
            break
    raise EvidenceError(
        "the covariates separate the outcomes: the model has no maximum",
        seen=f"{family} model with {x.shape[1]} coefficients, {int(y.sum())} events in {len(y)}",
        expected="both outcomes at every level of every category in each arm modelled apart",
        fix="fewer covariates, no interaction, or method unadjusted or aipw",
    )


def _design(data: TrialData, arm: np.ndarray, interaction: bool | Sequence[str]) -> np.ndarray:
    arms = np.stack([arm == a for a in range(len(data.arms))], axis=1).astype(float)
    x = data.centred
    apart = (
        np.full(len(data.names), interaction) if isinstance(interaction, bool) else np.array([n in interaction for n in data.names], bool)
    )
    return np.column_stack([arms, x[:, ~apart], *(arms[:, [a]] * x[:, apart] for a in range(arms.shape[1]))])


def _covariance(y: np.ndarray, mu: np.ndarray, data: TrialData, randomisation: Randomisation, residual_form: bool = False) -> np.ndarray:
    arms, n, shares = len(data.arms), data.n, data.shares
    within = [np.cov(np.column_stack([y, mu])[data.arm == a], rowvar=False) for a in range(arms)]
    over = np.atleast_2d(np.cov(mu, rowvar=False))
    v = np.empty((arms, arms))
    for a in range(arms):
        for b in range(arms):
            v[a, b] = within[a][0, 1 + b] + within[b][0, 1 + a] - over[a, b]
        spread = over[a, a] if not residual_form else within[a][1 + a, 1 + a]
        v[a, a] += (within[a][0, 0] + spread - 2 * within[a][0, 1 + a]) / shares[a]
    own = mu[np.arange(n), data.arm]
    return (v - block_correction(y - own, data, randomisation)) / n


def standardised(
    data: TrialData,
    *,
    family: str = "auto",
    interaction: bool | Sequence[str] = False,
    randomisation: Randomisation = SIMPLE,
    residual_form: bool = False,
) -> ArmMeans:
    """Return the mean over all patients of what the model says under each arm, with its covariance.

    Parameters
    ----------
    family : ``auto``, or one of :data:`FAMILIES`, with its canonical link.
    interaction : slopes per arm, for all covariates or for those named.
    randomisation : permuted blocks take a term away.
    residual_form : use the variance of the residual within arm, as peers do by option; it differs in the fifth digit.
    """
    name = family_of(data.outcome, family)
    beta = canonical(_design(data, data.arm, interaction), data.outcome, name)
    mean = _Family(name).mean
    mu = np.stack([mean(_design(data, np.full(data.n, a), interaction) @ beta) for a in range(len(data.arms))], axis=1)
    return ArmMeans(mu.mean(axis=0), _covariance(data.outcome, mu, data, randomisation, residual_form))


def unadjusted_means(data: TrialData, randomisation: Randomisation = SIMPLE) -> ArmMeans:
    """Return the plain arm means, with the variance that the randomisation leaves."""
    means = np.array([data.outcome[data.arm == a].mean() for a in range(len(data.arms))])
    mu = np.tile(means, (data.n, 1))
    return ArmMeans(means, _covariance(data.outcome, mu, data, randomisation))


def contrast_of(means: ArmMeans, data: TrialData, estimand: Estimand, randomisation: Randomisation, *, method: str, **more: Any) -> Result:
    """Return the estimand's contrast of adjusted arm means, beside that of the plain ones.

    Parameters
    ----------
    more : ``level``, ``status``, ``seed`` and ``parents`` of the result.
    """
    pair = data.index(estimand.reference), data.index(estimand.treatment)
    estimate, error = of_means(means, estimand.summary, *pair)
    plain = of_means(unadjusted_means(data, randomisation), estimand.summary, *pair)[1]
    return made(data, estimand, method=method, estimate=estimate, standard_error=error, unadjusted_error=plain, **more)


def gcomputation(
    data: TrialData,
    estimand: Estimand,
    *,
    family: str = "auto",
    interaction: bool | Sequence[str] = False,
    randomisation: Randomisation = SIMPLE,
    level: float = 0.95,
    status: tuple[str, ...] = (),
    parents: tuple[str, ...] = (),
) -> Result:
    """Compare standardised means: mean and risk differences, and ratios of risks, rates and odds by the delta method on the log scale.

    Raises
    ------
    EvidenceError
        When the covariates separate the outcomes, or the summary does not exist for these means.
    """
    means = standardised(data, family=family, interaction=interaction, randomisation=randomisation)
    method = f"gcomputation/{family_of(data.outcome, family)}{'/interaction' if interaction else ''}/{randomisation}"
    return contrast_of(means, data, estimand, randomisation, method=method, level=level, status=status, parents=parents)
