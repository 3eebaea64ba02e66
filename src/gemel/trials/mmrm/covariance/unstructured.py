"""Unstructured: a variance per visit and a covariance per pair, all free. SAS TYPE=UN."""

from __future__ import annotations

import numpy as np

from gemel.trials.mmrm.covariance.base import Shape

__all__ = ["Unstructured"]


class Unstructured:
    """Every variance and covariance is a parameter, so that the covariance is linear in them: both forms of Kenward and Roger agree."""

    name, title = "un", "unstructured"
    needs_all_pairs, needs_coordinates = True, False

    def parameters(self, visits: int) -> tuple[str, ...]:
        """Return ``variance[a]`` and ``covariance[a,b]``, row by row of the upper triangle."""
        first, second = np.triu_indices(visits)
        return tuple(f"variance[{a + 1}]" if a == b else f"covariance[{a + 1},{b + 1}]" for a, b in zip(first, second, strict=True))

    def start(self, moments: np.ndarray, _coordinates: np.ndarray | None) -> np.ndarray:
        """Return the moments themselves."""
        return moments[np.triu_indices(len(moments))]

    def build(self, theta: np.ndarray, visits: int, _coordinates: np.ndarray | None) -> Shape | None:
        """Return the symmetric matrix whose upper triangle is ``theta``."""
        a, b = np.triu_indices(visits)
        value = np.zeros((visits, visits))
        value[a, b] = value[b, a] = theta
        first = np.zeros((len(theta), visits, visits))
        at = np.arange(len(theta))
        first[at, a, b] = first[at, b, a] = 1.0
        return Shape(value, first, None)
