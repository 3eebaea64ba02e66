"""What a yes-or-no prediction is worth: discrimination, thresholds, calibration, benefit, agreement, and what confounding could explain.

Every function of one sample takes ``weights``: how often each row counts. A clustered bootstrap hands in how often each person was drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

from gemel.core.errors import EvidenceError
from gemel.evidence.bootstrap import clustered_interval
from gemel.evidence.logistic import newton_logistic

__all__ = [
    "Agreement", "Comparison", "Estimate", "Recalibration", "auprc", "auroc", "bland_altman", "brier", "compare_auroc", "delong", "e_value",
    "expected_calibration_error", "net_benefit", "rates", "recalibration",
]  # fmt: skip

Rows = Float[np.ndarray, " row"]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float
    low: float
    high: float
    level: float = 0.95
    se: float = math.nan


@dataclass(frozen=True)
class Comparison:
    """Two areas under the ROC curve on the same people: each, their difference, and the two-sided p-value that there is none."""

    first: Estimate
    second: Estimate
    difference: Estimate
    p_value: float


@dataclass(frozen=True)
class Recalibration:
    """Logistic recalibration: intercept and slope of logit(prediction), and the intercept with the slope held at one.

    ``large`` is the calibration in the large: 0 is right, above 0 the predictions are too low. A slope below 1: they are too extreme.
    """

    intercept: Estimate
    slope: Estimate
    large: Estimate


@dataclass(frozen=True)
class Agreement:
    """Bias and limits of agreement between two ways to measure, with intervals over people."""

    bias: Estimate
    lower: Estimate
    upper: Estimate
    people: int
    pairs: int


def _binary(outcome: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, p = np.asarray(outcome, float), np.asarray(prediction, float)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, float)
    if not len(y) or y.shape != p.shape or w.shape != y.shape or y.ndim != 1:
        raise EvidenceError(
            "outcomes, predictions and weights must be rows of one table", seen=(y.shape, p.shape, w.shape), expected="one length"
        )
    if not np.isin(y, (0.0, 1.0)).all():
        row = int(np.flatnonzero(~np.isin(y, (0.0, 1.0)))[0])
        raise EvidenceError(
            "an outcome is neither 0 nor 1", seen=f"{y[row]} in row {row}", fix="leave rows without an outcome out, and count them"
        )
    if not np.isfinite(p).all():
        raise EvidenceError(
            "a prediction is missing", seen=f"row {int(np.flatnonzero(~np.isfinite(p))[0])}", fix="leave the row out, and count it"
        )
    return y, p, w


def rates(outcome: Rows, prediction: Rows, *, threshold: float = 0.5, weights: Rows | None = None) -> dict[str, float]:
    """Return sensitivity, specificity, predictive values and shares at a threshold; a prediction at the threshold is positive.

    Parameters
    ----------
    outcome : (row,) 0 or 1.
    prediction : (row,) probability or score.
    threshold : in the unit of the prediction.
    weights : (row,) not negative.

    Returns
    -------
    dict
        ``sensitivity``, ``specificity``, ``ppv``, ``npv``, ``selection_rate``, ``prevalence``, ``accuracy``; NaN where nobody counts.

    Examples
    --------
    >>> rates([1, 1, 0, 0], [0.9, 0.2, 0.7, 0.1])["sensitivity"]
    0.5
    """
    y, p, w = _binary(outcome, prediction, weights)
    flag = p >= threshold
    tp, fp, fn, tn = ((w * m).sum() for m in (flag * y, flag * (1 - y), ~flag * y, ~flag * (1 - y)))

    def share(a: float, b: float) -> float:
        return float(a / b) if b > 0 else math.nan

    total = tp + fp + fn + tn
    return {
        "sensitivity": share(tp, tp + fn), "specificity": share(tn, tn + fp), "ppv": share(tp, tp + fp), "npv": share(tn, tn + fn),
        "selection_rate": share(tp + fp, total), "prevalence": share(tp + fn, total), "accuracy": share(tp + tn, total),
    }  # fmt: skip


def auroc(outcome: Rows, prediction: Rows, *, weights: Rows | None = None) -> float:
    """Return the area under the ROC curve, ties counted one half; NaN when only one kind of outcome is there."""
    y, p, w = _binary(outcome, prediction, weights)
    order = np.argsort(p, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(p[order]) > 0])
    positive, negative = (np.add.reduceat((w * k)[order], starts) for k in (y, 1 - y))
    below = np.cumsum(negative) - negative
    pairs = positive.sum() * negative.sum()
    return float(positive @ (below + 0.5 * negative) / pairs) if pairs > 0 else math.nan


def auprc(outcome: Rows, prediction: Rows, *, weights: Rows | None = None) -> float:
    """Return the average precision: precision at each distinct score, weighted by the gain in recall; its floor is the prevalence."""
    y, p, w = _binary(outcome, prediction, weights)
    order = np.argsort(-p, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(-p[order]) > 0])
    hit, all_ = (np.add.reduceat(v[order], starts) for v in (w * y, w))
    if hit.sum() <= 0:
        return math.nan
    seen = np.cumsum(all_)
    precision = np.divide(np.cumsum(hit), seen, out=np.zeros_like(seen), where=seen > 0)
    return float(hit @ precision / hit.sum())


def _placements(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, per positive and per negative, the share of the other kind that it beats (ties one half)."""
    a, b = p[y == 1], p[y == 0]
    sorted_a, sorted_b = np.sort(a), np.sort(b)
    of_a = (np.searchsorted(sorted_b, a, "left") + np.searchsorted(sorted_b, a, "right")) / (2 * len(b))
    of_b = 1 - (np.searchsorted(sorted_a, b, "left") + np.searchsorted(sorted_a, b, "right")) / (2 * len(a))
    return of_a, of_b


