"""The listener of ``[mllp]``, and the bell of ``[live] redis``: what arrives goes into the store, and workers hear of it."""

from __future__ import annotations

import asyncio
import logging

from gemel.interop.hl7v2 import Site
from gemel.platform.adapters import hl7v2
from gemel.platform.stream.limits import Buckets
from gemel.server.listeners.hl7v2 import committer
from gemel.server.listeners.mllp import MllpListener
from gemel.server.sections.hl7v2 import Mllp
from gemel.server.services import Services
from gemel.server.tls import listening

__all__ = ["ring", "run", "site_of"]

_LOG = logging.getLogger(__name__)


def site_of(config: Mllp) -> Site:
    """Return what the senders of the listener leave out."""
    return Site(
        zone=config.zone, charset=config.charset, codes=config.codes, units=config.units, identifier_types=config.identifier_types,
        authority=config.authority, accept_tests=config.accept_tests,
    )  # fmt: skip


async def run(services: Services, stop: asyncio.Event) -> None:
    """Listen until ``stop``."""
    config: Mllp = services.config.mllp  # type: ignore[assignment]
    commit = committer(
        services.write, [hl7v2.adapter(usual=site_of(config))], source=config.source, buckets=Buckets(config.rate, config.burst)
    )
    listener = MllpListener(
        commit, clock=services.clock, host=config.host, port=config.port, limit=int(config.message_mib * (1 << 20)), connections=config.connections,
        idle=config.idle_s, patience=config.patience_s, tls=listening(config.certificate, config.certificate_key, config.client_authority),
    )  # fmt: skip
    services.state["mllp.port"] = await listener.start()
    try:
        await stop.wait()
    finally:
        await listener.stop()


async def ring(services: Services, stop: asyncio.Event, *, pause_s: float = 0.05) -> None:
    """Tell workers through Redis what was committed, until ``stop``; nothing to do where none is named. One that is away is told when it is back."""
    if not services.config.live.redis:
        await stop.wait()
        return
    from redis import RedisError

    from gemel.platform.stream.redis import Bell, connect

    bell, was_there = Bell(connect(services.config.live.redis)), True
    while not stop.is_set():
        try:
            await services.readers.run(bell.ring)
            was_there = True
        except RedisError as error:
            if was_there:
                _LOG.warning("Redis is away: workers ask the store", extra={"error": type(error).__name__})
            was_there = False
        try:
            await asyncio.wait_for(stop.wait(), pause_s if was_there else 1.0)
        except TimeoutError:
            continue
