"""Figures over time, from what a result says: means by visit with their intervals, and survival by arm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gemel.core.view import Array, Axis, Figure, Line, Points, ShownOn, Table
from gemel.trials.report.figures import Status

__all__ = ["curves_figure", "means_figure"]


def means_figure(told: Mapping[str, Any], *, unit: str, status: Status, lineage: str, shown_on: ShownOn | None) -> Figure | None:
    """Draw least-squares means by visit and arm, as a repeated-measures result says them; nothing where it says none."""
    rows = []
    for m in told.get("means") or ():
        visit, mark, arm = str(m["label"]).removeprefix("visit ").partition(", arm ")
        if mark:
            rows.append((visit, arm, float(m["estimate"]), float(m["interval"][0]), float(m["interval"][1])))
    if not rows:
        return None
    visits, arms = tuple(dict.fromkeys(r[0] for r in rows)), tuple(dict.fromkeys(r[1] for r in rows))
    layers: list[Line | Points] = []
    for a, arm in enumerate(arms):
        own = [r for r in rows if r[1] == arm]
        x = Array.of(np.array([float(visits.index(r[0])) for r in own]), unit="1", axes=("visit",))
        y, low, high = (Array.of(np.array([r[i] for r in own]), unit=unit, axes=("visit",)) for i in (2, 3, 4))
        layers += [
            Line(name=arm, x=x, y=y, role="median", series=a, label="legend"),
            Points(
                name=arm, x=x, y=y, lower=low, upper=high, level=float(told["results"][0]["level"]), role="estimate", series=a, label="none"
            ),
        ]
    last = [r for r in rows if r[0] == visits[-1]]
    return Figure(
        kind="curve",
        title="Means by visit",
        axes=(Axis(name="x", label="Visit", unit="1", kind="category", categories=visits), Axis(name="y", label="Mean", unit=unit)),
        layers=tuple(layers),
        alt=f"Least-squares means of {len(arms)} arms at {len(visits)} visits; at {visits[-1]}: " + "; ".join(f"{r[1]} {r[2]:.4g}" for r in last) + ".",
        table=Table.of(
            ("visit", None, [r[0] for r in rows]), ("arm", None, [r[1] for r in rows]), ("mean", unit, [r[2] for r in rows]), ("from", unit, [r[3] for r in rows]),
            ("to", unit, [r[4] for r in rows]), title="Least-squares means",
        ),
        status=status,
        lineage=lineage,
        shown_on=shown_on,
    )  # fmt: skip


def curves_figure(told: Mapping[str, Any], *, unit: str, status: Status, lineage: str, shown_on: ShownOn | None) -> Figure | None:
    """Draw Kaplan-Meier curves, as a result of times to an event says them; nothing where it says none."""
    curves = told.get("curves") or ()
    if not curves:
        return None
    layers, cells = [], []
    for k, c in enumerate(curves):
        survival = [float(s) for s in c["survival"]]
        x = np.array([0.0, *map(float, c["time"]), float(c["last"])])
        y = np.array([1.0, *survival, survival[-1] if survival else 1.0])
        layers.append(
            Line(name=str(c["arm"]), x=Array.of(x, unit=unit, axes=("time",)), y=Array.of(y, unit="1", axes=("time",)), is_step=True, role="median", series=k, label="legend")
        )  # fmt: skip
        median = c.get("median")
        is_reached = median is not None and math.isfinite(float(median))
        cells.append((str(c["arm"]), str(c["events"]), f"{float(median):.4g}" if is_reached else "not reached", f"{y[-1]:.3f}"))
    words = "; ".join(f"{arm}: {events} events, median {median}" for arm, events, median, _ in cells)
    heads = ("arm", "events", "median", "without the event at the end")
    return Figure(
        kind="curve",
        title="Without the event",
        axes=(Axis(name="x", label="Time", unit=unit), Axis(name="y", label="Share without the event", unit="1", range=(0.0, 1.0))),
        layers=tuple(layers),
        alt=f"Kaplan-Meier curves. {words}.",
        table=Table.of(*((h, None, [c[i] for c in cells]) for i, h in enumerate(heads)), title="Kaplan-Meier"),
        status=status,
        lineage=lineage,
        shown_on=shown_on,
    )