def _clusters(patient: np.ndarray | None, n: int) -> np.ndarray:
    return np.arange(n) if patient is None else np.unique(np.asarray(patient), return_inverse=True)[1].reshape(-1)


def _delong_covariance(y: np.ndarray, scores: list[np.ndarray], cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return areas and their covariance: DeLong's, or Obuchowski's where people have several rows."""
    people = int(cluster.max()) + 1
    positive = y == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if m < 2 or n < 2:
        raise EvidenceError("too few outcomes of a kind for an interval", seen=f"{m} events, {n} without", expected="two of each")
    area, of_a, of_b = [], [], []
    for p in scores:
        a, b = _placements(y, p)
        area.append(a.mean())
        of_a.append(a - a.mean())
        of_b.append(b - b.mean())
    if people == len(y):
        return np.array(area), np.atleast_2d(np.cov(of_a)) / m + np.atleast_2d(np.cov(of_b)) / n
    sum_a = np.array([np.bincount(cluster[positive], v, people) for v in of_a])
    sum_b = np.array([np.bincount(cluster[~positive], v, people) for v in of_b])
    has_a, has_b = (int((np.bincount(cluster[k], minlength=people) > 0).sum()) for k in (positive, ~positive))
    if has_a < 2 or has_b < 2:
        raise EvidenceError(
            "too few people with an outcome of a kind for an interval", seen=f"{has_a} and {has_b} people", expected="two of each"
        )
    s_a, s_b = sum_a @ sum_a.T * has_a / ((has_a - 1) * m**2), sum_b @ sum_b.T * has_b / ((has_b - 1) * n**2)
    cross = sum_a @ sum_b.T * people / ((people - 1) * m * n)
    return np.array(area), s_a + s_b + cross + cross.T


def _estimate(value: float, se: float, level: float) -> Estimate:
    half = float(stats.norm.ppf(0.5 + level / 2)) * se
    return Estimate(float(value), float(value - half), float(value + half), level, float(se))


def delong(outcome: Rows, prediction: Rows, *, patient: np.ndarray | None = None, level: float = 0.95) -> Estimate:
    """Return the area under the ROC curve with DeLong's interval, clipped to [0, 1].

    Parameters
    ----------
    outcome : (row,) 0 or 1.
    prediction : (row,) any score, higher for events.
    patient : (row,) who each row belongs to; left out, each row is one person. With several rows a person the variance is Obuchowski's.
    level : of the interval.

    Raises
    ------
    EvidenceError
        With fewer than two rows (or people) of a kind.

    References
    ----------
    DeLong et al. 1988, doi:10.2307/2531595, eqs 3-7. Obuchowski 1997, doi:10.2307/2533958 (clustered data).
    """
    y, p, _ = _binary(outcome, prediction, None)
    area, covariance = _delong_covariance(y, [p], _clusters(patient, len(y)))
    found = _estimate(area[0], math.sqrt(covariance[0, 0]), level)
    return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0), level, found.se)


def compare_auroc(outcome: Rows, first: Rows, second: Rows, *, patient: np.ndarray | None = None, level: float = 0.95) -> Comparison:
    """Compare two scores of the same people by DeLong's paired test."""
    y, a, _ = _binary(outcome, first, None)
    b = _binary(outcome, second, None)[1]
    area, covariance = _delong_covariance(y, [a, b], _clusters(patient, len(y)))
    se = math.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0))
    gap = float(area[0] - area[1])
    p_value = (1.0 if gap == 0 else 0.0) if se == 0 else float(2 * stats.norm.sf(abs(gap) / se))
    one, two = (_estimate(area[i], math.sqrt(covariance[i, i]), level) for i in (0, 1))
    return Comparison(one, two, _estimate(gap, se, level), p_value)


