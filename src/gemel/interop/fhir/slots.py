"""Where numbers go in the search values of a template: a value that was indexed once with marks for its numbers is filled in with others."""

from __future__ import annotations

from typing import Any, NamedTuple

from gemel.core.units import parse_unit
from gemel.interop.fhir.search_values import Composite, QuantityValue, Value

__all__ = ["Pair", "Slot", "put", "slots_of"]

Pair = tuple[str, Value]
_HALF = tuple(0.5 * 10.0**-places for places in range(26))
_new: Any = tuple.__new__  # a NamedTuple made without its keyword handling, which costs as much as all else


class Slot(NamedTuple):
    """Where a number goes: the parameters that take it, those that take it with other parts of a composite, its unit, and an end of its range that a comparator opens."""

    plain: tuple[str, ...]
    composite: tuple[tuple[tuple[str, ...], tuple[Any, ...], int], ...]
    said: tuple[str | None, str | None, str | None, str | None]
    low: float | None
    high: float | None
    factor: float | None
    offset: float


def put(text: bytes, slot: Slot, values: list[Pair]) -> float:
    """Add what a number is found by; return it."""
    number = float(text)
    dot = text.find(b".")
    half = _HALF[len(text) - dot - 1] if dot >= 0 else 0.5
    system, code, unit, base = slot.said
    low = number - half if slot.low is None else slot.low
    high = number + half if slot.high is None else slot.high
    found = _new(
        QuantityValue, (number, low, high, system, code, unit, None if slot.factor is None else number * slot.factor + slot.offset, base)
    )
    for name in slot.plain:
        values.append((name, found))
    for names, parts, place in slot.composite:
        joined = _new(Composite, ((*parts[:place], found, *parts[place + 1 :]),))
        for name in names:
            values.append((name, joined))
    return number


_INF = float("inf")


def slots_of(values: list[Pair], marks: list[float]) -> tuple[list[Pair], tuple[Slot, ...] | None]:
    """Part search values into those that are fixed and those that take a number."""
    fixed: list[Pair] = []
    plain: dict[float, list[str]] = {mark: [] for mark in marks}
    joined: dict[float, dict[tuple[Any, ...], list[str]]] = {mark: {} for mark in marks}
    models: dict[float, QuantityValue] = {}
    for name, value in values:
        if isinstance(value, QuantityValue) and value.value in plain:
            plain[value.value].append(name)
            models[value.value] = value
        elif isinstance(value, Composite) and (inner := [p for p in value.parts if isinstance(p, QuantityValue) and p.value in plain]):
            if len(inner) != 1:
                return fixed, None
            models.setdefault(inner[0].value, inner[0])
            joined[inner[0].value].setdefault(value.parts, []).append(name)
        else:
            fixed.append((name, value))
    slots = []
    for mark in marks:
        model = models.get(mark)
        if model is None:
            return fixed, None
        unit = parse_unit(model.code) if model.canonical_unit is not None and model.code is not None else None
        composite = tuple(
            (tuple(names), parts, next(i for i, p in enumerate(parts) if isinstance(p, QuantityValue)))
            for parts, names in joined[mark].items()
        )
        said = (model.system, model.code, model.unit, model.canonical_unit)
        low, high = (model.low if model.low == -_INF else None), (model.high if model.high == _INF else None)
        slots.append(
            Slot(
                tuple(plain[mark]),
                composite,
                said,
                low,
                high,
                None if unit is None else float(unit.factor),
                0.0 if unit is None else float(unit.offset),
            )
        )
    return fixed, tuple(slots)
