"""What FHIR R4 defines: types and their elements, required codes, invariants, search parameters and compartments.

The tables stand in ``r4.json``, generated from the definitions of HL7 (CC0-1.0) by ``tools/fhir_schema.py``.

References
----------
HL7 FHIR R4 (4.0.1), https://hl7.org/fhir/R4
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["Field", "Kind", "Rule", "Search", "codes", "compartment", "fields", "find", "is_a", "kind", "kinds", "searches"]


@dataclass(frozen=True, slots=True)
class Rule:
    """An invariant: its key, severity, FHIRPath expression and what it says."""

    key: str
    severity: str
    expression: str
    human: str


@dataclass(frozen=True, slots=True)
class Field:
    """One element: how often it may stand (``most`` -1: any number), its types, the targets of its references, its codes and rules."""

    name: str
    least: int
    most: int
    types: tuple[str, ...]
    targets: Mapping[str, tuple[str, ...]]
    binding: str | None
    rules: tuple[Rule, ...]
    choice: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """One type: *resource*, *complex-type*, *primitive-type* or *backbone*, and what it is derived from."""

    name: str
    kind: str
    base: str
    abstract: bool
    regex: str | None
    rules: tuple[Rule, ...]

    @property
    def is_primitive(self) -> bool:
        """Whether it holds a value of its own."""
        return self.kind == "primitive-type"

    @property
    def is_resource(self) -> bool:
        """Whether it stands on its own."""
        return self.kind == "resource"


@dataclass(frozen=True, slots=True)
class Search:
    """A search parameter of one resource type: its kind, FHIRPath expression, the types referred to, and the parts of a composite."""

    code: str
    type: str
    expression: str
    targets: tuple[str, ...]
    components: tuple[tuple[str, str], ...]


@cache
def _tables() -> dict[str, Any]:
    return json.loads(resources.files(__package__).joinpath("r4.json").read_text("utf-8"))


@cache
def kind(name: str) -> Kind | None:
    """Return a type by its name (``Patient``, ``code``, ``Patient.contact``), or None."""
    row = _tables()["types"].get(name)
    if row is None:
        return None
    rules = tuple(Rule(*rule) for rule in row.get("rules", ()))
    return Kind(name, row["kind"], row["base"], row.get("abstract", False), row.get("regex"), rules)


@cache
def kinds() -> tuple[str, ...]:
    """Return the names of all types but those of nested elements."""
    return tuple(name for name in _tables()["types"] if "." not in name)


@cache
def is_a(name: str, base: str) -> bool:
    """Say whether a type is, or is derived from, another."""
    while name:
        if name == base:
            return True
        found = _tables()["types"].get(name)
        name = found["base"] if found else ""
    return False


def _field(name: str, row: list[Any]) -> Field:
    least, most, types, *more = row
    plain, targets = [], {}
    for one in types:
        code, _, names = one.partition(":")
        plain.append(code)
        if names:
            targets[code] = tuple(names.split("|"))
    rules = tuple(Rule(*rule) for rule in more[1]) if len(more) > 1 else ()
    return Field(name.removesuffix("[x]"), least, most, tuple(plain), targets, more[0] if more else None, rules, name.endswith("[x]"))


@cache
def fields(name: str) -> Mapping[str, Field]:
    """Return the elements of a type, those of its bases first; a choice stands under its name without ``[x]``."""
    row = _tables()["types"].get(name)
    if row is None:
        return {}
    found = dict(fields(row["base"])) if row["base"] else {}
    for key, one in row.get("elements", {}).items():
        field = _field(key, one)
        found[field.name] = field
    return found


@cache
def find(name: str, key: str) -> tuple[Field, str] | None:
    """Return the field of a type that a JSON member belongs to, and the member's type; ``valueQuantity`` is ``value`` as a Quantity."""
    here = fields(name)
    found = here.get(key)
    if found is not None and not found.choice:
        return found, found.types[0]
    for field in here.values():
        if field.choice and key.startswith(field.name):
            rest = key[len(field.name) :]
            for one in field.types:
                if one[:1].upper() + one[1:] == rest:
                    return field, one
    return None


@cache
def codes(value_set: str) -> Mapping[str, frozenset[str]] | None:
    """Return the codes of a value set by system; None when it cannot be listed."""
    found = _tables()["values"].get(value_set)
    return None if found is None else {system: frozenset(names) for system, names in found.items()}


@cache
def searches(resource: str) -> Mapping[str, Search]:
    """Return the search parameters of a resource type, with those that all resources have."""
    found: dict[str, Search] = {}
    table = _tables()["search"]
    for base in ("Resource", "DomainResource", resource):
        if base in table and is_a(resource, base):
            for code, (type_, expression, *more) in table[base].items():
                targets = tuple(more[0]) if more else ()
                parts = tuple((a, b) for a, b in more[1]) if len(more) > 1 else ()
                found[code] = Search(code, type_, expression, targets, parts)
    return found


@cache
def compartment(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return the search parameters that put a resource type into a compartment (``Patient``, ``Encounter``, ``Practitioner``, ``Device``)."""
    return {resource: tuple(codes) for resource, codes in _tables()["compartments"].get(name, {}).items()}
