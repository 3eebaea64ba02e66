"""What the other tests rely on of the FHIR server that we did not write."""

from __future__ import annotations

import json

import httpx
import pytest

import _medplum

pytestmark = [pytest.mark.peer, pytest.mark.node]


@pytest.fixture(scope="module")
def medplum():
    yield from _medplum.serve()


def test_lock_file_names_no_host():
    text = (_medplum.HERE / "package-lock.json").read_text(encoding="utf-8")
    packages = json.loads(text)["packages"]
    assert "resolved" not in text
    assert all("integrity" in package for name, package in packages.items() if name)


def test_server_keeps_finds_and_refuses(medplum):
    patient = medplum.post({"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "1"}]})
    again = httpx.post(
        f"{medplum.url}/Patient",
        json={"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "1"}]},
        headers={"If-None-Exist": "identifier=urn:x|1"},
    )
    assert (again.status_code, again.json()["id"]) == (200, patient["id"])
    stale = httpx.put(f"{medplum.url}/Patient/{patient['id']}", json=patient, headers={"If-Match": 'W/"of-old"'})
    assert stale.status_code == 412
    assert [found["id"] for found in medplum.found("Patient", identifier="urn:x|1")] == [patient["id"]]
    assert medplum.get("metadata")["fhirVersion"] == "4.0.1"


def test_server_takes_a_transaction(medplum):
    entry = [
        {
            "fullUrl": f"urn:uuid:00000000-0000-0000-0000-00000000000{number}",
            "resource": {"resourceType": "Basic", "code": {"text": str(number)}},
            "request": {"method": "POST", "url": "Basic"},
        }
        for number in range(3)
    ]
    answer = httpx.post(medplum.url, json={"resourceType": "Bundle", "type": "transaction", "entry": entry}).json()
    assert [one["response"]["status"][:3] for one in answer["entry"]] == ["201"] * 3
