"""FHIRPath Patch: a Parameters resource that says what to add, insert, delete, replace and move; all of it, or nothing.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/fhirpatch.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gemel.core.errors import DataError
from gemel.interop.fhir import schema
from gemel.interop.fhir.codec import Element, freeze, thaw
from gemel.interop.fhir.fhirpath.evaluate import evaluate
from gemel.interop.fhir.fhirpath.nodes import Node, root

__all__ = ["fhirpath_patch"]

_LAST = re.compile(r"(?P<left>.+)\.(?P<name>[A-Za-z_][A-Za-z0-9_]*)\Z", re.DOTALL)


def _failed(what: str, seen: object, expected: str) -> DataError:
    return DataError(
        f"FHIRPath Patch: {what}", seen=str(seen)[:120], expected=expected, fix="correct the patch, or read the resource again"
    )


def _items(element: Any, key: str) -> list[Mapping[str, Any]]:
    found = element.get(key, ()) if isinstance(element, Mapping) else None
    if not isinstance(found, (tuple, list)) or not all(isinstance(one, Mapping) for one in found):
        raise _failed(f"{key} is not a list of objects", type(found).__name__, "a Parameters resource")
    return list(found)


def _text(parts: Mapping[str, Mapping[str, Any]], name: str) -> str:
    found = _plain(parts, name)
    if not isinstance(found, str):
        raise _failed(f"part {name} is not text", type(found).__name__, "text")
    return found


def _parts(parameter: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for part in _items(parameter, "part"):
        name = part.get("name")
        if not isinstance(name, str) or name in found:
            raise _failed("a part without a name, or twice", name, "each part once, with its name")
        found[name] = part
    return found


def _value(part: Mapping[str, Any]) -> tuple[Any, str, Any] | None:
    """The value of a part, its type, and what stands beside a primitive."""
    for key in part:
        plain = key.removeprefix("_")
        found = schema.find("Parameters.parameter", plain)
        if found is not None and found[0].name == "value":
            return part.get(plain), found[1], part.get("_" + plain)
    resource = part.get("resource")
    return None if resource is None else (resource, str(resource.get("resourceType")) if isinstance(resource, dict) else "Resource", None)


def _plain(parts: Mapping[str, Mapping[str, Any]], name: str) -> Any:
    found = _value(parts[name]) if name in parts else None
    if found is None or found[0] is None:
        raise _failed(f"part {name} is missing", ", ".join(parts), f"a part {name} with a value")
    return found[0]


def _field(type_: str, name: str) -> schema.Field:
    field = schema.fields(type_).get(name)
    if field is None:
        raise _failed(f"{type_} has no such element", name, "an element of FHIR R4")
    return field


def _place(field: schema.Field, type_: str | None) -> str:
    """The JSON member of an element: for a choice its name with the type."""
    if not field.choice:
        return field.name
    if type_ not in field.types:
        raise _failed(f"{field.name} cannot be of that type", type_, " or ".join(field.types))
    return field.name + type_[:1].upper() + type_[1:]


def _built(part: Mapping[str, Any], type_: str) -> dict[str, Any]:
    """An element without a type of its own, given as parts."""
    out: dict[str, Any] = {}
    for one in _items(part, "part"):
        field = _field(type_, str(one.get("name")))
        value, kind, extra = _given(one, field.types[0])
        _put(out, _place(field, kind if field.choice else None), value, extra, None if field.most == 1 else len(_list(out, field.name)))
    return out


def _given(part: Mapping[str, Any], type_: str) -> tuple[Any, str, Any]:
    """The value that a part gives for an element of a type."""
    found = _value(part)
    if found is not None:
        return thaw(found[0]), found[1], thaw(found[2])
    return _built(part, type_), type_, None


def _list(holder: Mapping[str, Any], key: str) -> list[Any]:
    found = holder.get(key, [])
    return found if isinstance(found, list) else [found]


def _put(holder: dict[str, Any], key: str, value: Any, extra: Any, index: int | None) -> None:
    """Set a member, or insert into its array; what stands beside primitives keeps its place."""
    if index is None:
        for name, one in ((key, value), ("_" + key, extra)):
            holder.pop(name, None)
            if one is not None:
                holder[name] = one
        return
    items, extras = _list(holder, key), _list(holder, "_" + key)
    if extras or extra is not None:
        length = max(len(items), len(extras))
        items, extras = items + [None] * (length - len(items)), extras + [None] * (length - len(extras))
        extras.insert(index, extra)
        holder["_" + key] = extras
    items.insert(index, value)
    holder[key] = items


def _take(holder: dict[str, Any], key: str, index: int | None) -> tuple[Any, Any]:
    """Remove an element, and an array that it leaves empty; return it with what stood beside it."""
    if index is None:
        return holder.pop(key, None), holder.pop("_" + key, None)
    found: list[Any] = []
    for name in (key, "_" + key):
        items = holder.get(name)
        found.append(items.pop(index) if isinstance(items, list) and index < len(items) else None)
        if isinstance(items, list) and all(one is None for one in items):
            del holder[name]
    return found[0], found[1]


def _holder(node: Node) -> Node:
    if node.parent is None:
        raise _failed("the resource itself cannot be changed so", node.type, "an element of it")
    return node.parent


def _owner(node: Node) -> dict[str, Any]:
    """The object in which a node stands; for what stands beside a primitive, made when it is not there."""
    parent = _holder(node)
    return parent.value if isinstance(parent.value, dict) else parent.extra


def _found(top: Node, path: str, what: str) -> list[Node]:
    items = evaluate(path, top)
    nodes = [item for item in items if isinstance(item, Node)]
    if len(nodes) != len(items):
        raise _failed(f"{what}: the path leads to a computed value", path, "elements of the resource")
    return nodes


def _one(top: Node, path: str, what: str) -> Node:
    nodes = _found(top, path, what)
    if len(nodes) != 1:
        raise _failed(f"{what}: no content found, or more than one", f"{len(nodes)} at {path}", "a path to one element")
    return nodes[0]


def _many(top: Node, path: str, what: str) -> tuple[dict[str, Any], str, schema.Field, int]:
    """The object, member and field of the array that a path names, and how many items it has."""
    match = _LAST.match(path.strip())
    if match is None:
        raise _failed(f"{what}: the path does not end in a list", path, "a path such as Patient.name")
    node = _one(top, match["left"], what)
    field = _field(node.type, match["name"])
    if field.most == 1 or field.choice or not isinstance(node.value, dict):
        raise _failed(f"{what}: not a list", path, "a path to an element that may repeat")
    return node.value, field.name, field, len(_list(node.value, field.name))


def _index(parts: Mapping[str, Mapping[str, Any]], name: str, most: int) -> int:
    found = _plain(parts, name)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= most:
        raise _failed(f"{name} lies outside the list", found, f"0 to {most}")
    return found


def _add(top: Node, parts: Mapping[str, Mapping[str, Any]]) -> None:
    path, name = _text(parts, "path"), _text(parts, "name")
    node = _one(top, path, "add")
    beside = not isinstance(node.value, dict)
    field = _field("Element" if beside else node.type, name)
    value, kind, extra = _given(_part(parts, "value"), field.types[0])
    holder = node.value
    if beside:  # an id or an extension of a primitive
        holder = node.extra if isinstance(node.extra, dict) else {}
        if not isinstance(node.extra, dict):
            owner, index = _owner(node), node.index
            if index is None:
                owner["_" + node.key] = holder
            else:
                extras = _list(owner, "_" + node.key)
                owner["_" + node.key] = extras + [None] * (index + 1 - len(extras))
                owner["_" + node.key][index] = holder
    key = _place(field, kind if field.choice else None)
    if field.most == 1 and any(member in holder for one in field.types for member in (_place(field, one), "_" + _place(field, one))):
        raise _failed("add: the element is there already", f"{path}.{name}", "replace, or another element")
    _put(holder, key, value, extra, None if field.most == 1 else len(_list(holder, key)))


def _part(parts: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    if name not in parts:
        raise _failed(f"part {name} is missing", ", ".join(parts), f"a part {name}")
    return parts[name]


def _insert(top: Node, parts: Mapping[str, Mapping[str, Any]]) -> None:
    holder, key, field, count = _many(top, _text(parts, "path"), "insert")
    value, _, extra = _given(_part(parts, "value"), field.types[0])
    _put(holder, key, value, extra, _index(parts, "index", count))


def _delete(top: Node, parts: Mapping[str, Mapping[str, Any]]) -> None:
    path = _text(parts, "path")
    nodes = _found(top, path, "delete")
    if len(nodes) > 1:
        raise _failed("delete: more than one element", f"{len(nodes)} at {path}", "a path to one element")
    for node in nodes:
        _take(_owner(node), node.key, node.index)
        above = node.parent
        while above is not None and above.parent is not None and not above.value and not above.extra:  # an element without content is none
            _take(_owner(above), above.key, above.index)
            above = above.parent


def _replace(top: Node, parts: Mapping[str, Mapping[str, Any]]) -> None:
    node = _one(top, _text(parts, "path"), "replace")
    value, kind, extra = _given(_part(parts, "value"), node.type)
    owner, parent = _owner(node), _holder(node)
    found = schema.find(parent.type if isinstance(parent.value, dict) else "Element", node.key)
    key = node.key if found is None else _place(found[0], kind if found[0].choice else None)
    _take(owner, node.key, node.index)
    _put(owner, key, value, extra, node.index)


def _move(top: Node, parts: Mapping[str, Mapping[str, Any]]) -> None:
    holder, key, _, count = _many(top, _text(parts, "path"), "move")
    source, destination = _index(parts, "source", count - 1), _index(parts, "destination", count - 1)
    value, extra = _take(holder, key, source)
    _put(holder, key, value, extra, destination)


_OPERATIONS = {"add": _add, "insert": _insert, "delete": _delete, "replace": _replace, "move": _move}


def fhirpath_patch(tree: Mapping[str, Any], patch: Mapping[str, Any]) -> Element:
    """Apply a FHIRPath Patch to a resource and return the new one; the old one is as it was.

    Parameters
    ----------
    tree : a resource, as :func:`gemel.interop.fhir.codec.decode` reads it.
    patch : a Parameters resource; operations are applied in their order.

    Raises
    ------
    DataError
        When an operation cannot be applied; then none of them is.
    FormatError
        When a path cannot be read.
    """
    if patch.get("resourceType") != "Parameters":
        raise _failed("not a patch", patch.get("resourceType"), "a Parameters resource")
    found = thaw(tree)
    for one in _items(patch, "parameter"):
        if one.get("name") != "operation":
            raise _failed("not an operation", one.get("name"), "a parameter named operation")
        parts = _parts(one)
        name = _text(parts, "type")
        if name not in _OPERATIONS:
            raise _failed("no such operation", name, ", ".join(_OPERATIONS))
        _OPERATIONS[name](root(found), parts)
    return freeze(found)
