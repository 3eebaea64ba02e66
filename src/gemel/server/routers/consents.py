"""``/patients/ID/consents``: what somebody permitted; withdrawing it takes effect with the next question."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from gemel.core.errors import AccessDenied, DataError, FormatError
from gemel.platform.consent import Consent
from gemel.platform.consent_fhir import read_consent
from gemel.platform.guard import Caller
from gemel.platform.rights import Right, require_right, settle_consents, withdraw
from gemel.platform.store import Store, lookup
from gemel.platform.store.consents import consents_of, epoch_of, put_consent, resource_of
from gemel.server.asking import PREFIX, Key, PatientId, Problems, asked, await_change, encoded, told
from gemel.server.auth import caller
from gemel.server.etags import etag
from gemel.server.idempotency import Reply
from gemel.server.resources import ConsentTold, Page, Withdrawn
from gemel.server.services import Services

__all__ = ["allow", "router"]

ConsentId = Annotated[str, Path(pattern=r"^[A-Za-z0-9.-]{1,64}$", description="id of a consent, as FHIR has them")]


def allow(
    services: Services, store: Store, who: Caller, right: Right, patient: str, *, detail: dict[str, Any] | None = None, action: str = ""
) -> str:
    """Refuse who may not see to a right of a patient, and write down who did; return the pseudonym."""
    guard = services.guard
    try:
        require_right(who.subject, right, who.purpose, patient, scopes=who.scopes, launch=who.launch)
        if not lookup.is_there(store, patient):
            raise AccessDenied()
    except AccessDenied as error:
        guard.log(who, "deny", subject=patient if lookup.is_there(store, patient) else "", detail={"asked": right, "reason": error.what})
        raise
    guard.log(who, action or right, subject=patient, detail=detail)
    return lookup.pseudonym(store, patient)


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["consents"])
    settings = services.config.consents

    @routes.get("/patients/{patient}/consents", response_model=Page[ConsentTold], responses=Problems())
    async def list_consents(patient: PatientId, who: Annotated[Caller, Depends(caller)]) -> Response:
        """List the consents of a patient, the newest version of each, and how each is read."""

        def look(store: Store) -> dict[str, Any]:
            allow(services, store, who, "consent", patient, detail={"resource": "Consent"}, action="read")
            epoch, found = consents_of(store, patient)
            return {"items": [_told(store, consent, epoch) for consent in found], "next": None}

        return told(await services.readers.run(look))

    @routes.get("/patients/{patient}/consents/{consent}", response_model=ConsentTold, responses=Problems())
    async def read_one(patient: PatientId, consent: ConsentId, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Show one consent, as it was given and as it is read."""

        def look(store: Store) -> dict[str, Any]:
            allow(services, store, who, "consent", patient, detail={"resource": f"Consent/{consent}"}, action="read")
            epoch, found = consents_of(store, patient)
            for one in found:
                if one.id == consent:
                    return _told(store, one, epoch)
            raise AccessDenied()

        found = await services.readers.run(look)
        return told(found, tag=etag(found["epoch"]))

    new: dict[int | str, dict[str, Any]] = {201: {"model": ConsentTold, "description": "kept"}}

    @routes.put("/patients/{patient}/consents/{consent}", response_model=ConsentTold, responses={**new, **Problems(409)})
    async def give(
        patient: PatientId,
        consent: ConsentId,
        body: dict[str, Any],
        request: Request,
        who: Annotated[Caller, Depends(caller)],
        key: Key = None,
    ) -> Response:
        """Keep a FHIR Consent (R4 or R5); one of the same id is superseded. What is ambiguous is kept, denies, and says so.

        Extensions ``urn:gemel:consent:model`` name the models, ``ID@MAJOR``, that it was asked for: what other twins say stays hidden.
        """
        if body.get("id", consent) != consent:
            raise DataError("the consent has another id than its address", expected=consent)
        whose = body.get("patient") or body.get("subject") or {"reference": f"Patient/{patient}"}  # where it does not say, its address does
        found = read_consent({**body, "id": consent, "patient": whose}, profile=settings.profile, tz=settings.zone)
        about = whose.get("reference", "") if isinstance(whose, dict) else ""
        raw = await request.body()

        def may(store: Store) -> str:
            pseudonym = allow(services, store, who, "consent", patient, detail={"resource": f"Consent/{consent}", "change": "given"})
            if about not in (f"Patient/{patient}", f"Patient/{pseudonym}"):
                raise DataError("the consent is of another patient than its address", expected=f"Patient/{patient}")
            return pseudonym

        pseudonym = await services.readers.run(may)

        def change(store: Store) -> Reply:
            before = epoch_of(store, patient)
            now = services.clock()
            epoch = put_consent(store, pseudonym, replace(found, id=consent), recorded=now, resource=orjson.loads(raw))
            settle_consents(store, pseudonym, now=now)
            status = 200 if epoch == before else 201
            return Reply(status, encoded(_told(store, replace(found, id=consent, patient=patient), epoch)), {"ETag": etag(epoch)})

        return await await_change(services, asked(request, who, raw, key), change, subject=patient)

    @routes.post("/patients/{patient}/consents/{consent}/withdraw", response_model=Withdrawn, responses=Problems(409))
    async def take_back(
        patient: PatientId, consent: ConsentId, request: Request, who: Annotated[Caller, Depends(caller)], key: Key = None
    ) -> Response:
        """Withdraw a consent: from the next question on it permits nothing, work that rested on it ends, what was derived under it is hidden."""

        def may(store: Store) -> str:
            return allow(services, store, who, "consent", patient, detail={"resource": f"Consent/{consent}", "change": "withdrawn"})

        pseudonym = await services.readers.run(may)

        def change(store: Store) -> Reply:
            done = withdraw(store, pseudonym, consent, now=services.clock())
            return Reply(
                200, encoded({"epoch": done.epoch, "cancelled": list(done.cancelled), "hidden": done.hidden}), {"ETag": etag(done.epoch)}
            )

        return await await_change(services, asked(request, who, await request.body(), key), change, subject=patient)

    return routes


def _told(store: Store, consent: Consent, epoch: int) -> dict[str, Any]:
    resource = resource_of(store, consent.patient, consent.id)
    if resource is not None and not isinstance(resource, dict):
        raise FormatError("a stored consent is no resource", seen=type(resource).__name__)
    return {
        "id": consent.id, "patient": consent.patient, "status": consent.status, "scope": consent.scope, "base": "permit" if consent.base else "deny",
        "models": sorted(consent.models), "is_ambiguous": consent.is_ambiguous, "notes": list(consent.notes), "epoch": epoch, "resource": resource,
    }  # fmt: skip
