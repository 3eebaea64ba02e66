"""The guard with a store: consents as they are now, every answer written down, refusals that tell nothing; on both databases."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from _consents import EXAMPLES, resource
from _records import readings
from gemel.core.errors import AccessDenied, DataError, LimitError, StoreError
from gemel.core.time import HOUR, MINUTE
from gemel.platform.access import GLASS, ROLES, BreakGlass, Resource, Subject, decide
from gemel.platform.audit import entries
from gemel.platform.audit_check import verify_trail
from gemel.platform.audit_writer import AuditWriter
from gemel.platform.consent import Consent, Datum, Rule
from gemel.platform.consent_fhir import read_consent
from gemel.platform.crypto import new_key
from gemel.platform.erase import erase
from gemel.platform.guard import Caller, Guard
from gemel.platform.keys import FileMaster
from gemel.platform.scopes import Scope, read_scope, read_scopes, within
from gemel.platform.store import Store
from gemel.platform.store.audit_sealer import AuditSealer
from gemel.platform.store.consents import (
    consents_of,
    epoch_of,
    epochs,
    plain_consent,
    put_consent,
    read_plain,
    resource_of,
    withdraw_consent,
)
from gemel.platform.store.merges import merge, undo
from gemel.platform.store.readers import Readers
from gemel.platform.store.relations import (
    Relation,
    break_glass,
    end_care,
    glasses,
    open_glass,
    put_care,
    relations_of,
    review_glass,
    treated_by,
)
from gemel.platform.store.token_uses import is_used, use

NOW = 1_000_000 * HOUR
OPEN = Consent("c1", "x", base=True, given=1, models=frozenset({"m@1"}))
DOCTOR = "Practitioner/7"


class Trail:
    """An audit trail in a list."""

    def __init__(self) -> None:
        self.entries: list[dict] = []

    def write(self, **entry) -> str:
        self.entries.append(entry)
        return str(len(self.entries))


@pytest.fixture
def store(place):
    with Store(place) as opened:
        for patient in ("ada", "bob"):
            opened.append(patient, [readings(3)], recorded=NOW)
        yield opened


@pytest.fixture
def guard():
    return Guard(Trail(), lambda: NOW)


def doctor(store, patient="ada", purpose="TREAT", **rest):
    return Caller(Subject(DOCTOR, "physician", patients=frozenset({store.subject(patient)})), purpose, "r1", **rest)


def reading(store, patient="ada", **rest):
    return Resource(Datum(store.subject(patient), f"Observation/{patient}", "Observation", **rest))


def test_what_is_permitted_is_returned_with_its_obligations_and_written_down(store, guard):
    put_consent(store, "ada", OPEN, recorded=NOW)
    told = guard.require(store, doctor(store), "read", reading(store))
    assert (told.permit, told.obligations, told.consents) == (True, {"log"}, ("c1",))
    entry = guard.audit.entries[-1]
    assert (entry["who"], entry["action"], entry["patient"], entry["purpose"]) == (DOCTOR, "read", store.subject("ada"), "TREAT")
    assert entry["detail"] == {"role": "physician", "request": "r1", "resource": "Observation/ada", "consents": ["c1"]}


def test_what_is_refused_reads_as_if_it_were_not_there_and_the_reason_stands_in_the_trail(store, guard):
    with pytest.raises(AccessDenied, match="not here, or not for you") as caught:
        guard.require(store, doctor(store), "read", reading(store))
    assert not caught.value.is_open
    assert (guard.audit.entries[-1]["action"], guard.audit.entries[-1]["detail"]["reason"]) == ("deny", "no consent speaks of this")
    texts = set()
    for patient in ("bob", "nobody"):
        with pytest.raises(AccessDenied) as caught:
            guard.find(store, doctor(store), "read", patient)
        texts.add(str(caught.value))
    assert texts == {"not here, or not for you"}


def test_what_role_and_purpose_alone_refuse_is_said_before_anything_is_looked_up(store, guard):
    caller = Caller(Subject("Person/1", "researcher"), "TREAT", "r1")
    for ask in (
        lambda: guard.check(caller, "read"),
        lambda: guard.find(store, caller, "read", "nobody"),
        lambda: guard.require(store, caller, "read", reading(store)),
    ):
        with pytest.raises(AccessDenied, match="researcher may not read for TREAT") as caught:
            ask()
        assert caught.value.is_open
    with pytest.raises(DataError, match="no such action"):
        guard.check(caller, "dance")


def test_a_withdrawal_counts_with_the_next_question(store, guard):
    put_consent(store, "ada", OPEN, recorded=NOW)
    for i in range(3):
        assert guard.decide(store, doctor(store), "read", reading(store))
        withdraw_consent(store, "ada", "c1", recorded=NOW + i)
        assert not guard.decide(store, doctor(store), "read", reading(store))
        put_consent(store, "ada", OPEN, recorded=NOW + i)
    assert epoch_of(store, store.subject("ada")) == 7
    assert epochs(store) == {store.subject("ada"): 7}
    assert put_consent(store, "ada", OPEN, recorded=NOW) == 7  # the same again is no change
    with pytest.raises(StoreError, match="no such consent"):
        withdraw_consent(store, "ada", "c9", recorded=NOW)
    assert [event.kind for event in store.events() if event.kind == "consent"] == ["consent"] * 7


def test_a_withdrawal_by_another_process_counts_too(place):
    with Store(place) as one, Store(place) as other:
        one.append("ada", [readings(3)], recorded=NOW)
        put_consent(one, "ada", OPEN, recorded=NOW)
        guard = Guard(Trail(), lambda: NOW)
        assert guard.decide(one, doctor(one), "read", reading(one))
        withdraw_consent(other, "ada", "c1", recorded=NOW)
        assert not guard.decide(one, doctor(one), "read", reading(one))
        assert guard.predicate(one, doctor(one), "search").sql == "1=0"


def test_who_was_merged_keeps_what_they_refused(store, guard):
    """A record shows what is known under every pseudonym of a person: their consents count under each."""
    put_consent(store, "ada", OPEN, recorded=NOW)
    caller = doctor(store)
    assert guard.decide(store, caller, "read", reading(store))
    put_consent(store, "bob", Consent("no", "x", base=False, given=5), recorded=NOW)
    merge(store, "ada", "bob", recorded=NOW)
    assert not guard.decide(store, caller, "read", reading(store))
    assert guard.predicate(store, caller, "search").sql == "1=0"
    assert {consent.id for consent in guard.consents(store, store.subject("bob"))} == {"c1", "no"}
    undo(store, "ada", "bob", recorded=NOW)
    assert guard.decide(store, caller, "read", reading(store))
    withdraw_consent(store, "bob", "no", recorded=NOW)
    withdraw_consent(store, "ada", "c1", recorded=NOW)
    put_consent(store, "bob", OPEN, recorded=NOW)
    merge(store, "ada", "bob", recorded=NOW)
    assert guard.decide(store, caller, "read", reading(store))
    service = Caller(Subject("Client/1", "service"), "HOPERAT", "r")
    assert store.subject("ada") in guard.predicate(store, service, "search").parameters.values()


@pytest.mark.parametrize("profile", ["validity", "exception", None])
def test_every_official_consent_comes_back_as_it_was_read(tmp_path, profile):
    with Store(tmp_path / "s.sqlite") as store:
        store.append("ada", [readings(3)], recorded=NOW)
        for name in EXAMPLES:
            told = read_consent(resource(name), profile=profile)
            assert read_plain(json.loads(json.dumps(plain_consent(told)))) == told
            put_consent(store, "ada", told, recorded=NOW, resource=resource(name))
            assert resource_of(store, store.subject("ada"), told.id) == resource(name)
        kept = {consent.id: consent for consent in consents_of(store, store.subject("ada"))[1]}
        assert {consent.patient for consent in kept.values()} == {store.subject("ada")}
        assert len(kept) == len({resource(name)["id"] for name in EXAMPLES})
        assert store.check().problems == ()


def test_consents_are_sealed_and_go_with_their_person(tmp_path):
    place = tmp_path / "s.sqlite"
    with Store(place) as store:
        store.append("ada", [readings(3)], recorded=NOW)
        put_consent(
            store, "ada", Consent("Quetzal-consent", "x", True, notes=("Quetzal-note",)), recorded=NOW, resource={"text": "Quetzal-text"}
        )
        put_care(store, "ada", Relation("Practitioner/Quetzal"), recorded=NOW)
        break_glass(store, store.subject("ada"), "Practitioner/Quetzal", "Quetzal-reason", opened=NOW)
        subject = store.subject("ada")
        assert b"Quetzal" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
        erase(store, "ada", recorded=NOW)
        for table in ("consent", "care", "glass"):
            assert store._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0
        assert treated_by(store, "Practitioner/Quetzal", time=NOW) == frozenset()
        assert (glasses(store), epoch_of(store, subject)) == ((), 0)
        assert store.check().problems == ()


def test_the_condition_of_a_search_is_the_decision_row_by_row(store, guard):
    put_consent(store, "ada", Consent("c1", "x", True, rules=(Rule(False, kinds=frozenset({"Condition"})),)), recorded=NOW)
    put_consent(store, "bob", OPEN, recorded=NOW)
    rows = [
        Datum(store.subject(p), f"{k}/{p}", k, labels=frozenset(ls))
        for p in ("ada", "bob")
        for k in ("Observation", "Condition")
        for ls in ((), ("R",))
    ]
    scoped = read_scopes("user/Observation.rs patient/Condition.rs")
    callers = [
        doctor(store), doctor(store, "bob"), doctor(store, purpose=""), doctor(store, scopes=scoped), doctor(store, scopes=()),
        doctor(store, "bob", scopes=scoped, launch=frozenset({store.subject("bob")})), doctor(store, scopes=read_scopes("user/*.r")),
        Caller(Subject("Client/1", "service"), "HOPERAT", "r"), Caller(Subject("Client/1", "service"), "HOPERAT", "r", scopes=read_scopes("system/*.rs")),
    ]  # fmt: skip
    from _security_matrix import table

    connection = table(tuple(rows))
    seen = 0
    for caller in callers:
        made = guard.predicate(store, caller, "search")
        found = connection.execute(f"SELECT pid, ref, labels FROM r WHERE {made.sql}", made.parameters).fetchall()
        expected = [row for row in rows if guard.decide(store, caller, "search", Resource(row))]
        assert len(found) == len(expected)
        assert {(pid, ref) for pid, ref, _ in found} == {(row.pid, row.ref) for row in expected}
        seen += len(found)
    assert seen > 8


def test_breaking_the_glass_opens_one_person_for_an_hour_and_is_reviewed(store, guard):
    ada, bob = store.subject("ada"), store.subject("bob")
    with pytest.raises(DataError, match="reason"):
        break_glass(store, ada, DOCTOR, "  ", opened=NOW)
    made = break_glass(store, ada, DOCTOR, "found unconscious", opened=NOW)
    held = open_glass(store, DOCTOR, time=NOW + 59 * MINUTE)
    assert held == BreakGlass(ada, "found unconscious", NOW)
    assert open_glass(store, "Practitioner/8", time=NOW) is None
    assert open_glass(store, DOCTOR, time=NOW + GLASS) is None
    caller = Caller(Subject(DOCTOR, "other-physician", glass=held), "ETREAT", "r1")
    told = guard.require(store, caller, "read", reading(store))
    assert told.obligations == {"log", "alert", "review"}
    assert guard.audit.entries[-1]["detail"]["reason"] == "found unconscious"
    assert not guard.decide(store, caller, "read", Resource(Datum(bob)))
    review_glass(store, made.id, "Person/officer", "rightly so", time=NOW + HOUR)
    found = glasses(store)[0]
    assert (found.subject, found.who, found.reviewer, found.finding, found.reviewed) == (
        ada,
        DOCTOR,
        "Person/officer",
        "rightly so",
        NOW + HOUR,
    )
    with pytest.raises(StoreError, match="no such emergency"):
        review_glass(store, "0" * 24, "x", "y", time=NOW)


def test_relations_hold_in_their_time_and_for_their_kind(store):
    put_care(store, "ada", Relation(DOCTOR, "care", NOW, NOW + HOUR), recorded=NOW)
    put_care(store, "bob", Relation(DOCTOR, "proxy", NOW), recorded=NOW)
    ada, bob = store.subject("ada"), store.subject("bob")
    assert treated_by(store, DOCTOR, time=NOW) == {ada, bob}
    assert treated_by(store, DOCTOR, time=NOW, kinds=("care",)) == {ada}
    assert treated_by(store, DOCTOR, time=NOW - 1) == frozenset()
    assert treated_by(store, DOCTOR, time=NOW + HOUR) == {bob}
    end_care(store, "bob", DOCTOR, time=NOW + 1)
    assert treated_by(store, DOCTOR, time=NOW + HOUR) == frozenset()
    assert relations_of(store, "bob") == (Relation(DOCTOR, "proxy", NOW, NOW + 1),)
    with pytest.raises(StoreError, match="another kind"):
        put_care(store, "bob", Relation(DOCTOR, "friend"), recorded=NOW)


def test_an_id_is_used_once_and_forgotten_in_time(store):
    assert use(store, "issuer|1", until=NOW + 5, now=NOW)
    assert not use(store, "issuer|1", until=NOW + 5, now=NOW + 1)
    assert use(store, "other|1", until=NOW + 5, now=NOW)
    assert is_used(store, "issuer|1")
    assert use(store, "issuer|2", until=NOW + 20, now=NOW + 10)
    assert not is_used(store, "issuer|1")


# --- scopes ---


def test_scopes_are_read_as_the_standard_writes_them():
    told = read_scopes(
        "patient/Observation.rs user/*.read launch openid system/Patient.cruds user/Condition.write patient/x.rs user/Observation.sr /a.r user/Observation."
    )
    assert [str(scope) for scope in told] == ["patient/Observation.rs", "user/*.rs", "system/Patient.cruds", "user/Condition.cud"]
    narrowed = read_scope("patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory")
    lab, vital = (
        frozenset({f"http://terminology.hl7.org/CodeSystem/observation-category|{code}"}) for code in ("laboratory", "vital-signs")
    )
    launch = frozenset({"p1"})
    assert narrowed.fits("read", Datum("p1", kind="Observation", codes=lab), launch)
    assert not narrowed.fits("read", Datum("p1", kind="Observation", codes=vital), launch)
    assert not narrowed.fits("read", Datum("p2", kind="Observation", codes=lab), launch)
    assert not narrowed.fits("update", Datum("p1", kind="Observation", codes=lab), launch)
    with pytest.raises(DataError, match="more scopes"):
        read_scopes("x" * 9000)


SCOPES = st.builds(
    Scope, st.sampled_from(["patient", "user", "system"]), st.sampled_from(["*", "Observation", "Patient"]), st.frozensets(st.sampled_from("cruds"), min_size=1),
    st.sampled_from([(), (("category", "a"),), (("category", "b"),)]),
)  # fmt: skip


@given(
    st.lists(SCOPES, max_size=4), st.lists(SCOPES, max_size=4), st.sampled_from(["read", "search", "create", "update", "delete", "export"])
)
@settings(max_examples=300, deadline=None)
def test_what_is_granted_is_never_more_than_what_was_asked_nor_than_what_may_be_had(asked, most, action):
    granted = within(asked, most)
    for kind in ("Observation", "Patient"):
        for code in ("a", "b"):
            datum = Datum("p", kind=kind, codes=frozenset({f"s|{code}"}))
            if any(scope.fits(action, datum, frozenset({"p"})) for scope in granted):
                assert any(scope.fits(action, datum, frozenset({"p"})) for scope in asked)
                assert set().union(*(scope.letters for scope in most)) >= set().union(*(scope.letters for scope in granted))


@given(
    st.sampled_from(ROLES),
    st.sampled_from(["TREAT", "ETREAT", "HRESCH", "PATRQT", "HOPERAT"]),
    st.sampled_from(["read", "search", "update", "forecast", "export"]),
    st.lists(SCOPES, max_size=3),
)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_scope_never_opens_what_the_role_may_not(role, purpose, action, scopes):
    subject, datum = Subject("x", role, patients=frozenset({"p"})), Datum("p", kind="Observation", is_research=True)
    guard = Guard(Trail(), lambda: NOW)
    guard.consents = lambda _store, _subject: (Consent("c", "p", True, models=frozenset({"m@1"})),)  # type: ignore[method-assign]
    caller = Caller(subject, purpose, "r", scopes=tuple(scopes), launch=frozenset({"p"}))
    if guard.decide(None, caller, action, Resource(datum, model="m@1.0")):  # type: ignore[arg-type]
        assert decide(subject, action, Resource(datum, model="m@1.0"), purpose, guard.consents(None, "p"), NOW)  # type: ignore[arg-type]


# --- the trail of many threads, and readers ---


def test_many_threads_write_one_trail_and_each_has_its_entry(tmp_path):
    keys = FileMaster(new_key())
    place, trail = tmp_path / "s.sqlite", tmp_path / "audit.jsonl"
    with Store(place, keys=keys) as store:
        store.append("ada", [readings(3)], recorded=NOW)
        subject = store.subject("ada")
        hashes: list[str] = []
        with AuditWriter(trail, place, keys=keys, clock=lambda: NOW) as writer:

            def work(k: int) -> None:
                for i in range(20):
                    told = {"resource": f"Observation/{k}-{i}"}
                    hashes.append(writer.write(who=f"w{k}", action="read", patient=subject, purpose="TREAT", time=NOW, detail=told))

            threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            with pytest.raises(DataError, match="plain JSON"):
                writer.write(who="w", action="read", patient=subject, purpose="", time=NOW, detail={"x": object()})
            with pytest.raises(StoreError, match="names nobody"):
                writer.write(who="w", action="read", patient="0" * 24, purpose="", time=NOW, detail={})
            assert len(writer.write_many([{"who": "w", "action": "x", "patient": "", "purpose": "", "time": NOW, "detail": {}}] * 3)) == 3
        assert verify_trail(trail).holds
        told = list(entries(trail, sealer=AuditSealer(store)))
        assert sorted(entry["hash"] for entry in told if entry["action"] == "read") == sorted(hashes)
        assert len(hashes) == 120
        assert len({entry["detail"].get("resource") for entry in told}) == 121
        assert b"Observation" not in trail.read_bytes()
        with pytest.raises(StoreError, match="closed"):
            writer.write(who="w", action="read", patient="", purpose="", time=NOW, detail={})


def test_a_trail_that_cannot_be_written_is_an_error_of_who_asks(tmp_path):
    with (
        Store(tmp_path / "s.sqlite"),
        pytest.raises(StoreError),
        AuditWriter(tmp_path / "s.sqlite" / "x", tmp_path / "s.sqlite", clock=lambda: NOW),
    ):
        pass


def test_readers_answer_fail_and_refuse_when_too_much_waits(place):
    with Store(place) as store:
        store.append("ada", [readings(3)], recorded=NOW)
    gate = threading.Event()
    with Readers(place, threads=1, pending=2) as readers:
        assert readers.submit(lambda store: store.patients()).result(30) == ("ada",)
        with pytest.raises(StoreError, match="no such patient"):
            readers.submit(lambda store: store.subject("x")).result(30)
        readers.submit(lambda _: gate.wait(30))
        waiting = []

        def fill() -> None:
            while True:
                waiting.append(readers.submit(lambda _: 1))

        with pytest.raises(LimitError, match="at once"):
            fill()
        gate.set()
        assert {one.result(30) for one in waiting} == {1}
        readers.forget()
        assert readers.submit(lambda store: len(store.record("ada").series)).result(30) == 1
    with pytest.raises(StoreError, match="closed"):
        readers.submit(lambda _: 1)
