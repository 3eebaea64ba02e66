"""Whether the server can do its work, emergencies, background services, traces."""

from __future__ import annotations

import asyncio

import pytest
from _world import ADA, BOB, NOBODY, NOW, whose

from gemel.core.errors import StoreError
from gemel.core.time import HOUR, MINUTE, SECOND
from gemel.platform.store.relations import glasses
from gemel.server import background
from gemel.server.limits import Gate
from gemel.server.ops import readiness


def test_alive_and_ready_say_what_is_fit_and_nothing_of_anybody(world):
    assert world.client.get("/healthz").json() == {"status": "ok"}
    told = world.client.get("/readyz")
    assert (told.status_code, told.json()["status"]) == (200, "ready")
    assert set(told.json()["parts"]) == {"database", "disk", "audit", "worker"}
    assert str(world.services.place.parent) not in told.text


@pytest.mark.parametrize("part", ["database", "disk", "audit", "worker"])
def test_each_part_that_is_not_fit_is_named(world, monkeypatch, part):
    if part == "database":

        def fall(_look):
            raise StoreError("the database does not answer", seen="somewhere")

        monkeypatch.setattr(world.services.readers, "submit", fall)
    elif part == "disk":
        import shutil

        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    elif part == "audit":
        world.services.audit.fault = "the root of the audit trail cannot be anchored"
    else:
        wanted = world.services.config.model_copy(update={"worker": world.services.config.worker.model_copy(update={"count": 2})})
        object.__setattr__(world.services, "config", wanted)
        world.services.state["worker"] = lambda _since: 1
    told = {p.name: p.ok for p in world.client.run(readiness(world.services))}
    assert told == {name: name != part for name in ("database", "disk", "audit", "worker")}
    answer = world.client.get("/readyz")
    assert answer.status_code == 503
    assert "somewhere" not in answer.text


def test_metrics_are_for_those_who_operate_and_count_routes_not_paths(world):
    world.client.get(f"/api/v1/patients/{world.ids[ADA]}", headers=world.head("physician"))
    text = world.client.get("/metrics", headers=world.head("administrator")).text
    assert 'gemel_requests_total{method="GET",route="/api/v1/patients/{patient}",status="200"} 1.0' in text
    assert world.ids[ADA] not in text
    for role in ("physician", "patient", "researcher", "device", "nurse", "proxy"):
        assert world.client.get("/metrics", headers=world.head(role)).status_code == 403
    assert world.client.get("/metrics", headers=world.head("service", purpose="HOPERAT")).status_code == 200


# --- emergencies ---


def open_glass(world, whom, *, role="other-physician", purpose="ETREAT", reason="found unconscious in the corridor", **rest):
    body = {"patient": world.ids.get(whom, "0" * 24), "reason": reason} | rest
    return world.client.post("/api/v1/break-glass", json=body, headers=world.head(role, purpose=purpose, who="Practitioner/99"))


def test_a_broken_glass_opens_one_person_for_an_hour_alerts_and_is_reviewed(world):
    head = world.head("other-physician", who="Practitioner/99", seconds=7200)
    path, other = (f"/api/v1/patients/{world.ids[patient]}" for patient in (ADA, BOB))
    assert world.client.get(path, headers=head).status_code == 404
    told = open_glass(world, ADA)
    assert told.status_code == 201
    assert world.client.get(path, headers=head).status_code == 200
    assert world.client.get(other, headers=head).status_code == 404
    assert world.client.get(path, headers={**head, "X-Purpose-Of-Use": "TREAT"}).status_code == 403
    world.clock.now += 61 * MINUTE
    assert world.client.get(path, headers=head).status_code == 404
    officer = world.head("administrator", who="Person/officer")
    listed = world.client.get("/api/v1/break-glass", headers=officer).json()["items"]
    assert [(one["who"], one["patient"], one["reviewed"]) for one in listed] == [("Practitioner/99", world.ids[ADA], None)]
    review = f"/api/v1/break-glass/{listed[0]['id']}/review"
    assert world.client.post(review, json={"finding": "rightly so"}, headers=head).status_code == 403
    assert world.client.post(review, json={"finding": "rightly so"}, headers=officer).status_code == 204
    assert world.look(glasses)[0].finding == "rightly so"
    assert "gemel_glass_broken_total 1.0" in world.client.get("/metrics", headers=officer).text


