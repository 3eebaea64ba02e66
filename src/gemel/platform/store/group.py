"""Group commit: one thread writes for many, several changes in one transaction, each answered when all of them are on the disk."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from gemel.core.errors import LimitError, StoreError
from gemel.platform.keys import Master
from gemel.platform.store.store import Store

__all__ = ["GroupWriter"]

T = TypeVar("T")


class GroupWriter:
    """Takes changes from any thread and writes them in groups.

    A change is a function of the store. What it returns is had from its future, once the group is on the disk: only then may it be acknowledged.
    When one change of a group fails the group is undone and each is tried by itself, so that only the one that is wrong fails. A change may therefore run
    twice: it must have no effect but on the store.

    Parameters
    ----------
    place, keys, blobs, busy_ms : of the store; the thread opens it.
    most : changes in one transaction.
    wait : seconds to wait for more before a group is written.
    pending : changes that may wait; the next caller is held until there is room, so that nothing grows without bound.
    """

    def __init__(
        self,
        place: str | Path,
        *,
        keys: Master | None = None,
        blobs: Path | None = None,
        busy_ms: int = 5000,
        most: int = 500,
        wait: float = 0.02,
        pending: int = 5000,
    ) -> None:
        self._most, self._wait = most, wait
        self._queue: queue.Queue[tuple[Callable[[Store], Any], Future[Any]] | None] = queue.Queue(pending)
        self._ready: Future[None] = Future()
        self._closed = False
        self.groups = 0
        self._thread = threading.Thread(target=self._run, args=(place, keys, blobs, busy_ms), name="gemel-writer", daemon=True)
        self._thread.start()
        self._ready.result()

    def submit(self, change: Callable[[Store], T], *, wait: bool = True) -> Future[T]:
        """Hand in a change; its future is done when it is on the disk.

        Parameters
        ----------
        wait : for room, when too many wait already; otherwise that is an error.

        Raises
        ------
        LimitError
            When there is no room, and waiting was not wanted.
        """
        if self._closed:
            raise StoreError("the writer is closed", fix="open another")
        answer: Future[T] = Future()
        try:
            self._queue.put((change, answer), block=wait)
        except queue.Full:
            raise LimitError(
                "too many changes wait to be written", expected="fewer at a time", fix="try again", wait=1.0, is_busy=True
            ) from None
        return answer

    @property
    def waiting(self) -> int:
        """How many changes wait."""
        return self._queue.qsize()

    def close(self) -> None:
        """Write what waits, and end."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def __enter__(self) -> GroupWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, place: str | Path, keys: Master | None, blobs: Path | None, busy_ms: int) -> None:
        try:
            store = Store(place, keys=keys, blobs=blobs, busy_ms=busy_ms)
        except BaseException as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        with store:
            is_last = False
            while not is_last:
                group, is_last = self._gather()
                self._write(store, group)

    def _gather(self) -> tuple[list[tuple[Callable[[Store], Any], Future[Any]]], bool]:
        first = self._queue.get()
        if first is None:
            return [], True
        group, end = [first], time.monotonic() + self._wait
        while len(group) < self._most:
            try:
                found = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                break
            if found is None:
                return group, True
            group.append(found)
        return group, False

    def _write(self, store: Store, group: list[tuple[Callable[[Store], Any], Future[Any]]]) -> None:
        group = [(change, answer) for change, answer in group if answer.set_running_or_notify_cancel()]
        if not group:
            return
        with suppress(Exception):
            with store.batch():
                results = [change(store) for change, _ in group]
            self.groups += 1
            for (_, answer), result in zip(group, results, strict=True):
                answer.set_result(result)
            return
        for change, answer in group:  # one of them is wrong: it must not take the others with it
            try:
                with store.batch():
                    result = change(store)
            except Exception as error:
                answer.set_exception(error)
            else:
                self.groups += 1
                answer.set_result(result)
