"""What is sent is kept first, then read; what cannot be placed waits with its reason and is read again when it is asked for."""

from __future__ import annotations

import json

from _seeds import V1, pid
from _world import ADA, BOB, NOW

from gemel.core.time import DAY, HOUR, iso
from gemel.server.importing import drive
from gemel.testing.messages import Result, result_message


def send(world, body, query, role="service", **head):
    headers = world.head(role) | {"Content-Type": "application/octet-stream"} | head
    return world.client.request("POST", f"{V1}/imports?{query}", headers=headers, content=body)


def get(world, path, role="service", **rest):
    return world.client.get(V1 + path, headers=world.head(role, **rest))


def work(world):
    """Read what waits, as the background service does."""
    job = world.write(lambda store: store.claim("import", "w", now=NOW + DAY))
    asked = json.loads(job.body)
    told = world.client.run(drive(world.services, asked["message"], patient=asked.get("subject", ""), layout=asked.get("layout")))
    world.write(lambda store: store.finish(job.id, "w", result=json.dumps({"kind": "import", **told}), now=NOW + DAY))
    return told


def observation(patient):
    return {
        "resourceType": "Observation", "id": "o1", "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": iso(NOW - HOUR), "issued": iso(NOW - HOUR),
        "valueQuantity": {"value": 61, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    }  # fmt: skip


def test_fhir_and_hl7_say_themselves_whom_they_are_about(world):
    made = send(world, json.dumps(observation(ADA)).encode(), "format=fhir&name=o1.json")
    assert made.status_code == 202
    again = send(world, json.dumps(observation(ADA)).encode(), "format=fhir&name=o1.json")
    assert again.json()["id"] == made.json()["id"]  # the same bytes are one message
    told = work(world)
    assert (told["state"], told["facts"], told["patients"]) == ("done", 1, [pid(world, ADA)])
    shown = get(world, made.headers["location"].removeprefix(V1)).json()
    assert (shown["report"]["read"], shown["report"]["mapped"]) == (1, 1)
    assert ADA not in json.dumps(shown)
    assert send(world, json.dumps(observation(ADA)).encode(), "format=fhir&name=o1.json").status_code == 200
    body = result_message([Result("8867-4", "Heart rate", "/min", 64.0, NOW - HOUR)], patient=BOB, control="1", sent=NOW)
    send(world, body, "format=hl7v2&source=lab")
    told = work(world)
    assert (told["state"], told["facts"], len(told["patients"])) == ("done", 1, 1)


def test_what_cannot_be_placed_waits_and_is_read_again(world):
    made = send(world, b'{"resourceType": "Observation", "id": "x"', "format=fhir&name=x.json")
    told = work(world)
    assert (told["state"], told["facts"]) == ("quarantined", 0)
    number = told["id"]
    rows = get(world, "/quarantine", "administrator").json()["items"]
    assert [(row["id"], bool(row["reason"])) for row in rows] == [(number, True)]
    assert get(world, f"/quarantine/{number}", "administrator").json()["state"] == "quarantined"
    head = world.head("administrator")
    again = world.client.post(f"{V1}/quarantine/{number}/redrive", headers=head)
    assert (again.status_code, again.json()["kind"]) == (202, "import")
    assert work(world)["state"] == "quarantined"
    assert (
        world.client.post(f"{V1}/quarantine/{number}/redrive", headers=head).json()["id"] != again.json()["id"]
    )  # another try is another piece of work
    assert get(world, "/quarantine", "physician").status_code == 403
    assert made.json()["state"] == "waiting"


def test_who_treats_some_may_add_to_those_and_must_say_to_whom(world):
    lines = b"time,glucose [mg/dL]\n2026-01-01T00:00:00Z,100\n2026-01-01T00:05:00Z,101\n"
    assert send(world, lines, f"format=file&patient={pid(world, ADA)}&name=a.csv", "physician").status_code == 202
    assert work(world)["facts"] == 2
    assert send(world, lines, f"format=file&patient={pid(world, BOB)}&name=a.csv", "physician").status_code == 404
    assert send(world, json.dumps(observation(BOB)).encode(), "format=fhir", "physician").status_code == 403
    assert send(world, lines, "format=file&name=a.csv", "physician").status_code == 400
    assert send(world, b"", f"format=file&patient={pid(world, ADA)}", "physician").status_code == 400
    assert send(world, lines, f"format=file&patient={pid(world, ADA)}&source=../etc", "physician").status_code == 400
    assert send(world, lines, f"format=file&patient={pid(world, ADA)}", "patient").status_code == 403
    world.write(lambda store: store.receive("file/api", b"time,glucose", received=NOW, name="b.csv"))
    number = world.look(lambda store: store.messages("waiting"))[-1].seq
    assert world.client.run(drive(world.services, number))["reason"].startswith("nobody can tell whose file this is")
