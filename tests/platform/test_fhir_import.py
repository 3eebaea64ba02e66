"""An export of FHIR into a store: once, to the end though it was stopped, and what cannot be placed set aside with its bytes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from _data import require_dataset
from gemel.core.code import Code
from gemel.core.time import to_ns
from gemel.interop.fhir.bulk import pieces, read_piece
from gemel.interop.fhir.codec import decode
from gemel.interop.fhir.mapping import Site
from gemel.platform.adapters import fhir
from gemel.platform.erase import erase
from gemel.platform.fhir_import import FhirImport
from gemel.platform.intake import Intake
from gemel.platform.store import Store
from gemel.platform.store.consents import consents_of
from gemel.platform.store.resources import Resources

NOW = to_ns("2026-01-31T12:00:00Z")


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


def importer(store: Store, **settings) -> FhirImport:
    return FhirImport(store, "hospital", received=NOW, site=Site(name="hospital"), **settings)


def weight(id: str, value: object, **more) -> dict:
    return {
        "resourceType": "Observation", "id": id, "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "subject": {"reference": "Patient/p1"}, "effectiveDateTime": "2026-01-30T08:00:00Z",
        "valueQuantity": {"value": value, "code": "kg", "system": "http://unitsofmeasure.org"},
    } | more  # fmt: skip


def lay(folder: Path, *trees: object) -> Path:
    folder.mkdir()
    (folder / "all.ndjson").write_bytes(b"\n".join(json.dumps(tree).encode() for tree in trees))
    return folder


def test_a_bulk_export_that_was_stopped_goes_on_and_comes_to_the_same(tmp_path: Path, store: Store) -> None:
    parts = list(pieces(require_dataset("fhir-bulk-10")))[:8]
    first = importer(store)
    for piece in parts[:3]:
        assert first.take(piece).is_new
    second = importer(store)
    found = [second.take(piece) for piece in parts]
    assert [one.is_new for one in found] == [False] * 3 + [True] * 5
    assert sum(one.report.read for one in found) == 1202
    with Store(tmp_path / "whole.sqlite") as whole:
        for piece in parts:
            importer(whole).take(piece)
        assert {who: store.record(who).hash for who in store.patients()} == {who: whole.record(who).hash for who in whole.patients()}
        assert len(whole.patients()) == 13
    assert store.check().problems == ()


def test_what_cannot_be_placed_waits_with_its_own_bytes_and_can_be_driven_again(tmp_path: Path, store: Store) -> None:
    bad = weight("bad", 70.0, code={"coding": [{"system": "http://lab.example", "code": "WT"}]})
    (piece,) = pieces(lay(tmp_path / "in", weight("good", 71.0), bad, {"resourceType": "Patient", "id": "p1"}))
    found = importer(store).take(piece)
    assert (found.facts, found.quarantined, found.report.mapped, found.report.refusals) == (1, 1, 2, 1)
    assert [line.fate for line in found.lines] == ["mapped", "refused", "mapped"]
    (waiting,) = store.messages("quarantined")
    assert json.loads(store.message(waiting.seq)[1]) == bad
    assert "site's codes" in waiting.reason
    adapter = fhir.adapter(usual=Site(name="hospital", codes={"http://lab.example|WT": "loinc:29463-7"}))
    assert Intake(store, [adapter]).drive(waiting.seq).state == "done"
    assert sorted(store.record("p1").exact_readings(Code.parse("loinc:29463-7"), unit="kg")[1]) == [
        70.0
    ]  # the later recorded of one moment


def test_a_drug_in_another_file_is_found(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    drug = {
        "resourceType": "Medication",
        "id": "m",
        "code": {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "860975"}]},
    }
    taken = {
        "resourceType": "MedicationStatement", "id": "s", "status": "active", "subject": {"reference": "Patient/p1"}, "effectiveDateTime": "2026-01-01",
        "medicationReference": {"reference": "Medication/m"},
    }  # fmt: skip
    (folder / "MedicationStatement.ndjson").write_text(json.dumps(taken))
    (folder / "Zzz.ndjson.gz").write_bytes(gzip.compress(json.dumps(drug).encode()))
    work = importer(store)
    work.look_ahead(pieces(folder))
    assert sum(work.take(piece).facts for piece in pieces(folder)) == 1
    assert str(store.record("p1").exposures[0].code) == "rxnorm:860975"


def test_consents_go_to_the_consents(tmp_path: Path, store: Store) -> None:
    consent = {
        "resourceType": "Consent", "id": "c", "status": "active", "patient": {"reference": "Patient/p1"}, "dateTime": "2026-01-01",
        "scope": {"coding": [{"code": "patient-privacy"}]}, "policyRule": {"coding": [{"code": "OPTIN"}]},
    }  # fmt: skip
    (piece,) = pieces(lay(tmp_path / "in", consent))
    assert importer(store).take(piece).report.kept == {"Consent: handed to the consents": 1}
    epoch, (kept,) = consents_of(store, store.subject("p1"))
    assert (epoch, kept.id, kept.base) == (1, "c", True)


def test_people_that_are_one_are_read_as_one(tmp_path: Path, store: Store) -> None:
    merged = {"resourceType": "Patient", "id": "p1", "link": [{"other": {"reference": "Patient/p2"}, "type": "replaced-by"}]}
    (piece,) = pieces(lay(tmp_path / "in", weight("a", 70.0), merged, {"resourceType": "Patient", "id": "p2", "gender": "male"}))
    importer(store).take(piece)
    assert len(store.record("p2").series) == 1


def test_two_people_each_replaced_by_the_other_do_not_stop_an_import(tmp_path: Path, store: Store) -> None:
    people = [
        {"resourceType": "Patient", "id": a, "link": [{"other": {"reference": f"Patient/{b}"}, "type": "replaced-by"}]}
        for a, b in (("p1", "p2"), ("p2", "p1"))
    ]
    (piece,) = pieces(lay(tmp_path / "in", *people, weight("a", 70.0)))
    work = importer(store)
    assert work.take(piece).facts == 1
    assert any("was not made" in what for what in work.told)


def test_what_gives_no_fact_is_erased_with_the_person_it_names(tmp_path: Path, store: Store) -> None:
    claim = {"resourceType": "Claim", "id": "c", "patient": {"reference": "Patient/p2"}, "note": "canary-4711"}
    strange = {"resourceType": "Bundle", "type": "collection", "entry": [
        {"fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000001", "resource": {"resourceType": "Patient", "id": "p3"}},
        {"resource": {"resourceType": "Goal", "id": "g", "subject": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000001"}, "note": "canary-4712"}},
    ]}  # fmt: skip
    (piece,) = pieces(lay(tmp_path / "in", claim, strange))
    importer(store).take(piece)
    assert set(store.patients()) == {"p2", "p3"}
    (number,) = (message.seq for message in store.messages())
    assert b"canary" in store.message(number)[1]
    erase(store, "p2", recorded=NOW)
    assert [message for message in store.messages() if message.seq == number and b"canary" in store.message(number)[1]] == []


def test_documents_are_kept_with_their_bytes(tmp_path: Path, store: Store) -> None:
    letter = {
        "resourceType": "DocumentReference", "id": "d", "status": "current", "subject": {"reference": "Patient/p1"}, "date": "2026-01-01T00:00:00Z",
        "content": [{"attachment": {"contentType": "text/plain", "data": "aGVsbG8="}}],
    }  # fmt: skip
    (piece,) = pieces(lay(tmp_path / "in", letter))
    importer(store).take(piece)
    (document,) = store.record("p1").documents
    assert store.get_bytes("p1", document.sha256) == b"hello"


def test_resources_are_kept_once_and_by_their_addresses(store: Store) -> None:
    resources = Resources(store)
    parts = sorted(pieces(require_dataset("synthea-r4")), key=lambda piece: len(piece.body))[:2]
    unlike = {
        (entry["resource"]["resourceType"], entry["resource"]["id"])
        for part in parts
        for _, tree, _ in read_piece(part)
        for entry in tree["entry"]
    }
    for again in range(2):
        work = FhirImport(store, f"hospital{again}", received=NOW + again * 10**9, site=Site(name="hospital"), keep_resources=True)
        for piece in parts:
            work.take(piece)
        assert work.kept == (len(unlike) if again == 0 else 0)
    for _, tree, _ in read_piece(parts[0]):
        for entry in tree["entry"]:
            given = entry["resource"]
            stored = resources.find(given["resourceType"], given["id"])
            assert stored is not None
            assert stored.vid == 1
            body = decode(resources.body(stored))
            assert "urn:uuid:" not in str({key: value for key, value in body.items() if key not in ("identifier", "text")})
            assert {key for key in body if key != "meta"} == {key for key in given if key != "meta"}
