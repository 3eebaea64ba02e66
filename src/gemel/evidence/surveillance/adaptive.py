"""The adaptive conformal level of a log of intervals whose outcomes arrive late: what it would take to keep the promise."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gemel.core.errors import EvidenceError
from gemel.engine.conformal import AdaptiveConformal, conformal_quantile, cqr_scores

__all__ = ["AdaptiveReplay", "replay_adaptive_log"]


@dataclass(frozen=True)
class AdaptiveReplay:
    """The adaptive layer as it would have run beside the model, in order of ``time``.

    Parameters
    ----------
    level : (row,) miss rate in force; far below the target means that the model's own intervals are too narrow.
    lower, upper : (row,) ends of the adapted interval; infinite where it is everything, NaN where it is empty.
    missed : share of settled outcomes outside the adapted interval, and ``bound`` on its distance from ``target``, which holds for any data.
    delay : most outcomes settled between a forecast and its own outcome, that one included.
    """

    level: Float[np.ndarray, " row"]
    lower: Float[np.ndarray, " row"]
    upper: Float[np.ndarray, " row"]
    target: float
    missed: float
    settled: int
    bound: float
    delay: int


def replay_adaptive_log(
    lower: ArrayLike, upper: ArrayLike, outcome: ArrayLike, time: ArrayLike, recorded: ArrayLike, *, target: float, rate: float = 0.02, window: int = 500
) -> AdaptiveReplay:  # fmt: skip
    """Replay the adaptive layer of :mod:`gemel.engine.conformal` over a log; a forecast uses only outcomes recorded before it was made.

    Parameters
    ----------
    lower, upper : (row,) the model's own intervals.
    outcome : (row,) finite.
    time, recorded : (row,) of forecast and outcome, any unit, ``recorded >= time``.
    target : miss rate that was promised.
    rate, window : as in :class:`gemel.engine.conformal.AdaptiveStream`.
    """
    low, high, y = (np.asarray(x, float) for x in (lower, upper, outcome))
    made, known = np.asarray(time), np.asarray(recorded)
    n = len(y)
    if not all(len(x) == n for x in (low, high, made, known)) or not np.isfinite([low, high, y]).all():
        raise EvidenceError("the adaptive replay needs finite intervals and outcomes of one length", seen=n)
    layer, scores = AdaptiveConformal.of(target, rate), deque(maxlen=window)
    own = cqr_scores(low, high, y)
    level, a, b = np.empty(n), np.empty(n), np.empty(n)
    settle = np.lexsort((np.arange(n), known)).tolist()
    before, radius = np.zeros(n, int), np.zeros(n)
    delay, done = 1, 0

    def settle_until(now: float | None) -> None:
        nonlocal done, layer, delay
        # an outcome recorded in the very moment of a forecast is not yet known to it
        while done < n and (now is None or known[settle[done]] < now):
            i = settle[done]
            layer = layer.settle(bool(own[i] > radius[i]))
            scores.append(own[i])
            done += 1
            delay = max(delay, done - int(before[i]))

    for i in np.lexsort((np.arange(n), made)).tolist():
        settle_until(made[i])
        before[i], level[i] = done, layer.level
        radius[i] = float(conformal_quantile(np.asarray(scores), layer.level))
        empty = low[i] - radius[i] > high[i] + radius[i]
        a[i], b[i] = (np.nan, np.nan) if empty else (low[i] - radius[i], high[i] + radius[i])
    settle_until(None)
    share = layer.missed / layer.settled if layer.settled else float("nan")
    return AdaptiveReplay(level, a, b, target, share, layer.settled, layer.bound(delay), delay)
