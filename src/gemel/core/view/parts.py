"""What figures and scenes are made of: axes, panels, events, links, tables."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from gemel.core.lineage import Lineage

from .array import Array
from .base import Described
from .words import zone_of

Status = Literal["current", "stale", "drifting", "abstained", "simulated"]
Unit = Annotated[str, Field(min_length=1, pattern=r"\S", description="UCUM; '1' where there is none")]
Words = Annotated[str, Field(min_length=1, pattern=r"\S")]
LineageId = Annotated[Words, BeforeValidator(lambda given: given.id if isinstance(given, Lineage) else given)]


class Axis(Described):
    """Describe one axis of one panel: what is measured along it, and in which unit.

    Times are int64 nanoseconds since 1970-01-01 UTC (`kind="time"`, unit `ns`), shown in `zone`; `clock` is minutes since
    local midnight (unit `min`); `category` has one name per whole number from 0.
    """

    name: Literal["x", "y", "colour"]
    label: Words
    unit: Unit
    kind: Literal["linear", "log", "time", "clock", "category"] = "linear"
    range: tuple[int | float, int | float] | None = None
    categories: tuple[str, ...] = ()
    zone: str = "UTC"
    panel: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check(self) -> Axis:
        if self.kind == "category" and not self.categories:
            raise ValueError("a category axis needs categories=(...)")
        if self.kind == "time" and self.unit != "ns":
            raise ValueError(f"a time axis is in 'ns' since 1970-01-01 UTC, not {self.unit!r}; use kind='linear' for durations")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError("range must be (lower, upper) with lower < upper")
        if self.range is not None and self.kind == "log" and self.range[0] <= 0:
            raise ValueError("range of a log axis must be positive")
        zone_of(self.zone)
        return self


class Panel(Described):
    """Name one panel of a figure, with a note such as "prior-dominated"; `share` is its height against the others."""

    title: str = ""
    note: str = ""
    share: Annotated[float, Field(gt=0)] = 1.0


class Event(Described):
    """Mark one thing that happened, or is planned, at a place on the x axis (nanoseconds on a time axis)."""

    x: int | float
    label: Words
    kind: Literal["meal", "insulin", "exercise", "drug", "procedure", "decision", "other"] = "other"
    is_planned: bool = False


class Link(Described):
    """Point to another page: a relative address, or https."""

    label: Words
    href: Words

    @model_validator(mode="after")
    def _check(self) -> Link:
        if re.search(r"[\x00-\x20\x7f\\]", self.href) or (
            re.match(r"^([A-Za-z][A-Za-z0-9+.-]*:|//)", self.href) and not self.href.startswith("https://")
        ):
            raise ValueError("href must be relative or begin with https://")
        return self


class Column(Described):
    """One column of a table: numbers with a unit, times (int64 nanoseconds, unit `ns`, shown in `zone`) or words."""

    label: Words
    values: Array | tuple[str | None, ...]
    unit: str = ""
    kind: Literal["number", "time", "clock", "text"] = "number"
    zone: str = "UTC"

    @model_validator(mode="after")
    def _check(self) -> Column:
        if isinstance(self.values, Array):
            if self.kind == "text" or len(self.values.shape) != 1:
                raise ValueError("a column of numbers or times is an array of one dimension, of kind number, time or clock")
            if self.unit and self.unit != self.values.unit:
                raise ValueError(f"unit {self.unit!r} differs from the unit of its values, {self.values.unit!r}; convert before showing")
        elif self.kind != "text":
            raise ValueError("a column of words has kind='text'")
        return self

    @property
    def written_unit(self) -> str:
        """UCUM unit of the values; empty for words."""
        return self.values.unit if isinstance(self.values, Array) else self.unit


class Table(Described):
    """The numbers themselves, by column, all of one length.

    With `is_keyed`, the first column lies along the x axis of the figure, so that a pointer can read the row off.

    Examples
    --------
    >>> Table.of(("dose", "mg", [1.0, 2.0]), ("response", "%", [10.0, 35.0])).rows
    2
    """

    type: Literal["table"] = "table"
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    title: str = ""
    note: str = ""
    is_keyed: bool = False

    @classmethod
    def of(
        cls, *columns: tuple[str, str | None, object], title: str = "", note: str = "", zone: str = "UTC", is_keyed: bool = False
    ) -> Table:
        """Make a table from (label, unit, values); unit None means words, `ns` means times.

        Parameters
        ----------
        columns : (label, UCUM unit or None, (row,) numbers or words).
        zone : IANA zone in which times are shown.
        """
        made = []
        for label, unit, values in columns:
            if unit is None:
                made.append(Column(label=label, values=tuple(values), kind="text"))  # type: ignore[arg-type]
            else:
                held = values if isinstance(values, Array) else Array.of(values, unit=unit, axes=("row",))  # type: ignore[arg-type]
                made.append(Column(label=label, values=held, kind="time" if unit == "ns" else "number", zone=zone))
        return cls(columns=tuple(made), title=title, note=note, is_keyed=is_keyed)

    @model_validator(mode="after")
    def _check(self) -> Table:
        if len({len(column.values) for column in self.columns}) > 1:
            raise ValueError(f"columns differ in length: {[len(column.values) for column in self.columns]}")
        return self

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.columns[0].values)
