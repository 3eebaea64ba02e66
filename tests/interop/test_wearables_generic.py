"""The generic table: what it yields, and what it does with every kind of bad input."""

from __future__ import annotations

import gzip
import time as clock
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemel.core import Code, Exposure, PatientRecord, Quantity, Series, iso, to_ns
from gemel.core.errors import DataError, FormatError, GemelError, TimeError, UnitError, ValueRangeError
from gemel.interop.wearables import FORMATS, read, read_all, write_csv

CGM, MMOL = Code.parse("loinc:99504-3"), Code.parse("loinc:105272-9")
CARBS, ENERGY, RAPID, LONG = (Code.parse(c) for c in ("loinc:9059-7", "loinc:9052-2", "atc:A10AB", "atc:A10AE"))
MINUTE = 60_000_000_000


@pytest.fixture
def put(tmp_path):
    def write(text, name="p1.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return write


def rows(n, start="2026-01-05T00:00", step=5, value=lambda i: 100 + i % 40):
    first = np.datetime64(start)
    return [f"{first + np.timedelta64(step * i, 'm')},{value(i)}" for i in range(n)]


def table(lines, header="time,glucose_mg_dl"):
    return "\n".join([header, *lines]) + "\n"


def repaired(report, words):
    return next((r for r in report.repairs if words in r.what), None)


def test_reads_all_columns_with_codes_units_and_two_times(put):
    path = put(
        "time,glucose_mg_dl,carbs_g,energy_kcal,bolus_u,basal_u_h,long_acting_u,recorded\n"
        "2026-01-05T08:00+01:00,110,,,,0.8,,2026-01-05T08:01+01:00\n"
        "2026-01-05T08:05+01:00,,45,600,4.5,,,\n"
        "2026-01-05T08:10+01:00,130,0,0,0,1.2,20,\n"
        "2026-01-05T08:15+01:00,140,,,,,,\n"
    )
    record, report = read(path)
    glucose = record.find_series(CGM)[0]
    assert glucose.unit == "mg/dL"
    assert glucose.value.tolist() == [110, 130, 140]
    assert iso(glucose.time[0]) == "2026-01-05T07:00:00Z"
    assert glucose.recorded[0] - glucose.time[0] == MINUTE
    assert record.find_exposures(CARBS)[0].quantity == Quantity(value=45, unit="g")
    assert record.find_exposures(ENERGY)[0].quantity == Quantity(value=600, unit="kcal")
    assert record.find_exposures(LONG)[0].quantity == Quantity(value=20, unit="[iU]")
    basal = [e for e in record.find_exposures(RAPID) if e.quantity.unit == "[iU]/h"]
    assert [(e.quantity.value, iso(e.start), iso(e.end)) for e in basal] == [
        (0.8, "2026-01-05T07:00:00Z", "2026-01-05T07:10:00Z"), (1.2, "2026-01-05T07:10:00Z", "2026-01-05T07:15:00Z"),
    ]  # fmt: skip
    assert report.facts == {"loinc:99504-3": 3, "loinc:9059-7": 1, "loinc:9052-2": 1, "atc:A10AB": 3, "atc:A10AE": 1}
    assert report.rows == 4
    assert record.id == "p1"


def test_keeps_the_senders_unit(put):
    record, _ = read(put(table(rows(5, value=lambda i: 5.5 + i / 10), "time,glucose_mmol_l")))
    assert record.series[0].unit == "mmol/L"
    assert record.series[0].code == MMOL


def test_one_person_per_id(put):
    path = put("id,time,glucose_mg_dl\nb,2026-01-05T00:00Z,100\na,2026-01-05T00:00Z,120\nb,2026-01-05T00:05Z,105\n")
    people = read_all(path)
    assert [(r.id, len(r.series[0])) for r, _ in people] == [("a", 1), ("b", 2)]
    assert read(path, id="b")[0].series[0].value.tolist() == [100, 105]
    with pytest.raises(FormatError, match="holds 2 people"):
        read(path)


def test_id_names_a_single_person(put):
    assert read(put(table(rows(3))), id="alias")[0].id == "alias"


def test_zip_gz_and_folder(put, tmp_path):
    text = table(rows(4))
    gz = put(gzip.compress(text.encode()), "z1.csv.gz")
    assert read(gz)[0].id == "z1"
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("study/a.csv", text)
        archive.writestr("study/b.csv", text)
        archive.writestr("__MACOSX/._a.csv", b"x")
        archive.writestr("README.md", "words")
    found = read_all(tmp_path / "all.zip")
    assert [r.id for r, _ in found] == ["a", "b"]
    assert any("README.md" in entry for entry in found[0][1].ignored)
    gz.unlink()
    (tmp_path / "all.zip").unlink()
    put(text, "c.csv")
    assert [r.id for r, _ in read_all(tmp_path)] == ["c"]


@pytest.mark.parametrize(
    "stamp",
    ["2026-01-31T08:05", "2026-01-31 08:05:00", "2026/01/31 08:05", "2026/1/31 8:05", "31.01.2026 08:05", "31.1.2026 8:05:00"],
)
def test_common_ways_to_write_a_time(put, stamp):
    record, _ = read(put(f"time,glucose_mg_dl\n{stamp},100\n"), tz="Europe/Berlin")
    assert iso(record.series[0].time[0]) == "2026-01-31T07:05:00Z"
    assert record.demographics.zone == "Europe/Berlin"


def test_unknown_zone_is_said(put):
    record, report = read(put(table(rows(3))))
    assert record.demographics.zone == "UTC"
    assert any("zone unknown" in warning for warning in report.warnings)


@pytest.mark.parametrize(("word", "side", "limit"), [("LOW", -1, 40), ("lo", -1, 40), ("High", 1, 400), ("HI", 1, 400)])
def test_words_beyond_the_range_are_censored(put, word, side, limit):
    record, report = read(put(table([*rows(5), f"2026-01-05T01:00,{word}"])))
    assert record.series[0].censored[-1] == side
    assert record.series[0].value[-1] == limit
    assert any("censored" in r.what for r in report.repairs)


def test_words_in_mmol(put):
    record, _ = read(put(table([*rows(5, value=lambda i: 6.0), "2026-01-05T01:00,LOW"], "time,glucose_mmol_l")))
    assert record.series[0].value[-1] == pytest.approx(40 / 18.0156)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_byte_order_mark_separators_and_decimal_commas(put, separator):
    text = (
        "\ufeff" + separator.join(["time", "glucose_mmol_l", "bolus_u"]) + "\n" + separator.join(["05.01.2026 08:00", "5,6", "1,5"]) + "\n"
    )
    record, report = read(put(text))
    assert record.series[0].value.tolist() == [5.6]
    assert record.exposures[0].quantity.value == 1.5
    assert repaired(report, "decimal commas").count == 2
    assert repaired(report, "byte order mark")
    assert repaired(report, "columns separated")


def test_utf16_and_windows_1252(put):
    assert len(read(put(table(rows(3)), encoding="utf-16"))[0].series[0]) == 3
    record, report = read(put(table(rows(3), "time,glucose_mg_dl,caf\xe9").encode("cp1252")))
    assert len(record.series[0]) == 3
    assert repaired(report, "Windows-1252")


BAD = {
    "unknown unit": ("time,glucose_xyz\n2026-01-05T00:00Z,100\n", UnitError, "no known unit"),
    "no unit": ("time,glucose\n2026-01-05T00:00Z,100\n", UnitError, "no known unit"),
    "mmol in mg column": (table(rows(9, value=lambda i: 5.5)), UnitError, "looks like mmol/L"),
    "mg in mmol column": (table(rows(9), "time,glucose_mmol_l"), UnitError, "looks like mg/dL"),
    "empty": ("", FormatError, "is empty"),
    "blank": ("\n\n  \n", FormatError, "is empty"),
    "binary": (b"\x89PNG\x00\x01\x02" * 50, FormatError, "binary"),
    "header only": ("time,glucose_mg_dl\n", FormatError, "no rows"),
    "no glucose value": ("time,glucose_mg_dl,carbs_g\n2026-01-05T00:00Z,,20\n", FormatError, "no glucose reading"),
    "no glucose column": ("time,carbs_g\n2026-01-05T00:00Z,20\n", FormatError, "no glucose column"),
    "two glucose columns": ("time,glucose_mg_dl,glucose_mmol_l\n2026-01-05T00:00Z,100,5\n", FormatError, "more than one"),
    "no time column": ("when,glucose_mg_dl\n2026-01-05T00:00Z,100\n", FormatError, "no column of times"),
    "no time in row": ("time,glucose_mg_dl\n,100\n2026-01-05T00:00Z,100\n", TimeError, "row 2 .* has no time"),
    "unreadable time": ("time,glucose_mg_dl\nyesterday,100\n", TimeError, "row 2"),
    "ambiguous time": ("time,glucose_mg_dl\n03/04/2026 08:00,100\n", TimeError, "row 2"),
    "impossible date": ("time,glucose_mg_dl\n2026-02-30 08:00,100\n", TimeError, "row 2"),
    "impossible glucose": (table([*rows(5), "2026-01-06T00:00,5000"]), ValueRangeError, "impossible"),
    "infinite glucose": (table([*rows(5), "2026-01-06T00:00,inf"]), ValueRangeError, "impossible"),
    "words for glucose": (table(["2026-01-05T00:00Z,abc", "2026-01-05T00:05Z,100"]), FormatError, "cannot be read"),
    "too much carbohydrate": ("time,glucose_mg_dl,carbs_g\n2026-01-05T00:00Z,100,250\n", ValueRangeError, "split"),
    "negative carbohydrate": ("time,glucose_mg_dl,carbs_g\n2026-01-05T00:00Z,100,-5\n", ValueRangeError, "negative"),
    "huge bolus": ("time,glucose_mg_dl,bolus_u\n2026-01-05T00:00Z,100,400\n", ValueRangeError, "too much"),
    "basal too small": ("time,glucose_mg_dl,basal_u_h\n2026-01-05T00:00Z,100,0.001\n", UnitError, "U/h"),
    "basal too large": ("time,glucose_mg_dl,basal_u_h\n2026-01-05T00:00Z,100,80\n", UnitError, "U/h"),
    "text for a dose": ("time,glucose_mg_dl,bolus_u\n2026-01-05T00:00Z,100,some\n", FormatError, "no number in bolus_u"),
    "recorded before true": (
        "time,glucose_mg_dl,recorded\n2026-01-05T01:00Z,100,2026-01-05T00:00Z\n",
        TimeError,
        "recorded before it was true",
    ),
    "too many cells": ("time,glucose_mg_dl\n2026-01-05T00:00Z,100,7\n", FormatError, "more cells"),
    "one name twice": ("time,glucose_mg_dl,glucose_mg_dl\n2026-01-05T00:00Z,100,7\n", FormatError, "one name"),
    "damaged gzip": (b"\x1f\x8b\x08\x00broken", FormatError, "unpacked"),
    "damaged zip": (b"PK\x03\x04broken", FormatError, "unpacked"),
    "prose": ("Dear reader, this is no table\n", DataError, "no column of times"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_what_seen_expected_and_next(put, case):
    text, kind, words = BAD[case]
    path = put(text)
    with pytest.raises(kind, match=words) as caught:
        read(path)
    assert isinstance(caught.value, GemelError)
    assert caught.value.expected is not None or caught.value.fix is not None


def test_missing_file_unknown_zone_and_unknown_format(put, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none.csv")
    path = put(table(rows(3)))
    with pytest.raises(TimeError, match="unknown time zone"):
        read(path, tz="Mars/Base")
    with pytest.raises(FormatError, match="unknown format"):
        read(path, format="fax")
    assert read(path, format="generic")[0].id == "p1"
    with pytest.raises(FormatError):
        read(path, format="dexcom")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(FormatError, match="holds no file"):
        read_all(tmp_path / "hollow")


def test_unsorted_rows_are_sorted_and_reported(put):
    lines = rows(30)
    record, report = read(put(table(lines[::-1])))
    assert (np.diff(record.series[0].time) > 0).all()
    assert repaired(report, "out of order").example == 3
    assert not any("clock went backwards" in w for w in report.warnings)  # newest first is an order, not a faulty clock


def test_clock_set_back_is_flagged(put):
    lines = [*rows(150), *rows(100, start="2026-01-05T12:02")]
    _, report = read(put(table(lines)))
    assert any("clock went backwards 1 time(s)" in w for w in report.warnings)


def test_duplicates_are_merged_and_conflicts_keep_the_later_row(put):
    lines = [*rows(4), "2026-01-05T00:05,101", "2026-01-05T00:10,222"]
    record, report = read(put(table(lines)))
    assert record.series[0].value.tolist() == [100, 101, 222, 103]
    assert repaired(report, "duplicate rows merged").count == 1
    assert repaired(report, "later row kept").count == 1


def test_versions_recorded_at_different_times_both_stay(put):
    text = "time,glucose_mg_dl,recorded\n2026-01-05T00:00Z,100,2026-01-05T00:01Z\n2026-01-05T00:00Z,120,2026-01-05T06:00Z\n"
    record, _ = read(put(text))
    early = record.as_of(to_ns("2026-01-05T01:00Z"))
    assert early.series[0].value.tolist() == [100]
    assert record.as_of(to_ns("2026-01-05T07:00Z")).series[0].value.tolist() == [120]


def test_gaps_are_counted(put):
    _, report = read(put(table([*rows(10), *rows(10, start="2026-01-05T06:00")])))
    assert report.gaps == 1
    assert report.longest_gap_min == 315


def test_identical_boluses_are_flagged_not_merged(put):
    text = "time,glucose_mg_dl,bolus_u\n2026-01-05T00:00:00Z,100,3\n2026-01-05T00:00:40Z,,3\n2026-01-05T03:00:00Z,110,3\n"
    record, report = read(put(text))
    assert len(record.find_exposures(RAPID)) == 3
    assert any("identical doses" in w for w in report.warnings)


def test_zero_basal_is_a_stopped_pump_and_an_unused_column_is_nothing(put):
    text = (
        "time,glucose_mg_dl,basal_u_h\n2026-01-05T00:00Z,100,1\n2026-01-05T01:00Z,100,0\n2026-01-05T02:00Z,100,1\n2026-01-05T03:00Z,100,\n"
    )
    assert [e.quantity.value for e in read(put(text))[0].exposures] == [1, 0, 1]
    text = "time,glucose_mg_dl,basal_u_h\n2026-01-05T00:00Z,100,0\n2026-01-05T01:00Z,100,0\n"
    assert read(put(text))[0].exposures == ()


def test_daylight_saving_doubled_hour(put):
    local = ["2023-10-29T01:30", "2023-10-29T02:00", "2023-10-29T02:30", "2023-10-29T02:00", "2023-10-29T02:30", "2023-10-29T03:00"]
    record, report = read(put(table([f"{t},{100 + i}" for i, t in enumerate(local)])), tz="Europe/Berlin")
    assert (np.diff(record.series[0].time) == 30 * MINUTE).all()
    assert record.series[0].value.tolist() == [100, 101, 102, 103, 104, 105]
    assert repaired(report, "second pass").count == 2


def test_clock_without_daylight_saving_keeps_one_offset(put):
    record, report = read(put(table(rows(60, start="2024-03-31T00:00"))), tz="Europe/Berlin")
    assert (np.diff(record.series[0].time) == 5 * MINUTE).all()
    assert any("does not follow" in w for w in report.warnings)


def test_few_unreadable_cells_are_listed(put):
    _, report = read(put(table([*rows(60), "2026-01-06T00:00,SENSOR ERR"])))
    assert any("no number, first in row 62" in entry for entry in report.unparsed)


def test_zero_glucose_is_missing(put):
    record, report = read(put(table([*rows(5), "2026-01-06T00:00,0"])))
    assert len(record.series[0]) == 5
    assert repaired(report, "zero or less")


def test_report_text_names_everything(put):
    _, report = read(
        put(table([*rows(5)], "time,glucose_mg_dl").replace("glucose_mg_dl", "glucose_mg_dl,mood").replace("\n2026", "\n2026"))
    )
    text = report.to_text()
    assert "ignored: column 'mood' (1)" in text
    assert "zone unknown" in text


def test_every_format_is_listed():
    tables = {"generic", "shanghai", "d1namo", "glucose-ml", "colas", "dexcom", "libreview", "hupa", "azt1d", "cgmacros"}
    assert set(FORMATS) == tables | {"nightscout", "tidepool", "open-mhealth", "ohio", "fhir-cgm", "apple-health", "omop"}


def test_hundred_thousand_rows_are_fast(put):
    path = put(table([f"{line},{30 if i % 70 == 0 else ''}" for i, line in enumerate(rows(100_000))], "time,glucose_mg_dl,carbs_g"))
    begin = clock.process_time()
    record, _ = read(path, tz="Europe/Berlin")
    assert len(record.series[0]) == 100_000
    assert clock.process_time() - begin < 1.5  # measured 0.5 s on two cores; the bound leaves room for a busy machine


values = st.one_of(st.floats(40.5, 399.5).map(lambda v: round(v, 2)), st.sampled_from(["LOW", "HIGH"]))


@st.composite
def records(draw):
    n = draw(st.integers(2, 25))
    minutes = sorted(draw(st.sets(st.integers(0, 5000), min_size=n, max_size=n)))
    time = np.array(minutes, np.int64) * MINUTE + 1_700_000_000_000_000_000
    cells = draw(st.lists(values, min_size=n, max_size=n))
    value = [{"LOW": 40.0, "HIGH": 400.0}.get(c, c) for c in cells]
    censored = [{"LOW": -1, "HIGH": 1}.get(c, 0) for c in cells]
    recorded = time + np.array(draw(st.lists(st.integers(0, 300), min_size=n, max_size=n)), np.int64) * MINUTE
    measured = [v for v, c in zip(value, censored, strict=True) if not c]
    unit_of_rest = Series(code=CGM, unit="mg/dL", time=time, value=value, censored=censored, recorded=recorded, source="generic")
    facts = [unit_of_rest]
    for code, unit, top in ((CARBS, "g", 200), (RAPID, "[iU]", 20), (LONG, "[iU]", 60), (ENERGY, "kcal", 2000)):
        for index in draw(st.sets(st.integers(0, n - 1), max_size=4)):
            amount = draw(st.integers(1, top * 10)) / 10
            start = int(time[index])
            facts.append(
                Exposure(
                    code=code,
                    quantity=Quantity(value=amount, unit=unit),
                    start=start,
                    end=start,
                    recorded=int(recorded[index]),
                    source="generic",
                )
            )
    rates = draw(st.lists(st.integers(1, 50).map(lambda r: r / 10), max_size=min(4, n - 1)))
    rates = [r for i, r in enumerate(rates) if i == 0 or r != rates[i - 1]]
    marks = [int(time[i]) for i in range(len(rates))] + [int(time[-1])]
    for rate, start, end in zip(rates, marks, [*marks[1:-1], marks[-1]], strict=False):
        facts.append(
            Exposure(code=RAPID, quantity=Quantity(value=rate, unit="[iU]/h"), start=start, end=end, recorded=start, source="generic")
        )
    return PatientRecord(id=draw(st.text("abcXYZ019-", min_size=1, max_size=8))).with_facts(*facts), bool(measured)


@given(records())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_write_then_read_gives_the_same_record(tmp_path, drawn):
    record, _ = drawn
    path = tmp_path / "out.csv"
    assert write_csv(record, path) == ()
    again, _ = read(path)
    assert again.id == record.id
    assert again.hash == record.hash


def test_write_lists_what_does_not_fit(put, tmp_path):
    record = PatientRecord(id="p").with_facts(
        Series(code=CGM, unit="mg/dL", time=[0], value=[100.0]),
        Series(code=Code.parse("loinc:8867-4"), unit="/min", time=[0, 1], value=[60.0, 61.0]),
        Exposure(code=Code.parse("gemel:meal-unquantified"), quantity=None, start=0),
    )
    left = write_csv(record, tmp_path / "o.csv")
    assert set(left) == {"series loinc:8867-4 (2)", "exposure gemel:meal-unquantified (1)"}


def test_write_is_whole_or_nothing(tmp_path):
    record = PatientRecord(id="p").with_facts(Series(code=CGM, unit="mg/dL", time=[0], value=[100.0]))
    with pytest.raises(DataError, match="cannot be written"):
        write_csv(record, tmp_path / "missing" / "o.csv")
    with pytest.raises(DataError, match="without glucose"):
        write_csv(PatientRecord(id="p"), tmp_path / "o.csv")
    assert list(tmp_path.iterdir()) == []
