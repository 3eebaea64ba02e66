"""First-order antedependence: a correlation of its own between each two neighbours. SAS TYPE=ANTE(1) is the heterogeneous one."""

from __future__ import annotations

import numpy as np

from gemel.trials.mmrm.covariance.base import Shape, common, heterogeneous

__all__ = ["Antedependence", "HeterogeneousAntedependence"]


def _correlation(rho: np.ndarray) -> Shape:
    m = len(rho) + 1
    upper = np.eye(m)  # upper[a, b] = rho_a ... rho_(b-1); zero below the diagonal
    for b in range(1, m):
        upper[:b, b] = upper[:b, b - 1] * rho[b - 1]
    # without division, so that a correlation of zero is no exception: d/d rho_k = upper[a, k] upper[k+1, b]
    first = np.stack([np.outer(upper[:, k], upper[k + 1]) for k in range(m - 1)])
    second = np.zeros((m - 1, m - 1, m, m))
    for k in range(m - 1):
        for l in range(k + 1, m - 1):
            second[k, l] = second[l, k] = np.outer(upper[:, k], upper[l + 1]) * upper[k + 1, l]
    return Shape(upper + upper.T - np.eye(m), first + np.swapaxes(first, 1, 2), second + np.swapaxes(second, 2, 3))


def _neighbours(moments: np.ndarray) -> np.ndarray:
    variance = np.diag(moments)
    return np.clip(np.diag(moments / np.sqrt(np.outer(variance, variance)), 1), -0.95, 0.95)


class Antedependence:
    """One variance, a correlation per pair of neighbours."""

    name, title = "ad", "first-order antedependence"
    needs_all_pairs, needs_coordinates = False, False

    def parameters(self, visits: int) -> tuple[str, ...]:
        """Return ``variance`` and ``correlation[a,a+1]``."""
        return ("variance", *(f"correlation[{k},{k + 1}]" for k in range(1, visits)))

    def start(self, moments: np.ndarray, _coordinates: np.ndarray | None) -> np.ndarray:
        """Return the mean variance and the correlations of neighbours."""
        return np.append(np.diag(moments).mean(), _neighbours(moments))

    def build(self, theta: np.ndarray, _visits: int, _coordinates: np.ndarray | None) -> Shape | None:
        """Return variance times the product of correlations; None outside the range of its parameters."""
        if theta[0] <= 0 or (np.abs(theta[1:]) >= 1).any():
            return None
        return common(float(theta[0]), _correlation(theta[1:]))


class HeterogeneousAntedependence:
    """A variance per visit, a correlation per pair of neighbours."""

    name, title = "adh", "heterogeneous first-order antedependence"
    needs_all_pairs, needs_coordinates = False, False

    def parameters(self, visits: int) -> tuple[str, ...]:
        """Return ``variance[visit]`` and ``correlation[a,a+1]``."""
        return (*(f"variance[{k}]" for k in range(1, visits + 1)), *(f"correlation[{k},{k + 1}]" for k in range(1, visits)))

    def start(self, moments: np.ndarray, _coordinates: np.ndarray | None) -> np.ndarray:
        """Return the variances and the correlations of neighbours."""
        return np.concatenate([np.diag(moments), _neighbours(moments)])

    def build(self, theta: np.ndarray, visits: int, _coordinates: np.ndarray | None) -> Shape | None:
        """Return the scaled product of correlations; None outside the range of its parameters."""
        if (theta[:visits] <= 0).any() or (np.abs(theta[visits:]) >= 1).any():
            return None
        return heterogeneous(theta[:visits], _correlation(theta[visits:]))
