"""Where references lead: their form, the types they may have, contained resources, and the entries of a Bundle.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/references.html and https://hl7.org/fhir/R4/bundle.html#references
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gemel.interop.fhir import schema
from gemel.interop.fhir.fhirpath.nodes import Node, children
from gemel.interop.fhir.search_values import parsed_reference

__all__ = ["reference_issues"]

_Row = tuple[str, str, str, str]
_IDENTIFIED = ("document", "message", "searchset", "collection", "history")
_ADDRESSES = ("http://", "https://", "urn:", "#", "ftp://", "mailto:")


def _held(node: Node) -> Iterator[tuple[Node, Node | None, Node | None]]:
    """Every element below a node, with the resource that holds it and the Bundle around that."""
    stack: list[tuple[Node, Node | None, Node | None]] = [(node, None, None)]
    while stack:
        one, owner, bundle = stack.pop()
        kind = schema.kind(one.type)
        if kind is not None and kind.is_resource and one.key != "contained":
            bundle = owner if owner is not None and owner.type == "Bundle" else bundle
            owner = one
        yield one, owner, bundle
        if isinstance(one.value, dict):
            stack += [(child, owner, bundle) for child in reversed(children(one)) if isinstance(child, Node)]


def _items(element: Mapping[str, Any], key: str) -> Sequence[Any]:
    found = element.get(key)
    return found if isinstance(found, (tuple, list)) else ()


def _entries(bundle: Node) -> dict[str, str]:
    """The types of a Bundle's resources by full address and by type and id."""
    found: dict[str, str] = {}
    for entry in _items(bundle.value, "entry"):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            continue
        name = resource["resourceType"]
        if isinstance(entry.get("fullUrl"), str):
            found[entry["fullUrl"]] = name
        if isinstance(resource.get("id"), str):
            found.setdefault(f"{name}/{resource['id']}", name)
    return found


def _contained(owner: Node | None) -> dict[str, str]:
    inner = _items(owner.value, "contained") if owner is not None and isinstance(owner.value, dict) else ()
    return {f"#{one.get('id')}": str(one.get("resourceType")) for one in inner if isinstance(one, dict)}


def _targets(node: Node) -> tuple[str, ...]:
    parent = node.parent
    found = None if parent is None else schema.find(parent.type, node.key)
    return () if found is None else found[0].targets.get("Reference", ())


def _one(node: Node, owner: Node | None, known: Mapping[str, str], inner: Mapping[str, str], in_bundle: bool) -> Iterator[_Row]:
    text, place = node.value.get("reference"), f"{node.path}.reference"
    if not isinstance(text, str) or not text:
        return
    type_: str | None
    if text.startswith("#"):
        type_ = inner.get(text) if text != "#" else owner.type if owner is not None else None
        if type_ is None:
            yield "error", "not-found", place, f"{text[:60]!r} is not contained in the resource"
            return
    else:
        type_ = known.get(text.split("/_history/")[0]) or parsed_reference(text).type
        if in_bundle and text.startswith(("urn:uuid:", "urn:oid:")) and text not in known:
            yield "error", "not-found", place, f"{text[:60]!r} is not in the Bundle"
        if not text.startswith(_ADDRESSES) and "?" not in text and parsed_reference(text).type is None:
            yield "error", "value", place, f"{text[:60]!r} is neither Type/id nor an absolute address"
    said = node.value.get("type")
    if isinstance(said, str) and type_ is not None and said.rpartition("/")[2] != type_:
        yield "error", "value", f"{node.path}.type", f"says {said[:40]!r}, and the reference leads to {type_}"
    wanted = _targets(node)
    type_ = type_ or (said if isinstance(said, str) and schema.kind(said) is not None else None)
    if type_ is not None and wanted and "Resource" not in wanted and type_ not in wanted:
        yield "error", "value", place, f"leads to {type_}; {' or '.join(wanted)} may stand"


def _bundle(node: Node) -> Iterator[_Row]:
    for i, entry in enumerate(_items(node.value, "entry")):
        resource, url = (entry.get("resource"), entry.get("fullUrl")) if isinstance(entry, dict) else (None, None)
        if (
            isinstance(resource, dict)
            and url is None
            and node.value.get("type") in _IDENTIFIED
            and resource.get("resourceType") != "OperationOutcome"
        ):
            yield "error", "required", f"{node.path}.entry[{i}].fullUrl", "is required in a Bundle of this type"
        if not isinstance(resource, dict) or not isinstance(url, str):
            continue
        name, place = resource.get("resourceType"), f"{node.path}.entry[{i}].fullUrl"
        if not url.startswith(_ADDRESSES[:3]):
            yield "error", "value", place, f"{url[:60]!r} is not an absolute address"
        found = parsed_reference(url)
        if (
            url.startswith("http")
            and isinstance(resource.get("id"), str)
            and found.id is not None
            and (found.type, found.id) != (name, resource["id"])
        ):
            yield "error", "value", place, "names another type or id than the resource has"


def _unused(owner: Node, used: set[str]) -> Iterator[_Row]:
    for i, one in enumerate(_items(owner.value, "contained")):
        name = one.get("id") if isinstance(one, dict) else None
        if isinstance(name, str) and f"#{name}" not in used and not _refers_back(one):
            yield (
                "error",
                "invariant",
                f"{owner.path}.contained[{i}]",
                "dom-3: nothing in the resource refers to it, nor it to the resource",
            )


def _refers_back(tree: Any) -> bool:
    if isinstance(tree, dict):
        return tree.get("reference") == "#" or any(_refers_back(value) for value in tree.values())
    return any(_refers_back(one) for one in tree) if isinstance(tree, (tuple, list)) else False


def reference_issues(top: Node) -> list[_Row]:
    """Return what is wrong with the references of a resource: severity, code, path and message of each."""
    out: list[_Row] = []
    tables: dict[int, dict[str, str]] = {}
    used: dict[int, set[str]] = {}
    owners: dict[int, Node] = {}
    for node, owner, bundle in _held(top):
        if owner is node and isinstance(node.value, dict):
            owners[id(node.value)] = node
            if node.type == "Bundle":
                out += _bundle(node)
        if owner is not None and isinstance(node.value, str) and node.value.startswith("#"):
            used.setdefault(id(owner.value), set()).add(node.value)
        if node.type != "Reference" or not isinstance(node.value, dict):
            continue
        for key, make, holder in (("b", _entries, bundle), ("c", _contained, owner)):
            if holder is not None and id(holder.value) * 2 + (key == "c") not in tables:
                tables[id(holder.value) * 2 + (key == "c")] = make(holder)
        known = {} if bundle is None else tables[id(bundle.value) * 2]
        inner = {} if owner is None else tables[id(owner.value) * 2 + 1]
        out += _one(node, owner, known, inner, bundle is not None)
    for key, owner in owners.items():
        out += _unused(owner, used.get(key, set()))
    return out
