"""The power prior: each historical patient counts for a0 of a patient, a0 fixed or with a prior of its own.

    fixed:       p(theta | D0)     proportional to  p(theta) L(theta | D0)^a0
    normalised:  p(theta, a0 | D0)  =  p(theta | D0, a0) p(a0)      normalised for each a0, not the joint without its constant

The normalised one is a mixture over a0 of conjugate parts: data from the trial itself then weigh the values of a0.

References
----------
Ibrahim and Chen 2000, doi:10.1214/ss/1009212673; normalised: Duan, Ye and Smith 2006, doi:10.1002/env.752.
"""

from __future__ import annotations

import math

import numpy as np

from gemel.core.errors import DataError
from gemel.trials.external.history import History
from gemel.trials.external.mixture import BetaMixture, Mixture, NormalMixture

__all__ = ["WEAK", "normalised_power_prior", "power_prior", "weak_prior"]

WEAK = 100.0
"""Standard deviation of the prior before any history, in standard deviations of one patient: a ten-thousandth of a patient."""
NODES = 40
"""Of a0: Gauss-Jacobi would be exact for its beta prior; Gauss-Legendre in the angle is smooth at both ends for all of them."""


def weak_prior(history: History) -> Mixture:
    """Return the prior before any history: uniform for a rate, N(pooled mean, (100 sigma)²) for a mean."""
    one = np.ones(1)
    return BetaMixture(one, one, one) if history.is_rate else NormalMixture(one, history.pooled * one, WEAK * history.sigma * one)


def power_prior(history: History, a0: float) -> Mixture:
    """Return the power prior with a fixed a0: 0 borrows nothing, 1 pools.

    Raises
    ------
    DataError
        When a0 is not from 0 to 1.
    """
    if not 0 <= a0 <= 1:
        raise DataError("a0 is out of range", seen=a0, expected="from 0 (nothing) to 1 (pooled)")
    return _parts(history, np.array([float(a0)]), np.ones(1))


def normalised_power_prior(history: History, *, a: float = 1.0, b: float = 1.0) -> Mixture:
    """Return the normalised power prior: a0 ~ Beta(a, b), by quadrature.

    Raises
    ------
    DataError
        When a or b is not positive.
    """
    if not (a > 0 and b > 0):
        raise DataError("the prior of a0 is not one", seen=f"Beta({a:g}, {b:g})", expected="positive numbers, such as 1 and 1")
    x, w = np.polynomial.legendre.leggauss(NODES)
    angle = math.pi / 4 * (1 + x)
    a0 = np.sin(angle) ** 2
    weights = w * np.sin(angle) ** (2 * a - 1) * np.cos(angle) ** (2 * b - 1)
    return _parts(history, a0, weights / weights.sum())


def _parts(history: History, a0: np.ndarray, weights: np.ndarray) -> Mixture:
    n = float(history.n.sum())
    if history.events is not None:
        r = float(history.events.sum())
        return BetaMixture(weights, 1 + a0 * r, 1 + a0 * (n - r))
    precision = 1 / (WEAK * history.sigma) ** 2 + a0 * n / history.sigma**2
    return NormalMixture(weights, np.full(len(a0), history.pooled), 1 / np.sqrt(precision))
