"""The structure of the HL7 CGM guide 1.0.0, checked: each violation is named by its path.

Checked are the guide's profiles (required elements, fixed codes and units, cardinalities, slices, the invariant *value or reason*), what they inherit from
FHIR R4 Observation, DiagnosticReport and Device, and the rules of a transaction Bundle. Terminology is checked as codes, not against servers; text,
extensions and everything that the guide leaves open are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gemel.core.code import SYSTEMS
from gemel.interop.fhir.cgm_guide import MEMBERS, PANEL, PROFILE, RANGES, REQUIRED_MEMBERS, SENSORS, TIMES_IN_RANGES

__all__ = ["Violation", "loinc_codes", "validate_cgm"]

_Resource = dict[str, Any]
_LOINC, _UCUM = SYSTEMS["loinc"], SYSTEMS["ucum"]
_INSTANT = re.compile(r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]\d{2}:\d{2})$")
_DATE_TIME = re.compile(r"^\d{4}(-\d{2}(-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2}))?)?)?$")
_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}")
_RELATIVE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64}$")  # Type/id at the end of an absolute address
_OBSERVED = ("registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown")
_REPORTED = (
    "registered",
    "partial",
    "preliminary",
    "final",
    "amended",
    "corrected",
    "appended",
    "cancelled",
    "entered-in-error",
    "unknown",
)
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH")
_VALUES = ("valueQuantity", "valueCodeableConcept", "valueString", "valueBoolean", "valueInteger", "valueRange", "valueRatio",
           "valueSampledData", "valueTime", "valueDateTime", "valuePeriod")  # fmt: skip


@dataclass(frozen=True)
class Violation:
    """One breach: where it is, and what was expected there."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


Found = Iterator[Violation]


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def loinc_codes(concept: Any) -> set[str]:
    """Return the LOINC codes of a CodeableConcept."""
    codings = _items(concept.get("coding")) if isinstance(concept, dict) else []
    return {c["code"] for c in codings if isinstance(c, dict) and c.get("system") == _LOINC and isinstance(c.get("code"), str)}


def _quantity(quantity: Any, path: str, ucum: str, shown: str) -> Found:
    if not isinstance(quantity, dict):
        yield Violation(path, f"required: a Quantity in {ucum}")
        return
    value = quantity.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        yield Violation(f"{path}.value", "required: a decimal")
    for key, expected in (("system", _UCUM), ("code", ucum), ("unit", shown)):
        if quantity.get(key) != expected:
            yield Violation(f"{path}.{key}", f"must be {expected!r}, is {str(quantity.get(key))[:40]!r}")


def _subject(resource: _Resource, path: str) -> Found:
    subject = resource.get("subject")
    if not isinstance(subject, dict) or not any(subject.get(key) for key in ("reference", "identifier", "display")):
        yield Violation(f"{path}.subject", "required 1..1: the patient")


def _period(resource: _Resource, path: str) -> Found:
    period = resource.get("effectivePeriod")
    if not isinstance(period, dict):
        yield Violation(f"{path}.effectivePeriod", "required 1..1")
        return
    for key in ("start", "end"):
        if not isinstance(period.get(key), str) or not _DATE.match(period[key]) or not _DATE_TIME.match(period[key]):
            yield Violation(f"{path}.effectivePeriod.{key}", "required 1..1: a date YYYY-MM-DD")
            return
    if period["end"][:10] < period["start"][:10]:
        yield Violation(f"{path}.effectivePeriod", "per-1: the end must not be before the start")


def _only_quantity(resource: _Resource, path: str) -> Found:
    for key in _VALUES:
        if key != "valueQuantity" and key in resource:
            yield Violation(f"{path}.{key}", "value[x] may only be a Quantity")


def _base(resource: _Resource, path: str) -> Found:
    if resource.get("status") not in _OBSERVED:
        yield Violation(f"{path}.status", f"required 1..1: one of {', '.join(_OBSERVED)}")
    yield from _subject(resource, path)
    if "dataAbsentReason" in resource and any(key in resource for key in _VALUES):
        yield Violation(f"{path}.dataAbsentReason", "obs-6: only where there is no value")


def _reading(resource: _Resource, path: str, ucum: str, shown: str) -> Found:
    when = resource.get("effectiveDateTime")
    if not isinstance(when, str) or not _DATE_TIME.match(when):
        yield Violation(f"{path}.effectiveDateTime", "required 1..1: a dateTime")
    yield from _only_quantity(resource, path)
    if "valueQuantity" in resource:
        yield from _quantity(resource["valueQuantity"], f"{path}.valueQuantity", ucum, shown)
    elif "dataAbsentReason" not in resource:
        yield Violation(path, "cgm-sensor-value-or-dar: a reading has a valueQuantity or a dataAbsentReason")


