"""JSON Patch: add, remove, replace, move, copy and test by pointers; all of them, or none.

References
----------
RFC 6902 (JSON Patch), RFC 6901 (JSON Pointer) and RFC 7396 (JSON Merge Patch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from gemel.core.errors import DataError
from gemel.interop.fhir.codec import freeze, thaw

__all__ = ["json_patch", "merge_patch"]

_END = "-"


def _failed(what: str, seen: object, expected: str) -> DataError:
    return DataError(f"JSON Patch: {what}", seen=str(seen)[:80], expected=expected, fix="correct the patch, or read the resource again")


def _steps(pointer: Any) -> list[str]:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise _failed("not a pointer", pointer, "text such as /name/0/family")
    if any(piece[:1] not in ("0", "1") for piece in pointer.split("~")[1:]):
        raise _failed("~ is followed by neither 0 nor 1", pointer, "~0 for ~ and ~1 for /")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _place(step: str, most: int) -> int:
    if not step.isascii() or not step.isdigit() or (len(step) > 1 and step[0] == "0") or len(step) > 9 or int(step) > most:
        raise _failed("no such place in the array", step, f"0 to {most}")
    return int(step)


def _down(target: Any, step: str) -> Any:
    if isinstance(target, list):
        return target[_place(step, len(target) - 1)]
    if isinstance(target, dict) and step in target:
        return target[step]
    raise _failed("nothing stands there", step, "an element that is there")


def _read(tree: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        tree = _down(tree, step)
    return tree


def _add(tree: Any, steps: Sequence[str], value: Any) -> Any:
    if not steps:
        return value
    target, last = _read(tree, steps[:-1]), steps[-1]
    if isinstance(target, list):
        target.insert(len(target) if last == _END else _place(last, len(target)), value)
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise _failed("nothing can be added there", last, "an object or an array")
    return tree


def _remove(tree: Any, steps: Sequence[str]) -> Any:
    if not steps:
        raise _failed("the whole document cannot be removed", "", "a pointer into it")
    target, last = _read(tree, steps[:-1]), steps[-1]
    _down(target, last)
    del target[int(last) if isinstance(target, list) else last]
    return tree


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, Decimal)) and isinstance(b, (int, Decimal)):
        return a == b
    return type(a) is type(b) and a == b


def _need(operation: Mapping[str, Any], name: str) -> Any:
    if name not in operation:
        raise _failed(f"{name} is missing", operation.get("op"), f"an operation with {name}")
    return operation[name]


def _replace(tree: Any, steps: Sequence[str], value: Any) -> Any:
    if not steps:
        return value
    target, last = _read(tree, steps[:-1]), steps[-1]
    _down(target, last)
    target[int(last) if isinstance(target, list) else last] = value
    return tree


def _test(tree: Any, steps: Sequence[str], value: Any) -> Any:
    if not _same(_read(tree, steps), value):
        raise _failed("the test failed", "/".join(("", *steps)), "the value that the patch names")
    return tree


def _carry(tree: Any, steps: Sequence[str], operation: Mapping[str, Any]) -> Any:
    source = _steps(_need(operation, "from"))
    value = _read(tree, source)
    if operation["op"] == "copy":
        return _add(tree, steps, thaw(value))
    if list(steps[: len(source)]) == source and len(steps) > len(source):
        raise _failed("an element cannot be moved into itself", operation["from"], "another place")
    return tree if source == list(steps) else _add(_remove(tree, source), steps, value)


_VALUED: dict[str, Callable[[Any, Sequence[str], Any], Any]] = {"add": _add, "replace": _replace, "test": _test}


def json_patch(tree: Any, operations: Sequence[Mapping[str, Any]]) -> Any:
    """Apply a JSON Patch to a document and return the new one; the old one is as it was.

    Parameters
    ----------
    tree : a document, as :func:`gemel.interop.fhir.codec.decode` reads it.
    operations : the array of the patch.

    Raises
    ------
    DataError
        When an operation cannot be applied; then none of them is.

    Examples
    --------
    >>> json_patch({"a": 1}, [{"op": "add", "path": "/b", "value": 2}])
    {'a': 1, 'b': 2}
    """
    if not isinstance(operations, (list, tuple)):
        raise _failed("a patch is an array of operations", type(operations).__name__, "an array")
    found = thaw(tree)
    for one in operations:
        if not isinstance(one, Mapping):
            raise _failed("an operation is an object", type(one).__name__, '{"op": ..., "path": ...}')
        name, steps = _need(one, "op"), _steps(_need(one, "path"))
        if name in _VALUED:
            found = _VALUED[name](found, steps, thaw(_need(one, "value")))
        elif name == "remove":
            found = _remove(found, steps)
        elif name in ("move", "copy"):
            found = _carry(found, steps, one)
        else:
            raise _failed("no such operation", name, "add, remove, replace, move, copy or test")
    return freeze(found)


def _merged(tree: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return thaw(patch)
    made = dict(tree) if isinstance(tree, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = _merged(made.get(key), value)
    return made


def merge_patch(tree: Any, patch: Mapping[str, Any]) -> Any:
    """Return a resource with members replaced: ``null`` takes one away, an array replaces the whole array.

    Raises
    ------
    DataError
        When the patch is no object.

    Examples
    --------
    >>> merge_patch({"resourceType": "Basic", "id": "a", "x": [1]}, {"id": None, "x": [2]})
    {'resourceType': 'Basic', 'x': (2,)}
    """
    if not isinstance(patch, Mapping):
        raise DataError("not a JSON Merge Patch", expected="an object with what changes")
    return freeze(_merged(tree, patch))
