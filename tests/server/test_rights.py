"""Rights of the person over the API: consent and its withdrawal, a portable copy, rectification, objection, erasure, the register."""

from __future__ import annotations

import io
import json
import zipfile
from itertools import product
from pathlib import Path

import pytest
from _seeds import META, ROOM, V1, pid, seeded
from _world import ADA, BOB, NOW

from gemel.core.errors import AccessDenied, DataError
from gemel.core.time import HOUR, MINUTE, iso
from gemel.interop.fhir.codec import decode
from gemel.interop.fhir.reading import read_folder
from gemel.interop.fhir.validate import validate
from gemel.platform.access import ROLES, Subject
from gemel.platform.rights import RIGHTS, corrected, may, require_right
from gemel.platform.store.consents import epoch_of
from gemel.platform.stream import twins as queue


def ask(world, method, path, role="physician", patient=ADA, body=None, **rest):
    return world.client.request(method, V1 + path, headers=world.head(role, patient, **rest), json=body)


def consent(*models, base="OPTIN", **rest):
    told = {
        "resourceType": "Consent",
        "status": "active",
        "policyRule": {"coding": [{"code": base}]},
        "dateTime": "2026-01-01T00:00:00Z",
        **rest,
    }
    return told | {"extension": [{"url": "urn:gemel:consent:model", "valueString": model} for model in models]}


def test_a_withdrawal_holds_with_the_next_question_ends_work_and_hides_what_was_derived(world):
    ids = seeded(world, ADA)
    assert ask(world, "GET", f"/twins/{ids['twin']}/forecast").status_code == 200
    first = ask(world, "POST", f"/patients/{ids['patient']}/consents/c-patient-privacy/withdraw").json()
    done = ask(world, "POST", f"/patients/{ids['patient']}/consents/c-research/withdraw", "patient").json()
    assert (done["epoch"], done["hidden"]) == (first["epoch"] + 1, 4)
    assert first["cancelled"] + done["cancelled"] == [ids["job"]]
    for path in (
        f"/twins/{ids['twin']}/forecast",
        f"/patients/{ids['patient']}/series",
        f"/recommendations/{ids['proposal']}",
        f"/jobs/{ids['job']}",
    ):
        assert ask(world, "GET", path).status_code == 404
        assert ask(world, "GET", path, "service").status_code == 404
    assert ask(world, "POST", f"/twins/{ids['twin']}/forecasts", body={}).status_code == 404
    assert ask(world, "GET", f"/twins/{ids['twin']}/forecast", "patient").status_code == 200  # one's own needs no consent
    assert ask(world, "GET", f"/twins/{seeded(world, BOB)['twin']}/forecast", patient=BOB).status_code == 200
    given = ask(world, "PUT", f"/patients/{ids['patient']}/consents/c-patient-privacy", body=consent("metabolic@1"))
    assert given.status_code == 201
    assert ask(world, "GET", f"/twins/{ids['twin']}/forecast").status_code == 200


def test_a_twin_that_is_followed_rests_while_nothing_permits_it(world):
    ids = seeded(world, ADA)
    other = seeded(world, BOB)

    def states():
        return {one.subject: one.state for one in world.look(queue.followed)}

    def took(now):
        return {one.subject for one in world.write(lambda store: queue.claim(store, "w", now=now))}

    for patient in (ADA, BOB):
        world.write(lambda store, patient=patient: queue.follow(store, patient, ROOM, upto=0))
    assert took(NOW) == {ids["patient"], other["patient"]}
    ask(world, "POST", f"/patients/{ids['patient']}/consents/c-patient-privacy/withdraw")
    ask(world, "POST", f"/patients/{ids['patient']}/consents/c-research/withdraw")
    assert states() == {ids["patient"]: "withheld", other["patient"]: "live"}
    one = next(one for one in world.look(queue.followed) if one.subject == ids["patient"])
    assert not world.write(lambda store: queue.settle(store, one, "w", done=1))  # who was at it may not write
    assert took(NOW + HOUR) == {other["patient"]}
    ask(world, "PUT", f"/patients/{ids['patient']}/consents/again", body=consent("metabolic@0"))
    assert states()[ids["patient"]] == "live"
    assert ids["patient"] in took(NOW + 2 * HOUR)


