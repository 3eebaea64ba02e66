"""What a search may find a resource by: the values of its search parameters, as a store keeps them.

The expressions of the definitions are followed once per resource type: a plain path becomes a walk over JSON members, all paths of a type
share one walk; what is more than a path is evaluated as FHIRPath. Nothing is asked of anyone: a reference is known by what it says, so that one
by ``urn:uuid`` has no type until whoever stores it has put the address that it got.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/search.html (token, string, date, number, quantity, reference, uri, composite)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any

from gemel.core.errors import DataError
from gemel.interop.fhir import schema
from gemel.interop.fhir.fhirpath.context import STEPS, Context
from gemel.interop.fhir.fhirpath.evaluate import composed
from gemel.interop.fhir.fhirpath.nodes import Node, root
from gemel.interop.fhir.fhirpath.parser import Binary, Call, Dot, Literal, Member, Tree, TypeTest, parse
from gemel.interop.fhir.search_values import (
    MAKERS,
    Composite,
    DateValue,
    Make,
    NumberValue,
    QuantityValue,
    ReferenceValue,
    StringValue,
    TokenValue,
    UriValue,
    Value,
)

__all__ = [
    "Composite",
    "DateValue",
    "NumberValue",
    "QuantityValue",
    "ReferenceValue",
    "StringValue",
    "TokenValue",
    "UriValue",
    "Value",
    "search_values",
]


@dataclass(frozen=True, slots=True)
class _Path:
    """A plain path: JSON members, the type at its end, a code system that its binding implies, and the type a reference must lead to."""

    keys: tuple[str, ...]
    type: str
    system: str | None = None
    target: str | None = None


_Part = tuple[tuple[tuple[str, ...], Make, str | None], ...]  # members, maker and system of each path of a component
_Made = dict[tuple[int, Make], list[Any]]


@dataclass(slots=True)
class _Leaf:
    """A value to make: for which parameters, for which only if a reference leads to a type, and whether a composite asks for it again."""

    make: Make
    system: str | None
    plain: list[str] = field(default_factory=list)
    aimed: list[tuple[str, str]] = field(default_factory=list)
    again: bool = False


@dataclass(slots=True)
class _Step:
    """What a JSON member leads to: values to make here, and members below."""

    leaves: list[_Leaf] = field(default_factory=list)
    below: dict[str, _Step] = field(default_factory=dict)

    def put(self, make: Make, path: _Path, parameter: str) -> None:
        """Add a parameter; those that make the same value share it."""
        leaf = next((one for one in self.leaves if one.make is make and one.system == path.system), None)
        if leaf is None:
            leaf = _Leaf(make, path.system)
            self.leaves.append(leaf)
        if path.target is None:
            leaf.plain.append(parameter)
        else:
            leaf.aimed.append((parameter, path.target))

    def find(self, keys: tuple[str, ...]) -> _Step | None:
        """Return the step that members lead to."""
        found: _Step | None = self
        for key in keys:
            found = None if found is None else found.below.get(key)
        return found


_Composite = tuple[list[str], tuple[str, ...], tuple[_Part, ...]]  # parameters, members of which one must be there, parts


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one resource type is indexed: a walk, what is left to FHIRPath with the members that must be there for it, and composites by their base."""

    walk: _Step
    paths: tuple[tuple[schema.Search, str, frozenset[str]], ...]
    composites: Mapping[tuple[str, ...], list[_Composite]]


def _implied(found: schema.Field, type_: str) -> str | None:
    systems = schema.codes(found.binding) if found.binding and type_ == "code" else None
    return next(iter(systems)) if systems is not None and len(systems) == 1 else None


def _below(path: _Path, name: str) -> list[_Path]:
    found = schema.fields(path.type).get(name)
    if found is None:
        return []
    if not found.choice:
        return [_Path((*path.keys, name), found.types[0], _implied(found, found.types[0]))]
    return [_Path((*path.keys, name + one[:1].upper() + one[1:]), one) for one in found.types]


def _typed(paths: list[_Path], name: str) -> list[_Path]:
    plain = {"DateTime": "dateTime", "String": "string", "Date": "date"}.get(name, name)  # as the definitions misspell them
    return [one for one in paths if schema.is_a(one.type, plain)]


