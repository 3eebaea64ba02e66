"""Sensor glucose to and from a hospital by the HL7 CGM guide 1.0.0: the ``$submit-cgm-bundle`` transaction, written and read.

What comes in and cannot be placed goes into quarantine with its path and reason; it is never guessed into the record. Names, addresses and birth dates are not
read; a patient is called by the pseudonym in the Bundle or by a hash of the reference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gemel.core import Code, Demographics, Finding, PatientRecord, Quantity, iso
from gemel.core.errors import DataError, FormatError, GemelError
from gemel.core.series import ABOVE, BELOW, EXACT, FINAL, PRELIMINARY
from gemel.core.units import is_convertible
from gemel.interop.fhir.build import Builder, patient_body
from gemel.interop.fhir.bundle import add_readings, add_summary
from gemel.interop.fhir.cgm_guide import MEMBERS, PANEL, RANGES, SENSORS, TIMES_IN_RANGES
from gemel.interop.fhir.cgm_validate import loinc_codes, validate_cgm
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._events import Events
from gemel.interop.wearables._json import moment
from gemel.interop.wearables.base import ImportReport, Notes

__all__ = ["Quarantined", "read_cgm_bundle", "submission_bundle"]

_UCUM = "http://unitsofmeasure.org"
_PSEUDONYM = "urn:gemel:pseudonym"
_STATUS = {"preliminary": PRELIMINARY, "registered": PRELIMINARY, "final": FINAL, "amended": FINAL, "corrected": FINAL}
_COMPARATORS = {"<": BELOW, "<=": BELOW, ">": ABOVE, ">=": ABOVE}
# readings that are placed: LOINC -> code, unit, analyte for the check of the unit, source
_PLACED: dict[str, tuple[Code, str, str]] = {
    **{code.code: (code, ucum, "") for code, (ucum, _, _) in SENSORS.items()},
    **{code.code: (code, unit, "fhir:meter") for unit, code in facts.CAPILLARY.items()},
    facts.HEART_RATE.code: (facts.HEART_RATE, "/min", ""),
    facts.STEPS.code: (facts.STEPS, "{steps}", ""),
    facts.WEIGHT.code: (facts.WEIGHT, "kg", ""),
}
_SUMMARY = {code: ucum for code, ucum, _, _ in MEMBERS.values()}
_SEX = {"male": "male", "female": "female", "other": "other"}


@dataclass(frozen=True)
class Quarantined:
    """Something that came in and was not placed: where it stands, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def submission_bundle(
    record: PatientRecord,
    *,
    summary: Mapping[str, Any] | None = None,
    created: int,
    since: int | None = None,
    simulated: bool = False,
) -> dict[str, Any]:
    """Write what is known of a person's sensor glucose as the transaction of ``$submit-cgm-bundle``.

    Parameters
    ----------
    record : only what was known at ``created`` goes out: the pseudonym, the sex and the sensor readings.
    summary : values by ``gemel.interop.fhir.SUMMARY_KEYS``, percentages from 0 to 100; left out, readings only. Without all
        that the guide's panel asks for, its members go without the panel.
    created : ns UTC, when the Bundle is made.
    since : ns UTC; earlier readings stay here.
    simulated : mark every resource as test data of no real person.

    Returns
    -------
    The Bundle as plain JSON types; it keeps the guide (:func:`validate_cgm` finds nothing), and the same record gives the same Bundle.

    Raises
    ------
    DataError
        When there is no sensor reading, a summary value is no number, or only some of the ranges are given.
    """
    known = record.as_of(created)
    sensors = known.find_series(*SENSORS)
    if not sensors:
        raise DataError(
            "no sensor glucose is known", seen=record.id, expected="a series of sensor glucose", fix="check the record and the time"
        )
    build = Builder(hashlib.sha256(f"{known.hash}/{created}".encode()).hexdigest(), simulated)
    subject = {"reference": build.add("Patient", record.id, patient_body(record))}
    for series in sensors:
        add_readings(build, series, subject, -(1 << 62) if since is None else since)
    if summary:
        given = set(RANGES) & set(summary)
        if given and given != set(RANGES):
            raise DataError(
                "a summary with some of the five ranges",
                seen=", ".join(sorted(given)),
                expected=f"all of {', '.join(RANGES)}, or none",
                fix="complete them: the guide has no place for a part",
            )
        times = np.concatenate([series.time for series in sensors])
        add_summary(build, summary, subject, (int(times.min()), int(times.max())))
        build.entries = [
            e
            for e in build.entries
            if not (PANEL in loinc_codes(e["resource"].get("code")) and "profile" not in e["resource"].get("meta", {}))
        ]
    for entry in build.entries:
        entry["request"] = {"method": "POST", "url": entry["resource"]["resourceType"]}
    bundle: dict[str, Any] = {"resourceType": "Bundle"} | ({"meta": build.meta} if build.meta else {})
    return bundle | {"type": "transaction", "timestamp": iso(created), "entry": build.entries}


