"""An entry of the audit trail as a FHIR R4 AuditEvent, a plain dictionary.

References
----------
HL7 FHIR R4 (4.0.1), AuditEvent. DICOM PS3.16, context group 400 (event identifiers: DCM 110106, 110112, 110113, 110114).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from gemel.core.time import iso

__all__ = ["audit_event"]

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_REST = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_INTERACTION = "http://hl7.org/fhir/restful-interaction"
_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_KIND = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"

_TYPES = {
    "export": (_DCM, "110106", "Export"),
    "search": (_DCM, "110112", "Query"),
    "count": (_DCM, "110112", "Query"),
    "deny": (_DCM, "110113", "Security Alert"),
    "break-glass": (_DCM, "110113", "Security Alert"),
    "consent": (_DCM, "110113", "Security Alert"),
    "login": (_DCM, "110114", "User Authentication"),
    "logout": (_DCM, "110114", "User Authentication"),
}
_SUBTYPES = {
    "read": "read", "vread": "vread", "history": "history-instance", "search": "search-type", "count": "search-type", "create": "create",
    "update": "update", "patch": "patch", "delete": "delete", "transaction": "transaction",
}  # fmt: skip
_LETTERS = {"create": "C", "update": "U", "patch": "U", "delete": "D", "erase": "D"}
_READS = frozenset({"read", "vread", "history", "forecast", "posterior", "image", "prefetch", "stream", "audit"})
_OUTCOMES = {"success": "0", "minor": "4", "serious": "8", "major": "12"}


def audit_event(entry: Mapping[str, Any], *, site: str = "gemel") -> dict[str, Any]:
    """Return an entry as AuditEvent.

    Parameters
    ----------
    entry : as :func:`gemel.platform.audit.entries` yields it. Of ``detail``, ``role``, ``address``, ``resource``, ``query``, ``outcome`` (success, minor,
        serious, major), ``reason`` and ``request`` have places in the resource. A sealed entry that cannot be opened keeps its time and subject only.
    site : who observed it.
    """
    detail = entry.get("detail") or {}
    action = entry.get("action", "")
    system, code, display = _TYPES.get(action, (_REST, "rest", "RESTful Operation"))
    told: dict[str, Any] = {"resourceType": "AuditEvent", "type": {"system": system, "code": code, "display": display}}
    if action in _SUBTYPES:
        told["subtype"] = [{"system": _INTERACTION, "code": _SUBTYPES[action]}]
    told["action"] = _LETTERS.get(action, "R" if action in _READS else "E")
    told["recorded"] = iso(entry["time"])
    told["outcome"] = _OUTCOMES[detail.get("outcome", "serious" if action == "deny" else "success")]
    if detail.get("reason"):
        told["outcomeDesc"] = str(detail["reason"])
    agent: dict[str, Any] = {"requestor": True}
    if detail.get("role"):
        agent["role"] = [{"text": str(detail["role"])}]
    agent["who"] = {"identifier": {"value": entry.get("who") or "sealed"}}
    if detail.get("address"):
        agent["network"] = {"address": str(detail["address"]), "type": "2"}
    if entry.get("purpose"):
        agent["purposeOfUse"] = [{"coding": [{"system": _REASON, "code": entry["purpose"]}]}]
    told["agent"] = [agent]
    told["source"] = {"observer": {"identifier": {"value": site}}}
    entities = []
    patient = entry.get("patient") or entry.get("subject")
    if patient:
        entities.append(_entity({"reference": f"Patient/{patient}"}, "1", "1"))
    if detail.get("resource"):
        entities.append(_entity({"reference": str(detail["resource"])}, "2", "4"))
    if detail.get("query"):
        asked = base64.b64encode(str(detail["query"]).encode()).decode()
        entities.append({"type": {"system": _KIND, "code": "2"}, "role": {"system": _ROLE, "code": "24"}, "query": asked})
    if detail.get("request"):
        entities.append({"what": {"identifier": {"value": str(detail["request"])}}, "type": {"system": _KIND, "code": "4"}})
    if entities:
        told["entity"] = entities
    return told


def _entity(what: dict[str, Any], kind: str, role: str) -> dict[str, Any]:
    return {"what": what, "type": {"system": _KIND, "code": kind}, "role": {"system": _ROLE, "code": role}}
