"""Tidepool's export, on made-up documents."""

from __future__ import annotations

import copy
import json

import pytest

from _interop_samples import TIDEPOOL
from gemel.core import Code, iso
from gemel.core.errors import FormatError, TimeError, UnitError, ValueRangeError
from gemel.interop.wearables import read

CGM, CGM_MG, STRIP = Code.parse("loinc:105272-9"), Code.parse("loinc:99504-3"), Code.parse("loinc:14743-9")
CARBS, RAPID, EXERCISE = Code.parse("loinc:9059-7"), Code.parse("atc:A10AB"), Code.parse("loinc:73985-4")
HOUR = 3_600_000_000_000


@pytest.fixture
def put(tmp_path):
    def write(found):
        path = tmp_path / "tp.json"
        path.write_text(found if isinstance(found, str) else json.dumps(found), encoding="utf-8")
        return path

    return write


def changed(id, **values):
    found = copy.deepcopy(TIDEPOOL)
    next(item for item in found if item["id"] == id).update(values)
    return found


def test_every_type(put):
    record, report = read(put(TIDEPOOL), tz="Europe/London", id="t")
    glucose = record.find_series(CGM)[0]
    assert glucose.unit == "mmol/L"
    assert glucose.value.tolist() == [6.1, 6.6, 2.2]
    assert glucose.censored.tolist() == [0, 0, -1]
    assert record.find_series(STRIP)[0].value.tolist() == [6.4]
    doses = sorted((e.quantity.value, (e.end - e.start) / HOUR) for e in record.find_exposures(RAPID) if e.quantity.unit == "[iU]")
    assert doses == [(1.0, 0.0), (1.5, 2.0), (2.0, 1.0), (4.5, 0.0)]  # delivered, not programmed (6.0)
    basal = [(iso(e.start)[11:16], e.quantity.value) for e in record.find_exposures(RAPID) if e.quantity.unit == "[iU]/h"]
    assert basal == [("08:00", 0.8), ("09:00", 0.4), ("09:30", 0.0)]
    assert [e.quantity.value for e in record.find_exposures(CARBS)] == [45, 20]  # 44 g of the calculator repeat the meal
    assert any("calculator" in entry for entry in report.ignored)
    exercise = record.find_exposures(EXERCISE)[0]
    assert (exercise.end - exercise.start) / HOUR == 0.5
    assert exercise.recorded == exercise.end
    assert "DevId0987654321" not in record.model_dump_json(exclude={"series"}) + report.to_text()


def test_milligrams_and_one_object_per_line(put):
    found = copy.deepcopy(TIDEPOOL)
    for item in found:
        if item["type"] in ("cbg", "smbg"):
            item.update(units="mg/dL", value=round(item["value"] * 18.0156))
    record, _ = read(put("\n".join(json.dumps(item) for item in found)))
    assert record.find_series(CGM_MG)[0].value.tolist() == [110, 119, 40]


def test_created_time_is_when_it_became_known(put):
    record, _ = read(put(changed("b1", createdTime="2026-01-01T20:00:00Z")))
    bolus = next(e for e in record.find_exposures(RAPID) if e.quantity.value == 4.5)
    assert iso(bolus.recorded) == "2026-01-01T20:00:00Z"


BAD = {
    "no unit": (changed("a1", units=None), UnitError, "unknown unit"),
    "mg in mmol": ([{**i, "value": 120} if i["type"] == "cbg" else i for i in TIDEPOOL], UnitError, "looks like mg/dL"),
    "food without unit": (changed("d1", nutrition={"carbohydrate": {"net": 40}}), UnitError, "carbohydrate in an unknown unit"),
    "too much": (changed("d1", nutrition={"carbohydrate": {"net": 400, "units": "grams"}}), ValueRangeError, "too much at once"),
    "basal in U/min": (changed("c1", rate=0.002), UnitError, "U/h"),
    "backwards": (changed("b2", duration=-1), TimeError, "impossible duration"),
    "no time": (changed("b1", time=""), TimeError, "has no time"),
    "no zone": (changed("b1", time="2026-01-01T08:10:00"), TimeError, "has no zone"),
    "known before true": (changed("a1", createdTime="2025-12-31T00:00:00Z"), TimeError, "recorded before it was true"),
    "two people": (changed("a1", userId="x") + changed("a2", userId="y"), FormatError, "data of 2 people"),
    "list in a list": ([[1]], FormatError, "no object"),
    "no readings": ([i for i in TIDEPOOL if i["type"] != "cbg"], FormatError, "no glucose reading"),
    "broken": ('[{"type": "cbg", ', FormatError, "not JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(put, case):
    found, kind, words = BAD[case]
    with pytest.raises(kind, match=words):
        read(put(found), format="tidepool")
