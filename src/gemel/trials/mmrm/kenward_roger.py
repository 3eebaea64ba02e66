"""Kenward and Roger: coefficient covariance with its small-sample bias taken out, and scaled F tests to go with it.

The full form has the second derivatives of the covariance; the linear form leaves them out. Where the covariance is linear in its parameters
(unstructured, Toeplitz, compound symmetry) both are the same.

References
----------
Kenward and Roger 1997, doi:10.2307/2533558, eqs. 3, 4, 7, 8. SAS/STAT, MIXED, DDFM=KENWARDROGER and KENWARDROGER(LINEAR).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from gemel.trials.mmrm.degrees import Precision
from gemel.trials.mmrm.likelihood import Likelihood
from gemel.trials.mmrm.scoring import Optimum

__all__ = ["adjusted", "several"]


def adjusted(likelihood: Likelihood, optimum: Optimum, precision: Precision, *, linear: bool) -> Float[np.ndarray, "column column"]:
    """Return ``F + 2 F {sum_ij A_ij (Q_ij - P_i F P_j - R_ij / 4)} F``, ``F`` the model's covariance of the coefficients.

    ``Q_ij = X'W E_i W E_j W X``, ``P_i = -X'W E_i W X``, ``R_ij = X'W d2Sigma/(dt_i dt_j) W X``; the linear form has no ``R``. ``A`` is from the
    observed information, as in SAS.
    """
    at, slopes = optimum.evaluation, optimum.derivatives
    assert at is not None  # the caller has looked at the status
    assert slopes is not None
    m = likelihood.visits
    middle = []
    for stratum, shape, weight in zip(likelihood.data.strata, at.shapes, at.weights, strict=True):
        spread = likelihood.own(stratum, precision.uncertainty)
        first = shape.first.reshape(len(shape.first), -1)
        # sum_ij A_ij E_i W E_j for all patterns at once: entries [a, b, c, d] of sum A_ij E_i (x) E_j against W[b, c]
        kron = (first.T @ spread @ first).reshape(m, m, m, m).transpose(1, 2, 0, 3).reshape(m * m, m * m)
        inner = (weight.reshape(len(weight), -1) @ kron).reshape(weight.shape)
        if shape.second is not None and not linear:
            inner = inner - np.tensordot(spread, shape.second, 2) / 4
        middle.append((inner + np.swapaxes(inner, 1, 2)) / 2)
    bias = likelihood.weigh(at, middle)
    turned = slopes.cross @ at.inverse
    bias -= np.einsum("ij,iab,jbc->ac", precision.uncertainty, turned, slopes.cross, optimize=True)
    back = np.linalg.inv(likelihood.data.upper)
    found = at.inverse + 2 * at.inverse @ bias @ at.inverse
    found = back @ found @ back.T
    return (found + found.T) / 2


def several(precision: Precision, rows: Float[np.ndarray, "row column"]) -> tuple[float, float]:
    """Return the denominator degrees of freedom and the scale of the F statistic for a joint test; for one row the scale is 1."""
    q = len(rows)
    inverse = np.linalg.inv(rows @ precision.model @ rows.T)
    turned = inverse @ (rows @ precision.sensitivity @ rows.T)
    trace = np.trace(turned, axis1=1, axis2=2)
    a1 = float(trace @ precision.uncertainty @ trace)
    a2 = float(np.sum(precision.uncertainty * np.einsum("iab,jba->ij", turned, turned)))
    if a2 <= 0:
        return np.inf, 1.0
    b = (a1 + 6 * a2) / (2 * q)
    g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
    bottom = 3 * q + 2 * (1 - g)
    c1, c2, c3 = g / bottom, (q - g) / bottom, (q + 2 - g) / bottom
    mean = 1 / (1 - a2 / q)
    variance = (2 / q) * (1 + c1 * b) / ((1 - c2 * b) ** 2 * (1 - c3 * b))
    ratio = variance / (2 * mean**2)
    df = 4 + (q + 2) / (q * ratio - 1)
    return float(df), float(df / (mean * (df - 2)))
