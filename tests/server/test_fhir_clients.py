"""Clients that we did not write, against our server over a socket: fhirpy; and a server that is killed while it writes."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time

import httpx
import pytest

from _fhir import synthea
from _rest_server import RestServer
from gemel.core.errors import StoreError
from gemel.platform.consent import Consent
from gemel.platform.store import Store
from gemel.platform.store.consents import put_consent
from gemel.platform.store.resources import Resources


def settings(folder) -> dict:
    limits = {"per_token": 1e6, "per_address": 1e6, "burst": 1_000_000}
    place = str(folder / "s.sqlite")
    return {
        "server": {"port": 0},
        "store": {"place": place, "readers": 2},
        "worker": {"count": 0},
        "log": {"level": "error"},
        "limits": limits,
        "audit": {"sign": False},
    }


@pytest.fixture
def server(tmp_path):
    made = RestServer(tmp_path, settings(tmp_path))
    yield made
    made.stop()


def permit_all(place) -> None:
    with Store(place, busy_ms=20_000) as store:
        for name in store.patients():
            put_consent(store, name, Consent("c", name, True, given=1), recorded=time.time_ns())


@pytest.mark.data
def test_fhirpy_reads_writes_and_searches(server, tmp_path):
    fhirpy = pytest.importorskip("fhirpy")
    raw = min((raw for _, raw in synthea()), key=len)
    with httpx.Client(headers=server.head, timeout=60) as plain:
        assert plain.post(server.fhir, content=raw).status_code == 200
    permit_all(tmp_path / "s.sqlite")

    async def work() -> None:
        client = fhirpy.AsyncFHIRClient(
            server.fhir, authorization=server.head["Authorization"], extra_headers={"X-Purpose-Of-Use": "TREAT"}
        )
        sent = json.loads(raw)["entry"]
        patient = await client.resources("Patient").first()
        observations = await client.resources("Observation").search(patient=patient.id).limit(7).fetch_all()
        assert len(observations) == sum(entry["resource"]["resourceType"] == "Observation" for entry in sent)
        lenient = fhirpy.AsyncFHIRClient(
            server.fhir,
            authorization=server.head["Authorization"],
            extra_headers={"X-Purpose-Of-Use": "TREAT", "Prefer": "handling=lenient"},
        )
        assert await lenient.resources("Observation").search(patient=patient.id).count() == len(
            observations
        )  # it asks with _totalMethod, which is not FHIR's
        made = client.resource("Observation", status="final", code={"text": "mood"}, subject={"reference": f"Patient/{patient.id}"})
        await made.save()
        await made.patch(status="amended")
        made["note"] = [{"text": "better"}]
        await made.update()
        again = await client.reference("Observation", made.id).to_resource()
        assert (again["status"], again["note"][0]["text"], again["meta"]["versionId"]) == ("amended", "better", "3")
        with_patient = await client.resources("Observation").search(_id=made.id).include("Observation", "subject").fetch_raw()
        assert sorted(entry["resource"]["resourceType"] for entry in with_patient["entry"]) == ["Observation", "Patient"]
        await made.delete()
        with pytest.raises(fhirpy.base.exceptions.ResourceNotFound):
            await client.reference("Observation", made.id).to_resource()
        with pytest.raises(fhirpy.base.exceptions.OperationOutcome):
            await client.resources("Observation").search(nonsense="1").fetch()

    asyncio.run(work())


@pytest.mark.slow
def test_a_server_that_is_killed_loses_nothing_that_it_acknowledged(tmp_path):
    draw, told, started = random.Random(5), [], 0
    for _ in range(3):
        server = RestServer(tmp_path, settings(tmp_path))
        timer = threading.Timer(draw.uniform(0.3, 0.9), server.kill)
        timer.start()
        with httpx.Client(headers=server.head, timeout=20) as client:
            try:
                while True:
                    started += 1
                    parts = [
                        {"resource": {"resourceType": "Basic", "id": f"b{started}-{k}", "code": {"text": "x"}, "subject": {"reference": "Patient/p"}},
                         "request": {"method": "PUT", "url": f"Basic/b{started}-{k}"}}
                        for k in range(5)
                    ]  # fmt: skip
                    answer = client.post(server.fhir, json={"resourceType": "Bundle", "type": "transaction", "entry": parts})
                    assert answer.status_code == 200, answer.text
                    told.append(started)
            except httpx.HTTPError:
                pass
        timer.join()
    assert len(told) > 3
    with Store(tmp_path / "s.sqlite") as store:
        resources = Resources(store)
        there = {n: [resources.find("Basic", f"b{n}-{k}") is not None for k in range(5)] for n in range(1, started + 1)}
        assert [n for n in told if not all(there[n])] == []
        assert [n for n, found in there.items() if len(set(found)) > 1] == []  # whole or not at all
        assert sum(all(found) for found in there.values()) <= len(told) + 3
        assert store.check().problems == ()
        with pytest.raises(StoreError, match="no such patient"):
            store.record("nobody")
