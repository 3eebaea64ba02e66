"""The way back, against a FHIR server that we did not write."""

from __future__ import annotations

import asyncio
import base64
import uuid

import httpx
import pytest
from _crash import scenario
from _loop import NOW, Clock, advise, enrol, opened, readings, settings, work

import _medplum
from gemel.core import Decision
from gemel.core.errors import RemoteError
from gemel.core.time import HOUR, MINUTE, iso
from gemel.platform.store.consents import withdraw_consent
from gemel.platform.store.deliveries import OPEN, deliveries, find

pytestmark = [pytest.mark.peer, pytest.mark.node]


@pytest.fixture(scope="module")
def medplum():
    yield from _medplum.serve()


@pytest.fixture
def patient(medplum) -> str:
    name = f"p-{uuid.uuid4().hex[:12]}"
    medplum.put({"resourceType": "Patient", "id": name})
    return name


@pytest.fixture
def loop(medplum, tmp_path, patient):
    with opened(settings(tmp_path / "s.sqlite", medplum.url)) as made:
        made.write(lambda store: enrol(store, patient))
        yield made


def step(loop):
    return asyncio.run(loop.path.step())


def there(medplum, kind, patient, **query):
    return medplum.found(kind, patient=f"Patient/{patient}", **query)


def answer(medplum, task, status="accepted", **more):
    return medplum.put(task | {"status": status, "lastModified": iso(NOW + MINUTE), "owner": {"reference": "Practitioner/3"}} | more)


def decisions(loop, patient):
    return [told for kind, told in loop.look(lambda store: store.answers(patient)) if kind == "decision"]


def outcomes(loop, patient):
    return [told for kind, told in loop.look(lambda store: store.answers(patient)) if kind == "outcome"]


def findings(loop, patient, code):
    return [f for f in loop.look(lambda store: store.record(patient)).findings if f.code.code == code]


def test_a_proposal_goes_out_once_with_all_that_belongs_to_it(loop, medplum, patient):
    key = loop.write(lambda store: advise(store, patient, basis=["Observation/x/_history/2"]))
    assert step(loop) == 2  # taken, sent
    assert step(loop) == 0
    (task,) = there(medplum, "Task", patient)
    assert (task["status"], task["intent"], task["restriction"]["period"]["end"]) == ("requested", "proposal", iso(NOW + HOUR))
    assert task["identifier"][0]["value"] == f"{key}/task"
    assert medplum.get(task["focus"]["reference"])["code"]["text"] == "2 mg"
    risks = there(medplum, "RiskAssessment", patient)
    assert sorted(p["probabilityDecimal"] for r in risks for p in r["prediction"]) == [0, 2, 23]
    assert {r["status"] for r in risks} == {"preliminary"}
    assert {len(there(medplum, kind, patient)) for kind in ("CarePlan", "ServiceRequest", "Communication")} == {1}
    (told,) = medplum.found("Provenance", target=f"Task/{task['id']}")
    assert {"reference": "Observation/x/_history/2"} in [entity["what"] for entity in told["entity"]]
    assert len(medplum.found("AuditEvent", entity=f"Task/{task['id']}")) == 1
    (report,) = there(medplum, "DiagnosticReport", patient)
    (form,) = report["presentedForm"]
    assert (form["contentType"], report["status"]) == ("image/svg+xml", "preliminary")
    picture = base64.b64decode(form["data"]).decode()
    assert picture.startswith("<svg")
    assert "<script" not in picture


