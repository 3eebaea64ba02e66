"""What the routes of the API share: ids in addresses, times, answers as bytes, and work that is asked for."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Header, Path, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from gemel.core.code import Code
from gemel.core.errors import CodeError, LimitError, TimeError
from gemel.core.manifest import manifest_of
from gemel.core.time import iso, to_ns
from gemel.platform.access import Resource
from gemel.platform.audit_writer import AuditWriter
from gemel.platform.consent import Datum
from gemel.platform.guard import Caller, Guard
from gemel.platform.store import JobStatus, Store, Version, lookup
from gemel.server.etags import is_known
from gemel.server.idempotency import Ask, Reply, once
from gemel.server.services import Services

__all__ = [
    "PREFIX", "Cursor", "Found", "Key", "Limit", "PatientId", "PatientQuery", "Problems", "TwinId", "asked", "await_change", "encoded", "enqueue", "job_told",
    "known", "looked", "moment", "patient_resource", "patient_there", "read_codes", "room_model", "rows_told", "told", "twin_parts", "version_told", "work_key",
]  # fmt: skip

T = TypeVar("T")
PREFIX = "/api/v1"
MOST_ASKED, MOST_OPEN = 256 * 1024, 200
"""Characters of what one piece of work is told; pieces of work that wait for one patient."""

_ID = r"^[0-9a-f]{24}$"
PatientId = Annotated[str, Path(pattern=_ID, description="the random id of a patient")]
Found = Annotated[str, Path(pattern=_ID)]
TwinId = Annotated[str, Path(pattern=r"^[0-9a-f]{24}\.[a-z][a-z0-9-]{0,62}$", description="PATIENT.ROOM")]
PatientQuery = Annotated[str, Query(pattern=_ID, description="the random id of a patient")]
Limit = Annotated[int, Query(ge=1, le=1000, description="at most so many")]
Cursor = Annotated[str | None, Query(max_length=512, description="'next' of the page before")]
Key = Annotated[
    str | None, Header(alias="Idempotency-Key", max_length=255, description="sent again with the same key, a request has one effect")
]

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemTold"}}}
_WHY = {
    400: "not understood", 401: "who asks has not shown who they are", 403: "not for this role, purpose or scope", 404: "not here, or not for you",
    409: "the same was asked before in another way", 412: "it has changed since it was read", 413: "too much", 422: "not of the form of this reference",
    429: "too often", 500: "a defect", 503: "busy: try again",
}  # fmt: skip


def Problems(*more: int) -> dict[int | str, dict[str, Any]]:
    """Return how a route may refuse, for the documentation: what all of them may, and more."""
    return {
        status: {"description": _WHY[status], "content": _PROBLEM}
        for status in sorted({400, 401, 403, 404, 413, 422, 429, 500, 503, *more})
    }


def encoded(value: Any) -> bytes:
    """Return plain values as JSON."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def told(value: Any, status: int = 200, *, tag: str | None = None, **headers: str) -> Response:
    """Return plain values as an answer."""
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(
        encoded(value), status, {**({"ETag": tag, "Cache-Control": "private, no-cache"} if tag else {}), **names}, "application/json"
    )


def known(request: Request, tag: str) -> Response | None:
    """Return 304 where the one who asks has it already."""
    if is_known(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "private, no-cache"})
    return None


_FIRST, _LAST = to_ns("1678-01-01T00:00:00Z"), to_ns("2262-01-01T00:00:00Z")


def moment(text: str | None) -> int | None:
    """Read a time of a request, ns UTC.

    Raises
    ------
    TimeError
        When it has no zone, or is further away than nanoseconds reach.
    """
    if text is None:
        return None
    found = to_ns(text.replace(" ", "+") if "T" in text else text)  # a plus sign in an address is a space
    if not _FIRST <= found < _LAST:
        raise TimeError("a time beyond what is kept", expected="between 1678 and 2262")
    return found


def twin_parts(twin: str) -> tuple[str, str]:
    """Return patient and room of a twin's id."""
    subject, _, room = twin.partition(".")
    return subject, room


def room_model(room: str) -> str:
    """Return ``id@version`` of the model of an installed room.

    Raises
    ------
    TwinNotFoundError
        When it is not installed.
    """
    found = manifest_of(room)
    return f"{found.id}@{found.version}"


def version_told(store: Store, version: Version, *, newest: str | None = None) -> dict[str, Any]:
    """Return a version as plain values.

    Parameters
    ----------
    version : its ``patient`` the random id.
    newest : id of the newest version of the same name; left out, it is looked up.
    """
    meta = version.meta
    if newest is None:
        last = lookup.newest(store, version.kind, version.patient, version.name)
        newest = last.id if last else version.id
    room = version.name.partition(":")[0]
    return {
        "id": version.id, "kind": version.kind, "patient": version.patient, "twin": f"{version.patient}.{room}", "name": version.name, "version": version.version,
        "recorded": iso(version.recorded), "upto_event": version.upto_event, "status": meta.get("status"),
        "model": f"{meta.get('model') or room}@{meta.get('model_version') or '0'}", "code_version": meta.get("code_version"), "method": meta.get("method"),
        "seed": meta.get("seed"), "superseded": newest != version.id, "stale": lookup.last_facts(store, version.patient) > version.upto_event,
    }  # fmt: skip


def rows_told(store: Store, versions: list[Version]) -> list[dict[str, Any]]:
    """Return versions as plain values; the newest of each name among them is the newest that there is."""
    newest = {version.name: version.id for version in versions}
    return [version_told(store, version, newest=newest[version.name]) for version in versions]


_PLACES = {"forecast": "forecasts", "comparison": "comparisons", "proposal": "recommendations"}


