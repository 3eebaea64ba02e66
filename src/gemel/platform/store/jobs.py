"""Work that must be done once: leased to one worker at a time, taken up again when that worker dies, set aside after too many tries."""

from __future__ import annotations

import json
from dataclasses import dataclass

from gemel.core.errors import StoreError
from gemel.platform.store.base import Database
from gemel.platform.store.sealing import DEPLOYMENT, Sealing

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


def enqueue(database: Database, sealing: Sealing, kind: str, key: str, body: str, now: int, pid: str | None) -> tuple[str, bool]:
    """Ask for a piece of work; asked twice by the same key it is one. Return its id and whether it is new."""
    token = sealing.token("job", json.dumps([kind, key]))
    found = token[:24]
    known = database.execute("SELECT id FROM job WHERE kind = ? AND token = ?", (kind, token)).fetchone()
    if known:
        return known[0], False
    sealed = sealing.seal("job", pid or DEPLOYMENT, found, 0, json.dumps([key, body]).encode())
    inserted = database.execute(
        "INSERT INTO job (id, kind, token, pid, body, created_ns, state, worker, lease_ns, attempts, result)"
        " VALUES (?, ?, ?, ?, ?, ?, 'waiting', '', 0, 0, NULL) ON CONFLICT DO NOTHING",
        (found, kind, token, pid, sealed, now),
    )
    return found, inserted.rowcount == 1


def claim(database: Database, sealing: Sealing, kind: str, worker: str, now: int, lease: int) -> Job | None:
    """Lease the oldest piece of work that waits, or whose lease has run out; after five tries it is dead."""
    skip = "" if database.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED"
    over = database.execute(
        f"SELECT id FROM job WHERE kind = ? AND state = 'leased' AND lease_ns < ? AND attempts >= ?{skip}", (kind, now, MOST_ATTEMPTS)
    ).fetchall()
    for (found,) in over:
        database.execute("UPDATE job SET state = 'dead' WHERE id = ?", (found,))
    row = database.execute(
        "SELECT id, kind, pid, body, attempts FROM job WHERE kind = ? AND (state = 'waiting' OR (state = 'leased' AND lease_ns < ?))"
        f" ORDER BY created_ns, id LIMIT 1{skip}",
        (kind, now),
    ).fetchone()
    if row is None:
        return None
    database.execute(
        "UPDATE job SET state = 'leased', worker = ?, lease_ns = ?, attempts = attempts + 1 WHERE id = ?", (worker, now + lease, row[0])
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
            fix="drop the result: another worker has taken the job up",
        )
    return row[2]


def _told(sealing: Sealing, pid: str | None, job: str, text: str) -> bytes | None:
    return sealing.seal("job", pid or DEPLOYMENT, job, "result", text.encode()) if text else None


def finish(database: Database, sealing: Sealing, job: str, worker: str, result: str) -> None:
    """Mark a leased job as done."""
    pid = _held(database, job, worker)
    database.execute("UPDATE job SET state = 'done', result = ? WHERE id = ?", (_told(sealing, pid, job, result), job))


def give_back(database: Database, sealing: Sealing, job: str, worker: str, reason: str) -> None:
    """Return a leased job to the queue, with the reason; after five tries it is dead."""
    pid = _held(database, job, worker)
    database.execute(
        "UPDATE job SET state = CASE WHEN attempts >= ? THEN 'dead' ELSE 'waiting' END, worker = '', result = ? WHERE id = ?",
        (MOST_ATTEMPTS, _told(sealing, pid, job, reason), job),
    )
