"""Changes of one resource over HTTP: created, put, patched, deleted, by its id or by a condition."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from gemel.core.errors import AccessDenied, DataError, FormatError
from gemel.interop.fhir.codec import Element, decode
from gemel.interop.fhir.json_patch import json_patch, merge_patch
from gemel.interop.fhir.patch import fhirpath_patch
from gemel.platform.guard import Caller
from gemel.platform.store import Store
from gemel.platform.store.resources import Change, Place, Resources, id_of
from gemel.server.fhir.interactions import Interactions, Invalid
from gemel.server.fhir.permits import Permits
from gemel.server.fhir.wire import FHIR, MediaError, check_kind, if_match, invalid, prefers, resource_answer
from gemel.server.fhir.writing import find_one, whole

__all__ = ["Changes"]


class Changes:
    """Changes of one resource.

    Parameters
    ----------
    fhir : the server.
    """

    def __init__(self, fhir: Interactions) -> None:
        self.fhir = fhir

    def _written(self, request: Request, place: Place, status: int) -> Response:
        stored = place.stored
        more = {"Location": f"{self.fhir.base}/{stored.kind}/{id_of(place.body)}/_history/{stored.vid}"} if status == 201 else {}
        return resource_answer(stored, b"" if prefers(request, "return=minimal") else place.body, status, **more)

    async def create(self, request: Request, caller: Caller, kind: str) -> Response:
        """Create a resource, under an id of our own; with ``If-None-Exist`` only when nothing fits it."""
        check_kind(kind)
        self.fhir.permits(caller).check("create", kind)
        tree = await self.fhir.body(request)
        whole(tree, kind, None)
        await self.fhir.checked(tree)
        rid, asked, now = self.fhir.ids(), request.headers.get("if-none-exist"), self.fhir.services.clock()
        there: list[str] = []

        def make(store: Store, permits: Permits) -> list[Change]:
            there.clear()
            found = find_one(store, permits, kind, parse_qsl(asked.rpartition("?")[2]), base=self.fhir.base, now=now) if asked else None
            if found is not None:
                there.append(found)
                return []
            return [Change(kind, rid, tree, is_new=True)]

        places = await self.fhir.change(caller, "create", kind, make)
        if there:
            return Response(b"", 200, {"Location": f"{self.fhir.base}/{kind}/{there[0]}"}, FHIR)
        return self._written(request, places[0], 201)

    async def update(self, request: Request, caller: Caller, kind: str, rid: str | None) -> Response:
        """Put a resource in the place of another, or create it under the id that is asked for; without an id the one that a condition fits."""
        check_kind(kind)
        self.fhir.permits(caller).check("update", kind)
        tree = await self.fhir.body(request)
        whole(tree, kind, rid)
        await self.fhir.checked(tree)
        match, given, fresh, now = (
            if_match(request.headers.get("if-match")),
            request.query_params.multi_items(),
            self.fhir.ids(),
            self.fhir.services.clock(),
        )

        def make(store: Store, permits: Permits) -> list[Change]:
            target = rid if rid is not None else find_one(store, permits, kind, given, base=self.fhir.base, now=now)
            if rid is None and tree.get("id") not in (None, target):
                raise DataError("the resource has another id than the one that the condition fits", expected="the same, or none")
            return [Change(kind, target or fresh, tree, target is None, match)]

        place = (await self.fhir.change(caller, "update", kind, make))[0]
        return self._written(request, place, 201 if place.created else 200)

    async def patch(self, request: Request, caller: Caller, kind: str, rid: str) -> Response:
        """Change parts of a resource: JSON Patch, JSON Merge Patch, or FHIRPath Patch in a Parameters."""
        check_kind(kind)
        self.fhir.permits(caller).check("update", kind)
        name = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        raw, match = await request.body(), if_match(request.headers.get("if-match"))
        apply: Callable[[Element], Element]
        if name in ("application/json-patch+json", "application/merge-patch+json", "application/json"):
            told = decode(raw)
            if name != "application/merge-patch+json" and isinstance(told, tuple):
                apply = lambda tree: json_patch(tree, told)  # noqa: E731
            elif name != "application/json-patch+json" and isinstance(told, Element):
                apply = lambda tree: merge_patch(tree, told)  # noqa: E731
            else:
                raise FormatError(
                    "not a patch", expected="an array of operations (JSON Patch), or an object with what changes (JSON Merge Patch)"
                )
        elif name in ("application/fhir+json", "application/fhir+xml"):
            parameters = await self.fhir.body(request)
            apply = lambda tree: fhirpath_patch(tree, parameters)  # noqa: E731
        else:
            raise MediaError(
                "the patch is in a form that is not spoken here",
                expected="application/json-patch+json, application/merge-patch+json or application/fhir+json",
                status=415,
            )
        strict = self.fhir.config.fhir.validation == "strict"

        def make(store: Store, permits: Permits) -> list[Change]:
            resources = Resources(store)
            before = resources.find(kind, rid)
            if before is None or before.deleted:
                raise AccessDenied()
            permits.allow(store, "update", before.datum)  # before anything of it is read: what a patch fails at tells of it
            tree = apply(decode(resources.body(before)))
            whole(tree, kind, rid)
            if strict and (issues := invalid(tree)):
                raise Invalid(issues)
            return [Change(kind, rid, tree, False, before.vid if match is None else match)]

        return self._written(request, (await self.fhir.change(caller, "update", kind, make))[0], 200)

    async def delete(self, request: Request, caller: Caller, kind: str, rid: str | None) -> Response:
        """Delete a resource: its versions stay, and say so. Without an id the one that a condition fits."""
        check_kind(kind)
        match, given, now = if_match(request.headers.get("if-match")), request.query_params.multi_items(), self.fhir.services.clock()

        def make(store: Store, permits: Permits) -> list[Change]:
            target = rid if rid is not None else find_one(store, permits, kind, given, base=self.fhir.base, now=now)
            if target is None:
                return []
            before = Resources(store).find(kind, target)
            if before is None:
                raise AccessDenied()
            permits.allow(store, "delete", before.datum)
            return [Change(kind, target, None, False, match)]

        places = await self.fhir.change(caller, "delete", kind, make)
        return Response(status_code=204, headers={"ETag": f'W/"{places[0].stored.vid}"'} if places else {})
