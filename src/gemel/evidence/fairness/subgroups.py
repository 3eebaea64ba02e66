"""The measures of one group of rows, and of the same group when its people are drawn again.

All measures but the area under the ROC curve are functions of sums over people, so that a thousand resamples are one matrix product.
The calibration slope of a resample is one Newton step from the slope of all: its gradient and information are sums too.

References
----------
Schucany and Wang 1991, doi:10.1002/sim.4780101206 (one-step bootstrap). Gneiting and Raftery 2007, doi:10.1198/016214506000001437 (CRPS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gemel.evidence.bootstrap import resamples
from gemel.evidence.fairness.scored import Scored
from gemel.evidence.logistic import newton_logistic

__all__ = ["METRICS", "Measured", "Metric", "badness", "crps", "measure"]

BINS = 10


@dataclass(frozen=True)
class Metric:
    """What a measure is called, which way is better, and whether groups are compared by it.

    ``better``: *high*, *low*, a number that is right, *level* (the level of the interval), or nothing. Measures that move with the prevalence are shown
    and not compared.
    """

    name: str
    label: str
    better: Literal["high", "low", "level", ""] | float
    is_compared: bool
    unit: str = "1"


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("prevalence", "prevalence", "", False),
        Metric("selection_rate", "share at or above the threshold", "", True),
        Metric("auroc", "AUROC", "high", True),
        Metric("calibration_in_the_large", "calibration in the large", 0.0, True),
        Metric("calibration_intercept", "calibration intercept", 0.0, False),
        Metric("calibration_slope", "calibration slope", 1.0, True),
        Metric("expected_calibration_error", "expected calibration error", "low", False),
        Metric("brier", "Brier score", "low", False),
        Metric("true_positive_rate", "true positive rate", "high", True),
        Metric("false_positive_rate", "false positive rate", "low", True),
        Metric("ppv", "positive predictive value", "high", True),
        Metric("npv", "negative predictive value", "high", True),
        Metric("accuracy", "accuracy", "high", False),
        Metric("net_benefit", "net benefit", "high", False),
        Metric("crps", "CRPS", "low", True, "unit of the value"),
        Metric("coverage", "coverage of the interval", "level", True),
        Metric("width", "width of the interval", "low", False, "unit of the value"),
        Metric("abstention_rate", "abstention rate", "low", True),
        Metric("alarm_burden", "alarms per 100", "", True),
    )
}
_SUMS = (
    "rows", "abstained", "alarms", "days", "judged", "y", "error2", "flagged", "hit", "correct", "ranged", "covered", "width", "crps", "drawn",
    "s0", "s1", "i00", "i01", "i11", "t0", "j00", *(f"bin{i}" for i in range(BINS)),
)  # fmt: skip
_AT = {name: i for i, name in enumerate(_SUMS)}
_PROPORTIONS = {
    "selection_rate": ("flagged", "judged"), "true_positive_rate": ("hit", "y"), "coverage": ("covered", "ranged"), "abstention_rate": ("abstained", "rows"),
    "ppv": ("hit", "flagged"), "prevalence": ("y", "judged"), "accuracy": ("correct", "judged"),
}  # fmt: skip


def badness(name: str, value: Any, level: float) -> Any:
    """Return how far a measure is from good: larger is worse; for measures without a good side, the value itself.

    Parameters
    ----------
    name : in :data:`METRICS`.
    value : a number or an array.
    level : of the interval whose coverage is judged.
    """
    better = METRICS[name].better
    if better == "high":
        return -value
    if better == "level":
        return abs(value - level)
    return value if isinstance(better, str) else abs(value - better)


def crps(value: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Return the continuous ranked probability score from quantiles: twice the pinball loss, each level standing for the share nearest to it.

    Parameters
    ----------
    value : (row,)
    quantiles : (row, level) in the same unit.
    levels : (level,) rising.
    """
    at = np.asarray(levels, float)
    edges = np.concatenate([[0.0], (at[1:] + at[:-1]) / 2, [1.0]])
    short = value[:, None] - quantiles
    return 2 * (np.maximum(at * short, (at - 1) * short) * np.diff(edges)).sum(axis=1)


@dataclass(frozen=True)
class Measured:
    """Measures of one group: at the data, per resample, how many there are, and whether each can carry a comparison.

    ``trials`` is, for shares, of how many they are (at most the people); NaN for other measures.
    """

    value: np.ndarray
    drawn: np.ndarray
    rows: int
    people: int
    events: int | None
    is_comparable: np.ndarray
    trials: np.ndarray


