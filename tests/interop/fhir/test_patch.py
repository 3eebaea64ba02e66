"""FHIRPath Patch and JSON Patch: the official tests, and what they leave out."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from _data import require_dataset
from gemel.core.errors import DataError, FormatError
from gemel.interop.fhir.codec import decode, encode, thaw
from gemel.interop.fhir.json_patch import json_patch
from gemel.interop.fhir.patch import fhirpath_patch
from gemel.interop.fhir.xml import decode_xml


def resource(holder):
    return decode_xml(ElementTree.tostring(next(iter(holder))))


@pytest.mark.data
def test_official_fhirpath_patches():
    cases = ElementTree.parse(require_dataset("fhir-test-cases") / "fhir-patch" / "fhir-patch-tests.xml").getroot().findall("case")
    assert len(cases) == 33
    failing = []
    for case in cases:
        before, patch, wanted = resource(case.find("input")), resource(case.find("diff")), case.find("output")
        kept = encode(before)
        try:
            found = thaw(fhirpath_patch(before, patch))
            good = wanted is not None and found == thaw(resource(wanted))
        except DataError:
            good = wanted is None
        assert encode(before) == kept
        if not good:
            failing.append(case.get("name"))
    assert failing == []


@pytest.mark.data
def test_official_json_patches():
    cases = json.loads((require_dataset("fhir-test-cases") / "fhir-patch" / "json-patch-tests.json").read_text())
    assert len(cases) == 16
    for case in cases:
        if "error" in case:
            with pytest.raises(DataError, match="JSON Patch"):
                json_patch(case["doc"], case["patch"])
        else:
            assert thaw(json_patch(case["doc"], case["patch"])) == case["expected"], case["comment"]


PATIENT = decode(
    '{"resourceType":"Patient","name":[{"given":["A","B"],"_given":[null,{"id":"b"}]}],"deceasedBoolean":false,"birthDate":"1970"}'
)


def operation(kind, **parts):
    given = [{"name": "type", "valueCode": kind}]
    for name, value in parts.items():
        given.append(
            {"name": name, **(value if isinstance(value, dict) else {"valueInteger" if isinstance(value, int) else "valueString": value})}
        )
    return {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": given}]}


@pytest.mark.parametrize(
    ("patch", "path", "wanted"),
    [
        (operation("insert", path="Patient.name[0].given", index=1, value={"valueString": "X"}), "name", [{"given": ["A", "X", "B"], "_given": [None, None, {"id": "b"}]}]),
        (operation("delete", path="Patient.name.given[0]"), "name", [{"given": ["B"], "_given": [{"id": "b"}]}]),
        (operation("move", path="Patient.name[0].given", source=1, destination=0), "name", [{"given": ["B", "A"], "_given": [{"id": "b"}, None]}]),
        (operation("replace", path="Patient.deceased", value={"valueDateTime": "2020"}), "deceasedDateTime", "2020"),
        (operation("add", path="Patient.birthDate", name="extension", value={"part": [{"name": "url", "valueUri": "u"}, {"name": "value", "valueCode": "c"}]}), "_birthDate", {"extension": [{"url": "u", "valueCode": "c"}]}),
        (operation("insert", path="Patient.identifier", index=0, value={"valueIdentifier": {"value": "1"}}), "identifier", [{"value": "1"}]),
        (operation("delete", path="Patient.photo"), "birthDate", "1970"),
    ],
)  # fmt: skip
def test_patches_that_keep_what_stands_beside(patch, path, wanted):
    found = thaw(fhirpath_patch(PATIENT, patch))
    assert found[path] == wanted
    assert ("deceasedBoolean" in found) == (path != "deceasedDateTime")


@pytest.mark.parametrize(
    ("patch", "what"),
    [
        (operation("add", path="Patient", name="birthDate", value={"valueDate": "1"}), "there already"), (operation("add", path="Patient", name="x", value={"valueDate": "1"}), "no such element"),
        (operation("add", path="Patient", name="deceased", value={"valueBoolean": True}), "there already"), (operation("fly", path="Patient"), "no such operation"),
        (operation("delete", path="Patient.name.given"), "more than one"), (operation("replace", path="Patient.photo", value={"valueString": ""}), "no content"),
        (operation("insert", path="Patient.name", index=7, value={"valueString": ""}), "outside"), (operation("move", path="Patient.birthDate", source=0, destination=0), "not a list"),
        (operation("replace", path="Patient", value={"valueString": "x"}), "itself"), (operation("replace", path="Patient.name.count()", value={"valueString": "x"}), "computed"),
        (operation("replace", path="Patient.deceased", value={"valueQuantity": {}}), "cannot be of that type"), ({"resourceType": "Patient"}, "not a patch"),
        ({"resourceType": "Parameters", "parameter": [3]}, "list of objects"),
        (operation("replace", path=3), "not text"),
        (operation("replace", path="Patient.birthDate"), "part value is missing"), ({"resourceType": "Parameters", "parameter": [{"name": "x"}]}, "not an operation"),
    ],
)  # fmt: skip
def test_patches_that_cannot_be_applied_are_named(patch, what):
    with pytest.raises(DataError, match=what):
        fhirpath_patch(PATIENT, patch)
    with pytest.raises(FormatError):
        fhirpath_patch(PATIENT, operation("delete", path="Patient..x"))


def test_json_patches_change_only_what_they_name():
    tree = decode('{"value":1.00,"list":[1,2],"flag":true}')
    patched = json_patch(tree, [{"op": "copy", "from": "/value", "path": "/list/0"}, {"op": "replace", "path": "/flag", "value": False}])
    assert encode(patched) == b'{"value":1.00,"list":[1.00,1,2],"flag":false}'
    for wrong, what in [
        ([{"op": "test", "path": "/flag", "value": 1}], "test failed"), ([{"op": "add", "path": "list", "value": 1}], "pointer"),
        ([{"op": "add", "path": "/list/01", "value": 1}], "place"), ([{"op": "add", "path": "/list/9", "value": 1}], "place"),
        ([{"op": "remove", "path": "/none"}], "nothing stands"), ([{"op": "remove", "path": ""}], "whole"), ([{"op": "move", "path": "/list/0"}], "from is missing"),
        ([{"op": "move", "from": "/list", "path": "/list/0"}], "into itself"), ([{"op": "fly", "path": "/a"}], "no such operation"), ([{"path": "/a"}], "op is missing"),
        ({"op": "add"}, "array"), ([1], "object"), ([{"op": "add", "path": "/a~2", "value": 1}], "~"), ([{"op": "add", "path": "/value/x", "value": 1}], "added"),
        ([{"op": "add", "path": "/a"}], "value is missing"),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=what):
            json_patch(tree, wrong)
    assert encode(json_patch(tree, [{"op": "replace", "path": "", "value": {"a": 1}}])) == b'{"a":1}'
    assert encode(json_patch(tree, [{"op": "move", "from": "/flag", "path": "/flag"}])) == encode(tree)
