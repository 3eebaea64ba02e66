"""A day's facts in any order, repeated and late, through the intake and a worker: the twin at the end is that of the day in order (V11)."""

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from _live import HOUR, MINUTE, ROOM, Ward, ask, fill, person
from gemel.platform.store import Store, lookup
from gemel.testing.subject import fingerprint

READINGS = 24


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A store in which a twin was calibrated a day before the end of a record, the day's readings, and the folder."""
    folder = tmp_path_factory.mktemp("begun")
    record, now = person()
    series = record.series[0]
    start = int(series.time[-READINGS - 1]) + 10 * MINUTE
    ward = Ward(folder / "a.sqlite", start)
    with ward.open() as store:
        fill(store, "p1", record, start)
        ask(store, "calibrate", start, seed=1)
    worker = ward.worker()
    worker.step()
    worker.close()
    rows = [(int(t), float(v)) for t, v in zip(series.time[-READINGS:], series.value[-READINGS:], strict=True)]
    return folder, ward.clock.now, rows, now


def through_the_day(begun, folder, arrivals, *, steps, **more):
    """Let messages arrive at their times, with a step of the worker after some of them and one at the end; return the twin and its last forecast."""
    origin, start, rows, now = begun
    shutil.copytree(origin, folder, dirs_exist_ok=True)
    ward = Ward(folder / "a.sqlite", start)
    worker = ward.worker(**more)
    for k, (time, i) in enumerate(sorted(arrivals)):
        ward.clock.now = max(ward.clock.now, time)
        ward.send(worker.store, *rows[i], name=f"m{i}-{k}")
        if k in steps:
            worker.step()
    ward.clock.now = now + 12 * HOUR
    ward.send(worker.store, *rows[0], name="the last word")  # nothing new; what is due is worked on at the same moment every time
    worker.step()
    held = worker.live.states.newest("p1", ROOM)
    forecast = lookup.newest(worker.store, "forecast", worker.store.subject("p1"), ROOM)
    body = lookup.version_body(worker.store, "forecast", forecast.id)
    assert worker.store.check().sound
    worker.close()
    return held.twin, body.split(b'"lineage"')[0]


@pytest.fixture(scope="module")
def in_order(begun, tmp_path_factory):
    _, _, rows, _ = begun
    arrivals = [(time + MINUTE, i) for i, (time, _) in enumerate(rows)]
    return through_the_day(begun, tmp_path_factory.mktemp("in-order"), arrivals, steps=set(range(READINGS)))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    delays=st.lists(st.sampled_from([0, 3, 20, 90, 300, 660]), min_size=READINGS, max_size=READINGS),
    again=st.lists(st.tuples(st.integers(0, READINGS - 1), st.integers(0, 600)), max_size=6),
    steps=st.sets(st.integers(0, READINGS + 5), max_size=8),
    keep_every=st.integers(1, 6),
)
def test_any_order_delay_and_repetition_gives_the_twin_of_the_day_in_order(
    begun, in_order, tmp_path_factory, delays, again, steps, keep_every
):
    _, _, rows, _ = begun
    arrivals = [(time + delay * MINUTE, i) for i, ((time, _), delay) in enumerate(zip(rows, delays, strict=True))]
    arrivals += [(rows[i][0] + delay * MINUTE, i) for i, delay in again]
    twin, said = through_the_day(begun, tmp_path_factory.mktemp("day"), arrivals, steps=steps, keep_every=keep_every)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(fingerprint(twin), fingerprint(in_order[0]), strict=True))
    assert said == in_order[1], "its forecast too, number by number"


def test_the_check_can_fail(begun, in_order, tmp_path_factory):
    _, _, rows, _ = begun
    arrivals = [(time, i) for i, (time, _) in enumerate(rows) if i != 7]
    twin, said = through_the_day(begun, tmp_path_factory.mktemp("missing"), arrivals, steps={3})
    assert not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(fingerprint(twin), fingerprint(in_order[0]), strict=True))
    assert said != in_order[1]


def test_inputs_come_back_for_random_moments(begun, tmp_path_factory):
    """The record as of any version's moment and event has the hash that stands beside the version (P14, small)."""
    folder = tmp_path_factory.mktemp("as-of")
    _, _, rows, _ = begun
    rng = np.random.default_rng(4)
    arrivals = [(time + int(rng.integers(0, 300)) * MINUTE, i) for i, (time, _) in enumerate(rows)]
    through_the_day(begun, folder, arrivals, steps=set(range(0, READINGS, 2)))
    with Store(folder / "a.sqlite") as store:
        versions = lookup.version_list(store, "twin", store.subject("p1"), ROOM)
        for version in rng.permutation(np.array(versions, object))[:10]:
            assert store.record("p1", as_of=version.meta["now"], upto=version.meta["upto"]).hash == version.meta["inputs"]
        assert len({version.meta["inputs"] for version in versions}) == len(versions)
