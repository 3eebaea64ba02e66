"""What resources say of a person, as facts: values, times, status, and a reason for whatever gives none."""

from __future__ import annotations

import pytest

from _fhir import examples, synthea
from gemel.core.code import Code
from gemel.core.record import PatientRecord
from gemel.core.series import ABOVE, BELOW, ENTERED_IN_ERROR, PRELIMINARY
from gemel.core.time import to_ns
from gemel.interop.fhir import decode
from gemel.interop.fhir.mapping import Mapped, Site, map_resource

NOW = to_ns("2026-01-31T12:00:00Z")
UCUM, LOINC = "http://unitsofmeasure.org", "http://loinc.org"


def observation(**more) -> dict:
    body = {
        "resourceType": "Observation", "id": "o1", "status": "final", "code": {"coding": [{"system": LOINC, "code": "2345-7", "display": "Glucose"}]},
        "subject": {"reference": "Patient/p1"}, "effectiveDateTime": "2026-01-31T08:00:00Z", "issued": "2026-01-31T09:00:00Z",
        "valueQuantity": {"value": 5.5, "unit": "mmol/L", "system": UCUM, "code": "mmol/L"},
    }  # fmt: skip
    return {key: value for key, value in (body | more).items() if value is not None}


def mapped(resource: dict, **settings) -> Mapped:
    found = map_resource(resource, received=NOW, **settings)
    assert found.read == found.mapped + sum(one.items for one in found.refused)
    return found


def test_a_quantity_is_a_reading_with_both_times_and_the_sender_s_unit() -> None:
    found = mapped(observation())
    (point,) = found.points
    assert (found.patient, point.code, point.unit, point.value) == ("p1", "loinc:2345-7", "mmol/L", 5.5)
    assert (point.time, point.recorded) == (to_ns("2026-01-31T08:00:00Z"), to_ns("2026-01-31T09:00:00Z"))
    (series,) = found.facts
    assert len(series) == 1
    assert found.retracted == ()


@pytest.mark.parametrize(("sign", "censored"), [("<", BELOW), ("<=", BELOW), (">", ABOVE), (">=", ABOVE)])
def test_a_comparator_makes_a_limit(sign: str, censored: int) -> None:
    (point,) = mapped(observation(valueQuantity={"value": 5, "comparator": sign, "code": "mg/L", "system": UCUM})).points
    assert point.censored == censored


def test_components_each_become_a_reading() -> None:
    parts = [
        {"code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": {"value": value, "code": "mm[Hg]", "system": UCUM}}
        for code, value in (("8480-6", 120), ("8462-4", 80))
    ]
    found = mapped(observation(valueQuantity=None, component=parts, code={"coding": [{"system": LOINC, "code": "85354-9"}]}))
    assert [(p.code, p.value) for p in found.points] == [("loinc:8480-6", 120.0), ("loinc:8462-4", 80.0)]
    assert (found.read, found.mapped) == (2, 2)


def test_two_components_of_one_code_both_stay() -> None:
    part = {"code": {"coding": [{"system": LOINC, "code": "8480-6"}]}}
    values = [part | {"valueQuantity": {"value": value, "code": "mm[Hg]", "system": UCUM}} for value in (120, 118)]
    found = mapped(observation(valueQuantity=None, component=values))
    record = PatientRecord(id="p1").with_facts(*found.facts)
    assert sorted(record.exact_readings(Code.parse("loinc:8480-6"), unit="mm[Hg]")[1]) == [118.0, 120.0]


def test_samples_become_readings_and_limits() -> None:
    sampled = {
        "origin": {"value": 10, "code": "mV", "system": UCUM},
        "period": 10,
        "factor": 0.5,
        "lowerLimit": -4,
        "upperLimit": 4,
        "dimensions": 1,
        "data": "2 E L U -2",
    }
    found = mapped(observation(valueQuantity=None, valueSampledData=sampled))
    start = to_ns("2026-01-31T08:00:00Z")
    assert [(p.time - start, p.value, p.censored) for p in found.points] == [
        (0, 11.0, 0),
        (20_000_000, 8.0, BELOW),
        (30_000_000, 12.0, ABOVE),
        (40_000_000, 9.0, 0),
    ]
    assert found.repaired == ["samples in error or beyond a limit that is not given: left out"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"valueRange": {"low": {"value": 1, "code": "mg/dL"}, "high": {"value": 2, "code": "mg/dL"}}}, "1 mg/dL to 2 mg/dL"),
        ({"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}}, "1:128"),
        ({"valueString": "not seen"}, "not seen"), ({"valueBoolean": True}, "true"), ({"valueCodeableConcept": {"text": "yellow"}}, "yellow"),
        ({"valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "260385009"}]}}, "snomed:260385009"),
    ],
)  # fmt: skip
def test_what_is_no_single_number_is_a_finding(value: dict, text: str) -> None:
    (finding,) = mapped(observation(valueQuantity=None, **value)).findings
    assert str(finding.value) == text


RXNORM = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "860975", "display": "metformin"}]}


