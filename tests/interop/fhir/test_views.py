"""SQL on FHIR v2: the official tests, and views that are wrong."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from _data import require_dataset
from gemel.core.errors import DataError, FormatError
from gemel.interop.fhir.codec import decode
from gemel.interop.fhir.views import read_view

PATIENT = decode('{"resourceType":"Patient","id":"p","name":[{"given":["A","B"],"family":"F"},{"given":["C"]}],"multipleBirthInteger":2}')
QUESTIONS = decode('{"resourceType":"Questionnaire","id":"q","item":[{"linkId":"1","item":[{"linkId":"1.1"}]},{"linkId":"2"}]}')


def plain(value):
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else value


def in_any_order(rows):
    return sorted((plain(row) for row in rows), key=lambda row: json.dumps(row, sort_keys=True))


@pytest.mark.data
def test_official_views():
    folder = require_dataset("sql-on-fhir")
    names = json.loads((folder / "manifest.json").read_text())
    ran, failing = 0, []
    for name in names:
        group = decode((folder / name).read_bytes())
        for test in group["tests"]:
            ran += 1
            try:
                rows = list(read_view(test["view"]).rows(group["resources"]))
            except DataError:
                good = test.get("expectError") is True
            else:
                good = "expect" in test and in_any_order(rows) == in_any_order(test["expect"])
                good = good and ("expectColumns" not in test or [list(row) for row in rows[:1]] == [list(test["expectColumns"])])
            if not good:
                failing.append((name, test["title"]))
    assert (len(names), ran) == (20, 118)
    assert failing == []


def view(**parts):
    return {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id", "type": "id"}]}]} | parts


def test_rows_columns_and_places():
    given = {"forEach": "name.given", "column": [{"name": "place", "path": "%rowIndex"}, {"name": "given", "path": "$this"}]}
    found = read_view(view(select=[given, {"column": [{"name": "births", "path": "multipleBirth.ofType(integer)", "type": "integer"}]}]))
    assert [column.name for column in found.columns] == ["place", "given", "births"]
    assert found.columns[2].type == "integer"
    assert [tuple(row.values()) for row in found.rows([PATIENT, QUESTIONS])] == [(0, "A", 2), (1, "B", 2), (2, "C", 2)]


def test_what_repeats_is_followed_down():
    found = read_view({"resource": "Questionnaire", "select": [{"repeat": ["item"], "column": [{"name": "link", "path": "linkId"}]}]})
    assert sorted(row["link"] for row in found.rows([QUESTIONS])) == ["1", "1.1", "2"]


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (view(resource="Nothing"), "resource"), (view(select=[]), "select is missing"), (view(select=[{}]), "without columns"), (view(select="x"), "list"),
        (view(select=[{"column": [{"name": "a b", "path": "id"}]}]), "name of a column"), (view(select=[{"column": [{"name": "a", "path": "id +"}]}]), "FHIRPath"),
        (view(select=[{"column": [{"name": "a", "path": "nothing()"}]}]), "no such function"), (view(where=[{"path": 3}]), "not a path"),
        (view(select=[{"column": [{"name": "a", "path": "id"}] * 2}]), "twice"), (view(constant=[{"name": "a", "valueX": 1}]), "constant"),
        (view(select=[{"forEach": "name", "repeat": ["item"], "column": [{"name": "a", "path": "id"}]}]), "more than one of"), ([], "not an object"),
    ],
)  # fmt: skip
def test_views_that_are_wrong_are_named(wrong, what):
    with pytest.raises(FormatError, match=what):
        read_view(wrong)


def test_cells_and_criteria_that_cannot_be():
    with pytest.raises(DataError, match="column given has more than one"):
        list(read_view(view(select=[{"column": [{"name": "given", "path": "name.given"}]}])).rows([PATIENT]))
    with pytest.raises(DataError, match="truth value"):
        list(read_view(view(where=[{"path": "name.family"}])).rows([PATIENT]))
