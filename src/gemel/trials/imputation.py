"""Multiple imputation of a trial with several visits: what the estimate would be if those who left had gone on in another way.

Rubin's variance is used for every rule. Under reference-based rules it is *information-anchored*: missing data cost as much information as under missing
at random. It is larger than the variance over repeated trials (Cro, Carpenter and Kenward 2019), and every result says so.

References
----------
Rubin 1987, Multiple Imputation for Nonresponse in Surveys, eq. 3.1.6. Barnard and Rubin 1999, doi:10.1093/biomet/86.4.948 (degrees of freedom).
Cro, Carpenter and Kenward 2019, doi:10.1111/rssa.12423 (information anchoring).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DataError, EvidenceError
from gemel.core.lineage import digest
from gemel.core.protocols import Progress
from gemel.trials.adjust.ancova import least_squares
from gemel.trials.adjust.base import Result, made
from gemel.trials.analysis import with_prognosis
from gemel.trials.data import TrialData
from gemel.trials.estimand import Estimand, Summary, required
from gemel.trials.mmrm.imputation import RULES, augmentation, imputed
from gemel.trials.prognosis import PrognosisBundle
from gemel.trials.visits import VisitData

__all__ = ["Pooled", "TippingPoint", "impute_visits", "pool", "tipping_point"]

CORRELATED = 0.3
"""Correlation of successive kept draws from which the chain is called slow (ASSUMED)."""


@dataclass(frozen=True)
class Pooled:
    """Several estimates of one quantity, pooled.

    Parameters
    ----------
    estimate, standard_error, df : Rubin's, with Barnard and Rubin's degrees of freedom.
    missing_information : the fraction of information that is missing.
    """

    estimate: float
    standard_error: float
    df: float
    missing_information: float


@dataclass(frozen=True)
class TippingPoint:
    """How far the imputed responses of the treated must be worsened before the result is lost.

    Parameters
    ----------
    deltas : what was added to each imputed response after the last observed one, unit of the outcome.
    results : one per delta.
    tips : the first delta at which p reaches 1 - level, in the order given; None when none does.
    """

    deltas: tuple[float, ...]
    results: tuple[Result, ...]
    tips: float | None


def pool(estimates: Float[np.ndarray, " imputation"], variances: Float[np.ndarray, " imputation"], df: float) -> Pooled:
    """Pool estimates of imputed data by Rubin's rules.

    Parameters
    ----------
    df : degrees of freedom of the analysis had nothing been missing.

    Raises
    ------
    DataError
        With fewer than two imputations.

    Examples
    --------
    >>> pool(np.array([1.0, 3.0]), np.array([0.5, 0.5]), 50.0).standard_error  # within 0.5, between 2: 0.5 + 1.5 * 2
    1.8708286933869707
    """
    m = len(estimates)
    if m < 2:
        raise DataError("pooling needs two imputations", seen=m, expected="100 or so")
    within, between = float(np.mean(variances)), float(np.var(estimates, ddof=1))
    total = within + (1 + 1 / m) * between
    share = (1 + 1 / m) * between / total
    observed = (df + 1) / (df + 3) * df * (1 - share)
    old = (m - 1) / share**2 if share > 0 else math.inf
    freedom = observed if math.isinf(old) else old * observed / (old + observed)
    return Pooled(float(np.mean(estimates)), math.sqrt(total), freedom, share)


@dataclass(frozen=True)
class _Arranged:
    response: np.ndarray
    design: np.ndarray
    at_reference: np.ndarray
    people: TrialData


def _arrange(data: VisitData, people: TrialData, reference: int) -> _Arranged:
    response = np.full((people.n, len(data.visits)), np.nan)
    response[data.subject, data.visit] = data.response
    arms = np.stack([people.arm == a for a in range(len(people.arms))], axis=1).astype(float)
    design = np.column_stack([arms, people.centred])
    at_reference = design.copy()
    at_reference[:, : len(people.arms)] = np.eye(len(people.arms))[reference]
    return _Arranged(response, design, at_reference, people)


def _slow(values: Sequence[float]) -> float:
    x = np.asarray(values) - np.mean(values)
    bottom = float(x @ x)
    return float(x[1:] @ x[:-1]) / bottom if bottom > 0 else 0.0


def impute_visits(
    data: VisitData,
    estimand: Estimand | Mapping[str, object] | None,
    *,
    rule: str = RULES[0],
    delta: float = 0.0,
    imputations: int = 100,
    visit: str = "",
    prognosis: PrognosisBundle | None = None,
    seed: int = 0,
    burn_in: int = 200,
    thin: int = 20,
    level: float = 0.95,
    progress: Progress | None = None,
) -> Result:
    """Compare two arms at one visit after multiple imputation of what is missing; the analysis of each completed data set is ANCOVA.

    Parameters
    ----------
    rule : one of :data:`gemel.trials.mmrm.imputation.RULES`, for all arms but the reference.
    delta : added to each imputed response after the last observed one, in all arms but the reference; unit of the outcome.
    visit : which; left out, the last.
    prognosis : locked before the trial; a covariate of imputation and analysis.
    seed : of the imputations; stands in the lineage. Two settings with one seed share their draws.
    burn_in, thin : of the chain.

    Raises
    ------
    EvidenceError
        Without an estimand, when the summary is no difference of means, or when nothing is missing and a rule is asked for.
    DataError
        When there are too few responses, or the rule or visit does not exist.
    """
    asked = required(estimand)
    if asked.summary is not Summary.MEAN_DIFFERENCE:
        raise EvidenceError("imputed visits give a difference of means", seen=asked.summary.value, expected=Summary.MEAN_DIFFERENCE.value)
    if rule not in RULES:
        raise DataError("no such rule of imputation", seen=rule, expected=RULES)
    if visit and visit not in data.visits:
        raise DataError("no such visit", seen=visit, expected=data.visits)
    if not 2 <= imputations <= 10_000:
        raise DataError("the number of imputations is out of range", seen=imputations, expected="2 to 10,000; 100 are usual")
    people, flags, parents = data.people, list[str](), ()
    reference, treated = people.index(asked.reference), people.index(asked.treatment)
    if prognosis is not None:
        people, more = with_prognosis(people, prognosis)
        flags, parents = [*more], (prognosis.hash[:16],)
    here = _arrange(data, people, reference)
    column = data.visits.index(visit) if visit else len(data.visits) - 1
    contrast = np.zeros(here.design.shape[1])
    contrast[[reference, treated]] = -1.0, 1.0
    follows = people.arm != reference
    observed = np.isfinite(here.response)
    after = (np.arange(observed.shape[1]) > (observed.shape[1] - 1 - np.argmax(observed[:, ::-1], axis=1))[:, None]) & follows[:, None]
    chain, filling = (np.random.default_rng([seed, k]) for k in range(2))
    found = []
    if progress is not None:
        progress.start("imputations", imputations)
    for k, draw in enumerate(augmentation(here.response, here.design, imputations, rng=chain, burn_in=burn_in, thin=thin)):
        own, other = here.design @ draw.coefficients, here.at_reference @ draw.coefficients
        complete = imputed(here.response, own, other, draw.covariance, follows, rule, rng=filling) + delta * after
        fit = least_squares(here.design, complete[:, column], variance="model")
        found.append((contrast @ fit.coefficients, contrast @ fit.covariance @ contrast, contrast @ draw.coefficients[:, column]))
        if progress is not None:
            progress.update(k + 1)
    if progress is not None:
        progress.finish()
    estimates, variances, effects = np.array(found).T
    pooled = pool(estimates, variances, people.n - here.design.shape[1])
    flags.append(
        f"{int((~observed[:, column]).sum())} of {people.n} imputed, {imputations} times; {pooled.missing_information:.0%} of the information is missing"
    )
    if rule != RULES[0] or delta:
        flags.append("Rubin's variance is information-anchored, not that over repeated trials")
    lag = _slow(effects)
    if lag > CORRELATED:
        flags.append(f"successive draws are correlated ({lag:.2f}): raise thin")
    plain = least_squares(here.design[observed[:, column]], here.response[observed[:, column], column], variance="model")
    name = rule + (f" + {delta:g}" if delta else "")
    return replace(
        made(
            people,
            asked,
            method=f"imputation/{name}/{imputations}",
            estimate=pooled.estimate,
            standard_error=pooled.standard_error,
            unadjusted_error=math.sqrt(contrast @ plain.covariance @ contrast),
            df=pooled.df,
            level=level,
            status=tuple(flags),
            seed=seed,
            parents=(*parents, digest([here.response, list(data.visits), burn_in, thin])[:16]),
        ),
        contrast=f"{asked.treatment} - {asked.reference}, visit {data.visits[column]}" + (f", {delta:+g}" if delta else ""),
    )


def tipping_point(
    data: VisitData,
    estimand: Estimand | Mapping[str, object] | None,
    deltas: Sequence[float],
    *,
    rule: str = RULES[0],
    level: float = 0.95,
    **settings: object,
) -> TippingPoint:
    """Worsen the imputed responses of the treated step by step, under the same draws, and say when the result is lost.

    Parameters
    ----------
    deltas : unit of the outcome, in the order in which they are tried; 0 is where one begins.
    settings : as of :func:`impute_visits`.

    Raises
    ------
    DataError
        Without deltas.
    """
    if not deltas:
        raise DataError("a tipping point needs deltas", seen="none", expected="such as 0, 1, 2, 3, unit of the outcome")
    results = tuple(impute_visits(data, estimand, rule=rule, delta=float(d), level=level, **settings) for d in deltas)
    lost = [float(d) for d, r in zip(deltas, results, strict=True) if r.p_value >= 1 - level]
    return TippingPoint(tuple(map(float, deltas)), results, lost[0] if lost else None)
