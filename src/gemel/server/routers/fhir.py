"""``/fhir/R4``: resources of FHIR R4, read, searched and written under the guard."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from gemel.core.errors import FormatError
from gemel.platform.guard import Caller
from gemel.server.auth import caller
from gemel.server.fhir.bundles import Bundles
from gemel.server.fhir.capability import capability
from gemel.server.fhir.changes import Changes
from gemel.server.fhir.export import Exports
from gemel.server.fhir.interactions import PREFIX, Interactions, Invalid
from gemel.server.fhir.wire import FHIR, MediaError, check_kind, invalid, is_lenient, outcome_of, see_accept
from gemel.server.problems import Problem, answer
from gemel.server.services import Services

__all__ = ["router"]

Who = Annotated[Caller, Depends(caller)]


class _Route(APIRoute):
    """A route whose refusals are OperationOutcomes with the place in the resource."""

    def get_route_handler(self):
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await inner(request)
            except Invalid as error:
                return Response(outcome_of(error.issues), 422, {"Cache-Control": "no-store"}, FHIR)
            except MediaError as error:
                return answer(request, Problem(error.status, "media", error.what, expected=str(error.expected)))

        return handle


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["fhir"], route_class=_Route, include_in_schema=False)
    fhir = Interactions(services)
    changes, bundles, exports = Changes(fhir), Bundles(fhir), Exports(fhir)
    statement = capability(services.config, fhir.base, services.clock())

    @routes.get("/metadata")
    async def metadata(request: Request) -> Response:
        """Say what this server can do."""
        see_accept(request)
        return Response(statement, 200, {"Cache-Control": "public, max-age=300"}, FHIR)

    @routes.post("")
    async def batch(request: Request, who: Who) -> Response:
        return await bundles.batch(request, who)

    @routes.get("/$export")
    async def export_all(request: Request, who: Who) -> Response:
        return await exports.start(request, who, "system")

    @routes.get("/Patient/$export")
    async def export_patients(request: Request, who: Who) -> Response:
        return await exports.start(request, who, "Patient")

    @routes.get("/Group/{group}/$export")
    async def export_group(group: str, request: Request, who: Who) -> Response:
        return await exports.start(request, who, "Group", group)

    @routes.get("/$export-poll/{job}")
    async def export_poll(job: str, who: Who) -> Response:
        return await exports.poll(who, job)

    @routes.delete("/$export-poll/{job}")
    async def export_cancel(job: str, who: Who) -> Response:
        return await exports.cancel(who, job)

    @routes.get("/$export-file/{job}/{name}")
    async def export_file(job: str, name: str, who: Who) -> Response:
        return await exports.send(who, job, name)

    @routes.get("/_history")
    async def history_all(request: Request, who: Who) -> Response:
        see_accept(request)
        return await fhir.history(who, request.query_params.multi_items())

    @routes.get("/{kind}/_history")
    async def history_type(kind: str, request: Request, who: Who) -> Response:
        see_accept(request)
        return await fhir.history(who, request.query_params.multi_items(), kind)

    @routes.get("/{kind}/{rid}/_history")
    async def history_one(kind: str, rid: str, request: Request, who: Who) -> Response:
        see_accept(request)
        return await fhir.history(who, request.query_params.multi_items(), kind, rid)

    @routes.get("/{kind}/{rid}/_history/{vid}")
    async def vread(kind: str, rid: str, vid: str, request: Request, who: Who) -> Response:
        see_accept(request)
        return await fhir.read(who, kind, rid, vid)

    @routes.post("/{kind}/_search")
    async def post_search(kind: str, request: Request, who: Who) -> Response:
        see_accept(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise MediaError("the search is in a form that is not spoken here", expected="application/x-www-form-urlencoded", status=415)
        try:
            given = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=200)
        except ValueError as error:
            raise FormatError("the search cannot be read", expected="name=value&name=value, in UTF-8") from error
        return await fhir.search(who, kind, [*request.query_params.multi_items(), *given], lenient=is_lenient(request), is_hidden=True)

    @routes.post("/{kind}/$validate")
    async def validate(kind: str, request: Request, who: Who) -> Response:
        check_kind(kind)
        del who
        tree = await fhir.body(request)
        inner = (
            next((p.get("resource") for p in tree.get("parameter", ()) if p.get("name") == "resource"), tree)
            if tree["resourceType"] == "Parameters"
            else tree
        )
        issues = await services.readers.run(lambda _: invalid(inner))
        return Response(outcome_of(issues), 200, {"Cache-Control": "no-store"}, FHIR)

    @routes.get("/{kind}")
    async def search(kind: str, request: Request, who: Who) -> Response:
        see_accept(request)
        return await fhir.search(who, kind, request.query_params.multi_items(), lenient=is_lenient(request))

    @routes.post("/{kind}")
    async def create(kind: str, request: Request, who: Who) -> Response:
        return await changes.create(request, who, kind)

    @routes.put("/{kind}")
    async def update_matching(kind: str, request: Request, who: Who) -> Response:
        return await changes.update(request, who, kind, None)

    @routes.delete("/{kind}")
    async def delete_matching(kind: str, request: Request, who: Who) -> Response:
        return await changes.delete(request, who, kind, None)

    @routes.get("/{kind}/{rid}")
    async def read(kind: str, rid: str, request: Request, who: Who) -> Response:
        see_accept(request)
        return await fhir.read(who, kind, rid, etag=request.headers.get("if-none-match"))

    @routes.put("/{kind}/{rid}")
    async def update(kind: str, rid: str, request: Request, who: Who) -> Response:
        return await changes.update(request, who, kind, rid)

    @routes.patch("/{kind}/{rid}")
    async def patch(kind: str, rid: str, request: Request, who: Who) -> Response:
        return await changes.patch(request, who, kind, rid)

    @routes.delete("/{kind}/{rid}")
    async def delete(kind: str, rid: str, request: Request, who: Who) -> Response:
        return await changes.delete(request, who, kind, rid)

    return routes
