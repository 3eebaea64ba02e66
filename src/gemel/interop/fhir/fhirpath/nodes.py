"""What an expression walks over: an element of a resource with its type, or a value of FHIRPath itself.

A value is a truth value, an integer, a decimal, text, a :class:`Temporal` or a :class:`Quantity`. An element is a :class:`Node`; where an
operator needs its value, :func:`value_of` gives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from gemel.core.errors import DataError
from gemel.interop.fhir import schema
from gemel.interop.fhir.codec import Element
from gemel.interop.fhir.fhirpath.quantity import Quantity
from gemel.interop.fhir.fhirpath.temporal import Temporal

__all__ = ["Node", "TypeName", "children", "has_type", "member", "part", "root", "type_of", "value_of"]

UCUM = "http://unitsofmeasure.org"
_TEMPORAL = {"date": "date", "dateTime": "dateTime", "instant": "dateTime", "time": "time"}
_JSON_KIND = {bool: "boolean", int: "integer", Decimal: "decimal", str: "string"}


@dataclass(frozen=True, slots=True)
class TypeName:
    """What ``type()`` returns: the namespace *System* or *FHIR*, and a name in it."""

    namespace: str
    name: str


class Node:
    """One element: its value (an :class:`Element`, a primitive or None), its FHIR type, and what stands beside a primitive.

    ``parent``, ``key`` and ``index`` say where it stands: the node that holds it, the JSON member, and the place in an array or None.
    """

    __slots__ = ("extra", "index", "key", "parent", "type", "value")

    def __init__(
        self, value: Any, type_: str, extra: Any = None, parent: Node | None = None, key: str = "", index: int | None = None
    ) -> None:
        self.value, self.type, self.extra = value, type_, extra
        self.parent, self.key, self.index = parent, key, index

    def __repr__(self) -> str:
        return f"Node({self.type} at {self.path})"  # no value: it may be a patient's

    @property
    def path(self) -> str:
        """Where it stands, by the names of JSON: ``Patient.name[0].given[1]``, ``Observation.valueQuantity``."""
        if self.parent is None:
            return self.type
        return f"{self.parent.path}.{self.key}" + ("" if self.index is None else f"[{self.index}]")


def root(tree: Mapping[str, Any]) -> Node:
    """Return the node of a whole resource.

    Raises
    ------
    DataError
        When the tree is no resource.
    """
    name = tree.get("resourceType") if isinstance(tree, dict) else None
    if not isinstance(name, str):
        raise DataError("not a resource", seen=type(tree).__name__, expected="an object with resourceType", fix="pass one resource")
    return Node(tree, name)


@cache
def _choices(type_: str, name: str) -> dict[str, str] | None:
    """The JSON members of an element and the type of each; None when the type is not known or has no such element."""
    field = schema.fields(type_).get(name)
    if field is None:
        return None
    if not field.choice:
        return {name: field.types[0]}
    return {name + one[:1].upper() + one[1:]: one for one in field.types}


@cache
def choice_of(type_: str, key: str) -> str | None:
    """The choice that a JSON member such as ``valueQuantity`` belongs to, or None."""
    found = schema.find(type_, key)
    return found[0].name if found is not None and found[0].choice else None


def _make(value: Any, extra: Any, type_: str, parent: Node, key: str, index: int | None) -> Node:
    if type_ == "Resource" and isinstance(value, dict):
        type_ = value.get("resourceType", "Resource")
    elif type_ == "" or (type_ == "BackboneElement" and isinstance(value, dict)):
        type_ = type_ or _JSON_KIND.get(type(value), "Element")
    return Node(value, type_, extra, parent, key, index)


def _read(node: Node, source: Mapping[str, Any], key: str, type_: str, out: list[Any]) -> None:
    value, extra = source.get(key), source.get("_" + key)
    if value is None and extra is None:
        return
    if isinstance(value, (tuple, list)) or isinstance(extra, (tuple, list)):
        values = value if isinstance(value, (tuple, list)) else ()
        extras = extra if isinstance(extra, (tuple, list)) else ()
        for i in range(max(len(values), len(extras))):
            one, more = values[i] if i < len(values) else None, extras[i] if i < len(extras) else None
            if one is not None or more is not None:
                out.append(_make(one, more, type_, node, key, i))
    else:
        out.append(_make(value, extra, type_, node, key, None))


def member(node: Node, name: str) -> list[Any]:
    """Return the elements of that name in an element; of a choice, whichever stands there.

    Raises
    ------
    DataError
        When the name is that of a JSON member such as ``valueQuantity``: FHIRPath knows ``value`` only.
    """
    out: list[Any] = []
    value = node.value
    source = value if isinstance(value, dict) else node.extra
    if not isinstance(source, dict):
        return out
    choices = _choices(node.type, name) if source is value else _choices("Element", name)
    if choices is None:
        if name in source and name != "resourceType":
            choice = choice_of(node.type, name)
            if choice is not None:
                raise DataError(
                    f"{name} is a name of JSON only",
                    seen=name,
                    expected=choice,
                    fix=f"write {choice}.ofType({name[len(choice) :]}), or {choice}",
                )
            if schema.kind(node.type) is None:  # a type that R4 does not define: read as it stands
                _read(node, source, name, "", out)
        return out
    if len(choices) == 1:
        for key, type_ in choices.items():
            _read(node, source, key, type_, out)
        return out
    for key in source:
        plain = key[1:] if key[:1] == "_" else key
        type_ = choices.get(plain)
        if type_ is not None and (plain is key or plain not in source):
            _read(node, source, plain, type_, out)
    return out


def children(node: Node) -> list[Any]:
    """Return all elements directly below an element, in the order in which they stand."""
    out: list[Any] = []
    source = node.value if isinstance(node.value, dict) else node.extra
    if not isinstance(source, dict):
        return out
    type_ = node.type if source is node.value else "Element"
    for key in source:
        if key == "resourceType" or (key[:1] == "_" and key[1:] in source):
            continue
        plain = key.removeprefix("_")
        found = schema.find(type_, plain)
        _read(node, source, plain, found[1] if found is not None else "", out)
    return out


def value_of(item: Any) -> Any:
    """Return the value that FHIRPath computes with: of a primitive its own, of a Quantity a quantity; otherwise the node itself."""
    if item.__class__ is not Node:
        return item
    value, type_ = item.value, item.type
    if value is None:
        return item
    kind = _TEMPORAL.get(type_)
    if kind is not None and isinstance(value, str):
        moment = Temporal.parse(value, kind)
        return value if moment is None else moment
    if isinstance(value, dict):
        return _quantity(item) if schema.is_a(type_, "Quantity") else item
    if type_ == "decimal" and value.__class__ is int:
        return Decimal(value)
    return value


def _quantity(node: Node) -> Any:
    element = node.value
    number = element.get("value")
    if not isinstance(number, (int, Decimal)) or "comparator" in element:
        return node
    unit = element.get("code") if element.get("system") == UCUM else None
    return Quantity(Decimal(number), unit or element.get("unit") or "1")


def part(item: TypeName | Quantity, name: str) -> list[Any]:
    """Return a part of what is no element: the name of a type, the value and unit of a quantity."""
    if isinstance(item, TypeName):
        found = {"name": item.name, "namespace": item.namespace}.get(name)
    else:
        found = {"value": item.value, "unit": item.unit, "code": item.ucum, "system": None if item.calendar else UCUM}.get(name)
    return [] if found is None else [found]


def type_of(item: Any) -> TypeName:
    """Return the type of an item."""
    if isinstance(item, Node):
        return TypeName("FHIR", item.type)
    if isinstance(item, Temporal):
        return TypeName("System", {"date": "Date", "dateTime": "DateTime", "time": "Time"}[item.kind])
    names = {bool: "Boolean", int: "Integer", str: "String", Quantity: "Quantity", TypeName: "TypeInfo"}
    return TypeName("System", names.get(type(item), "Decimal"))


def has_type(item: Any, name: str) -> bool:
    """Say whether an item is of a type, named with or without its namespace, or of one derived from it."""
    space, _, plain = name.rpartition(".")
    if isinstance(item, Node):
        if space and space != "FHIR" and schema.kind(name) is None:
            return False
        return schema.is_a(item.type, name if space and space != "FHIR" else plain) or item.type == plain
    return space in ("", "System") and type_of(item).name == plain


def as_element(item: Any) -> Any:
    """Return an item as JSON would hold it."""
    if isinstance(item, Node):
        return item.value
    if isinstance(item, Quantity):
        return Element({"value": item.value, "unit": item.unit} | ({} if item.calendar else {"system": UCUM, "code": item.unit}))
    if isinstance(item, TypeName):
        return Element({"namespace": item.namespace, "name": item.name})
    return str(item) if isinstance(item, Temporal) else item
