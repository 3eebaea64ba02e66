"""No input gives anything but facts or an error of the tree: every layout, with its documents cut, edited and recombined."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from _interop_samples import DOCUMENTS
from gemel.core.errors import FormatError, GemelError
from gemel.interop.fhir import validate_cgm
from gemel.interop.wearables import read_all

JSON = sorted(name for name, (file, _) in DOCUMENTS.items() if file.endswith(".json"))
ODD = [
    None,
    True,
    -1,
    0,
    1e308,
    -1e308,
    10**400,
    "",
    " ",
    "NaN",
    "1e999",
    "2026-13-45",
    "2026-01-01T08:00:00Z",
    "mg/dL",
    [],
    {},
    [[]],
    {"value": {}},
    "\ud800",
]
odd = st.one_of(st.sampled_from(ODD), st.text(max_size=8), st.floats(allow_nan=False, allow_infinity=False), st.integers())
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def survives(path, layout):
    try:
        found = read_all(path, format=layout)
    except GemelError:
        return
    for record, report in found:
        assert report.facts
        assert record.hash


def leaves(node, at=()):
    """Paths to every value in a document."""
    yield at
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from leaves(value, (*at, key))


def put(node, at, value):
    """Return a document with one value replaced."""
    if not at:
        return value
    node = copy.copy(node)
    node[at[0]] = put(node[at[0]], at[1:], value)
    return node


@pytest.mark.parametrize("layout", JSON)
@given(st.data())
@quick
def test_json_with_values_replaced(tmp_path, layout, data):
    document = json.loads(DOCUMENTS[layout][1])
    for _ in range(data.draw(st.integers(1, 3))):
        document = put(document, data.draw(st.sampled_from(list(leaves(document)))), data.draw(odd))
    if layout == "fhir-cgm":
        validate_cgm(document)  # never raises
    path = tmp_path / "d.json"
    path.write_bytes(json.dumps(document).encode("utf-8", "surrogatepass"))
    survives(path, layout)


@pytest.mark.parametrize("layout", sorted(DOCUMENTS))
@given(st.data())
@quick
def test_bytes_cut_and_edited(tmp_path, layout, data):
    name, text = DOCUMENTS[layout]
    raw = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        raw[where : where + data.draw(st.integers(0, 30))] = data.draw(
            st.one_of(st.binary(max_size=6), st.sampled_from([b"-", b"9", b".", b'"', b"<", b"\n", b",", b";", b"e9"]))
        )
    path = tmp_path / name
    path.write_bytes(bytes(raw))
    survives(path, layout)
    survives(path, None)


@given(st.binary(max_size=200))
@quick
def test_any_bytes(tmp_path, raw):
    path = tmp_path / "unknown.json"
    path.write_bytes(raw)
    survives(path, None)
    for layout in DOCUMENTS:
        survives(path, layout)


@pytest.mark.parametrize("layout", sorted(DOCUMENTS))
def test_every_layout_is_recognised(tmp_path, layout):
    name, text = DOCUMENTS[layout]
    path = tmp_path / name
    path.write_text(text)
    assert {report.format for _, report in read_all(path)} == {layout}


@pytest.mark.parametrize("layout", JSON)
def test_hostile_json(tmp_path, layout):
    path = tmp_path / "d.json"
    for text in (
        "[" * 100_000,
        '{"a":' * 70 + "1" + "}" * 70,
        "[1e999]",
        "[NaN]",
        "[" + "9" * 6000 + "]",
        '"text"',
        "null",
        "[null]",
        "{}",
    ):
        path.write_text(text)
        with pytest.raises(GemelError):
            read_all(path, format=layout)


def test_half_a_character_is_no_text(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(DOCUMENTS["tidepool"][1].replace('"b1"', '"\\ud800"'))
    with pytest.raises(FormatError, match="no Unicode"):
        read_all(path)
    path.write_text(DOCUMENTS["tidepool"][1].replace('"b1"', '"\\ud83d\\ude00"'))
    assert len(read_all(path)) == 1  # a whole pair is a character
