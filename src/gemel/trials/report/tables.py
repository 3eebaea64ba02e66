"""Tables and listings of a trial as plain text, which HTML, PDF and RTF all show alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemel.core.view import Column, Table
from gemel.trials.data import TrialData
from gemel.trials.prognosis import PrognosisBundle
from gemel.trials.sizing import control_arm_reduction, total_reduction

__all__ = [
    "PlainTable",
    "balance",
    "disposition",
    "estimand_table",
    "known_before",
    "listing",
    "plan_table",
    "results_table",
    "savings",
    "standardised_differences",
]


OF_METHODS = {
    "variance": ("unadjusted", "ancova1", "ancova2", "weighted"),
    "target": ("ancova2",),
    "family": ("gcomputation",),
    "learner": ("aipw",),
    "folds": ("aipw",),
    "seed": ("aipw",),
    "covariance": ("mmrm",),
    "degrees": ("mmrm",),
    "errors": ("mmrm",),
    "outcome": ("unadjusted", "ancova1", "ancova2", "weighted", "gcomputation", "aipw", "mmrm"),
}
"""Settings that only some methods read."""


@dataclass(frozen=True)
class PlainTable:
    """A table of text: an identifier, a title, heads, rows, notes. ``right`` : columns of numbers."""

    id: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    right: tuple[int, ...] = ()

    def described(self) -> Table:
        """Return it for a view."""
        columns = tuple(Column(label=h, values=tuple(r[i] for r in self.rows), kind="text") for i, h in enumerate(self.heads))
        return Table(columns=columns, title=self.title, note=" ".join(self.notes))


def digits(value: float | None, places: int = 4) -> str:
    """Write a number with so many significant digits; a dash for none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{places}g}"


