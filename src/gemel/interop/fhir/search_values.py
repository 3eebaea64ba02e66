"""The kinds of value that a search compares, and how each type of FHIR becomes one.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/search.html, sections 3.1.1.4.3 to 3.1.1.4.14
"""

from __future__ import annotations

import datetime as dt
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from gemel.core.errors import UnitError
from gemel.core.units import parse_unit
from gemel.interop.fhir import schema

__all__ = [
    "FIRST",
    "LAST",
    "MAKERS",
    "Composite",
    "DateValue",
    "NumberValue",
    "QuantityValue",
    "ReferenceValue",
    "StringValue",
    "TokenValue",
    "UriValue",
    "Value",
    "base_unit",
    "date_range",
    "normalised",
    "parsed_reference",
]

FIRST, LAST = -(2**63), 2**63 - 1
"""The ends of a period that is open: the least and greatest of nanoseconds."""
_UCUM = "http://unitsofmeasure.org"
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?\Z")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_UNITS = {7: 60, 16: 60, 19: 1}  # seconds of the last part, by length of the text without fraction and zone


class TokenValue(NamedTuple):
    """A code in a system; ``system`` None: none is given; ``text`` is what a person reads, for ``:text``."""

    system: str | None
    code: str | None
    text: str | None = None


class StringValue(NamedTuple):
    """A text, normalised (case, accents, white space) and as it stands, for ``:exact``."""

    value: str
    exact: str


class DateValue(NamedTuple):
    """The first and last nanosecond (UTC) that a date or period covers."""

    low: int
    high: int


class NumberValue(NamedTuple):
    """A number, and the range that its digits leave open."""

    value: float
    low: float
    high: float


class QuantityValue(NamedTuple):
    """A number with its unit as sent, the range its digits leave open, and value and unit in base units of UCUM where they are known."""

    value: float
    low: float
    high: float
    system: str | None
    code: str | None
    unit: str | None
    canonical: float | None
    canonical_unit: str | None


class ReferenceValue(NamedTuple):
    """What a reference leads to: type and id where it says them, the base of an absolute address, a version, or the identifier of the target."""

    type: str | None
    id: str | None
    url: str | None
    version: str | None
    identifier: tuple[str | None, str | None] | None = None


class UriValue(NamedTuple):
    """An address, compared whole."""

    value: str


class Composite(NamedTuple):
    """Values that belong together, of one element."""

    parts: tuple[Any, ...]


Value = TokenValue | StringValue | DateValue | NumberValue | QuantityValue | ReferenceValue | UriValue | Composite
Make = Callable[[Any, str | None], list[Any]]


@lru_cache(maxsize=65_536)
def normalised(text: str) -> str:
    """Return a text without case, accents and double spaces.

    Examples
    --------
    >>> normalised("  Élise  MÜLLER ")
    'elise muller'
    """
    if not text.isascii():
        text = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return " ".join(text.casefold().split())


def _nanoseconds(moment: dt.datetime) -> int:
    gap = moment - _EPOCH
    return ((gap.days * 86400 + gap.seconds) * 1_000_000 + gap.microseconds) * 1000


@lru_cache(maxsize=65_536)
def date_range(text: str) -> tuple[int, int] | None:
    """Return the first and last nanosecond (UTC) that a date, dateTime or instant covers; None when it is none, or is outside the years 1678 to 2261.

    Examples
    --------
    >>> date_range("1970")
    (0, 31535999999999999)
    """
    found = _DATE.match(text)
    if found is None:
        return None
    try:
        if len(text) <= 10:
            low, high = _day_range(text)
        else:
            fraction, zone = found[5], found[6]
            plain = text[: len(text) - len(zone or "")]
            start = dt.datetime.fromisoformat(plain[: len(plain) - len(fraction or "")] + (zone or "+00:00"))
            low = _nanoseconds(start)
            if fraction:
                digits = (fraction[1:] + "000000000")[:9]
                low += int(digits)
                high = low + 10 ** max(0, 10 - len(fraction)) - 1
            else:
                high = low + _UNITS[len(plain)] * 10**9 - 1
    except (ValueError, OverflowError):
        return None
    return (low, high) if low > FIRST and high < LAST else None


def _day_range(text: str) -> tuple[int, int]:
    year, month, day = int(text[:4]), int(text[5:7] or 1), int(text[8:10] or 1)
    start = dt.datetime(year, month, day, tzinfo=dt.UTC)
    if len(text) == 4:
        end = dt.datetime(year + 1, 1, 1, tzinfo=dt.UTC)
    elif len(text) == 7:
        end = dt.datetime(year + month // 12, month % 12 + 1, 1, tzinfo=dt.UTC)
    else:
        end = start + dt.timedelta(days=1)
    return _nanoseconds(start), _nanoseconds(end) - 1


def _text(value: Any) -> str | None:
    return value if value.__class__ is str else None


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (tuple, list)) else ()


