"""Figures with two axes: frames, grids, ticks and layers; every kind but the timeline and the table."""

from __future__ import annotations

import numpy as np

from gemel.core.view import Bars, Figure, Region, Rule, Shares
from gemel.web.scale import Scale, text_width
from gemel.web.svg import element, words

from .frame import Frame, axis_title, extent, layout, panel_count
from .labels import LINE, beyond, draw_events, end_labels, event_rows, legend, right_space
from .marks import DRAWERS, bar_labels


def draw_cartesian(figure: Figure, width: float, top: float, prefix: str, height: float | None = None) -> tuple[str, float]:
    """Draw all panels of a figure.

    Parameters
    ----------
    figure : with axes and layers.
    width : pixels.
    top : where drawing may begin, pixels.
    prefix : of the ids of clip paths, unique in the document.
    height : of the first plot area, pixels; by kind when None.

    Returns
    -------
    SVG text, and where it ends, pixels.
    """
    key, tall = legend(figure, width, top)
    right = {panel: right_space(figure, panel) for panel in range(panel_count(figure))}
    rows = 0
    axis = figure.axis("x", 0)
    if figure.events and axis is not None:
        low, high = extent(figure, 0, "x")
        rows = event_rows(figure, Scale(axis.kind, low, high, 40.0, width - right[0], axis.categories, axis.zone))[1]
    frames, end = layout(figure, width, top + tall, rows * LINE + (4 if rows else 0), right, height)
    return key + "".join(draw_frame(frame, prefix) for frame in frames), end


def draw_frame(frame: Frame, prefix: str) -> str:
    """Draw one panel: title, grid, marks inside a clip, axes, labels."""
    figure, panel = frame.figure, frame.panel
    described = figure.panels[panel] if panel < len(figure.panels) else None
    mine = frame.layers()
    clip = f"{prefix}-clip{panel}"
    drawn = element("clipPath", element("rect", x=frame.left, y=frame.top - 1, width=frame.width, height=frame.height + 2), id=clip)
    if described is not None and (described.title or described.note):
        y = frame.top - (14 if any(isinstance(layer, Shares) for layer in mine) else 42)
        drawn += words(0.0 if figure.columns == 1 else frame.left, y, described.title, class_="strong", size=13)
        if described.note:
            drawn += words(frame.right, frame.top - 17, f"◇ {described.note}", anchor="end", class_="banner-text", size=11)
    if any(isinstance(layer, Shares) for layer in mine):
        return drawn + "".join(DRAWERS["shares"](frame, layer) for layer in mine if isinstance(layer, Shares))
    regions = "".join(DRAWERS["region"](frame, layer) for layer in mine if isinstance(layer, Region))
    others = "".join(
        DRAWERS[layer.type](frame, layer)
        for layer in mine
        if not isinstance(layer, Region) and layer.type in DRAWERS and layer.type != "cells"
    )
    cells = "".join(DRAWERS["cells"](frame, layer) for layer in mine if layer.type == "cells")
    drawn += element("g", regions, clip_path=f"url(#{clip})") + cells + ("" if cells else grid(frame))
    drawn += element("g", others, clip_path=f"url(#{clip})", class_="marks-area")
    drawn += axes(frame)
    drawn += "".join(bar_labels(frame, layer) for layer in mine if isinstance(layer, Bars))
    drawn += _upright_rules(frame) + end_labels(frame) + beyond(frame)
    if panel == 0:
        drawn += draw_events(frame)
    return element(
        "g",
        drawn,
        class_="panel",
        data_panel=panel,
        data_left=frame.left,
        data_right=frame.right,
        data_top=frame.top,
        data_bottom=frame.bottom,
        data_kind=frame.x.kind,
        data_x_low=repr(frame.x.low),
        data_x_high=repr(frame.x.high),
        data_y_low=repr(frame.y.low),
        data_y_high=repr(frame.y.high),
    )


def grid(frame: Frame) -> str:
    """Draw the light lines behind the marks: along y, or along x where y lists categories."""
    parts = []
    if frame.y.kind == "category":
        parts = [f"M{float(frame.x(tick.value)):.1f},{frame.top:.1f}V{frame.bottom:.1f}" for tick in frame.x_ticks]
    else:
        parts = [f"M{frame.left:.1f},{float(frame.y(tick.value)):.1f}H{frame.right:.1f}" for tick in frame.y_ticks]
    return element("path", d="".join(parts), class_="grid") if parts else ""


def axes(frame: Frame) -> str:
    """Draw both axes: the line below, ticks, their words, and what is measured in which unit."""
    drawn = element("line", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom, class_="frame")
    is_dated = any(tick.below for tick in frame.x_ticks)
    marks = ""
    for tick in frame.x_ticks:
        at = float(frame.x(np.asarray(tick.value, dtype=np.int64 if frame.x.kind == "time" else np.float64)))
        marks += f"M{at:.1f},{frame.bottom:.1f}v4"
        drawn += words(at, frame.bottom + 14, tick.text, anchor="middle", class_="tick-x")
        if tick.below:
            half = text_width(tick.below) / 2
            drawn += words(max(at, half), frame.bottom + 29, tick.below, anchor="middle", class_="tick-day")
    drawn += element("path", d=marks, class_="frame") if marks else ""
    listed = frame.y.kind == "category"
    for tick in frame.y_ticks:
        class_ = "tick-y axis-title" if listed else "tick-y"
        drawn += words(frame.left - 8, float(frame.y(tick.value)), tick.text, anchor="end", class_=class_)
    if listed:
        drawn += element("line", x1=frame.left, x2=frame.left, y1=frame.top, y2=frame.bottom, class_="frame")
    x_axis, y_axis = frame.figure.axis("x", frame.panel), frame.figure.axis("y", frame.panel)
    if x_axis is not None:
        below = frame.bottom + (46 if is_dated else 32)
        drawn += words(frame.left + frame.width / 2, below, axis_title(x_axis), anchor="middle", class_="axis-title label-x")
    if y_axis is not None:
        start = (
            0.0
            if frame.figure.columns == 1
            else max(0.0, frame.left - 8 - max((text_width(tick.text) for tick in frame.y_ticks), default=0.0))
        )
        drawn += words(start, frame.top - 17, axis_title(y_axis), class_="axis-title label-y")
    return drawn


def _upright_rules(frame: Frame) -> str:
    """Write the names of upright lines beside their upper end."""
    drawn = ""
    for layer in frame.layers():
        if isinstance(layer, Rule) and layer.axis == "x" and layer.name and frame.x.low <= layer.value <= frame.x.high:
            at = float(frame.x(layer.value))
            is_near_end = at + text_width(layer.name, 11) + 10 > frame.right
            drawn += words(
                at - 5 if is_near_end else at + 5,
                frame.top - 9 if frame.y.kind == "category" else frame.top + 8,
                layer.name,
                anchor="end" if is_near_end else "start",
                class_="halo",
                size=11,
            )
    return drawn
