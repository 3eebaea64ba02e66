"""Conformal layers: intervals with a coverage that holds whatever the model, as far as exchangeability goes.

Coverage is marginal: it promises nothing for one patient. Calibration sets are split by patient, not by reading; streams, where readings
follow each other, use the adaptive layer. An interval that must be infinite is infinite, and an empty one is empty: neither is clipped.

References
----------
Vovk, Gammerman and Shafer 2005; Vovk 2012, arXiv:1209.2673 (the Beta law of the coverage).
Romano, Patterson and Candes 2019, arXiv:1905.03222 (conformalised quantiles).
Gibbs and Candes 2021, arXiv:2106.00170, proposition 4.1 (adaptive level).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemel.core.errors import DataError

__all__ = [
    "AdaptiveConformal",
    "AdaptiveStream",
    "MondrianConformal",
    "Radius",
    "SplitConformal",
    "conformal_quantile",
    "conformal_rank",
    "cqr_scores",
    "replay_adaptive",
]


def conformal_rank(n: int, alpha: float) -> int:
    """Return ``k = ceil((n + 1)(1 - alpha))``: the rank of the score that is the radius; above ``n`` the interval is infinite.

    Over calibration sets the coverage is ``Beta(k, n + 1 - k)`` when scores are exchangeable and continuous.

    Parameters
    ----------
    n : calibration scores.
    alpha : miss rate that is asked for.
    """
    return max(1, ceil(round((n + 1) * (1 - alpha), 9)))  # rounded first: 10 * (1 - 0.1) must not become 9.000000000000002


def conformal_quantile(scores: ArrayLike, alpha: float, axis: int = -1) -> NDArray[np.float64]:
    """Return the split-conformal radius: the k-th smallest score, or infinity.

    Parameters
    ----------
    scores : (..., n, ...) nonconformity scores of the calibration set; several sets at once along the other axes.
    alpha : miss rate. At or below 0 the radius is ``inf`` (everything), at or above 1 ``-inf`` (nothing).
    axis : axis of the scores.
    """
    x = np.moveaxis(np.asarray(scores, float), axis, -1)
    if np.isnan(x).any():
        raise DataError("a calibration score is not a number", fix="leave the case out and say so")
    k = conformal_rank(x.shape[-1], alpha)
    if alpha >= 1:
        return np.full(x.shape[:-1], -np.inf)
    if alpha <= 0 or k > x.shape[-1]:
        return np.full(x.shape[:-1], np.inf)
    return np.partition(x, k - 1, axis=-1)[..., k - 1]


def cqr_scores(lower: ArrayLike, upper: ArrayLike, observed: ArrayLike) -> NDArray[np.float64]:
    """Return ``max(lower - y, y - upper)``: how far an observation lies outside its interval, negative inside.

    Parameters
    ----------
    lower, upper, observed : broadcast against each other, same unit.
    """
    y = np.asarray(observed, float)
    return np.maximum(np.asarray(lower, float) - y, y - np.asarray(upper, float))


@dataclass(frozen=True)
class Radius:
    """What a calibration set says of one alpha.

    Parameters
    ----------
    value : add it to both ends of an interval (or to a point); ``inf`` is the infinite interval, ``-inf`` the empty one.
    source : which scores it comes from: ``own``, ``pooled`` or ``shrunken``.
    n : how many scores.
    """

    value: float
    source: Literal["own", "pooled", "shrunken"] = "own"
    n: int = 0

    @property
    def is_infinite(self) -> bool:
        """Whether the interval is the whole line."""
        return self.value == np.inf

    @property
    def is_empty(self) -> bool:
        """Whether the interval holds nothing."""
        return self.value == -np.inf

    def interval(self, lower: ArrayLike, upper: ArrayLike | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Widen intervals (or points, when ``upper`` is None); a negative radius may leave ``lower > upper``: an empty interval."""
        low = np.asarray(lower, float)
        high = low if upper is None else np.asarray(upper, float)
        return low - self.value, high + self.value


