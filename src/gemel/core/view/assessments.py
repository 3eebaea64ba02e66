"""Figures of how far to trust: posterior against prior, calibration, and plain bars with intervals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemel.core.errors import ViewError

from .array import Array
from .common import Standing
from .figure import Figure
from .layers import Band, Bars, Layer, Line, Points, Rule
from .parts import Axis, Panel, Table
from .statistics import binomial_limits, central, density, quantiles
from .words import count_text, number_text, percent, sentence, span_text, unit_text, with_unit

PRIOR_DOMINATED = 0.8
"""A parameter is prior-dominated when its posterior's standard deviation is above this share of its prior's: the data said little."""


def posterior_figure(
    *,
    title: str,
    parameters: Mapping[str, tuple[ArrayLike, ArrayLike, str]],
    weights: ArrayLike | None = None,
    truth: Mapping[str, float] | None = None,
    dominated: Collection[str] | None = None,
    **standing: Unpack[Standing],
) -> Figure:
    """Describe prior and posterior of each parameter, one panel each; prior-dominated ones are marked.

    Parameters
    ----------
    parameters : name -> (prior draws (draw,), posterior draws (draw,), UCUM unit).
    weights : (draw,) of the posterior draws, or None.
    truth : name -> known value, for simulated patients.
    dominated : names that are prior-dominated; when None, those whose standard deviation (of the logarithm, where positive) shrank
        to no less than `PRIOR_DOMINATED` of the prior's.
    standing : status, lineage, shown_on, question, banner, links; see `Figure`.
    """
    if not parameters:
        raise ViewError("posterior_figure: no parameters; expected at least one")
    axes: list[Axis] = []
    panels: list[Panel] = []
    layers: list[Layer] = []
    rows: list[list[Any]] = []
    marked: list[str] = []
    for panel, (name, (prior, posterior, unit)) in enumerate(parameters.items()):
        before, after = quantiles(prior, (0.5, 0.05, 0.95)), quantiles(posterior, (0.5, 0.05, 0.95), weights)
        is_dominated = _is_dominated(prior, posterior, weights) if dominated is None else name in dominated
        marked += [name] if is_dominated else []
        low, high = (
            np.minimum(*(quantiles(d, (0.002, 0.998)) for d in (prior, posterior)))[0],
            np.maximum(*(quantiles(d, (0.002, 0.998)) for d in (prior, posterior)))[1],
        )
        margin = 0.06 * (high - low) or 1.0
        grid = np.linspace(low - margin, high + margin, 160)
        if np.min(prior) >= 0 and np.min(posterior) >= 0:
            grid = np.linspace(max(low - margin, 0.0), high + margin, 160)
        x = Array.of(grid, unit=unit, axes=("value",))
        heights = density(prior, grid), density(posterior, grid, weights)
        highest = max(float(height.max()) for height in heights)
        curves = [Array.of(height / highest, unit="1", axes=("value",)) for height in heights]
        zero = Array.of(np.zeros(grid.size), unit="1", axes=("value",))
        axes += [
            Axis(name="x", label=name, unit=unit, panel=panel),
            Axis(name="y", label="Relative density", unit="1", range=(0, 1.05), panel=panel),
        ]
        panels.append(Panel(title=name, note="prior-dominated" if is_dominated else ""))
        layers += [
            Band(x=x, lower=zero, upper=curves[0], level=1.0, role="prior", panel=panel, label="none"),
            Band(x=x, lower=zero, upper=curves[1], level=1.0, role="posterior", panel=panel, label="none"),
            Line(name="prior", x=x, y=curves[0], role="prior", panel=panel, label="legend"),
            Line(name="posterior", x=x, y=curves[1], role="posterior", panel=panel, label="legend"),
        ]
        if truth is not None and name in truth:
            layers.append(Rule(name="true value", axis="x", value=float(truth[name]), panel=panel))
        rows.append(
            [name, unit_text(unit), *(number_text(float(v), digits=4) for v in (*before, *after)), panels[-1].note or "informed by data"]
        )
    first, (prior, posterior, unit) = next(iter(parameters.items()))
    after, before = quantiles(posterior, (0.5, 0.05, 0.95), weights), quantiles(prior, (0.5, 0.05, 0.95))
    words = f"{first} {with_unit(float(after[0]), unit)}, 90 % interval {span_text(float(after[1]), float(after[2]), unit)}"
    words += f", prior {span_text(float(before[1]), float(before[2]), unit)}"
    tail = f"; prior-dominated: {', '.join(marked)}" if marked else "; none is prior-dominated"
    heads = ("parameter", "unit", "prior median", "prior 5 %", "prior 95 %", "posterior median", "posterior 5 %", "posterior 95 %", "state")
    return Figure(
        kind="posterior",
        title=title,
        axes=tuple(axes),
        panels=tuple(panels),
        columns=2 if len(panels) in (2, 4) else min(3, len(panels)),  # type: ignore[arg-type]
        layers=tuple(layers),
        alt=sentence(f"Posterior of {count_text(len(parameters), 'parameter')}: {words}{tail}"),
        table=Table.of(*((head, None, [row[i] for row in rows]) for i, head in enumerate(heads)), title=title),
        **standing,  # pyright: ignore[reportArgumentType]  a Lineage becomes its id
    )


def _is_dominated(prior: ArrayLike, posterior: ArrayLike, weights: ArrayLike | None) -> bool:
    before, after = np.asarray(prior, dtype=np.float64), np.asarray(posterior, dtype=np.float64)
    if before.min() > 0 and after.min() > 0:
        before, after = np.log(before), np.log(after)
    weight = np.ones(after.size) if weights is None else np.asarray(weights, dtype=np.float64)
    mean = np.average(after, weights=weight)
    return bool(np.sqrt(np.average((after - mean) ** 2, weights=weight)) > PRIOR_DOMINATED * before.std())


def calibration_figure(
    *,
    title: str,
    pit: ArrayLike,
    levels: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
    effective: float | None = None,
    bins: int = 10,
    **standing: Unpack[Standing],
) -> Figure:
    """Describe whether forecasts keep their promises: the PIT histogram, and how many values fell inside each central band.

    Parameters
    ----------
    pit : (forecast,) probability integral transforms, from 0 to 1.
    levels : (level,) of the central bands, fractions.
    effective : number of independent forecasts that these are worth; all when None. Grey limits are for this number.
    bins : of the histogram.
    standing : status, lineage, shown_on, question, banner, links; see `Figure`.
    """
    values = np.asarray(pit, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0 or values.min() < 0 or values.max() > 1:
        raise ViewError(f"calibration_figure: {values.size} PIT values; expected at least one, all from 0 to 1")
    n = max(1, round(min(effective if effective is not None else values.size, values.size)))
    count, edges = np.histogram(values, bins=bins, range=(0, 1))
    shares = 100 * count / values.size
    low, high = (100 * limit / n for limit in binomial_limits(n, 1 / bins))
    nominal = np.asarray(levels, dtype=np.float64)
    covered = np.array([coverage(values, level) for level in nominal])
    expected = np.array([binomial_limits(n, level) for level in nominal]) / n
    held: dict[str, Array] = {
        name: Array.of(array, unit="%", axes=("level",))
        for name, array in (
            ("nominal", 100 * nominal),
            ("covered", 100 * covered),
            ("low", 100 * expected[:, 0]),
            ("high", 100 * expected[:, 1]),
        )
    }
    at = _nearest(nominal, 0.9)
    lower, upper = expected[at]
    is_inside = bool(lower <= covered[at] <= upper)
    band = Array.of([0.0, 1.0], unit="1", axes=("edge",))
    held_text = f"the {percent(float(nominal[at]))} band held {number_text(100 * float(covered[at]))} %"
    alt = (
        f"Calibration of {count_text(values.size, 'forecast value')}: {held_text}"
        f", {'inside' if is_inside else 'OUTSIDE'} the {span_text(100 * lower, 100 * upper, '%')} expected by chance"
    )
    return Figure(
        kind="calibration",
        title=title,
        axes=(
            Axis(name="x", label="Nominal level of the band", unit="%", range=(0, 100)),
            Axis(name="y", label="Values inside", unit="%", range=(0, 100)),
            Axis(name="x", label="PIT", unit="1", range=(0, 1), panel=1),
            Axis(name="y", label="Share of values", unit="%", panel=1),
        ),
        panels=(Panel(title="Coverage"), Panel(title="Probability integral transform")),
        columns=2,
        layers=(
            Band(
                name="90 % by chance", x=held["nominal"], lower=held["low"], upper=held["high"], level=0.9, role="reference", label="legend"
            ),
            Line(name="ideal", x=Array.of([0.0, 100.0], unit="%"), y=Array.of([0.0, 100.0], unit="%"), role="ideal", label="legend"),
            Line(x=held["nominal"], y=held["covered"], label="none"),
            Points(name="observed", x=held["nominal"], y=held["covered"], role="estimate"),
            Band(
                x=band,
                lower=Array.of([low, low], unit="%"),
                upper=Array.of([high, high], unit="%"),
                level=0.9,
                role="reference",
                panel=1,
                label="none",
            ),
            Bars(value=Array.of(shares, unit="%"), edges=Array.of(edges, unit="1"), panel=1, label="none"),
            Rule(value=100 / bins, panel=1),
        ),
        alt=sentence(alt),
        table=Table.of(
            ("band", "%", held["nominal"]),
            ("values inside", "%", held["covered"]),
            ("by chance from", "%", held["low"]),
            ("by chance to", "%", held["high"]),
            title="Coverage of central bands",
            note=f"PIT histogram, % per bin from 0 to 1: {', '.join(number_text(float(share)) for share in shares)}; limits for n = {n}",
        ),
        **standing,  # pyright: ignore[reportArgumentType]  a Lineage becomes its id
    )


def coverage(pit: ArrayLike, level: float) -> float:
    """Return the share of values inside the central band of a level, from their PIT; both ends are inside.

    Examples
    --------
    >>> coverage([0.05, 0.3, 0.6, 0.99], 0.9)
    0.75
    """
    low, high = central(level)
    values = np.asarray(pit, dtype=np.float64)
    return float(np.mean((values >= low - 1e-12) & (values <= high + 1e-12)))


def _nearest(values: NDArray[np.float64], wanted: float) -> int:
    return int(np.argmin(np.abs(values - wanted)))


def bars_figure(
    *,
    title: str,
    quantity: str,
    unit: str,
    values: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]] | None = None,
    level: float = 0.9,
    category: str = "Group",
    thresholds: Sequence[tuple[float, str]] = (),
    **standing: Unpack[Standing],
) -> Figure:
    """Describe one number per category as lying bars from zero, with an interval each.

    Parameters
    ----------
    quantity, unit : of the values.
    values : category -> value, drawn from top to bottom.
    intervals : category -> (lower, upper) of `level`; None only for what is exact, such as counts.
    category : what the categories are.
    thresholds : (value, name) of thin lines.
    standing : status, lineage, shown_on, question, banner, links; see `Figure`.
    """
    if not values:
        raise ViewError("bars_figure: no values; expected at least one category")
    names, sides = tuple(values), tuple(float(value) for value, _ in thresholds)
    number = np.array([values[name] for name in names], dtype=np.float64)
    ends = None if intervals is None else np.array([intervals.get(name, (np.nan, np.nan)) for name in names], dtype=np.float64)
    held = Array.of(number, unit=unit, axes=("category",))
    low, high = (None, None) if ends is None else (Array.of(ends[:, i], unit=unit, axes=("category",)) for i in (0, 1))
    largest, smallest = int(np.nanargmax(number)), int(np.nanargmin(number))
    alt = f"{quantity} of {len(names)}: highest {names[largest]}, {with_unit(float(number[largest]), unit, sides=sides)}"
    if ends is not None and np.isfinite(ends[largest]).all():
        alt += f" ({percent(level)} interval {span_text(float(ends[largest, 0]), float(ends[largest, 1]), unit)})"
    if smallest != largest:
        alt += f"; lowest {names[smallest]}, {with_unit(float(number[smallest]), unit, sides=sides)}"
    columns: list[tuple[str, str | None, object]] = [(category, None, names), (quantity, unit, held)]
    columns += [] if low is None or high is None else [(f"{percent(level)} from", unit, low), (f"{percent(level)} to", unit, high)]
    return Figure(
        kind="bars",
        title=title,
        axes=(Axis(name="x", label=quantity, unit=unit), Axis(name="y", label=category, unit="1", kind="category", categories=names)),
        layers=(
            Bars(value=held, lower=low, upper=high, level=level if low is not None else None, label="none"),
            *(Rule(name=name, axis="x", value=float(value)) for value, name in thresholds),
        ),
        alt=sentence(alt),
        table=Table.of(*columns, title=title),
        **standing,  # pyright: ignore[reportArgumentType]  a Lineage becomes its id
    )
