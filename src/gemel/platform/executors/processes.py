"""Other processes of this machine, spawned and never forked: a process forked after JAX has started can deadlock."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from gemel.platform.executors.base import RETRIES, as_list, check_task, collect, in_order, one_thread

if TYPE_CHECKING:
    from gemel.core.protocols import Progress

__all__ = ["Processes"]


@dataclass(frozen=True)
class Processes:
    """Run a task over items in spawned processes, one thread of linear algebra each.

    Parameters
    ----------
    workers : processes.
    label : what progress calls the work.
    """

    workers: int = 2
    label: str = "items"

    def run(self, task: Callable[[Any], Any], items: Iterable[Any], *, progress: Progress | None = None) -> list[Any]:
        """Run ``task`` on every item. Task and items travel between processes, so the task must be importable by its name.

        Returns
        -------
        Results in the order of the items; only the first of them when ``progress`` asked for a stop.

        Raises
        ------
        InferenceError
            When the task cannot be imported, or a worker was lost on one item three times.
        """
        check_task(task)
        given = as_list(items)
        finished = self._finished(task, given)
        try:
            return in_order(collect(finished, given, label=self.label, progress=progress)[0])
        finally:
            finished.close()

    def _finished(self, task: Callable[[Any], Any], items: list[Any]) -> Generator[tuple[int, Any], None, None]:
        """Yield (place, result) as they come; when a worker is lost, all that was under way runs again in a new pool."""
        left, lost = dict(enumerate(items)), 0
        while left:
            pool = ProcessPoolExecutor(min(self.workers, len(left)), multiprocessing.get_context("spawn"), _prepare)
            try:
                for place, result in _drain(pool, task, left, self.workers):
                    del left[place]
                    yield place, result
            except BrokenProcessPool as error:
                lost += 1
                if lost > RETRIES:
                    from gemel.core.errors import InferenceError

                    raise InferenceError(
                        "a worker process was lost again and again",
                        seen=f"{lost} times, {len(left)} items left",
                        expected="workers that live",
                        fix="look for too little memory; use fewer workers",
                    ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _prepare() -> None:
    """Take one thread, leave interrupts to the parent, which ends cleanly, and leave when it is gone: a worker of a killed run would wait for ever."""
    one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (connection.wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _drain(pool: ProcessPoolExecutor, task: Callable[[Any], Any], left: dict[int, Any], workers: int) -> Iterator[tuple[int, Any]]:
    """Keep two items per worker under way: a stop or a loss costs no more than those."""
    waiting = iter(list(left.items()))
    under_way: dict[Future[Any], int] = {}
    while True:
        while len(under_way) < 2 * workers and (following := next(waiting, None)) is not None:
            under_way[pool.submit(task, following[1])] = following[0]
        if not under_way:
            return
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            yield under_way.pop(future), future.result()
