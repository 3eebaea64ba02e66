"""The few statistics that describe draws: weighted quantiles, densities, binomial limits. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemel.core.errors import ViewError


def quantiles(draws: ArrayLike, levels: Sequence[float], weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return quantiles over the first axis, weighted where weights are given.

    Parameters
    ----------
    draws : (draw, ...) values.
    levels : (level,) probabilities from 0 to 1.
    weights : (draw,) not negative, any sum.

    Returns
    -------
    (level, ...)
    """
    values = np.asarray(draws, dtype=np.float64)
    if values.ndim == 0 or values.shape[0] == 0:
        raise ViewError(f"quantiles: draws of shape {values.shape}; expected at least one draw along the first axis")
    if weights is None:
        return np.quantile(values, levels, axis=0)
    weight = np.asarray(weights, dtype=np.float64)
    if weight.shape != values.shape[:1] or not (weight >= 0).all() or weight.sum() <= 0:
        raise ViewError(f"quantiles: weights of shape {weight.shape} for {values.shape[0]} draws; expected one per draw, none negative")
    flat = values.reshape(values.shape[0], -1)
    order = np.argsort(flat, axis=0, kind="stable")
    result = np.empty((len(levels), flat.shape[1]))
    for column in range(flat.shape[1]):
        sorted_weight = weight[order[:, column]]
        middle = (np.cumsum(sorted_weight) - 0.5 * sorted_weight) / weight.sum()
        result[:, column] = np.interp(levels, middle, flat[order[:, column], column])
    return result.reshape(len(levels), *values.shape[1:])


def central(level: float) -> tuple[float, float]:
    """Return the two probabilities between which the central interval of a level lies: 0.9 is 0.05 to 0.95."""
    return (1 - level) / 2, (1 + level) / 2


def density(draws: ArrayLike, grid: NDArray[np.float64], weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """Estimate a density on a grid with a Gaussian kernel of Silverman's robust width.

    Parameters
    ----------
    draws : (draw,) values.
    grid : (point,) same unit.
    weights : (draw,) or None.

    Returns
    -------
    (point,) per unit of the values
    """
    values = np.asarray(draws, dtype=np.float64)
    weight = np.full(values.size, 1 / values.size) if weights is None else np.asarray(weights, dtype=np.float64) / np.sum(weights)
    effective = 1 / np.sum(weight**2)
    low, high = quantiles(values, (0.25, 0.75), weight)
    deviation = math.sqrt(float(np.sum(weight * (values - np.sum(weight * values)) ** 2)))
    spread = min(deviation, (high - low) / 1.349) or deviation
    width = 0.9 * float(spread) * effective**-0.2 or float(np.ptp(grid)) / 100 or 1.0
    edges = np.linspace(min(grid[0], values.min()), max(grid[-1], values.max()), 2049)
    mass, _ = np.histogram(values, bins=edges, weights=weight)
    centre = 0.5 * (edges[1:] + edges[:-1])
    filled = mass > 0
    kernel = np.exp(-0.5 * ((grid[:, None] - centre[filled]) / width) ** 2) / (width * math.sqrt(2 * math.pi))
    return kernel @ mass[filled]


def binomial_limits(n: int, chance: float, level: float = 0.9) -> tuple[int, int]:
    """Return the central limits of a binomial count, both included.

    Parameters
    ----------
    n : trials.
    chance : probability of each.
    level : of the interval; the limits hold at least this much.
    """
    counts = np.arange(n + 1)
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    with np.errstate(divide="ignore"):
        log_chance, log_rest = math.log(max(chance, 1e-300)), math.log(max(1 - chance, 1e-300))
    log_mass = log_factorial[n] - log_factorial[counts] - log_factorial[n - counts] + counts * log_chance + (n - counts) * log_rest
    below = np.cumsum(np.exp(log_mass))
    low, high = central(level)
    return int(np.searchsorted(below, low)), int(min(np.searchsorted(below, high), n))
