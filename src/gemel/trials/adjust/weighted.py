"""Weighted linear adjustment: patients whose outcome a twin calls certain count for more.

References
----------
Schuler 2023, arXiv:2309.14256 (variance-weighted prognostic adjustment).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DataError, EvidenceError
from gemel.trials.adjust.ancova import least_squares
from gemel.trials.adjust.base import Result, made
from gemel.trials.data import TrialData
from gemel.trials.estimand import Estimand, Summary

__all__ = ["log_variance", "weighted"]


def log_variance(squared_residuals: Float[np.ndarray, " subject"], predicted: Float[np.ndarray, " subject"]) -> Float[np.ndarray, " two"]:
    """Return g of residual variance = exp(g0 + g1 log predicted variance), by gamma quasi-likelihood.

    Raises
    ------
    EvidenceError
        When it does not converge.
    """
    x = np.column_stack([np.ones(len(predicted)), np.log(predicted) - np.log(predicted).mean()])
    y = squared_residuals / squared_residuals.mean()
    g = np.zeros(2)
    for _ in range(100):
        ratio = y * np.exp(-x @ g)
        step = np.linalg.solve((x * ratio[:, None]).T @ x, x.T @ (ratio - 1))
        g = g + step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-10:
            return np.array([g[0] - g[1] * np.log(predicted).mean() + math.log(squared_residuals.mean()), g[1]])
    raise EvidenceError("the variance model does not converge", seen=g.tolist(), expected="a finite optimum", fix="use ancova1")


def weighted(
    data: TrialData,
    estimand: Estimand,
    predicted_variance: Float[np.ndarray, " subject"],
    *,
    variance: str = "hc2",
    level: float = 0.95,
    status: tuple[str, ...] = (),
    parents: tuple[str, ...] = (),
) -> Result:
    """Compare two arms by weighted least squares with a sandwich variance, one slope per covariate.

    The weights are the inverse of ``exp(g0 + g1 log s²)``, learnt from the residuals of the unweighted fit without the arms' names. They
    change the estimand when effects vary with them: the status says so.

    Parameters
    ----------
    predicted_variance : (subject,) a twin's predictive variance s², known before randomisation, unit of the outcome squared.

    Raises
    ------
    DataError
        When a predicted variance is not positive.
    """
    s2 = np.asarray(predicted_variance, float)
    if s2.shape != (data.n,) or not (np.isfinite(s2).all() and (s2 > 0).all()):
        raise DataError("a predicted variance is not usable", seen=f"{s2.shape}", expected=f"{data.n} positive finite numbers")
    if estimand.summary not in (Summary.MEAN_DIFFERENCE, Summary.RISK_DIFFERENCE):
        raise EvidenceError("a linear model gives a difference", seen=estimand.summary.value, expected="a difference", fix="gcomputation")
    arms = np.stack([data.arm == a for a in range(1, len(data.arms))], axis=1).astype(float)
    plain = np.column_stack([np.ones(data.n), arms])
    x = np.column_stack([plain, data.centred])
    g = np.zeros(2)
    if np.ptp(s2) > 0:
        residual = data.outcome - x @ least_squares(x, data.outcome).coefficients
        g = log_variance(residual**2, s2)
    w = np.exp(-(g[0] + g[1] * np.log(s2)))
    fit = least_squares(x, data.outcome, variance=variance, weights=w / w.mean())
    c = np.zeros(x.shape[1])
    for name, sign in ((estimand.reference, -1.0), (estimand.treatment, 1.0)):
        if data.index(name):
            c[data.index(name)] = sign
    base = least_squares(plain, data.outcome, variance=variance)
    note = f"weights from predicted variances (exponent {g[1]:.3g}): they change the estimand if effects vary with them"
    k = plain.shape[1]
    return made(
        data,
        estimand,
        method=f"weighted/{variance}",
        estimate=float(c @ fit.coefficients),
        standard_error=math.sqrt(c @ fit.covariance @ c),
        unadjusted_error=math.sqrt(c[:k] @ base.covariance @ c[:k]),
        df=fit.freedom(c),
        level=level,
        status=(*status, note),
        parents=parents,
    )
