"""A worker on a store: jobs, live twins, late facts, leases; each result there once, and reproducible."""

import json
import shutil

import numpy as np
import pytest

import gemel
from _live import HOUR, MINUTE, ROOM, SIGNAL, Ward, ask, fill, person, result
from gemel.core import Series
from gemel.core.errors import StoreError
from gemel.engine import serialise
from gemel.engine.twin import assimilate
from gemel.platform.advice import read_forecast, read_proposal
from gemel.platform.erase import erase
from gemel.platform.live.scores import reproduce
from gemel.platform.store import lookup, merges
from gemel.platform.stream import twins as queue
from gemel.testing.subject import fingerprint


def same(a, b) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(fingerprint(a), fingerprint(b), strict=True))


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    record, now = person()
    ward = Ward(folder / "a.sqlite", now - 6 * HOUR)
    with ward.open() as store:
        fill(store, "p1", record, ward.start)
        ask(store, "calibrate", ward.start, seed=1)
    return folder, ward.start


@pytest.fixture
def ward(template, tmp_path):
    shutil.copytree(template[0], tmp_path, dirs_exist_ok=True)
    return Ward(tmp_path / "a.sqlite", template[1])


@pytest.fixture
def worker(ward):
    worker = ward.worker()
    yield worker
    worker.close()


def rest(ward):
    series = person()[0].series[0]
    later = series.time > ward.start
    return list(zip(series.time[later].tolist(), series.value[later].tolist(), strict=True))


def versions(store, kind="twin", room=ROOM):
    return lookup.version_list(store, kind, store.subject("p1"), room)


def test_a_calibration_makes_a_twin_a_forecast_and_follows_it(ward, worker):
    assert worker.step() == 1
    store = worker.store
    (twin,), (forecast,) = versions(store), versions(store, "forecast")
    record = store.record("p1")
    alone = gemel.calibrate(ROOM, record, ward.start, key=1)
    assert lookup.version_body(store, "twin", twin.id) == serialise.dump(alone)
    assert twin.meta["inputs"] == record.as_of(ward.start).hash
    table = read_forecast(lookup.version_body(store, "forecast", forecast.id))
    assert table.issued == ward.start
    assert forecast.meta["twin"] == twin.id
    assert [one.is_due for one in queue.followed(store)] == [False]
    assert worker.step() == 0, "nothing more to do"


def test_what_arrives_is_assimilated_and_the_result_is_that_of_the_library(ward, worker):
    worker.step()
    store, arrivals = worker.store, rest(ward)
    alone = gemel.calibrate(ROOM, store.record("p1"), ward.start, key=1)
    for time, value in arrivals[:4]:
        ward.clock.now = time + 5 * MINUTE
        ward.send(store, time, value)
        assert worker.step() == 1
        alone = assimilate(alone, store.record("p1"), ward.clock.now)
    kept = worker.live.states.newest("p1", ROOM)
    assert same(kept.twin, alone)
    assert [v.meta["whole"] for v in versions(store)] == [True] + [False] * 4, "between whole states there are steps"
    assert len(versions(store, "forecast")) == 5
    for version in versions(store):
        assert store.record("p1", as_of=version.meta["now"], upto=version.meta["upto"]).hash == version.meta["inputs"]


def test_a_worker_that_starts_again_goes_on_as_if_it_had_not(ward, worker):
    worker.step()
    for time, value in rest(ward)[:3]:
        ward.clock.now = time + 5 * MINUTE
        ward.send(worker.store, time, value)
        worker.step()
    again = ward.worker("w2")
    time, value = rest(ward)[3]
    ward.clock.now = time + 5 * MINUTE
    ward.send(again.store, time, value)
    again.step()
    loaded = again.live.states.newest("p1", ROOM)
    alone = gemel.calibrate(ROOM, again.store.record("p1", as_of=ward.start), ward.start, key=1)
    alone = assimilate(alone, again.store.record("p1"), ward.clock.now)
    again.close()
    assert same(loaded.twin, alone)


def test_several_facts_are_one_assimilation(ward, worker):
    worker.step()
    for time, value in rest(ward)[:4]:
        ward.clock.now = time + 5 * MINUTE
        ward.send(worker.store, time, value)
    worker.step()
    assert len(versions(worker.store)) == 2


def test_a_burst_is_waited_for(ward):
    worker = ward.worker(debounce_ms=60_000)
    worker.step()
    time, value = rest(ward)[0]
    ward.clock.now = time
    ward.send(worker.store, time, value)
    assert worker.step() == 0
    ward.clock.now += MINUTE
    assert worker.step() == 1
    worker.close()


