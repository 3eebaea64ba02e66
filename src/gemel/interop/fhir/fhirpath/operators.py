"""Operators: arithmetic, concatenation, membership, and logic with three values.

References
----------
FHIRPath 2.0.0, sections 6.2 to 6.6.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context as Arithmetic
from decimal import Decimal, DecimalException
from typing import Any, TypeGuard

from gemel.interop.fhir.fhirpath.context import TEXT, Items, failed, single, text
from gemel.interop.fhir.fhirpath.equality import equal, equivalent, identity, items_equal, order
from gemel.interop.fhir.fhirpath.nodes import Node, type_of
from gemel.interop.fhir.fhirpath.quantity import CALENDAR, DEFINITE, Quantity
from gemel.interop.fhir.fhirpath.temporal import Temporal

__all__ = ["ARITHMETIC", "LOGIC", "OPERATORS", "distinct", "kept", "negated"]

ARITHMETIC = Arithmetic(prec=34, Emax=308, Emin=-324)
"""Decimals of 34 digits: IEEE 754 decimal128's, which is more than the eight after the point that FHIRPath asks for; in the range of a double."""
INTEGERS = 2**63
"""Integers beyond this are no result."""


def distinct(items: Items) -> Items:
    """Return each item once, in the order of first appearance."""
    found: dict[Any, Any] = {}
    for item in items:
        found.setdefault(identity(item), item)
    return list(found.values())


def kept(value: Any) -> Items:
    """Return a number as a collection: empty when it is no result."""
    if value is None or (isinstance(value, int) and abs(value) > INTEGERS) or (isinstance(value, Decimal) and not value.is_finite()):
        return []
    return [value]


def _is_number(value: Any) -> TypeGuard[int | Decimal]:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _moved(moment: Temporal, amount: Quantity, sign: int) -> Items:
    unit = amount.unit if amount.calendar else DEFINITE.get(amount.unit) or CALENDAR.get(amount.unit)  # 1 'month' is meant so
    if unit is None or (moment.kind == "time" and unit in ("year", "month", "week", "day")):
        raise failed("a time cannot be moved by that unit", amount.unit, "a unit of the calendar, or 'd', 'wk', 'h', 'min', 's', 'ms'")
    return [moment.plus(sign * amount.value, unit)]


def _add(a: Any, b: Any, sign: int) -> Items:
    if isinstance(a, Temporal) and isinstance(b, Quantity):
        return _moved(a, b, sign)
    if isinstance(a, Quantity) and isinstance(b, Quantity):
        one, two, unit = a.base(), b.base(), Quantity(Decimal(1), a.unit, a.calendar).base()
        if one is None or two is None or unit is None or one[1] != two[1]:
            return [Quantity(a.value + sign * b.value, a.unit, a.calendar)] if a.unit == b.unit else []
        ratio = two[0] / unit[0]
        other = ARITHMETIC.divide(Decimal(ratio.numerator), Decimal(ratio.denominator)) if a.unit != b.unit else b.value
        return [Quantity(ARITHMETIC.add(a.value, sign * other), a.unit, a.calendar)]
    if _is_number(a) and _is_number(b):
        if isinstance(a, int) and isinstance(b, int):
            return kept(a + sign * b)
        return kept(ARITHMETIC.add(Decimal(a), sign * Decimal(b)))
    raise failed(
        "these two cannot be added",
        f"{type_of(a).name} and {type_of(b).name}",
        "two numbers, quantities or texts, or a time and a quantity",
    )


def _product_unit(a: str, b: str, sign: str) -> str:
    if b == "1":
        return a
    if sign == "/":
        return "1" if a == b else f"{a}/{b}"
    return b if a == "1" else f"{a}.{b}"


def _multiply(a: Any, b: Any, operator: str) -> Items:
    if _is_number(a) and isinstance(b, Quantity):
        a = Quantity(Decimal(a), "1")
    if isinstance(a, Quantity) and _is_number(b):
        b = Quantity(Decimal(b), "1")
    divide = operator == "/"
    if isinstance(a, Quantity) and isinstance(b, Quantity):
        if divide and not b.value:
            return []
        value = ARITHMETIC.divide(a.value, b.value) if divide else ARITHMETIC.multiply(a.value, b.value)
        if b.unit == "1" and a.calendar:
            return [Quantity(value, a.unit, calendar=True)]
        return [Quantity(value, _product_unit(a.ucum or a.unit, b.ucum or b.unit, operator))]
    if not (_is_number(a) and _is_number(b)):
        raise failed(f"these two cannot be combined by {operator}", f"{type_of(a).name} and {type_of(b).name}", "two numbers or quantities")
    if divide:
        return kept(ARITHMETIC.divide(Decimal(a), Decimal(b))) if b else []
    return kept(a * b if isinstance(a, int) and isinstance(b, int) else ARITHMETIC.multiply(Decimal(a), Decimal(b)))


