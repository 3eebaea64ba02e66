"""Errors as answers: ``application/problem+json`` (RFC 9457), and OperationOutcome on FHIR routes. Never a traceback, never a patient's value.

What may not be had and what is not there are one answer, byte for byte but for the id of the request, which stands in a header.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gemel.core import errors
from gemel.core.errors import GemelError

__all__ = ["HIDDEN", "Problem", "answer", "install", "problem_of", "told_of"]

HIDDEN = "not here, or not for you"
"""What is said of everything that somebody may not know of."""

_STATUS: tuple[tuple[type[GemelError], int], ...] = (
    (errors.AuthenticationError, 401), (errors.TwinNotFoundError, 404), (errors.DatasetError, 404), (errors.DomainError, 422),
    (errors.EvidenceError, 422), (errors.InferenceError, 422), (errors.FormatError, 400), (errors.DataError, 400), (errors.CodeError, 400),
    (errors.ConfigurationError, 500),
)  # fmt: skip
_BUSY = ("the store is locked", "the database does not answer", "the disk is full", "the database takes no more connections")
_ISSUES = {
    401: "login",
    403: "forbidden",
    404: "not-found",
    409: "conflict",
    412: "conflict",
    413: "too-long",
    422: "processing",
    429: "throttled",
    503: "transient",
}


@dataclass(frozen=True)
class Problem:
    """One answer to something that went wrong."""

    status: int
    code: str
    what: str
    seen: str | None = None
    expected: str | None = None
    next: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    wrong: tuple[dict[str, str], ...] = ()


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:500]


def problem_of(error: GemelError) -> Problem:
    """Return how an error is answered. What the server itself got wrong is told without what was seen."""
    if isinstance(error, errors.AccessDenied):
        return Problem(403, "forbidden", error.what, None, _text(error.expected)) if error.is_open else Problem(404, "not-found", HIDDEN)
    if isinstance(error, errors.LimitError):
        status = 413 if error.wait is None else 503 if error.is_busy else 429
        headers = {} if error.wait is None else {"Retry-After": str(max(1, math.ceil(error.wait)))}
        return Problem(status, "limit", error.what, _text(error.seen), _text(error.expected), error.fix, headers)
    if isinstance(error, errors.ConflictError):
        return Problem(412 if error.is_stale else 409, "conflict", error.what, _text(error.seen), _text(error.expected), error.fix)
    if isinstance(error, errors.StoreError):
        if "no such" in error.what:
            return Problem(404, "not-found", HIDDEN)
        if error.what.startswith(_BUSY):
            return Problem(503, "busy", error.what, next="try again", headers={"Retry-After": "2"})
        return Problem(500, "store", "the store could not do this", next="the log of the server says more, under the id of this request")
    for kind, status in _STATUS:
        if isinstance(error, kind):
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            told = status < 500
            return Problem(
                status,
                kind.__name__,
                error.what,
                _text(error.seen) if told else None,
                _text(error.expected) if told else None,
                error.fix,
                headers,
            )
    return Problem(500, type(error).__name__, error.what, next="the log of the server says more, under the id of this request")


def told_of(error: Exception, request: str) -> Problem:
    """Return how any error is answered, and write down what is the server's own: the kind of error and the place in the code, not its message, which may hold anything."""
    log = logging.getLogger("gemel.server")
    if isinstance(error, GemelError):
        made = problem_of(error)
        if made.status >= 500:
            log.error("failed", extra={"request": request, "error": type(error).__name__, "what": error.what})
        return made
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = "" if where is None else f"{where.tb_frame.f_code.co_filename.rpartition('/')[2]}:{where.tb_lineno}"
    log.error("defect", extra={"request": request, "error": type(error).__name__, "what": place})
    return Problem(500, "defect", "a defect of gemel", next="report it with the id of this request (X-Request-Id)")


def answer(request: Request, problem: Problem) -> Response:
    """Return a problem in the language of the route that was asked."""
    path = request.url.path
    if path.startswith("/fhir/") or path == "/fhir":
        told: dict[str, Any] = {
            "resourceType": "OperationOutcome",
            "issue": [
                {
                    "severity": "fatal" if problem.status >= 500 else "error",
                    "code": _ISSUES.get(problem.status, "exception" if problem.status >= 500 else "invalid"),
                    "diagnostics": "; ".join(
                        p for p in (problem.what, *(f"{name}: {value}" for name, value in _parts(problem).items() if name != "title")) if p
                    ),
                }
            ],
        }
        kind = "application/fhir+json"
    else:
        told = {
            "type": f"urn:gemel:problem:{problem.code}",
            "title": problem.what,
            "status": problem.status,
            "code": problem.code,
            **_parts(problem),
        }
        if problem.wrong:
            told["wrong"] = list(problem.wrong)
        kind = "application/problem+json"
    return Response(orjson.dumps(told), problem.status, {"Cache-Control": "no-store", **problem.headers}, kind)


def _parts(problem: Problem) -> dict[str, str]:
    return {name: value for name in ("seen", "expected", "next") if (value := getattr(problem, name)) is not None}


def install(app: FastAPI) -> None:
    """Answer every error of an application that a route meant; the gate answers the rest."""

    @app.exception_handler(GemelError)
    async def _(request: Request, error: GemelError) -> Response:
        made = problem_of(error)
        if made.status >= 500:
            log.error(
                "failed", extra={"request": getattr(request.state, "request_id", ""), "error": type(error).__name__, "what": error.what}
            )
        return answer(request, made)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        wrong = tuple({"where": ".".join(str(p) for p in one["loc"]), "what": str(one["msg"])} for one in error.errors()[:50])
        return answer(
            request,
            Problem(
                422,
                "request",
                "the request does not have the form of the reference",
                expected="what /api/v1/openapi.json says",
                wrong=wrong,
            ),
        )

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        what = HIDDEN if error.status_code == 404 else str(error.detail)
        code = {404: "not-found", 405: "method", 401: "AuthenticationError"}.get(error.status_code, "request")
        return answer(request, Problem(error.status_code, code, what, headers=dict(error.headers or {})))
