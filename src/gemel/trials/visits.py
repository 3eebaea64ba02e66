"""Trials with several visits: the guards of one-visit trials, then the mixed model for repeated measures, read visit by visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from jaxtyping import Float, Int

from gemel.core.errors import DataError
from gemel.core.lineage import digest
from gemel.trials.adjust.base import Result, made
from gemel.trials.analysis import with_prognosis
from gemel.trials.data import Column, TrialData, numbers, trial_data
from gemel.trials.estimand import Estimand, Summary, required
from gemel.trials.mmrm import Contrast, MMRMResult, mmrm
from gemel.trials.prognosis import PrognosisBundle

__all__ = ["VisitAnalysis", "VisitData", "analyse_visits", "visit_data"]


@dataclass(frozen=True)
class VisitData:
    """A checked trial with several visits. Made by :func:`visit_data`.

    Parameters
    ----------
    people : one row per subject with a response; its outcome is the last response, in the order of visits.
    subject : (row,) index into ``people.subjects``.
    visit : (row,) index into ``visits``.
    response : (row,) unit of the outcome.
    visits : in order.
    missing : visit -> subjects without a response there.
    """

    people: TrialData
    subject: Int[np.ndarray, " row"]
    visit: Int[np.ndarray, " row"]
    response: Float[np.ndarray, " row"]
    visits: tuple[str, ...]

    @property
    def missing(self) -> dict[str, int]:
        """Subjects without a response, by visit."""
        return {name: self.people.n - int((self.visit == i).sum()) for i, name in enumerate(self.visits)}


@dataclass(frozen=True)
class VisitAnalysis:
    """The difference of two arms at each visit, and the model behind it.

    Parameters
    ----------
    results : one per visit, in order; the last is the usual primary one.
    means : least-squares means of both arms by visit, covariates at their means.
    model : with its coefficients, covariance and attempts.
    """

    results: tuple[Result, ...]
    means: tuple[Contrast, ...]
    model: MMRMResult


def _words(values: Column) -> list[str]:
    """Return visits as words; numbers without what is after a point that says nothing."""
    found = numbers(list(dict.fromkeys(values)))
    if found is None or np.isnan(found).any():
        return [str(v).strip() for v in values]
    return [f"{float(v):g}" for v in values]


def _order(words: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    there = list(dict.fromkeys(words))
    if given:
        order = _words(given)
        unknown = sorted(set(order) - set(there))
        if unknown or len(set(order)) < len(order):
            raise DataError("visits do not fit the table", seen=unknown or list(order), expected=f"each once, among {there}")
        return tuple(order)
    found = numbers(there)
    if found is None or np.isnan(found).any():
        raise DataError(
            "visits in words have no order in time", seen=there, expected="numbers, such as AVISITN", fix="name them in order: visits="
        )
    return tuple(there[i] for i in np.argsort(found, kind="stable"))


def _one_each(columns: Mapping[str, Column], names: Sequence[str], ids: Sequence[str], last: Sequence[int]) -> dict[str, Column]:
    """Return one value per subject of columns that must not change between visits."""
    found: dict[str, Column] = {}
    for name in names:
        if name not in columns:
            raise DataError("a column is missing", seen=name, expected=f"one of {', '.join(columns)}", fix="check the spelling")
        values: dict[str, set[str]] = {}
        for person, value in zip(ids, columns[name], strict=True):
            values.setdefault(person, set()).add(str(value))
        changing = sum(len(v) > 1 for v in values.values())
        if changing:
            raise DataError(
                "a baseline column changes between the visits of a subject",
                seen=f"{name}: {changing} subjects",
                expected="one value per subject",
                fix="take the value from before randomisation; what changes later cannot be adjusted for",
            )
        found[name] = [columns[name][i] for i in last]
    return found


def visit_data(
    columns: Mapping[str, Column],
    *,
    outcome: str,
    arm: str,
    subject: str,
    visit: str,
    visits: Sequence[str] = (),
    baseline: Sequence[str] = (),
    prognosis_inputs: Sequence[str] = (),
    strata: Sequence[str] = (),
    **more: object,
) -> VisitData:
    """Check a table with one row per subject and visit.

    Parameters
    ----------
    columns : name -> values; a missing response is empty, or no row at all.
    outcome, arm, subject, visit : their names. Visits that are numbers are ordered by them; others need ``visits``, in order.
    visits : those that are analysed, in order; rows of others are left out.
    baseline, prognosis_inputs, strata : columns that say the same at every visit of a subject.
    more : ``reference``, ``categories``, ``later``, ``missing``, ``first_patient_in``, ``unblinded``, as of :func:`gemel.trials.data.trial_data`.

    Raises
    ------
    DataError
        A subject with two rows at one visit, visits without order, a visit without any response, a baseline column that changes, and what
        :func:`~gemel.trials.data.trial_data` refuses.
    """
    for name in (outcome, arm, subject, visit):
        if name not in columns:
            raise DataError("a column is missing", seen=name, expected=f"one of {', '.join(columns)}", fix="check the spelling")
    words = _words(columns[visit])
    order = _order(words, visits)
    if len(order) < 2:
        raise DataError("repeated measures need two visits", seen=list(order), expected="at least two", fix="analyse one visit by ancova2")
    kept = [i for i, w in enumerate(words) if w in order]
    columns = cast("dict[str, Column]", {name: [values[i] for i in kept] for name, values in columns.items()})
    ids, place = [str(v) for v in columns[subject]], np.array([order.index(words[i]) for i in kept])
    responses = numbers(columns[outcome])
    if responses is None:
        raise DataError("the outcome holds words", seen=outcome, expected="numbers")
    pairs = list(zip(ids, place.tolist(), strict=True))
    if len(set(pairs)) < len(pairs):
        raise DataError(
            "a subject comes twice at one visit", seen=f"{len(pairs) - len(set(pairs))} rows", expected="one row per subject and visit"
        )
    empty = [name for i, name in enumerate(order) if not np.isfinite(responses[place == i]).any()]
    if empty:
        raise DataError("a visit has no response", seen=empty, expected="responses", fix="name the visits to be analysed")
    last: dict[str, int] = {}
    for i in np.lexsort((place, np.isfinite(responses))):  # the last row of each subject that has a response, else any
        last[ids[i]] = int(i)
    rows = list(last.values())
    once = tuple(dict.fromkeys((arm, *baseline, *prognosis_inputs, *strata)))
    table: dict[str, Column] = {**_one_each(columns, once, ids, rows), subject: list(last), outcome: responses[rows]}
    people = trial_data(
        table,
        outcome=outcome,
        arm=arm,
        subject=subject,
        baseline=baseline,
        prognosis_inputs=prognosis_inputs,
        strata=strata,
        missing_outcome="complete",
        **more,
    )
    index = {name: i for i, name in enumerate(people.subjects)}
    used = np.flatnonzero(np.isfinite(responses))
    return VisitData(people, np.array([index[ids[i]] for i in used]), place[used], responses[used], order)


def _model(data: VisitData, people: TrialData, names: Sequence[str], **settings: object) -> MMRMResult:
    columns: dict[str, object] = {
        "response": data.response,
        "subject": np.array(people.subjects)[data.subject],
        "visit": np.array(data.visits)[data.visit],
        "arm": np.array(people.arms)[people.arm][data.subject],
    }
    covariates = dict(zip(people.names, people.covariates.T, strict=True))
    taken = {f"covariate {name}": covariates[name][data.subject] for name in names}
    formula = "response ~ arm*visit" + "".join(f" + `{name}`*visit" for name in taken)
    return mmrm(
        columns | taken,
        formula,
        subject="subject",
        visit="visit",
        visits=data.visits,
        levels={"arm": people.arms},
        group="arm" if settings.pop("by_arm") else None,
        **settings,
    )


def analyse_visits(
    data: VisitData,
    estimand: Estimand | Mapping[str, object] | None,
    *,
    prognosis: PrognosisBundle | None = None,
    planned_r_squared: float | None = None,
    covariance: str = "un",
    fallback: Sequence[str] = (),
    covariance_by_arm: bool = False,
    degrees_of_freedom: str | None = None,
    standard_errors: str = "model",
    level: float = 0.95,
) -> VisitAnalysis:
    """Compare two arms at each visit: ``response ~ arm*visit + covariate*visit``, restricted maximum likelihood.

    Parameters
    ----------
    prognosis : locked before the trial; a covariate with a slope per visit.
    covariance, fallback, degrees_of_freedom, standard_errors : as of :func:`gemel.trials.mmrm.mmrm`, pre-specified.
    covariance_by_arm : a covariance between visits for each arm.

    Returns
    -------
    Differences by visit; ``variance_ratio`` is against the same model without covariates.

    Raises
    ------
    EvidenceError
        Without an estimand, and for a prognosis that may not be used.
    DataError
        When the summary is no difference of means, and for what the model refuses.
    InferenceError
        When no structure converged.
    """
    asked = required(estimand)
    if asked.summary is not Summary.MEAN_DIFFERENCE:
        raise DataError("repeated measures give differences of means", seen=asked.summary.value, expected=Summary.MEAN_DIFFERENCE.value)
    people, flags, parents = data.people, list[str](), ()
    for name in (asked.reference, asked.treatment):
        people.index(name)
    if prognosis is not None:
        people, more = with_prognosis(people, prognosis, planned_r_squared=planned_r_squared)
        flags, parents = [*more], (prognosis.hash[:16],)
    settings = {
        "covariance": covariance,
        "fallback": fallback,
        "by_arm": covariance_by_arm,
        "degrees_of_freedom": degrees_of_freedom,
        "standard_errors": standard_errors,
        "level": level,
    }
    model = _model(data, people, people.names, **settings)
    plain = _model(data, people, (), **settings) if people.names else model
    flags += [f"tried {a.covariance}: {a.status}" for a in model.attempts[:-1]]
    gaps = {name: n for name, n in data.missing.items() if n}
    if gaps:
        flags.append(f"without a response: {', '.join(f'{n} at {name}' for name, n in gaps.items())}; taken as missing at random")
    pair = f"{asked.treatment} - {asked.reference}"
    pairs = [
        [c for c in m.differences("arm", by="visit", reference=asked.reference) if c.label.endswith(f"arm {pair}")] for m in (model, plain)
    ]
    lineage = model.lineage.model_copy(update={"parents": parents, "note": f"estimand {digest(asked)[:16]}"})
    results = tuple(
        replace(
            made(
                people,
                asked,
                method=f"mmrm/{model.structure}/{model.degrees_of_freedom}",
                estimate=c.estimate,
                standard_error=c.standard_error,
                unadjusted_error=p.standard_error,
                df=c.df,
                level=level,
                status=tuple(flags),
                parents=parents,
            ),
            contrast=f"{pair}, visit {name}",
            lineage=lineage,
        )
        for name, c, p in zip(data.visits, *pairs, strict=True)
    )
    return VisitAnalysis(results, model.means("arm", by="visit"), model)
