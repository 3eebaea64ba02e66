"""Multicalibration: calibrated within every group at every level of the prediction, by boosting.

References
----------
Hebert-Johnson, Kim, Reingold and Rothblum 2018, arXiv:1711.08513, algorithm 3.2 (the additive update of a set and level, projected to probabilities).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Multicalibration", "multicalibrate"]


@dataclass(frozen=True)
class Multicalibration:
    """The updates in their order: attribute (empty: everybody), label, level and shift. ``is_done`` when nothing was left to correct."""

    updates: tuple[tuple[str, str, int, float], ...]
    bins: int
    floor: float
    is_done: bool

    def __call__(self, probability: Float[np.ndarray, " row"], groups: Mapping[str, np.ndarray]) -> Float[np.ndarray, " row"]:
        """Return corrected probabilities, at least ``floor`` from 0 and from 1."""
        p = np.array(probability, float)
        for attribute, label, level, shift in self.updates:
            mine = _level(p, self.bins) == level
            if attribute:
                mine &= groups[attribute] == label
            p[mine] = np.clip(p[mine] + shift, self.floor, 1 - self.floor)
        return p


def _level(p: np.ndarray, bins: int) -> np.ndarray:
    return np.clip((p * bins).astype(int), 0, bins - 1)


def multicalibrate(
    outcome: Float[np.ndarray, " row"], probability: Float[np.ndarray, " row"], groups: Mapping[str, np.ndarray], *, tolerance: float = 0.02,
    bins: int = 10, fewest: int = 100, most: int = 5000,
) -> Multicalibration:  # fmt: skip
    """Shift predictions of one group at one level at a time, the worst first, until none with enough rows is off by more than a tolerance.

    Parameters
    ----------
    outcome : (row,) 0 or 1; probability : (row,).
    groups : attribute -> (row,) labels. Groups may overlap: that is the point.
    tolerance : the largest mean error that is left.
    bins : levels of the prediction.
    fewest : a group at a level with fewer rows is left alone: its error is not known.
    most : updates at the most; each lowers the squared error by at least ``tolerance**2 * fewest / rows``, so they end.
    """
    y, p = np.asarray(outcome, float), np.array(probability, float)
    floor = 0.5 / (len(y) + 1)
    sets: list[tuple[str, str, np.ndarray]] = [("", "", np.ones(len(y), bool))]
    sets += [(name, str(v), column == v) for name, column in groups.items() for v in np.unique(column)]
    updates = []
    for _ in range(most):
        level, error = _level(p, bins), y - p
        best: tuple[float, int, int, float] | None = None
        for i, (_, _, mine) in enumerate(sets):
            n = np.bincount(level[mine], minlength=bins)
            mean = np.divide(np.bincount(level[mine], error[mine], bins), n, out=np.zeros(bins), where=n >= fewest)
            worst = int(np.argmax(np.abs(mean) * np.sqrt(n)))
            for v in (worst, int(np.argmax(np.abs(mean)))):
                gain = float(mean[v] ** 2 * n[v])
                if abs(mean[v]) > tolerance and (best is None or gain > best[0]):
                    best = (gain, i, v, float(mean[v]))
        if best is None:
            return Multicalibration(tuple(updates), bins, floor, True)
        _, i, v, shift = best
        mine = sets[i][2] & (level == v)
        p[mine] = np.clip(p[mine] + shift, floor, 1 - floor)
        updates.append((sets[i][0], sets[i][1], v, shift))
    return Multicalibration(tuple(updates), bins, floor, False)
