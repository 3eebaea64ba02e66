"""Layers drawn: lines, bands, dots, bars, cells, rules and regions inside one frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemel.core.reduce import reduce_m4
from gemel.core.view import Band, Bars, Cells, Line, Points, Region, Rule, Shares, number_text, unit_text
from gemel.web.scale import text_width
from gemel.web.style import CIVIDIS, SERIES
from gemel.web.svg import element, escape, number, path, shape, steps, words

from .frame import Frame


def colour(layer: Any) -> str:
    """Return the class that gives a layer its colour."""
    return f"s{layer.series % SERIES}"


def _stretches(frame: Frame, x: NDArray[Any], ys: tuple[NDArray[Any], ...], max_gap: float | None) -> list[NDArray[np.int64]]:
    """Return the indices to draw, stretch by stretch: all of few points, lowest and highest of each pixel column of many."""
    if x.size > 1 and bool(np.any(x[1:] < x[:-1])):
        return [np.flatnonzero(np.isfinite(sum(ys)))]
    whole = sum(ys)
    columns = max(1, int(frame.width))
    buckets = columns if x.size > 4 * columns else max(1, 4 * x.size)
    if x.size <= 4 * columns:
        finite = np.flatnonzero(np.isfinite(whole))
        if finite.size == 0:
            return []
        is_broken = np.diff(finite) > 1
        if max_gap is not None:
            is_broken |= np.diff(x[finite]) > max_gap
        return np.split(finite, np.flatnonzero(is_broken) + 1)
    kept = [reduce_m4(x, np.where(np.isfinite(whole), y, np.nan), buckets, max_gap=max_gap).stretches() for y in ys]
    return [np.unique(np.concatenate(parts)) for parts in zip(*kept, strict=True)]


def draw_line(frame: Frame, layer: Line) -> str:
    """Draw a line, broken at gaps; a reading alone between gaps is a dot."""
    x, y = layer.x.numpy(), layer.y.numpy()
    joined, alone = [], []
    for index in _stretches(frame, x, (y,), layer.max_gap):
        if index.size == 1:
            alone.append(index)
        elif index.size:
            points = frame.x(x[index]), frame.y(y[index])
            joined.append(path(*(steps(*points) if layer.is_step else points)))
    classes = f"line {layer.role} {colour(layer)}"
    drawn = element("path", d="".join(joined), class_=classes, data_name=layer.name) if joined else ""
    if alone:
        index = np.concatenate(alone)
        drawn += _dots(frame.x(x[index]), frame.y(y[index]), f"dots {layer.role} {colour(layer)}", 3.0)
    return drawn


def draw_band(frame: Frame, layer: Band) -> str:
    """Draw a band between two curves; wide levels lighter than narrow ones."""
    x, lower, upper = layer.x.numpy(), layer.lower.numpy(), layer.upper.numpy()
    tone = {"prior": "prior-fill", "posterior": "posterior-fill", "reference": "reference-fill"}.get(
        layer.role, "wide" if layer.level > 0.7 else "narrow"
    )
    if tone == "wide" and frame.figure.kind == "compare":
        tone = "faint"
    outline = []
    for index in _stretches(frame, x, (lower, upper), layer.max_gap):
        across = frame.x(x[index])
        outline.append(
            path(
                np.concatenate((across, across[::-1])), np.concatenate((frame.y(upper[index]), frame.y(lower[index])[::-1])), is_closed=True
            )
        )
    return element("path", d="".join(outline), class_=f"band {tone} {colour(layer)}", data_name=layer.name, data_level=f"{layer.level:g}")


def _dots(xs: NDArray[np.float64], ys: NDArray[np.float64], classes: str, size: float) -> str:
    places = "".join("M%.1f,%.1fh0" % pair for pair in zip(xs.tolist(), ys.tolist(), strict=True))  # noqa: UP031  many points
    return element("path", d=places, class_=classes, stroke_width=size)


def draw_points(frame: Frame, layer: Points) -> str:
    """Draw single values, with whiskers where they have intervals."""
    x, y = layer.x.numpy(), layer.y.numpy()
    index = np.flatnonzero(np.isfinite(y))
    if index.size > 4 * frame.width and layer.lower is None:
        order = index[np.argsort(x[index], kind="stable")]
        index = order[reduce_m4(x[order], y[order], max(1, int(frame.width))).index]
    xs, ys = frame.x(x[index]), frame.y(y[index])
    drawn = ""
    if layer.lower is not None and layer.upper is not None:
        lies = frame.y.kind == "category"
        scale = frame.x if lies else frame.y
        drawn += whiskers(scale(layer.lower.numpy()[index]), scale(layer.upper.numpy()[index]), ys if lies else xs, lies)
    role = f"{layer.role} {colour(layer)}"
    if layer.marker == "dot":
        size = 5.2 if index.size <= 60 else 4.0 if index.size <= 300 else 2.6
        return drawn + _dots(xs, ys, f"dots {role}", size)
    return drawn + element(
        "path", d=shape(layer.marker, xs.tolist(), ys.tolist()), class_=f"marks {'hollow ' if layer.marker == 'ring' else ''}{role}"
    )


def whiskers(low: NDArray[np.float64], high: NDArray[np.float64], across: NDArray[np.float64], lies: bool) -> str:
    """Draw intervals with short ends; those not finite are left out."""
    form = "M{0},{2}m0,-4v8m0,-4H{1}m0,-4v8" if lies else "M{2},{0}m-4,0h8m-4,0V{1}m-4,0h8"
    parts = [
        form.format(number(a), number(b), number(c))
        for a, b, c in zip(low.tolist(), high.tolist(), across.tolist(), strict=True)
        if np.isfinite(a) and np.isfinite(b)
    ]
    return element("path", d="".join(parts), class_="whisker") if parts else ""


def draw_bars(frame: Frame, layer: Bars) -> str:
    """Draw bars that stand or lie, with the number written at the end of lying ones."""
    value = layer.value.numpy().astype(np.float64)
    base = layer.base.numpy().astype(np.float64) if layer.base is not None else np.zeros(value.size)
    lies = frame.y.kind == "category"
    if layer.edges is not None:
        edges = frame.x(layer.edges.numpy())
        near, far = edges[:-1] + 0.5, edges[1:] - 0.5
    else:
        siblings = sorted({other.series for other in frame.layers() if isinstance(other, Bars) and other.role == "data"})
        count, place = (len(siblings), siblings.index(layer.series)) if layer.role == "data" and layer.series in siblings else (1, 0)
        middle = (frame.y if lies else frame.x)(np.arange(value.size))
        full = 0.62 * (frame.y.pixels if lies else frame.x.pixels) / max(value.size, 1)
        full = min(full, 46.0)
        near = middle - full / 2 + place * full / count
        far = near + full / count
    along = frame.x if lies else frame.y
    first, second = along(base), along(value)
    parts = []
    for a, b, c, d in zip(near.tolist(), far.tolist(), first.tolist(), second.tolist(), strict=True):
        if np.isfinite(c) and np.isfinite(d):
            parts.append(
                f"M{number(c)},{number(a)}H{number(d)}V{number(b)}H{number(c)}Z"
                if lies
                else f"M{number(a)},{number(c)}V{number(d)}H{number(b)}V{number(c)}Z"
            )
    drawn = element("path", d="".join(parts), class_=f"bar {layer.role} {colour(layer)}", data_name=layer.name)
    if layer.lower is not None and layer.upper is not None:
        drawn += whiskers(along(layer.lower.numpy()), along(layer.upper.numpy()), (near + far) / 2, lies)
    return drawn


def bar_labels(frame: Frame, layer: Bars) -> str:
    """Write the value of each lying bar at its far end, beyond its interval."""
    if frame.y.kind != "category" or layer.edges is not None:
        return ""
    value = layer.value.numpy()
    ends = np.fmax(value, layer.upper.numpy()) if layer.upper is not None else value
    lows = np.fmin(value, layer.lower.numpy()) if layer.lower is not None else value
    written = []
    for i, (v, high, low) in enumerate(zip(value.tolist(), ends.tolist(), lows.tolist(), strict=True)):
        if np.isfinite(v):
            is_left = v < (layer.base.numpy()[i] if layer.base is not None else 0.0)
            at = float(frame.x(low if is_left else high)) + (-8 if is_left else 8)
            written.append(words(at, float(frame.y(i)), number_text(v), anchor="end" if is_left else "start", class_="axis-title halo"))
    return "".join(written)


def draw_region(frame: Frame, layer: Region) -> str:
    """Draw a light region, named inside at its upper left with its ends."""
    scale = frame.y if layer.axis == "y" else frame.x
    low = scale.low if layer.lower is None else max(scale.low, layer.lower)
    high = scale.high if layer.upper is None else min(scale.high, layer.upper)
    if low >= high:
        return ""
    a, b = sorted((float(scale(low)), float(scale(high))))
    box = (
        {"x": frame.left, "y": a, "width": frame.width, "height": b - a}
        if layer.axis == "y"
        else {"x": a, "y": frame.top, "width": b - a, "height": frame.height}
    )
    return element("rect", class_=layer.role, data_name=layer.name, **box)


def region_text(layer: Region) -> str:
    """Write the name of a region and its ends: "target 70 to 180"."""
    if not layer.name or layer.axis != "y":
        return ""
    ends = [number_text(end) if end is not None else "" for end in (layer.lower, layer.upper)]
    span = f"{ends[0]} to {ends[1]}" if all(ends) else f"up to {ends[1]}" if ends[1] else f"from {ends[0]}"
    return f"{layer.name} {span}"


def draw_rule(frame: Frame, layer: Rule) -> str:
    """Draw a thin line at one value, if it is on the axis."""
    scale = frame.y if layer.axis == "y" else frame.x
    if not scale.low <= layer.value <= scale.high:
        return ""
    at = float(scale(layer.value))
    ends = {"x1": frame.left, "x2": frame.right, "y1": at, "y2": at}
    if layer.axis == "x":
        ends = {"x1": at, "x2": at, "y1": frame.top, "y2": frame.bottom}
    return element("line", class_=f"rule {layer.role}", data_value=f"{layer.value:g}", **ends)


def draw_cells(frame: Frame, layer: Cells) -> str:
    """Draw a grid of values in cividis, with a colour bar; missing ones in their own grey."""
    xs, ys, value = frame.x(layer.x_edges.numpy()), frame.y(layer.y_edges.numpy()), layer.value.numpy().astype(np.float64)
    low, high = cell_range(frame, layer)
    parts = []
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            top, box = min(ys[i], ys[i + 1]), {"width": float(abs(xs[j + 1] - xs[j])), "height": float(abs(ys[i + 1] - ys[i]))}
            place = dict(x=float(min(xs[j], xs[j + 1])), y=float(top), **box)
            if not np.isfinite(value[i, j]):
                parts.append(element("rect", element("title", "missing"), class_="cell missing", **place))
                if layer.is_written:
                    parts.append(
                        words(place["x"] + box["width"] / 2, top + box["height"] / 2, "none", anchor="middle", class_="axis-title", size=11)
                    )
                continue
            part = (value[i, j] - low) / (high - low)
            parts.append(element("rect", element("title", escape(number_text(value[i, j]))), class_="cell", fill=cividis(part), **place))
            if layer.is_written and box["width"] > 30 and box["height"] > 15:
                tone = "on-light" if part > 0.55 else "on-dark"
                parts.append(
                    words(
                        place["x"] + box["width"] / 2,
                        top + box["height"] / 2,
                        number_text(value[i, j]),
                        anchor="middle",
                        class_=tone,
                        size=11,
                    )
                )
    axis = frame.figure.axis("colour", frame.panel)
    left, tall = frame.right + 16, frame.height / 40
    for k in range(40):
        parts.append(element("rect", x=left, y=frame.bottom - (k + 1) * tall, width=12.0, height=tall + 0.4, fill=cividis((k + 0.5) / 40)))
    for part in (0.0, 0.5, 1.0):
        parts.append(words(left + 17, frame.bottom - part * frame.height, number_text(low + part * (high - low)), size=11))
    if axis is not None:
        unit = unit_text(axis.unit)
        parts.append(words(left - 2, frame.top - 17, f"{axis.label} ({unit})" if unit else axis.label, class_="axis-title"))
    return "".join(parts)


def cell_range(frame: Frame, layer: Cells) -> tuple[float, float]:
    """Return the ends of the colour bar: as described, or the values' own."""
    axis = frame.figure.axis("colour", frame.panel)
    if axis is not None and axis.range is not None:
        return axis.range
    value = layer.value.numpy()
    finite = value[np.isfinite(value)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (low, high) if low < high else (low, low + 1.0)


def cividis(part: float) -> str:
    """Return the colour at a part of the way, 0 to 1; beyond the ends it stays at the end."""
    place = min(max(part, 0.0), 1.0) * (len(CIVIDIS) - 1)
    i = min(int(place), len(CIVIDIS) - 2)
    ends = [[int(CIVIDIS[k][c : c + 2], 16) for c in (1, 3, 5)] for k in (i, i + 1)]
    return "#" + "".join(f"{round(a + (b - a) * (place - i)):02x}" for a, b in zip(*ends, strict=True))


def draw_shares(frame: Frame, layer: Shares) -> str:
    """Draw parts of a whole as one strip, each named below where there is room and in its title everywhere."""
    value = layer.value.numpy().astype(np.float64)
    total = float(value.sum()) or 1.0
    left, edge, parts = frame.left, -1e9, []
    middle = layer.emphasis if layer.emphasis is not None else len(value) // 2
    for i, (name, share) in enumerate(zip(layer.names, value.tolist(), strict=True)):
        width = frame.width * share / total
        tone = "in" if i == middle else "d1" if abs(i - middle) == 1 else "d2"
        text = f"{name}: {number_text(share, digits=2)} %"
        parts.append(
            element(
                "rect",
                element("title", escape(text)),
                x=left,
                y=frame.top,
                width=width,
                height=frame.height,
                class_=f"share {tone}",
                data_name=name,
            )
        )
        short, room = f"{number_text(share, digits=2)} %", text_width(text, 11)
        at = left + width / 2
        label = text if room < width + 60 else f"{name.split(',')[0]} {short}"
        half = text_width(label, 11) / 2
        at = min(max(at, frame.left + half), frame.right - half)
        if share > 0 and at - half > edge + 8:
            parts.append(words(at, frame.bottom + 13, label, anchor="middle", size=11))
            edge = at + half
        left += width
    return "".join(parts)


DRAWERS: dict[str, Callable[[Frame, Any], str]] = {
    "line": draw_line,
    "band": draw_band,
    "points": draw_points,
    "bars": draw_bars,
    "region": draw_region,
    "rule": draw_rule,
    "cells": draw_cells,
    "shares": draw_shares,
}
