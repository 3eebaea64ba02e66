"""The Python client against a running server, a server that is busy, and one that is gone."""

from __future__ import annotations

import io
import json
import threading
import zipfile

import httpx
import pytest
from _seeds import ROOM, pid, seeded
from _serving import serve
from _world import ADA, BOB, NOW

from gemel.core.time import HOUR
from gemel.platform.consent import Consent
from gemel.platform.store.consents import put_consent
from gemel.server.app import make_app
from gemel.server.client import ApiError, Client, JobFailed, Unreachable


@pytest.fixture
def address(world):
    with serve(make_app(world.services, has_background=True)) as url:
        yield url


@pytest.fixture
def client(world, address):
    with Client(address, world.token("physician"), purpose="TREAT") as made:
        yield made


def finish(world, kind, result):
    """Do a piece of work as a worker would."""

    def change(store):
        while (job := store.claim(kind, "w", now=NOW + HOUR)) is not None:
            if "seed" in json.loads(job.body):
                break
            store.finish(job.id, "w")
        store.progress(job.id, 1, 2, "drawing", worker="w")
        return job.id

    found = world.write(change)
    threading.Timer(0.3, lambda: world.write(lambda store: store.finish(found, "w", result=json.dumps(result)))).start()


class Told:
    def __init__(self, answer=True):
        self.answer, self.heard = answer, []

    def start(self, label, total):
        self.heard.append(("start", label, total))

    def update(self, done, note=""):
        self.heard.append(("update", done, note))
        return self.answer

    def finish(self):
        self.heard.append(("finish",))


def test_from_a_patient_to_a_forecast_and_back_with_a_decision(world, client):
    ids = seeded(world, ADA)
    found = client.find_patient(ADA)
    assert [p.id for p in client.patients()] == [found.id] == [client.patient(found.id).id]
    assert len(client.series(found.id, "loinc:99504-3")[0].value) == 12
    assert client.exposures(found.id) == client.findings(found.id) == []
    assert [t.id for t in client.twins(found.id)] == [ids["twin"]] == [client.twin(ids["twin"]).id]
    assert client.state(ids["twin"], next(iter(client.versions(ids["twin"]))).id) == b"zip of " + ADA.encode()
    job = client.forecast(ids["twin"], minutes=[30.0], n=16, seed=1)
    finish(world, "forecast", {"kind": "forecast", "id": ids["forecast"], "name": ROOM})
    told = Told()
    done = client.wait(job, progress=told, pause_s=0.05)
    assert told.heard[-1] == ("finish",)
    assert ("update", 1, "drawing") in told.heard
    assert client.forecast_of(done.href) == client.standing(ids["twin"]) == {"twin": ROOM, "of": ADA}
    assert client.standing(ids["twin"]) == {"twin": ROOM, "of": ADA}  # not sent again
    advice = client.recommendations(found.id)[0]
    decision = client.decide(advice.version.id, "rejected", reason="eats later")
    assert client.tell_outcome(decision.id, {"glucose": 7.2}).values == {"glucose": 7.2}
    assert client.evidence(ROOM).id == ROOM


def test_work_that_is_cancelled_or_takes_too_long_is_told(world, client):
    ids = seeded(world, ADA)
    job = client.compare(ids["twin"], n=8)
    with pytest.raises(Unreachable, match="not done yet"):
        client.wait(job, timeout_s=0.2, pause_s=0.05)
    with pytest.raises(JobFailed) as failed:
        client.wait(job.id, progress=Told(answer=False), pause_s=0.05)
    assert (failed.value.state, client.job(job.id).state) == ("cancelled", "cancelled")


def test_what_is_refused_says_why(world, client):
    with pytest.raises(ApiError) as error:
        client.patient(pid(world, BOB))
    assert (error.value.status, error.value.code) == (404, "not-found")
    assert error.value.request
    with pytest.raises(ApiError) as error:
        client.calibrate(pid(world, ADA), "nowhere")
    assert (error.value.status, error.value.code) == (404, "TwinNotFoundError")
    with pytest.raises(ApiError, match="does not have the form"):
        client.patient("x")


def test_data_are_sent_and_a_consent_is_given_withdrawn_and_exported(world, address, client):
    patient = pid(world, ADA)
    lines = "time,glucose [mg/dL]\n" + "".join(f"2026-01-01T00:{m:02d}:00Z,{100 + m}\n" for m in range(0, 60, 5))
    job = client.wait(client.send(lines.encode(), "file", patient=patient, name="cgm.csv"), pause_s=0.05)
    assert (job.result["state"], job.result["facts"], job.result["report"]["mapped"]) == ("done", 12, 12)
    assert client.imported(job.result["id"]).facts == 12
    given = client.give_consent(
        patient, "extra", {"resourceType": "Consent", "status": "active", "policyRule": {"coding": [{"code": "OPTOUT"}]}}
    )
    assert (given.base, len(client.consents(patient))) == ("deny", 3)
    assert client.withdraw_consent(patient, "extra").epoch == given.epoch + 1
    with Client(address, world.token("patient"), purpose="PATRQT") as own:
        names = zipfile.ZipFile(io.BytesIO(own.export(patient))).namelist()
    assert {"READ ME.txt", "facts.ndjson", "fhir/Observation.ndjson", "consents.json"} <= set(names)


