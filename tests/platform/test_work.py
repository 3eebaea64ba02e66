"""Jobs that say how far they are, wait, are cancelled and put back; answers to requests that named a key."""

from __future__ import annotations

from contextlib import nullcontext, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from _records import START, everything, fill
from gemel.core.errors import StoreError
from gemel.platform.erase import erase
from gemel.platform.store import Store, migrate
from gemel.platform.store.jobs import ENDED, STATES


@pytest.fixture
def store(place):
    with Store(place) as opened:
        fill(opened, everything())
        yield opened


def test_a_job_says_how_far_it_is_and_keeps_its_lease(store):
    job = store.enqueue("forecast", "a", '{"n": 1}', now=10, patient="p1")
    assert (store.job(job).state, store.job(job).body, store.job(job).subject) == ("waiting", '{"n": 1}', store.subject("p1"))
    assert not store.progress(job, 1, 3, "early")  # nobody has it
    store.claim("forecast", "w", now=20, lease=100)
    assert store.progress(job, 1, 3, "draws", worker="w", now=90, lease=100)
    told = store.job(job)
    assert (told.state, told.done, told.total, told.note, told.changed) == ("leased", 1, 3, "draws", 90)
    assert store.claim("forecast", "other", now=150) is None  # the lease ran from 90 on
    assert not store.progress(job, 2, 3, worker="other", now=160)
    store.finish(job, "w", result="made", now=170)
    assert (store.job(job).state, store.job(job).result, store.job(job).changed, store.job(job).has_ended) == ("done", "made", 170, True)
    with pytest.raises(StoreError, match="no such job"):
        store.job("nowhere")


def test_a_cancelled_job_is_refused_to_its_worker_and_may_be_put_back(store):
    job = store.enqueue("forecast", "a", "{}", now=10)
    store.claim("forecast", "w", now=20)
    assert store.cancel(job, now=30)
    assert not store.cancel(job, now=31)
    assert not store.progress(job, 1, 2, worker="w", now=32)
    with pytest.raises(StoreError, match="lease"):
        store.finish(job, "w")
    assert store.claim("forecast", "w", now=10**12) is None
    assert store.enqueue("forecast", "a", "{}", now=40) == job
    assert store.job(job).state == "cancelled"
    assert store.redrive(job, now=50)
    assert not store.redrive(job, now=51)
    assert store.claim("forecast", "v", now=60).attempts == 1


def test_work_given_back_waits_until_it_is_due(store):
    job = store.enqueue("forecast", "a", "{}", now=10)
    store.claim("forecast", "w", now=20)
    store.give_back(job, "w", reason="busy", now=21, ready=500)
    assert store.job(job).result == "busy"
    assert store.claim("forecast", "w", now=499) is None
    assert store.claim("forecast", "w", now=500).id == job


def test_jobs_are_listed_in_pages_and_by_what_changed(store):
    made = [store.enqueue("a" if i % 2 else "b", str(i), "{}", now=i // 3, patient="p1" if i % 3 else None) for i in range(20)]
    seen, after = [], None
    while page := store.jobs(after=after, limit=7):
        seen += [job.id for job in page]
        after = (page[-1].created, page[-1].id)
    assert sorted(seen) == sorted(made)
    assert {job.kind for job in store.jobs(kind="a")} == {"a"}
    assert len(store.jobs(subject=store.subject("p1"))) == 13
    store.claim("b", "w", now=100)
    store.cancel(made[5], now=101)
    assert [job.changed for job in store.jobs(changed=99)] == [100, 101]
    assert [job.id for job in store.jobs(state="cancelled")] == [made[5]]
    assert store.tidy(answers_before=0, jobs_before=102) == (0, 1)
    assert len(store.jobs(limit=99)) == 19


def test_an_answer_is_kept_with_what_it_did_or_not_at_all(store):
    with store.batch():
        store.keep_answer("who|POST|/x|k1", b"asked", b"answered", now=10, subject=store.subject("p1"))
    told = store.answered("who|POST|/x|k1", b"asked")
    assert (told.is_same, told.body, told.made) == (True, b"answered", 10)
    assert not store.answered("who|POST|/x|k1", b"asked otherwise").is_same
    assert store.answered("who|POST|/x|k2", b"asked") is None
    with suppress(RuntimeError), store.batch():
        store.enqueue("a", "1", "{}", now=1)
        store.keep_answer("k3", b"", b"", now=11)
        raise RuntimeError("cut")
    assert store.answered("k3", b"") is None
    assert store.jobs() == []
    store.keep_answer("k4", b"", b"later", now=20)
    assert store.tidy(answers_before=15, jobs_before=0) == (1, 0)
    assert store.answered("k4", b"").body == b"later"


def test_answers_and_work_are_erased_with_their_patient(store):
    store.enqueue("forecast", "mine", '{"patient": "p1"}', now=1, patient="p1")
    other = store.enqueue("forecast", "nobody's", "{}", now=1)
    store.keep_answer("k1", b"", b"of p1", now=1, subject=store.subject("p1"))
    store.keep_answer("k2", b"", b"of nobody", now=1)
    erase(store, "p1", recorded=START)
    assert [job.id for job in store.jobs()] == [other]
    assert (store.answered("k1", b""), store.answered("k2", b"").body) == (None, b"of nobody")
    assert store.check().sound


def test_a_store_of_the_revision_before_keeps_its_work(place):
    with Store(place) as store:
        fill(store, everything())
        waiting = store.enqueue("forecast", "a", "{}", now=5, patient="p1")
        ended = store.enqueue("forecast", "b", "{}", now=6)
        store.cancel(ended, now=7)
        store.keep_answer("k", b"", b"x", now=1)
    migrate(place, "0003")
    with Store(place) as store:
        assert (store.job(waiting).state, store.job(waiting).changed, store.job(ended).state) == ("waiting", 5, "dead")
        assert store.answered("k", b"") is None
        assert store.claim("forecast", "w", now=9).id == waiting


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.sampled_from(["enqueue", "claim", "progress", "finish", "give back", "cancel", "redrive", "wait"]), min_size=1, max_size=25
    )
)
def test_whatever_happens_a_job_has_one_state_and_one_worker(tmp_path_factory, steps):
    """What a worker may say of a job follows from its state alone: nothing that has ended moves but by being put back."""
    with Store(tmp_path_factory.mktemp("work") / "s.sqlite") as store:
        job, now, worker = store.enqueue("k", "1", "{}", now=0), 1, ""
        for number, step in enumerate(steps):
            before, now = store.job(job), now + 1
            if step == "enqueue":
                assert store.enqueue("k", "1", "{}", now=now) == job
            elif step == "claim":
                taken = store.claim("k", f"w{number}", now=now, lease=5)
                assert (taken is None) or not before.has_ended
                worker = worker if taken is None else f"w{number}"
            elif step == "progress":
                assert store.progress(job, number, 30, worker=worker, now=now, lease=5) == (before.state == "leased")
            elif step in ("finish", "give back"):
                with nullcontext() if before.state == "leased" else pytest.raises(StoreError, match="lease"):
                    store.finish(job, worker, now=now) if step == "finish" else store.give_back(job, worker, reason="r", now=now)
            elif step == "cancel":
                assert store.cancel(job, now=now) == (not before.has_ended)
            elif step == "redrive":
                assert store.redrive(job, now=now) == (before.state in ("dead", "cancelled"))
            else:
                now += 100
            after = store.job(job)
            assert after.state in STATES
            assert after.attempts <= 5
            if before.state in ENDED and step != "redrive":
                assert after == before
