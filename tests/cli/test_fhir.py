"""``gemel fhir``: issues with their places, expressions, files that cannot be read."""

from __future__ import annotations

import json

import pytest

GOOD = {"resourceType": "Patient", "id": "a", "gender": "female", "name": [{"given": ["A", "B"]}], "multipleBirthInteger": 2}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "good.json").write_text(json.dumps(GOOD))
    (tmp_path / "bad.json").write_text(json.dumps(GOOD | {"gender": "f", "nme": 1}))
    return tmp_path


def test_issues_are_printed_with_their_places(gemel, files):
    clean = gemel("fhir", "validate", files / "good.json")
    assert (clean.code, clean.out.split(";")[0]) == (0, "1 resources, 0 with errors")
    assert "not checked: profiles" in clean.out
    found = gemel("fhir", "validate", files / "good.json", files / "bad.json")
    assert found.code == 1
    assert "bad.json: error: Patient.gender: 'f' is none of the codes of administrative-gender" in found.out
    assert "bad.json: error: Patient.nme: Patient has no such element" in found.out
    told = gemel("fhir", "validate", files / "bad.json", "--json").json()
    assert (told["resources"], told["with_errors"]) == (1, 1)
    assert told["files"][0]["outcome"]["issue"][0]["expression"] == ["Patient.gender"]
    assert "dom-6" in gemel("fhir", "validate", files / "good.json", "--all").out


def test_expressions_find_elements_and_values(gemel, files):
    assert gemel("fhir", "path", "name.given", files / "good.json").out == (
        "good.json\tPatient.name[0].given[0]\tA\ngood.json\tPatient.name[0].given[1]\tB\n"
    )
    told = gemel("fhir", "path", "today() - 1 year", files / "good.json", "--now", "2026-11-20T10:00:00Z", "--json").json()
    assert told["items"] == [{"file": "good.json", "type": "Date", "path": None, "value": "2025-11-20"}]
    assert gemel("fhir", "path", "name.suffix", files / "good.json").code == 1
    assert gemel("fhir", "path", "now() > @2020", files / "good.json").out == "good.json\tBoolean\ttrue\n"


def test_what_is_wrong_is_said(gemel, files):
    (files / "twice.json").write_text('{"resourceType":"Patient","id":"a","id":"b"}')
    for arguments, code, text in [
        (("path", "name.(", files / "good.json"), 2, "FHIRPath"), (("path", "name.nothing", files / "good.json", "--strict"), 2, "no such element"),
        (("validate", files / "twice.json"), 2, "a key stands twice"), (("validate", files / "none.json"), 4, "no such file"), (("validate",), 2, "Missing argument"),
    ]:  # fmt: skip
        found = gemel("fhir", *arguments)
        assert found.code == code
        assert text in found.err
