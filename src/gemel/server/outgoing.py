"""Requests that leave: only to servers that the configuration names, without redirects, with limits of time and size.

Whoever speaks to another system (FHIR client, token endpoint, bulk files) gets this as its transport. An address that came from outside, in a page link or a hook's ``fhirServer``,
can therefore lead nowhere that the site did not list: neither into its own network nor to a service of the cloud it runs in.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from gemel.core.errors import RemoteError

__all__ = ["Answer", "HttpTransport", "Streamed", "origin"]


@dataclass(frozen=True, repr=False)
class Answer:
    """What came back: status, headers, body."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


def origin(url: str) -> str:
    """Return scheme, host and port of an address; empty for what is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname and port and not parts.username else ""


class HttpTransport:
    """Carries requests to listed servers.

    Parameters
    ----------
    servers : addresses whose origins (scheme, host, port) may be spoken to.
    seconds : for connecting, and for each wait on the wire.
    most_seconds : for one whole answer: a server that sends a byte now and then does not hold us.
    limit : bytes of one answer, unpacked.
    verify : a file of certificates that are believed; left out, those of the machine.
    """

    def __init__(
        self,
        servers: Iterable[str],
        *,
        seconds: float = 10.0,
        most_seconds: float = 120.0,
        limit: int = 64 * 1024 * 1024,
        verify: str | None = None,
    ) -> None:
        self._origins = frozenset(filter(None, map(origin, servers)))
        self._limit, self._most = limit, most_seconds
        self._client = httpx.Client(timeout=seconds, follow_redirects=False, trust_env=False, verify=verify or True)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def request(self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None) -> Answer:
        """Send one request.

        Raises
        ------
        RemoteError
            When the server is not listed, does not answer in time, answers too much, or is not there.
        """
        with self.stream(method, url, headers=headers, content=content) as answer:
            pieces, size = [], 0
            for piece in answer.pieces():
                size += len(piece)
                if size > self._limit:
                    raise RemoteError(
                        "an answer that is too large", seen=f"more than {self._limit} bytes", expected=f"at most {self._limit}"
                    )
                pieces.append(piece)
            return Answer(answer.status_code, answer.headers, b"".join(pieces))

    @contextlib.contextmanager
    def stream(self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None = None) -> Iterator[Streamed]:
        """Send one request; the answer is read piece by piece, inside ``with``."""
        if origin(url) not in self._origins:
            raise RemoteError("a server that the configuration does not name", seen=urlsplit(url).hostname, fix="refused: list it, or not")
        end = time.monotonic() + self._most
        try:
            with self._client.stream(method, url, headers=dict(headers), content=content) as answer:
                yield Streamed(answer, end)
        except httpx.HTTPError as error:
            host = urlsplit(url).hostname
            raise RemoteError(f"{host} does not answer", seen=type(error).__name__, fix="it is tried again") from None


class Streamed:
    """An answer whose body is still on the wire."""

    def __init__(self, answer: httpx.Response, end: float) -> None:
        self._answer, self._end = answer, end
        self.status_code = answer.status_code
        self.headers: Mapping[str, str] = dict(answer.headers)

    def pieces(self) -> Iterator[bytes]:
        """Return the body in pieces, unpacked."""
        for piece in self._answer.iter_bytes(65_536):
            if time.monotonic() > self._end:
                raise RemoteError(
                    "an answer that takes too long", seen="a server that sends a little now and then", fix="it is tried again"
                )
            yield piece
