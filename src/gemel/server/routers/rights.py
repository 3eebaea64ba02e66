"""Rights of the person: a portable copy, rectification, objection, erasure; and the register of processing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import IO, Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from gemel.core.errors import DataError, StoreError
from gemel.core.manifest import TwinManifest, installed
from gemel.platform.access import Resource
from gemel.platform.consent import Datum
from gemel.platform.erase import Erasure, erase, scrub
from gemel.platform.guard import Caller
from gemel.platform.portable import copy_of
from gemel.platform.processing import Register, processing_register
from gemel.platform.rights import corrected, object_to, require_right
from gemel.platform.store import Store, lookup
from gemel.server.asking import PREFIX, Key, PatientId, Problems, asked, await_change, encoded, job_told, moment, told, work_key
from gemel.server.asking import enqueue as ask_for
from gemel.server.auth import caller
from gemel.server.hot import HotVersions
from gemel.server.idempotency import Reply
from gemel.server.resources import ErasedTold, ErasureAsked, JobTold, Objected, Page, Rectified, RegisterTold, Withdrawn
from gemel.server.routers.consents import allow
from gemel.server.services import Services

__all__ = ["router"]

_CHUNK = 1 << 16
_SCRUB_TRIES = 20


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["rights"])
    guard, one_at_a_time = services.guard, asyncio.Semaphore(1)

    @routes.get(
        "/patients/{patient}/export", responses={200: {"content": {"application/zip": {}}, "description": "everything that is held"}, **Problems()},
        response_class=Response,
    )  # fmt: skip
    async def copy(patient: PatientId, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Return everything that is held about a patient, as a zip that says in plain words what each part is: FHIR, JSON, files."""

        def look(store: Store) -> IO[bytes]:
            guard.require(store, who, "export", Resource(Datum(patient, f"Patient/{patient}/export", "Patient")))
            return copy_of(store, patient, made=services.clock())

        async with one_at_a_time:  # it reads everything: others must not wait for it
            made = await services.readers.run(look)
        headers = {"Content-Disposition": f'attachment; filename="{patient}.zip"', "Cache-Control": "no-store"}
        return StreamingResponse(_read(made), 200, headers, "application/zip")

    @routes.post("/patients/{patient}/rectifications", response_model=Page[JobTold], status_code=201, responses=Problems(409))
    async def rectify(
        patient: PatientId, body: Rectified, request: Request, who: Annotated[Caller, Depends(caller)], key: Key = None
    ) -> Response:
        """Replace a fact, or take it back. What was known until now stays known as such; the patient's twins are brought up to date."""
        at = moment(body.time)
        if at is None:  # the type says otherwise; for the reader
            raise DataError("a fact has a time", seen="none")
        kind = {"reading": "Observation", "exposure": "MedicationAdministration", "finding": "Condition"}[body.kind]

        def may(store: Store) -> str:
            guard.require(
                store, who, "update", Resource(Datum(patient, f"{kind}?patient={patient}", kind)), detail={"rectified": body.kind}
            )
            return lookup.pseudonym(store, patient)

        pseudonym = await services.readers.run(may)

        def change(store: Store) -> Reply:
            now = services.clock()
            record = store.record(pseudonym, as_of=now)
            fact = corrected(
                record, body.kind, code=body.code, source=body.source, time=at, now=now, value=body.value, unit=body.unit, text=body.text, site=body.site,
                id=body.id,
            )  # fmt: skip
            store.append(pseudonym, [fact], recorded=now)
            upto = lookup.last_facts(store, patient)
            jobs = []
            for name in dict.fromkeys(version.name for version in lookup.version_list(store, "twin", patient)):
                place = work_key("assimilate", patient, name, "rectified", upto)
                made = ask_for(store, "assimilate", patient, place, {"twin": name, "now": now}, now=now)
                jobs.append(store.job(made.headers["Location"].rpartition("/")[2]))
            return Reply(201, encoded({"items": [job_told(job) for job in jobs], "next": None}))

        return await await_change(services, asked(request, who, await request.body(), key), change, subject=patient)

    @routes.post("/patients/{patient}/objections", response_model=Withdrawn, status_code=201, responses=Problems(409))
    async def object_(
        patient: PatientId, body: Objected, request: Request, who: Annotated[Caller, Depends(caller)], key: Key = None
    ) -> Response:
        """Object to processing, for one purpose or any that asks for consent. It takes effect with the next question, and ends work that rests on consent."""

        def may(store: Store) -> str:
            return allow(services, store, who, "object", patient, detail={"purpose": body.purpose or "all"})

        pseudonym = await services.readers.run(may)

        def change(store: Store) -> Reply:
            _, done = object_to(store, pseudonym, purpose=body.purpose, reason=body.reason, now=services.clock())
            return Reply(201, encoded({"epoch": done.epoch, "cancelled": list(done.cancelled), "hidden": done.hidden}))

        return await await_change(services, asked(request, who, await request.body(), key), change, subject=patient)

    @routes.post("/patients/{patient}/erasure", response_model=ErasedTold, responses=Problems(409))
    async def destroy(patient: PatientId, body: ErasureAsked, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Erase a patient for good: their key, every row, what was held in memory, and their key in the key backups. It cannot be undone."""

        def may(store: Store) -> str:
            pseudonym = allow(services, store, who, "erase", patient, detail={"reason": body.reason})
            if pseudonym != body.pseudonym:
                raise DataError(
                    "the pseudonym is another than that of this patient", expected="the pseudonym, said again", fix="look who it is"
                )
            return pseudonym

        pseudonym = await services.readers.run(may)
        done, scrubbed = await asyncio.to_thread(_erase, services, pseudonym)
        _forget(services, patient)
        await services.write(lambda store: store._sealing.forget(patient))
        guard.log(
            who,
            "erase",
            subject=patient,
            detail={"rows": done.rows, "messages": done.messages, "unreached": len(done.unreached), "scrubbed": scrubbed},
        )
        plain = {"id": patient, "rows": done.rows, "messages": done.messages, "unreached": list(done.unreached), "scrubbed": scrubbed}
        return told(plain)

    def register() -> Register:
        manifests = [found for found in installed().values() if isinstance(found, TwinManifest)]
        return processing_register(manifests, services.config.consents.register_answers)

    def may_register(who: Caller) -> None:
        require_right(who.subject, "register", who.purpose, "", scopes=who.scopes, launch=who.launch)
        guard.log(who, "register")

    @routes.get("/processing", response_model=RegisterTold, responses=Problems())
    async def read_register(who: Annotated[Caller, Depends(caller)]) -> Response:
        """Return the register of processing: what is installed, what it reads, and which questions the site has not answered yet."""
        await services.readers.run(lambda _: may_register(who))
        made = register()
        return told(
            {
                "activities": [vars(activity) for activity in made.activities],
                "answers": dict(made.answers),
                "unanswered": list(made.unanswered),
            }
        )

    @routes.get(
        "/processing/sheet",
        responses={200: {"content": {"text/markdown": {}}, "description": "for people"}, **Problems()},
        response_class=PlainTextResponse,
    )
    async def read_sheet(who: Annotated[Caller, Depends(caller)]) -> Response:
        """Return the register and the data protection impact sheet, as Markdown."""
        await services.readers.run(lambda _: may_register(who))
        return Response(register().to_markdown().encode(), 200, media_type="text/markdown; charset=utf-8")

    return routes


def _erase(services: Services, pseudonym: str) -> tuple[Erasure, bool]:
    """Erase with a store of its own: it cannot be inside a transaction that others share. Return what was done, and whether all was overwritten."""
    import time

    with Store(services.place, keys=services.keys, blobs=services.config.store.blobs) as store:
        try:
            return erase(store, pseudonym, recorded=services.clock()), True
        except StoreError as error:
            gone = _erased(store, pseudonym)
            if gone is None:
                raise
            for _ in range(_SCRUB_TRIES):  # somebody reads: what was deleted is overwritten when they have finished
                time.sleep(0.1)
                try:
                    scrub(store)
                except StoreError:
                    continue
                return gone, True
            services.state["unscrubbed"] = error.what
            return gone, False


def _erased(store: Store, pseudonym: str) -> Erasure | None:
    """Return what is known of an erasure that was cut short after the key was destroyed; ``None`` when nothing was erased."""
    if lookup.named(store, pseudonym) is not None:
        return None
    with store._transaction("read") as database:
        row = database.execute("SELECT pid FROM erasure ORDER BY recorded_ns DESC LIMIT 1").fetchone()
    return None if row is None else Erasure(row[0], 0, 0, (), ())


def _forget(services: Services, patient: str) -> None:
    """Let go of everything that is held in memory of a patient."""
    services.guard.forget(patient)
    services.readers.forget()
    hot = services.state.get("hot")
    if isinstance(hot, HotVersions):
        hot.forget(patient)


async def _read(made: IO[bytes]) -> AsyncIterator[bytes]:
    try:
        while chunk := await asyncio.to_thread(made.read, _CHUNK):
            yield chunk
    finally:
        made.close()
