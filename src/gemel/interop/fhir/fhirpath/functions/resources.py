"""What FHIR adds: extensions, references, narrative; and what is not supported, by name.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/fhirpath.html, *Additional functions*; SQL on FHIR v2, *Required additional functions*.
"""

from __future__ import annotations

from collections.abc import Callable

from gemel.interop.fhir import schema
from gemel.interop.fhir.fhirpath.context import Context, Function, Items, failed, text
from gemel.interop.fhir.fhirpath.nodes import Node, has_type, member, root
from gemel.interop.fhir.narrative import faults

__all__ = ["FUNCTIONS", "reference_key"]

_BASE = "http://hl7.org/fhir/StructureDefinition/"


def _extension(ctx: Context, focus: Items, url: Items) -> Items:  # noqa: ARG001
    wanted = text(url, "extension()")
    return [
        one for item in focus if isinstance(item, Node) for one in member(item, "extension") if isinstance(one.value, dict) and one.value.get("url") == wanted
    ]  # fmt: skip


def _has_value(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
    if len(focus) != 1:
        return [False]
    item = focus[0]
    return [not isinstance(item, Node) or (item.value is not None and not isinstance(item.value, dict))]


def _get_value(ctx: Context, focus: Items) -> Items:
    return focus if _has_value(ctx, focus)[0] else []


def _bundled(top: Node, reference: str) -> Node | None:
    """The resource of a Bundle that a reference leads to, by its full address or its type and id."""
    for entry in member(top, "entry"):
        address = entry.value.get("fullUrl") if isinstance(entry.value, dict) else None
        for one in member(entry, "resource"):
            name = f"{one.type}/{one.value.get('id')}" if isinstance(one.value, dict) else ""
            if reference in (address, name):
                return one
    return None


def _resolve(ctx: Context, focus: Items) -> Items:
    out: Items = []
    for item in focus:
        reference = item.value.get("reference") if isinstance(item, Node) and isinstance(item.value, dict) else None
        if reference is None:
            reference = item.value if isinstance(item, Node) else item
        if not isinstance(reference, str):
            continue
        found = None
        if reference.startswith("#"):
            owner = ctx.root
            inner = [] if owner is None else member(owner, "contained")
            found = owner if reference == "#" else next((one for one in inner if one.value.get("id") == reference[1:]), None)
        elif ctx.resolver is not None:
            found = ctx.resolver(reference, item if isinstance(item, Node) else None)
        else:
            top = item if isinstance(item, Node) else ctx.root
            while top is not None and top.parent is not None:
                top = top.parent
            if top is not None and top.type == "Bundle":
                found = _bundled(top, reference.split("/_history/")[0])
        if found is not None:
            out.append(found if isinstance(found, Node) else root(found))
        ctx.spend(1)
    return out


def _html(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
    return [all(not faults(item.value) for item in focus if isinstance(item, Node) and isinstance(item.value, str))] if focus else []


def _conforms(ctx: Context, focus: Items, url: Items) -> Items:  # noqa: ARG001
    wanted = text(url, "conformsTo()") or ""
    name = wanted.removeprefix(_BASE)
    if wanted == name or schema.kind(name) is None:
        raise failed("conformsTo() is not supported for profiles", wanted, f"the definition of a type: {_BASE}Patient")
    return [has_type(item, name) for item in focus[:1]]


def reference_key(reference: str, wanted: str | None) -> str | None:
    """Return the id that a reference ends in; None when it leads to another type than the one wanted, or is no reference to a resource."""
    parts = reference.split("/_history/")[0].split("/")
    if len(parts) < 2 or schema.kind(parts[-2]) is None or wanted not in (None, parts[-2]):
        return None
    return parts[-1]


def _resource_key(ctx: Context, focus: Items) -> Items:  # noqa: ARG001
    return [item.value["id"] for item in focus if isinstance(item, Node) and isinstance(item.value, dict) and "id" in item.value]


def _get_reference_key(ctx: Context, focus: Items, wanted: Items | None = None) -> Items:  # noqa: ARG001
    type_ = None if wanted is None else (text(wanted, "getReferenceKey()") or "").removeprefix("FHIR.")
    found = []
    for item in focus:
        reference = item.value.get("reference") if isinstance(item, Node) and isinstance(item.value, dict) else None
        if isinstance(reference, str) and (key := reference_key(reference, type_)) is not None:
            found.append(key)
    return found


def _unsupported(name: str) -> Callable[..., Items]:
    def run(ctx: Context, focus: Items, *arguments: Items) -> Items:  # noqa: ARG001
        raise failed(f"{name}() is not supported", f"{name}()", "no terminology server is asked; compare codes instead")

    return run


FUNCTIONS = {
    "extension": Function(_extension, 1, 1), "hasExtension": Function(lambda ctx, focus, url: [bool(_extension(ctx, focus, url))], 1, 1),
    "hasValue": Function(_has_value), "getValue": Function(_get_value), "resolve": Function(_resolve), "htmlChecks": Function(_html),
    "htmlChecks2": Function(_html), "conformsTo": Function(_conforms, 1, 1), "getResourceKey": Function(_resource_key),
    "getReferenceKey": Function(_get_reference_key, 0, 1),
    **{name: Function(_unsupported(name), 0, 9) for name in ("memberOf", "subsumes", "subsumedBy", "elementDefinition", "slice", "checkModifiers")},
}  # fmt: skip
