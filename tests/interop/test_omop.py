"""OMOP tables: made up, with their truth, and what must not get in."""

from __future__ import annotations

import csv
import gzip
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemel.core import Code, iso, to_ns
from gemel.core.errors import DataError, FormatError, GemelError
from gemel.core.series import BELOW
from gemel.core.time import DAY
from gemel.interop.wearables import read, read_all
from gemel.testing.omop import write_omop, write_omop_table

GLUCOSE, CREATININE, METFORMIN, DIABETES = (Code.parse(c) for c in ("loinc:2345-7", "loinc:2160-0", "rxnorm:6809", "snomed:44054006"))
START = to_ns("2026-01-05T06:00Z")


def table(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def edit(folder, name, row, **cells):
    found = table(folder, name)
    found[row] |= cells
    write_omop_table(folder / f"{name}.csv", found)


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_read_is_the_truth(tmp_path, seed):
    truth = write_omop(tmp_path, seed=seed)
    found = read_all(tmp_path, tz="UTC")
    assert [record.id for record, _ in found] == ["1", "2"]
    for record, report in found:
        assert report.format == "omop"
        (glucose,) = record.find_series(GLUCOSE)
        assert dict(zip(glucose.time.tolist(), glucose.value.tolist(), strict=True)) == truth.glucose[record.id]
        assert glucose.unit == "mg/dL"
        (creatinine,) = record.find_series(CREATININE)
        assert creatinine.censored.tolist() == [BELOW]
        assert (iso(creatinine.time[0]), iso(creatinine.recorded[0])) == ("2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z")  # a date only
        (drug,) = record.find_exposures(METFORMIN)
        assert (drug.quantity, drug.note, drug.recorded == drug.end) == (None, "quantity 60", True)
        assert [f.code for f in record.findings] == [DIABETES]
        assert (record.demographics.sex, record.demographics.age) == ("female", 65.0)
        assert sum(report.facts.values()) == truth.placed / 2
        assert sum(int(line.rsplit("(", 1)[1].rstrip(")")) for line in report.unparsed) == truth.refused / 2
        assert sum(r.count for r in report.repairs if "the same row again" in r.what) == truth.duplicates / 2
        assert report.rows == (truth.placed + truth.refused + truth.duplicates) / 2
        assert any("concept 0, source value 'LAB1'" in line for line in report.unparsed)


def test_nothing_is_known_before_it_was_true(tmp_path):
    write_omop(tmp_path)
    record, _ = read_all(tmp_path, tz="UTC")[0]
    assert not record.as_of(START - 7 * 60 * 60 * 10**9).series
    early = record.as_of(START + DAY)
    assert not early.find_exposures(METFORMIN)  # its end was not known yet
    assert len(early.findings) == 1
    assert record.as_of(START + 40 * DAY).find_exposures(METFORMIN)


def test_zones_zips_gz_and_capitals(tmp_path):
    write_omop(tmp_path / "a" / "OMOP", people=1)
    folder = tmp_path / "a" / "OMOP"
    record, report = read(folder, tz="America/New_York", id="p9")
    assert record.id == "p9"
    assert record.series[0].time.min() - START == 5 * 60 * 60 * 10**9
    assert not any("zone" in text for text in report.warnings)
    assert any("zone" in text for text in read(folder)[1].warnings)
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "a")
    assert read(archive, tz="UTC")[1].rows == report.rows
    raw = (folder / "measurement.csv").read_bytes()
    (folder / "measurement.csv").unlink()
    (folder / "MEASUREMENT.CSV.gz").write_bytes(gzip.compress(raw.replace(b"measurement_id", b"MEASUREMENT_ID")))
    assert read(folder, tz="UTC")[1].rows == report.rows


