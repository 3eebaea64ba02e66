"""Linear adjustment: ANCOVA I (one slope), ANCOVA II (a slope per arm, ANHECOVA), and no adjustment at all.

References
----------
Lin 2013, doi:10.1214/12-AOAS583; Ye et al. 2023, doi:10.1080/01621459.2022.2049278 (ANHECOVA).
MacKinnon and White 1985, doi:10.1016/0304-4076(85)90158-7 (HC1, HC2, HC3).
Imbens and Kolesár 2016, doi:10.1162/REST_a_00552 (HC2 with the degrees of freedom of Bell and McCaffrey).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DataError, EvidenceError
from gemel.trials.adjust.base import Result, made
from gemel.trials.adjust.bell_mccaffrey import bell_mccaffrey
from gemel.trials.data import TrialData
from gemel.trials.estimand import Estimand, Summary

__all__ = ["TARGETS", "VARIANCES", "Linear", "ancova", "dose_trend", "least_squares", "unadjusted"]

VARIANCES = ("hc2", "hc3", "hc1", "model")
"""Variance estimates: MacKinnon and White's HC2, HC3 and HC1, and the one of a common residual variance. HC2 goes with the degrees of freedom of
:func:`~gemel.trials.adjust.bell_mccaffrey.bell_mccaffrey`, the others with n - p."""

TARGETS = ("superpopulation", "sample")
"""Whose mean effect: that of the population the patients stand for, or of these patients."""


@dataclass(frozen=True)
class Linear:
    """A least-squares fit.

    Parameters
    ----------
    coefficients, covariance : estimates, and their covariance.
    df : residual, n - p.
    basis, back : orthonormal basis of the model's columns and what turns it into coefficients, where degrees of freedom depend on the contrast (HC2).
    """

    coefficients: Float[np.ndarray, " coefficient"]
    covariance: Float[np.ndarray, "coefficient coefficient"]
    df: int
    basis: Float[np.ndarray, "row coefficient"] | None = None
    back: Float[np.ndarray, "coefficient coefficient"] | None = None

    def freedom(self, contrast: Float[np.ndarray, " coefficient"]) -> float:
        """Return the degrees of freedom of a contrast: n - p, or Bell and McCaffrey's for HC2."""
        if self.basis is None or self.back is None:
            return float(self.df)
        return bell_mccaffrey(self.basis, self.basis @ (self.back.T @ contrast))


def least_squares(
    x: Float[np.ndarray, "row coefficient"],
    y: Float[np.ndarray, " row"],
    *,
    variance: str = "hc2",
    weights: Float[np.ndarray, " row"] | None = None,
) -> Linear:
    """Fit by QR, with a robust covariance.

    Parameters
    ----------
    variance : one of :data:`VARIANCES`.
    weights : (row,) positive; the covariance stays the sandwich.

    Raises
    ------
    EvidenceError
        When columns are linearly dependent, there are too few rows, or one row alone decides a coefficient.
    """
    if variance not in VARIANCES:
        raise DataError("no such variance", seen=variance, expected=VARIANCES)
    n, p = x.shape
    if n <= p + 1:
        raise EvidenceError(
            "too few patients for the model", seen=f"{n} patients, {p} coefficients", expected="more patients", fix="fewer covariates"
        )
    root = np.sqrt(weights) if weights is not None else np.ones(n)
    xw, yw = x * root[:, None], y * root
    scale = np.sqrt(np.square(xw).sum(axis=0))
    scale[scale == 0] = 1.0
    q, r = np.linalg.qr(xw / scale)
    if np.linalg.svd(r, compute_uv=False)[-1] < 1e-9:
        raise EvidenceError(
            "the covariates are linearly dependent",
            seen=f"{p} columns, rank {np.linalg.matrix_rank(r, tol=1e-9)}",
            expected="columns that are not sums of each other",
            fix="leave one out; a prognosis and all of its inputs may not stand together",
        )
    beta = np.linalg.solve(r, q.T @ yw)
    residual = yw - q @ (q.T @ yw)
    if variance == "model":
        middle = np.eye(p) * (residual @ residual) / (n - p)
    elif variance == "hc1":
        middle = (q * (residual**2)[:, None]).T @ q * n / (n - p)
    else:
        leverage = np.square(q).sum(axis=1)
        if leverage.max() > 1 - 1e-9:
            raise EvidenceError(
                "one patient alone decides a coefficient",
                seen=f"{int((leverage > 1 - 1e-9).sum())} rows of leverage 1",
                expected="every level of a category with two patients or more in each arm that is modelled apart",
                fix="join small categories, or take HC1",
            )
        power = 1.0 if variance == "hc3" else 0.5
        middle = (q * (residual / (1 - leverage) ** power)[:, None] ** 2).T @ q
    inverse = np.linalg.inv(r) / scale[:, None]
    covariance = inverse @ middle @ inverse.T
    return Linear(beta / scale, covariance, n - p, *((q, inverse) if variance == "hc2" else ()))


def _arms(data: TrialData) -> np.ndarray:
    return np.stack([data.arm == a for a in range(1, len(data.arms))], axis=1).astype(float)