def test_a_late_fact_leads_to_what_would_have_been_and_overtakes_forecasts(ward, worker):
    worker.step()
    store, arrivals = worker.store, rest(ward)
    late, others = arrivals[1], [arrivals[0], *arrivals[2:5]]
    for time, value in others:
        ward.clock.now = time + 5 * MINUTE
        ward.send(store, time, value)
        worker.step()
    before = versions(store, "forecast")
    ward.clock.now += 10 * MINUTE
    ward.send(store, *late)
    worker.step()
    in_order = gemel.calibrate(ROOM, store.record("p1", as_of=ward.start), ward.start, key=1)
    in_order = assimilate(in_order, store.record("p1"), ward.clock.now)
    assert same(worker.live.states.newest("p1", ROOM).twin, in_order)
    overtaken = [queue.superseded(store, v.id) is not None for v in before]
    assert overtaken == [v.meta["now"] >= late[0] for v in before]
    assert [lookup.version_body(store, "forecast", v.id) for v in before]
    assert queue.superseded(store, versions(store, "forecast")[-1].id) is None


def test_a_fact_older_than_the_oldest_state_calibrates_anew(ward, worker):
    worker.step()
    store = worker.store
    old = person()[0].series[0].time[3] + 7 * MINUTE
    ward.clock.now += HOUR
    ward.send(store, old, 4.0)
    worker.step()
    assert versions(store)[-1].meta["status"] == "RECALIBRATED"
    assert versions(store)[-1].meta["whole"]


def test_a_correction_and_a_retraction_are_facts_too(ward, worker):
    worker.step()
    store, (time, value) = worker.store, rest(ward)[0]
    ward.clock.now = time + 5 * MINUTE
    ward.send(store, time, value)
    worker.step()
    ward.clock.now += 5 * MINUTE
    wrong = Series(
        code=SIGNAL,
        unit="[arb'U]",
        source="sensor",
        time=np.array([time]),
        value=np.array([0.0]),
        recorded=np.array([ward.clock.now]),
        status=np.array([2], np.uint8),
    )
    store.append("p1", [wrong], recorded=ward.clock.now)
    worker.step()
    alone = assimilate(gemel.calibrate(ROOM, store.record("p1", as_of=ward.start), ward.start, key=1), store.record("p1"), ward.clock.now)
    assert same(worker.live.states.newest("p1", ROOM).twin, alone)
    assert len(store.record("p1", as_of=ward.clock.now).series[0]) == len(store.record("p1", as_of=ward.start).series[0])


def test_facts_of_a_merged_person_reach_the_survivors_twin(ward, worker):
    worker.step()
    store, (time, value) = worker.store, rest(ward)[0]
    ward.clock.now = time + 5 * MINUTE
    merges.merge(store, "p1", "p1-of-another-ward", recorded=ward.clock.now)
    worker.step()
    ward.clock.now += MINUTE
    ward.send(store, time, value, patient="p1-of-another-ward")
    assert worker.step() == 1
    newest = versions(store)[-1]
    assert newest.meta["inputs"] == store.record("p1", as_of=ward.clock.now).hash
    assert time in store.record("p1").series[0].time


def test_jobs_give_what_was_asked_and_asked_again_the_same(ward, worker):
    worker.step()
    store, now = worker.store, ward.start
    asked = {
        "forecast": ask(store, "forecast", now, plan=None, minutes=[30, 60], n=64, seed=5),
        "planned": ask(
            store, "forecast", now, plan={"events": [{"channel": "dose", "after_min": 10, "amount": 5}]}, minutes=[30, 60], n=64, seed=5
        ),
        "compare": ask(store, "compare", now, plans=None, minutes=[60], n=64, seed=5),
        "recommend": ask(store, "recommend", now, plans=None, minutes=[240], n=64, seed=5),
    }
    while worker.step():
        pass
    told = {name: result(store, job) for name, job in asked.items()}
    assert [told[name]["kind"] for name in asked] == ["forecast", "forecast", "comparison", "proposal"]
    plain, planned = (read_forecast(lookup.version_body(store, "forecast", told[name]["id"])) for name in ("forecast", "planned"))
    assert (plain.mean > planned.mean).all(), "a dose kills"
    comparison = json.loads(lookup.version_body(store, "forecast", told["compare"]["id"]))
    assert set(comparison["forecasts"]) == {"wait", "one dose of 6 mg", "three doses of 6 mg", "30 mg at once"}
    assert comparison["reference"] == "wait"
    proposal = read_proposal(lookup.version_body(store, "proposal", told["recommend"]["id"]))
    assert (proposal.choice is None) != (proposal.reason is None)
    beside = lookup.version(store, "proposal", told["recommend"]["id"]).meta["forecast"]
    assert read_forecast(lookup.version_body(store, "forecast", beside)).issued == now
    again = ask(store, "forecast", now, key="another", plan=None, minutes=[30, 60], n=64, seed=5)
    worker.step()
    assert result(store, again) == told["forecast"], "the same question has one answer"
    for name in ("forecast", "planned"):
        version = lookup.version(store, "forecast", told[name]["id"])
        made = reproduce(worker.live.states, store, "p1", version, gemel.room(ROOM))
        table = read_forecast(lookup.version_body(store, "forecast", version.id))
        assert np.array_equal(made.table().quantiles, table.quantiles), "made again from its version, plan, key and facts"


