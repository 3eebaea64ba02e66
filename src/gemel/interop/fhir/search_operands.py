"""Values of a search: dates, numbers, quantities, tokens, references and composites, each with its prefix.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/search.html, sections 3.1.1.4.6 to 3.1.1.5.3
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from gemel.core.errors import FormatError
from gemel.interop.fhir import schema
from gemel.interop.fhir.search_values import date_range, parsed_reference

__all__ = [
    "PREFIXES",
    "Operand",
    "plain",
    "read_composite",
    "read_date",
    "read_operand",
    "read_reference",
    "read_token",
    "refuse",
    "split_values",
]

PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
_MOST_VALUES = 200
_NUMBER = re.compile(r"[+-]?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?\Z")


@dataclass(frozen=True, slots=True)
class Operand:
    """One value that is asked for.

    Parameters
    ----------
    prefix : of :data:`PREFIXES`, for what is ordered.
    text : of a string or address; type and id, or the address, of a reference.
    system, code : of a token, or of the unit of a quantity; ``None`` where it is not said, empty where it must be missing.
    low, high : what a date covers (ns UTC), or what the digits of a number leave open.
    value : of a number.
    parts : of a composite.
    """

    prefix: str = "eq"
    text: str = ""
    system: str | None = None
    code: str | None = None
    low: float = 0
    high: float = 0
    value: float = 0.0
    parts: tuple[Operand, ...] = ()


def refuse(what: str, name: str, expected: str, fix: str | None = None) -> FormatError:
    """Return the error of something that is not understood, by its name."""
    return FormatError(what, seen=name[:80], expected=expected, fix=fix or "see the CapabilityStatement at /metadata")


def split(text: str, mark: str) -> list[str]:
    """Split at a mark that is not escaped by a backslash; escapes stay."""
    if "\\" not in text:
        return text.split(mark)
    parts, held, skip = [], [], False
    for sign in text:
        if skip:
            held.append(sign)
            skip = False
        elif sign == mark:
            parts.append("".join(held))
            held = []
        else:
            held.append(sign)
            skip = sign == "\\"
    return [*parts, "".join(held)]


def plain(text: str) -> str:
    """Return a value without its escapes."""
    return re.sub(r"\\([\\,|$])", r"\1", text) if "\\" in text else text


def _prefixed(text: str) -> tuple[str, str]:
    return (text[:2], text[2:]) if text[:2] in PREFIXES and not text[2:3].isalpha() else ("eq", text)


def _spread(text: str) -> tuple[float, float, float]:
    """Return a number, and the range that its digits leave open."""
    number = Decimal(text)
    exponent: Any = number.as_tuple().exponent
    half = 0.5 * 10.0**exponent
    return float(number), float(number) - half, float(number) + half


def read_date(name: str, text: str) -> Operand:
    """Read a date with its prefix."""
    prefix, rest = _prefixed(text)
    found = date_range(rest.replace(" ", "+"))
    if found is None:
        raise refuse("not a date", name, "a date such as 2024, 2024-05-01 or 2024-05-01T10:00:00Z, with a prefix if one is meant")
    return Operand(prefix, low=found[0], high=found[1])


def _number(name: str, text: str) -> Operand:
    prefix, rest = _prefixed(text)
    if not _NUMBER.match(rest):
        raise refuse("not a number", name, "a number such as 5.4, with a prefix if one is meant")
    value, low, high = _spread(rest)
    return Operand(prefix, value=value, low=low, high=high)


def _quantity(name: str, text: str) -> Operand:
    number, *unit = split(text, "|")
    if len(unit) not in (0, 2):
        raise refuse("not a quantity", name, "number, number|system|code or number||code")
    found = _number(name, number)
    return replace(found, system=plain(unit[0]), code=plain(unit[1])) if unit and unit[1] else found


def read_token(name: str, text: str) -> Operand:
    """Read ``code``, ``system|code``, ``|code`` or ``system|``."""
    parts = [plain(part) for part in split(text, "|")]
    if len(parts) > 2 or not any(parts):
        raise refuse("not a token", name, "code, system|code, |code or system|")
    return Operand(code=parts[0]) if len(parts) == 1 else Operand(system=parts[0], code=parts[1] or None)


def read_reference(name: str, text: str, targets: Sequence[str], base: str) -> Operand:
    """Read an id, ``Type/id`` or an address; what lies below ``base`` is the server's own."""
    address = plain(text)
    address = address[len(base) + 1 :] if base and address.startswith(base + "/") else address
    found = parsed_reference(address)
    if found.id is not None and found.url is None:
        return Operand(text=f"{found.type}/{found.id}")
    if found.url is not None and found.id is None and re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", address):
        return Operand(code=address)  # an id alone: of any type that the parameter may lead to
    if "/" not in address and ":" not in address:
        raise refuse("not a reference", name, "id, Type/id or an address" + (f"; of {', '.join(targets)}" if targets else ""))
    return Operand(text=address, system="")  # elsewhere


def read_operand(found: schema.Search, name: str, text: str, base: str) -> Operand:
    """Read a value by the type of its parameter."""
    if found.type == "date":
        return read_date(name, text)
    if found.type == "number":
        return _number(name, text)
    if found.type == "quantity":
        return _quantity(name, text)
    if found.type == "token":
        return read_token(name, text)
    if found.type == "reference":
        return read_reference(name, text, found.targets, base)
    return Operand(text=plain(text))


def split_values(name: str, text: str) -> list[str]:
    """Split alternatives; none may be empty."""
    values = split(text, ",")
    if len(values) > _MOST_VALUES:
        raise refuse("too many values at once", name, f"at most {_MOST_VALUES}")
    if any(not value for value in values):
        raise refuse("an empty value", name, "a value, or the parameter left out")
    return values


def read_composite(kind: str, found: schema.Search, name: str, text: str, base: str) -> Operand:
    """Read values that belong together, with ``$`` between them."""
    known, parts = schema.searches(kind), split(text, "$")
    if len(parts) != len(found.components):
        raise refuse("not a composite", name, f"{len(found.components)} values with $ between them")
    inner = [known.get(code) or schema.Search(code, "token", "", (), ()) for code, _ in found.components]
    return Operand(parts=tuple(read_operand(one, name, part, base) for one, part in zip(inner, parts, strict=True)))