def test_what_was_taken_is_a_rate_and_what_was_ordered_no_dose() -> None:
    said = {"resourceType": "MedicationStatement", "id": "s", "status": "completed", "subject": {"reference": "Patient/p1"}, "medicationCodeableConcept": RXNORM,
            "effectivePeriod": {"start": "2026-01-01T08:00:00Z", "end": "2026-01-11T08:00:00Z"},
            "dosage": [{"timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}}, "doseAndRate": [{"doseQuantity": {"value": 500, "code": "mg", "system": UCUM}}]}]}  # fmt: skip
    (taken,) = mapped(said).exposures
    assert (str(taken.code), taken.quantity.value, taken.quantity.unit) == ("rxnorm:860975", 1000.0, "mg/d")
    ordered = mapped({"resourceType": "MedicationRequest", "id": "r", "status": "active", "intent": "order", "subject": {"reference": "Patient/p1"},
                      "medicationCodeableConcept": RXNORM, "authoredOn": "2026-01-01"})  # fmt: skip
    assert ordered.exposures == []
    assert (str(ordered.findings[0].code), str(ordered.findings[0].value)) == ("gemel:prescription", "rxnorm:860975")


def test_what_was_not_given_is_no_exposure() -> None:
    found = mapped({"resourceType": "MedicationAdministration", "id": "a", "status": "not-done", "subject": {"reference": "Patient/p1"}})
    assert (found.exposures, found.read) == ([], 0)
    assert "nothing was given" in (found.kept or "")


def test_a_person_has_sex_and_age_and_a_death_is_known_no_earlier_than_somebody_says() -> None:
    body = {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1950-01-01", "deceasedDateTime": "2020-01-01T00:00:00Z",
            "identifier": [{"system": "urn:mrn", "value": "17"}], "name": [{"family": "Secret"}]}  # fmt: skip
    found = mapped(body)
    (death,) = found.findings
    assert (found.patient, found.demographics.sex, found.demographics.age) == ("p1", "female", 70.0)
    assert (death.time, death.recorded) == (to_ns("2020-01-01T00:00:00Z"), NOW)
    assert found.identifiers == (("urn:mrn", "17"),)
    assert "Secret" not in repr(found.facts) + repr(found.demographics)
    assert mapped(body, site=Site(known_when_true=True)).findings[0].recorded == death.time


def test_a_refuted_condition_is_taken_back() -> None:
    body = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p1"}, "code": {"coding": [{"system": "http://snomed.info/sct", "code": "44054006"}]},
            "onsetDateTime": "2020", "recordedDate": "2026-01-01"}  # fmt: skip
    held = mapped(body)
    refuted = mapped(body | {"verificationStatus": {"coding": [{"code": "refuted"}]}}, previous=held)
    record = PatientRecord(id="p1").with_facts(*held.facts)
    assert [f.code.code for f in record.as_of(NOW).findings] == ["44054006", "time-interval"]
    assert record.with_facts(*refuted.facts).as_of(NOW).findings == ()


def test_every_resource_of_simulated_patients_is_mapped_kept_or_refused_with_a_reason() -> None:
    seen: dict[str, int] = {}
    for _, raw in synthea():
        here = {entry["fullUrl"]: entry["resource"] for entry in decode(raw)["entry"]}
        for resource in here.values():
            found = mapped(resource, resolve=here.get)
            assert found.mapped or found.kept or found.refused
            assert all(one.reason and one.what for one in found.refused)
            fate = "mapped" if found.mapped else "kept" if found.kept else "refused"
            seen[fate] = seen.get(fate, 0) + 1
    assert seen == {"mapped": 2551, "kept": 940}


def test_every_official_example_is_mapped_kept_or_refused_with_a_reason() -> None:
    for name, raw in examples():
        found = mapped(decode(raw))
        assert found.mapped or found.kept or found.refused or found.merges, name
        record = PatientRecord(id="p").with_facts(*found.facts)
        assert record.as_of(NOW)


def test_a_final_result_supersedes_a_preliminary_one() -> None:
    early = mapped(observation(status="preliminary", valueQuantity={"value": 5.0, "code": "mmol/L", "system": UCUM}))
    late = mapped(observation(issued="2026-01-31T10:00:00Z"), previous=early)
    assert early.points[0].status == PRELIMINARY
    record = PatientRecord(id="p1").with_facts(*early.facts, *late.facts)
    assert record.exact_readings(Code.parse("loinc:2345-7"), unit="mmol/L")[1].tolist() == [5.5]
    assert record.as_of(to_ns("2026-01-31T09:30:00Z")).series[0].value.tolist() == [5.0]


def test_a_corrected_time_takes_the_reading_at_the_wrong_time_back() -> None:
    wrong = mapped(observation())
    right = mapped(
        observation(status="corrected", effectiveDateTime="2026-01-31T07:00:00Z", meta={"lastUpdated": "2026-01-31T11:00:00Z"}),
        previous=wrong,
    )
    record = PatientRecord(id="p1").with_facts(*wrong.facts, *right.facts)
    assert record.as_of(NOW).series[0].time.tolist() == [to_ns("2026-01-31T07:00:00Z")]
    assert right.retracted == (("series", "loinc:2345-7", "fhir:fhir", str(to_ns("2026-01-31T08:00:00Z"))),)


def test_a_correction_that_keeps_its_issued_still_wins() -> None:
    wrong = mapped(observation())
    right = mapped(observation(valueQuantity={"value": 6.5, "code": "mmol/L", "system": UCUM}), previous=wrong)
    record = PatientRecord(id="p1").with_facts(*wrong.facts, *right.facts)
    assert record.as_of(NOW).series[0].value.tolist() == [6.5]
    assert record.as_of(to_ns("2026-01-31T10:00:00Z")).series[0].value.tolist() == [5.5]


def test_entered_in_error_retracts_even_when_the_value_is_gone() -> None:
    said = mapped(observation())
    gone = mapped(observation(status="entered-in-error", valueQuantity=None), previous=said)
    record = PatientRecord(id="p1").with_facts(*said.facts, *gone.facts)
    assert record.as_of(NOW).series == ()
    assert len(gone.retracted) == 1
    assert gone.points[0].status == ENTERED_IN_ERROR


def test_an_absent_value_is_a_fact_with_its_reason() -> None:
    reason = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "not-performed"}]}
    (finding,) = mapped(observation(valueQuantity=None, dataAbsentReason=reason)).findings
    assert str(finding.value) == "absent:not-performed"


