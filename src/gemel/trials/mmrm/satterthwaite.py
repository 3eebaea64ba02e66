"""Satterthwaite's degrees of freedom, for one contrast and for several at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from gemel.trials.mmrm.degrees import Precision

__all__ = ["several", "single"]


def single(precision: Precision, row: Float[np.ndarray, " column"]) -> float:
    """Return ``2 v^2 / (g' A g)``: ``v`` the variance of the contrast, ``g`` its gradient, ``A`` the covariance of the parameters.

    References
    ----------
    Giesbrecht and Burns 1985, doi:10.2307/2530872. SAS/STAT, MIXED, DDFM=SATTERTHWAITE.
    """
    variance = row @ precision.model @ row
    gradient = np.einsum("a,iab,b->i", row, precision.sensitivity, row)
    spread = gradient @ precision.uncertainty @ gradient
    return float(2 * variance**2 / spread) if spread > 0 else np.inf


def several(precision: Precision, rows: Float[np.ndarray, "row column"]) -> float:
    """Return the denominator degrees of freedom of a joint test, from those of the independent contrasts within it.

    References
    ----------
    Fai and Cornelius 1996, doi:10.1080/00949659608811740.
    """
    variances, turn = np.linalg.eigh(rows @ precision.model @ rows.T)
    each = [single(precision, row) for row, variance in zip(turn.T @ rows, variances, strict=True) if variance > 1e-12 * variances[-1]]
    if len(each) == 1:
        return each[0]
    if np.ptp(each) < 1e-8 * max(each):
        return float(np.mean(each))
    expected = sum(df / (df - 2) if np.isfinite(df) else 1.0 for df in each if df > 2)
    return float(2 * expected / (expected - len(each))) if expected > len(each) else 2.0
