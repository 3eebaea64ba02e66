"""Installation and operation qualification: every number of :mod:`gemel.trials.qualification`, computed on this machine and judged."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gemel.core.errors import GemelError
from gemel.core.lineage import digest
from gemel.core.view import Column, Table, Text, View
from gemel.interop.cdisc import Dataset, Variable, read_xpt, write_xpt
from gemel.interop.tables import columns_of
from gemel.trials.adjust.ancova import ancova, dose_trend
from gemel.trials.adjust.base import of_means
from gemel.trials.adjust.gcomputation import standardised
from gemel.trials.analysis import analyse
from gemel.trials.data import TrialData, trial_data
from gemel.trials.design.boundary import boundary
from gemel.trials.design.spending import Spending
from gemel.trials.estimand import Estimand, Summary
from gemel.trials.mmrm import mmrm
from gemel.trials.qualification import FREIREICH, GROUPS, Known, known
from gemel.trials.sizing import Assumptions, size
from gemel.trials.survival import logrank, survival_data
from gemel.trials.survival.kaplan_meier import kaplan_meier
from gemel.trials.survival.rmst import restricted_mean

__all__ = ["Judged", "qualification_view", "qualify"]

Resolve = Callable[[str], Path]
Numbers = dict[str, float]

COVARIATES = ("cd40", "cd80", "age", "wtkg", "karnof", "hemo", "homo", "drugs", "race", "gender", "str2", "symptom")
VISITS = ("VIS1", "VIS2", "VIS3", "VIS4")
LEVELS = {"ARMCD": ("PBO", "TRT"), "SEX": ("Male", "Female"), "RACE": ("Asian", "Black or African American", "White")}


@dataclass(frozen=True)
class Judged:
    """One number as it was found: ``pass``, ``FAIL`` or ``not run`` with the reason."""

    known: Known
    found: float | None
    status: str
    reason: str = ""


def _pair(reference: str, treatment: str, summary: Summary = Summary.MEAN_DIFFERENCE) -> Estimand:
    return Estimand(
        population="qualification",
        reference=reference,
        treatment=treatment,
        variable="outcome",
        no_intercurrent_events=True,
        summary=summary,
    )


def _mixed(resolve: Resolve) -> Numbers:
    with resolve("mmrm-fev").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = ("FEV1", "FEV1_BL", "WEIGHT", "VISITN", "VISITN2")
    table = {
        k: np.array([float(r[k]) if r[k] else np.nan for r in rows]) if k in numbers else np.array([r[k] for r in rows]) for k in rows[0]
    }
    out: Numbers = {}

    def run(formula: str, **more: Any) -> Any:
        return mmrm(table, formula, subject="USUBJID", visit="AVISIT", visits=VISITS, **({"levels": LEVELS} | more))

    def keep(label: str, found: Any, coefficients: bool = True) -> None:
        out[f"{label}, -2 REML log L"] = found.minus_two_log_likelihood
        for c in found.coefficients if coefficients else found.coefficients[:1]:
            name = c.label if coefficients else "intercept"
            out[f"{label}, {name}, estimate"], out[f"{label}, {name}, SE"], out[f"{label}, {name}, df"] = c.estimate, c.standard_error, c.df

    for structure in ("ar1", "ar1h", "cs", "csh", "adh", "toeph", "sp_exp"):
        keep(
            f"FEV1 ~ 1, {structure}",
            run("FEV1 ~ 1", covariance=structure, coordinates="VISITN" if structure == "sp_exp" else None),
            coefficients=False,
        )
    for formula, structure in (("FEV1 ~ ARMCD + SEX", "un"), ("FEV1 ~ ARMCD + SEX", "ar1"), ("FEV1 ~ RACE + SEX + ARMCD*AVISIT", "un")):
        found = run(formula, covariance=structure)
        keep(f"{formula}, {structure}", found)
    for t in found.term_tests():  # of the whole model, the last
        out[f"type 3, {t.label}, F"], out[f"type 3, {t.label}, df"] = t.f, t.denominator_df
    for form in ("kenward-roger", "kenward-roger-linear"):
        found = run(
            "FEV1 ~ ARMCD",
            covariance="sp_gau",
            coordinates=("VISITN", "VISITN2"),
            levels={"ARMCD": ("TRT", "PBO")},
            degrees_of_freedom=form,
        )
        keep(f"FEV1 ~ ARMCD, sp_gau, {form}", found)
    return out


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _standardised(resolve: Resolve) -> Numbers:
    columns = columns_of(_lines(resolve("robincar2-glm") / "glm_data.csv"))
    data = trial_data(columns, outcome="y_b", arm="treatment", baseline=("s1",), subject="id", reference="pbo")
    means = standardised(data, interaction=True)
    out: Numbers = {}
    for a, arm in enumerate(data.arms):
        out[f"mean, {arm}"], out[f"mean, {arm}, SE"] = float(means.means[a]), float(means.standard_errors[a])
    for what, summary in (("risk difference", Summary.RISK_DIFFERENCE), ("log risk ratio", Summary.RISK_RATIO)):
        for first, second in (("pbo", "trt1"), ("pbo", "trt2"), ("trt1", "trt2")):
            name = f"{what}, {second} - {first}"
            out[name], out[f"{name}, SE"] = of_means(means, summary, data.index(first), data.index(second))
    return out


def _cdisc(resolve: Resolve) -> Numbers:
    where = {"PARAMCD": "ACTOT", "AVISIT": "Week 24", "EFFFL": "Y", "ANL01FL": "Y"}
    columns = columns_of(_lines(resolve("cdisc-pilot") / "tplyr_adas.csv"), where=where)
    data = trial_data(
        columns, outcome="CHG", arm="TRTP", baseline=("BASE", "SITEGR1"), categories=("SITEGR1",), subject="USUBJID", reference="Placebo"
    )
    arms = {"placebo": "Placebo", "low": "Xanomeline Low Dose", "high": "Xanomeline High Dose"}
    out: Numbers = {}
    for second, first, end in (("low", "placebo", ""), ("high", "placebo", ""), ("high", "low", ", as printed")):
        r = ancova(data, _pair(arms[first], arms[second]), interaction=False, variance="model")
        out[f"{second} - {first}{end}"], out[f"{second} - {first}, SE{end}"], out[f"{second} - {first}, p{end}"] = (
            r.estimate,
            r.standard_error,
            r.p_value,
        )
    doses = dict(zip(arms.values(), (0.0, 54.0, 81.0), strict=True))
    out["dose response, p"] = dose_trend(data, _pair(arms["placebo"], arms["high"]), doses, variance="model").p_value
    return out


def _actg(resolve: Resolve) -> Numbers:
    columns = columns_of(_lines(resolve("actg175")))
    out: Numbers = {}

    def data(baseline: tuple[str, ...], arms: tuple[str, ...]) -> TrialData:
        keep = [a in arms for a in columns["arms"]]
        table = {k: [v for v, kept in zip(values, keep, strict=True) if kept] for k, values in columns.items()}
        return trial_data(table, outcome="cd420", arm="treat", baseline=baseline, subject="pidnum", reference="0")

    models: tuple[tuple[str, tuple[str, ...], bool], ...] = (
        ("unadjusted", (), False),
        ("cd40", ("cd40",), False),
        ("12 covariates", COVARIATES, False),
    )
    for label, arms, chosen in (
        ("both drugs", ("0", "1", "2"), (*models, ("ANHECOVA, 12 covariates", COVARIATES, True))), ("arm 1", ("0", "1"), models), ("arm 2", ("0", "2"), models),
    ):  # fmt: skip
        for name, baseline, interaction in chosen:
            found = data(baseline, arms)
            for variance in ("hc1", "hc3"):
                r = ancova(found, _pair("0", "1"), interaction=interaction, variance=variance, target="sample")
                out[f"{label}, {name}, estimate"], out[f"{label}, {name}, {variance.upper()} SE"] = r.estimate, r.standard_error
    return out


def _sequential(resolve: Resolve) -> Numbers:  # noqa: ARG001  one signature for all groups
    out: Numbers = {}
    for family, name in (("Pocock", "pocock"), ("O'Brien-Fleming", "obrien-fleming")):
        for looks in (2, 3, 4, 5):
            out[f"{family}, {looks} looks"] = float(boundary([k / looks for k in range(1, looks + 1)], name).upper[-1])
    spending = {
        "Lan-DeMets O'Brien-Fleming": Spending("obrien-fleming"),
        "Lan-DeMets Pocock": Spending("pocock"),
        "Hwang-Shih-DeCani(-4)": Spending("hwang-shih-decani", -4.0),
    }
    for family, how in spending.items():
        for look, z in enumerate(boundary([1 / 3, 2 / 3, 1.0], how).upper, start=1):
            out[f"{family}, look {look} of 3"] = float(z)
    return out


def _sizes(resolve: Resolve) -> Numbers:  # noqa: ARG001
    half = Assumptions(sd=1, correlation=0.5)
    plans = {
        "correlation 0": Assumptions(sd=1),
        "correlation 0.5": half,
        "correlation 0.5 deflated by 0.9, SD inflated by 1.05": replace(half, correlation_deflation=0.9, sd_inflation=1.05),
    }
    return {name: size(plan, 0.4, power=0.9).n for name, plan in plans.items()}


def _survival(resolve: Resolve) -> Numbers:  # noqa: ARG001
    rows = [(arm, t, e) for arm, parts in FREIREICH.items() for e, times in zip((1, 0), parts, strict=True) for t in times]
    columns = {
        "id": [str(i) for i in range(len(rows))],
        "arm": [r[0] for r in rows],
        "time": [float(r[1]) for r in rows],
        "event": [r[2] for r in rows],
    }
    data = survival_data(columns, time="time", event="event", arm="arm", subject="id", reference="placebo")
    test = logrank(data)
    out = {"observed": test.observed, "expected": test.expected, "variance": test.variance, "chi-squared": test.chi_squared}
    for c in kaplan_meier(data):
        mean, variance = restricted_mean(c, 20.0)
        out |= {f"S(10), {c.name}": c.at(10.0), f"RMST(20), {c.name}": mean, f"RMST(20), {c.name}, SE": float(np.sqrt(variance))}
    return out


def _installation(resolve: Resolve) -> Numbers:  # noqa: ARG001
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    rng = np.random.default_rng(7)
    values = [0.0, 1 / 3, -1e-70, 1e70, *rng.normal(size=200).tolist()]
    (back,) = read_xpt(write_xpt(Dataset("T", (Variable("X", is_number=True),), {"X": values}), created=dt.datetime(2026, 1, 1)))
    apart = max(abs(float(a or 0.0) - b) for a, b in zip(back.columns["X"], values, strict=True))
    table = {"id": list(range(60)), "arm": ["a", "b"] * 30, "y": rng.normal(size=60).tolist(), "x": rng.normal(size=60).tolist()}
    both = [analyse(trial_data(table, outcome="y", arm="arm", subject="id", baseline=("x",)), _pair("a", "b"), "ancova2") for _ in range(2)]
    key = Ed25519PrivateKey.generate()
    key.public_key().verify(key.sign(b"gemel"), b"gemel")  # raises when it does not hold
    return {
        "double precision": float(np.nextafter(1.0, 2.0) - 1.0),
        "transport file, largest difference": apart,
        "same analysis, same lineage": float(both[0] == both[1]),
        "signature made and checked": 1.0,
    }


_RUN: dict[str, Callable[[Resolve], Numbers]] = {
    "mixed model": _mixed, "g-computation": _standardised, "CDISC pilot": _cdisc, "ACTG 175": _actg, "group-sequential": _sequential, "sample size": _sizes,
    "survival": _survival, "installation": _installation,
}  # fmt: skip


def qualify(resolve: Resolve, *, groups: tuple[str, ...] = (), told: Callable[[str, int], None] | None = None) -> tuple[Judged, ...]:
    """Compute and judge every known number.

    Parameters
    ----------
    resolve : data set -> its path; raises a :class:`~gemel.core.errors.DatasetError` where it cannot be had, and its numbers are *not run*.
    groups : of :data:`~gemel.trials.qualification.GROUPS`; empty for all.
    told : called with each group and how many numbers it has given.

    Returns
    -------
    One per number. An analysis that raises any other error fails every number of its group, with that error as the reason.
    """
    from gemel.core.errors import DatasetError

    out: list[Judged] = []
    for group in GROUPS:
        if groups and group not in groups:
            continue
        rows = [k for k in known() if k.group == group]
        try:
            found, why, status = _RUN[group](resolve), "", "FAIL"
        except DatasetError as error:
            found, why, status = {}, f"the data cannot be had: {error.what}", "not run"
        except (GemelError, OSError, ValueError, ArithmeticError) as error:
            found, why, status = {}, f"{type(error).__name__}: {error}", "FAIL"
        for k in rows:
            value = found.get(k.name)
            if value is None:
                out.append(Judged(k, None, status, why or "no such number came"))
            else:
                out.append(Judged(k, float(value), "pass" if abs(value - k.value) <= k.tolerance else "FAIL"))
        if told:
            told(group, len(rows))
    return tuple(out)


def qualification_view(judged: tuple[Judged, ...], *, environment: Mapping[str, str], created: str) -> View:
    """Describe a qualification: how many passed, what the machine is, and every number with its tolerance and source."""
    counts = {s: sum(j.status == s for j in judged) for s in ("pass", "FAIL", "not run")}
    lineage = digest([[j.known.name, j.found, j.status] for j in judged] + [sorted(environment.items())])[:16]
    verdict = "Every number that was run lies within its tolerance." if not counts["FAIL"] else f"{counts['FAIL']} numbers FAIL."
    body = f"{verdict}\n\n{counts['pass']} pass, {counts['FAIL']} fail, {counts['not run']} not run, of {len(judged)}.\n\n" + (
        "A number not run needs a data set that is not on this machine. The tolerance of each number stands beside it; its reason: half of the last digit that the source prints, "
        "and for mixed models 1e-3 of the standard error, 1e-4 relative for the standard error itself and 0.5 degrees of freedom, since SAS rounds and stops early.\n\n"
        "This shows that the software installed here gives published numbers again. Whether it is fit for a trial is the user's judgement."
    )
    sections: list[Any] = [Text(title="Result", body=body, tone="plain" if not counts["FAIL"] else "warning")]
    keys = tuple(environment)
    sections.append(_table("Environment", ("what", "value"), [(k, environment[k]) for k in keys]))
    for group, source in GROUPS.items():
        rows = [j for j in judged if j.known.group == group]
        if rows:
            cells = [
                (
                    j.status,
                    j.known.name,
                    f"{j.known.value:.10g}",
                    "-" if j.found is None else f"{j.found:.10g}",
                    f"{j.known.tolerance:.2g}",
                    j.known.source,
                    j.reason,
                )
                for j in rows
            ]
            sections.append(
                _table(group.capitalize(), ("status", "number", "expected", "found", "tolerance", "source", "reason"), cells, source + ".")
            )
    return View(
        id=f"qualification-{lineage}",
        title="Installation and operation qualification of gemel.trials",
        subtitle=f"{created}; lineage {lineage}",
        sections=tuple(sections),
    )


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]], note: str = "") -> Table:
    return Table(
        columns=tuple(Column(label=h, values=tuple(r[i] for r in rows), kind="text") for i, h in enumerate(heads)), title=title, note=note
    )