def _coding(value: Any, _: str | None) -> list[TokenValue]:
    if isinstance(value, dict) and ("code" in value or "system" in value):
        return [TokenValue(_text(value.get("system")), _text(value.get("code")), _text(value.get("display")))]
    return []


def _concept(value: Any, _: str | None) -> list[TokenValue]:
    if not isinstance(value, dict):
        return []
    text = _text(value.get("text"))
    codings = _items(value.get("coding"))
    if codings:
        return [
            TokenValue(_text(one.get("system")), _text(one.get("code")), _text(one.get("display")) or text) for one in codings if isinstance(one, dict)
        ]  # fmt: skip
    return [TokenValue(None, None, text)] if text else []


def _identifier(value: Any, _: str | None) -> list[TokenValue]:
    if not isinstance(value, dict) or not isinstance(value.get("value"), str):
        return []
    kind = value.get("type")
    return [TokenValue(_text(value.get("system")), value["value"], _text(kind.get("text")) if isinstance(kind, dict) else None)]


def _contact(value: Any, _: str | None) -> list[TokenValue]:
    return (
        [TokenValue(_text(value.get("system")), value["value"])] if isinstance(value, dict) and isinstance(value.get("value"), str) else []
    )


def _plain_token(value: Any, system: str | None) -> list[TokenValue]:
    if isinstance(value, bool):
        return [TokenValue(None, "true" if value else "false")]
    return [TokenValue(system, value)] if isinstance(value, str) else []


def _strings(*names: str) -> Make:
    def make(value: Any, _: str | None) -> list[StringValue]:
        out = []
        for name in names if isinstance(value, dict) else ():
            found = value.get(name)
            for one in found if isinstance(found, (tuple, list)) else (found,):
                if isinstance(one, str):
                    out.append(StringValue(normalised(one), one))
        return out

    return make


def _plain_string(value: Any, _: str | None) -> list[StringValue]:
    return [StringValue(normalised(value), value)] if isinstance(value, str) else []


def _date(value: Any, _: str | None) -> list[DateValue]:
    found = date_range(value) if isinstance(value, str) else None
    return [] if found is None else [DateValue(*found)]


def _period(value: Any, _: str | None) -> list[DateValue]:
    if not isinstance(value, dict):
        return []
    start, end = _text(value.get("start")), _text(value.get("end"))
    low, high = date_range(start) if start else (FIRST, FIRST), date_range(end) if end else (LAST, LAST)
    return [DateValue(low[0], high[1])] if (start or end) and low is not None and high is not None else []


def _timing(value: Any, _: str | None) -> list[DateValue]:
    if not isinstance(value, dict):
        return []
    events = [found for one in _items(value.get("event")) if isinstance(one, str) and (found := date_range(one)) is not None]
    out = [DateValue(min(low for low, _ in events), max(high for _, high in events))] if events else []
    repeat = value.get("repeat")
    return out + _period(repeat["boundsPeriod"], None) if isinstance(repeat, dict) and "boundsPeriod" in repeat else out


_HALF = tuple(0.5 * 10.0**-places for places in range(30))


def _spread(number: int | Decimal) -> tuple[float, float, float]:
    """The number and half a unit of its last digit to both sides."""
    text = str(number)  # faster than asking a decimal for its exponent, and exact
    value, dot = float(text), text.find(".")
    places = 0 if dot < 0 else len(text) - dot - 1
    if places < 30 and "E" not in text:
        half = _HALF[places]
    else:
        exponent: Any = Decimal(number).as_tuple().exponent
        half = 0.5 * 10.0**exponent
    return value, value - half, value + half


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _number(value: Any, _: str | None) -> list[NumberValue]:
    return [NumberValue(*_spread(value))] if _is_number(value) else []


def _range(value: Any, _: str | None) -> list[NumberValue]:
    ends = [one.get("value") for name in ("low", "high") if isinstance(value, dict) and isinstance(one := value.get(name), dict)]
    numbers = [float(one) for one in ends if _is_number(one)]
    return [NumberValue(numbers[0], min(numbers), max(numbers))] if numbers else []


