"""Apple Health: made-up exports with their truth, and what must not get in. No licensed public export exists."""

from __future__ import annotations

import gzip
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core import Code, iso, to_ns
from gemel.core.errors import DataError, FormatError, UnitError
from gemel.core.time import HOUR, MINUTE
from gemel.interop.wearables import _xml_stream as stream
from gemel.interop.wearables import read, read_all
from gemel.interop.wearables._priority import Amounts, merge_by_priority
from gemel.testing.apple import DOCUMENT_TYPE, apple_record, apple_stamp, write_apple_health

HEART, OXYGEN, WEIGHT, GLUCOSE, STEPS = (Code.parse(f"loinc:{c}") for c in ("8867-4", "59408-5", "29463-7", "15074-8", "55423-8"))
CARBS, RAPID, LONG, SLEEP, EXERCISE = (Code.parse(c) for c in ("loinc:9059-7", "atc:A10AB", "atc:A10AE", "gemel:sleep", "loinc:73985-4"))
NOON = to_ns("2026-05-04T12:00:00Z")


@pytest.fixture
def put(tmp_path):
    def write(body, head='<?xml version="1.0" encoding="UTF-8"?>\n', tail="</HealthData>"):
        path = tmp_path / "export.xml"
        text = f"{head}<HealthData>{body}{tail}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def points(record, code):
    (series,) = record.find_series(code)
    return dict(zip(series.time.tolist(), series.value.tolist(), strict=True))


@pytest.mark.parametrize("name", ["export.zip", "export.xml"])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_read_is_the_truth(tmp_path, name, seed):
    truth = write_apple_health(tmp_path / name, seed=seed)
    record, report = read(tmp_path / name)
    assert points(record, HEART) == truth.heart_rate
    assert points(record, OXYGEN) == pytest.approx(truth.oxygen, rel=1e-12)  # a fraction written in decimals, x 100
    assert points(record, WEIGHT) == pytest.approx(truth.weight, rel=1e-12)  # pounds: one multiplication
    assert points(record, GLUCOSE) == truth.glucose
    assert record.find_series(GLUCOSE)[0].unit == "mmol/L"
    assert record.find_series(STEPS)[0].value.sum() == pytest.approx(truth.steps, rel=1e-12)  # shares of intervals: rounding only
    assert {e.start: e.quantity.value for e in record.find_exposures(CARBS)} == truth.carbohydrates
    assert sum(e.quantity.value for e in record.find_exposures(RAPID)) == truth.bolus
    assert sum(e.quantity.value for e in record.find_exposures(LONG)) == truth.long_acting
    assert sum(e.quantity.value for e in record.find_exposures(SLEEP)) == pytest.approx(truth.sleep, rel=1e-12)
    assert record.find_exposures(EXERCISE)[0].note == "traditional strength training"
    assert report.rows == truth.records
    assert (record.demographics.sex, record.demographics.age, record.demographics.zone) == ("female", 45.0, "Europe/Berlin")
    assert sum(repair.count for repair in report.repairs if "the same entry again" in repair.what) == truth.duplicates
    assert set(record.find_series(HEART)[0].recorded - record.find_series(HEART)[0].time) == {MINUTE}  # creationDate


def test_nothing_of_the_owners_name_stays(tmp_path):
    write_apple_health(tmp_path / "export.zip")
    record, report = read(tmp_path / "export.zip")
    said = repr(record.model_dump()) + report.to_text()
    assert not any(word in said for word in ("SIMULATED", "Scales", "1980"))
    assert {s.source for s in record.series} == {"apple-health", "apple-health:watch", "apple-health:app"}


def test_a_later_export_adds_only_what_is_new(tmp_path):
    write_apple_health(tmp_path / "one.xml", days=1)
    write_apple_health(tmp_path / "two.xml", days=1, per_hour=12)
    first, again = read(tmp_path / "one.xml")[0], read(tmp_path / "two.xml")[0]
    assert first.id == again.id
    assert first.with_facts(*again.facts()).hash == first.hash


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_packed_or_not(tmp_path, pack):
    write_apple_health(tmp_path / "plain.xml", days=1)
    path = tmp_path / ("export.xml.gz" if pack is gzip.compress else "export.xml")
    path.write_bytes(pack((tmp_path / "plain.xml").read_bytes()))
    assert read(path)[1].format == "apple-health"


# what people's telephones write


