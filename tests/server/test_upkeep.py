"""From time to time: readings merged, old answers and old work gone, and the server goes on meanwhile."""

from __future__ import annotations

import asyncio

import numpy as np
from _world import ADA, NOW

from gemel.core.code import Code
from gemel.core.series import Series
from gemel.core.time import DAY, MINUTE
from gemel.server.upkeep import Kept, keep_up, run


def _stream(store):
    for i in range(40):
        time = np.array([NOW - 5 * DAY + i * 5 * MINUTE])
        store.append(
            ADA, [Series(code=Code.parse("loinc:8867-4"), unit="/min", time=time, value=np.array([60.0 + i]))], recorded=int(time[0])
        )


def test_a_round_merges_and_lets_go_and_changes_nothing_that_is_read(world):
    world.write(_stream)
    job = world.write(lambda store: store.enqueue("toy", "k", "{}", now=NOW - 40 * DAY))
    world.write(lambda store: store.claim("toy", "w", now=NOW - 40 * DAY))
    world.write(lambda store: store.finish(job, "w", now=NOW - 40 * DAY))
    before = world.write(lambda store: (store.record(ADA).hash, store.counts()["series_chunk"], store.counts()["job"]))
    done = world.client.run(keep_up(world.services, asyncio.Event()))
    after = world.write(lambda store: (store.record(ADA).hash, store.counts()["series_chunk"], store.counts()["job"]))
    assert after[0] == before[0]
    assert done.merged == before[1] - after[1] >= 38  # forty readings lie in one day, or two
    assert (done.jobs, before[2] - after[2]) == (1, 1)
    assert world.client.run(keep_up(world.services, asyncio.Event())) == Kept(0, 0, 0, 0)


def test_it_ends_when_it_is_told_to(world):
    stop = asyncio.Event()

    async def ended():
        task = asyncio.create_task(run(world.services, stop))
        await asyncio.sleep(0)
        stop.set()
        await asyncio.wait_for(task, 5)
        return True

    assert world.client.run(ended())
