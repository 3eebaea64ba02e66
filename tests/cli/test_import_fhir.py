"""``gemel import`` of FHIR: what became of every resource, once, line by line when asked."""

from __future__ import annotations

import json

from _data import require_dataset

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"


def observation(id: str, code: str = "29463-7", system: str = LOINC) -> dict:
    return {
        "resourceType": "Observation", "id": id, "status": "final", "code": {"coding": [{"system": system, "code": code}]},
        "subject": {"reference": "Patient/p1"}, "effectiveDateTime": "2026-01-30T08:00:00Z", "valueQuantity": {"value": 70.5, "code": "kg", "system": UCUM},
    }  # fmt: skip


def test_simulated_patients_are_stored_once_and_every_resource_has_a_fate(gemel):
    source = str(require_dataset("synthea-r4"))
    first = gemel("import", source, "--db", "s.sqlite", "--json")
    assert first.code == 0
    told = first.json()
    assert (told["report"]["read"], told["report"]["mapped"], sum(told["report"]["kept"].values())) == (3578, 2638, 940)
    assert (len(told["patients"]), told["new_facts"], told["quarantined"]) == (10, 2701, 0)
    again = gemel("import", source, "--db", "s.sqlite", "--json").json()
    assert (again["new_facts"], again["pieces_before"], again["report"]["duplicates"]) == (0, 10, 3578)


def test_line_by_line_with_the_site_s_own_codes(gemel, tmp_path):
    lines = [
        observation("a"),
        observation("b", "WT", "http://lab.example"),
        {"resourceType": "Patient", "id": "p1"},
        {"resourceType": "Claim", "id": "c"},
    ]
    (tmp_path / "x.ndjson").write_text("\n".join(map(json.dumps, lines)) + "\nnot json\n")
    told = gemel("import", "x.ndjson", "--db", "s.sqlite", "--verbose")
    assert told.code == 1
    assert "x.ndjson:1: Observation: mapped" in told.out
    assert "x.ndjson:2: Observation: refused: code-unknown" in told.out
    assert "x.ndjson:4: Claim: kept: not mapped" in told.out
    assert "x.ndjson:5: not read: refused: not JSON" in told.out
    assert "70.5" not in told.out
    (tmp_path / "site.toml").write_text('name = "ward"\n[codes]\n"http://lab.example|WT" = "loinc:3141-9"\n')
    told = gemel("import", "x.ndjson", "--db", "t.sqlite", "--site", "site.toml", "--json", "--verbose").json()
    assert {one["place"]: one["fate"] for one in told["resources"]}["x.ndjson:2"] == "mapped"
    assert told["new_facts"] == 2


def test_what_waits_in_quarantine_is_placed_once_the_site_knows_its_code(gemel, tmp_path):
    (tmp_path / "x.ndjson").write_text(json.dumps(observation("b", "WT", "http://lab.example")) + "\nnonsense\n")
    assert gemel("import", "x.ndjson", "--db", "s.sqlite").code == 1
    assert gemel("quarantine", "redrive", "s.sqlite").code == 1
    (tmp_path / "site.toml").write_text('[codes]\n"http://lab.example|WT" = "loinc:3141-9"\n')
    told = gemel("quarantine", "redrive", "s.sqlite", "--site", "site.toml", "--json").json()["messages"]
    assert sorted((row["placed"], row["new_facts"]) for row in told) == [(False, 0), (True, 1)]
    assert len(gemel("quarantine", "list", "s.sqlite", "--json").json()["messages"]) == 1


def test_without_a_store_people_are_shown(gemel, tmp_path):
    (tmp_path / "b.json").write_text(
        json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": observation("a")}]})
    )
    told = gemel("import", "b.json", "--json").json()["people"]
    assert (told[0]["patient"], told[0]["report"]["format"], told[0]["report"]["mapped"]) == ("p1", "fhir", 1)


def test_settings_that_a_site_has_no_place_for(gemel, tmp_path):
    (tmp_path / "x.ndjson").write_text(json.dumps(observation("a")))
    (tmp_path / "site.toml").write_text('nmae = "ward"\n')
    told = gemel("import", "x.ndjson", "--db", "s.sqlite", "--site", "site.toml")
    assert told.code != 0
    assert "nmae" in told.err
    assert gemel("import", "x.ndjson", "--db", "s.sqlite", "--id", "me").code == 2


def test_what_came_as_fhir_leaves_as_it_came_and_the_rest_as_resources_of_its_facts(gemel, tmp_path):
    lines = [
        observation("a"),
        {"resourceType": "Patient", "id": "p1", "gender": "female"},
        {"resourceType": "Claim", "id": "c", "patient": {"reference": "Patient/p1"}},
    ]
    (tmp_path / "x.ndjson").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "sensor.csv").write_text("time,glucose_mg_dl\n2026-01-30T08:00Z,110\n2026-01-30T08:05Z,112\n")
    assert gemel("import", "x.ndjson", "--db", "s.sqlite", "--resources").code == 0
    assert gemel("import", "sensor.csv", "--id", "p1", "--db", "s.sqlite").code == 0
    told = gemel("export", "s.sqlite", "--format", "fhir", "-o", "out", "--json").json()["resources"]
    assert {kind: tuple(row.values()) for kind, row in told.items()} == {"Observation": (1, 2), "Patient": (1, 0), "Claim": (1, 0)}
    back = [json.loads(line) for line in (tmp_path / "out" / "Observation.ndjson").read_text().splitlines()]
    assert {k: v for k, v in back[0].items() if k != "meta"} == observation("a")
    assert '"value":70.5' in (tmp_path / "out" / "Observation.ndjson").read_text()
    again = gemel("import", "out", "--format", "fhir", "--json").json()["people"]
    assert [(one["patient"], one["report"]["mapped"], one["report"]["refused"]) for one in again] == [("p1", 4, [])]
    assert gemel("export", "s.sqlite", "--format", "fhir", "-o", "out").code == 2