def test_acceptance_comes_back_and_the_outcome_is_awaited(loop, medplum, patient):
    key = loop.write(lambda store: advise(store, patient))
    step(loop)
    (task,) = there(medplum, "Task", patient)
    answer(medplum, task, statusReason={"text": "agreed"})
    assert step(loop) == 1
    (told,) = decisions(loop, patient)
    assert (told.answer, told.who, told.plan, told.reason, told.time) == ("accepted", "Practitioner/3", "2 mg", "agreed", NOW + MINUTE)
    assert told.recorded >= NOW
    (fact,) = findings(loop, patient, "decision")
    assert (fact.value, fact.time, fact.recorded) == ("accepted: 2 mg", NOW + MINUTE, told.recorded)
    after = medplum.get(f"Task/{task['id']}")
    assert (after["status"], after["businessStatus"]["text"]) == ("accepted", "decision recorded: accepted")
    assert {r["status"] for r in there(medplum, "RiskAssessment", patient)} == {"final"}
    signed = medplum.found("Provenance", **{"target": f"Task/{task['id']}", "agent-type": "verifier"})
    assert [one["agent"][0]["who"] for one in signed] == [{"reference": "Practitioner/3"}]
    assert [step(loop), step(loop)] == [0, 0]
    loop.write(lambda store: store.append(patient, [readings((NOW + HOUR, 12.0), (NOW + 4 * HOUR, 20.0))], recorded=NOW + 4 * HOUR))
    loop.clock.now = NOW + 4 * HOUR + MINUTE
    assert step(loop) == 0  # the forecast under the accepted plan is not made yet
    assert work(loop) == [f"accepted/{key}"]
    assert step(loop) == 1
    assert work(loop) == [f"outcome/{key}"]
    assert step(loop) == 1
    (behind,) = [v for v in loop.look(lambda store: store.versions("forecast", patient)) if v.name == "toy-linear:2 mg"]
    assert loop.look(lambda store: find(store, key, "hospital")).told["forecast"] == behind.id
    (out,) = outcomes(loop, patient)
    assert out.values == {"signal+60min": 12.0, "signal+240min": 20.0, "inside": 0.5}
    assert loop.look(lambda store: find(store, key, "hospital")).state == "closed"
    assert len(findings(loop, patient, "outcome")) == 1
    assert step(loop) == 0


def test_a_missing_outcome_is_recorded_as_missing(loop, medplum, patient):
    loop.write(lambda store: advise(store, patient))
    step(loop)
    answer(medplum, there(medplum, "Task", patient)[0])
    step(loop)
    loop.clock.now = NOW + 28 * HOUR - MINUTE
    assert step(loop) == 0
    loop.clock.now = NOW + 28 * HOUR + 2 * MINUTE
    assert step(loop) == 1
    (out,) = outcomes(loop, patient)
    assert (out.values, out.note[:8]) == ({}, "missing:")


def test_rejection_comes_back_with_its_reason(loop, medplum, patient):
    key = loop.write(lambda store: advise(store, patient))
    step(loop)
    (task,) = there(medplum, "Task", patient)
    answer(medplum, task, "rejected", statusReason={"coding": [{"display": "kidney disease"}]})
    step(loop)
    (told,) = decisions(loop, patient)
    assert (told.answer, told.reason) == ("rejected", "kidney disease")
    assert there(medplum, "ServiceRequest", patient)[0]["status"] == "revoked"
    assert {r["status"] for r in there(medplum, "RiskAssessment", patient)} == {"preliminary"}
    assert loop.look(lambda store: find(store, key, "hospital")).state == "closed"
    assert outcomes(loop, patient) == []


def test_a_changed_plan_is_read_from_the_request_that_replaces_ours(loop, medplum, patient):
    loop.write(lambda store: advise(store, patient))
    step(loop)
    (task,) = there(medplum, "Task", patient)
    medplum.post(
        {
            "resourceType": "ServiceRequest", "status": "active", "intent": "plan", "subject": {"reference": f"Patient/{patient}"},
            "authoredOn": iso(NOW + 2 * MINUTE), "code": {"text": "1 mg"}, "replaces": [task["focus"]], "requester": {"reference": "Practitioner/3"},
            "reasonCode": [{"text": "first dose"}],
        }
    )  # fmt: skip
    answer(medplum, task)
    step(loop)
    (told,) = decisions(loop, patient)
    assert (told.answer, told.plan, told.reason, told.time) == ("changed", "1 mg", "first dose", NOW + 2 * MINUTE)
    assert [step(loop), len(decisions(loop, patient))] == [0, 1]


def test_a_request_about_somebody_else_changes_nothing(loop, medplum, patient):
    loop.write(lambda store: advise(store, patient))
    step(loop)
    (task,) = there(medplum, "Task", patient)
    other = {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "plan",
        "subject": {"reference": "Patient/other"},
        "code": {"text": "9 mg"},
    }
    medplum.post(other | {"authoredOn": iso(NOW + MINUTE), "replaces": [task["focus"]]})
    step(loop)
    assert decisions(loop, patient) == []


