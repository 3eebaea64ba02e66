"""First-order autoregression: the correlation falls by one factor per visit. SAS TYPE=AR(1) and ARH(1)."""

from __future__ import annotations

import numpy as np

from gemel.trials.mmrm.covariance.base import Shape, common, heterogeneous, lags

__all__ = ["Autoregressive", "HeterogeneousAutoregressive"]


def _correlation(rho: float, visits: int) -> Shape:
    lag = lags(visits)
    first = lag * rho ** np.maximum(lag - 1, 0)
    second = lag * (lag - 1) * rho ** np.maximum(lag - 2, 0)
    return Shape(rho**lag, first[None], second[None, None])


def _neighbours(moments: np.ndarray) -> float:
    variance = np.diag(moments)
    return float(np.clip(np.diag(moments / np.sqrt(np.outer(variance, variance)), 1).mean(), -0.9, 0.9))


class Autoregressive:
    """One variance, one correlation between neighbours."""

    name, title = "ar1", "first-order autoregressive"
    needs_all_pairs, needs_coordinates = False, False

    def parameters(self, _visits: int) -> tuple[str, ...]:
        """Return ``variance`` and ``correlation``."""
        return ("variance", "correlation")

    def start(self, moments: np.ndarray, _coordinates: np.ndarray | None) -> np.ndarray:
        """Return the mean variance and the mean correlation of neighbours."""
        return np.array([float(np.diag(moments).mean()), _neighbours(moments)])

    def build(self, theta: np.ndarray, visits: int, _coordinates: np.ndarray | None) -> Shape | None:
        """Return variance times correlation to the power of the lag; None outside the range of its parameters."""
        if theta[0] <= 0 or not abs(theta[1]) < 1:
            return None
        return common(float(theta[0]), _correlation(float(theta[1]), visits))


class HeterogeneousAutoregressive:
    """A variance per visit, one correlation between neighbours."""

    name, title = "ar1h", "heterogeneous first-order autoregressive"
    needs_all_pairs, needs_coordinates = False, False

    def parameters(self, visits: int) -> tuple[str, ...]:
        """Return ``variance[visit]`` and ``correlation``."""
        return (*(f"variance[{k}]" for k in range(1, visits + 1)), "correlation")

    def start(self, moments: np.ndarray, _coordinates: np.ndarray | None) -> np.ndarray:
        """Return the variances and the mean correlation of neighbours."""
        return np.append(np.diag(moments), _neighbours(moments))

    def build(self, theta: np.ndarray, visits: int, _coordinates: np.ndarray | None) -> Shape | None:
        """Return the scaled correlation; None outside the range of its parameters."""
        if (theta[:visits] <= 0).any() or not abs(theta[visits]) < 1:
            return None
        return heterogeneous(theta[:visits], _correlation(float(theta[visits]), visits))