@dataclass(frozen=True, eq=False)
class SplitConformal:
    """Split conformal prediction from scores of people that were not used for anything else.

    ``|y - point|`` makes symmetric intervals; :func:`cqr_scores` widens or narrows the model's own.

    Examples
    --------
    >>> SplitConformal.of(range(1, 20)).radius(0.1).value
    18.0
    >>> SplitConformal.of([1.0, 2.0]).radius(0.1).is_infinite
    True
    """

    scores: NDArray[np.float64]

    @classmethod
    def of(cls, scores: ArrayLike) -> SplitConformal:
        """Build from scores (n,), sorted here; one per patient."""
        x = np.sort(np.asarray(scores, float).ravel())
        if np.isnan(x).any():
            raise DataError("a calibration score is not a number", fix="leave the case out and say so")
        x.setflags(write=False)
        return cls(x)

    def radius(self, alpha: float) -> Radius:
        """Return the radius for a miss rate."""
        return Radius(float(conformal_quantile(self.scores, alpha)), "own", len(self.scores))

    def coverage_law(self, alpha: float) -> tuple[int, int] | None:
        """Return the parameters of the Beta law of the coverage over calibration sets; None when the interval is infinite (coverage 1)."""
        k = conformal_rank(len(self.scores), alpha)
        return (k, len(self.scores) + 1 - k) if k <= len(self.scores) else None


@dataclass(frozen=True, eq=False)
class MondrianConformal:
    """Split conformal per group, with a declared fallback for groups that are too small.

    Rule: a group with at least ``minimum`` scores and a finite radius uses its **own** scores (coverage holds in the group). Otherwise
    it uses the **pooled** scores (coverage holds over all, not in the group). With ``strength`` s > 0 own and pooled radius, where both
    are finite, are mixed with weight ``n / (n + s)`` (**shrunken**): smoother, and without a finite-sample promise for the group. Every
    radius says which one it is.
    """

    groups: Mapping[Hashable, SplitConformal]
    pooled: SplitConformal
    minimum: int = 20
    strength: float = 0.0

    @classmethod
    def of(cls, scores: ArrayLike, groups: Sequence[Hashable], *, minimum: int = 20, strength: float = 0.0) -> MondrianConformal:
        """Build from scores (n,) and the group of each."""
        x, labels = np.asarray(scores, float).ravel(), list(groups)
        if len(labels) != len(x):
            raise DataError("every score needs its group", seen=(len(x), len(labels)))
        if strength < 0:
            raise DataError("the shrinkage strength cannot be negative", seen=strength)
        places: dict[Hashable, list[int]] = {}
        for i, label in enumerate(labels):
            places.setdefault(label, []).append(i)
        return cls({g: SplitConformal.of(x[i]) for g, i in places.items()}, SplitConformal.of(x), minimum, strength)

    def radius(self, alpha: float, group: Hashable) -> Radius:
        """Return the radius of a group, with its source."""
        everyone = self.pooled.radius(alpha)
        mine = self.groups.get(group)
        if mine is None:
            return replace(everyone, source="pooled")
        own = mine.radius(alpha)
        if self.strength and not (own.is_infinite or everyone.is_infinite):
            weight = own.n / (own.n + self.strength)
            return Radius(weight * own.value + (1 - weight) * everyone.value, "shrunken", own.n)
        if own.n < self.minimum or own.is_infinite:
            return replace(everyone, source="pooled")
        return own


@dataclass(frozen=True)
class AdaptiveConformal:
    """The adaptive level: ``a <- a + rate (target - missed)``, whatever the data.

    ``level <= 0`` means the infinite set (which cannot be missed), ``level >= 1`` the empty one (which always is). Then, for any sequence,
    ``|mean missed - target| <= (max(a_1, 1 - a_1) + d rate) / (T rate)``, where ``d`` is the largest number of outcomes settled from the
    issue of a forecast to its own settlement, that one included (horizon h, in order: ``d = h``; at once: 1). For d = 1 this is
    proposition 4.1 of Gibbs and Candes; for d > 1 the level drifts at most ``d rate`` beyond the unit interval between issue and
    settlement, and the same telescoping sum gives the bound.

    Parameters
    ----------
    target : miss rate that is asked for.
    rate : step g.
    level : current a_t.
    settled, missed : outcomes so far, and how many lay outside.
    start : a_1.
    """

    target: float
    rate: float
    level: float
    settled: int = 0
    missed: int = 0
    start: float = 0.0

    @classmethod
    def of(cls, target: float, rate: float = 0.02, level: float | None = None) -> AdaptiveConformal:
        """Build at its start; the level is the target unless given."""
        if not 0 < target < 1 or not rate > 0:
            raise DataError("the adaptive layer needs a target in (0, 1) and a positive rate", seen=(target, rate))
        first = target if level is None else level
        if not 0 <= first <= 1:
            raise DataError("the first level must lie in [0, 1]", seen=first)
        return cls(target, rate, first, start=first)

    @property
    def is_infinite(self) -> bool:
        """Whether the next set is the whole line."""
        return self.level <= 0

    @property
    def is_empty(self) -> bool:
        """Whether the next set is empty."""
        return self.level >= 1

    def settle(self, missed: bool) -> AdaptiveConformal:
        """Return the layer after one more outcome."""
        level = self.level + self.rate * (self.target - bool(missed))
        return replace(self, level=level, settled=self.settled + 1, missed=self.missed + bool(missed))

    def bound(self, delay: int = 1) -> float:
        """Return the bound on ``|mean missed - target|`` after what has been settled."""
        return (max(self.start, 1 - self.start) + delay * self.rate) / (max(self.settled, 1) * self.rate)


