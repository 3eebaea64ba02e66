"""The resident worker: one process that has imported the numeric stack and runs commands one at a time.

A thread listens; commands run in the main thread, where an interrupt reaches them. Nothing is ever forked.
"""

from __future__ import annotations

import _thread
import contextlib
import fcntl
import io
import json
import os
import queue
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

from gemel import __version__
from gemel.cli.client import fingerprint, place

__all__ = ["main"]

IDLE_S = 1800.0
_LONGEST = 1 << 20


class _Stream(io.TextIOBase):
    """Standard output or error of a command: every piece of text goes down the line."""

    def __init__(self, line: socket.socket, name: str, terminal: bool) -> None:
        self._line, self._name, self._terminal = line, name, terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def isatty(self) -> bool:
        return self._terminal

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"text is written here, not {type(text).__name__}")
        if text:
            _send(self._line, {self._name: text})
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def _send(line: socket.socket, message: dict[str, Any]) -> None:
    try:
        line.sendall(json.dumps(message).encode() + b"\n")
    except OSError as error:  # nobody listens any more: the command ends as it would with a closed pipe
        raise BrokenPipeError from error


def _same_user(line: socket.socket) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder, which only its owner can enter, stands alone there
    _, uid, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return uid == os.getuid()


class _Resident:
    def __init__(self, path: Path, idle: float) -> None:
        self.path, self.idle = path, idle
        self.sign = fingerprint()
        self.work: queue.Queue[tuple[socket.socket, dict[str, Any]] | None] = queue.Queue()
        self.busy = threading.Lock()
        self.begun, self.last, self.done = time.monotonic(), time.monotonic(), 0
        self.running = False

    def listen(self, door: socket.socket) -> None:
        while True:
            try:
                line, _ = door.accept()
            except OSError:
                return
            threading.Thread(target=self.greet, args=(line,), daemon=True).start()

    def greet(self, line: socket.socket) -> None:
        """Answer one caller; a command is put before the main thread and listened to for an interrupt."""
        with contextlib.suppress(OSError, ValueError, BrokenPipeError):
            if not _same_user(line):
                line.close()
                return
            stream = line.makefile("rb")
            message = json.loads(stream.readline(_LONGEST))
            kind = message.get("do")
            if kind == "status":
                up = time.monotonic() - self.begun
                told = {
                    "pid": os.getpid(),
                    "version": __version__,
                    "busy": self.busy.locked(),
                    "commands": self.done,
                    "up_s": round(up, 1),
                    "idle_limit_s": self.idle,
                }
                _send(line, told | {"same": message.get("fingerprint") == self.sign})
                line.close()
            elif kind == "stop":
                _send(line, {"stopping": os.getpid()})
                line.close()
                self.work.put(None)
            elif kind == "run":
                if message.get("fingerprint") != self.sign:
                    _send(line, {"refused": "the worker is of another version or has other settings (gemel worker stop ends it)"})
                    line.close()
                elif not self.busy.acquire(blocking=False):
                    _send(line, {"refused": "the worker is busy"})
                    line.close()
                else:
                    self.work.put((line, message))
                    self.attend(stream)

    def attend(self, stream: Any) -> None:
        """Interrupt the running command when its caller asks for it, or hangs up."""
        while True:
            try:
                raw = stream.readline(_LONGEST)
            except OSError:
                raw = b""
            if not self.running:
                return
            _thread.interrupt_main()
            if not raw:
                return

    def run(self, line: socket.socket, message: dict[str, Any]) -> None:
        from gemel.cli.app import run

        before, here = dict(os.environ), os.getcwd()
        out, err = (_Stream(line, name, bool(tty)) for name, tty in zip(("out", "err"), message["terminal"], strict=True))
        code = 70
        try:
            _send(line, {"begun": os.getpid()})
            for name in [n for n in os.environ if n.startswith(("GEMEL_", "XDG_")) and n not in message["environment"]]:
                del os.environ[name]
            os.environ.update(message["environment"])
            if message["size"][0]:
                os.environ["COLUMNS"], os.environ["LINES"] = (str(n) for n in message["size"])
            os.chdir(message["cwd"])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                self.running = True
                try:
                    code = run(message["arguments"])
                finally:
                    self.running = False
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:  # the caller hung up
            code = 0
        except Exception as error:  # whatever a command did: the worker lives on
            with contextlib.suppress(BrokenPipeError):
                _send(line, {"err": f"error: {type(error).__name__}: {error}\n"})
        finally:
            self.running = False
            os.environ.clear()
            os.environ.update(before)
            with contextlib.suppress(OSError):
                os.chdir(here)
            self.done += 1
            with contextlib.suppress(BrokenPipeError):
                _send(line, {"exit": code})
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
                line.close()
            self.busy.release()

    def serve(self) -> None:
        while True:
            try:
                found = self.work.get(timeout=self.idle)
            except queue.Empty:
                return
            except KeyboardInterrupt:  # an interrupt that came as its command ended
                continue
            if found is None:
                return
            with contextlib.suppress(KeyboardInterrupt):
                self.run(*found)


def _load() -> None:
    """Import the numeric stack and the installed rooms, so that no command has to."""
    from gemel.cli.options import use_engine
    from gemel.platform import registry

    use_engine()
    import gemel.verbs  # noqa: F401
    from gemel.cli import bench, calibrate, data, files, plans, priors, summaries, twins, validate, verbs  # noqa: F401

    registry.twins(rooms=True)


def main(idle: float = IDLE_S) -> int:
    """Become the worker; return when asked to stop, or after ``idle`` seconds without a command. Exit code 3: another one runs."""
    path = place()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.chmod(0o700)
    guard = open(path.with_suffix(".lock"), "w")  # noqa: SIM115  held until the process ends
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 3
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell may have handed down that it is ignored
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    resident = _Resident(path, idle)
    _load()
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        door.bind(str(path))
    finally:
        os.umask(mask)
    door.listen(16)
    try:
        threading.Thread(target=resident.listen, args=(door,), daemon=True).start()
        resident.serve()
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        door.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else IDLE_S))