def test_a_repeated_assimilation_finds_its_result(ward, worker):
    worker.step()
    store, (time, value) = worker.store, rest(ward)[0]
    ward.clock.now = time + 5 * MINUTE
    ward.send(store, time, value)
    jobs = [ask(store, "assimilate", ward.clock.now, key=f"{k}") for k in range(3)]
    for _ in range(4):
        worker.step()
    assert len({json.dumps(result(store, job)) for job in jobs}) == 1
    assert len(versions(store)) == 2


def test_a_calibration_asked_twice_is_one(ward, worker):
    worker.step()
    again = ask(worker.store, "calibrate", ward.start, key="again", seed=1)
    worker.step()
    assert len(versions(worker.store)) == 1
    assert result(worker.store, again)["id"] == versions(worker.store)[0].id


def test_a_forecast_of_an_earlier_moment_knows_no_more_than_was_known_then(ward, worker):
    worker.step()
    store = worker.store
    early = ask(store, "forecast", ward.start, key="early", plan=None, minutes=[60], n=64, seed=5)
    worker.step()
    for time, value in rest(ward)[:2]:
        ward.clock.now = time + 5 * MINUTE
        ward.send(store, time, value)
        worker.step()
    late = ask(store, "forecast", ward.start, key="late", plan=None, minutes=[60], n=64, seed=5)
    worker.step()
    bodies = [lookup.version_body(store, "forecast", result(store, job)["id"]) for job in (early, late)]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    ("kind", "more", "why"),
    [
        ("forecast", {"plan": "no such plan"}, "no such plan"),
        ("forecast", {"plan": {"events": [{"channel": "voltage", "amount": 1}]}}, "does not have"),
        ("calibrate", {"method": "magic"}, "no such method"),
        ("score", {"forecast": "f" * 24}, ""),
        ("forecast", {"minutes": "soon"}, "cannot be forecast"),
        ("forecast", {"minutes": [-5]}, "cannot be forecast"),
        ("forecast", {"n": "many"}, "cannot be understood"),
    ],
)
def test_work_that_can_never_be_done_is_over_at_once_and_says_why(ward, worker, kind, more, why):
    worker.step()
    job = ask(worker.store, kind, ward.start, key="x", **more)
    worker.step()
    status = worker.store.job(job)
    if kind == "score":
        assert status.state == "waiting", "it may still come: it is tried again"
    else:
        assert status.state == "dead"
        assert why in status.result
    assert worker.store.counts()["twin_version"] == 1


def test_work_that_fails_is_tried_five_times_later_each_time(ward, worker):
    worker.step()
    job, pauses = ask(worker.store, "score", ward.start, forecast="f" * 24), []
    for _ in range(5):
        worker.step()
        begun = ward.clock.now
        while worker.store.job(job).state == "waiting" and not worker.step():
            ward.clock.now += 250_000_000
        pauses.append((ward.clock.now - begun) / 1e9)
        if worker.store.job(job).state == "dead":
            break
    assert worker.store.job(job).state == "dead"
    assert worker.store.job(job).attempts == 5
    assert worker.store.redrive(job, now=ward.clock.now)


