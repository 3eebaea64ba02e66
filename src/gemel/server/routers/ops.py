"""``/healthz``, ``/readyz``, ``/metrics``, and a small page at the root. Nothing here is about a patient."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import HTMLResponse, JSONResponse, Response

from gemel import __version__
from gemel.platform.guard import Caller
from gemel.platform.store import Store
from gemel.platform.stream.twins import dead, due
from gemel.server.auth import caller
from gemel.server.ops import readiness
from gemel.server.services import Services

__all__ = ["router"]

_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Gemel</title></head><body><h1>Gemel {version}</h1>'
    "<p>Medical digital twins. Research software: no output is a medical device's.</p>"
    '<ul><li><a href="/api/v1/openapi.json">the API, described</a></li><li><a href="/healthz">alive</a></li><li><a href="/readyz">ready</a></li></ul></body></html>'
)


def router(services: Services) -> APIRouter:
    """Return the routes."""
    made = APIRouter(tags=["operation"])

    @made.get("/", include_in_schema=False)
    async def root() -> Response:
        return HTMLResponse(_PAGE.format(version=__version__))

    @made.get("/healthz", summary="Whether the process is alive")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @made.get("/readyz", summary="Whether database, disk, audit trail and workers are fit")
    async def readyz() -> Response:
        parts = await readiness(services)
        told = {
            "status": "ready" if all(part.ok for part in parts) else "not ready",
            "parts": {p.name: {"ok": p.ok, "note": p.note} for p in parts},
        }
        return JSONResponse(told, 200 if told["status"] == "ready" else 503)

    @made.get("/metrics", summary="Counters for Prometheus")
    async def metrics(who: Annotated[Caller, Depends(caller)]) -> Response:
        def look(store: Store) -> tuple[int, int]:
            services.guard.check(who, "metrics")
            return due(store), dead(store)

        waiting, given_up = await services.readers.run(look)
        services.metrics.twins_due.set(waiting)
        services.metrics.twins_dead.set(given_up)
        return Response(services.metrics.text(), media_type="text/plain; version=0.0.4")

    return made
