"""``/arrays/HASH``: large bytes of a patient (a letter, an image, an array), by the hash of what they are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from gemel.platform.access import Resource
from gemel.platform.consent import Datum
from gemel.platform.guard import Caller
from gemel.platform.store import Store, lookup
from gemel.server.asking import PREFIX, PatientQuery, Problems, known
from gemel.server.auth import caller
from gemel.server.etags import etag
from gemel.server.services import Services

__all__ = ["router"]

Hash = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the bytes")]


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["facts"])
    guard = services.guard

    @routes.get(
        "/arrays/{sha256}",
        responses={200: {"content": {"application/octet-stream": {}}, "description": "the bytes"}, **Problems()},
        response_class=Response,
    )
    async def read_array(sha256: Hash, patient: PatientQuery, request: Request, who: Annotated[Caller, Depends(caller)]) -> Response:
        """Return bytes that a document or an array of a patient names by their hash. They never change; they are sent to be saved, never to be shown as a page."""

        def look(store: Store) -> bytes:
            resource = Resource(Datum(patient, f"DocumentReference/{sha256[:16]}", "DocumentReference"))
            guard.require(store, who, "image", resource)
            return store.get_bytes(lookup.pseudonym(store, patient), sha256)

        tag = etag(sha256)
        body = await services.readers.run(look)
        headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Content-Disposition": f'attachment; filename="{sha256[:16]}.bin"'}
        return known(request, tag) or Response(body, 200, headers, "application/octet-stream")

    return routes
