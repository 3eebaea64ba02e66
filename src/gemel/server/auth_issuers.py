"""Keys of others: fetched from where the configuration says and from nowhere else, kept, and fetched anew when a key is not known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemel.core.errors import AuthenticationError, ConfigurationError
from gemel.core.time import MINUTE, SECOND
from gemel.server.auth_tokens import Keys, Trust, read_keys, unverified, verify
from gemel.server.config import Issuer, ServerConfig, is_loopback

__all__ = ["Issuers", "KeySource", "check_address"]

_FRESH = 10 * MINUTE
_AGAIN = 30 * SECOND
"""The shortest time between two fetches, so that tokens with unknown key ids do not make us knock at somebody's door."""
_MOST = 256 * 1024
_TIMEOUT_S = 5.0


def check_address(url: str) -> str:
    """Return an address that keys may be fetched from: TLS, or this machine.

    Raises
    ------
    ConfigurationError
        When it is another.
    """
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return url
    raise ConfigurationError("keys are fetched over TLS only", seen=f"{parts.scheme}://{parts.hostname}", expected="https://...")


@dataclass
class KeySource:
    """The keys of one issuer or client.

    Parameters
    ----------
    file, url : where they are; one of the two.
    """

    clock: Callable[[], int]
    file: Path | None = None
    url: str = ""
    keys: Keys = field(default_factory=dict)
    fetched: int | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def find(self, kid: object) -> Keys:
        """Return the keys, fetched anew when they are old or the id is not among them."""
        now = self.clock()
        age = None if self.fetched is None else now - self.fetched
        if age is None or not 0 <= age < _FRESH or (kid not in self.keys and age >= _AGAIN):
            async with self._lock:
                if self.fetched is None or self.fetched < now:
                    await self._fetch(now)
        return self.keys

    async def _fetch(self, now: int) -> None:
        try:
            self.keys = read_keys(await self._told())
        except (OSError, ValueError, AuthenticationError) as error:
            if not self.keys:
                self.fetched = now - _FRESH + _AGAIN
                raise AuthenticationError(
                    "the keys of the issuer cannot be had", fix="try again; the operator finds the reason in the configuration"
                ) from error
        self.fetched = now

    async def _told(self) -> Any:
        if self.file is not None:
            return json.loads(await asyncio.to_thread(self.file.read_bytes))
        import httpx

        try:
            async with (
                httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
                client.stream("GET", check_address(self.url), headers={"Accept": "application/json"}) as told,
            ):
                if told.status_code != 200:
                    raise ValueError("no keys there")
                body = b""
                async for part in told.aiter_bytes():
                    body += part
                    if len(body) > _MOST:
                        raise ValueError("too much")
        except httpx.HTTPError as error:
            raise ValueError("no answer") from error
        return json.loads(body)


class Issuers:
    """Those whose tokens are believed.

    Parameters
    ----------
    own : the server's address: the audience where an issuer names none.
    """

    def __init__(self, config: ServerConfig, own: str, clock: Callable[[], int]) -> None:
        self._known: dict[str, tuple[Issuer, KeySource, Trust]] = {}
        for issuer in config.auth.issuers:
            source = KeySource(clock, issuer.jwks_file, issuer.jwks_url)
            trust = Trust(issuer.issuer, frozenset({issuer.audience or own}), frozenset(issuer.algorithms))
            self._known[issuer.issuer] = (issuer, source, trust)

    async def verify(self, token: str, claims: Mapping[str, Any], *, now: int, skew_s: float) -> tuple[Issuer, dict[str, Any]]:
        """Return whose token it is and what it says.

        Raises
        ------
        AuthenticationError
            When it is not believed.
        """
        named = claims.get("iss")
        known = self._known.get(named) if isinstance(named, str) else None
        if known is None:
            raise AuthenticationError(
                "the token is not believed", seen="it is of an issuer that is not known here", expected="a token of a configured issuer"
            )
        issuer, source, trust = known
        keys = await source.find(unverified(token)[0].get("kid"))
        return issuer, verify(token, keys, trust, now=now, skew_s=skew_s)
