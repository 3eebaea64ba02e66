"""What the helper constructors share: how a figure stands, its time axis, its target and its thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Required, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from gemel.core.advice import ShownOn
from gemel.core.lineage import Lineage

from .array import Array
from .document import times
from .layers import Layer, Region, Rule
from .parts import Axis, Link, Status
from .words import clock_text, date_text, with_unit


class Standing(TypedDict, total=False):
    """What every figure says about itself, passed on by each helper."""

    status: Required[Status]
    lineage: Required[str | Lineage]
    shown_on: ShownOn | None
    question: str
    banner: str
    links: tuple[Link, ...]


def along(values: Any, unit: str | None) -> Array:
    """Describe a horizontal axis: absolute times when `unit` is None, else durations or doses in that unit."""
    if unit is None:
        return Array.of(times(values), unit="ns", axes=("time",))
    return Array.of(np.asarray(values, dtype=np.float64), unit=unit, axes=("time",))


def time_axis(unit: str | None, zone: str, label: str = "", panel: int = 0) -> Axis:
    """Describe the axis of `along`."""
    if unit is None:
        return Axis(name="x", label=label or "Time", unit="ns", kind="time", zone=zone, panel=panel)
    return Axis(name="x", label=label or "Time", unit=unit, panel=panel)


def limits(target: tuple[float | None, float | None] | None, thresholds: Sequence[tuple[float, str]], panel: int = 0) -> list[Layer]:
    """Make the target region and the threshold lines of a panel."""
    made: list[Layer] = []
    if target is not None:
        made.append(Region(name="target", lower=target[0], upper=target[1], panel=panel))
    made.extend(Rule(name=name, value=float(value), panel=panel) for value, name in thresholds)
    return made


def sides_of(target: tuple[float | None, float | None] | None, thresholds: Sequence[tuple[float, str]]) -> tuple[float, ...]:
    """List the values on whose right side every written number must stay."""
    return tuple(float(value) for value in (*(target or ()), *(value for value, _ in thresholds)) if value is not None)


def held(values: ArrayLike, unit: str) -> Array:
    """Describe values along time."""
    return Array.of(np.asarray(values, dtype=np.float64), unit=unit, axes=("time",))


def place(value: Any, time_unit: str | None) -> int | float:
    """Return one place on the axis of `along`."""
    return float(value) if time_unit is not None else int(times(value))


def moment(at: float, time_unit: str | None, zone: str, *, is_dated: bool = False) -> str:
    """Write one place on the axis of `along`."""
    if time_unit is None:
        return f"{clock_text(int(at), zone)} on {date_text(int(at), zone)}" if is_dated else clock_text(int(at), zone)
    return with_unit(at, time_unit)