@dataclass(frozen=True)
class AdaptiveStream:
    """Adaptive conformal intervals on a stream whose outcomes arrive late, in any order.

    A forecast is issued under a name with the interval that was shown; its outcome settles it, however many forecasts came between.
    What was shown is what is judged. Scores of settled forecasts, newest last, at most ``window`` of them, give the next radius.
    """

    layer: AdaptiveConformal
    scores: tuple[float, ...] = ()
    pending: tuple[tuple[Hashable, float, float, float, float], ...] = ()
    window: int = 500

    def radius(self) -> Radius:
        """Return the radius of the next interval."""
        return Radius(float(conformal_quantile(np.asarray(self.scores), self.layer.level)), "own", len(self.scores))

    def issue(self, name: Hashable, lower: float, upper: float) -> tuple[AdaptiveStream, tuple[float, float]]:
        """Widen the model's interval and remember it.

        Returns
        -------
        The stream with the pending forecast, and the interval that is to be shown.
        """
        if any(p[0] == name for p in self.pending):
            raise DataError("a forecast of this name is still open", seen=name, fix="name forecasts by issue time and horizon")
        low, high = self.radius().interval(lower, upper)
        entry = (name, float(lower), float(upper), float(low), float(high))
        return replace(self, pending=(*self.pending, entry)), (entry[3], entry[4])

    def settle(self, name: Hashable, observed: float) -> AdaptiveStream:
        """Return the stream after the outcome of one open forecast."""
        found = next((p for p in self.pending if p[0] == name), None)
        if found is None:
            raise DataError("no open forecast of this name", seen=name, fix="settle each forecast once")
        _, lower, upper, low, high = found
        score = float(cqr_scores(lower, upper, observed))
        rest = tuple(p for p in self.pending if p[0] != name)
        layer = self.layer.settle(not low <= observed <= high)
        return replace(self, layer=layer, scores=(*self.scores, score)[-self.window :], pending=rest)

    def drop(self, name: Hashable) -> AdaptiveStream:
        """Return the stream without an open forecast whose outcome will never be known: it counts neither way."""
        return replace(self, pending=tuple(p for p in self.pending if p[0] != name))


def replay_adaptive(
    scores: ArrayLike, *, target: float, rate: float = 0.02, horizon: int = 1, window: int = 500
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Run the adaptive layer over many series at once: the outcome of forecast t is known before forecast ``t + horizon``.

    Parameters
    ----------
    scores : (time, series) nonconformity scores, finite.
    target, rate : as in :class:`AdaptiveConformal`.
    horizon : steps until an outcome is known, 1 or more.
    window : newest scores that a radius uses.

    Returns
    -------
    level, radius, missed : each (time, series): the level and radius in force at each time, and whether the outcome lay outside.
    """
    x = np.asarray(scores, float)
    if x.ndim != 2 or not np.isfinite(x).all() or horizon < 1:
        raise DataError("a replay needs finite scores (time, series) and a horizon of one or more", seen=(x.shape, horizon))
    length, series = x.shape
    level = np.full(series, float(target))
    levels, radii, missed = np.empty(x.shape), np.empty(x.shape), np.zeros(x.shape, bool)
    for t in range(length):
        done = t - horizon
        if done >= 0:
            level = level + rate * (target - missed[done])
        known = np.sort(x[max(0, done + 1 - window) : max(done + 1, 0)], axis=0)
        n = len(known)
        rank = np.maximum(np.ceil(np.round((n + 1) * (1 - level), 9)), 1).astype(int)
        if n:
            radius = np.take_along_axis(known, np.clip(rank - 1, 0, n - 1)[None], axis=0)[0]
        else:
            radius = np.full(series, np.inf)
        radius = np.where((level <= 0) | (rank > n), np.inf, radius)
        radius = np.where(level >= 1, -np.inf, radius)
        levels[t], radii[t], missed[t] = level, radius, x[t] > radius
    return levels, radii, missed
