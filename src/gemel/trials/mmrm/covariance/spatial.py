"""Spatial structures: the correlation falls with the distance in time. SAS TYPE=SP(EXP) and SP(GAU)."""

from __future__ import annotations

import numpy as np

from gemel.trials.mmrm.covariance.base import Shape, common

__all__ = ["SPATIAL_EXPONENTIAL", "SPATIAL_GAUSSIAN"]


def _distance(coordinates: np.ndarray | None) -> np.ndarray:
    assert coordinates is not None  # the caller looks at needs_coordinates
    return np.sqrt(((coordinates[:, None] - coordinates[None]) ** 2).sum(-1))


class _Spatial:
    """One variance, correlation ``exp(-(distance / range)^power)``."""

    needs_all_pairs, needs_coordinates = False, True

    def __init__(self, name: str, title: str, power: int) -> None:
        self.name, self.title, self._power = name, title, power

    def parameters(self, _visits: int) -> tuple[str, ...]:
        """Return ``variance`` and ``range``."""
        return ("variance", "range")

    def start(self, moments: np.ndarray, coordinates: np.ndarray | None) -> np.ndarray:
        """Return the mean variance and the smallest distance."""
        distance = _distance(coordinates)
        apart = distance[distance > 0]
        return np.array([float(np.diag(moments).mean()), float(apart.min()) if apart.size else 1.0])

    def build(self, theta: np.ndarray, _visits: int, coordinates: np.ndarray | None) -> Shape | None:
        """Return the covariance; None where variance or range is not positive."""
        if (theta <= 0).any():
            return None
        p, r = self._power, float(theta[1])
        u = _distance(coordinates) ** p
        value = np.exp(-u / r**p)
        first = value * p * u / r ** (p + 1)
        second = value * (p**2 * u**2 / r ** (2 * p + 2) - p * (p + 1) * u / r ** (p + 2))
        return common(float(theta[0]), Shape(value, first[None], second[None, None]))


SPATIAL_EXPONENTIAL = _Spatial("sp_exp", "spatial exponential", 1)
SPATIAL_GAUSSIAN = _Spatial("sp_gau", "spatial Gaussian", 2)
