"""The FHIR server as its users meet it: what goes in comes out, what is wrong is refused by its place, what is hidden stays hidden."""

from __future__ import annotations

import gzip
import json
import threading

import pytest
from _fhir_trees import JSON, tree
from _world import ADA, BOB, NOW

from _data import require_dataset
from _fhir import as_text, examples, synthea
from gemel.interop.fhir.codec import decode, encode
from gemel.platform.consent import Consent
from gemel.platform.store.consents import consents_of, put_consent
from gemel.server.config import ServerConfig

BASE = "/fhir/R4"
OURS = "http://127.0.0.1:8765/fhir/R4"


@pytest.fixture
def validation() -> str:
    return "strict"


@pytest.fixture
def config(tmp_path, validation) -> ServerConfig:
    return ServerConfig.model_validate({
        "fhir": {"validation": validation},
        "store": {"place": str(tmp_path / "s.sqlite"), "readers": 2}, "audit": {"sign": False}, "worker": {"count": 0},
        "limits": {"per_token": 10_000, "per_address": 10_000, "burst": 100_000},
    })  # fmt: skip


@pytest.fixture
def ask(world):
    """Ask as a service that may do everything; ``role`` is somebody else."""

    def asked(method, path, body=None, *, role="service", headers=None, **rest):
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        head = world.head(role) | (JSON if body is not None else {}) | (headers or {})
        return world.client.request(method, BASE + path, content=content, headers=head, **rest)

    return asked


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [entry["resource"]["id"] for entry in answer.json().get("entry", []) if entry["search"]["mode"] == "match"]


def heart(patient: str, value: float = 70, **more) -> dict:
    quantity = {"value": value, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}
    return {
        key: one
        for key, one in tree("Observation", patient, effectiveDateTime="2026-01-01T08:00:00Z", valueQuantity=quantity, **more).items()
        if key != "id"
    }


def permit(world, patient: str) -> None:
    world.write(lambda store: put_consent(store, patient, Consent("all", patient, True, given=1), recorded=NOW))


