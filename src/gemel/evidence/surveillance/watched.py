"""The charts of a watch that ring: each a CUSUM with a threshold from its share of the wanted run length, in the order in which outcomes became known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from gemel.evidence.surveillance.arl import (
    Increments,
    chain_run_length,
    chain_threshold,
    chart_increments,
    flattened,
    likelihood_increments,
    normal_increments,
)
from gemel.evidence.surveillance.charts import Cusum, cusum, weights

__all__ = ["Planned", "Watched", "normal_scores", "plan_coverage", "plan_normal", "plan_risk", "plan_slope", "run_chart"]


@dataclass(frozen=True)
class Planned:
    """A chart before its threshold is known.

    Parameters
    ----------
    name, group : what it is called, and in whom it looks ("" for everybody).
    rows : rows of the log with what it needs.
    step : (row,) what each adds.
    in_control : distribution of a step while the model is as released.
    out_of_control : the same, where what it looks for has happened.
    looks_for : in words.
    """

    name: str
    group: str
    rows: np.ndarray
    step: np.ndarray
    in_control: Increments
    out_of_control: Increments
    looks_for: str
    severity: Literal["major", "minor"]


@dataclass(frozen=True)
class Watched:
    """A chart as it ran: in the order in which outcomes became known, which is what rings, and in the order of predictions, which tells when it began.

    Parameters
    ----------
    rows, value : (case,) rows of the log in order of ``recorded``, and the chart after each.
    rows_by_time, by_time : the same in order of ``time``, with every outcome that is known now.
    run_length : in control, cases; ``delay`` : cases until it rings once what it looks for has happened at the start of the chart.
    """

    name: str
    group: str
    rows: np.ndarray
    path: Cusum
    rows_by_time: np.ndarray
    by_time: Cusum
    run_length: float
    delay: float
    looks_for: str
    severity: Literal["major", "minor"]

    @property
    def alarm_rows(self) -> np.ndarray:
        """Rows of the log at whose outcomes it rang."""
        return self.rows[self.path.alarms]


def _step(of: Callable[[np.ndarray], np.ndarray], size: int, known: np.ndarray) -> np.ndarray:
    step = np.full(size, np.nan)
    if len(known):
        step[known] = of(known)
    return step


def plan_risk(
    p: np.ndarray, y: np.ndarray, known: np.ndarray, mix: np.ndarray, ratio: float, *, group: str = "", worse: bool = True
) -> Planned:
    """Plan a risk-adjusted CUSUM; ``worse`` looks for odds that are ``ratio`` times those predicted, otherwise for one part in ``ratio``."""
    wanted = ratio if worse else 1 / ratio
    return Planned(
        "events, more than predicted" if worse else "events, fewer than predicted", group, known,
        _step(lambda k: weights(p[k], y[k], wanted), len(p), known), chart_increments(mix, ratio=wanted),
        chart_increments(mix, ratio=wanted, true_ratio=wanted), f"odds of the event {wanted:g} times those predicted", "major",
    )  # fmt: skip


def plan_slope(p: np.ndarray, y: np.ndarray, known: np.ndarray, mix: np.ndarray, slope: float) -> Planned:
    """Plan a CUSUM that looks for predictions that are too extreme: true logits ``slope`` times as far apart, the mean kept.

    It sees what charts of the mean cannot: ranks that are lost while the number of events is as predicted.
    """
    flat = flattened(mix, mix, slope)

    def step(k: np.ndarray) -> np.ndarray:
        q = flattened(p[k], mix, slope)
        return np.where(y[k] == 1, np.log(q / p[k]), np.log1p(-q) - np.log1p(-p[k]))

    return Planned(
        "predictions too extreme", "", known, _step(step, len(p), known), likelihood_increments(mix, flat),
        likelihood_increments(mix, flat, true_mix=flat), f"logits truly {slope:g} times as far apart as predicted", "major",
    )  # fmt: skip


def plan_coverage(missed: np.ndarray, known: np.ndarray, nominal: float, ratio: float, *, group: str = "", narrow: bool = True) -> Planned:
    """Plan a CUSUM of outcomes outside their interval: bands that hold too few, or too many."""
    wanted, p = (ratio if narrow else 1 / ratio), np.array([1 - nominal])
    return Planned(
        "intervals hold too few" if narrow else "intervals hold too many", group, known,
        _step(lambda k: weights(np.full(len(k), p[0]), missed[k], wanted), len(missed), known), chart_increments(p, ratio=wanted),
        chart_increments(p, ratio=wanted, true_ratio=wanted), f"odds of falling outside {wanted:g} times those promised", "major" if narrow else "minor",
    )  # fmt: skip


def plan_normal(
    name: str, score: np.ndarray, known: np.ndarray, allowance: float, *, sign: int, looks_for: str, severity: Literal["major", "minor"] = "major"
) -> Planned:  # fmt: skip
    """Plan a CUSUM of normal scores that looks for a shift of ``2 allowance`` standard deviations upward (``sign`` 1) or downward (-1)."""
    return Planned(
        name, "", known, _step(lambda k: sign * score[k] - allowance, len(score), known), normal_increments(allowance),
        normal_increments(allowance, shift=2 * allowance), looks_for, severity,
    )  # fmt: skip


def normal_scores(uniform: np.ndarray, size: float) -> np.ndarray:
    """Turn PIT or ranks into normal scores; 0 and 1, which finite samples give, are taken half a rank inside."""
    return ndtri(np.clip(uniform, 0.5 / size, 1 - 0.5 / size))


def run_chart(planned: Planned, run_length: float, time: np.ndarray, recorded: np.ndarray, *, reset: bool) -> Watched:
    """Set the threshold from a run length and run the chart in both orders of time.

    Raises
    ------
    EvidenceError
        When the chart cannot reach the run length.
    """
    h = chain_threshold(planned.in_control, run_length)
    rows = planned.rows
    arrived = rows[np.lexsort((rows, time[rows], recorded[rows]))]
    made = rows[np.lexsort((rows, time[rows]))]
    return Watched(
        planned.name, planned.group, arrived, cusum(planned.step[arrived], h, reset=reset), made, cusum(planned.step[made], h, reset=reset),
        run_length, chain_run_length(planned.out_of_control, h), planned.looks_for, planned.severity,
    )  # fmt: skip
