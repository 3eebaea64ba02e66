"""Pictures of verification and sensitivity: shares with intervals, curves over time, screening, convergence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from gemel.core.errors import EvidenceError
from gemel.core.view import Array, Axis, Band, Figure, Line, Points, Table, bars_figure
from gemel.core.view.common import Standing
from gemel.evidence.sensitivity.morris import MorrisResult
from gemel.evidence.sensitivity.polynomial_chaos import PolynomialChaos
from gemel.evidence.sensitivity.shapley import ShapleyResult
from gemel.evidence.sensitivity.sobol import SobolResult
from gemel.evidence.verification.convergence import FittedOrder, GridConvergence

__all__ = ["convergence_figure", "index_curves", "screening_figure", "share_bars"]

MOST = 6
"""So many curves can be told apart."""


def share_bars(
    result: SobolResult | PolynomialChaos | ShapleyResult, *, output: str | None = None, most: int = 20, **standing: Unpack[Standing]
) -> Figure:
    """Draw the total index (or the Shapley effect) of each input as a bar with its interval, the largest first.

    Parameters
    ----------
    output : the quantity; left out, the first (for Shapley the only one).
    most : bars at most.
    standing : status, lineage, shown_on, question, banner, links.
    """
    if isinstance(result, ShapleyResult):
        values, limits, what, of = result.effects, result.interval, "Shapley effect", result.output
    else:
        j = 0 if output is None else result.outputs.index(output)
        values, limits, what, of = result.total[:, j], result.total_interval[:, :, j], "Total index", result.outputs[j]
    if not np.isfinite(values).all():
        raise EvidenceError("a quantity that does not vary has no indices to draw", seen=of)
    order = [int(i) for i in np.argsort(-values, kind="stable")[:most]]
    return bars_figure(
        title=f"What decides {of}", quantity=what, unit="1", category="Input", level=result.level,
        values={result.names[i]: float(values[i]) for i in order},
        intervals={result.names[i]: (float(limits[0, i]), float(limits[1, i])) for i in order}, **standing,
    )  # fmt: skip


def index_curves(result: SobolResult, times: Sequence[float], unit: str, *, most: int = MOST, **standing: Unpack[Standing]) -> Figure:
    """Draw the total index of the inputs that matter most as curves over time, with their intervals.

    Parameters
    ----------
    times, unit : (quantity,) where the quantities of the result lie.
    most : curves at most; the rest stand in the table.
    """
    at = np.asarray(times, float)
    if len(at) != len(result.outputs):
        raise EvidenceError("there must be one time per quantity", seen=f"{len(at)} times, {len(result.outputs)} quantities")
    x = Array.of(at, unit=unit, axes=("time",))
    order = [int(i) for i in np.argsort(-result.whole[1], kind="stable")]
    layers: list[Band | Line] = []
    columns: list[tuple[str, str | None, object]] = [("time", unit, x)]
    for place, i in enumerate(order):
        y = Array.of(result.total[i], unit="1", axes=("time",))
        columns.append((result.names[i], "1", y))
        if place < most:
            low, high = (Array.of(v, unit="1", axes=("time",)) for v in result.total_interval[:, i])
            layers += [
                Band(name=result.names[i], x=x, lower=low, upper=high, level=result.level, role="reference", label="none"),
                Line(name=result.names[i], x=x, y=y),
            ]
    first = result.names[order[0]]
    alt = f"Total indices of {len(order)} inputs over time; over all times {first} has the largest share, {100 * result.whole[1, order[0]]:.0f} %."
    return Figure(
        kind="curve", title="What decides the answer, over time", layers=tuple(layers), alt=alt, table=Table.of(*columns, is_keyed=True),
        axes=(Axis(name="x", label="Time", unit=unit), Axis(name="y", label="Total index", unit="1")), **standing,
    )  # fmt: skip


def screening_figure(result: MorrisResult, unit: str, *, output: str | None = None, **standing: Unpack[Standing]) -> Figure:
    """Draw mu* against sigma: far right matters, high up depends on where it and the others stand."""
    j = 0 if output is None else result.outputs.index(output)
    star, sigma = (Array.of(v[:, j], unit=unit, axes=("input",)) for v in (result.mu_star, result.sigma))
    limits = [Array.of(v[:, j], unit=unit, axes=("input",)) for v in result.mu_star_interval]
    order = result.ranking(result.outputs[j])
    line = Array.of(np.array([0.0, float(result.mu_star[:, j].max())]), unit=unit, axes=("end",))
    return Figure(
        kind="scatter", title=f"Screening: {result.outputs[j]}",
        axes=(Axis(name="x", label="mu*, mean size of the effect", unit=unit), Axis(name="y", label="sigma, spread of the effect", unit=unit)),
        layers=(Points(name="inputs", x=star, y=sigma, role="estimate"), Line(name="sigma = mu*", x=line, y=line, role="reference")),
        alt=f"Of {len(order)} inputs {order[0]} has the largest mean effect, {result.mu_star[:, j].max():.3g} {unit} over its range; {order[-1]} the smallest.",
        table=Table.of(("Input", None, result.names), ("mu*", unit, star), (f"{100 * result.level:.0f} % from", unit, limits[0]), ("to", unit, limits[1]), ("sigma", unit, sigma)),
        **standing,
    )  # fmt: skip


def convergence_figure(
    result: FittedOrder | GridConvergence, name: str, *, size_unit: str = "1", unit: str = "1", **standing: Unpack[Standing]
) -> Figure:
    """Draw errors against steps (a known answer), or values against grid sizes, with Richardson's value where there is one.

    Parameters
    ----------
    name : of the quantity.
    size_unit, unit : of the steps and of the quantity.
    """
    if isinstance(result, FittedOrder):
        h, y = np.array(result.steps), np.array(result.errors)
        x, e = Array.of(h, unit=size_unit, axes=("step",)), Array.of(y, unit=unit, axes=("step",))
        fit = np.exp(np.log(y).mean() + result.order * (np.log(h) - np.log(h).mean()))
        alt = f"The error of {name} falls with order {result.order:.2f} over {len(h)} steps."
        return Figure(
            kind="scatter", title=f"Order of convergence: {name}", alt=alt,
            axes=(Axis(name="x", label="Step", unit=size_unit, kind="log"), Axis(name="y", label="Error", unit=unit, kind="log")),
            layers=(Points(name="error", x=x, y=e, role="estimate"), Line(name=f"order {result.order:.2f}", x=x, y=Array.of(fit, unit=unit, axes=("step",)), role="reference")),
            table=Table.of(("step", size_unit, x), ("error", unit, e), is_keyed=True), **standing,
        )  # fmt: skip
    x, y = Array.of(np.array(result.sizes), unit=size_unit, axes=("grid",)), Array.of(np.array(result.values), unit=unit, axes=("grid",))
    layers: list[Points | Line] = [Points(name="grids", x=x, y=y, role="estimate")]
    if result.richardson is not None and result.order is not None:
        h = np.linspace(0, result.sizes[-1], 41)
        path = result.richardson + (result.values[0] - result.richardson) * (h / result.sizes[0]) ** result.order
        layers.append(
            Line(name=f"order {result.order:.2f}", x=Array.of(h, unit=size_unit, axes=("point",)), y=Array.of(path, unit=unit, axes=("point",)), role="reference")
        )  # fmt: skip
    return Figure(
        kind="scatter", title=f"Grid convergence: {name}", layers=tuple(layers), alt=f"{name} on {len(result.sizes)} grids: {result.sentence}.",
        axes=(Axis(name="x", label="Grid size", unit=size_unit), Axis(name="y", label=name, unit=unit)),
        table=Table.of(("grid size", size_unit, x), (name, unit, y), is_keyed=True), **standing,
    )  # fmt: skip
