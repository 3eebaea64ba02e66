"""The SAS program that gives the numbers of an analysis again: one function a method; where SAS differs or has no such method, a comment says so."""

from __future__ import annotations

import re
from collections.abc import Callable

from gemel.core.errors import DataError
from gemel.trials.code.plan import Plan
from gemel.trials.prognosis import PrognosisBundle

__all__ = ["sas_code"]


def _name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,31}", name) else "'" + name.replace("'", "''") + "'n"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _said(text: str) -> str:
    return "/* " + text.replace("*/", "* /") + " */"


def _read(plan: Plan) -> list[str]:
    end = plan.data.lower().rsplit(".", 1)[-1]
    stem = re.sub(r"\W", "", plan.data.rsplit(".", 1)[0])[:8] or "data"
    if end == "xpt":
        lines = [
            f"libname in xport {_text(plan.data)};",
            "proc copy in=in out=work; run;",
            _said(f"the data set's name inside the file is taken to be {stem}"),
            f"data trial; set {stem};",
        ]
    elif end in ("parquet", "json", "ndjson"):
        lines = [_said(f"SAS 9.4 reads no {end}: write {plan.data} as a transport file first"), f"data trial; set {stem};"]
    else:
        lines = [f"proc import datafile={_text(plan.data)} out=table dbms=csv replace; guessingrows=max; run;", "data trial; set table;"]
    lines += [f"  if {f'cats({_name(k)}) = {_text(v)}' if v else f'missing({_name(k)})'};" for k, v in plan.where]
    return lines


def _prognosis(bundle: PrognosisBundle | None) -> list[str]:
    """Compute the locked prognosis in the data step that is open."""
    if bundle is None:
        return []
    lines = ["  " + _said(f"prognosis {bundle.name}, hash {bundle.hash[:16]}, locked {bundle.locked}")]
    columns = []
    for item in bundle.inputs:
        if item.levels:
            columns += [f"(cats({_name(item.name)}) = {_text(level)})" for level in item.levels[1:]]
        else:
            columns.append(f"coalesce({_name(item.name)}, {item.mean!r})")
    terms, place = [], 0
    for column, knots in zip(columns, bundle.knots, strict=True):
        basis = [column]
        if len(knots) >= 3:
            last, before, first = knots[-1], knots[-2], knots[0]

            def d(k: float, column: str = column, last: float = last) -> str:
                return f"((max({column} - {k!r}, 0)**3 - max({column} - {last!r}, 0)**3) / {last - k!r})"

            basis += [f"(({d(k)} - {d(before)}) / {(last - first) ** 2!r})" for k in knots[:-2]]
        for b in basis:
            terms.append(f"({b} - ({bundle.centre[place]!r})) / {bundle.scale[place]!r} * ({bundle.coefficients[place]!r})")
            place += 1
    return [*lines, f"  prognosis = {bundle.intercept!r}", *(f"    + {t}" for t in terms), "  ;"]