def _columns(scored: Scored, threshold: float) -> np.ndarray:
    """Return (row, sum) what every row adds; the columns of the calibration are filled per group."""
    out = np.zeros((scored.rows, len(_SUMS)))
    given = scored.given
    out[:, _AT["rows"]] = 1
    out[:, _AT["abstained"]] = ~given
    if scored.alarmed is not None:
        out[:, _AT["alarms"]] = scored.alarmed
    out[:, _AT["days"]] = 1 if scored.days is None else scored.days
    if scored.outcome is not None and scored.probability is not None:
        judged = given & ~np.isnan(scored.outcome)
        y, p = np.where(judged, scored.outcome, 0.0), np.where(judged, scored.probability, 0.0)
        flag = judged & (p >= threshold)
        place = np.clip((p * BINS).astype(int), 0, BINS - 1)
        for name, column in (
            ("judged", judged), ("y", y), ("error2", (p - y) ** 2), ("flagged", flag), ("hit", flag * y), ("correct", judged & (flag == (y == 1)))
        ):  # fmt: skip
            out[:, _AT[name]] = column
        out[np.arange(scored.rows), _AT["bin0"] + place] = (p - y) * judged
    if scored.value is not None:
        ranged = given & ~np.isnan(scored.value)
        if scored.lower is not None and scored.upper is not None:
            out[:, _AT["ranged"]] = ranged
            out[:, _AT["covered"]] = ranged & (scored.value >= scored.lower) & (scored.value <= scored.upper)
            out[ranged, _AT["width"]] = (scored.upper - scored.lower)[ranged]
        if scored.quantiles is not None:
            out[:, _AT["drawn"]] = ranged
            out[ranged, _AT["crps"]] = crps(scored.value[ranged], scored.quantiles[ranged], scored.levels)
    return out


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b > 0)


def _from_sums(s: np.ndarray, start: np.ndarray | None, scored: Scored, threshold: float) -> dict[str, np.ndarray]:
    """Return the measures of sums (..., sum)."""
    v = {name: s[..., i] for name, i in _AT.items()}
    out = {"abstention_rate": _ratio(v["abstained"], v["rows"])} if scored.abstained is not None else {}
    if scored.alarmed is not None:
        out["alarm_burden"] = 100 * _ratio(v["alarms"], v["days"])
    if scored.outcome is not None and scored.probability is not None:
        n, y, flag, hit = v["judged"], v["y"], v["flagged"], v["hit"]
        gap = np.abs(s[..., _AT["bin0"] : _AT["bin0"] + BINS]).sum(axis=-1)
        out |= {
            "prevalence": _ratio(y, n), "selection_rate": _ratio(flag, n), "expected_calibration_error": _ratio(gap, n), "brier": _ratio(v["error2"], n),
            "true_positive_rate": _ratio(hit, y), "false_positive_rate": _ratio(flag - hit, n - y), "ppv": _ratio(hit, flag),
            "npv": _ratio(n - y - flag + hit, n - flag), "accuracy": _ratio(v["correct"], n),
            "net_benefit": _ratio(hit - (flag - hit) * threshold / (1 - threshold), n),
        }  # fmt: skip
        if start is not None:
            down = v["i00"] * v["i11"] - v["i01"] ** 2
            with np.errstate(divide="ignore", invalid="ignore"):
                out["calibration_intercept"] = start[0] + (v["i11"] * v["s0"] - v["i01"] * v["s1"]) / down
                out["calibration_slope"] = start[1] + (v["i00"] * v["s1"] - v["i01"] * v["s0"]) / down
                out["calibration_in_the_large"] = start[2] + v["t0"] / v["j00"]
    if scored.value is not None and scored.lower is not None:
        out |= {"coverage": _ratio(v["covered"], v["ranged"]), "width": _ratio(v["width"], v["ranged"])}
    if scored.value is not None and scored.quantiles is not None:
        out["crps"] = _ratio(v["crps"], v["drawn"])
    return out


