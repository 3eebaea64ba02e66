"""Scores of a predictive distribution against what was observed. Every score is negatively oriented: smaller is better.

Plain NumPy, so that scoring one forecast compiles nothing; :func:`crps_many` is the compiled form for large arrays.

References
----------
Gneiting and Raftery 2007, doi:10.1198/016214506000001437 (CRPS, interval, logarithmic and energy score).
Ferro 2014, doi:10.1002/qj.2270 (fair scores).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, ndtr

from gemel.core.errors import DataError

__all__ = [
    "central_interval",
    "coverage",
    "crps_draws",
    "crps_many",
    "crps_normal",
    "energy_score",
    "interval_score",
    "log_score_kernel",
    "log_score_normal",
    "pit",
    "skill",
]


def _first(draws: ArrayLike, observed: ArrayLike, axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Put the draws first and check shapes."""
    x, y = np.moveaxis(np.asarray(draws, float), axis, 0), np.asarray(observed, float)
    if x.shape[0] < 1:
        raise DataError("a distribution without draws cannot be scored", seen=np.shape(draws), expected="one draw or more")
    if x.shape[1:] != y.shape and y.ndim:
        raise DataError("draws and observations do not match", seen=(x.shape[1:], y.shape), expected="draws (draw, ...) and observed (...)")
    return x, y


def crps_draws(draws: ArrayLike, observed: ArrayLike, axis: int = 0, fair: bool = False) -> NDArray[np.float64]:
    """Score draws by the continuous ranked probability score, ``E|X - y| - E|X - X'| / 2``.

    Parameters
    ----------
    draws : (..., draw, ...) equally weighted.
    observed : (...) without the draw axis, same unit.
    axis : axis of the draws.
    fair : divide the second term by ``m (m - 1)`` instead of ``m^2``: unbiased for the distribution that the draws come from.

    Returns
    -------
    (...) in the unit of the observation. Sorting: O(m log m).

    Examples
    --------
    >>> float(crps_draws([0.0, 2.0], 1.0))
    0.5
    """
    x, y = _first(draws, observed, axis)
    m = x.shape[0]
    if fair and m < 2:
        raise DataError("the fair CRPS needs two draws", seen=m)
    x = np.sort(x - y, axis=0)  # centred on the observation: the two terms lose no digits to a common offset
    rank = (2 * np.arange(1, m + 1) - m - 1).reshape(-1, *[1] * (x.ndim - 1))
    return np.abs(x).mean(axis=0) - (rank * x).sum(axis=0) / (m * (m - 1) if fair else m * m)


@jax.jit
def crps_many(draws: Float[Array, draw * rest], observed: Float[Array, "*rest"]) -> Float[Array, "*rest"]:
    """Score many distributions at once, compiled: :func:`crps_draws` with the draws on the first axis.

    Parameters
    ----------
    draws : (draw, ...).
    observed : (...).
    """
    m = draws.shape[0]
    x = jnp.sort(draws - observed, axis=0)
    rank = 2 * jnp.arange(1, m + 1, dtype=x.dtype) - m - 1
    return jnp.mean(jnp.abs(x), axis=0) - jnp.tensordot(rank, x, axes=1) / (m * m)


def crps_normal(mean: ArrayLike, sd: ArrayLike, observed: ArrayLike) -> NDArray[np.float64]:
    """Score ``N(mean, sd^2)`` by its CRPS in closed form, ``s [z (2 Phi(z) - 1) + 2 phi(z) - 1/sqrt(pi)]``.

    Parameters
    ----------
    mean, sd, observed : broadcast against each other, same unit; ``sd`` positive.

    References
    ----------
    Gneiting and Raftery 2007, eq. 21.

    Examples
    --------
    >>> round(float(crps_normal(0.0, 1.0, 0.0)), 7)
    0.233695
    """
    sd = np.asarray(sd, float)
    z = (np.asarray(observed, float) - mean) / sd
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return sd * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))


def log_score_normal(draws: ArrayLike, observed: ArrayLike, axis: int = 0) -> NDArray[np.float64]:
    """Score by minus the log density of the normal with mean and variance of the draws.

    Parameters
    ----------
    draws : (..., draw, ...) two or more.
    observed : (...).
    axis : axis of the draws.
    """
    x, y = _first(draws, observed, axis)
    variance = x.var(axis=0, ddof=1)
    return 0.5 * ((y - x.mean(axis=0)) ** 2 / variance + np.log(2 * np.pi * variance))


