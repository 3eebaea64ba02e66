"""A search as it is asked: the names and values of a query, read against the search parameters of a resource type.

What is not known is refused by its name, or, where the asker is lenient, listed as ignored. No value of a query is repeated in an error: it may be somebody's name.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gemel.core.errors import FormatError
from gemel.interop.fhir import schema
from gemel.interop.fhir.search_operands import (
    PREFIXES,
    Operand,
    plain,
    read_composite,
    read_date,
    read_operand,
    read_reference,
    read_token,
    refuse,
    split_values,
)

__all__ = ["CONTROL", "MODIFIERS", "PREFIXES", "Filter", "Has", "Include", "Operand", "Query", "read_query"]

MODIFIERS = {
    "token": ("missing", "not"), "string": ("missing", "exact", "contains"), "date": ("missing",), "number": ("missing",), "quantity": ("missing",),
    "reference": ("missing", "identifier"), "uri": ("missing",), "composite": ("missing",),
}  # fmt: skip
"""Modifiers that are understood, by the type of parameter; a reference also takes the name of a resource type."""

CONTROL = ("_sort", "_count", "_total", "_include", "_revinclude", "_summary", "_elements", "_format", "_pretty", "_cursor")
"""What shapes the answer and does not filter."""

_REFUSED = frozenset({"_content", "_text", "_filter", "_query", "_list", "_contained", "_containedType"})
_MOST_FILTERS, _MOST_CHAIN = 50, 3
_MOST_COUNT = 1000


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition: a parameter of a resource type, a modifier, and alternatives of which one must hold.

    Parameters
    ----------
    type : of the parameter; *id* and *updated* for ``_id`` and ``_lastUpdated``.
    targets : resource types that a reference may lead to.
    inner : what must hold of the resource that the reference leads to: a chain.
    """

    kind: str
    code: str
    type: str
    modifier: str | None
    operands: tuple[Operand, ...]
    targets: tuple[str, ...] = ()
    inner: Filter | Has | None = None


@dataclass(frozen=True, slots=True)
class Has:
    """There must be a resource of a type that refers here by a parameter, of which something holds."""

    kind: str
    reference: str
    inner: Filter | Has


