"""The timeline: lanes of facts, each where it was true, with a thin line to where it became known."""

from __future__ import annotations

import numpy as np

from gemel.core.view import Facts, Figure
from gemel.core.view.words import stamp_text
from gemel.web.scale import text_width
from gemel.web.style import SERIES
from gemel.web.svg import element, escape, number, words

from .cartesian import axes, grid
from .frame import Frame, layout


def draw_timeline(figure: Figure, width: float, top: float, prefix: str, height: float | None = None) -> tuple[str, float]:
    """Draw a timeline; arguments and result as `draw_cartesian`."""
    del prefix, height
    frames, end = layout(figure, width, top + 18, 0.0, {0: 24.0})
    frame = frames[0]
    key = element("path", d=f"M6,{top + 9:.1f}h0", class_="dots data", stroke_width=7.0) + words(16.0, top + 9, "true at")
    key += element("path", d=f"M78,{top + 9:.1f}h22m0,-5v10", class_="late") + words(106.0, top + 9, "known at, where later")
    lanes = {layer.name: layer for layer in figure.layers if isinstance(layer, Facts)}
    axis = figure.axis("y", 0)
    drawn = "".join(_lane(frame, lanes[name], i) for i, name in enumerate(axis.categories if axis else ()) if name in lanes)
    return key + element("g", grid(frame) + axes(frame) + drawn, class_="panel"), end


def _lane(frame: Frame, layer: Facts, row: int) -> str:
    middle, edge, drawn, labels = float(frame.y(row)) + 5, -1e9, "", ""
    start, finish = layer.start.numpy().tolist(), layer.end.numpy().tolist()
    known = layer.recorded.numpy().tolist() if layer.recorded is not None else start
    series = f"s{layer.series % SERIES}"
    drawn += element("line", x1=frame.left, x2=frame.right, y1=middle + 16, y2=middle + 16, class_="grid")
    for i in sorted(range(len(start)), key=start.__getitem__):
        label = layer.labels[i]
        a, b, c = (float(frame.x(np.int64(times[i]))) for times in (start, finish, known))
        zone = frame.x.zone
        title = f"{label}: true {stamp_text(start[i], zone)}" + (f" to {stamp_text(finish[i], zone)}" if finish[i] > start[i] else "")
        title = element("title", escape(f"{title}, known {stamp_text(known[i], zone)}"))
        if c > b + 3:
            drawn += element("path", d=f"M{number(b)},{number(middle)}H{number(c)}m0,-5v10", class_="late")
        if b > a:
            drawn += element("rect", title, x=a, y=middle - 6, width=max(b - a, 2.0), height=12.0, class_=f"span {series}")
        else:
            drawn += element("circle", title, cx=a, cy=middle, r=4.5, class_=f"fact {series}")
        wide = text_width(label, 11)
        left = min(a - 4 if b <= a else a, frame.right - wide)
        if left > edge + 8:
            labels += words(left, middle - 15, label, size=11)
            edge = left + wide
    return element("g", drawn + labels, class_=f"lane {series}", data_name=layer.name)
