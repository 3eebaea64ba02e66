"""Bulk export: everything that somebody may see, as it was at one moment, one NDJSON file for each type.

Nothing is copied: a file is read from the store while it is sent, as of the event at which the export was asked for, under the consents of the moment in which it is sent. What
was asked stands sealed in the address of the export, so that it outlives the process.

References
----------
HL7 Bulk Data Access 2.0.0, https://hl7.org/fhir/uv/bulkdata
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gemel.core.errors import AccessDenied, FormatError, StoreError
from gemel.core.time import DAY
from gemel.interop.fhir.search_values import date_range
from gemel.platform.crypto import DataKey
from gemel.platform.guard import Caller
from gemel.platform.store import Store
from gemel.platform.store.index_rows import param_of
from gemel.platform.store.resources import Resources, Stored, id_of, instant
from gemel.platform.store.sealing import DEPLOYMENT
from gemel.platform.store.search_sql import Part, placed, seen
from gemel.platform.store.token_uses import is_used, use
from gemel.server.fhir.interactions import Interactions
from gemel.server.fhir.wire import FHIR, check_kind, prefers

__all__ = ["NDJSON", "Export", "Exports"]

NDJSON = "application/fhir+ndjson"
_FORMATS = (NDJSON, "application/ndjson", "ndjson")
_PAGE = 500
_BOUND = b"bulk export"
_KEPT = 7 * DAY


@dataclass(frozen=True)
class Export:
    """What was asked: by whom, of whom, which types, since when, as of which event, and when (ns UTC)."""

    who: str
    level: str
    group: int
    kinds: tuple[str, ...]
    since: int | None
    upto: int
    at: int
    request: str


class Exports:
    """Exports of the FHIR server.

    Parameters
    ----------
    fhir : what it can do.
    """

    def __init__(self, fhir: Interactions) -> None:
        self.fhir, self.services = fhir, fhir.services

    def _key(self, store: Store) -> DataKey:
        return DataKey(store._sealing.secret("bulk export"))

    def _read(self, store: Store, caller: Caller, token: str) -> Export:
        try:
            told = json.loads(self._key(store).open(base64.urlsafe_b64decode(token + "==="), _BOUND))
            found = Export(**{**told, "kinds": tuple(told["kinds"])})
        except (ValueError, TypeError, KeyError, StoreError):
            raise AccessDenied() from None
        gone = self.services.clock() - found.at > _KEPT
        if gone or found.who != caller.subject.id or is_used(store, _mark(token)):
            raise AccessDenied()
        return found

    async def start(self, request: Request, caller: Caller, level: str, group: str = "") -> Response:
        """Take an export in, and say where to ask for it."""
        if not prefers(request, "respond-async"):
            raise FormatError("an export is asked for asynchronously", expected="Prefer: respond-async")
        kinds, since = _asked(request, level)
        permits = self.fhir.permits(caller)

        def look(store: Store) -> str:
            permits.check("export", "Patient")
            resources = Resources(store)
            number = permits.require(store, resources.find("Group", group), "read", "Group").num if level == "Group" else 0
            made = Export(caller.subject.id, level, number, kinds, since, resources.last(), self.services.clock(), str(request.url.path))
            return base64.urlsafe_b64encode(self._key(store).seal(json.dumps(asdict(made)).encode(), _BOUND)).decode().rstrip("=")

        token = await self.services.readers.run(look)
        self.services.guard.log(caller, "export", detail={"resource": level, "kinds": list(kinds)})
        return Response(b"", 202, {"Content-Location": f"{self.fhir.base}/$export-poll/{token}"}, FHIR)

    def _where(self, store: Store, permits: Any, made: Export) -> Part:
        access = permits.predicate(store, "export")
        parts = [seen("r", made.upto, access)]
        if made.level != "system":
            parts.append(Part("r.pid <> ?", [DEPLOYMENT]))
        if made.level == "Group":
            members = "SELECT g.pid FROM resource AS g WHERE g.kind = 'Patient' AND g.ref IN (SELECT i.value FROM idx_ref AS i WHERE i.param = ? AND i.num = ?)"
            parts.append(Part(f"r.pid IN ({members})", [param_of("Group", "member"), made.group]))
        if made.since is not None:
            parts.append(Part("r.recorded_ns >= ?", [made.since]))
        return Part(" AND ".join(part.sql for part in parts), [value for part in parts for value in part.values])

    async def poll(self, caller: Caller, token: str) -> Response:
        """Say which files there are."""
        permits = self.fhir.permits(caller)

        def look(store: Store) -> dict[str, Any]:
            made = self._read(store, caller, token)
            permits.check("export", "Patient")
            where = self._where(store, permits, made)
            with store._transaction("read") as database:
                counts = database.execute(
                    f"SELECT r.kind, count(*) FROM resource AS r WHERE {where.sql} GROUP BY r.kind ORDER BY r.kind", where.values
                ).fetchall()
                gone = len(self._gone(store, permits, made)) if made.since is not None else 0
            address = f"{self.fhir.base}/$export-file/{token}"
            files = [
                {"type": kind, "url": f"{address}/{kind}.ndjson", "count": count}
                for kind, count in counts
                if not made.kinds or kind in made.kinds
            ]
            deleted = [{"type": "Bundle", "url": f"{address}/deleted.ndjson", "count": gone}] if gone else []
            return {"transactionTime": instant(made.at), "request": self.fhir.base.removesuffix("/fhir/R4") + made.request, "requiresAccessToken": True, "output": files,
                    "deleted": deleted, "error": []}  # fmt: skip

        told = await self.services.readers.run(look)
        return Response(json.dumps(told).encode(), 200, {"Expires": "0", "Cache-Control": "no-store"}, "application/json")

    def _gone(self, store: Store, permits: Any, made: Export) -> list[Stored]:
        """Return what was deleted since, of what may be seen."""
        allowed = placed(permits.predicate(store, "export"))
        rows = store._database.execute(
            "SELECT r.num FROM resource AS r WHERE r.deleted = 1 AND r.num <= ? AND r.recorded_ns >= ? AND NOT EXISTS (SELECT 1 FROM resource AS newer"
            f" WHERE newer.ref = r.ref AND newer.vid > r.vid AND newer.num <= ?) AND {allowed.sql} ORDER BY r.num",
            [made.upto, made.since, made.upto, *allowed.values],
        ).fetchall()
        found = Resources(store).rows([row[0] for row in rows])
        return [one for one in found if not made.kinds or one.kind in made.kinds]

    async def cancel(self, caller: Caller, token: str) -> Response:
        """End an export: it is not there any more."""
        now = self.services.clock()

        def change(store: Store) -> None:
            self._read(store, caller, token)
            use(store, _mark(token), until=now + _KEPT, now=now)

        await self.services.write(change)
        return Response(b"", 202, media_type=FHIR)

    async def send(self, caller: Caller, token: str, name: str) -> Response:
        """Send one file, page by page as it is read."""
        kind = name.removesuffix(".ndjson")
        permits = self.fhir.permits(caller)

        def page(store: Store, after: int) -> tuple[bytes, int]:
            made = self._read(store, caller, token)  # cancelled, or forbidden since: the file ends
            permits.check("export", "Patient")
            resources = Resources(store)
            if kind == "deleted":
                gone = self._gone(store, permits, made)[after : after + _PAGE]
                rows, following = gone, after + _PAGE if len(gone) == _PAGE else 0
                body = _deletions(resources, gone)
            else:
                where = self._where(store, permits, made)
                nums = store._database.execute(
                    f"SELECT r.num FROM resource AS r WHERE r.kind = ? AND r.num > ? AND {where.sql} ORDER BY r.num LIMIT ?",
                    [kind, after, *where.values, _PAGE],
                ).fetchall()
                rows = resources.rows([row[0] for row in nums])
                body = b"".join(one + b"\n" for one in resources.bodies(rows))
                following = rows[-1].num if len(rows) == _PAGE else 0
            subjects = dict.fromkeys("" if one.is_nobodys else one.pid for one in rows)
            self.services.guard.note(caller, "export", subjects, detail={"resource": kind})
            return body, following

        if kind != "deleted":
            check_kind(kind)
        first = await self.services.readers.run(lambda store: page(store, 0))

        async def parts() -> AsyncIterator[bytes]:
            body, following = first
            yield body
            while following:
                body, following = await self.services.readers.run(lambda store, after=following: page(store, after))
                yield body

        return StreamingResponse(parts(), 200, {"Cache-Control": "no-store"}, NDJSON)


def _mark(token: str) -> str:
    return "export|" + sha256(token.encode()).hexdigest()


def _deletions(resources: Resources, gone: Sequence[Stored]) -> bytes:
    if not gone:
        return b""
    names = [f"{one.kind}/{id_of(body)}" for one, body in zip(gone, resources.bodies(gone), strict=True)]
    told = {"resourceType": "Bundle", "type": "transaction", "entry": [{"request": {"method": "DELETE", "url": name}} for name in names]}
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def _asked(request: Request, level: str) -> tuple[tuple[str, ...], int | None]:
    kinds: tuple[str, ...] = ()
    since = None
    for name, text in request.query_params.multi_items():
        if name == "_type":
            kinds = (*kinds, *(one for one in text.split(",") if one))
            for kind in kinds:
                check_kind(kind)
        elif name == "_since":
            found = date_range(text.replace(" ", "+"))
            if found is None:
                raise FormatError("not an instant", seen=name, expected="2024-05-01T10:00:00Z")
            since = found[0]
        elif name == "_outputFormat":
            if text.replace(" ", "+") not in _FORMATS:
                raise FormatError("the files cannot be had in this form", seen=name, expected=NDJSON)
        elif not prefers(request, "handling=lenient"):
            raise FormatError(f"an export of {level} has no such parameter here", seen=name[:80], expected="_type, _since, _outputFormat")
    return kinds, since
