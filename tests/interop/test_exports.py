"""Records out and in again: what a format can hold comes back as it was, what it cannot hold is listed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from _data import data_environment
from _interop_samples import DOCUMENTS
from gemel.core import Code, Demographics, Exposure, Finding, PatientRecord, Quantity, Series, to_ns
from gemel.core.errors import DataError, FormatError
from gemel.interop.fhir import validate_cgm
from gemel.interop.wearables import EXPORTS, read, write, write_nightscout

CGM, MMOL, HEART, STEPS = (Code.parse(code) for code in ("loinc:99504-3", "loinc:105272-9", "loinc:8867-4", "loinc:55423-8"))
CARBS, RAPID, LONG, SLEEP, EXERCISE = (Code.parse(c) for c in ("loinc:9059-7", "atc:A10AB", "atc:A10AE", "gemel:sleep", "loinc:73985-4"))
START = to_ns("2026-01-01T08:00Z")
MINUTE = 60_000_000_000


def exposure(code, amount, unit, start, minutes=0, late=0):
    begin = START + start * MINUTE
    quantity = None if amount is None else Quantity(value=amount, unit=unit)
    end = begin + minutes * MINUTE
    known = (end if code in (SLEEP, EXERCISE) else begin) + late * MINUTE
    return Exposure(code=code, quantity=quantity, start=begin, end=end, recorded=known, source="s", id=f"{code}{start}{minutes}")


@st.composite
def people(draw):
    n = draw(st.integers(1, 12))
    minutes = sorted(draw(st.sets(st.integers(0, 600), min_size=n, max_size=n)))
    time = START + np.array(minutes, np.int64) * MINUTE
    late = np.array(draw(st.lists(st.integers(0, 90), min_size=n, max_size=n)), np.int64) * MINUTE
    unit = draw(st.sampled_from(["mg/dL", "mmol/L"]))
    values = draw(st.lists(st.integers(50, 390) if unit == "mg/dL" else st.integers(30, 210).map(lambda v: v / 10), min_size=n, max_size=n))
    marks = draw(st.lists(st.sampled_from([0, 0, 0, -1, 1]), min_size=n, max_size=n))
    limits = {-1: 40.0 if unit == "mg/dL" else 40 / 18.0156, 1: 400.0 if unit == "mg/dL" else 400 / 18.0156}
    values = [limits.get(mark, value) for mark, value in zip(marks, values, strict=True)]
    facts = [
        Series(code=CGM if unit == "mg/dL" else MMOL, unit=unit, time=time, value=values, recorded=time + late, censored=marks, source="s")
    ]
    facts += [
        exposure(CARBS, draw(st.integers(1, 200)), "g", at, late=draw(st.integers(0, 60)))
        for at in draw(st.sets(st.integers(0, 600), max_size=3))
    ]
    facts += [exposure(RAPID, draw(st.integers(1, 60)) / 4, "[iU]", at) for at in draw(st.sets(st.integers(0, 600), max_size=3))]
    facts += [exposure(RAPID, draw(st.integers(1, 60)) / 4, "[iU]", at, 90) for at in draw(st.sets(st.integers(0, 600), max_size=2))]
    facts += [exposure(RAPID, draw(st.integers(0, 40)) / 20, "[iU]/h", 60 * at, 60) for at in draw(st.sets(st.integers(0, 9), max_size=3))]
    facts += [exposure(EXERCISE, None, "", at, 30) for at in draw(st.sets(st.integers(0, 600), max_size=2))]
    return PatientRecord(id="p", demographics=Demographics(zone="Europe/Rome")).with_facts(*facts)


def said(record, digits=6):
    """What a record says, without sources and identifiers: glucose in mg/dL, doses, rates, exercise, each with both times."""
    glucose = [
        (t, round(v, digits), r, c)
        for s in record.find_series(CGM, MMOL)
        for t, v, r, c in zip(
            s.time.tolist(), s.values_in("mg/dL", analyte="glucose").tolist(), s.recorded.tolist(), s.censored.tolist(), strict=True
        )
    ]
    doses = sorted(
        (str(e.code), e.start, e.end, e.recorded, None if e.quantity is None else (round(e.quantity.value, digits), e.quantity.unit))
        for e in record.exposures
    )
    return sorted(glucose), doses


@pytest.mark.parametrize("format", ["nightscout", "tidepool"])
@given(people())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_and_read_again_says_the_same(tmp_path, format, record):
    assert write(record, tmp_path / "out.json", format=format) == ()
    again, report = read(tmp_path / "out.json", format=format, tz="Europe/Rome")
    assert said(again) == said(record)
    assert again.demographics.zone == "Europe/Rome"
    assert not report.repairs or all("kept as censored" in repair.what for repair in report.repairs)


def full():
    time = START + 5 * MINUTE * np.arange(4)
    return PatientRecord(id="p").with_facts(
        Series(code=CGM, unit="mg/dL", time=time, value=[40.0, 110, 120, 130], censored=[-1, 0, 0, 0], source="s"),
        Series(code=HEART, unit="/min", time=time, value=[60.0, 61, 62, 63], source="s"),
        Series(code=STEPS, unit="{steps}", time=time, value=[0.0, 10, 20, 30], source="s"),
        Series(code=Code.parse("loinc:29463-7"), unit="kg", time=time[:1], value=[71.5], source="s"),
        exposure(CARBS, 40, "g", 3), exposure(LONG, 20, "[iU]", 5), exposure(SLEEP, 7.5, "h", -600, 480), exposure(SLEEP, None, "", -2000, 400),
        exposure(EXERCISE, None, "", 60, 30),
        Finding(code=Code.parse("gemel:relation-to-meal"), value="fasting", time=int(time[1]), source="s"),
    )  # fmt: skip


def test_open_mhealth_comes_back_and_lists_what_has_no_schema(tmp_path):
    left = write(full(), tmp_path / "o.json", format="open-mhealth")
    assert {entry.rsplit(" (", 1)[0] for entry in left} == {
        "readings beyond the sensor's range: the format has no word for them",
        "exposure loinc:9059-7",
        "exposure atc:A10AE",
    }
    again, _ = read(tmp_path / "o.json")
    assert again.find_series(CGM)[0].value.tolist() == [110, 120, 130]
    assert again.find_series(HEART)[0].value.tolist() == [60, 61, 62, 63]
    assert again.find_series(STEPS)[0].value.tolist() == [0, 10, 20, 30]
    assert [(f.time, f.value) for f in again.findings] == [(f.time, f.value) for f in full().findings]
    spans = sorted((str(e.code), e.start, e.end) for e in again.exposures)
    assert spans == sorted((str(e.code), e.start, e.end) for e in full().exposures if e.code in (SLEEP, EXERCISE))


@pytest.fixture(scope="module")
def schemas():
    """The publisher's JSON schemas by file name."""
    import tarfile

    archive = Path(data_environment().get("GEMEL_DATA", "/nowhere")) / "platform" / "omh" / "openmhealth-schemas-testdata.tar.gz"
    if not archive.is_file():
        pytest.skip("the Open mHealth schemas are not here")
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if "schema/omh/" in m.name and m.name.endswith(".json")]
        found = {Path(m.name).name: json.loads(tar.extractfile(m).read()) for m in members if m.isfile()}  # type: ignore[union-attr]
        links = {Path(m.name).name: Path(m.linkname).name for m in members if m.issym()}  # unit-value-1.x.json: the newest version
    return found | {name: found[target] for name, target in links.items()}


