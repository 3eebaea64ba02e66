"""``/events``: what changed, as it changes (server-sent events). Each carries ids and addresses only; each connection hears what it may.

``Last-Event-ID`` resumes: events of the store are numbered without gaps, and nothing is missed. How far work is, is told as it stands: of several changes in one
beat the last is heard. A stream ends after a while, so that who may no longer listen does not; a client comes back with the last id.

References
----------
WHATWG HTML, section 9.2, Server-sent events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from gemel.core.errors import FormatError, GemelError, LimitError
from gemel.core.time import SECOND, iso
from gemel.platform.access import Resource
from gemel.platform.consent import Datum
from gemel.platform.derived import derived_resource
from gemel.platform.guard import Caller
from gemel.platform.store import JobStatus, Store, lookup
from gemel.server.asking import PREFIX, Problems, encoded, job_told
from gemel.server.auth import caller
from gemel.server.routers.jobs import job_resource
from gemel.server.services import Services

__all__ = ["Feed", "router"]

BEAT_S, HEARTBEAT_S, LONGEST_S = 0.25, 15.0, 300.0
MOST_STREAMS, MOST_EACH, MOST_AT_ONCE = 200, 10, 500
_SKEW = 5 * SECOND  # clocks of workers differ: what changed shortly before is looked at again

_CLASSES = {
    "facts": "Observation",
    "decision": "Decision",
    "outcome": "Outcome",
    "image": "ImagingStudy",
    "joined": "Patient",
    "resource": "Observation",
}
_DERIVED = {
    "twin": ("Twin", "twins"),
    "forecast": ("Forecast", "forecasts"),
    "proposal": ("Recommendation", "recommendations"),
    "score": ("Forecast", "forecasts"),
}
_SILENT = frozenset({"glass", "erasure", "consent"})
"""Kinds of events that are nobody's news: they are in the audit trail."""


@dataclass(frozen=True)
class Heard:
    """What a beat found, for everybody: changes and work since the last."""

    seq: int
    changed: int
    changes: tuple[lookup.Change, ...]
    jobs: tuple[JobStatus, ...]


class Feed:
    """Looks for news once for all who listen, while anybody does."""

    def __init__(self, services: Services, *, beat_s: float = BEAT_S) -> None:
        self._services, self._beat = services, beat_s
        self._news = asyncio.Condition()
        self._last: Heard | None = None
        self._task: asyncio.Task[None] | None = None
        self.listeners = 0

    async def start(self) -> Heard:
        """Begin to listen; return where the news stand now."""
        self.listeners += 1
        if self._last is None:
            self._last = await self._services.readers.run(lambda store: Heard(lookup.last_event(store), self._services.clock(), (), ()))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="gemel-feed")
        return self._last

    def stop(self) -> None:
        """Listen no more."""
        self.listeners -= 1

    async def wait(self, seconds: float) -> None:
        """Wait until something may be new, or so long."""
        async with self._news:
            try:
                await asyncio.wait_for(self._news.wait(), seconds)
            except TimeoutError:
                return

    async def _run(self) -> None:
        while self.listeners > 0:
            await asyncio.sleep(self._beat)
            last = self._last
            assert last is not None  # start() made it
            try:
                found = await self._services.readers.run(lambda store, last=last: _look(store, last.seq, last.changed))
            except GemelError:
                continue  # the database does not answer: what came meanwhile is found later
            if found.changes or found.jobs:
                self._last = found
                async with self._news:
                    self._news.notify_all()
        self._last = None


