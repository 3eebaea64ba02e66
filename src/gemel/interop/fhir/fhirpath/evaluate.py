"""A tree of FHIRPath as one function, and the way in.

An expression is read and composed once, and kept; each evaluation has its own context, with its limit of steps.

References
----------
FHIRPath 2.0.0, https://hl7.org/fhirpath; HL7 FHIR R4, https://hl7.org/fhir/R4/fhirpath.html
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from gemel.interop.fhir import schema
from gemel.interop.fhir.fhirpath.context import STEPS, Closure, Context, Items, failed, integer, truth
from gemel.interop.fhir.fhirpath.functions import FUNCTIONS
from gemel.interop.fhir.fhirpath.nodes import Node, TypeName, has_type, member, part, root
from gemel.interop.fhir.fhirpath.operators import LOGIC, OPERATORS, negated
from gemel.interop.fhir.fhirpath.parser import Binary, Call, Dot, Indexer, Literal, Member, Special, Tree, TypeTest, Unary, Variable, parse
from gemel.interop.fhir.fhirpath.quantity import Quantity

__all__ = ["composed", "evaluate", "holds"]


def _member(name: str, first: bool) -> Closure:
    is_type = first and name[:1].isupper()

    def run(ctx: Context, focus: Items) -> Items:
        out: Items = []
        for item in focus:
            if item.__class__ is Node:
                if is_type and (item.type == name or schema.is_a(item.type, name)):
                    out.append(item)
                    continue
                found = member(item, name)
                if found:
                    out += found
                elif ctx.strict and name not in schema.fields(item.type):
                    raise failed(f"{item.type} has no such element", name, "an element of its type")
            elif item.__class__ is TypeName or item.__class__ is Quantity:
                out += part(item, name)
        ctx.spend(len(out))
        return out

    return run


def _call(tree: Call) -> Closure:
    found = FUNCTIONS.get(tree.name)
    if found is None:
        raise failed("no such function", f"{tree.name}()", "a function of FHIRPath 2.0 or of FHIR R4")
    if not found.least <= len(tree.arguments) <= found.most:
        wanted = str(found.least) if found.least == found.most else f"{found.least} to {found.most}"
        raise failed(f"{tree.name}() with {len(tree.arguments)} arguments", len(tree.arguments), wanted)
    call = found.call
    if tree.name == "sort":  # -key: from the greatest to the least, whatever it is
        falling = tuple(isinstance(one, Unary) and one.sign == "-" for one in tree.arguments)
        call = functools.partial(call, falling=falling)
        arguments = tuple(
            _compose(one.inner if down and isinstance(one, Unary) else one) for one, down in zip(tree.arguments, falling, strict=True)
        )
    else:
        arguments = tuple(_compose(one) for one in tree.arguments)
    if found.lazy:

        def lazy(ctx: Context, focus: Items) -> Items:
            ctx.spend(len(focus))
            return call(ctx, focus, *arguments)

        return lazy

    def run(ctx: Context, focus: Items) -> Items:
        ctx.spend(len(focus))
        scope = ctx.variables
        values = []
        for argument in arguments:
            values.append(argument(ctx, ctx.this))
            ctx.variables = scope
        return call(ctx, focus, *values)

    return run


def _logic(operator: str, left: Closure, right: Closure) -> Closure:
    decide = LOGIC[operator]

    def run(ctx: Context, focus: Items) -> Items:
        scope = ctx.variables
        a = truth(left(ctx, focus), operator)
        ctx.variables = scope
        if (operator == "and" and a is False) or (operator == "or" and a is True) or (operator == "implies" and a is False):
            return [operator != "and"]
        b = truth(right(ctx, focus), operator)
        ctx.variables = scope
        found = decide(a, b)
        return [] if found is None else [found]

    return run


def _binary(tree: Binary) -> Closure:
    left, right = _compose(tree.left), _compose(tree.right)
    if tree.operator in LOGIC:
        return _logic(tree.operator, left, right)
    operate = OPERATORS[tree.operator]

    def run(ctx: Context, focus: Items) -> Items:
        scope = ctx.variables
        a = left(ctx, focus)
        ctx.variables = scope
        b = right(ctx, focus)
        ctx.variables = scope
        ctx.spend(len(a) + len(b))
        return operate(a, b)

    return run


def _type_test(tree: TypeTest) -> Closure:
    left, name, test = _compose(tree.left), tree.type, tree.operator == "is"

    def run(ctx: Context, focus: Items) -> Items:
        items = left(ctx, focus)
        if not test:
            return [item for item in items if has_type(item, name)]
        if len(items) > 1:
            raise failed("is: more than one item", len(items), "one item")
        return [has_type(item, name) for item in items]

    return run


def _indexed(tree: Indexer) -> Closure:
    left, index = _compose(tree.left), _compose(tree.index)

    def run(ctx: Context, focus: Items) -> Items:
        items, at = left(ctx, focus), integer(index(ctx, ctx.this), "[]")
        return [items[at]] if at is not None and 0 <= at < len(items) else []

    return run


def _special(name: str) -> Closure:
    if name == "$this":
        return lambda ctx, focus: ctx.this  # noqa: ARG005  every closure has this signature
    if name == "$total":
        return lambda ctx, focus: ctx.total  # noqa: ARG005
    return lambda ctx, focus: [] if ctx.index is None else [ctx.index]  # noqa: ARG005


def _compose(tree: Tree, first: bool = True) -> Closure:
    if isinstance(tree, Literal):
        values = list(tree.values)
        return lambda ctx, focus: values  # noqa: ARG005
    if isinstance(tree, Member):
        return _member(tree.name, first)
    if isinstance(tree, Call):
        return _call(tree)
    if isinstance(tree, Special):
        return _special(tree.name)
    if isinstance(tree, Variable):
        name = tree.name
        return lambda ctx, focus: ctx.variable(name)  # noqa: ARG005
    if isinstance(tree, Dot):
        left, right = _compose(tree.left, first), _compose(tree.right, first=False)
        return lambda ctx, focus: right(ctx, left(ctx, focus))
    if isinstance(tree, Indexer):
        return _indexed(tree)
    if isinstance(tree, Unary):
        inner, negative = _compose(tree.inner), tree.sign == "-"
        return lambda ctx, focus: negated(inner(ctx, focus)) if negative else inner(ctx, focus)
    return _binary(tree) if isinstance(tree, Binary) else _type_test(tree)


@lru_cache(maxsize=4096)
def composed(expression: str) -> Closure:
    """Read an expression once and return it as a function of a context and a focus."""
    return _compose(parse(expression))


def evaluate(
    expression: str,
    focus: Mapping[str, Any] | Node | None = None,
    *,
    resource: Node | None = None,
    variables: Mapping[str, Any] | None = None,
    now: str | None = None,
    resolver: Callable[[str, Node | None], Node | None] | None = None,
    tracer: Callable[[str, Sequence[Any]], None] | None = None,
    steps: int = STEPS,
    strict: bool = False,
) -> list[Any]:
    """Evaluate an expression on a resource, or on an element of one.

    Parameters
    ----------
    focus : a resource as :func:`gemel.interop.fhir.codec.decode` reads it, or a node of one.
    resource : what ``%resource`` is, where the focus is an element; without it the resource that holds the focus.
    variables : name -> item or items, for ``%name``.
    now : the time as a dateTime with its zone, for ``now()``, ``today()`` and ``timeOfDay()``, which fail without it.
    resolver : reference and the node that holds it -> what it leads to, or None; without it contained resources and those of a Bundle are found.
    tracer : called with the name and items of ``trace()``; without it nothing is told to anyone.
    steps : how many items may be touched.
    strict : whether an element that a type does not have is an error.

    Returns
    -------
    Items: nodes, truth values, integers, decimals, texts, dates and times, quantities.

    Raises
    ------
    FormatError
        When the expression cannot be read.
    DataError
        When it cannot be evaluated, is not supported, or takes too long.

    Examples
    --------
    >>> from gemel.interop.fhir.codec import decode
    >>> evaluate("name.given.count()", decode('{"resourceType":"Patient","name":[{"given":["A","B"]}]}'))
    [2]
    """
    node = focus if isinstance(focus, Node) or focus is None else root(focus)
    top = node
    inside = resource
    while top is not None and top.parent is not None:
        if inside is None and (kind := schema.kind(top.type)) is not None and kind.is_resource:
            inside = top
        top = top.parent
    this: Items = [] if node is None else [node]
    ctx = Context(
        this, inside or top, _outermost(node) or top, variables=variables or {}, now=now, resolver=resolver, tracer=tracer, steps=steps, strict=strict
    )  # fmt: skip
    ctx.variables[""] = this  # %context
    if strict:
        from gemel.interop.fhir.fhirpath.check import check

        check(parse(expression), node)
    try:
        return list(composed(expression)(ctx, this))
    except RecursionError:
        raise failed("nested too deep", "the limit of the interpreter", "a simpler expression") from None


def _outermost(node: Node | None) -> Node | None:
    """The resource that contains the focus: not the one contained, and not the Bundle around it."""
    found = None
    while node is not None:
        kind = schema.kind(node.type)
        if kind is not None and kind.is_resource:
            if node.key != "contained":
                return node
            found = node
        node = node.parent
    return found


def holds(expression: str, focus: Mapping[str, Any] | Node, **options: Any) -> bool:
    """Say whether an expression is true of a focus; what is empty is not.

    Raises
    ------
    FormatError, DataError
        As :func:`evaluate`.
    """
    found: Iterable[Any] = evaluate(expression, focus, **options)
    return truth(list(found), "a criterion") is True