def test_a_cancelled_job_leaves_nothing(ward, worker, monkeypatch):
    job = next(iter(worker.store.jobs())).id
    import gemel.platform.live.verbs as verbs

    plain = verbs.calibrate

    def slow(*arguments, **settings):
        with ward.open() as other:
            assert other.cancel(job, now=ward.clock.now)
            worker.heart.beat(other)
        assert not settings["progress"].update(1)
        return plain(*arguments, **settings)

    monkeypatch.setattr(verbs, "calibrate", slow)
    worker.step()
    assert worker.store.job(job).state == "cancelled"
    assert worker.store.counts()["twin_version"] == 0


def test_a_lease_that_was_lost_writes_nothing(ward, worker, monkeypatch):
    worker.step()
    store, (time, value) = worker.store, rest(ward)[0]
    ward.clock.now = time + 5 * MINUTE
    ward.send(store, time, value)
    other = ward.worker("w2")
    import gemel.platform.live.drain as drain

    plain = drain.assimilate_many

    def slow(steps):
        ward.clock.now += MINUTE  # twice the lease: another takes the twin up and is done first
        monkeypatch.setattr(drain, "assimilate_many", plain)
        assert other.step() == 1
        return plain(steps)

    monkeypatch.setattr(drain, "assimilate_many", slow)
    worker.live.feed()
    done = worker.live.drain()
    other.close()
    assert (done.twins, done.lost) == (0, 1)
    assert len(versions(store)) == 2


def test_two_workers_do_not_take_the_same_twin(ward, worker):
    worker.step()
    store, (time, value) = worker.store, rest(ward)[0]
    ward.clock.now = time + 5 * MINUTE
    ward.send(store, time, value)
    worker.live.feed()
    with ward.open() as other:
        assert len(queue.claim(other, "w2", now=ward.clock.now)) == 1
        assert worker.live.drain().twins == 0
        job = ask(store, "assimilate", ward.clock.now)
        worker.step()
        assert store.job(job).state == "waiting", "work on a twin that another holds waits, and that is no try"
        assert store.job(job).attempts == 0
        ward.clock.now += MINUTE
        assert worker.step() >= 1


def test_a_clock_that_is_set_back_stops_nothing(ward, worker):
    worker.step()
    store, arrivals = worker.store, rest(ward)
    for (time, value), back in zip(arrivals[:3], (0, 3 * HOUR, 0), strict=True):
        ward.clock.now = time + 5 * MINUTE - back
        ward.send(store, time, value, received=time + 5 * MINUTE)
        worker.step()
    with ward.open() as other:
        queue.claim(other, "gone", now=ward.clock.now + 5 * HOUR)  # a lease given under a clock that was ahead
    ward.clock.now = arrivals[3][0] + 5 * MINUTE
    ward.send(store, *arrivals[3])
    worker.step()
    record = store.record("p1")
    alone = assimilate(gemel.calibrate(ROOM, store.record("p1", as_of=ward.start), ward.start, key=1), record, ward.clock.now)
    assert same(worker.live.states.newest("p1", ROOM).twin, alone)


def test_a_fact_recorded_in_the_future_is_taken_when_it_is_there(ward, worker):
    worker.step()
    store, arrivals = worker.store, rest(ward)
    ward.clock.now = arrivals[0][0] + 5 * MINUTE
    ward.send(store, *arrivals[0], received=ward.clock.now + HOUR)
    worker.step()
    assert queue.followed(store)[0].is_due, "it is not known yet, and waited for"
    assert worker.step() == 0
    ward.clock.now += 30 * MINUTE
    ward.send(store, arrivals[0][0] + 20 * MINUTE, 20.0)
    assert worker.step() == 1, "what arrives meanwhile does not wait with it"
    ward.clock.now += 31 * MINUTE
    assert worker.step() == 1
    assert not queue.followed(store)[0].is_due
    assert versions(store)[-1].meta["inputs"] == store.record("p1", as_of=ward.clock.now).hash


def test_one_twin_that_cannot_be_read_does_not_keep_the_others(ward, worker, monkeypatch):
    record, _ = person(4)
    fill(worker.store, "p2", record, ward.start)
    ask(worker.store, "calibrate", ward.start, patient="p2", seed=1)
    worker.step()
    worker.step()
    import gemel.platform.live.drain as drain

    plain = drain.read_inputs

    def broken(store, patient):
        if patient == "p1":
            raise StoreError("a block of readings is damaged")
        return plain(store, patient)

    monkeypatch.setattr(drain, "read_inputs", broken)
    ward.clock.now += HOUR
    for patient in ("p1", "p2"):
        ward.send(worker.store, ward.clock.now - 5 * MINUTE, 20.0, patient=patient)
    for _ in range(12):
        worker.step()
        ward.clock.now += 10 * MINUTE
    states = {one.patient: (one.state, one.is_due, one.reason) for one in queue.followed(worker.store)}
    assert states["p2"] == ("live", False, "")
    assert states["p1"] == ("dead", False, "a block of readings is damaged")
    monkeypatch.undo()
    assert queue.redrive(worker.store) == 1
    worker.step()
    assert {one.patient: one.is_due for one in queue.followed(worker.store)} == {"p1": False, "p2": False}


