"""Whether the server can do its work: database, workers, disk, audit trail."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass

from gemel.core.errors import GemelError
from gemel.core.time import MINUTE
from gemel.server.services import Services

__all__ = ["Part", "readiness"]

_LEAST_BYTES = 256 * 2**20
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Part:
    """One part, whether it is fit, and what is wrong, without names of files or people."""

    name: str
    ok: bool
    note: str = ""


async def readiness(services: Services) -> tuple[Part, ...]:
    """Look at everything that a request may need."""
    return (await _database(services), _disk(services), _audit(services), await _worker(services))


async def _database(services: Services) -> Part:
    try:
        await asyncio.wait_for(services.readers.run(lambda store: store.position("ready")), _PATIENCE_S)
    except GemelError as error:
        return Part("database", False, error.what)
    except TimeoutError:
        return Part("database", False, "it does not answer")
    return Part("database", True)


def _disk(services: Services) -> Part:
    place = services.place
    folder = services.config.store.blobs if isinstance(place, str) else place.resolve().parent
    if folder is None:
        return Part("disk", True, "the database's own")
    there = next((place for place in (folder, *folder.resolve().parents) if place.is_dir()), None)
    if there is None:
        return Part("disk", False, "its folder is not there")
    free = shutil.disk_usage(there).free
    return Part("disk", free >= _LEAST_BYTES, f"{free >> 20} MiB free")


def _audit(services: Services) -> Part:
    fault = getattr(services.audit, "fault", "")
    return Part("audit", not fault, fault)


async def _worker(services: Services) -> Part:
    if services.config.worker.count == 0:
        return Part("worker", True, "none is wanted here")
    alive = services.state.get("worker")
    if alive is None:
        return Part("worker", False, "none was started")
    told = alive(services.clock() - 2 * MINUTE)
    return Part("worker", told >= services.config.worker.count, f"{told} of {services.config.worker.count}")
