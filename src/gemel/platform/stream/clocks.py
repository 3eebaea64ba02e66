"""Clocks of sources, which are wrong: ahead of ours, set back, in another zone. What they say is kept and flagged, never extrapolated."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from gemel.core.time import MINUTE

__all__ = ["LARGEST_LEAD", "ClockFlag", "SourceClocks"]

LARGEST_LEAD = 2 * MINUTE
"""How far a source's clock may be ahead of ours, and how far a message may be older than the one before it, ns."""


@dataclass(frozen=True)
class ClockFlag:
    """What is wrong with a source's clock: ``ahead`` of ours, or set ``back``, by so many nanoseconds."""

    kind: str
    by: int


class SourceClocks:
    """Watches when messages say that they were sent.

    Parameters
    ----------
    lead : ns above which a difference is flagged.
    most : sources remembered.

    Notes
    -----
    A message that was sent again, or took another way, is older than the one before it too; how old a late *fact* is says nothing about a clock. Only the time
    of sending is looked at, and only of messages that had not come before.

    Examples
    --------
    >>> clocks = SourceClocks()
    >>> clocks.look("ward", sent=10 * MINUTE, received=0)
    (ClockFlag(kind='ahead', by=600000000000),)
    >>> clocks.look("ward", sent=MINUTE, received=MINUTE)
    (ClockFlag(kind='back', by=540000000000),)
    """

    def __init__(self, *, lead: int = LARGEST_LEAD, most: int = 10_000) -> None:
        self._lead, self._most = lead, most
        self._last: OrderedDict[str, int] = OrderedDict()

    def look(self, source: str, *, sent: int | None, received: int) -> tuple[ClockFlag, ...]:
        """Return what is wrong with the time of a message (both ns UTC); nothing when the source does not say when it was sent."""
        if sent is None:
            return ()
        flags = [ClockFlag("ahead", sent - received)] if sent - received > self._lead else []
        last = self._last.pop(source, sent)
        if last - sent > self._lead:
            flags.append(ClockFlag("back", last - sent))
        self._last[source] = sent
        if len(self._last) > self._most:
            self._last.popitem(last=False)
        return tuple(flags)
