"""The real public sets: counts that were checked against the files by hand, and what could not be parsed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from _data import require_dataset
from gemel.core import Code
from gemel.interop.wearables import read, read_all, write_csv

pytestmark = pytest.mark.data
CGM = Code.parse("loinc:99504-3")


def total(found, code):
    return sum(report.facts.get(code, 0) for _, report in found)


@pytest.fixture(scope="module")
def shanghai():
    return read_all(require_dataset("shanghai"))


def test_shanghai_all_recordings(shanghai):
    assert len(shanghai) == 69
    assert len({record.id for record, _ in shanghai}) == 69
    assert len({record.demographics.traits["patient"] for record, _ in shanghai}) == 64
    types = [record.demographics.traits["diabetes"] for record, _ in shanghai]
    assert (types.count("T1D"), types.count("T2D")) == (12, 57)
    assert {record.demographics.zone for record, _ in shanghai} == {"Asia/Shanghai"}
    # every one of the 2,271 filled diary cells is a meal, but for two that say "fasting"
    assert total(shanghai, "loinc:9059-7") + total(shanghai, "gemel:meal-unquantified") == 2269
    assert total(shanghai, "loinc:99504-3") == 66870
    assert total(shanghai, "atc:A10AD") == 258


def test_shanghai_little_is_not_understood(shanghai):
    entries = [entry for _, report in shanghai for entry in report.unparsed]
    assert len(entries) <= 16
    assert not any(entry.startswith(("insulin", "drugs", "infusion", "basal", "bolus")) for entry in entries)


def test_shanghai_pump_recording_by_hand(shanghai):
    record, report = next(pair for pair in shanghai if pair[0].id == "1002-0")
    rapid = record.find_exposures(Code.parse("atc:A10AB"))
    bolus = [e for e in rapid if e.quantity.unit == "[iU]"]
    basal = [e for e in rapid if e.quantity.unit == "[iU]/h"]
    assert [e.quantity.value for e in bolus[:5]] == [5, 2, 9, 7, 8]
    assert [e.quantity.value for e in basal[:6]] == [0.7, 0.8, 0.7, 0.5, 0.4, 0.8]
    assert all(a.end == b.start for a, b in pairwise(basal[:9]))
    assert any(e.quantity.value == 0 for e in basal)  # temporarily suspended
    meal = next(e for e in record.find_exposures(Code.parse("loinc:9059-7")) if "Beijing spring onion" in e.note)
    assert 30 < meal.quantity.value < 45  # 119 g of cooked grain and two dishes
    assert meal.uncertainty == 0.4
    assert any("39.6" in r.what for r in report.repairs) or (record.series[0].value.min() > 39.6)


def test_shanghai_sensor_floor_is_censored(shanghai):
    floors = sum(int((series.censored == -1).sum()) for record, _ in shanghai for series in record.find_series(CGM))
    assert floors == 172


def test_d1namo():
    found = read_all(require_dataset("d1namo"))
    assert len(found) == 9
    assert total(found, "loinc:99504-3") == 8055
    assert total(found, "atc:A10AB") == 83
    assert total(found, "loinc:9052-2") == 71
    assert sum(int((s.censored != 0).sum()) for r, _ in found for s in r.find_series(CGM)) == 173 + 96
    alone = read_all(require_dataset("d1namo-cgm"))
    assert total(alone, "loinc:99504-3") == 8055


def test_colas():
    found = read_all(require_dataset("colas"))
    assert (len(found), total(found, "loinc:99504-3")) == (208, 114253)


@pytest.mark.parametrize(
    ("name", "people", "readings", "hba1c"),
    [("azt1d", 25, 290392, 25), ("hupa-ucm", 25, 309392, 25), ("physiocgm", 9, 201502, 9), ("brist1d", 20, 848265, 0)],
)
def test_glucose_ml(name, people, readings, hba1c):
    found = read_all(require_dataset(name))
    assert len(found) == people
    assert total(found, "loinc:99504-3") == readings
    assert total(found, "loinc:4548-4") == hba1c
    for record, _ in found:
        assert (np.diff(record.series[0].time) > 0).all()
        assert record.demographics.traits["diabetes"] == "T1D"


def test_physiocgm_words():
    found = read_all(require_dataset("physiocgm"))
    words = [r for _, report in found for r in report.repairs if r.what.startswith(("LOW", "HIGH"))]
    assert sum(r.count for r in words) == 218 + 25


def test_real_record_survives_the_generic_table(shanghai, tmp_path):
    record = shanghai[0][0]
    left = write_csv(record, tmp_path / "out.csv")
    again, _ = read(tmp_path / "out.csv", tz="Asia/Shanghai")
    assert len(again.find_series(CGM)[0]) == len(record.find_series(CGM)[0])
    insulin = Code.parse("atc:A10AB")

    def delivered(r):
        whole = sum(e.quantity.value for e in r.find_exposures(insulin) if e.quantity.unit == "[iU]")
        rates = sum(e.quantity.value * (e.end - e.start) / 3.6e12 for e in r.find_exposures(insulin) if e.quantity.unit == "[iU]/h")
        return whole, rates

    assert delivered(again) == pytest.approx(delivered(record))  # sums in another order
    assert any("meal-unquantified" in entry for entry in left)
