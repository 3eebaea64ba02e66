"""Words around the marks: direct labels at the end of lines, the legend, events, and what lies beyond an axis."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from gemel.core.view import Bars, Figure, Line, Points, Region, Rule, number_text
from gemel.web.scale import text_width
from gemel.web.style import SERIES
from gemel.web.svg import element, escape, shape, words

from .frame import Frame
from .marks import region_text

LINE = 15.0
EVENT_SHAPES = {
    "meal": "triangle",
    "insulin": "down",
    "exercise": "square",
    "drug": "diamond",
    "procedure": "cross",
    "decision": "star",
    "other": "ring",
}


def rule_text(layer: Rule) -> str:
    """Write a threshold's name with its value, once: "very low 54"."""
    if not layer.name:
        return ""
    value = number_text(float(layer.value))
    is_written = re.search(rf"(?<![\d.]){re.escape(value)}(?![\d.]\d)", layer.name) is not None
    return layer.name if is_written else f"{layer.name} {value}"


def right_space(figure: Figure, panel: int) -> float:
    """Return how many pixels the labels at the right end of a panel need."""
    if any(layer.type == "cells" for layer in figure.layers if layer.panel == panel):
        return 92.0
    wide = [
        text_width(text, is_strong=layer.type == "line") for layer in figure.layers if layer.panel == panel and (text := end_text(layer))
    ]
    if any(isinstance(layer, Bars) and layer.edges is None for layer in figure.layers if layer.panel == panel):
        wide.append(34.0)
    return min(220.0, 14.0 + max(wide, default=6.0))


def end_text(layer: Any) -> str:
    """Return what is written at the right end of a layer, or nothing."""
    if isinstance(layer, Rule):
        return rule_text(layer) if layer.axis == "y" else ""
    if isinstance(layer, Region):
        return region_text(layer)
    return layer.name if layer.type in ("line", "band") and layer.label == "end" else ""


def end_labels(frame: Frame) -> str:
    """Write the name of each line, band and threshold at its right end, moved apart where they would touch."""
    wanted: list[tuple[float, str, str]] = []
    drawn = ""
    for layer in frame.layers():
        text = end_text(layer)
        if not text:
            continue
        if isinstance(layer, Region):
            edge = frame.y.high if layer.upper is None else layer.upper
            if frame.y.low < edge <= frame.y.high:
                wanted.append((float(frame.y(edge)) + 7, text, "target-text"))
            continue
        if isinstance(layer, Rule):
            if frame.y.low <= layer.value <= frame.y.high:
                wanted.append((float(frame.y(layer.value)), text, ""))
            continue
        y = layer.y.numpy() if isinstance(layer, Line) else layer.upper.numpy()
        known = np.flatnonzero(np.isfinite(y))
        if known.size == 0:
            continue
        last = known[-1]
        at, up = float(frame.x(layer.x.numpy()[last])), float(frame.y(y[last]))
        is_strong = isinstance(layer, Line) and layer.role not in ("data", "past", "prior", "ideal", "reference")
        classes = (f"coloured s{layer.series % SERIES}" + (" strong" if is_strong else "")) if layer.type == "line" and is_strong else ""
        if at < frame.right - 30 and frame.x.kind != "clock":
            drawn += words(at + 7, up, text, class_=f"halo {classes}")
        else:
            wanted.append((up, text, classes))
    for (_, text, classes), up in zip(sorted(wanted), apart([w[0] for w in sorted(wanted)], frame.top + 4, frame.bottom - 4), strict=True):
        drawn += words(frame.right + 8, up, text, class_=classes)
    return drawn


def apart(places: list[float], low: float, high: float, space: float = LINE) -> list[float]:
    """Move ascending places apart until neighbours are `space` from each other, staying between two ends where there is room.

    Examples
    --------
    >>> apart([10.0, 12.0], 0.0, 100.0, 10.0)
    [6.0, 16.0]
    """
    groups: list[list[float]] = []
    for place in places:
        groups.append([place, 1.0])
        while len(groups) > 1 and groups[-1][0] - (groups[-1][1] - 1) * space / 2 < groups[-2][0] + (groups[-2][1] + 1) * space / 2:
            (b, m), (a, n) = groups.pop(), groups.pop()
            groups.append([(a * n + b * m) / (n + m), n + m])
    placed: list[float] = []
    for middle, count in groups:
        half = (count - 1) * space / 2
        centre = min(max(middle, low + half), max(high - half, low + half))
        placed.extend(centre - half + i * space for i in range(int(count)))
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + space)
    return placed