@pytest.mark.data
def test_open_mhealth_keeps_the_publishers_schemas(tmp_path, schemas):
    jsonschema = pytest.importorskip("jsonschema")
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT4

    plain = {name: {k: v for k, v in schema.items() if k not in ("$id", "id")} for name, schema in schemas.items()}
    registry = Registry().with_resources((name, Resource(contents=schema, specification=DRAFT4)) for name, schema in plain.items())
    write(full(), tmp_path / "o.json", format="open-mhealth")
    points = json.loads((tmp_path / "o.json").read_text())
    checked = set()
    for point in points:
        id = point["header"]["schema_id"]
        for name, content in (("data-point-1.0.json", point), (f"{id['name']}-{id['version']}.json", point["body"])):
            jsonschema.Draft4Validator(plain[name], registry=registry).validate(content)
            checked.add(name)
    assert {
        "data-point-1.0.json",
        "blood-glucose-3.0.json",
        "heart-rate-2.0.json",
        "step-count-3.0.json",
        "sleep-duration-2.0.json",
    } <= checked


def test_fhir_export_keeps_the_guide(tmp_path):
    summary = {"mean_mg_dl": 120.0}
    left = write(full(), tmp_path / "f.json", format="fhir-cgm", summary=summary)
    bundle = json.loads((tmp_path / "f.json").read_text())
    assert validate_cgm(bundle) == ()
    assert "series loinc:8867-4 (4)" in left
    again, _ = read(tmp_path / "f.json")
    assert again.find_series(CGM)[0].censored.tolist() == [-1, 0, 0, 0]


