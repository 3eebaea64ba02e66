"""What a strict reading refuses before anything is evaluated: names that the types do not have, and places in what has no order.

References
----------
FHIRPath 2.0.0, section 10 (type safety and strict evaluation).
"""

from __future__ import annotations

from gemel.interop.fhir import schema
from gemel.interop.fhir.fhirpath.context import failed
from gemel.interop.fhir.fhirpath.nodes import Node
from gemel.interop.fhir.fhirpath.parser import Binary, Call, Dot, Indexer, Member, Tree, TypeTest, Unary

__all__ = ["check"]

_UNORDERED = ("children", "descendants")
_ORDERED = ("first", "last", "tail", "skip", "take")
_KEEPS = ("where", "first", "last", "tail", "skip", "take", "single", "distinct", "trace", "exclude", "intersect")
_INNER = ("where", "select", "all", "exists", "repeat")

Types = frozenset[str] | None


def _member(tree: Member, focus: Types, first: bool) -> Types:
    if focus is None:
        return None
    if first and tree.name[:1].isupper():
        if schema.kind(tree.name) is not None and not any(schema.is_a(one, tree.name) for one in focus):
            raise failed("the context is of another type", tree.name, " or ".join(sorted(focus)))
        return focus
    found: set[str] = set()
    open_ = False
    for one in focus:
        field = schema.fields(one).get(tree.name)
        if field is not None:
            found.update(field.types)
            open_ = open_ or "Resource" in field.types
        open_ = open_ or one == "Resource"
    if not found and not open_:
        raise failed(f"{' or '.join(sorted(focus))} has no such element", tree.name, "an element of its type")
    return None if open_ else frozenset(found)


def _call(tree: Call, focus: Types) -> Types:
    for argument in tree.arguments:
        _walk(argument, focus if tree.name in _INNER else None, tree.name in _INNER)
    if tree.name in ("ofType", "as") and tree.arguments:
        name = str(getattr(tree.arguments[0], "values", ("",))[0]).removeprefix("FHIR.")
        return frozenset({name}) if schema.kind(name) is not None else None
    return focus if tree.name in _KEEPS else None


def _walk(tree: Tree, focus: Types, first: bool = True) -> Types:
    if isinstance(tree, Member):
        return _member(tree, focus, first)
    if isinstance(tree, Call):
        return _call(tree, focus)
    if isinstance(tree, Dot):
        left = _walk(tree.left, focus, first)
        if isinstance(tree.right, Call) and tree.right.name in _ORDERED:
            before = tree.left.right if isinstance(tree.left, Dot) else tree.left
            if isinstance(before, Call) and before.name in _UNORDERED:
                raise failed(f"{tree.right.name}() of what has no order", f"{before.name}()", "a collection with an order")
        return _walk(tree.right, left, first=False)
    if isinstance(tree, Indexer):
        _walk(tree.index, None)
        return _walk(tree.left, focus, first)
    if isinstance(tree, Unary):
        return _walk(tree.inner, focus)
    if isinstance(tree, Binary):
        left, right = _walk(tree.left, focus), _walk(tree.right, focus)
        return left | right if tree.operator == "|" and left is not None and right is not None else None
    if isinstance(tree, TypeTest):
        _walk(tree.left, focus)
        return frozenset({tree.type}) if tree.operator == "as" and schema.kind(tree.type) is not None else None
    return focus if getattr(tree, "name", "") == "$this" else None


def check(tree: Tree, node: Node | None) -> None:
    """Refuse an expression that cannot be meant of a focus of that type.

    Raises
    ------
    DataError
        With the name that the type does not have.
    """
    _walk(tree, None if node is None else frozenset({node.type}))
