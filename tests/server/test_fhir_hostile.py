"""The FHIR server under requests that nobody means well: it answers below 500, and goes on."""

from __future__ import annotations

import json
import random

import pytest
from _fhir_trees import JSON, tree
from _world import ADA
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemel.platform.store.resources import Resources
from gemel.server.config import ServerConfig

BASE = "/fhir/R4"


@pytest.fixture(params=["strict", "off"])
def config(request, tmp_path) -> ServerConfig:
    limits = {"per_token": 1e6, "per_address": 1e6, "burst": 1_000_000}
    store = {"place": str(tmp_path / "s.sqlite"), "readers": 2}
    return ServerConfig.model_validate(
        {"store": store, "audit": {"sign": False}, "worker": {"count": 0}, "limits": limits, "fhir": {"validation": request.param}}
    )


NAMES = st.sampled_from([
    "code", "date", "patient", "subject:Patient.name", "_has:Provenance:target:agent", "value-quantity", "combo-code-value-quantity", "_sort", "_count", "_total", "_include",
    "_revinclude", "_id", "_lastUpdated", "_cursor", "_elements", "_summary", "code:not", "date:missing", "identifier", "subject:identifier", "component-code-value-quantity",
    "_include:iterate", "name:exact", "_has:Observation:patient:_has:Provenance:target:recorded", "patient.general-practitioner.name",
]) | st.text(max_size=12)  # fmt: skip
VALUES = st.sampled_from([
    "1", "-1", "ge2024", "2024-13-45", "1e400", "gt1e308|http://unitsofmeasure.org|kg", "a|b|c", "|", "||", "$", "a$b", "\\", "\\,", ",", "Patient/1", "http://x/Patient/1/_history/2", "true",
    "Observation:subject", "*", "*:*", "'; DROP TABLE resource; --", "%", "_", "\x00", "\ud7ff", "é" * 50, "0001-01-01", "9999-12-31", "-date,-_id,code", "a" * 3000, "1,2,3",
]) | st.text(max_size=20)  # fmt: skip


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.sampled_from(["Observation", "Patient", "Organization", "Nonsense", "%2e%2e", "$x"]),
    st.booleans(),
)
def test_any_search_is_answered(world, asked, kind, lenient):
    head = world.head("service") | ({"Prefer": "handling=lenient"} if lenient else {})
    answer = world.client.request("GET", f"{BASE}/{kind}", params=asked, headers=head)
    assert answer.status_code < 500, (asked, answer.text)


def broken(draw: random.Random, value):
    """A resource with one thing in it that should not be there."""
    odd = [
        None,
        True,
        -1,
        1.5,
        "",
        " ",
        "x" * 300,
        [],
        {},
        [None],
        {"reference": "a\x1fb\x00c"},
        "\x00",
        "\x1f",
        "1e999",
        ["a", ["b"]],
        {"resourceType": "Bundle"},
        10**30,
    ]
    if isinstance(value, dict) and value and draw.random() < 0.7:
        key = draw.choice(list(value))
        return (
            {**value, key: broken(draw, value[key])}
            if draw.random() < 0.8
            else {**value, draw.choice(["_" + key, key + "x", "id", "contained"]): draw.choice(odd)}
        )
    if isinstance(value, list) and value and draw.random() < 0.7:
        return [broken(draw, value[0]), *value[1:]]
    return draw.choice(odd)


def test_any_resource_is_taken_whole_or_refused(world):
    draw, taken = random.Random(11), 0
    concept = {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "pulse"}], "text": "pulse"}
    whole = tree("Observation", ADA, meta={"security": [{"code": "R"}], "tag": [{"code": "t"}]}, category=[concept], effectiveDateTime="2026-01-01", performer=[{"reference": "Organization/o"}],
                 valueQuantity={"value": 7, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}, component=[{"code": concept, "valueString": "x"}])  # fmt: skip
    ward = {
        "resourceType": "Organization",
        "id": "o",
        "name": "Ward",
        "alias": ["a"],
        "telecom": [{"system": "phone", "value": "1"}],
        "partOf": {"reference": "Organization/p"},
    }
    for i in range(150):
        start = whole if i % 2 else ward
        body = broken(draw, start)
        method, path = ("POST", f"/{start['resourceType']}") if i % 3 else ("PUT", f"/{start['resourceType']}/{start['id']}")
        answer = world.client.request(method, BASE + path, content=json.dumps(body).encode(), headers=world.head("service") | JSON)
        assert answer.status_code < 500, (body, answer.text)
        taken += answer.status_code < 300
    assert 0 < taken < 150
    for path in ("/Observation/a%22b", "/Observation/" + "a" * 65, "/Observation/a%20b"):
        rid = {"/Observation/a%22b": 'a"b', "/Observation/a%20b": "a b"}.get(path, "a" * 65)
        body = {**whole, "id": rid}
        assert world.client.request(
            "PUT", BASE + path, content=json.dumps(body).encode(), headers=world.head("service") | JSON
        ).status_code in (400, 422)
    assert world.look(lambda store: store.check()).problems == ()
    assert world.look(lambda store: Resources(store).last()) > 0


def test_any_bundle_is_answered(world):
    draw = random.Random(12)
    entries = [
        {"fullUrl": "urn:uuid:1", "resource": tree("Observation", ADA), "request": {"method": "POST", "url": "Observation", "ifNoneExist": "identifier=a|b"}},
        {"resource": tree("Patient", ADA), "request": {"method": "PUT", "url": f"Patient/{ADA}", "ifMatch": 'W/"1"'}},
        {"request": {"method": "GET", "url": "Observation?code=1&_count=2"}}, {"request": {"method": "DELETE", "url": "Observation/none"}},
    ]  # fmt: skip
    whole = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    seen = set()
    for _ in range(120):
        answer = world.client.request("POST", BASE, content=json.dumps(broken(draw, whole)).encode(), headers=world.head("service") | JSON)
        assert answer.status_code < 500, answer.text
        seen.add(answer.status_code)
    assert 400 in seen
    assert world.look(lambda store: store.check()).problems == ()
