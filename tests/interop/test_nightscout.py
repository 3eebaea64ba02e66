"""Nightscout: entries, treatments and the basal schedule, on made-up documents."""

from __future__ import annotations

import copy
import json

import pytest

from _interop_samples import NIGHTSCOUT
from gemel.core import Code, iso, to_ns
from gemel.core.errors import FormatError, TimeError, UnitError, ValueRangeError
from gemel.interop.wearables import read, read_all
from gemel.interop.wearables._pump import Schedule, Temporary, deliver

CGM, STRIP, STRIP_MMOL = Code.parse("loinc:99504-3"), Code.parse("loinc:41653-7"), Code.parse("loinc:14743-9")
CARBS, RAPID = Code.parse("loinc:9059-7"), Code.parse("atc:A10AB")
HOUR = 3_600_000_000_000


@pytest.fixture
def put(tmp_path):
    def write(found, name="ns.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found), encoding="utf-8")
        return path

    return write


def changed(change):
    found = copy.deepcopy(NIGHTSCOUT)
    change(found)
    return found


def rates(record):
    return [(iso(e.start)[11:16], iso(e.end)[11:16], e.quantity.value) for e in record.find_exposures(RAPID) if e.quantity.unit == "[iU]/h"]


def test_readings_codes_and_units(put):
    record, report = read(put(NIGHTSCOUT))
    glucose = record.find_series(CGM)[0]
    assert glucose.value.tolist() == [110, 118, 40, 400, 130]  # newest first in the file, sorted; error code 5 is no reading
    assert glucose.censored.tolist() == [0, 0, -1, 1, 0]
    assert record.find_series(STRIP)[0].value.tolist() == [112]
    assert record.find_series(STRIP_MMOL)[0].value.tolist() == [6.0]  # the sender's unit is kept
    assert record.demographics.zone == "Europe/Berlin"
    assert any("sensor error code 5" in entry for entry in report.ignored)
    assert not any("order of time" in repair.what for repair in report.repairs)
    everything = record.model_dump_json(exclude={"series"}) + report.to_text()
    assert "private" not in everything
    assert "share2" not in everything


def test_doses_and_the_combo_bolus(put):
    record, _ = read(put(NIGHTSCOUT))
    doses = [(e.quantity.value, (e.end - e.start) / HOUR) for e in record.find_exposures(RAPID) if e.quantity.unit == "[iU]"]
    assert sorted(doses) == [(pytest.approx(2.4), 2.0), (3.6, 0.0), (4.5, 0.0)]
    assert [e.quantity.value for e in record.find_exposures(CARBS)] == [45]
    assert {str(e.code): e.quantity.value for e in record.exposures if str(e.code).startswith("gemel:")} == {
        "gemel:protein-intake": 20,
        "gemel:fat-intake": 11,
    }
    without = changed(lambda n: [n["treatments"][1].pop(key) for key in ("enteredinsulin", "splitExt", "splitNow")])
    again, _ = read(put(without))  # the rate of the rest says the same: 1.2 U/h for 2 h
    assert sorted(e.quantity.value for e in again.find_exposures(RAPID) if e.quantity.unit == "[iU]") == [pytest.approx(2.4), 3.6, 4.5]


def test_temporary_rates_lie_over_the_schedule(put):
    record, _ = read(put(NIGHTSCOUT))  # schedule in Berlin: 0.8 U/h until 10:30, then 1.0; UTC is an hour less
    assert rates(record) == [
        ("08:00", "09:00", 0.8),
        ("09:00", "09:30", 0.4),
        ("09:30", "10:00", 1.0),
        ("10:00", "11:00", 1.5),
        ("11:00", "11:30", 1.0),
    ]


def test_percent_without_a_profile_is_not_guessed(put):
    record, report = read(put(changed(lambda n: n.update(profile=[]))), tz="Europe/Berlin")
    assert rates(record) == [("09:00", "09:30", 0.4)]
    assert any("percent basal rates" in entry for entry in report.unparsed)
    assert any("between temporary rates" in warning for warning in report.warnings)


def test_profile_switch_scales_and_ends(put):
    switch = {"eventType": "Profile Switch", "created_at": "2026-01-01T08:00:00Z", "profile": "Default", "percentage": 150, "duration": 60}
    record, report = read(
        put(changed(lambda n: n.update(treatments=[switch, {**switch, "profile": "Gone", "created_at": "2026-01-01T12:00Z"}])))
    )
    assert rates(record) == [("08:00", "09:00", pytest.approx(1.2)), ("09:00", "09:30", 0.8), ("09:30", "12:00", 1.0)]
    assert any("profile that is not in the export" in entry for entry in report.unparsed)


def test_a_folder_is_one_person_and_folders_are_several(put, tmp_path):
    for person in ("anna", "bert"):
        for kind in ("entries", "treatments", "profile"):
            put(NIGHTSCOUT[kind], f"all/{person}/{kind}.json")
    assert [record.id for record, _ in read_all(tmp_path / "all")] == ["anna", "bert"]
    one, _ = read(tmp_path / "all" / "anna", id="a")
    whole, _ = read(put(NIGHTSCOUT), id="a")
    assert one.hash == whole.hash


def test_duplicates_count_once_and_a_correction_supersedes(put):
    twice = changed(lambda n: n["treatments"].append({**n["treatments"][0], "_id": "again"}))
    record, report = read(put(twice))
    assert len(record.find_exposures(CARBS)) == 1
    assert any("duplicates counted once" in repair.what for repair in report.repairs)
    late = {**NIGHTSCOUT["treatments"][0], "carbs": 60, "srvModified": 1_767_268_800_000}  # 12:00Z
    record, report = read(put(changed(lambda n: n["treatments"].append(late))))
    assert any("recorded later supersedes" in repair.what for repair in report.repairs)
    assert [e.quantity.value for e in record.as_of(to_ns("2026-01-01T11:00Z")).find_exposures(CARBS)] == [45]
    assert [e.quantity.value for e in record.as_of(to_ns("2026-01-01T13:00Z")).find_exposures(CARBS)] == [60]


def test_a_reading_uploaded_twice_counts_once_and_a_corrected_one_supersedes(put):
    first = NIGHTSCOUT["entries"][0]
    again = {**first, "_id": "z", "srvCreated": 1_767_268_800_000}
    record, report = read(put(changed(lambda n: n["entries"].append(again))))
    assert len(record.find_series(CGM)[0]) == 5
    assert any("reported again later" in repair.what for repair in report.repairs)
    record, report = read(put(changed(lambda n: n["entries"].append({**again, "sgv": 99}))))
    assert record.as_of(to_ns("2026-01-01T09:00Z")).find_series(CGM)[0].value[-1] == first["sgv"]
    assert record.as_of(to_ns("2026-01-02T09:00Z")).find_series(CGM)[0].value[-1] == 99
    assert any("recorded later supersedes" in repair.what for repair in report.repairs)


def test_a_dump_of_the_database_reads_the_same(put):
    def wrap(n):
        for entry in n["entries"]:
            entry.update(_id={"$oid": entry["_id"]}, date={"$numberLong": str(entry["date"])})
        for treatment in n["treatments"]:
            treatment.update(_id={"$oid": treatment["_id"]}, created_at={"$date": treatment["created_at"]})

    assert read(put(changed(wrap)), id="n")[0].hash == read(put(NIGHTSCOUT), id="n")[0].hash


def test_a_late_reading_is_not_known_before_it_came(put):
    record, _ = read(put(changed(lambda n: n["entries"][0].update(srvCreated=1_767_268_800_000))))
    assert len(record.as_of(to_ns("2026-01-01T09:00Z")).find_series(CGM)[0]) == 4
    assert len(record.as_of(to_ns("2026-01-01T12:00Z")).find_series(CGM)[0]) == 5


def test_identical_boluses_are_merged_only_when_asked(put):
    def near(n):
        n["treatments"].append({**n["treatments"][0], "_id": "x", "created_at": "2026-01-01T08:10:40Z", "carbs": 0})

    path = put(changed(near))
    record, report = read(path)
    assert sum(e.quantity.value == 4.5 for e in record.find_exposures(RAPID)) == 2
    assert any("within 60 s" in warning for warning in report.warnings)
    record, report = read(path, merge_boluses=True)
    assert sum(e.quantity.value == 4.5 for e in record.find_exposures(RAPID)) == 1
    assert any("merged, as asked" in repair.what for repair in report.repairs)
    assert not any("within 60 s" in warning for warning in report.warnings)


BAD = {
    "mmol in sgv": (lambda n: [e.update(sgv=e["sgv"] / 18.0) for e in n["entries"] if "sgv" in e], UnitError, "looks like mmol/L"),
    "basal in U/min": (lambda n: n["treatments"][2].update(absolute=0.001), UnitError, "does not look like U/h"),
    "basal far too high": (lambda n: n["treatments"][2].update(absolute=50), UnitError, "does not look like U/h"),
    "schedule in mU/h": (lambda n: n["profile"][0]["store"]["Default"]["basal"][0].update(value=800), UnitError, "U/h"),
    "too much carbohydrate": (lambda n: n["treatments"][0].update(carbs=250), ValueRangeError, "too much at once"),
    "negative dose": (lambda n: n["treatments"][0].update(insulin=-1), ValueRangeError, "negative"),
    "text for a dose": (lambda n: n["treatments"][0].update(insulin="some"), FormatError, "no number in 'insulin'"),
    "duration in ms": (lambda n: n["treatments"][2].update(duration=1_800_000), TimeError, "impossible duration"),
    "negative duration": (lambda n: n["treatments"][2].update(duration=-5), TimeError, "impossible duration"),
    "no time": (lambda n: n["treatments"][0].pop("created_at"), TimeError, "has no time"),
    "seconds, not milliseconds": (lambda n: n["entries"][0].update(date="yesterday"), TimeError, "cannot read the time"),
    "year 9999": (lambda n: n["entries"][0].update(date=253_370_764_800_000), TimeError, "out of range"),
    "recorded before true": (lambda n: n["entries"][0].update(srvCreated=1_767_168_000_000), TimeError, "recorded before it was true"),
    "impossible glucose": (lambda n: n["entries"][0].update(sgv=4000), ValueRangeError, "impossible glucose"),
    "no readings": (lambda n: n.update(entries=[]), FormatError, "no glucose reading"),
    "infinite": (lambda n: n["entries"][0].update(sgv=1e999), FormatError, "is not JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(put, case):
    change, kind, words = BAD[case]
    with pytest.raises(kind, match=words) as caught:
        read(put(changed(change)), format="nightscout")
    assert caught.value.expected is not None or caught.value.fix is not None


def test_schedule_follows_the_clock_through_daylight_saving():
    day = Schedule(to_ns("2026-03-01T00:00Z"), (0, 3 * 3600), (0.5, 1.0), "Europe/Berlin")
    found, _ = deliver([day], [], to_ns("2026-03-28T12:00Z"), to_ns("2026-03-29T12:00Z"))
    starts = [(iso(piece.start), piece.rate) for piece in found]
    # midnight in Berlin is 23:00Z before the change; 03:00 is 01:00Z after it: the night at 0.5 U/h lasts two hours, not three
    assert starts == [("2026-03-28T12:00:00Z", 1.0), ("2026-03-28T23:00:00Z", 0.5), ("2026-03-29T01:00:00Z", 1.0)]


def test_temporary_rates_end_where_the_next_begins_and_insulin_is_conserved():
    day = Schedule(0, (0,), (1.0,), "UTC")
    temps = [Temporary(HOUR, 3 * HOUR, 1, rate=0.0), Temporary(2 * HOUR, 4 * HOUR, 2, factor=2.0), Temporary(5 * HOUR, 5 * HOUR, 3)]
    found, unknown = deliver([day], temps, 0, 6 * HOUR)
    assert unknown == 0
    assert [(p.start / HOUR, p.end / HOUR, p.rate) for p in found] == [(0, 1, 1.0), (1, 2, 0.0), (2, 4, 2.0), (4, 6, 1.0)]
    assert sum(p.rate * (p.end - p.start) / HOUR for p in found) == 7.0
