"""One variable's distribution, and the way between its values and normal scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.trials.generate.panel import Kind, Variable

__all__ = ["EDGE", "Marginal", "marginal"]

EDGE = 8.0
"""Scores lie between -EDGE and EDGE: beyond it is a chance of 1e-15."""
KNOTS = 512
"""Quantiles that are kept of a continuous variable."""
FEW = 30
"""A variable with no more different values than this has steps; its scores are intervals, not points."""


@dataclass(frozen=True)
class Marginal:
    """Empirical quantiles against normal scores.

    Parameters
    ----------
    scores : (knot,) rising. Of a variable with steps: the upper score of each level but the last.
    values : (knot,) in the variable's unit; with steps, one level more than scores.
    has_steps : whether values are levels.
    zero : score below which the value is exactly 0, for a zero-inflated variable; ``-EDGE`` otherwise.
    """

    scores: Float[np.ndarray, " knot"]
    values: Float[np.ndarray, " knot"]
    has_steps: bool
    zero: float = -EDGE

    def quantile(self, score: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the value at a score."""
        if self.has_steps:
            return self.values[np.searchsorted(self.scores, score, side="left")]
        return (
            np.where(score <= self.zero, 0.0, np.interp(score, self.scores, self.values))
            if self.zero > -EDGE
            else np.interp(score, self.scores, self.values)
        )

    def interval(self, value: Float[np.ndarray, "..."]) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores between which a value lies: one point twice where the value has no step; all scores where it is missing."""
        known = ~np.isnan(value)
        filled = np.where(known, value, self.values[0])
        if self.has_steps:
            at = np.clip(np.searchsorted((self.values[1:] + self.values[:-1]) / 2, filled), 0, len(self.scores))
            edges = np.concatenate([[-EDGE], self.scores, [EDGE]])
            low, high = edges[at], edges[at + 1]
        else:
            point = np.interp(filled, *self._rising())
            low = high = point
            if self.zero > -EDGE:
                low, high = np.where(filled <= 0, -EDGE, point), np.where(filled <= 0, self.zero, point)
        return np.where(known, low, -EDGE), np.where(known, high, EDGE)

    def _rising(self) -> tuple[np.ndarray, np.ndarray]:
        """Values that rise strictly, and their scores; of equal values at the floor the highest score, elsewhere the lowest."""
        first = int(np.flatnonzero(self.values == self.values[0])[-1])
        keep = np.concatenate([np.zeros(first, bool), [True], np.diff(self.values[first:]) > 0])
        return self.values[keep], self.scores[keep]


def marginal(variable: Variable, values: Float[np.ndarray, " row"]) -> Marginal:
    """Return the marginal of the values that are known.

    The tails of a continuous variable go on straight (in scores) beyond the outermost values, as far as the instrument goes: the slope is that between
    the outermost value and the one twenty values further in.
    """
    known = np.sort(values[~np.isnan(values)])
    levels, counts = np.unique(known, return_counts=True)
    cumulative = np.cumsum(counts) / len(known)
    if variable.kind in (Kind.BINARY, Kind.ORDINAL) or len(levels) <= FEW:
        return Marginal(np.clip(special.ndtri(cumulative[:-1]), -EDGE, EDGE), levels, True)
    zero, share = -EDGE, 0.0
    if variable.kind is Kind.ZERO_INFLATED and levels[0] == 0:
        share = float(cumulative[0])
        zero, levels, counts = float(special.ndtri(share)), levels[1:], counts[1:]
        cumulative = cumulative[1:]
    middle = special.ndtri(cumulative - counts / len(known) / 2)
    if len(levels) > KNOTS:
        keep = np.unique(np.rint(np.linspace(0, len(levels) - 1, KNOTS)).astype(int))
        levels, middle = levels[keep], middle[keep]
    scores, points = middle, levels
    inner = min(20, len(levels) - 1)
    upper = (levels[-1] - levels[-1 - inner]) / (middle[-1] - middle[-1 - inner])
    top = min(variable.high, float(levels[-1] + upper * (EDGE - middle[-1])))
    edge = middle[-1] + (top - levels[-1]) / upper
    if top > levels[-1] and edge < EDGE:
        scores, points = np.append(scores, edge), np.append(points, top)
    scores, points = np.append(scores, max(EDGE, scores[-1] + 1e-9)), np.append(points, top)
    if share:
        return Marginal(np.insert(scores, 0, zero), np.insert(points, 0, min(variable.resolution, levels[0])), False, zero)
    lower = (levels[inner] - levels[0]) / (middle[inner] - middle[0])
    bottom = max(variable.low, float(levels[0] - lower * (middle[0] + EDGE)))
    edge = middle[0] - (levels[0] - bottom) / lower
    if bottom < levels[0] and edge > -EDGE:
        scores, points = np.insert(scores, 0, edge), np.insert(points, 0, bottom)
    return Marginal(np.insert(scores, 0, min(-EDGE, scores[0] - 1e-9)), np.insert(points, 0, bottom), False)
