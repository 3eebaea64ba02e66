"""What is due is leased, assimilated and forecast together, and written with its checkpoint in one transaction: all of a twin's result, or nothing of it."""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemel.core.advice import Proposal
from gemel.core.errors import GemelError, StoreError
from gemel.core.record import PatientRecord
from gemel.core.time import HOUR, MINUTE, SECOND
from gemel.engine.batch import Question, Step, assimilate_many, forecast_many
from gemel.engine.forecast import Forecast
from gemel.engine.status import usable
from gemel.engine.twin import Twin
from gemel.platform.advice import write_forecast, write_proposal
from gemel.platform.live.changes import changed_since
from gemel.platform.live.scores import Pending
from gemel.platform.live.settings import LiveSettings
from gemel.platform.live.states import Held, Rooms, States, forecast_key, meta_of, read_inputs
from gemel.platform.store import Store
from gemel.platform.stream import twins as queue

__all__ = ["Done", "LiveTwins"]

_LOG = logging.getLogger(__name__)
_MS = 1_000_000


@dataclass
class Done:
    """What a drain did: twins brought up to date, those given back, forecasts overtaken, scores and proposals written."""

    twins: int = 0
    failed: int = 0
    lost: int = 0
    overtaken: int = 0
    scores: int = 0
    proposals: int = 0


@dataclass
class _Result:
    one: queue.Followed
    held: Held
    twin: Twin
    record: PatientRecord
    upto: int
    since: int | None
    forecast: Forecast
    proposal: Proposal | None = None
    later: int = 0
    is_scored: bool = False
    scores: list[tuple[str, bytes, dict[str, Any]]] = field(default_factory=list)


