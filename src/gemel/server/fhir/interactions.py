"""What can be done with resources, each for one caller: read, search, history, and the changes. Answers are Responses with stored bytes in them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from gemel.core.errors import AccessDenied, DataError, FormatError, GemelError
from gemel.interop.fhir.codec import Element, decode, encode, thaw
from gemel.interop.fhir.json_patch import json_patch, merge_patch
from gemel.interop.fhir.patch import fhirpath_patch
from gemel.interop.fhir.search_query import Query, read_query
from gemel.interop.fhir.search_values import date_range
from gemel.interop.fhir.validate import Issue
from gemel.platform.guard import Caller
from gemel.platform.store import Store
from gemel.platform.store.resources import Change, Place, Resources, Stored, id_of, instant
from gemel.platform.store.search import MOST_INCLUDED, Found, history, search
from gemel.server.fhir.permits import Permits
from gemel.server.fhir.transaction import Asked, read_entries, response_of, transact
from gemel.server.fhir.wire import (
    FHIR,
    MediaError,
    bundle,
    check_kind,
    entry,
    error_outcome,
    if_match,
    invalid,
    outcome_of,
    prefers,
    read_resource,
    resource_answer,
    see_accept,
)
from gemel.server.fhir.writing import find_one, log_writes, put, whole
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
        await self._log(permits, caller, places)
        return places

    async def _log(self, permits: Permits, caller: Caller, places: Sequence[Place], **detail: Any) -> None:
        await self.services.readers.run(lambda _: log_writes(permits, caller, places, **detail))

    def _written(self, request: Request, place: Place, status: int) -> Response:
        stored = place.stored
        more = {"Location": f"{self.base}/{stored.kind}/{id_of(place.body)}/_history/{stored.vid}"} if status == 201 else {}
        return resource_answer(stored, b"" if prefers(request, "return=minimal") else place.body, status, **more)

    async def create(self, request: Request, caller: Caller, kind: str) -> Response:
        """Create a resource, under an id of our own; with ``If-None-Exist`` only when nothing fits it."""
        check_kind(kind)
        self.permits(caller).check("create", kind)
        tree = await self.body(request)
        whole(tree, kind, None)
        await self.checked(tree)
        rid, asked, now = self.ids(), request.headers.get("if-none-exist"), self.services.clock()
        there: list[str] = []

        def make(store: Store, permits: Permits) -> list[Change]:
            there.clear()
            found = find_one(store, permits, kind, parse_qsl(asked.rpartition("?")[2]), base=self.base, now=now) if asked else None
            if found is not None:
                there.append(found)
                return []
            return [Change(kind, rid, tree, is_new=True)]

        places = await self.change(caller, "create", kind, make)
        if there:
            return Response(b"", 200, {"Location": f"{self.base}/{kind}/{there[0]}"}, FHIR)
        return self._written(request, places[0], 201)

    async def update(self, request: Request, caller: Caller, kind: str, rid: str | None) -> Response:
        """Put a resource in the place of another, or create it under the id that is asked for; without an id the one that a condition fits."""
        check_kind(kind)
        self.permits(caller).check("update", kind)
        tree = await self.body(request)
        whole(tree, kind, rid)
        await self.checked(tree)
        match, given, fresh, now = (
            if_match(request.headers.get("if-match")),
            request.query_params.multi_items(),
            self.ids(),
            self.services.clock(),
        )

        def make(store: Store, permits: Permits) -> list[Change]:
            target = rid if rid is not None else find_one(store, permits, kind, given, base=self.base, now=now)
            if rid is None and tree.get("id") not in (None, target):
                raise DataError("the resource has another id than the one that the condition fits", expected="the same, or none")
            return [Change(kind, target or fresh, tree, target is None, match)]

        place = (await self.change(caller, "update", kind, make))[0]
        return self._written(request, place, 201 if place.created else 200)

    async def patch(self, request: Request, caller: Caller, kind: str, rid: str) -> Response:
        """Change parts of a resource: JSON Patch, JSON Merge Patch, or FHIRPath Patch in a Parameters."""
        check_kind(kind)
        self.permits(caller).check("update", kind)
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
            parameters = await self.body(request)
            apply = lambda tree: fhirpath_patch(tree, parameters)  # noqa: E731
        else:
            raise MediaError(
                "the patch is in a form that is not spoken here",
                expected="application/json-patch+json, application/merge-patch+json or application/fhir+json",
                status=415,
            )
        strict = self.config.fhir.validation == "strict"

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

        return self._written(request, (await self.change(caller, "update", kind, make))[0], 200)

    async def delete(self, request: Request, caller: Caller, kind: str, rid: str | None) -> Response:
        """Delete a resource: its versions stay, and say so. Without an id the one that a condition fits."""
        check_kind(kind)
        match, given, now = if_match(request.headers.get("if-match")), request.query_params.multi_items(), self.services.clock()

        def make(store: Store, permits: Permits) -> list[Change]:
            target = rid if rid is not None else find_one(store, permits, kind, given, base=self.base, now=now)
            if target is None:
                return []
            before = Resources(store).find(kind, target)
            if before is None:
                raise AccessDenied()
            permits.allow(store, "delete", before.datum)
            return [Change(kind, target, None, False, match)]

        places = await self.change(caller, "delete", kind, make)
        return Response(status_code=204, headers={"ETag": f'W/"{places[0].stored.vid}"'} if places else {})

    async def batch(self, request: Request, caller: Caller) -> Response:
        """Do the requests of a Bundle: all of them or none (transaction), or each by itself (batch)."""
        tree = await self.body(request)
        kind = tree.get("type")
        if tree["resourceType"] != "Bundle" or kind not in ("transaction", "batch"):
            raise FormatError("not a Bundle of requests", expected="a Bundle of type transaction or batch")
        asked = read_entries(tree, most=self.config.fhir.most_entries, base=self.base)
        answers = await (self._transaction(request, caller, asked) if kind == "transaction" else self._batch(request, caller, asked))
        return Response(bundle(f"{kind}-response", answers), 200, {"Cache-Control": "no-store"}, FHIR)

    async def _checked_all(self, asked: Sequence[Asked]) -> None:
        if self.config.fhir.validation != "strict":
            return

        def look(_: Store) -> list[Issue]:
            found = []
            for ask in asked:
                for issue in invalid(ask.tree) if ask.tree is not None else ():
                    found.append(Issue(issue.severity, issue.code, f"Bundle.entry[{ask.number}].resource.{issue.path}", issue.message))
            return found

        issues = await self.services.readers.run(look)
        if issues:
            raise Invalid(issues)

    async def _transaction(self, request: Request, caller: Caller, asked: Sequence[Asked]) -> list[bytes]:
        permits, now = self.permits(caller), self.services.clock()
        for action, kind in {
            ({"POST": "create", "PUT": "update", "DELETE": "delete"}[ask.method], ask.kind) for ask in asked if ask.method != "GET"
        }:
            permits.check(action, kind)
        await self._checked_all(asked)
        ids = {ask.number: self.ids() for ask in asked if ask.method in ("POST", "PUT")}
        try:
            done = await self.services.write(
                lambda store: transact(store, permits, asked, self.config, ids=ids, recorded=now, base=self.base)
            )
        except AccessDenied as error:
            self.services.guard.log(caller, "deny", detail={"asked": "transaction", "resource": "Bundle", "reason": error.what})
            raise
        await self._log(permits, caller, [one.place for one in done.values() if one.place is not None])
        answers, whole_ = [], prefers(request, "return=representation")
        for ask in asked:
            if ask.method == "GET":
                answers.append(await self._got(caller, ask))
                continue
            one = done[ask.number]
            body = one.place.body if one.place is not None and whole_ and ask.method != "DELETE" else b""
            answers.append(entry(self.base, None, body, more={"response": response_of(one, self.base, now)}))
        return answers

    async def _got(self, caller: Caller, ask: Asked) -> bytes:
        path, _, rest = ask.url.partition("?")
        parts, given = [unquote(part) for part in path.split("/") if part], parse_qsl(rest, keep_blank_values=True)
        try:
            if len(parts) == 1 and parts[0] != "metadata":
                answer = await self.search(caller, parts[0], given)
            elif len(parts) == 2 and parts[1] != "_history":
                answer = await self.read(caller, parts[0], parts[1])
            elif len(parts) == 4 and parts[2] == "_history":
                answer = await self.read(caller, parts[0], parts[1], parts[3])
            elif 2 <= len(parts) <= 3 and parts[-1] == "_history":
                answer = await self.history(caller, given, parts[0], parts[1] if len(parts) == 3 else None)
            else:
                raise FormatError("the entry cannot be done", expected="a read, a search or a history")
        except GemelError as error:
            return _failed(self.base, error)
        told = {"status": f"{answer.status_code} {'OK' if answer.status_code == 200 else 'Gone'}"}
        if "etag" in answer.headers:
            told["etag"] = answer.headers["etag"]
        return entry(self.base, None, bytes(answer.body), more={"response": told})

    async def _batch(self, request: Request, caller: Caller, asked: Sequence[Asked]) -> list[bytes]:
        del request
        answers, permits = [], self.permits(caller)
        for ask in asked:
            if ask.method == "GET":
                answers.append(await self._got(caller, ask))
                continue
            try:
                permits.check({"POST": "create", "PUT": "update", "DELETE": "delete"}[ask.method], ask.kind)
                await self._checked_all([ask])
                ids, now = {ask.number: self.ids()}, self.services.clock()
                done = await self.services.write(
                    lambda store, one=ask, ids=ids, now=now: transact(
                        store, permits, [one], self.config, ids=ids, recorded=now, base=self.base
                    )
                )
                await self._log(permits, caller, [one.place for one in done.values() if one.place is not None])
                answers.append(entry(self.base, None, b"", more={"response": response_of(done[ask.number], self.base, now)}))
            except Invalid as error:
                answers.append(
                    entry(
                        self.base,
                        None,
                        b"",
                        more={"response": {"status": "422 Unprocessable Entity", "outcome": _plain(outcome_of(error.issues))}},
                    )
                )
            except GemelError as error:
                if isinstance(error, AccessDenied):
                    self.services.guard.log(caller, "deny", detail={"asked": "batch", "resource": ask.kind, "reason": error.what})
                answers.append(_failed(self.base, error))
        return answers


def _plain(body: bytes) -> Any:
    import orjson

    return orjson.loads(body)


def _failed(base: str, error: GemelError) -> bytes:
    problem, told = error_outcome(error)
    return entry(base, None, b"", more={"response": {"status": str(problem.status), "outcome": _plain(told)}})


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