def test_an_answer_from_the_future_is_dated_when_it_was_heard(loop, medplum, patient):
    loop.write(lambda store: advise(store, patient))
    step(loop)
    answer(medplum, there(medplum, "Task", patient)[0], lastModified="2099-01-01T00:00:00Z")
    step(loop)
    (told,) = decisions(loop, patient)
    assert told.time == told.recorded
    assert "future" in told.reason


def test_one_that_the_server_cannot_take_now_does_not_hold_up_the_next(loop, medplum, patient):
    class Choking:
        def __init__(self, inner):
            self.inner = inner

        def request(self, method, url, *, headers, content):
            if method == "POST" and content and b"3 mg" in content:
                return type("Answer", (), {"status_code": 500, "headers": {}, "content": b""})()
            return self.inner.request(method, url, headers=headers, content=content)

    client = loop.path._client
    client.transport, client._sleep = Choking(client.transport), lambda _: None
    other = f"{patient}-b"
    medplum.put({"resourceType": "Patient", "id": other})
    loop.write(lambda store: enrol(store, other))
    loop.write(lambda store: advise(store, other, "3 mg"))
    loop.write(lambda store: advise(store, patient))
    with pytest.raises(RemoteError):
        step(loop)
    assert len(there(medplum, "Task", patient)) == 1
    assert there(medplum, "Task", other) == []


@pytest.mark.parametrize("name", ["a,b", "../metadata", "a" * 65])
def test_a_pseudonym_that_is_no_id_finds_nobody(loop, medplum, name):
    loop.write(lambda store: enrol(store, name))
    key = loop.write(lambda store: advise(store, name))
    step(loop)
    assert loop.look(lambda store: find(store, key, "hospital")).told["why"] == "no such patient there"


@pytest.mark.parametrize(
    "rubbish", [{"businessStatus": "x"}, {"for": "x"}, {"statusReason": [1], "note": 3}, {"lastModified": 5, "meta": None}]
)
def test_one_task_full_of_rubbish_stops_nobody(loop, medplum, patient, rubbish):
    other = f"{patient}-b"
    medplum.put({"resourceType": "Patient", "id": other})
    loop.write(lambda store: enrol(store, other))
    for name in (patient, other):
        loop.write(lambda store, name=name: advise(store, name))
    step(loop)
    answer(medplum, there(medplum, "Task", patient)[0], **rubbish)
    answer(medplum, there(medplum, "Task", other)[0])
    step(loop)
    assert [told.answer for told in decisions(loop, other)] == ["accepted"]


def test_a_changed_mind_is_a_second_decision(loop, medplum, patient):
    loop.write(lambda store: advise(store, patient))
    step(loop)
    answer(medplum, there(medplum, "Task", patient)[0])
    step(loop)
    answer(medplum, there(medplum, "Task", patient)[0], "rejected")
    step(loop)
    assert [told.answer for told in decisions(loop, patient)] == ["accepted", "rejected"]


def test_what_nobody_answers_expires_and_a_late_answer_says_so(loop, medplum, patient):
    key = loop.write(lambda store: advise(store, patient))
    step(loop)
    loop.clock.now = NOW + HOUR + MINUTE
    assert step(loop) == 1
    (task,) = there(medplum, "Task", patient)
    assert (task["status"], task["statusReason"]["text"]) == ("cancelled", "expired: nobody answered in time")
    assert there(medplum, "ServiceRequest", patient)[0]["status"] == "revoked"
    assert loop.look(lambda store: find(store, key, "hospital")).state == "expired"
    assert decisions(loop, patient) == []
    assert step(loop) == 0


