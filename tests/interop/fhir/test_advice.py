"""Advice as it leaves, held against the definitions of R4; answers as they come back."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemel.core import AbstentionReason, ForecastTable, Lineage, PlanScore, Proposal, to_ns
from gemel.core.errors import DataError, FormatError, ValueRangeError
from gemel.interop.fhir.advice import (
    ANSWERS,
    Figure,
    advice_bundle,
    decision_provenance,
    provenance,
    read_answer,
    read_change,
)
from gemel.interop.fhir.build import percentage, risk_body
from gemel.interop.fhir.codec import freeze
from gemel.interop.fhir.validate import validate

NOW = to_ns("2026-01-31T08:00:00Z")
HOUR = 3_600_000_000_000
LINEAGE = Lineage(
    record="r" * 64, model="toy-linear", model_version="0.1.0", code_version="0.1.0", method="laplace", seed=7, parents=("abc",)
)


def proposal(choice="2 mg"):
    ranking = (
        PlanScore(plan="2 mg", utility=1.2, utility_error=0.1, probability_best=0.8, violations={"signal above 30": 0.23}),
        PlanScore(plan="9 mg", utility=0.2, utility_error=0.1, probability_best=0.2, feasible=False),
    )
    return Proposal(
        twin="p1", issued=NOW, choice=choice, reason=None if choice else AbstentionReason.DATA_TOO_OLD, sentence="Two milligrams in an hour.",
        ranking=ranking if choice else (), limits={"signal above 30": "at most 5 %"}, lineage=LINEAGE,
    )  # fmt: skip


def table(**changes):
    times = NOW + np.array([1, 4]) * HOUR
    quantiles = np.array([[[9.0], [8]], [[11], [12]], [[13], [18]]])
    given_ = {"twin": "p1", "issued": NOW, "times": times, "outputs": ("signal",), "units": ("[arb'U]",), "levels": (0.05, 0.5, 0.95),
              "quantiles": quantiles, "mean": quantiles[1], "probabilities": {"signal above 30": [0.0, 0.23]}, "lineage": LINEAGE}  # fmt: skip
    return ForecastTable(**(given_ | changes))


def sent(**changes):
    arguments = {
        "key": "k" * 24, "subject": "Patient/7", "expires": NOW + HOUR, "forecasts": [table()], "basis": ["Observation/x/_history/2"],
        "figures": [Figure("image/svg+xml", b"<svg/>", "Forecast")],
    } | changes  # fmt: skip
    return advice_bundle(arguments.pop("proposal", None) or proposal(), **arguments)


def of(bundle, kind):
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def errors(resource):
    return [str(issue) for issue in validate(freeze(resource)) if issue.severity == "error"]


CASES = {
    "choice": {},
    "without figures": {"figures": []},
    "without forecasts": {"forecasts": [], "basis": []},
    "abstained": {"proposal": proposal(None)},
    "simulated, with recipients, replacing": {"simulated": True, "recipients": ["Practitioner/3"], "replaces": ["ServiceRequest/old"]},
    "failed forecast": {"forecasts": [table(status="PRIOR_DATA_CONFLICT", probabilities={})]},
}


@pytest.mark.parametrize("name", CASES)
def test_every_resource_is_valid(name):
    bundle = sent(**CASES[name])
    assert errors(bundle) == []
    for entry in bundle["entry"]:
        assert errors(entry["resource"]) == []


def test_a_probability_of_23_hundredths_is_written_23():
    """V14: 0.23 % would be a failure."""
    risks = of(sent(), "RiskAssessment")
    found = [p["probabilityDecimal"] for risk in risks for p in risk["prediction"]]
    assert found == [0.0, 23.0, 23.0]
    assert {risk["status"] for risk in risks} == {"preliminary"}
    assert risks[0]["basis"] == [{"reference": "Observation/x/_history/2"}]
    assert "0.1.0" in risks[0]["method"]["text"]


@given(st.floats(0, 1))
def test_per_cent_keep_the_probability(probability):
    assert percentage(probability) == pytest.approx(100 * probability, abs=5e-7)  # six decimals are written
    assert 0 <= percentage(probability) <= 100


@pytest.mark.parametrize("bad", [23.0, -0.01, 1.0000001, float("nan"), float("inf")])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(ValueRangeError):
        percentage(bad)


def test_interval_is_a_range_of_its_own():
    body = risk_body(table(), {"reference": "Patient/7"}, intervals={"signal above 30": [(0.0, 0.02), (0.2, 0.27)]})
    assert errors({"resourceType": "RiskAssessment", **body}) == []
    ranges = [p["probabilityRange"] for p in body["prediction"] if "probabilityRange" in p]
    assert [(r["low"]["value"], r["high"]["value"], r["low"]["code"]) for r in ranges] == [(0.0, 2.0, "%"), (20.0, 27.0, "%")]


def test_advice_is_a_proposal_and_never_an_order():
    bundle = sent()
    for kind in ("ServiceRequest", "CarePlan", "Task"):
        assert [resource["intent"] for resource in of(bundle, kind)] == ["proposal"]
    task, request = of(bundle, "Task")[0], of(bundle, "ServiceRequest")[0]
    urls = {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"]}
    assert urls[task["focus"]["reference"]] == request
    assert task["status"] == "requested"
    assert task["restriction"]["period"]["end"] == "2026-01-31T09:00:00Z"


def test_an_abstention_is_sent_as_such():
    bundle = sent(proposal=proposal(None))
    assert of(bundle, "Task") == of(bundle, "ServiceRequest") == of(bundle, "CarePlan") == []
    (observation,) = of(bundle, "Observation")
    assert observation["dataAbsentReason"]["text"] == "No advice: data too old"
    assert of(bundle, "Communication")[0]["topic"]["text"] == "No advice: data too old"


def test_each_part_is_created_once_by_its_identifier():
    bundle = sent()
    conditions = [entry["request"]["ifNoneExist"] for entry in bundle["entry"]]
    assert len(set(conditions)) == len(conditions)
    for entry in bundle["entry"]:
        (identifier,) = entry["resource"]["identifier"]
        assert entry["request"]["ifNoneExist"] == f"identifier={identifier['system']}|{identifier['value']}"
        assert "id" not in entry["resource"]
    assert json.dumps(sent()) == json.dumps(bundle)
    assert sent(key="z" * 24)["entry"][-1]["request"] != bundle["entry"][-1]["request"]


def test_the_pseudonym_stands_nowhere_but_in_the_reference():
    text = json.dumps(sent())
    assert "p1" not in text
    assert text.count("Patient/7") >= 5


def test_provenance_names_inputs_lineage_and_agents():
    found = provenance(proposal(), ["Task/1", "RiskAssessment/2"], device="Device/3", basis=["Observation/x/_history/2"])
    assert errors(found) == []
    assert found["extension"] == [{"url": "urn:gemel:lineage", "valueString": LINEAGE.id}]
    assert {"role": "source", "what": {"reference": "Observation/x/_history/2"}} in found["entity"]
    assert found["agent"][0]["who"] == {"reference": "Device/3"}
    told = decision_provenance(LINEAGE, ["Task/1"], device="Device/3", answer="accepted", time=NOW, who="Practitioner/3")
    assert errors(told) == []
    assert [agent["type"]["coding"][0]["code"] for agent in told["agent"]] == ["verifier", "author"]


def test_too_late_or_without_a_key_it_is_not_sent():
    with pytest.raises(DataError, match="cannot be sent"):
        sent(expires=NOW)
    with pytest.raises(DataError, match="cannot be sent"):
        sent(key="")


TASK = {
    "resourceType": "Task", "id": "t", "meta": {"versionId": "2", "lastUpdated": "2026-01-31T08:30:00.5Z"}, "status": "accepted",
    "intent": "proposal", "lastModified": "2026-01-31T08:29:00Z", "owner": {"reference": "Practitioner/3"},
    "statusReason": {"coding": [{"code": "ok", "display": "Agreed"}]},
}  # fmt: skip


@pytest.mark.parametrize("status", ["draft", "requested", "received", "accepted", "rejected", "ready", "cancelled", "in-progress", "on-hold",
                                    "failed", "completed", "entered-in-error"])  # fmt: skip
def test_every_status_of_a_task_has_its_meaning(status):
    found = read_answer(TASK | {"status": status})
    assert (found.answer if found else None) == ANSWERS.get(status)


def test_answer_has_time_person_reason_and_version():
    found = read_answer(TASK)
    assert (found.time, found.who, found.reason, found.version) == (to_ns("2026-01-31T08:29:00Z"), "Practitioner/3", "Agreed", "2")
    assert "Practitioner" not in repr(found)
    noted = read_answer({**TASK, "statusReason": None, "note": [{"text": "Too high."}], "lastModified": "2026-01-31"})
    assert (noted.reason, noted.time) == ("Too high.", to_ns("2026-01-31T08:30:00.5Z"))  # a date says too little
    unchanged = read_answer(TASK | {"authoredOn": TASK["lastModified"]})
    assert unchanged.time == to_ns("2026-01-31T08:30:00.5Z")  # whoever answered left our lastModified
    with pytest.raises(FormatError, match="without a time"):
        read_answer({"resourceType": "Task", "status": "accepted"})
    with pytest.raises(FormatError, match="not a Task"):
        read_answer({"resourceType": "Patient"})


def test_change_says_what_it_replaces():
    request = {
        "resourceType": "ServiceRequest", "id": "9", "status": "active", "intent": "plan", "authoredOn": "2026-01-31T08:20:00Z",
        "replaces": [{"reference": "ServiceRequest/5"}], "code": {"text": "1 mg"}, "requester": {"reference": "Practitioner/3"},
        "subject": {"reference": "Patient/7"}, "reasonCode": [{"text": "kidney"}],
    }  # fmt: skip
    found = read_change(request)
    assert found.subject == "Patient/7"
    assert (found.reference, found.replaces, found.plan, found.who, found.reason) == (
        "ServiceRequest/9", ("ServiceRequest/5",), "1 mg", "Practitioner/3", "kidney",
    )  # fmt: skip
    with pytest.raises(FormatError, match="not a ServiceRequest"):
        read_change(TASK)


_odd = st.sampled_from([None, "", "x", 7, [], [None], [7], ["x"], {}, {"a": 1}, {"text": 7}, [{"text": "x", "authorReference": 3}], {"coding": 7}, {"coding": [7]},
                        {"versionId": 3, "lastUpdated": []}])  # fmt: skip


@given(st.dictionaries(st.sampled_from(["owner", "note", "statusReason", "lastModified", "meta", "replaces", "code", "reasonCode", "requester"]), _odd),
       st.sampled_from([*ANSWERS, 7, None, "bogus"]))  # fmt: skip
def test_nothing_that_a_stranger_writes_breaks_the_reader(body, status):
    with contextlib.suppress(FormatError):
        read_answer({"resourceType": "Task", "status": status, **body})
    with contextlib.suppress(FormatError):
        read_change({"resourceType": "ServiceRequest", **body})
