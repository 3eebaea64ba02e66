"""How often somebody may ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Buckets"]


class Buckets:
    """Token buckets: each key may ask ``rate`` times a second, and ``burst`` times at once.

    Parameters
    ----------
    most : keys that are remembered; the one that was not used for longest goes.
    clock : monotonic seconds.
    """

    def __init__(self, rate: float, burst: int, *, most: int = 100_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._most, self._clock = rate, float(burst), most, clock
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one; return the seconds to wait for it, 0 when it was there."""
        now = self._clock()
        left, then = self._held.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._held[key] = (left - (wait == 0.0), now)
        if len(self._held) > self._most:
            self._held.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._held)
