"""Recalibrate each group by its own intercept and slope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gemel.evidence.logistic import newton_logistic

__all__ = ["GroupRecalibration", "recalibrate_groups"]


@dataclass(frozen=True)
class GroupRecalibration:
    """Intercept and slope per group; a group that is not in it keeps its predictions."""

    coefficients: dict[str, tuple[float, float]]
    left: tuple[str, ...]

    def __call__(self, probability: Float[np.ndarray, " row"], group: np.ndarray) -> Float[np.ndarray, " row"]:
        """Return recalibrated probabilities."""
        out = np.array(probability, float)
        for name, (intercept, slope) in self.coefficients.items():
            mine = group == name
            p = out[mine]
            out[mine] = 1 / (1 + np.exp(-np.clip(intercept + slope * np.log(p / (1 - p)), -30, 30)))
        return out


def recalibrate_groups(
    outcome: Float[np.ndarray, " row"], probability: Float[np.ndarray, " row"], group: np.ndarray, *, fewest: int = 10
) -> GroupRecalibration:
    """Learn intercept and slope of each group that has ``fewest`` outcomes of each kind; the others are named and left as they are.

    Parameters
    ----------
    outcome : (row,) 0 or 1; probability : (row,) strictly between 0 and 1.
    group : (row,) labels.
    """
    found, left = {}, []
    for name in np.unique(group):
        y, p = outcome[group == name], probability[group == name]
        x = np.column_stack([np.ones(len(p)), np.log(p / (1 - p))])
        enough = min(y.sum(), len(y) - y.sum()) >= fewest and np.ptp(x[:, 1]) > 0
        fit = newton_logistic(x, y, np.ones(len(y)), np.array([0.0, 1.0])) if enough else None
        if fit is None:
            left.append(str(name))
        else:
            found[str(name)] = (float(fit[0][0]), float(fit[0][1]))
    return GroupRecalibration(found, tuple(left))
