"""The result bundle: shape, references, codes of the CGM guide, and validity by an independent peer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gemel.core import AbstentionReason, Code, Demographics, ForecastTable, Lineage, PatientRecord, PlanScore, Proposal, Series, to_ns
from gemel.core.errors import DataError
from gemel.interop.fhir import result_bundle

NOW = to_ns("2026-01-31T08:00:00Z")
MINUTE = 60_000_000_000
LINEAGE = Lineage(record="r" * 64, model="metabolic", model_version="1.0", code_version="0.1.0", method="laplace", seed=7, parents=("abc",))
SUMMARY = {
    "mean_mg_dl": 154.2, "gmi_percent": 7.0, "cv_percent": 34.1, "days_of_wear": 13.5, "sensor_active_percent": 96.0,
    "very_low_percent": 0.5, "low_percent": 2.25, "in_range_percent": 70.0, "high_percent": 20.0, "very_high_percent": 7.25,
}  # fmt: skip


def record(unit="mg/dL"):
    code = Code.parse("loinc:99504-3" if unit == "mg/dL" else "loinc:105272-9")
    time = NOW - np.arange(400, dtype=np.int64)[::-1] * 5 * MINUTE
    value = np.full(400, 120.0 if unit == "mg/dL" else 6.7)
    censored = np.zeros(400, np.int8)
    censored[-2:] = [-1, 1]
    recorded = time.copy()
    recorded[-1] = NOW + MINUTE  # arrives after the result left
    cgm = Series(code=code, unit=unit, time=time, value=value, censored=censored, recorded=recorded, source="s")
    return PatientRecord(id="p1", demographics=Demographics(sex="female", age=44)).with_facts(cgm)


def forecast(status="OK", plan="as usual"):
    times = NOW + np.array([15, 30, 60]) * MINUTE
    quantiles = np.array([[[90.0], [80], [70]], [[110], [112], [115]], [[130], [150], [180]]])
    probabilities = {"below 70 mg/dL": [0.01, 0.02, 0.05]} if status == "OK" else {}
    return ForecastTable(
        twin="metabolic", issued=NOW, times=times, outputs=("glucose",), units=("mg/dL",), levels=(0.05, 0.5, 0.95), quantiles=quantiles,
        mean=quantiles[1], probabilities=probabilities, status=status, sentence="Glucose stays near 112 mg/dL.", plan=plan, lineage=LINEAGE,
    )  # fmt: skip


def proposal(choice="bolus 4 U"):
    ranking = (
        PlanScore(plan="bolus 4 U", utility=1.2, utility_error=0.1, probability_best=0.8),
        PlanScore(plan="bolus 9 U", utility=0.2, utility_error=0.1, probability_best=0.2, feasible=False),
    )
    return Proposal(
        twin="metabolic", issued=NOW, choice=choice, reason=None if choice else AbstentionReason.DATA_TOO_OLD, sentence="Four units now.",
        ranking=ranking if choice else (), limits={"insulin on board": "at most 6 U"}, lineage=LINEAGE,
    )  # fmt: skip


def bundle(**changes):
    arguments = {"summary": SUMMARY, "forecasts": [forecast()], "proposal": proposal(), "issued": NOW, "lineage": LINEAGE} | changes
    return result_bundle(arguments.pop("record", None) or record(), **arguments)


def kinds(found):
    return [entry["resource"]["resourceType"] for entry in found["entry"]]


def by_code(found, code):
    return [e["resource"] for e in found["entry"] if any(c["code"] == code for c in e["resource"].get("code", {}).get("coding", []))]


def walk(node):
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


CASES = {
    "full": {},
    "mmol": {"record": record("mmol/L"), "summary": {"mean_mmol_l": 8.5}},
    "abstained": {"proposal": proposal(None), "forecasts": [forecast(status="OUT_OF_DOMAIN")]},
    "simulated": {"simulated": True},
    "bare": {"summary": {}, "forecasts": [], "proposal": None},
    "two plans": {"forecasts": [forecast(), forecast(plan="bolus 4 U")]},
}


@pytest.mark.parametrize("case", CASES)
def test_every_reference_resolves_and_ids_are_unique(case):
    found = bundle(**CASES[case])
    urls = [entry["fullUrl"] for entry in found["entry"]]
    assert len(urls) == len(set(urls))
    references = {node["reference"] for node in walk(found) if isinstance(node.get("reference"), str)}
    assert references <= set(urls)
    assert all(url == f"urn:uuid:{entry['resource']['id']}" for url, entry in zip(urls, found["entry"], strict=True))
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("case", CASES)
def test_same_result_same_bundle(case):
    assert bundle(**CASES[case]) == bundle(**CASES[case])


def test_readings_are_of_the_last_day_as_known_then():
    readings = by_code(bundle(), "99504-3")
    assert len(readings) == 288 - 1  # the newest reading was not known yet
    assert readings[0]["valueQuantity"] == {"value": 120.0, "unit": "mg/dl", "system": "http://unitsofmeasure.org", "code": "mg/dL"}
    assert readings[-1]["valueQuantity"]["comparator"] == "<"
    assert readings[0]["meta"]["profile"] == ["http://hl7.org/fhir/uv/cgm/StructureDefinition/cgm-sensor-reading-mass-per-volume"]


def test_mmol_stays_mmol():
    found = bundle(**CASES["mmol"])
    assert by_code(found, "105272-9")[0]["valueQuantity"]["code"] == "mmol/L"
    assert by_code(found, "99504-3") == []
    assert by_code(found, "105273-7")[0]["valueQuantity"]["value"] == 8.5


def test_summary_has_the_members_and_codes_of_the_guide():
    found = bundle()
    summary = by_code(found, "107931-8")[0]
    assert len(summary["hasMember"]) == 6
    assert summary["effectivePeriod"] == {"start": "2026-01-29", "end": "2026-01-31"}
    ranges = by_code(found, "106793-3")[0]
    parts = {c["code"]["coding"][0]["code"]: c["valueQuantity"]["value"] for c in ranges["component"]}
    assert parts == {"104642-4": 0.5, "104641-6": 2.25, "97510-2": 70.0, "104640-8": 20.0, "104639-0": 7.25}
    assert by_code(found, "97506-0")[0]["valueQuantity"]["code"] == "%"
    assert by_code(found, "104636-6")[0]["valueQuantity"]["code"] == "d"


def test_an_incomplete_summary_claims_no_profile():
    summary = by_code(bundle(summary={"mean_mg_dl": 150.0}), "107931-8")[0]
    assert "profile" not in summary.get("meta", {})


def test_summary_with_unknown_keys_or_nan_is_refused():
    with pytest.raises(DataError, match="unknown keys"):
        bundle(summary={"gmi": 7})
    with pytest.raises(DataError, match="not a number"):
        bundle(summary={"gmi_percent": float("nan")})


def test_forecast_is_never_coded_as_a_measurement():
    found = bundle()
    forecasts = by_code(found, "forecast")
    assert len(forecasts) == 3
    assert [c["code"]["text"] for c in forecasts[0]["component"]] == ["quantile 0.05", "quantile 0.5", "quantile 0.95"]
    assert all("http://loinc.org" not in json.dumps(f) for f in forecasts)
    risk = next(e["resource"] for e in found["entry"] if e["resource"]["resourceType"] == "RiskAssessment")
    assert [p["probabilityDecimal"] for p in risk["prediction"]] == [1.0, 2.0, 5.0]  # per cent: ras-2
    assert any("Research software" in n["text"] for n in risk["note"])


def test_advice_is_a_draft_proposal():
    plan = next(e["resource"] for e in bundle()["entry"] if e["resource"]["resourceType"] == "CarePlan")
    assert (plan["status"], plan["intent"]) == ("draft", "proposal")
    assert plan["activity"][1]["detail"]["doNotPerform"] is True
    assert any("at most 6 U" in n["text"] for n in plan["note"])


def test_abstention_has_a_reason_and_no_value():
    found = bundle(**CASES["abstained"])
    assert "CarePlan" not in kinds(found)
    advice = by_code(found, "advice")[0]
    assert advice["dataAbsentReason"]["text"] == "No advice: data too old"
    assert "valueQuantity" not in by_code(found, "forecast")[0]
    assert "RiskAssessment" not in kinds(found)


def test_provenance_carries_the_lineage_and_simulated_is_marked():
    found = bundle(simulated=True)
    provenance = next(e["resource"] for e in found["entry"] if e["resource"]["resourceType"] == "Provenance")
    assert LINEAGE.id in json.dumps(provenance)
    assert all(e["resource"]["meta"]["security"][0]["code"] == "HTEST" for e in found["entry"])
    assert found["meta"]["tag"][0]["code"] == "SIMULATED"
    assert "security" not in bundle().get("meta", {})


def test_the_patient_is_a_pseudonym():
    patient = bundle()["entry"][0]["resource"]
    assert patient["identifier"] == [{"system": "urn:gemel:pseudonym", "value": "p1"}]
    assert not {"name", "birthDate", "address", "telecom"} & set(patient)


@pytest.mark.peer
@pytest.mark.parametrize("case", CASES)
def test_valid_by_fhir_resources(case):
    peer = pytest.importorskip("fhir.resources.R4B.bundle", reason="peer fhir.resources is not installed")
    parsed = peer.Bundle.model_validate(bundle(**CASES[case]))
    assert len(parsed.entry) == len(bundle(**CASES[case])["entry"])
