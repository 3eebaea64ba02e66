"""One entry to every analysis of one trial: its guards, its flags, and the method that was named beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import DataError, EvidenceError
from gemel.trials.adjust.aipw import aipw
from gemel.trials.adjust.ancova import ancova, unadjusted
from gemel.trials.adjust.base import Result, made, of_means
from gemel.trials.adjust.bayes import bayes
from gemel.trials.adjust.gcomputation import gcomputation, unadjusted_means
from gemel.trials.adjust.randomisation import Randomisation, randomisation_of
from gemel.trials.adjust.tmle import tmle
from gemel.trials.adjust.weighted import weighted
from gemel.trials.data import TrialData
from gemel.trials.estimand import Estimand, Summary, required
from gemel.trials.learners import Learner
from gemel.trials.prognosis import PrognosisBundle, r_squared_interval

__all__ = ["METHODS", "analyse", "with_prognosis"]

METHODS = ("unadjusted", "ancova1", "ancova2", "gcomputation", "aipw", "tmle", "weighted", "bayes")
"""What :func:`analyse` can do."""

SHIFT = 0.25
"""Population stability index from which a shift is called large (a convention of credit scoring, ASSUMED here)."""
OUTSIDE = 0.05
"""Share of patients outside the history's support from which it is flagged (ASSUMED)."""
UNLIKELY = 1e-6
"""p-value of a difference between arms from which a column can hardly be from before randomisation (ASSUMED)."""


