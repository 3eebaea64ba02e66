"""What a FHIR resource says of a person, as facts of a record: two times on each, the sender's units, nothing guessed.

A resource gives facts, or is *kept* with the reason why it gives none, or is *refused* with what was wrong; it is never dropped in silence. Whoever stores resources keeps the
resource itself in every case, and appends the facts in the same transaction.

Observations become readings and findings by value and component; what was given, taken or done becomes an exposure; diagnoses, allergies, stays, orders, samples, studies and conclusions
become findings; embedded documents keep their bytes; a Patient gives sex, age, death, identifiers and merges; a Consent is handed over to whoever keeps consents. Any other type is kept, not mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gemel.core.errors import GemelError
from gemel.core.record import Exposure, Finding
from gemel.core.series import ENTERED_IN_ERROR
from gemel.interop.fhir import schema
from gemel.interop.fhir.mapping import clinical, medication, observation, person
from gemel.interop.fhir.mapping.base import Mapped, Merge, Point, Refused, Resolve, Site
from gemel.interop.fhir.mapping.stamps import Task
from gemel.interop.fhir.mapping.values import text_of
from gemel.interop.report import Refusal

__all__ = ["MAPPED", "Mapped", "Merge", "Point", "Site", "map_resource", "take_back"]

_USUAL = Site()


def _consent(task: Task) -> None:
    task.patient(task.resource.get("patient") or task.resource.get("subject"))
    task.out.consent = task.resource
    task.keep("handed to the consents")


def _said(why: str) -> Callable[[Task], None]:
    def keep(task: Task) -> None:
        task.keep(why)

    return keep


_MAPPERS: dict[str, Callable[[Task], None]] = {
    "Observation": observation.map_observation, "Patient": person.map_patient, "Condition": clinical.map_condition,
    "AllergyIntolerance": clinical.map_allergy, "Procedure": clinical.map_procedure, "Encounter": clinical.map_encounter,
    "MedicationAdministration": medication.map_administration, "MedicationStatement": medication.map_statement,
    "MedicationRequest": medication.map_request, "Immunization": medication.map_immunization, "ServiceRequest": clinical.map_service,
    "DiagnosticReport": clinical.map_report, "Specimen": clinical.map_specimen, "ImagingStudy": clinical.map_study,
    "CarePlan": clinical.map_care_plan, "Device": clinical.map_device, "DocumentReference": clinical.map_document, "Consent": _consent,
    "DeviceMetric": _said("describes what a device can measure, nothing of a person"), "Task": _said("belongs to the return path: an answer to advice"),
}  # fmt: skip
MAPPED: tuple[str, ...] = tuple(_MAPPERS)
"""Types of resource that are looked at; any other is kept and not mapped."""


def map_resource(
    resource: Mapping[str, Any], *, received: int, site: Site = _USUAL, previous: Mapped | None = None, resolve: Resolve | None = None
) -> Mapped:
    """Map one resource.

    Parameters
    ----------
    resource : of FHIR R4, as :func:`gemel.interop.fhir.codec.decode` or any reader of JSON gives it. One of R5 goes through :func:`gemel.interop.fhir.r5.to_r4` first.
    received : ns UTC, when it arrived here.
    site : what the sender leaves out.
    previous : what the version before this one gave. Facts of it that this one does not give again are taken back: a corrected time, code or unit is another
        key, and the wrong reading would stand beside the right one.
    resolve : finds what a reference leads to (a Medication, somebody by ``urn:uuid``); left out, such references are refused with their reason.

    Returns
    -------
    Facts, and what became of everything else. Nothing is raised for what a resource says.

    Examples
    --------
    >>> weight = {"resourceType": "Observation", "id": "w", "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
    ...     "subject": {"reference": "Patient/p"}, "effectiveDateTime": "1970-01-01T00:01:00Z", "valueQuantity": {"value": 70, "code": "kg", "system": "http://unitsofmeasure.org"}}
    >>> found = map_resource(weight, received=10**18)
    >>> found.patient, found.points[0].value, found.points[0].unit, found.points[0].time
    ('p', 70.0, 'kg', 60000000000)
    """
    type_, id = text_of(resource.get("resourceType")), text_of(resource.get("id"))
    out = Mapped(type_, id)
    task = Task(resource, out, site, received, resolve, f"fhir:{site.name}", f"{type_}/{id}" if id else "")
    mapper = _MAPPERS.get(type_)
    try:
        if mapper is None:
            kind = schema.kind(type_)
            out.kept = "not mapped: no fact of a record" if kind is not None and kind.is_resource else "not a resource of FHIR R4"
        else:
            mapper(task)
    except Refused as error:
        _refuse(out, error.reason, error.what, error.fix, task.name)
    except GemelError as error:
        _refuse(out, "unusable", error.what, error.fix or "", task.name)
    if previous is not None:
        take_back(out, previous, received=received)
    return out


def _refuse(out: Mapped, reason: str, what: str, fix: str, name: str) -> None:
    """Refuse a resource: what was mapped before stays out, the whole counts as refused."""
    if reason == "not-a-person":
        out.points, out.findings, out.exposures, out.documents, out.refused = [], [], [], [], []
        out.read = out.mapped = 0
        out.kept = what
        return
    out.points, out.findings, out.exposures, out.documents, out.demographics = [], [], [], [], None
    out.read, out.mapped = max(out.read, 1), 0
    out.refused = [Refusal(reason=reason, place=name or "resource", what=what, fix=fix, items=out.read)]


def take_back(out: Mapped, previous: Mapped, *, received: int) -> None:
    """Add to what a version gives that facts of the version before it, which it does not give again, no longer hold; and let none be older than what it replaces."""
    before = {p.key: p for p in previous.points if p.status != ENTERED_IN_ERROR}
    now: set[tuple[str, str, int]] = set()
    for number, point in enumerate(out.points):
        now.add(point.key)
        old = before.get(point.key)
        if (
            old is not None
            and point.unit == old.unit
            and old[:5] + old[5:6] + old[7:] != point[:5] + point[5:6] + point[7:]
            and point.recorded <= old.recorded
        ):
            out.points[number] = point._replace(recorded=_later(old.recorded, received))
    units = {(p.key, p.unit) for p in out.points}
    for point in before.values():
        if (point.key, point.unit) not in units:
            out.points.append(point._replace(status=ENTERED_IN_ERROR, recorded=_later(point.recorded, received)))
    held = {merge[:2] for merge in out.merges}
    out.unmerged += [merge for merge in previous.merges if merge[:2] not in held]
    _take_back_single(out.findings, previous.findings, received)
    _take_back_single(out.exposures, previous.exposures, received)


def _later(before: int, received: int) -> int:
    return max(before + 1, received)


def _take_back_single(now: list[Any], before: list[Any], received: int) -> None:
    old: dict[tuple[str, ...], Finding | Exposure] = {one.key: one for one in before if one.status != ENTERED_IN_ERROR}
    for number, fact in enumerate(now):
        known = old.pop(fact.key, None)
        if known is not None and known != fact and fact.recorded <= known.recorded:
            now[number] = fact.model_copy(update={"recorded": _later(known.recorded, received)})
    now += [one.model_copy(update={"status": ENTERED_IN_ERROR, "recorded": _later(one.recorded, received)}) for one in old.values()]
