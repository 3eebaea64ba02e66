"""The HL7 CGM guide: what is written keeps it, what breaks it is named, what comes in is placed or put into quarantine."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _interop_samples import fhir_bundle, reading
from gemel.core import Code, Demographics, PatientRecord, Series, to_ns
from gemel.core.errors import DataError, FormatError, UnitError, ValueRangeError
from gemel.interop.fhir import read_cgm_bundle, submission_bundle, validate_cgm
from gemel.interop.wearables import read

CGM, MMOL = Code.parse("loinc:99504-3"), Code.parse("loinc:105272-9")
START = to_ns("2026-01-01T08:00Z")
MINUTE = 60_000_000_000
SUMMARY = {
    "mean_mg_dl": 154.0, "mean_mmol_l": 8.548, "gmi_percent": 6.99, "cv_percent": 33.0, "days_of_wear": 14, "sensor_active_percent": 97.0,
    "very_low_percent": 0.5, "low_percent": 2.0, "in_range_percent": 70.0, "high_percent": 20.0, "very_high_percent": 7.5,
}  # fmt: skip


def record(unit="mg/dL", n=20, values=None):
    values = np.round(np.linspace(80, 220, n) if unit == "mg/dL" else np.linspace(4.4, 12.2, n), 1) if values is None else values
    time = START + 5 * MINUTE * np.arange(n)
    censored = np.zeros(n, np.int8)
    censored[0] = -1
    code = CGM if unit == "mg/dL" else MMOL
    series = Series(code=code, unit=unit, time=time, value=values, recorded=time + MINUTE, censored=censored, source="s")
    return PatientRecord(id="p7", demographics=Demographics(sex="female", zone="Europe/Rome")).with_facts(series)


@pytest.mark.parametrize("unit", ["mg/dL", "mmol/L"])
@pytest.mark.parametrize(
    "summary", [None, SUMMARY, {"mean_mg_dl": 150.0}, {k: v for k, v in SUMMARY.items() if k != "sensor_active_percent"}]
)
def test_what_is_written_keeps_the_guide(unit, summary):
    bundle = submission_bundle(record(unit), summary=summary, created=START + 86_400 * 10**9)
    assert validate_cgm(bundle) == ()
    assert json.loads(json.dumps(bundle, allow_nan=False)) == bundle
    assert bundle == submission_bundle(record(unit), summary=summary, created=START + 86_400 * 10**9)
    assert bundle["type"] == "transaction"
    assert all(entry["request"]["method"] == "POST" for entry in bundle["entry"])
    claimed = [p for e in bundle["entry"] for p in e["resource"].get("meta", {}).get("profile", [])]
    assert any(p.endswith("/cgm-summary") for p in claimed) is (summary == SUMMARY)


def test_only_what_was_known_goes_out():
    bundle = submission_bundle(record(), created=START + 31 * MINUTE, since=START)
    readings = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Observation"]
    assert len(readings) == 6  # the first is not after `since`, the seventh is known a minute later than true
    assert "p7" in json.dumps(bundle)
    with pytest.raises(DataError, match="no sensor glucose"):
        submission_bundle(record(), created=START)


@pytest.mark.peer
def test_valid_by_fhir_resources():
    peer = pytest.importorskip("fhir.resources.R4B.bundle", reason="peer fhir.resources is not installed")
    bundle = submission_bundle(record(), summary=SUMMARY, created=START + 86_400 * 10**9)
    assert len(peer.Bundle.model_validate(bundle).entry) == len(bundle["entry"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(41, 399).map(lambda v: round(v, 3)), min_size=1, max_size=12),
    st.lists(st.integers(0, 600), min_size=12, max_size=12),
)
def test_written_and_read_again_is_the_same(values, late):
    time = START + 5 * MINUTE * np.arange(len(values))
    recorded = time + np.array(late[: len(values)], np.int64) * MINUTE
    first = Series(code=CGM, unit="mg/dL", time=time, value=values, recorded=recorded, source="fhir")
    made = PatientRecord(id="p7").with_facts(first)
    bundle = submission_bundle(made, summary=SUMMARY, created=int(recorded.max()))
    [(again, report)], quarantine = read_cgm_bundle(bundle)
    assert quarantine == ()
    assert not report.warnings
    series = again.find_series(CGM)[0]
    assert (series.time == time).all()
    assert series.value.tolist() == values
    assert (series.recorded == recorded).all()
    assert again.id == "p7"
    assert {str(f.code): f.value.value for f in again.findings}["loinc:97506-0"] == 6.99
    assert len(again.findings) == 11


def violations(change):
    bundle = submission_bundle(record(n=3), summary=SUMMARY, created=START + 86_400 * 10**9)
    by_code = {}
    for entry in bundle["entry"]:
        for coding in entry["resource"].get("code", {}).get("coding", []):
            by_code.setdefault(coding["code"], entry["resource"])
    change(bundle, by_code)
    return [str(v) for v in validate_cgm(bundle)]


def drop(code, key):
    return lambda b, r: r[code].pop(key)


BREACHES = {
    "batch": (lambda b, r: b.update(type="batch"), "Bundle.type"),
    "no timestamp": (lambda b, r: b.pop("timestamp"), "Bundle.timestamp"),
    "timestamp without zone": (lambda b, r: b.update(timestamp="2026-01-01T08:00:00"), "Bundle.timestamp"),
    "empty": (lambda b, r: b.update(entry=[]), "Bundle.entry: required 1..*"),
    "no request": (lambda b, r: b["entry"][1].pop("request"), "Bundle.entry[1].request: bdl-3"),
    "odd method": (lambda b, r: b["entry"][1]["request"].update(method="SEND"), "Bundle.entry[1].request.method"),
    "no request url": (lambda b, r: b["entry"][1]["request"].pop("url"), "Bundle.entry[1].request.url"),
    "one url twice": (lambda b, r: b["entry"][2].update(fullUrl=b["entry"][1]["fullUrl"]), "Bundle.entry[2].fullUrl: bdl-7"),
    "two patients": (lambda b, r: b["entry"].append({**b["entry"][0], "fullUrl": "urn:uuid:1"}), "Patient allowed 0..1"),
    "no resource": (lambda b, r: b["entry"][1].pop("resource"), "Bundle.entry[1].resource"),
    "response": (lambda b, r: b["entry"][1].update(response={}), "bdl-4"),
    "no subject": (drop("99504-3", "subject"), ".subject: required 1..1"),
    "lost subject": (lambda b, r: r["99504-3"].update(subject={"reference": "urn:uuid:0"}), "subject.reference: does not resolve"),
    "no status": (drop("99504-3", "status"), ".status: required"),
    "no code": (drop("99504-3", "code"), ".code: required"),
    "no time": (drop("99504-3", "effectiveDateTime"), "effectiveDateTime: required 1..1"),
    "no value, no reason": (drop("99504-3", "valueQuantity"), "cgm-sensor-value-or-dar"),
    "value and reason": (lambda b, r: r["99504-3"].update(dataAbsentReason={"text": "x"}), "obs-6"),
    "unit as people write it": (lambda b, r: r["99504-3"]["valueQuantity"].update(unit="mg/dL"), "valueQuantity.unit: must be 'mg/dl'"),
    "other unit": (lambda b, r: r["99504-3"]["valueQuantity"].update(code="mmol/L"), "valueQuantity.code: must be 'mg/dL'"),
    "other system": (lambda b, r: r["99504-3"]["valueQuantity"].update(system="x"), "valueQuantity.system"),
    "text for a value": (lambda b, r: r["99504-3"]["valueQuantity"].update(value="110"), "valueQuantity.value: required: a decimal"),
    "a string value": (lambda b, r: r["99504-3"].update(valueString="110"), "value[x] may only be a Quantity"),
    "wrong profile": (lambda b, r: r["99504-3"]["meta"].update(profile=r["97506-0"]["meta"]["profile"]), "claims cgm-summary-gmi"),
    "no period": (drop("97506-0", "effectivePeriod"), "effectivePeriod: required"),
    "period without end": (lambda b, r: r["97506-0"]["effectivePeriod"].pop("end"), "effectivePeriod.end: required"),
    "period backwards": (lambda b, r: r["97506-0"]["effectivePeriod"].update(start="2027-01-01"), "per-1"),
    "GMI without value": (drop("97506-0", "valueQuantity"), "valueQuantity: required"),
    "days in weeks": (lambda b, r: r["104636-6"]["valueQuantity"].update(code="wk"), "valueQuantity.code: must be 'd'"),
    "range missing": (lambda b, r: r["106793-3"]["component"].pop(), "very_high_percent (104639-0) required 1..1, found 0"),
    "range twice": (lambda b, r: r["106793-3"]["component"].append(r["106793-3"]["component"][0]), "required 1..1, found 2"),
    "range in numbers": (lambda b, r: r["106793-3"]["component"][0]["valueQuantity"].update(code="1"), "component[0].valueQuantity.code"),
    "five members": (lambda b, r: r["107931-8"].update(hasMember=r["107931-8"]["hasMember"][:5]), "hasMember: required 6..*, found 5"),
    "member lost": (lambda b, r: r["107931-8"]["hasMember"][0].update(reference="urn:uuid:9"), "hasMember[0].reference: does not resolve"),
    "member twice": (lambda b, r: r["107931-8"]["hasMember"].append(r["107931-8"]["hasMember"][2]), "required 1..1, found 2"),
}


@pytest.mark.parametrize("case", BREACHES)
def test_each_breach_is_named_by_its_path(case):
    change, words = BREACHES[case]
    assert any(words in found for found in violations(change)), violations(change)


def test_report_and_device_profiles():
    report = {"resourceType": "DiagnosticReport", "status": "final", "subject": {"reference": "Patient/1"},
              "code": {"coding": [{"system": "http://loinc.org", "code": "107931-8"}]},
              "effectivePeriod": {"start": "2024-05-01", "end": "2024-05-14"},
              "presentedForm": [{"contentType": "application/pdf", "data": "JVBERi0="}]}  # fmt: skip
    device = {"resourceType": "Device", "identifier": [{"value": "456789"}],
              "deviceName": [{"name": "Acme CGM System", "type": "user-friendly-name"}]}  # fmt: skip
    assert validate_cgm(report) == ()
    assert validate_cgm(device) == ()
    for broken in (
        {**report, "presentedForm": []},
        {**report, "code": {}},
        {**report, "status": "done"},
        {**device, "identifier": []},
        {**device, "deviceName": []},
    ):
        assert len(validate_cgm(broken)) == 1
    assert [v.path for v in validate_cgm([])] == ["$"]


def test_the_guides_own_examples_pass():
    """The shapes of the guide's example instances (its sources, version 1.0.0), with its own values."""
    mass = reading(120, "2024-05-02T10:15:00Z")["resource"]
    molar = reading(6.7, "2024-05-02T10:30:00Z", code="105272-9", unit=("mmol/L", "mmol/l"))["resource"]
    assert validate_cgm(mass) == ()
    assert validate_cgm(molar) == ()
    reason = {**{k: v for k, v in mass.items() if k != "valueQuantity"}, "dataAbsentReason": {"coding": [{"code": "error"}]}}
    assert validate_cgm(reason) == ()


