"""A figure: what is drawn, in which units, in which state, from which lineage, in words and in numbers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from gemel.core.advice import ShownOn

from .array import Array
from .base import REMEDIES, Described
from .layers import Band, Bars, Cells, Facts, Layer, Line, Points, Shares
from .notebook import mimebundle
from .parts import Axis, Event, LineageId, Link, Panel, Status, Table, Words

KINDS = (
    "fan",
    "timeline",
    "series",
    "agp",
    "posterior",
    "compare",
    "distribution",
    "curve",
    "calibration",
    "scatter",
    "heatmap",
    "tornado",
    "bars",
    "table",
)


class Figure(Described):
    """Describe a figure, for any renderer.

    Refused (`ViewError`) without unit on each axis, status, lineage, alt and table, or when a layer's unit is not its axis's.
    A `kind` that a renderer does not know is shown as its table.
    """

    type: Literal["figure"] = "figure"
    kind: Words
    title: Words
    question: str = ""
    axes: tuple[Axis, ...] = ()
    panels: tuple[Panel, ...] = ()
    columns: Literal[1, 2, 3, 4] = 1
    layers: tuple[Layer, ...] = ()
    events: tuple[Event, ...] = ()
    status: Status
    banner: str = ""
    lineage: LineageId
    alt: Words
    table: Table
    links: tuple[Link, ...] = ()
    shown_on: ShownOn | None = None

    @model_validator(mode="after")
    def _check(self) -> Figure:
        if self.kind == "table" or self.kind not in KINDS:
            return self
        seen = {(axis.name, axis.panel) for axis in self.axes}
        if len(seen) != len(self.axes):
            raise ValueError("axes name one place twice; each panel has one x, one y and at most one colour axis")
        for panel in {0} | {layer.panel for layer in self.layers}:
            for name in ("x", "y"):
                if (name, panel) not in seen:
                    raise ValueError(f"axes has no {name} axis for panel {panel}; {REMEDIES['axes']}")
        if self.status == "abstained" and not self.banner:
            raise ValueError("banner must give the reason of an abstained figure; pass banner=...")
        for layer in self.layers:
            for name, array in _placed(layer, self):
                axis = self.axis(name, layer.panel)
                if axis is not None and array.unit != axis.unit:
                    where = f"layer {layer.name or layer.type!r} is in {array.unit!r}, its {name} axis in {axis.unit!r}"
                    raise ValueError(f"{where}; convert it before showing")
                if len(array.shape) != (2 if name == "colour" else 1):
                    raise ValueError(
                        f"layer {layer.name or layer.type!r} has an array of shape {array.shape} along {name}; expected one dimension"
                    )
        return self

    def axis(self, name: str, panel: int = 0) -> Axis | None:
        """Return the axis of a panel, or None."""
        return next((axis for axis in self.axes if axis.name == name and axis.panel == panel), None)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002  named by IPython
        return mimebundle(self, self.alt)


def _placed(layer: Any, figure: Figure) -> list[tuple[str, Array]]:
    """List the arrays of a layer with the axis along which each lies."""
    found: list[tuple[str, Array | None]] = []
    if isinstance(layer, Line):
        found = [("x", layer.x), ("y", layer.y)]
    elif isinstance(layer, Points):
        found = [("x", layer.x), ("y", layer.y), ("y", layer.lower), ("y", layer.upper)]
        vertical = figure.axis("y", layer.panel)
        if vertical is not None and vertical.kind == "category":
            found = [("x", layer.x), ("y", layer.y), ("x", layer.lower), ("x", layer.upper)]
    elif isinstance(layer, Band):
        found = [("x", layer.x), ("y", layer.lower), ("y", layer.upper)]
    elif isinstance(layer, Cells):
        found = [("x", layer.x_edges), ("y", layer.y_edges), ("colour", layer.value)]
    elif isinstance(layer, Shares):
        found = [("x", layer.value)]
    elif isinstance(layer, Facts):
        found = [("x", layer.start), ("x", layer.end), ("x", layer.recorded)]
    elif isinstance(layer, Bars):
        lies = is_lying(figure, layer.panel)
        along, across = ("x", "y") if lies else ("y", "x")
        found = [(along, layer.value), (along, layer.base), (along, layer.lower), (along, layer.upper), (across, layer.edges)]
    return [(name, array) for name, array in found if array is not None]


def is_lying(figure: Figure, panel: int) -> bool:
    """True when the bars of a panel lie along x, because y holds the categories."""
    axis = figure.axis("y", panel)
    return axis is not None and axis.kind == "category"