@dataclass
class _Person:
    """What one subject's resources say."""

    events: Events
    sex: str = "unknown"
    id: str = ""
    findings: list[Finding] = field(default_factory=list)


class _Reader:
    """Sorts a Bundle's resources to their patients, or into quarantine."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.people: dict[str, _Person] = {}
        self.patients: dict[str, dict[str, Any]] = {}
        self.quarantine: list[Quarantined] = []

    def refuse(self, path: str, reason: str) -> None:
        self.quarantine.append(Quarantined(path, reason))

    def person(self, reference: str) -> _Person:
        if reference not in self.people:
            notes = Notes(self.name, "fhir-cgm")
            found = _Person(Events(self.name, "fhir", notes))
            patient = self.patients.get(reference, {})
            found.sex = _SEX.get(str(patient.get("gender")), "unknown")
            names = patient.get("identifier")
            for identifier in names if isinstance(names, list) else []:
                if isinstance(identifier, dict) and identifier.get("system") == _PSEUDONYM and isinstance(identifier.get("value"), str):
                    found.id = identifier["value"]
            self.people[reference] = found
        return self.people[reference]

    def quantity(self, quantity: Any, ucum: str) -> tuple[float, int] | str:
        """Value in ``ucum`` and censoring, or why not."""
        if not isinstance(quantity, dict):
            return "no valueQuantity"
        value, code = quantity.get("value"), quantity.get("code")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return "the quantity has no number"
        if quantity.get("system") != _UCUM or not isinstance(code, str):
            return "the quantity has no UCUM unit: not guessed"
        if code != ucum and not is_convertible(code, ucum):
            return f"unit {code[:20]!r} does not belong to this code, {ucum!r} does"
        comparator = quantity.get("comparator")
        if comparator is not None and (not isinstance(comparator, str) or comparator not in _COMPARATORS):
            return f"unknown comparator {str(comparator)[:10]!r}"
        converted = value if code == ucum else Quantity(value=value, unit=code).in_unit(ucum)
        return float(converted), _COMPARATORS.get(comparator, EXACT) if comparator else EXACT

    def reading(self, resource: dict[str, Any], path: str, row: int, loinc: str, person: _Person) -> None:
        code, unit, source = _PLACED[loinc]
        if "dataAbsentReason" in resource and "valueQuantity" not in resource:
            person.events.notes.ignore("readings without a value (dataAbsentReason)")
            return
        found = self.quantity(resource.get("valueQuantity"), unit)
        if isinstance(found, str):
            self.refuse(path, found)
            return
        when = resource.get("effectiveDateTime")
        if not isinstance(when, str) or "T" not in when:
            self.refuse(path, "no effectiveDateTime with a time of day")
            return
        time = moment(when, self.name, row)
        recorded = moment(resource["issued"], self.name, row) if isinstance(resource.get("issued"), str) else time
        if recorded < time - 120_000_000_000:
            self.refuse(path, "issued before it was true")
            return
        person.events.reading(
            code,
            unit,
            time,
            found[0],
            row=row,
            recorded=max(recorded, time),
            censored=found[1],
            source=source,
            status=_STATUS[resource["status"]],
        )

    def summary(self, resource: dict[str, Any], path: str, row: int, codes: set[str], person: _Person) -> None:
        if PANEL in codes:
            person.events.notes.ignore("summary panel: its members are read")
            return
        period = resource.get("effectivePeriod")
        end = period.get("end") if isinstance(period, dict) else None
        if not isinstance(end, str) or len(end) < 10:
            self.refuse(path, "a summary without the end of its period")
            return
        time = moment(end if "T" in end else f"{end[:10]}T23:59:59Z", self.name, row)
        recorded = moment(resource["issued"], self.name, row) if isinstance(resource.get("issued"), str) else time
        parts: list[tuple[str, str, Any, str]] = []
        if TIMES_IN_RANGES in codes:
            components = resource.get("component")
            for index, component in enumerate(components if isinstance(components, list) else []):
                of_part = loinc_codes(component.get("code")) if isinstance(component, dict) else set()
                known = of_part & set(RANGES.values())
                if not known:
                    self.refuse(f"{path}.component[{index}]", "a range that the guide does not know")
                    continue
                parts.append((next(iter(known)), "%", component.get("valueQuantity"), f"{path}.component[{index}]"))
        else:
            loinc = next(iter(codes & set(_SUMMARY)))
            parts.append((loinc, _SUMMARY[loinc], resource.get("valueQuantity"), path))
        for loinc, unit, quantity, where in parts:
            found = self.quantity(quantity, unit)
            if isinstance(found, str):
                self.refuse(where, found)
                continue
            value = Quantity(value=found[0], unit=unit)
            person.findings.append(
                Finding(code=Code(system="loinc", code=loinc), value=value, time=time, recorded=max(recorded, time), source="fhir")
            )

    def observation(self, resource: dict[str, Any], path: str, row: int) -> None:
        subject = resource.get("subject")
        reference = subject.get("reference") if isinstance(subject, dict) else None
        if not isinstance(reference, str) or not reference:
            self.refuse(path, "no patient")
            return
        status = resource.get("status")
        if status == "entered-in-error":
            self.person(reference).events.notes.ignore("observations entered in error")
            return
        if not isinstance(status, str) or status not in _STATUS:
            self.refuse(path, f"status {str(status)[:20]!r}")
            return
        codes = loinc_codes(resource.get("code"))
        placed = sorted(codes & set(_PLACED))
        if len(placed) > 1:
            self.refuse(path, f"codes that contradict each other: {', '.join(placed)}")
        elif placed:
            self.reading(resource, path, row, placed[0], self.person(reference))
        elif codes & ({PANEL, TIMES_IN_RANGES} | set(_SUMMARY)):
            self.summary(resource, path, row, codes, self.person(reference))
        else:
            self.refuse(path, f"code {', '.join(sorted(codes))[:60] or 'without LOINC'} has no place in the record")

    def read(self, bundle: dict[str, Any]) -> None:
        entries = bundle.get("entry") if bundle.get("resourceType") == "Bundle" else [{"resource": bundle}]
        if not isinstance(entries, list):
            raise FormatError(f"{self.name} has no entries", seen=type(entries).__name__, expected="Bundle.entry, a list")
        resources: list[tuple[str, int, dict[str, Any]]] = []
        for index, entry in enumerate(entries):
            resource = entry.get("resource") if isinstance(entry, dict) else None
            if not isinstance(resource, dict):
                self.refuse(f"Bundle.entry[{index}]", "no resource")
                continue
            if resource.get("resourceType") == "Patient":
                for key in (entry.get("fullUrl"), f"Patient/{resource.get('id')}"):
                    if isinstance(key, str):
                        self.patients[key] = resource
                continue
            resources.append((f"Bundle.entry[{index}].resource", index + 1, resource))
        for path, row, resource in resources:
            if resource.get("resourceType") != "Observation":
                self.refuse(path, f"resource {str(resource.get('resourceType'))[:30]!r} has no place in the record")
                continue
            try:
                self.observation(resource, path, row)
            except GemelError as error:
                self.refuse(path, error.what + (f" ({error.seen})" if error.seen is not None else ""))


def read_cgm_bundle(
    bundle: Any, *, name: str = "Bundle", id: str | None = None, tz: str | None = None
) -> tuple[list[tuple[PatientRecord, ImportReport]], tuple[Quarantined, ...]]:
    """Read a CGM submission (or any Bundle with such Observations).

    Parameters
    ----------
    bundle : plain JSON types.
    name : how it is called in messages.
    id : pseudonym of a single person.
    tz : zone the person lives in.

    Returns
    -------
    A record and its report for each patient; everything that was not placed, with path and reason. Where the Bundle breaks the guide, the report warns.

    Raises
    ------
    FormatError
        When it is no Bundle, or nothing in it can be placed.
    UnitError, ValueRangeError
        When the readings as a whole look like another unit, or one of them is impossible.
    """
    if not isinstance(bundle, dict) or not isinstance(bundle.get("resourceType"), str):
        raise FormatError(f"{name} is no FHIR resource", seen=type(bundle).__name__, expected="a Bundle as JSON", fix="export again")
    reader = _Reader(name)
    reader.read(bundle)
    violations = validate_cgm(bundle) if bundle["resourceType"] == "Bundle" else ()
    found: list[tuple[PatientRecord, ImportReport]] = []
    for reference, person in reader.people.items():
        notes = person.events.notes
        known = [*person.events.facts(), *person.findings]
        if not known:
            continue
        entries = bundle.get("entry")
        notes.rows = len(entries) if isinstance(entries, list) else 1
        for thing in reader.quarantine:
            notes.unclear(f"quarantined: {str(thing)[:120]}")
        if violations:
            notes.warn(f"{len(violations)} violation(s) of the CGM guide, first {str(violations[0])[:120]}")
        called = (id if len(reader.people) == 1 else None) or person.id or f"fhir-{hashlib.sha256(reference.encode()).hexdigest()[:8]}"
        record = PatientRecord(id=called, demographics=Demographics.model_validate({"sex": person.sex, "zone": tz or "UTC"})).with_facts(
            *known
        )
        found.append((record, notes.report(record)))
    if not found:
        raise FormatError(
            f"{name} holds nothing that can be placed",
            seen="; ".join(map(str, reader.quarantine))[:200] or "no Observation",
            expected="Observations of the CGM guide: LOINC 99504-3 or 105272-9 with a UCUM unit, a patient and a time",
            fix="check the Bundle with validate_cgm",
        )
    return found, tuple(reader.quarantine)