class LiveTwins:
    """Keeps the twins of a store current.

    Parameters
    ----------
    store : of this thread.
    settings : how.
    clock : ns UTC.
    worker : the name under which leases are taken; another one for each process.
    rooms : what twins are of.
    draw : uniform in [0, 1), for pauses before another try.
    """

    def __init__(
        self, store: Store, settings: LiveSettings, *, clock: Callable[[], int], worker: str, rooms: Rooms, draw: Callable[[], float] = random.random
    ) -> None:  # fmt: skip
        self.store, self.settings, self.rooms, self.worker = store, settings, rooms, worker
        self.states = States(store, rooms, keep_every=settings.keep_every)
        self._clock, self._draw = clock, draw
        self._held: OrderedDict[tuple[str, str], Held] = OrderedDict()
        self._proposed: dict[tuple[str, str], int] = {}
        self._pending: dict[tuple[str, str], Pending] = {}

    def now(self) -> int:
        """Return the time, ns UTC."""
        return self._clock()

    @property
    def lease(self) -> int:
        """How long a lease holds, ns."""
        return round(self.settings.lease_s * SECOND)

    def feed(self) -> int:
        """Turn what has arrived into wants."""
        return queue.feed(self.store, now=self.now(), debounce=round(self.settings.debounce_ms * _MS))

    def drain(self, *, limit: int | None = None) -> Done:
        """Bring up to date what is due; return what was done. Nothing due, nothing done."""
        found = queue.claim(self.store, self.worker, now=self.now(), lease=self.lease, limit=limit or self.settings.batch)
        done = Done()
        for group in _cut(found, self.settings.group):
            queue.keep(self.store, self.worker, now=self.now(), lease=self.lease)
            self._work(group, done)
        return done

    def hold(self, subject: str, room: str, held: Held) -> None:
        """Keep a twin in memory; when there are too many, the one that was used longest ago goes."""
        self._held.pop((subject, room), None)
        self._held[subject, room] = held
        while len(self._held) > self.settings.cached:
            self._held.popitem(last=False)

    def newest(self, subject: str, patient: str, room: str) -> Held:
        """Return the newest version of a twin, from memory where it is that."""
        version = self.states.find(patient, room)
        held = self._held.get((subject, room))
        if version is not None and held is not None and held.version == version.id:
            return held
        found = self.states.newest(patient, room)
        self._pending.pop((subject, room), None)
        return found

    def forget(self, subject: str) -> None:
        """Let go of everything that is held of a patient (random id)."""
        for kept in (self._held, self._proposed, self._pending):
            for key in [key for key in kept if key[0] == subject]:
                del kept[key]

    def _give_back(self, one: queue.Followed, error: Exception, done: Done) -> None:
        reason = error.what if isinstance(error, GemelError) else type(error).__name__
        _LOG.warning(
            "a twin could not be brought up to date", extra={"service": one.room, "count": one.attempts, "error": type(error).__name__}
        )
        pause = queue.pause_after(one.attempts, self._draw)
        queue.give_back(self.store, one, self.worker, now=self.now(), reason=reason, pause=pause)
        self._held.pop((one.subject, one.room), None)
        done.failed += 1

    def _work(self, group: Sequence[queue.Followed], done: Done) -> None:
        ready: list[tuple[queue.Followed, Held, PatientRecord, int, Step]] = []
        for one in group:
            try:
                held = self.newest(one.subject, one.patient, one.room)
                record, upto = read_inputs(self.store, one.patient)
                ready.append((one, held, record, upto, Step(held.twin, record, max(self.now(), held.twin.now))))
            except Exception as error:  # one twin that cannot be read must not keep the others
                if not self.store_has(one):
                    self.forget(one.subject)
                    continue
                self._give_back(one, error, done)
        moved = self._each(lambda steps: assimilate_many(steps), [row[-1] for row in ready])
        asked: list[tuple[int, Question]] = []
        for i, twin in enumerate(moved):
            if isinstance(twin, Twin):
                asked.append((i, self._question(ready[i][0].room, twin)))
        said = dict(zip((i for i, _ in asked), self._each(forecast_many, [q for _, q in asked]), strict=True))
        results = []
        for i, (row, twin) in enumerate(zip(ready, moved, strict=True)):
            one, held, record, upto, _ = row
            forecast = said.get(i, twin)
            if not isinstance(twin, Twin) or not isinstance(forecast, Forecast):
                self._give_back(one, forecast if isinstance(forecast, Exception) else StoreError("no forecast"), done)
                continue
            try:
                results.append(self._result(one, held, twin, record, upto, forecast))
            except Exception as error:  # of a proposal or a score: the twin is tried again as a whole
                self._give_back(one, error, done)
        self._write(results, done)

    @staticmethod
    def _each(function: Callable[[list], list], items: list) -> list:
        """Run a batch; where it fails as a whole, one by one, so that only the one that is wrong fails."""
        try:
            return function(items)
        except Exception:
            found = []
            for item in items:
                try:
                    found += function([item])
                except Exception as error:
                    found.append(error)
            return found

    def store_has(self, one: queue.Followed) -> bool:
        """Return whether the patient is still there; who was erased needs no answer."""
        return not self.store.is_erased(one.subject)

    def _question(self, room: str, twin: Twin) -> Question:
        standing, here = self.settings.of(room), self.rooms.room(room)
        times = twin.times(*(standing.minutes or here.horizons))
        return Question(twin, times, forecast_key(twin, self.settings.seed), n=standing.draws)

    def _result(self, one: queue.Followed, held: Held, twin: Twin, record: PatientRecord, upto: int, forecast: Forecast) -> _Result:
        since = changed_since(held.twin, twin, held.seen, record)
        key, standing = (one.subject, one.room), self.settings.of(one.room)
        result = _Result(one, held, twin, record, upto, since, forecast, later=_later(record, twin.now))
        if standing.plans and twin.now - self._proposed.get(key, -(2**62)) >= standing.proposal_min * MINUTE:
            from gemel.platform.live.verbs import propose

            result.proposal = propose(self.rooms.room(one.room), twin, standing, record, forecast_key(twin, self.settings.seed))
        if standing.score_min > 0:
            if key not in self._pending:
                self._pending[key] = Pending.found(self.states, self.store, one.patient, one.room, standing, now=twin.now)
            pending = self._pending[key]
            result.scores = pending.due(record, twin.now, tolerance=standing.tolerance_min)
            result.is_scored = pending.wants(forecast, standing)
        return result

    def _write(self, results: Sequence[_Result], done: Done) -> None:
        if not results:
            return
        try:
            with self.store.batch():
                written = [self._put(result) for result in results]
        except Exception as error:
            if len(results) == 1:
                self._give_back(results[0].one, error, done)
                return
            for result in results:
                self._write([result], done)
            return
        for result, put in zip(results, written, strict=True):
            if put is None:
                done.lost += 1
                self._held.pop((result.one.subject, result.one.room), None)
            else:
                self._remember(result, *put, done)

    def _put(self, result: _Result) -> tuple[Held, str, int] | None:
        """Write one twin's result inside the open transaction; ``None`` when its lease was lost."""
        one, twin, store = result.one, result.twin, self.store
        if not queue.settle(store, one, self.worker, done=result.upto, later=result.later):
            return None
        recorded = max(self.now(), twin.now)
        overtaken = 0
        if result.since is not None:
            overtaken = queue.supersede(store, one.patient, twin.model.id, since=result.since, recorded=recorded)
        held = self.states.put(result.held, twin, one.patient, one.room, upto=result.upto, recorded=recorded)
        held.seen = None if twin.stream is not None else result.record
        made = put_forecast(
            store,
            result.forecast,
            twin,
            held,
            one.patient,
            one.room,
            recorded=recorded,
            n=self.settings.of(one.room).draws,
            seed=self.settings.seed,
            score=result.is_scored,
        )
        if result.proposal is not None:
            meta = meta_of(result.proposal.lineage, twin.status, now=twin.now, forecast=made, twin=held.version, upto=result.upto)
            store.put("proposal", one.patient, one.room, write_proposal(result.proposal), recorded=recorded, meta=meta, upto=result.upto)
        for name, body, meta in result.scores:
            store.put("score", one.patient, name, body, recorded=recorded, meta=meta, upto=result.upto)
        hours = self.settings.of(one.room).recalibrate_h
        if hours and twin.now - twin.calibrated >= hours * HOUR:
            ask_calibration(store, one.patient, one.room, now=twin.now)
        return held, made, overtaken

    def _remember(self, result: _Result, held: Held, made: str, overtaken: int, done: Done) -> None:
        key = (result.one.subject, result.one.room)
        self.hold(*key, held)
        done.twins += 1
        done.overtaken += overtaken
        done.scores += len(result.scores)
        if result.proposal is not None:
            self._proposed[key] = result.twin.now
            done.proposals += 1
        if key in self._pending:
            self._pending[key].settle([meta["forecast"] for _, _, meta in result.scores])
            if result.is_scored:
                self._pending[key].take(made, result.forecast)


