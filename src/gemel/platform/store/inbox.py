"""What arrived, as it arrived: raw bytes, once each by their content, sealed under a key of their own; and the quarantine of what could not be placed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from gemel.core.errors import StoreError
from gemel.platform.store.base import Database
from gemel.platform.store.sealing import Sealing

__all__ = ["STATES", "Message", "find", "listing", "names_of", "raw", "receive", "settle"]

STATES = ("waiting", "done", "quarantined", "dropped")


@dataclass(frozen=True)
class Message:
    """One thing that arrived. ``reason`` says why it is in quarantine; ``name`` is what the sender called it."""

    seq: int
    source: str
    received: int
    state: str
    attempts: int
    name: str = field(default="", repr=False)
    reason: str = field(default="", repr=False)


def receive(database: Database, sealing: Sealing, source: str, body: bytes, received: int, name: str) -> tuple[int, bool]:
    """Take in raw bytes; the same bytes under the same name from the same source are one message. Return its number and whether it is new."""
    content = sealing.token("inbox", json.dumps([source, name]).encode() + b"\n" + body)
    known = database.execute("SELECT seq FROM inbox WHERE content = ?", (content,)).fetchone()
    if known:
        return known[0], False
    seq = database.execute("SELECT coalesce(max(seq), 0) + 1 FROM inbox").fetchone()[0]
    subject = f"inbox-{secrets.token_hex(12)}"
    sealing.enrol(subject)
    told = json.dumps([name, ""]).encode()
    database.execute(
        "INSERT INTO inbox (seq, subject, source, content, received_ns, state, attempts, told, body) VALUES (?, ?, ?, ?, ?, 'waiting', 0, ?, ?)",
        (
            seq,
            subject,
            source,
            content,
            received,
            sealing.seal("inbox", subject, subject, "told", told),
            sealing.seal("inbox", subject, subject, "body", body),
        ),
    )
    return seq, True


_COLUMNS = "seq, source, received_ns, state, attempts, subject, told"


def _message(sealing: Sealing, row: tuple) -> Message:
    seq, source, received, state, attempts, subject, told = row
    name, reason = json.loads(sealing.open("inbox", subject, subject, "told", told))
    return Message(seq, source, received, state, attempts, name, reason)


def find(database: Database, sealing: Sealing, seq: int) -> Message:
    """Return one message.

    Raises
    ------
    StoreError
        When there is none of this number.
    """
    row = database.execute(f"SELECT {_COLUMNS} FROM inbox WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        raise StoreError("no such message", seen=seq, fix="gemel quarantine list names them")
    return _message(sealing, row)


def listing(database: Database, sealing: Sealing, state: str | None) -> list[Message]:
    """Return messages in the order in which they came, of one state or all."""
    where, values = ("", ()) if state is None else (" WHERE state = ?", (state,))
    return [_message(sealing, row) for row in database.execute(f"SELECT {_COLUMNS} FROM inbox{where} ORDER BY seq", values).fetchall()]


def raw(database: Database, sealing: Sealing, seq: int) -> bytes:
    """Return the bytes as they came."""
    row = database.execute("SELECT subject, body FROM inbox WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        raise StoreError("no such message", seen=seq, fix="gemel quarantine list names them")
    return sealing.open("inbox", row[0], row[0], "body", row[1])


def settle(database: Database, sealing: Sealing, seq: int, state: str, reason: str, pids: Iterable[str]) -> None:
    """Say what became of a message, and whom it was about: with them it is erased."""
    if state not in STATES:
        raise StoreError("a message has no such state", seen=state, expected=", ".join(STATES))
    subject = database.execute("SELECT subject, told FROM inbox WHERE seq = ?", (seq,)).fetchone()
    if subject is None:
        raise StoreError("no such message", seen=seq)
    name = json.loads(sealing.open("inbox", subject[0], subject[0], "told", subject[1]))[0]
    told = sealing.seal("inbox", subject[0], subject[0], "told", json.dumps([name, reason]).encode())
    database.execute("UPDATE inbox SET state = ?, attempts = attempts + 1, told = ? WHERE seq = ?", (state, told, seq))
    for pid in sorted(set(pids)):
        database.execute("INSERT INTO inbox_patient (seq, pid) VALUES (?, ?) ON CONFLICT DO NOTHING", (seq, pid))


def names_of(database: Database, sealing: Sealing, pid: str, source: str, *, before: int, limit: int) -> list[str]:
    """Return what a source called the newest messages about a patient that arrived up to a time (ns UTC), newest first."""
    rows = database.execute(
        "SELECT inbox.subject, told FROM inbox JOIN inbox_patient ON inbox_patient.seq = inbox.seq"
        " WHERE pid = ? AND source = ? AND received_ns <= ? ORDER BY inbox.seq DESC LIMIT ?",
        (pid, source, before, limit),
    ).fetchall()
    return [json.loads(sealing.open("inbox", subject, subject, "told", told))[0] for subject, told in rows]
