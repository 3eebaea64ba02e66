"""The process that owns the numeric stack: it does what is asked for, and keeps twins current. ``python -m gemel.server.worker --db STORE`` is one.

What it holds it has leased in the store. When it is killed, at whatever moment, the leases run out and another takes up what it was at: results are written in the
transaction that settles the lease, so that nothing is lost and nothing is done twice.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gemel.core.errors import GemelError, StoreError
from gemel.core.time import SECOND
from gemel.platform.keys import Master
from gemel.platform.live.settings import LiveSettings
from gemel.platform.store import Store
from gemel.platform.store import jobs as job_table
from gemel.platform.store.base import is_postgres
from gemel.platform.stream import twins as queue

__all__ = ["Heart", "Worker", "main"]

_LOG = logging.getLogger("gemel.worker")
_FIRST_S, _LONGEST_S = 0.5, 30.0


class Heart:
    """Keeps the leases of a worker alive from a thread of its own, for a long calibration says nothing; and hears when a job is no longer wanted.

    Parameters
    ----------
    open_store : opens the store for the thread.
    worker, lease : whose leases, and how long they hold (ns).
    clock : ns UTC.
    """

    def __init__(self, open_store: Callable[[], Store], worker: str, *, lease: int, clock: Callable[[], int]) -> None:
        self._open, self._worker, self._lease, self._clock = open_store, worker, lease, clock
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._job: str | None = None
        self._said: tuple[int, int, str] = (0, 0, "")
        self.is_wanted = True
        self._thread = threading.Thread(target=self._run, name="gemel-heart", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def at(self, job: str | None) -> None:
        """Say which job is being done; ``None`` when it is over."""
        with self._lock:
            self._job, self._said, self.is_wanted = job, (0, 0, ""), True

    def say(self, done: int, total: int, note: str) -> bool:
        """Say how far the job is; return whether it is still wanted. The store hears of it at the next beat."""
        with self._lock:
            self._said = (done, total, note)
        return self.is_wanted

    def beat(self, store: Store) -> None:
        """Begin every lease anew."""
        with self._lock:
            job, said = self._job, self._said
        now = self._clock()
        queue.keep(store, self._worker, now=now, lease=self._lease)
        if job is not None and not store.progress(job, *said, worker=self._worker, now=now, lease=self._lease):
            with self._lock:
                if self._job == job:
                    self.is_wanted = False

    def _run(self) -> None:
        pause = max(0.05, self._lease / 3 / SECOND)
        store: Store | None = None
        while not self._stop.wait(pause):
            try:
                store = store or self._open()
                self.beat(store)
            except StoreError:  # the database is away: leases run out, which is right, and the thread tries again
                if store is not None:
                    store.close()
                store = None
        if store is not None:
            store.close()


class _Progress:
    """What a method of inference tells, handed to the heart."""

    def __init__(self, heart: Heart) -> None:
        self._heart, self._label, self._total = heart, "", 0

    def start(self, label: str, total: int | None) -> None:
        self._label, self._total = label, total or 0
        self._heart.say(0, self._total, label)

    def update(self, done: int, note: str = "") -> bool:
        return self._heart.say(done, self._total, f"{self._label} {note}".strip())

    def finish(self) -> None:
        self._heart.say(self._total, self._total, self._label)


class Worker:
    """Does jobs and keeps twins current, one thing at a time, until it is told to stop.

    Parameters
    ----------
    open_store : opens the store; called again after the database was away.
    settings : of live twins.
    name : of this worker; no other has it.
    clock : ns UTC. draw : uniform in [0, 1).
    wait : waits for something to arrive, at most so many seconds; left out, it sleeps.
    """

    def __init__(
        self, open_store: Callable[[], Store], settings: LiveSettings, *, name: str, clock: Callable[[], int] = time.time_ns,
        draw: Callable[[], float] = random.random, wait: Callable[[float], object] | None = None,
    ) -> None:  # fmt: skip
        from gemel.platform.live.drain import LiveTwins
        from gemel.platform.live.states import Rooms
        from gemel.verbs import room

        self._open, self.settings, self.name, self._clock, self._draw, self._wait = open_store, settings, name, clock, draw, wait
        self._rooms = Rooms(room)
        self._make = lambda store: LiveTwins(store, settings, clock=clock, worker=name, rooms=self._rooms, draw=draw)
        self.heart = Heart(open_store, name, lease=round(settings.lease_s * SECOND), clock=clock)
        self.live = self._make(open_store())
        self._seen_erasures = 0

    @property
    def store(self) -> Store:
        """The store that it works on."""
        return self.live.store

    def close(self) -> None:
        """Let go of the store."""
        self.heart.stop()
        self.store.close()

    def step(self) -> int:
        """Do what there is to do once round: a job of each kind, then the twins that are due; return how many things were done."""
        from gemel.platform.live.verbs import KINDS

        self.live.feed()
        self._forget_erased()
        done = sum(self._job(kind) for kind in KINDS)
        drained = self.live.drain()
        return done + drained.twins + drained.failed + drained.lost

    def _forget_erased(self) -> None:
        """Let go of twins and keys of who was erased since the last look, whichever process erased them."""
        with self.store._transaction("read") as database:
            rows = database.execute(
                "SELECT seq, pid FROM event WHERE kind = 'erasure' AND seq > ? ORDER BY seq", (self._seen_erasures,)
            ).fetchall()
        for seq, subject in rows:
            self.live.forget(subject)
            self.store._sealing.forget(subject)
            self._seen_erasures = seq

    def _job(self, kind: str) -> int:
        from gemel.platform.live.verbs import Asked, do

        job = self.store.claim(kind, self.name, now=self._clock(), lease=self.live.lease)
        if job is None:
            return 0
        self.heart.at(job.id)
        try:
            write = do(kind, Asked(self.live, json.loads(job.body), _Progress(self.heart)))
            if write is None:  # another worker is at this twin: the job waits, and this was no try
                self._wait_for_twin(job.id)
            elif self.heart.is_wanted:
                with self.store.batch():
                    result = write()
                    self.store.finish(job.id, self.name, result=json.dumps(result), now=self._clock())
        except StoreError as error:
            self._return(job, error)
        except GemelError as error:  # asked again it would fail again: it is over
            self._fail(job, f"{error.what}" + (f"; {error.fix}" if error.fix else ""))
        except (KeyError, TypeError, ValueError) as error:
            self._fail(job, f"the work cannot be understood: {type(error).__name__}")
        except Exception as error:  # a defect: it may be this machine, so another may try
            self._return(job, error)
        finally:
            self.heart.at(None)
        return 1

    def _wait_for_twin(self, job: str) -> None:
        with self.store._transaction("work") as database:
            database.execute(
                "UPDATE job SET state = 'waiting', worker = '', attempts = attempts - 1, ready_ns = ? WHERE id = ? AND worker = ?",
                (self._clock() + SECOND // 4, job, self.name),
            )

    def _return(self, job: job_table.Job, error: Exception) -> None:
        reason = error.what if isinstance(error, GemelError) else type(error).__name__
        _LOG.warning("a piece of work was given back", extra={"job": job.id, "count": job.attempts, "error": type(error).__name__})
        now = self._clock()
        try:
            self.store.give_back(job.id, self.name, reason=reason, now=now, ready=now + queue.pause_after(job.attempts, self._draw))
        except StoreError:
            _LOG.warning("the lease of a piece of work was lost", extra={"job": job.id})

    def _fail(self, job: job_table.Job, reason: str) -> None:
        try:
            with self.store._transaction("work") as database:
                pid = job_table._held(database, job.id, self.name)
                told = job_table._told(self.store._sealing, pid, job.id, "result", reason)
                database.execute(
                    "UPDATE job SET state = 'dead', worker = '', result = ?, changed_ns = ? WHERE id = ?", (told, self._clock(), job.id)
                )
        except StoreError:
            _LOG.warning("the lease of a piece of work was lost", extra={"job": job.id})

    def run(self, stop: threading.Event, *, parent: int | None = None) -> None:
        """Work until ``stop`` is set, or the process ``parent`` is gone; a database that is away is waited for."""
        self.heart.start()
        pause = _FIRST_S
        while not stop.is_set() and (parent is None or os.getppid() == parent):
            try:
                if not self.step():
                    (self._wait or stop.wait)(self.settings.poll_ms / 1000)
                pause = _FIRST_S
            except StoreError as error:
                _LOG.error("the store cannot be worked on", extra={"error": type(error).__name__, "seconds": round(pause, 1)})
                stop.wait(pause * (0.5 + self._draw()))
                pause = min(_LONGEST_S, 2 * pause)
                self._again()

    def _again(self) -> None:
        try:
            fresh = self._open()
        except StoreError:
            return
        self.store.close()
        self.live = self._make(fresh)


def _settings(path: Path | None) -> tuple[LiveSettings, Path | None]:
    if path is None and not any(name.startswith(("GEMEL_LIVE_", "GEMEL_STORE_")) for name in os.environ):
        return LiveSettings.model_validate({}), None
    from gemel.server.config import read_config

    config = read_config(path, os.environ)
    return config.live, config.store.blobs


def main(arguments: list[str] | None = None, *, keys: Master | None = None) -> int:
    """Be a worker until SIGTERM or SIGINT, or until the process that started it is gone."""
    parser = argparse.ArgumentParser(prog="python -m gemel.server.worker", description="Compute for a store, until it is told to end.")
    parser.add_argument("--db", required=True, help="the store: a file, or a postgresql:// address")
    parser.add_argument("--config", type=Path, help="the configuration of the server: its section [live] is read")
    parser.add_argument("--child", action="store_true", help="end when the process that started it is gone")
    told = parser.parse_args(arguments)
    parent = os.getppid() if told.child else None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    from gemel.cli.options import use_engine
    from gemel.server.logs import start_logging

    start_logging("info")
    settings, blobs = _settings(told.config)
    use_engine()
    place = told.db if is_postgres(told.db) else Path(told.db)
    name = f"{os.uname().nodename[:32]}-{os.getpid()}-{os.urandom(4).hex()}"
    worker = Worker(lambda: Store(place, keys=keys, blobs=blobs), settings, name=name)
    if settings.redis:
        from gemel.platform.stream.redis import Wake

        worker._wait = Wake(settings.redis, name).wait
    _LOG.info("working")
    try:
        worker.run(stop, parent=parent)
    finally:
        worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