def _later(record: PatientRecord, now: int) -> int:
    """Return when the first fact becomes known that is not known yet (ns UTC; 0: none): a clock was set back, or a source speaks of the future."""
    times = [int(series.recorded[series.recorded > now].min()) for series in record.series if (series.recorded > now).any()]
    times += [fact.recorded for fact in (*record.exposures, *record.findings) if fact.recorded > now]
    return min(times, default=0)


def _cut(found: Sequence[queue.Followed], size: int) -> list[Sequence[queue.Followed]]:
    return [found[i : i + size] for i in range(0, len(found), size)]


def put_forecast(
    store: Store, made: Forecast, twin: Twin, held: Held, patient: str, name: str, *, recorded: int, n: int, seed: int, **more: Any
) -> str:  # fmt: skip
    """Write a forecast with what is needed to make it again; return its id."""
    meta: Mapping[str, Any] = meta_of(
        made.lineage, made.status, now=twin.now, twin=held.version, upto=held.upto, n=n, forecast_seed=seed, plan=made.plan,
        usable=usable(made.status) and len(made.draws) > 0, **more,
    )  # fmt: skip
    return store.put("forecast", patient, name, write_forecast(made.table()), recorded=recorded, meta=meta, upto=held.upto)


def ask_calibration(store: Store, patient: str, room: str, *, now: int) -> str:
    """Ask for a calibration, once an hour at most; return the job."""
    import json

    body = json.dumps({"patient": patient, "twin": room, "now": now, "seed": 0})
    return store.enqueue("calibrate", f"standing/{store.subject(patient)}/{room}/{now // HOUR}", body, now=now, patient=patient)
