"""Intervals that hold their level in every group: split conformal, one widening per group.

References
----------
Romano, Patterson and Candes 2019, arXiv:1905.03222 (conformalised quantiles). Romano et al. 2020, doi:10.1162/99608f92.03f00592 (equal coverage by group).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gemel.core.errors import EvidenceError

__all__ = ["GroupConformal", "conformal_groups"]


@dataclass(frozen=True)
class GroupConformal:
    """How much each group's interval is widened on both sides (below zero: narrowed); groups that are too small, or new, get ``pooled``."""

    widening: dict[str, float]
    pooled: float
    left: tuple[str, ...]

    def __call__(
        self, lower: Float[np.ndarray, " row"], upper: Float[np.ndarray, " row"], group: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the widened interval; one that is narrowed past its middle becomes its middle."""
        by = np.array([self.widening.get(str(name), self.pooled) for name in group])
        low, high = np.asarray(lower, float) - by, np.asarray(upper, float) + by
        middle = (low + high) / 2
        return np.minimum(low, middle), np.maximum(high, middle)


def conformal_groups(
    value: Float[np.ndarray, " row"], lower: Float[np.ndarray, " row"], upper: Float[np.ndarray, " row"], group: np.ndarray, *, level: float
) -> GroupConformal:
    """Learn by how much intervals must be widened so that each group's hold a level.

    For exchangeable rows of a group of n, the coverage of its next row is at least ``level`` and below ``level + 1/(n + 1)``.

    Parameters
    ----------
    value, lower, upper : (row,) in one unit, of people that the model was not trained on.
    group : (row,) labels.
    level : of the interval. A group with fewer than ``level / (1 - level)`` rows cannot hold it alone and gets the pooled widening.
    """
    miss = np.maximum(lower - value, value - upper)

    def rank(scores: np.ndarray) -> float | None:
        k = math.ceil((len(scores) + 1) * level - 1e-9)
        return float(np.sort(scores)[k - 1]) if k <= len(scores) else None

    pooled = rank(miss)
    if pooled is None:
        raise EvidenceError(
            "too few rows to hold a level", seen=len(miss), expected=f"{math.ceil(level / (1 - level) - 1e-9)} or more at {level:g}"
        )
    found = {str(name): rank(miss[group == name]) for name in np.unique(group)}
    return GroupConformal({k: v for k, v in found.items() if v is not None}, pooled, tuple(k for k, v in found.items() if v is None))
