"""Redis Streams as an option: workers are told what has arrived instead of asking the store. The store stays the truth: a Redis that is lost costs nothing but time.

What goes through it is the number of an event, nothing of a patient. Who writes calls :class:`Bell` after the commit; a worker waits on :class:`Wake`. An entry that a worker
took and did not confirm is claimed by another. A Redis that is away, or came back empty, is filled again from the events of the store; until then workers ask the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gemel.core.errors import StoreError
from gemel.platform.store import Store, lookup

__all__ = ["GROUP", "STREAM", "Bell", "Wake", "connect"]

STREAM, GROUP = "gemel:events", "live"
_IDLE_MS = 30_000
_MOST = 100_000


def connect(address: str) -> Any:
    """Return a client of a Redis server: ``redis://``, ``rediss://`` or ``unix://``.

    Raises
    ------
    StoreError
        When its library is not installed.
    """
    try:
        import redis
    except ImportError as error:
        raise StoreError(
            "Redis needs an extra", seen="redis is not installed", fix="pip install 'gemel[redis]', or leave [live] redis out"
        ) from error
    return redis.Redis.from_url(address, socket_timeout=5.0, socket_connect_timeout=2.0)


class Bell:
    """Rings when something was committed.

    Parameters
    ----------
    client : of Redis.
    most : entries that the stream keeps, about: what is older was turned into wants long ago.
    """

    def __init__(self, client: Any, *, most: int = _MOST) -> None:
        self._client, self._most = client, most

    def ring(self, store: Store) -> int:
        """Tell what the store has had since the last time; return how many events. Ringing too often, or again after a failure, does no harm."""
        last = lookup.last_event(store)
        told = int(self._client.get(f"{STREAM}:last") or 0)
        if last <= told:
            return 0
        self._client.xadd(STREAM, {"seq": last}, maxlen=self._most, approximate=True)
        self._client.set(f"{STREAM}:last", last)
        return last - told

    def rebuild(self, store: Store) -> int:
        """Fill an empty Redis from the events of the store; return how many events are told again."""
        self._client.delete(STREAM, f"{STREAM}:last")
        return self.ring(store)


class Wake:
    """Waits for the bell as one of a group of workers: each entry goes to one of them.

    Parameters
    ----------
    address : of Redis; or a client.
    name : of the worker.
    idle_ms : after which an entry that a worker took and did not confirm goes to another.
    sleep : seconds, used while Redis is away.
    """

    def __init__(self, address: Any, name: str, *, idle_ms: int = _IDLE_MS, sleep: Callable[[float], object] = time.sleep) -> None:
        self._client = connect(address) if isinstance(address, str) else address
        self._name, self._idle, self._sleep = name, idle_ms, sleep
        self._taken: list[bytes] = []

    def wait(self, seconds: float) -> int:
        """Wait until something arrived, at most so long; return how many entries there were. What was taken before is confirmed: it has been worked on."""
        import redis

        for _ in range(2):
            try:
                return self._read(seconds)
            except redis.ResponseError:  # the stream is not there: a Redis that is new, or lost what it had
                self._taken = []
                with suppress(redis.RedisError):
                    self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
            except redis.RedisError:  # it is away: the worker looks at the store at its usual pace
                break
        self._sleep(seconds)
        self._taken = []
        return 0

    def _read(self, seconds: float) -> int:
        if self._taken:
            self._client.xack(STREAM, GROUP, *self._taken)
            self._taken = []
        self._taken = [key for key, _ in self._client.xautoclaim(STREAM, GROUP, self._name, self._idle, count=1000)[1]]
        if not self._taken:
            rows = self._client.xreadgroup(GROUP, self._name, {STREAM: ">"}, count=1000, block=max(1, round(seconds * 1000)))
            self._taken = [key for _, entries in rows or () for key, _ in entries]
        return len(self._taken)
