"""The layers of a figure: a small vocabulary of marks from which every figure kind is composed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from .array import Array
from .base import Described
from .parts import Words

Where = Literal["end", "legend", "none"]


class _Layer(Described):
    name: str = ""
    panel: Annotated[int, Field(ge=0)] = 0
    series: Annotated[int, Field(ge=0, description="which colour of the palette")] = 0

    def _same_length(self, *arrays: Array | None) -> None:
        lengths = {len(array) for array in arrays if array is not None}
        if len(lengths) > 1:
            raise ValueError(f"arrays differ in length: {sorted(lengths)}")


class Line(_Layer):
    """Join points in the order of x; broken at NaN and where neighbours are more than `max_gap` (unit of x) apart."""

    type: Literal["line"] = "line"
    x: Array
    y: Array
    role: Literal["median", "data", "past", "reference", "draw", "prior", "posterior", "ideal"] = "median"
    is_step: bool = False
    max_gap: float | None = None
    label: Where = "end"

    @model_validator(mode="after")
    def _check(self) -> Line:
        self._same_length(self.x, self.y)
        return self


class Band(_Layer):
    """Fill between two curves: a predictive or credible interval of the stated level (0.5, 0.9), or percentiles."""

    type: Literal["band"] = "band"
    x: Array
    lower: Array
    upper: Array
    level: Annotated[float, Field(gt=0, le=1)]
    role: Literal["predictive", "prior", "posterior", "reference"] = "predictive"
    max_gap: float | None = None
    label: Where = "end"

    @model_validator(mode="after")
    def _check(self) -> Band:
        self._same_length(self.x, self.lower, self.upper)
        return self


class Points(_Layer):
    """Single values, with an interval each where `lower` and `upper` are given."""

    type: Literal["points"] = "points"
    x: Array
    y: Array
    lower: Array | None = None
    upper: Array | None = None
    level: float | None = None
    role: Literal["data", "estimate", "reference"] = "data"
    marker: Literal["dot", "ring", "square", "diamond", "triangle", "cross"] = "dot"
    label: Where = "legend"

    @model_validator(mode="after")
    def _check(self) -> Points:
        self._same_length(self.x, self.y, self.lower, self.upper)
        return self


class Bars(_Layer):
    """Bars from `base` (0 when none) to `value`, across whole numbers (categories) or between `edges` (a histogram).

    They stand on the x axis, or lie along it when the y axis holds the categories.
    """

    type: Literal["bars"] = "bars"
    value: Array
    base: Array | None = None
    edges: Array | None = None
    lower: Array | None = None
    upper: Array | None = None
    level: float | None = None
    role: Literal["data", "low", "high", "prior", "posterior", "reference"] = "data"
    label: Where = "legend"

    @model_validator(mode="after")
    def _check(self) -> Bars:
        self._same_length(self.value, self.base, self.lower, self.upper)
        if self.edges is not None and len(self.edges) != len(self.value) + 1:
            raise ValueError("edges must be one more than the bars")
        return self


class Cells(_Layer):
    """A grid of values as colour: (row, column) of `value`, between `x_edges` (column + 1) and `y_edges` (row + 1)."""

    type: Literal["cells"] = "cells"
    x_edges: Array
    y_edges: Array
    value: Array
    is_written: bool = False

    @model_validator(mode="after")
    def _check(self) -> Cells:
        if self.value.shape != (len(self.y_edges) - 1, len(self.x_edges) - 1):
            raise ValueError(f"value is {self.value.shape}, expected {(len(self.y_edges) - 1, len(self.x_edges) - 1)} between the edges")
        return self


class Shares(_Layer):
    """Parts of a whole in order, as one strip: percentages with a name each, such as times in range."""

    type: Literal["shares"] = "shares"
    names: tuple[Words, ...]
    value: Array
    emphasis: int | None = None

    @model_validator(mode="after")
    def _check(self) -> Shares:
        if len(self.names) != len(self.value):
            raise ValueError("names and value differ in length")
        return self


class Facts(_Layer):
    """One lane of a timeline: facts true at `start` (until `end`), each known at `recorded`; nanoseconds, UTC.

    An `end` equal to its `start` is a moment. `name` is the lane's.
    """

    type: Literal["facts"] = "facts"
    start: Array
    end: Array
    recorded: Array | None = None
    labels: tuple[str, ...]

    @model_validator(mode="after")
    def _check(self) -> Facts:
        self._same_length(self.start, self.end, self.recorded)
        if len(self.labels) != len(self.start):
            raise ValueError("labels and start differ in length")
        return self


class Rule(_Layer):
    """A thin line at one value of an axis: a threshold, a hard limit, the moment of the forecast."""

    type: Literal["rule"] = "rule"
    axis: Literal["x", "y"] = "y"
    value: int | float
    role: Literal["threshold", "limit", "now"] = "threshold"


class Region(_Layer):
    """A light region between two values of an axis, such as a target range; an open side is None."""

    type: Literal["region"] = "region"
    axis: Literal["x", "y"] = "y"
    lower: int | float | None
    upper: int | float | None
    role: Literal["target", "shade"] = "target"


class UnknownLayer(Described):
    """A layer of a newer version, kept as it came; its figure shows the table and says so."""

    model_config = ConfigDict(extra="allow")

    type: str
    panel: int = 0
    name: str = ""


_KNOWN = ("line", "band", "points", "bars", "cells", "shares", "facts", "rule", "region")


def _tag(value: Any) -> str:
    type_ = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return type_ if type_ in _KNOWN else "unknown"


Layer = Annotated[
    Annotated[Line, Tag("line")]
    | Annotated[Band, Tag("band")]
    | Annotated[Points, Tag("points")]
    | Annotated[Bars, Tag("bars")]
    | Annotated[Cells, Tag("cells")]
    | Annotated[Shares, Tag("shares")]
    | Annotated[Facts, Tag("facts")]
    | Annotated[Rule, Tag("rule")]
    | Annotated[Region, Tag("region")]
    | Annotated[UnknownLayer, Tag("unknown")],
    Discriminator(_tag),
]