class _Group:
    """One group: its sums per person, and its scores in order for the area under the curve."""

    def __init__(self, scored: Scored, columns: np.ndarray, rows: np.ndarray, person: np.ndarray, threshold: float) -> None:
        self.scored, self.threshold = scored, threshold
        mine = columns[rows]
        self.people, place = np.unique(person[rows], return_inverse=True)
        self.start = self._calibrate(mine, rows)
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(place[order]) > 0])
        self.sums = np.add.reduceat(mine[order], starts, axis=0)
        self.total = mine.sum(axis=0)
        self._rank(rows, place)

    def _calibrate(self, mine: np.ndarray, rows: np.ndarray) -> np.ndarray | None:
        judged = mine[:, _AT["judged"]] > 0
        if self.scored.probability is None or self.scored.has_certain or judged.sum() < 3:
            return None
        p, y = self.scored.probability[rows][judged], mine[judged, _AT["y"]]
        logit, one = np.log(p / (1 - p)), np.ones(len(p))
        if y.sum() in (0, len(y)) or np.ptp(logit) == 0:
            return None
        x = np.column_stack([one, logit])
        both, large = newton_logistic(x, y, one, np.array([0.0, 1.0])), newton_logistic(x[:, :1], y, one, np.zeros(1), logit)
        if both is None or large is None:
            return None
        m = 1 / (1 + np.exp(-(x @ both[0])))
        k = 1 / (1 + np.exp(-(logit + large[0][0])))
        v = m * (1 - m)
        for name, column in (
            ("s0", y - m), ("s1", (y - m) * logit), ("i00", v), ("i01", v * logit), ("i11", v * logit**2), ("t0", y - k), ("j00", k * (1 - k)),
        ):  # fmt: skip
            mine[judged, _AT[name]] = column
        return np.array([*both[0], *large[0]])

    def _rank(self, rows: np.ndarray, place: np.ndarray) -> None:
        self.owner = None
        if self.scored.outcome is None or self.scored.probability is None:
            return
        y, p = self.scored.outcome[rows], self.scored.probability[rows]
        use = self.scored.given[rows] & ~np.isnan(y)
        order = np.argsort(p[use], kind="stable")
        self.owner, self.y = place[use][order], y[use][order]
        self.ties = np.flatnonzero(np.r_[True, np.diff(p[use][order]) > 0]) if use.any() else np.zeros(0, int)

    def auroc(self, weights: np.ndarray | None) -> np.ndarray:
        """Return the area under the curve, at the data or (resample,) with people counted by (resample, person) weights."""
        if self.owner is None or not len(self.owner):
            return np.asarray(np.nan) if weights is None else np.full(len(weights), np.nan)
        if weights is None:
            return self._areas(np.ones((1, len(self.owner))))[0]
        size = max(1, 16_000 // len(self.owner))
        return np.concatenate([self._areas(weights[i : i + size].take(self.owner, axis=1)) for i in range(0, len(weights), size)])

    def _areas(self, w: np.ndarray) -> np.ndarray:
        hit = w * self.y
        miss = w - hit
        if len(self.ties) < w.shape[1]:
            hit, miss = np.add.reduceat(hit, self.ties, axis=1), np.add.reduceat(miss, self.ties, axis=1)
        below = np.cumsum(miss, axis=1) - 0.5 * miss
        return _ratio((hit * below).sum(axis=1), hit.sum(axis=1) * miss.sum(axis=1))

    def at(self, weights: np.ndarray | None) -> np.ndarray:
        """Return (..., measure) at the data, or per row of (resample, person) weights."""
        found = _from_sums(self.total if weights is None else weights @ self.sums, self.start, self.scored, self.threshold)
        if self.owner is not None:
            found["auroc"] = self.auroc(weights)
        shape = () if weights is None else (len(weights),)
        return np.stack([np.broadcast_to(found.get(name, np.nan), shape) for name in METRICS], axis=-1).astype(float)

    def counts(self) -> dict[str, tuple[float, float]]:
        """Return what every share is a share of: how many, and of how many."""
        v = {name: float(self.total[i]) for name, i in _AT.items()}
        return {k: (v[a], v[b]) for k, (a, b) in _PROPORTIONS.items()} | {
            "false_positive_rate": (v["flagged"] - v["hit"], v["judged"] - v["y"]),
            "npv": (v["judged"] - v["y"] - v["flagged"] + v["hit"], v["judged"] - v["flagged"]),
        }

    def trials(self) -> np.ndarray:
        """Return (measure,) of how many each share is, at most the people; NaN for what is no share."""
        counts = self.counts()
        return np.array([min(counts[name][1], len(self.people)) if name in counts else np.nan for name in METRICS])

    def comparable(self) -> np.ndarray:
        """Return (measure,) whether there are enough of each kind for a normal test."""
        v, counts = {name: float(self.total[i]) for name, i in _AT.items()}, self.counts()
        enough = {k: n >= 20 and 5 <= a <= n - 5 for k, (a, n) in counts.items()}
        both = min(v["y"], v["judged"] - v["y"]) >= 10
        enough |= dict.fromkeys(("auroc", "calibration_in_the_large", "calibration_slope"), both)
        enough |= {"crps": v["drawn"] >= 20, "alarm_burden": v["alarms"] >= 10}
        return np.array([metric.is_compared and bool(enough.get(name, False)) for name, metric in METRICS.items()])


def measure(scored: Scored, groups: Sequence[np.ndarray], *, threshold: float, replicates: int = 1000, seed: int = 0) -> list[Measured]:
    """Measure groups of rows, and the same groups in resamples of people; a resample is the same for every group.

    Parameters
    ----------
    scored : the predictions.
    groups : the row numbers of each group, at least one row each.
    threshold : probability at or above which a prediction is positive.
    replicates : resamples; none, no intervals.
    seed : of the resamples.

    Returns
    -------
    list of Measured
        Measures in the order of :data:`METRICS`; NaN where there is none.
    """
    columns, person = _columns(scored, threshold), scored.people
    made = [_Group(scored, columns, np.asarray(rows), person, threshold) for rows in groups]
    drawn: list[list[np.ndarray]] = [[] for _ in made]
    if replicates:
        for weights in resamples(int(person.max()) + 1, replicates, seed):
            for group, into in zip(made, drawn, strict=True):
                into.append(group.at(weights.take(group.people, axis=1)))
    out = []
    for group, parts in zip(made, drawn, strict=True):
        replicated = np.concatenate(parts) if parts else np.zeros((0, len(METRICS)))
        events = None if scored.outcome is None else int(group.total[_AT["y"]])
        out.append(Measured(group.at(None), replicated, int(group.total[0]), len(group.people), events, group.comparable(), group.trials()))
    return out
