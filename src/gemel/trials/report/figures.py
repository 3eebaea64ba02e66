"""Figures of a trial: the forest of its analyses, the balance of its arms, the prognosis against what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from gemel.core.view import Array, Axis, Figure, Points, Rule, ShownOn, Table
from gemel.trials.data import TrialData
from gemel.trials.prognosis import PrognosisBundle
from gemel.trials.report.tables import standardised_differences

__all__ = ["balance_figure", "forest_figure", "prognosis_figure"]

Status = Literal["current", "simulated"]
LONGEST = 34
"""Letters that fit beside an axis."""
MARKERS: tuple[Literal["dot", "diamond", "triangle", "square", "cross"], ...] = ("dot", "diamond", "triangle", "square", "cross")


def _names(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    """Return a short name for each analysis, and the part that all contrasts share."""
    parts = []
    for r in results:
        treatment, _, rest = str(r["contrast"]).partition(" / " if r.get("ratio") is not None else " - ")
        reference, _, visit = rest.partition(", visit ")
        parts.append((treatment, reference, visit, str(r.get("label") or r["method"])))
    shared = [len({p[i] for p in parts}) == 1 for i in range(4)]
    if all(shared):
        return [parts[0][3]], str(results[0]["contrast"])
    names = []
    for treatment, reference, visit, label in parts:
        said = [
            treatment if not shared[0] else "",
            f"- {reference}" if not shared[1] else "",
            f"visit {visit}" if visit else "",
            label if not shared[3] else "",
        ]
        text = ", ".join(t for t in said if t).replace(", - ", " - ")
        names.append(text if len(text) <= LONGEST else text[: LONGEST - 1] + "\u2026")
    names = [n if names.count(n) == 1 else f"{n[: LONGEST - 5]} ({i + 1})" for i, n in enumerate(names)]
    against = f"against {parts[0][1]}" if shared[1] else ""
    return names, f"{parts[0][0]} {against}" if shared[0] and against else against


def forest_figure(
    results: Sequence[Mapping[str, Any]], *, unit: str, quantity: str, status: Status, lineage: str, shown_on: ShownOn | None
) -> Figure:
    """Draw every estimate with its interval, one line each; ratios on a logarithmic axis.

    Parameters
    ----------
    results : of one summary, as JSON says them, with a ``label``.
    """
    is_ratio = results[0].get("ratio") is not None
    value = [float(r["estimate"] if r.get("ratio") is None else r["ratio"]) for r in results]
    low, high = ([float(r["interval"][i]) for r in results] for i in (0, 1))
    names, against = _names(results)
    quantity = f"{quantity}, {against}" if against else quantity
    level = float(results[0]["level"])
    unit = "1" if is_ratio else unit
    place = Array.of(np.arange(len(names), dtype=float), unit="1", axes=("row",))
    held = [Array.of(np.array(v), unit=unit, axes=("row",)) for v in (value, low, high)]
    words = "; ".join(f"{n} {v:.4g} ({a:.4g} to {b:.4g})" for n, v, a, b in zip(names, value, low, high, strict=True))
    return Figure(
        kind="scatter",
        title="Analyses side by side",
        axes=(
            Axis(name="x", label=quantity, unit=unit, kind="log" if is_ratio and min(low) > 0 else "linear"),
            Axis(name="y", label="Analysis", unit="1", kind="category", categories=tuple(names)),
        ),
        layers=(
            Points(name=f"estimate, {level:.0%} interval", x=held[0], y=place, lower=held[1], upper=held[2], level=level, role="estimate"),
            Rule(name="no difference", axis="x", value=1.0 if is_ratio else 0.0),
        ),
        alt=f"{quantity}: {words}.",
        table=Table.of(
            ("analysis", None, tuple(names)),
            (quantity, unit, held[0]),
            ("from", unit, held[1]),
            ("to", unit, held[2]),
            title="Analyses side by side",
        ),
        status=status,
        lineage=lineage,
        shown_on=shown_on,
    )


def balance_figure(
    data: TrialData, prognosis: PrognosisBundle | None = None, *, status: Status, lineage: str, shown_on: ShownOn | None
) -> Figure | None:
    """Draw the standardised difference of each covariate; nothing where there is none."""
    apart = standardised_differences(data, prognosis)
    if not apart:
        return None
    names, arms = tuple(apart), data.arms[1:]
    place = Array.of(np.arange(len(names), dtype=float), unit="1", axes=("row",))
    held = {arm: Array.of(np.array([apart[n][arm] for n in names]), unit="1", axes=("row",)) for arm in arms}
    most = max(((abs(v), n) for n, by in apart.items() for v in by.values()), default=(0.0, ""))
    return Figure(
        kind="scatter",
        title="Balance at baseline",
        axes=(
            Axis(name="x", label=f"Difference to {data.arms[0]}, in SD", unit="1"),
            Axis(name="y", label="Covariate", unit="1", kind="category", categories=names),
        ),
        layers=(
            *(
                Points(name=arm, x=held[arm], y=place, series=i, role="estimate", marker=MARKERS[i % len(MARKERS)])
                for i, arm in enumerate(arms)
            ),
            Rule(name="-0.1", axis="x", value=-0.1),
            Rule(name="0.1", axis="x", value=0.1),
        ),
        alt=f"Standardised differences of {len(names)} covariates to {data.arms[0]}; the largest is {most[0]:.3f}, of {most[1]}.",
        table=Table.of(("covariate", None, names), *((arm, "1", held[arm]) for arm in arms), title="Standardised differences"),
        status=status,
        lineage=lineage,
        shown_on=shown_on,
    )


def prognosis_figure(
    data: TrialData, values: np.ndarray, *, unit: str, correlation: float, status: Status, lineage: str, shown_on: ShownOn | None
) -> Figure:
    """Draw what came against what the prognosis said, by arm."""
    layers, columns = [], []
    for a, arm in enumerate(data.arms):
        own = data.arm == a
        x, y = (Array.of(v[own], unit=unit, axes=("patient",)) for v in (values, data.outcome))
        layers.append(Points(name=arm, x=x, y=y, series=a, role="estimate"))
        columns.append((arm, float(values[own].mean()), float(data.outcome[own].mean())))
    table = Table.of(
        ("arm", None, [c[0] for c in columns]), ("mean prognosis", unit, [c[1] for c in columns]), ("mean outcome", unit, [c[2] for c in columns]), title="Means by arm",
    )  # fmt: skip
    return Figure(
        kind="scatter",
        title="Prognosis and outcome",
        axes=(Axis(name="x", label="Prognosis at baseline", unit=unit), Axis(name="y", label="Outcome", unit=unit)),
        layers=tuple(layers),
        alt=f"Outcome against prognosis of {data.n} patients in {len(data.arms)} arms; correlation within arm {correlation:.3f}.",
        table=table,
        status=status,
        lineage=lineage,
        shown_on=shown_on,
    )
