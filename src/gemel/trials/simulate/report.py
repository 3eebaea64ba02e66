"""What a simulated design looks like: level and power of each analysis with each twin, with their Monte-Carlo intervals. SIMULATED in every view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.view import Array, Axis, Figure, Panel, Points, Rule, Table, Text, View
from gemel.trials.simulate.engine import Characteristics
from gemel.trials.simulate.study import Study

__all__ = ["study_view"]

WORDS = {
    "true": "true model", "noise": "pure noise", "biased": "biased by +1 SD", "shifted": "from a shifted population",
    "anti-correlated": "anti-correlated", "miscalibrated": "twice too sure",
}  # fmt: skip


def _points(found: Sequence[Characteristics], which: str, places: np.ndarray, panel: int, name: str, series: int) -> Points:
    value = np.array([getattr(c, which) for c in found])
    error = 1.96 * np.array([c.errors[which] for c in found])
    held = [Array.of(100 * v, unit="%") for v in (value, np.clip(value - error, 0, 1), np.clip(value + error, 0, 1))]
    return Points(
        x=held[0], y=Array.of(places, unit="1"), lower=held[1], upper=held[2], level=0.95, role="estimate", name=name, panel=panel, series=series,
        label="legend" if panel == 0 else "none",
    )  # fmt: skip


def _figure(study: Study, which: str, title: str) -> Figure:
    """Describe type-I error and coverage, or power: a row per twin, a mark per analysis."""
    twins = list(dict.fromkeys(row.twin for row in study.rows))
    names = list(dict.fromkeys(row.analysis for row in study.rows))
    rows = [r for r in study.rows if which == "null" or r.under_effect is not None]
    figures = ("power", "coverage")
    layers: list[Points | Rule] = []
    for s, name in enumerate(names):
        mine = [r for r in rows if r.analysis == name]
        places = np.array([float(twins.index(r.twin)) for r in mine]) + (s - (len(names) - 1) / 2) * 0.18
        found = [r.under_null if which == "null" or r.under_effect is None else r.under_effect for r in mine]
        layers += [_points(found, figure, places, panel, name, s) for panel, figure in enumerate(figures)]
    if which == "null":
        layers.append(Rule(name="nominal", axis="x", value=100 * study.alpha, panel=0))
    layers.append(Rule(name="nominal", axis="x", value=95.0, panel=1))
    shown = [r.under_null if which == "null" or r.under_effect is None else r.under_effect for r in rows]
    first = "type-I error" if which == "null" else "power"
    y = [Axis(name="y", label="twin", unit="1", kind="category", categories=tuple(WORDS.get(t, t) for t in twins), panel=p) for p in (0, 1)]
    return Figure(
        kind="compare", title=title, columns=2, panels=(Panel(title=first), Panel(title="coverage of the 95 % interval")),
        axes=(Axis(name="x", label=first, unit="%", panel=0), Axis(name="x", label="coverage", unit="%", panel=1), *y),
        layers=tuple(layers), status="simulated", lineage=study.lineage, shown_on=ShownOn(kind="simulated", n=study.done),
        alt=f"{first[0].upper()}{first[1:]} by twin and analysis: " + "; ".join(f"{r.twin}, {r.analysis} {c.power:.4f} (SE {c.errors['power']:.4f})" for r, c in zip(rows, shown, strict=True)) + ".",
        table=Table.of(
            ("twin", None, tuple(WORDS.get(r.twin, r.twin) for r in rows)), ("analysis", None, tuple(r.analysis for r in rows)),
            (first, "1", np.array([c.power for c in shown])), ("Monte-Carlo SE", "1", np.array([c.errors["power"] for c in shown])),
            ("coverage", "1", np.array([c.coverage for c in shown])), ("its SE", "1", np.array([c.errors["coverage"] for c in shown])),
            ("patients", "1", np.array([c.patients for c in shown])),
            ("saved", "1", np.array([np.nan if r.reduction is None else r.reduction for r in rows])),
            ("failed", "1", np.array([float(c.failed) for c in shown])),
        ),
    )  # fmt: skip


def study_view(study: Study, *, title: str = "A design, simulated", words: str = "") -> View:
    """Describe a study as a document.

    Parameters
    ----------
    words : what was simulated, in a sentence.
    """
    several = len({row.twin for row in study.rows}) > 1
    told = [words] if words else []
    told.append(
        f"{study.done:,} SIMULATED trials in each world. A mark is a share of trials with its 95 % Monte-Carlo interval; the line is what it should be."
    )
    if not study.is_whole:
        told.append(
            f"The run was stopped: {study.done:,} of {study.asked:,} trials"
            + (f", without {', '.join(study.left_out)}" if study.left_out else "")
            + "."
        )
    if several:
        told.append(
            "What if the twin is wrong? All twins see the same trials, so that their marks move together. An adjusted analysis keeps its type-I error with any prognosis that was locked before the trial; a bad one saves nothing. "
            "That protection comes from the randomised controls: borrowing outside controls has none."
        )
    sections: list[Text | Figure] = [Text(body="\n\n".join(told)), _figure(study, "null", "Without an effect")]
    if any(row.under_effect is not None for row in study.rows):
        sections.append(_figure(study, "effect", "With the effect"))
    sections.append(
        Text(
            title="What this does not say",
            tone="limit",
            body="Operating characteristics are those of the simulated world. Nothing here was fitted to a trial.",
        )
    )
    return View(id=f"simulated-{study.lineage.id}", title=title, subtitle="SIMULATED", sections=tuple(sections))
