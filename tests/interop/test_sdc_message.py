"""What a device reported, as facts: whose it is, is never guessed; what is no measurement of a person is none here."""

import dataclasses
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _data import require_dataset
from gemel.core.errors import FormatError
from gemel.core.series import FINAL, PRELIMINARY
from gemel.interop.ieee11073.mdib import DEPTH, Patient, patient_of, read_mdib
from gemel.interop.ieee11073.nomenclature import TERMS, UNITS
from gemel.interop.ieee11073.sdc_message import Alert, Reading, Report, facts_of, read_report, write_report

NOW = 1_790_000_000_000_000_000
ADA = (Patient("mds0", (("urn:site", "ada"), ("urn:other", "x"))),)
SYSTEM = "urn:oid:1.2.840.10004.1.1.1.0.0.1"


def reading(**more):
    usual = Reading("h1", "mds0", "147842", SYSTEM, "264864", "Msrmt", 61.0, "Vld", "Real", NOW - 5, 7)
    return dataclasses.replace(usual, **more)


def report(*readings, **more):
    return dataclasses.replace(Report("urn:uuid:d1", "urn:uuid:s1", NOW, ADA, {}, readings), **more)


def test_a_vital_sign_becomes_a_reading_of_whom_the_device_is_associated_with():
    facts, told = facts_of(read_report(write_report(report(reading()))), root="urn:site")
    (series,) = facts["ada"]
    assert (str(series.code), series.unit, series.value[0], series.time[0], series.recorded[0]) == (
        "loinc:8867-4",
        "/min",
        61.0,
        NOW - 5,
        NOW,
    )
    assert (told.read, told.mapped, series.source) == (1, 1, "sdc:d1/h1")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"mode": "Demo"}, "not-a-patient"),
        ({"mode": "Test"}, "not-a-patient"),
        ({"value": None}, "no-number"),
        ({"validity": "Inv"}, "not-valid"),
        ({"validity": "Ong"}, "not-valid"),
        ({"validity": "Oflw"}, "not-valid"),
        ({"validity": "?"}, "not-valid"),
        ({"time": NOW + 200_000_000_000}, "time-ahead"),
        ({"system": "urn:oid:1.3.6.1.4.1.3592.2.1.1.1"}, "code-private"),
        ({"code": "0x1"}, "code-private"),
        ({"unit": "999"}, "unit-unknown"),
        ({"unit": ""}, "unit-unknown"),
        ({"mds": "mds1"}, "patient-unknown"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_its_reason(more, why):
    facts, told = facts_of(report(reading(**more)), root="urn:site")
    assert facts == {}
    assert [one.reason for one in told.refused] == [why]


@pytest.mark.parametrize(
    ("patients", "root"),
    [
        ((), "urn:site"),
        ((*ADA, Patient("mds0", (("urn:site", "bob"),))), "urn:site"),
        ((Patient("mds0", (("urn:site", "ada"), ("urn:site", "bob"))),), "urn:site"),
        (ADA, "urn:elsewhere"),
        (ADA, ""),
        ((Patient("mds0", (("urn:site", ""),)),), "urn:site"),
    ],
)
def test_nobody_is_guessed(patients, root):
    assert patient_of(patients, "mds0", root) == ""
    facts, told = facts_of(report(reading(), patients=patients), root=root)
    assert (facts, told.refused[0].reason) == ({}, "patient-unknown")


def test_what_was_measured_before_the_association_is_somebody_else_s():
    facts, told = facts_of(report(reading(time=NOW - 100), reading(time=NOW - 1), since={"mds0": NOW - 50}), root="urn:site")
    assert [one.reason for one in told.refused] == ["before-association"]
    assert facts["ada"][0].time.tolist() == [NOW - 1]


def test_a_setting_is_no_measurement_and_an_unmapped_code_stays_what_it_is():
    facts, _ = facts_of(
        report(reading(code="188736", unit="263875", category="Set"), reading(code="152172", unit="265987")), root="urn:site"
    )
    assert {str(s.code) for s in facts["ada"]} == {"mdc:188736", "mdc:152172"}


def test_two_sensors_of_one_kind_stay_apart():
    facts, _ = facts_of(report(reading(handle="a", value=1.0), reading(handle="b", value=2.0)), root="urn:site")
    assert sorted((s.source, s.value[0]) for s in facts["ada"]) == [("sdc:d1/a", 1.0), ("sdc:d1/b", 2.0)]


def test_questionable_is_preliminary():
    facts, _ = facts_of(report(reading(validity="Qst"), reading(handle="b")), root="urn:site")
    assert sorted(int(s.status[0]) for s in facts["ada"]) == sorted([PRELIMINARY, FINAL])


def test_an_alert_is_a_finding_while_it_lasts_and_when_it_ends():
    alerts = tuple(Alert("a1", "mds0", "196650", SYSTEM, present, NOW - 9 + present, 8) for present in (True, False))
    facts, told = facts_of(report(alerts=alerts), root="urn:site")
    assert [(str(f.code), f.value) for f in facts["ada"]] == [("mdc:196650", "present"), ("mdc:196650", "absent")]
    assert told.mapped == 2


@given(
    st.lists(
        st.builds(reading, value=st.floats(-1e6, 1e6), time=st.none() | st.integers(NOW - 10**15, NOW), version=st.integers(0, 10**6)),
        max_size=5,
    )
)
def test_a_message_comes_back_as_it_went_and_its_items_add_up(readings):
    one = report(*readings)
    assert read_report(write_report(one)) == one
    _facts, told = facts_of(one, root="urn:site")
    assert told.read == len(readings) == told.mapped + told.refusals
    assert write_report(one) == write_report(read_report(write_report(one)))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_refused(raw):
    with pytest.raises(FormatError):
        read_report(raw)


def test_nobody_s_value_stands_in_a_repr():
    assert "61" not in repr(report(reading())) + repr(reading())
    assert "ada" not in repr(report(reading())) + repr(ADA)


# --- the description of a device ---


@pytest.fixture
def files():
    return require_dataset("sdc-mdib")


@pytest.mark.data
def test_the_published_descriptions_are_read_without_a_network(files):
    one = read_mdib((files / "70041_MDIB_Final.xml").read_bytes())
    assert (len(one.descriptors), one.single_states, len(one.of_kind("NumericMetric"))) == (100, 98, 44)
    assert (one.version, one.sequence) == (174, "urn:uuid:6f4ff7de-6809-4883-9938-54dd4f6f9173")
    assert all(m.mds == "3569" and m.code and m.unit for m in one.of_kind("NumericMetric"))
    two = read_mdib((files / "mdib_two_mds.xml").read_bytes())
    assert len(two.of_kind("Mds")) == 2
    assert len({d.mds for d in two.descriptors.values() if d.mds}) == 2
    assert len(two.states) == 43
    assert [len(p.identifications) for p in two.patients] == [0]  # associated, with nobody that can be named
    assert patient_of(two.patients, two.patients[0].mds, "urn:site") == ""


@pytest.mark.data
@pytest.mark.peer
def test_the_library_counts_the_same(files):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of parts of its own
        mdib = pytest.importorskip("sdc11073.mdib.providermdib", reason="sdc11073 is not installed")
        from sdc11073.definitions_sdc import SdcV1Definitions

    for path in sorted(files.glob("*.xml")):
        theirs = mdib.ProviderMdib.from_mdib_file(str(path), protocol_definition=SdcV1Definitions)
        ours = read_mdib(path.read_bytes())
        assert {d.Handle for d in theirs.descriptions.objects} == set(ours.descriptors), path.name
        assert len(theirs.states.objects) == ours.single_states, path.name
        units = {d.Handle: d.Unit.Code for d in theirs.descriptions.objects if hasattr(d, "Unit") and d.Unit is not None}
        assert {h: ours.descriptors[h].unit for h in units} == units, path.name


@pytest.mark.parametrize(
    "raw",
    [
        b'<!DOCTYPE x [<!ENTITY a "b">]><Mdib/>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Mdib>&a;</Mdib>',
        b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><Mdib>&b;</Mdib>',
        b"<Mdib>",
        b"",
        b"<Mdib/>",
        b"<a>" * (DEPTH + 1) + b"</a>" * (DEPTH + 1),
        b'<Mdib><MdDescription><Mds Handle="1"/><Mds Handle="1"/></MdDescription></Mdib>',
    ],
)
def test_a_hostile_description_is_refused(raw):
    with pytest.raises(FormatError):
        read_mdib(raw)


def test_the_seed_of_codes_is_in_the_table():
    seed = {
        147842: "8867-4",
        150456: "59408-5",
        150021: "8480-6",
        150022: "8462-4",
        150023: "8478-0",
        151562: "9279-1",
        150364: "8310-5",
        188736: "29463-7",
    }
    assert {code: TERMS[code].codes[0][1].removeprefix("loinc:") for code in seed} == seed
    assert TERMS[150344].codes == ()  # a temperature of no named site is nobody's body temperature
    assert {UNITS[266016], UNITS[262688], UNITS[263875], UNITS[268192]} == {"mm[Hg]", "%", "kg", "Cel"}


@pytest.mark.data
def test_published_units_say_what_the_table_says(files):
    import re

    text = (files / "70041_MDIB_Final.xml").read_text()
    pairs = set(re.findall(r'<pm:Unit Code="(\d+)">\s*<pm:ConceptDescription[^>]*>([^<]+)<', text))
    same = {"mmHg": "mm[Hg]", "no unit": "1", "y": "a"}
    assert pairs
    assert {UNITS[int(code)] for code, _ in pairs} == {same.get(said, said) for _, said in pairs}
