"""Bundles of requests over HTTP: all of them or none (transaction), or each by itself (batch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gemel.core.errors import AccessDenied, FormatError, GemelError
from gemel.interop.fhir.validate import Issue
from gemel.platform.guard import Caller
from gemel.platform.store import Store
from gemel.server.fhir.interactions import Interactions, Invalid
from gemel.server.fhir.transaction import Asked, read_entries, response_of, transact
from gemel.server.fhir.wire import FHIR, bundle, entry, error_outcome, invalid, outcome_of, prefers

__all__ = ["Bundles"]


class Bundles:
    """Bundles of requests.

    Parameters
    ----------
    fhir : the server.
    """

    def __init__(self, fhir: Interactions) -> None:
        self.fhir = fhir

    async def batch(self, request: Request, caller: Caller) -> Response:
        """Do the requests of a Bundle: all of them or none (transaction), or each by itself (batch)."""
        tree = await self.fhir.body(request)
        kind = tree.get("type")
        if tree["resourceType"] != "Bundle" or kind not in ("transaction", "batch"):
            raise FormatError("not a Bundle of requests", expected="a Bundle of type transaction or batch")
        asked = read_entries(tree, most=self.fhir.config.fhir.most_entries, base=self.fhir.base)
        answers = await (self._transaction(request, caller, asked) if kind == "transaction" else self._batch(request, caller, asked))
        return Response(bundle(f"{kind}-response", answers), 200, {"Cache-Control": "no-store"}, FHIR)

    async def _checked_all(self, asked: Sequence[Asked]) -> None:
        if self.fhir.config.fhir.validation != "strict":
            return

        def look(_: Store) -> list[Issue]:
            found = []
            for ask in asked:
                for issue in invalid(ask.tree) if ask.tree is not None else ():
                    found.append(Issue(issue.severity, issue.code, f"Bundle.entry[{ask.number}].resource.{issue.path}", issue.message))
            return found

        issues = await self.fhir.services.readers.run(look)
        if issues:
            raise Invalid(issues)

    async def _transaction(self, request: Request, caller: Caller, asked: Sequence[Asked]) -> list[bytes]:
        permits, now = self.fhir.permits(caller), self.fhir.services.clock()
        for action, kind in {
            ({"POST": "create", "PUT": "update", "DELETE": "delete"}[ask.method], ask.kind) for ask in asked if ask.method != "GET"
        }:
            permits.check(action, kind)
        await self._checked_all(asked)
        ids = {ask.number: self.fhir.ids() for ask in asked if ask.method in ("POST", "PUT")}
        try:
            done = await self.fhir.services.write(
                lambda store: transact(store, permits, asked, self.fhir.config, ids=ids, recorded=now, base=self.fhir.base)
            )
        except AccessDenied as error:
            self.fhir.services.guard.log(caller, "deny", detail={"asked": "transaction", "resource": "Bundle", "reason": error.what})
            raise
        await self.fhir.log(permits, caller, [one.place for one in done.values() if one.place is not None])
        answers, whole_ = [], prefers(request, "return=representation")
        for ask in asked:
            if ask.method == "GET":
                answers.append(await self._got(caller, ask))
                continue
            one = done[ask.number]
            body = one.place.body if one.place is not None and whole_ and ask.method != "DELETE" else b""
            answers.append(entry(self.fhir.base, None, body, more={"response": response_of(one, self.fhir.base, now)}))
        return answers

    async def _got(self, caller: Caller, ask: Asked) -> bytes:
        path, _, rest = ask.url.partition("?")
        parts, given = [unquote(part) for part in path.split("/") if part], parse_qsl(rest, keep_blank_values=True)
        try:
            if len(parts) == 1 and parts[0] != "metadata":
                answer = await self.fhir.search(caller, parts[0], given)
            elif len(parts) == 2 and parts[1] != "_history":
                answer = await self.fhir.read(caller, parts[0], parts[1])
            elif len(parts) == 4 and parts[2] == "_history":
                answer = await self.fhir.read(caller, parts[0], parts[1], parts[3])
            elif 2 <= len(parts) <= 3 and parts[-1] == "_history":
                answer = await self.fhir.history(caller, given, parts[0], parts[1] if len(parts) == 3 else None)
            else:
                raise FormatError("the entry cannot be done", expected="a read, a search or a history")
        except GemelError as error:
            return _failed(self.fhir.base, error)
        told = {"status": f"{answer.status_code} {'OK' if answer.status_code == 200 else 'Gone'}"}
        if "etag" in answer.headers:
            told["etag"] = answer.headers["etag"]
        return entry(self.fhir.base, None, bytes(answer.body), more={"response": told})

    async def _batch(self, request: Request, caller: Caller, asked: Sequence[Asked]) -> list[bytes]:
        del request
        answers, permits = [], self.fhir.permits(caller)
        for ask in asked:
            if ask.method == "GET":
                answers.append(await self._got(caller, ask))
                continue
            try:
                permits.check({"POST": "create", "PUT": "update", "DELETE": "delete"}[ask.method], ask.kind)
                await self._checked_all([ask])
                ids, now = {ask.number: self.fhir.ids()}, self.fhir.services.clock()
                done = await self.fhir.services.write(
                    lambda store, one=ask, ids=ids, now=now: transact(
                        store, permits, [one], self.fhir.config, ids=ids, recorded=now, base=self.fhir.base, is_batch=True
                    )
                )
                await self.fhir.log(permits, caller, [one.place for one in done.values() if one.place is not None])
                answers.append(entry(self.fhir.base, None, b"", more={"response": response_of(done[ask.number], self.fhir.base, now)}))
            except Invalid as error:
                answers.append(
                    entry(
                        self.fhir.base,
                        None,
                        b"",
                        more={"response": {"status": "422 Unprocessable Entity", "outcome": _plain(outcome_of(error.issues))}},
                    )
                )
            except GemelError as error:
                if isinstance(error, AccessDenied):
                    self.fhir.services.guard.log(caller, "deny", detail={"asked": "batch", "resource": ask.kind, "reason": error.what})
                answers.append(_failed(self.fhir.base, error))
        return answers


def _plain(body: bytes) -> Any:
    return orjson.loads(body)


def _failed(base: str, error: GemelError) -> bytes:
    problem, told = error_outcome(error)
    return entry(base, None, b"", more={"response": {"status": str(problem.status), "outcome": _plain(told)}})
