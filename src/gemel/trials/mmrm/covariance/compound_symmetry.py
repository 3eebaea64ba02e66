"""Compound symmetry: the same correlation between any two visits. SAS TYPE=CS (covariance and residual variance) and CSH."""

from __future__ import annotations

import numpy as np

from gemel.trials.mmrm.covariance.base import Shape, heterogeneous

__all__ = ["CompoundSymmetry", "HeterogeneousCompoundSymmetry"]


def _off(visits: int) -> np.ndarray:
    return np.ones((visits, visits)) - np.eye(visits)


def _mean_off(matrix: np.ndarray) -> float:
    m = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (m * (m - 1)))


class CompoundSymmetry:
    """One covariance, which may be negative, and one residual variance: the correlation lies in (-1/(m-1), 1)."""

    name, title = "cs", "compound symmetry"
    needs_all_pairs, needs_coordinates = False, False

    def parameters(self, _visits: int) -> tuple[str, ...]:
        """Return ``covariance`` and ``residual variance``."""
        return ("covariance", "residual variance")

    def start(self, moments: np.ndarray, _coordinates: np.ndarray | None) -> np.ndarray:
        """Return the mean covariance, and what is left of the mean variance."""
        covariance = _mean_off(moments)
        return np.array([covariance, float(np.diag(moments).mean()) - covariance])

    def build(self, theta: np.ndarray, visits: int, _coordinates: np.ndarray | None) -> Shape | None:
        """Return the covariance everywhere plus the residual variance on the diagonal."""
        first = np.stack([np.ones((visits, visits)), np.eye(visits)])
        return Shape(np.tensordot(theta, first, 1), first, None)


class HeterogeneousCompoundSymmetry:
    """A variance per visit, one correlation in (-1/(m-1), 1)."""

    name, title = "csh", "heterogeneous compound symmetry"
    needs_all_pairs, needs_coordinates = False, False

    def parameters(self, visits: int) -> tuple[str, ...]:
        """Return ``variance[visit]`` and ``correlation``."""
        return (*(f"variance[{k}]" for k in range(1, visits + 1)), "correlation")

    def start(self, moments: np.ndarray, _coordinates: np.ndarray | None) -> np.ndarray:
        """Return the variances and the mean correlation."""
        variance = np.diag(moments)
        return np.append(variance, _mean_off(moments / np.sqrt(np.outer(variance, variance))))

    def build(self, theta: np.ndarray, visits: int, _coordinates: np.ndarray | None) -> Shape | None:
        """Return the scaled correlation; None outside the range of its parameters."""
        variances, rho = theta[:visits], theta[visits]
        if (variances <= 0).any() or not -1 / (visits - 1) < rho < 1:
            return None
        off = _off(visits)
        return heterogeneous(variances, Shape(np.eye(visits) + rho * off, off[None], None))
