"""Full tables of studies that a user drops in: HUPA-UCM, AZT1D, CGMacros; on made-up people."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _interop_samples import AZT1D, CGMACROS, HUPA
from gemel.core import Code, iso
from gemel.core.errors import FormatError, TimeError, UnitError, ValueRangeError
from gemel.interop.wearables import read, read_all
from gemel.interop.wearables.cgmacros import readings_only
from gemel.interop.wearables.hupa import basal_per_hour

CGM, HEART, STEPS = (Code.parse(code) for code in ("loinc:99504-3", "loinc:8867-4", "loinc:55423-8"))
CARBS, RAPID, ENERGY = (Code.parse(code) for code in ("loinc:9059-7", "atc:A10AB", "loinc:9052-2"))
MINUTE = 60_000_000_000


@pytest.fixture
def put(tmp_path):
    def write(text, name):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def rates(record):
    return [e.quantity.value for e in record.find_exposures(RAPID) if e.quantity.unit == "[iU]/h"]


def doses(record, code=RAPID):
    return [e.quantity.value for e in record.find_exposures(code) if e.quantity.unit != "[iU]/h"]


def test_hupa(put):
    record, report = read(put(HUPA, "HUPA0001P.csv"))
    assert record.id == "HUPA0001P"
    assert record.demographics.zone == "Europe/Madrid"
    assert len(record.find_series(CGM)[0]) == 400
    assert doses(record, CARBS) == [45.0]  # 4.5 servings of 10 g
    assert doses(record) == [4.5]
    assert rates(record)[:2] == [pytest.approx(1.1, abs=1e-4), pytest.approx(0.8, abs=1e-4)]  # 0.091667 and 0.066667 U per 5 min
    assert len(record.find_series(HEART)[0]) == 399  # zero is no heart rate
    assert record.find_series(STEPS)[0].value.max() == 3
    assert any("servings" in repair.what for repair in report.repairs)
    assert any("interpolated" in warning for warning in report.warnings)
    assert any("not published" in warning for warning in report.warnings)


def test_hupa_basal_unit_is_decided_by_the_values_or_left_out(put):
    assert basal_per_hour(np.array([0.8, 1.1, 0.95, 0.0])) == 1.0
    assert basal_per_hour(np.array([0.066667, 0.091667])) == 12.0
    assert basal_per_hour(np.array([22 / 288])) == 12.0  # a pen's 22 U spread over the day
    assert basal_per_hour(np.array([0.2, 0.2])) is None  # 4.8 or 57.6 U a day, and on the steps of both
    assert basal_per_hour(np.array([np.nan, 0.0])) is None
    text = HUPA.replace(";0.091667;", ";0.2;").replace(";0.066667;", ";0.2;")
    record, report = read(put(text, "HUPA0002P.csv"))
    assert rates(record) == []
    assert any("values do not decide" in entry for entry in report.unparsed)


@given(st.lists(st.integers(10, 100), min_size=3, max_size=20))
def test_hupa_pump_rates_per_row_are_never_read_as_too_little(steps):
    """Rates of 0.25 to 2.5 U/h, written as units per 5 min with six decimals, are read as such or left out: never a twelfth of the insulin."""
    written = np.round(np.array(steps) * 0.025 / 12.0, 6)
    assert basal_per_hour(written) in (12.0, None)


def test_azt1d(put, tmp_path):
    record, _report = read(put(AZT1D, "Subject 7.csv"))
    assert record.id == "azt1d-7"
    assert record.find_series(CGM)[0].value.tolist() == [120, 126, 131, 140]
    assert iso(record.find_series(CGM)[0].time[0]) == "2026-02-01T15:00:00Z"  # Arizona has no daylight saving
    assert doses(record) == [5.0]
    assert doses(record, CARBS) == [50]
    assert rates(record) == [0.9, 1.2]
    put(AZT1D.replace("CGM", "Readings (CGM / BGM)"), "Subject 8.csv")
    found = read_all(tmp_path)
    assert [r.id for r, _ in found] == ["azt1d-7", "azt1d-8"]
    assert any("cannot be told apart" in warning for warning in found[1][1].warnings)


def test_azt1d_lists_a_few_absurd_rates_and_refuses_many(put):
    rows = "".join(f"2026-02-02 {i // 12:02d}:{i % 12 * 5:02d}:00,,,{1.0 + i % 3 / 10},,,,,120\n" for i in range(250))
    absurd = AZT1D + rows + "2026-02-03 00:00:00,,,99999,,,,,120\n"
    record, report = read(put(absurd, "Subject 7.csv"))
    assert max(rates(record)) < 2
    assert any("no pump gives" in entry for entry in report.unparsed)
    with pytest.raises(UnitError, match="U/h"):
        read(put(AZT1D.replace(",0.9,", ",900,").replace(",1.2,", ",1200,"), "Subject 9.csv"))


def test_cgmacros_keeps_readings_not_the_lines_between(put):
    record, report = read(put(CGMACROS, "CGMacros-001.csv"), tz="America/Los_Angeles")
    libre, dexcom = record.find_series(CGM)
    assert libre.value.tolist() == [100, 115, 130, 118, 112]
    assert dexcom.value.tolist() == [100, 104, 107, 107, 111, 116, 120, 131, 140, 138, 133, 129, 125]
    assert np.diff(libre.time).tolist() == [15 * MINUTE] * 4
    assert {libre.source, dexcom.source} == {"cgmacros:libre", "cgmacros:dexcom"}
    assert doses(record, CARBS) == [40.0, 25.0]
    assert doses(record, ENERGY) == [300.0, 200.0]
    assert any("share that was eaten" in repair.what for repair in report.repairs)
    assert any("without Amount Consumed" in warning for warning in report.warnings)


@given(st.lists(st.integers(40, 400), min_size=2, max_size=20), st.sampled_from([5, 15]))
def test_interpolation_is_undone(readings, period):
    """Whatever the readings, all of them are kept and no other point of the line is."""
    minutes = np.arange((len(readings) - 1) * period + 1)
    line = np.interp(minutes, np.arange(len(readings)) * period, readings)
    kept = readings_only(minutes * MINUTE, line, period)
    assert np.flatnonzero(np.isfinite(kept)).tolist() == (np.arange(len(readings)) * period).tolist()


def test_cgmacros_more_than_all_of_it(put):
    record, report = read(put(CGMACROS.replace(",8,50,photos", ",8,240,photos"), "CGMacros-002.csv"))
    assert doses(record, CARBS) == [25.0]
    assert len(record.find_exposures(Code.parse("gemel:meal-unquantified"))) == 1
    assert any("size unknown" in entry for entry in report.unparsed)


BAD = {
    "hupa grams": (HUPA.replace(";4.5\n", ";45.0\n"), "HUPA1.csv", "hupa", UnitError, "looks like grams"),
    "hupa mmol": (re.sub(r";\d+\.0;5\.5;", ";6.7;5.5;", HUPA), "HUPA2.csv", "hupa", UnitError, "looks like mmol/L"),
    "hupa clock": (HUPA.replace("2026-03-01T20:00", "2026-03-01T02:00"), "HUPA3.csv", "hupa", TimeError, "goes backwards"),
    "hupa column gone": (HUPA.replace("carb_input", "carbs"), "HUPA4.csv", "hupa", FormatError, "not of the layout"),
    "hupa text": (HUPA.replace("0.091667", "some"), "HUPA5.csv", "hupa", FormatError, "no number in basal_rate"),
    "azt words": (AZT1D.replace(",50,", ",fifty,"), "Subject 1.csv", "azt1d", FormatError, "no number in CarbSize"),
    "azt too much": (AZT1D.replace(",50,", ",500,"), "Subject 1.csv", "azt1d", ValueRangeError, "too much at once"),
    "azt no glucose": (AZT1D.replace("CGM", "Sensor"), "Subject 1.csv", "azt1d", FormatError, "no glucose column"),
    "azt header only": (AZT1D.splitlines()[0] + "\n", "Subject 1.csv", "azt1d", FormatError, "no rows"),
    "macros clock": (CGMACROS.replace("12:40:00", "10:40:00"), "CGMacros-1.csv", "cgmacros", TimeError, "goes backwards"),
    "macros no sensor": (
        CGMACROS.replace("Libre GL", "A").replace("Dexcom GL", "B"),
        "CGMacros-1.csv",
        "cgmacros",
        FormatError,
        "no glucose reading",
    ),
    "macros heart": (CGMACROS.replace(",60,1.2", ",6000,1.2"), "CGMacros-1.csv", "cgmacros", ValueRangeError, "impossible"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(put, case):
    text, name, layout, kind, words = BAD[case]
    with pytest.raises(kind, match=words):
        read(put(text, name), format=layout)
