"""What the store asks of a database, and which one a place names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

__all__ = ["Database", "Mode", "Rows", "is_postgres", "open_database"]

Mode = Literal["read", "write", "work"]
"""A snapshot; a change, one at a time in the whole database; a change of the queue, which others may change too."""


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """Return how many rows were touched."""
        ...

    def fetchone(self) -> Any:
        """Return the next row, or ``None``."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """One connection. Statements are written once for all databases, with ``?`` for values."""

    dialect: str
    label: str

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """Run one statement."""
        ...

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> object:
        """Run one statement for each row."""
        ...

    def begin(self, mode: Mode) -> None:
        """Begin a transaction."""
        ...

    def commit(self) -> None:
        """Wait until the disk has everything since ``begin``."""
        ...

    def rollback(self) -> None:
        """Undo everything since ``begin``; nothing where the database has done so itself."""
        ...

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """Turn errors of the driver into ``StoreError``."""
        ...

    def tables(self) -> set[str]:
        """Return the names of all tables."""
        ...

    def is_ours(self) -> bool:
        """Return whether the tables are a store's, as far as the database can tell."""
        ...

    def faults(self) -> list[str]:
        """Return what the database itself finds wrong with its pages and references."""
        ...

    def scrub(self) -> None:
        """Overwrite what was deleted: in free pages, in the journal, and between rows."""
        ...

    def engine(self) -> Any:
        """Return an SQLAlchemy engine on this connection, for migrations; foreign keys are off where tables are made anew."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


def is_postgres(place: str | Path) -> bool:
    """Return whether a place is a PostgreSQL database, not a file."""
    return isinstance(place, str) and place.startswith(("postgresql://", "postgres://"))


def open_database(place: str | Path, *, busy_ms: int = 5000) -> Database:
    """Open a file (SQLite; made when missing) or a ``postgresql://`` URL."""
    if is_postgres(place):
        from gemel.platform.store.postgres import PostgresDatabase

        return PostgresDatabase(str(place), busy_ms=busy_ms)
    from gemel.platform.store.sqlite import SqliteDatabase

    return SqliteDatabase(Path(place), busy_ms=busy_ms)