def test_events_are_heard_and_resumed(world, client):
    ids = seeded(world, ADA)
    seeded(world, BOB)
    heard, more = [], threading.Event()

    def listen():
        for key, kind, what in client.events():
            heard.append((key, kind, what))
            if len(heard) >= 3:
                more.set()
                return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    for i in range(100):
        world.write(
            lambda store, i=i: store.put(
                "forecast", BOB, ROOM, b"bob %d" % i, recorded=NOW + i + 1, meta={"model": ROOM, "model_version": "1"}
            )
        )
        world.write(
            lambda store, i=i: store.put(
                "forecast", ADA, ROOM, b"ada %d" % i, recorded=NOW + i + 1, meta={"model": ROOM, "model_version": "1"}
            )
        )
        world.write(lambda store, i=i: store.enqueue("score", str(i), json.dumps({"twin": ROOM}), now=world.clock(), patient=ADA))
        if more.wait(0.1):
            break
    thread.join(10)
    assert len(heard) == 3
    assert {what["patient"] for _, _, what in heard} == {ids["patient"]}  # nothing of Bob's
    missed = world.write(
        lambda store: store.put("proposal", ADA, ROOM, b'{"late": 1}', recorded=NOW + 10**9, meta={"model": ROOM, "model_version": "1"})
    )
    seqs = []
    for _, kind, what in client.events(last=heard[0][0]):
        seqs.append(what.get("seq"))
        if what.get("id") == missed:
            assert (kind, what["href"]) == ("proposal", f"/api/v1/recommendations/{missed}")
            break
    told = [seq for seq in seqs if seq]
    assert told == sorted(set(told))
    assert all(seq > int(heard[0][0].partition("-")[0]) for seq in told)


def test_a_withdrawn_consent_silences_a_stream_that_is_open(world, client):
    patient = pid(world, ADA)
    heard = []

    def listen():
        for _, _, what in client.events():
            heard.append(what.get("seq"))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()

    def put(i):
        world.write(lambda store: store.put("twin", ADA, ROOM, b"%d" % i, recorded=NOW + i, meta={"model": ROOM, "model_version": "1"}))

    for i in range(100):
        put(i)
        if heard:
            break
        threading.Event().wait(0.1)
    assert heard
    for scope in ("patient-privacy", "research"):
        world.write(
            lambda store, scope=scope: put_consent(
                store, ADA, Consent(f"c-{scope}", "", True, status="inactive", scope=scope), recorded=NOW
            )
        )
    last = world.look(lambda store: store.events(after=0, limit=10_000)[-1].seq)
    put(1000)
    threading.Event().wait(1.5)
    assert max(seq for seq in heard if seq) < last
    assert patient


def answers(*statuses):
    """A transport that answers each request with the next of these; an exception is raised."""
    seen, left = [], list(statuses)

    def handle(request):
        seen.append(request)
        status = left.pop(0) if left else 200
        if isinstance(status, Exception):
            raise status
        headers = {"Retry-After": "3"} if status == 429 else {}
        return httpx.Response(
            status,
            headers=headers,
            json={"id": "0" * 24, "pseudonym": "p", "enrolled": "x"} if status < 400 else {"title": "no", "code": "c"},
        )

    return httpx.MockTransport(handle), seen


def test_a_busy_server_is_asked_again_with_the_same_key():
    transport, seen = answers(503, httpx.ConnectError("gone"), 429, 200)
    pauses = []
    with Client("http://x", lambda: f"token-{len(seen)}", transport=transport, sleep=pauses.append) as client:
        assert client.find_patient("p").pseudonym == "p"
    assert len({request.headers["idempotency-key"] for request in seen}) == 1
    assert [request.headers["authorization"] for request in seen] == [f"Bearer token-{i}" for i in range(4)]  # a fresh token each time
    assert pauses[2] >= 3.0


def test_a_server_that_is_gone_or_refuses_is_told():
    transport, seen = answers(*[httpx.ConnectError("gone")] * 9)
    with (
        Client("http://x", "t", transport=transport, sleep=lambda _: None, tries=3) as client,
        pytest.raises(Unreachable, match="ConnectError"),
    ):
        client.patient("p")
    assert len(seen) == 3
    transport, seen = answers(404)
    with Client("http://x", "t", transport=transport, sleep=lambda _: None) as client, pytest.raises(ApiError):
        client.patient("p")
    assert len(seen) == 1
    transport, seen = answers(503, 503)
    with Client("http://x", "t", transport=transport, sleep=lambda _: None, tries=2) as client, pytest.raises(ApiError) as error:
        client.patient("p")
    assert error.value.status == 503