def _prepared(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    """Make the data set design: outcome y_, indicators of arms a1 .. ak, covariates centred over all arms in &_trgind."""
    drop = ["  if not missing(y_);"] if plan.missing_outcome == "complete" else []
    lines = [*_read(plan), f"  y_ = {_name(plan.outcome)}; arm_ = cats({_name(plan.arm)});", *drop, *_prognosis(bundle), "run;"]
    if not plan.covariates:
        lines += ["%let _trgind = ;", "data design; set trial;"]
    else:
        numeric = [c for c in plan.covariates if c not in plan.categories]
        model = " ".join(
            [*([f"identity({' '.join(map(_name, numeric))})"] if numeric else []), *(f"class({_name(c)} / zero=last)" for c in plan.categories if c in plan.covariates)]
        )  # fmt: skip
        lines += [
            _said("columns that hold words belong into class()"),
            f"proc transreg data=trial design norestoremissing; model {model}; id y_ arm_; output out=design(drop=intercept _type_ _name_); run;",
            *([_said(f"missing baseline values: {plan.missing}"), "proc stdize data=design out=design method=mean reponly; var &_trgind; run;"] if plan.missing != "refuse" else []),
            "proc stdize data=design out=design method=mean; var &_trgind; run;",
            "data design; set design;",
        ]  # fmt: skip
    arms = [f"  a{i} = (arm_ = {_text(t)});" for i, t in enumerate(plan.others, start=1)]
    return [*lines, *arms, "run;"]


def _regression(plan: Plan, right: str) -> list[str]:
    how = "" if plan.variance == "model" else f" / hcc hccmethod={plan.variance[-1]}"
    fewer = "PROC REG has n - p degrees of freedom; Gemel has Bell and McCaffrey's, fewer: intervals and p-values differ a little, standard errors do not"
    return [
        *([_said(fewer)] if plan.variance == "hc2" else []),
        _said("a1 .. are the differences to the reference; PROC REG prints HC standard errors with t(n - p)" if how else "a1 .. are the differences to the reference"),
        f"proc reg data=design; model y_ = {right}{how}{' clb' if how else ' / clb'} alpha={1 - plan.level:g}; ods output ParameterEstimates=found; run; quit;",
    ]  # fmt: skip


def _arms(plan: Plan) -> str:
    return " ".join(f"a{i}" for i in range(1, len(plan.others) + 1))


def _unadjusted(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:  # noqa: ARG001  one signature for all methods
    if plan.summary not in ("mean difference", "risk difference") or plan.randomisation.startswith("blocks"):
        return _gcomputation(plan, None)
    bare = [*_read(plan), f"  y_ = {_name(plan.outcome)}; arm_ = cats({_name(plan.arm)});", "run;", "data design; set trial;"]
    return [
        *bare,
        *(f"  a{i} = (arm_ = {_text(t)});" for i, t in enumerate(plan.others, start=1)),
        "run;",
        *_regression(plan, _arms(plan)),
    ]


def _ancova1(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    return [*_prepared(plan, bundle), *_regression(plan, f"{_arms(plan)} &_trgind")]


def _products(plan: Plan, table: str) -> list[str]:
    """Add the products of arms and centred covariates, z1 and on."""
    k = len(plan.others)
    return [
        "%let p = %sysfunc(countw(&_trgind, %str( )));",
        f"data {table}; set {table}; array x_[*] &_trgind; array z_[{k}, &p] z1-z%eval({k} * &p); array a_[*] {_arms(plan)};",
        f"  do i_ = 1 to {k}; do j_ = 1 to &p; z_[i_, j_] = a_[i_] * x_[j_]; end; end; drop i_ j_;",
        "run;",
    ]


def _ancova2(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    k = len(plan.others)
    lines = [
        *_prepared(plan, bundle),
        *_products(plan, "design"),
        *_regression(plan, f"{_arms(plan)} &_trgind z1-z%eval({k} * &p)"),
    ]
    if plan.target == "superpopulation":
        lines += [
            _said(
                "PROC REG gives the error for these patients; the population's adds d'Vd/n, with d the difference of slopes and V = cov(X)"
            ),
            "proc iml;",
            "  use design; read all var {&_trgind} into x; close design; use found; read all var {Estimate} into b; close found;",
            f"  do i = 1 to {k}; d = b[1 + {k} + &p + (i - 1) * &p + (1:&p)]; extra = d` * cov(x) * d / nrow(x); print i extra; end;",
            "quit;",
        ]
    return lines


def _gcomputation(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    family = {"binomial": "binomial link=logit", "poisson": "poisson link=log", "gaussian": "normal link=identity"}
    dist = family.get(plan.family, "binomial link=logit  /* normal link=identity where the outcome is no 0 and 1 */")
    right = f"{_arms(plan)} &_trgind"
    if plan.interaction:
        right += f" z1-z%eval({len(plan.others)} * &p)"
    return [
        *_prepared(plan, bundle),
        _said("each patient once more under each arm, without an outcome: GENMOD predicts those rows and does not use them"),
        f"data stacked; set design(in=own_) {' '.join('design(in=c' + str(i) + '_)' for i in range(len(plan.others) + 1))};",
        "  if own_ then copy_ = -1;",
        *(
            f"  if c{i}_ then do; copy_ = {i}; y_ = .; {' '.join(f'a{j} = {int(i == j)};' for j in range(1, len(plan.others) + 1))} end;"
            for i in range(len(plan.others) + 1)
        ),
        "run;",
        *(_products(plan, "stacked") if plan.interaction else []),
        f"proc genmod data=stacked descending; model y_ = {right} / dist={dist}; output out=predicted p=mu_; run;",
        "proc means data=predicted mean; where copy_ >= 0; class copy_; var mu_; run;",
        _said("SAS has no variance of these means that knows the randomisation: from mu_ by arm and over all patients,"),
        _said("V_aa = [var_a(Y) + var(mu_a) - 2 cov_a(Y, mu_a)] / pi_a + 2 cov_a(Y, mu_a) - var(mu_a); V_ab = cov_a(Y, mu_b) + cov_b(Y, mu_a) - cov(mu_a, mu_b); / n"),
        _said(f"summary: {plan.summary}, by the delta method{' on the log scale' if 'ratio' in plan.summary else ''}; randomisation: {plan.randomisation}"),
    ]  # fmt: skip


_TYPES = {"un": "un", "toeph": "toeph", "toep": "toep", "adh": "ante(1)", "ar1h": "arh(1)", "ar1": "ar(1)", "csh": "csh", "cs": "cs"}
_DEGREES = {"satterthwaite": "satterthwaite", "kenward-roger": "kr", "kenward-roger-linear": "kr(firstorder)", "between-subjects": "bw"}


def _mmrm(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    kind = _TYPES.get(plan.covariance)
    if kind is None:
        raise DataError("SAS has no such covariance", seen=plan.covariance, expected=sorted(_TYPES), fix="take adh, or compare with R")
    classes = ["arm_", "visit_", _name(plan.subject), *(_name(c) for c in plan.covariates if c in plan.categories)]
    terms = " ".join(f"{_name(c)} {_name(c)}*visit_" for c in plan.covariates)
    visits = [f"  if cats(visit_) in ({', '.join(_text(v) for v in plan.visits)});"] if plan.visits else []
    empirical = {"empirical": " empirical"}.get(plan.errors, "")
    notes = (
        [_said("SAS has no jackknife of subjects here: PROC GLIMMIX EMPIRICAL=FIRORES is near, R mmrm has it")]
        if plan.errors == "jackknife"
        else []
    )
    notes += [_said(f"pre-specified fallback where it does not converge: {', '.join(plan.fallback)}")] if plan.fallback else []
    if plan.degrees == "between-subjects":
        notes.append(_said("DDFM=BW differs from subjects less coefficients: the standard errors are to be compared"))
    return [
        *_read(plan), f"  y_ = {_name(plan.outcome)}; arm_ = cats({_name(plan.arm)}); visit_ = {_name(plan.visit)};", *visits, *_prognosis(bundle), "run;",
        *notes,
        _said("the class reference is the last level in SAS; differences of LS means do not depend on it"),
        f"proc mixed data=trial method=reml{empirical}; class {' '.join(classes)};",
        f"  model y_ = arm_ visit_ arm_*visit_ {terms} / ddfm={_DEGREES[plan.degrees]} solution cl alpha={1 - plan.level:g};",
        f"  repeated visit_ / subject={_name(plan.subject)} type={kind}{' group=arm_' if plan.covariance_by_arm else ''};",
        f"  lsmeans arm_*visit_ / diff cl alpha={1 - plan.level:g};", "run;",
    ]  # fmt: skip


def _lifetest(plan: Plan, bundle: PrognosisBundle | None, option: str, notes: list[str]) -> list[str]:
    status = f"{_name(plan.event_indicator)}(0)" if plan.event_indicator else "event_(0)"
    event = [] if plan.event_indicator else [f"  event_ = ({_name(plan.censor)} = 0);"]
    strata = f"strata {' '.join(_name(s) for s in plan.strata)} / group=arm_ test=logrank" if plan.strata else "strata arm_ / test=logrank"
    out = [*_read(plan), f"  arm_ = cats({_name(plan.arm)});", *event, *_prognosis(bundle), "run;", *notes]
    for t in plan.treatments:
        out += [
            f"proc lifetest data=trial{option}; where arm_ in ({_text(plan.reference)}, {_text(t)});",
            f"  time {_name(plan.time)}*{status}; {strata};",
            "run;",
        ]
    return out


def _logrank(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    note = (
        [
            _said(
                "SAS has no log-rank test adjusted for covariates that stays marginal: this is the one without; R has RobinCar2::robin_surv"
            )
        ]
        if plan.covariates
        else []
    )
    return _lifetest(plan, bundle, "", note)


def _hazard(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    status = f"{_name(plan.event_indicator)}(0)" if plan.event_indicator else "event_(0)"
    event = [] if plan.event_indicator else [f"  event_ = ({_name(plan.censor)} = 0);"]
    out = [*_read(plan), f"  arm_ = cats({_name(plan.arm)});", *event, *_prognosis(bundle), "run;"]
    if plan.covariates:
        out.append(
            _said(
                "a covariate in PROC PHREG makes the ratio conditional, another number: this is the one without; R has RobinCar2::robin_surv"
            )
        )
    for t in plan.treatments:
        out += [
            f"proc phreg data=trial; where arm_ in ({_text(plan.reference)}, {_text(t)}); class arm_(ref={_text(plan.reference)}) / param=ref;",
            f"  model {_name(plan.time)}*{status} = arm_ / ties=breslow rl alpha={1 - plan.level:g};",
            *([f"  strata {' '.join(_name(s) for s in plan.strata)};"] if plan.strata else []),
            "run;",
        ]
    return out


def _rmst(plan: Plan, bundle: PrognosisBundle | None) -> list[str]:
    tau = f"(tau={plan.tau:g})" if plan.tau is not None else ""
    notes = [_said("SAS/STAT 15.1 or later; compare the means, and the errors before any small-sample factor")]
    notes += (
        [_said("covariates: PROC RMSTREG models the mean given them, another estimate; the augmented one is in the R program")]
        if plan.covariates
        else []
    )
    notes += [] if tau else [_said("the horizon was taken from the data: a plan names it")]
    return _lifetest(plan, bundle, f" rmst{tau}", notes)


_METHODS: dict[str, Callable[[Plan, PrognosisBundle | None], list[str]]] = {
    "unadjusted": _unadjusted, "ancova1": _ancova1, "ancova2": _ancova2, "gcomputation": _gcomputation, "mmrm": _mmrm, "logrank": _logrank,
    "hazard": _hazard, "rmst": _rmst,
}  # fmt: skip


def sas_code(plan: Plan, *, prognosis: PrognosisBundle | None = None) -> str:
    """Return the SAS program of an analysis.

    Parameters
    ----------
    prognosis : the locked prognosis that the plan names.

    Raises
    ------
    DataError
        For a method that SAS does not have, or without its prognosis.
    """
    if plan.method not in _METHODS:
        raise DataError(
            "there is no SAS program for this method", seen=plan.method, expected=tuple(_METHODS), fix="--code r, where there is one"
        )
    if bool(plan.prognosis) != (prognosis is not None) and plan.method != "unadjusted":
        raise DataError("the program needs the prognosis of the plan", seen=plan.prognosis[:16] or "none", expected="the same bundle")
    head = [_said(f"{plan.method} of {plan.data}; plan {plan.hash[:16]}"), "options validvarname=any;"]
    return "\n".join([*head, *_METHODS[plan.method](plan, prognosis)]) + "\n"