def test_create_read_update_delete_with_versions(ask, world):
    raw = json.dumps(heart(ADA)).replace('"value": 70', '"value": 70.00').encode()
    made = ask("POST", "/Observation", raw)
    assert (made.status_code, made.headers["etag"]) == (201, 'W/"1"')
    place = made.headers["location"].removeprefix(OURS)
    rid = place.split("/")[2]
    read = ask("GET", f"/Observation/{rid}")
    assert b'"value":70.00' in read.content
    assert read.headers["content-type"] == "application/fhir+json"
    assert ask("GET", f"/Observation/{rid}", headers={"If-None-Match": 'W/"1"'}).status_code == 304
    changed = {**heart(ADA, 71), "id": rid}
    assert ask("PUT", f"/Observation/{rid}", changed, headers={"If-Match": 'W/"7"'}).status_code == 412
    assert ask("PUT", f"/Observation/{rid}", changed, headers={"If-Match": 'W/"1"'}).headers["etag"] == 'W/"2"'
    patch = [{"op": "test", "path": "/status", "value": "final"}, {"op": "replace", "path": "/status", "value": "amended"}]
    assert ask("PATCH", f"/Observation/{rid}", patch, headers={"Content-Type": "application/json-patch+json"}).json()["status"] == "amended"
    fhirpath = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
        {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": "Observation.status"}, {"name": "value", "valueCode": "corrected"}]}]}  # fmt: skip
    assert ask("PATCH", f"/Observation/{rid}", fhirpath).json()["status"] == "corrected"
    failed = ask(
        "PATCH", f"/Observation/{rid}", [{"op": "remove", "path": "/nothing"}], headers={"Content-Type": "application/json-patch+json"}
    )
    assert failed.status_code == 400
    assert ask("DELETE", f"/Observation/{rid}").status_code == 204
    assert ask("GET", f"/Observation/{rid}").status_code == 410
    assert ask("GET", f"/Observation/{rid}/_history/1").status_code == 200
    told = ask("GET", f"/Observation/{rid}/_history").json()
    assert [entry["request"]["method"] for entry in told["entry"]] == ["DELETE", "PUT", "PUT", "PUT", "POST"]
    assert told["total"] == 5
    assert ask("DELETE", "/Observation/never-there").status_code == 404
    assert ask("GET", "/Patient/_history").status_code == 200
    assert ask("GET", "/_history", params={"_count": "2"}).json()["link"][1]["relation"] == "next"
    actions = {event.kind for event in world.look(lambda store: store.events())}
    assert "resource" in actions


def test_what_is_wrong_is_refused_with_its_place(ask):
    told = ask("POST", "/Observation", {**heart(ADA), "status": "bogus", "effectiveDateTime": "yesterday"})
    assert told.status_code == 422
    assert {issue["expression"][0] for issue in told.json()["issue"]} == {"Observation.status", "Observation.effectiveDateTime"}
    assert ask("POST", "/Observation", {"resourceType": "Patient"}).status_code == 400
    assert ask("POST", "/Nonsense", {"resourceType": "Nonsense"}).status_code == 400
    assert ask("POST", "/Observation", b'{"resourceType":"Observation","resourceType":"Patient"}').status_code == 400
    assert ask("POST", "/Observation", b'{"resourceType":"Observation","valueInteger":1e999}').status_code == 400
    assert ask("POST", "/Observation", b'{"a":' * 5000 + b"1" + b"}" * 5000).status_code == 400
    assert ask("POST", "/Observation", b"<x/>", headers={"Content-Type": "text/csv"}).status_code == 415
    assert (
        ask(
            "POST", "/Observation", json.dumps(heart(ADA)).encode(), headers={"Content-Type": "application/fhir+json; charset=latin-1"}
        ).status_code
        == 415
    )
    bomb = (
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Observation xmlns="http://hl7.org/fhir"><status value="&b;"/></Observation>'
    )
    assert ask("POST", "/Observation", bomb, headers={"Content-Type": "application/fhir+xml"}).status_code == 400
    assert ask("GET", "/Patient", headers={"Accept": "application/fhir+xml"}).status_code == 406
    assert ask("PUT", "/Observation/a", {**heart(ADA), "id": "b"}).status_code == 400
    assert ask("GET", "/Observation/x/_history", params={"_foo": "1"}).status_code == 400
    for answer in (ask("GET", "/Observation", params={"cdoe": "1"}), ask("GET", "/Observation", params={"code:text": "1"})):
        assert answer.status_code == 400
        assert answer.json()["resourceType"] == "OperationOutcome"
    assert "cdoe" in ask("GET", "/Observation", params={"cdoe": "1"}).text
    lenient = ask("GET", "/Observation", params={"cdoe": "1"}, headers={"Prefer": "handling=lenient"}).json()
    assert lenient["entry"][-1]["resource"]["issue"][0]["diagnostics"] == "ignored: cdoe"
    assert "cdoe" not in lenient["link"][0]["url"]
    assert ask("POST", "/Observation/$validate", {**heart(ADA), "status": "bogus"}).json()["issue"][0]["expression"] == [
        "Observation.status"
    ]


def test_xml_goes_in(ask):
    raw = (
        f'<Patient xmlns="http://hl7.org/fhir"><id value="{ADA}"/><active value="true"/><birthDate value="1970-01-01"/></Patient>'.encode()
    )
    assert ask("PUT", f"/Patient/{ADA}", raw, headers={"Content-Type": "application/fhir+xml"}).status_code == 201
    assert ask("GET", f"/Patient/{ADA}").json()["birthDate"] == "1970-01-01"


def test_a_condition_makes_a_creation_happen_once(ask):
    body = heart(ADA, identifier=[{"system": "urn:lab", "value": "7,8"}])
    first = ask("POST", "/Observation", body, headers={"If-None-Exist": "identifier=urn:lab|7\\,8"})
    again = ask("POST", "/Observation", body, headers={"If-None-Exist": "identifier=urn:lab|7\\,8"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.headers["location"].startswith(again.headers["location"])
    put = ask("PUT", "/Observation", heart(ADA, 99, identifier=body["identifier"]), params={"identifier": "urn:lab|7\\,8"})
    assert (put.status_code, put.headers["etag"]) == (200, 'W/"2"')
    ask("POST", "/Observation", body)
    assert ask("PUT", "/Observation", body, params={"identifier": "urn:lab|7\\,8"}).status_code == 412
    assert ask("DELETE", "/Observation", params={"identifier": "urn:lab|nothing"}).status_code == 204


def test_pages_hold_nothing_of_what_was_asked_and_lose_nothing_while_others_write(ask):
    for i in range(23):
        ask("PUT", f"/Observation/n{i:02d}", {**heart(ADA, 60 + i), "id": f"n{i:02d}"})
    before, seen, stop = ids(ask("GET", "/Observation", params={"patient": ADA, "_count": "1000"})), [], threading.Event()

    def write():
        i = 0
        while not stop.is_set():
            ask("POST", "/Observation", heart(ADA, 5))
            ask("DELETE", f"/Observation/n{22 - i % 20:02d}")
            i += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        answer = ask("GET", "/Observation", params={"patient": ADA, "_count": "4", "_sort": "value-quantity"})
        while True:
            told = answer.json()
            seen += ids(answer)
            assert told["total"] >= len(before)
            following = [link["url"] for link in told["link"] if link["relation"] == "next"]
            if not following:
                break
            assert ADA not in following[0]
            answer = ask("GET", following[0].removeprefix(OURS))
    finally:
        stop.set()
        writer.join()
    assert len(seen) == len(set(seen)) == told["total"]
    assert set(before) <= set(seen) | {"n22"}  # the first deletion may have come before the first page


def bundle(*entries: dict, kind: str = "transaction") -> dict:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def one(method: str, url: str, resource: dict | None = None, full: str | None = None, **request) -> dict:
    made: dict = {"request": {"method": method, "url": url, **request}}
    return made | ({"resource": resource} if resource else {}) | ({"fullUrl": full} if full else {})


def test_a_transaction_is_whole_or_nothing_and_its_references_lead_somewhere(ask, world):
    new = "urn:uuid:11111111-1111-4111-8111-111111111111"
    told = ask("POST", "", bundle(
        one("POST", "Observation", {**heart("x"), "subject": {"reference": new}, "performer": [{"reference": "Practitioner?identifier=urn:staff|1"}]}),
        one("POST", "Patient", {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "1"}]}, new, ifNoneExist="identifier=urn:mrn|1"),
        one("POST", "Practitioner", {"resourceType": "Practitioner", "identifier": [{"system": "urn:staff", "value": "1"}]}), one("GET", "Patient?_count=0"),
    ))  # fmt: skip
    assert told.status_code == 200, told.text
    answers = [entry["response"] for entry in told.json()["entry"]]
    assert [answer["status"].split()[0] for answer in answers] == ["201", "201", "201", "200"]
    patient = answers[1]["location"].split("/")[-3]
    permit(world, patient)
    observation = ask("GET", answers[0]["location"].removeprefix(OURS)).json()
    assert observation["subject"]["reference"] == f"Patient/{patient}"
    assert observation["performer"][0]["reference"].startswith("Practitioner/")
    again = ask("POST", "", bundle(one("POST", "Patient", {"resourceType": "Patient"}, new, ifNoneExist="identifier=urn:mrn|1"),
                                   one("POST", "Observation", {**heart("x", 9), "subject": {"reference": new}})))  # fmt: skip
    assert again.json()["entry"][0]["response"]["status"] == "200 OK"
    assert len(ids(ask("GET", "/Observation", params={"patient": patient}))) == 2
    count = ask("GET", "/_history").json()["total"]
    for bad, status in (
        (one("PUT", "Observation/z", {**heart(ADA), "id": "z"}, ifMatch='W/"3"'), 412), (one("POST", "Observation", {**heart(ADA), "status": "bogus"}), 422),
        (one("POST", "Observation", {**heart(ADA), "performer": [{"reference": "Practitioner?identifier=nobody"}]}), 400), (one("BREW", "Tea"), 400),
    ):  # fmt: skip
        refused = ask("POST", "", bundle(one("POST", "Observation", heart(ADA)), bad))
        assert refused.status_code == status, refused.text
    assert (
        "Bundle.entry[1].resource.Observation.status"
        in ask(
            "POST", "", bundle(one("POST", "Observation", heart(ADA)), one("POST", "Observation", {**heart(ADA), "status": "bogus"}))
        ).text
    )
    assert ask("GET", "/_history").json()["total"] == count
    batch = ask("POST", "", bundle(one("POST", "Observation", heart(ADA)), one("PUT", "Observation/z", {**heart(ADA), "id": "z"}, ifMatch='W/"3"'),
                                   one("GET", f"Patient/{patient}"), one("GET", "Patient/nobody"), kind="batch")).json()  # fmt: skip
    assert [entry["response"]["status"].split()[0] for entry in batch["entry"]] == ["201", "412", "200", "404"]


def test_what_is_written_is_a_fact_at_once_and_taken_back_with_it(ask, world):
    rid = ask("PUT", "/Observation/f1", {**heart(ADA, 61), "id": "f1"}).json()["id"]

    def pulse():
        record = world.look(lambda store: store.record(ADA)).as_of(world.clock())
        return [list(series.value) for series in record.series if series.code.code == "8867-4"]

    assert pulse() == [[61.0]]
    ask("PUT", f"/Observation/{rid}", {**heart(ADA, 62), "id": rid})
    assert pulse()[0][-1:] == [62.0]
    ask("DELETE", f"/Observation/{rid}")
    assert [value for values in pulse() for value in values] == []


def test_a_consent_takes_effect_from_whom_it_is_believed_only(ask, world):
    told = {"resourceType": "Consent", "status": "active", "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
            "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}], "patient": {"reference": f"Patient/{ADA}"}, "dateTime": "2026-01-01",
            "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT"}]}}  # fmt: skip
    assert ask("POST", "/Consent", told, role="device").status_code == 403
    before = len(world.look(lambda store: consents_of(store, world.ids[ADA])[1]))
    ask("POST", "/Observation", heart(ADA))
    assert ids(ask("GET", "/Observation", params={"patient": ADA}, role="physician")) != []
    assert ask("POST", "/Consent", told).status_code == 201
    assert len(world.look(lambda store: consents_of(store, world.ids[ADA])[1])) == before + 1
    assert ids(ask("GET", "/Observation", params={"patient": ADA}, role="physician")) == []