def legend(figure: Figure, width: float, top: float) -> tuple[str, float]:
    """Write the legend of whatever has no label at its end; returns it and its height in pixels."""
    seen: dict[tuple[Any, ...], Any] = {}
    for layer in figure.layers:
        if getattr(layer, "label", "") == "legend" and layer.name:
            seen.setdefault((layer.type, layer.name, getattr(layer, "role", ""), getattr(layer, "series", 0)), layer)
    names = {layer.name for layer in seen.values()}
    x, y, drawn = 0.0, top + 9, ""
    for layer in seen.values():
        wide = 26 + text_width(layer.name) + 20
        if x + wide > width and x:
            x, y = 0.0, y + 18
        drawn += _swatch(layer, x, y) + words(x + 26, y, layer.name)
        x += wide
    return drawn, (y - top + 13 if names else 0.0)


def _swatch(layer: Any, x: float, y: float) -> str:
    series = f"s{layer.series % SERIES}"
    if isinstance(layer, Points):
        if layer.marker == "dot":
            return element("path", d=f"M{x + 10:.1f},{y:.1f}h0", class_=f"dots {layer.role} {series}", stroke_width=6.0)
        return element(
            "path", d=shape(layer.marker, [x + 10], [y]), class_=f"marks {'hollow ' if layer.marker == 'ring' else ''}{layer.role} {series}"
        )
    if isinstance(layer, Line):
        fill = {"prior": "prior-fill", "posterior": "posterior-fill"}.get(layer.role)
        box = element("rect", x=x, y=y, width=20.0, height=6.0, class_=f"band {fill} {series}") if fill else ""
        return box + element("line", x1=x, x2=x + 20, y1=y, y2=y, class_=f"line {layer.role} {series}")
    tone = {"reference": "reference-fill", "prior": "prior-fill", "posterior": "posterior-fill"}.get(getattr(layer, "role", ""), "wide")
    classes = f"bar {layer.role}" if isinstance(layer, Bars) else f"band {tone}"
    return element("rect", x=x, y=y - 5, width=20.0, height=10.0, class_=f"{classes} {series}")


def event_rows(figure: Figure, place: Any) -> tuple[list[tuple[Any, float, int]], int]:
    """Give each event a row so that their words do not touch: (event, x, row), and how many rows."""
    ends: list[float] = []
    placed = []
    for event in sorted(figure.events, key=lambda event: event.x):
        x = float(place(event.x))
        row = next((i for i, end in enumerate(ends) if x - 8 >= end), len(ends))
        if row == len(ends):
            ends.append(0.0)
        ends[row] = x + 12 + text_width(event.label, 11)
        placed.append((event, x, row))
    return placed, len(ends)


def draw_events(frame: Frame) -> str:
    """Draw events above a panel, each with its sign, its words and a dotted line down."""
    placed, rows = event_rows(frame.figure, frame.x)
    drawn = ""
    for event, x, row in placed:
        if not frame.left - 1 <= x <= frame.right + 1:
            continue
        y = frame.top - 30 - (rows - 1 - row) * LINE
        sign = "glyph planned" if event.is_planned or event.kind == "other" else "glyph"
        text = f"{event.label} (planned)" if event.is_planned and "plan" not in event.label.lower() else event.label
        flip = x + 12 + text_width(text, 11) > frame.right + 60
        drawn += element("line", x1=x, x2=x, y1=y + 6, y2=frame.bottom, class_="event")
        drawn += element("path", element("title", escape(text)), d=shape(EVENT_SHAPES[event.kind], [x], [y]), class_=sign)
        drawn += words(x - 8 if flip else x + 8, y, text, anchor="end" if flip else "start", size=11)
    return drawn


def beyond(frame: Frame) -> str:
    """Say how many drawn values lie above or below a stated axis range."""
    axis = frame.figure.axis("y", frame.panel)
    if axis is None or axis.range is None or axis.kind == "category":
        return ""
    above = below = 0
    for layer in frame.layers():
        if isinstance(layer, Points) or (isinstance(layer, Line) and layer.role == "data"):
            y = layer.y.numpy()
            above, below = above + int(np.count_nonzero(y > axis.range[1])), below + int(np.count_nonzero(y < axis.range[0]))
    drawn = words(frame.right - 4, frame.top + 10, f"▲ {above} above", anchor="end", class_="strong halo", size=11) if above else ""
    return drawn + (
        words(frame.right - 4, frame.bottom - 10, f"▼ {below} below", anchor="end", class_="strong halo", size=11) if below else ""
    )
