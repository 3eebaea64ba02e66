"""What a value may have been before it was rounded: lowest, highest, and how many digits are known; and the parts of a time.

References
----------
FHIRPath 3.0.0 (continuous build), sections on boundaries, precision and parts; the official tests.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal, DecimalException
from typing import Any

from gemel.interop.fhir.fhirpath.context import Context, Function, Items, failed, integer, single
from gemel.interop.fhir.fhirpath.nodes import type_of
from gemel.interop.fhir.fhirpath.quantity import Quantity
from gemel.interop.fhir.fhirpath.temporal import Temporal

__all__ = ["FUNCTIONS"]

_MOST = 31  # digits after the point that the official tests allow


def _places(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _bound(value: Decimal, digits: int | None, low: bool) -> Decimal | None:
    """Half a unit of the last digit below or above; fewer digits than are known cut towards zero and round away from it, as the tests do."""
    wanted = 8 if digits is None else digits
    if not 0 <= wanted <= _MOST:
        return None
    half = Decimal(5).scaleb(-_places(value) - 1)
    bound = value - half if low else value + half
    towards_zero = (value >= 0) == low
    try:
        return bound.quantize(Decimal(1).scaleb(-wanted), ROUND_DOWN if towards_zero else ROUND_HALF_UP)
    except DecimalException:
        return None


def _boundary(low: bool) -> Callable[..., Items]:
    name = "lowBoundary()" if low else "highBoundary()"

    def run(ctx: Context, focus: Items, digits: Items | None = None) -> Items:  # noqa: ARG001
        value = single(focus, name)
        wanted = None if digits is None else integer(digits, name)
        found: Any = None
        if isinstance(value, bool):
            raise failed(f"{name} needs a number, a time or a quantity", "Boolean", "Decimal, Date, DateTime, Time or Quantity")
        if isinstance(value, (int, Decimal)):
            found = _bound(Decimal(value), wanted, low)
        elif isinstance(value, Temporal):
            found = value.boundary(wanted, low)
        elif isinstance(value, Quantity):
            bound = _bound(value.value, wanted, low)
            found = None if bound is None else Quantity(bound, value.unit, value.calendar)
        elif value is not None:
            raise failed(
                f"{name} needs a number, a time or a quantity", type_of(focus[0]).name, "Decimal, Date, DateTime, Time or Quantity"
            )
        return [] if found is None else [found]

    return run


def _precision(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
    value = single(focus, "precision()")
    if isinstance(value, Temporal):
        return [value.precision]
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return [len(Decimal(value).as_tuple().digits) if _places(Decimal(value)) == 0 else _places(Decimal(value))]
    if value is None:
        return []
    raise failed("precision() needs a number or a time", type_of(focus[0]).name, "Decimal, Date, DateTime or Time")


def _part(name: str, place: int) -> Callable[[Context, Items], Items]:
    def run(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
        value = single(focus, f"{name}()")
        if value is None or not isinstance(value, Temporal):
            return []
        parts = (None, None, None, *value.parts) if value.kind == "time" else value.parts
        found = parts[place] if place < len(parts) else None
        return [] if found is None else [int(found)]

    return run


def _millisecond(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
    value = single(focus, "millisecondOf()")
    seconds = value.parts[-1] if isinstance(value, Temporal) else None
    return [int(seconds % 1 * 1000)] if isinstance(seconds, Decimal) and "." in f"{seconds:f}" else []


def _offset(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
    value = single(focus, "timezoneOffsetOf()")
    return [Decimal(value.zone) / 60] if isinstance(value, Temporal) and value.zone is not None else []


def _date_of(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
    value = single(focus, "dateOf()")
    return [Temporal("date", value.parts[:3])] if isinstance(value, Temporal) and value.kind != "time" else []


def _time_of(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
    value = single(focus, "timeOf()")
    return [Temporal("time", value.parts[3:])] if isinstance(value, Temporal) and value.kind == "dateTime" and len(value.parts) > 3 else []


FUNCTIONS = {
    "lowBoundary": Function(_boundary(True), 0, 1), "highBoundary": Function(_boundary(False), 0, 1), "precision": Function(_precision),
    **{f"{name}Of": Function(_part(f"{name}Of", i)) for i, name in enumerate(("year", "month", "day", "hour", "minute", "second"))},
    "millisecondOf": Function(_millisecond), "timezoneOffsetOf": Function(_offset), "dateOf": Function(_date_of), "timeOf": Function(_time_of),
    **{name: Function(lambda ctx, _, kind=kind: [ctx.clock(kind)]) for name, kind in (("now", "dateTime"), ("today", "date"), ("timeOfDay", "time"))},
}  # fmt: skip