def test_nobody_sees_what_is_not_theirs(ask, world):
    for patient in (ADA, BOB):
        ask("PUT", f"/Observation/v-{patient}", {**heart(patient), "id": f"v-{patient}"})
        ask(
            "PUT",
            f"/Patient/{patient}",
            {"resourceType": "Patient", "id": patient, "generalPractitioner": [{"reference": "Organization/ward"}]},
        )
    ask("PUT", "/Organization/ward", {"resourceType": "Organization", "id": "ward", "name": "Ward"})
    ask(
        "PUT",
        "/Group/g",
        {"resourceType": "Group", "id": "g", "type": "person", "actual": True, "member": [{"entity": {"reference": f"Patient/{BOB}"}}]},
    )
    for role in ("patient", "physician", "nurse"):
        assert ids(ask("GET", "/Observation", role=role)) == [f"v-{ADA}"]
        told = ask("GET", "/Organization", params={"_revinclude": "*"}, role=role).json()
        assert [entry["resource"]["id"] for entry in told["entry"]] == ["ward", ADA]
        assert ids(ask("GET", "/Organization", params={"_has:Patient:general-practitioner:_id": BOB}, role=role)) == []
        assert ask("GET", "/Group/g", role=role).status_code == 404
        assert ask("GET", "/Observation", params={"_summary": "count"}, role=role).json()["total"] == 1
    assert ask("GET", "/Observation", role="researcher").json()["total"] == 0
    assert ask("GET", "/Observation", role="administrator").status_code == 403
    assert ask("GET", "/Observation", headers={"X-Purpose-Of-Use": "HMARKT"}).status_code == 403
    assert ask("POST", "/Observation", heart(BOB), role="physician").status_code == 404
    assert ask("DELETE", f"/Observation/v-{BOB}", role="physician").status_code == 404
    assert ask("PUT", f"/Observation/v-{BOB}", {**heart(ADA), "id": f"v-{BOB}"}, role="physician").status_code == 404  # nor taken over
    narrow = world.head("service", scope="system/Patient.rs")
    assert world.client.get(f"{BASE}/Observation", headers=narrow).status_code == 403
    told = world.client.get(f"{BASE}/Patient", params={"_revinclude": "Observation:subject"}, headers=narrow).json()
    assert {entry["resource"]["resourceType"] for entry in told["entry"]} == {"Patient"}


