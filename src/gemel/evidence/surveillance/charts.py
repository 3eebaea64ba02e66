"""Charts that watch predictions case by case: risk-adjusted CUSUM and SPRT, VLAD, EWMA, and any CUSUM of increments.

After an alarm a chart starts again at 0 (``reset``) or goes on from where it is; every later number depends on it, so each result says which.

References
----------
Steiner et al. 2000, doi:10.1093/biostatistics/1.4.441 (risk-adjusted CUSUM). Spiegelhalter et al. 2003, doi:10.1093/intqhc/15.1.7 (SPRT).
Lovegrove et al. 1997, doi:10.1016/S0140-6736(97)06507-0 (VLAD).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from scipy import stats

from gemel.core.errors import EvidenceError
from gemel.evidence.surveillance.arl import as_probabilities

__all__ = ["Cusum", "Ewma", "Rolling", "Sprt", "cusum", "ewma", "rolling_share", "sprt", "vlad", "weights"]


@dataclass(frozen=True)
class Cusum:
    """A CUSUM as it ran.

    ``value`` (case,) is after each case and before a reset; ``alarms`` are the cases (from 0) at which it rang.
    """

    value: Float[np.ndarray, " case"]
    alarms: Int[np.ndarray, " alarm"]
    threshold: float
    reset: bool

    @property
    def largest(self) -> float:
        """The largest value reached."""
        return float(self.value.max(initial=0.0))


def _outcomes(probability: ArrayLike, outcome: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    p, y = as_probabilities(probability), np.atleast_1d(np.asarray(outcome, float))
    if p.shape != y.shape:
        raise EvidenceError("each case needs one probability and one outcome", seen=(p.shape, y.shape))
    bad = np.flatnonzero(~np.isin(y, (0.0, 1.0)))
    if len(bad):
        raise EvidenceError(
            "an outcome must be 0 or 1", seen=f"{y[bad[0]]:g} in row {bad[0]}", fix="leave cases without an outcome out, and count them"
        )
    return p, y


def weights(probability: ArrayLike, outcome: ArrayLike, ratio: float = 2.0, *, null_ratio: float = 1.0) -> Float[np.ndarray, " case"]:
    """Return the log likelihood ratio that each case adds.

    ``W = y ln(R_A/R_0) + ln((1 - p + R_0 p)/(1 - p + R_A p))``.

    Parameters
    ----------
    probability : (case,) predicted, strictly between 0 and 1.
    outcome : (case,) 0 or 1.
    ratio, null_ratio : odds ratios R_A and R_0.

    Raises
    ------
    EvidenceError
        For a probability of 0 or 1 or outside, or another outcome, with its row.

    Examples
    --------
    >>> weights([0.02461], [1]).round(4)
    array([0.6688])
    """
    p, y = _outcomes(probability, outcome)
    return y * np.log(ratio / null_ratio) + np.log((1 - p + null_ratio * p) / (1 - p + ratio * p))


def cusum(increments: ArrayLike, threshold: float, *, reset: bool = True) -> Cusum:
    """Run ``C <- max(0, C + W)``; it rings when ``C > threshold``.

    Parameters
    ----------
    increments : (case,) in order.
    reset : start again at 0 after an alarm; otherwise it goes on, and rings only where it crosses from below.
    """
    if not threshold > 0:
        raise EvidenceError("a chart needs a positive threshold", seen=threshold, fix="take it from the run length that is wanted")
    w = np.atleast_1d(np.asarray(increments, float))
    value, alarms, here, above = np.empty(len(w)), [], 0.0, False
    for i, step in enumerate(w.tolist()):
        here = max(0.0, here + step)
        value[i] = here
        rings = here > threshold
        if rings and not above:
            alarms.append(i)
        above = rings and not reset
        if rings and reset:
            here = 0.0
    return Cusum(value, np.asarray(alarms, int), float(threshold), reset)


@dataclass(frozen=True)
class Sprt:
    """A sequential probability ratio test: ``value`` (case,) is the sum of weights; ``decision`` falls at case ``at``, or not yet (None)."""

    value: Float[np.ndarray, " case"]
    lower: float
    upper: float
    decision: Literal["worse", "as promised", "open"]
    at: int | None


def sprt(
    probability: ArrayLike, outcome: ArrayLike, ratio: float = 2.0, *, alpha: float = 0.01, beta: float = 0.01, null_ratio: float = 1.0
) -> Sprt:
    """Test whether odds are ``null_ratio`` or ``ratio`` times those predicted, as cases come in.

    Parameters
    ----------
    alpha, beta : error rates under either; Wald's bounds are ``ln((1 - beta)/alpha)`` and ``ln(beta/(1 - alpha))``.
    """
    if not (0 < alpha < 1 and 0 < beta < 1 and alpha + beta < 1):
        raise EvidenceError("error rates must be positive and sum to less than 1", seen=(alpha, beta))
    lower, upper = float(np.log(beta / (1 - alpha))), float(np.log((1 - beta) / alpha))
    value = np.cumsum(weights(probability, outcome, ratio, null_ratio=null_ratio))
    out = np.flatnonzero((value >= upper) | (value <= lower))
    if not len(out):
        return Sprt(value, lower, upper, "open", None)
    at = int(out[0])
    return Sprt(value, lower, upper, "worse" if value[at] >= upper else "as promised", at)


def vlad(probability: ArrayLike, outcome: ArrayLike) -> Float[np.ndarray, " case"]:
    """Return the variable life-adjusted display, ``sum(p - y)``: events fewer than predicted, so far. It has no limits and rings no alarm."""
    p, y = _outcomes(probability, outcome)
    return np.cumsum(p - y)


@dataclass(frozen=True)
class Ewma:
    """An exponentially weighted mean, and its limits for each case."""

    value: Float[np.ndarray, " case"]
    limit: float

    @property
    def outside(self) -> Bool[np.ndarray, " case"]:
        """Where it lies outside."""
        return np.abs(self.value) > self.limit


def ewma(residual: ArrayLike, limit: float, *, weight: float = 0.05) -> Ewma:
    """Run ``z <- (1 - weight) z + weight e`` from 0.

    Parameters
    ----------
    residual : (case,) e, such as ``y - p``.
    limit : from :func:`gemel.evidence.surveillance.arl.ewma_limit`, same unit.
    weight : of the newest case.
    """
    value, here = np.empty(len(np.atleast_1d(residual))), 0.0
    for i, e in enumerate(np.atleast_1d(np.asarray(residual, float)).tolist()):
        here = (1 - weight) * here + weight * e
        value[i] = here
    return Ewma(value, float(limit))


@dataclass(frozen=True)
class Rolling:
    """A share over the last cases, with the binomial limits that it keeps to when the true share is the nominal one.

    All (case,); the first ``window - 1`` values look back on fewer cases.
    """

    share: Float[np.ndarray, " case"]
    low: Float[np.ndarray, " case"]
    high: Float[np.ndarray, " case"]
    window: int
    nominal: float

    @property
    def outside(self) -> bool:
        """Whether the newest share lies outside its limits."""
        return bool(len(self.share) and not self.low[-1] <= self.share[-1] <= self.high[-1])


def rolling_share(inside: ArrayLike, nominal: float, *, window: int = 100, limits: float = 0.99) -> Rolling:
    """Return the rolling share of hits with two-sided binomial limits for each point (not for the whole path: it rings no alarm).

    Parameters
    ----------
    inside : (case,) whether the outcome lay inside its interval.
    nominal : share that was promised, such as 0.9.
    """
    hits = np.atleast_1d(np.asarray(inside, float))
    total = np.concatenate([[0.0], np.cumsum(hits)])
    end = np.arange(1, len(hits) + 1)
    size = np.minimum(end, window)
    low, high = stats.binom.interval(limits, size, nominal)
    return Rolling((total[end] - total[end - size]) / size, np.asarray(low) / size, np.asarray(high) / size, window, nominal)