def test_a_twin_that_has_evolved_asks_again(world):
    ids = seeded(world, ADA)
    evolved = META | {"model_version": "2.0.0"}
    found = world.write(lambda store: store.put("forecast", ADA, ROOM, b"{}", recorded=NOW + 1, meta=evolved))
    assert ask(world, "GET", f"/forecasts/{ids['forecast']}").status_code == 200
    assert ask(world, "GET", f"/forecasts/{found}").status_code == 404
    assert ask(world, "GET", f"/twins/{ids['twin']}/forecast").status_code == 404  # the newest is of the model that was not asked for
    told = ask(
        world,
        "PUT",
        f"/patients/{ids['patient']}/consents/evolved",
        body=consent("metabolic@1", "metabolic@2", dateTime="2026-02-01T00:00:00Z"),
    )
    assert told.json()["models"] == ["metabolic@1", "metabolic@2"]
    assert ask(world, "GET", f"/forecasts/{found}").status_code == 200


def test_a_consent_is_kept_as_given_listed_and_what_is_ambiguous_denies(world):
    ids = seeded(world, ADA)
    body = consent("metabolic@1", provision={"period": {"start": "2020-01-01", "end": "2040-01-01"}})
    told = ask(world, "PUT", f"/patients/{ids['patient']}/consents/odd", "nurse", body=body).json()
    assert (told["is_ambiguous"], told["resource"]["provision"], bool(told["notes"])) == (True, body["provision"], True)
    assert ask(world, "GET", f"/patients/{ids['patient']}/series").status_code == 404
    listed = ask(world, "GET", f"/patients/{ids['patient']}/consents", "administrator").json()["items"]
    assert {row["id"] for row in listed} == {"c-patient-privacy", "c-research", "odd"}
    assert ask(world, "GET", f"/patients/{ids['patient']}/consents/odd").headers["etag"] == f'"{told["epoch"]}"'
    assert ask(world, "GET", f"/patients/{ids['patient']}/consents/none").status_code == 404
    for wrong, status in (
        (consent(id="other"), 400),
        (consent(patient={"reference": "Patient/somebody"}), 400),
        ({"resourceType": "Patient"}, 400),
    ):
        assert ask(world, "PUT", f"/patients/{ids['patient']}/consents/x", body=wrong).status_code == status
    assert ask(world, "PUT", f"/patients/{ids['patient']}/consents/x", "device", body=consent()).status_code == 403
    assert ask(world, "POST", f"/patients/{ids['patient']}/consents/none/withdraw").status_code == 404


def test_an_objection_wins_over_every_consent_for_its_purpose_only(world):
    ids = seeded(world, ADA)
    done = ask(world, "POST", f"/patients/{ids['patient']}/objections", "patient", body={"purpose": "TREAT", "reason": "no"})
    assert done.status_code == 201
    assert ask(world, "GET", f"/patients/{ids['patient']}/series").status_code == 404
    assert ask(world, "GET", f"/twins/{ids['twin']}/forecast").status_code == 404
    assert ask(world, "GET", f"/twins/{ids['twin']}/forecast", "service", purpose="HOPERAT").status_code == 200
    assert world.look(lambda store: store.job(ids["job"]).state) == "waiting"  # it may be done for another purpose
    every = ask(world, "POST", f"/patients/{ids['patient']}/objections", "patient", body={}).json()
    assert (every["cancelled"], every["hidden"]) == ([ids["job"]], 4)
    assert ask(world, "GET", f"/twins/{ids['twin']}/forecast", "service", purpose="HOPERAT").status_code == 404


def test_an_objection_grants_nothing(world):
    """Somebody who permitted nothing and objects to one purpose has permitted no other."""
    world.write(lambda store: store.append("cleo", [], recorded=NOW))
    cleo = world.look(lambda store: store.subject("cleo"))
    world.write(lambda store: store.put("forecast", "cleo", ROOM, b"{}", recorded=NOW, meta=META))
    assert ask(world, "POST", f"/patients/{cleo}/objections", "administrator", body={"purpose": "HMARKT"}).status_code == 201
    for purpose in ("TREAT", "HOPERAT"):
        assert ask(world, "GET", f"/twins/{cleo}.{ROOM}/forecast", "service", purpose=purpose).status_code == 404