@pytest.mark.parametrize("layout", sorted(DOCUMENTS))
@pytest.mark.parametrize("format", sorted(EXPORTS))
def test_whatever_was_read_can_be_written(tmp_path, layout, format):
    name, text = DOCUMENTS[layout]
    (tmp_path / name).write_text(text)
    record, _ = read(tmp_path / name, tz="Europe/Rome")
    if not record.find_series(CGM, MMOL) and format != "open-mhealth":  # a telephone's export without a sensor
        with pytest.raises(DataError, match="glucose"):
            write(record, tmp_path / "out", format=format)
        return
    write(record, tmp_path / f"out.{'csv' if format == 'csv' else 'json'}", format=format)
    again, _ = read(tmp_path / f"out.{'csv' if format == 'csv' else 'json'}", tz="Europe/Rome")
    exact = [
        v for s in record.find_series(CGM, MMOL) for v, c in zip(s.values_in("mg/dL", analyte="glucose"), s.censored, strict=True) if not c
    ]
    found = [
        v for s in again.find_series(CGM, MMOL) for v, c in zip(s.values_in("mg/dL", analyte="glucose"), s.censored, strict=True) if not c
    ]
    if format == "csv" and layout == "cgmacros":
        assert len(found) < len(exact)  # one table holds one sensor: the second one's readings at the same moments are listed as left out
    elif layout == "cgmacros" and format != "open-mhealth":  # two sensors in one series: of two readings at one moment one is kept
        assert set(np.round(found, 6)) <= set(np.round(exact, 6))
    else:
        assert np.allclose(sorted(found), sorted(exact), rtol=0, atol=1e-6)  # 9 decimals are written


def test_corrections_leave_their_newest_version_and_say_so(tmp_path):
    first = Series(code=CGM, unit="mg/dL", time=[START, START], value=[100.0, 104.0], recorded=[START, START + MINUTE], source="s")
    assert write(PatientRecord(id="p").with_facts(first), tmp_path / "o.json", format="tidepool") == ("superseded versions (1)",)
    assert read(tmp_path / "o.json")[0].find_series(CGM)[0].value.tolist() == [104.0]


def test_refusals(tmp_path):
    with pytest.raises(FormatError, match="unknown format"):
        write(full(), tmp_path / "o", format="fax")
    with pytest.raises(FormatError, match="holds no summary"):
        write(full(), tmp_path / "o", format="tidepool", summary={})
    for format in EXPORTS:
        with pytest.raises(DataError):
            write(PatientRecord(id="p"), tmp_path / "o.json", format=format)
        with pytest.raises(DataError):
            write(full(), tmp_path / "missing" / "o.json", format=format)
    assert list(tmp_path.iterdir()) == []


def test_nightscout_as_a_folder(tmp_path):
    left = write_nightscout(full(), tmp_path / "ns")
    assert sorted(p.name for p in (tmp_path / "ns").iterdir()) == ["entries.json", "profile.json", "treatments.json"]
    assert "exposure atc:A10AE (1)" in left
    assert read(tmp_path / "ns")[0].find_series(CGM)[0].censored.tolist() == [-1, 0, 0, 0]
