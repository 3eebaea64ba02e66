"""Elements of SVG as text: every attribute and every word escaped, no style attribute, no script."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FORBIDDEN = dict.fromkeys((*range(9), 11, 12, *range(14, 32)), "�")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"} | {chr(k): v for k, v in _FORBIDDEN.items()})


def escape(text: object) -> str:
    """Write anything as text of HTML or XML, inside or outside quotes; control characters are replaced."""
    return str(text).translate(_ESCAPES)


def number(value: float) -> str:
    """Write a coordinate, to a tenth of a pixel."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def element(name: str, *content: str, **attributes: Any) -> str:
    """Write an element.

    Parameters
    ----------
    name : of the element.
    content : inner elements, already written; use `escape` for words.
    attributes : values are escaped; `class_` is class, `_` becomes `-`; numbers are coordinates; None and "" are left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{number(value) if isinstance(value, float) else escape(value)}"'
        for key, value in attributes.items()
        if value is not None and value != ""
    )
    inner = "".join(content)
    return f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>"


def words(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    class_: str = "",
    size: float | None = None,
    title: str = "",
    rotate: bool = False,
) -> str:
    """Write words at a place; the middle of the letters stands at y."""
    turn = f"rotate(-90 {number(x)} {number(y)})" if rotate else None
    inner = element("title", escape(title)) if title else ""
    return element(
        "text",
        inner,
        escape(text),
        x=float(x),
        y=float(y),
        dy="0.35em",
        text_anchor=None if anchor == "start" else anchor,
        class_=class_,
        font_size=size,
        transform=turn,
    )


def path(xs: NDArray[np.float64], ys: NDArray[np.float64], *, is_closed: bool = False) -> str:
    """Write the `d` of a path through points, in pixels."""
    points = " ".join("%.1f,%.1f" % pair for pair in zip(xs.tolist(), ys.tolist(), strict=True))  # noqa: UP031  three times as fast for many points
    return f"M{points}{'Z' if is_closed else ''}" if points else ""


def steps(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of a step function that holds each value until the next."""
    return np.repeat(xs, 2)[1:], np.repeat(ys, 2)[:-1]


SHAPES = {
    "square": "M{x},{y}m-3.5,-3.5h7v7h-7z",
    "diamond": "M{x},{y}m0,-5l5,5l-5,5l-5,-5z",
    "triangle": "M{x},{y}m0,-4.5l4.5,8h-9z",
    "down": "M{x},{y}m0,4.5l4.5,-8h-9z",
    "cross": "M{x},{y}m-4,-1.5h2.5v-2.5h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5z",
    "star": "M{x},{y}m0,-5.5l1.6,3.6l3.9,.4l-2.9,2.6l.8,3.9l-3.4,-2l-3.4,2l.8,-3.9l-2.9,-2.6l3.9,-.4z",
    "ring": "M{x},{y}m-3.6,0a3.6,3.6 0 1,0 7.2,0a3.6,3.6 0 1,0 -7.2,0z",
}
"""Outlines of markers about a place, nine pixels wide."""


def shape(name: str, xs: Iterable[float], ys: Iterable[float]) -> str:
    """Write the `d` of one marker at each place."""
    form = SHAPES[name]
    return "".join(form.format(x=number(x), y=number(y)) for x, y in zip(xs, ys, strict=True))
