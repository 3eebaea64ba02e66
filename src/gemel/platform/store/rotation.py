"""Exchanging the master key of a store: every key is wrapped again, nothing that is sealed changes."""

from __future__ import annotations

import os
from pathlib import Path

from gemel.core.errors import StoreError
from gemel.platform.keys import FILE_VARIABLE, VARIABLE, FileMaster, beside, make_master, read_master
from gemel.platform.store.base import is_postgres, open_database
from gemel.platform.store.sealing import DEPLOYMENT
from gemel.platform.store.store import Store

__all__ = ["key_of", "rotate"]


def key_of(place: str | Path) -> tuple[str, int]:
    """Return which master key a store needs, and how many keys it wraps: without having it."""
    database = open_database(place)
    try:
        with database.explained():
            if "key_wrap" not in database.tables():
                raise StoreError("the store is not sealed yet", seen=database.label, fix="gemel db migrate seals it")
            row = database.execute("SELECT kek FROM key_wrap WHERE subject = ?", (DEPLOYMENT,)).fetchone()
            return row[0], database.execute("SELECT count(*) FROM key_wrap").fetchone()[0]
    finally:
        database.close()


def rotate(place: str | Path, new: Path | None = None) -> tuple[Path, FileMaster, int]:
    """Wrap every key by a new master key.

    Parameters
    ----------
    new : where the new key is made. Left out, where the key lies beside an embedded store: it takes the place of the old one, which is kept as ``NAME.key.old``.

    Returns
    -------
    The new key's file, the key, and how many keys it wraps. Key backups that were made before still need the old key.
    """
    if new is not None:
        with Store(place) as store:  # the old key must be there before a new one is made
            made = make_master(new)
            return new, made, store.rewrap(made)
    if is_postgres(place) or os.environ.get(VARIABLE) or os.environ.get(FILE_VARIABLE):
        raise StoreError(
            "the new key needs a place", expected="a file for it", fix="gemel keys rotate STORE NEWFILE, then name it in GEMEL_KEY_FILE"
        )
    home = beside(Path(place))
    fresh = home.with_name(home.name + ".new")
    if fresh.exists() and read_master(fresh).id == key_of(place)[0]:  # cut short after wrapping, before the files changed places
        made, count = read_master(fresh), key_of(place)[1]
    else:
        fresh.unlink(missing_ok=True)
        with Store(place) as store:
            made = make_master(fresh)
            count = store.rewrap(made)
    os.replace(home, home.with_name(home.name + ".old"))
    os.replace(fresh, home)
    return home, made, count
