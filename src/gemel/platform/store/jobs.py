"""Work that must be done once: leased to one worker at a time, taken up again when that worker dies, set aside after too many tries."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from gemel.core.errors import StoreError
from gemel.core.lineage import digest

__all__ = ["Job", "claim", "enqueue", "finish", "give_back"]

MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class Job:
    """One piece of work, leased to a worker."""

    id: str
    kind: str
    key: str
    body: str
    attempts: int


def enqueue(connection: sqlite3.Connection, kind: str, key: str, body: str, now: int) -> tuple[str, bool]:
    """Ask for a piece of work; asked twice by the same key it is one. Return its id and whether it is new."""
    found = digest(["job", kind, key])[:24]
    inserted = connection.execute(
        "INSERT OR IGNORE INTO job (id, kind, key, body, created_ns, state, worker, lease_ns, attempts, result)"
        " VALUES (?, ?, ?, ?, ?, 'waiting', '', 0, 0, '')",
        (found, kind, key, body, now),
    )
    return found, inserted.rowcount == 1


def claim(connection: sqlite3.Connection, kind: str, worker: str, now: int, lease: int) -> Job | None:
    """Lease the oldest piece of work that waits, or whose lease has run out; after five tries it is dead."""
    connection.execute(
        "UPDATE job SET state = 'dead' WHERE kind = ? AND state = 'leased' AND lease_ns < ? AND attempts >= ?", (kind, now, MOST_ATTEMPTS)
    )
    row = connection.execute(
        "SELECT id, kind, key, body, attempts FROM job WHERE kind = ? AND (state = 'waiting' OR (state = 'leased' AND lease_ns < ?))"
        " ORDER BY created_ns, id LIMIT 1",
        (kind, now),
    ).fetchone()
    if row is None:
        return None
    connection.execute(
        "UPDATE job SET state = 'leased', worker = ?, lease_ns = ?, attempts = attempts + 1 WHERE id = ?", (worker, now + lease, row[0])
    )
    return Job(row[0], row[1], row[2], row[3], row[4] + 1)


def _held(connection: sqlite3.Connection, job: str, worker: str) -> None:
    row = connection.execute("SELECT state, worker FROM job WHERE id = ?", (job,)).fetchone()
    if row is None or row[1] != worker or row[0] != "leased":
        raise StoreError(
            "the lease of this job is lost",
            seen=row,
            expected=f"leased to {worker}",
            fix="drop the result: another worker has taken the job up",
        )


def finish(connection: sqlite3.Connection, job: str, worker: str, result: str) -> None:
    """Mark a leased job as done."""
    _held(connection, job, worker)
    connection.execute("UPDATE job SET state = 'done', result = ? WHERE id = ?", (result, job))


def give_back(connection: sqlite3.Connection, job: str, worker: str, reason: str) -> None:
    """Return a leased job to the queue, with the reason; after five tries it is dead."""
    _held(connection, job, worker)
    connection.execute(
        "UPDATE job SET state = CASE WHEN attempts >= ? THEN 'dead' ELSE 'waiting' END, worker = '', result = ? WHERE id = ?",
        (MOST_ATTEMPTS, reason, job),
    )