def brier(outcome: Rows, prediction: Rows, *, weights: Rows | None = None) -> float:
    """Return the mean squared error of the probabilities."""
    y, p, w = _binary(outcome, prediction, weights)
    return float(w @ (p - y) ** 2 / w.sum())


def expected_calibration_error(outcome: Rows, prediction: Rows, *, bins: int = 10, weights: Rows | None = None) -> float:
    """Return the mean distance between predicted and observed over bins of equal width; it grows as samples shrink."""
    y, p, w = _binary(outcome, prediction, weights)
    place = np.clip((p * bins).astype(int), 0, bins - 1)
    return float(np.abs(np.bincount(place, w * (p - y), bins)).sum() / w.sum())


def recalibration(
    outcome: Rows, prediction: Rows, *, patient: np.ndarray | None = None, weights: Rows | None = None, level: float = 0.95
) -> Recalibration:
    """Return calibration intercept and slope with Wald intervals, robust where people have several rows.

    Parameters
    ----------
    outcome : (row,) 0 or 1.
    prediction : (row,) probability, strictly between 0 and 1: nothing is clipped.
    patient : (row,) for a sandwich over people; left out, the interval is the model's.

    Raises
    ------
    EvidenceError
        At a prediction of exactly 0 or 1 or outside, or when the outcomes are all of one kind or split perfectly.

    References
    ----------
    Cox 1958, doi:10.1093/biomet/45.3-4.562. Van Calster et al. 2019, doi:10.1186/s12916-019-1466-7.
    """
    y, p, w = _binary(outcome, prediction, weights)
    if not ((p > 0) & (p < 1)).all():
        row = int(np.flatnonzero(~((p > 0) & (p < 1)))[0])
        raise EvidenceError(
            "a probability has no logit", seen=f"{p[row]} in row {row}", expected="strictly between 0 and 1", fix="nothing is clipped"
        )
    logit = np.log(p / (1 - p))
    x = np.column_stack([np.ones_like(logit), logit])
    both = newton_logistic(x, y, w, np.array([0.0, 1.0])) if np.ptp(logit) > 0 else None
    large = newton_logistic(x[:, :1], y, w, np.zeros(1), logit)
    if both is None or large is None:
        raise EvidenceError(
            "no calibration slope: the outcomes are of one kind or split perfectly", seen=f"{w @ y:g} events in {w.sum():g} rows"
        )
    cluster = None if patient is None else _clusters(patient, len(y))

    def errors(design: np.ndarray, beta: np.ndarray, information: np.ndarray, offset: np.ndarray | float) -> np.ndarray:
        inverse = np.linalg.inv(information)
        if cluster is None:
            return np.sqrt(np.diag(inverse))
        people = int(cluster.max()) + 1
        score = design * (w * (y - 1 / (1 + np.exp(-(design @ beta + offset)))))[:, None]
        each = np.column_stack([np.bincount(cluster, column, people) for column in score.T])
        return np.sqrt(np.diag(inverse @ (each.T @ each) @ inverse) * people / max(people - 1, 1))

    se, se_large = errors(x, *both, 0.0), errors(x[:, :1], *large, logit)
    return Recalibration(*(_estimate(v, s, level) for v, s in ((both[0][0], se[0]), (both[0][1], se[1]), (large[0][0], se_large[0]))))


def net_benefit(outcome: Rows, prediction: Rows, *, threshold: float, weights: Rows | None = None) -> float:
    """Return the net benefit of acting at a threshold probability: true positives less false ones at the odds of the threshold.

    References
    ----------
    Vickers and Elkin 2006, doi:10.1177/0272989X06295361.
    """
    if not 0 < threshold < 1:
        raise EvidenceError("a threshold probability lies between 0 and 1", seen=threshold)
    y, p, w = _binary(outcome, prediction, weights)
    flag = p >= threshold
    return float((w @ (flag * y) - w @ (flag * (1 - y)) * threshold / (1 - threshold)) / w.sum())


