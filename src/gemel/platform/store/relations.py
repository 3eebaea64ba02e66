"""Who treats whom, and whose glass is broken: what a decision needs to know of the one who asks. Sealed under the person's key."""

from __future__ import annotations

import json
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass

from gemel.core.errors import StoreError
from gemel.platform.access import GLASS, BreakGlass
from gemel.platform.store.base import Database
from gemel.platform.store.store import Store

__all__ = [
    "KINDS",
    "Glass",
    "Relation",
    "break_glass",
    "end_care",
    "glasses",
    "is_enrolled",
    "open_glass",
    "put_care",
    "put_relation",
    "relations_of",
    "relations_with",
    "review_glass",
    "treated_by",
]

KINDS = ("self", "proxy", "care", "device")
"""Oneself; those one acts for; those one treats; a device and whom it is attached to."""


@dataclass(frozen=True)
class Relation:
    """One relation of a person to somebody who may act.

    Parameters
    ----------
    who : a reference, such as ``Practitioner/7``.
    kind : one of :data:`KINDS`.
    start, end : [start, end) ns UTC in which it holds; ``None`` is without end.
    """

    who: str
    kind: str = "care"
    start: int = 0
    end: int | None = None

    def holds(self, time: int) -> bool:
        """Say whether it holds at a time, ns UTC."""
        return self.start <= time and (self.end is None or time < self.end)


@dataclass(frozen=True)
class Glass:
    """One emergency access: whose data, by whom, why, when (ns UTC), and who looked at it afterwards."""

    id: str
    subject: str
    who: str
    reason: str
    opened: int
    reviewed: int | None = None
    reviewer: str = ""
    finding: str = ""


def put_care(store: Store, patient: str, relation: Relation, *, recorded: int) -> None:
    """Keep a relation to a patient (pseudonym); a newer one of the same two replaces it.

    Raises
    ------
    StoreError
        When the patient or the kind is not known.
    """
    with store._transaction("write"):
        put_relation(store, store._pid(patient), relation, recorded=recorded)


def put_relation(store: Store, subject: str, relation: Relation, *, recorded: int) -> None:
    """Keep a relation to a patient (random id); a newer one of the same two replaces it.

    Parameters
    ----------
    recorded : ns UTC.

    Raises
    ------
    StoreError
        When the kind is not known.
    """
    if relation.kind not in KINDS or not relation.who:
        raise StoreError("a relation is of another kind", seen=relation.kind, expected=", ".join(KINDS))
    with store._transaction("write") as database:
        rev = database.execute("SELECT coalesce(max(rev), 0) + 1 FROM care WHERE pid = ?", (subject,)).fetchone()[0]
        body = json.dumps([relation.who, relation.kind, relation.start, relation.end]).encode()
        database.execute(
            "INSERT INTO care (pid, rev, who, recorded_ns, body) VALUES (?, ?, ?, ?, ?)",
            (subject, rev, store._sealing.token("care", relation.who), recorded, store._sealing.seal("care", subject, rev, 0, body)),
        )


def end_care(store: Store, patient: str, who: str, *, time: int) -> None:
    """Let a relation end at a time, ns UTC; where there is none nothing is kept."""
    with store._transaction("write"):
        for relation in relations_of(store, patient):
            if relation.who == who:
                put_care(store, patient, Relation(who, relation.kind, relation.start, time), recorded=time)


def _relation(store: Store, pid: str, rev: int, body: bytes) -> Relation:
    return Relation(*json.loads(store._sealing.open("care", pid, rev, 0, body)))


def relations_of(store: Store, patient: str) -> tuple[Relation, ...]:
    """Return who stands in a relation to a patient (pseudonym): the newest of each."""
    return relations_with(store, store.subject(patient))


def relations_with(store: Store, subject: str) -> tuple[Relation, ...]:
    """Return who stands in a relation to a patient (random id): the newest of each."""
    with store._transaction("read") as database:
        rows = database.execute("SELECT who, rev, body FROM care WHERE pid = ? ORDER BY rev", (subject,)).fetchall()
        newest = {who: (rev, body) for who, rev, body in rows}
        return tuple(_relation(store, subject, rev, body) for rev, body in newest.values())


