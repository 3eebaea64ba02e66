"""FHIR R5 into the elements of R4, by tables of what differs: one mapping and one index serve both.

Only types that give facts have a table; of others R5 is kept as it came. The original stays whatever it was: this is a way of reading it, and what R4 has no place for is named.
Elements and status codes were held against the models of fhir.resources 8.3, which are generated from HL7's packages (a test repeats it).

References
----------
HL7 FHIR R5 (5.0.0), https://hl7.org/fhir/R5/diff.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gemel.core.errors import FormatError
from gemel.interop.fhir.codec import Element
from gemel.interop.fhir.mapping.values import items, text_of

__all__ = ["R4_ONLY", "R5_ONLY", "AsR4", "to_r4", "version_of", "version_of_all"]

_REASON = {"reason": ("reasonCode", "reasonReference")}
_DRUG = {"medication": ("medicationCodeableConcept", "medicationReference")}

RENAMED: dict[str, dict[str, str]] = {
    "Encounter": {"actualPeriod": "period", "admission": "hospitalization"},
    "Procedure": {f"occurrence{kind}": f"performed{kind}" for kind in ("DateTime", "Period", "String", "Age", "Range")},
    "MedicationAdministration": {"occurenceDateTime": "effectiveDateTime", "occurencePeriod": "effectivePeriod", "encounter": "context"},
    "MedicationStatement": {"encounter": "context"},
    "Medication": {"doseForm": "form", "marketingAuthorizationHolder": "manufacturer", "totalVolume": "amount"},
}
"""Type -> element of R5 -> its name in R4. R5 itself writes ``occurence`` with one r in MedicationAdministration."""

SPLIT: dict[str, dict[str, tuple[str, str]]] = {
    "MedicationAdministration": _DRUG | _REASON, "MedicationStatement": _DRUG | _REASON, "MedicationRequest": _DRUG | _REASON,
    "Procedure": _REASON | {"used": ("usedCode", "usedReference")}, "ServiceRequest": {"code": ("code", "")} | _REASON,
    "Immunization": _REASON, "ImagingStudy": _REASON, "Task": {"reason": ("reasonCode", "reasonReference"), "statusReason": ("statusReason", "")},
}  # fmt: skip
"""Type -> CodeableReference of R5 -> the elements of R4 for its concept and its reference; empty: R4 has none."""

FIRST: dict[str, tuple[str, ...]] = {
    "Encounter": ("class",), "Procedure": ("category",), "MedicationAdministration": ("category",), "MedicationStatement": ("category", "informationSource"),
    "MedicationRequest": ("performer",), "Device": ("type",),
}  # fmt: skip
"""Type -> elements that are arrays in R5 and single in R4: the first is taken."""

CODED: dict[str, tuple[str, ...]] = {"Encounter": ("class",), "ImagingStudy": ("modality",)}
"""Type -> elements that are a CodeableConcept in R5 and a Coding in R4: the first coding is taken."""

STATUS: dict[str, dict[str, str]] = {
    "Encounter": {"on-hold": "onleave", "discharged": "finished", "completed": "finished", "discontinued": "finished"},
    "MedicationRequest": {"ended": "completed"},
    "DiagnosticReport": {"modified": "preliminary"},
    "MedicationStatement": {"recorded": "unknown", "draft": "intended"},
}
"""Type -> status of R5 -> of R4. A discontinued encounter had begun, so that it took place."""

_ADHERENCE = (("not-taking", "not-taken"), ("taking", "active"), ("on-hold", "on-hold"), ("stopped", "stopped"))

R5_ONLY: dict[str, frozenset[str]] = {
    "Encounter": frozenset({"actualPeriod", "admission", "reason", "subjectStatus", "plannedStartDate", "plannedEndDate", "virtualService"}),
    "Procedure": frozenset(RENAMED["Procedure"]) | {"occurrenceTiming", "reason", "used", "recorded", "reportedBoolean", "reportedReference"},
    "MedicationAdministration": frozenset({"occurenceDateTime", "occurencePeriod", "occurenceTiming", "medication", "reason", "recorded", "isSubPotent"}),
    "MedicationStatement": frozenset({"medication", "adherence", "reason", "effectiveTiming", "renderedDosageInstruction"}),
    "MedicationRequest": frozenset({"medication", "reason", "effectiveDosePeriod", "renderedDosageInstruction", "statusChanged"}),
    "Immunization": frozenset({"administeredProduct", "reason", "informationSource", "supportingInformation"}),
    "Observation": frozenset({"triggeredBy", "instantiatesCanonical", "instantiatesReference", "bodyStructure", "valueAttachment", "valueReference"}),
    "Condition": frozenset({"participant"}), "AllergyIntolerance": frozenset({"participant"}),
    "ServiceRequest": frozenset({"reason", "focus", "location", "bodyStructure"}), "ImagingStudy": frozenset({"procedure", "reason"}),
    "DocumentReference": frozenset({"period", "attester", "bodySite", "event", "facilityType", "modality", "practiceSetting", "basedOn", "version"}),
    "DiagnosticReport": frozenset({"study", "composition", "supportingInfo", "note"}), "Medication": frozenset({"doseForm", "marketingAuthorizationHolder", "totalVolume"}),
    "CarePlan": frozenset({"custodian"}), "Specimen": frozenset({"combined", "feature", "role"}), "Device": frozenset({"displayName", "name", "mode", "cycle"}),
}  # fmt: skip
"""Type -> elements that only R5 has."""

R4_ONLY: dict[str, frozenset[str]] = {
    "Encounter": frozenset({"period", "hospitalization", "reasonCode", "reasonReference", "statusHistory", "classHistory"}),
    "Procedure": frozenset(RENAMED["Procedure"].values()) | {"reasonCode", "reasonReference", "usedCode", "usedReference", "asserter"},
    "MedicationAdministration": frozenset({"effectiveDateTime", "effectivePeriod", "medicationCodeableConcept", "medicationReference", "reasonCode", "context"}),
    "MedicationStatement": frozenset({"medicationCodeableConcept", "medicationReference", "reasonCode", "context", "statusReason"}),
    "MedicationRequest": frozenset({"medicationCodeableConcept", "medicationReference", "reasonCode", "reportedBoolean", "reportedReference"}),
    "Immunization": frozenset({"recorded", "reasonCode", "reportOrigin", "education"}), "Condition": frozenset({"asserter", "recorder"}),
    "AllergyIntolerance": frozenset({"asserter", "recorder"}), "ServiceRequest": frozenset({"reasonCode", "locationCode", "locationReference"}),
    "ImagingStudy": frozenset({"interpreter", "procedureCode", "procedureReference", "reasonCode"}), "Device": frozenset({"patient", "deviceName", "distinctIdentifier"}),
    "DocumentReference": frozenset({"masterIdentifier", "authenticator"}), "DiagnosticReport": frozenset({"imagingStudy"}), "CarePlan": frozenset({"author"}),
    "Medication": frozenset({"form", "amount", "manufacturer"}),
}  # fmt: skip
"""Type -> elements that only R4 has."""


class AsR4(NamedTuple):
    """A resource of R5 in the elements of R4, and the elements that R4 has no place for."""

    resource: Element
    left: tuple[str, ...]


def version_of(resource: Mapping[str, Any]) -> str | None:
    """Say which version a resource speaks, ``R4`` or ``R5``, by elements that only one has; None where it may be either.

    Raises
    ------
    FormatError
        When it has elements of both.

    Examples
    --------
    >>> version_of({"resourceType": "Encounter", "actualPeriod": {}}), version_of({"resourceType": "Patient"})
    ('R5', None)
    """
    type_ = text_of(resource.get("resourceType"))
    if type_ == "Consent":
        return "R5" if "decision" in resource else "R4" if "policyRule" in resource or "scope" in resource else None
    is_r5 = not R5_ONLY.get(type_, frozenset()).isdisjoint(resource)
    is_r4 = not R4_ONLY.get(type_, frozenset()).isdisjoint(resource)
    status = resource.get("status")
    if type_ == "Encounter" and "class" in resource:
        several = isinstance(resource["class"], (tuple, list))
        is_r5, is_r4 = is_r5 or several, is_r4 or not several
    is_r5 = is_r5 or (type_ == "MedicationStatement" and status in ("recorded", "draft"))
    if type_ == "ServiceRequest" and isinstance(code := resource.get("code"), Mapping) and ("concept" in code or "reference" in code):
        is_r5 = True
    if type_ == "DocumentReference" and "context" in resource:
        listed = isinstance(resource["context"], (tuple, list))
        is_r5, is_r4 = is_r5 or listed, is_r4 or not listed
    if is_r5 and is_r4:
        raise _mixed()
    return "R5" if is_r5 else "R4" if is_r4 else None


def _mixed() -> FormatError:
    return FormatError(
        "R4 and R5 mixed",
        seen="elements that only one of them has, of both",
        expected="one version of FHIR",
        fix="have the sender speak one",
    )


def version_of_all(resources: Iterable[Mapping[str, Any]]) -> str | None:
    """Say which version the resources of one document speak.

    Raises
    ------
    FormatError
        When they mix them.
    """
    found = {version for one in resources if (version := version_of(one)) is not None}
    if len(found) > 1:
        raise _mixed()
    return found.pop() if found else None


def to_r4(resource: Mapping[str, Any]) -> AsR4:
    """Return a resource of R5 in the elements of R4.

    Examples
    --------
    >>> given = {"resourceType": "MedicationStatement", "status": "recorded", "medication": {"concept": {"text": "aspirin"}}}
    >>> found = to_r4(given).resource
    >>> found["status"], found["medicationCodeableConcept"]["text"]
    ('unknown', 'aspirin')
    """
    type_ = text_of(resource.get("resourceType"))
    if type_ == "Consent":
        return AsR4(Element(resource), ())  # whoever reads consents reads both
    out: dict[str, Any] = {}
    left: list[str] = []
    renamed, split = RENAMED.get(type_, {}), SPLIT.get(type_, {})
    for key, value in resource.items():
        name = key.removeprefix("_")
        if name in split and key == name:
            _split(out, left, key, value, split[name])
        elif name in renamed:
            out[key.replace(name, renamed[name])] = value
        else:
            out[key] = value
    for name in FIRST.get(type_, ()):
        found = items(out.get(name))
        if found:
            out[name] = found[0]
            left += [name] if len(found) > 1 else []
    for name in CODED.get(type_, ()):
        if name in out:
            out[name] = tuple(map(_coding, out[name])) if isinstance(out[name], (tuple, list)) else _coding(out[name])
    said = out.get("status")
    if isinstance(said, str):
        out["status"] = STATUS.get(type_, {}).get(said, said)
    _special(type_, out, left)
    kept = R5_ONLY.get(type_, frozenset()) - set(renamed) - set(split)
    left += sorted(key for key in out if key in kept)
    return AsR4(Element(out), tuple(left))


def _split(out: dict[str, Any], left: list[str], key: str, value: Any, names: tuple[str, str]) -> None:
    several = isinstance(value, (tuple, list))
    found = [one for one in (value if several else (value,)) if isinstance(one, Mapping)]
    for part, name in zip(("concept", "reference"), names, strict=True):
        held = [one[part] for one in found if part in one]
        if held and not name:
            left.append(f"{key}.{part}")
        elif held:
            out[name] = tuple(held) if several else held[0]


def _coding(concept: Any) -> Any:
    codings = items(concept.get("coding")) if isinstance(concept, Mapping) else ()
    return codings[0] if codings else concept


def _special(type_: str, out: dict[str, Any], left: list[str]) -> None:
    if type_ == "MedicationStatement" and isinstance(adherence := out.pop("adherence", None), Mapping):
        code = adherence.get("code")
        said = (
            next((text_of(one.get("code")) for one in items(code.get("coding")) if isinstance(one, Mapping)), "")
            if isinstance(code, Mapping)
            else ""
        )
        if out.get("status") == "unknown":
            out["status"] = next((mine for start, mine in _ADHERENCE if said.startswith(start)), "unknown")
        left += ["adherence.reason"] if "reason" in adherence else []
    elif type_ == "ImagingStudy" and items(out.get("series")):
        out["series"] = tuple(
            Element({**one, "modality": _coding(one["modality"])}) if isinstance(one, Mapping) and "modality" in one else one for one in out["series"]
        )  # fmt: skip
    elif type_ == "AllergyIntolerance" and isinstance(kind := out.get("type"), Mapping):
        out["type"] = next((text_of(one.get("code")) for one in items(kind.get("coding")) if isinstance(one, Mapping)), "") or text_of(
            kind.get("text")
        )
    elif type_ == "DocumentReference":
        context: dict[str, Any] = {}
        if items(out.get("context")):
            context["encounter"] = out.pop("context")
        for name in ("period", "event", "facilityType", "practiceSetting"):
            if name in out:
                context[name] = out.pop(name)
        if context:
            out["context"] = Element(context)
    elif type_ == "Encounter" and "reason" in out:
        out["reasonCode"], out["reasonReference"] = _encounter_reasons(out.pop("reason"))


def _encounter_reasons(reasons: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    values = [
        one for reason in items(reasons) if isinstance(reason, Mapping) for one in items(reason.get("value")) if isinstance(one, Mapping)
    ]
    return tuple(one["concept"] for one in values if "concept" in one), tuple(one["reference"] for one in values if "reference" in one)
