"""Matching-adjusted indirect comparison: the trial's patients are weighted to the published means of controls from outside.

Only a summary of those from outside is needed; the effect is one in **their** population, taken as having just these means.

References
----------
Signorovitch et al. 2010, doi:10.2165/11538370-000000000-00000; Phillippo et al. 2018, doi:10.1177/0272989X17725740 (unanchored comparisons rest on all
prognostic variables being balanced).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from gemel.core.errors import EvidenceError
from gemel.trials.adjust.base import ArmMeans
from gemel.trials.external.balance import SMALLEST_SHARE, effective_size
from gemel.trials.external.data import Aggregate
from gemel.trials.external.entropy import balancing_weights
from gemel.trials.external.weights import Weighted

__all__ = ["maic"]


def maic(
    y: Float[np.ndarray, " treated"],
    x: Float[np.ndarray, "treated covariate"],
    target: Aggregate,
    *,
    conditions: int = 1,
    allow_small: bool = False,
) -> Weighted:
    """Weight the treated patients so that their covariates have the published means of those from outside.

    Parameters
    ----------
    y, x : outcomes and covariates of the treated.
    target : the summary, its covariates in the order of the columns.
    conditions : 1 for means; 2 for standard deviations too, where they are known.
    allow_small : accept an effective number under a quarter of the patients.

    Raises
    ------
    EvidenceError
        When no weights do, or they leave too few patients.
    """
    columns, means = [x], [target.means]
    if conditions == 2:
        known = np.isfinite(target.sds) & np.array([len(np.unique(c)) > 2 for c in x.T])
        columns.append(x[:, known] ** 2)
        means.append((target.means**2 + target.sds**2 * (target.n - 1) / target.n)[known])
    z, at = np.column_stack(columns), np.concatenate(means)
    w = balancing_weights(z, at)
    size = effective_size(w)
    if size < SMALLEST_SHARE * len(y) and not allow_small:
        raise EvidenceError(
            "the weights leave too few patients",
            seen=f"effective number {size:.1f} of {len(y)}",
            expected=f"{SMALLEST_SHARE:.0%} or more",
            fix="the populations are too far apart; balance fewer columns, or allow it and say so",
        )
    mean = float(w @ y)
    apart = z - at
    slope = np.linalg.lstsq((apart * w[:, None]).T @ apart, (apart * w[:, None]).T @ (y - mean), rcond=None)[0]
    residual = w * (y - mean - apart @ slope)
    variance = float(residual @ residual) * len(y) / max(len(y) - 1 - z.shape[1], 1)
    return Weighted(ArmMeans(np.array([target.outcome, mean]), np.diag([target.error**2, variance])), w, np.full(target.n, 1 / target.n))
