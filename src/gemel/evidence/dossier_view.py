"""A dossier as a reviewer reads it: one page first, then every claim with its run, and every run with its command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.time import iso
from gemel.core.view import Column, Figure, Table, Text, View, bars_figure, calibration_figure
from gemel.core.view.words import number_text
from gemel.evidence.credibility import GRADES
from gemel.evidence.dossier import Dossier
from gemel.evidence.nasem import Conformance
from gemel.evidence.run import CATEGORIES, EvidenceRun, Measured

__all__ = ["conformance_table", "dossier_view", "figure_text"]

STANDING = (
    "Every figure here was computed by the run named beside it; nothing was typed in. A run is stale when the twin, the code that measured or the data have "
    "changed since. Rows that ask for judgement wait for a person and count as nothing. The gradations and the matrix of risk are ours; the names of the "
    "factors are those of ASME V&V 40 as widely published. This file supports a judgement and does not replace one."
)


def figure_text(f: Measured) -> str:
    """Write a figure of evidence with its unit and limits, such as ``0.91 (0.85 to 0.95)``."""
    unit = "" if f.unit == "1" else f" {f.unit}"
    ends = [number_text(x, digits=4) if x is not None else "" for x in (f.low, f.high)]
    if f.low is not None and f.high is not None:
        return f"{number_text(f.value, digits=4)}{unit} ({ends[0]} to {ends[1]})"
    if f.low is not None or f.high is not None:
        return f"{number_text(f.value, digits=4)}{unit} ({f'at least {ends[0]}' if f.low is not None else f'at most {ends[1]}'})"
    return f"{number_text(f.value, digits=4)}{unit}"


def _words(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> Table | None:
    listed = [tuple(row) for row in rows]
    if not listed:
        return None
    columns = tuple(Column(label=head, values=tuple(row[i] for row in listed), kind="text") for i, head in enumerate(heads))
    return Table(columns=columns, title=title, note=note)


def _on(shown_on: ShownOn | None) -> str:
    return "-" if shown_on is None else str(shown_on)


def conformance_table(c: Conformance) -> Table:
    """Describe the rows of the definition of a twin as a table."""
    rows = [(r.id, r.requirement, r.status, r.said, _on(r.shown_on), " ".join(r.runs) or "-") for r in c.rows]
    table = _words(
        "Is it a twin?", ("row", "requirement", "status", "what was found", "shown on", "runs"), rows,
        note="After the definition of the National Academies (2024); the split into rows is ours. Computed from stored runs, never declared.",
    )  # fmt: skip
    assert table is not None
    return table


def _met(f: Measured) -> str:
    return {True: "met", False: "MISSED", None: "no limit"}[f.met]


def _state(d: Dossier, run: EvidenceRun) -> str:
    changed = d.stale.get(run.id)
    return f"STALE: {' and '.join(changed)} changed" if changed else "current"


def _worst(d: Dossier) -> str:
    order = {"not shown": 0, "stale": 1, "human judgement needed": 2, "shown": 3, "judged": 3}
    rows = sorted(d.factors, key=lambda g: (g.is_adequate, order[g.status], g.gradation - g.goal, g.factor.number))
    return "\n".join(f"- {g.factor.number}. {g.factor.name}: {g.status}; {g.why}" for g in rows[:3])


def _first_page(d: Dossier) -> list[Text | Table | None]:
    m = d.manifest
    judged = (
        f"judged by {m.risk.by} on {m.risk.date}: {m.risk.rationale}"
        if m.risk is not None
        else "nobody has judged it: the highest is assumed"
    )
    summary = (
        f"{d.sentence}.\n\nQuestion of interest: {m.question}\n\nContext of use: {m.context_of_use}\n\n"
        f"Model risk {d.risk} of 5, so every factor should reach at least {GRADES[d.goal]!r} ({judged}).\n\nThe three weakest rows:\n\n{_worst(d)}"
    )
    return [
        Text(title="In one page", body=summary),
        Text(title="Not for", body="\n".join(f"- {line}" for line in m.not_for)),
        Text(title="How to read this file", body=STANDING),
        conformance_table(d.conformance),
    ]


def _factors(d: Dossier) -> Table | None:
    rows = [
        (str(g.factor.number), g.factor.group, g.factor.name, GRADES[g.gradation], GRADES[g.goal], g.status, "yes" if g.is_adequate else "no", g.why, " ".join(g.runs) or "-")
        for g in d.factors
    ]  # fmt: skip
    heads = ("no.", "group", "credibility factor", "reached", "goal", "status", "goal reached", "why", "runs")
    return _words("Credibility factors (ASME V&V 40)", heads, rows, note="Gradations and goals are ours: goal = ceil(3 risk / 5).")


def _categories(d: Dossier) -> Table | None:
    rows = [(c, ", ".join(f"{r.study or r.kind} ({r.id})" for r in d.of_category(c)) or "no run") for c in CATEGORIES]
    return _words("Kinds of evidence (FDA guidance of 17 November 2023, our words)", ("kind", "runs"), rows)


def _runs(d: Dossier) -> list[Table | None]:
    rows = [
        (r.study or r.kind, r.claim, r.id, _state(d, r), "all limits met" if r.met else "a limit is MISSED", iso(r.time), r.command or "-", f"{r.seconds:.0f} s", r.data_hash[:16] or "drawn from the model", r.note or "-")
        for r in d.runs
    ]  # fmt: skip
    heads = ("study", "claim", "run", "state", "limits", "ended", "command", "CPU time", "data", "note")
    out = [_words("Runs", heads, rows, note="The command prints the figures again.")]
    for r in d.runs:
        shown = [(f.name, figure_text(f), _met(f), str(f.shown_on), f.note or "-") for f in r.figures]
        out.append(
            _words(f"Run {r.id}: {r.study or r.kind}", ("figure", "value and limits", "limit", "shown on", "note"), shown, note=r.claim)
        )
    return out


def _figures(d: Dossier) -> list[Figure]:
    found: list[Figure] = []
    for r in d.runs:
        standing: dict[str, Any] = {
            "lineage": r.id,
            "shown_on": r.figures[0].shown_on,
            "status": "current",
        }
        if d.stale.get(r.id):
            standing |= {"status": "stale", "banner": f"STALE: {' and '.join(d.stale[r.id])} changed since this was measured"}
        if r.study == "ranks" and "ranks" in r.tables:
            draws = r.tables["draws"]["draws"][0]
            pit = np.concatenate([(np.asarray(v) + 0.5) / (draws + 1) for v in r.tables["ranks"].values()])
            n = len(next(iter(r.tables["ranks"].values())))
            found.append(calibration_figure(title="Ranks of simulated truths, all quantities together", pit=pit, effective=n, **standing))
        if "pit" in r.tables.get("forecasts", {}) and r.tables["forecasts"]["pit"]:
            people = len(set(r.tables["forecasts"]["person"]))
            found.append(
                calibration_figure(title="Forecasts around the loop", pit=r.tables["forecasts"]["pit"], effective=people, **standing)
            )
        if "indices" in r.tables:
            found += _index_bars(r, standing)
    return found


def _index_bars(run: EvidenceRun, standing: dict[str, Any]) -> list[Figure]:
    table = run.tables["indices"]
    last = list(dict.fromkeys(table["quantity"]))[-1]
    rows = [
        (i, t, low, high)
        for q, i, t, low, high in zip(*(table[c] for c in ("quantity", "input", "ST", "ST low", "ST high")), strict=True)
        if q == last and t is not None
    ]
    rows.sort(key=lambda row: -row[1])
    if not rows:
        return []
    return [
        bars_figure(
            title=f"What decides {last}", quantity="Total Sobol index", unit="1", category="Parameter", level=0.95,
            values={i: t for i, t, _, _ in rows[:16]}, intervals={i: (min(low, t), max(high, t)) for i, t, low, high in rows[:16]}, **standing,
        )
    ]  # fmt: skip


def _assumed(d: Dossier) -> list[tuple[str, str, str]]:
    tables = [r.tables["assumed"] for r in d.runs if "assumed" in r.tables]
    return [row for t in tables for row in zip(t["constant"], t["meaning"], t["source"], strict=True)]


def dossier_view(d: Dossier, *, data: Sequence[tuple[str, str, str]] = ()) -> View:
    """Describe a dossier as one document.

    Parameters
    ----------
    data : (name, licence, citation) of the data sets behind the runs.
    """
    sections: list[Any] = [*_first_page(d), _factors(d), _categories(d), *_figures(d), *_runs(d)]
    sections.append(_words("What was not measured", ("study", "why"), sorted(d.missing.items())))
    sections.append(_words("Judgements of people", ("factor", "gradation", "rationale", "by", "date"), [(str(j.factor), GRADES[j.gradation], j.rationale, j.by, j.date) for j in d.judgements]))  # fmt: skip
    sections.append(_words("Constants and priors without a source (ASSUMED)", ("name", "meaning", "source"), _assumed(d)))
    sections.append(_words("Where the data come from", ("data set", "licence", "citation"), data))
    if d.manifest.thin:
        sections.append(Text(title="Where the truth is thin", body=d.manifest.thin))
    sections.append(_words("Sources", ("source",), [(s,) for s in d.manifest.sources]))
    sections.append(
        Text(
            title="Made from",
            body=f"twin {d.manifest.id} {d.manifest.version}, model {d.model_hash}, gemel {d.code_version}, at {iso(d.time)}",
        )
    )
    title = f"Evidence: {d.manifest.title}"
    state = "STALE, " if d.is_stale else ""
    return View(
        id=f"dossier-{d.manifest.id}", title=title, subtitle=f"{state}{d.manifest.id} {d.manifest.version}; {d.conformance.label}",
        sections=tuple(s for s in sections if s is not None),
    )  # fmt: skip