def _member(resource: _Resource, path: str, key: str) -> Found:
    _, ucum, shown, _ = MEMBERS[key]
    yield from _period(resource, path)
    if not key.startswith("mean"):  # days of wear, GMI, CV and share require a value; means allow its absence
        yield from _quantity(resource.get("valueQuantity"), f"{path}.valueQuantity", ucum, shown)
    elif "valueQuantity" in resource:
        yield from _quantity(resource["valueQuantity"], f"{path}.valueQuantity", ucum, shown)
    yield from _only_quantity(resource, path)


def _ranges(resource: _Resource, path: str) -> Found:
    yield from _period(resource, path)
    components = [(f"{path}.component[{i}]", part) for i, part in enumerate(_items(resource.get("component"))) if isinstance(part, dict)]
    for name, code in RANGES.items():
        slices = [(where, part) for where, part in components if code in loinc_codes(part.get("code"))]
        if len(slices) != 1:
            yield Violation(f"{path}.component", f"{name} ({code}) required 1..1, found {len(slices)}")
        for where, part in slices:
            yield from _quantity(part.get("valueQuantity"), f"{where}.valueQuantity", "%", "%")


def _panel(resource: _Resource, path: str, resolve: Callable[[Any], _Resource | None]) -> Found:
    yield from _period(resource, path)
    members = _items(resource.get("hasMember"))
    if len(members) < 6:
        yield Violation(f"{path}.hasMember", f"required 6..*, found {len(members)}")
    counts: dict[str, int] = {}
    for index, member in enumerate(members):
        target = resolve(member)
        if target is None:
            yield Violation(f"{path}.hasMember[{index}].reference", "does not resolve inside the Bundle")
            continue
        for code in loinc_codes(target.get("code")):
            counts[code] = counts.get(code, 0) + 1
    for name, code in [("times in ranges", TIMES_IN_RANGES), *((key, MEMBERS[key][0]) for key in REQUIRED_MEMBERS)]:
        if counts.get(code, 0) != 1:
            yield Violation(f"{path}.hasMember", f"{name} ({code}) required 1..1, found {counts.get(code, 0)}")
    for key in ("mean_mg_dl", "mean_mmol_l"):
        if counts.get(MEMBERS[key][0], 0) > 1:
            yield Violation(f"{path}.hasMember", f"{key} ({MEMBERS[key][0]}) allowed 0..1, found {counts[MEMBERS[key][0]]}")


def _profile_of(codes: set[str]) -> str:
    names = {code.code: profile for code, (_, _, profile) in SENSORS.items()}
    names |= {code: profile for code, _, _, profile in MEMBERS.values()}
    names |= {PANEL: "cgm-summary", TIMES_IN_RANGES: "cgm-summary-times-in-ranges"}
    return next((names[code] for code in codes if code in names), "")


def _observation(resource: _Resource, path: str, resolve: Callable[[Any], _Resource | None]) -> Found:
    codes = loinc_codes(resource.get("code"))
    profile = _profile_of(codes)
    declared = resource["meta"].get("profile") if isinstance(resource.get("meta"), dict) else None
    claimed = [p[len(PROFILE) :].partition("|")[0] for p in _items(declared) if isinstance(p, str) and p.startswith(PROFILE)]
    for name in claimed:
        if name != profile:
            yield Violation(f"{path}.meta.profile", f"claims {name}, but its code belongs to {profile or 'no profile of the guide'}")
    if not isinstance(resource.get("code"), dict):
        yield Violation(f"{path}.code", "required 1..1")
    yield from _base(resource, path)
    for code, (ucum, shown, _) in SENSORS.items():
        if code.code in codes:
            yield from _reading(resource, path, ucum, shown)
    for key, (code, _, _, _) in MEMBERS.items():
        if code in codes:
            yield from _member(resource, path, key)
    full = not claimed and profile in ("cgm-summary", "cgm-summary-times-in-ranges")
    if TIMES_IN_RANGES in codes and (full or "cgm-summary-times-in-ranges" in claimed):
        yield from _ranges(resource, path)
    if PANEL in codes and (full or "cgm-summary" in claimed):
        yield from _panel(resource, path, resolve)


def _report(resource: _Resource, path: str) -> Found:
    if PANEL not in loinc_codes(resource.get("code")):
        yield Violation(f"{path}.code", f"must be LOINC {PANEL}")
    if resource.get("status") not in _REPORTED:
        yield Violation(f"{path}.status", f"required 1..1: one of {', '.join(_REPORTED)}")
    yield from _subject(resource, path)
    yield from _period(resource, path)
    forms = [
        form for form in _items(resource.get("presentedForm")) if isinstance(form, dict) and form.get("contentType") == "application/pdf"
    ]
    if not forms:
        yield Violation(f"{path}.presentedForm", "a form of contentType application/pdf required 1..*")
    for index, form in enumerate(forms):
        if not isinstance(form.get("data"), str) or not form["data"]:
            yield Violation(f"{path}.presentedForm[{index}].data", "required 1..1: base64")


