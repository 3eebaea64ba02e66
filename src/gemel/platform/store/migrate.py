"""Which revision a store has, and carrying it to another. SQLAlchemy and alembic are imported only when something must move."""

from __future__ import annotations

from pathlib import Path

from gemel.core.errors import StoreError
from gemel.platform.keys import Master, beside, find_master
from gemel.platform.store.base import Database, is_postgres, open_database
from gemel.platform.store.sealing import Sealing

__all__ = ["HEAD", "REVISIONS", "master_of", "migrate", "revision_of"]

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011")
HEAD = REVISIONS[-1]
SEALED = "0003"
"""The first revision whose values are sealed."""


def revision_of(database: Database) -> str | None:
    """Return the revision of an open store; ``None`` where there is nothing yet.

    Raises
    ------
    StoreError
        When it is some other database, or a store of a version that this release does not know.
    """
    with database.explained():
        tables = database.tables()
        if not tables:
            return None
        ours = database.is_ours()
        rows = [row[0] for row in database.execute("SELECT version_num FROM alembic_version")] if "alembic_version" in tables else []
    if rows == [] and tables == {"alembic_version"}:
        return None
    if not ours or len(rows) != 1:
        raise StoreError("this is another program's database", seen=database.label, expected="a store of gemel", fix="name another")
    if rows[0] not in REVISIONS:
        raise StoreError(
            "the store was written by a newer gemel",
            seen=f"schema {rows[0]}",
            expected=f"at most {HEAD}",
            fix="upgrade gemel; a store is never read by an older one",
        )
    return rows[0]


def master_of(place: str | Path, revision: str | None) -> Master:
    """Return the master key for a place: the configured one, else the file beside an embedded store, made where nothing is sealed yet."""
    default = None if is_postgres(place) else beside(Path(place))
    return find_master(default=default, make=revision is None or revision < SEALED)


def migrate(place: str | Path, to: str = "head", *, keys: Master | None = None, busy_ms: int = 5000) -> None:
    """Carry a store to a revision, up or down, in one transaction: all of it or nothing.

    Parameters
    ----------
    place : the file, or a ``postgresql://`` URL.
    to : ``head``, ``base`` (everything is dropped) or one of :data:`REVISIONS`. Below ``0003`` nothing is sealed: going there opens everything.
    keys : the master key; left out, the configured one, or the file beside.
    busy_ms : how long to wait for a lock.
    """
    if to not in (*REVISIONS, "head", "base"):
        raise StoreError("no such schema", seen=to, expected=f"head, base, {', '.join(REVISIONS)}")
    import alembic.command
    import alembic.config
    import sqlalchemy.exc

    database = open_database(place, busy_ms=busy_ms)
    engine = None
    try:
        before = revision_of(database)
        target = REVISIONS.index(HEAD if to == "head" else to) if to != "base" else -1
        present = REVISIONS.index(before) if before else -1
        config = alembic.config.Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
        config.attributes["database"] = database
        config.attributes["sealing"] = Sealing(database, keys or master_of(place, before))
        engine = database.engine()
        try:
            with database.explained(), engine.begin() as connection:
                config.attributes["connection"] = connection
                (alembic.command.upgrade if target >= present else alembic.command.downgrade)(config, to)
        except sqlalchemy.exc.DBAPIError as error:
            with database.explained():
                raise error.orig from error  # type: ignore[misc]
    finally:
        if engine is not None:
            engine.dispose()
        database.close()
    if before is not None and (before < SEALED <= REVISIONS[max(target, 0)]):  # what lay open is overwritten
        database = open_database(place, busy_ms=busy_ms)
        try:
            database.scrub()
        finally:
            database.close()
