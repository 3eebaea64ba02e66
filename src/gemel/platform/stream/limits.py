"""How fast a source may send: a bucket of tokens for each, that fills at a steady rate."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from gemel.core.errors import ValueRangeError

__all__ = ["Buckets"]


class Buckets:
    """One bucket for each source; a source that sends steadily below the rate never waits.

    Parameters
    ----------
    rate : messages per second.
    burst : messages at once.
    monotonic : seconds, of a clock that is never set.
    most : sources remembered; of more the one that was idle longest is forgotten, which can only be to its advantage.

    Raises
    ------
    ValueRangeError
        When a rate or burst lets nothing through.

    Examples
    --------
    >>> buckets = Buckets(rate=2.0, burst=1, monotonic=lambda: 0.0)
    >>> buckets.take("ward"), buckets.take("ward"), buckets.take("laboratory")
    (0.0, 0.5, 0.0)
    """

    def __init__(self, rate: float, burst: int, *, monotonic: Callable[[], float] = time.monotonic, most: int = 10_000) -> None:
        if rate <= 0 or burst < 1 or most < 1:
            raise ValueRangeError("a limit that lets nothing through", seen=(rate, burst, most), expected="rate > 0, burst >= 1, most >= 1")
        self._rate, self._burst, self._monotonic, self._most = rate, float(burst), monotonic, most
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, source: str) -> float:
        """Take a token; return the seconds until it is there (0: now). Who waits so long has paid."""
        now = self._monotonic()
        left, last = self._known.pop(source, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - last) * self._rate) - 1.0
        self._known[source] = (left, now)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return max(0.0, -left / self._rate)

    def ask(self, source: str) -> float:
        """Take a token if there is one, and return 0; otherwise return the seconds after which to ask again, and take none."""
        wait = self.take(source)
        if wait > 0:
            left, last = self._known[source]
            self._known[source] = (left + 1.0, last)
        return wait