def guide_example():
    """The guide's example submission (its sources, CC0): report, summary with six members, one reading; the patient is not in it."""
    base, period = "https://example.org/", {"effectivePeriod": {"start": "2024-05-01", "end": "2024-05-31"}}
    subject = {"subject": {"reference": "Patient/patientExample"}}

    def entry(kind, name, body):
        request = {"method": "POST", "url": kind}
        return {
            "fullUrl": f"{base}{kind}/{name}",
            "resource": {"resourceType": kind, "status": "final", **subject, **body},
            "request": request,
        }

    def code(loinc):
        return {"code": {"coding": [{"system": "http://loinc.org", "code": loinc}]}}

    def amount(value, ucum, shown):
        return {"valueQuantity": {"value": value, "unit": shown, "system": "http://unitsofmeasure.org", "code": ucum}}

    members = {
        "mean": {**code("97507-8"), **amount(145, "mg/dL", "mg/dl")},
        "gmi": {**code("97506-0"), **amount(6.8, "%", "%")},
        "cv": {**code("104638-2"), **amount(34, "%", "%")},
        "days": {**code("104636-6"), **amount(28, "d", "days")},
        "active": {**code("104637-4"), **amount(95, "%", "%")},
        "ranges": {**code("106793-3"), "component": [
            {**code(loinc), **amount(value, "%", "%")}
            for loinc, value in (("104642-4", 3), ("104641-6", 8), ("97510-2", 65), ("104640-8", 20), ("104639-0", 4))]},
    }  # fmt: skip
    form = {"contentType": "application/pdf", "data": "JVBERi0xLjAK"}
    report = {**code("107931-8"), "effectivePeriod": {"start": "2024-05-01", "end": "2024-05-14"}, "presentedForm": [form]}
    panel = {**code("107931-8"), **period, "hasMember": [{"reference": f"Observation/{name}"} for name in members]}
    value = {**code("99504-3"), "effectiveDateTime": "2024-05-02T10:15:00Z", **amount(120, "mg/dL", "mg/dl")}
    entries = [entry("DiagnosticReport", "pdf", report), entry("Observation", "summary", panel)]
    entries += [entry("Observation", name, {**body, **period}) for name, body in members.items()] + [entry("Observation", "reading", value)]
    return {"resourceType": "Bundle", "type": "transaction", "timestamp": "2024-05-02T14:30:00Z", "entry": entries}


