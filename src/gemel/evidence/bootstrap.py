"""Intervals by resampling people, not readings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

__all__ = ["clustered_interval", "resamples"]


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


def resamples(clusters: int, replicates: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield how often each person was drawn, some resamples at a time: many statistics of one resample are one matrix product.

    Returns
    -------
    Iterator of (some, cluster) weights, ``replicates`` rows together, the same for the same seed.
    """
    rng = np.random.default_rng(seed)
    size = max(1, min(replicates, 2_000_000 // clusters))
    for begin in range(0, replicates, size):
        n = min(size, replicates - begin)
        drawn = rng.integers(0, clusters, (n, clusters)) + clusters * np.arange(n)[:, None]
        yield np.bincount(drawn.ravel(), minlength=n * clusters).reshape(n, clusters).astype(float)