@pytest.mark.data
@pytest.mark.parametrize("validation", ["off"])  # the examples have errors of their own, which another test counts
def test_every_official_example_is_stored_and_returned_lossless(ask, world, validation):
    told = examples("hl7.fhir.r4") or examples()
    assert validation == "off"
    kept, lost = 0, []
    trees = sorted(
        ((name, decode(raw)) for name, raw in told), key=lambda pair: pair[1]["resourceType"] == "Consent"
    )  # what they forbid comes last
    places = []
    for at in range(0, len(trees), 50):
        part = [one("POST", tree["resourceType"]) | {"resource": None} for _, tree in trees[at : at + 50]]
        body = encode(bundle(*[{**entry, "resource": tree} for entry, (_, tree) in zip(part, trees[at : at + 50], strict=True)]))
        answer = ask("POST", "", body)
        assert answer.status_code == 200, answer.text[:500]
        places += [entry["response"]["location"].removeprefix(OURS) for entry in answer.json()["entry"]]
    everybody = world.look(lambda store: store.patients())
    world.write(lambda store: [put_consent(store, who, Consent("zz", who, True, given=NOW - 1), recorded=NOW) for who in everybody])
    for (name, sent), place in zip(trees, places, strict=True):
        answer = ask("GET", place)
        back = decode(answer.content) if answer.status_code == 200 else {}
        same = all(as_text(encode(value)) == as_text(encode(back.get(key))) for key, value in sent.items() if key not in ("id", "meta"))
        kept += same
        if not same:
            lost.append((name, answer.status_code))
    assert (kept, lost) == (len(trees), [])
    assert kept >= 583