@lru_cache(maxsize=4096)
def base_unit(code: str) -> tuple[float, float, str] | None:
    """Return factor, offset and name of the base units of a UCUM code; None when it is not known.

    Examples
    --------
    >>> base_unit("mm")[0]
    0.001
    """
    try:
        unit = parse_unit(code)
    except UnitError:
        return None
    name = ".".join(name + (str(power) if power != 1 else "") for name, power in unit.dimensions)
    return float(unit.factor), float(unit.offset), name or "1"


def _quantity(value: Any, _: str | None) -> list[QuantityValue]:
    if not isinstance(value, dict) or not _is_number(number := value.get("value")):
        return []
    system, code, unit, comparator = _text(value.get("system")), _text(value.get("code")), _text(value.get("unit")), value.get("comparator")
    middle, low, high = _spread(number)
    if comparator is not None:
        low = -math.inf if comparator in ("<", "<=") else low
        high = math.inf if comparator in (">", ">=") else high
    base = base_unit(code) if system == _UCUM and code is not None else None
    if base is None:
        return [QuantityValue(middle, low, high, system, code, unit, None, None)]
    return [QuantityValue(middle, low, high, system, code, unit, middle * base[0] + base[1], base[2])]


def _money(value: Any, _: str | None) -> list[QuantityValue]:
    if not isinstance(value, dict) or not _is_number(value.get("value")):
        return []
    currency = _text(value.get("currency"))
    return [QuantityValue(*_spread(value["value"]), "urn:iso:std:iso:4217", currency, currency, None, None)]


def _reference(value: Any, _: str | None) -> list[ReferenceValue]:
    if not isinstance(value, dict):
        return []
    identifier, text, type_ = value.get("identifier"), value.get("reference"), _text(value.get("type"))
    known = (_text(identifier.get("system")), _text(identifier.get("value"))) if isinstance(identifier, dict) else None
    if isinstance(text, str):
        found = parsed_reference(text)
        if known is None and type_ is None:
            return [found]
        return [ReferenceValue(found.type or type_, found.id, found.url, found.version, known)]
    return [] if known is None else [ReferenceValue(type_, None, None, None, known)]


@lru_cache(maxsize=65_536)
def parsed_reference(text: str) -> ReferenceValue:
    """Return what a reference says: type and id where it ends in them, the address before or instead of them, and the version.

    Examples
    --------
    >>> parsed_reference("http://a.org/fhir/Patient/1/_history/2")
    ReferenceValue(type='Patient', id='1', url='http://a.org/fhir', version='2', identifier=None)
    """
    plain, _, version = text.partition("/_history/")
    parts = plain.rsplit("/", 2)
    if len(parts) > 1 and (kind := schema.kind(parts[-2])) is not None and kind.is_resource:
        return ReferenceValue(parts[-2], parts[-1], parts[0] if len(parts) > 2 else None, version or None)
    return ReferenceValue(None, None, text, None)


def _canonical(value: Any, _: str | None) -> list[ReferenceValue]:
    if not isinstance(value, str):
        return []
    url, _, version = value.partition("|")
    return [ReferenceValue(None, None, url, version or None)]


def _uri(value: Any, _: str | None) -> list[UriValue]:
    return [UriValue(value)] if isinstance(value, str) else []


_TEXTS = ("string", "code", "id", "markdown", "uri", "url", "canonical", "oid", "uuid", "xhtml", "base64Binary")
_QUANTITIES = ("Quantity", "Age", "Count", "Distance", "Duration")
MAKERS: dict[str, dict[str, Make]] = {
    "token": {"Coding": _coding, "CodeableConcept": _concept, "Identifier": _identifier, "ContactPoint": _contact, "boolean": _plain_token}
    | dict.fromkeys(_TEXTS, _plain_token),
    "string": {
        "HumanName": _strings("text", "family", "given", "prefix", "suffix"),
        "Address": _strings("text", "line", "city", "district", "state", "postalCode", "country"),
        "Annotation": _strings("text"), "CodeableConcept": _strings("text"),
    } | dict.fromkeys(_TEXTS, _plain_string),
    "date": {"date": _date, "dateTime": _date, "instant": _date, "string": _date, "Period": _period, "Timing": _timing},
    "number": {"decimal": _number, "integer": _number, "positiveInt": _number, "unsignedInt": _number, "Range": _range},
    "quantity": {"Money": _money} | dict.fromkeys(_QUANTITIES, _quantity),
    "reference": {"Reference": _reference, "canonical": _canonical, "uri": _canonical, "url": _canonical},
    "uri": dict.fromkeys(("uri", "url", "canonical", "oid", "uuid", "string"), _uri),
}  # fmt: skip
"""How a value of a FHIR type becomes what a parameter of a kind compares; a type that is not here has no such values."""
