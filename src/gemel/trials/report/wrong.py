"""What if the twin is wrong? Level and power of adjustment under prognoses that are right, useless, biased, shifted or upside down, beside borrowing under drift.

Adjustment keeps the concurrent controls: its type-I error stays where it is whatever the prognosis. Borrowing does not. SIMULATED, NumPy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from gemel.core.errors import DataError

__all__ = ["DRIFTS", "TWINS", "Behaviour", "Borrowed", "adjusted_behaviour", "borrowed_behaviour"]

TWINS = ("the true model", "pure noise", "one SD too high", "from a shifted population", "half the correlation planned", "anti-correlated")
"""Prognoses that a trial may turn out to have."""
DRIFTS = (0.0, 0.1, 0.2, 0.3, 0.5)
"""Differences of historical and concurrent controls, in standard deviations of the outcome."""


@dataclass(frozen=True)
class Behaviour:
    """How often a trial rejects with this prognosis.

    Parameters
    ----------
    type_one, power : shares of trials that reject, without and with an effect; ``type_one_error``, ``power_error`` their Monte-Carlo standard errors.
    variance_ratio : mean variance without adjustment over mean variance with it.
    """

    twin: str
    type_one: float
    type_one_error: float
    power: float
    power_error: float
    variance_ratio: float


@dataclass(frozen=True)
class Borrowed:
    """Level and power, by normal theory, of pooling as many historical controls as there are concurrent ones, at one drift."""

    drift: float
    type_one: float
    power: float


def _prognosis(twin: str, x: np.ndarray, rho: float, rng: np.random.Generator) -> np.ndarray:
    if twin == "pure noise":
        return rng.normal(size=x.shape)
    if twin == "one SD too high":
        return rho * x + 1.0
    if twin == "from a shifted population":
        return np.exp(0.5 * (x + 1.0))
    if twin == "half the correlation planned":
        return x + math.sqrt(3) * rng.normal(size=x.shape)  # squared correlation with x: 1/4
    return -rho * x if twin == "anti-correlated" else rho * x


def _reject(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and HC3 variances of the arm in trials (trial, patient, 3)."""
    transposed = x.swapaxes(1, 2)
    inverse = np.linalg.inv(transposed @ x)
    beta = inverse @ (transposed @ y[..., None])
    xi = x @ inverse
    residual = y - (x @ beta)[..., 0]
    return beta[:, 1, 0], ((xi[:, :, 1] * residual / (1 - (xi * x).sum(axis=2))) ** 2).sum(axis=1)


def adjusted_behaviour(
    n: int, r_squared: float, *, replicates: int = 2000, power: float = 0.8, alpha: float = 0.05, seed: int = 0
) -> tuple[Behaviour, ...]:
    """Simulate 1:1 trials analysed by ANCOVA I with HC3 and t(n - 3), under each of :data:`TWINS`.

    Parameters
    ----------
    n : patients in a trial; more than 400 are simulated as 400, which changes level and power by less than their error.
    r_squared : of the true model. The effect is the one that the true model finds with ``power``.
    replicates : trials for each twin and effect.

    Raises
    ------
    DataError
        For an R² outside 0 to 1, or fewer than 20 patients.
    """
    if not 0 <= r_squared < 1 or n < 20 or replicates < 100:
        raise DataError("no such trial can be simulated", seen=f"R² {r_squared:g}, {n} patients, {replicates} trials", expected="R² from 0 to under 1, 20 patients or more, 100 trials or more")  # fmt: skip
    n, rho = min(n, 400) // 2 * 2, math.sqrt(r_squared)
    z = special.ndtri(1 - alpha / 2)
    effect = (z + special.ndtri(power)) * math.sqrt(4 * (1 - r_squared) / n)
    t, found = special.stdtrit(n - 3, 1 - alpha / 2), []
    size = max(1, 400_000 // n)
    for k, twin in enumerate(TWINS):
        rng = np.random.default_rng([seed, k])
        rejected, squared, plain = [0, 0], 0.0, 0.0
        for start in range(0, replicates, size):
            trials = min(size, replicates - start)
            arm, x = rng.permuted(np.tile(np.arange(n) % 2, (trials, 1)), axis=1), rng.normal(size=(trials, n))
            y = rho * x + math.sqrt(1 - r_squared) * rng.normal(size=(trials, n))
            m = _prognosis(twin, x, rho, rng)
            m = m - m.mean(axis=1, keepdims=True)
            if np.ptp(m) == 0:  # R² of nothing: the true model says the same of everybody
                m = rng.normal(size=m.shape)
            design = np.stack([np.ones_like(y), arm, m], axis=2)
            estimate, variance = _reject(design, y)
            for which, tau in enumerate((0.0, effect)):
                rejected[which] += int((np.abs(estimate + tau) > t * np.sqrt(variance)).sum())
            squared += float(variance.sum())
            sums = np.stack([np.where(arm == a, y, 0).sum(axis=1) for a in (0, 1)])
            squares = np.stack([np.where(arm == a, y**2, 0).sum(axis=1) for a in (0, 1)])
            plain += float((2 / n * (squares - sums**2 * 2 / n) / (n / 2 - 1)).sum())
        shares = [r / replicates for r in rejected]
        errors = [math.sqrt(max(s * (1 - s), 1 / replicates) / replicates) for s in shares]
        found.append(Behaviour(twin, shares[0], errors[0], shares[1], errors[1], plain / squared))
    return tuple(found)


def borrowed_behaviour(
    n: int, *, effect_power: float = 0.8, alpha: float = 0.05, drifts: tuple[float, ...] = DRIFTS
) -> tuple[Borrowed, ...]:
    """Return level and power of pooling n / 2 historical controls into a 1:1 trial of n, known variance; type-I error is **not** controlled.

    Parameters
    ----------
    effect_power : power of the trial without borrowing, which fixes the effect.

    Notes
    -----
    The pooled control mean is biased by d / 2 at a drift of d: reject with probability Phi(-z - b) + 1 - Phi(z - b), b = (tau - d / 2) / se,
    se² = 2 / n + 1 / n.
    """
    z = special.ndtri(1 - alpha / 2)
    tau = (z + special.ndtri(effect_power)) * math.sqrt(4 / n)
    error = math.sqrt(2 / n + 1 / n)

    def reject(shift: float) -> float:
        return float(special.ndtr(-z - shift / error) + special.ndtr(-z + shift / error))

    return tuple(Borrowed(d, reject(-d / 2), reject(tau - d / 2)) for d in drifts)
