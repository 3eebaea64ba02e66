"""The embedded store: what goes in comes out bit for bit, once, and is never changed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from _records import START, everything, fill, meal, readings
from gemel.core import PatientRecord, Proposal, Series
from gemel.core.advice import AbstentionReason, Decision, Outcome
from gemel.core.errors import StoreError
from gemel.core.lineage import Lineage
from gemel.core.protocols import Store as StoreProtocol
from gemel.core.time import DAY, HOUR
from gemel.platform.store import REVISIONS, Store, migrate


@pytest.fixture
def store(place):
    with Store(place) as opened:
        yield opened


def test_it_is_a_store(store):
    assert isinstance(store, StoreProtocol)


def test_a_record_comes_back_bit_for_bit_at_every_moment(store):
    record = everything()
    assert fill(store, record) == sum(len(s) for s in record.series) + 9
    assert store.record("p1").hash == record.hash
    for now in np.linspace(START - HOUR, START + 5 * DAY, 23).astype(int):
        known, stored = record.as_of(int(now)), store.record("p1", as_of=int(now))
        assert stored.hash == known.hash
        assert stored.exposures == known.exposures
        for a, b in zip(stored.series, known.series, strict=True):
            assert all(np.array_equal(getattr(a, c), getattr(b, c)) for c in ("time", "value", "recorded", "status", "censored"))
    assert store.check().sound


def test_the_same_fact_twice_enters_once(store):
    record = everything()
    fill(store, record)
    before = store.counts()
    assert fill(store, record) == 0
    assert store.counts() == before


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 700), max_size=3), order=st.randoms(use_true_random=False), now=st.integers(0, 60))
def test_pieces_in_any_order_with_repeats_give_the_same_record(places, cuts, order, now):
    record = everything()
    bounds = [0, *sorted(cuts), 10_000]
    pieces = [tuple(s.take(np.arange(len(s))[i:j]) for s in record.series) for i, j in itertools.pairwise(bounds)]
    pieces += [(fact,) for fact in record.facts() if not isinstance(fact, Series)]
    pieces = pieces * 2
    order.shuffle(pieces)
    with Store(places()) as store:
        for i, piece in enumerate(pieces):
            store.append("p1", piece, recorded=i, demographics=record.demographics)
        moment = START + now * HOUR
        assert store.record("p1").hash == record.hash
        assert store.record("p1", as_of=moment).hash == record.as_of(moment).hash


def test_inputs_of_a_version_come_back_whatever_was_imported_since(store):
    fill(store, PatientRecord(id="p1").with_facts(readings(100)))
    name = store.put("twin", "p1", "toy", b"one", recorded=START, meta={"model": "toy", "seed": 1})
    version = store.versions("twin", "p1")[0]
    before = store.record("p1", as_of=START + DAY).hash
    store.append("p1", [meal(1, 20.0), readings(100, seed=4, source="late")], recorded=START + 2 * DAY)  # says it was recorded long ago
    assert version.id == name
    assert store.record("p1", as_of=START + DAY).hash != before
    assert store.record("p1", as_of=START + DAY, upto=version.upto_event).hash == before


def test_versions_are_kept_and_the_newest_put_again_stays_one(store):
    fill(store, everything())
    first = store.put("forecast", "p1", "as known", b"one", recorded=10, meta={"status": "OK"})
    assert store.put("forecast", "p1", "as known", b"one", recorded=11, meta={}) == first
    second = store.put("forecast", "p1", "as known", b"two", recorded=20, meta={"inputs": "abc"})
    assert (store.get("forecast", "p1", "as known"), store.get("forecast", "p1", "as known", as_of=15)) == (b"two", b"one")
    assert [(v.id, v.version) for v in store.versions("forecast", "p1", "as known")] == [(first, 1), (second, 2)]
    with pytest.raises(StoreError, match="no such forecast"):
        store.get("forecast", "p1", "as known", as_of=5)
    with pytest.raises(StoreError, match="before the newest"):
        store.put("forecast", "p1", "as known", b"three", recorded=1, meta={})
    with pytest.raises(StoreError, match="keeps no such thing"):
        store.put("cake", "p1", "x", b"", recorded=1, meta={})
    with pytest.raises(StoreError, match="no such patient"):
        store.record("p2")


def test_a_proposal_is_answered_and_its_outcome_comes_back(store):
    fill(store, everything())
    lineage = Lineage(record="r", model="m", model_version="1", code_version="1", method="x", seed=1)
    proposal = Proposal(twin="p1", issued=START, choice=None, reason=AbstentionReason.DATA_TOO_OLD, sentence="old", lineage=lineage)
    key = store.put("proposal", "p1", "bolus", proposal.model_dump_json().encode(), recorded=START, meta={})
    decision = Decision(proposal=key, time=START + 1, recorded=START + 2, who="nurse-7", answer="rejected", reason="eats later")
    made = store.decide(decision)
    assert store.decide(decision) == made
    outcome = Outcome(decision=made, time=START + HOUR, recorded=START + HOUR, values={"glucose": 98.0})
    assert store.outcome(outcome) == store.outcome(outcome)
    assert [e.kind for e in store.events()] == ["facts", "proposal", "decision", "outcome"]
    assert (store.counts()["decision"], store.counts()["outcome"]) == (1, 1)
    with pytest.raises(StoreError, match="no such proposal"):
        store.decide(decision.model_copy(update={"proposal": "nowhere"}))
    with pytest.raises(StoreError, match="no such decision"):
        store.outcome(outcome.model_copy(update={"decision": "nowhere"}))


def test_nothing_that_stands_is_changed(store):
    fill(store, everything())
    store.put("twin", "p1", "toy", b"one", recorded=START, meta={})
    for table in (
        "patient",
        "event",
        "demographics",
        "series",
        "series_chunk",
        "exposure",
        "finding",
        "document",
        "geometry",
        "twin_version",
    ):
        column = "pid" if table != "series_chunk" else "sid"
        for text in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = {column}"):
            with pytest.raises(StoreError, match="never changed"), store.batch():
                store._database.execute(text)
    assert store.check().sound


def test_events_have_no_gaps_and_consumers_move_forward_only(store):
    for i in range(7):
        store.append(f"p{i % 3}", [meal(i, 10.0 + i)], recorded=i)
    assert [e.seq for e in store.events(after=2, limit=3)] == [3, 4, 5]
    assert store.patients() == ("p0", "p1", "p2")
    store.advance("worker", 4)
    store.advance("worker", 2)
    assert (store.position("worker"), store.position("other")) == (4, 0)


def test_a_job_is_leased_once_taken_up_again_and_set_aside(store):
    job = store.enqueue("assimilate", "p1/5", "{}", now=0)
    assert store.enqueue("assimilate", "p1/5", "{}", now=9) == job
    for attempt in range(1, 6):
        taken = store.claim("assimilate", f"w{attempt}", now=attempt * 100, lease=50)
        assert (taken.id, taken.attempts) == (job, attempt)
        assert store.claim("assimilate", "other", now=attempt * 100 + 10) is None
    assert store.claim("assimilate", "w6", now=10_000) is None
    with pytest.raises(StoreError, match="lease"):
        store.finish(job, "w1")
    second = store.enqueue("assimilate", "p1/6", "{}", now=20)
    store.claim("assimilate", "w", now=30, lease=50)
    store.give_back(second, "w", reason="no memory")
    assert store.claim("assimilate", "v", now=31).attempts == 2
    store.finish(second, "v", result="done")
    assert store.claim("assimilate", "w", now=10**6) is None


def test_the_tables_are_those_of_the_schema(place):
    """Migrations and schema.py describe the same tables; on SQLite every table is STRICT; what is kept is guarded."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from gemel.platform.store.base import open_database
    from gemel.platform.store.schema import APPEND_ONLY, metadata

    Store(place).close()
    database = open_database(place)
    engine = database.engine()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    guards = {f"{t}_no_{v}" for t in APPEND_ONLY for v in ("update", "delete")}
    if database.dialect == "sqlite":
        rows = database.execute("SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite%'").fetchall()
        assert {name for name, is_strict in rows if not is_strict} == {"alembic_version"}
        triggers = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    else:
        rows = database.execute(
            "SELECT tgname::text FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE NOT tgisinternal AND c.relnamespace = current_schema()::regnamespace"
        )
        triggers, guards = {row[0] for row in rows}, guards | {f"{t}_no_truncate" for t in APPEND_ONLY}
    assert triggers == guards
    engine.dispose()
    database.close()


def test_down_and_up_again_keeps_the_facts(place):
    record = everything()
    with Store(place) as store:
        fill(store, record)
        store.put("twin", "p1", "toy", b"one", recorded=START, meta={"inputs": "abc"})
        keys = store.enqueue("assimilate", "p1/5", "{}", now=0)
    migrate(place, REVISIONS[1])
    with Store(place) as store:  # opening carries it up again
        assert store.record("p1").hash == record.hash
        assert store.get("twin", "p1", "toy") == b"one"
        assert store.claim("assimilate", "w", now=1).id == keys
        assert fill(store, record) == 0
        assert store.check().problems == ()
    migrate(place, REVISIONS[0])
    with Store(place) as store:
        assert store.record("p1").hash == record.hash
        assert store.versions("twin", "p1") == []
        assert store.check().problems == ()
    migrate(place, "base")
    with Store(place) as store:
        assert store.patients() == ()
    with pytest.raises(StoreError, match="no such schema"):
        migrate(place, "0099")