def treated_by(
    store: Store, who: str, *, time: int, kinds: tuple[str, ...] = KINDS, known: MutableMapping[tuple[str, int], Relation] | None = None
) -> frozenset[str]:
    """Return the random ids of those with whom somebody stands in a relation at a time, ns UTC.

    Parameters
    ----------
    known : (random id, revision) -> relations that were opened before; it is filled. What stands in the store is never changed.
    """
    known = {} if known is None else known
    with store._transaction("read") as database:
        chosen = "SELECT pid, max(rev) FROM care WHERE who = ? GROUP BY pid"
        newest = database.execute(chosen, (store._sealing.token("care", who),)).fetchall()
        found = set()
        for pid, rev in newest:
            relation = known.get((pid, rev))
            if relation is None:
                (body,) = database.execute("SELECT body FROM care WHERE pid = ? AND rev = ?", (pid, rev)).fetchone()
                relation = known[pid, rev] = _relation(store, pid, rev, body)
            if relation.kind in kinds and relation.holds(time):
                found.add(pid)
    return frozenset(found)


def is_enrolled(store: Store, subject: str) -> bool:
    """Say whether a random id is that of a patient who is there and was not erased."""
    with store._transaction("read") as database:
        return database.execute("SELECT 1 FROM patient WHERE pid = ? AND token IS NOT NULL", (subject,)).fetchone() is not None


def break_glass(store: Store, subject: str, who: str, reason: str, *, opened: int) -> Glass:
    """Keep that somebody opened a person's data in an emergency: it holds for an hour.

    Parameters
    ----------
    subject : random id of the patient.
    reason : why, in words.
    opened : ns UTC.

    Raises
    ------
    DataError
        Without a reason.
    """
    BreakGlass(subject, reason, opened)
    found = Glass(secrets.token_hex(12), subject, who, reason, opened)
    with store._transaction("write") as database:
        _glass(database, store, found.id, subject, who, "opened", opened, [who, reason])
        store._event("glass", subject, found.id, opened)
    return found


def review_glass(store: Store, glass: str, reviewer: str, finding: str, *, time: int) -> None:
    """Keep that somebody looked at an emergency access, and what they found.

    Raises
    ------
    StoreError
        When there is no such access.
    """
    with store._transaction("write") as database:
        row = database.execute("SELECT pid FROM glass WHERE id = ? AND kind = 'opened'", (glass,)).fetchone()
        if row is None:
            raise StoreError("the store has no such emergency access", fix="glasses() lists them")
        _glass(database, store, secrets.token_hex(12), row[0], reviewer, "reviewed", time, [glass, reviewer, finding])


def _glass(database: Database, store: Store, key: str, pid: str, who: str, kind: str, time: int, told: list[str]) -> None:
    body = store._sealing.seal("glass", pid, key, kind, json.dumps(told).encode())
    values = (key, pid, store._sealing.token("glass", who), kind, time, body)
    database.execute("INSERT INTO glass (id, pid, who, kind, time_ns, body) VALUES (?, ?, ?, ?, ?, ?)", values)


def open_glass(store: Store, who: str, *, time: int) -> BreakGlass | None:
    """Return the newest glass that somebody has open at a time, ns UTC."""
    with store._transaction("read") as database:
        row = database.execute(
            "SELECT pid, id, time_ns, body FROM glass WHERE who = ? AND kind = 'opened' AND time_ns > ? AND time_ns <= ? ORDER BY time_ns DESC LIMIT 1",
            (store._sealing.token("glass", who), time - GLASS, time),
        ).fetchone()
        if row is None:
            return None
        return BreakGlass(row[0], json.loads(store._sealing.open("glass", row[0], row[1], "opened", row[3]))[1], row[2])


def glasses(store: Store, *, after: int = 0) -> tuple[Glass, ...]:
    """Return every emergency access since a time (ns UTC), oldest first, with what was found at its review."""
    with store._transaction("read") as database:
        rows = database.execute(
            "SELECT id, pid, kind, time_ns, body FROM glass WHERE time_ns >= ? ORDER BY time_ns, id", (after,)
        ).fetchall()
        told = [
            (key, pid, kind, time, json.loads(store._sealing.open("glass", pid, key, kind, body))) for key, pid, kind, time, body in rows
        ]
    reviews = {body[0]: (time, body[1], body[2]) for _, _, kind, time, body in told if kind == "reviewed"}
    return tuple(
        Glass(key, pid, body[0], body[1], time, *reviews.get(key, (None, "", "")))
        for key, pid, kind, time, body in told
        if kind == "opened"
    )
