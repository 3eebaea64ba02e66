"""The CapabilityStatement: what is there, no more; a test asks for each thing that it says."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson

from gemel import __version__
from gemel.interop.fhir import schema
from gemel.platform.store.index_rows import has_open_text
from gemel.platform.store.resources import instant
from gemel.server.config import ServerConfig

__all__ = ["capability", "kinds", "parameters"]

_INTERACTIONS = ("read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type")


@cache
def kinds() -> tuple[str, ...]:
    """Return the resource types that are served: all of FHIR R4."""
    return tuple(name for name in sorted(schema.kinds()) if (found := schema.kind(name)) and found.is_resource and not found.abstract)


@cache
def parameters(kind: str) -> tuple[schema.Search, ...]:
    """Return the search parameters of a type that are understood."""
    return tuple(
        one for one in schema.searches(kind).values()
        if one.type != "special" and one.code not in ("_content", "_query", "_filter", "_text") and (one.expression or one.code in ("_id", "_lastUpdated"))
    )  # fmt: skip


def _parameter(kind: str, one: schema.Search) -> dict[str, Any]:
    told: dict[str, Any] = {"name": one.code, "type": one.type}
    if one.type == "string" and not has_open_text(kind):
        told["documentation"] = "by the beginning of a word, or :exact; :contains is refused: such texts are kept as blind tokens"
    return told


def _resource(kind: str) -> dict[str, Any]:
    known = parameters(kind)
    references = [one.code for one in known if one.type == "reference"]
    told: dict[str, Any] = {
        "type": kind, "interaction": [{"code": code} for code in _INTERACTIONS], "versioning": "versioned-update", "readHistory": True, "updateCreate": True,
        "conditionalCreate": True, "conditionalRead": "not-match", "conditionalUpdate": True, "conditionalDelete": "single",
        "referencePolicy": ["literal", "logical", "local"], "searchInclude": ["*", *(f"{kind}:{code}" for code in references)],
        "searchRevInclude": ["*"], "searchParam": [_parameter(kind, one) for one in known],
    }  # fmt: skip
    if kind in ("Patient", "Group"):
        told["operation"] = [{"name": "export", "definition": f"http://hl7.org/fhir/uv/bulkdata/OperationDefinition/{kind.lower()}-export"}]
    return told


def capability(config: ServerConfig, base: str, now: int) -> bytes:
    """Return the CapabilityStatement.

    Parameters
    ----------
    base : address of the FHIR server. now : ns UTC.
    """
    url = base.removesuffix("/fhir/R4")
    oauth = {
        "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
        "extension": [{"url": "token", "valueUri": f"{url}/auth/token"}, {"url": "authorize", "valueUri": f"{url}/auth/authorize"}],
    }
    checks = (
        "cardinality, types, required codes, invariants, narrative and references"
        if config.fhir.validation == "strict"
        else "nothing but the type"
    )
    told = {
        "resourceType": "CapabilityStatement", "status": "active", "date": instant(now), "kind": "instance", "fhirVersion": "4.0.1",
        "software": {"name": "Gemel", "version": __version__}, "implementation": {"description": "Gemel, medical digital twins", "url": base},
        "format": ["application/fhir+json", "json"], "patchFormat": ["application/json-patch+json", "application/merge-patch+json", "application/fhir+json"],
        "rest": [{
            "mode": "server",
            "documentation": f"XML is read (application/fhir+xml), answers are JSON. What is written is checked for {checks}; profiles, slicing and terminology are"
            " not. A search parameter that is not understood is refused by its name, or ignored and listed with Prefer: handling=lenient. _revinclude=* includes whatever"
            " refers to a match by any search parameter. Sorting: _id, _lastUpdated, dates, numbers, quantities, names of things.",
            "security": {
                "cors": bool(config.server.origins), "description": "Bearer tokens; X-Purpose-Of-Use says what for",
                "service": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}]}],
                "extension": [oauth],
            },
            "resource": [_resource(kind) for kind in kinds()],
            "interaction": [{"code": "transaction"}, {"code": "batch"}, {"code": "history-system"}],
            "searchParam": [{"name": name, "type": "special", "documentation": text} for name, text in (
                ("_sort", "comma-separated, - for downward"), ("_count", "resources on a page"), ("_total", "none, estimate or accurate; accurate is usual"),
                ("_elements", "only these elements"), ("_summary", "count or false"), ("_has", "reverse chains"),
            )],
            "operation": [{"name": "export", "definition": "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"}],
        }],
    }  # fmt: skip
    return orjson.dumps(told)