def p_text(p: float) -> str:
    """Write a p-value as tables do."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def estimand_table(told: Mapping[str, Any]) -> PlainTable:
    """Describe the five attributes of ICH E9(R1)."""
    events = [f"{e['name']}: {getattr(e['strategy'], 'value', e['strategy'])}" for e in told.get("intercurrent_events") or ()]
    rows = (
        ("population", str(told.get("population", ""))),
        ("treatment", f"{told.get('treatment') or 'each other arm'} against {told.get('reference', '')}"),
        ("variable", str(told.get("variable", ""))),
        ("intercurrent events", "; ".join(events) or "none can occur, as stated"),
        ("summary", str(getattr(told.get("summary"), "value", told.get("summary")) or "mean difference")),
    )
    return PlainTable("estimand", "Estimand", ("attribute", "as stated before the analysis"), rows, ("ICH E9(R1).",))


def disposition(arms: Mapping[str, int], data: TrialData | None) -> PlainTable:
    """Count patients by arm."""
    rows = [(a, str(n), f"{n / sum(arms.values()):.1%}") for a, n in arms.items()]
    rows.append(("all", str(sum(arms.values())), "100.0%"))
    notes = tuple(f"{note}." for note in data.notes) if data else ()
    return PlainTable("disposition", "Patients analysed, by arm", ("arm", "patients", "share"), tuple(rows), notes, (1, 2))


def known_before(data: TrialData, prognosis: PrognosisBundle | None = None) -> dict[str, np.ndarray]:
    """Return what was known before randomisation: the covariates, and the inputs of the prognosis that are not among them."""
    found = dict(zip(data.names, data.covariates.T, strict=True))
    for item in prognosis.inputs if prognosis else ():
        columns = item.encode(data.raw[item.name], missing="mean")[0]
        names = [f"{item.name}={level}" for level in item.levels[1:]] if item.levels else [item.name]
        found |= {n: c for n, c in zip(names, columns.T, strict=True) if n not in found}
    return found


def standardised_differences(data: TrialData, prognosis: PrognosisBundle | None = None) -> dict[str, dict[str, float]]:
    """Return covariate -> arm -> (mean - mean of the reference) / SD pooled over the two arms."""
    found: dict[str, dict[str, float]] = {}
    for name, column in known_before(data, prognosis).items():
        first = column[data.arm == 0]
        found[name] = {}
        for a, arm in enumerate(data.arms[1:], start=1):
            other = column[data.arm == a]
            pooled = math.sqrt((first.var(ddof=1) + other.var(ddof=1)) / 2)
            found[name][arm] = float((other.mean() - first.mean()) / pooled) if pooled > 0 else 0.0
    return found


def balance(data: TrialData, prognosis: PrognosisBundle | None = None) -> PlainTable:
    """Describe what was known before randomisation: mean and SD by arm, share for categories, largest standardised difference."""
    apart = standardised_differences(data, prognosis)
    rows = []
    for name, column in known_before(data, prognosis).items():
        parts = [column[data.arm == a] for a in range(len(data.arms))]
        binary = bool(np.isin(column, (0.0, 1.0)).all())
        cells = [f"{100 * p.mean():.1f} %" if binary else f"{p.mean():.4g} ({p.std(ddof=1):.4g})" for p in parts]
        rows.append((name, *cells, f"{max((abs(v) for v in apart[name].values()), default=0.0):.3f}"))
    notes = (
        "Mean (SD), or share of 0/1. Differences in SD against the reference arm; in a randomised trial they are chance, so there is no test.",
    )
    return PlainTable(
        "baseline",
        "Baseline by arm",
        ("covariate", *data.arms, "largest difference"),
        tuple(rows),
        notes,
        tuple(range(1, len(data.arms) + 2)),
    )


def results_table(results: Sequence[Mapping[str, Any]], level: float) -> PlainTable:
    """Describe every analysis: estimate, interval, error, p, variance ratio."""
    rows = tuple(
        (
            str(r.get("label") or "as pre-specified"), str(r["contrast"]), str(r["method"]), digits(r["estimate"] if r.get("ratio") is None else r["ratio"], 5),
            f"{digits(r['interval'][0], 5)} to {digits(r['interval'][1], 5)}", digits(r["standard_error"], 5), p_text(float(r["p_value"])),
            f"{r['variance_ratio']:.3f}", f"{r['effective_n']:.0f}", str(r["lineage"]["id"] if isinstance(r["lineage"], Mapping) else r["lineage"].id),
        )
        for r in results
    )  # fmt: skip
    heads = ("analysis", "contrast", "method", "estimate", f"{level:.0%} interval", "SE", "p", "variance ratio", "effective n", "lineage")
    notes = (
        "SE of a ratio is that of its logarithm. Variance ratio: without adjustment over with it; effective n: what a trial without adjustment would need.",
    )
    return PlainTable("results", "Analyses", heads, rows, notes, (3, 5, 6, 7, 8))


def savings(bundle: PrognosisBundle, seen: float | None, n: int) -> PlainTable:
    """Describe what the prognosis is worth, planned and seen: R² and both reductions, always together."""

    def row(what: str, r2: float, interval: str) -> tuple[str, ...]:
        return what, f"{r2:.3f}", interval, f"{total_reduction(r2):.1%}", f"{control_arm_reduction(r2):.1%}"

    low, high = bundle.r_squared_interval
    rows = [row(f"history ({bundle.n} people, cross-validated)", bundle.r_squared, f"{low:.3f} to {high:.3f}")]
    if seen is not None:
        from gemel.trials.prognosis import r_squared_interval

        a, b = r_squared_interval(seen, n)
        rows.append(row("this trial, within arm", max(seen, 0.0) ** 2, f"{a:.3f} to {b:.3f}"))
    notes = ("At equal power the whole trial shrinks by R², or its control arm alone by 2 R² / (1 + R²), not both.",)
    return PlainTable(
        "savings",
        "What the prognosis is worth",
        ("where", "R²", "95% interval", "whole trial shrinks by", "or control arm alone by"),
        tuple(rows),
        notes,
        (1, 3, 4),
    )


def plan_table(plan: Mapping[str, Any], bundle: PrognosisBundle | None, first_patient_in: str) -> PlainTable:
    """Describe what was fixed before the analysis, and by what it can be checked."""
    method = str(plan.get("method", ""))
    hidden = {"hash", "data", "arms", "treatments", *(k for k, methods in OF_METHODS.items() if method not in methods)}
    rows = [(k.replace("_", " "), _said(v)) for k, v in plan.items() if k not in hidden and v not in ("", [], (), None, False)]
    if bundle is not None:
        rows.append(("prognosis locked", f"{bundle.locked}, {bundle.name}, hash {bundle.hash}"))
        rows.append(("first patient in", first_patient_in or "not stated: whether the prognosis was locked before it was not checked"))
    rows.append(("hash of the plan", str(plan.get("hash", ""))))
    return PlainTable("plan", "What was specified", ("what", "value"), tuple(rows))


def _said(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(f"{v[0]} = {v[1]}" if isinstance(v, (list, tuple)) else str(v) for v in value)
    return str(value)


def listing(data: TrialData, prognosis: np.ndarray | None, outside: np.ndarray | None) -> PlainTable:
    """List every patient: identifier, arm, outcome, prognosis, whether the history knew their like."""
    heads = ["subject", "arm", "outcome"]
    parts: list[Sequence[str]] = [data.subjects, [data.arms[a] for a in data.arm], [digits(float(v), 6) for v in data.outcome]]
    if prognosis is not None and outside is not None:
        heads += ["prognosis", "outside the history"]
        parts += [[digits(float(v), 6) for v in prognosis], ["yes" if o else "" for o in outside]]
    order = sorted(range(data.n), key=lambda i: (int(data.arm[i]), data.subjects[i]))
    rows = tuple(tuple(str(p[i]) for p in parts) for i in order)
    return PlainTable("listing", "Listing of patients", tuple(heads), rows, (), (2, 3) if prognosis is not None else (2,))