def test_a_fact_is_replaced_from_now_on_and_the_twin_follows(world):
    ids = seeded(world, ADA)
    wrong = {"kind": "reading", "code": "loinc:99504-3", "source": "cgm", "time": iso(NOW - 60 * MINUTE), "reason": "a slip of the pen"}
    made = ask(world, "POST", f"/patients/{ids['patient']}/rectifications", body=wrong | {"value": 77.0, "unit": "mg/dL"})
    assert (made.status_code, [job["kind"] for job in made.json()["items"]]) == (201, ["assimilate"])
    values = lambda query="": ask(world, "GET", f"/patients/{ids['patient']}/series{query}").json()["items"][0]["value"]  # noqa: E731
    assert values()[0] == 77.0
    assert values(f"?as_of={iso(NOW - 1000)}")[0] == 100.0  # what was known then was another
    assert ask(world, "POST", f"/patients/{ids['patient']}/rectifications", body=wrong).status_code == 201  # taken back
    assert values()[0] == 101.0
    assert ask(world, "GET", f"/twins/{ids['twin']}/forecast").headers["gemel-stale"] == "true"
    assert (
        ask(world, "POST", f"/patients/{ids['patient']}/rectifications", body=wrong | {"value": 5.0, "unit": "mmol/L"}).status_code == 400
    )
    assert ask(world, "POST", f"/patients/{ids['patient']}/rectifications", body=wrong | {"source": "another"}).status_code == 400
    assert ask(world, "POST", f"/patients/{ids['patient']}/rectifications", "patient", body=wrong).status_code == 403


def test_a_copy_holds_everything_and_other_programs_read_it(world, tmp_path):
    ids = seeded(world, ADA)
    told = ask(world, "GET", f"/patients/{ids['patient']}/export", "patient")
    bundle = zipfile.ZipFile(io.BytesIO(told.content))
    names = set(bundle.namelist())
    assert {"READ ME.txt", "facts.ndjson", "fhir/Patient.ndjson", "consents.json", "work.json", f"twins/{ids['version']}.twin"} <= names
    assert bundle.read(f"forecasts/{ids['forecast']}.json") == json.dumps({"twin": ROOM, "of": ADA}).encode()
    assert json.loads(bundle.read("recommendations/decisions.json"))[0]["answer"] == "accepted"
    assert json.loads(bundle.read("recommendations/outcomes.json"))[0]["values"] == {"glucose": 5.0}
    readme = bundle.read("READ ME.txt").decode()
    assert "fhir/" in readme
    assert "Nothing is held here of: received/, documents/" in readme
    folder = tmp_path / "fhir"
    for name in names:
        if name.startswith("fhir/"):
            rows = [decode(line) for line in bundle.read(name).splitlines()]
            assert [issue for row in rows for issue in validate(row) if issue.severity == "error"] == []
            folder.mkdir(exist_ok=True)
            (folder / name.removeprefix("fhir/")).write_bytes(bundle.read(name))
    record, report = read_folder(folder, received=NOW)[0]
    assert (record.series[0].value.tolist(), report.refusals) == ([100.0 + i for i in range(12)], 0)
    assert ask(world, "GET", f"/patients/{ids['patient']}/export", "physician").status_code == 403
    assert BOB.encode() not in told.content


def test_an_erased_patient_is_gone_from_files_memory_and_answers(world, config):
    ids, other = seeded(world, ADA), seeded(world, BOB)
    assert ask(world, "GET", f"/twins/{ids['twin']}/forecast").status_code == 200  # held in memory now
    assert len(world.services.state["hot"]) == 1
    head = world.head("physician") | {"Idempotency-Key": "k"}
    world.client.post(f"{V1}/twins/{ids['twin']}/forecasts", json={}, headers=head)
    body = {"reason": "asked for in writing", "pseudonym": ADA}
    assert ask(world, "POST", f"/patients/{ids['patient']}/erasure", "patient", body=body).status_code == 403
    assert ask(world, "POST", f"/patients/{ids['patient']}/erasure", "administrator", body=body | {"pseudonym": BOB}).status_code == 400
    told = ask(world, "POST", f"/patients/{ids['patient']}/erasure", "administrator", body=body)
    assert (told.status_code, told.json()["scrubbed"], told.json()["unreached"]) == (200, True, [])
    assert len(world.services.state["hot"]) == 0
    for role in ("physician", "service", "administrator"):
        assert (
            ask(
                world, "GET", f"/patients/{ids['patient']}/audit" if role == "administrator" else f"/twins/{ids['twin']}/forecast", role
            ).status_code
            == 404
        )
    assert ask(world, "POST", f"/patients/{ids['patient']}/erasure", "administrator", body=body).status_code == 404
    assert ask(world, "GET", f"/twins/{other['twin']}/forecast", patient=BOB).status_code == 200
    place = Path(config.store.place)
    assert world.look(lambda store: store.check().problems) == ()
    for path in place.parent.iterdir():
        if path.is_file():
            assert ADA.encode() not in path.read_bytes()


