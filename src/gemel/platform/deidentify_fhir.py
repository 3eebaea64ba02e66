"""De-identification of FHIR R4 resources: elements, codes and systems that are on the list stay, everything else goes and is counted."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from gemel.core.errors import DataError
from gemel.platform.deidentify import LABELS, OLDEST, RESTRICTED, DeidentificationReport, Method, Removals, pseudonym, shift_days, zip3

__all__ = ["ELEMENTS", "KEPT", "deidentify_bundle", "deidentify_resource"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEPT = _words(
    "Patient Observation Condition Encounter Procedure MedicationRequest MedicationAdministration MedicationStatement Immunization AllergyIntolerance "
    "DiagnosticReport CarePlan ServiceRequest Specimen"
)
"""Types that may leave. Others are about people who act, places, money, or are text."""

ELEMENTS = _words(
    "abatementAge abatementDateTime abatementPeriod abatementRange active address appliesTo asNeededBoolean assertedDate authoredOn basedOn birthDate "
    "bodySite boundsDuration boundsPeriod boundsRange category class clinicalStatus code code collectedDateTime collection comparator component "
    "conclusionCode context count criticality dataAbsentReason date deceasedBoolean deceasedDateTime denominator derivedFrom dischargeDisposition "
    "doNotPerform dosage dosageInstruction dose doseAndRate doseQuantity doseRange duration durationUnit effectiveDateTime effectivePeriod encounter end "
    "frequency gender hasMember high hospitalization intent interpretation issued length low manifestation maritalStatus medicationCodeableConcept method "
    "multipleBirthBoolean multipleBirthInteger numerator occurrenceDateTime occurrencePeriod onsetAge onsetDateTime onsetPeriod onsetRange partOf patient "
    "performedAge performedDateTime performedPeriod period periodUnit primarySource priority rateQuantity rateRange rateRatio reaction reasonCode "
    "reasonReference receivedTime recordedDate referenceRange repeat result route sequence severity site stage start status statusReason subject substance "
    "summary timeOfDay timing type vaccineCode valueAge valueBoolean valueCodeableConcept valueDateTime valueInteger valuePeriod valueQuantity valueRange "
    "valueRatio valueTime verificationStatus when dayOfWeek specimen"
)
"""Names of elements that may stay, at any depth."""

SYSTEMS = re.compile(
    r"http://(loinc\.org|snomed\.info/sct|unitsofmeasure\.org|www\.nlm\.nih\.gov/research/umls/rxnorm|www\.whocc\.no/atc|hl7\.org/fhir/[\w/-]+|"
    r"terminology\.hl7\.org/CodeSystem/[\w.-]+|hl7\.org/fhir/sid/(cvx|icd-10|icd-10-cm|icd-9-cm|ndc))"
)
_CODED = _words("status intent priority gender comparator periodUnit durationUnit category criticality severity type when dayOfWeek use")
_CODES = _words(
    "< <= > >= AC ACD ACM ACV AFT AFT.early AFT.late C CD CM CV EVE EVE.early EVE.late HS MORN MORN.early MORN.late NIGHT NOON PC PCD PCM PCV PHS WAKE a "
    "active allergy amended appended arrived asap available biologic cancelled completed corrected d directive draft entered-in-error environment female "
    "filler-order final finished food fri h high in-progress instance-order intended intolerance low male medication mild min mo moderate mon not-done "
    "not-started not-taken on-hold onleave option order original-order other partial plan planned preliminary preparation proposal reflex-order registered "
    "revoked routine s sat scheduled severe stat stopped sun thu triaged tue unable-to-assess unavailable unknown unsatisfactory urgent wed wk"
)  # of the value sets that FHIR R4 binds to elements of type code in the types that are kept
_TERM = re.compile(r"[A-Za-z0-9./%*^{}\[\]()'_+-]{1,40}")
_TERMS = {
    "http://loinc.org": re.compile(r"\d{1,7}-\d|L[AP]\d{1,7}-\d"), "http://snomed.info/sct": re.compile(r"\d{6,18}"),
    "http://www.nlm.nih.gov/research/umls/rxnorm": re.compile(r"\d{1,8}"), "http://www.whocc.no/atc": re.compile(r"[A-Z](\d\d([A-Z]([A-Z](\d\d)?)?)?)?"),
}  # fmt: skip
_NUMBER = (int, float, Decimal)  # a lossless reader keeps decimals
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(T.*)?)?)?")
_TIME = re.compile(r"\d\d:\d\d(:\d\d)?")
_DAYS = "urn:gemel:days-since-index"
_AGE_CODES = frozenset({"30525-0", "21612-7", "29553-5", "63900-5", "35659-2"})  # LOINC: ages reported or calculated
_YEARS = {"a": 1.0, "mo": 1 / 12, "wk": 7 / 365.25, "d": 1 / 365.25}
_WHAT = {
    "name": "names", "telecom": "telephone, fax and e-mail", "identifier": "record and account numbers", "photo": "photographs and shapes", "contact": "names",
    "text": "free text", "note": "free text", "comment": "free text", "description": "free text", "display": "free text", "valueString": "free text",
    "conclusion": "free text", "title": "free text", "unit": "free text", "extension": "extensions", "modifierExtension": "extensions",
    "performer": "people who act", "requester": "people who act", "participant": "people who act", "generalPractitioner": "people who act",
    "serviceProvider": "geography", "managingOrganization": "geography", "location": "geography", "device": "device and other numbers",
    "lotNumber": "device and other numbers", "contained": "contained resources", "meta": "dates",
}  # fmt: skip


class _Cleaner:
    def __init__(
        self,
        method: Method,
        key: bytes,
        project: str,
        patient: str,
        index: dt.date | None,
        known: Mapping[str, tuple[str, str]],
        restricted: frozenset[str],
    ) -> None:
        if method not in LABELS:
            raise DataError("no such method of de-identification", seen=method, expected=", ".join(LABELS))
        self.method, self.key, self.project, self.index, self.known, self.restricted = method, key, project, index, known, restricted
        self.shift = dt.timedelta(days=shift_days(key, project, patient)) if method == "limited" else None
        self.gone = Removals()

    def drop(self, name: str, place: str) -> None:
        self.gone.count(_WHAT.get(name, "not on the list"), place)

    def table(self, table: Mapping[str, Any], place: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, value in table.items():
            here = f"{place}.{name}"
            if name not in ELEMENTS:
                self.drop(name, here)
            elif name == "address":
                made |= self.listed("address", [self.address(a, here) for a in value if isinstance(a, Mapping)])
            elif isinstance(value, str) and _DATE.fullmatch(value):
                made |= self.date(name, value, here)
            else:
                kept = self.value(name, value, here)
                if kept is not None:
                    made[name] = kept
        return made

    @staticmethod
    def listed(name: str, values: list[Any]) -> dict[str, Any]:
        kept = [value for value in values if value]
        return {name: kept} if kept else {}

    def value(self, name: str, value: Any, place: str) -> Any:
        if isinstance(value, (list, tuple)):
            return [kept for item in value if (kept := self.value(name, item, place)) is not None] or None
        if isinstance(value, _NUMBER):
            return value
        if isinstance(value, str):
            if (name in _CODED and value in _CODES) or (name in ("timeOfDay", "valueTime") and _TIME.fullmatch(value)):
                return value
            self.gone.count("free text", place)
            return None
        if not isinstance(value, Mapping):
            return None
        if "reference" in value or "identifier" in value:
            return self.reference(value, place)
        if "coding" in value:
            coded = [kept for c in value["coding"] if isinstance(c, Mapping) and (kept := self.coding(c, place))]
            self.gone.count("free text", f"{place}.text", int("text" in value))
            return {"coding": coded} if coded else None
        if "value" in value:
            return self.quantity(name, value, place)
        if "system" in value and "code" in value:
            return self.coding(value, place)
        return self.table(value, place) or None

    def coding(self, coding: Mapping[str, Any], place: str) -> dict[str, Any] | None:
        self.gone.count("free text", f"{place}.display", int("display" in coding))
        system, code = coding.get("system", ""), coding.get("code", "")
        if (
            not isinstance(system, str)
            or not isinstance(code, str)
            or not SYSTEMS.fullmatch(system)
            or not _TERMS.get(system, _TERM).fullmatch(code)
        ):
            self.gone.count("codes of unknown systems", place)
            return None
        return {"system": system, "code": code}

    def quantity(self, name: str, value: Mapping[str, Any], place: str) -> dict[str, Any] | None:
        number = value["value"]
        if isinstance(number, bool) or not isinstance(number, _NUMBER):
            self.gone.count("free text", place)
            return None
        self.gone.count("free text", f"{place}.unit", int("unit" in value))
        made: dict[str, Any] = {"value": number}
        if value.get("comparator") in ("<", "<=", ">=", ">"):
            made["comparator"] = value["comparator"]
        if self.coding(value, place):
            made |= {"system": value["system"], "code": value["code"]}
        if name.endswith("Age") and float(number) * _YEARS.get(str(made.get("code")), 1.0) >= OLDEST:
            return self.oldest(place)
        return made

    def oldest(self, place: str) -> dict[str, Any]:
        self.gone.count("ages", place)
        return {"value": int(OLDEST), "comparator": ">=", "system": "http://unitsofmeasure.org", "code": "a"}

    def reference(self, value: Mapping[str, Any], place: str) -> dict[str, str] | None:
        self.gone.count("free text", f"{place}.display", int("display" in value))
        self.gone.count("record and account numbers", f"{place}.identifier", int("identifier" in value))
        told = value.get("reference")
        if not isinstance(told, str):
            return None
        kind, name = self.known.get(told) or (*told.split("/")[-2:], "")[:2]
        if kind not in KEPT or not name:
            self.gone.count("people who act", place)
            return None
        return {"reference": f"{kind}/{pseudonym(self.key, self.project, name)}"}

    def address(self, address: Mapping[str, Any], place: str) -> dict[str, str]:
        made = {name: address[name] for name in ("state", "country") if re.fullmatch(r"[A-Z]{2,3}", str(address.get(name, "")))}
        if address.get("postalCode") and made.get("country", "US") in ("US", "USA"):
            made["postalCode"] = zip3(str(address["postalCode"]), self.restricted)
        self.gone.count("geography", place, len(set(address) - {"state", "country"}))
        return made

    def date(self, name: str, text: str, place: str) -> dict[str, Any]:
        self.gone.count("dates", place)
        found = _DATE.fullmatch(text)
        assert found is not None  # for the type checker: the caller has matched it
        year, month, day, rest = found.groups()
        try:
            date = dt.date(int(year), int(month or 1), int(day or 1))
            if self.shift is not None:
                moved = date + self.shift
                return {name: str(moved) + (rest or "") if day else f"{moved:%Y-%m}" if month else f"{moved:%Y}"}
        except (ValueError, OverflowError):
            return {}
        if self.index is None or name == "birthDate":
            return {} if name == "issued" else {name: year}  # an instant cannot be a year
        if not day:
            return {}
        return {f"_{name}": {"extension": [{"url": _DAYS, "valueInteger": (date - self.index).days}]}}


def _too_old(resource: Mapping[str, Any], as_of: dt.date) -> bool:
    born = _DATE.fullmatch(str(resource.get("birthDate", "")))
    if born is None:
        return False
    died = _DATE.fullmatch(str(resource.get("deceasedDateTime", "")))
    end = int(died.group(1)) if died else as_of.year
    return end - int(born.group(1)) >= OLDEST  # by years alone: the younger of the two readings is not taken


def deidentify_resource(
    resource: Mapping[str, Any], *, method: Method, key: bytes, project: str, patient: str, as_of: dt.date, index: dt.date | None = None,
    known: Mapping[str, tuple[str, str]] | None = None, restricted: frozenset[str] = RESTRICTED,
) -> tuple[dict[str, Any] | None, DeidentificationReport]:  # fmt: skip
    """Return a resource that does not tell whose it is, ``None`` when its type may not leave, and what was removed.

    Parameters
    ----------
    resource : as its JSON was parsed.
    patient : id of the person, from which the shift of *limited* is made.
    as_of : the day at which ages are counted: who is, or became, 90 loses the year of birth.
    index : the day from which *safe-harbour* counts days, in an extension beside the date that is gone; left out, years stay.
    known : reference as written -> type and id, where references do not tell them (``urn:uuid``).
    restricted : three-digit ZIP codes that become 000.

    Raises
    ------
    DataError
        When the key is too short, or the method unknown.
    """
    cleaner = _Cleaner(method, key, project, patient, index, known or {}, restricted)
    kind = resource.get("resourceType")
    if kind not in KEPT:
        cleaner.gone.count("resources of other types", str(kind) if re.fullmatch(r"[A-Za-z]{1,40}", str(kind)) else "unknown")
        return None, cleaner.gone.report(method)
    told = {name: value for name, value in resource.items() if name not in ("resourceType", "id")}
    if kind == "Patient" and _too_old(resource, as_of):
        cleaner.gone.count("ages", "Patient.birthDate", int(told.pop("birthDate", None) is not None))
    if kind == "Observation" and _AGE_CODES & {c.get("code") for c in (resource.get("code") or {}).get("coding", ())}:
        amount = told.get("valueQuantity") or {}
        if isinstance(amount.get("value"), _NUMBER) and float(amount["value"]) * _YEARS.get(amount.get("code", "a"), 1.0) >= OLDEST:
            told["valueQuantity"] = cleaner.oldest("Observation.valueQuantity")
    made = {"resourceType": kind, **cleaner.table(told, str(kind))}
    if resource.get("id"):
        made["id"] = pseudonym(key, project, str(resource["id"]))
        cleaner.gone.count("record and account numbers", f"{kind}.id")
    return made, cleaner.gone.report(method)


def deidentify_bundle(
    bundle: Mapping[str, Any],
    *,
    method: Method,
    key: bytes,
    project: str,
    as_of: dt.date,
    index: dt.date | None = None,
    restricted: frozenset[str] = RESTRICTED,
) -> tuple[dict[str, Any], DeidentificationReport]:
    """Return the Bundle of one person without what tells who it is, as a collection, and what was removed.

    Raises
    ------
    DataError
        When it holds several people: dates are shifted by person.
    """
    entries = [e for e in bundle.get("entry") or () if isinstance(e.get("resource"), Mapping)]
    people = {str(e["resource"].get("id", "")) for e in entries if e["resource"].get("resourceType") == "Patient"}
    if len(people) != 1:
        raise DataError(
            "a Bundle is de-identified for one person", seen=f"{len(people)} Patients", expected="one", fix="split it by person"
        )
    known = {
        e["fullUrl"]: (str(e["resource"].get("resourceType")), str(e["resource"].get("id") or e["fullUrl"].rpartition(":")[2]))
        for e in entries
        if e.get("fullUrl")
    }
    report, kept = DeidentificationReport(method), []
    for entry in entries:
        made, told = deidentify_resource(
            entry["resource"],
            method=method,
            key=key,
            project=project,
            patient=next(iter(people)),
            as_of=as_of,
            index=index,
            known=known,
            restricted=restricted,
        )
        report += told
        if made is not None:
            kept.append({"resource": made})
    return {"resourceType": "Bundle", "type": "collection", "entry": kept}, report
