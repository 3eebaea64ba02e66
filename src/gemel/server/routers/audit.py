"""``/audit``: who saw what of a patient; and whether the trail is whole."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from gemel.core.errors import AccessDenied
from gemel.core.time import iso
from gemel.platform.access import Resource
from gemel.platform.audit import read_roots, roots_path
from gemel.platform.audit_check import verify_lines
from gemel.platform.audit_query import entries_about, opened
from gemel.platform.consent import Datum
from gemel.platform.guard import Caller
from gemel.platform.store import Store, lookup
from gemel.platform.store.audit_sealer import AuditSealer
from gemel.server.asking import PREFIX, Cursor, Limit, PatientId, Problems, told
from gemel.server.auth import caller
from gemel.server.paging import read_cursor, write_cursor
from gemel.server.resources import Audited, Page, Trail
from gemel.server.services import Services, trail_of

__all__ = ["router"]

_PLAIN = ("seq", "action", "who", "purpose", "detail", "hash")


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["audit"])
    guard, trail = services.guard, trail_of(services.config)

    @routes.get("/patients/{patient}/audit", response_model=Page[Audited], responses=Problems())
    async def read_audit(
        patient: PatientId, who: Annotated[Caller, Depends(caller)], limit: Limit = 100, cursor: Cursor = None
    ) -> Response:
        """List who did what with a patient's data, oldest first. To an administrator the details stay sealed."""
        place = read_cursor("audit", cursor, (int,))

        def look(store: Store) -> dict[str, Any]:
            if not lookup.is_there(store, patient):
                guard.check(who, "audit", "AuditEvent")
                guard.log(who, "deny", detail={"asked": "audit", "reason": "no such patient"})
                raise AccessDenied()
            allowed = guard.require(store, who, "audit", Resource(Datum(patient, f"AuditEvent?patient={patient}", "AuditEvent")))
            is_redacted = "redact" in allowed.obligations
            found = list(islice(entries_about(trail, patient, after=place[0] if place else 0), limit + 1))
            shown = [_entry(entry, AuditSealer(store), is_redacted) for entry in found[:limit]]
            return {"items": shown, "next": write_cursor("audit", shown[-1]["seq"]) if len(found) > limit else None}

        return told(await services.readers.run(look))

    @routes.get("/audit/verification", response_model=Trail, responses=Problems())
    async def verify(who: Annotated[Caller, Depends(caller)]) -> Response:
        """Follow the whole trail, and hold it against its signed roots: is every entry as it was written, is none missing?"""
        await services.readers.run(lambda _: _may(services, who))
        anchors = [path for path in (roots_path(trail), services.config.audit.anchor) if path is not None]
        return told(await asyncio.to_thread(_verified, trail, anchors))

    return routes


def _may(services: Services, who: Caller) -> None:
    services.guard.check(who, "metrics")
    services.guard.log(who, "metrics", detail={"resource": "audit trail"})


def _entry(entry: dict[str, Any], sealer: AuditSealer, is_redacted: bool) -> dict[str, Any]:
    full = opened(entry, sealer)
    plain = {name: full.get(name) for name in _PLAIN if full.get(name) is not None}
    detail = full.get("detail")
    if is_redacted and isinstance(detail, dict):
        plain["detail"] = {name: detail[name] for name in ("role", "request", "alert") if name in detail}
    return plain | {"time": iso(entry["time"])}


def _verified(trail: Path, anchors: list[Path]) -> dict[str, Any]:
    roots = [root for path in anchors if path.exists() for root in read_roots(path)]
    data = trail.read_bytes()
    found = verify_lines(data[: data.rfind(b"\n") + 1], roots)  # an entry may be being written just now
    return {"sound": found.holds, "entries": found.entries, "roots": found.roots, "problems": list(found.wrong)}