@dataclass(frozen=True, slots=True)
class Include:
    """What else is wanted: the resources that those found refer to (or that refer to them), by a parameter (``*``: all)."""

    kind: str
    code: str
    target: str | None
    is_iterated: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A search of one resource type.

    Parameters
    ----------
    sort : parameters with their direction; True is downward.
    total : *none*, *estimate* or *accurate*.
    asked : the parameters as they are understood, for the address of the answer.
    ignored : names that were not understood, where the asker is lenient.
    """

    kind: str
    filters: tuple[Filter | Has, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    count: int = 50
    total: str = "accurate"
    includes: tuple[Include, ...] = ()
    revincludes: tuple[Include, ...] = ()
    summary: str = "false"
    elements: tuple[str, ...] = ()
    cursor: str | None = None
    base: str = ""
    asked: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()


class _Reader:
    def __init__(self, base: str) -> None:
        self.base = base

    def filter(self, kind: str, name: str, text: str, depth: int = 0) -> Filter | Has:
        if depth > _MOST_CHAIN:
            raise refuse("a chain too long", name, f"at most {_MOST_CHAIN} references")
        if name.startswith("_has:"):
            return self.has(kind, name, text, depth)
        head, dot, rest = name.partition(".")
        code, colon, modifier = head.partition(":")
        found = self.parameter(kind, code, name)
        if dot:
            return self.chain(kind, found, modifier if colon else None, rest, text, name, depth)
        return self.simple(kind, found, modifier if colon else None, text, name)

    def parameter(self, kind: str, code: str, name: str) -> schema.Search:
        found = schema.searches(kind).get(code)
        if found is None or found.type == "special" or code in _REFUSED or (not found.expression and code not in ("_id", "_lastUpdated")):
            raise refuse(f"{kind} has no such search parameter here", name, "a parameter of the CapabilityStatement")
        return found

    def has(self, kind: str, name: str, text: str, depth: int) -> Has:
        parts = name.split(":", 3)
        if len(parts) != 4 or not _is_resource(parts[1]):
            raise refuse("not a reverse chain", name, "_has:Type:reference:parameter=value")
        _, source, reference, rest = parts
        found = self.parameter(source, reference, name)
        if found.type != "reference" or (found.targets and not {kind, "Resource"} & set(found.targets)):
            raise refuse(f"{source}.{reference} does not refer to {kind}", name, "a reference parameter that leads here")
        return Has(source, reference, self.filter(source, rest, text, depth + 1))

    def chain(self, kind: str, found: schema.Search, target: str | None, rest: str, text: str, name: str, depth: int) -> Filter:
        if found.type != "reference":
            raise refuse("a chain goes through a reference", name, "a reference parameter before the dot")
        if target is not None and not _is_resource(target):
            raise refuse("no such resource type", name, "Type after the colon")
        known = ("Patient",) if found.code == "patient" else found.targets
        targets = (target,) if target else tuple(t for t in known if _chainable(t, rest))
        if len(targets) != 1:
            raise refuse(
                "a chain must say to which type it leads", name, f"{found.code}:Type.{rest}; of {', '.join(targets or found.targets)}"
            )
        return Filter(kind, found.code, "reference", None, (), targets, self.filter(targets[0], rest, text, depth + 1))

    def simple(self, kind: str, found: schema.Search, modifier: str | None, text: str, name: str) -> Filter:
        if found.code in ("_id", "_lastUpdated") and modifier is None:
            values = split_values(name, text)
            if found.code == "_id":
                return Filter(kind, "_id", "id", None, tuple(Operand(text=f"{kind}/{plain(value)}") for value in values))
            return Filter(kind, "_lastUpdated", "updated", None, tuple(read_date(name, value) for value in values))
        known = MODIFIERS[found.type]
        if modifier == "missing" and modifier in known and found.code not in ("_id", "_lastUpdated"):
            if text not in ("true", "false"):
                raise refuse("not a truth value", name, "true or false")
            return Filter(kind, found.code, found.type, "missing", (Operand(text=text),), found.targets)
        if found.type == "reference" and modifier is not None and modifier != "identifier":
            if not _is_resource(modifier):
                raise refuse(
                    f"the modifier :{modifier[:20]} is not supported",
                    name,
                    f":missing, :identifier or a type; of {', '.join(found.targets)}",
                )
            operands = [
                read_reference(name, value if "/" in value else f"{modifier}/{value}", (modifier,), self.base)
                for value in split_values(name, text)
            ]
            return Filter(kind, found.code, "reference", None, tuple(operands), (modifier,))
        if modifier is not None and (modifier not in known or found.code in ("_id", "_lastUpdated")):
            raise refuse(f"the modifier :{modifier[:20]} is not supported", name, ", ".join(f":{one}" for one in known))
        if found.type == "composite":
            operands = [read_composite(kind, found, name, value, self.base) for value in split_values(name, text)]
        elif modifier == "identifier":
            operands = [read_token(name, value) for value in split_values(name, text)]
        else:
            operands = [read_operand(found, name, value, self.base) for value in split_values(name, text)]
        return Filter(kind, found.code, found.type, modifier, tuple(operands), found.targets)


def _is_resource(name: str) -> bool:
    found = schema.kind(name)
    return found is not None and found.is_resource and not found.abstract


def _chainable(target: str, rest: str) -> bool:
    code = rest.partition(".")[0].partition(":")[0]
    return rest.startswith("_has:") or (_is_resource(target) and code in schema.searches(target))


def _include(name: str, text: str, kind: str, *, reverse: bool) -> Include:
    is_iterated = name.endswith((":iterate", ":recurse"))
    if text == "*":
        return Include("*", "*", None, is_iterated)
    parts = text.split(":")
    if len(parts) not in (2, 3) or not _is_resource(parts[0]):
        raise refuse("not an include", name, "Type:parameter, Type:parameter:Target or *")
    source, code, target = parts[0], parts[1], parts[2] if len(parts) == 3 else None
    if not reverse and not is_iterated and source != kind:
        raise refuse("an include starts at what is searched", name, f"{kind}:parameter, or _include:iterate")
    found = schema.searches(source).get(code)
    if code != "*" and (found is None or found.type != "reference"):
        raise refuse(f"{source} has no such reference parameter", name, "a reference parameter, or *")
    if target is not None and not _is_resource(target):
        raise refuse("no such resource type", name, "a type that the parameter leads to")
    return Include(source, code, target, is_iterated)


def _sorts(kind: str, text: str) -> list[tuple[str, bool]]:
    found = []
    for one in text.split(","):
        code = one.removeprefix("-")
        known = schema.searches(kind).get(code)
        if known is None or (not known.expression and code not in ("_id", "_lastUpdated")):
            raise refuse(f"{kind} cannot be sorted by this", code, "a search parameter, with - for downward")
        found.append((code, one.startswith("-")))
    return found


def _controls(kind: str, name: str, text: str, told: dict[str, Any], most: int) -> None:
    base = name.partition(":")[0]
    if base == "_sort":
        told["sort"] = (*told.get("sort", ()), *_sorts(kind, text))
    elif base == "_count":
        if not re.fullmatch(r"\d{1,9}", text):
            raise refuse("not a count", name, f"0 to {most}")
        told["count"] = min(int(text), most)
    elif base == "_total":
        if text not in ("none", "estimate", "accurate"):
            raise refuse("no such total", name, "none, estimate or accurate")
        told["total"] = text
    elif base in ("_include", "_revinclude"):
        field = base[1:] + "s"
        told[field] = (*told.get(field, ()), _include(name, text, kind, reverse=base == "_revinclude"))
    elif base == "_summary":
        if text not in ("true", "false", "count", "data", "text"):
            raise refuse("no such summary", name, "true, false, count, data or text")
        told["summary"] = text
    elif base == "_elements":
        told["elements"] = tuple(one for one in text.split(",") if one)
    elif base == "_cursor":
        told["cursor"] = text


def read_query(kind: str, given: Iterable[tuple[str, str]], *, lenient: bool = False, base: str = "", most: int = _MOST_COUNT) -> Query:
    """Read a search.

    Parameters
    ----------
    kind : the resource type.
    given : names and values, decoded, in their order.
    lenient : names that are not understood are ignored and listed, not refused.
    base : the address of this server: references below it are its own.
    most : resources on one page.

    Raises
    ------
    FormatError
        With the name of the first parameter that is not understood, and what is.

    Examples
    --------
    >>> read_query("Observation", [("code", "http://loinc.org|8480-6"), ("date", "ge2024")]).filters[1].operands[0].prefix
    'ge'
    """
    if not _is_resource(kind):
        raise refuse("no such resource type", kind, "a type of FHIR R4")
    reader, filters, told, asked, ignored = _Reader(base), [], {}, [], []
    for name, text in given:
        if "\0" in name or "\0" in text:
            raise refuse("a character that no text has", name.replace("\0", ""), "text without U+0000")
        if len(name) > 500 or len(text) > 20_000:
            raise refuse("a parameter is too long", name, "at most 500 characters of name and 20,000 of value")
        try:
            if name.partition(":")[0] in CONTROL:
                _controls(kind, name, text, told, most)
            elif text:
                filters.append(reader.filter(kind, name, text))
            else:
                raise refuse("a parameter without a value", name, "a value, or the parameter left out")
        except FormatError:
            if not lenient:
                raise
            ignored.append(name[:80])
            continue
        asked.append((name, text))
        if len(filters) > _MOST_FILTERS:
            raise refuse("too many parameters", kind, f"at most {_MOST_FILTERS}")
    return Query(kind, tuple(filters), base=base, asked=tuple(asked), ignored=tuple(ignored), **told)
