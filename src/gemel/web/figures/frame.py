"""Where the panels of a figure stand, and from which value to which their axes go."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemel.core.view import Axis, Band, Bars, Cells, Facts, Figure, Line, Points, Region, Rule, Shares, unit_text
from gemel.web.scale import Scale, Tick, nice_step, text_width

GAP = 34.0


@dataclass(frozen=True)
class Frame:
    """One panel in pixels: its plot area, its scales and their ticks."""

    figure: Figure
    panel: int
    left: float
    top: float
    width: float
    height: float
    x: Scale
    y: Scale
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def right(self) -> float:
        """Right end of the plot area."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Lower end of the plot area."""
        return self.top + self.height

    def layers(self) -> list[Any]:
        """Return the layers of this panel, what lies below first."""
        mine = [layer for layer in self.figure.layers if layer.panel == self.panel]
        return sorted(mine, key=lambda layer: RANK.get(layer.type, 9) - (0.5 if getattr(layer, "role", "") in ("past", "draw") else 0))


RANK = {"region": 0, "cells": 1, "band": 2, "bars": 3, "shares": 3, "facts": 3, "rule": 4, "line": 5, "points": 6}


def axis_title(axis: Axis) -> str:
    """Write what stands at an axis: label and unit, or label and zone."""
    unit = axis.zone if axis.kind in ("time", "clock") else unit_text(axis.unit)
    return f"{axis.label} ({unit})" if unit and axis.kind != "category" else axis.label


def extent(figure: Figure, panel: int, name: str) -> tuple[float, float]:
    """Return the ends of an axis: as described, or the data's own with round margins.

    Parameters
    ----------
    figure, panel, name : which axis, `x` or `y`.

    Returns
    -------
    (low, high) in the unit of the axis; whole nanoseconds on a time axis.
    """
    axis = figure.axis(name, panel)
    if axis is None:
        return 0.0, 1.0
    if axis.kind == "category":
        return -0.5, len(axis.categories) - 0.5
    if axis.range is not None:
        return axis.range
    found = [np.asarray(values) for values in _values(figure, panel, name, axis)]
    found = [values[np.isfinite(values)] for values in found]
    if axis.kind == "log":
        found = [values[values > 0] for values in found]
    found = [values for values in found if values.size]
    if not found:
        return (0.0, 1.0) if axis.kind != "log" else (1.0, 10.0)
    low, high = min(values.min().item() for values in found), max(values.max().item() for values in found)
    if axis.kind == "time":
        return (low, high) if low < high else (low - 1_800_000_000_000, high + 1_800_000_000_000)
    if low == high:
        low, high = low - (abs(low) * 0.1 or 1.0), high + (abs(high) * 0.1 or 1.0)
    if axis.kind == "log":
        return low / 1.15, high * 1.15
    return _padded(figure, panel, name, low, high)


def _padded(figure: Figure, panel: int, name: str, low: float, high: float) -> tuple[float, float]:
    mine = [layer for layer in figure.layers if layer.panel == panel]
    axis = figure.axis("y", panel)
    lies = axis is not None and axis.kind == "category"
    is_filled = any(isinstance(layer, Bars) or (isinstance(layer, Band) and layer.role in ("prior", "posterior")) for layer in mine)
    stands_on_zero = low >= 0 and is_filled and name == ("x" if lies else "y")
    if name == "x" and not any(isinstance(layer, Bars | Points) for layer in mine):
        return low, high
    if any(isinstance(layer, Cells) for layer in mine):
        return low, high
    margin = (0.1 if lies and is_filled else 0.04) * (high - low)
    if name == "x" and lies and is_filled:
        return (0.0 if stands_on_zero else low - margin), high + margin / 2
    if name == "x" and is_filled:
        return low, high
    if name == "x" and not stands_on_zero:
        return low - margin, high + margin
    step = nice_step(high - low, 6) / 2
    padded_low = 0.0 if stands_on_zero or 0 <= low < margin * 2 else math.floor((low - margin) / step) * step
    return padded_low, math.ceil((high + margin) / step) * step


def _values(figure: Figure, panel: int, name: str, axis: Axis) -> Iterator[NDArray[Any]]:
    other = figure.axis("x" if name == "y" else "y", panel)
    is_along = other is not None and other.kind == "category"
    for layer in figure.layers:
        if layer.panel != panel:
            continue
        if isinstance(layer, Line | Points):
            yield (layer.x if name == "x" else layer.y).numpy()
        if isinstance(layer, Points) and (name == "y" or is_along):
            yield from (end.numpy() for end in (layer.lower, layer.upper) if end is not None)
        elif isinstance(layer, Band):
            yield from (part.numpy() for part in ((layer.x,) if name == "x" else (layer.lower, layer.upper)))
        elif isinstance(layer, Bars):
            if layer.edges is not None and name == "x":
                yield layer.edges.numpy()
            elif layer.edges is None or name == "y":
                yield from (part.numpy() for part in (layer.value, layer.base, layer.lower, layer.upper) if part is not None)
                if layer.base is None:
                    yield np.zeros(1)
        elif isinstance(layer, Cells):
            yield (layer.x_edges if name == "x" else layer.y_edges).numpy()
        elif isinstance(layer, Facts) and name == "x":
            yield from (part.numpy() for part in (layer.start, layer.end, layer.recorded) if part is not None)
        elif isinstance(layer, Rule) and layer.axis == name:
            yield np.array([layer.value])
        elif isinstance(layer, Region) and layer.axis == name and name == "y":
            yield np.array([end for end in (layer.lower, layer.upper) if end is not None], dtype=np.float64)
    if name == "x" and panel == 0 and figure.events:
        yield np.array([event.x for event in figure.events], dtype=np.int64 if axis.kind == "time" else np.float64)


