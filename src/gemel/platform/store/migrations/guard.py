"""Triggers that refuse to change what stands, in the words of each database."""

from __future__ import annotations

from alembic import op

__all__ = ["drop_guard", "guard", "guard_chunks", "guard_erasable", "make_guard", "open_chunks"]

APPLICATION = 0x47454D4C


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def make_guard() -> None:
    """Mark the database as a store's."""
    if _is_sqlite():
        op.execute(f"PRAGMA application_id = {APPLICATION}")
        return
    op.execute(
        "CREATE FUNCTION gemel_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'append only: %', TG_TABLE_NAME; END $$"
    )


def drop_guard() -> None:
    """Take the mark away."""
    if not _is_sqlite():
        op.execute("DROP FUNCTION IF EXISTS gemel_append_only() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS gemel_erased_only() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS gemel_erased_chunks_only() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS gemel_erased_resources_only() CASCADE")


def guard(name: str, verbs: tuple[str, ...] = ("UPDATE", "DELETE")) -> None:
    """Refuse every change of a table."""
    for verb in verbs:
        title = f"{name}_no_{verb.lower()}"
        if _is_sqlite():
            op.execute(f"CREATE TRIGGER {title} BEFORE {verb} ON {name} BEGIN SELECT RAISE(ABORT, 'append only: {name}'); END")
        else:
            op.execute(f"CREATE TRIGGER {title} BEFORE {verb} ON {name} FOR EACH ROW EXECUTE FUNCTION gemel_append_only()")
    if not _is_sqlite():
        op.execute(f"CREATE TRIGGER {name}_no_truncate BEFORE TRUNCATE ON {name} FOR EACH STATEMENT EXECUTE FUNCTION gemel_append_only()")


_ERASED = {
    "gemel_erased_only": "EXISTS (SELECT 1 FROM erasure WHERE erasure.pid = OLD.pid)",
    "gemel_erased_resources_only": "EXISTS (SELECT 1 FROM erasure WHERE erasure.pid = OLD.pid)"
    " OR EXISTS (SELECT 1 FROM resource AS listed WHERE listed.num = OLD.num AND listed.kind = 'Group')",  # a list of people goes with any of them
    "gemel_erased_chunks_only": "EXISTS (SELECT 1 FROM series JOIN erasure ON erasure.pid = series.pid WHERE series.sid = OLD.sid)",
}


def guard_erasable(name: str) -> None:
    """Refuse every change of a table, but for rows of a patient who stands in ``erasure``."""
    special = {
        "series_chunk": "gemel_erased_chunks_only",
        "resource": "gemel_erased_resources_only",
        "resource_body": "gemel_erased_resources_only",
    }
    function = special.get(name, "gemel_erased_only")
    if not _is_sqlite():
        op.execute(
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {_ERASED[function]} THEN"
            " IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END IF; RAISE EXCEPTION 'append only: %', TG_TABLE_NAME; END $$"
        )
    for verb in ("UPDATE", "DELETE"):
        title = f"{name}_no_{verb.lower()}"
        if _is_sqlite():
            op.execute(
                f"CREATE TRIGGER {title} BEFORE {verb} ON {name} WHEN NOT ({_ERASED[function]}) BEGIN SELECT RAISE(ABORT, 'append only: {name}'); END"
            )
        else:
            op.execute(f"CREATE TRIGGER {title} BEFORE {verb} ON {name} FOR EACH ROW EXECUTE FUNCTION {function}()")
    if not _is_sqlite():
        op.execute(f"CREATE TRIGGER {name}_no_truncate BEFORE TRUNCATE ON {name} FOR EACH STATEMENT EXECUTE FUNCTION gemel_append_only()")


_COVERED = "EXISTS (SELECT 1 FROM series_chunk AS whole WHERE whole.sid = OLD.sid AND whole.day = OLD.day AND whole.covers >= OLD.rev AND whole.rev > OLD.rev)"


def open_chunks() -> None:
    """Let blocks of readings be deleted, until :func:`guard_chunks`."""
    if _is_sqlite():
        op.execute("DROP TRIGGER series_chunk_no_delete")
    else:
        op.execute("DROP TRIGGER series_chunk_no_delete ON series_chunk")


def guard_chunks(*, are_merged: bool) -> None:
    """Let blocks of readings go that a merged one holds, besides those of a patient who stands in ``erasure``; or, the way back, only these."""
    function = "gemel_erased_chunks_only"
    allowed = f"({_ERASED[function]} OR {_COVERED})" if are_merged else _ERASED[function]
    if _is_sqlite():
        op.execute(
            f"CREATE TRIGGER series_chunk_no_delete BEFORE DELETE ON series_chunk WHEN NOT {allowed} BEGIN SELECT RAISE(ABORT, 'append only: series_chunk'); END"
        )
        return
    op.execute(
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF TG_OP = 'DELETE' AND {allowed} THEN RETURN OLD; END IF; IF TG_OP = 'UPDATE' AND {_ERASED[function]} THEN RETURN NEW; END IF;"
        " RAISE EXCEPTION 'append only: %', TG_TABLE_NAME; END $$"
    )
    op.execute(f"CREATE TRIGGER series_chunk_no_delete BEFORE DELETE ON series_chunk FOR EACH ROW EXECUTE FUNCTION {function}()")