WRONG = {
    "no number": ({"value_as_number": "high"}, "a value that is no number"),
    "infinite": ({"value_as_number": "1e999"}, "a value that is no number"),
    "no value": ({"value_as_number": ""}, "no value"),
    "no time": ({"measurement_datetime": "", "measurement_date": ""}, "no readable time"),
    "a time that is none": ({"measurement_datetime": "2026-02-30 08:00:00"}, "no readable time"),
    "another century": ({"measurement_datetime": "0001-01-01 00:00:00"}, "no readable time"),
    "an unknown concept": ({"measurement_concept_id": "77"}, "concept 77 is not in the vocabulary"),
    "an unknown operator": ({"operator_concept_id": "77"}, "an operator that is not known"),
    "a unit that is none": ({"unit_concept_id": "0", "unit_source_value": "spoons"}, "no unit, source value 'spoons'"),
    "one number twice": ({"measurement_id": "2"}, "that differ, the first kept"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_row_that_cannot_be_placed_is_named(tmp_path, case):
    write_omop(tmp_path, people=1)
    cells, words = WRONG[case]
    edit(tmp_path, "measurement", 2, **cells)
    record, report = read(tmp_path, tz="UTC")
    assert any(words in line for line in report.unparsed)
    assert len(record.find_series(GLUCOSE)[0]) == 19


def test_values_that_are_no_numbers_and_units_in_words(tmp_path):
    write_omop(tmp_path, people=1)
    edit(tmp_path, "measurement", 2, value_as_number="", value_as_concept_id="2000000006")
    edit(tmp_path, "measurement", 3, unit_concept_id="0", unit_source_value="mmol/L")
    record, report = read(tmp_path, tz="UTC")
    assert [f.value for f in record.findings if f.code == GLUCOSE] == [DIABETES]
    assert {s.unit: len(s) for s in record.find_series(GLUCOSE)} == {"mg/dL": 18, "mmol/L": 1}
    assert any("which is UCUM" in repair.what for repair in report.repairs)


def test_people_without_a_fact_and_rows_without_a_person(tmp_path):
    write_omop(tmp_path)
    for name in ("measurement", "drug_exposure", "condition_occurrence", "visit_occurrence", "observation_period"):
        rows = table(tmp_path, name)
        write_omop_table(tmp_path / f"{name}.csv", [row for row in rows if row["person_id"] == "1"])
    edit(tmp_path, "condition_occurrence", 0, person_id="9")
    ((record, report),) = read_all(tmp_path, tz="UTC")
    assert record.id == "1"
    assert any("people of whom nothing" in line for line in report.ignored)
    assert "rows of people who are not in person (1)" in report.unparsed


def test_what_cannot_be_an_export(tmp_path):
    write_omop(tmp_path / "whole", people=1)

    def spoilt(name, text, words):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(tmp_path / "whole", folder)
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(text)
        with pytest.raises(FormatError, match=words):
            read(folder, format="omop")

    person = (tmp_path / "whole" / "person.csv").read_bytes()
    spoilt("CONCEPT.csv", None, "lack concept")
    spoilt("person.csv", None, "lack person")
    spoilt("person.csv", person + person.splitlines()[1] + b"\n", "a person twice")
    spoilt("person.csv", person.splitlines()[0] + b"\n", "hold nobody")
    spoilt("person.csv", person + b"2,3\n", "does not fit the head")
    spoilt("person.csv", person + b'2,"3', "cannot be read|does not fit")
    spoilt("person.csv", person.replace(b"1960", b"\xff"), "cannot be read after")
    with pytest.raises(DataError):
        read(tmp_path / "whole" / "person.csv", format="omop")


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_cut_and_edited(tmp_path, data):
    """Facts, or an error of the tree: nothing else."""
    write_omop(tmp_path, people=1, readings=3)
    name = data.draw(st.sampled_from(["person", "measurement", "drug_exposure", "condition_occurrence", "CONCEPT"]))
    raw = bytearray((tmp_path / f"{name}.csv").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(raw) - 1))
        raw[where : where + data.draw(st.integers(0, 20))] = data.draw(
            st.one_of(st.binary(max_size=6), st.sampled_from([b'"', b",", b"\n", b"-", b"e9", b"\x00"]))
        )
    (tmp_path / f"{name}.csv").write_bytes(bytes(raw))
    try:
        found = read_all(tmp_path, format="omop")
    except GemelError:
        return
    assert all(record.hash and report.facts for record, report in found)
