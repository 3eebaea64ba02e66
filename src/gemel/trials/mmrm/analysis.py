"""The one call: columns, a formula and a pre-specified covariance in; a converged analysis out, or an error that says why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from gemel import __version__
from gemel.core.errors import DataError, InferenceError, ModelError
from gemel.core.lineage import Lineage, digest
from gemel.trials.mmrm import kenward_roger, sandwich
from gemel.trials.mmrm.contrasts import Basis, contrast
from gemel.trials.mmrm.covariance import STRUCTURES, AbstractStructure
from gemel.trials.mmrm.data import RepeatedMeasures, arrange, visit_levels
from gemel.trials.mmrm.degrees import DegreesOfFreedom, precision
from gemel.trials.mmrm.formula import design, is_missing, parse, plain
from gemel.trials.mmrm.likelihood import Likelihood
from gemel.trials.mmrm.result import Attempt, MMRMResult
from gemel.trials.mmrm.scoring import Optimum, maximise

__all__ = ["LADDER", "mmrm"]

LADDER = ("toeph", "ar1h", "cs")
"""The usual fallback after ``un``: give it as ``fallback=LADDER``, and write it into the analysis plan beforehand."""

StandardErrors = Literal["model", "empirical", "jackknife"]


def _column(columns: Mapping[str, Any], name: str) -> np.ndarray:
    if name not in columns:
        raise DataError("a column is not there", seen=repr(name), expected=f"one of {sorted(columns)}")
    return plain(columns[name])


def _structure(name: str) -> AbstractStructure:
    known = "un" if name == "us" else name
    if known not in STRUCTURES:
        raise ModelError("no such covariance structure", seen=repr(name), expected=f"one of {list(STRUCTURES)}")
    return STRUCTURES[known]


def _search(
    data: RepeatedMeasures, structure: AbstractStructure, restricted: bool, iterations: int
) -> tuple[Attempt, Likelihood, Optimum | None]:
    likelihood = Likelihood(data, structure, restricted=restricted)
    for g, group in enumerate(data.groups):
        pairs = data.pairs(g)
        seen = np.diag(pairs)
        if (seen == 0).any() and not structure.needs_coordinates:
            at = data.visits[int(np.argmin(seen))]
            return Attempt(structure.name, f"not estimable: group {group} has no response at visit {at}"), likelihood, None
        if structure.needs_all_pairs and (pairs == 0).any():
            a, b = np.argwhere(pairs == 0)[0]
            why = f"not estimable: visits {data.visits[a]} and {data.visits[b]} are never observed in one subject"
            return Attempt(structure.name, why), likelihood, None
        if not (pairs - np.diag(seen)).any():
            return Attempt(structure.name, "not estimable: no subject was observed twice"), likelihood, None
    optimum = maximise(likelihood, likelihood.start(), iterations=iterations)
    value = float("nan") if optimum.evaluation is None else optimum.evaluation.value
    return Attempt(structure.name, optimum.status, optimum.iterations, value), likelihood, optimum


def mmrm(
    columns: Mapping[str, Any],
    formula: str,
    *,
    subject: str,
    visit: str,
    visits: Sequence[Any] | None = None,
    covariance: str = "un",
    fallback: Sequence[str] = (),
    group: str | None = None,
    coordinates: str | Sequence[str] | None = None,
    levels: Mapping[str, Sequence[Any]] | None = None,
    method: Literal["reml", "ml"] = "reml",
    degrees_of_freedom: DegreesOfFreedom | None = None,
    standard_errors: StandardErrors = "model",
    level: float = 0.95,
    iterations: int = 100,
) -> MMRMResult:
    """Analyse repeated measures: a mean by formula, a covariance between the visits of a subject, missing at random.

    Parameters
    ----------
    columns : name -> (row,) values: a dictionary, or a table that gives its columns by name. One row per subject and visit; rows without a
        response (NaN or None) are left out, a missing covariate beside a response is refused.
    formula : ``response ~ terms``, as ``"change ~ base*visit + arm*visit"``. Text columns are factors, numbers are covariates, the visit is a factor.
    subject, visit : columns. ``visits`` : the visits in order, needed where they are text.
    covariance : ``un``, ``toeph``, ``toep``, ``adh``, ``ad``, ``ar1h``, ``ar1``, ``csh``, ``cs``, ``sp_exp`` or ``sp_gau``.
    fallback : structures to try, in order, where the one before has not converged; each attempt is in the result. See :data:`LADDER`.
    group : a column whose values have a covariance each (an arm).
    coordinates : numeric columns with the place of each visit in time, for spatial structures; it may differ between subjects.
    levels : factor -> its levels, the reference first. Makes a factor of a number.
    method : ``reml``, or ``ml`` (maximum likelihood).
    degrees_of_freedom : ``satterthwaite`` (default), ``kenward-roger``, ``kenward-roger-linear``, or ``between-subjects`` (subjects less
        coefficients; the default and the only choice with robust errors).
    standard_errors : of the ``model``, ``empirical`` (sandwich over subjects) or ``jackknife``.
    level : of the intervals.

    Raises
    ------
    DataError : a column that is not there, duplicates, visits without order, one visit only, a visit without response, collinear columns,
        missing covariates.
    ModelError : a formula, structure or setting that is not known, or do not go together.
    InferenceError : no structure converged; the message has each attempt.

    References
    ----------
    Mallinckrodt et al. 2008, doi:10.1177/009286150804200402 (the analysis). SAS/STAT User's Guide, The MIXED Procedure (the parameters).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> person = rng.normal(size=60)
    >>> table = {
    ...     "id": np.repeat(np.arange(60), 3), "visit": np.tile([1, 2, 3], 60), "arm": np.repeat(["control", "treated"], 90),
    ...     "change": np.repeat(person, 3) + rng.normal(size=180) + np.repeat([0.0, 1.0], 90),
    ... }
    >>> found = mmrm(table, "change ~ arm*visit", subject="id", visit="visit")
    >>> [c.label for c in found.differences("arm", by="visit")]
    ['visit 1, arm treated - control', 'visit 2, arm treated - control', 'visit 3, arm treated - control']
    """
    robust = standard_errors != "model"
    df = degrees_of_freedom or ("between-subjects" if robust else "satterthwaite")
    _refuse_settings(method, df, standard_errors, level)
    model = parse(formula)
    structures = [_structure(name) for name in (covariance, *fallback)]
    response = _column(columns, model.response)
    if response.dtype.kind not in "fiub":
        try:
            response = response.astype(float)
        except (TypeError, ValueError) as error:
            raise DataError("the response is not a number", seen=f"column {model.response!r}: {error}") from error
    response = response.astype(float)
    used = np.flatnonzero(~np.isnan(response))
    if not len(used):
        raise DataError("no row has a response", seen=f"{len(response)} rows of {model.response!r}")
    people, when = _column(columns, subject), _column(columns, visit)
    for name in dict.fromkeys((*model.variables, *_columns_of(coordinates), *([group] if group else []), subject, visit)):
        if len(_column(columns, name)) != len(response):
            raise DataError("columns differ in length", seen=f"{name!r}: {len(columns[name])}, {model.response!r}: {len(response)}")
    for name, values in ((subject, people), (visit, when), (group, None if group is None else _column(columns, group))):
        if values is not None and is_missing(values)[used].any():
            raise DataError(f"column {name!r} is missing where the response is not", seen=f"{int(is_missing(values)[used].sum())} rows")
    order = visit_levels(when[used] if visits is not None else when, visits)
    known = dict(levels or {})
    if visit in model.variables:
        known.setdefault(visit, order)
    built, coded = design(model, columns, used, known)
    matrix = built.matrix(coded, len(used))
    grouping = None if group is None else _column(columns, group)[used]
    places = None
    if coordinates is not None:
        places = np.stack([_column(columns, name)[used].astype(float) for name in _columns_of(coordinates)], axis=1)
    left_out = len(set(people.tolist())) - len(set(people[used].tolist()))
    arranged: dict[bool, RepeatedMeasures] = {}
    attempts: list[Attempt] = []
    for structure in structures:
        spatial = structure.needs_coordinates
        if spatial and places is None:
            raise ModelError(
                f"{structure.title} covariance needs the place of each visit", expected="coordinates=, a numeric column (day of the visit)"
            )
        if spatial not in arranged:
            arranged[spatial] = arrange(
                response[used],
                matrix,
                built.names,
                people[used],
                when[used],
                order,
                group=grouping,
                coordinates=places if spatial else None,
                left_out=left_out,
            )
        data = arranged[spatial]
        attempt, likelihood, optimum = _search(data, structure, method == "reml", iterations)
        attempts.append(attempt)
        if optimum is not None and optimum.status == "converged":
            break
    else:
        raise InferenceError(
            "the mixed model has not converged, so there is no result",
            seen="; ".join(f"{a.covariance}: {a.status} after {a.iterations} steps" for a in attempts),
            expected="an optimum inside the range of the parameters",
            fix="pre-specify a simpler covariance, or fallback=LADDER; look at visits with few responses",
        )
    record = [response[used], matrix, list(built.names), _text(people[used]), _text(when[used]), list(map(str, order)), places]
    record.append(None if grouping is None else _text(grouping))
    settings = f"mmrm {method} {'/'.join(s.name for s in structures)} {df} {standard_errors} {level:g}"
    lineage = Lineage(record=digest(record), model=formula, model_version=structure.name, code_version=__version__, method=settings, seed=0)
    return _result(likelihood, optimum, tuple(attempts), method, df, standard_errors, level, lineage, built, coded)


def _columns_of(coordinates: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the columns that place the visits."""
    if coordinates is None:
        return ()
    return (coordinates,) if isinstance(coordinates, str) else tuple(coordinates)


