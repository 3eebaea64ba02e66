"""Existence, filtering, subsetting, combining, and what is evaluated for each item.

References
----------
FHIRPath 2.0.0, sections 5.1 to 5.4, 5.8, 5.9 and 7.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from gemel.interop.fhir.fhirpath.context import Closure, Context, Function, Items, failed, integer, single, text, truth
from gemel.interop.fhir.fhirpath.equality import identity, order
from gemel.interop.fhir.fhirpath.nodes import Node, children, has_type, type_of
from gemel.interop.fhir.fhirpath.operators import distinct

__all__ = ["FUNCTIONS"]


def _each(ctx: Context, focus: Items, inner: Closure) -> Iterator[tuple[Any, Items]]:
    """Evaluate an expression for each item, with ``$this`` and ``$index`` set to it; variables set inside stay inside."""
    outer, index, scope = ctx.this, ctx.index, ctx.variables
    try:
        for i, item in enumerate(focus):
            ctx.this, ctx.index, ctx.variables = [item], i, scope
            ctx.spend(1)
            yield item, inner(ctx, ctx.this)
    finally:
        ctx.this, ctx.index, ctx.variables = outer, index, scope


def _where(ctx: Context, focus: Items, criterion: Closure) -> Items:
    return [item for item, found in _each(ctx, focus, criterion) if truth(found, "where()")]


def _select(ctx: Context, focus: Items, projection: Closure) -> Items:
    return [one for _, found in _each(ctx, focus, projection) for one in found]


def _all(ctx: Context, focus: Items, criterion: Closure) -> Items:
    return [all(truth(found, "all()") is True for _, found in _each(ctx, focus, criterion))]


def _exists(ctx: Context, focus: Items, criterion: Closure | None = None) -> Items:
    if criterion is None:
        return [bool(focus)]
    return [any(truth(found, "exists()") is True for _, found in _each(ctx, focus, criterion))]


def _repeat(ctx: Context, focus: Items, projection: Closure) -> Items:
    found: dict[Any, Any] = {}
    waiting = list(focus)
    while waiting:
        fresh = []
        for one in _select(ctx, waiting, projection):
            key = identity(one)
            if key not in found:
                found[key] = one
                fresh.append(one)
        waiting = fresh
    return list(found.values())


def _repeat_all(ctx: Context, focus: Items, projection: Closure) -> Items:
    out: Items = []
    waiting = list(focus)
    while waiting:
        waiting = _select(ctx, waiting, projection)
        out += waiting
    return out


def _iif(ctx: Context, focus: Items, criterion: Closure, true: Closure, otherwise: Closure | None = None) -> Items:
    if len(focus) > 1:
        raise failed("iif(): more than one item", len(focus), "at most one item")
    scope, outer = ctx.variables, ctx.this
    try:
        ctx.this = focus or ctx.this
        found = criterion(ctx, ctx.this)
        chosen = single(found, "iif()")
        if chosen is not None and not isinstance(chosen, bool):
            raise failed("iif(): the criterion is not a truth value", type_of(found[0]).name, "Boolean")
        ctx.variables = scope
        branch = true if chosen else otherwise
        return [] if branch is None else branch(ctx, ctx.this)
    finally:
        ctx.variables, ctx.this = scope, outer


def _aggregate(ctx: Context, focus: Items, step: Closure, start: Closure | None = None) -> Items:
    total = ctx.total
    try:
        ctx.total = [] if start is None else start(ctx, ctx.this)
        for _, found in _each(ctx, focus, step):
            ctx.total = found
        return ctx.total
    finally:
        ctx.total = total


def _sorted(ctx: Context, focus: Items, *keys: Closure, falling: tuple[bool, ...] = ()) -> Items:
    columns = [[found for _, found in _each(ctx, focus, key)] for key in keys] or [[[item] for item in focus]]

    def compare(one: int, two: int) -> int:
        for column, down in zip(columns, falling or (False,), strict=True):
            a, b = column[one], column[two]
            single(a, "sort()")
            single(b, "sort()")
            found = (bool(a) > bool(b)) - (bool(a) < bool(b)) if not a or not b else order(a[0], b[0])
            if found:
                return -found if down else found
        return 0

    return [focus[i] for i in sorted(range(len(focus)), key=functools.cmp_to_key(compare))]


def _trace(ctx: Context, focus: Items, name: Closure, projection: Closure | None = None) -> Items:
    if ctx.tracer is not None:
        shown = focus if projection is None else _select(ctx, focus, projection)
        ctx.tracer(text(name(ctx, ctx.this), "trace()") or "", shown)
    return focus


def _define(ctx: Context, focus: Items, name: Closure, value: Closure | None = None) -> Items:
    outer, scope = ctx.this, ctx.variables
    key = text(name(ctx, ctx.this), "defineVariable()")
    ctx.variables = scope
    if key is None or key in ctx.variables or key in ("context", "resource", "rootResource", "ucum", "sct", "loinc"):
        raise failed("the variable is there already", f"%{key}", "a new name")
    found = focus
    if value is not None:
        ctx.this = focus
        found = value(ctx, focus)
        ctx.this = outer
    ctx.variables = {**scope, key: list(found)}
    return focus


def _all_are(wanted: bool, every: bool) -> Callable[[Context, Items], Items]:
    def run(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
        found = []
        for item in focus:
            value = single([item], "allTrue() and its kin")
            if not isinstance(value, bool):
                raise failed("not a truth value", type_of(item).name, "Boolean")
            found.append(value is wanted)
        return [all(found) if every else any(found)]

    return run


def _subset(ctx: Context, focus: Items, other: Items) -> Items:  # noqa: ARG001
    keys = {identity(one) for one in other}
    return [all(identity(one) in keys for one in focus)]


def _single(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
    single(focus, "single()")
    return focus


def _skip(ctx: Context, focus: Items, count: Items) -> Items:  # noqa: ARG001
    return focus[max(integer(count, "skip()") or 0, 0) :]


def _take(ctx: Context, focus: Items, count: Items) -> Items:  # noqa: ARG001
    return focus[: max(integer(count, "take()") or 0, 0)]


def _intersect(ctx: Context, focus: Items, other: Items) -> Items:  # noqa: ARG001
    keys = {identity(one) for one in other}
    return [one for one in distinct(focus) if identity(one) in keys]


def _exclude(ctx: Context, focus: Items, other: Items) -> Items:  # noqa: ARG001
    keys = {identity(one) for one in other}
    return [one for one in focus if identity(one) not in keys]


def _not(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
    found = truth(focus, "not()")
    return [] if found is None else [not found]


def _children(ctx: Context, focus: Items) -> Items:
    found = [one for item in focus if isinstance(item, Node) for one in children(item)]
    ctx.spend(len(found))
    return found


def _descendants(ctx: Context, focus: Items) -> Items:
    out: Items = []
    level = focus
    while level:
        level = _children(ctx, level)
        out += level
    return out


def _type_name(name: Items) -> str:
    found = text(name, "a type")
    if found is None:
        raise failed("the name of a type is missing", "{}", "a type such as Quantity")
    return found


def _of_type(ctx: Context, focus: Items, name: Items) -> Items:  # noqa: ARG001
    wanted = _type_name(name)
    return [item for item in focus if has_type(item, wanted)]


def _is(ctx: Context, focus: Items, name: Items) -> Items:  # noqa: ARG001
    wanted = _type_name(name)
    if len(focus) > 1:
        raise failed("is(): more than one item", len(focus), "one item")
    return [has_type(item, wanted) for item in focus]


def _coalesce(ctx: Context, focus: Items, *choices: Closure) -> Items:  # noqa: ARG001
    for one in choices:
        found = one(ctx, ctx.this)
        if found:
            return found
    return []


_EAGER: dict[str, tuple[Callable[..., Items], int, int]] = {
    "empty": (lambda _, focus: [not focus], 0, 0), "not": (_not, 0, 0), "count": (lambda _, focus: [len(focus)], 0, 0),
    "distinct": (lambda _, focus: distinct(focus), 0, 0), "isDistinct": (lambda _, focus: [len(distinct(focus)) == len(focus)], 0, 0),
    "allTrue": (_all_are(True, True), 0, 0), "anyTrue": (_all_are(True, False), 0, 0), "allFalse": (_all_are(False, True), 0, 0),
    "anyFalse": (_all_are(False, False), 0, 0), "subsetOf": (_subset, 1, 1), "supersetOf": (lambda _, a, b: _subset(_, b, a), 1, 1),
    "single": (_single, 0, 0), "first": (lambda _, focus: focus[:1], 0, 0), "last": (lambda _, focus: focus[-1:], 0, 0),
    "tail": (lambda _, focus: focus[1:], 0, 0), "skip": (_skip, 1, 1), "take": (_take, 1, 1), "intersect": (_intersect, 1, 1),
    "exclude": (_exclude, 1, 1), "union": (lambda _, a, b: distinct(a + b), 1, 1), "combine": (lambda _, a, b, *__: a + b, 1, 2),
    "children": (_children, 0, 0), "descendants": (_descendants, 0, 0), "ofType": (_of_type, 1, 1), "as": (_of_type, 1, 1), "is": (_is, 1, 1),
    "type": (lambda _, focus: [type_of(item) for item in focus], 0, 0),
}  # fmt: skip
_LAZY: dict[str, tuple[Callable[..., Items], int, int]] = {
    "where": (_where, 1, 1), "select": (_select, 1, 1), "all": (_all, 1, 1), "exists": (_exists, 0, 1), "repeat": (_repeat, 1, 1),
    "repeatAll": (_repeat_all, 1, 1), "iif": (_iif, 2, 3), "aggregate": (_aggregate, 1, 2), "trace": (_trace, 1, 2),
    "defineVariable": (_define, 1, 2), "sort": (_sorted, 0, 9), "coalesce": (_coalesce, 1, 99),
}  # fmt: skip
FUNCTIONS = {name: Function(*row) for name, row in _EAGER.items()} | {name: Function(*row, lazy=True) for name, row in _LAZY.items()}