@pytest.mark.data
def test_a_synthea_patient_goes_in_and_every_resource_is_found(ask, world):
    raw = next(raw for _, raw in synthea())
    answer = ask("POST", "", raw)
    assert answer.status_code == 200, answer.text[:800]
    told = [entry["response"]["location"].removeprefix(OURS + "/").split("/") for entry in answer.json()["entry"]]
    patient = next(rid for kind, rid, *_ in told if kind == "Patient")
    permit(world, patient)
    for kind in sorted({kind for kind, *_ in told}):
        wanted = {rid for one_kind, rid, *_ in told if one_kind == kind}
        assert set(ids(ask("GET", f"/{kind}", params={"_count": "1000"}))) == wanted
    assert len(ids(ask("GET", "/Observation", params={"combo-code": "8480-6", "patient": patient}))) > 0
    assert sum(len(series.value) for series in world.look(lambda store: store.record(patient)).series) > 20
    assert world.look(lambda store: store.check()).problems == ()


@pytest.mark.data
def test_a_bulk_export_with_references_that_lead_nowhere_is_kept_whole(ask, world):
    told: dict[str, list[dict]] = {}
    for path in sorted(require_dataset("fhir-bulk-10").glob("*.ndjson.gz")):
        raw = gzip.decompress(path.read_bytes())
        for line in raw.splitlines()[:25]:
            tree_ = json.loads(line)
            told.setdefault(tree_["resourceType"], []).append(tree_)
    sent = 0
    for kind, trees in told.items():
        answer = ask("POST", "", bundle(*[one("PUT", f"{kind}/{tree_['id']}", tree_) for tree_ in trees], kind="batch"))
        statuses = {entry["response"]["status"] for entry in answer.json()["entry"]}
        assert statuses == {"201 Created"}, (kind, answer.text[:600])
        sent += len(trees)
    for who in world.look(lambda store: store.patients()):
        permit(world, who)
    for kind, trees in told.items():
        assert set(ids(ask("GET", f"/{kind}", params={"_count": "1000"}))) >= {tree_["id"] for tree_ in trees}
    assert sent > 150
    assert world.look(lambda store: store.check()).problems == ()


