"""``/jobs``: work that was asked for, how far it is, and an end to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from gemel.core.errors import AccessDenied, ConflictError, GemelError
from gemel.platform.access import Resource
from gemel.platform.consent import Datum
from gemel.platform.guard import Caller
from gemel.platform.store import JobStatus, Store
from gemel.server.asking import PREFIX, Cursor, Found, Limit, Problems, job_told, patient_resource, patient_there, room_model, told
from gemel.server.auth import caller
from gemel.server.paging import read_cursor, write_cursor
from gemel.server.resources import JobTold, Page
from gemel.server.services import Services

__all__ = ["job_resource", "may_see", "router"]

KIND = "Job"
_MOST_LOOKED_AT = 5000


def job_resource(job: JobStatus) -> Resource:
    """Return what must be asked about before work about a patient is shown: what its model may say of them."""
    try:
        model = room_model(orjson.loads(job.body)["twin"])
    except (ValueError, KeyError, TypeError, GemelError):
        model = ""
    return patient_resource(job.subject, KIND, f"{KIND}/{job.id}", model=model)


def may_see(services: Services, store: Store, who: Caller, job: JobStatus) -> bool:
    """Say whether somebody may see a piece of work. What is about nobody is for whoever runs the server."""
    if not job.subject:
        return bool(services.guard.decide(store, who, "metrics", Resource(Datum("", kind=KIND))))
    return bool(services.guard.decide(store, who, "forecast", job_resource(job)))


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["jobs"])
    guard = services.guard

    def seen(store: Store, who: Caller, job: str) -> JobStatus:
        found = store.job(job)
        if found.subject:
            guard.require(store, who, "forecast", job_resource(found))
        elif not may_see(services, store, who, found):
            guard.log(who, "deny", detail={"asked": "metrics", "resource": f"{KIND}/{job}"})
            raise AccessDenied()
        return found

    @routes.get("/jobs", response_model=Page[JobTold], responses=Problems())
    async def list_jobs(
        who: Annotated[Caller, Depends(caller)],
        state: Annotated[Literal["waiting", "leased", "done", "dead", "cancelled"] | None, Query()] = None,
        kind: Annotated[str | None, Query(max_length=64)] = None,
        patient: Annotated[str | None, Query(pattern=r"^[0-9a-f]{24}$")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """List work, oldest first, as far as the one who asks may see it."""
        place = read_cursor("jobs", cursor, (int, str))

        def look(store: Store) -> dict[str, Any]:
            if patient is not None:
                guard.check(who, "forecast", KIND)
            shown: list[JobStatus] = []
            after, looked, more = place, 0, True
            while len(shown) <= limit and looked < _MOST_LOOKED_AT and more:
                found = store.jobs(state=state, kind=kind, subject=patient, after=after, limit=200)
                looked, more = looked + len(found), len(found) == 200
                after = (found[-1].created, found[-1].id) if found else after
                shown += [job for job in found if may_see(services, store, who, job)]
            if patient is not None and not shown:
                guard.require(store, who, "read", patient_there(store, patient))
            is_more = len(shown) > limit or more
            shown = shown[:limit]
            for subject in dict.fromkeys(job.subject for job in shown if job.subject):
                guard.log(who, "forecast", subject=subject, detail={"resource": KIND})
            last = (shown[-1].created, shown[-1].id) if shown and len(shown) == limit else after
            return {"items": [job_told(job) for job in shown], "next": write_cursor("jobs", *last) if is_more and last else None}

        return told(await services.readers.run(look))

    @routes.get("/jobs/{job}", response_model=JobTold, responses=Problems())
    async def read_job(job: Found, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Show how a piece of work stands, and what it made."""
        found = await services.readers.run(lambda store: seen(store, who, job))
        wait = {} if found.has_ended else {"Retry_After": "1"}
        return told(job_told(found), **wait)

    @routes.post("/jobs/{job}/cancel", response_model=JobTold, responses=Problems(409))
    async def cancel(job: Found, who: Annotated[Caller, Depends(caller)]) -> Response:
        """End a piece of work. A worker that has begun stops at its next word; what was cancelled before stays so."""
        await services.readers.run(lambda store: seen(store, who, job))

        def change(store: Store) -> JobStatus:
            store.cancel(job, now=services.clock())
            return store.job(job)

        found = await services.write(change)
        if found.state != "cancelled":
            raise ConflictError("the work has ended already", seen=found.state, expected="work that waits or is being done")
        return told(job_told(found))

    @routes.post("/jobs/{job}/redrive", response_model=JobTold, status_code=202, responses=Problems(409))
    async def redrive(job: Found, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Put work that was given up or cancelled into the queue again."""
        await services.readers.run(lambda store: seen(store, who, job))

        def change(store: Store) -> tuple[bool, JobStatus]:
            return store.redrive(job, now=services.clock()), store.job(job)

        moved, found = await services.write(change)
        if not moved:
            raise ConflictError("only what was given up or cancelled is put back", seen=found.state, expected="dead or cancelled")
        return told(job_told(found), 202, Location=f"{PREFIX}/jobs/{job}")

    return routes
