"""Conversions: ``toX()`` is empty where nothing can be made, ``convertsToX()`` says whether it can.

References
----------
FHIRPath 2.0.0, section 5.5.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from gemel.interop.fhir.fhirpath.context import Context, Function, Items, failed, single, text
from gemel.interop.fhir.fhirpath.nodes import Node
from gemel.interop.fhir.fhirpath.operators import ARITHMETIC
from gemel.interop.fhir.fhirpath.quantity import Quantity
from gemel.interop.fhir.fhirpath.temporal import Temporal

__all__ = ["FUNCTIONS"]

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{1,400})?\Z")
_TRUE, _FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, Decimal)):
        return bool(value) if value in (0, 1) else None
    if isinstance(value, str):
        plain = value.lower()
        return True if plain in _TRUE else False if plain in _FALSE else None
    return None


def _integer(value: Any) -> int | None:
    if isinstance(value, (bool, int)):
        return int(value)
    return int(value) if isinstance(value, str) and _INTEGER.match(value) else None


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return Decimal("1.0") if value else Decimal("0.0")
    if isinstance(value, (int, Decimal)):
        return Decimal(value)
    return Decimal(value) if isinstance(value, str) and _DECIMAL.match(value) else None


def _string(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return None if isinstance(value, Node) else str(value)


def _quantity(value: Any) -> Quantity | None:
    if isinstance(value, Quantity):
        return value
    if isinstance(value, bool):
        return Quantity(Decimal("1.0") if value else Decimal("0.0"), "1")
    if isinstance(value, (int, Decimal)):
        return Quantity(Decimal(value), "1")
    return Quantity.parse(value) if isinstance(value, str) else None


def _moment(kind: str) -> Callable[[Any], Temporal | None]:
    def run(value: Any) -> Temporal | None:
        if isinstance(value, str):
            return Temporal.parse(value.removeprefix("@"), kind)
        if not isinstance(value, Temporal) or (value.kind == "time") != (kind == "time"):
            return None
        return Temporal(kind, value.parts[:3]) if kind == "date" else Temporal(kind, value.parts, value.zone, value.utc)

    return run


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "Boolean": _boolean, "Integer": _integer, "Decimal": _decimal, "String": _string, "Date": _moment("date"), "DateTime": _moment("dateTime"),
    "Time": _moment("time"), "Long": _integer,
}  # fmt: skip


def _to(name: str, make: Callable[[Any], Any]) -> Callable[[Context, Items], Items]:
    def run(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
        value = single(focus, f"to{name}()")
        found = None if value is None else make(value)
        return [] if found is None else [found]

    return run


def _converts(name: str, make: Callable[[Any], Any]) -> Callable[[Context, Items], Items]:
    def run(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
        value = single(focus, f"convertsTo{name}()")
        return [] if value is None else [make(value) is not None]

    return run


def _to_quantity(ctx: Context, focus: Items, unit: Items | None = None) -> Items:  # noqa: ARG001
    value = single(focus, "toQuantity()")
    found = None if value is None else _quantity(value)
    wanted = None if unit is None else text(unit, "toQuantity()")
    if found is None or wanted is None:
        return [] if found is None else [found]
    one, target = found.base(), Quantity(Decimal(1), wanted).base()
    if one is None or target is None or one[1] != target[1]:
        return []
    ratio = one[0] / target[0]
    return [Quantity(ARITHMETIC.divide(Decimal(ratio.numerator), Decimal(ratio.denominator)), wanted)]


def _converts_to_quantity(ctx: Context, focus: Items, unit: Items | None = None) -> Items:
    return [bool(_to_quantity(ctx, focus, unit))] if focus else []


def _comparable(ctx: Context, focus: Items, other: Items) -> Items:  # noqa: ARG001
    one, two = single(focus, "comparable()"), single(other, "comparable()")
    if one is None or two is None:
        return []
    if not isinstance(one, Quantity) or not isinstance(two, Quantity):
        raise failed("comparable() needs quantities", type(one).__name__, "Quantity")
    a, b = one.base(), two.base()
    return [one.unit == two.unit if a is None or b is None else a[1] == b[1]]


FUNCTIONS = (
    {f"to{name}": Function(_to(name, make)) for name, make in _MAKERS.items()}
    | {f"convertsTo{name}": Function(_converts(name, make)) for name, make in _MAKERS.items()}
    | {"toQuantity": Function(_to_quantity, 0, 1), "convertsToQuantity": Function(_converts_to_quantity, 0, 1), "comparable": Function(_comparable, 1, 1)}
)  # fmt: skip