def _whole(a: Any, b: Any, operator: str) -> Items:
    if not (_is_number(a) and _is_number(b)):
        raise failed(f"{operator} needs numbers", f"{type_of(a).name} and {type_of(b).name}", "two numbers")
    if not b:
        return []
    whole = ARITHMETIC.divide_int(Decimal(a), Decimal(b))
    if operator == "div":
        return kept(int(whole))
    if isinstance(a, int) and isinstance(b, int):
        return kept(int(ARITHMETIC.remainder(Decimal(a), Decimal(b))))
    return kept(ARITHMETIC.remainder(Decimal(a), Decimal(b)))


def _arithmetic(operator: str) -> Callable[[Items, Items], Items]:
    def run(left: Items, right: Items) -> Items:
        a, b = single(left, operator), single(right, operator)
        if a is None or b is None:
            return []
        if operator == "+" and isinstance(a, str) and isinstance(b, str):
            return _joined(a, b)
        try:
            if operator in "+-":
                return _add(a, b, 1 if operator == "+" else -1)
            return _multiply(a, b, operator) if operator in "*/" else _whole(a, b, operator)
        except DecimalException:
            return []  # no number can hold it

    return run


def _joined(a: str, b: str) -> Items:
    if len(a) + len(b) > TEXT:
        raise failed("a text grows too long", len(a) + len(b), f"at most {TEXT} characters")
    return [a + b]


def _concatenate(left: Items, right: Items) -> Items:
    return _joined(text(left, "&") or "", text(right, "&") or "")


def _compare(decide: Callable[[int], bool]) -> Callable[[Items, Items], Items]:
    def run(left: Items, right: Items) -> Items:
        if not left or not right:
            return []
        single(left, "a comparison")
        single(right, "a comparison")
        found = order(left[0], right[0])
        return [] if found is None else [decide(found)]

    return run


def _contains(items: Items, one: Items) -> Items:
    if not one:
        return []
    single(one, "in, contains")
    return [any(items_equal(item, one[0]) for item in items)]


def _equal(left: Items, right: Items) -> Items:
    found = equal(left, right)
    return [] if found is None else [found]


def _not_equal(left: Items, right: Items) -> Items:
    found = equal(left, right)
    return [] if found is None else [not found]


OPERATORS: dict[str, Callable[[Items, Items], Items]] = {
    **{name: _arithmetic(name) for name in ("+", "-", "*", "/", "div", "mod")},
    "&": _concatenate, "=": _equal, "!=": _not_equal, "~": lambda a, b: [equivalent(a, b)], "!~": lambda a, b: [not equivalent(a, b)],
    "<": _compare(lambda o: o < 0), "<=": _compare(lambda o: o <= 0), ">": _compare(lambda o: o > 0), ">=": _compare(lambda o: o >= 0),
    "|": lambda a, b: distinct(a + b), "in": lambda a, b: _contains(b, a), "contains": _contains,
}  # fmt: skip
"""Operators of two collections."""


def _and(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def _or(a: bool | None, b: bool | None) -> bool | None:
    if a is True or b is True:
        return True
    return None if a is None or b is None else False


LOGIC: dict[str, Callable[[bool | None, bool | None], bool | None]] = {
    "and": _and,
    "or": _or,
    "xor": lambda a, b: None if a is None or b is None else a is not b,
    "implies": lambda a, b: _or(None if a is None else not a, b),
}
"""Operators of two truth values, of which each may be unknown."""


def negated(items: Items) -> Items:
    """Return ``-x``."""
    found = single(items, "-")
    if found is None:
        return []
    if isinstance(found, Quantity):
        return [Quantity(-found.value, found.unit, found.calendar)]
    if _is_number(found):
        return [found.copy_negate() if isinstance(found, Decimal) else -found]
    raise failed("- needs a number", type_of(items[0]).name if not isinstance(found, Node) else found.type, "a number or a quantity")
