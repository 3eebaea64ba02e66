"""What can be done with resources, each for one caller: read, search, history, and the changes. Answers are Responses with stored bytes in them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from gemel.core.errors import AccessDenied, FormatError
from gemel.interop.fhir.codec import Element, decode, encode, thaw
from gemel.interop.fhir.search_query import Query, read_query
from gemel.interop.fhir.search_values import date_range
from gemel.interop.fhir.validate import Issue
from gemel.platform.guard import Caller
from gemel.platform.store import Store
from gemel.platform.store.resources import Change, Place, Resources, Stored, id_of, instant
from gemel.platform.store.search import MOST_INCLUDED, Found, history, search
from gemel.server.fhir.permits import Permits
from gemel.server.fhir.wire import (
    FHIR,
    bundle,
    check_kind,
    entry,
    invalid,
    outcome_of,
    read_resource,
    resource_answer,
    see_accept,
)
from gemel.server.fhir.writing import log_writes, put
from gemel.server.services import Services, public_url

__all__ = ["Interactions", "Invalid"]

PREFIX = "/fhir/R4"


class Invalid(Exception):
    """A resource with errors: answered with all of them."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        self.issues = tuple(issues)
        super().__init__(f"{len(self.issues)} errors")


def new_id() -> str:
    """Return a random id."""
    return str(uuid.uuid4())