def _between(fit: Linear, data: TrialData, estimand: Estimand) -> tuple[float, float, np.ndarray]:
    c = np.zeros(len(fit.coefficients))
    for name, sign in ((estimand.reference, -1.0), (estimand.treatment, 1.0)):
        if data.index(name):
            c[data.index(name)] = sign
    return float(c @ fit.coefficients), float(c @ fit.covariance @ c), c


def _difference_only(estimand: Estimand) -> None:
    if estimand.summary not in (Summary.MEAN_DIFFERENCE, Summary.RISK_DIFFERENCE):
        raise EvidenceError(
            "a linear model gives a difference",
            seen=estimand.summary.value,
            expected="mean difference or risk difference",
            fix="gcomputation",
        )


def _plain(data: TrialData, variance: str) -> Linear:
    return least_squares(np.column_stack([np.ones(data.n), _arms(data)]), data.outcome, variance=variance)


def unadjusted(data: TrialData, estimand: Estimand, *, variance: str = "hc2", level: float = 0.95) -> Result:
    """Compare the means of two arms, without covariates.

    Parameters
    ----------
    variance : one of :data:`VARIANCES`.
    """
    _difference_only(estimand)
    fit = _plain(data, variance)
    estimate, squared, contrast = _between(fit, data, estimand)
    error = math.sqrt(squared)
    return made(
        data,
        estimand,
        method=f"unadjusted/{variance}",
        estimate=estimate,
        standard_error=error,
        unadjusted_error=error,
        df=fit.freedom(contrast),
        level=level,
    )


def ancova(
    data: TrialData,
    estimand: Estimand,
    *,
    interaction: bool = True,
    variance: str = "hc2",
    target: str = "superpopulation",
    level: float = 0.95,
    status: tuple[str, ...] = (),
    parents: tuple[str, ...] = (),
) -> Result:
    """Compare two arms in a linear model with centred covariates; all arms of the trial are in the model.

    Parameters
    ----------
    interaction : a slope per arm (ANCOVA II, ANHECOVA) or one for all (ANCOVA I).
    variance : one of :data:`VARIANCES`; HC2 is unbiased where residuals have one variance, HC3 too large by about p/n, HC1 too small for a small arm (docs/adr/0011).
    target : one of :data:`TARGETS`; with interactions the superpopulation adds the term of the estimated centre, d' V d / n, with d the
        difference of slopes and V the covariance of the covariates.

    Raises
    ------
    EvidenceError
        When the estimand is no difference, or the model cannot be identified.
    """
    _difference_only(estimand)
    if target not in TARGETS:
        raise DataError("no such target", seen=target, expected=TARGETS)
    arms, x = _arms(data), data.centred
    products = [arms[:, [a]] * x for a in range(arms.shape[1])] if interaction else []
    fit = least_squares(np.column_stack([np.ones(data.n), arms, x, *products]), data.outcome, variance=variance)
    estimate, squared, contrast = _between(fit, data, estimand)
    if interaction and target == "superpopulation" and x.shape[1]:
        slopes = fit.coefficients[1 + arms.shape[1] + x.shape[1] :].reshape(arms.shape[1], x.shape[1])
        slopes = np.vstack([np.zeros(x.shape[1]), slopes])
        d = slopes[data.index(estimand.treatment)] - slopes[data.index(estimand.reference)]
        squared += float(d @ np.atleast_2d(np.cov(x, rowvar=False)) @ d) / data.n
    plain = _between(_plain(data, variance), data, estimand)[1]
    return made(
        data,
        estimand,
        method=f"{'ancova2' if interaction else 'ancova1'}/{variance}" + (f"/{target}" if interaction else ""),
        estimate=estimate,
        standard_error=math.sqrt(squared),
        unadjusted_error=math.sqrt(plain),
        df=fit.freedom(contrast),
        level=level,
        status=status,
        parents=parents,
    )


def dose_trend(data: TrialData, estimand: Estimand, doses: Mapping[str, float], *, variance: str = "hc2", level: float = 0.95) -> Result:
    """Test a linear trend over doses: the change of the outcome per unit of dose, covariates centred, one slope each.

    Parameters
    ----------
    doses : arm -> dose, for every arm.

    Raises
    ------
    DataError
        When an arm has no dose.
    """
    _difference_only(estimand)
    if set(doses) != set(data.arms):
        raise DataError("each arm needs its dose", seen=sorted(doses), expected=sorted(data.arms))
    dose = np.array([float(doses[a]) for a in data.arms])[data.arm]
    x = np.column_stack([np.ones(data.n), dose, data.centred])
    fit = least_squares(x, data.outcome, variance=variance)
    plain = least_squares(np.column_stack([np.ones(data.n), dose]), data.outcome, variance=variance)
    return made(
        data,
        estimand,
        method=f"dose trend/{variance}",
        estimate=float(fit.coefficients[1]),
        standard_error=math.sqrt(fit.covariance[1, 1]),
        unadjusted_error=math.sqrt(plain.covariance[1, 1]),
        df=fit.freedom(np.eye(x.shape[1])[1]),
        level=level,
    )
