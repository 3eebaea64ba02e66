"""Entropy balancing: the weights nearest to equal that make the covariates' means those of the trial, exactly.

    w_i = exp(x_i' a),   a = argmin sum_i exp((x_i - target)' a)        convex

References
----------
Hainmueller 2012, doi:10.1093/pan/mpr025; as a doubly robust estimate: Zhao and Percival 2017, doi:10.1515/jci-2016-0010.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import EvidenceError
from gemel.trials.adjust.base import ArmMeans
from gemel.trials.external.data import ExternalData
from gemel.trials.external.weights import Weighted

__all__ = ["balancing_weights", "entropy", "moments"]

STEPS = 200
"""Newton steps before the search is called off; usual is ten."""


def balancing_weights(x: Float[np.ndarray, "patient covariate"], target: Float[np.ndarray, " covariate"]) -> Float[np.ndarray, " patient"]:
    """Return weights, sum 1, nearest to equal by entropy, under which the means of x are the target.

    Damped Newton steps on the logarithm of the convex sum.

    Raises
    ------
    EvidenceError
        When no weights do: the target lies outside what these patients span, or the covariates are linearly dependent.
    """
    scale = x.std(axis=0)
    scale[scale == 0] = 1.0
    z = (x - target) / scale
    a = np.zeros(z.shape[1])
    w = np.full(len(z), 1 / len(z))
    value = 0.0
    for _ in range(STEPS):
        gradient = w @ z
        if np.abs(gradient).max() < 1e-11:
            return w
        inside = z - gradient
        hessian = (inside * w[:, None]).T @ inside
        if np.linalg.cond(hessian) > 1e13 or w.max() > 1 - 1e-9:
            break
        step, size = -np.linalg.solve(hessian, gradient), 1.0
        while size > 1e-10:
            logs = z @ (a + size * step)
            after = float(special.logsumexp(logs)) - np.log(len(z))
            if after <= value + 1e-4 * size * float(gradient @ step) or abs(after - value) < 1e-15:
                break
            size /= 2
        a, value = a + size * step, after
        w = special.softmax(z @ a)
    raise EvidenceError(
        "no weights balance these covariates",
        seen=f"{len(x)} patients, {x.shape[1]} conditions",
        expected="means that lie inside what these patients span, and columns that are not sums of each other",
        fix="fewer columns, or patients of a common population",
    )


def moments(x: Float[np.ndarray, "patient covariate"], count: int) -> Float[np.ndarray, "patient condition"]:
    """Return the columns whose means are balanced: x, and with ``count`` 2 the squares of columns with more than two values."""
    if count == 1:
        return x
    more = [column**2 for column in x.T if len(np.unique(column)) > 2]
    return np.column_stack([x, *more])


def entropy(data: ExternalData, *, conditions: int = 1) -> Weighted:
    """Weight those from outside so that their covariates have the treated patients' means; both stand for the trial.

    Parameters
    ----------
    conditions : 1 for means; 2 for means and variances.

    Raises
    ------
    EvidenceError
        When no weights do.
    """
    (yt, yo), (xt, xo) = data.y, data.x
    both = moments(np.vstack([xt, xo]), conditions)
    xt, xo = both[: len(yt)], both[len(yt) :]
    target = xt.mean(axis=0)
    w = balancing_weights(xo, target)
    n, m, k = len(yt) + len(yo), len(yt), len(yo)
    means = np.array([w @ yo, yt.mean()])
    apart = xo - target
    slope = np.linalg.lstsq((apart * w[:, None]).T @ apart, (apart * w[:, None]).T @ (yo - means[0]), rcond=None)[0]
    influence = np.zeros((n, 2))
    influence[:m, 0] = (xt - target) @ slope * n / m
    influence[m:, 0] = n * w * (yo - means[0] - apart @ slope)
    influence[:m, 1] = (yt - means[1]) * n / m
    free = k / max(k - 1 - xo.shape[1], 1)
    influence[m:, 0] *= np.sqrt(free)
    return Weighted(ArmMeans(means, influence.T @ influence / n**2), np.full(m, 1 / m), w)