def bland_altman(
    first: Rows,
    second: Rows,
    *,
    patient: np.ndarray | None = None,
    level: float = 0.95,
    limits: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Return the bias of ``first - second`` and the limits of agreement, each with an interval over people.

    Parameters
    ----------
    first, second : (pair,) the same quantity in one unit.
    patient : (pair,) who each pair belongs to. With one pair a person the intervals are Bland and Altman's (t, exact for the bias); with
        several, the spread within and between people is one variance (mean squares of the pairs about the bias) and people are resampled.
    limits : share of differences between the limits.

    References
    ----------
    Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8; 2007, doi:10.1080/10543400701329422 (several pairs a person).
    """
    d = np.asarray(first, float) - np.asarray(second, float)
    if d.ndim != 1 or not np.isfinite(d).all():
        raise EvidenceError("agreement needs two finite columns of one length", seen=d.shape)
    cluster = _clusters(patient, len(d))
    people = int(cluster.max()) + 1 if len(d) else 0
    if people < 3:
        raise EvidenceError("too few people for limits of agreement", seen=people, expected="three or more")
    z = float(stats.norm.ppf(0.5 + limits / 2))
    if people == len(d):
        bias, sd, n = float(d.mean()), float(d.std(ddof=1)), len(d)
        t = float(stats.t.ppf(0.5 + level / 2, n - 1))
        se, se_limit = sd / math.sqrt(n), sd * math.sqrt(1 / n + z**2 / (2 * (n - 1)))
        found = [Estimate(v, v - t * s, v + t * s, level, s) for v, s in ((bias, se), (bias - z * sd, se_limit), (bias + z * sd, se_limit))]
        return Agreement(found[0], found[1], found[2], people, n)
    count, total, square = (np.bincount(cluster, v, people) for v in (np.ones_like(d), d, d**2))

    def at(kind: int, w: np.ndarray) -> float:
        n = w @ count
        mean = w @ total / n
        sd = math.sqrt(max(w @ square / n - mean**2, 0.0) * people / (people - 1))
        return float(mean + kind * z * sd)

    def estimate(kind: int) -> Estimate:
        low, high = clustered_interval(lambda w: at(kind, w), people, level=level, replicates=replicates, seed=seed)
        return Estimate(at(kind, np.ones(people)), low, high, level)

    return Agreement(estimate(0), estimate(-1), estimate(1), people, len(d))


def e_value(
    value: float, *, low: float | None = None, high: float | None = None, kind: Literal["RR", "OR", "HR"] = "RR", is_rare: bool = False
) -> tuple[float, float | None]:
    """Return the E-value of a ratio and of the end of its interval nearer to one: how strong confounding would have to be to explain it away.

    Parameters
    ----------
    value : risk, odds or hazard ratio, positive.
    low, high : its interval; left out, only the first is returned.
    kind : *OR* and *HR* of outcomes that are not rare (over about 15 % at the end) are first brought near a risk ratio.
    is_rare : whether the outcome is rare; then they are taken as they are.

    Returns
    -------
    (of the estimate, of the interval) : the second is 1 when the interval holds 1, None without an interval.

    References
    ----------
    VanderWeele and Ding 2017, doi:10.7326/M16-2607, table 2.

    Examples
    --------
    >>> [round(v, 2) for v in e_value(3.9, low=1.8, high=8.7)]
    [7.26, 3.0]
    """
    for number in (value, low, high):
        if number is not None and not (number > 0 and math.isfinite(number)):
            raise EvidenceError("a ratio must be positive", seen=number)
    if (low is not None and low > value) or (high is not None and high < value):
        raise EvidenceError("a ratio lies outside its interval", seen=f"{value} in [{low}, {high}]")

    def risk(ratio: float) -> float:
        if kind == "RR" or is_rare:
            return ratio
        return math.sqrt(ratio) if kind == "OR" else (1 - 0.5 ** math.sqrt(ratio)) / (1 - 0.5 ** math.sqrt(1 / ratio))

    def strength(ratio: float) -> float:
        up = max(ratio, 1 / ratio)
        return up + math.sqrt(up * (up - 1))

    end = low if value >= 1 else high
    if end is None:
        return strength(risk(value)), None
    return strength(risk(value)), 1.0 if (end <= 1) == (value >= 1) else strength(risk(end))
