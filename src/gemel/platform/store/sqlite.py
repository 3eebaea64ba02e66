"""SQLite: a store in one file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gemel.core.errors import StoreError
from gemel.platform.store.base import Mode

__all__ = ["APPLICATION", "SqliteDatabase", "connect", "explained"]

APPLICATION = 0x47454D4C
"""``PRAGMA application_id`` of a store ("GEML")."""

_ADVICE: dict[str, tuple[str, str]] = {
    "SQLITE_BUSY": (
        "the store is locked",
        "another process is writing: wait for it or end it, then try again; a store does not belong on a network disk",
    ),
    "SQLITE_LOCKED": ("the store is locked", "another process is writing: wait for it or end it, then try again"),
    "SQLITE_NOTADB": ("this file is not a store", "name another file, or restore the store from a backup"),
    "SQLITE_CORRUPT": (
        "the store is damaged",
        "keep the file and its -wal beside it, restore the last backup, and import again what came since",
    ),
    "SQLITE_FULL": ("the disk is full", "free space; nothing of the last change was written"),
    "SQLITE_CANTOPEN": ("the store cannot be opened", "check that the folder exists and may be written to"),
    "SQLITE_READONLY": ("the store may not be written to", "check the permissions of the file and of its folder"),
    "SQLITE_PERM": ("the store may not be opened", "check the permissions of the file and of its folder"),
    "SQLITE_IOERR": ("the disk reported an error", "check the disk, then restore the last backup if the store is damaged"),
}


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of the driver into :class:`~gemel.core.errors.StoreError`."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        for prefix, (what, fix) in _ADVICE.items():
            if name.startswith(prefix):
                raise StoreError(what, seen=f"{path.name}: {error}", fix=fix) from error
        if "append only" in str(error):
            raise StoreError(
                "what stands in the store is never changed", seen=str(error), fix="append a newer version: it supersedes"
            ) from error
        raise StoreError(
            "the store refused", seen=f"{path.name}: {error}", fix="check the store with check(); if it is sound, report this"
        ) from error


def connect(path: Path, *, busy_ms: int = 5000) -> sqlite3.Connection:
    """Open a file with the store's pragmas: WAL, synchronous FULL, foreign keys on, deleted pages overwritten.

    A file that is not there is made, readable by its owner alone.
    """
    if path.is_dir():
        raise StoreError("a store is a file", seen=f"folder {path.name}", fix="name a file in it")
    if not path.exists():
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreError(
                "the store cannot be made", seen=f"{path.name}: {error.strerror}", fix="check that the folder exists and may be written to"
            ) from error
    with explained(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=busy_ms / 1000)
        try:
            connection.execute(f"PRAGMA busy_timeout = {int(busy_ms)}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
    return connection


class SqliteDatabase:
    """A file, as :class:`gemel.platform.store.base.Database`.

    Parameters
    ----------
    path : the file; made when missing.
    busy_ms : how long to wait for another process that writes.
    """

    dialect = "sqlite"

    def __init__(self, path: Path, *, busy_ms: int = 5000) -> None:
        self.path, self.label = path, path.name
        self.connection = connect(path, busy_ms=busy_ms)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self.connection.execute(statement, values)

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> sqlite3.Cursor:
        """Run one statement for each row."""
        return self.connection.executemany(statement, rows)

    def begin(self, mode: Mode) -> None:
        """Begin; one that writes waits for the others first."""
        self.connection.execute("BEGIN DEFERRED" if mode == "read" else "BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Write to the disk."""
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo; sqlite has done so by itself when the disk is full."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """Turn errors of sqlite3 into ``StoreError``."""
        return explained(self.path)

    def tables(self) -> set[str]:
        """Return the names of all tables."""
        return {row[0] for row in self.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def is_ours(self) -> bool:
        """Return whether the file carries the store's mark."""
        return self.execute("PRAGMA application_id").fetchone()[0] == APPLICATION

    def faults(self) -> list[str]:
        """Return damaged pages and references that lead nowhere."""
        found = [f"pages: {row[0]}" for row in self.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        return found + [
            f"reference: row {row[1]} of {row[0]} points nowhere in {row[2]}" for row in self.execute("PRAGMA foreign_key_check")
        ]

    def scrub(self) -> None:
        """Write every page anew, and empty the write-ahead log.

        Raises
        ------
        StoreError
            When another process reads: the log cannot be emptied under it.
        """
        with self.explained():
            self.execute("VACUUM")
            busy = self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise StoreError(
                "what was deleted still stands in the write-ahead log", seen="another process has the store open", expected="nobody else reading",
                fix="end the other process, then do it again",
            )  # fmt: skip

    def engine(self) -> Any:
        """Return an SQLAlchemy engine on this connection, foreign keys off."""
        import sqlalchemy as sa
        import sqlalchemy.event

        with self.explained():
            self.execute("PRAGMA foreign_keys = OFF")  # tables are dropped child first, but sqlite re-checks rows of dropped parents
        engine = sa.create_engine("sqlite://", creator=lambda: self.connection, poolclass=sa.pool.StaticPool)
        sqlalchemy.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine

    def close(self) -> None:
        """Close the file."""
        self.connection.close()
