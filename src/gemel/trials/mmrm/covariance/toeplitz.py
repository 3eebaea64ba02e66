"""Toeplitz: one parameter per number of visits between two. SAS TYPE=TOEP (covariances) and TOEPH (variances and correlations)."""

from __future__ import annotations

import numpy as np

from gemel.trials.mmrm.covariance.base import Shape, heterogeneous, lags

__all__ = ["HeterogeneousToeplitz", "Toeplitz"]


def _bands(visits: int) -> np.ndarray:
    return (lags(visits) == np.arange(visits)[:, None, None]).astype(float)


class Toeplitz:
    """One variance, and one covariance per lag: linear in its parameters."""

    name, title = "toep", "Toeplitz"
    needs_all_pairs, needs_coordinates = False, False

    def parameters(self, visits: int) -> tuple[str, ...]:
        """Return ``variance`` and ``covariance[lag]``."""
        return ("variance", *(f"covariance[lag {lag}]" for lag in range(1, visits)))

    def start(self, moments: np.ndarray, _coordinates: np.ndarray | None) -> np.ndarray:
        """Return the mean of the moments at each lag, shrunk until positive definite."""
        bands = _bands(len(moments))
        theta = (bands * moments).sum((1, 2)) / bands.sum((1, 2))
        while np.linalg.eigvalsh(np.tensordot(theta, bands, 1))[0] < 0.05 * theta[0]:
            theta[1:] *= 0.8
        return theta

    def build(self, theta: np.ndarray, visits: int, _coordinates: np.ndarray | None) -> Shape | None:
        """Return the banded matrix."""
        bands = _bands(visits)
        return Shape(np.tensordot(theta, bands, 1), bands, None)


class HeterogeneousToeplitz:
    """A variance per visit, and one correlation per lag."""

    name, title = "toeph", "heterogeneous Toeplitz"
    needs_all_pairs, needs_coordinates = False, False

    def parameters(self, visits: int) -> tuple[str, ...]:
        """Return ``variance[visit]`` and ``correlation[lag]``."""
        return (*(f"variance[{k}]" for k in range(1, visits + 1)), *(f"correlation[lag {lag}]" for lag in range(1, visits)))

    def start(self, moments: np.ndarray, _coordinates: np.ndarray | None) -> np.ndarray:
        """Return the variances, and the Toeplitz start of the correlations."""
        variance = np.diag(moments)
        return np.concatenate([variance, Toeplitz().start(moments / np.sqrt(np.outer(variance, variance)), None)[1:]])

    def build(self, theta: np.ndarray, visits: int, _coordinates: np.ndarray | None) -> Shape | None:
        """Return scaled bands; None where a variance is not positive."""
        variances = theta[:visits]
        if (variances <= 0).any():
            return None
        bands = _bands(visits)
        correlation = bands[0] + np.tensordot(theta[visits:], bands[1:], 1)
        return heterogeneous(variances, Shape(correlation, bands[1:], None))