def test_a_year_stays_an_interval() -> None:
    found = mapped(observation(effectiveDateTime="1974"))
    value, when = found.findings
    assert found.points == []
    assert value.value is not None
    assert (when.site, when.value) == (value.id, "1974-01-01T00:00:00Z/1975-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"valueQuantity": {"value": 5.5}}, "unit-missing"),
        ({"valueQuantity": {"value": 5.5, "code": "glorps", "system": UCUM}}, "unit-unknown"),
        ({"effectiveDateTime": None}, "time-missing"),
        ({"effectiveDateTime": "2027-01-01T00:00:00Z"}, "time-ahead"),
        ({"effectiveDateTime": "2026-02-31"}, "time-unreadable"),
        ({"subject": {"display": "somebody"}}, "patient-unclear"),
        ({"subject": None}, "patient-missing"),
        ({"code": {"coding": [{"system": "http://lab.example", "code": "GLU"}]}}, "code-unknown"),
        ({"code": {"coding": [{"system": LOINC, "code": "2345-8"}]}}, "code-unknown"),
        ({"status": "bogus"}, "status-unknown"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_its_reason(change: dict, reason: str) -> None:
    found = mapped(observation(**change))
    assert [one.reason for one in found.refused] == [reason]
    assert not found.facts


def test_a_site_names_its_own_codes_units_and_ids() -> None:
    site = Site(name="ward", codes={"http://lab.example|GLU": "loinc:2345-7"}, units={"mmol/l blood": "mmol/L"}, prefix="a-")
    found = mapped(
        observation(code={"coding": [{"system": "http://lab.example", "code": "GLU"}]}, valueQuantity={"value": 5, "unit": "mmol/l blood"}),
        site=site,
    )
    assert (found.patient, found.points[0].code, found.points[0].unit, found.points[0].source) == (
        "a-p1",
        "loinc:2345-7",
        "mmol/L",
        "fhir:ward",
    )
