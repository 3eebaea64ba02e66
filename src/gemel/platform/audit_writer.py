"""One thread that writes the audit trail for many: entries that come together are written, sealed and put on the disk together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gemel.core.errors import GemelError, StoreError
from gemel.core.time import MINUTE
from gemel.platform.audit import AuditLog
from gemel.platform.keys import Master
from gemel.platform.store.audit_sealer import AuditSealer
from gemel.platform.store.store import Store

__all__ = ["AuditWriter"]

_MOST = 500
_PAUSE_S = 1.0
_FLUSH = MINUTE
_BUSY_MS = 50  # it reads keys only; what it writes down can wait, an answer cannot


class AuditWriter:
    """The trail of a server, as :class:`gemel.core.protocols.Audit`, for any number of threads.

    After a disclosure :meth:`write` returns when the entry is on the disk, otherwise when it is written. When that cannot be done it raises, and nothing may be disclosed.

    Parameters
    ----------
    trail : the file; one writer at a time.
    place, keys : of the store under whose keys entries are sealed.
    clock : returns the time, ns UTC: for roots that are due while nothing is written.
    key, anchor, every, seconds : as :class:`gemel.platform.audit.AuditLog` takes them.
    """

    def __init__(
        self, trail: Path, place: str | Path, *, keys: Master | None = None, clock: Callable[[], int], key: Ed25519PrivateKey | None = None,
        anchor: Path | None = None, every: int = 1000, seconds: float = 60.0,
    ) -> None:  # fmt: skip
        self._clock, self._queue = clock, queue.Queue(10_000)
        self._ready: Future[None] = Future()
        self._closed, self._flushed = False, 0
        self.fault: str = ""
        settings = {"key": key, "anchor": anchor, "every": every, "seconds": seconds}
        self._thread = threading.Thread(target=self._run, args=(Path(trail), place, keys, settings), name="gemel-audit", daemon=True)
        self._thread.start()
        self._ready.result()

    def write(self, *, who: str, action: str, patient: str, purpose: str, time: int, detail: Mapping[str, Any]) -> str:
        """Append one entry and return its hash."""
        return self.write_many(
            ({"who": who, "action": action, "patient": patient, "purpose": purpose, "time": time, "detail": dict(detail)},)
        )[0]

    def write_many(self, tables: Iterable[Mapping[str, Any]]) -> list[str]:
        """Append several entries, each with who, action, patient, purpose, time and detail; return their hashes when all are written."""
        return [answer.result() for answer in self.submit(tables)]

    def submit(self, tables: Iterable[Mapping[str, Any]]) -> list[Future[str]]:
        """Hand in several entries; each future is done when :meth:`write` would return: for those who can wait without holding a thread."""
        if self._closed:
            raise StoreError("the audit trail is closed", fix="open it again")
        answers: list[Future[str]] = []
        for table in tables:
            answers.append(Future())
            self._queue.put((dict(table), answers[-1]))
        return answers

    def close(self) -> None:
        """Write what waits, take a last root, and end."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def __enter__(self) -> AuditWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, trail: Path, place: str | Path, keys: Master | None, settings: Mapping[str, Any]) -> None:
        store = None
        try:
            store = Store(place, keys=keys, busy_ms=_BUSY_MS)
            log = AuditLog(trail, sealer=AuditSealer(store), **settings)
        except BaseException as error:
            if store is not None:
                store.close()
            if isinstance(error, OSError):
                what = "the audit trail cannot be opened"
                error = StoreError(what, seen=f"{trail.name}: {error.strerror}", fix="name a file in a folder that can be written to")
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        with store:
            is_last = False
            while not is_last:
                group, is_last = self._gather()
                self._write(log, group)
                self._tick(store, log)
            with suppress(GemelError):
                log.close(self._clock())

    def _gather(self) -> tuple[list[tuple[dict[str, Any], Future[str]]], bool]:
        try:
            found = self._queue.get(timeout=_PAUSE_S)
        except queue.Empty:
            return [], False
        group: list[tuple[dict[str, Any], Future[str]]] = []
        while found is not None:
            group.append(found)
            if len(group) >= _MOST:
                return group, False
            try:
                found = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _write(self, log: AuditLog, group: list[tuple[dict[str, Any], Future[str]]]) -> None:
        if not group:
            return
        try:
            hashes = log.write_many([table for table, _ in group])
        except Exception:
            for table, answer in group:  # one of them may be wrong: it must not take the others with it
                try:
                    answer.set_result(log.write_many([table])[-1])
                except Exception as error:
                    answer.set_exception(error)
            return
        for (_, answer), made in zip(group, hashes[-len(group) :], strict=True):
            answer.set_result(made)

    def _tick(self, store: Store, log: AuditLog) -> None:
        """Take a root that is due, and write down how often keys were used; neither holds an answer up."""
        now = self._clock()
        try:
            log.tick(now)
            self.fault = ""
        except GemelError as error:
            self.fault = error.what
        if not 0 <= now - self._flushed < _FLUSH:
            self._flushed = now
            with suppress(GemelError), store._transaction("work"):
                pass
