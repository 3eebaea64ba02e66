"""``/evidence``: how far each installed twin may be trusted, row by row, from stored runs. Nothing can be declared, and nothing here is about anybody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi import Path as InPath
from starlette.responses import Response

from gemel.core.errors import TwinNotFoundError
from gemel.core.manifest import TwinManifest, installed
from gemel.core.time import iso
from gemel.platform.guard import Caller
from gemel.server.asking import PREFIX, Problems, told
from gemel.server.auth import caller
from gemel.server.resources import EvidenceTold, Page
from gemel.server.services import Services

__all__ = ["router"]

Room = Annotated[str, InPath(pattern=r"^[a-z][a-z0-9-]{0,62}$", description="id of an installed twin")]


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["evidence"])
    folder = services.config.evidence.folder

    @routes.get("/evidence", response_model=Page[EvidenceTold], responses=Problems())
    async def list_evidence(who: Annotated[Caller, Depends(caller)]) -> Response:
        """List the installed twins with their labels and runs."""
        del who  # whoever may ask at all: it is about nobody
        return told({"items": await asyncio.to_thread(_all, folder), "next": None})

    @routes.get("/evidence/{room}", response_model=EvidenceTold, responses=Problems())
    async def read_evidence(room: Room, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Show what is known of one twin: whether it is one by the definition of the National Academies, and what was measured on whom."""
        del who
        manifest = installed().get(room)
        if not isinstance(manifest, TwinManifest):
            raise TwinNotFoundError("no such twin is installed", seen=room, expected="GET /api/v1/evidence lists them")
        return told(await asyncio.to_thread(_one, folder, manifest))

    return routes


def _all(folder: Path | None) -> list[dict[str, Any]]:
    return [_one(folder, manifest) for _, manifest in sorted(installed().items()) if isinstance(manifest, TwinManifest)]


def _one(folder: Path | None, manifest: TwinManifest) -> dict[str, Any]:
    from gemel.evidence.fingerprint import model_hash
    from gemel.evidence.nasem import check_nasem
    from gemel.evidence.run import read, standing

    path = None if folder is None else folder / f"{manifest.id}.jsonl"
    runs = read(path) if path is not None and path.exists() else ()
    model = model_hash(manifest.id)
    found = check_nasem(manifest, standing(runs, twin=manifest.id, model_hash=model), model)
    plain = found.to_dict()
    return {
        "id": manifest.id, "version": manifest.version, "title": manifest.title, "label": found.label if runs else "not measured here",
        "is_twin": bool(runs) and found.is_twin, "rows": plain["rows"],
        "runs": [
            {"id": run.id, "study": run.study or run.kind, "time": iso(run.time), "met": run.met, "is_stale": run.model_hash != model,
             "figures": [figure.model_dump(mode="json") for figure in run.figures]}
            for run in runs
        ],
    }  # fmt: skip
