"""What a server holds while it runs: put together once, handed to whoever needs it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gemel.core.errors import ConfigurationError
from gemel.core.protocols import Audit
from gemel.platform.audit_writer import AuditWriter
from gemel.platform.crypto import Secret
from gemel.platform.guard import Caller, Guard
from gemel.platform.keys import Master
from gemel.platform.signing import signing_key
from gemel.platform.store import Store
from gemel.platform.store.base import is_postgres
from gemel.platform.store.group import GroupWriter
from gemel.platform.store.readers import Readers
from gemel.server.auth import Authenticator
from gemel.server.auth_tokens import Tokens
from gemel.server.config import ServerConfig, is_loopback
from gemel.server.metrics import Metrics
from gemel.server.telemetry import Tracer

__all__ = ["Services", "open_services", "public_url", "trail_of"]

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """Everything that routes and background services work with.

    Parameters
    ----------
    clock : returns the time, ns UTC.
    readers : ``await readers.run(look)`` runs ``look(store)`` in a thread that owns a store.
    writer : takes changes of the store, and answers when they are on the disk; :meth:`write` is the way to it.
    tokens : signs and reads the server's own tokens.
    state : what single parts keep while the server runs, by their name.
    """

    config: ServerConfig
    clock: Callable[[], int]
    readers: Readers
    writer: GroupWriter
    guard: Guard
    audit: Audit
    metrics: Metrics
    tokens: Tokens
    authenticator: Authenticator
    tracer: Tracer
    keys: Master | None = None
    state: dict[str, Any] = field(default_factory=dict)

    async def write(self, change: Callable[[Store], T]) -> T:
        """Hand a change to the writer; return what it returned once it is on the disk.

        It may run twice: it must have no effect but on the store, so that the audit trail is written to after it, not inside.
        """
        return await asyncio.wrap_future(self.writer.submit(change, wait=False))

    async def log(self, caller: Caller, action: str, *, subject: str = "", detail: Mapping[str, Any] | None = None) -> None:
        """Write an entry of the audit trail without holding up the event loop: after a change of the store that stands."""
        await asyncio.to_thread(self.guard.log, caller, action, subject=subject, detail=detail)

    @property
    def place(self) -> str | Path:
        """Where the store is."""
        return place_of(self.config)


def place_of(config: ServerConfig) -> str | Path:
    """Return where the store is: a URL, or a file."""
    place = config.store.place
    return place if is_postgres(place) else Path(place)


def public_url(config: ServerConfig) -> str:
    """Return the address by which others know the server, without a slash at its end."""
    http = config.server
    host = f"[{http.host}]" if ":" in http.host else http.host
    return (http.public_url or f"{'https' if http.certificate else 'http'}://{host}:{http.port}").rstrip("/")


def trail_of(config: ServerConfig) -> Path:
    """Return where the audit trail is: as configured, or beside an embedded store."""
    if config.audit.trail is not None:
        return config.audit.trail
    place = place_of(config)
    if isinstance(place, str):
        raise ConfigurationError("the audit trail needs a place", expected="[audit] trail = FILE", fix="name a file on this machine")
    return place.with_name(place.name + ".audit.jsonl")


@contextlib.contextmanager
def open_services(config: ServerConfig, *, clock: Callable[[], int] = time.time_ns, keys: Master | None = None) -> Iterator[Services]:
    """Open the store, its writer and readers and the audit trail; close them in order at the end.

    Parameters
    ----------
    clock : returns the time, ns UTC.
    keys : the master key; left out, as :class:`gemel.platform.store.Store` finds it.

    Raises
    ------
    StoreError
        When the store or the trail cannot be opened.
    ConfigurationError
        When a place is missing.
    """
    place, trail = place_of(config), trail_of(config)
    settings = {"keys": keys}
    with contextlib.ExitStack() as stack:
        tracer = Tracer(config.log.traces)
        stack.callback(tracer.close)
        writer = stack.enter_context(GroupWriter(place, blobs=config.store.blobs, **settings))
        readers = stack.enter_context(Readers(place, blobs=config.store.blobs, threads=config.store.readers, **settings))
        key = signing_key() if config.audit.sign else None
        audit = stack.enter_context(
            AuditWriter(
                trail, place, clock=clock, key=key, anchor=config.audit.anchor, every=config.audit.every, seconds=config.audit.seconds, **settings
            )
        )  # fmt: skip
        secret: Secret = readers.submit(lambda store: store._sealing.secret("server tokens")).result()
        tokens = Tokens(secret, issuer=public_url(config), generation=config.auth.key_generation, clock=clock, skew_s=config.auth.skew_s)
        yield Services(
            config, clock, readers, writer, Guard(audit, clock), audit, Metrics(), tokens, Authenticator(config, tokens, clock), keys
        )


def request_id() -> str:
    """Return a new id of a request: 128 random bits."""
    return secrets.token_hex(16)


def is_local(config: ServerConfig) -> bool:
    """Say whether nobody but this machine reaches the server."""
    return is_loopback(config.server.host)
