"""MLLP: the frame around a message, as a state machine over bytes that arrive in any pieces. No socket here.

A frame is 0x0B, the message, 0x1C, 0x0D. What senders really do is survived and named: noise between frames, a frame that is never closed, a missing
last carriage return, several messages in one frame, and a message without end.

References
----------
HL7 Version 2, Transport Specification: MLLP, Release 1, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from gemel.core.errors import ValueRangeError

__all__ = ["END", "MAX_MESSAGE", "RETURN", "START", "Deframer", "Frame", "enframe", "split_messages"]

START, END, RETURN = 0x0B, 0x1C, 0x0D
MAX_MESSAGE = 16 << 20
"""Largest message accepted when nothing else is said, bytes: a report with a PDF has a few MB."""
_TRAILERS = (b"BHS", b"BTS", b"FHS", b"FTS")


@dataclass(frozen=True)
class Frame:
    """What stood in a frame, and what was wrong with the frame itself.

    Parameters
    ----------
    body : bytes between the marks; of one that is too long, its beginning.
    faults : in words; empty for a frame as it should be.
    is_whole : False when the end was never seen, or was too far away: the body may be cut off and must not be mapped.
    """

    body: bytes
    faults: tuple[str, ...] = ()
    is_whole: bool = True


def enframe(body: bytes) -> bytes:
    r"""Put a message into a frame.

    Raises
    ------
    ValueRangeError
        When the message itself holds the start mark or the end mark.

    Examples
    --------
    >>> enframe(b"MSH|")
    b'\x0bMSH|\x1c\r'
    """
    if START in body or END in body:
        raise ValueRangeError(
            "a message holds a mark of its frame", seen="0x0B or 0x1C", expected="neither", fix="escape it as \\X0B\\ or \\X1C\\"
        )
    return bytes((START,)) + body + bytes((END, RETURN))


class Deframer:
    r"""Cut a stream of bytes into frames.

    Parameters
    ----------
    limit : bytes a message may have. Of a longer one the beginning is given out as a fault, and the rest is passed over unread.

    Examples
    --------
    >>> deframer = Deframer()
    >>> deframer.feed(b"\x0bMSH|^~")
    []
    >>> [frame.body for frame in deframer.feed(b"\\&\x1c\r")]
    [b'MSH|^~\\&']
    """

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        if limit < 1:
            raise ValueRangeError("a frame has no room", seen=limit, expected="at least 1 byte")
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0  # the end mark is nowhere before it
        self._inside = self._passing = False
        self._noise = 0

    @property
    def waiting(self) -> int:
        """Bytes of a frame that is not closed yet."""
        return len(self._buffer) if self._inside else 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes, return the frames that they complete."""
        self._buffer += data
        found: list[Frame] = []
        while self._step(found):
            pass
        return found

    def close(self) -> list[Frame]:
        """Say that nothing more will come: a frame that is still open is returned as one that is not whole."""
        left: list[Frame] = []
        if self._inside and self._buffer.endswith(bytes((END,))):
            left.append(self._frame(bytes(self._buffer[:-1]), "no carriage return after the end mark"))
        elif self._inside and self._buffer:
            left.append(self._frame(bytes(self._buffer), "frame never closed", whole=False))
        self._buffer.clear()
        self._inside = self._passing = False
        self._searched = 0
        return left

    def _frame(self, body: bytes, *faults: str, whole: bool = True) -> Frame:
        if self._noise:
            faults = (f"{self._noise} bytes outside any frame passed over", *faults)
            self._noise = 0
        return Frame(body, tuple(faults), whole)

    def _step(self, found: list[Frame]) -> bool:
        """Do one step; False when more bytes are needed."""
        if not self._inside:
            return self._enter()
        end = self._buffer.find(END, self._searched)
        again = self._buffer.find(START, self._searched)
        if 0 <= again and (end < 0 or again < end):  # a new frame begins before this one ended
            if not self._passing:
                found.append(self._frame(bytes(self._buffer[:again]), "frame never closed: a new one began", whole=False))
            self._cut(again)
            self._inside = self._passing = False
            return True
        if end < 0:
            self._searched = len(self._buffer)
            self._guard(found)
            return False
        if end + 1 == len(self._buffer):
            self._searched = end
            return False
        if self._passing:
            self._cut(end + 1)
            self._inside = self._passing = False
        elif end > self._limit:
            found.append(self._frame(bytes(self._buffer[: self._limit]), f"longer than {self._limit} bytes", whole=False))
            self._cut(end + 1)
            self._inside = False
        else:
            closed = self._buffer[end + 1] == RETURN
            body = bytes(self._buffer[:end])
            found.append(self._frame(body) if closed else self._frame(body, "no carriage return after the end mark"))
            self._cut(end + 1)
            self._inside = False
        if self._buffer and self._buffer[0] == RETURN:
            self._cut(1)
        return True

    def _enter(self) -> bool:
        start = self._buffer.find(START)
        passed = self._buffer if start < 0 else self._buffer[:start]
        self._noise += len(passed) - passed.count(b"\r") - passed.count(b"\n")  # line ends between frames are common and harmless
        if start < 0:
            self._buffer.clear()
            return False
        self._cut(start + 1)
        self._inside = True
        return True

    def _cut(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = 0

    def _guard(self, found: list[Frame]) -> None:
        if len(self._buffer) > self._limit and not self._passing:
            found.append(self._frame(bytes(self._buffer[: self._limit]), f"longer than {self._limit} bytes", whole=False))
            self._passing = True
        if self._passing:
            self._buffer.clear()
            self._searched = 0


def split_messages(body: bytes) -> list[bytes]:
    r"""Split what stood in one frame, or in a file, into messages: each begins with an MSH at the start of a line. Batch envelopes are left out.

    Examples
    --------
    >>> split_messages(b"MSH|a\rPID|1\r\nMSH|b\r")
    [b'MSH|a\rPID|1\r\n', b'MSH|b\r']
    """
    clean = body.removeprefix(b"\xef\xbb\xbf").replace(b"\x0b", b"").replace(b"\x1c", b"")
    starts = [0] if clean.startswith(b"MSH") else []
    for mark in (b"\rMSH", b"\nMSH"):
        at = clean.find(mark)
        while at >= 0:
            starts.append(at + 1)
            at = clean.find(mark, at + 1)
    if not starts:
        return [body] if body.strip() else []
    starts.sort()
    before = _without_envelope(clean[: starts[0]])
    parts = [before] if before.strip() else []
    parts += [clean[a:b] for a, b in zip(starts, [*starts[1:], len(clean)], strict=True)]
    return [_without_envelope(part) if any(t in part for t in _TRAILERS) else part for part in parts]


def _without_envelope(part: bytes) -> bytes:
    lines = part.replace(b"\r\n", b"\r").replace(b"\n", b"\r").split(b"\r")
    return b"\r".join(line for line in lines if not line.startswith(_TRAILERS))
