"""Which revision a store file has, and carrying it to another. SQLAlchemy and alembic are imported only when something must move."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from gemel.core.errors import StoreError
from gemel.platform.store.connection import APPLICATION, connect, explained

__all__ = ["HEAD", "REVISIONS", "migrate", "revision_of"]

REVISIONS = ("0001", "0002")
HEAD = REVISIONS[-1]


def revision_of(connection: sqlite3.Connection, path: Path) -> str | None:
    """Return the revision of an open store; ``None`` for an empty file.

    Raises
    ------
    StoreError
        When it is some other database, or a store of a version that this release does not know.
    """
    with explained(path):
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return None
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        rows = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")] if "alembic_version" in tables else []
    if rows == [] and tables == {"alembic_version"}:
        return None
    if application != APPLICATION or len(rows) != 1:
        raise StoreError("this file is another program's database", seen=path.name, expected="a store of gemel", fix="name another file")
    if rows[0] not in REVISIONS:
        raise StoreError(
            "the store was written by a newer gemel",
            seen=f"schema {rows[0]}",
            expected=f"at most {HEAD}",
            fix="upgrade gemel; a store is never read by an older one",
        )
    return rows[0]


def migrate(path: Path, to: str = "head", *, busy_ms: int = 5000) -> None:
    """Carry a store to a revision, up or down, in one transaction: all of it or nothing.

    Parameters
    ----------
    path : the file.
    to : ``head``, ``base`` (everything is dropped) or one of :data:`REVISIONS`.
    busy_ms : how long to wait for a lock.
    """
    if to not in (*REVISIONS, "head", "base"):
        raise StoreError("no such schema", seen=to, expected=f"head, base, {', '.join(REVISIONS)}")
    import alembic.command
    import alembic.config
    import sqlalchemy as sa
    import sqlalchemy.event
    import sqlalchemy.exc

    raw = connect(path, busy_ms=busy_ms)
    try:
        before = revision_of(raw, path)
        with explained(path):
            raw.execute("PRAGMA foreign_keys = OFF")  # tables are dropped child first, but sqlite re-checks rows of dropped parents
    except BaseException:
        raw.close()
        raise
    engine = sa.create_engine("sqlite://", creator=lambda: raw, poolclass=sa.pool.StaticPool)
    sqlalchemy.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    target = REVISIONS.index(HEAD if to == "head" else to) if to != "base" else -1
    present = REVISIONS.index(before) if before else -1
    try:
        with explained(path), engine.begin() as connection:
            config.attributes["connection"] = connection
            (alembic.command.upgrade if target >= present else alembic.command.downgrade)(config, to)
    except sqlalchemy.exc.DBAPIError as error:
        with explained(path):
            raise error.orig from error  # type: ignore[misc]
    finally:
        engine.dispose()
        raw.close()
