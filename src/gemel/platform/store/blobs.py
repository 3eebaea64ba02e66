"""Large bytes (letters, images) beside the database: one sealed file each, called by the patient's own token of its content.

A file is written under a temporary name, synced, renamed, and its folder synced, before its row is: a row always has its file. A file without a row, left by a change that was undone, is
swept while nobody else writes.
"""

from __future__ import annotations

import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from gemel.core.errors import StoreError
from gemel.platform.store.base import Database
from gemel.platform.store.durable import whole
from gemel.platform.store.sealing import Sealing

__all__ = ["add", "find_problems", "folder_of", "path_of", "read", "sweep", "write_file"]


def folder_of(place: str | Path) -> Path | None:
    """Return where the files of an embedded store lie; ``None`` for a server: there a folder must be named."""
    return place.with_name(place.name + ".blobs") if isinstance(place, Path) else None


def path_of(folder: Path, token: str) -> Path:
    """Return the place of a file."""
    return folder / token[:2] / token


def write_file(path: Path, body: bytes) -> None:
    """Write a file whole or not at all, for its owner alone, and wait for the disk.

    Raises
    ------
    StoreError
        When the folder cannot be written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with whole(path) as sink:
            sink.write(body)
    except OSError as error:
        raise StoreError(
            "a file of the store cannot be written", seen=error.strerror, fix="check folder, permissions and space; nothing was written"
        ) from error


def add(database: Database, sealing: Sealing, folder: Path, pid: str, body: bytes) -> str:
    """Keep bytes of a patient; the same bytes are kept once. Return their SHA-256: inside a transaction that writes."""
    told = sha256(body).hexdigest()
    token = sealing.own(pid, "blob", told)
    path = path_of(folder, token)
    known = database.execute("SELECT 1 FROM blob WHERE pid = ? AND token = ?", (pid, token)).fetchone()
    if known is None or not path.exists():
        write_file(path, sealing.seal("blob", pid, token, 0, body))
    if known is None:
        database.execute("INSERT INTO blob (pid, token, size) VALUES (?, ?, ?)", (pid, token, len(body)))
    return told


def read(database: Database, sealing: Sealing, folder: Path, pid: str, told: str) -> bytes:
    """Return the bytes of this SHA-256.

    Raises
    ------
    StoreError
        When there are none, or the file is gone or damaged.
    """
    token = sealing.own(pid, "blob", told)
    if database.execute("SELECT 1 FROM blob WHERE pid = ? AND token = ?", (pid, token)).fetchone() is None:
        raise StoreError("the store has no such bytes", seen=told, expected="the SHA-256 of bytes that were added")
    try:
        sealed = path_of(folder, token).read_bytes()
    except OSError as error:
        raise StoreError("a file of the store is gone", seen=token[:12], fix="restore the last backup") from error
    body = sealing.open("blob", pid, token, 0, sealed)
    if sha256(body).hexdigest() != told:
        raise StoreError("a file of the store is damaged", seen=token[:12], fix="restore the last backup")
    return body


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("??/*") if path.is_file()]


def sweep(database: Database, folder: Path, *, grace_s: float) -> int:
    """Remove files without a row, older than ``grace_s``: inside a transaction that writes, so that nobody is adding one. Return how many."""
    known = {token for (token,) in database.execute("SELECT token FROM blob")}
    removed = 0
    for path in _files(folder):
        with suppress(FileNotFoundError):
            if path.name not in known and time.time() - path.stat().st_mtime >= grace_s:
                path.unlink()
                removed += 1
    return removed


def find_problems(database: Database, sealing: Sealing, folder: Path | None) -> list[str]:
    """Name rows without their file, files that do not open, and files without a row."""
    rows = database.execute("SELECT pid, token, size FROM blob ORDER BY token").fetchall()
    if folder is None:
        return [f"blobs: {len(rows)} of them, and their folder is not named"] if rows else []
    found = []
    for pid, token, size in rows:
        try:
            body = sealing.open("blob", pid, token, 0, path_of(folder, token).read_bytes())
            if len(body) != size or sealing.own(pid, "blob", sha256(body).hexdigest()) != token:
                found.append(f"blob {token[:12]}: not what was stored")
        except OSError:
            found.append(f"blob {token[:12]}: its file is gone")
        except StoreError as error:
            found.append(f"blob {token[:12]}: {error.what}")
    known = {token for _, token, _ in rows}
    return found + [
        f"blob {path.name[:12]}: a file that belongs to nobody; sweep() removes it" for path in _files(folder) if path.name not in known
    ]
