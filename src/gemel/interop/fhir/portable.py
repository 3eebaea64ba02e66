"""A record as FHIR R4 resources, for whoever takes their data elsewhere: one Observation for each reading, nothing rounded.

Drugs become MedicationAdministration, diagnoses Condition, everything else Observation. Geometry has no resource, and is not here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from gemel.core.code import SYSTEMS, Code
from gemel.core.record import Exposure, Finding, PatientRecord, Quantity
from gemel.core.series import ABOVE, BELOW, ENTERED_IN_ERROR, PRELIMINARY, Series
from gemel.core.time import iso
from gemel.interop.fhir.build import NAMESPACE, Resource

__all__ = ["resources_of"]

_DRUGS = frozenset({"atc", "rxnorm", "ndc"})
_DIAGNOSES = frozenset({"icd10", "icd10cm"})
_STATUS = {ENTERED_IN_ERROR: "entered-in-error", PRELIMINARY: "preliminary"}
_ACTIVE = "http://terminology.hl7.org/CodeSystem/condition-ver-status"


def _concept(code: Code) -> Resource:
    coding = {"system": SYSTEMS[code.system], "code": code.code}
    return {"coding": [coding | ({"display": code.display} if code.display else {})]}


def _quantity(value: float, unit: str) -> Resource:
    return {"value": value, "unit": unit, "system": SYSTEMS["ucum"], "code": unit}


def _id(*parts: Any) -> str:
    return str(uuid.uuid5(NAMESPACE, "\n".join(map(str, parts))))


def _when(time: int) -> str:
    """Return an instant in the digits that FHIR has: to the microsecond, as Python and most servers keep it."""
    return iso(time // 1000 * 1000)


def _readings(series: Series, subject: Resource, patient: str) -> Iterator[Resource]:
    code = _concept(series.code)
    for time, value, recorded, status, censored in zip(
        series.time.tolist(), series.value.tolist(), series.recorded.tolist(), series.status.tolist(), series.censored.tolist(), strict=True
    ):
        amount = _quantity(value, series.unit)
        if censored in (BELOW, ABOVE):
            amount = {"value": amount.pop("value"), "comparator": "<" if censored == BELOW else ">"} | amount
        yield {
            "resourceType": "Observation", "id": _id(patient, series.code, series.source, series.unit, time, recorded), "status": _STATUS.get(status, "final"),
            "code": code, "subject": subject, "effectiveDateTime": _when(time), "issued": _when(recorded), "valueQuantity": amount,
            "device": {"display": series.source},
        }  # fmt: skip


def _observation(fact: Exposure | Finding, key: str, subject: Resource, effective: Resource) -> Resource:
    return {
        "resourceType": "Observation",
        "id": key,
        "status": _STATUS.get(fact.status, "final"),
        "code": _concept(fact.code),
        "subject": subject,
        **effective,
        "issued": _when(fact.recorded),
        "device": {"display": fact.source},
    }


def _exposure(fact: Exposure, subject: Resource, patient: str) -> Resource:
    key = _id(patient, *fact.key, fact.recorded)
    when = {"start": _when(fact.start), "end": _when(fact.end)}
    if fact.code.system in _DRUGS:
        status = "entered-in-error" if fact.status == ENTERED_IN_ERROR else "completed"
        made: Resource = {
            "resourceType": "MedicationAdministration",
            "id": key,
            "status": status,
            "medicationCodeableConcept": _concept(fact.code),
        }
        made |= {"subject": subject, "effectivePeriod": when}
        if fact.quantity is not None:
            rate = "/" in fact.quantity.unit
            told = _quantity(fact.quantity.value, fact.quantity.unit)
            made["dosage"] = {"rateQuantity" if rate else "dose": told}
        return made
    made = _observation(fact, key, subject, {"effectivePeriod": when})
    return made | ({} if fact.quantity is None else {"valueQuantity": _quantity(fact.quantity.value, fact.quantity.unit)})


def _finding(fact: Finding, subject: Resource, patient: str) -> Resource:
    key = _id(patient, *fact.key, fact.recorded)
    if fact.code.system in _DIAGNOSES:
        status = "entered-in-error" if fact.status == ENTERED_IN_ERROR else "confirmed"
        made: Resource = {"resourceType": "Condition", "id": key, "verificationStatus": {"coding": [{"system": _ACTIVE, "code": status}]}}
        return made | {
            "code": _concept(fact.code),
            "subject": subject,
            "onsetDateTime": _when(fact.time),
            "recordedDate": _when(fact.recorded),
        }
    made = _observation(fact, key, subject, {"effectiveDateTime": _when(fact.time)})
    if fact.site:
        made["bodySite"] = {"text": fact.site}
    if isinstance(fact.value, Quantity):
        made["valueQuantity"] = _quantity(fact.value.value, fact.value.unit)
    elif isinstance(fact.value, Code):
        made["valueCodeableConcept"] = _concept(fact.value)
    elif fact.value:
        made["valueString"] = fact.value
    return made


def resources_of(record: PatientRecord, *, patient: str) -> Iterator[Resource]:
    """Yield a record's resources, the Patient first, every version of every fact.

    Parameters
    ----------
    patient : the logical id that the Patient gets; not a pseudonym that must stay here.

    Examples
    --------
    >>> [made["resourceType"] for made in resources_of(PatientRecord(id="p"), patient="a1")]
    ['Patient']
    """
    person: Resource = {"resourceType": "Patient", "id": patient}
    if record.demographics.sex in ("female", "male"):
        person["gender"] = record.demographics.sex
    yield person
    subject = {"reference": f"Patient/{patient}"}
    for series in record.series:
        yield from _readings(series, subject, patient)
    for exposure in record.exposures:
        yield _exposure(exposure, subject, patient)
    for finding in record.findings:
        yield _finding(finding, subject, patient)
    for document in record.documents:
        yield {
            "resourceType": "DocumentReference", "id": _id(patient, "document", document.sha256, document.recorded), "status": "current", "subject": subject,
            "date": _when(document.recorded), "description": document.title,
            "content": [{"attachment": {"contentType": document.media_type, "title": document.title, "url": f"documents/{document.sha256}"}}],
        }  # fmt: skip
