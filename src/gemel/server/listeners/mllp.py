"""The MLLP listener: HL7 v2 messages over TCP, each answered after it is safe, and not before.

Delivery is at least once, effect exactly once: a sender that did not see the answer sends again, and the commit recognises the message by its key. When the
commits are slow, answers are late and nothing more is read from that connection: the sender waits, memory does not grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gemel.core.errors import FormatError, ValueRangeError
from gemel.interop.hl7v2 import (
    ACCEPTED,
    ERROR,
    MAX_MESSAGE,
    REJECTED,
    Deframer,
    Frame,
    Header,
    acknowledge,
    enframe,
    read_header,
    split_messages,
)

__all__ = ["Arrival", "MllpListener", "Verdict"]

_LOG = logging.getLogger(__name__)
_CHUNK = 65_536


@dataclass(frozen=True, repr=False)
class Arrival:
    """One message as it arrived. Its bytes are a patient's: they are in no log and no ``repr``.

    Parameters
    ----------
    body : the message without its frame.
    header : sender, number and kind.
    received : ns UTC.
    faults : of the frame, in words.
    """

    body: bytes
    header: Header
    received: int
    faults: tuple[str, ...] = ()

    @property
    def name(self) -> tuple[str, str, str]:
        """What a sender may use once: application, facility and number (MSH-3, MSH-4, MSH-10)."""
        return self.header.application, self.header.facility, self.header.control

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes. Whoever keeps it seals it (HMAC) first: a bare hash of a short message can be guessed."""
        return hashlib.sha256(self.body).hexdigest()

    def __repr__(self) -> str:
        return f"Arrival({len(self.body)} bytes)"


@dataclass(frozen=True)
class Verdict:
    """What became of an arrival.

    Parameters
    ----------
    code : ``AA``: it is safe (or was already); ``AE``: it was kept, but somebody must look; ``AR``: it was not kept.
    error : in words, without any value of the message.
    number : table 0357.
    """

    code: str = ACCEPTED
    error: str = ""
    number: str = "207"


class MllpListener:
    """Listen for messages and answer each of them.

    Parameters
    ----------
    commit : awaited for every message; returns only when it is on disk. An exception, or no return in time, is answered ``AE``: the sender keeps it.
    clock : ns UTC.
    host, port : where to listen; port 0 takes a free one.
    limit : bytes of one message.
    connections : at most so many at once; a further one is closed at once.
    commits : at most so many at once over all connections.
    idle : seconds without a byte after which a connection is closed.
    patience : seconds for one commit, and for a sender to take its answer.
    tls : for listening in TLS.

    Examples
    --------
    >>> async def keep(arrival: Arrival) -> Verdict:
    ...     return Verdict()
    >>> listener = MllpListener(keep, clock=lambda: 0)
    """

    def __init__(
        self,
        commit: Callable[[Arrival], Awaitable[Verdict]],
        *,
        clock: Callable[[], int],
        host: str = "127.0.0.1",
        port: int = 0,
        limit: int = MAX_MESSAGE,
        connections: int = 64,
        commits: int = 8,
        idle: float = 600.0,
        patience: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        for name, value in (("connections", connections), ("commits", commits), ("idle", idle), ("patience", patience)):
            if value <= 0:
                raise ValueRangeError(f"a listener without {name}", seen=value, expected="more than 0")
        self._commit, self._clock, self._host, self._port = commit, clock, host, port
        self._limit, self._most, self._idle, self._patience, self._tls = limit, connections, idle, patience, tls
        self._room = asyncio.Semaphore(commits)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._answers = 0

    async def start(self) -> int:
        """Begin to listen; return the port."""
        self._server = await asyncio.start_server(self._serve, self._host, self._port, ssl=self._tls, limit=_CHUNK)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and close what is open; what was not answered will be sent again."""
        if self._server is None:
            return
        self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # a coroutine of a server always runs in one
        if len(self._open) >= self._most:
            _LOG.warning("connection refused: %d are open", len(self._open))
            writer.close()
            return
        self._open.add(task)
        try:
            await self._converse(reader, writer)
        except (ConnectionError, TimeoutError, ssl.SSLError):
            _LOG.info("connection lost or idle")
        except asyncio.CancelledError:
            if self._server is not None and self._server.is_serving():
                raise
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        deframer = Deframer(self._limit)
        while data := await asyncio.wait_for(reader.read(_CHUNK), self._idle):
            for frame in deframer.feed(data):
                await self._frame(frame, writer)
        for frame in deframer.close():
            await self._frame(frame, writer)

    async def _frame(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        if not frame.is_whole:
            await self._answer(read_header(frame.body), Verdict(REJECTED, "; ".join(frame.faults)), writer)
            return
        for body in split_messages(frame.body) or [frame.body]:
            header = read_header(body)
            verdict = Verdict(REJECTED, "not an HL7 v2 message", "100")
            if body.lstrip(b"\xef\xbb\xbf\0 \t\r\n").startswith(b"MSH"):
                verdict = await self._keep(Arrival(body, header, self._clock(), frame.faults))
            await self._answer(header, verdict, writer)

    async def _keep(self, arrival: Arrival) -> Verdict:
        try:
            async with self._room:
                return await asyncio.wait_for(self._commit(arrival), self._patience)
        except TimeoutError:
            return Verdict(ERROR, "not committed in time: send again")
        except FormatError as error:
            return Verdict(REJECTED, error.what, "100")
        except Exception as error:  # whatever a commit raises, the sender must hear that nothing is safe
            _LOG.error("commit failed: %s", type(error).__name__)
            return Verdict(ERROR, "not committed: send again")

    async def _answer(self, header: Header, verdict: Verdict, writer: asyncio.StreamWriter) -> None:
        self._answers += 1
        now = self._clock()
        text = acknowledge(header, verdict.code, now=now, control=f"{now:x}-{self._answers}", error=verdict.error, number=verdict.number)
        writer.write(enframe(text))
        await asyncio.wait_for(writer.drain(), self._patience)