def _look(store: Store, seq: int, changed: int) -> Heard:
    changes = tuple(lookup.changes(store, after=seq, limit=MOST_AT_ONCE))
    jobs = tuple(store.jobs(changed=changed, limit=MOST_AT_ONCE))
    return Heard(changes[-1].seq if changes else seq, jobs[-1].changed if jobs else changed, changes, jobs)


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["events"])
    guard = services.guard
    feed, open_by = Feed(services), dict[str, int]()

    def told(store: Store, who: Caller, heard: Heard, patient: str | None) -> list[bytes]:
        """Return what one listener may hear, as frames, and write down of whom they heard."""
        frames, subjects = [], dict[str, None]()
        for change in heard.changes:
            plain = None if patient not in (None, change.subject) else _change(services, store, who, change)
            if plain is not None:
                subjects[change.subject] = None
                frames.append(
                    _frame(change.kind, plain, f"{change.seq}-{heard.changed}" if change is heard.changes[-1] else f"{change.seq}-0")
                )
        for job in heard.jobs:
            if patient not in (None, job.subject) or not job.subject or not guard.decide(store, who, "stream", job_resource(job)):
                continue
            subjects[job.subject] = None
            plain = {name: value for name, value in job_told(job).items() if name not in ("result", "note", "reason")}
            frames.append(_frame("job", plain | {"href": f"{PREFIX}/jobs/{job.id}"}, f"{heard.seq}-{job.changed}"))
        for subject in subjects:
            guard.log(who, "stream", subject=subject, detail={"resource": "events"})
        return frames

    async def stream(request: Request, who: Caller, place: tuple[int, int] | None, patient: str | None) -> AsyncIterator[bytes]:
        began = beat = time.monotonic()
        now_ = await feed.start()  # here, not before: what was never begun never ends
        open_by[who.subject.id] = open_by.get(who.subject.id, 0) + 1
        seq, changed = place or (now_.seq, now_.changed)
        heard_of: dict[str, int] = {}
        try:
            yield b"retry: 1000\n\n"
            while time.monotonic() - began < LONGEST_S and not await request.is_disconnected():

                def look(store: Store, seq: int = seq, changed: int = changed) -> tuple[Heard, list[bytes]]:
                    heard = _look(store, seq, max(0, changed - _SKEW))
                    fresh = tuple(job for job in heard.jobs if heard_of.get(job.id) != job.changed and (job.changed > changed or heard_of))
                    heard_of.update((job.id, job.changed) for job in heard.jobs)
                    heard = replace(heard, jobs=fresh, changed=max(heard.changed, changed))
                    return heard, told(store, who, heard, patient)

                heard, frames = await services.readers.run(look)
                for frame in frames:
                    yield frame
                is_more = len(heard.changes) == MOST_AT_ONCE or len(heard.jobs) == MOST_AT_ONCE
                seq, changed = heard.seq, heard.changed
                now = time.monotonic()
                if frames:
                    beat = now
                elif now - beat >= HEARTBEAT_S:
                    yield f"id: {seq}-{changed}\n: still here\n\n".encode()
                    beat = now
                if not is_more:
                    await feed.wait(min(HEARTBEAT_S - (now - beat), 1.0) if now - beat < HEARTBEAT_S else 0.0)
        finally:
            feed.stop()
            open_by[who.subject.id] -= 1
            if not open_by[who.subject.id]:
                del open_by[who.subject.id]

    @routes.get(
        "/events",
        responses={200: {"content": {"text/event-stream": {}}, "description": "events"}, **Problems()},
        response_class=StreamingResponse,
    )
    async def listen(
        request: Request, who: Annotated[Caller, Depends(caller)],
        patient: Annotated[str | None, Query(pattern=r"^[0-9a-f]{24}$", description="of one patient only")] = None,
        last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=64)] = None,
        after: Annotated[str | None, Query(max_length=64, description="as Last-Event-ID, where a header cannot be sent")] = None,
    ) -> Response:  # fmt: skip
        """Hear what changes: facts, versions, decisions, outcomes, and how far work is. Without ``Last-Event-ID`` from now on."""
        if feed.listeners >= MOST_STREAMS or open_by.get(who.subject.id, 0) >= MOST_EACH:
            raise LimitError(
                "too many listen at once", expected=f"<= {MOST_EACH} streams each, {MOST_STREAMS} in all", fix="close one", wait=5.0
            )
        place = _place(last or after)

        def may(store: Store) -> None:
            guard.check(who, "stream", "Observation")
            if patient is not None:
                guard.require(store, who, "stream", Resource(Datum(patient, f"Patient/{patient}", "Observation")))

        await services.readers.run(may)
        return StreamingResponse(
            stream(request, who, place, patient), 200, {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, "text/event-stream"
        )

    return routes


def _place(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    seq, _, changed = text.partition("-")
    if not (seq.isdigit() and (changed or "0").isdigit()) or len(text) > 40 or int(seq) >= 2**62 or int(changed or 0) >= 2**62:
        raise FormatError("not an id of an event", expected="the id of the last event that was heard")
    return int(seq), int(changed or 0)


def _change(services: Services, store: Store, who: Caller, change: lookup.Change) -> dict[str, Any] | None:
    """Return what one may hear of a change; ``None`` when that is nothing."""
    if change.kind in _SILENT:
        return None
    plain: dict[str, Any] = {"seq": change.seq, "kind": change.kind, "patient": change.subject, "recorded": iso(change.recorded)}
    if change.kind in _DERIVED:
        kind, folder = _DERIVED[change.kind]
        try:
            version = lookup.version(store, change.kind, change.ref)
            if not services.guard.decide(store, who, "stream", derived_resource(store, services.guard, kind, version)):
                return None
        except GemelError:  # erased meanwhile
            return None
        room = str(version.meta.get("model") or "") if change.kind == "score" else version.name.partition(":")[0]
        place = f"{version.patient}.{room}" if change.kind == "twin" else f"{version.name}/score" if change.kind == "score" else version.id
        return plain | {"id": version.id, "twin": f"{version.patient}.{room}", "href": f"{PREFIX}/{folder}/{place}"}
    kind = _CLASSES.get(change.kind, "Observation")
    if not services.guard.decide(store, who, "stream", Resource(Datum(change.subject, f"Patient/{change.subject}", kind))):
        return None
    return plain | {"href": f"{PREFIX}/patients/{change.subject}"}


def _frame(kind: str, plain: dict[str, Any], key: str) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (key.encode(), kind.encode(), encoded(plain))
