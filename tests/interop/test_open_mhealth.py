"""Open mHealth data points: made up, and the publisher's own test documents where they are at hand."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from _data import data_environment
from _interop_samples import OPEN_MHEALTH, at, during, omh
from gemel.core import Code, iso
from gemel.core.errors import DataError, FormatError, TimeError, UnitError, ValueRangeError
from gemel.interop.wearables import read, read_all

CGM, STRIP = Code.parse("loinc:99504-3"), Code.parse("loinc:14743-9")
HEART, STEPS, WEIGHT, SLEEP, EXERCISE = (
    Code.parse(code) for code in ("loinc:8867-4", "loinc:55423-8", "loinc:29463-7", "gemel:sleep", "loinc:73985-4")
)
HOUR = 3_600_000_000_000


@pytest.fixture
def put(tmp_path):
    def write(found):
        path = tmp_path / "points.json"
        path.write_text(found if isinstance(found, str) else json.dumps(found), encoding="utf-8")
        return path

    return write


def test_every_measure(put):
    record, report = read(put(OPEN_MHEALTH), tz="Europe/Rome")
    assert record.find_series(CGM)[0].value.tolist() == [110]
    assert record.find_series(STRIP)[0].value.tolist() == [6.2]
    assert record.find_series(HEART)[0].value.tolist() == [61]
    steps = record.find_series(STEPS)[0]
    assert steps.value.tolist() == [420]
    assert iso(steps.time[0]) == "2026-01-01T08:30:00Z"
    assert record.find_series(WEIGHT)[0].value[0] == pytest.approx(74.84, abs=0.01)  # 165 lb, to 10 g
    night = [e for e in record.find_exposures(SLEEP) if e.quantity]
    assert night[0].quantity.value == 7.5
    assert (night[0].end - night[0].start) / HOUR == 8
    assert (record.find_exposures(EXERCISE)[0].end - record.find_exposures(EXERCISE)[0].start) / HOUR == pytest.approx(40 / 60)
    assert [(f.value, iso(f.time)) for f in record.findings] == [("fasting", "2026-01-01T08:01:00Z")]
    assert any("specimen" in entry for entry in report.unparsed)  # neither sensor nor finger: not guessed
    assert any("minimum" in entry for entry in report.ignored)
    assert all(e.recorded >= e.end for e in record.exposures)


def test_one_record_per_user_and_ids_are_hashed(put):
    points = [
        omh("heart-rate", {"heart_rate": {"unit": "beats/min", "value": 60}, **at("2026-01-01T08:00:00Z")}, user=u) for u in ("a@b.c", "d")
    ]
    found = read_all(put(points))
    assert len(found) == 2
    assert not any("@" in record.id for record, _ in found)


def test_the_header_of_ieee_1752(put):
    header = {"uuid": "1", "schema_id": {"namespace": "ieee-1752", "name": "physical-activity", "version": "1.0"}}
    header["source_creation_date_time"] = "2026-01-02T08:00:00Z"
    body = {"activity_name": "running", "base_movement_quantity": {"value": 5200, "unit": "steps"}}
    record, _ = read(put({"header": header, "body": {**body, **during("2026-01-01T08:00:00Z", end_date_time="2026-01-01T09:00:00Z")}}))
    assert record.find_series(STEPS)[0].value.tolist() == [5200]
    assert iso(record.find_exposures(EXERCISE)[0].recorded) == "2026-01-02T08:00:00Z"


def test_a_body_alone_and_lines(put):
    body = {"blood_glucose": {"unit": "mmol/L", "value": 6.0}, "specimen_source": "interstitial fluid", **at("2026-01-01T08:00:00Z")}
    assert len(read(put(body))[0].series) == 1
    late = {**body, **at("2026-01-01T08:05:00Z")}
    assert len(read(put(json.dumps(body) + "\n" + json.dumps(late)))[0].series[0]) == 2


GLUCOSE = {"blood_glucose": {"unit": "mg/dL", "value": 110}, "specimen_source": "interstitial fluid", **at("2026-01-01T08:00:00Z")}
BAD = {
    "no unit": ({**GLUCOSE, "blood_glucose": {"value": 110}}, FormatError, "value with a unit"),
    "unknown unit": ({**GLUCOSE, "blood_glucose": {"value": 110, "unit": "g/L"}}, UnitError, "unknown unit"),
    "other unit": ({**GLUCOSE, "blood_glucose": {"value": 6, "unit": "mg/dL"}}, UnitError, "looks like mmol/L"),
    "no time": ({k: v for k, v in GLUCOSE.items() if k != "effective_time_frame"}, FormatError, "without a moment"),
    "empty time": ({**GLUCOSE, "effective_time_frame": {}}, TimeError, "has no time"),
    "no zone": ({**GLUCOSE, **at("2026-01-01T08:00:00")}, TimeError, "no zone"),
    "backwards": (
        {"step_count": {"unit": "steps", "value": 1}, **during("2026-01-02T00:00:00Z", end_date_time="2026-01-01T00:00:00Z")},
        TimeError,
        "ends before it starts",
    ),
    "created before": (omh("blood-glucose", GLUCOSE, created="2025-01-01T00:00:00Z"), TimeError, "recorded before it was true"),
    "weight in stones": ({"body_weight": {"unit": "st", "value": 11}, **at("2026-01-01T08:00:00Z")}, UnitError, "unknown unit"),
    "impossible heart rate": (
        {"heart_rate": {"unit": "beats/min", "value": 900}, **at("2026-01-01T08:00:00Z")},
        ValueRangeError,
        "impossible",
    ),
    "nothing to place": (
        {"body_height": {"unit": "cm", "value": 180}, **at("2026-01-01T08:00:00Z")},
        FormatError,
        "nothing that can be placed",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(put, case):
    found, kind, words = BAD[case]
    with pytest.raises(kind, match=words):
        read(put(found), format="open-mhealth")


@pytest.fixture(scope="module")
def documents():
    """The publisher's test documents of the measures that are read: (path, text)."""
    archive = Path(data_environment().get("GEMEL_DATA", "/nowhere")) / "platform" / "omh" / "openmhealth-schemas-testdata.tar.gz"
    if not archive.is_file():
        pytest.skip("the Open mHealth test documents are not here")
    wanted = (
        "blood-glucose",
        "heart-rate",
        "step-count",
        "sleep-duration",
        "sleep-episode",
        "total-sleep-time",
        "body-weight",
        "physical-activity",
    )
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if m.isfile() and any(f"/omh/{name}/" in m.name for name in wanted)]
        return [(m.name, tar.extractfile(m).read().decode()) for m in members]  # type: ignore[union-attr]


@pytest.mark.data
def test_the_publishers_documents(documents, put):
    """What the publisher says is right is read or named as not placed; nothing ends otherwise than in an error of the tree."""
    told: dict[str, str] = {}
    for name, text in documents:
        try:
            read_all(put(text), format="open-mhealth")
        except DataError as error:
            told[name] = error.what
    backwards = next(name for name in told if name.endswith("sleep-duration/2.0/shouldPass/with-descriptive-statistic.json"))
    assert "ends before it starts" in told.pop(backwards)  # it does: the schema cannot see it, we refuse it
    assert [what for name, what in told.items() if "/shouldPass/" in name and "nothing that can be placed" not in what] == []
    assert len(documents) - len(told) > 20
    assert len(told) > 20
