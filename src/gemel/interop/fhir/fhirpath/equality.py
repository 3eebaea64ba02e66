"""Equal, equivalent, before and after: of items and of collections.

References
----------
FHIRPath 2.0.0, sections 6.1 and 6.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any, TypeGuard

from gemel.core.errors import DataError
from gemel.interop.fhir.fhirpath.nodes import Node, TypeName, type_of, value_of
from gemel.interop.fhir.fhirpath.quantity import Quantity
from gemel.interop.fhir.fhirpath.temporal import Temporal

__all__ = ["equal", "equivalent", "identity", "items_equal", "order"]


def _is_number(value: Any) -> TypeGuard[int | Decimal]:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _pair(one: Any, two: Any) -> tuple[Any, Any]:
    """Values of two items, brought to one type where FHIRPath converts by itself."""
    a, b = value_of(one), value_of(two)
    if isinstance(a, Temporal) and isinstance(b, str):
        b = Temporal.parse(b, a.kind) or b
    elif isinstance(b, Temporal) and isinstance(a, str):
        a = Temporal.parse(a, b.kind) or a
    if isinstance(a, Quantity) and _is_number(b):
        b = Quantity(Decimal(b), "1")
    elif isinstance(b, Quantity) and _is_number(a):
        a = Quantity(Decimal(a), "1")
    return a, b


def _quantities(a: Quantity, b: Quantity) -> bool | None:
    if a.ucum == b.ucum and a.ucum is not None:
        return a.value == b.value
    one, two = a.base(), b.base()
    if one is None or two is None or one[1] != two[1]:
        return None
    return one[0] == two[0]


def items_equal(one: Any, two: Any) -> bool | None:
    """Say whether two items are equal; None where that is not known."""
    a, b = _pair(one, two)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if _is_number(a) and _is_number(b):
        return a == b
    if isinstance(a, Quantity) and isinstance(b, Quantity):
        return _quantities(a, b)
    if isinstance(a, Temporal) and isinstance(b, Temporal):
        found = a.against(b)
        return None if found is None and (a.kind == "time") == (b.kind == "time") else found == 0
    if isinstance(a, Node) and isinstance(b, Node):
        return a.value == b.value and (a.value is not None or a.extra == b.extra)
    return a.__class__ is b.__class__ and a == b


def equal(left: Sequence[Any], right: Sequence[Any]) -> bool | None:
    """Say whether two collections are equal, item by item in their order; None where that is not known or one is empty."""
    if not left or not right:
        return None
    if len(left) != len(right):
        return False
    unknown = False
    for one, two in zip(left, right, strict=True):
        found = items_equal(one, two)
        if found is False:
            return False
        unknown = unknown or found is None
    return None if unknown else True


def _digits(number: Decimal | int) -> int:
    exponent = Decimal(number).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _rounded_equal(a: Decimal | int, b: Decimal | int) -> bool:
    places = Decimal(1).scaleb(-min(_digits(a), _digits(b)))
    try:
        return Decimal(a).quantize(places, ROUND_HALF_UP) == Decimal(b).quantize(places, ROUND_HALF_UP)
    except ArithmeticError:
        return a == b


def _alike(one: Any, two: Any) -> bool:
    a, b = _pair(one, two)
    if isinstance(a, str) and isinstance(b, str):
        return " ".join(a.casefold().split()) == " ".join(b.casefold().split())
    if _is_number(a) and _is_number(b):
        return _rounded_equal(a, b)
    if isinstance(a, Quantity) and isinstance(b, Quantity):
        first, second = a.ucum or {"year": "a", "month": "mo"}[a.unit], b.ucum or {"year": "a", "month": "mo"}[b.unit]
        bases = Quantity(a.value, first).base(), Quantity(b.value, second).base()
        if bases[0] is None or bases[1] is None:
            return first == second and _rounded_equal(a.value, b.value)
        if bases[0][1] != bases[1][1]:
            return False
        return _to_the_coarser(Quantity(a.value, first), Quantity(b.value, second))
    if isinstance(a, Temporal) and isinstance(b, Temporal):
        return a.kind == b.kind and a.against(b) == 0
    if isinstance(a, Node) and isinstance(b, Node):
        return identity(a) == identity(b)
    return items_equal(a, b) is True


def _to_the_coarser(a: Quantity, b: Quantity) -> bool:
    """Compare two quantities of one dimension in the unit and with the digits of that which is known less exactly."""
    steps = [Quantity(Decimal(1).scaleb(-_digits(one.value)), one.unit).base() for one in (a, b)]
    fine, coarse = (a, b) if steps[0] is None or steps[1] is None or steps[0][0] <= steps[1][0] else (b, a)
    value, unit = fine.base(), Quantity(Decimal(1), coarse.unit).base()
    if value is None or unit is None:
        return False
    ratio = value[0] / unit[0]
    number = (Decimal(ratio.numerator) / Decimal(ratio.denominator)).quantize(Decimal(1).scaleb(-_digits(coarse.value)), ROUND_HALF_UP)
    return number == coarse.value


def equivalent(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Say whether two collections are equivalent: in any order, text without case, numbers to the lesser precision."""
    if len(left) != len(right):
        return False
    rest = list(right)
    for one in left:
        found = next((i for i, two in enumerate(rest) if _alike(one, two)), None)
        if found is None:
            return False
        del rest[found]
    return True


def order(one: Any, two: Any) -> int | None:
    """Return -1, 0 or 1; None where it is not known.

    Raises
    ------
    DataError
        When the two have no order.
    """
    a, b = _pair(one, two)
    if isinstance(a, Temporal) and isinstance(b, Temporal) and (a.kind == "time") == (b.kind == "time"):
        return a.against(b)
    if isinstance(a, Quantity) and isinstance(b, Quantity):
        bases = a.base(), b.base()
        if a.ucum == b.ucum and a.ucum is not None:
            return (a.value > b.value) - (a.value < b.value)
        if bases[0] is None or bases[1] is None or bases[0][1] != bases[1][1]:
            return None
        return (bases[0][0] > bases[1][0]) - (bases[0][0] < bases[1][0])
    if _is_number(a) and _is_number(b):
        return (a > b) - (a < b)
    if isinstance(a, str) and isinstance(b, str):
        return (a > b) - (a < b)
    raise DataError(
        "FHIRPath: these two have no order", seen=f"{type_of(one).name} and {type_of(two).name}", expected="two numbers, texts, times or quantities",
        fix="convert one of them",
    )  # fmt: skip


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted((k, _canonical(v)) for k, v in value.items()))
    if isinstance(value, (tuple, list)):
        return tuple(_canonical(one) for one in value)
    return (value.__class__ is bool, Fraction(value)) if isinstance(value, (bool, int, Decimal)) else ("", str(value))


def identity(item: Any) -> Any:
    """Return what two equal items share, to be used as a key."""
    value = value_of(item)
    if isinstance(value, bool) or value is None:
        return ("boolean", value)
    if _is_number(value):
        return ("number", value)  # equal numbers have equal hashes
    if isinstance(value, Quantity):
        return ("quantity", value.base() or (value.value, value.unit))
    if isinstance(value, Temporal):
        return ("time" if value.kind == "time" else "date", value.comparable(), value.zone is None)
    if isinstance(value, Node):
        return ("element", _canonical(value.value), _canonical(value.extra) if value.value is None else None)
    return ("type", value.namespace, value.name) if isinstance(value, TypeName) else ("text", value)
