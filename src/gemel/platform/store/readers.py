"""Readers: a few threads, each with a store of its own, for whoever must not wait for a disk himself."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from gemel.core.errors import LimitError, StoreError
from gemel.platform.keys import Master
from gemel.platform.store.store import Store

__all__ = ["Readers"]

T = TypeVar("T")


class Readers:
    """Runs functions of a store in threads that own one each.

    Parameters
    ----------
    place, keys, blobs, busy_ms : of the store.
    threads : how many.
    pending : functions that may wait; one more is refused, so that nothing grows without bound.
    """

    def __init__(
        self, place: str | Path, *, keys: Master | None = None, blobs: Path | None = None, busy_ms: int = 5000, threads: int = 4, pending: int = 1000,
    ) -> None:  # fmt: skip
        self._queue: queue.Queue[tuple[Callable[[Store], Any], Future[Any]] | None] = queue.Queue(pending)
        self._closed, self._age = False, 0
        ready = [Future() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(place, keys, blobs, busy_ms, told), name=f"gemel-reader-{i}", daemon=True)
            for i, told in enumerate(ready)
        ]
        for thread in self._threads:
            thread.start()
        for told in ready:
            try:
                told.result()
            except BaseException:
                self.close()
                raise

    def submit(self, look: Callable[[Store], T]) -> Future[T]:
        """Hand in a function; its future is done when it has returned.

        Raises
        ------
        LimitError
            When too many wait.
        """
        if self._closed:
            raise StoreError("the readers are closed", fix="open others")
        answer: Future[T] = Future()
        try:
            self._queue.put_nowait((look, answer))
        except queue.Full:
            raise LimitError(
                "too much is asked at once", expected="fewer requests at a time", fix="try again", wait=1.0, is_busy=True
            ) from None
        return answer

    async def run(self, look: Callable[[Store], T]) -> T:
        """Run a function of a store without holding up the event loop."""
        return await asyncio.wrap_future(self.submit(look))

    @property
    def waiting(self) -> int:
        """How many functions wait."""
        return self._queue.qsize()

    def forget(self) -> None:
        """Let every reader drop the keys that it holds before what it does next: when somebody was erased."""
        self._age += 1

    def close(self) -> None:
        """Finish what waits, and end."""
        if not self._closed:
            self._closed = True
            for _ in self._threads:
                self._queue.put(None)
            for thread in self._threads:
                thread.join()

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, place: str | Path, keys: Master | None, blobs: Path | None, busy_ms: int, ready: Future[None]) -> None:
        try:
            store = Store(place, keys=keys, blobs=blobs, busy_ms=busy_ms)
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        age = self._age
        with store:
            while (found := self._queue.get()) is not None:
                look, answer = found
                if not answer.set_running_or_notify_cancel():
                    continue
                if age != self._age:
                    age = self._age
                    store._sealing.forget()
                try:
                    result = look(store)
                except BaseException as error:
                    answer.set_exception(error)
                else:
                    answer.set_result(result)
                del found, look, answer