def test_who_accepts_in_the_last_moment_is_not_overwritten(loop, medplum, patient):
    loop.write(lambda store: advise(store, patient))
    step(loop)
    (task,) = there(medplum, "Task", patient)
    loop.clock.now = NOW + HOUR + MINUTE
    original = loop.path._client.update
    raced = []

    def late(resource):
        if resource["resourceType"] == "Task" and not raced:
            raced.append(answer(medplum, task, lastModified=iso(NOW + HOUR + MINUTE)))
        return original(resource)

    loop.path._client.update = late
    step(loop)
    assert medplum.get(f"Task/{task['id']}")["status"] == "accepted"
    step(loop)
    (told,) = decisions(loop, patient)
    assert told.answer == "accepted"
    assert "expired" in told.reason


def test_newer_advice_takes_the_place_of_older_and_the_same_is_not_said_twice(loop, medplum, patient):
    loop.write(lambda store: advise(store, patient))
    step(loop)
    loop.write(lambda store: advise(store, patient, issued=NOW + 5 * MINUTE))
    loop.clock.now = NOW + 5 * MINUTE
    step(loop)
    assert len(there(medplum, "Task", patient)) == 1
    loop.write(lambda store: advise(store, patient, "6 mg", issued=NOW + 10 * MINUTE))
    loop.clock.now = NOW + 10 * MINUTE
    step(loop)
    tasks = {task["identifier"][0]["value"]: task for task in there(medplum, "Task", patient)}
    assert sorted(task["status"] for task in tasks.values()) == ["cancelled", "requested"]
    new = next(task for task in tasks.values() if task["status"] == "requested")
    assert len(medplum.get(new["focus"]["reference"])["replaces"]) == 1
    assert step(loop) == 0
    assert decisions(loop, patient) == []


def test_an_abstention_is_told_and_asks_for_nothing(loop, medplum, patient):
    loop.write(lambda store: advise(store, patient, None))
    step(loop)
    assert there(medplum, "Task", patient) == []
    assert there(medplum, "Communication", patient)[0]["topic"]["text"] == "No advice: data too old"
    assert loop.look(lambda store: deliveries(store, "hospital", OPEN)) == []


def test_without_consent_nothing_leaves(loop, medplum, patient):
    loop.write(lambda store: withdraw_consent(store, patient, "c", recorded=NOW))
    key = loop.write(lambda store: advise(store, patient))
    step(loop)
    assert there(medplum, "Task", patient) == there(medplum, "RiskAssessment", patient) == []
    assert loop.look(lambda store: find(store, key, "hospital")).told["why"] == "no consent to it"


def test_a_patient_who_is_not_there_is_told_of_in_the_log_and_holds_nobody_up(loop, medplum, patient):
    loop.write(lambda store: enrol(store, "stranger-4711"))
    lost = loop.write(lambda store: advise(store, "stranger-4711"))
    loop.write(lambda store: advise(store, patient))
    step(loop)
    assert len(there(medplum, "Task", patient)) == 1
    assert loop.look(lambda store: find(store, lost, "hospital")).told["why"] == "no such patient there"


def test_a_server_that_writes_over_other_versions_is_not_written_to(loop, medplum, patient):
    class Careless:
        """Takes away the condition, as a server that does not know it would."""

        def __init__(self, inner):
            self.inner = inner

        def request(self, method, url, *, headers, content):
            return self.inner.request(method, url, headers={k: v for k, v in headers.items() if k != "If-Match"}, content=content)

    client = loop.path._client
    client.transport = Careless(client.transport)
    loop.write(lambda store: advise(store, patient))
    step(loop)
    loop.clock.now = NOW + HOUR + MINUTE
    assert step(loop) == 0
    (task,) = there(medplum, "Task", patient)
    assert task["status"] == "requested"
    answer(medplum, task, lastModified=iso(NOW + 2 * HOUR))
    step(loop)
    (told,) = decisions(loop, patient)
    assert "expired" in told.reason
    assert "businessStatus" not in medplum.get(f"Task/{task['id']}")


def test_a_task_that_is_gone_there_is_let_go(loop, medplum, patient):
    key = loop.write(lambda store: advise(store, patient))
    step(loop)
    (task,) = there(medplum, "Task", patient)
    httpx.delete(f"{medplum.url}/Task/{task['id']}").raise_for_status()
    assert step(loop) == 0
    loop.clock.now = NOW + HOUR + MINUTE
    step(loop)
    assert loop.look(lambda store: find(store, key, "hospital")).state == "expired"


