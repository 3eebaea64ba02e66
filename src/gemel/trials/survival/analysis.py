"""One entry to the analyses of times to an event, with the guards of :mod:`gemel.trials.analysis`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gemel.core.errors import DataError, EvidenceError
from gemel.trials.adjust.base import Result, made
from gemel.trials.analysis import suspicious
from gemel.trials.estimand import Estimand, Summary, required
from gemel.trials.prognosis import PrognosisBundle
from gemel.trials.survival.adjusted_logrank import adjusted_logrank, slopes_cost
from gemel.trials.survival.data import SurvivalData
from gemel.trials.survival.marginal_hazard import marginal_hazard
from gemel.trials.survival.prognosis import with_prognosis
from gemel.trials.survival.rmst import horizon, restricted_means

__all__ = ["METHODS", "SUMMARIES", "analyse_survival"]

METHODS = ("logrank", "hazard", "rmst")
"""What :func:`analyse_survival` can do."""

SUMMARIES = {"logrank": Summary.HAZARD_RATIO, "hazard": Summary.HAZARD_RATIO, "rmst": Summary.RMST_DIFFERENCE}
"""The summary measure that the estimand must name for each method."""


COST = 1.04
"""Understatement of the variance from which it is flagged: a level of 0.05 becomes 0.055 (normal approximation)."""


def analyse_survival(
    data: SurvivalData,
    estimand: Estimand | Mapping[str, object] | None,
    method: str,
    *,
    prognosis: PrognosisBundle | None = None,
    planned_r_squared: float | None = None,
    strata: Sequence[str] = (),
    tau: float | None = None,
    small_sample: bool = False,
    level: float = 0.95,
) -> Result:
    """Analyse a trial with times to an event by the method that its plan names.

    Parameters
    ----------
    data : from :func:`gemel.trials.survival.data.survival_data`.
    estimand : an :class:`gemel.trials.estimand.Estimand`, or its attributes; its summary is that of the method (:data:`SUMMARIES`).
    method : one of :data:`METHODS`, each adjusted for all covariates of the data. ``logrank`` is a test: the estimate beside it is the
        one-step log hazard ratio, score / variance, whose ratio to its error is the test's statistic. ``hazard`` is the marginal hazard
        ratio, never the conditional one. ``rmst`` is the difference of restricted mean survival times.
    prognosis : from :func:`gemel.trials.survival.prognosis.calibrate`, locked before the trial; becomes the first covariate.
    strata : factors of a stratified log-rank test or hazard ratio.
    tau : horizon of ``rmst``, unit of time; left out, the largest at which both curves are known, and flagged.
    small_sample : let the variance of ``logrank`` and ``hazard`` know that slopes were estimated; the paper's formula does not. That of ``rmst`` always does.
    level : of the interval.

    Raises
    ------
    EvidenceError
        Without an estimand, for a summary that the method does not give, and where nothing can be estimated.
    DataError
        For an unknown method, a level or a horizon out of range.
    InferenceError
        When the hazard ratio does not converge.
    """
    asked = required(estimand)
    if method not in METHODS:
        raise DataError("no such method", seen=method, expected=METHODS)
    if not 0 < level < 1:
        raise DataError("level is out of range", seen=level, expected="between 0 and 1, such as 0.95")
    if asked.summary is not SUMMARIES[method]:
        raise EvidenceError(
            f"{method} does not give this summary",
            seen=asked.summary.value,
            expected=SUMMARIES[method].value,
            fix="name it in the estimand",
        )
    flags: list[str] = []
    parents: tuple[str, ...] = ()
    if prognosis is not None:
        data, more = with_prognosis(data, prognosis, planned_r_squared=planned_r_squared)
        flags += more
        parents = (prognosis.hash[:16],)
    flags += suspicious(data.trial)
    pair = data.pair(asked.reference, asked.treatment)
    counts = [int(pair.event[pair.trial.arm == a].sum()) for a in (0, 1)]
    flags.append(f"events: {asked.reference} {counts[0]}, {asked.treatment} {counts[1]}")
    if method == "rmst" and strata:
        flags.append("restricted means are not stratified: give the strata as baseline columns")
    count = len(pair.trial.names)
    covariates = "1 covariate" if count == 1 else f"{count} covariates"
    within = f"strata({','.join(strata)})" if strata and method != "rmst" else "no strata"
    cost = slopes_cost(pair, strata)
    if small_sample and method != "rmst":
        within += "/small sample"
    elif method != "rmst" and cost > COST:
        flags.append(
            f"the variance takes {2 * count} slopes as known and is about {cost - 1:.0%} too small: small_sample, or one prognosis"
        )
    if method == "logrank":
        found = adjusted_logrank(pair, strata=strata, small_sample=small_sample)
        name = f"logrank/{covariates}/{within}"
        estimate, error = found.score / found.unadjusted_variance, math.sqrt(found.variance) / found.unadjusted_variance
        unadjusted = 1 / math.sqrt(found.unadjusted_variance)
        flags.append("the estimate is the one-step log hazard ratio of the test, biased when the effect is large: hazard estimates it")
    elif method == "hazard":
        ratio = marginal_hazard(pair, strata=strata, small_sample=small_sample)
        name = f"marginal hazard/{covariates}/{within}"
        estimate, error, unadjusted = ratio.log_ratio, ratio.standard_error, ratio.unadjusted_error
        flags.append("marginal hazard ratio, assumed constant over time: not the coefficient of a Cox model with covariates")
    else:
        if tau is None:
            tau = horizon(pair)
            flags.append(f"the horizon was taken from the data: {tau:g}; a plan names it beforehand")
        means = restricted_means(pair, tau)
        name = f"rmst/{tau:g}/{covariates}"
        estimate, error, unadjusted = means.difference, means.standard_error, means.unadjusted_error
        flags.append(f"restricted means: {asked.reference} {means.means[0]:.6g}, {asked.treatment} {means.means[1]:.6g}")
    return made(
        pair,
        asked,
        method=name,
        estimate=estimate,
        standard_error=error,
        unadjusted_error=unadjusted,
        level=level,
        status=tuple(flags),
        parents=parents,
    )
