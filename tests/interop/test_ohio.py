"""OhioT1DM XML, on a made-up person."""

from __future__ import annotations

import itertools

import pytest

from _interop_samples import OHIO
from gemel.core import Code, iso
from gemel.core.errors import FormatError, TimeError, UnitError, ValueRangeError
from gemel.interop.wearables import read, read_all

CGM, STRIP, HEART, STEPS = (Code.parse(code) for code in ("loinc:99504-3", "loinc:41653-7", "loinc:8867-4", "loinc:55423-8"))
CARBS, RAPID, SLEEP, EXERCISE = (Code.parse(code) for code in ("loinc:9059-7", "atc:A10AB", "gemel:sleep", "loinc:73985-4"))
HOUR = 3_600_000_000_000


@pytest.fixture
def put(tmp_path):
    def write(text, name="999-ws-training.xml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_every_section(put):
    record, report = read(put(OHIO))
    assert record.id == "999"
    assert record.demographics.zone == "America/New_York"
    glucose = record.find_series(CGM)[0]
    assert glucose.value.tolist() == [101, 105, 109]
    assert iso(glucose.time[0]) == "2026-12-07T13:00:00Z"  # 8 o'clock in Ohio
    assert record.find_series(STRIP)[0].value.tolist() == [104]
    assert record.find_series(HEART)[0].value.tolist() == [71]  # zero is no heart rate
    assert record.find_series(STEPS)[0].value.tolist() == [0, 40]
    doses = sorted((e.quantity.value, (e.end - e.start) / HOUR) for e in record.find_exposures(RAPID) if e.quantity.unit == "[iU]")
    assert doses == [(2.0, 2.0), (3.0, 0.0)]  # both halves of a dual bolus begin at one moment
    basal = [
        (iso(e.start)[11:16], iso(e.end)[11:16], e.quantity.value) for e in record.find_exposures(RAPID) if e.quantity.unit == "[iU]/h"
    ]
    assert basal[:3] == [("12:00", "14:00", 0.88), ("14:00", "15:00", 0.0), ("15:00", "17:00", 0.88)]
    assert [e.quantity.value for e in record.find_exposures(CARBS)] == [45]
    assert [e.quantity.value for e in record.find_exposures(SLEEP)] == [7.5, pytest.approx(6.8333, abs=1e-4)]
    assert record.find_exposures(EXERCISE)[0].end - record.find_exposures(EXERCISE)[0].start == 0.75 * HOUR
    assert {str(f.code) for f in record.findings} == {"gemel:stress", "gemel:hypoglycaemia-reported"}
    assert any("work" in entry for entry in report.ignored)
    assert any("wrong way round" in repair.what for repair in report.repairs)
    assert any("placeholder" in warning for warning in report.warnings)


def test_two_parts_of_one_person_become_one_record(put, tmp_path):
    put(OHIO)
    put(OHIO.replace("07-12-2026", "20-12-2026").replace("08-12-2026", "21-12-2026"), "999-ws-testing.xml")
    found = read_all(tmp_path)
    assert len(found) == 1
    record = found[0][0]
    assert len(record.find_series(CGM)[0]) == 6
    basal = sorted((e.start, e.end) for e in record.find_exposures(RAPID) if e.quantity.unit == "[iU]/h")
    assert all(one[1] <= two[0] for one, two in itertools.pairwise(basal))  # the last rate of a part ends with the part


BAD = {
    "entities": (
        '<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "aaaa">]><patient id="1">&a;</patient>',
        FormatError,
        "document type or entities",
    ),
    "external": ('<!DOCTYPE patient SYSTEM "file:///etc/passwd"><patient id="1"></patient>', FormatError, "document type or entities"),
    "cut off": (OHIO[: len(OHIO) // 2], FormatError, "is not XML"),
    "another root": ('<record><patient id="1"/></record>', FormatError, "not an OhioT1DM"),
    "american date": (OHIO.replace('"07-12-2026 08:00:00" value="101"', '"12/07/2026 08:00" value="101"'), TimeError, "no readable time"),
    "no time": (OHIO.replace('ts="07-12-2026 08:05:00" type="Breakfast"', 'type="Breakfast"'), TimeError, "no readable time"),
    "the clock goes back": (
        OHIO.replace('"07-12-2026 08:10:00" value="109"', '"06-12-2026 08:10:00" value="109"'),
        TimeError,
        "goes backwards",
    ),
    "rate ends before": (
        OHIO.replace('ts_end="07-12-2026 10:00:00" value="0.0"', 'ts_end="07-12-2026 08:30:00" value="0.0"'),
        TimeError,
        "ends before",
    ),
    "mmol": (OHIO.replace('value="10', 'value="5.'), UnitError, "looks like mmol/L"),
    "basal in U/min": (OHIO.replace('value="0.88"', 'value="0.001"'), UnitError, "U/h"),
    "too much": (OHIO.replace('carbs="45"', 'carbs="450"'), ValueRangeError, "too much at once"),
    "words": (OHIO.replace('dose="3.0"', 'dose="three"'), FormatError, "no number in 'dose'"),
    "no glucose": (OHIO.replace("glucose_level", "glucose_levels"), FormatError, "no glucose reading"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(put, case):
    text, kind, words = BAD[case]
    with pytest.raises(kind, match=words):
        read(put(text), format="ohio")


def test_utf16_with_a_declaration(put):
    record, _ = read(put(OHIO.replace("UTF-8", "UTF-16").encode("utf-16")))
    assert len(record.find_series(CGM)[0]) == 3