def test_who_is_erased_is_let_go(ward, worker):
    worker.step()
    ward.clock.now += HOUR
    ward.send(worker.store, ward.clock.now - 5 * MINUTE, 20.0)
    worker.live.feed()
    subject = worker.store.subject("p1")
    assert (subject, ROOM) in worker.live._held
    with ward.open() as other:
        erase(other, "p1", recorded=ward.clock.now)
    assert worker.step() == 0
    assert queue.followed(worker.store) == []
    assert not worker.live._held, "nothing of them is left in the memory of a worker"
    assert subject not in worker.store._sealing._subjects


def test_scores_arrive_with_the_outcomes_and_a_new_worker_still_waits_for_them(ward):
    settings = {"standing": {ROOM: {"minutes": [60, 120], "score_min": 60, "tolerance_min": 5}}}
    worker = ward.worker(**settings)
    worker.step()
    arrivals = rest(ward)
    for k, (time, value) in enumerate(arrivals[:5]):
        ward.clock.now = time
        ward.send(worker.store, time, value)
        worker.step()
        if k == 2:
            worker.close()
            worker = ward.worker("w2", **settings)
    scores = lookup.version_list(worker.store, "score", worker.store.subject("p1"))
    forecasts = {v.id: v for v in versions(worker.store, "forecast")}
    assert len(scores) >= 2
    for version in scores:
        told = json.loads(lookup.version_body(worker.store, "score", version.id))
        made = forecasts[version.meta["forecast"]]
        assert told["issued"] == made.meta["now"]
        assert len(told["rows"]) + len(told["missing"]) == 2
    assert len({v.meta["forecast"] for v in scores}) == len(scores), "each is scored once"
    worker.close()


def test_proposals_stand_where_the_site_says_so(ward):
    worker = ward.worker(standing={"*": {"plans": ["*"], "proposal_min": 60, "proposal_draws": 64}})
    worker.step()
    for time, value in rest(ward)[:2]:
        ward.clock.now = time + 5 * MINUTE
        ward.send(worker.store, time, value)
        worker.step()
    found = lookup.version_list(worker.store, "proposal", worker.store.subject("p1"))
    assert len(found) == 2
    proposal = read_proposal(lookup.version_body(worker.store, "proposal", found[-1].id))
    assert proposal.issued == ward.clock.now
    assert lookup.version(worker.store, "forecast", found[-1].meta["forecast"]).meta["now"] == ward.clock.now
    worker.close()


def test_whole_states_are_kept_every_so_many_and_daily(ward):
    worker = ward.worker(keep_every=3)
    worker.step()
    for k in range(7):
        ward.clock.now += 10 * MINUTE
        ward.send(worker.store, ward.clock.now - MINUTE, 20.0 + k)
        worker.step()
    assert [v.meta["whole"] for v in versions(worker.store)] == [True, False, False, True, False, False, True, False]
    for version in versions(worker.store):
        held = worker.live.states.load("p1", version)
        assert held.twin.now == version.meta["now"]
        assert held.twin.lineage.record == version.meta["inputs"]
    worker.close()


def test_the_heart_keeps_leases_and_hears_of_another(ward, worker):
    worker.step()
    ward.clock.now += HOUR
    ward.send(worker.store, ward.clock.now - MINUTE, 20.0)
    worker.live.feed()
    assert len(queue.claim(worker.store, "w1", now=ward.clock.now)) == 1
    ward.clock.now += 25 * 10**9
    worker.heart.beat(worker.store)
    ward.clock.now += 25 * 10**9
    assert queue.claim(worker.store, "w2", now=ward.clock.now) == []


def test_a_store_is_sound_after_all_of_it(ward, worker):
    worker.step()
    for time, value in rest(ward)[:3]:
        ward.clock.now = time + 5 * MINUTE
        ward.send(worker.store, time, value)
        worker.step()
    assert worker.store.check().sound