def test_the_glass_is_broken_with_a_reason_by_those_who_treat_in_an_emergency(world):
    assert open_glass(world, ADA, reason="").status_code == 422
    assert open_glass(world, ADA, purpose="TREAT").status_code == 403
    for role, purpose in (
        ("researcher", "HRESCH"),
        ("patient", "PATRQT"),
        ("administrator", "HOPERAT"),
        ("service", "ETREAT"),
        ("device", "ETREAT"),
    ):
        assert open_glass(world, ADA, role=role, purpose=purpose).status_code == 403
    assert open_glass(world, NOBODY).status_code == 404
    assert open_glass(world, NOBODY, patient="", pseudonym="nobody").status_code == 404
    assert open_glass(world, ADA, patient="", pseudonym=ADA).status_code == 201
    assert open_glass(world, ADA, role="nurse").status_code == 201
    assert world.client.get("/api/v1/break-glass", headers=world.head("physician")).status_code == 403
    assert len(world.look(glasses)) == 2


def test_a_relation_that_ends_is_one_no_more(world):
    path = f"/api/v1/patients/{world.ids[ADA]}"
    nurse = world.head("nurse", who="Practitioner/12", seconds=36000)
    assert world.client.get(path, headers=nurse).status_code == 404
    body = {"who": "Practitioner/12", "kind": "care", "start": "2020-01-01T00:00:00Z"}
    assert world.client.post(f"{path}/relations", json=body, headers=world.head("physician")).status_code == 204
    assert world.client.get(path, headers=nurse).status_code == 200
    from gemel.core.time import iso

    ended = {**body, "end": iso(NOW + HOUR)}
    assert world.client.post(f"{path}/relations", json=ended, headers=world.head("physician")).status_code == 204
    world.clock.now = NOW + HOUR + SECOND
    assert world.client.get(path, headers=nurse).status_code == 404
    listed = world.client.get(f"{path}/relations", headers=world.head("patient", seconds=36000)).json()["items"]
    assert {one["who"] for one in listed} >= {"Practitioner/12", whose("physician", ADA)}
    backwards = {**body, "end": "2019-01-01T00:00:00Z"}
    assert world.client.post(f"{path}/relations", json=backwards, headers=world.head("physician", seconds=36000)).status_code == 400


# --- what runs beside the routes ---


def test_a_background_service_that_falls_is_started_again_and_ends_with_the_server(world, monkeypatch):
    calls = []

    async def falls(_services, _stop):
        calls.append("falls")
        raise RuntimeError("something of a patient")

    async def lasts(_services, stop):
        calls.append("lasts")
        await stop.wait()
        calls.append("ended")

    async def never(_services, _stop):
        await asyncio.sleep(3600)

    monkeypatch.setattr(background, "wanted", lambda _: {"falls": falls, "lasts": lasts, "never": never})
    monkeypatch.setattr(background, "_FIRST_S", 0.001)

    async def run():
        stop = asyncio.Event()
        task = asyncio.create_task(background.run_background(world.services, stop, patience_s=0.1))
        while calls.count("falls") < 3:
            await asyncio.sleep(0.001)
        stop.set()
        await task

    world.client.run(run())
    assert calls.count("lasts") == 1
    assert calls[-1] == "ended"
    text = world.services.metrics.text().decode()
    assert 'gemel_background_up{service="falls"} 0.0' in text
    assert 'gemel_background_up{service="never"} 0.0' in text


def test_every_background_service_has_a_section_and_is_there(world):
    from gemel.server.config import ServerConfig

    for section, target in background.BACKGROUND:
        assert section in ServerConfig.model_fields
        assert asyncio.iscoroutinefunction(background._find(target))


def test_spans_carry_known_attributes_only(world):
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from gemel.server.telemetry import ATTRIBUTES, Tracer

    kept = InMemorySpanExporter()
    tracer = Tracer(exporter=kept)
    world.client.get("/healthz")  # the first request puts the application together
    gate = world.client._app.middleware_stack
    while not isinstance(gate, Gate):
        gate = gate.app
    gate._tracer = tracer
    world.client.get(f"/api/v1/patients/{world.ids[ADA]}", headers=world.head("physician"))
    with pytest.raises(ValueError), tracer.span("job forecast", {"gemel.job.kind": "forecast", "patient": ADA}):
        raise ValueError(ADA)
    tracer.close()
    first, second = kept.get_finished_spans()
    assert first.name == "GET /api/v1/patients/{patient}"
    assert first.attributes["http.response.status_code"] == 200
    assert dict(second.attributes) == {"gemel.job.kind": "forecast", "error.type": "ValueError"}
    assert not first.events
    assert not second.events
    assert set(first.attributes) <= ATTRIBUTES
    assert "canary" not in str([span.to_json() for span in (first, second)])