def _device(resource: _Resource, path: str) -> Found:
    if not _items(resource.get("identifier")):
        yield Violation(f"{path}.identifier", "required 1..*")
    names = [
        n for n in _items(resource.get("deviceName")) if isinstance(n, dict) and n.get("type") == "user-friendly-name" and n.get("name")
    ]
    if len(names) != 1:
        yield Violation(f"{path}.deviceName", f"one name of type user-friendly-name required 1..1, found {len(names)}")


def _resource(resource: _Resource, path: str, resolve: Callable[[Any], _Resource | None]) -> Found:
    kind = resource.get("resourceType")
    if kind == "Observation":
        yield from _observation(resource, path, resolve)
    elif kind == "DiagnosticReport":
        yield from _report(resource, path)
    elif kind == "Device":
        yield from _device(resource, path)
    elif not isinstance(kind, str):
        yield Violation(f"{path}.resourceType", "required")


def _bundle(bundle: _Resource) -> Found:
    if bundle.get("type") != "transaction":
        yield Violation("Bundle.type", f"must be 'transaction', is {str(bundle.get('type'))[:30]!r}")
    if not isinstance(bundle.get("timestamp"), str) or not _INSTANT.match(bundle["timestamp"]):
        yield Violation("Bundle.timestamp", "required 1..1: an instant with an offset")
    entries = _items(bundle.get("entry"))
    if not entries:
        yield Violation("Bundle.entry", "required 1..*")
    urls: dict[str, _Resource] = {}
    patients = 0
    for index, entry in enumerate(entries):
        path = f"Bundle.entry[{index}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("resource"), dict):
            yield Violation(f"{path}.resource", "required 1..1 in a submission")
            continue
        resource = entry["resource"]
        patients += resource.get("resourceType") == "Patient"
        url = entry.get("fullUrl")
        if isinstance(url, str):
            if url in urls:
                yield Violation(f"{path}.fullUrl", "bdl-7: must be unique in the Bundle")
            urls[url] = resource
            relative = _RELATIVE.search(url)
            if relative is not None:
                urls.setdefault(relative[0], resource)
        if isinstance(resource.get("id"), str):
            urls.setdefault(f"{resource.get('resourceType')}/{resource['id']}", resource)
        request = entry.get("request")
        if not isinstance(request, dict):
            yield Violation(f"{path}.request", "bdl-3: required in a transaction")
        else:
            if request.get("method") not in _METHODS:
                yield Violation(f"{path}.request.method", f"required: one of {', '.join(_METHODS)}")
            if not isinstance(request.get("url"), str) or not request["url"]:
                yield Violation(f"{path}.request.url", "required")
        if "response" in entry:
            yield Violation(f"{path}.response", "bdl-4: not in a transaction")
    if patients > 1:
        yield Violation("Bundle.entry", f"Patient allowed 0..1, found {patients}")

    def resolve(reference: Any) -> _Resource | None:
        target = reference.get("reference") if isinstance(reference, dict) else None
        return urls.get(target) if isinstance(target, str) else None

    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and isinstance(entry.get("resource"), dict):
            path = f"Bundle.entry[{index}].resource"
            resource = entry["resource"]
            yield from _resource(resource, path, resolve)
            subject = resource.get("subject")
            target = subject.get("reference") if isinstance(subject, dict) else None
            if isinstance(target, str) and target.startswith("urn:uuid:") and target not in urls:
                yield Violation(f"{path}.subject.reference", "does not resolve inside the Bundle")


def validate_cgm(found: Any) -> tuple[Violation, ...]:
    """Check a submission Bundle, or one resource, against the CGM guide.

    Parameters
    ----------
    found : plain JSON types.

    Returns
    -------
    Every violation with its path; empty when there is none.

    Examples
    --------
    >>> [str(v) for v in validate_cgm({"resourceType": "Bundle", "type": "batch", "timestamp": "2026-01-31T08:00:00Z"})]
    ["Bundle.type: must be 'transaction', is 'batch'", 'Bundle.entry: required 1..*']
    """
    if not isinstance(found, dict) or not isinstance(found.get("resourceType"), str):
        return (Violation("$", "no FHIR resource: an object with a resourceType is required"),)
    if found["resourceType"] == "Bundle":
        return tuple(_bundle(found))
    return tuple(_resource(found, found["resourceType"], lambda _: None))