def test_control_characters_of_ios_16(put):
    path = put(apple_record("HeartRate", 61, "count/min", NOON).replace("9.1", "9\x0b1"))
    assert any("control characters" in repair.what for repair in read(path)[1].repairs)


def test_a_document_type_that_is_broken_is_thrown_away(put):
    assert "ELEMENT" in DOCUMENT_TYPE
    assert len(read(put(apple_record("HeartRate", 61, "count/min", NOON), head=DOCUMENT_TYPE))[0].series) == 1


def test_every_record_is_accounted_for(put):
    bad = [
        apple_record("HeartRate", "fast", "count/min", NOON),
        apple_record("HeartRate", "1e999", "count/min", NOON),
        apple_record("HeartRate", "6_1", "count/min", NOON),
        apple_record("HeartRate", 900, "count/min", NOON),
        apple_record("HeartRate", 61, "Hz", NOON),
        apple_record("OxygenSaturation", 98, "%", NOON),  # not a fraction: 9800 %
        apple_record("BloodGlucose", 6, "mmol<386.65>/L", NOON),  # cholesterol's molar mass
        apple_record("BodyMass", 70, "kg", NOON, NOON - HOUR),
        apple_record("HeartRate", 61, "count/min", NOON).replace("2026-05-04", "2026-02-30"),
        apple_record("InsulinDelivery", 4, "IU", NOON),
        apple_record("InsulinDelivery", 400, "IU", NOON, inside='<MetadataEntry key="HKInsulinDeliveryReason" value="2"/>'),
        apple_record("DietaryCarbohydrates", 900, "g", NOON),
        apple_record("Nonsense", 1, "count", NOON),
    ]
    record, report = read(put("".join(bad) + apple_record("HeartRate", 61, "count/min", NOON)))
    assert report.rows == len(bad) + 1
    assert report.facts == {"loinc:8867-4": 1}
    told = report.unparsed + report.ignored
    assert sum(int(line.rsplit("(", 1)[1].rstrip(")")) for line in told) == len(bad)
    assert record.series[0].value.tolist() == [61]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31 08:05:00 +0100", "2026-01-31T07:05:00Z"),
        ("2026-01-01 00:30:59 +1345", "2025-12-31T10:45:59Z"),
        ("2025-12-31 20:00:00 -0930", "2026-01-01T05:30:00Z"),
        ("2024-02-29 23:59:59 +0000", "2024-02-29T23:59:59Z"),
    ],
)
def test_times_by_position(put, text, expected):
    record, _ = read(
        put(f'<Record type="HKQuantityTypeIdentifierHeartRate" unit="count/min" value="60" startDate="{text}" endDate="{text}"/>')
    )
    assert iso(record.series[0].time[0]) == expected


@given(st.integers(to_ns("1990-01-01T00:00Z") // 10**9, to_ns("2100-01-01T00:00Z") // 10**9), st.integers(-14 * 4, 14 * 4))
def test_any_time_comes_back(seconds, quarters):
    from gemel.interop.wearables._apple_read import Clock

    assert Clock()(apple_stamp(seconds * 10**9, quarters * 15 * MINUTE)) == seconds * 10**9


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-31", "2026-01-31 08:05:00", "2026-01-31T08:05:00 +0100", "2026-01-31 24:00:00 +0000", "2026-01-31 08:60:00 +0000",
     "2026-13-01 08:05:00 +0000", "20 6-01-31 08:05:00 +0000", "2026-01-31 08:05:00 +0100x", "1026-01-31 08:05:00 +0000", "2026-01-31 08:05:00 *0100"],
)  # fmt: skip
def test_no_time(text):
    from gemel.interop.wearables._apple_read import Clock

    with pytest.raises(ValueError):
        Clock()(text)


# two devices, one walk


def amounts(*rows):
    start, end, value = (np.array(column) for column in zip(*rows, strict=True))
    return Amounts(start.astype(np.int64), end.astype(np.int64), value.astype(float), end.astype(np.int64), np.arange(len(rows)))


def test_the_watch_counts_where_both_do():
    watch, phone = amounts((0, 60, 100), (120, 180, 30)), amounts((30, 150, 120), (200, 260, 6), (125, 130, 9), (120, 180, 30))
    merged, dropped, trimmed = merge_by_priority([watch, phone])
    assert dict(zip(merged.end.tolist(), merged.value.tolist(), strict=True)) == {60: 100, 120: 60, 180: 30, 260: 6}
    assert (dropped, trimmed) == (2, 1)


