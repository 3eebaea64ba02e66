"""Spatial structures: the correlation falls with the distance in time. SAS TYPE=SP(EXP) and SP(GAU)."""

from __future__ import annotations

import numpy as np

from gemel.trials.mmrm.covariance.base import Shape, common

__all__ = ["SpatialExponential", "SpatialGaussian"]


def _distance(coordinates: np.ndarray | None) -> np.ndarray:
    assert coordinates is not None  # the caller looks at needs_coordinates
    return np.sqrt(((coordinates[:, None] - coordinates[None]) ** 2).sum(-1))


def _start(moments: np.ndarray, coordinates: np.ndarray | None) -> np.ndarray:
    distance = _distance(coordinates)
    apart = distance[distance > 0]
    return np.array([float(np.diag(moments).mean()), float(apart.min()) if apart.size else 1.0])


class SpatialExponential:
    """One variance, correlation ``exp(-distance / range)``."""

    name, title = "sp_exp", "spatial exponential"
    needs_all_pairs, needs_coordinates = False, True

    def parameters(self, _visits: int) -> tuple[str, ...]:
        """Return ``variance`` and ``range``."""
        return ("variance", "range")

    def start(self, moments: np.ndarray, coordinates: np.ndarray | None) -> np.ndarray:
        """Return the mean variance and the smallest distance."""
        return _start(moments, coordinates)

    def build(self, theta: np.ndarray, _visits: int, coordinates: np.ndarray | None) -> Shape | None:
        """Return the covariance; None where variance or range is not positive."""
        if (theta <= 0).any():
            return None
        d, r = _distance(coordinates), float(theta[1])
        value = np.exp(-d / r)
        return common(float(theta[0]), Shape(value, (value * d / r**2)[None], (value * (d**2 / r**4 - 2 * d / r**3))[None, None]))


class SpatialGaussian:
    """One variance, correlation ``exp(-(distance / range)^2)``."""

    name, title = "sp_gau", "spatial Gaussian"
    needs_all_pairs, needs_coordinates = False, True

    def parameters(self, _visits: int) -> tuple[str, ...]:
        """Return ``variance`` and ``range``."""
        return ("variance", "range")

    def start(self, moments: np.ndarray, coordinates: np.ndarray | None) -> np.ndarray:
        """Return the mean variance and the smallest distance."""
        return _start(moments, coordinates)

    def build(self, theta: np.ndarray, _visits: int, coordinates: np.ndarray | None) -> Shape | None:
        """Return the covariance; None where variance or range is not positive."""
        if (theta <= 0).any():
            return None
        d, r = _distance(coordinates) ** 2, float(theta[1])
        value = np.exp(-d / r**2)
        return common(float(theta[0]), Shape(value, (value * 2 * d / r**3)[None], (value * (4 * d**2 / r**6 - 6 * d / r**4))[None, None]))
