"""One entry to controls from outside whose patients are known: what they say, how alike they are, and what it would take to be wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from gemel.core.errors import DataError
from gemel.core.lineage import Lineage
from gemel.trials.adjust.base import ArmMeans, Result, made, of_means
from gemel.trials.estimand import Estimand, Summary, required
from gemel.trials.external.balance import SMALLEST_SHARE, Balance, balance, effective_size
from gemel.trials.external.bias import Sensitivity, e_value, e_value_of_difference, tipping_point
from gemel.trials.external.data import Aggregate, ExternalData, Patients
from gemel.trials.external.doubly_robust import doubly_robust
from gemel.trials.external.drift import DRIFTS, LABEL, DriftMap, bootstrap_map
from gemel.trials.external.entropy import entropy
from gemel.trials.external.maic import maic
from gemel.trials.external.simulated_comparison import simulated_comparison
from gemel.trials.external.weights import Weighted, iptw, overlap
from gemel.trials.learners import Learner

__all__ = ["METHODS", "SUMMARY_METHODS", "TARGETS", "Comparison", "arm_means", "borrow_patients"]

METHODS = ("iptw", "overlap", "entropy", "maic", "stc", "doubly-robust")
"""What :func:`borrow_patients` can do."""
SUMMARY_METHODS = ("maic", "stc")
"""Those that need no more than a summary of the controls from outside."""
TARGETS = {
    "iptw": "patients like those treated in the trial",
    "overlap": "patients who might have been in the trial or outside it",
    "entropy": "patients like those treated in the trial",
    "maic": "patients like those from outside, with just their means",
    "stc": "patients like those from outside, with just their means",
    "doubly-robust": "patients like those treated in the trial",
}
"""In whom the effect is one, by method."""


@dataclass(frozen=True)
class Comparison:
    """Treated patients against controls from outside.

    Parameters
    ----------
    result : the contrast; its variance ratio is against no weighting.
    label : that the type-I error is not controlled.
    target : in whom the effect is one.
    balance : of the covariates before and after weighting; None for a regression.
    effective_n : effective number of those who were weighted, and how many they are.
    sensitivity : what hidden differences would have to be.
    drift_seen : the trial's own controls minus those from outside by the same method, and its standard error; None without own controls.
    map : what drift does to type-I error, power and squared error.
    """

    result: Result
    label: str
    target: str
    balance: Balance | None
    effective_n: tuple[float, int]
    sensitivity: Sensitivity
    drift_seen: tuple[float, float] | None
    map: DriftMap

    @property
    def lineage(self) -> Lineage:
        """Of the result."""
        return self.result.lineage


@dataclass(frozen=True)
class _How:
    method: str
    folds: int
    conditions: int
    learner: Learner | None
    allow_small: bool
    seed: int

    def weigh(self, data: ExternalData) -> Weighted | ArmMeans:
        if self.method == "iptw":
            return iptw(data, folds=self.folds, seed=self.seed)
        if self.method == "overlap":
            return overlap(data, folds=self.folds, seed=self.seed)
        if self.method == "entropy":
            return entropy(data, conditions=self.conditions)
        if self.method == "doubly-robust":
            return doubly_robust(data, learner=self.learner, folds=self.folds or 5, seed=self.seed)
        return self.indirect(data.y[0], data.x[0], data.aggregate())

    def indirect(self, y: np.ndarray, x: np.ndarray, target: Aggregate) -> Weighted | ArmMeans:
        if self.method == "maic":
            return maic(y, x, target, conditions=self.conditions, allow_small=self.allow_small)
        return simulated_comparison(y, x, target, seed=self.seed)


def _means(found: Weighted | ArmMeans) -> ArmMeans:
    return found.means if isinstance(found, Weighted) else found


def arm_means(
    data: ExternalData,
    method: str,
    *,
    folds: int = 0,
    conditions: int = 1,
    learner: Learner | None = None,
    allow_small: bool = False,
    seed: int = 0,
) -> ArmMeans:
    """Return what a method makes of both groups, reference first, without flags, sensitivity or map: what a simulation repeats.

    Parameters
    ----------
    others : as for :func:`borrow_patients`.

    Raises
    ------
    DataError
        For an unknown method.
    EvidenceError
        As :func:`borrow_patients`.
    """
    if method not in METHODS:
        raise DataError("no such method", seen=method, expected=METHODS)
    return _means(_How(method, folds, conditions, learner, allow_small, seed).weigh(data))


def borrow_patients(
    data: ExternalData | Patients,
    estimand: Estimand | Mapping[str, object] | None,
    method: str,
    *,
    summary: Aggregate | None = None,
    folds: int = 0,
    conditions: int = 1,
    learner: Learner | None = None,
    allow_small: bool = False,
    effect: float | None = None,
    drifts: Sequence[float] = DRIFTS,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Compare a trial's treated patients with controls from outside.

    Parameters
    ----------
    data : from :func:`gemel.trials.external.data.external_data`; or the treated alone with a ``summary`` of those from outside.
    estimand : its reference is whatever the controls from outside are called; the summary any of a mean, a risk, or a ratio of risks or odds.
    method : one of :data:`METHODS`.
    folds : cross-fit the propensity; the doubly robust method always does (5).
    conditions : of entropy balancing and MAIC: 1 balances means, 2 also variances.
    allow_small : let MAIC go on with an effective number under a quarter.
    effect : at which the map's power holds, unit of the outcome; left out, one of power 0.8 without drift.
    drifts : of the map, in standard deviations of one patient's outcome.
    replicates, seed : of the map's bootstrap.

    Raises
    ------
    EvidenceError
        Without an estimand; when the groups do not overlap, no weights balance them, or too few patients are left.
    DataError
        For an unknown method, a level out of range, or a method that needs patients and has a summary.
    """
    asked = required(estimand)
    if method not in METHODS:
        raise DataError("no such method", seen=method, expected=METHODS)
    if not 0 < level < 1 or conditions not in (1, 2):
        raise DataError(
            "a setting is out of range", seen=f"level {level}, conditions {conditions}", expected="a level such as 0.95; 1 or 2"
        )
    how = _How(method, folds, conditions, learner, allow_small, seed)
    if isinstance(data, Patients):
        if summary is None or method not in SUMMARY_METHODS:
            raise DataError(
                f"{method} needs the patients from outside",
                seen="a summary" if summary else "neither",
                expected=f"patients, or {SUMMARY_METHODS}",
            )
        target, y, x = summary, data.y, data.x
        found = how.indirect(y, x, target)
        spread = float(np.std(y, ddof=1))
        plain = ArmMeans(np.array([target.outcome, y.mean()]), np.diag([target.error**2, spread**2 / len(y)]))
        binary = bool(np.isin(y, (0.0, 1.0)).all())
    else:
        found, target, (y, outside), (x, _) = how.weigh(data), data.aggregate(), data.y, data.x
        spread, binary = data.sd, data.is_binary
        covariance = np.diag([float(np.var(v, ddof=1)) / len(v) for v in (outside, y)])
        plain = ArmMeans(np.array([outside.mean(), y.mean()]), covariance)
    means = _means(found)
    estimate, error = of_means(means, asked.summary, 0, 1)
    flags = [LABEL, f"the effect is one in {TARGETS[method]}"]
    compared, left = None, (float(len(y)), len(y))
    if isinstance(found, Weighted):
        other, weights = (data.x[1], found.outside) if isinstance(data, ExternalData) else (None, None)
        if method == "maic":
            left = (effective_size(found.treated), len(y))
            gap = target.means - found.treated @ x
            width = np.where(np.isfinite(target.sds) & (target.sds > 0), target.sds, x.std(axis=0, ddof=1))
            compared = Balance(data.names, (x.mean(axis=0) - target.means) / width, -gap / width)
        elif other is not None and weights is not None:
            left = (found.effective_n, len(other))
            compared = balance(data.names, x, other, (found.treated, weights))
        if compared is not None and compared.flagged:
            flags.append(f"unbalanced after weighting (0.1 SD or more): {', '.join(compared.flagged)}")
        if left[0] < SMALLEST_SHARE * left[1]:
            flags.append(f"the weights leave an effective number of {left[0]:.1f} of {left[1]} patients, under a quarter")
    seen = None
    if isinstance(data, ExternalData) and data.reference:
        own = _means(how.weigh(ExternalData(data.trial, data.reference, "")))
        seen = of_means(own, Summary.MEAN_DIFFERENCE, 0, 1)
        flags.append(
            f"the trial's own controls lie {seen[0]:.4g} (SE {seen[1]:.4g}) above those from outside: "
            f"a drift of {seen[0] / spread:.2f} SD, p {2 * special.ndtr(-abs(seen[0] / seen[1])):.3g}"
        )
    result = made(
        data,
        asked,
        method=f"{method}" + (f"/{folds} folds" if folds else "") + (f"/{conditions} conditions" if conditions > 1 else ""),
        estimate=estimate,
        standard_error=error,
        unadjusted_error=of_means(plain, asked.summary, 0, 1)[1],
        level=level,
        status=tuple(flags),
        seed=seed,
        parents=() if isinstance(data, ExternalData) else (target.hash[:16],),
    )
    z = float(special.ndtri(0.5 + level / 2))
    whole = of_means(means, Summary.MEAN_DIFFERENCE, 0, 1)
    size = effect if effect is not None else (z + float(special.ndtri(0.8))) * whole[1]

    def replicate(rng: np.random.Generator) -> tuple[float, float]:
        rows = rng.integers(len(y), size=len(y))
        if isinstance(data, ExternalData) and method not in SUMMARY_METHODS:
            return of_means(
                _means(how.weigh(data.drawn(rows, rng.integers(len(outside), size=len(outside))))), Summary.MEAN_DIFFERENCE, 0, 1
            )
        moved = Aggregate(target.names, target.n, target.means, target.sds, target.outcome + target.error * rng.normal(), target.error)
        return of_means(_means(how.indirect(y[rows], x[rows], moved)), Summary.MEAN_DIFFERENCE, 0, 1)

    return Comparison(
        result=result,
        label=LABEL,
        target=TARGETS[method],
        balance=compared,
        effective_n=left,
        sensitivity=_sensitivity(means, asked.summary, (estimate, error), binary, spread, z),
        drift_seen=seen,
        map=bootstrap_map(
            replicate,
            whole,
            sd=spread,
            without=_without(data, size, z),
            effect=size,
            drifts=drifts,
            level=level,
            replicates=replicates,
            seed=seed,
        ),
    )


