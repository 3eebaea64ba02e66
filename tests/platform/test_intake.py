import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemel.core import Code, Series
from gemel.core.errors import FormatError, StoreError
from gemel.core.time import MINUTE, SECOND
from gemel.interop.hl7v2 import Site
from gemel.interop.report import MessageReport, Refusal
from gemel.platform.adapters import hl7v2
from gemel.platform.erase import erase
from gemel.platform.intake import Adapter, Intake, Normalised
from gemel.platform.store import Store, merges
from gemel.testing.messages import Result, break_message, result_message, result_messages, stay_message

NOW = 1_768_000_000 * SECOND
HEART = ("8867-4", "Heart rate", "/min")


def result(value=61.0, time=NOW):
    return Result(*HEART, value, time)


def message(control, *results, patient="17"):
    return result_message(results or (result(),), patient=patient, control=control, sent=NOW)


@pytest.fixture
def store(place):
    with Store(place) as opened:
        yield opened


@pytest.fixture
def intake(store):
    return Intake(store, [hl7v2.adapter()])


def take(intake, body, name, *, received=NOW):
    return intake.take("ward", "hl7v2", body, name=name, received=received)


def test_a_message_replayed_ten_times_has_one_effect_and_ten_answers(store, intake):
    taken = [take(intake, message("1"), "LAB|HOSP|1", received=NOW + i) for i in range(10)]
    assert [t.is_new for t in taken] == [True] + [False] * 9
    assert {(t.message, t.state, t.is_placed) for t in taken} == {(1, "done", True)}
    assert store.record("HOSP:17").series[0].value.tolist() == [61.0]
    assert store.counts()["inbox"] == 1


def test_the_same_number_with_another_content_is_set_aside(store, intake):
    take(intake, message("1"), "LAB|HOSP|1")
    other = take(intake, message("1", result(99.0)), "LAB|HOSP|1")
    assert other.is_new
    assert (other.state, other.is_placed, other.facts) == ("quarantined", False, 0)
    assert "used before" in other.reason
    assert store.record("HOSP:17").series[0].value.tolist() == [61.0]
    assert intake.drive(other.message).state == "quarantined", "driving it again does not make it right"
    assert intake.take("another ward", "hl7v2", message("1", result(99.0)), name="LAB|HOSP|1", received=NOW).state == "done", (
        "another source numbers by itself"
    )


def test_what_cannot_be_placed_waits_with_its_bytes_and_is_driven_again(store):
    body = message("1").replace(b"8867-4^Heart rate^LN", b"HR^Heart rate^99WARD")
    before = Intake(store, [hl7v2.adapter()])
    taken = take(before, body, "LAB|HOSP|1")
    assert (taken.state, taken.is_placed) == ("quarantined", False)
    assert "code-unknown at OBX 1" in taken.reason
    kept, raw = store.message(taken.message)
    assert (kept.source, raw) == ("hl7v2/ward", body)
    after = Intake(store, [hl7v2.adapter({"ward": Site(codes={"99WARD:HR": "loinc:8867-4"})})])
    assert after.drive(taken.message).facts == 1
    assert after.drive(taken.message).facts == 0, "it enters once"
    assert store.message(taken.message)[0].state == "done"


def test_what_can_be_placed_of_a_message_is_placed(store, intake):
    body = message("1", result(), result(62.0, NOW - MINUTE)).replace(b"||62|/min", b"||62|furlong")
    taken = take(intake, body, "LAB|HOSP|1")
    assert (taken.facts, taken.state, taken.is_placed) == (1, "quarantined", True)
    assert taken.report is not None
    assert (taken.report.read, taken.report.mapped, taken.report.refusals) == (2, 1, 1)


def test_a_correction_replaces_and_a_deletion_takes_back(store, intake):
    take(intake, message("1"), "LAB|HOSP|1")
    corrected = message("2", result(70.0)).replace(b"|||||F|||", b"|||||C|||")
    take(intake, corrected, "LAB|HOSP|2", received=NOW + MINUTE)
    assert store.record("HOSP:17", as_of=NOW).series[0].value.tolist() == [61.0], "what was known then"
    assert store.record("HOSP:17", as_of=NOW + MINUTE).series[0].value.tolist() == [70.0]
    deleted = message("3", result(70.0)).replace(b"|||||F|||", b"|||||D|||")
    take(intake, deleted, "LAB|HOSP|3", received=NOW + 2 * MINUTE)
    assert store.record("HOSP:17", as_of=NOW + 2 * MINUTE).series == ()


def test_two_identifiers_become_one_person_and_two_again(store, intake):
    take(intake, message("1", result(50.0), patient="old"), "LAB|HOSP|1")
    take(intake, message("2", result(60.0, NOW - MINUTE), patient="new"), "LAB|HOSP|2")
    merging = stay_message("A40", patient="new", control="3", sent=NOW, visit="", prior="old")
    taken = take(intake, merging, "ADT|HOSP|3", received=NOW + MINUTE)
    assert taken.state == "done"
    assert set(taken.patients) == {"HOSP:new", "HOSP:old"}
    assert sorted(store.record("HOSP:new").series[0].value) == [50.0, 60.0]
    assert store.record("HOSP:new", as_of=NOW).series[0].value.tolist() == [60.0], "it was not known before"
    take(intake, message("4", result(55.0, NOW + 2 * MINUTE), patient="old"), "LAB|HOSP|4", received=NOW + 2 * MINUTE)
    assert sorted(store.record("HOSP:new").series[0].value) == [50.0, 55.0, 60.0], "who still writes under the old one writes of them"
    upto = store.events()[-1].seq
    with pytest.raises(StoreError, match="into themselves"):
        merges.merge(store, "HOSP:old", "HOSP:new", recorded=NOW + 3 * MINUTE)
    assert merges.undo(store, "HOSP:new", "HOSP:old", recorded=NOW + 3 * MINUTE)
    assert not merges.undo(store, "HOSP:new", "HOSP:old", recorded=NOW + 3 * MINUTE)
    assert store.record("HOSP:new").series[0].value.tolist() == [60.0]
    assert sorted(store.record("HOSP:new", upto=upto).series[0].value) == [50.0, 55.0, 60.0], "a version that knew it still does"
    assert store.check().sound


