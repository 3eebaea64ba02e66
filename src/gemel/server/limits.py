"""What stands before every route: names, sizes, forms and rates are judged before anything is parsed; each answer gets its headers, its number and its line in the log.

It is one ASGI application around another, so that a stream stays a stream.
"""

from __future__ import annotations

import logging
import re
import time
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from typing import Any

import orjson

from gemel.core.errors import FormatError, LimitError
from gemel.server.config import Limits, ServerConfig
from gemel.server.metrics import Metrics
from gemel.server.problems import Problem, answer, told_of
from gemel.server.rates import Buckets
from gemel.server.services import public_url, request_id
from gemel.server.telemetry import Tracer

__all__ = ["HEADERS", "Gate", "check_json", "inflate", "names_of"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS: dict[bytes, bytes] = {
    b"x-content-type-options": b"nosniff", b"referrer-policy": b"no-referrer", b"x-frame-options": b"DENY",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'", b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store", b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
}  # fmt: skip
"""Headers of every answer that does not set them itself."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_BODIED = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_OPEN, _SHUT = frozenset(b"[{"), frozenset(b"]}")
_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = bytes(b for b in range(256) if b not in b"[]{}")


def check_json(body: bytes, *, depth: int) -> None:
    """Refuse a body that is no JSON (RFC 8259): NaN, Infinity, numbers beyond a double, or nested too deep.

    Raises
    ------
    FormatError
        When it is none.
    LimitError
        When it is too deep.
    """
    if not body.strip():
        return
    level = 0
    for byte in _TEXTS.sub(b"", body).translate(None, _BRACKETS):
        level += 1 if byte in _OPEN else -1
        if level > depth:
            raise LimitError("the JSON is nested too deep", expected=f"<= {depth} levels")
    try:
        orjson.loads(body)
    except ValueError as error:
        raise FormatError("the body is not JSON", expected="RFC 8259: UTF-8, no NaN, no Infinity") from error


def inflate(body: bytes, kind: str, *, most: int, ratio: float) -> bytes:
    """Return what a compressed body holds; stop at the first byte beyond the limit.

    Parameters
    ----------
    kind : gzip or deflate.
    most : bytes. ratio : bytes for each that came.

    Raises
    ------
    LimitError
        When it holds more.
    FormatError
        When it is damaged, or more than one thing.
    """
    most = min(most, max(65_536, round(len(body) * ratio)))
    machine = zlib.decompressobj(wbits=31 if kind == "gzip" else 15)
    try:
        found = machine.decompress(body, most + 1)
    except zlib.error as error:
        raise FormatError("the body cannot be decompressed", expected=f"one {kind} stream") from error
    if len(found) > most:
        raise LimitError("the body holds too much", expected=f"<= {most} bytes when decompressed")
    if not machine.eof or machine.unused_data:
        raise FormatError("the body cannot be decompressed", expected=f"one whole {kind} stream")
    return found


def names_of(config: ServerConfig) -> frozenset[str]:
    """Return the names by which the server may be called."""
    host = public_url(config).partition("://")[2].rpartition("@")[2]
    own = host[: host.index("]") + 1] if host.startswith("[") else host.partition(":")[0]
    local = {"127.0.0.1", "localhost", "[::1]"}  # a probe beside the server; what a page elsewhere calls by these names is stopped by CORS
    return frozenset(name.lower() for name in ({own} | local | set(config.server.hosts)))


class Gate:
    """The application around all others.

    Parameters
    ----------
    app : what is asked when nothing was refused.
    """

    def __init__(self, app: App, *, config: ServerConfig, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._app, self._metrics, self._tracer = app, metrics, tracer or Tracer()
        self._limits: Limits = config.limits
        self._most = round(config.limits.body_mib * 2**20)
        self._names, self._proxies = names_of(config), frozenset(config.server.trusted_proxies)
        self._tls = bool(config.server.certificate) or config.server.tls_proxy
        self._by_token = Buckets(config.limits.per_token, config.limits.burst)
        self._by_address = Buckets(config.limits.per_address, config.limits.burst)
        self._log = logging.getLogger("gemel.server")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge a request, pass it on, and finish its answer."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))  # the first of each counts
        state = scope.setdefault("state", {})
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        state["request_id"] = given if _REQUEST_ID.fullmatch(given) else request_id()
        state["address"] = self._address(scope, headers)
        began, seen = time.perf_counter(), {"status": 500, "bytes": 0, "begun": False}

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"], seen["begun"] = message["status"], True
                message = {**message, "headers": self._dressed(message.get("headers", []), state["request_id"])}
            elif message["type"] == "http.response.body":
                seen["bytes"] += len(message.get("body", b""))
            await send(message)

        self._metrics.active.inc()
        with self._tracer.span("request", {"gemel.request": state["request_id"]}) as span:
            try:
                self._judge(headers, state)
                taken = await self._body(scope, headers, receive) if scope["type"] == "http" else receive
                await self._app(scope, taken, told)
            except Exception as error:
                if seen["begun"] or scope["type"] == "websocket":
                    raise
                await self._refuse(scope, receive, told, told_of(error, state["request_id"]))
            finally:
                self._metrics.active.dec()
                self._count(scope, state, seen, time.perf_counter() - began)
                method, route = _named(scope)
                span |= {"http.request.method": method, "http.route": route, "http.response.status_code": seen["status"]}
                span["name"] = f"{method} {route}"

    def _address(self, scope: Scope, headers: dict[bytes, bytes]) -> str:
        peer = (scope.get("client") or ("",))[0]
        if peer in self._proxies:
            told = headers.get(b"x-forwarded-for", b"").decode("latin-1").rpartition(",")[2].strip()
            if told and len(told) <= 64:
                return told
        return peer

    def _judge(self, headers: dict[bytes, bytes], state: dict[str, Any]) -> None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
        if name not in self._names:
            self._metrics.refused.labels("host").inc()
            raise FormatError("the server is not known by this name", expected="one of its names: [server] hosts")
        token = headers.get(b"authorization") or headers.get(b"cookie")
        wait = self._by_address.take(state["address"])
        if token is not None:
            wait = max(wait, self._by_token.take(sha256(token).hexdigest()[:32]))
        if wait:
            self._metrics.refused.labels("rate").inc()
            raise LimitError("too many requests", expected=f"<= {self._limits.per_token:g} a second", fix="wait", wait=wait)

    async def _body(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """Return the way to the body: watched for its size, or taken whole where it must be judged first."""
        if scope["method"] not in _BODIED:
            return receive
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18:
            raise FormatError("Content-Length is no number", expected="digits")
        if int(length) > self._most:
            self._metrics.refused.labels("size").inc()
            raise LimitError("the body is too large", seen=f"{int(length)} bytes", expected=f"<= {self._most} bytes")
        packed = headers.get(b"content-encoding", b"identity").decode("latin-1").lower()
        kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        is_json = kind.endswith(("/json", "+json")) and not scope["path"].startswith("/fhir")  # FHIR has its own, stricter reader
        if packed not in ("identity", "gzip", "deflate"):
            raise FormatError("the body is packed in a way that is not known here", expected="gzip, deflate or identity")
        if packed == "identity" and not is_json:
            return self._watched(receive)
        body = await self._whole(receive)
        if packed != "identity":
            try:
                body = inflate(body, packed, most=self._most, ratio=self._limits.ratio)
            except LimitError:
                self._metrics.refused.labels("bomb").inc()
                raise
            scope["headers"] = [
                (name, value) for name, value in scope["headers"] if name not in (b"content-encoding", b"content-length")
            ] + [(b"content-length", str(len(body)).encode())]
        if is_json:
            check_json(body, depth=self._limits.json_depth)
        return _given(body, receive)

    def _watched(self, receive: Receive) -> Receive:
        count = 0

        async def watched() -> Message:
            nonlocal count
            message = await receive()
            if message["type"] == "http.request":
                count += len(message.get("body", b""))
                if count > self._most:
                    self._metrics.refused.labels("size").inc()
                    raise LimitError("the body is too large", expected=f"<= {self._most} bytes")
            return message

        return watched

    async def _whole(self, receive: Receive) -> bytes:
        watched, parts, more = self._watched(receive), [], True
        while more:
            message = await watched()
            if message["type"] == "http.disconnect":
                raise FormatError("the body was cut off", expected="as many bytes as Content-Length says")
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        return b"".join(parts)

    def _dressed(self, headers: list[tuple[bytes, bytes]], number: str) -> list[tuple[bytes, bytes]]:
        have = {name.lower() for name, _ in headers}
        more = [(name, value) for name, value in HEADERS.items() if name not in have]
        if self._tls:
            more.append((b"strict-transport-security", b"max-age=31536000; includeSubDomains"))
        return [*headers, *more, (b"x-request-id", number.encode())]

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, problem: Problem) -> None:
        from starlette.requests import Request

        await answer(Request(scope, receive), problem)(scope, receive, send)

    def _count(self, scope: Scope, state: dict[str, Any], seen: dict[str, Any], seconds: float) -> None:
        method, template = _named(scope)
        self._metrics.requests.labels(method, template, str(seen["status"])).inc()
        self._metrics.seconds.labels(method, template).observe(seconds)
        told = {
            "request": state["request_id"],
            "method": method,
            "route": template,
            "status": seen["status"],
            "bytes": seen["bytes"],
            "ms": round(seconds * 1000, 2),
        }
        self._log.info("request", extra=told)


def _named(scope: Scope) -> tuple[str, str]:
    """Return verb and template of a route, never the path itself: it may name somebody."""
    method = scope.get("method", "WS")
    known = method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "WS")
    return method if known else "other", getattr(scope.get("route"), "path", "none")


def _given(body: bytes, receive: Receive) -> Receive:
    is_given = False

    async def given() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return given
