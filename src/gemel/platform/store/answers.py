"""What was answered to a request that named a key of its own: the same request again gets the same answer and has no second effect."""

from __future__ import annotations

from dataclasses import dataclass, field

from gemel.platform.store.base import Database
from gemel.platform.store.sealing import DEPLOYMENT, Sealing

__all__ = ["Kept", "find", "forget", "keep"]


@dataclass(frozen=True)
class Kept:
    """An answer that was kept. ``is_same``: the request is the one that it was given to, byte for byte."""

    is_same: bool
    made: int
    body: bytes = field(repr=False)


def _content(sealing: Sealing, pid: str | None, request: bytes) -> str:
    return sealing.own(pid or DEPLOYMENT, "answer", request)


def find(database: Database, sealing: Sealing, key: str, request: bytes) -> Kept | None:
    """Return the answer that was kept under a key; ``None`` when there is none."""
    token = sealing.token("answer", key)
    row = database.execute("SELECT pid, content, made_ns, body FROM answer WHERE token = ?", (token,)).fetchone()
    if row is None:
        return None
    body = sealing.open("answer", row[0] or DEPLOYMENT, token, 0, row[3])
    return Kept(_content(sealing, row[0], request) == row[1], row[2], body)


def keep(database: Database, sealing: Sealing, key: str, request: bytes, body: bytes, now: int, pid: str | None) -> None:
    """Keep an answer under a key: in the transaction of what the request did."""
    token = sealing.token("answer", key)
    database.execute(
        "INSERT INTO answer (token, pid, content, made_ns, body) VALUES (?, ?, ?, ?, ?)",
        (token, pid, _content(sealing, pid, request), now, sealing.seal("answer", pid or DEPLOYMENT, token, 0, body)),
    )


def forget(database: Database, before: int) -> int:
    """Delete answers that were given before a time; return how many."""
    return database.execute("DELETE FROM answer WHERE made_ns < ?", (before,)).rowcount
