"""``/quarantine``: what arrived and could not be placed. For whoever runs the server: reasons, never what a message says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from gemel.core.errors import ConflictError
from gemel.core.time import iso
from gemel.platform.guard import Caller
from gemel.platform.store import Message, Store
from gemel.server.asking import PREFIX, Cursor, Key, Limit, Problems, asked, await_change, encoded, job_told, told
from gemel.server.auth import caller
from gemel.server.idempotency import Reply
from gemel.server.paging import read_cursor, write_cursor
from gemel.server.resources import JobTold, Kept, Page
from gemel.server.routers.imports import Number
from gemel.server.services import Services

__all__ = ["router"]


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["quarantine"])

    def allow(who: Caller, what: str) -> None:
        services.guard.check(who, "metrics")
        services.guard.log(who, "metrics", detail={"resource": what})

    @routes.get("/quarantine", response_model=Page[Kept], responses=Problems())
    async def list_quarantine(
        who: Annotated[Caller, Depends(caller)],
        state: Annotated[Literal["waiting", "done", "quarantined", "dropped"], Query(description="what became of it")] = "quarantined",
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """List messages, oldest first, and why they could not be placed."""
        place = read_cursor("quarantine", cursor, (int,))

        def look(store: Store) -> dict[str, Any]:
            allow(who, "quarantine")
            found = [m for m in store.messages(state) if place is None or m.seq > place[0]]
            shown = found[:limit]
            return {
                "items": [_message(m) for m in shown],
                "next": write_cursor("quarantine", shown[-1].seq) if len(found) > limit else None,
            }

        return told(await services.readers.run(look))

    @routes.get("/quarantine/{message}", response_model=Kept, responses=Problems())
    async def read_message(message: Number, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Show one message: where it came from, when, and why it waits. Its bytes are had with ``gemel quarantine show`` on the machine itself."""

        def look(store: Store) -> dict[str, Any]:
            allow(who, f"quarantine/{message}")
            return _message(store.message(message)[0])

        return told(await services.readers.run(look))

    @routes.post("/quarantine/{message}/redrive", response_model=JobTold, status_code=202, responses=Problems(409))
    async def redrive(message: Number, request: Request, who: Annotated[Caller, Depends(caller)], key: Key = None) -> Response:
        """Read a message again, as it came: what can be placed now enters once."""

        def look(store: Store) -> Message:
            allow(who, f"quarantine/{message}")
            found = store.message(message)[0]
            if found.state != "quarantined":
                raise ConflictError("only what is in quarantine is read again", seen=found.state, expected="quarantined")
            return found

        found = await services.readers.run(look)

        def change(store: Store) -> Reply:
            now, parts = services.clock(), found.source.split("/")
            subject = parts[2] if len(parts) == 3 and parts[0] == "file" else ""
            body = encoded({"message": message, **({"subject": subject} if subject else {})}).decode()
            job = store.enqueue("import", f"message/{message}/{found.attempts}", body, now=now)
            return Reply(
                202,
                encoded(job_told(store.job(job)) | {"href": f"{PREFIX}/quarantine/{message}"}),
                {"Location": f"{PREFIX}/quarantine/{message}"},
            )

        return await await_change(services, asked(request, who, await request.body(), key), change)

    return routes


def _message(message: Message) -> dict[str, Any]:
    return {
        "id": message.seq, "source": message.source, "received": iso(message.received), "state": message.state, "attempts": message.attempts,
        "reason": message.reason,
    }  # fmt: skip