def test_who_is_erased_is_erased_under_every_name(store, intake):
    take(intake, message("1", patient="old"), "LAB|HOSP|1")
    take(intake, message("2", patient="other"), "LAB|HOSP|2")
    take(intake, stay_message("A40", patient="new", control="3", sent=NOW, visit="", prior="old"), "ADT|HOSP|3")
    erase(store, "HOSP:new", recorded=NOW + MINUTE)
    assert store.patients() == ("HOSP:other",)
    assert store.counts()["inbox"] == 1
    assert store.check().sound


def failing(error):
    def read(body, context):
        raise error

    return Adapter("broken", read)


@pytest.mark.parametrize("error", [FormatError("no message of this kind"), ValueError("12.5 mmol/L of patient 17"), RecursionError()])
def test_an_adapter_that_fails_loses_nothing_and_tells_no_value(store, error):
    taken = Intake(store, [failing(error)]).take("ward", "broken", b"body", received=NOW)
    assert (taken.state, taken.is_placed) == ("quarantined", False)
    assert "17" not in taken.reason
    assert store.message(taken.message)[1] == b"body"


def test_a_store_that_fails_is_not_acknowledged(store, intake, monkeypatch):
    def full(*_, **__):
        raise StoreError("the disk is full")

    monkeypatch.setattr(store, "append", full)
    with pytest.raises(StoreError, match="full"):
        take(intake, message("1"), "LAB|HOSP|1")
    monkeypatch.undo()
    assert store.counts()["inbox"] == 0
    assert take(intake, message("1"), "LAB|HOSP|1").is_new, "it is as if it had never come"


def test_facts_of_several_people_stand_or_fall_together(store):
    series = Series(code=Code.parse("loinc:8867-4"), unit="/min", time=np.array([NOW]), value=np.array([60.0]))

    def read(body, context):
        report = MessageReport(source="x", format="y", read=2, mapped=2)
        return Normalised(report, facts={"a": [series], "b": [object()]})  # type: ignore[list-item]

    taken = Intake(store, [Adapter("two", read)]).take("ward", "two", b"body", received=NOW)
    assert taken.state == "quarantined"
    assert store.patients() == ()


def test_no_adapter_no_message(store, intake):
    with pytest.raises(FormatError, match="no adapter"):
        intake.take("ward", "morse", b"...---...", received=NOW)
    assert store.counts()["inbox"] == 0


def test_large_bytes_need_a_folder(place, tmp_path):
    def read(body, context):
        return Normalised(MessageReport(source="x", format="y", read=1, mapped=1), documents={"a": [body]})

    with Store(place, blobs=tmp_path / "blobs") as store:
        store.blobs = None
        intake = Intake(store, [Adapter("letter", read)])
        taken = intake.take("ward", "letter", b"a letter", received=NOW)
        assert taken.state == "quarantined"
        assert "folder" in taken.reason
        store.blobs = tmp_path / "blobs"
        assert intake.drive(taken.message).state == "done"


def test_refusals_that_ask_for_nothing_do_not_fill_the_quarantine(store):
    def read(body, context):
        refused = (Refusal(reason="no-result-yet", place="OBX 1", what="the result will follow"),)
        return Normalised(MessageReport(source="x", format="y", read=1, refused=refused))

    assert Intake(store, [Adapter("soon", read)]).take("ward", "soon", b"body", received=NOW).state == "done"


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(8)), repeats=st.lists(st.integers(0, 7), max_size=6))
def test_any_order_and_any_repetition_of_messages_gives_the_same_record(tmp_path_factory, order, repeats):
    bodies = [body for body, _ in result_messages(8, seed=3, patients=2)]
    records = []
    for arrival in (range(8), (*order, *repeats)):
        with Store(tmp_path_factory.mktemp("order") / "a.sqlite") as store:
            intake = Intake(store, [hl7v2.adapter()])
            with store.batch():
                for i in arrival:
                    take(intake, bodies[i], f"LAB|HOSP|{i}")
            records.append({p: store.record(p).hash for p in sorted(store.patients())})
    assert records[0] == records[1]


def test_broken_messages_are_all_kept(tmp_path):
    bodies = [body for body, _ in result_messages(40, seed=5)]
    with Store(tmp_path / "a.sqlite") as store, store.batch():
        intake = Intake(store, [hl7v2.adapter()])
        for seed in range(300):
            body = break_message(bodies[seed % 40], seed=seed)
            taken = intake.take("ward", "hl7v2", body, name=f"{seed}", received=NOW)
            assert taken.state in ("done", "quarantined")
            assert taken.report is None or taken.report.read == taken.report.mapped + taken.report.refusals + taken.report.duplicates
        assert sum(m.state == "quarantined" for m in store.messages()) > 30


def test_demographics_come_with_the_message(store, intake):
    take(intake, message("1"), "LAB|HOSP|1")
    assert store.record("HOSP:17").demographics.sex == "female"


def test_an_adapter_may_let_names_repeat(store):
    def read(body, context):
        return Normalised(MessageReport(source="x", format="y"))

    intake = Intake(store, [Adapter("file", read, is_numbered=False)])
    assert [intake.take("import", "file", body, name="a.csv", received=NOW).state for body in (b"1", b"2")] == ["done", "done"]
