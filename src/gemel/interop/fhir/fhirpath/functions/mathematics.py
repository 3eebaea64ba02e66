"""Mathematics on integers, decimals and quantities; what has no result is empty.

References
----------
FHIRPath 2.0.0, section 5.7.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal, DecimalException

from gemel.interop.fhir.fhirpath.context import Context, Function, Items, failed, integer, number, single
from gemel.interop.fhir.fhirpath.operators import ARITHMETIC, kept
from gemel.interop.fhir.fhirpath.quantity import Quantity

__all__ = ["FUNCTIONS"]

_DIGITS = Decimal(1).scaleb(-25)  # logarithms and roots have 34 digits; the last few are not theirs


def _settled(value: Decimal) -> Items:
    """A computed decimal without the noise of its last digits."""
    if not value.is_finite():
        return []
    rounded = value.quantize(_DIGITS, ROUND_HALF_UP, ARITHMETIC) if abs(value) < 10**8 else value
    return [
        rounded.normalize(ARITHMETIC) + 0
        if rounded != rounded.to_integral_value()
        else rounded.quantize(Decimal("1.0"), context=ARITHMETIC)
    ]


def _whole(rounding: str, name: str) -> Callable[[Context, Items], Items]:
    def run(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
        found = number(focus, f"{name}()")
        return [] if found is None else kept(int(Decimal(found).to_integral_value(rounding)))

    return run


def _abs(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
    found = single(focus, "abs()")
    if isinstance(found, Quantity):
        return [Quantity(abs(found.value), found.unit, found.calendar)]
    value = number(focus, "abs()")
    return [] if value is None else [abs(value)]


def _round(ctx: Context, focus: Items, places: Items | None = None) -> Items:  # noqa: ARG001
    value = number(focus, "round()")
    digits = 0 if places is None else integer(places, "round()")
    if value is None or digits is None:
        return []
    if not 0 <= digits <= 31:
        raise failed("round(): not a number of digits", digits, "0 to 31")
    try:
        return [Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, ARITHMETIC)]
    except DecimalException:
        return [value]


def _power(ctx: Context, focus: Items, exponent: Items) -> Items:  # noqa: ARG001
    base, power = number(focus, "power()"), number(exponent, "power()")
    if base is None or power is None:
        return []
    try:
        if isinstance(base, int) and isinstance(power, int) and 0 <= power <= 64:
            return kept(base**power)
        return kept(ARITHMETIC.power(Decimal(base), Decimal(power)))
    except DecimalException:
        return []


def _computed(call: Callable[[Decimal], Decimal], name: str) -> Callable[[Context, Items], Items]:
    def run(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
        found = number(focus, f"{name}()")
        try:
            return [] if found is None else _settled(call(Decimal(found)))
        except DecimalException:
            return []

    return run


def _log(ctx: Context, focus: Items, base: Items) -> Items:  # noqa: ARG001
    value, by = number(focus, "log()"), number(base, "log()")
    if value is None or by is None:
        return []
    try:
        return _settled(ARITHMETIC.divide(ARITHMETIC.ln(Decimal(value)), ARITHMETIC.ln(Decimal(by))))
    except DecimalException:
        return []


def _total(ctx: Context, focus: Items, name: str) -> Items:  # noqa: ARG001
    values = [number([item], f"{name}()") for item in focus]
    total = sum((Decimal(v) for v in values if v is not None), Decimal(0))
    if name == "sum":
        return kept(int(total) if all(isinstance(v, int) for v in values) else total)
    return kept(ARITHMETIC.divide(total, Decimal(len(values)))) if values else []


FUNCTIONS = {
    "abs": Function(_abs), "ceiling": Function(_whole(ROUND_CEILING, "ceiling")), "floor": Function(_whole(ROUND_FLOOR, "floor")),
    "truncate": Function(_whole(ROUND_DOWN, "truncate")), "round": Function(_round, 0, 1), "power": Function(_power, 1, 1),
    "sqrt": Function(_computed(ARITHMETIC.sqrt, "sqrt")), "exp": Function(_computed(ARITHMETIC.exp, "exp")),
    "ln": Function(_computed(ARITHMETIC.ln, "ln")), "log": Function(_log, 1, 1), "sum": Function(lambda ctx, focus: _total(ctx, focus, "sum")),
    "avg": Function(lambda ctx, focus: _total(ctx, focus, "avg")),
}  # fmt: skip
