"""The report of a trial: one view for the page and the paper, and the same tables as plain text for RTF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemel.core.errors import DataError, EvidenceError
from gemel.core.lineage import digest
from gemel.core.view import Figure, Number, ShownOn, Text, View
from gemel.trials.analysis import analyse, with_prognosis, within_arm_correlation
from gemel.trials.data import TrialData
from gemel.trials.prognosis import PrognosisBundle
from gemel.trials.report.courses import curves_figure, means_figure
from gemel.trials.report.figures import Status, balance_figure, forest_figure, prognosis_figure
from gemel.trials.report.tables import (
    PlainTable,
    balance,
    digits,
    disposition,
    estimand_table,
    listing,
    p_text,
    plan_table,
    results_table,
    savings,
)
from gemel.trials.report.wrong import adjusted_behaviour, borrowed_behaviour

__all__ = ["TrialReport", "flags_of", "report"]

PROTECTION = (
    "The prognosis is a covariate of the randomised comparison: every control patient of the trial stays, and the type-I error holds whatever the model is. "
    "Nothing here replaces a concurrent control."
)


ONE_OUTCOME = ("unadjusted", "ancova1", "ancova2", "gcomputation", "aipw", "tmle", "weighted", "bayes")
AGAIN = ("ancova1", "ancova2", "gcomputation", "aipw", "tmle")
"""Methods that are run once more without the prognosis."""


@dataclass(frozen=True)
class TrialReport:
    """A report: its view, its tables as text, and every analysis in it as plain values.

    Parameters
    ----------
    listings : tables that name each patient by pseudonym; not in the view.
    credibility : what supports trusting the prognosis in this use, as plain values.
    """

    view: View
    tables: tuple[PlainTable, ...]
    listings: tuple[PlainTable, ...]
    results: tuple[Mapping[str, Any], ...]
    credibility: Mapping[str, Any] = field(default_factory=dict)


def flags_of(results: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return every flag once, in order."""
    return tuple(dict.fromkeys(str(f) for r in results for f in r.get("status", ())))