def _href(job: JobStatus, result: Mapping[str, Any]) -> str | None:
    kind, found = result.get("kind"), result.get("id")
    if kind == "twin" and result.get("name"):
        return f"{PREFIX}/twins/{job.subject}.{result['name']}"
    if kind == "score" and result.get("name"):
        return f"{PREFIX}/forecasts/{result['name']}/score"
    return f"{PREFIX}/{_PLACES[kind]}/{found}" if kind in _PLACES and found else None


def job_told(job: JobStatus) -> dict[str, Any]:
    """Return a job as plain values."""
    plain: dict[str, Any] = {
        "id": job.id, "kind": job.kind, "patient": job.subject or None, "state": job.state, "created": iso(job.created), "changed": iso(job.changed),
        "attempts": job.attempts, "done": job.done, "total": job.total, "note": job.note,
    }  # fmt: skip
    if job.state == "done":
        try:
            result = orjson.loads(job.result) if job.result else {}
        except ValueError:
            result = {"text": job.result}
        result = result if isinstance(result, dict) else {"value": result}
        return plain | {"result": result, "href": _href(job, result)}
    return plain | ({"reason": job.result} if job.result else {})


def asked(request: Request, who: Caller, body: bytes, key: str | None) -> Ask:
    """Return what identifies a request that changes something."""
    return Ask(
        who.subject.id,
        request.method,
        request.url.path + ("?" + request.url.query if request.url.query else ""),
        hashlib.sha256(body).digest(),
        key,
    )


async def await_change(services: Services, ask: Ask, change: Callable[[Store], Reply], *, subject: str | None = None) -> Response:
    """Make a change once; return its answer when it is on the disk."""
    reply, again = await services.write(lambda store: once(store, ask, lambda: change(store), now=services.clock(), subject=subject))
    return reply.response(again=again)


class _Ledger:
    """Entries of the audit trail that one request makes: written together, before it is answered."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def write(self, *, who: str, action: str, patient: str, purpose: str, time: int, detail: Mapping[str, Any]) -> str:
        """Keep an entry for :meth:`settle`."""
        self.entries.append({"who": who, "action": action, "patient": patient, "purpose": purpose, "time": time, "detail": dict(detail)})
        return ""

    def write_many(self, tables: Iterable[Mapping[str, Any]]) -> list[str]:
        """Keep several."""
        found = [dict(table) for table in tables]
        self.entries += found
        return [""] * len(found)

    async def settle(self, audit: Any) -> None:
        """Write what was kept, and wait until the disk has it, without holding a thread."""
        if not self.entries:
            return
        if isinstance(audit, AuditWriter):
            await asyncio.gather(*map(asyncio.wrap_future, audit.submit(self.entries)))
            return
        for entry in self.entries:
            await asyncio.to_thread(audit.write, **entry)


async def looked(services: Services, look: Callable[[Store, Guard], T]) -> T:
    """Run a look in a reader's thread, and answer when what the guard noted of it is on the disk: the thread is free for others meanwhile.

    A refusal is written down as well before it is told. When the trail cannot be written, nothing is disclosed.
    """
    ledger = _Ledger()
    guard = services.guard.writing_to(ledger)

    def one_snapshot(store: Store) -> T:
        with store._transaction("read"):  # what is decided and what is shown are of one moment, and one transaction is begun, not six
            return look(store, guard)

    try:
        return await services.readers.run(one_snapshot)
    finally:
        await ledger.settle(services.audit)


def work_key(*parts: Any) -> str:
    """Return the key of a piece of work: the same parts, the same work."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def enqueue(store: Store, kind: str, subject: str, key: str, body: Mapping[str, Any], *, now: int) -> Reply:
    """Ask for a piece of work about a patient; return 202 while it waits, 200 when it was done before.

    What was cancelled or given up is put into the queue again.
    """
    pseudonym = lookup.pseudonym(store, subject)
    text = json.dumps({"patient": pseudonym, **body}, separators=(",", ":"))
    if len(text) > MOST_ASKED:
        raise LimitError(
            "more than one piece of work is told", seen=f"{len(text)} characters", expected=f"<= {MOST_ASKED}", fix="a smaller plan"
        )
    if lookup.open_jobs(store, subject) >= MOST_OPEN:
        raise LimitError(
            "too much work waits for this patient", expected=f"<= {MOST_OPEN} jobs", fix="wait until some is done, or cancel it", wait=5.0
        )
    job = store.enqueue(kind, key, text, now=now, patient=pseudonym)
    store.redrive(job, now=now)
    status = store.job(job)
    place = f"{PREFIX}/jobs/{job}"
    return Reply(
        200 if status.state == "done" else 202,
        encoded(job_told(status)),
        {"Location": place, **({} if status.has_ended else {"Retry-After": "1"})},
    )


def patient_there(store: Store, subject: str) -> Resource:
    """Return what is asked about before it is said that a patient is here: known since they were enrolled."""
    known = lookup.enrolled(store, subject)
    return Resource(Datum(subject, f"Patient/{subject}", "Patient", time=known))


def read_codes(codes: list[str] | None) -> frozenset[Code] | None:
    """Read the codes of a request; ``None`` where none are given.

    Raises
    ------
    CodeError
        When one is not ``SYSTEM:CODE``.
    """
    try:
        return frozenset(Code.parse(code) for code in codes) if codes else None
    except ValidationError as error:
        raise CodeError("not a code", expected="SYSTEM:CODE, such as loinc:99504-3") from error


def patient_resource(subject: str, kind: str = "Patient", ref: str = "", *, model: str = "") -> Resource:
    """Return what is asked about: something of a patient, or what a model may say of them."""
    return Resource(Datum(subject, ref or f"{kind}/{subject}", kind), model=model)
