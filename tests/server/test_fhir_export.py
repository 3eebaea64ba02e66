"""Bulk export: everything once, as of one moment, under the consents of the moment in which it is sent."""

from __future__ import annotations

import json

import pytest
from _fhir_trees import JSON, tree
from _world import ADA, BOB, NOW

from gemel.platform.consent import Consent
from gemel.platform.store.consents import put_consent

BASE, OURS = "/fhir/R4", "http://127.0.0.1:8765"
ASYNC = {"Prefer": "respond-async", "Accept": "application/fhir+json"}


@pytest.fixture
def ask(world):
    def asked(method, path, body=None, *, role="service", who=None, **headers):
        head = world.head(role, who=who) | (JSON if body is not None else {}) | headers
        return world.client.request(
            method, path.removeprefix(OURS), content=None if body is None else json.dumps(body).encode(), headers=head
        )

    def put(kind, rid, **more):
        answer = asked("PUT", f"{BASE}/{kind}/{rid}", {"resourceType": kind, "id": rid, **more})
        assert answer.status_code in (200, 201), answer.text

    asked.put = put
    for patient in (ADA, BOB):
        put("Patient", patient)
        for i in range(3):
            put(
                "Observation",
                f"{patient}-{i}",
                **{key: value for key, value in tree("Observation", patient).items() if key not in ("resourceType", "id")},
            )
    put("Organization", "ward", name="Ward")
    put(
        "Group",
        "g",
        type="person",
        actual=True,
        member=[{"entity": {"reference": f"Patient/{ADA}"}}, {"entity": {"reference": "Patient/not-here"}}],
    )
    return asked


def files(ask, path: str, **settings) -> dict[str, list[str]]:
    started = ask("GET", path, **settings, **ASYNC)
    assert started.status_code == 202, started.text
    place = started.headers["content-location"]
    told = ask("GET", place, **settings)
    assert told.status_code == 200
    assert told.json()["requiresAccessToken"] is True
    found = {}
    for one in told.json()["output"]:
        answer = ask("GET", one["url"], **settings)
        assert answer.headers["content-type"] == "application/fhir+ndjson"
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert len(lines) == one["count"]
        found[one["type"]] = sorted(line["id"] for line in lines)
    return found


def test_everything_goes_out_by_level(ask):
    three = [f"{ADA}-{i}" for i in range(3)]
    everything = files(ask, f"{BASE}/$export")
    assert everything == {
        "Group": ["g"],
        "Observation": [*three, *(f"{BOB}-{i}" for i in range(3))],
        "Organization": ["ward"],
        "Patient": [ADA, BOB],
    }
    assert set(files(ask, f"{BASE}/Patient/$export")) == {"Observation", "Patient"}
    assert files(ask, f"{BASE}/Group/g/$export") == {"Observation": three, "Patient": [ADA]}
    assert files(ask, f"{BASE}/Patient/$export?_type=Patient") == {"Patient": [ADA, BOB]}
    assert files(ask, f"{BASE}/Patient/$export?_since=2200-01-01T00:00:00Z") == {}
    assert files(ask, f"{BASE}/Patient/$export", role="patient") == {"Observation": three, "Patient": [ADA]}


def test_an_export_is_of_one_moment_and_ends_when_it_is_cancelled_or_forbidden(ask, world):
    place = ask("GET", f"{BASE}/Patient/$export?_since=2020-01-01T00:00:00Z", **ASYNC).headers["content-location"]
    ask.put("Patient", ADA, gender="female")
    assert ask("DELETE", f"{BASE}/Observation/{BOB}-0").status_code == 204
    told = ask("GET", place).json()
    urls = {one["type"]: one["url"] for one in told["output"]}
    assert [one["count"] for one in told["output"]] == [6, 2]
    assert "female" not in ask("GET", urls["Patient"]).text
    later = ask("GET", ask("GET", f"{BASE}/Patient/$export?_since=2020-01-01T00:00:00Z", **ASYNC).headers["content-location"]).json()
    assert json.loads(ask("GET", later["deleted"][0]["url"]).text)["entry"] == [
        {"request": {"method": "DELETE", "url": f"Observation/{BOB}-0"}}
    ]
    world.write(lambda store: put_consent(store, BOB, Consent("no", BOB, False, given=NOW), recorded=NOW))
    assert BOB not in ask("GET", urls["Patient"]).text
    for stranger in (
        ask("GET", place, who="Device/other"),
        ask("GET", place[:-4] + "AAAA"),
        ask("GET", urls["Patient"], who="Device/other"),
    ):
        assert stranger.status_code == 404
    assert ask("DELETE", place).status_code == 202
    assert ask("GET", place).status_code == 404
    assert ask("GET", urls["Patient"]).status_code == 404


def test_what_cannot_be_asked_is_refused(ask):
    assert ask("GET", f"{BASE}/$export").status_code == 400
    assert ask("GET", f"{BASE}/$export?_typeFilter=x", **ASYNC).status_code == 400
    assert ask("GET", f"{BASE}/$export?_outputFormat=csv", **ASYNC).status_code == 400
    assert ask("GET", f"{BASE}/$export?_type=Nonsense", **ASYNC).status_code == 400
    assert ask("GET", f"{BASE}/Group/none/$export", **ASYNC).status_code == 404
    assert ask("GET", f"{BASE}/$export", role="nurse", **ASYNC).status_code == 403
