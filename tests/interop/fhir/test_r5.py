"""FHIR R5 read by the mapping of R4: tables that hold against independent models, and the same facts out of both."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest

from _fhir import examples, synthea
from gemel.core.errors import FormatError
from gemel.core.time import to_ns
from gemel.interop.fhir import decode, schema
from gemel.interop.fhir.collect import Collector
from gemel.interop.fhir.mapping import Site, map_resource
from gemel.interop.fhir.r5 import CODED, FIRST, R4_ONLY, R5_ONLY, RENAMED, SPLIT, STATUS, to_r4, version_of

NOW = to_ns("2026-01-31T12:00:00Z")


def model(type_: str) -> dict[str, Any]:
    """Elements of R5 by the models of fhir.resources."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = getattr(importlib.import_module(f"fhir.resources.{type_.lower()}"), type_)
    return {field.alias or name: field for name, field in found.model_fields.items()}


TYPES = sorted({*RENAMED, *SPLIT, *FIRST, *CODED, *STATUS, *R5_ONLY, *R4_ONLY})


@pytest.mark.parametrize("type_", TYPES)
def test_every_element_of_the_tables_is_one_of_its_version(type_: str) -> None:
    r5, r4 = model(type_), schema.fields(type_)

    def is_r4(name: str) -> bool:
        return schema.find(type_, name) is not None

    for new, old in RENAMED.get(type_, {}).items():
        assert new in r5, new
        assert is_r4(old), old
    for new, parts in SPLIT.get(type_, {}).items():
        assert "CodeableReference" in str(r5[new].annotation), new
        assert all(is_r4(name) for name in parts if name), parts
    for name in FIRST.get(type_, ()):
        assert "List" in str(r5[name].annotation), name
        assert r4[name].most == 1 or type_ == "Encounter", name
    for name in CODED.get(type_, ()):
        assert "CodeableConcept" in str(r5[name].annotation), name
        assert r4[name].types == ("Coding",), name
    for new, old in STATUS.get(type_, {}).items():
        assert new in r5["status"].json_schema_extra["enum_values"], new
        binding = schema.codes(r4["status"].binding or "")
        assert binding is not None
        assert any(old in codes for codes in binding.values()), old
    for name in R5_ONLY.get(type_, ()):
        assert name in r5, name
        assert not is_r4(name), name
    for name in R4_ONLY.get(type_, ()):
        assert name not in r5, name
        assert is_r4(name), name


def test_no_resource_of_r4_is_taken_for_r5() -> None:
    for name, raw in examples():
        assert version_of(decode(raw)) in (None, "R4"), name
    for _, raw in synthea():
        assert {version_of(entry["resource"]) for entry in decode(raw)["entry"]} <= {None, "R4"}


def as_r5(resource: Any) -> dict[str, Any]:
    """Write a resource of R4 as R5 would: the tables the other way round."""
    type_, out = resource["resourceType"], dict(resource)
    for new, old in RENAMED.get(type_, {}).items():
        if old in out:
            out[new] = out.pop(old)
    for new, (concept, reference) in SPLIT.get(type_, {}).items():
        several = "List" in str(model(type_)[new].annotation)
        held = []
        for name, part in ((concept, "concept"), (reference, "reference")):
            if name in out:
                value = out.pop(name)
                held += [{part: one} for one in value] if isinstance(value, (tuple, list)) else [{part: value}]
        if held:
            out[new] = held if several else held[0]
    for name in CODED.get(type_, ()):
        if name in out:
            out[name] = [{"coding": [one]} for one in out[name]] if isinstance(out[name], (tuple, list)) else {"coding": [out[name]]}
    for name in FIRST.get(type_, ()):
        if name in out and not isinstance(out[name], (tuple, list)):
            out[name] = [out[name]]
    back = {old: new for new, old in reversed(STATUS.get(type_, {}).items())}
    if type_ == "Encounter" and "reasonCode" in out:
        out["reason"] = [{"value": [{"concept": one}]} for one in out.pop("reasonCode")]
    if type_ in ("Encounter", "MedicationRequest"):
        out["status"] = {"finished": "completed"}.get(
            out["status"], back.get(out["status"], out["status"]) if type_ == "Encounter" else out["status"]
        )
    return out


def test_the_same_patient_in_r5_has_the_same_facts() -> None:
    changed = 0
    for _, raw in list(synthea())[:4]:
        here = {entry["fullUrl"]: entry["resource"] for entry in decode(raw)["entry"]}
        for resource in here.values():
            new = as_r5(resource)
            changed += new != resource
            assert version_of(new) in (None, "R5")
            wanted = map_resource(resource, received=NOW, resolve=here.get)
            found = map_resource(to_r4(new).resource, received=NOW, resolve=here.get)
            assert (found.facts, found.kept, found.refused) == (wanted.facts, wanted.kept, wanted.refused)
    assert changed > 100


@pytest.mark.parametrize(
    ("adherence", "status", "fate"),
    [
        ("taking", "active", "mapped"),
        ("not-taking", "not-taken", "kept"),
        ("stopped-as-directed", "stopped", "mapped"),
        (None, "unknown", "mapped"),
    ],
)
def test_what_is_taken_is_said_by_the_adherence(adherence: str | None, status: str, fate: str) -> None:
    given: dict[str, Any] = {
        "resourceType": "MedicationStatement", "id": "m", "status": "recorded", "subject": {"reference": "Patient/p"}, "effectiveDateTime": "2026-01-01",
        "medication": {"concept": {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "860975"}]}},
    }  # fmt: skip
    if adherence:
        given["adherence"] = {
            "code": {"coding": [{"system": "http://hl7.org/fhir/CodeSystem/medication-statement-adherence", "code": adherence}]}
        }
    read = to_r4(given)
    assert read.resource["status"] == status
    mapped = map_resource(read.resource, received=NOW)
    assert ("mapped" if mapped.mapped else "kept" if mapped.kept else "refused") == fate


def test_versions_are_never_mixed_in_one_bundle() -> None:
    old = {
        "resourceType": "Encounter",
        "id": "a",
        "status": "finished",
        "class": {"code": "AMB"},
        "period": {"start": "2026-01-01"},
        "subject": {"reference": "Patient/p"},
    }
    new = {"resourceType": "Encounter", "id": "b", "status": "completed", "class": [{"coding": [{"code": "AMB"}]}], "actualPeriod": {"start": "2026-01-01"}, "subject": {"reference": "Patient/p"}}  # fmt: skip
    with pytest.raises(FormatError, match="mixed"):
        version_of({**old, "actualPeriod": {}})
    for tree, mapped in (([old], 1), ([new], 1), ([old, new], 0)):
        collector = Collector("b", NOW)
        collector.add("b", {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in tree]})
        report = collector.finish().report
        assert (report.mapped, report.refusals) == (mapped, 2 - 2 * mapped)


def test_what_r4_has_no_place_for_is_named() -> None:
    new = {"resourceType": "Encounter", "id": "b", "status": "completed", "class": [{"coding": [{"code": "AMB"}]}], "actualPeriod": {"start": "2026-01-01"},
           "subject": {"reference": "Patient/p"}, "subjectStatus": {"text": "departed"}}  # fmt: skip
    collector = Collector("b", NOW, Site(version="R5"))
    collector.add("b", new)
    assert "Encounter.subjectStatus" in collector.finish().report.warnings[0]
