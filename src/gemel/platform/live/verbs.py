"""Work that is asked for: each verb as a job, with its result in the store and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.advice import Proposal
from gemel.core.errors import FormatError, StoreError
from gemel.core.protocols import Progress
from gemel.core.record import PatientRecord
from gemel.core.time import iso
from gemel.engine.forecast import compare, forecast
from gemel.engine.keys import stream
from gemel.engine.methods import NAMES, method
from gemel.engine.recommend import recommend
from gemel.engine.room import Room
from gemel.engine.scoring import score
from gemel.engine.twin import Twin, assimilate, calibrate
from gemel.platform.advice import write_proposal
from gemel.platform.live.changes import changed_since
from gemel.platform.live.drain import LiveTwins, put_forecast
from gemel.platform.live.scores import plan_named, reproduce, score_body
from gemel.platform.live.settings import Standing
from gemel.platform.live.states import Held, forecast_key, meta_of, now_of, read_inputs
from gemel.platform.store import lookup
from gemel.platform.stream import twins as queue

__all__ = ["KINDS", "Asked", "do", "propose"]

_LONGEST = 10 * 365.25 * 24 * 60
"""Minutes: ten years."""

Write = Callable[[], dict[str, Any]]
"""Writes a result inside an open transaction and returns what the job says of it."""


@dataclass(frozen=True)
class Asked:
    """One job, as :data:`KINDS` take it.

    Parameters
    ----------
    body : of the job: ``patient`` and ``twin``, ``now`` (ns UTC), and what the kind takes.
    progress : told of how far it is; says ``False`` when it is no longer wanted.
    """

    live: LiveTwins
    body: Mapping[str, Any]
    progress: Progress | None = None

    @property
    def patient(self) -> str:
        """The pseudonym."""
        return self.body["patient"]

    @property
    def room(self) -> str:
        """Which twin."""
        return self.body["twin"]

    @property
    def now(self) -> int:
        """As of when, ns UTC."""
        return int(self.body["now"])

    def twin(self) -> tuple[Held, Twin, PatientRecord, int]:
        """Return the newest version there was at *now*, the twin carried to *now* with what was known then, the record and its last event."""
        live = self.live
        subject = live.store.subject(self.patient)
        version = live.states.find(self.patient, self.room)
        if version is None:
            raise StoreError(
                "the patient has no such twin", seen=self.room, expected="a twin that was calibrated", fix="calibrate it first"
            )
        if now_of(version) > self.now:
            earlier = [v for v in lookup.version_list(live.store, "twin", subject, self.room) if now_of(v) <= self.now]
            if not earlier:
                raise StoreError("there was no such twin then", seen=iso(self.now), expected="a later time", fix="calibrate it as of then")
            held = live.states.load(self.patient, earlier[-1])
            record, upto = live.store.record(self.patient, upto=held.upto), held.upto
        else:
            held = live.newest(subject, self.patient, self.room)
            record, upto = read_inputs(live.store, self.patient)
        is_there = held.twin.now == self.now and held.twin.lineage.record == record.as_of(self.now).hash
        twin = held.twin if is_there else assimilate(held.twin, record, self.now)
        return held, twin, record, upto

    @property
    def recorded(self) -> int:
        """When the result is written, ns UTC."""
        return self.live.now()


def _key(body: Mapping[str, Any]) -> int:
    return int(body.get("seed") or 0)


def _calibrate(asked: Asked) -> Write:
    live, body, name = asked.live, asked.body, asked.body.get("method")
    if name is not None and name not in NAMES:
        raise FormatError("no such method", seen=str(name)[:40], expected=", ".join(NAMES))
    room, model = live.rooms.room(asked.room), live.rooms.model(asked.room)
    record, upto = read_inputs(live.store, asked.patient)
    chosen = method(name) or room.method()
    before = live.states.find(asked.patient, asked.room)
    key = jax.random.key(_key(body))
    twin = calibrate(model, record, asked.now, method=chosen, key=key, progress=asked.progress)

    def write() -> dict[str, Any]:
        store, recorded = live.store, max(asked.recorded, asked.now)
        newest = live.states.find(asked.patient, asked.room)
        if newest is not None and _is_same(newest.meta, twin, whole=True):
            return {"kind": "twin", "id": newest.id, "name": asked.room}
        if newest is not None and before is not None and now_of(newest) > twin.now:
            raise StoreError(
                "the twin has gone on since",
                seen=iso(twin.now),
                expected=f"at or after {iso(now_of(newest))}",
                fix="calibrate as of now",
            )
        held = live.states.put(None, twin, asked.patient, asked.room, upto=upto, recorded=recorded)
        held.seen = None if twin.stream is not None else record
        queue.follow(store, asked.patient, asked.room, upto=upto)
        _standing(live, held, asked.patient, asked.room, recorded=recorded)
        live.hold(store.subject(asked.patient), asked.room, held)
        return {"kind": "twin", "id": held.version, "name": asked.room}

    return write


def _standing(live: LiveTwins, held: Held, patient: str, room: str, *, recorded: int) -> str:
    settings, twin = live.settings.of(room), held.twin
    made = forecast(
        twin,
        None,
        twin.times(*(settings.minutes or live.rooms.room(room).horizons)),
        n=settings.draws,
        key=forecast_key(twin, live.settings.seed),
    )
    return put_forecast(live.store, made, twin, held, patient, room, recorded=recorded, n=settings.draws, seed=live.settings.seed)


def _is_same(meta: Mapping[str, Any], twin: Twin, *, whole: bool) -> bool:
    lineage = twin.lineage
    same = (meta.get("inputs"), meta.get("now"), meta.get("model_version"), meta.get("seed")) == (
        lineage.record, twin.now, lineage.model_version, lineage.seed,
    )  # fmt: skip
    return same and (not whole or meta.get("method") == lineage.method)


def _assimilate(asked: Asked) -> Write:
    live = asked.live
    held, twin, record, upto = asked.twin()

    def write() -> dict[str, Any]:
        newest = live.states.find(asked.patient, asked.room)
        if newest is not None and (now_of(newest) > twin.now or _is_same(newest.meta, twin, whole=False)):
            return {"kind": "twin", "id": newest.id, "name": asked.room}  # done before, or overtaken by one that knows more
        if newest is None or newest.id != held.version:
            raise StoreError("the twin has gone on since", seen=asked.room, fix="try again")
        recorded = max(asked.recorded, twin.now)
        since = changed_since(held.twin, twin, held.seen, record)
        if since is not None:
            queue.supersede(live.store, asked.patient, twin.model.id, since=since, recorded=recorded)
        made = live.states.put(held, twin, asked.patient, asked.room, upto=upto, recorded=recorded)
        made.seen = None if twin.stream is not None else record
        _standing(live, made, asked.patient, asked.room, recorded=recorded)
        queue.release(live.store, asked.patient, asked.room, live.worker, done=upto)
        live.hold(live.store.subject(asked.patient), asked.room, made)
        return {"kind": "twin", "id": made.version, "name": asked.room}

    return write


def _minutes(asked: Asked, twin: Twin) -> np.ndarray:
    told = asked.body.get("minutes") or live_minutes(asked)
    if isinstance(told, str) or not all(isinstance(m, (int, float)) and not isinstance(m, bool) and 0 < m < _LONGEST for m in told):
        raise FormatError("minutes that cannot be forecast", seen=str(told)[:60], expected=f"numbers above 0 and below {_LONGEST:g}")
    return twin.times(*told)


def live_minutes(asked: Asked) -> tuple[float, ...]:
    """Return the minutes at which a room's twins are forecast where nobody says."""
    return tuple(asked.live.settings.of(asked.room).minutes or asked.live.rooms.room(asked.room).horizons)


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _forecast(asked: Asked) -> Write:
    live, body = asked.live, asked.body
    held, twin, _, upto = asked.twin()
    spec, n = body.get("plan"), int(body.get("n") or live.settings.of(asked.room).draws)
    name = spec if isinstance(spec, str) else "as known" if spec is None else "asked"
    plan = plan_named(spec, twin, live.rooms.room(asked.room), name)
    made = forecast(twin, plan, _minutes(asked, twin), n=n, key=forecast_key(twin, _key(body)), name=name)

    def write() -> dict[str, Any]:
        title = f"{asked.room}:{_hash(spec, [int(t) for t in made.times - twin.now], n, _key(body))}"
        state = Held(twin, held.version, held.base, held.steps, held.day, upto)
        found = put_forecast(
            live.store, made, twin, state, asked.patient, title, recorded=max(asked.recorded, twin.now), n=n, seed=_key(body), spec=spec
        )
        return {"kind": "forecast", "id": found, "name": title}

    return write


