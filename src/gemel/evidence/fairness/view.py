"""An audit as a person reads it: one sentence, the worst groups, a forest of every measure, and the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gemel.core.view import Array, Axis, Column, Figure, Panel, Points, Rule, Table, Text, View
from gemel.core.view.words import number_text
from gemel.evidence.diagnostic import Estimate
from gemel.evidence.fairness.report import FairnessReport, Subgroup
from gemel.evidence.fairness.subgroups import METRICS

__all__ = ["fairness_view", "forest_figure", "interval_text"]

SHOWN = ("auroc", "calibration_in_the_large", "calibration_slope", "true_positive_rate", "false_positive_rate", "ppv", "coverage", "crps", "abstention_rate", "alarm_burden")  # fmt: skip
LIMITS = (
    "No audit shows that a model is fair. Measures can disagree for good reason: with unequal prevalence a calibrated model cannot have equal error rates too. "
    "Equal scores are not equal need, and equal need is not equal benefit. Which difference matters is for people to say, before they look."
)


def interval_text(e: Estimate | None, digits: int = 3) -> str:
    """Write a number with its interval, such as ``0.71 (0.66 to 0.75)``."""
    if e is None:
        return "-"
    return number_text(e.value, digits=digits) + (
        f" ({number_text(e.low, digits=digits)} to {number_text(e.high, digits=digits)})" if math.isfinite(e.low) else ""
    )


def _panels(groups: Sequence[Subgroup]) -> list[str]:
    return [name for name in SHOWN if any(name in g.metrics for g in groups)]


def forest_figure(report: FairnessReport, attributes: Sequence[str], *, status: str = "current") -> Figure | None:
    """Describe every measure of the groups of some attributes as points with intervals, one panel each; None when none is shown.

    Parameters
    ----------
    report : of :func:`gemel.evidence.fairness.audit.audit`.
    attributes : in the order of the report.
    status : of the figure; *simulated* for virtual people.
    """
    members = [g for g in report.groups if g.attributes == tuple(attributes)]
    shown = [g for g in members if g.standing != "suppressed"]
    names = _panels(shown)
    if not shown or not names:
        return None
    listed = [report.overall, *shown]
    rows = tuple(f"{g.label} ({g.people} people{', few' if g.standing == 'few' else ''})" for g in listed)
    place = Array.of(np.arange(len(listed), dtype=float), unit="1", axes=("group",))
    axes, panels, layers = [], [], []
    for i, name in enumerate(names):
        metric = METRICS[name]
        label = metric.label if metric.unit == "1" else f"{metric.label}, {metric.unit}"
        found = [g.metrics.get(name) for g in listed]
        held = [
            Array.of([getattr(e, end) if e else math.nan for e in found], unit="1", axes=("group",)) for end in ("value", "low", "high")
        ]
        axes += [
            Axis(name="x", label=label, unit="1", panel=i),
            Axis(name="y", label="Group", unit="1", kind="category", categories=rows, panel=i),
        ]
        panels.append(Panel(title=metric.label))
        layers.append(
            Points(x=held[0], y=place, lower=held[1], upper=held[2], level=report.settings.level, role="estimate", panel=i, label="none")
        )
        right = metric.better if isinstance(metric.better, float) else report.level if metric.better == "level" else None
        whole = report.overall.metrics.get(name)
        if right is not None:
            layers.append(Rule(name="right", axis="x", value=right, panel=i))
        elif whole is not None:
            layers.append(Rule(name="everybody", axis="x", value=whole.value, panel=i))
    what = " and ".join(attributes)
    worst = [w for w in report.worst if w.attributes == tuple(attributes) and w.metric in names]
    alt = f"{len(shown)} groups by {what}" + (f", {len(members) - len(shown)} suppressed" if len(members) > len(shown) else "")
    alt += "".join(f"; worst {METRICS[w.metric].label}: {w.group}, {interval_text(w.value)}" for w in worst[:3]) + "."
    return Figure(
        kind="scatter",
        title=f"By {what}",
        question=f"Does the model serve groups by {what} alike?",
        axes=tuple(axes),
        panels=tuple(panels),
        columns=2 if len(panels) > 1 else 1,
        layers=tuple(layers),
        alt=alt,
        table=_table(report, members, names),
        status=status,  # type: ignore[arg-type]
        lineage=report.data[:16],
        shown_on=report.shown_on,
    )


def _table(report: FairnessReport, members: Sequence[Subgroup], names: Sequence[str]) -> Table:
    words = {"shown": "", "few": f"fewer than {report.settings.few} people", "suppressed": "suppressed"}
    listed = [report.overall, *members]
    columns = [
        Column(label="group", values=tuple(g.label for g in listed), kind="text"),
        Column(label="people", values=tuple("-" if g.people is None else str(g.people) for g in listed), kind="text"),
        Column(label="events", values=tuple("-" if g.events is None else str(g.events) for g in listed), kind="text"),
        *(Column(label=METRICS[n].label, values=tuple(interval_text(g.metrics.get(n)) for g in listed), kind="text") for n in names),
        Column(label="note", values=tuple(words[g.standing] for g in listed), kind="text"),
    ]
    return Table(columns=tuple(columns), title="Groups", note=f"{report.settings.level:.0%} intervals, people resampled")


def _words(label: str, rows: Sequence[Sequence[str]], heads: Sequence[str], note: str = "") -> Table | None:
    if not rows:
        return None
    columns = tuple(Column(label=head, values=tuple(row[i] for row in rows), kind="text") for i, head in enumerate(heads))
    return Table(columns=columns, title=label, note=note)


def fairness_view(report: FairnessReport, *, title: str = "Fairness audit", more: Sequence[Figure | Table | Text] = ()) -> View:
    """Describe a whole audit as one document: the first page first, then every attribute and intersection.

    Parameters
    ----------
    report : of :func:`gemel.evidence.fairness.audit.audit`.
    more : sections that follow, such as those of a label audit or of a remedy.
    """
    simulated = report.shown_on.kind == "simulated"
    gone = [f"{name}: {why}" for name, why in report.not_assessable.items()]
    first = Text(body=report.summary + f" Shown on: {report.shown_on}.", title="In one sentence")
    worst = _words(
        "Worst groups",
        [[METRICS[w.metric].label, w.group, interval_text(w.value)] for w in report.worst if not w.attributes],
        ("measure", "worst group", "value"),
        "of all groups shown; a worst of many is worse than it is by chance alone",
    )
    flags = _words(
        f"Comparisons that differ (Holm over {len(report.differences)}, {report.settings.alpha:.0%} together)",
        [
            [d.group, d.reference, METRICS[d.metric].label, interval_text(d.difference), number_text(d.adjusted, digits=2)]
            for d in report.flagged
        ],
        ("group", "compared with", "measure", "difference", "adjusted p"),
    )
    missing = Text(
        title="What cannot be said",
        tone="limit",
        body="\n".join(
            [
                *(f"- Not assessable: {line}" for line in gone),
                f"- Not collected, as far as the columns say: {', '.join(report.not_collected) or 'none of the usual attributes'}. Nothing is known about differences by these.",
                f"- {report.untested} comparisons were not made: too few outcomes of a kind.",
                *(f"- {note}" for note in report.notes),
            ]
        ),
    )
    sets = list(dict.fromkeys(g.attributes for g in report.groups))
    figures = [f for s in sets if (f := forest_figure(report, s, status="simulated" if simulated else "current")) is not None]
    gaps = _words(
        "Gaps: largest less smallest",
        [
            [" and ".join(g.attributes), METRICS[g.metric].label, g.highest, g.lowest, interval_text(g.difference), number_text(g.ratio)]
            for g in report.gaps
        ],
        ("by", "measure", "largest", "smallest", "difference", "ratio"),
        "the interval is for these two groups as if chosen before looking; a largest gap is above zero by chance alone",
    )
    sections = [
        first,
        *(t for t in (worst, flags) if t),
        missing,
        *more,
        *figures,
        *([gaps] if gaps else []),
        Text(body=LIMITS, title="Limits", tone="limit"),
    ]
    counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in report.counts.items())
    return View(id=f"fairness-{report.data[:12]}", title=title, subtitle=counts, sections=tuple(sections))
