"""What changed at the hospital's FHIR server, fetched again and again: by ``_lastUpdated``, with a window that overlaps, each version taken once.

How far it was read stands in the store, in the words of that server's own clock, and moves only when every page of a search was taken: cut short, the same is read again and
enters once. A notification makes the next look come at once; one that was lost is made good by the next look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from gemel.core.errors import ConflictError, FormatError, GemelError, RemoteError, TimeError
from gemel.core.time import SECOND, iso, to_ns
from gemel.interop.fhir.advice import is_ours
from gemel.interop.fhir.client import FhirClient
from gemel.interop.fhir.codec import encode
from gemel.platform.intake import Adapter, Intake, Taken
from gemel.platform.store import Store
from gemel.server.hospital import connect
from gemel.server.return_path import pause
from gemel.server.sections.hospital import Poll as Settings
from gemel.server.services import Services

__all__ = ["Poller", "run"]

_LOG = logging.getLogger("gemel.server")
_AHEAD = 120 * SECOND
_PART = 200
"""Resources taken in one transaction."""


@dataclass(frozen=True)
class _New:
    """One version that was not taken yet."""

    name: str
    body: bytes
    updated: int


class Poller:
    """Fetches what changed.

    Parameters
    ----------
    services : store and clock.
    client : of the hospital's server; its requests run in threads.
    source : its name in the configuration; settings of the site go by it.
    adapters : who reads what; that of ``fhir`` is used.
    """

    def __init__(self, services: Services, settings: Settings, client: FhirClient, *, source: str, adapters: Sequence[Adapter]) -> None:
        self._services, self._settings, self._client, self._source, self._adapters = services, settings, client, source, adapters
        self._seen: dict[str, dict[str, int]] = {}

    async def step(self) -> int:
        """Look once at every type; return how many versions were taken."""
        return sum([await self._look(asked) for asked in self._settings.types])

    async def _look(self, asked: str) -> int:
        kind, _, query = asked.partition("?")
        mark = f"poll/{self._source}/{asked}"
        place = await self._services.readers.run(lambda store: store.marked(mark)) or self._settings.since
        since = to_ns(place) if place else None
        found, last = await asyncio.to_thread(self._fetch, kind, parse_qsl(query), since, self._seen.setdefault(asked, {}))
        if last is not None:
            last = min(last, self._services.clock() + _AHEAD)  # one date in the far future would hide everything that comes after
        for start in range(0, len(found), _PART):
            await self._services.write(lambda store, part=found[start : start + _PART]: self._take(store, part))
        if last is not None and last != since:
            now = self._services.clock()
            await self._services.write(lambda store: store.mark(mark, iso(last), recorded=now))
        window = self._seen[asked]
        window.update({one.name: one.updated for one in found})
        oldest = (last or 0) - round(2 * self._settings.overlap_s * SECOND)
        self._seen[asked] = {name: updated for name, updated in window.items() if updated >= oldest}
        return len(found)

    def _fetch(self, kind: str, query: list[tuple[str, str]], since: int | None, seen: Mapping[str, int]) -> tuple[list[_New], int | None]:
        """Return new versions in the order in which they were written there, and the latest time seen."""
        after = [] if since is None else [("_lastUpdated", f"ge{iso(_to_ms(since - round(self._settings.overlap_s * SECOND)))}")]
        found: dict[str, _New] = {}
        last = since
        for resource in self._client.search(kind, *query, *after, ("_sort", "_lastUpdated")):
            if resource.get("resourceType") != kind or is_ours(resource):  # advice that came back would be taken for something observed
                continue
            one = _new(resource)
            if one is None:
                _LOG.warning("a resource without id, version or time of change was passed over", extra={"type": kind})
                continue
            last = one.updated if last is None else max(last, one.updated)
            if one.name not in seen:
                found[one.name] = one
        return sorted(found.values(), key=lambda one: one.updated), last

    def _take(self, store: Store, part: Sequence[_New]) -> list[Taken]:
        intake, now = Intake(store, self._adapters), self._services.clock()
        return [intake.take(self._source, "fhir", one.body, name=one.name, received=now) for one in part]


def _to_ms(time: int) -> int:
    """Cut to milliseconds, which is what servers compare by."""
    return time // 1_000_000 * 1_000_000


def _new(resource: Mapping[str, Any]) -> _New | None:
    meta = resource.get("meta")
    if not isinstance(meta, Mapping) or not resource.get("id"):
        return None
    updated = meta.get("lastUpdated")
    try:
        time = to_ns(updated) if isinstance(updated, str) else None
    except TimeError:
        return None
    version = str(meta.get("versionId") or updated)
    return None if time is None else _New(f"{resource['resourceType']}/{resource['id']}/_history/{version}", encode(resource), time)


def usual_adapters() -> tuple[Adapter, ...]:
    """Return who reads what was fetched."""
    from gemel.platform.adapters import fhir

    return (fhir.adapter(),)


async def run(services: Services, stop: asyncio.Event, *, adapters: Callable[[], Sequence[Adapter]] = usual_adapters) -> None:
    """Poll until ``stop``."""
    hospital, settings = services.config.hospital, services.config.poll
    if hospital is None or settings is None:
        return
    wake: asyncio.Event = services.state.setdefault("poll.wake", asyncio.Event())
    with contextlib.ExitStack() as stack:
        client = await asyncio.to_thread(stack.enter_context, connect(hospital, clock=services.clock))
        poller = Poller(services, settings, client, source=hospital.name, adapters=adapters())
        while not stop.is_set():
            wake.clear()
            try:
                await poller.step()
            except (RemoteError, ConflictError, FormatError) as error:
                _LOG.warning("the poll waits for the FHIR server", extra={"error": error.what})
            except GemelError as error:
                _LOG.error("the poll failed", extra={"error": type(error).__name__})
            await pause(stop, wake, settings.interval_s)