def _plans(asked: Asked, twin: Twin) -> dict[str, Any]:
    room, told = asked.live.rooms.room(asked.room), asked.body.get("plans")
    if told is None:
        return dict(room.plans(twin))
    return {name: plan_named(spec, twin, room, name) for name, spec in told.items()}


def _compare(asked: Asked) -> Write:
    live, body = asked.live, asked.body
    held, twin, _, upto = asked.twin()
    n = int(body.get("n") or live.settings.of(asked.room).draws)
    room = live.rooms.room(asked.room)
    made = compare(twin, _plans(asked, twin), _minutes(asked, twin), n=n, key=forecast_key(twin, _key(body)))
    names, objective = list(made.forecasts), room.objective()
    tables = {name: json.loads(_table(one)) for name, one in made.forecasts.items()}
    better = {
        name: made.probability_better(name, names[0], objective.utility)
        for name in names[1:]
        if all(len(f.draws) for f in made.forecasts.values())
    }
    first = made.forecasts[names[0]]

    def write() -> dict[str, Any]:
        title = f"{asked.room}:{_hash('compare', body.get('plans'), [int(t) for t in first.times - twin.now], n, _key(body))}"
        told = {"format": "gemel-comparison/1", "forecasts": tables, "reference": names[0], "better": better, "objective": objective.name}
        meta = meta_of(first.lineage, first.status, now=twin.now, twin=held.version, upto=upto, n=n, forecast_seed=_key(body), plans=names)
        store = live.store
        found = store.put(
            "forecast", asked.patient, title, json.dumps(told).encode(), recorded=max(asked.recorded, twin.now), meta=meta, upto=upto
        )
        return {"kind": "comparison", "id": found, "name": title}

    return write


