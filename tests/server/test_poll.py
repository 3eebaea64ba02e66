"""The poll: each version once, whatever is cut short, and its own advice not at all; against a FHIR server that we did not write."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from _loop import Clock, opened, settings

import _medplum
from gemel.core.errors import FormatError, RemoteError
from gemel.interop.fhir.client import FhirClient
from gemel.interop.fhir.codec import freeze
from gemel.interop.fhir.subscription import read_notification, subscription
from gemel.interop.fhir.validate import validate
from gemel.platform.adapters import fhir
from gemel.server.listeners.poll import Poller
from gemel.server.sections.hospital import Poll


class Loop:
    def __init__(self, loop, client, **poll):
        self.loop, self.client = loop, client
        self.poll = poll
        self.begin()

    def begin(self):
        settings_ = Poll(**({"types": ("Patient", "Observation")} | self.poll))
        self.poller = Poller(self.loop.services, settings_, self.client, source="hospital", adapters=[fhir.adapter()])

    def step(self):
        return asyncio.run(self.poller.step())


def observation(patient, value, minute=0, **more):
    return {
        "resourceType": "Observation", "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": f"2026-09-01T08:{minute:02d}:00Z",
        "valueQuantity": {"value": value, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    } | more  # fmt: skip


@pytest.mark.peer
@pytest.mark.node
class TestPeer:
    @pytest.fixture
    def medplum(self):
        yield from _medplum.serve()

    @pytest.fixture
    def polled(self, medplum, tmp_path):
        with opened(settings(tmp_path / "s.sqlite", medplum.url)) as loop:
            yield Loop(loop, loop.path._client)

    @pytest.fixture
    def patient(self, medplum):
        name = f"p-{uuid.uuid4().hex[:12]}"
        medplum.put({"resourceType": "Patient", "id": name})
        return name

    def values(self, polled, patient):
        record = polled.loop.look(lambda store: store.record(patient))
        return sorted(float(v) for series in record.as_of(polled.loop.clock()).series for v in series.value)

    def test_what_changes_is_taken_once(self, medplum, polled, patient):
        for minute in range(3):
            medplum.post(observation(patient, 60 + minute, minute))
        assert polled.step() == 4
        assert self.values(polled, patient) == [60, 61, 62]
        assert polled.step() == 0
        medplum.post(observation(patient, 70, 5))
        assert polled.step() == 1
        polled.begin()  # a new process remembers only what the store does
        polled.step()
        counts = polled.loop.look(lambda store: store.counts())
        assert counts["inbox"] == 5
        assert self.values(polled, patient) == [60, 61, 62, 70]

    def test_a_correction_supersedes(self, medplum, polled, patient):
        first = medplum.post(observation(patient, 60))
        polled.step()
        medplum.put(observation(patient, 66, status="corrected") | {"id": first["id"]})
        polled.step()
        assert self.values(polled, patient) == [66]

    def test_our_own_advice_is_not_taken_for_an_observation(self, medplum, polled, patient):
        ours = {"identifier": [{"system": "urn:gemel:advice", "value": "k/abstention"}]}
        medplum.post(observation(patient, 60, **ours))
        assert polled.step() == 1  # the Patient

    def test_cut_short_it_begins_again_where_it_was(self, medplum, polled, patient):
        for minute in range(5):
            medplum.post(observation(patient, 60 + minute, minute))
        original, calls = polled.client._page, []

        def broken(place):
            calls.append(place)
            if len(calls) == 2:
                raise RemoteError("wire")
            return original(place)

        polled.client._page = broken
        with pytest.raises(RemoteError):
            polled.step()
        polled.client._page = original
        polled.step()
        assert self.values(polled, patient) == [60, 61, 62, 63, 64]

    def test_a_resource_that_cannot_be_placed_waits_and_the_rest_goes_on(self, medplum, polled, patient):
        medplum.post(observation(patient, 60) | {"valueQuantity": {"value": 60}})
        medplum.post(observation(patient, 61, 1))
        polled.step()
        assert self.values(polled, patient) == [61]
        states = [message.state for message in polled.loop.look(lambda store: store.messages())]
        assert sorted(states) == ["done", "done", "quarantined"]


def test_a_server_that_shows_a_change_late_loses_nothing(tmp_path):
    """Two versions of one moment, the second visible only after the first was read: the window that overlaps finds it."""

    class Late:
        shown = []

        def request(self, method, url, *, headers, content):
            entry = [{"resource": one} for one in self.shown] if "Observation?" in url else []
            body = json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entry}).encode()
            return type("Answer", (), {"status_code": 200, "headers": {}, "content": body})()

    def version(name, time):
        return observation("p1", 60, int(name)) | {"id": name, "meta": {"versionId": "1", "lastUpdated": time}}

    wire = Late()
    config = settings(tmp_path / "s.sqlite", "http://127.0.0.1:9/fhir")
    client = FhirClient("http://127.0.0.1:9/fhir", wire)
    with opened(config, Clock(), client) as loop:
        polled = Loop(loop, client)
        wire.shown = [version("1", "2026-09-01T09:00:00.100Z")]
        assert polled.step() == 1
        wire.shown = [version("2", "2026-09-01T09:00:00.050Z"), version("1", "2026-09-01T09:00:00.100Z")]
        assert polled.step() == 1
        assert polled.step() == 0


def test_a_date_in_the_far_future_hides_nothing(tmp_path):
    asked = []

    class Wire:
        def request(self, method, url, *, headers, content):
            asked.append(url)
            entry = (
                [{"resource": observation("p1", 60) | {"id": "1", "meta": {"versionId": "1", "lastUpdated": "2099-01-01T00:00:00Z"}}}]
                if "Observation?" in url
                else []
            )
            body = json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entry}).encode()
            return type("Answer", (), {"status_code": 200, "headers": {}, "content": body})()

    client = FhirClient("http://127.0.0.1:9/fhir", Wire())
    with opened(settings(tmp_path / "s.sqlite", "http://127.0.0.1:9/fhir"), Clock(), client) as loop:
        polled = Loop(loop, client)
        assert [polled.step(), polled.step()] == [1, 0]
        assert "ge2099" not in asked[-1]
        assert "_lastUpdated=ge2026" in asked[-1]


def bundle(kind, number, r5):
    if r5:
        first = {"resourceType": "SubscriptionStatus", "type": kind, "eventsSinceSubscriptionStart": str(number)}
    else:
        first = {
            "resourceType": "Parameters",
            "parameter": [{"name": "type", "valueCode": kind}, {"name": "events-since-subscription-start", "valueString": str(number)}],
        }
    return json.dumps({"resourceType": "Bundle", "entry": [{"resource": first}]}).encode()


@pytest.mark.parametrize("r5", [False, True])
def test_notifications_are_read(r5):
    told = read_notification(bundle("event-notification", 7, r5))
    assert (told.kind, told.number) == ("event-notification", 7)
    assert read_notification(b"").kind == "plain"
    assert read_notification(b'{"resourceType": "Observation"}').kind == "plain"
    for bad in (b"[", b"[]", b"\xff"):
        with pytest.raises(FormatError):
            read_notification(bad)


def test_a_subscription_is_valid():
    made = subscription(
        "Observation?code=http://loinc.org|99504-3", "https://twin.example/fhir-notifications", "word", end=1_790_000_000_000_000_000
    )
    assert [issue for issue in validate(freeze(made)) if issue.severity == "error"] == []