def _day(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError as error:
        raise DataError("a date cannot be read", seen=text, expected="an ISO date, such as 2026-03-01") from error


def _is_locked_in_time(data: TrialData, bundle: PrognosisBundle) -> tuple[str, ...]:
    for what, when in (("first patient in", data.first_patient_in), ("unblinding", data.unblinded)):
        if when and _day(bundle.locked) >= _day(when):
            raise EvidenceError(
                f"the prognosis was locked after {what}",
                seen=f"locked {bundle.locked}, {what} {when}",
                expected="locked before",
                fix="use the one locked before, or AIPW with cross-fitting",
            )
    return () if data.first_patient_in else ("first patient in is not known: whether the prognosis was locked before it was not checked",)


def with_prognosis(
    data: TrialData, bundle: PrognosisBundle, *, planned_r_squared: float | None = None
) -> tuple[TrialData, tuple[str, ...]]:
    """Return the trial with the prognosis as first covariate, and what is to be said about it.

    Parameters
    ----------
    planned_r_squared : what the trial was sized on; left out, the trial is compared with the history.

    Raises
    ------
    EvidenceError
        When the bundle was changed, was locked too late, or uses a column from after randomisation.
    """
    bundle.check()
    wrong = sorted(data.later & {i.name for i in bundle.inputs})
    if wrong:
        raise EvidenceError(
            "the prognosis uses a column from after randomisation", seen=wrong, expected="baseline columns", fix="lock another one"
        )
    flags = list(_is_locked_in_time(data, bundle))
    values, outside = bundle.of(data.raw)
    if np.ptp(values) == 0:
        raise EvidenceError(
            "the prognosis says the same of everybody", seen=float(values[0]), expected="values that vary", fix="leave it out"
        )
    if outside.mean() > OUTSIDE:
        flags.append(f"{outside.mean():.0%} of the patients lie outside what the prognosis was trained on")
    moved = {i.name: i.stability(data.raw[i.name]) for i in bundle.inputs} | {"prognosis": bundle.prognosis.stability(values.tolist())}
    for name, index in moved.items():
        if index > SHIFT:
            flags.append(f"{name} has drifted from the history: population stability index {index:.2f}")
    seen = within_arm_correlation(data, values)
    if _is_under(seen, data.n - len(data.arms) + 1, bundle, planned_r_squared):
        planned, whose = (bundle.r_squared, "its history") if planned_r_squared is None else (planned_r_squared, "the plan")
        flags.append(
            f"R² of the prognosis in this trial is {max(seen, 0) ** 2:.3f}, under the {planned:.3f} of {whose} by more than chance"
        )
    note = f"prognosis {bundle.name} ({bundle.hash[:16]}), R² within arm {max(seen, 0) ** 2:.3f}"
    return data.with_covariate("prognosis", values, note=note), tuple(flags)


def _is_under(seen: float, n: int, bundle: PrognosisBundle, planned: float | None) -> bool:
    """Whether a correlation lies under what was planned, at 2.5 % one-sided: a plan is a number, a history an estimate of its own."""
    if planned is not None:
        return r_squared_interval(seen, n)[1] < planned
    apart = math.atanh(min(max(bundle.correlation, 0.0), 1 - 1e-12)) - math.atanh(min(max(seen, -1 + 1e-12), 1 - 1e-12))
    return apart > special.ndtri(0.975) * math.sqrt(1 / max(n - 3, 1) + 1 / max(bundle.n - 3, 1))


def within_arm_correlation(data: TrialData, values: Float[np.ndarray, " subject"]) -> float:
    """Return the correlation of values and outcome around the means of their arms."""
    x, y = (v - np.array([v[data.arm == a].mean() for a in range(len(data.arms))])[data.arm] for v in (values, data.outcome))
    bottom = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / bottom if bottom > 0 else 0.0


def suspicious(data: TrialData) -> tuple[str, ...]:
    """Flag covariates that differ between arms as nothing measured before randomisation would."""
    flags = []
    for name, column in zip(data.names, data.covariates.T, strict=True):
        groups = [column[data.arm == a] for a in range(len(data.arms))]
        between = sum(len(g) * (g.mean() - column.mean()) ** 2 for g in groups)
        within = sum(((g - g.mean()) ** 2).sum() for g in groups)
        k, rest = len(groups) - 1, data.n - len(groups)
        p = special.fdtrc(k, rest, between / k / (within / rest)) if within > 0 else 0.0
        if p < UNLIKELY:
            flags.append(f"{name} differs between the arms (p {p:.1g}): was it measured before randomisation?")
    return tuple(flags)


def _plain(data: TrialData, estimand: Estimand, randomisation: Randomisation, level: float) -> Result:
    if estimand.summary in (Summary.MEAN_DIFFERENCE, Summary.RISK_DIFFERENCE) and randomisation.kind != "blocks":
        return unadjusted(data, estimand, level=level)
    means = unadjusted_means(data, randomisation)
    estimate, error = of_means(means, estimand.summary, data.index(estimand.reference), data.index(estimand.treatment))
    return made(
        data, estimand, method=f"unadjusted/{randomisation}", estimate=estimate, standard_error=error, unadjusted_error=error, level=level
    )


def analyse(
    data: TrialData,
    estimand: Estimand | Mapping[str, object] | None,
    method: str,
    *,
    prognosis: PrognosisBundle | None = None,
    planned_r_squared: float | None = None,
    randomisation: str | Randomisation = "simple",
    variance: str = "hc2",
    target: str = "superpopulation",
    family: str = "auto",
    interaction: bool = False,
    learner: Learner | None = None,
    folds: int = 10,
    bounds: tuple[float, float] | None = None,
    predicted_variance: Float[np.ndarray, " subject"] | None = None,
    prior_weight: float | None = None,
    worth: float = 1.0,
    seed: int = 0,
    level: float = 0.95,
) -> Result:
    """Analyse one trial by the method that its plan names.

    Parameters
    ----------
    data : from :func:`gemel.trials.data.trial_data`.
    estimand : an :class:`Estimand`, or its attributes. Without one nothing is analysed.
    method : one of :data:`METHODS`.
    prognosis : locked before the trial; becomes the first covariate.
    planned_r_squared : what the trial was sized on.
    randomisation : ``simple``, ``blocks(FACTOR,...)`` or ``minimisation(FACTOR,...)``; the factors must be among the strata.
    variance, target : of the linear models.
    family, interaction : of g-computation.
    learner, folds, seed : of AIPW and TMLE.
    bounds : range of the outcome, of TMLE; left out, the range that was seen.
    predicted_variance : of the weighted analysis.
    prior_weight, worth : of the Bayesian mixture: prior weight of the history, fixed beforehand, and patients that one of its patients is worth.
    level : of the interval.

    Raises
    ------
    EvidenceError
        Without an estimand, for a prognosis that may not be used, and where the model cannot be identified.
    DataError
        For an unknown method or randomisation, or factors that are not there.
    """
    asked = required(estimand)
    if method not in METHODS:
        raise DataError("no such method", seen=method, expected=METHODS)
    if not 0 < level < 1:
        raise DataError("level is out of range", seen=level, expected="between 0 and 1, such as 0.95")
    how = randomisation_of(randomisation)
    cells = data.joint_strata(how.factors)
    flags: list[str] = []
    parents: tuple[str, ...] = ()
    if prognosis is not None and method != "unadjusted":
        data, more = with_prognosis(data, prognosis, planned_r_squared=planned_r_squared)
        flags += more
        parents = (prognosis.hash[:16],)
    flags += suspicious(data)
    if method != "unadjusted" and not data.names and method != "weighted":
        flags.append("no covariate: the same as unadjusted")
    if (
        how.kind != "simple"
        and cells.max()
        and method in ("unadjusted", "ancova1", "ancova2", "weighted")
        and not (method == "unadjusted" and how.kind == "blocks")
    ):
        flags.append(f"the variance ignores {how}: conservative unless the factors are covariates")
    status = tuple(flags)
    if method == "unadjusted":
        return _plain(data, asked, how, level)
    if method in ("ancova1", "ancova2"):
        both = method == "ancova2"
        return ancova(data, asked, interaction=both, variance=variance, target=target, level=level, status=status, parents=parents)
    if method == "gcomputation":
        return gcomputation(
            data, asked, family=family, interaction=interaction, randomisation=how, level=level, status=status, parents=parents
        )
    if method == "aipw":
        return aipw(data, asked, learner=learner, folds=folds, randomisation=how, seed=seed, level=level, status=status, parents=parents)
    if method == "tmle":
        return tmle(
            data,
            asked,
            learner=learner,
            bounds=bounds,
            folds=folds,
            randomisation=how,
            seed=seed,
            level=level,
            status=status,
            parents=parents,
        )
    if method == "bayes":
        if prognosis is None or prior_weight is None:
            raise DataError(
                "the Bayesian analysis needs a locked prognosis and the weight of its history",
                seen={"prognosis": prognosis is not None, "prior_weight": prior_weight},
                expected="both, fixed beforehand: the largest weight whose type-I error stays under a cap (drift_errors)",
            )
        return bayes(data, asked, prognosis, weight=prior_weight, worth=worth, level=level, status=status)
    if predicted_variance is None:
        raise DataError(
            "the weighted analysis needs predicted variances", seen="none", expected="one per patient, from before randomisation"
        )
    return weighted(data, asked, predicted_variance, variance=variance, level=level, status=status, parents=parents)
