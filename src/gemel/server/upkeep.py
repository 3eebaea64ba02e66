"""What a store needs from time to time: readings that came one by one merged into days, and what was kept for a while let go."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from gemel.core.time import DAY, HOUR
from gemel.platform.store import Store
from gemel.server.services import Services

__all__ = ["Kept", "keep_up", "run"]

_ANSWERS = 24 * HOUR
"""How long the answer to a request with a key is kept: for whom asks again."""

_SLICE = 20
"""Days of series that are merged in one transaction: others write in between."""


class Kept(NamedTuple):
    """What one round did: blocks fewer, answers, work and files that went."""

    merged: int
    answers: int
    jobs: int
    files: int


async def keep_up(services: Services, stop: asyncio.Event) -> Kept:
    """Merge what is worth it, a little at a time, and let go of what is over."""
    now, merged = services.clock(), 0

    def merge(store: Store) -> int:
        return store.compact(now=now, limit=_SLICE)

    while not stop.is_set() and (fewer := await services.write(merge)):
        merged += fewer
        await asyncio.sleep(0.05)
    kept = round(services.config.upkeep.jobs_days * DAY)
    answers, jobs = await services.write(lambda store: store.tidy(answers_before=now - _ANSWERS, jobs_before=now - kept))
    files = await services.write(lambda store: store.sweep() if store.blobs is not None and store.blobs.is_dir() else 0)
    return Kept(merged, answers, jobs, files)


async def run(services: Services, stop: asyncio.Event) -> None:
    """Keep the store up every so many minutes, until ``stop`` is set; the first time after as many."""
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), services.config.upkeep.every_min * 60)
        except TimeoutError:
            await keep_up(services, stop)
