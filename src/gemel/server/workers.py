"""The processes that compute, as children of the server: started, watched, started again when they fall, and asked to end when it ends.

The server itself never imports the numeric stack; a child does. What a child was working on when it fell is leased, and taken up again when the lease runs out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gemel.core.errors import ConfigurationError

__all__ = ["WORKER", "Workers", "worker_command", "working"]

WORKER = "gemel.server.worker"
_FIRST_S, _LONGEST_S, _STEADY_S = 0.5, 60.0, 300.0
_POLL_S = 0.2
_PATIENCE_S = 20.0


def worker_command(place: str, more: Sequence[str] = ()) -> list[str]:
    """Return what starts a worker of a store.

    Raises
    ------
    ConfigurationError
        When this installation has none.
    """
    if importlib.util.find_spec(WORKER) is None:
        raise ConfigurationError("no worker is installed", expected=WORKER, fix="[worker] count = 0")
    return [sys.executable, "-m", WORKER, "--child", "--db", place, *more]


@dataclass
class _Child:
    number: int
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    pause: float = _FIRST_S
    due: float = 0.0


@dataclass
class Workers:
    """Keeps ``count`` children alive.

    Parameters
    ----------
    command : what starts one.
    clock : monotonic seconds.
    """

    command: Sequence[str]
    count: int
    clock: Callable[[], float] = time.monotonic
    restarts: int = 0
    _children: list[_Child] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start them, and the thread that watches them."""
        self._children = [_Child(number) for number in range(self.count)]
        self._look()
        self._thread = threading.Thread(target=self._watch, name="gemel-workers", daemon=True)
        self._thread.start()

    def alive(self) -> int:
        """Return how many run."""
        return sum(child.process is not None and child.process.poll() is None for child in self._children)

    def _look(self) -> None:
        now, log = self.clock(), logging.getLogger("gemel.server")
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                code, child.process = child.process.returncode, None
                child.pause = _FIRST_S if now - child.began >= _STEADY_S else min(_LONGEST_S, 2 * child.pause)
                child.due = now + child.pause
                self.restarts += 1
                log.error("worker fell", extra={"service": f"worker {child.number}", "count": code, "seconds": round(child.pause, 1)})
            if child.process is None and now >= child.due:
                child.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, start_new_session=True)
                child.began = now

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_S):
            self._look()

    def stop(self, *, patience_s: float = _PATIENCE_S) -> None:
        """Ask them to end; end those who do not."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        running = [child.process for child in self._children if child.process is not None and child.process.poll() is None]
        for process in running:
            process.terminate()
        end = self.clock() + patience_s
        for process in running:
            try:
                process.wait(max(0.1, end - self.clock()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def working(command: Sequence[str] | None, count: int) -> Iterator[Workers | None]:
    """Keep workers while something else runs; none without a command."""
    if command is None or not count:
        yield None
        return
    workers = Workers(command, count)
    workers.start()
    try:
        yield workers
    finally:
        workers.stop()
