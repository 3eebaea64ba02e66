"""Quantities: a decimal and a unit of UCUM or of the calendar, compared and multiplied across units.

References
----------
FHIRPath 2.0.0, sections 2.1.7 (literals), 6.1 (equality) and 6.6 (math).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from gemel.core.errors import UnitError
from gemel.core.units import parse_unit

__all__ = ["CALENDAR", "DEFINITE", "Quantity", "canonical"]

CALENDAR = {
    name + end: name for name in ("year", "month", "week", "day", "hour", "minute", "second", "millisecond") for end in ("", "s")
}  # fmt: skip
"""Words of the calendar, in singular and plural."""
DEFINITE = {"wk": "week", "d": "day", "h": "hour", "min": "minute", "s": "second", "ms": "millisecond"}
"""Units of UCUM that are as long as those of the calendar; a year and a month are not."""
_UCUM = {name: code for code, name in DEFINITE.items()}
_TEXT = re.compile(r"(?P<value>[+-]?[0-9]+(?:\.[0-9]+)?)\s*(?:'(?P<unit>[^']+)'|(?P<word>[a-zA-Z]+))?\Z")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value and its unit; ``calendar`` for a word such as *month* instead of a code of UCUM.

    Examples
    --------
    >>> str(Quantity(Decimal("1.0"), "mg"))
    "1.0 'mg'"
    """

    value: Decimal
    unit: str
    calendar: bool = False

    def __str__(self) -> str:
        if self.calendar:
            return f"{self.value:f} {self.unit}{'' if self.value == 1 else 's'}"
        return f"{self.value:f} '{self.unit}'"

    @staticmethod
    def parse(text: str) -> Quantity | None:
        """Read ``1 'mg'``, ``4 days`` or ``7``; None when it is none of these."""
        found = _TEXT.match(text)
        if found is None or (found["word"] and found["word"] not in CALENDAR):
            return None
        if found["word"]:
            return Quantity(Decimal(found["value"]), CALENDAR[found["word"]], calendar=True)
        return Quantity(Decimal(found["value"]), found["unit"] or "1")

    @property
    def ucum(self) -> str | None:
        """The unit as UCUM writes it; None for a calendar's year and month, which UCUM has not."""
        return _UCUM.get(self.unit) if self.calendar else self.unit

    def base(self) -> tuple[Fraction, tuple[tuple[str, int], ...]] | None:
        """Return the value in base units and their dimensions; None when the unit is not known."""
        code = self.ucum
        if code is None:
            months = {"year": 12, "month": 1}[self.unit]
            return Fraction(self.value) * months, (("month", 1),)
        try:
            found = parse_unit(code)
        except UnitError:
            return None
        return Fraction(self.value) * found.factor + found.offset, found.dimensions


def canonical(value: Decimal, unit: str) -> tuple[float, str] | None:
    """Return a value in base units of UCUM and these as text; None when the unit is not known."""
    found = Quantity(value, unit).base()
    if found is None:
        return None
    dimensions = ".".join(name + (str(power) if power != 1 else "") for name, power in found[1])
    return float(found[0]), dimensions or "1"
