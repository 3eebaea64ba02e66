"""Bodies and answers of FHIR: which form is spoken, how a body is read, how stored bytes are sent as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from email.utils import formatdate
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gemel.core.errors import ConflictError, FormatError, GemelError
from gemel.core.time import SECOND
from gemel.interop.fhir import schema
from gemel.interop.fhir.codec import Element, decode, encode
from gemel.interop.fhir.validate import Issue, outcome, validate
from gemel.interop.fhir.xml import decode_xml
from gemel.platform.store.resources import Stored, id_of
from gemel.server.problems import Problem, problem_of

__all__ = [
    "FHIR", "MediaError", "bundle", "entry", "if_match", "invalid", "is_lenient", "outcome_of", "prefers", "read_resource", "resource_answer", "see_accept",
]  # fmt: skip

FHIR = "application/fhir+json"
_JSON = ("application/fhir+json", "application/json", "text/json")
_XML = ("application/fhir+xml", "application/xml", "text/xml")
_ETAG = re.compile(r'(?:W/)?"(\d{1,18})"\Z')


class MediaError(FormatError):
    """A form that is not spoken here: 415 for a body, 406 for an answer."""

    def __init__(self, what: str, *, expected: str, status: int) -> None:
        super().__init__(what, expected=expected)
        self.status = status


def see_accept(request: Request) -> None:
    """Refuse who only takes XML: what is stored is sent as JSON.

    Raises
    ------
    MediaError
    """
    asked = request.query_params.get("_format") or request.headers.get("accept") or "*/*"
    asked = asked.replace(" ", "+") if asked.startswith("application/fhir ") else asked
    names = [part.partition(";")[0].strip().lower() for part in asked.split(",")]
    fits = {"*/*", "application/*", "json", "", "text/*", "application/fhir+ndjson", "application/ndjson", "ndjson", *_JSON}
    if not any(name in fits for name in names):
        raise MediaError("the answer cannot be had in this form", expected=FHIR, status=406)


def read_resource(raw: bytes, content_type: str, *, limit: int) -> Element:
    """Read a body: JSON, or XML of FHIR.

    Raises
    ------
    MediaError, FormatError
    """
    name, _, rest = content_type.partition(";")
    name = name.strip().lower()
    charset = re.search(r"charset=\"?([A-Za-z0-9\-_]+)", rest)
    if charset is not None and charset[1].lower() not in ("utf-8", "utf8"):
        raise MediaError("the charset is not spoken here", expected="UTF-8", status=415)
    if name in _XML:
        return decode_xml(raw, limit=limit)
    if name not in _JSON:
        raise MediaError(
            "the body is in a form that is not spoken here", expected="application/fhir+json or application/fhir+xml", status=415
        )
    tree = decode(raw, limit=limit)
    if not isinstance(tree, Element) or not isinstance(tree.get("resourceType"), str):
        raise FormatError("not a resource", expected="an object with resourceType")
    return tree


def invalid(tree: Mapping[str, Any]) -> list[Issue]:
    """Return the errors of a resource, as far as the validator sees them."""
    return [issue for issue in validate(tree) if issue.severity == "error"]


def prefers(request: Request, word: str) -> bool:
    """Say whether ``Prefer`` names something, such as ``return=minimal``."""
    return any(word == part.strip().lower() for line in request.headers.getlist("prefer") for part in re.split(r"[;,]", line))


def is_lenient(request: Request) -> bool:
    """Say whether parameters that are not understood are to be ignored."""
    return prefers(request, "handling=lenient")


def if_match(header: str | None) -> int | None:
    """Return the version that ``If-Match`` names.

    Raises
    ------
    ConflictError
        When it names none that can be.
    """
    if header is None:
        return None
    found = _ETAG.match(header.strip())
    if found is None:
        raise ConflictError("not a version", expected='If-Match: W/"1"', is_stale=True)
    return int(found[1])


def resource_answer(stored: Stored, body: bytes, status: int = 200, **more: str) -> Response:
    """Return a version as an answer, its bytes as they are kept."""
    headers = {
        "ETag": f'W/"{stored.vid}"',
        "Last-Modified": formatdate(stored.recorded / SECOND, usegmt=True),
        "Cache-Control": "private, no-cache",
        **more,
    }
    return Response(body, status, headers, FHIR)


def entry(base: str, stored: Stored | None, body: bytes, *, mode: str = "", more: Mapping[str, Any] | None = None) -> bytes:
    """Return one entry of a Bundle around the bytes of a resource.

    Parameters
    ----------
    stored : ``None`` for what is not kept here, such as an OperationOutcome.
    mode : of a search.
    more : ``request`` and ``response``.
    """
    parts = []
    if stored is not None:
        parts.append(b'"fullUrl":' + json.dumps(f"{base}/{stored.kind}/{id_of(body)}").encode())
    if body and not (stored is not None and stored.deleted):
        parts.append(b'"resource":' + body)
    if mode:
        parts.append(b'"search":{"mode":"%s"}' % mode.encode())
    parts += [json.dumps(name).encode() + b":" + json.dumps(value, separators=(",", ":")).encode() for name, value in (more or {}).items()]
    return b"{" + b",".join(parts) + b"}"


def bundle(
    kind: str,
    entries: Sequence[bytes],
    *,
    total: int | None = None,
    links: Iterable[tuple[str, str]] = (),
    more: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a Bundle around entries that are bytes already."""
    parts = [b'"resourceType":"Bundle"']
    parts += [json.dumps(name).encode() + b":" + json.dumps(value).encode() for name, value in (more or {}).items()]
    parts.append(b'"type":"%s"' % kind.encode())
    if total is not None:
        parts.append(b'"total":%d' % total)
    told = [{"relation": relation, "url": url} for relation, url in links]
    if told:
        parts.append(b'"link":' + json.dumps(told, separators=(",", ":")).encode())
    if entries:
        parts.append(b'"entry":[' + b",".join(entries) + b"]")
    return b"{" + b",".join(parts) + b"}"


def outcome_of(issues: Iterable[Issue]) -> bytes:
    """Return issues as an OperationOutcome."""
    return encode(outcome(issues))


def error_outcome(error: GemelError) -> tuple[Problem, bytes]:
    """Return how an error is answered inside a batch."""
    problem = problem_of(error)
    told = "; ".join(part for part in (problem.what, problem.seen, problem.expected) if part)
    return problem, outcome_of([Issue("error", "processing", "", told)])


def check_kind(kind: str) -> None:
    """Refuse what is no resource type of FHIR R4.

    Raises
    ------
    FormatError
    """
    found = schema.kind(kind)
    if found is None or not found.is_resource or found.abstract:
        raise FormatError("no such resource type", seen=kind[:40], expected="a resource type of FHIR R4")
