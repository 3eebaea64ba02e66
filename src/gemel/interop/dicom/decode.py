"""Compressed pixels, decoded in a process of their own with little memory, little time and no right to write: the decoders are C libraries that read whatever they are given.

A process that dies, hangs or asks for too much takes nobody with it: its image is refused, and the next one gets a new process. Which syntaxes can be decoded depends on what
is installed beside pydicom: RLE always, JPEG and JPEG 2000 with Pillow; JPEG-LS and lossless JPEG with packages of their own.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import threading
from typing import Any

import numpy as np

from gemel.core.errors import FormatError, ValueRangeError

__all__ = ["Decoder"]

_HEAD = struct.Struct("<Q")
_MOST = 1 << 29  # bytes of one decoded image


class Decoder:
    """A process that decodes one image after another. Threads take turns.

    Parameters
    ----------
    memory : bytes that it may have beside what its libraries need.
    seconds : for one image.

    Examples
    --------
    >>> with Decoder() as decoder:  # nothing is started before the first image
    ...     decoder.is_running
    False
    """

    def __init__(self, *, memory: int = 1 << 30, seconds: float = 30.0) -> None:
        if memory < 1 << 24 or seconds <= 0:
            raise ValueRangeError(
                "limits under which nothing can be decoded", seen=f"{memory} bytes, {seconds} s", expected="16 MiB and more than 0 s"
            )
        self._memory, self._seconds = memory, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def is_running(self) -> bool:
        """Whether a process waits."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:  # what it did not take any more
                        continue
            self._process = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV") if name in os.environ}
        command = [sys.executable, "-m", "gemel.interop.dicom.decode", str(self._memory)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)

    def decode(self, body: bytes) -> np.ndarray:
        """Return the stored values of the one grey image of a file: (row, column), not yet rescaled.

        Raises
        ------
        FormatError
            When it cannot be decoded here, or not within the limits.
        """
        with self._lock:
            if not self.is_running:
                self.close()
                self._process = self._start()
            process = self._process
            assert process is not None  # just made
            assert process.stdin is not None
            assert process.stdout is not None
            timer = threading.Timer(self._seconds, process.kill)
            timer.start()
            try:
                process.stdin.write(_HEAD.pack(len(body)) + body)
                process.stdin.flush()
                length = _HEAD.unpack(_exactly(process.stdout, _HEAD.size))[0]
                told = _exactly(process.stdout, length) if 0 < length <= _MOST else b""
            except (OSError, EOFError) as error:
                self.close()
                raise FormatError(
                    "the pixels could not be decoded within the limits",
                    seen="the decoder ended",
                    expected=f"{self._memory} bytes, {self._seconds:g} s",
                ) from error
            finally:
                timer.cancel()
        if told[:1] != b"+":
            raise FormatError(
                "the pixels cannot be decoded here", seen=told[1:61].decode("ascii", "replace") or "no answer", expected="a decoder of this transfer syntax",
                fix="decompress the file (dcmdjpeg, gdcmconv --raw)",
            )  # fmt: skip
        return np.load(io.BytesIO(told[1:]), allow_pickle=False)


def _exactly(stream: Any, count: int) -> bytes:
    found = stream.read(count)
    if len(found) != count:
        raise EOFError
    return found


def _decode(body: bytes) -> bytes:
    """Decode one file, inside the process; the answer is ``+`` and an array, or ``-`` and the name of what went wrong."""
    from gemel.interop.dicom.instance import parse

    try:
        data, _ = parse(body)
        rows, columns = int(data.get("Rows", 0) or 0), int(data.get("Columns", 0) or 0)
        if (
            int(data.get("SamplesPerPixel", 1) or 1) != 1
            or int(data.get("NumberOfFrames", 1) or 1) != 1
            or not 0 < rows * columns <= 1 << 26
        ):
            return b"-not one grey image"
        array = np.asarray(data.pixel_array)
        if array.shape != (rows, columns) or array.dtype.kind not in "iu":
            return b"-another shape than the header says"
        sink = io.BytesIO()
        np.save(sink, array, allow_pickle=False)
        return b"+" + sink.getvalue()
    except BaseException as error:  # MemoryError included: the one who asked must hear something
        return b"-" + type(error).__name__.encode()


def main() -> None:
    """Decode what comes on standard input, until it ends."""
    import warnings

    import pydicom.pixels  # noqa: F401  what must be loaded is loaded before memory is limited

    warnings.simplefilter("ignore")
    with contextlib.suppress(ImportError):
        import PIL.Image  # noqa: F401
    _limit(int(sys.argv[1]))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(_HEAD.size)) == _HEAD.size:
        told = _decode(source.read(_HEAD.unpack(head)[0]))
        sink.write(_HEAD.pack(len(told)) + told)
        sink.flush()


def _limit(memory: int) -> None:
    """Take away what decoding does not need. Where the system has no such limits, time alone is limited."""
    try:
        import resource
    except ImportError:
        return
    with open("/proc/self/statm", encoding="ascii") as stream:
        held = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + memory, held + memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
