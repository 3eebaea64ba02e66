"""``/break-glass``: an emergency access with its reason, and the list of those that somebody must look at afterwards."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from gemel.core.errors import AccessDenied, StoreError
from gemel.core.time import iso
from gemel.platform.access import GLASS
from gemel.platform.guard import Caller
from gemel.platform.store import Store
from gemel.platform.store.relations import Glass, break_glass, glasses, is_enrolled, review_glass
from gemel.server.asking import PREFIX, Found, Problems
from gemel.server.auth import caller
from gemel.server.services import Services

__all__ = ["router"]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GlassAsked(_Asked):
    """Whose data are opened, and why: the reason is reviewed. One of ``patient`` and ``pseudonym``."""

    patient: str = Field(default="", pattern=r"^([0-9a-f]{24})?$", description="random id")
    pseudonym: str = Field(default="", max_length=200)
    reason: str = Field(min_length=8, max_length=1000, description="a sentence; it does not name the patient")


class Reviewed(_Asked):
    """What somebody found who looked at an emergency access."""

    finding: str = Field(min_length=1, max_length=1000)


def _told(glass: Glass) -> dict[str, Any]:
    return {
        "id": glass.id, "patient": glass.subject, "who": glass.who, "reason": glass.reason, "opened": iso(glass.opened), "until": iso(glass.opened + GLASS),
        "reviewed": None if glass.reviewed is None else iso(glass.reviewed), "reviewer": glass.reviewer or None, "finding": glass.finding or None,
    }  # fmt: skip


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["emergency"])
    guard = services.guard

    @routes.post("/break-glass", status_code=201, responses=Problems())
    async def open_emergency(asked: GlassAsked, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Open one person's data for 60 minutes, for the purpose ETREAT. It is written down, alerts, and is reviewed. It does not override a refusal of that person."""

        def find(store: Store) -> str:
            guard.check(who, "read")
            if who.purpose not in ("ETREAT", "BTG") or who.subject.role not in ("nurse", "physician", "other-physician"):
                raise AccessDenied(
                    "the glass is broken by those who treat, for an emergency", expected="X-Purpose-Of-Use: ETREAT", is_open=True
                )
            try:
                if asked.pseudonym:
                    return store.subject(asked.pseudonym)
                if asked.patient and is_enrolled(store, asked.patient):
                    return asked.patient
            except StoreError as error:
                if "no such" not in error.what:
                    raise
            guard.log(who, "deny", detail={"asked": "break-glass", "reason": "no such patient"})
            raise AccessDenied()

        subject = await services.readers.run(find)
        now = services.clock()
        made = await services.write(lambda store: break_glass(store, subject, who.subject.id, asked.reason, opened=now))
        await services.log(who, "break-glass", subject=subject, detail={"reason": asked.reason, "glass": made.id, "alert": True})
        services.metrics.glass.inc()
        logging.getLogger("gemel.server").warning("glass broken", extra={"request": who.request})
        return JSONResponse(_told(made), 201)

    @routes.get("/break-glass", responses=Problems())
    async def list_emergencies(who: Annotated[Caller, Depends(caller)]) -> Response:
        """List emergency accesses and what was found of them: for whoever reviews. Patients are random ids."""

        def look(store: Store) -> list[dict[str, Any]]:
            _reviews(who)
            found = glasses(store)
            guard.note(who, "audit", [glass.subject for glass in found], detail={"resource": "break-glass"})
            return [_told(glass) for glass in found]

        return JSONResponse({"items": await services.readers.run(look)})

    @routes.post("/break-glass/{glass}/review", status_code=204, responses=Problems())
    async def review(glass: Found, asked: Reviewed, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Write down what was found of an emergency access."""
        await services.readers.run(lambda _: _reviews(who))
        now = services.clock()
        await services.write(lambda store: review_glass(store, glass, who.subject.id, asked.finding, time=now))
        await services.log(who, "review", detail={"glass": glass, "finding": asked.finding})
        return Response(status_code=204)

    def _reviews(who: Caller) -> None:
        guard.check(who, "audit")
        if who.subject.role != "administrator":
            raise AccessDenied("emergency accesses are reviewed by the administrator", is_open=True)

    return routes
