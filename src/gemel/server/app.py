"""The application: routes, errors as answers, and the gate around all of it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from gemel import __version__
from gemel.server.background import run_background
from gemel.server.limits import Gate
from gemel.server.problems import install
from gemel.server.services import Services

__all__ = ["ROUTERS", "make_app"]

ROUTERS: tuple[str, ...] = (
    "forecasts",  # first: routes are tried in their order, and the standing forecast is what is asked for most
    "ops",
    "auth",
    "fhir",
    "emergency",
    "relations",
    "patients", "series", "arrays", "twins", "recommendations", "jobs", "events", "imports", "quarantine", "consents", "rights", "audit", "evidence",
    "notifications", "cds",
    "dicomweb",
)  # fmt: skip
"""Modules of ``gemel.server.routers``, each with ``router(services) -> APIRouter``."""


def make_app(services: Services, *, has_background: bool = True) -> FastAPI:
    """Put the application together.

    Parameters
    ----------
    services : opened; the application does not close them.
    has_background : whether listeners and pollers run with it.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(run_background(services, stop)) if has_background else None
        try:
            yield
        finally:
            stop.set()
            if task is not None:
                await task

    app = FastAPI(
        title="Gemel", version=__version__, description="Medical digital twins. Research software: no output is a medical device's.",
        openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None, lifespan=lifespan,
    )  # fmt: skip
    app.state.services = services
    install(app)
    for name in ROUTERS:
        app.include_router(importlib.import_module(f"gemel.server.routers.{name}").router(services))
    if services.config.server.origins:
        from starlette.middleware.cors import CORSMiddleware

        app.add_middleware(
            CORSMiddleware, allow_origins=list(services.config.server.origins), allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-Purpose-Of-Use"], expose_headers=["ETag", "X-Request-Id", "Location"],
        )  # fmt: skip
    app.add_middleware(Gate, config=services.config, metrics=services.metrics, tracer=services.tracer)
    return app
