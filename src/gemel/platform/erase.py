"""Erasing a patient: their key is destroyed, in the store and in its key backups, their rows are deleted, and what was deleted is overwritten.

What remains is a random number, the places of their events in the sequence, and an entry in the erasure log, so that no backup brings them back.

What it cannot reach: key backups that are elsewhere (they are named), archives of a PostgreSQL server's log, and copies of the disk. There the wrapped key stays until the
master key that wraps it is destroyed: exchange the master key (``gemel keys rotate``) and destroy the old one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gemel.core.errors import StoreError
from gemel.platform.store import Store
from gemel.platform.store.backup import drop_keys
from gemel.platform.store.base import Database
from gemel.platform.store.facts import TABLES as FACTS
from gemel.platform.store.index_rows import TABLES as INDEXES
from gemel.platform.store.index_rows import Blinder, param_of
from gemel.platform.store.merges import family_of

__all__ = ["Erasure", "erase", "log_path", "scrub"]

_ROWS = (
    "delivery",
    "image",
    "blob",
    "outcome",
    "decision",
    "proposal",
    "forecast",
    "twin_version",
    *FACTS,
    "consent",
    "care",
    "glass",
    "score",
    "superseded",
    "live",
    "joined",
    "resource_body",
    "resource",
)


@dataclass(frozen=True)
class Erasure:
    """What was erased: the random id that stays, rows deleted, messages deleted, and the key backups that were and were not reached."""

    pid: str
    rows: int
    messages: int
    reached: tuple[str, ...]
    unreached: tuple[str, ...]


def log_path(place: str | Path) -> Path | None:
    """Return the erasure log beside an embedded store; ``None`` for a server."""
    return place.with_name(place.name + ".erased") if isinstance(place, Path) else None


def erase(store: Store, patient: str, *, recorded: int, key_backups: Iterable[Path] = (), log: Path | None = None) -> Erasure:
    """Erase a patient for good, under each pseudonym that was merged with theirs: it is one person.

    Parameters
    ----------
    patient : pseudonym.
    recorded : ns UTC, when.
    key_backups : files besides those that the store remembers.
    log : where the erasure is noted outside the database; left out, ``NAME.erased`` beside an embedded store.

    Raises
    ------
    StoreError
        When there is no such patient, or another process holds the write-ahead log: their key is destroyed then, and :func:`scrub` does the rest.
    """
    log = log or log_path(store.place)  # type: ignore[arg-type]
    with store._transaction("read") as database:
        pid = store._pid(patient)
        family = family_of(database, pid)
        _, subjects = _messages(database, family)
        known = [Path(row[0]) for row in database.execute("SELECT path FROM key_backup ORDER BY path")]
    for one in family if log is not None else ():
        _note(log, one, recorded)  # type: ignore[arg-type]
    reached, unreached = [], []
    for path in dict.fromkeys([*known, *(p.resolve() for p in key_backups)]):
        (reached if {drop_keys(path, subjects, one) for one in family} == {True} else unreached).append(str(path))
    with store._transaction("write") as database:
        seqs, subjects = _messages(database, family)
        rows = _delete_messages(database, seqs, subjects)
        for one in family:
            database.execute(
                "INSERT INTO erasure (pid, recorded_ns) VALUES (?, ?)", (one, recorded)
            )  # from here on its rows may be deleted
        for one in family:
            rows += _delete_lists(store, one)
            rows += _delete(database, one)
            store._event("erasure", one, "", recorded)
    store._sealing.forget()
    scrub(store)
    return Erasure(pid, rows, len(seqs), tuple(reached), tuple(unreached))


def scrub(store: Store) -> None:
    """Overwrite what was deleted: pages, and the write-ahead log; files that belong to nobody go too. Done again when erasing was cut short."""
    if store.blobs is not None:
        store.sweep(grace_s=0.0)
    store._database.scrub()


def _messages(database: Database, family: tuple[str, ...]) -> tuple[list[int], list[str]]:
    marks = ", ".join("?" * len(family))
    chosen = f"SELECT DISTINCT inbox.seq, subject FROM inbox JOIN inbox_patient ON inbox_patient.seq = inbox.seq WHERE pid IN ({marks}) ORDER BY inbox.seq"
    found = database.execute(chosen, family).fetchall()
    return [row[0] for row in found], [row[1] for row in found]


def _delete_messages(database: Database, seqs: list[int], subjects: list[str]) -> int:
    deleted = 0
    for seq, subject in zip(seqs, subjects, strict=True):
        for statement, value in (
            ("DELETE FROM inbox_patient WHERE seq = ?", seq),
            ("DELETE FROM receipt WHERE seq = ?", seq),
            ("DELETE FROM inbox WHERE seq = ?", seq),
            ("DELETE FROM key_wrap WHERE subject = ?", subject),
        ):
            deleted += database.execute(statement, (value,)).rowcount
    return deleted


def _delete_lists(store: Store, pid: str) -> int:
    """Delete every Group that ever named a person: all its versions."""
    database = store._database
    sealed = database.execute("SELECT name FROM patient WHERE pid = ?", (pid,)).fetchone()[0]
    refs = database.execute(
        "SELECT DISTINCT ref FROM resource WHERE kind = 'Group' AND num IN (SELECT num FROM idx_ref WHERE param = ? AND value = ?)",
        (param_of("Group", "member"), Blinder(store._sealing).ref(f"Patient/{store._name(pid, sealed)}")),
    ).fetchall()
    deleted = 0
    for (ref,) in refs:
        for table in (*INDEXES, "resource_body"):
            deleted += database.execute(f"DELETE FROM {table} WHERE num IN (SELECT num FROM resource WHERE ref = ?)", (ref,)).rowcount
        deleted += database.execute("DELETE FROM resource WHERE ref = ?", (ref,)).rowcount
    return deleted


def _delete(database: Database, pid: str) -> int:
    deleted = 0
    for table in INDEXES:
        deleted += database.execute(f"DELETE FROM {table} WHERE num IN (SELECT num FROM resource WHERE pid = ?)", (pid,)).rowcount
    for table in _ROWS:
        deleted += database.execute(f"DELETE FROM {table} WHERE pid = ?", (pid,)).rowcount
    deleted += database.execute("DELETE FROM series_chunk WHERE sid IN (SELECT sid FROM series WHERE pid = ?)", (pid,)).rowcount
    for table in ("series", "demographics", "job", "answer"):
        deleted += database.execute(f"DELETE FROM {table} WHERE pid = ?", (pid,)).rowcount
    database.execute("UPDATE patient SET token = NULL, name = NULL WHERE pid = ?", (pid,))
    return deleted + database.execute("DELETE FROM key_wrap WHERE subject = ?", (pid,)).rowcount


def _note(log: Path, pid: str, recorded: int) -> None:
    try:
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as sink:
            sink.write(json.dumps({"pid": pid, "time": recorded}).encode() + b"\n")
            sink.flush()
            os.fsync(sink.fileno())
    except OSError as error:
        raise StoreError(
            "the erasure cannot be noted", seen=f"{log.name}: {error.strerror}", fix="name a log that can be written to; nothing was erased"
        ) from error
