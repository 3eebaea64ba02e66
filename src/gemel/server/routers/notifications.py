"""``/fhir-notifications``: the hospital's server knocks, and the poll looks at once. Nothing that it sends is taken."""

from __future__ import annotations

import asyncio
import hmac

from fastapi import APIRouter, Request
from starlette.responses import Response

from gemel.core.errors import AuthenticationError
from gemel.interop.fhir.subscription import read_notification
from gemel.server.services import Services

__all__ = ["router"]


def router(services: Services) -> APIRouter:
    """Return the routes."""
    made = APIRouter(tags=["notifications"])
    settings = services.config.notifications
    secret = settings.secret_file.read_bytes().strip() if settings is not None else b""
    last: dict[str, int] = {}

    async def knock(request: Request) -> Response:
        scheme, _, word = request.headers.get("authorization", "").partition(" ")
        if not secret or scheme.lower() != "bearer" or not hmac.compare_digest(word.strip().encode(), secret):
            raise AuthenticationError("this notification does not carry its word", expected="Authorization: Bearer WORD")
        told = read_notification(await request.body())
        if told.number is not None:
            if told.number > last.get("number", told.number) + 1:
                services.metrics.notifications_lost.inc(told.number - last["number"] - 1)
            last["number"] = told.number
        for name in ("poll.wake", "return_path.wake"):
            services.state.setdefault(name, asyncio.Event()).set()
        return Response(status_code=200)

    made.add_api_route("/fhir-notifications", knock, methods=["POST"], summary="The hospital's server says that something changed")
    made.add_api_route(
        "/fhir-notifications/{rest:path}", knock, methods=["PUT", "POST"], include_in_schema=False
    )  # the same, with a resource that is not looked at
    return made
