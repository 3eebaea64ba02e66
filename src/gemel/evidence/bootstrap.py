"""Intervals by resampling people, not readings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["clustered_interval"]


def clustered_interval(
    statistic: Callable[[np.ndarray], float], clusters: int, *, level: float = 0.95, replicates: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return a percentile bootstrap interval with people as units.

    Parameters
    ----------
    statistic : takes (cluster,) integer weights (how often each person was drawn) and returns the statistic.
    clusters : number of people. With fewer than two the interval is infinite: nothing can be said.
    """
    if clusters < 2:
        return (-np.inf, np.inf)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, clusters, (replicates, clusters))
    values = np.array([statistic(np.bincount(row, minlength=clusters)) for row in drawn])
    values = values[np.isfinite(values)]
    if not len(values):
        return (-np.inf, np.inf)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
