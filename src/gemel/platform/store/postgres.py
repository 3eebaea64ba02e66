"""PostgreSQL 15 or newer: a store that several machines share. The driver (pg8000, BSD) is the extra ``[postgres]``."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gemel.core.errors import StoreError
from gemel.platform.store.base import Mode

__all__ = ["PostgresDatabase"]

_LOCK = 0x47454D4C
_LOCAL = ("localhost", "127.0.0.1", "::1")
_SCHEMA = re.compile(r"[a-z][a-z0-9_]{0,62}")
_BEGIN: dict[str, str] = {"read": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "write": "BEGIN", "work": "BEGIN"}
_PREPARED = 500
"""Statements that are kept prepared."""
_AT_ONCE = (64, 8, 1)
"""Rows that one statement inserts: few sizes, so that few statements are prepared."""

_ADVICE: dict[str, tuple[str, str]] = {
    "55P03": ("the store is locked", "another process is writing: wait for it or end it, then try again"),
    "40P01": ("the store is locked", "two processes waited for each other: try again"),
    "40001": ("the store is locked", "another process was first: try again"),
    "53100": ("the disk is full", "free space; nothing of the last change was written"),
    "53300": ("the database takes no more connections", "end some, or let it take more"),
    "42501": ("the store may not be written to", "grant the user all rights on its schema"),
    "28": ("the database does not let this user in", "check user and password"),
    "3D000": ("there is no such database", "create it, or name another"),
    "08": ("the database does not answer", "start it, then try again; nothing of the last change was written"),
    "57P": ("the database does not answer", "start it, then try again; nothing of the last change was written"),
    "XX001": ("the store is damaged", "restore the last backup, and import again what came since"),
    "XX002": ("the store is damaged", "restore the last backup, and import again what came since"),
}


class _Rows:
    def __init__(self, rows: list[list[Any]], count: int) -> None:
        self._rows, self._at, self.rowcount = rows, 0, count

    def fetchone(self) -> tuple[Any, ...] | None:
        if self._at == len(self._rows):
            return None
        self._at += 1
        return tuple(self._rows[self._at - 1])

    def fetchall(self) -> list[tuple[Any, ...]]:
        rest = [tuple(row) for row in self._rows[self._at :]]
        self._at = len(self._rows)
        return rest

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.fetchall())


def _settings(url: str) -> tuple[dict[str, Any], str]:
    parts = urlsplit(url)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = sorted(set(asked) - {"host", "port", "schema", "sslmode"})
    schema, mode = asked.get("schema", "public"), asked.get("sslmode")
    if unknown or not _SCHEMA.fullmatch(schema) or mode not in (None, "disable", "verify-full") or not parts.path.strip("/"):
        raise StoreError(
            "the URL of the database cannot be used",
            seen=", ".join(unknown) or parts.path or schema,
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME&sslmode=verify-full|disable, or host=FOLDER of the socket",
        )
    host, port = asked.get("host", parts.hostname or "localhost"), int(asked.get("port", parts.port or 5432))
    told: dict[str, Any] = {
        "user": unquote(parts.username or "gemel"),
        "database": parts.path.strip("/"),
        "timeout": None,
        "application_name": "gemel",
    }
    if parts.password is not None:
        told["password"] = unquote(parts.password)
    if host.startswith("/"):
        return told | {"unix_sock": f"{host}/.s.PGSQL.{port}"}, schema
    if mode != "disable" and (mode or host not in _LOCAL):
        told["ssl_context"] = ssl.create_default_context()
    return told | {"host": host, "port": port}, schema


class PostgresDatabase:
    """A schema of a PostgreSQL database, as :class:`gemel.platform.store.base.Database`.

    A connection that broke is made again with the next transaction. A host that is not this machine is spoken to over TLS, its certificate checked.

    Parameters
    ----------
    url : ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME``; ``host=/FOLDER`` for a socket.
    busy_ms : how long to wait for another process that writes.
    """

    dialect = "postgresql"

    def __init__(self, url: str, *, busy_ms: int = 5000) -> None:
        self._told, self._schema = _settings(url)
        self._busy = int(busy_ms)
        self.label = f"{self._told['database']}.{self._schema}"
        self._broken = False
        self._statements: dict[str, tuple[Any, ...]] = {}
        self._connect()

    def _connect(self) -> None:
        try:
            import pg8000.dbapi
            from pg8000.converters import make_params
        except ImportError as error:
            raise StoreError("PostgreSQL needs its driver", seen="pg8000 is not installed", fix="pip install 'gemel[postgres]'") from error
        self._driver, self._make_params = pg8000.dbapi, make_params
        self._statements.clear()
        with self.explained():
            self.connection = pg8000.dbapi.connect(**self._told)
            self.connection.autocommit = True
            for line in (f"SET search_path TO {self._schema}", f"SET lock_timeout = {self._busy}", "SET client_min_messages = warning"):
                self.connection.execute_simple(line)
        self._broken = False

    def _prepared(self, statement: str) -> tuple[Any, ...]:
        found = self._statements.get(statement)
        if found is None:
            if len(self._statements) >= _PREPARED:  # searches come in many shapes, and the server keeps each
                oldest = next(iter(self._statements))
                self.connection.close_prepared_statement(self._statements.pop(oldest)[0])
            pieces = statement.split("?")
            text = pieces[0] + "".join(f"${i}{piece}" for i, piece in enumerate(pieces[1:], 1))
            found = self._statements[statement] = (*self.connection.prepare_statement(text, ()), text)
        return found

    def execute(self, statement: str, values: Sequence[Any] = ()) -> _Rows:
        """Run one statement; it is prepared once."""
        name, columns, functions, text = self._prepared(statement)
        told = self.connection.execute_named(name, self._make_params(self.connection.py_types, values), columns, functions, text)
        return _Rows(told.rows or [], told.row_count)

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows, many with each statement."""
        head, mark, group = statement.partition(" VALUES ")
        at = 0
        for n in _AT_ONCE if mark else (1,):
            whole = f"{head}{mark}{', '.join([group] * n)}"
            while len(rows) - at >= n:
                self.execute(whole, [value for row in rows[at : at + n] for value in row])
                at += n

    def begin(self, mode: Mode) -> None:
        """Begin; one that writes waits for the others first, so that events have no gaps."""
        if self._broken:
            with contextlib.suppress(Exception):
                self.connection.close()
            self._connect()
        self.connection.execute_simple(_BEGIN[mode])
        if mode == "write":
            self.connection.execute_simple(f"SELECT pg_advisory_xact_lock({_LOCK}, hashtext(current_schema()))")

    def commit(self) -> None:
        """Write to the disk."""
        self.connection.execute_simple("COMMIT")

    def rollback(self) -> None:
        """Undo; a broken connection has done so."""
        if not self._broken:
            self.connection.execute_simple("ROLLBACK")

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn errors of the driver into ``StoreError``."""
        try:
            yield
        except (self._driver.Error, OSError) as error:
            told = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
            code, message = str(told.get("C", "")), str(told.get("M", "") or error)
            if not code or code.startswith(("08", "57P")):
                self._broken, code = True, "08"
            for prefix, (what, fix) in _ADVICE.items():
                if code.startswith(prefix):
                    raise StoreError(what, seen=f"{self.label}: {message}", fix=fix) from error
            if "append only" in message:
                raise StoreError(
                    "what stands in the store is never changed", seen=message, fix="append a newer version: it supersedes"
                ) from error
            raise StoreError(
                "the store refused", seen=f"{self.label}: {message}", fix="check the store with check(); if it is sound, report this"
            ) from error

    def tables(self) -> set[str]:
        """Return the names of all tables of the schema."""
        return {row[0] for row in self.execute("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")}

    def is_ours(self) -> bool:
        """Return whether the schema has the store's guard."""
        guard = "SELECT count(*) FROM pg_proc WHERE proname = 'gemel_append_only' AND pronamespace = current_schema()::regnamespace"
        return self.execute(guard).fetchall() == [(1,)]

    def faults(self) -> list[str]:
        """Return nothing: the server checks references as it writes, and pages where it was made with checksums."""
        return []

    def scrub(self) -> None:
        """Write every table anew, without what was deleted. The server's log and its archives are the administrator's to recycle."""
        with self.explained():
            for name in sorted(self.tables()):
                self.connection.execute_simple(f"VACUUM (FULL) {name}")
            with contextlib.suppress(self._driver.Error):  # only for those who may
                self.connection.execute_simple("CHECKPOINT")

    def engine(self) -> Any:
        """Return an SQLAlchemy engine on this connection; it waits for those who write."""
        import sqlalchemy as sa
        import sqlalchemy.event

        self.connection.autocommit = False
        engine = sa.create_engine("postgresql+pg8000://", creator=lambda: self.connection, poolclass=sa.pool.StaticPool)
        lock = f"SELECT pg_advisory_xact_lock({_LOCK}, hashtext(current_schema()))"
        sqlalchemy.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(lock))
        return engine

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):
            self.connection.close()