def _plain(tree: Tree, bases: list[_Path], first: bool = True) -> list[_Path] | None:
    """The paths that an expression is, or None when it is more than paths."""
    if isinstance(tree, Member):
        if first and any(schema.is_a(base.type, tree.name) for base in bases):
            return bases
        return [one for base in bases for one in _below(base, tree.name)]
    if isinstance(tree, Binary) and tree.operator == "|":
        left, right = _plain(tree.left, bases), _plain(tree.right, bases)
        return None if left is None or right is None else left + [one for one in right if one not in left]
    if isinstance(tree, TypeTest) and tree.operator == "as":
        left = _plain(tree.left, bases)
        return None if left is None else _typed(left, tree.type)
    if not isinstance(tree, Dot):
        return _called(tree, bases) if first else None
    left = _plain(tree.left, bases, first)
    if left is None:
        return None
    return _plain(tree.right, left, first=False) if isinstance(tree.right, Member) else _called(tree.right, left)


def _called(tree: Tree, paths: list[_Path]) -> list[_Path] | None:
    """Paths behind ``as(T)``, ``ofType(T)`` and ``where(resolve() is T)``."""
    if not isinstance(tree, Call) or len(tree.arguments) != 1:
        return None
    inner = tree.arguments[0]
    if tree.name in ("as", "ofType") and isinstance(inner, Literal):
        return _typed(paths, str(inner.values[0]))
    if tree.name == "where" and isinstance(inner, TypeTest) and inner.operator == "is" and inner.left == Call("resolve", ()):
        return [_Path(one.keys, one.type, one.system, inner.type) for one in paths]
    return None


def _first_members(tree: Tree, type_: str) -> frozenset[str] | None:
    """JSON members of which one must be there for an expression to find anything; None when that cannot be said."""
    if isinstance(tree, Binary):
        left, right = _first_members(tree.left, type_), _first_members(tree.right, type_)
        return None if left is None or right is None else left | right
    if isinstance(tree, TypeTest):
        return _first_members(tree.left, type_)
    if not isinstance(tree, Dot):
        return None
    if (
        isinstance(tree.left, Member)
        and isinstance(tree.right, Call)
        and tree.right.name == "extension"
        and schema.is_a(type_, tree.left.name)
    ):
        return frozenset({"extension"})
    if isinstance(tree.left, Member) and isinstance(tree.right, Member) and schema.is_a(type_, tree.left.name):
        return frozenset(path.keys[0] for path in _below(_Path((), type_), tree.right.name)) or None
    return _first_members(tree.left, type_)


def _add_composite(one: schema.Search, type_: str, walk: _Step, out: dict[tuple[str, ...], list[_Composite]]) -> None:
    known = schema.searches(type_)
    for base in _plain(parse(one.expression), [_Path((), type_)]) or ():
        parts = []
        for code, expression in one.components:
            makers = MAKERS[known[code].type if code in known else "token"]
            paths = [path for path in _plain(parse(expression), [_Path((), base.type)]) or [] if path.type in makers]
            parts.append(tuple((path.keys, makers[path.type], path.system) for path in paths))
            for path in paths:
                step = walk.find((*base.keys, *path.keys))
                for leaf in () if step is None else step.leaves:
                    leaf.again = leaf.again or leaf.make is makers[path.type]
        if not all(parts):
            continue
        same = next((found for found in out.setdefault(base.keys, []) if found[2] == tuple(parts)), None)
        if same is not None:
            same[0].append(one.code)
        else:
            out[base.keys].append(([one.code], tuple(keys[0] for keys, _, _ in parts[-1] if keys), tuple(parts)))


@cache
def _plan(type_: str) -> _Plan:
    walk, paths, composites = _Step(), [], {}
    parameters = schema.searches(type_).values()
    for one in parameters:
        if not one.expression or one.type in ("special", "composite"):
            continue
        tree = parse(one.expression)
        plain = _plain(tree, [_Path((), type_)])
        if plain is None:
            paths.append((one, one.expression, _first_members(tree, type_) or frozenset()))
            continue
        for path in plain:
            if path.type not in MAKERS[one.type]:
                continue
            step = walk
            for key in path.keys:
                step = step.below.setdefault(key, _Step())
            step.put(MAKERS[one.type][path.type], path, one.code)
    for one in parameters:
        if one.type == "composite":
            _add_composite(one, type_, walk, composites)
    return _Plan(walk, tuple(paths), composites)


