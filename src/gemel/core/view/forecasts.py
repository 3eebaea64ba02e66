"""Figures of what is to come: one forecast as a fan, and plans compared under common draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemel.core.errors import ViewError

from .array import Array
from .common import Standing, along, held, limits, moment, place, sides_of, time_axis
from .figure import Figure
from .layers import Band, Layer, Line, Points, Rule
from .parts import Axis, Event, Panel, Table
from .statistics import central, quantiles
from .words import clock_text, date_text, duration_text, number_text, percent, sentence, span_text, unit_text, with_unit


def fan_figure(
    *,
    title: str,
    quantity: str,
    unit: str,
    time: Any,
    draws: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    levels: Sequence[float] = (0.5, 0.9),
    median: ArrayLike | None = None,
    bands: Mapping[float, tuple[ArrayLike, ArrayLike]] | None = None,
    data: tuple[Any, ArrayLike] | None = None,
    later: tuple[Any, ArrayLike] | None = None,
    past: Sequence[tuple[Any, ArrayLike]] = (),
    issued: Any = None,
    target: tuple[float | None, float | None] | None = None,
    thresholds: Sequence[tuple[float, str]] = (),
    events: tuple[Event, ...] = (),
    max_gap: float | None = None,
    zone: str = "UTC",
    time_unit: str | None = None,
    **standing: Unpack[Standing],
) -> Figure:
    """Describe one forecast: median, bands, the data before it, what happened later, and past forecasts.

    Parameters
    ----------
    title, quantity, unit : such as "Next two hours", "Glucose", "mg/dL".
    time : (time,) datetime64 or int64 ns UTC; numbers when `time_unit` is given.
    draws : (draw, time) of the quantity, from which median and bands of `levels` are taken; with optional `weights` (draw,).
    median, bands : (time,) and level -> two (time,), in place of draws.
    data, later : (time, value) known when the forecast was made, and observed since.
    past : (time, median) of earlier forecasts.
    issued : when the forecast was made; drawn as a line.
    target : lower and upper end of the target range, None for open.
    thresholds : (value, name) of thin lines.
    max_gap : longest stretch over which the data's line is drawn, ns or `time_unit`; None draws dots only.
    standing : status, lineage, shown_on, question, banner, links; see `Figure`.
    """
    if draws is not None:
        inner = sorted(levels)
        found = quantiles(draws, [0.5, *(end for level in inner for end in central(level))], weights)
        median, bands = found[0], {level: (found[1 + 2 * i], found[2 + 2 * i]) for i, level in enumerate(inner)}
    if median is None or not bands:
        raise ViewError("fan_figure: neither draws, nor median with bands; a forecast without its uncertainty is not shown")
    x, middle = along(time, time_unit), np.asarray(median, dtype=np.float64)
    if len(x) == 0:
        raise ViewError("fan_figure: no times; expected at least one")
    ordered = {level: tuple(np.asarray(end, dtype=np.float64) for end in bands[level]) for level in sorted(bands, reverse=True)}
    layers: list[Layer] = limits(target, thresholds)
    for level, (lower, upper) in ordered.items():
        layers.append(Band(name=f"{percent(level)} band", level=level, x=x, lower=held(lower, unit), upper=held(upper, unit)))
    layers.extend(Line(name="past forecasts", x=along(t, time_unit), y=held(y, unit), role="past", label="legend") for t, y in past)
    layers.append(Line(name="median", x=x, y=held(middle, unit)))
    layers.extend(_observed(data, "observed", "dot", unit, time_unit, max_gap))
    layers.extend(_observed(later, "observed since", "ring", unit, time_unit, None))
    if issued is not None:
        layers.append(Rule(name="forecast made", axis="x", role="now", value=place(issued, time_unit)))
    columns = [("time", x.unit, x), ("median", unit, held(middle, unit))]
    for level, (lower, upper) in reversed(ordered.items()):
        columns += [(f"{percent(level)} from", unit, held(lower, unit)), (f"{percent(level)} to", unit, held(upper, unit))]
    return Figure(
        kind="fan",
        title=title,
        axes=(time_axis(time_unit, zone), Axis(name="y", label=quantity, unit=unit)),
        layers=tuple(layers),
        events=events,
        alt=_fan_sentence(quantity, unit, x, middle, ordered, data, issued, time_unit, zone, target, thresholds),
        table=Table.of(*columns, title=f"{quantity}: forecast", zone=zone, is_keyed=True),
        **standing,  # pyright: ignore[reportArgumentType]  a Lineage becomes its id
    )


def _observed(data: Any, name: str, marker: Any, unit: str, time_unit: str | None, max_gap: float | None) -> list[Layer]:
    if data is None or len(data[0]) == 0:
        return []
    x, y = along(data[0], time_unit), held(data[1], unit)
    made: list[Layer] = [Line(x=x, y=y, role="data", max_gap=max_gap, label="none")] if max_gap is not None else []
    return [*made, Points(name=name, x=x, y=y, marker=marker)]


def _fan_sentence(
    quantity: str,
    unit: str,
    x: Array,
    median: NDArray[np.float64],
    bands: Mapping[float, tuple[NDArray[np.float64], ...]],
    data: Any,
    issued: Any,
    time_unit: str | None,
    zone: str,
    target: tuple[float | None, float | None] | None,
    thresholds: Sequence[tuple[float, str]],
) -> str:
    at, sides = x.numpy(), sides_of(target, thresholds)
    start = place(issued, time_unit) if issued is not None else at[0].item()
    words = f"{quantity} forecast"
    if data is not None and len(data[0]):
        data_time, value = along(data[0], time_unit).numpy(), np.asarray(data[1], dtype=np.float64)
        known = np.flatnonzero(np.isfinite(value))
        if known.size:
            start = data_time[known[-1]].item() if issued is None else start
            words += (
                f" from {with_unit(float(value[known[-1]]), unit, sides=sides)} at {moment(data_time[known[-1]].item(), time_unit, zone)}"
            )
    elif time_unit is None:
        words += f" from {moment(start, time_unit, zone)}"
    elapsed = at[-1].item() - start
    after = duration_text(int(elapsed)) if time_unit is None else with_unit(elapsed, time_unit)
    widest = max(bands)
    lower, upper = bands[widest]
    words += f": median {with_unit(float(median[-1]), unit, sides=sides)} after {after}, {percent(widest)} band"
    words += f" {span_text(float(lower[-1]), float(upper[-1]), unit, sides=sides)}"
    for bound, end, is_out, verb in zip(target or (), (lower, upper), (np.less, np.greater), ("falls below", "rises above"), strict=False):
        hits = np.flatnonzero(is_out(end, bound)) if bound is not None else np.zeros(0, dtype=int)
        if hits.size:
            words += f"; the {percent(widest)} band {verb} {with_unit(bound, unit)} at {moment(at[hits[0]].item(), time_unit, zone)}"
    return sentence(words)


def compare_figure(
    *,
    title: str,
    quantity: str,
    unit: str,
    time: Any,
    plans: Mapping[str, ArrayLike],
    reference: str | None = None,
    weights: ArrayLike | None = None,
    level: float = 0.9,
    target: tuple[float | None, float | None] | None = None,
    thresholds: Sequence[tuple[float, str]] = (),
    events: tuple[Event, ...] = (),
    zone: str = "UTC",
    time_unit: str | None = None,
    **standing: Unpack[Standing],
) -> Figure:
    """Describe plans under common draws, and each plan's difference from the reference with its own interval.

    Parameters
    ----------
    time : (time,) as in `fan_figure`.
    plans : name -> (draw, time); draw i of every plan is the same patient and the same noise.
    reference : the plan that differences are taken from; the first when None.
    weights : (draw,) or None.
    level : of the intervals.
    standing : status, lineage, shown_on, question, banner, links; see `Figure`.
    """
    drawn = {name: np.asarray(draws, dtype=np.float64) for name, draws in plans.items()}
    if len(drawn) < 2 or len({draws.shape for draws in drawn.values()}) > 1:
        raise ViewError(
            f"compare_figure: shapes {[draws.shape for draws in drawn.values()]}; expected two or more plans with the same (draw, time)"
        )
    base = reference if reference is not None else next(iter(drawn))
    if base not in drawn:
        raise ViewError(f"compare_figure: reference {base!r} is not among the plans {list(drawn)}")
    x, probabilities, sides = along(time, time_unit), (0.5, *central(level)), sides_of(target, thresholds)
    layers: list[Layer] = limits(target, thresholds)
    lines: list[Layer] = []
    columns: list[tuple[str, str | None, object]] = [("time", x.unit, x)]
    words: list[str] = []
    for series, (name, draws) in enumerate(drawn.items()):
        middle, lower, upper = (held(values, unit) for values in quantiles(draws, probabilities, weights))
        layers.append(Band(x=x, lower=lower, upper=upper, level=level, series=series, name=f"{name}, {percent(level)}", label="none"))
        lines.append(Line(name=name, x=x, y=middle, series=series))
        columns += [
            (f"{name}: median", unit, middle),
            (f"{name}: {percent(level)} from", unit, lower),
            (f"{name}: {percent(level)} to", unit, upper),
        ]
        words.append(f"{name} {number_text(float(middle.numpy()[-1]), sides=sides)}")
    differences: list[str] = []
    for series, (name, draws) in enumerate(drawn.items()):
        if name == base:
            continue
        middle, lower, upper = (held(values, unit) for values in quantiles(draws - drawn[base], probabilities, weights))
        layers.append(
            Band(x=x, lower=lower, upper=upper, level=level, series=series, panel=1, name=f"{name}, {percent(level)}", label="none")
        )
        lines.append(Line(name=name, x=x, y=middle, series=series, panel=1))
        for part, values in (("", middle), (f" {percent(level)} from", lower), (f" {percent(level)} to", upper)):
            columns.append((f"{name} \u2212 {base}{part}", unit, values))
        end = [float(values.numpy()[-1]) for values in (middle, lower, upper)]
        differences.append(f"{name} minus {base} {number_text(end[0], sides=(0,))} ({span_text(end[1], end[2], unit, sides=(0,))})")
    layers.append(Rule(value=0.0, panel=1, name=""))
    at = x.numpy()[-1].item()
    when = f"{clock_text(at, zone)} on {date_text(at, zone)}" if time_unit is None else with_unit(at, time_unit)
    return Figure(
        kind="compare",
        title=title,
        axes=(
            time_axis(time_unit, zone),
            Axis(name="y", label=quantity, unit=unit),
            time_axis(time_unit, zone, panel=1),
            Axis(name="y", label="Difference", unit=unit, panel=1),
        ),
        panels=(Panel(share=1.6), Panel(title=f"Difference from {base}, draw by draw", share=1.0)),
        layers=(*layers, *lines),
        events=events,
        alt=sentence(
            f"{quantity} under {len(drawn)} plans at {when}: median {', '.join(words)} {unit_text(unit)}; "
            f"{', '.join(differences)}, {percent(level)} interval"
        ),
        table=Table.of(*columns, title=f"{quantity} by plan", zone=zone, is_keyed=True),
        **standing,  # pyright: ignore[reportArgumentType]  a Lineage becomes its id
    )