@dataclass
class Interactions:
    """The FHIR server for one application.

    Parameters
    ----------
    services : of the server.
    """

    services: Services
    ids: Callable[[], str] = new_id
    base: str = field(default="")

    def __post_init__(self) -> None:
        self.base = self.base or public_url(self.services.config) + PREFIX
        self.config = self.services.config

    def permits(self, caller: Caller) -> Permits:
        """Return what a caller may."""
        return Permits(self.services.guard, caller)

    async def read(self, caller: Caller, kind: str, rid: str, vid: str | None = None, *, etag: str | None = None) -> Response:
        """Send the newest version of a resource, or one by its number."""
        check_kind(kind)
        permits, action = self.permits(caller), "read" if vid is None else "vread"

        def look(store: Store) -> tuple[Stored, bytes]:
            permits.check(action, kind)
            resources = Resources(store)
            number = None if vid is None else int(vid) if vid.isascii() and vid.isdigit() and len(vid) < 19 else -1
            stored = permits.require(store, resources.find(kind, rid, number), action, kind)
            return stored, resources.body(stored)

        stored, body = await self.services.readers.run(look)
        if stored.deleted:
            return Response(
                outcome_of([Issue("error", "deleted", "", "the resource was deleted")]), 410, {"ETag": f'W/"{stored.vid}"'}, FHIR
            )
        if etag is not None and f'"{stored.vid}"' in etag:
            return Response(status_code=304, headers={"ETag": f'W/"{stored.vid}"'})
        return resource_answer(stored, body)

    async def search(
        self, caller: Caller, kind: str, given: Sequence[tuple[str, str]], *, lenient: bool = False, is_hidden: bool = False
    ) -> Response:
        """Search one resource type, and send a page; what was asked is not repeated when it did not come in the address."""
        check_kind(kind)
        permits, fhir = self.permits(caller), self.config.fhir
        plain = [(name, text) for name, text in given if name not in ("_format", "_pretty")]
        query = read_query(kind, plain, lenient=lenient, base=self.base, most=fhir.most_page)
        if query.summary not in ("false", "count") or any(
            name.partition(":")[0] == "_summary" and text not in ("false", "count") for name, text in plain
        ):
            raise FormatError("the summary is not supported", seen="_summary", expected="count, false; or _elements")
        if not any(name == "_count" for name, _ in plain):
            query = Query(**{**_members(query), "count": fhir.page})
        now = self.services.clock()

        def look(store: Store) -> Found:
            permits.check("search", kind)
            made: dict[str, Any] = {}

            def access(action: str) -> Any:
                if action not in made:
                    made[action] = permits.predicate(store, action)
                return made[action]

            found = search(Resources(store), query, access, now=now)
            shown = [*found.matches, *found.included]
            subjects = dict.fromkeys("" if stored.is_nobodys else stored.pid for stored, _ in shown)
            told = {
                "resource": kind,
                "query": "&".join(sorted({name for name, _ in plain})),
                "found": len(shown),
            }  # names only: a value may be a name
            for subject in subjects or {"": None}:
                self.services.guard.log(caller, "search", subject=subject, detail=told)
            return found

        found = await self.services.readers.run(look)
        return Response(self._page(query, found, is_hidden=is_hidden), 200, {"Cache-Control": "private, no-cache"}, FHIR)

    def _page(self, query: Query, found: Found, *, is_hidden: bool) -> bytes:
        address = f"{self.base}/{query.kind}"
        shown = urlencode([] if is_hidden else query.asked, safe=":|,$/")
        links = [("self", f"{address}?{shown}" if shown else address)]
        if found.cursor is not None:
            links.append(("next", f"{address}?{urlencode([('_cursor', found.cursor)])}"))
        cut = (lambda body: _shortened(body, query.elements)) if query.elements else (lambda body: body)
        entries = [entry(self.base, stored, cut(body), mode="match") for stored, body in found.matches]
        entries += [entry(self.base, stored, body, mode="include") for stored, body in found.included]
        issues = [Issue("warning", "not-supported", "", f"ignored: {name}") for name in query.ignored]
        if found.is_cut:
            issues.append(Issue("warning", "incomplete", "", f"more than {MOST_INCLUDED} resources would be included: they are not"))
        if issues:
            entries.append(entry(self.base, None, outcome_of(issues), mode="outcome"))
        return bundle("searchset", entries, total=found.total, links=links)

    async def history(self, caller: Caller, given: Sequence[tuple[str, str]], kind: str | None = None, rid: str | None = None) -> Response:
        """Send versions, the newest first."""
        if kind is not None:
            check_kind(kind)
        since, before, count = _history_query(given, self.config.fhir.page, self.config.fhir.most_page)
        permits = self.permits(caller)

        def look(store: Store) -> Any:
            permits.check("history", kind or "")
            resources = Resources(store)
            if rid is not None:
                permits.require(store, resources.find(kind or "", rid), "history", kind or "")
            found = history(
                resources, lambda action: permits.predicate(store, action), kind=kind, rid=rid, since=since, before=before, count=count
            )
            for subject in dict.fromkeys("" if stored.is_nobodys else stored.pid for stored, _ in found[0]):
                self.services.guard.log(caller, "history", subject=subject, detail={"resource": kind or "*", "found": len(found[0])})
            return found

        rows, total, last = await self.services.readers.run(look)
        entries = []
        for stored, body in rows:
            method = "DELETE" if stored.deleted else "POST" if stored.vid == 1 else "PUT"
            place = f"{stored.kind}/{id_of(body)}"
            told = {
                "request": {"method": method, "url": stored.kind if method == "POST" else place},
                "response": {"status": {"DELETE": "204", "POST": "201"}.get(method, "200"), "etag": f'W/"{stored.vid}"', "lastModified": instant(stored.recorded)},
            }  # fmt: skip
            entries.append(entry(self.base, stored, body, more=told))
        address = "/".join([self.base, *[quote(part) for part in (kind, rid) if part], "_history"])
        asked = [(name, text) for name, text in given if name != "_cursor"]
        links = [("self", f"{address}?{urlencode(given)}" if given else address)]
        if last is not None:
            links.append(("next", f"{address}?{urlencode([*asked, ('_cursor', str(last))])}"))
        return Response(bundle("history", entries, total=total, links=links), 200, {"Cache-Control": "private, no-cache"}, FHIR)

    async def body(self, request: Request) -> Element:
        """Return the resource of a request."""
        see_accept(request)
        return read_resource(
            await request.body(), request.headers.get("content-type", ""), limit=round(self.config.limits.body_mib * 2**20)
        )

    async def checked(self, tree: Element) -> Element:
        """Return a resource that the validator finds no error in, where it is asked."""
        if self.config.fhir.validation == "strict":
            issues = await self.services.readers.run(lambda _: invalid(tree))
            if issues:
                raise Invalid(issues)
        return tree

    async def change(self, caller: Caller, action: str, kind: str, make: Callable[[Store, Permits], Sequence[Change]]) -> list[Place]:
        """Write what a function makes of the store, and write down that it was."""
        permits, now = self.permits(caller), self.services.clock()
        permits.check(action, kind)
        try:
            places = await self.services.write(lambda store: put(store, permits, make(store, permits), self.config, recorded=now))
        except AccessDenied as error:
            self.services.guard.log(caller, "deny", detail={"asked": action, "resource": kind, "reason": error.what})
            raise
        await self.log(permits, caller, places)
        return places

    async def log(self, permits: Permits, caller: Caller, places: Sequence[Place], **detail: Any) -> None:
        """Write down what was written: after it is on the disk."""
        await self.services.readers.run(lambda _: log_writes(permits, caller, places, **detail))


def _members(query: Query) -> dict[str, Any]:
    return {name: getattr(query, name) for name in query.__dataclass_fields__}


def _shortened(body: bytes, elements: Sequence[str]) -> bytes:
    """Return a resource with some elements only, marked as a part."""
    tree = thaw(decode(body))
    kept = {key: value for key, value in tree.items() if key.removeprefix("_") in {"resourceType", "id", "meta", *elements}}
    tag = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
    kept["meta"] = {**kept.get("meta", {}), "tag": [*kept.get("meta", {}).get("tag", []), tag]}
    return encode(kept)


def _history_query(given: Sequence[tuple[str, str]], page: int, most: int) -> tuple[int | None, int | None, int]:
    since, before, count = None, None, page
    for name, text in given:
        if name == "_since":
            found = date_range(text.replace(" ", "+"))
            if found is None:
                raise FormatError("not an instant", seen=name, expected="2024-05-01T10:00:00Z")
            since = found[0]
        elif name == "_count" and text.isdigit() and len(text) < 9:
            count = max(1, min(int(text), most))
        elif name == "_cursor" and text.isdigit() and len(text) < 19:
            before = int(text)
        elif name not in ("_format", "_pretty"):
            raise FormatError("the history has no such parameter", seen=name[:80], expected="_since, _count")
    return since, before, count