interval = st.tuples(st.integers(0, 200), st.integers(0, 40)).map(lambda pair: (pair[0], pair[0] + pair[1], float(pair[1])))


@given(st.lists(st.lists(interval, min_size=1, max_size=8), min_size=1, max_size=3))
@settings(deadline=None)
def test_one_step_a_second_is_the_length_of_the_union(levels):
    """Against seconds marked one by one: an independent count."""
    merged, _, _ = merge_by_priority([amounts(*rows) for rows in levels])
    marked = {second for rows in levels for start, end, _ in rows for second in range(start, end)}
    assert merged.value.sum() == pytest.approx(len(marked), abs=1e-9)  # at most 24 shares, each rounded once
    assert len(set(merged.end.tolist())) == len(merged.end)


# hostile


LAUGHS = '<!DOCTYPE HealthData [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
HOSTILE = {
    "entities": (LAUGHS, "<Record type='&b;'/>", "</HealthData>", "declares entities"),
    "outside": (
        '<!DOCTYPE HealthData SYSTEM "file:///etc/passwd" [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        "",
        "</HealthData>",
        "entities",
    ),
    "an entity that nobody declared": ("", "<Record type='&b;'/>", "</HealthData>", "is not XML"),
    "a type that ends in a comment": ("<!DOCTYPE HealthData [<!-- <HealthData> -->", LAUGHS, "</HealthData>", "is not XML"),
    "a type inside": ("", LAUGHS, "</HealthData>", "is not XML"),
    "deep": ("", "<a>" * 100, "</a>" * 100 + "</HealthData>", "nested too deeply"),
    "cut off": ("", apple_record("HeartRate", 61, "count/min", NOON), "<Record", "is not XML"),
    "empty": ("", "", "</HealthData>", "nothing that can be placed"),
    "glucose in the other unit": ("", apple_record("BloodGlucose", 6.1, "mg/dL", NOON), "</HealthData>", "looks like"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(put, case):
    head, body, tail, words = HOSTILE[case]
    with pytest.raises(UnitError if "unit" in case else FormatError, match=words):
        read(put(body, head=head, tail=tail))


def test_other_charsets_and_bombs(tmp_path, monkeypatch):
    path = tmp_path / "export.xml"
    text = f"<HealthData>{apple_record('HeartRate', 61, 'count/min', NOON)}</HealthData>"
    for raw in (text.encode("utf-16"), text.replace("\u2019", "\xe9").encode("latin-1")):
        path.write_bytes(raw)
        with pytest.raises(FormatError):
            read(path, format="apple-health")
    monkeypatch.setattr(stream, "_LONGEST", 1 << 20)
    bomb = tmp_path / "export.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("export.xml", "<HealthData>" + " " * (2 << 20) + "</HealthData>")
    assert bomb.stat().st_size < 20_000
    with pytest.raises(FormatError, match="too large"):
        read(bomb)
    monkeypatch.undo()
    monkeypatch.setattr(stream, "_SILENCE", 1 << 18)
    path.write_text(f"<HealthData><Record type='{'x' * (2 << 20)}'/></HealthData>")
    with pytest.raises(FormatError, match="without an end"):
        read(path)


def test_a_zip_that_is_damaged_inside(tmp_path):
    write_apple_health(tmp_path / "export.zip", days=1)
    raw = bytearray((tmp_path / "export.zip").read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    (tmp_path / "export.zip").write_bytes(bytes(raw))
    with pytest.raises(DataError):
        read(tmp_path / "export.zip")


def test_memory_does_not_grow_with_what_is_not_used(tmp_path):
    """30,000 records of a type that is not used: 10 MB of text."""
    import tracemalloc

    path = tmp_path / "export.xml"
    unused = apple_record("FlightsClimbed", 3, "count", NOON) * 1000
    with path.open("w", encoding="utf-8") as file:
        file.write("<HealthData>" + apple_record("HeartRate", 61, "count/min", NOON))
        for _ in range(30):
            file.write(unused)
        file.write("</HealthData>")
    assert path.stat().st_size > 9 << 20
    tracemalloc.start()
    (found,) = read_all(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[1].rows == 30_001
    assert peak < 4 << 20  # a few chunks of 256 KiB; the file is 10 MiB, a tree of it far more
