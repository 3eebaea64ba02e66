"""Work that must be done once: leased to one worker at a time, taken up again when that worker dies, set aside after too many tries.

A job waits, is leased, and ends as done, dead (too many tries) or cancelled. Whoever works says how far it is; the same word keeps the lease, and the answer says
whether the work is still wanted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gemel.core.errors import StoreError
from gemel.platform.store.base import Database
from gemel.platform.store.sealing import DEPLOYMENT, Sealing

__all__ = [
    "ENDED",
    "STATES",
    "Job",
    "JobStatus",
    "cancel",
    "claim",
    "enqueue",
    "find",
    "finish",
    "forget",
    "give_back",
    "listing",
    "progress",
    "redrive",
]

MOST_ATTEMPTS = 5

STATES = ("waiting", "leased", "done", "dead", "cancelled")
ENDED = ("done", "dead", "cancelled")
"""States in which nothing happens any more, but by :func:`redrive`."""


@dataclass(frozen=True)
class Job:
    """One piece of work, leased to a worker."""

    id: str
    kind: str
    key: str
    body: str
    attempts: int


@dataclass(frozen=True)
class JobStatus:
    """How a piece of work stands.

    Parameters
    ----------
    subject : random id of the patient that it is about; empty when it is about nobody.
    created, changed : ns UTC.
    done, total : steps; a total of 0 is not known yet.
    note : what is being done, in words. result : what the worker said at its end, or why it gave the work back.
    """

    id: str
    kind: str
    subject: str
    state: str
    created: int
    changed: int
    attempts: int
    done: int
    total: int
    body: str = field(repr=False)
    note: str = field(default="", repr=False)
    result: str = field(default="", repr=False)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state in ENDED


def enqueue(database: Database, sealing: Sealing, kind: str, key: str, body: str, now: int, pid: str | None) -> tuple[str, bool]:
    """Ask for a piece of work; asked twice by the same key it is one. Return its id and whether it is new."""
    token = sealing.token("job", json.dumps([kind, key]))
    found = token[:24]
    known = database.execute("SELECT id FROM job WHERE kind = ? AND token = ?", (kind, token)).fetchone()
    if known:
        return known[0], False
    sealed = sealing.seal("job", pid or DEPLOYMENT, found, 0, json.dumps([key, body]).encode())
    inserted = database.execute(
        "INSERT INTO job (id, kind, token, pid, body, created_ns, state, worker, lease_ns, attempts, result, changed_ns, ready_ns, steps_done, steps_total, note)"
        " VALUES (?, ?, ?, ?, ?, ?, 'waiting', '', 0, 0, NULL, ?, 0, 0, 0, NULL) ON CONFLICT DO NOTHING",
        (found, kind, token, pid, sealed, now, now),
    )
    return found, inserted.rowcount == 1


def claim(database: Database, sealing: Sealing, kind: str, worker: str, now: int, lease: int) -> Job | None:
    """Lease the oldest piece of work that waits and is due, or whose lease has run out; after five tries it is dead."""
    skip = "" if database.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED"
    over = database.execute(
        f"SELECT id FROM job WHERE kind = ? AND state = 'leased' AND lease_ns < ? AND attempts >= ?{skip}", (kind, now, MOST_ATTEMPTS)
    ).fetchall()
    for (found,) in over:
        database.execute("UPDATE job SET state = 'dead', changed_ns = ? WHERE id = ?", (now, found))
    row = database.execute(
        "SELECT id, kind, pid, body, attempts FROM job WHERE kind = ? AND ((state = 'waiting' AND ready_ns <= ?) OR (state = 'leased' AND lease_ns < ?))"
        f" ORDER BY created_ns, id LIMIT 1{skip}",
        (kind, now, now),
    ).fetchone()
    if row is None:
        return None
    database.execute(
        "UPDATE job SET state = 'leased', worker = ?, lease_ns = ?, attempts = attempts + 1, changed_ns = ? WHERE id = ?",
        (worker, now + lease, now, row[0]),
    )
    key, body = json.loads(sealing.open("job", row[2] or DEPLOYMENT, row[0], 0, row[3]))
    return Job(row[0], row[1], key, body, row[4] + 1)


def _held(database: Database, job: str, worker: str) -> str | None:
    lock = "" if database.dialect == "sqlite" else " FOR UPDATE"
    row = database.execute(f"SELECT state, worker, pid FROM job WHERE id = ?{lock}", (job,)).fetchone()
    if row is None or row[1] != worker or row[0] != "leased":
        raise StoreError(
            "the lease of this job is lost",
            seen=None if row is None else tuple(row[:2]),
            expected=f"leased to {worker}",
            fix="drop the result: another worker has taken the job up, or it was cancelled",
        )
    return row[2]


def _told(sealing: Sealing, pid: str | None, job: str, place: str, text: str) -> bytes | None:
    return sealing.seal("job", pid or DEPLOYMENT, job, place, text.encode()) if text else None


def finish(database: Database, sealing: Sealing, job: str, worker: str, result: str, now: int | None = None) -> None:
    """Mark a leased job as done."""
    pid = _held(database, job, worker)
    database.execute(
        "UPDATE job SET state = 'done', result = ?, changed_ns = coalesce(?, changed_ns + 1) WHERE id = ?",
        (_told(sealing, pid, job, "result", result), now, job),
    )


def give_back(database: Database, sealing: Sealing, job: str, worker: str, reason: str, now: int | None = None, ready: int = 0) -> None:
    """Return a leased job to the queue, with the reason, not to be taken before ``ready``; after five tries it is dead."""
    pid = _held(database, job, worker)
    database.execute(
        "UPDATE job SET state = CASE WHEN attempts >= ? THEN 'dead' ELSE 'waiting' END, worker = '', result = ?, ready_ns = ?,"
        " changed_ns = coalesce(?, changed_ns + 1) WHERE id = ?",
        (MOST_ATTEMPTS, _told(sealing, pid, job, "result", reason), ready, now, job),
    )


def progress(
    database: Database, sealing: Sealing, job: str, done: int, total: int, note: str, worker: str | None, now: int | None, lease: int
) -> bool:
    """Say how far a leased job is, and keep its lease; return whether it is still wanted, and still this worker's."""
    lock = "" if database.dialect == "sqlite" else " FOR UPDATE"
    row = database.execute(f"SELECT state, worker, pid FROM job WHERE id = ?{lock}", (job,)).fetchone()
    if row is None or row[0] != "leased" or (worker is not None and row[1] != worker):
        return False
    database.execute(
        "UPDATE job SET steps_done = ?, steps_total = ?, note = ?, changed_ns = coalesce(?, changed_ns + 1), lease_ns = coalesce(?, lease_ns) WHERE id = ?",
        (done, total, _told(sealing, row[2], job, "note", note), now, None if now is None else now + lease, job),
    )
    return True