def _text(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.kind in "fiu" else np.array([str(value) for value in values.tolist()])


def _refuse_settings(method: str, df: str, standard_errors: str, level: float) -> None:
    if method not in ("reml", "ml"):
        raise ModelError("no such method", seen=repr(method), expected="reml or ml")
    if df not in ("satterthwaite", "kenward-roger", "kenward-roger-linear", "between-subjects"):
        raise ModelError(
            "no such degrees of freedom", seen=repr(df), expected="satterthwaite, kenward-roger, kenward-roger-linear or between-subjects"
        )
    if standard_errors not in ("model", "empirical", "jackknife"):
        raise ModelError("no such standard errors", seen=repr(standard_errors), expected="model, empirical or jackknife")
    if not 0 < level < 1:
        raise ModelError("the level of an interval lies between 0 and 1", seen=level)
    if df.startswith("kenward") and method == "ml":
        raise ModelError("Kenward and Roger's adjustment is for REML", seen="method 'ml'", fix="use reml, or satterthwaite")
    if standard_errors != "model" and df != "between-subjects":
        raise ModelError(
            "robust errors have no degrees of freedom by that method",
            seen=repr(df),
            expected="between-subjects",
            fix="leave degrees_of_freedom out",
        )


def _result(
    likelihood: Likelihood,
    optimum: Optimum,
    attempts: tuple[Attempt, ...],
    method: str,
    df: DegreesOfFreedom,
    standard_errors: str,
    level: float,
    lineage: Lineage,
    built: Any,
    coded: Mapping[str, np.ndarray],
) -> MMRMResult:
    at, data = optimum.evaluation, likelihood.data
    assert at is not None  # it has converged
    estimate = data.ordinary + np.linalg.solve(data.upper, at.gamma)
    exact = precision(likelihood, optimum)
    if standard_errors != "model":
        covariance = sandwich.robust(likelihood, optimum, jackknife=standard_errors == "jackknife")
    elif df.startswith("kenward"):
        covariance = kenward_roger.adjusted(likelihood, optimum, exact, linear=df == "kenward-roger-linear")
    else:
        covariance = exact.model
    between = len(data.subjects) - len(data.names)
    if df == "between-subjects" and between < 1:
        raise DataError("fewer subjects than coefficients", seen=f"{len(data.subjects)} subjects, {len(data.names)} coefficients")
    basis = Basis(estimate, covariance, exact, df, between)
    each = [contrast(basis, row, name, level=level) for row, name in zip(np.eye(len(estimate)), data.names, strict=True)]
    own = likelihood.structure.parameters(likelihood.visits)
    names = own if len(data.groups) == 1 else tuple(f"{group}: {name}" for group in data.groups for name in own)
    errors = np.sqrt(np.diag(exact.uncertainty))
    visit_covariance = {}
    if len(data.strata) == len(data.groups):
        visit_covariance = {str(data.groups[s.group]): shape.value for s, shape in zip(data.strata, at.shapes, strict=True)}
    return MMRMResult(
        names=data.names,
        estimate=estimate,
        standard_error=np.array([c.standard_error for c in each]),
        df=np.array([c.df for c in each]),
        statistic=np.array([c.statistic for c in each]),
        interval=np.array([c.interval for c in each]),
        p_value=np.array([c.p_value for c in each]),
        covariance=covariance,
        visit_covariance=visit_covariance,
        visits=data.visits,
        parameters=dict(zip(names, at.theta.tolist(), strict=True)),
        parameter_errors=dict(zip(names, errors.tolist(), strict=True)),
        minus_two_log_likelihood=at.value,
        status="converged" if len(attempts) == 1 else "converged after fallback",
        attempts=attempts,
        structure=likelihood.structure.name,
        method=method,
        degrees_of_freedom=df,
        standard_errors=standard_errors,
        level=level,
        subjects=len(data.subjects),
        observations=data.observations,
        left_out=data.left_out,
        lineage=lineage,
        design=built,
        basis=basis,
        coded=coded,
    )
