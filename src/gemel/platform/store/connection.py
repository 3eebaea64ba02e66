"""Opening a store file: pragmas, and the driver's errors as sentences that say what to do."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gemel.core.errors import StoreError

__all__ = ["APPLICATION", "connect", "explained"]

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
