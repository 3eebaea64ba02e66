"""``/imports``: send data as they are; they are kept first, then read, and the report says what became of every item."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from gemel.core.errors import AccessDenied, DataError
from gemel.platform.access import Resource, fitting
from gemel.platform.consent import Datum
from gemel.platform.guard import Caller
from gemel.platform.store import Store, lookup
from gemel.server.asking import PREFIX, Key, Problems, asked, await_change, encoded, job_told, told
from gemel.server.auth import caller
from gemel.server.idempotency import Reply
from gemel.server.resources import Imported, JobTold
from gemel.server.services import Services

__all__ = ["may_send", "router"]

Number = Annotated[int, Path(ge=1, le=2**53 - 1)]
_SOURCE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def may_send(services: Services, store: Store, who: Caller, patient: str | None) -> None:
    """Refuse who may not add data: about one patient, or, where the data say whom they are about, about anybody."""
    guard = services.guard
    if patient is not None:
        guard.require(store, who, "create", Resource(Datum(patient, f"Patient/{patient}/imports", "Observation")))
        return
    guard.check(who, "create", "Bundle")
    if not any(grant.reach == "any" for grant in fitting(who.subject, "create", who.purpose)):
        guard.log(who, "deny", detail={"asked": "create", "reason": "data about anybody"})
        raise AccessDenied("who may add data about some must say about whom", expected="?patient=ID", is_open=True)
    guard.log(who, "create", detail={"resource": "imports"})


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["imports"])

    @routes.post(
        "/imports",
        response_model=JobTold,
        status_code=202,
        responses={200: {"model": JobTold, "description": "read before"}, **Problems(409)},
    )
    async def send(
        request: Request,
        who: Annotated[Caller, Depends(caller)],
        format: Annotated[
            Literal["fhir", "hl7v2", "file"],
            Query(description="FHIR R4 (a resource, Bundle or NDJSON), an HL7 v2 message, or a file of one person"),
        ],
        source: Annotated[str, Query(max_length=64, description="who sends it, in the words of the site")] = "api",
        name: Annotated[str, Query(max_length=200, description="what the source calls it; its ending tells what it is")] = "",
        patient: Annotated[str | None, Query(pattern=r"^[0-9a-f]{24}$", description="whose file it is")] = None,
        layout: Annotated[str | None, Query(max_length=64, description="of a file; left out, recognised from the content")] = None,
        key: Key = None,
    ) -> Response:
        """Send data; the body is taken as it is. Once this answers, the bytes are on the disk; what became of them says the job."""
        if not _SOURCE.fullmatch(source):
            raise DataError("not the name of a source", expected="letters, digits, '.', '_' and '-', at most 64")
        if format == "file" and patient is None:
            raise DataError("a file does not say whose it is", expected="?patient=ID")
        if format != "file" and patient is not None:
            raise DataError("these data say themselves whom they are about", seen="patient", expected="no patient", fix="leave it out")
        body = await request.body()
        if not body:
            raise DataError("there is nothing in the body", seen="0 bytes", expected="the data")
        await services.readers.run(lambda store: may_send(services, store, who, patient))

        def change(store: Store) -> Reply:
            now = services.clock()
            # The source of a file is its own: whose it is must not be taken from another message of that source.
            place = f"{format}/{source}" if patient is None else f"{format}/{source}/{patient}"
            seq, _ = store.receive(place, body, received=now, name=name)
            plain: dict[str, Any] = {"message": seq, **({"subject": patient} if patient else {}), **({"layout": layout} if layout else {})}
            pseudonym = None if patient is None else lookup.pseudonym(store, patient)
            job = store.enqueue("import", f"message/{seq}", orjson.dumps(plain).decode(), now=now, patient=pseudonym)
            store.redrive(job, now=now)
            status = store.job(job)
            headers = {"Location": f"{PREFIX}/imports/{seq}"}
            return Reply(200 if status.state == "done" else 202, encoded(job_told(status) | {"href": headers["Location"]}), headers)

        return await await_change(services, asked(request, who, body, key), change, subject=patient)

    @routes.get("/imports/{message}", response_model=Imported, responses=Problems())
    async def read_import(message: Number, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Say what became of something that was sent: counts, what was repaired and refused, and why; no values."""

        def look(store: Store) -> dict[str, Any]:
            services.guard.check(who, "create", "Bundle")
            found = store.message(message)[0]
            job = store.job(lookup.job_id(store, "import", f"message/{message}"))
            may_send(services, store, who, job.subject or None)
            if job.state == "done":
                return orjson.loads(job.result)
            return {
                "id": message,
                "state": found.state,
                "is_new": True,
                "facts": 0,
                "patients": [],
                "reason": job.result or found.reason,
                "report": None,
            }

        return told(await services.readers.run(look))

    return routes
