"""``/twins``: models of patients with what is believed of them, and their versions; calibrating and assimilating are work that is asked for."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from gemel.core.errors import AccessDenied
from gemel.platform.derived import derived_resource
from gemel.platform.guard import Caller
from gemel.platform.store import Store, lookup
from gemel.server.asking import (
    PREFIX,
    Cursor,
    Found,
    Key,
    Limit,
    PatientQuery,
    Problems,
    TwinId,
    asked,
    await_change,
    enqueue,
    known,
    moment,
    patient_resource,
    patient_there,
    room_model,
    rows_told,
    told,
    twin_parts,
    version_told,
    work_key,
)  # fmt: skip
from gemel.server.auth import caller
from gemel.server.etags import etag
from gemel.server.idempotency import Reply
from gemel.server.paging import read_cursor, write_cursor
from gemel.server.resources import Assimilated, Calibrated, JobTold, Page, TwinTold, VersionTold
from gemel.server.services import Services

__all__ = ["router"]

KIND = "Twin"


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["twins"])
    guard = services.guard

    def newest(store: Store, who: Caller, twin: str, action: str = "forecast") -> lookup.Version:
        """Return the newest version of a twin that the one who asks may see."""
        subject, room = twin_parts(twin)
        guard.check(who, action, KIND)
        found = lookup.newest(store, "twin", subject, room)
        if found is None:
            guard.log(
                who, "deny", subject=subject if lookup.is_there(store, subject) else "", detail={"asked": action, "reason": "no such twin"}
            )
            raise AccessDenied()
        guard.require(store, who, action, derived_resource(store, guard, KIND, found))
        return found

    def twin_told(store: Store, found: lookup.Version) -> dict[str, Any]:
        room = found.name
        standing = lookup.newest_id(store, "forecast", found.patient, room)
        told = version_told(store, found, newest=found.id)
        return {
            "id": f"{found.patient}.{room}", "patient": found.patient, "room": room, "newest": told,
            "forecast": f"{PREFIX}/twins/{found.patient}.{room}/forecast" if standing else None,
        }  # fmt: skip

    @routes.get("/twins", response_model=Page[TwinTold], responses=Problems())
    async def list_twins(patient: PatientQuery, who: Annotated[Caller, Depends(caller)]) -> Response:
        """List the twins of a patient, the newest version of each."""

        def look(store: Store) -> dict[str, Any]:
            guard.check(who, "forecast", KIND)
            last = {version.name: version for version in lookup.version_list(store, "twin", patient)}
            shown = [v for v in last.values() if guard.decide(store, who, "forecast", derived_resource(store, guard, KIND, v))]
            if not shown:  # nobody there, nobody of theirs, or nothing yet: who may see the patient is told that there is nothing
                guard.require(store, who, "read", patient_there(store, patient))
            else:
                guard.log(who, "forecast", subject=patient, detail={"resource": f"{KIND}?patient={patient}", "n": len(shown)})
            return {"items": [twin_told(store, v) for v in shown], "next": None}

        return told(await services.readers.run(look))

    @routes.post(
        "/twins",
        response_model=JobTold,
        status_code=202,
        responses={200: {"model": JobTold, "description": "done before"}, **Problems(409)},
    )
    async def calibrate(body: Calibrated, request: Request, who: Annotated[Caller, Depends(caller)], key: Key = None) -> Response:
        """Calibrate a twin of a patient: work, which a worker does. Asked again of the same record, it is the same work."""
        now, model = moment(body.now), room_model(body.twin)
        resource = patient_resource(body.patient, KIND, model=model)

        def may(store: Store) -> None:
            guard.require(store, who, "posterior", resource, detail={"work": "calibrate"})

        await services.readers.run(may)
        ask = asked(request, who, await request.body(), key)

        def change(store: Store) -> Reply:
            upto = lookup.last_facts(store, body.patient)
            place = work_key("calibrate", body.patient, body.twin, model, now, None if now is not None else upto, body.seed, body.method)
            more = {} if body.method is None else {"method": body.method}
            plain = {"twin": body.twin, "now": services.clock() if now is None else now, "seed": body.seed, **more}
            return enqueue(store, "calibrate", body.patient, place, plain, now=services.clock())

        return await await_change(services, ask, change, subject=body.patient)

    @routes.get("/twins/{twin}", response_model=TwinTold, responses=Problems())
    async def read_twin(twin: TwinId, request: Request, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Show a twin: its newest version."""

        def look(store: Store) -> dict[str, Any]:
            return twin_told(store, newest(store, who, twin))

        found = await services.readers.run(look)
        tag = etag(found["newest"]["id"], int(found["newest"]["stale"]), int(found["forecast"] is not None))
        return known(request, tag) or told(found, tag=tag)

    @routes.get("/twins/{twin}/versions", response_model=Page[VersionTold], responses=Problems())
    async def list_versions(
        twin: TwinId, who: Annotated[Caller, Depends(caller)], limit: Limit = 100, cursor: Cursor = None,
        as_of: Annotated[str | None, Query(max_length=40, description="those that were there then")] = None,
    ) -> Response:  # fmt: skip
        """List the versions of a twin, the newest first."""
        place, then = read_cursor("versions", cursor, (int, int)), moment(as_of)
        subject, room = twin_parts(twin)

        def look(store: Store) -> dict[str, Any]:
            newest(store, who, twin, "forecast")
            found = [v for v in lookup.version_list(store, "twin", subject, room, as_of=then) if place is None or v.version <= place[1]]
            upto = place[1] if place else max((v.version for v in found), default=0)
            found = [v for v in found if place is None or v.version < place[0]][::-1]
            shown = [v for v in found[:limit] if guard.decide(store, who, "forecast", derived_resource(store, guard, KIND, v))]
            rest = write_cursor("versions", found[limit - 1].version, upto) if len(found) > limit else None
            return {"items": rows_told(store, shown[::-1])[::-1], "next": rest}

        return told(await services.readers.run(look))

    @routes.get(
        "/twins/{twin}/versions/{version}/state", responses={200: {"content": {"application/zip": {}}, "description": "arrays and a manifest"}, **Problems()},
        response_class=Response,
    )  # fmt: skip
    async def read_state(twin: TwinId, version: Found, request: Request, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Return what is believed of a patient by one version, as it was stored: a file that ``gemel forecast`` reads.

        A version between two whole ones is a step from the one before: then that one is returned, and ``Gemel-Version`` names it.
        """
        subject, room = twin_parts(twin)

        def look(store: Store) -> tuple[bytes, str]:
            guard.check(who, "posterior", KIND)
            found = lookup.version(store, "twin", version)
            if (found.patient, found.name) != (subject, room):
                raise AccessDenied()
            guard.require(store, who, "posterior", derived_resource(store, guard, KIND, found))
            body = lookup.version_body(store, "twin", version)
            if not body.startswith(b'{"format": "gemel-step/'):
                return body, version
            base = orjson.loads(body)["base"]
            return lookup.version_body(store, "twin", base), base

        (body, whole), tag = await services.readers.run(look), etag(version)
        headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Gemel-Version": whole}
        return known(request, tag) or Response(body, 200, headers, "application/zip")

    @routes.post(
        "/twins/{twin}/assimilate",
        response_model=JobTold,
        status_code=202,
        responses={200: {"model": JobTold, "description": "done before"}, **Problems(409)},
    )
    async def assimilate(
        twin: TwinId, body: Assimilated, request: Request, who: Annotated[Caller, Depends(caller)], key: Key = None
    ) -> Response:
        """Bring a twin up to date with what was observed since."""
        now = moment(body.now)
        subject, room = twin_parts(twin)
        found = await services.readers.run(lambda store: newest(store, who, twin, "posterior"))
        ask = asked(request, who, await request.body(), key)

        def change(store: Store) -> Reply:
            upto = lookup.last_facts(store, subject)
            place = work_key("assimilate", twin, found.id, now, None if now is not None else upto)
            plain = {"twin": room, "now": services.clock() if now is None else now}
            return enqueue(store, "assimilate", subject, place, plain, now=services.clock())

        return await await_change(services, ask, change, subject=subject)

    return routes