def _follow(step: _Step, value: Any, out: list[tuple[str, Value]], made: _Made) -> None:
    if value.__class__ is tuple or value.__class__ is list:
        for one in value:
            _follow(step, one, out, made)
        return
    if value is None:
        return
    for leaf in step.leaves:
        found = leaf.make(value, leaf.system)
        if leaf.again:
            made[id(value), leaf.make] = found
        for one in found:
            for parameter in leaf.plain:
                out.append((parameter, one))
            for parameter, target in leaf.aimed:
                if one.type == target:
                    out.append((parameter, one))
    if step.below and isinstance(value, dict):
        _members(step.below, value, out, made)


def _members(below: Mapping[str, _Step], element: Mapping[str, Any], out: list[tuple[str, Value]], made: _Made) -> None:
    for key in element:
        inner = below.get(key)
        if inner is not None:
            _follow(inner, element[key], out, made)


def _pull(element: Any, keys: tuple[str, ...]) -> list[Any]:
    found = [element]
    for key in keys:
        deeper: list[Any] = []
        for one in found:
            value = one.get(key) if isinstance(one, dict) else None
            if isinstance(value, (tuple, list)):
                deeper += value
            elif value is not None:
                deeper.append(value)
        found = deeper
    return found


def _part(part: _Part, element: Any, made: _Made) -> list[Any]:
    found: list[Any] = []
    for keys, make, system in part:
        if keys and keys[0] not in element:
            continue
        for one in _pull(element, keys):
            values = made.get((id(one), make))
            found += make(one, system) if values is None else values
    return found


def _composites(plan: _Plan, tree: Mapping[str, Any], out: list[tuple[str, Value]], made: _Made) -> None:
    for base, composites in plan.composites.items():
        if base and base[0] not in tree:
            continue
        for element in _pull(tree, base) if base else (tree,):
            if not isinstance(element, dict):
                continue
            for parameters, needed, parts in composites:
                if needed and not any(key in element for key in needed):
                    continue
                found = [_part(part, element, made) for part in parts]
                if all(found):
                    joined = [Composite(pair) for pair in product(*found)]
                    for parameter in parameters:
                        out += [(parameter, one) for one in joined]


def _named(reference: str, holder: Node | None) -> Node | None:
    """Stand for what a reference leads to by the type that it names."""
    del holder
    parts = reference.split("/_history/")[0].split("/")
    if len(parts) > 1 and (kind := schema.kind(parts[-2])) is not None and kind.is_resource:
        return Node({"resourceType": parts[-2], "id": parts[-1]}, parts[-2])
    return None


def _evaluated(one: schema.Search, expression: str, node: Node, out: list[tuple[str, Value]]) -> None:
    this = [node]
    ctx = Context(this, node, node, variables={}, now=None, resolver=_named, tracer=None, steps=STEPS, strict=False)
    try:
        items = composed(expression)(ctx, this)
    except DataError:
        return  # a value that its type does not allow has no place in an index; the validator names it
    for item in items:
        if isinstance(item, Node):
            make = MAKERS[one.type].get(item.type)
            value = item.value
        else:
            make, value = MAKERS[one.type].get("boolean" if isinstance(item, bool) else "string"), item
        if make is not None and value is not None:
            out += [(one.code, found) for found in make(value, None)]


def search_values(tree: Mapping[str, Any]) -> list[tuple[str, Value]]:
    """Return every value by which a search may find a resource, each with its parameter.

    Parameters
    ----------
    tree : a resource, as :func:`gemel.interop.fhir.codec.decode` reads it.

    Returns
    -------
    Parameter and value. Times are nanoseconds UTC (a time without zone is taken as UTC), quantities also in base units of UCUM where the unit is known.

    Raises
    ------
    DataError
        When the tree is no resource of FHIR R4.

    Examples
    --------
    >>> from gemel.interop.fhir.codec import decode
    >>> search_values(decode('{"resourceType":"Patient","gender":"female"}'))[0]
    ('gender', TokenValue(system='http://hl7.org/fhir/administrative-gender', code='female', text=None))
    """
    node = root(tree)
    kind = schema.kind(node.type)
    if kind is None or not kind.is_resource:
        raise DataError(
            "not a resource of FHIR R4", seen=node.type[:40], expected="a resource type", fix="check the version that the sender speaks"
        )
    plan = _plan(node.type)
    out: list[tuple[str, Value]] = []
    made: _Made = {}
    _members(plan.walk.below, tree, out, made)
    for one, expression, needed in plan.paths:
        if not needed or not needed.isdisjoint(tree):
            _evaluated(one, expression, node, out)
    _composites(plan, tree, out, made)
    return out