def _checked(told: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(told.get("results"), list) or not told["results"] or "estimand" not in told or "arms" not in told:
        raise DataError("this is no result of an analysis", seen=sorted(told)[:8], expected="what gemel trial analyse -o writes")
    return told


def _plain(result: Any, label: str) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(result) | {"label": label, "lineage": {"id": result.lineage.id}}


def _beside(told: Mapping[str, Any], data: TrialData, bundle: PrognosisBundle | None) -> list[dict[str, Any]]:
    """Analyse once more without the prognosis, and without any covariate, for the same contrasts."""
    out: list[dict[str, Any]] = []
    plan = told.get("plan", {})
    method = str(plan.get("method", ""))
    if method not in ONE_OUTCOME:
        return out
    ours = {k: plan[k] for k in ("randomisation", "variance", "target", "interaction", "folds", "seed") if k in plan}
    for result in told["results"]:
        treatment = str(result["contrast"]).split(" / " if result.get("ratio") is not None else " - ")[0]
        asked = dict(told["estimand"]) | {"treatment": treatment}
        if bundle is not None and data.names and method in AGAIN:
            out.append(_plain(analyse(data, asked, method, level=result["level"], **ours), "without the prognosis"))
        if method != "unadjusted":
            out.append(
                _plain(
                    analyse(data, asked, "unadjusted", level=result["level"], randomisation=plan.get("randomisation", "simple")),
                    "without covariates",
                )
            )
    return out


def _wrong_tables(n: int, r_squared: float, replicates: int, seed: int) -> tuple[tuple[PlainTable, PlainTable], list[dict[str, Any]]]:
    rows = adjusted_behaviour(n, r_squared, replicates=replicates, seed=seed)
    shown = tuple(
        (b.twin, f"{b.type_one:.4f} ({b.type_one_error:.4f})", f"{b.power:.3f} ({b.power_error:.3f})", f"{b.variance_ratio:.3f}")
        for b in rows
    )
    first = PlainTable(
        "wrong", "What if the twin is wrong? Adjustment", ("prognosis", "type-I error (MC SE)", "power (MC SE)", "variance ratio"), shown,
        (f"SIMULATED: {replicates:,} trials of {min(n, 400) // 2 * 2} patients for each row and effect, R² {r_squared:.3f} where the model is true, HC3 with t, level 0.05.",), (1, 2, 3),
    )  # fmt: skip
    borrowed = borrowed_behaviour(n)
    second = PlainTable(
        "borrowing", "The same question of borrowing: type-I error not controlled", ("drift of the controls, SD", "type-I error", "power"),
        tuple((f"{b.drift:g}", f"{b.type_one:.4f}", f"{b.power:.3f}") for b in borrowed),
        ("For comparison only, nothing was borrowed here: as many historical controls as concurrent ones, pooled; normal theory.",), (0, 1, 2),
    )  # fmt: skip
    return (first, second), [{"twin": b.twin, "type_one": b.type_one, "power": b.power, "variance_ratio": b.variance_ratio} for b in rows]


def _credibility(
    told: Mapping[str, Any], bundle: PrognosisBundle, seen: float | None, flags: Sequence[str], wrong: Sequence[Mapping[str, Any]]
) -> PlainTable:
    levels = [w["type_one"] for w in wrong]
    rows = (
        ("1 question of interest", f"What is the effect on {told['estimand'].get('variable')} in {told['estimand'].get('population')}?"),
        ("2 context of use", "baseline covariate of the randomised comparison, pre-specified; no patient is replaced, no dose is chosen"),
        ("3 model risk", "influence on the decision: precision only; a wrong model costs power, not the type-I error (panel below)"),
        ("4 plan", f"locked {bundle.locked}; {bundle.learner}, inputs {', '.join(i.name for i in bundle.inputs)}; rule for missing inputs: {bundle.missing}"),
        ("5 evidence", f"cross-validated R² {bundle.r_squared:.3f} ({bundle.r_squared_interval[0]:.3f} to {bundle.r_squared_interval[1]:.3f}) in {bundle.n} people; calibration intercept {bundle.calibration[0]:.4g}, slope {bundle.calibration[1]:.3f}"),
        ("  in this trial", "not computed: no data were given" if seen is None else f"correlation within arm {seen:.3f}"),
        ("  if it is wrong", f"type-I error {min(levels):.4f} to {max(levels):.4f} over {len(levels)} twins, simulated" if levels else "not simulated"),
        ("6 documentation", f"hash {bundle.hash}; history {bundle.history[:16]}; code {bundle.code_version}"),
        ("7 adequacy", "a person's judgement: not computed" + (f"; flags: {'; '.join(flags)}" if flags else "")),
    )  # fmt: skip
    return PlainTable(
        "credibility",
        "Credibility of the prognosis",
        ("step", "what there is"),
        rows,
        ("In the manner of FDA's seven steps for models in submissions (draft, January 2025) and ASME V&V 40.",),
    )


def report(
    told: Sequence[Mapping[str, Any]],
    *,
    title: str,
    created: str,
    data: TrialData | None = None,
    prognosis: PrognosisBundle | None = None,
    unit: str = "1",
    is_simulated: bool = False,
    first_patient_in: str = "",
    replicates: int = 2000,
    seed: int = 1,
) -> TrialReport:
    """Put the report of a trial together.

    Parameters
    ----------
    told : results of analyses as their JSON says them; the first is the primary one.
    created : the time that stands in the report, ISO 8601.
    data : of the primary analysis, one row a patient; left out, there is no baseline, no listing and no analysis beside.
    prognosis : the locked prognosis of the primary analysis.
    unit : UCUM unit of the outcome.
    is_simulated : marks every figure SIMULATED.
    replicates, seed : of the panel *what if the twin is wrong*.

    Raises
    ------
    DataError
        When a result is none, or was made from other data than those given.
    EvidenceError
        When the prognosis is another than the one of the analysis.
    """
    if not told:
        raise DataError("there is nothing to report", seen="no result", expected="at least one")
    primary = _checked(told[0])
    for other in told[1:]:
        _checked(other)
    plan = primary.get("plan", {})
    if prognosis is not None and plan and plan.get("prognosis", "") != prognosis.hash:
        raise EvidenceError(
            "the prognosis is not the one of the analysis", seen=prognosis.hash[:16], expected=str(plan.get("prognosis"))[:16] or "none"
        )
    listed: list[dict[str, Any]] = [
        dict(r) | {"label": r.get("label") or ("as pre-specified" if not i else str(r["method"]))}
        for i, t in enumerate(told)
        for r in t["results"]
    ]
    values = outside = None
    seen: float | None = None
    if data is not None:
        _same_data(primary, data, prognosis)
        if prognosis is not None:
            values, outside = prognosis.of(data.raw)
            seen = None if plan.get("time") else within_arm_correlation(data, values)  # of times it says a residual, not the time
        listed += _beside(primary, data, prognosis)
    level = float(primary["results"][0]["level"])
    flags = flags_of(listed[: sum(len(t["results"]) for t in told)])
    n = int(primary["results"][0]["n"])
    lineage = digest([digest(dict(t)) for t in told] + [created, title])[:16]
    shown = ShownOn(kind="simulated" if is_simulated else "real", n=n, what=str(primary["estimand"].get("population", "")))
    status: Status = "simulated" if is_simulated else "current"
    both = {"status": status, "lineage": lineage, "shown_on": shown}
    tables = [estimand_table(primary["estimand"]), disposition(primary["arms"], data)]
    if data is not None and (data.names or prognosis is not None):
        tables.append(balance(data, prognosis))
    tables.append(results_table(listed, level))
    wrong: list[dict[str, Any]] = []
    if prognosis is not None:
        tables.append(savings(prognosis, seen, n - len(primary["arms"]) + 1))
        panel, wrong = _wrong_tables(n, prognosis.r_squared, replicates, seed)
        tables += [_credibility(primary, prognosis, seen, flags, wrong), *panel]
    if plan:
        tables.append(plan_table(plan, prognosis, first_patient_in))
    figures = [
        forest_figure(
            [r for r in listed if r["summary"] == listed[0]["summary"]], unit=unit, quantity=str(listed[0]["summary"]).capitalize(), **both
        )
    ]
    figures += [f for make in (means_figure, curves_figure) if (f := make(primary, unit=unit, **both)) is not None]
    if data is not None:
        figures += [f for f in (balance_figure(data, prognosis, **both),) if f is not None]
        if values is not None and seen is not None:
            figures.append(prognosis_figure(data, values, unit=unit, correlation=seen, **both))
    view = _view(title, created, primary, tables, figures, flags, unit, lineage, status, shown, prognosis is not None)
    listings = (listing(data, values, outside),) if data is not None else ()
    credibility = (
        {"question": str(primary["estimand"].get("variable")), "wrong": wrong, "flags": list(flags)} if prognosis is not None else {}
    )
    if prognosis is not None:
        credibility |= {"rows": [list(r) for t in tables if t.id == "credibility" for r in t.rows], "prognosis": prognosis.hash}
    return TrialReport(view, tuple(tables), listings, tuple(listed), credibility)


def _same_data(told: Mapping[str, Any], data: TrialData, prognosis: PrognosisBundle | None) -> None:
    """Refuse data that are not those of an analysis of one outcome a patient; of other analyses the file's hash is compared by the caller."""
    if told.get("plan", {}).get("method") not in ONE_OUTCOME:
        return
    used = with_prognosis(data, prognosis)[0] if prognosis is not None else data
    recorded = told["results"][0]["lineage"]
    claimed = recorded.get("record") if isinstance(recorded, Mapping) else None
    if claimed and claimed not in (used.hash, data.hash):
        raise DataError(
            "the data are not those of the analysis",
            seen=used.hash[:16],
            expected=str(claimed)[:16],
            fix="give the file that was analysed, and --where as it was",
        )


def _view(
    title: str, created: str, primary: Mapping[str, Any], tables: Sequence[PlainTable], figures: Sequence[Figure], flags: Sequence[str], unit: str,
    lineage: str, status: Status, shown: ShownOn, has_prognosis: bool,
) -> View:  # fmt: skip
    lines = []
    numbers = []
    for r in primary["results"]:
        is_ratio = r.get("ratio") is not None
        value = r["ratio"] if is_ratio else r["estimate"]
        lines.append(
            f"- {r['contrast']}: {r['summary']} {digits(value, 4)} ({digits(r['interval'][0], 4)} to {digits(r['interval'][1], 4)}), p {p_text(float(r['p_value']))}"
        )
        numbers.append(
            Number(
                label=f"{r['contrast']}, {r['summary']}", value=float(value), unit="1" if is_ratio else unit, lower=float(r["interval"][0]), upper=float(r["interval"][1]),
                level=float(r["level"]), status=status, lineage=lineage, shown_on=shown,
            )
        )  # fmt: skip
    head = f"{primary['estimand'].get('variable')}, {primary['estimand'].get('population')}."
    by_id = {t.id: t.described() for t in tables}
    sections: list[Any] = [
        Text(title="In one page", body=head + "\n\n" + "\n".join(lines) + ("\n\n" + PROTECTION if has_prognosis else "")),
        *numbers,
    ]
    sections += [by_id["estimand"], by_id["disposition"], *([by_id["baseline"]] if "baseline" in by_id else []), by_id["results"], *figures]
    body = "\n".join(f"- {f}" for f in flags) or "Nothing to say."
    sections.append(Text(title="Flags", body=body, tone="note" if flags else "plain"))
    sections += [by_id[k] for k in ("savings", "credibility", "wrong", "borrowing", "plan") if k in by_id]
    marked = "SIMULATED. " if status == "simulated" else ""
    return View(id=f"trial-{lineage}", title=title, subtitle=f"{marked}{created}; {shown}; lineage {lineage}", sections=tuple(sections))