def test_what_the_server_refuses_for_good_is_set_aside_and_the_rest_goes_on(loop, medplum, patient):
    class Picky:
        def __init__(self, inner):
            self.inner = inner

        def request(self, method, url, *, headers, content):
            if method == "POST" and content and b"3 mg" in content:
                return type("Answer", (), {"status_code": 422, "headers": {}, "content": b""})()
            return self.inner.request(method, url, headers=headers, content=content)

    client = loop.path._client
    client.transport = Picky(client.transport)
    bad = loop.write(lambda store: advise(store, patient, "3 mg"))
    step(loop)
    assert loop.look(lambda store: find(store, bad, "hospital")).told["why"] == "refused by the server: 422"
    loop.write(lambda store: advise(store, patient, "4 mg", issued=NOW + 1))
    step(loop)
    assert [task["description"] for task in there(medplum, "Task", patient)] == ["Two milligrams in an hour."]


def test_a_server_that_is_away_is_waited_for(loop, medplum, patient):
    class Away:
        def request(self, method, url, *, headers, content):
            raise RemoteError("no answer")

    client = loop.path._client
    client._sleep = lambda _: None
    inner, client.transport = client.transport, Away()
    key = loop.write(lambda store: advise(store, patient))
    with pytest.raises(RemoteError):
        step(loop)
    assert loop.look(lambda store: find(store, key, "hospital")).state == "sending"
    client.transport = inner
    step(loop)
    assert len(there(medplum, "Task", patient)) == 1


@pytest.mark.parametrize(("said", "status"), [("accepted", "accepted"), ("rejected", "rejected")])
def test_what_was_decided_elsewhere_is_said_on_the_task(loop, medplum, patient, said, status):
    key = loop.write(lambda store: advise(store, patient))
    step(loop)
    made = Decision(
        proposal=key, time=NOW + MINUTE, recorded=NOW + MINUTE, who="Practitioner/9", answer=said, plan="2 mg", reason="on the page"
    )
    loop.write(lambda store: store.decide(made))
    assert step(loop) == 1
    assert step(loop) == 0
    (task,) = there(medplum, "Task", patient)
    assert (task["status"], task["businessStatus"]["text"]) == (status, f"decision recorded: {said}")
    assert [told.who for told in decisions(loop, patient)] == ["Practitioner/9"]
    assert loop.look(lambda store: find(store, key, "hospital")).state == ("decided" if said == "accepted" else "closed")


def test_two_return_paths_at_once_send_one(medplum, tmp_path, patient):
    config = settings(tmp_path / "s.sqlite", medplum.url)
    other = config.model_copy(update={"audit": config.audit.model_copy(update={"trail": tmp_path / "second.jsonl"})})
    with opened(config) as first, opened(other, Clock()) as second:
        first.write(lambda store: enrol(store, patient))
        for number in range(5):
            first.write(lambda store, n=number: advise(store, patient, f"{n} mg", issued=NOW + n * MINUTE))
            first.clock.now = second.clock.now = NOW + number * MINUTE + 1

            async def both():
                return await asyncio.gather(first.path.step(), second.path.step(), return_exceptions=True)

            asyncio.run(both())
            asyncio.run(first.path.step())
        tasks = [task["identifier"][0]["value"] for task in there(medplum, "Task", patient)]
        assert len(tasks) == len(set(tasks)) == 5


@pytest.mark.slow
def test_a_death_between_any_two_steps_loses_nothing_and_doubles_nothing(medplum, tmp_path):
    """Every thirteenth point here, from a start that differs by the kind of answer; ``gemel bench platform-loop`` takes them all, and real kills."""
    with opened(settings(tmp_path / "s.sqlite", medplum.url)) as loop:
        for start, answered in ((1, "accepted"), (4, "rejected")):
            points, whole = scenario(loop, medplum, 0, answered=answered)
            assert whole["Task"] == whole["CarePlan"] == whole["Communication"] == 1
            assert whole["answers"][0] == ("decision", answered)
            assert whole["state"] == "closed"
            for point in range(start, points, 13):
                assert scenario(loop, medplum, point, answered=answered)[1] == whole, point