def _without(data: ExternalData | Patients, effect: float, z: float) -> tuple[float, float, float]:
    """Type-I error, power and squared error of the trial's own controls, by the normal approximation."""
    if isinstance(data, Patients) or not data.reference:
        return math.nan, math.nan, math.nan
    parts = [data.trial.outcome[data.rows(a)] for a in (data.treatment, data.reference)]
    error = math.sqrt(sum(float(np.var(p, ddof=1)) / len(p) for p in parts))
    power = float(special.ndtr(effect / error - z) + special.ndtr(-effect / error - z))
    return 2 * float(special.ndtr(-z)), power, error**2


def _sensitivity(means: ArmMeans, summary: Summary, contrast: tuple[float, float], binary: bool, sd: float, z: float) -> Sensitivity:
    estimate, error = contrast
    ratio = summary in (Summary.RISK_RATIO, Summary.RATE_RATIO, Summary.ODDS_RATIO)
    if binary or ratio:
        values = math.nan, math.nan  # no ratio without events in both groups
        if (means.means > 0).all():
            log, spread = of_means(means, Summary.RISK_RATIO, 0, 1)
            values = e_value(math.exp(log)), e_value(math.exp(max(abs(log) - z * spread, 0.0)))
    else:
        values = e_value_of_difference(estimate, error, sd, level_z=z)
    tipping = tipping_point(estimate, error, level_z=z)
    return Sensitivity(*values, tipping, math.nan if ratio else tipping / sd)