def _table(made: Any) -> bytes:
    from gemel.platform.advice import write_forecast

    return write_forecast(made.table())


def propose(room: Room, twin: Twin, standing: Standing, record: PatientRecord, key: PRNGKeyArray) -> Proposal:
    """Return the advice that stands after an assimilation, or the abstention with its reason."""
    own = dict(room.plans(twin))
    chosen = own if standing.plans == ("*",) else {name: plan_named(name, twin, room, name) for name in standing.plans}
    times = twin.times(*(standing.minutes or room.horizons))
    return recommend(
        twin, chosen, room.objective(), room.limits(), times=times, n=standing.proposal_draws, key=stream(key, "propose"), record=record
    ).proposal()


def _recommend(asked: Asked) -> Write:
    live, body = asked.live, asked.body
    held, twin, record, upto = asked.twin()
    n, room = int(body.get("n") or live.settings.of(asked.room).proposal_draws), live.rooms.room(asked.room)
    times, key = _minutes(asked, twin), forecast_key(twin, _key(body))
    made = recommend(
        twin, _plans(asked, twin), room.objective(), room.limits(), times=times, n=n, key=stream(key, "propose"), record=record
    ).proposal()
    said = forecast(twin, None, times, n=n, key=key)

    def write() -> dict[str, Any]:
        recorded, store = max(asked.recorded, twin.now), live.store
        state = Held(twin, held.version, held.base, held.steps, held.day, upto)
        title = f"{asked.room}:{_hash(None, [int(t) for t in times - twin.now], n, _key(body))}"
        beside = put_forecast(store, said, twin, state, asked.patient, title, recorded=recorded, n=n, seed=_key(body))
        meta = meta_of(
            made.lineage, twin.status, now=twin.now, forecast=beside, twin=held.version, upto=upto, n=n, forecast_seed=_key(body)
        )
        found = store.put("proposal", asked.patient, asked.room, write_proposal(made), recorded=recorded, meta=meta, upto=upto)
        return {"kind": "proposal", "id": found, "name": asked.room}

    return write


def _score(asked: Asked) -> Write:
    live, store = asked.live, asked.live.store
    version = lookup.version(store, "forecast", asked.body["forecast"])
    if version.patient != store.subject(asked.patient):
        raise StoreError("the forecast is somebody else's", fix="name one of this patient")
    room = version.name.partition(":")[0]
    if "plans" in version.meta:
        raise FormatError(
            "a comparison is not scored: at most one of its plans was carried out", fix="score a forecast under the plan that was"
        )
    made = reproduce(live.states, store, asked.patient, version, live.rooms.room(room))
    record, upto = read_inputs(store, asked.patient)
    told = score(made, record, asked.now, tolerance=live.settings.of(room).tolerance_min)

    def write() -> dict[str, Any]:
        meta = {
            "forecast": version.id,
            "model": made.lineage.model,
            "model_version": made.lineage.model_version,
            "now": asked.now,
            "issued": made.issued,
            "rows": len(told.rows),
        }
        found = store.put(
            "score", asked.patient, version.id, score_body(told), recorded=max(asked.recorded, asked.now), meta=meta, upto=upto
        )
        return {"kind": "score", "id": found, "name": version.id}

    return write


KINDS: dict[str, Callable[[Asked], Write]] = {
    "forecast": _forecast, "compare": _compare, "recommend": _recommend, "score": _score, "assimilate": _assimilate, "calibrate": _calibrate,
}  # fmt: skip
"""Kinds of jobs, those first for which somebody waits at a screen."""

_CHANGES = ("assimilate", "calibrate")


def do(kind: str, asked: Asked) -> Write | None:
    """Do what a job asks, but for writing it down; ``None`` when another worker is at this twin just now."""
    live = asked.live
    if kind not in _CHANGES:
        return KINDS[kind](asked)
    if not queue.hold(live.store, asked.patient, asked.room, live.worker, now=live.now(), lease=live.lease):
        return None
    try:
        return KINDS[kind](asked)
    except BaseException:
        queue.release(live.store, asked.patient, asked.room, live.worker)
        raise
