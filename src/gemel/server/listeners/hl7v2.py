"""HL7 v2 over MLLP into the store: what the listener received is kept, read and placed, and answered when it is on the disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from gemel.core.errors import LimitError
from gemel.interop.hl7v2 import ACCEPTED, ERROR
from gemel.platform.intake import Adapter, Intake, Taken
from gemel.platform.store import Store
from gemel.platform.stream.clocks import SourceClocks
from gemel.platform.stream.limits import Buckets
from gemel.server.listeners.mllp import Arrival, Verdict

__all__ = ["committer"]

_LOG = logging.getLogger(__name__)
_PAUSE_S = 0.05

Write = Callable[[Callable[[Store], Taken]], Awaitable[Taken]]


def committer(
    write: Write, adapters: Sequence[Adapter], *, source: str, buckets: Buckets | None = None, clocks: SourceClocks | None = None,
    told: Callable[[Taken, Arrival], None] | None = None,
) -> Callable[[Arrival], Awaitable[Verdict]]:  # fmt: skip
    """Return what an :class:`MllpListener` awaits for each message.

    Parameters
    ----------
    write : hands a change to the one thread that writes, and returns when it is on the disk.
    adapters : who reads what; that of ``hl7v2`` is used.
    source : the name of this listener in the configuration; settings of senders go by it.
    buckets : how fast each sender may send. One that is faster waits for its answer: nothing it sent is lost, and it sends no more meanwhile.
    clocks : what watches the senders' clocks.
    told : called with what became of each message, for metrics.

    Notes
    -----
    A message that could be placed, in part or as a whole, is accepted (AA), and again when it is sent again. One that was kept but not placed is an error (AE) for
    the sender to look at; it waits in quarantine here. When it is sent again it is tried again.
    """
    watched = SourceClocks() if clocks is None else clocks

    async def commit(arrival: Arrival) -> Verdict:
        if buckets is not None and (wait := buckets.take(f"{source}|{'|'.join(arrival.name[:2])}")) > 0:
            await asyncio.sleep(wait)
        name = "|".join(arrival.name) if arrival.header.control else ""

        def change(store: Store) -> Taken:
            intake = Intake(store, adapters)
            taken = intake.take(source, "hl7v2", arrival.body, name=name, received=arrival.received)
            return intake.drive(taken.message) if not taken.is_new and taken.state == "quarantined" else taken

        while True:
            try:
                taken = await write(change)
            except LimitError:  # too much waits to be written: the answer is late, and the sender waits
                await asyncio.sleep(_PAUSE_S)
            else:
                break
        if taken.is_new:
            for flag in watched.look(f"{source}|{'|'.join(arrival.name[:2])}", sent=taken.sent, received=arrival.received):
                _LOG.warning(
                    "clock of a sender is wrong",
                    extra={"source": source, "what": flag.kind, "seconds": flag.by / 1e9, "count": taken.message},
                )
        if told is not None:
            told(taken, arrival)
        return Verdict(ACCEPTED) if taken.is_placed else Verdict(ERROR, taken.reason)

    return commit
