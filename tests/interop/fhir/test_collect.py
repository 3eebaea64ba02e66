"""Exports as they lie on a disk: pieces, versions, duplicates, references, and two results of one moment."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _data import require_dataset
from _fhir import examples, synthea
from gemel.core.code import Code
from gemel.core.errors import FormatError
from gemel.core.time import to_ns
from gemel.interop.fhir.bulk import LINES, Broken, Piece, is_export, pieces, read_piece
from gemel.interop.fhir.codec import decode
from gemel.interop.fhir.collect import Collector, entries
from gemel.interop.fhir.links import Follow
from gemel.interop.fhir.reading import is_clinical, read_folder

NOW = to_ns("2026-01-31T12:00:00Z")
WEIGHT = Code.parse("loinc:29463-7")


def weight(id: str, value: float, at: str = "2026-01-30T08:00:00Z", **more) -> dict:
    return {
        "resourceType": "Observation", "id": id, "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "subject": {"reference": "Patient/p1"}, "effectiveDateTime": at, "valueQuantity": {"value": value, "code": "kg", "system": "http://unitsofmeasure.org"},
    } | more  # fmt: skip


def read(*trees: dict, **settings):
    collector = Collector("test", NOW, **settings)
    for number, tree in enumerate(trees):
        collector.add(str(number), tree)
    return collector.finish()


def test_the_same_resource_again_is_a_duplicate() -> None:
    report = read(weight("a", 70.0), weight("a", 70.0)).report
    assert (report.read, report.mapped, report.duplicates) == (2, 1, 1)


def test_versions_are_read_in_their_order_whatever_the_order_of_the_source() -> None:
    first = weight("a", 70.0, meta={"versionId": "1", "lastUpdated": "2026-01-30T09:00:00Z"})
    second = weight("a", 71.0, status="corrected", meta={"versionId": "2", "lastUpdated": "2026-01-30T10:00:00Z"})
    for order in ((first, second), (second, first)):
        (record,) = read(*order).records()
        assert record.as_of(NOW).series[0].value.tolist() == [71.0]
        assert record.as_of(to_ns("2026-01-30T09:30:00Z")).series[0].value.tolist() == [70.0]


def test_two_results_of_one_moment_both_stay() -> None:
    found = read(weight("a", 70.0), weight("b", 75.0))
    (record,) = found.records()
    assert sorted(record.exact_readings(WEIGHT, unit="kg")[1]) == [70.0, 75.0]
    assert any("one moment" in what for what in found.report.repaired)


def test_a_correction_of_one_of_two_results_of_one_moment_leaves_the_other_alone() -> None:
    first = [weight(id, value, meta={"lastUpdated": "2026-01-30T09:00:00Z"}) for id, value in (("a", 70.0), ("b", 75.0))]
    mended = weight("b", 76.0, status="corrected", effectiveDateTime="2026-01-30T08:00:00Z", meta={"lastUpdated": "2026-01-30T10:00:00Z"})
    (record,) = read(*first, mended).records()
    assert sorted(record.as_of(NOW).exact_readings(WEIGHT, unit="kg")[1]) == [70.0, 76.0]
    moved = mended | {"effectiveDateTime": "2026-01-30T07:00:00Z"}
    (record,) = read(*first, moved).records()
    assert sorted(record.as_of(NOW).exact_readings(WEIGHT, unit="kg")[1]) == [70.0, 76.0]


def test_references_that_lead_nowhere_are_listed() -> None:
    held = weight("a", 70.0, encounter={"reference": "Encounter/e1"}, performer=[{"reference": "Practitioner?identifier=http://n|1"}])
    assert read(held).report.warnings == (
        "3 resources that are referred to are not in the source: Encounter (1), Patient (1), Practitioner (1)",
    )
    doctor = {"resourceType": "Practitioner", "id": "d", "identifier": [{"system": "http://n", "value": "1"}]}
    here = [{"resourceType": "Patient", "id": "p1"}, {"resourceType": "Encounter", "id": "e1", "status": "planned"}, doctor]
    assert read(held, *here).report.warnings == ()


def test_what_bytes_refer_to_is_what_the_tree_refers_to() -> None:
    for _, raw in [*synthea()][:3] + [*examples("r4-examples")][:200]:
        tree, walked = Follow(), Follow()
        tree.ask(raw)
        for entry in entries("", decode(raw)):
            walked.see(entry.resource, entry.url)
        assert walked._asked <= tree._asked  # the bytes also tell what a Bundle says beside its resources
        assert walked._asked == tree._asked or decode(raw)["resourceType"] in ("Bundle", "Parameters")


def test_somebody_by_urn_is_found_in_the_bundle() -> None:
    patient = {
        "fullUrl": "urn:uuid:0a0a0a0a-0000-4000-8000-000000000001",
        "resource": {"resourceType": "Patient", "id": "p9", "gender": "female"},
    }
    held = weight("a", 70.0) | {"subject": {"reference": patient["fullUrl"]}}
    (record,) = read({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": held}, patient]}).records()
    assert (record.id, record.demographics.sex, len(record.series)) == ("p9", "female", 1)


def test_people_that_are_one_have_one_record() -> None:
    old = {"resourceType": "Patient", "id": "p1", "link": [{"other": {"reference": "Patient/p2"}, "type": "replaced-by"}]}
    found = read(weight("a", 70.0), old, {"resourceType": "Patient", "id": "p2"})
    assert [(m.survivor, m.prior) for m in found.merges] == [("p2", "p1")]
    (record,) = found.records()
    assert (record.id, len(record.series)) == ("p2", 1)


def test_a_link_that_is_gone_undoes_the_merge() -> None:
    old = {
        "resourceType": "Patient",
        "id": "p1",
        "meta": {"versionId": "1"},
        "link": [{"other": {"reference": "Patient/p2"}, "type": "replaced-by"}],
    }
    found = read(old, {"resourceType": "Patient", "id": "p1", "meta": {"versionId": "2"}})
    assert (found.merges, [m[:2] for m in found.unmerged]) == ([], [("p2", "p1")])


def test_the_same_statement_read_on_another_day_is_the_same_fact() -> None:
    said = {"resourceType": "MedicationStatement", "id": "s", "status": "active", "subject": {"reference": "Patient/p1"}, "dateAsserted": "2026-01-15T08:00:00Z",
            "medicationCodeableConcept": {"coding": [{"system": "http://www.whocc.no/atc", "code": "A10BA02"}]}, "effectivePeriod": {"start": "2026-01-01T08:00:00Z"}}  # fmt: skip
    for later in (0, 10**15):
        collector = Collector("test", NOW + later)
        collector.add("0", said)
        (exposure,) = collector.finish().records()[0].exposures
        assert exposure.end == exposure.recorded == to_ns("2026-01-15T08:00:00Z")


def lines(*trees: object) -> bytes:
    return b"\n".join(json.dumps(tree).encode() for tree in trees)  # no newline at the end


def test_a_folder_is_cut_into_pieces_people_first(tmp_path: Path) -> None:
    (tmp_path / "Observation.ndjson.gz").write_bytes(gzip.compress(lines(*(weight(f"o{i}", 70.0) for i in range(LINES + 1)))))
    (tmp_path / "Patient.ndjson").write_bytes(lines({"resourceType": "Patient", "id": "p1"}))
    (tmp_path / "notes.txt").write_text("not read")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("one.json", json.dumps(weight("z", 70.0)))
    found = [(piece.name, len(list(read_piece(piece)))) for piece in pieces(tmp_path)]
    assert found == [
        ("Patient.ndjson:1", 1),
        ("Observation.ndjson:1", LINES),
        (f"Observation.ndjson:{LINES + 1}", 1),
        ("z.zip:one.json", 1),
    ]


def test_a_line_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(lines(weight("a", 1.0)) + b'\n{"resourceType": \n\n' + lines(weight("b", 2.0)))
    (piece,) = pieces(tmp_path)
    fates = [(place, isinstance(tree, Broken)) for place, tree, _ in read_piece(piece)]
    assert fates == [("a.ndjson:1", False), ("a.ndjson:2", True), ("a.ndjson:4", False)]
    assert read_folder(tmp_path, received=NOW)[0][1].refused[0].place == "a.ndjson:2"


def test_a_gzip_that_ends_too_soon_says_so(tmp_path: Path) -> None:
    whole = gzip.compress(lines(*(weight(f"o{i}", float(i)) for i in range(50))))
    (tmp_path / "a.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match="cannot be unpacked to its end"):
        list(pieces(tmp_path))


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").symlink_to(tmp_path / "secret.json")
    assert list(pieces(tmp_path / "in")) == []


def test_other_json_is_not_taken_for_fhir(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"type": "sgv", "sgv": 110}]')
    assert not is_export(tmp_path / "a.json")


def test_what_a_bulk_export_says_of_itself_is_no_resource() -> None:
    manifest = Piece("manifest.json", 0, b'{"transactionTime": "2026-01-01T00:00:00Z", "output": []}')
    log = Piece("log.ndjson", 1, b'{"exportId": "1", "eventId": "kickoff"}')
    assert list(read_piece(manifest)) == list(read_piece(log)) == []


def test_a_bulk_export_and_simulated_patients_are_known_for_what_they_are() -> None:
    assert is_clinical(require_dataset("fhir-bulk-10"))
    assert is_clinical(require_dataset("synthea-r4"))


def test_every_line_of_a_bulk_export_has_a_fate() -> None:
    found = read_folder(require_dataset("fhir-bulk-10"), received=NOW)
    report = found[0][1]
    assert (report.read, report.mapped, report.refusals, sum(report.kept.values())) == (3889, 3716, 0, 173)
    assert len(found) == 13


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=12) | st.sampled_from(["2026-01-01", "Patient/p1", "final", "kg", "<"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["coding", "code", "system", "value", "unit", "reference", "start", "end", "text"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
_KEYS = ["status", "code", "subject", "patient", "effectiveDateTime", "effectivePeriod", "valueQuantity", "valueSampledData", "component", "medicationCodeableConcept",
         "dosage", "period", "class", "identifier", "link", "birthDate", "presentedForm", "content", "onsetDateTime", "verificationStatus", "meta", "collection"]  # fmt: skip
_TYPES = ["Observation", "Patient", "Condition", "MedicationStatement", "MedicationAdministration", "Encounter", "DiagnosticReport", "DocumentReference", "Immunization",
          "AllergyIntolerance", "Procedure", "ServiceRequest", "Specimen", "ImagingStudy", "CarePlan", "Device", "Consent", "Nonsense"]  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"resourceType": st.sampled_from(_TYPES), "id": st.sampled_from(["a", "b", "p1"])}, optional=dict.fromkeys(_KEYS, _json)
        ),
        max_size=4,
    )
)
def test_whatever_a_resource_holds_it_has_a_fate(trees: list[dict]) -> None:
    found = read(*trees)
    assert found.report.read >= len(trees)
    assert len(found.records()) <= len(found.facts)
