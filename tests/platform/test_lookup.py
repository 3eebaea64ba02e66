"""What is looked up by id and page by page; and what must be asked about before something derived is shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from _records import START, everything, fill, meal
from gemel.core import PatientRecord
from gemel.core.advice import Decision, Outcome
from gemel.core.code import SYSTEMS, Code
from gemel.core.errors import StoreError
from gemel.core.record import Exposure, Finding
from gemel.core.series import Series
from gemel.core.time import DAY, HOUR
from gemel.platform.access import Resource, Subject, decide
from gemel.platform.access_sql import compile_predicate
from gemel.platform.consent import Consent, Datum, Rule
from gemel.platform.derived import CLASSES, model_of, readable, sources, tells_facts_apart
from gemel.platform.erase import erase
from gemel.platform.guard import Caller
from gemel.platform.store import Store, lookup


@pytest.fixture
def store(place):
    with Store(place) as opened:
        yield opened


def test_people_come_in_pages_that_fit_together_and_only_those_who_may_be_seen(store):
    for i in range(9):
        store.append(f"p{i}", [meal(i, 10.0)], recorded=i)
    upto = lookup.persons(store)
    first = lookup.people(store, limit=4)
    store.append("late", [meal(1, 9.0)], recorded=99)
    erase(store, "p5", recorded=100)
    rest = lookup.people(store, after=first[-1].number, upto=upto, limit=99)
    assert [p.pseudonym for p in (*first, *rest)] == ["p0", "p1", "p2", "p3", "p4", "p6", "p7", "p8"]
    assert lookup.pseudonym(store, first[0].subject) == "p0"
    assert (lookup.named(store, "p0"), lookup.named(store, "nobody")) == (first[0].subject, None)
    own = Subject("Practitioner/1", "physician", patients=frozenset({first[1].subject, first[2].subject}))
    consents = [Consent("c", first[2].subject, True)]
    made = compile_predicate(own, "search", "TREAT", consents, START)
    assert [p.pseudonym for p in lookup.people(store, made.sql, made.parameters)] == ["p2"]
    assert lookup.people(store, compile_predicate(own, "search", "HMARKT", consents, START).sql) == []
    with pytest.raises(StoreError, match="no such patient"):
        lookup.pseudonym(store, "nobody")


def test_versions_and_answers_are_found_by_id(store):
    fill(store, everything())
    subject = store.subject("p1")
    made = [
        store.put("forecast", "p1", "room", b"%d" % i, recorded=i * 10, meta={"model": "room", "model_version": "1.2"}) for i in range(3)
    ]
    assert (lookup.owner(store, "forecast", made[1]), lookup.version_body(store, "forecast", made[1])) == (subject, b"1")
    told = lookup.version(store, "forecast", made[1])
    assert (told.patient, told.name, told.version, model_of(told)) == (subject, "room", 2, "room@1.2")
    assert lookup.newest(store, "forecast", subject, "room").id == made[2]
    assert lookup.newest(store, "forecast", subject, "room", as_of=19).id == made[1]
    assert lookup.newest(store, "forecast", subject, "other") is None
    assert [v.id for v in lookup.version_list(store, "forecast", subject)] == made
    assert [v.id for v in lookup.version_list(store, "forecast", subject, "room", as_of=10)] == made[:2]
    proposal = store.put("proposal", "p1", "room", b"{}", recorded=50, meta={})
    decision = store.decide(Decision(proposal=proposal, time=51, recorded=52, who="Practitioner/1", answer="rejected", reason="no"))
    outcome = store.outcome(Outcome(decision=decision, time=60, recorded=61, values={"glucose": 5.5}))
    assert [(a.id, a.told.answer) for a in lookup.decisions(store, subject, proposal)] == [(decision, "rejected")]
    assert lookup.decision_of(store, decision).subject == subject
    assert [(a.id, a.told.values) for a in lookup.outcomes(store, subject, decision)] == [(outcome, {"glucose": 5.5})]
    assert lookup.decisions(store, subject, "other") == []
    kinds = [change.kind for change in lookup.changes(store, subject=subject)]
    assert kinds == ["facts", "forecast", "forecast", "forecast", "proposal", "decision", "outcome"]
    assert lookup.changes(store, after=lookup.last_event(store)) == []
    for ask in (lookup.owner, lookup.version, lookup.version_body):
        with pytest.raises(StoreError, match="no such forecast"):
            ask(store, "forecast", "nowhere")
    with pytest.raises(StoreError, match="keeps no such thing"):
        lookup.owner(store, "patient", subject)
    with pytest.raises(StoreError, match="no such decision"):
        lookup.decision_of(store, "nowhere")


GLUCOSE, WEIGHT = Code.parse("loinc:99504-3"), Code.parse("loinc:29463-7")
_code = st.sampled_from([GLUCOSE, WEIGHT])
_hours = st.integers(0, 72)
_period = st.tuples(_hours, st.integers(1, 40)).map(lambda t: (START + t[0] * HOUR, START + (t[0] + t[1]) * HOUR))
_rule = st.deferred(
    lambda: st.builds(
        Rule,
        permit=st.booleans(),
        data_period=st.none() | _period,
        kinds=st.sets(st.sampled_from(["Observation", "Condition", "MedicationAdministration"]), max_size=1).map(frozenset),
        codes=st.sets(_code, max_size=1).map(lambda found: frozenset(f"{SYSTEMS[c.system]}|{c.code}" for c in found)),
        rules=st.lists(_rule, max_size=2).map(tuple),
    )
)


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.tuples(_code, _hours), min_size=1, max_size=25),
    meals=st.lists(_hours, max_size=4),
    base=st.booleans(),
    rules=st.lists(_rule, min_size=1, max_size=3).map(tuple),
)
def test_asking_about_stretches_decides_as_asking_about_every_fact(times, meals, base, rules):
    """Every reading, as every class that it may be of: the answer for what was derived is theirs together."""
    record = PatientRecord(id="p1")
    for code in {code for code, _ in times}:
        hours = [hour for of, hour in times if of == code]
        moments = START + np.array(hours) * HOUR
        record = record.with_facts(Series(code=code, unit="mg/dL" if code == GLUCOSE else "kg", time=moments, value=np.ones(len(hours))))
    record = record.with_facts(
        *(Exposure(code=Code.parse("loinc:9059-7"), quantity=None, start=START + hour * HOUR) for hour in meals),
        Finding(code=Code.parse("loinc:4548-4"), value="x", time=START + DAY),
    )
    consent = Consent("c", "pid", base, rules=rules)
    asks = Subject("Practitioner/1", "physician", patients=frozenset({"pid"}))
    each = [
        Datum("pid", kind=kind, codes=frozenset({f"{SYSTEMS[fact.code.system]}|{fact.code.code}"}), time=int(moment))
        for fact in record.facts()
        for moment in (fact.time if isinstance(fact, Series) else [fact.time])
        for kind in CLASSES[fact.kind]
    ]
    wanted = all(decide(asks, "read", Resource(datum), "TREAT", [consent], START + 9 * DAY) for datum in each)
    found = sources(record, "pid", [consent])
    assert bool(decide(asks, "read", Resource(Datum("pid"), found), "TREAT", [consent], START + 9 * DAY)) == wanted
    assert len(found) <= len(each)


def test_a_consent_that_names_a_resource_names_what_was_derived():
    record = PatientRecord(id="p1").with_facts(Finding(code=GLUCOSE, value="x", time=START))
    asks = Subject("Practitioner/1", "physician", patients=frozenset({"pid"}))

    def may(ref: str, meaning: str = "related") -> bool:
        consent = Consent("c", "pid", True, rules=(Rule(False, data=frozenset({(meaning, ref)})),))
        assert tells_facts_apart([consent])
        return bool(decide(asks, "read", Resource(Datum("pid"), sources(record, "pid", [consent])), "TREAT", [consent], START))

    assert not may("Observation/7")
    assert may("Task/example3")  # no fact comes from a Task
    assert not may("Practitioner/9", "authoredby")  # who made the facts is not known: narrower
    assert not tells_facts_apart([Consent("c", "pid", True, rules=(Rule(False, recipients=frozenset({"Practitioner/2"})),))])


@settings(max_examples=30, deadline=None)
@given(
    times=st.lists(st.tuples(_code, _hours), min_size=1, max_size=20),
    base=st.booleans(),
    rules=st.lists(_rule, min_size=1, max_size=3).map(tuple),
)
def test_a_record_is_shown_without_what_each_fact_by_itself_would_be_refused(times, base, rules):
    record = PatientRecord(id="p1").with_facts(Finding(code=Code.parse("loinc:4548-4"), value="x", time=START + DAY))
    for code in {code for code, _ in times}:
        moments = START + np.array([hour for of, hour in times if of == code]) * HOUR
        record = record.with_facts(Series(code=code, unit="mg/dL" if code == GLUCOSE else "kg", time=moments, value=np.ones(len(moments))))
    consent = Consent("c", "pid", base, rules=rules)
    assume(tells_facts_apart([consent]))  # else the record is asked about as a whole
    guard, who = _Fixed([consent]), Caller(Subject("Practitioner/1", "physician", patients=frozenset({"pid"})), "TREAT", "r")
    shown = readable(None, guard, who, "read", record, "pid")

    def may(kind, code, moment):
        codes = frozenset({f"{SYSTEMS[code.system]}|{code.code}"})
        return all(guard.decide(None, who, "read", Resource(Datum("pid", kind=k, codes=codes, time=int(moment)))) for k in CLASSES[kind])

    wanted = {(str(s.code), int(t)) for s in record.series for t in s.time if may("series", s.code, t)}
    assert {(str(s.code), int(t)) for s in shown.series for t in s.time} == wanted
    assert list(shown.findings) == [f for f in record.findings if may("finding", f.code, f.time)]


def test_a_named_resource_hides_the_fact_that_came_from_it_and_readings_that_may_have():
    consent = Consent("c", "pid", True, rules=(Rule(False, data=frozenset({("instance", "Observation/7"), ("instance", "Condition/1")})),))
    record = PatientRecord(id="p1").with_facts(
        Series(code=GLUCOSE, unit="mg/dL", time=[START], value=[1.0]),
        Finding(code=GLUCOSE, value="a", time=START, id="fhir/Observation/7"),
        Finding(code=GLUCOSE, value="b", time=START, id="fhir/Observation/70"),
        Finding(code=GLUCOSE, value="c", time=START),
    )
    who = Caller(Subject("Practitioner/1", "physician", patients=frozenset({"pid"})), "TREAT", "r")
    shown = readable(None, _Fixed([consent]), who, "read", record, "pid")
    assert (shown.series, [f.value for f in shown.findings]) == ((), ["b"])


class _Fixed:
    """A guard with consents of its own, without a store."""

    def __init__(self, consents):
        self.held = tuple(consents)

    def consents(self, store, subject):
        return self.held

    def decide(self, store, caller, action, resource):
        return decide(caller.subject, action, resource, caller.purpose, self.held, START + 9 * DAY)