def log_score_kernel(draws: ArrayLike, observed: ArrayLike, axis: int = 0, bandwidth: ArrayLike | None = None) -> NDArray[np.float64]:
    """Score by minus the log density of a Gaussian kernel estimate.

    Parameters
    ----------
    draws : (..., draw, ...).
    observed : (...).
    axis : axis of the draws.
    bandwidth : standard deviation of the kernel, (...); Silverman's ``0.9 min(sd, IQR/1.34) m^(-1/5)`` when None.

    References
    ----------
    Silverman 1986, eq. 3.31.
    """
    x, y = _first(draws, observed, axis)
    m = x.shape[0]
    if bandwidth is None:
        low, high = np.quantile(x, [0.25, 0.75], axis=0)
        spread, quartiles = x.std(axis=0, ddof=1), (high - low) / 1.34
        bandwidth = 0.9 * np.where(quartiles > 0, np.minimum(spread, quartiles), spread) * m**-0.2
    h = np.asarray(bandwidth, float)
    return np.log(m) + np.log(h) + 0.5 * np.log(2 * np.pi) - logsumexp(-0.5 * ((y - x) / h) ** 2, axis=0)


def interval_score(lower: ArrayLike, upper: ArrayLike, observed: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """Score a central ``1 - alpha`` interval: ``(u - l) + (2/alpha)(l - y)+ + (2/alpha)(y - u)+``.

    Parameters
    ----------
    lower, upper, observed : broadcast against each other, same unit.
    alpha : share outside, in (0, 1).
    """
    if not 0 < alpha < 1:
        raise DataError("alpha must lie between 0 and 1", seen=alpha)
    low, high, y = np.asarray(lower, float), np.asarray(upper, float), np.asarray(observed, float)
    return (high - low) + 2 / alpha * (np.maximum(low - y, 0) + np.maximum(y - high, 0))


def pit(draws: ArrayLike, observed: ArrayLike, axis: int = 0, *, rng: np.random.Generator | None = None) -> NDArray[np.float64]:
    """Return the probability integral transform ``(#less + u (1 + #equal)) / (m + 1)``.

    Exactly uniform when observation and draws come from one law, continuous or discrete, if ``u`` is uniform.

    Parameters
    ----------
    draws : (..., draw, ...).
    observed : (...).
    axis : axis of the draws.
    rng : source of ``u``; without one ``u = 1/2``, the middle of the step.
    """
    x, y = _first(draws, observed, axis)
    less, equal = (x < y).sum(axis=0), (x == y).sum(axis=0)
    u = 0.5 if rng is None else rng.uniform(size=less.shape)
    return (less + u * (1 + equal)) / (x.shape[0] + 1)


def central_interval(draws: ArrayLike, level: float, axis: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the central interval of the draws.

    Parameters
    ----------
    draws : (..., draw, ...).
    level : share inside, such as 0.9.
    axis : axis of the draws.
    """
    low, high = np.quantile(np.asarray(draws, float), [(1 - level) / 2, (1 + level) / 2], axis=axis)
    return low, high


def coverage(
    draws: ArrayLike, observed: ArrayLike, levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95), axis: int = 0
) -> dict[str, NDArray[np.bool_]]:
    """Say whether each observation lies inside the central interval of each level, keyed ``"0.50"`` and so on.

    Parameters
    ----------
    draws : (..., draw, ...).
    observed : (...).
    levels : shares inside.
    axis : axis of the draws.
    """
    x, y = _first(draws, observed, axis)
    inside = {}
    for level in levels:
        low, high = central_interval(x, level)
        inside[f"{level:.2f}"] = (low <= y) & (y <= high)
    return inside


def energy_score(draws: ArrayLike, observed: ArrayLike, fair: bool = False) -> float:
    """Score a vector by ``E|X - y| - E|X - X'| / 2`` with Euclidean norms; for one dimension it is the CRPS.

    Parameters
    ----------
    draws : (draw, dimension); scale the dimensions to a common unit first.
    observed : (dimension,).
    fair : divide the second term by ``m (m - 1)``.
    """
    x, y = _first(draws, observed, 0)
    if x.ndim != 2:
        raise DataError("the energy score takes vectors", seen=x.shape, expected="(draw, dimension)")
    m = x.shape[0]
    if fair and m < 2:
        raise DataError("the fair energy score needs two draws", seen=m)
    pairs = sum(np.linalg.norm(x[i + 1 :] - x[i], axis=1).sum() for i in range(m - 1))  # row by row: memory stays O(m)
    return float(np.linalg.norm(x - y, axis=1).mean() - pairs / (m * (m - 1) if fair else m * m))


def skill(score: ArrayLike, baseline: ArrayLike) -> float:
    """Return ``1 - mean(score) / mean(baseline)``: 0 for no better than the naive forecast, 1 for perfect.

    Parameters
    ----------
    score, baseline : same cases, same score.
    """
    base = float(np.mean(np.asarray(baseline)))
    return 1 - float(np.mean(np.asarray(score))) / base if base > 0 else float("nan")
