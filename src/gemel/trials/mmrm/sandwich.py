"""Errors that hold where the covariance structure is wrong: residuals of whole subjects between the model's bread.

References
----------
Liang and Zeger 1986, doi:10.1093/biomet/73.1.13 (empirical). Mancl and DeRouen 2001, doi:10.1111/j.0006-341X.2001.00126.x (jackknife: each
subject's residuals are those it would have had, had it not been in the fit).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from gemel.trials.mmrm.likelihood import Likelihood
from gemel.trials.mmrm.scoring import Optimum

__all__ = ["robust"]


def robust(likelihood: Likelihood, optimum: Optimum, *, jackknife: bool) -> Float[np.ndarray, "column column"]:
    """Return ``F (sum_i X_i'W_i e_i e_i'W_i X_i) F``; for the jackknife ``e_i`` is ``(I - X_i F X_i'W_i)^-1 r_i``."""
    at, data = optimum.evaluation, likelihood.data
    assert at is not None  # the caller has looked at the status
    weights = np.zeros((len(data.subjects), likelihood.visits, likelihood.visits))
    for s, weight in enumerate(at.weights):
        members = data.stratum_of == s
        weights[members] = weight[data.pattern_of[members]]
    x = data.z[..., :-1]
    residual = data.z[..., -1] - x @ at.gamma
    if jackknife:
        hat = x @ at.inverse @ np.swapaxes(x, 1, 2) @ weights
        residual = np.linalg.solve(np.eye(likelihood.visits) - hat, residual[..., None])[..., 0]
    scores = np.einsum("iap,iab,ib->ip", x, weights, residual, optimize=True)
    half = scores @ at.inverse @ np.linalg.inv(data.upper).T
    return half.T @ half