def cancel(database: Database, job: str, now: int) -> bool:
    """End a job that has not ended: whoever works on it hears so at its next word. Return whether it was still open."""
    ended = database.execute(
        "UPDATE job SET state = 'cancelled', worker = '', changed_ns = ? WHERE id = ? AND state IN ('waiting', 'leased')", (now, job)
    )
    return ended.rowcount == 1


def redrive(database: Database, job: str, now: int) -> bool:
    """Put a dead or cancelled job into the queue again, with all its tries. Return whether it was one."""
    again = database.execute(
        "UPDATE job SET state = 'waiting', worker = '', attempts = 0, ready_ns = 0, steps_done = 0, steps_total = 0, note = NULL, result = NULL, changed_ns = ?"
        " WHERE id = ? AND state IN ('dead', 'cancelled')",
        (now, job),
    )
    return again.rowcount == 1


_COLUMNS = "id, kind, pid, state, created_ns, changed_ns, attempts, steps_done, steps_total, body, note, result"


def _status(sealing: Sealing, row: Sequence[Any]) -> JobStatus:
    found, kind, pid, state, created, changed, attempts, done, total, *sealed = row

    def opened(place: object, body: bytes | None) -> str:
        return "" if body is None else sealing.open("job", pid or DEPLOYMENT, found, place, body).decode()

    body = json.loads(opened(0, sealed[0]))[1]
    return JobStatus(
        found, kind, pid or "", state, created, changed, attempts, done, total, body, opened("note", sealed[1]), opened("result", sealed[2])
    )


def find(database: Database, sealing: Sealing, job: str) -> JobStatus:
    """Return how a job stands.

    Raises
    ------
    StoreError
        When there is none.
    """
    row = database.execute(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (job,)).fetchone()
    if row is None:
        raise StoreError("no such job", seen=job, fix="jobs() lists them")
    return _status(sealing, row)


def listing(
    database: Database, sealing: Sealing, *, state: str | None, kind: str | None, pid: str | None, changed: int | None, after: tuple[int, str] | None,
    limit: int,
) -> list[JobStatus]:  # fmt: skip
    """Return jobs, oldest first: of one state, kind or patient, those that changed after a time, those after a place (when made, id)."""
    where, values = ["1 = 1"], list[Any]()
    for column, value in (("state", state), ("kind", kind), ("pid", pid)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if changed is not None:
        where.append("changed_ns > ?")
        values.append(changed)
    if after is not None:
        where.append("(created_ns > ? OR (created_ns = ? AND id > ?))")
        values += [after[0], after[0], after[1]]
    order = "created_ns, id" if changed is None else "changed_ns, id"
    rows = database.execute(f"SELECT {_COLUMNS} FROM job WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?", (*values, limit)).fetchall()
    return [_status(sealing, row) for row in rows]


def forget(database: Database, before: int) -> int:
    """Delete what ended before a time; return how many."""
    return database.execute("DELETE FROM job WHERE state IN ('done', 'dead', 'cancelled') AND changed_ns < ?", (before,)).rowcount
