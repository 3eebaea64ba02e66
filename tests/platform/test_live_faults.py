"""Workers that end at any moment, databases that go and come back, messages that are broken: nothing acknowledged is lost, nothing counts twice."""

import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import gemel
from _live import HOUR, MINUTE, READING, ROOM, Ward, ask, fill, person
from gemel.core.errors import StoreError
from gemel.engine.twin import assimilate
from gemel.platform.intake import Intake
from gemel.platform.store import lookup
from gemel.platform.stream import twins as queue
from gemel.testing.subject import fingerprint


class Power(BaseException):
    """The plug is pulled: no ``except Exception`` sees it."""


class Plug:
    """Counts the statements of a store's connection, and pulls the plug at one of them."""

    def __init__(self, store, at=None):
        self.count, self._at, self._database = 0, at, store._database
        plain, many = self._database.execute, self._database.executemany

        def execute(*arguments):
            self.step()
            return plain(*arguments)

        def executemany(*arguments):
            self.step()
            return many(*arguments)

        self._database.execute, self._database.executemany = execute, executemany

    def step(self):
        self.count += 1
        if self.count == self._at:
            raise Power


def readings(seed=3):
    series = person(seed)[0].series[0]
    return [(int(t), float(v)) for t, v in zip(series.time[-6:], series.value[-6:], strict=True)]


def begin(place):
    record, now = person()
    ward = Ward(place, now - 6 * HOUR - 5 * MINUTE)
    with ward.open() as store:
        fill(store, "p1", record, ward.start)
        ask(store, "calibrate", ward.start, seed=1)
    return ward


def live_through(ward, rows, *, at=None):
    """Take readings in and follow them, with a worker that may end at a statement; return how many statements a whole life takes."""
    worker = ward.worker(f"w{at}", keep_every=2)
    plug = Plug(worker.store, at)
    try:
        worker.step()
        for time, value in rows:
            ward.clock.now = max(ward.clock.now, time + 5 * MINUTE)
            with ward.open() as door:  # what comes in comes in by another process
                ward.send(door, time, value)
            worker.step()
            worker.step()
    except Power:
        ward.clock.now += MINUTE  # its leases run out
        return None
    finally:
        worker.close()
    return plug.count


def check(ward, rows):
    with ward.open() as store:
        record = store.record("p1")
        there = dict(zip(record.series[0].time.tolist(), record.series[0].value.tolist(), strict=True))
        assert all(there[time] == value for time, value in rows)
        assert len(there) == len(record.series[0])
        versions, forecasts = (lookup.version_list(store, kind, store.subject("p1"), ROOM) for kind in ("twin", "forecast"))
        assert [v.meta["now"] for v in versions] == [v.meta["now"] for v in forecasts]
        assert len({(v.meta["now"], v.meta["inputs"]) for v in versions}) == len(versions)
        assert [one.is_due for one in queue.followed(store)] == [False]
        assert store.check().sound
        last = versions[-1]
        first = gemel.calibrate(ROOM, store.record("p1", upto=versions[0].meta["upto"]), versions[0].meta["now"], key=1)
        alone = assimilate(first, store.record("p1", upto=last.meta["upto"]), last.meta["now"])
    worker = ward.worker("look")
    held = worker.live.states.newest("p1", ROOM)
    worker.close()
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(fingerprint(held.twin), fingerprint(alone), strict=True))
    return len(versions)


def test_a_worker_that_ends_at_any_statement_loses_and_doubles_nothing(places):
    rows, draw = readings(), random.Random(1)
    ward = begin(places())
    live_through(ward, rows[:2])
    whole = live_through(ward, rows[2:3])
    check(ward, rows[:3])
    ends = draw.sample(range(2, whole), 20)
    ward = begin(places())
    done = 0
    for k, at in enumerate(ends):
        done += live_through(ward, rows[k // 5 : k // 5 + 1], at=at) is None
        with ward.open() as store:
            queue.redrive(store)  # a twin whose worker ends five times in a row waits for somebody to look: that is how it should be
            for job in store.jobs(state="dead"):
                store.redrive(job.id, now=ward.clock.now)
    assert done >= 10, "the plug was pulled"
    live_through(ward, rows)
    check(ward, rows)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_and_doubles_nothing(tmp_path):
    """Real processes, SIGKILL; many more in ``gemel bench platform``."""
    told = subprocess.run(
        [sys.executable, str(Path(__file__).parents[1] / "_live_kills.py"), str(tmp_path / "a.sqlite"), "1", "5"],
        capture_output=True,
        text=True,
        check=True,
    )
    import json

    found = json.loads(told.stdout)
    assert (found["caught"], found["lost"], found["doubled"], found["wrong"]) == (1, 0, 0, [])
    assert found["versions"] > 3


@pytest.mark.postgres
def test_a_worker_waits_for_a_database_that_is_away(server, tmp_path, monkeypatch):
    from gemel.platform.keys import make_master

    make_master(tmp_path / "k.key")
    monkeypatch.setenv("GEMEL_KEY_FILE", str(tmp_path / "k.key"))
    ward, rows = begin(server.new()), readings()
    worker, stop = ward.worker(poll_ms=5), threading.Event()
    worker.step()
    ward.clock.now = rows[0][0] + 5 * MINUTE
    with ward.open() as door:
        ward.send(door, *rows[0])
    server.kill()
    waits = []
    monkeypatch.setattr("gemel.server.worker._FIRST_S", 0.01)
    plain = worker._again

    def again():
        waits.append(1)
        if len(waits) == 2:
            server.start()
        plain()

    monkeypatch.setattr(worker, "_again", again)
    thread = threading.Thread(target=lambda: worker.run(stop))
    thread.start()
    done = False
    for _ in range(600):
        if len(waits) >= 2:
            try:
                with ward.open() as store:
                    done = [one.is_due for one in queue.followed(store)] == [False] and len(waits) >= 2
            except StoreError:
                done = False
        if done:
            break
        stop.wait(0.1)
    stop.set()
    thread.join()
    worker.close()
    assert done
    check(ward, rows[:1])


def test_broken_messages_are_kept_and_the_twin_does_not_hear_of_them(tmp_path):
    ward, rows = begin(tmp_path / "a.sqlite"), readings()
    worker = ward.worker()
    worker.step()
    draw, good = random.Random(3), 0
    for time, value in rows:
        ward.clock.now = time + 5 * MINUTE
        ward.send(worker.store, time, value)
        good += 1
        body = bytearray(b'{"patient": "p1", "time": %d, "value": %f}' % (time, value + 50))
        for _ in range(4):
            body[draw.randrange(10)] = draw.randrange(256)
        taken = Intake(worker.store, [READING]).take("sensor", "reading", bytes(body), received=ward.clock.now)
        assert taken.state == "quarantined"
        worker.step()
    assert check(ward, rows) == 1 + good
    worker.close()
