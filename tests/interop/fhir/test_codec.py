"""JSON in and out, nothing lost; what is hostile is refused by name."""

from __future__ import annotations

import copy
import json
import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fhir import as_text, examples, synthea
from gemel.core.errors import FormatError
from gemel.interop.fhir.codec import DEPTH, Element, decode, decode_lines, encode, freeze, number_text, read_number, thaw
from gemel.interop.fhir.xml import decode_xml


@pytest.mark.data
@pytest.mark.parametrize(("package", "number"), [("r4-examples-583", 583), ("mcode", 179), ("genomics", 204)])
def test_every_official_example_comes_back_with_its_numbers_as_text(package, number):
    found = examples(package)
    assert len(found) == number
    assert [name for name, raw in found if as_text(encode(decode(raw))) != as_text(raw)] == []


@pytest.mark.data
def test_whole_patients_come_back():
    found = list(synthea())
    assert len(found) == 10
    for name, raw in found:
        assert as_text(encode(decode(raw))) == as_text(raw), name


@pytest.mark.parametrize(
    "text", ["1.00", "1E3", "1e-7", "19", "19.0", "-0", "-0.0", "0.0000001", "1e+2", "123456789012345678901234567890", "1.10e5"]
)
def test_a_number_keeps_its_digits(text):
    number = read_number(text)
    assert number_text(number) == text
    assert float(number) == float(text)
    assert encode(decode(f'{{"x":{text}}}')) == f'{{"x":{text}}}'.encode()


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e400", "1e-400", "1e99999999999999", "1" * 500, "1" + "0" * 309]
)
def test_a_number_beyond_a_double_is_refused(text):
    with pytest.raises(FormatError, match="number"):
        decode(f'{{"value": {text}}}')


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"[" * 10_000, "nested"), (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested"), (b'{"a":1,"a":2}', "twice"), ('{"a":"ä"}'.encode("latin-1"), "UTF-8"),
        ('{"a":1}'.encode("utf-16"), "UTF-8"), ('{"a":1}'.encode("utf-16-le"), "UTF-8"), ('{"a":1}'.encode("utf-32-be"), "UTF-8"),
        (b"", "JSON"), (b'{"a":1', "JSON"), (b'{"a":1}{}', "JSON"), (b'{"a":01}', "JSON"), (b"{'a':1}", "JSON"), (b'{"a":"\\ud800"}', "half"),
    ],
)  # fmt: skip
def test_hostile_documents_are_refused_by_name(raw, what):
    with pytest.raises(FormatError, match=what):
        decode(raw)


def test_nesting_is_counted_outside_strings():
    text = json.dumps({"a": "{[" * 200, "b": '\\"{' * 200, "c": [{}] * 200})
    assert thaw(decode(text)) == json.loads(text)
    inside = "[" * (DEPTH - 1) + "]" * (DEPTH - 1)
    assert decode(f'{{"a":{inside}}}')
    with pytest.raises(FormatError, match="nested"):
        decode(f'{{"a":[{inside}]}}')


def test_a_document_over_the_limit_is_refused():
    with pytest.raises(FormatError, match="too large"):
        decode(b'{"a": "long"}', limit=5)


def test_the_tree_cannot_be_changed():
    tree = decode('{"a":{"b":[1,[2]]}}')
    assert tree["a"]["b"] == (1, (2,))
    for change in (
        lambda: tree.update(a=1),
        lambda: tree.__setitem__("a", 1),
        lambda: tree["a"].pop("b"),
        lambda: tree.clear(),
        lambda: tree.__ior__({"a": 1}),
    ):
        with pytest.raises(TypeError, match="thaw"):
            change()
    assert copy.deepcopy(tree) is tree
    loose = thaw(tree)
    loose["a"]["b"].append(Decimal("1.50"))
    assert encode(freeze(loose)) == b'{"a":{"b":[1,[2],1.50]}}'
    assert isinstance(freeze(loose)["a"], Element)


def test_lines_name_the_one_that_is_wrong():
    assert [one["id"] for one in decode_lines(b'{"id":"a"}\n\n{"id":"b"}')] == ["a", "b"]
    with pytest.raises(FormatError, match="line 2: not JSON"):
        list(decode_lines(b'{"id":"a"}\n{"id"\n'))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner),
    max_leaves=20,
)


@given(_JSON)
def test_any_json_comes_back(value):
    assert json.loads(encode(decode(json.dumps(value)))) == value
    assert json.loads(encode(freeze(value))) == value


def test_bytes_at_random_never_break_it():
    draw, seed = random.Random(1), bytearray(b'{"resourceType":"Observation","valueQuantity":{"value":1.00},"_x":[null,{"id":"\\u00e4"}]}')
    refused = 0
    for _ in range(3000):
        raw = bytearray(seed)
        for _ in range(draw.randint(1, 4)):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        try:
            encode(decode(bytes(raw)))
        except FormatError:
            refused += 1
    assert 0 < refused < 3000


def test_xml_becomes_the_tree_of_its_json():
    tree = decode_xml(
        '<Observation xmlns="http://hl7.org/fhir"><text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml">a &lt; <b>c</b></div></text>'
        '<contained><Patient><id value="p"/></Patient></contained><status id="s" value="final"/><valueQuantity><value value="1.00"/></valueQuantity>'
        '<note><text value="&#xE4;"><extension url="http://x"><valueBoolean value="true"/></extension></text></note></Observation>'
    )
    assert encode(tree) == (
        '{"resourceType":"Observation","text":{"status":"generated","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">a &lt; <b>c</b></div>"},'
        '"contained":[{"resourceType":"Patient","id":"p"}],"status":"final","_status":{"id":"s"},"valueQuantity":{"value":1.00},'
        '"note":[{"text":"ä","_text":{"extension":[{"url":"http://x","valueBoolean":true}]}}]}'
    ).encode()  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("name", ["patient-example", "questionnaire-example", "observation-decimal"])
def test_official_twins_of_xml_and_json_agree(name):
    from _data import require_dataset

    folder = require_dataset("fhir-test-cases") / "fhirpath" / "inputs"
    read = [thaw(decode_xml((folder / f"{name}.xml").read_bytes())), thaw(decode((folder / f"{name}.json").read_bytes()))]
    for one in read:
        one.pop("text", None)  # white space of the narrative differs
    assert read[0] == read[1]


_LAUGHS = "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;'>]><Basic xmlns='http://hl7.org/fhir'><id value='&b;'/></Basic>"


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (_LAUGHS, "document type"),
        ("<!DOCTYPE x SYSTEM 'file:///etc/passwd'><Basic xmlns='http://hl7.org/fhir'/>", "document type"),
        ("<Basic xmlns='http://hl7.org/fhir'>" * 100, "nested"), ("<Basic xmlns='http://hl7.org/fhir'>", "not XML"), ("<Basic/>", "namespace"),
        ("<Nothing xmlns='http://hl7.org/fhir'/>", "not a resource"), ("<Basic xmlns='http://hl7.org/fhir'><wrong value='1'/></Basic>", "no element"),
        ("<Basic xmlns='http://hl7.org/fhir'>text</Basic>", "text between"), ("<Patient xmlns='http://hl7.org/fhir'><active value='yes'/></Patient>", "truth"),
        ("<Basic xmlns='http://hl7.org/fhir'><id value='a'/><id value='b'/></Basic>", "more than once"),
    ],
)  # fmt: skip
def test_hostile_xml_is_refused_by_name(raw, what):
    with pytest.raises(FormatError, match=what):
        decode_xml(raw)