def test_the_guides_example_submission_passes_and_is_read():
    assert validate_cgm(guide_example()) == ()
    [(found, report)], quarantine = read_cgm_bundle(guide_example())
    assert [thing.path for thing in quarantine] == ["Bundle.entry[0].resource"]  # the report as a PDF has no place
    assert found.find_series(CGM)[0].value.tolist() == [120]
    values = {f.code.code: f.value.value for f in found.findings}
    assert values["97506-0"] == 6.8
    assert values["104642-4"] == 3
    assert len(values) == 10
    assert report.warnings == ()


def test_reading_a_submission():
    [(found, report)], quarantine = read_cgm_bundle(fhir_bundle(), tz="Europe/Rome")
    assert quarantine == ()
    assert report.warnings == ()
    assert found.id == "p7"
    assert found.demographics.sex == "female"
    assert found.find_series(CGM)[0].value.tolist() == [110, 115, 121]
    assert "Private" not in found.model_dump_json(exclude={"series"}) + report.to_text()


def test_what_cannot_be_placed_goes_into_quarantine_with_its_path():
    late = reading(130, "2026-01-01T08:15:00Z", issued="2026-01-01T12:00:00Z")
    odd = [
        reading(5.5, "2026-01-01T08:20:00Z", unit=("g/L", "g/L")),
        reading(118, "2026-01-01"),
        reading(118, "2026-01-01T08:25:00Z", status="cancelled"),
        reading(118, "2026-01-01T08:30:00Z", code="2339-0"),
        {"resource": {"resourceType": "Condition", "code": {"text": "x"}}, "request": {"method": "POST", "url": "Condition"}},
        reading(118, "2026-01-01T08:35:00Z", subject={}),
        reading(118, "2026-01-01T08:40:00Z", issued="2025-01-01T00:00:00Z"),
        reading(118, "2026-01-01T08:45:00"),
    ]
    [(found, report)], quarantine = read_cgm_bundle(fhir_bundle(late, *odd))
    # g/L converts to mg/dL by its dimension: 5.5 g/L = 550 mg/dL is read, and stands in the series
    assert found.find_series(CGM)[0].value.tolist() == [110, 115, 121, 130, 550]
    assert [thing.path for thing in quarantine] == [f"Bundle.entry[{i}].resource" for i in (6, 7, 8, 9, 10, 11, 12)]
    assert sum("quarantined" in entry for entry in report.unparsed) == len(quarantine)
    assert any("violation" in warning for warning in report.warnings)
    assert len(found.as_of(to_ns("2026-01-01T09:00Z")).find_series(CGM)[0]) == 4


