"""Genomics Reporting and mCODE: every example has a fate, what belongs to one variant stays together, and codes are those of the guides."""

from __future__ import annotations

import pytest

from _fhir import examples
from gemel.core.record import Quantity
from gemel.core.time import to_ns
from gemel.core.units import parse_unit
from gemel.interop.fhir import decode
from gemel.interop.fhir.genomics import UNITS, VARIANT, place_of
from gemel.interop.fhir.mapping import Mapped, map_resource

NOW = to_ns("2026-01-31T12:00:00Z")
LOINC = "http://loinc.org"


def observations(package: str) -> list[Mapped]:
    found = []
    for _, raw in examples(package):
        tree = decode(raw)
        if tree["resourceType"] == "Observation":
            found.append(map_resource(tree, received=NOW))
    return found


@pytest.mark.parametrize(("package", "mapped", "kept", "refused"), [("genomics", 99, 3, 6), ("mcode", 94, 4, 1)])
def test_every_observation_of_the_guides_has_a_fate(package: str, mapped: int, kept: int, refused: int) -> None:
    found = observations(package)
    fates = [("kept" if m.kept else "refused" if m.refused else "mapped") for m in found]
    assert [fates.count(name) for name in ("mapped", "kept", "refused")] == [mapped, kept, refused]
    whys = {one.reason for m in found for one in m.refused}
    assert whys <= {"patient-unclear", "code-unknown"}  # a person by identifier alone; a test of a registry


def test_components_of_one_variant_share_their_place_and_numbers_do_not_collide() -> None:
    variants = [m for m in observations("genomics") if any(str(f.code) == VARIANT for f in m.findings)]
    assert len(variants) > 30
    for one in variants:
        assert len({f.site for f in one.findings if f.code.code != "time-interval"}) == 1
        assert one.points == []  # two variants of one sample have one code and one moment
    fractions = [f for m in variants for f in m.findings if str(f.code) == "loinc:81258-6"]
    assert all(isinstance(f.value, Quantity) and f.value.unit in ("1", "%") for f in fractions)
    assert {f.value.split(",")[0] for m in variants for f in m.findings if str(f.code) == VARIANT} <= {
        "present",
        "absent",
        "not said",
        "no call",
    }


def part(code: str, **value: object) -> dict:
    return {"code": {"coding": [{"system": LOINC, "code": code}]}} | value


def concept(code: str, display: str = "", system: str = LOINC) -> dict:
    return {"valueCodeableConcept": {"coding": [{"system": system, "code": code} | ({"display": display} if display else {})]}}


WHERE = [
    part("62374-4", **concept("LA14029-5", "GRCh37")), part("48013-7", **concept("NC_000007.13", system="http://www.ncbi.nlm.nih.gov/refseq")),
    part("69547-8", valueString="T"), part("69551-0", valueString="G"), part("48018-6", **concept("HGNC:3236", "EGFR", "http://www.genenames.org")),
]  # fmt: skip


def test_a_place_is_the_same_as_from_a_variant_call_file() -> None:
    start = part("81254-5", valueRange={"low": {"value": 55259515}})
    assert place_of({"component": [*WHERE, start]}) == "GRCh37:7:55259515:T:G"
    counted = part("92822-6", **concept("LA30100-4", "0-based interval counting"))
    zero = part("81254-5", valueRange={"low": {"value": 55259514}})
    assert place_of({"component": [*WHERE, zero, counted]}) == "GRCh37:7:55259515:T:G"
    assert place_of({"component": WHERE}) == "EGFR"  # without a position it is known by its gene
    assert place_of({}) == ""


def test_an_absent_variant_says_so_first() -> None:
    resource = {
        "resourceType": "Observation", "id": "v", "status": "final", "code": {"coding": [{"system": LOINC, "code": "69548-6"}]}, "subject": {"reference": "Patient/p"},
        "effectiveDateTime": "2026-01-01T00:00:00Z", "component": WHERE, **concept("LA9634-2", "Absent"),
    }  # fmt: skip
    first = map_resource(resource, received=NOW).findings[0]
    assert first.value == "absent, EGFR"


def test_units_that_the_guide_fixes_are_units() -> None:
    assert all(parse_unit(unit) for unit in UNITS.values() if unit)
    mutations = [p for m in observations("genomics") + observations("mcode") for p in m.points if p.code == "loinc:94076-7"]
    assert sorted((p.value, p.unit) for p in mutations) == [
        (29.8, "1/1000000{Base}"),
        (57.1, "1/1000000{Base}"),
        (250.0, "1/1000000{Base}"),
    ]


def test_radiotherapy_has_a_dose_for_each_volume() -> None:
    found = {}
    for name, raw in examples("mcode"):
        tree = decode(raw)
        if tree["resourceType"] == "Procedure" and "chest-wall-jenny-m" in name:
            found = {e.note: e.quantity for e in map_resource(tree, received=NOW).exposures}
    assert {note.split(",")[0]: (q.value, q.unit) for note, q in found.items()} == {
        "BodyStructure/jenny-m-chest-wall-treatment-volume": (6000.0, "cGy"),
        "BodyStructure/jenny-m-chest-wall-lymph-nodes-treatment-volume": (5000.0, "cGy"),
    }


def test_histology_and_site_of_a_tumour() -> None:
    for name, raw in examples("mcode"):
        if "primary-cancer-condition-nsclc" in name:
            cancer, histology = map_resource(decode(raw), received=NOW).findings
            assert (cancer.code.code, cancer.site) == ("254637007", "Lung structure (body structure)")
            assert (str(histology.code), str(histology.value)) == ("loinc:31206-6", "snomed:1187332001")
            return
    pytest.fail("the example is gone")


def test_what_is_about_somebody_else_stays_out() -> None:
    heart = {
        "resourceType": "Observation", "id": "f", "status": "final", "code": {"coding": [{"system": LOINC, "code": "8867-4"}]}, "subject": {"reference": "Patient/mother"},
        "focus": [{"reference": "Patient/child"}], "effectiveDateTime": "2026-01-01T00:00:00Z",
        "valueQuantity": {"value": 140, "code": "/min", "system": "http://unitsofmeasure.org"},
    }  # fmt: skip
    found = map_resource(heart, received=NOW)
    assert found.points == []
    assert "somebody else" in (found.kept or "")
