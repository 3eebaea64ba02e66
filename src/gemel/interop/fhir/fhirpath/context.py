"""What an evaluation knows beside its focus, what it may spend, and how arguments are brought to one value.

No clock, no network: *now* and what references lead to come in as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gemel.core.errors import DataError
from gemel.interop.fhir.fhirpath.nodes import Node, type_of, value_of
from gemel.interop.fhir.fhirpath.temporal import Temporal

__all__ = ["STEPS", "TEXT", "Closure", "Context", "Function", "failed", "integer", "single", "text", "truth"]

STEPS = 2_000_000
"""How many items an evaluation may touch."""
TEXT = 1_000_000
"""How many characters a text may grow to."""

Items = list[Any]
_FIXED = {"ucum": "http://unitsofmeasure.org", "sct": "http://snomed.info/sct", "loinc": "http://loinc.org"}


class Context:
    """One evaluation: ``$this``, ``$index``, ``$total``, the variables, and the steps that are left."""

    __slots__ = ("index", "now", "resolver", "resource", "root", "steps", "strict", "this", "total", "tracer", "variables")

    def __init__(
        self,
        this: Items,
        resource: Node | None,
        root: Node | None,
        *,
        variables: Mapping[str, Any],
        now: str | None,
        resolver: Callable[[str, Node | None], Node | None] | None,
        tracer: Callable[[str, Sequence[Any]], None] | None,
        steps: int,
        strict: bool,
    ) -> None:
        self.this, self.resource, self.root = this, resource, root
        self.index: int | None = None
        self.total: Items = []
        self.variables = dict(variables)
        self.now, self.resolver, self.tracer, self.steps, self.strict = now, resolver, tracer, steps, strict

    def spend(self, items: int) -> None:
        """Count what was touched.

        Raises
        ------
        DataError
            When nothing is left to spend.
        """
        self.steps -= items + 1
        if self.steps < 0:
            raise failed("the evaluation takes too long", "its limit of steps", "an expression that ends sooner")

    def variable(self, name: str) -> Items:
        """Return the value of ``%name``."""
        if name in self.variables:
            found = self.variables[name]
            return list(found) if isinstance(found, (list, tuple)) else [found]
        if name in ("context", "resource", "rootResource"):
            if name == "context":
                return list(self.variables.get("", self.this))
            one = self.resource if name == "resource" else self.root
            return [] if one is None else [one]
        if name in _FIXED:
            return [_FIXED[name]]
        if name.startswith("vs-"):
            return ["http://hl7.org/fhir/ValueSet/" + name[3:]]
        if name.startswith("ext-"):
            return ["http://hl7.org/fhir/StructureDefinition/" + name[4:]]
        raise failed("no such variable", f"%{name}", "a variable that is set")

    def clock(self, kind: str) -> Temporal:
        """Return now as a *date*, *dateTime* or *time*."""
        if self.now is None:
            raise failed("no clock was given", "now(), today() or timeOfDay()", "the argument now")
        moment = Temporal.parse(self.now, "dateTime")
        if moment is None or len(moment.parts) < 6:
            raise failed("now is not a full time", self.now, "2026-01-31T10:30:00Z")
        parts = {"date": moment.parts[:3], "time": moment.parts[3:]}.get(kind, moment.parts)
        return moment if kind == "dateTime" else Temporal(kind, parts)


Closure = Callable[[Context, Items], Items]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of FHIRPath: how many arguments it takes, and whether they are given as expressions (``lazy``) or as their values."""

    call: Callable[..., Items]
    least: int = 0
    most: int = 0
    lazy: bool = False


def failed(what: str, seen: object, expected: str) -> DataError:
    """Return the error of an evaluation that cannot go on."""
    return DataError(f"FHIRPath: {what}", seen=seen, expected=expected, fix="correct the expression")


def single(items: Items, what: str) -> Any:
    """Return the value of the only item, or None when there is none."""
    if not items:
        return None
    if len(items) > 1:
        raise failed(f"{what}: more than one item", len(items), "one item")
    return value_of(items[0])


def truth(items: Items, what: str) -> bool | None:
    """Return what a collection says as a truth value: its only one, true for any other single item, None when it is empty."""
    found = single(items, what)
    return found if found is None or isinstance(found, bool) else True


def text(items: Items, what: str) -> str | None:
    """Return the only item as text, or None when there is none."""
    found = single(items, what)
    if found is None or isinstance(found, str):
        return found
    if isinstance(found, Temporal) and isinstance(items[0], Node):
        return items[0].value
    if isinstance(found, Node) and found.value is None:
        return None
    raise failed(f"{what} needs text", type_of(items[0]).name, "String")


def integer(items: Items, what: str) -> int | None:
    """Return the only item as an integer, or None when there is none."""
    found = single(items, what)
    if found is None or (isinstance(found, int) and not isinstance(found, bool)):
        return found
    raise failed(f"{what} needs an integer", type_of(items[0]).name, "Integer")


def number(items: Items, what: str) -> int | Decimal | None:
    """Return the only item as a number, or None when there is none."""
    found = single(items, what)
    if found is None or (isinstance(found, (int, Decimal)) and not isinstance(found, bool)):
        return found
    raise failed(f"{what} needs a number", type_of(items[0]).name, "Integer or Decimal")