def test_censored_corrected_and_retracted():
    below = reading(40, "2026-01-01T08:15:00Z")
    below["resource"]["valueQuantity"]["comparator"] = "<"
    corrected = reading(99, "2026-01-01T08:00:00Z", status="corrected", issued="2026-01-01T10:00:00Z")
    retracted = reading(99, "2026-01-01T08:20:00Z", status="entered-in-error")
    [(found, _)], quarantine = read_cgm_bundle(fhir_bundle(below, corrected, retracted))
    assert quarantine == ()
    now = found.as_of(to_ns("2026-01-01T11:00Z")).find_series(CGM)[0]
    assert now.value.tolist() == [99, 115, 121, 40]
    assert now.censored.tolist() == [0, 0, 0, -1]
    assert found.as_of(to_ns("2026-01-01T09:00Z")).find_series(CGM)[0].value[0] == 110


def test_two_patients_become_two_records():
    other = reading(140, "2026-01-01T08:00:00Z", subject={"reference": "Patient/abc"})
    found, _ = read_cgm_bundle(fhir_bundle(other))
    assert [len(r.find_series(CGM)[0]) for r, _ in found] == [3, 1]
    assert found[1][0].id.startswith("fhir-")
    assert "abc" not in found[1][0].id


def test_heart_rate_and_steps_reach_the_record():
    heart = reading(61, "2026-01-01T08:00:00Z", code="8867-4", unit=("/min", "beats/minute"))
    steps = reading(900, "2026-01-01T08:00:00Z", code="55423-8", unit=("{steps}", "steps"))
    [(found, _)], quarantine = read_cgm_bundle(fhir_bundle(heart, steps))
    assert quarantine == ()
    assert {str(s.code): s.value.tolist() for s in found.series if s.code != CGM} == {"loinc:8867-4": [61], "loinc:55423-8": [900]}


BAD = {
    "no bundle": ([1, 2], FormatError, "no FHIR resource"),
    "nothing placed": ({"resourceType": "Bundle", "entry": []}, FormatError, "nothing that can be placed"),
    "entries no list": ({"resourceType": "Bundle", "entry": 5}, FormatError, "no entries"),
    "mmol as mg": (fhir_bundle(*[reading(5.5, f"2026-01-01T09:{m:02d}:00Z") for m in range(9)]), UnitError, "looks like mmol/L"),
    "impossible": (fhir_bundle(reading(5000, "2026-01-01T09:00:00Z")), ValueRangeError, "impossible"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    found, kind, words = BAD[case]
    with pytest.raises(kind, match=words):
        read_cgm_bundle(copy.deepcopy(found))


def test_as_a_file_of_gemel_import(tmp_path):
    path = tmp_path / "submission.json"
    path.write_text(json.dumps(fhir_bundle()))
    found, report = read(path)
    assert report.format == "fhir-cgm"
    assert found.id == "p7"