def test_who_looked_is_told_to_the_person_and_without_details_to_an_administrator(world):
    ids = seeded(world, ADA)
    ask(world, "GET", f"/patients/{ids['patient']}/series")
    ask(world, "GET", f"/patients/{ids['patient']}/series", patient=BOB)
    mine = ask(world, "GET", f"/patients/{ids['patient']}/audit", "patient").json()["items"]
    assert [(e["who"], e["action"]) for e in mine][:2] == [("Person/physician-of-ada", "read"), ("Person/physician-of-bob", "deny")]
    assert mine[0]["purpose"] == "TREAT"
    assert "consents" in mine[0]["detail"]
    theirs = ask(world, "GET", f"/patients/{ids['patient']}/audit?limit=1", "administrator").json()
    assert set(theirs["items"][0]["detail"]) <= {"role", "request", "alert"}
    rest = ask(world, "GET", f"/patients/{ids['patient']}/audit?cursor={theirs['next']}", "administrator").json()["items"]
    assert rest[0]["seq"] > theirs["items"][0]["seq"]
    sound = ask(world, "GET", "/audit/verification", "administrator").json()
    assert (sound["sound"], sound["entries"] > 3) == (True, True)


def test_the_register_names_what_is_installed_and_what_is_open(world):
    found = ask(world, "GET", "/processing", "administrator").json()
    assert ROOM in {activity["id"] for activity in found["activities"]}
    assert "controller" in found["unanswered"]
    sheet = ask(world, "GET", "/processing/sheet", "administrator")
    assert sheet.headers["content-type"].startswith("text/markdown")
    assert b"OPEN: to be answered by the site" in sheet.content
    assert ask(world, "GET", "/processing").status_code == 403


def test_the_table_of_rights_is_closed():
    """Every right, role, purpose and relation against the table as a person reads it."""
    purposes = ("TREAT", "ETREAT", "HRESCH", "HOPERAT", "PATRQT", "HMARKT", "BTG", "")
    own = {
        "consent": {("patient", "PATRQT"), ("nurse", "TREAT"), ("physician", "TREAT")},
        "object": {("patient", "PATRQT"), ("proxy", "PATRQT"), ("nurse", "TREAT"), ("physician", "TREAT")},
        "erase": set(),
        "register": set(),
    }
    anybody = {
        "consent": {("service", "TREAT"), ("service", "HOPERAT"), ("administrator", "HOPERAT")},
        "object": {("administrator", "HOPERAT")},
        "erase": {("administrator", "HOPERAT")},
        "register": {("administrator", "HOPERAT"), ("service", "HOPERAT")},
    }
    for right, role, purpose, is_own in product(RIGHTS, ROLES, purposes, (True, False)):
        subject = Subject("x", role, patients=frozenset({"p"} if is_own else {"q"}))
        wanted = (role, purpose) in anybody[right] or (is_own and (role, purpose) in own[right])
        assert may(subject, right, purpose, "p") == wanted, (right, role, purpose, is_own)
        if not wanted:
            with pytest.raises(AccessDenied):
                require_right(subject, right, purpose, "p")


def test_only_facts_that_are_there_are_replaced(world):
    record = world.look(lambda store: store.record(ADA))
    for kind in ("reading", "exposure", "finding"):
        with pytest.raises(DataError, match="no such fact"):
            corrected(record, kind, code="loinc:1-8", source="x", time=NOW, now=NOW + HOUR, value=1.0, unit=None)
    assert world.look(lambda store: epoch_of(store, pid(world, ADA))) == 2