def test_the_capability_statement_is_true(ask, world):
    """Ask for what it says; one type of each sort."""
    told = ask("GET", "/metadata").json()
    assert (told["fhirVersion"], told["kind"]) == ("4.0.1", "instance")
    resources = {one["type"]: one for one in told["rest"][0]["resource"]}
    assert len(resources) >= 146
    for kind in ("Observation", "Patient", "Organization", "Claim", "ValueSet", "Group"):
        for parameter in resources[kind]["searchParam"]:
            value = {"date": "2024", "number": "1", "quantity": "1", "reference": "Patient/x" if "Patient" in str(parameter) else "x"}.get(
                parameter["type"], "x"
            )
            if parameter["type"] == "composite":
                continue
            answer = ask("GET", f"/{kind}", params={parameter["name"]: value})
            assert answer.status_code == 200, (kind, parameter, answer.text)
        for include in resources[kind]["searchInclude"]:
            assert ask("GET", f"/{kind}", params={"_include": include}).status_code == 200, include
        assert (
            ask(
                "GET",
                f"/{kind}",
                params={"_revinclude": "*", "_sort": "-_lastUpdated", "_total": "accurate", "_elements": "id", "_summary": "false"},
            ).status_code
            == 200
        )
    assert {"code": "history-system"} in told["rest"][0]["interaction"]


def test_nothing_of_a_patient_stands_in_errors_or_logs(ask, world, caplog):
    caplog.set_level("DEBUG")
    word = "Zephyrine-Canary"
    ask("PUT", f"/Patient/{ADA}", {"resourceType": "Patient", "id": ADA, "name": [{"family": word}]})
    answers = [ask("GET", "/Patient", params={"name:contains": word}), ask("GET", "/Patient", params={"birthdate": word}),
               ask("POST", "/Patient", {"resourceType": "Patient", "name": word}), ask("GET", "/Patient", params={"_sort": word}),
               ask("PATCH", f"/Patient/{ADA}", [{"op": "test", "path": "/name/0/family", "value": "x"}], headers={"Content-Type": "application/json-patch+json"})]  # fmt: skip
    assert {answer.status_code for answer in answers} <= {400, 422}
    assert all(word not in answer.text for answer in (*answers[:2], answers[4]))
    assert word not in " ".join(record.getMessage() + str(record.__dict__) for record in caplog.records if record.name.startswith("gemel"))