def panel_count(figure: Figure) -> int:
    """Return how many panels a figure has."""
    return 1 + max((item.panel for item in (*figure.layers, *figure.axes)), default=0)


def layout(
    figure: Figure, width: float, top: float, events: float, right: dict[int, float], height: float | None = None
) -> tuple[list[Frame], float]:
    """Place all panels.

    Parameters
    ----------
    figure : to be drawn.
    width : of the whole, pixels.
    top : where panels may begin, pixels.
    events : height of the event lane above the first panel, pixels.
    right : panel -> space that labels at its right end need, pixels.
    height : of the first plot area, pixels; by kind when None.

    Returns
    -------
    frames, and where the last one's axis ends, pixels.
    """
    count, columns = panel_count(figure), figure.columns
    cell = (width - GAP * (columns - 1)) / columns
    frames: list[Frame] = []
    lefts = [_left(figure, panel, _tall(figure, panel, height)) for panel in range(count)]
    end = top
    for row in range(0, count, columns):
        members = range(row, min(row + columns, count))
        head = max(_head(figure, panel) for panel in members) + (events if row == 0 else 0)
        tall = max(_tall(figure, panel, height) for panel in members)
        below = 0.0
        for place, panel in enumerate(members):
            left = place * (cell + GAP) + (max(lefts) if columns == 1 else lefts[panel])
            wide = place * (cell + GAP) + cell - (max(right.values()) if columns == 1 else right[panel]) - left
            x = _scale(figure, panel, "x", left, left + wide)
            is_listed = (axis := figure.axis("y", panel)) is not None and axis.kind == "category"
            y = _scale(figure, panel, "y", *((end + head, end + head + tall) if is_listed else (end + head + tall, end + head)))
            ticks = tuple(_spaced(x))
            frames.append(Frame(figure, panel, left, end + head, wide, tall, x, y, ticks, tuple(y.ticks(42 if tall > 120 else 30))))
            is_strip = any(isinstance(layer, Shares) for layer in figure.layers if layer.panel == panel)
            below = max(below, 28.0 if is_strip else 42.0 + (15.0 if any(tick.below for tick in ticks) else 0.0))
        end += head + tall + below
    return frames, end


def _left(figure: Figure, panel: int, tall: float) -> float:
    axis = figure.axis("y", panel)
    if axis is None or any(isinstance(layer, Shares) for layer in figure.layers if layer.panel == panel):
        return 12.0
    if axis.kind == "category":
        return min(240.0, 14.0 + max(text_width(name) for name in axis.categories))
    low, high = extent(figure, panel, "y")
    labels = Scale(axis.kind, low, high, tall, 0.0, axis.categories, axis.zone).ticks(42 if tall > 120 else 30)
    return 14.0 + max((text_width(tick.text) for tick in labels), default=20.0)


def _head(figure: Figure, panel: int) -> float:
    title = figure.panels[panel].title or figure.panels[panel].note if panel < len(figure.panels) else ""
    is_strip = any(isinstance(layer, Shares) for layer in figure.layers if layer.panel == panel)
    return (30.0 if title else 0.0) + (0.0 if is_strip else 29.0)


def _tall(figure: Figure, panel: int, height: float | None) -> float:
    if any(isinstance(layer, Shares) for layer in figure.layers if layer.panel == panel):
        return 26.0
    axis = figure.axis("y", panel)
    share = figure.panels[panel].share if panel < len(figure.panels) else 1.0
    if axis is not None and axis.kind == "category":
        return max(70.0, (30.0 if figure.kind != "timeline" else 44.0) * len(axis.categories))
    if height is not None:
        return height * share
    if figure.columns > 1:
        return {2: 250.0, 3: 150.0}.get(figure.columns, 130.0)
    return (170.0 if panel_count(figure) > 1 and figure.kind != "agp" else 300.0) * share


def _scale(figure: Figure, panel: int, name: str, start: float, stop: float) -> Scale:
    axis = figure.axis(name, panel)
    low, high = extent(figure, panel, name)
    if axis is None:
        return Scale("linear", low, high, start, stop)
    return Scale(axis.kind, low, high, start, stop, axis.categories, axis.zone)


def _spaced(scale: Scale) -> list[Tick]:
    """Return ticks whose words do not touch."""
    ticks: list[Tick] = []
    ends: list[float] = []
    for spacing in (*((44,) if scale.pixels < 320 else ()), 72, 90, 120, 160, 220, 320):
        ticks = scale.ticks(spacing)
        ends = [float(scale(np.asarray(tick.value, dtype=np.int64 if scale.kind == "time" else np.float64))) for tick in ticks]
        halves = [text_width(tick.text) / 2 + 5 for tick in ticks]
        if all(ends[i] + halves[i] <= ends[i + 1] - halves[i + 1] for i in range(len(ticks) - 1)):
            break
    kept: list[Tick] = []
    edge = -math.inf
    for i, tick in enumerate(ticks):
        half = text_width(tick.below) / 2 + 5 if tick.below else 0.0
        following = next((ends[j] - text_width(ticks[j].below) / 2 - 5 for j in range(i + 1, len(ticks)) if ticks[j].below), math.inf)
        is_free = bool(tick.below) and ends[i] - half >= edge and (ends[i] + half <= following or i > 0)
        kept.append(tick if is_free or not tick.below else Tick(tick.value, tick.text))
        edge = ends[i] + half if is_free else edge
    return kept
