"""A backup: every table but the keys in one snapshot, with hashes; the wrapped keys in a file of their own. Portable between the databases.

A folder with one file of JSON lines per table, and ``manifest.json``, which names rows and SHA-256 of each and carries a blind token of itself. Values stay sealed.
Without the key backup and the master key nothing of it opens; an erased patient's key is taken out of the key backups, so that no backup brings them back.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from gemel.core.errors import FormatError, StoreError
from gemel.platform.keys import Master
from gemel.platform.store import blobs
from gemel.platform.store.base import Database
from gemel.platform.store.check import StoreCheck
from gemel.platform.store.durable import whole
from gemel.platform.store.migrate import HEAD, REVISIONS, SEALED, migrate
from gemel.platform.store.reindexing import DERIVED, refill
from gemel.platform.store.sealing import DEPLOYMENT, Sealing
from gemel.platform.store.store import Store

__all__ = ["TABLES", "Backup", "backup", "drop_keys", "read_erased", "restore", "verify_backup"]

TABLES: dict[str, str] = {
    "erasure": "pid", "patient": "pid", "event": "seq", "demographics": "pid, rev", "series": "sid", "series_chunk": "sid, day, rev", "exposure": "pid, token",
    "finding": "pid, token", "document": "pid, token", "geometry": "pid, token", "twin_version": "id", "forecast": "id", "proposal": "id", "decision": "id",
    "outcome": "id", "job": "id", "checkpoint": "consumer", "source": "name", "inbox": "seq", "inbox_patient": "seq, pid",
    "blob": "pid, token",
    "consent": "pid, rev", "care": "pid, rev", "glass": "id", "account": "id",
    "receipt": "token", "joined": "seq", "live": "pid, token", "superseded": "id", "score": "id", "image": "token", "delivery": "proposal, server",
    "resource": "num", "resource_body": "num",
}  # fmt: skip
"""What is in a backup, parents first, and the order of its rows."""

_OWNED = frozenset(TABLES) - {"erasure", "patient", "event", "series_chunk", "checkpoint", "source", "inbox", "account", "receipt"}
_PAGE = 500
FORMAT = "gemel backup 1"


@dataclass(frozen=True)
class Backup:
    """What a backup holds: rows of each table, the last event, when it was made, and how many keys went to the key backup."""

    rows: dict[str, int]
    last_event: int
    made: int
    revision: str
    master: str
    keys: int


def _plain(value: Any) -> Any:
    return {"b": base64.b64encode(value).decode()} if isinstance(value, (bytes, memoryview)) else value


def _value(value: Any) -> Any:
    return base64.b64decode(value["b"]) if isinstance(value, dict) else value


def _columns(database: Database, table: str) -> list[str]:
    if database.dialect == "sqlite":
        return [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    chosen = "SELECT column_name::text FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = ? ORDER BY ordinal_position"
    return [row[0] for row in database.execute(chosen, (table,))]


def _dump(database: Database, table: str, columns: Sequence[str]) -> Iterator[bytes]:
    order, after = TABLES[table].split(", "), None
    names, key = ", ".join(columns), ", ".join(order)
    while True:
        where, values = ("", ()) if after is None else (f" WHERE ({key}) > ({', '.join('?' * len(order))})", after)
        rows = database.execute(f"SELECT {names} FROM {table}{where} ORDER BY {key} LIMIT {_PAGE}", values).fetchall()
        for row in rows:
            yield json.dumps([_plain(value) for value in row], separators=(",", ":")).encode() + b"\n"
        if len(rows) < _PAGE:
            return
        after = tuple(rows[-1][columns.index(name)] for name in order)


def _write(path: Path, lines: Iterable[bytes], *, mode: int = 0o600, replace: bool = False) -> tuple[int, str]:
    """Write a file whole or not at all, for its owner alone; return lines and hash."""
    if path.exists() and not replace:
        raise StoreError("a backup is never overwritten", seen=path.name, fix="name another folder or file")
    count, sink_hash = 0, sha256()
    try:
        with whole(path, mode=mode) as sink:
            for line in lines:
                sink.write(line)
                sink_hash.update(line)
                count += 1
    except OSError as error:
        raise StoreError(
            "the backup cannot be written", seen=f"{path.name}: {error.strerror}", fix="check folder, permissions and space"
        ) from error
    return count, sink_hash.hexdigest()


def _copy(database: Database, source: Path | None, folder: Path) -> dict[str, str]:
    """Copy the sealed files of a snapshot; return the hash of each."""
    copied: dict[str, str] = {}
    for (token,) in database.execute("SELECT token FROM blob ORDER BY token").fetchall():
        try:
            body = b"" if source is None else blobs.path_of(source, token).read_bytes()
        except OSError:
            body = b""
        if not body:
            raise StoreError(
                "a file of the store is gone",
                seen=token[:12],
                expected="the folder of its large bytes",
                fix="name it; if somebody is being erased now, try again",
            )
        blobs.write_file(blobs.path_of(folder / "blobs", token), body)
        copied[token] = sha256(body).hexdigest()
    return copied


def _canonical(told: dict[str, Any]) -> bytes:
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def backup(store: Store, folder: Path, keys: Path, *, made: int) -> Backup:
    """Write a backup of an open store while others may use it.

    Parameters
    ----------
    folder : a new folder.
    keys : a new file for the wrapped keys: put it elsewhere than the folder. The store remembers it, so that erasing reaches it.
    made : ns UTC.

    Raises
    ------
    StoreError
        When something is there already, or the disk is full.
    """
    if folder.exists() and any(folder.iterdir()):
        raise StoreError("a backup is never overwritten", seen=folder.name, expected="a new folder", fix="name another")
    if keys.exists():
        raise StoreError("a backup is never overwritten", seen=keys.name, expected="a new file", fix="name another")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = str(keys.resolve())
    with store._transaction("write") as database:  # first: a backup that nobody knows of would keep an erased patient's key
        database.execute(
            "INSERT INTO key_backup (path, made_ns) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET made_ns = excluded.made_ns", (path, made)
        )
    with store._transaction("read") as database:
        tables: dict[str, Any] = {}
        for table in TABLES:
            columns = [name for name in _columns(database, table) if name not in DERIVED.get(table, ())]
            rows, found = _write(folder / f"{table}.jsonl", _dump(database, table, columns))
            tables[table] = {"columns": columns, "rows": rows, "sha256": found}
        last = database.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]
        master = database.execute("SELECT kek FROM key_wrap WHERE subject = ?", (DEPLOYMENT,)).fetchone()[0]
        copied = _copy(database, store.blobs, folder)
        told = {"format": FORMAT, "blobs": copied, "made": made, "revision": HEAD, "last_event": last, "master": master, "tables": tables}
        told["token"] = store._sealing.token("backup", _canonical(told))
        wraps = [
            {"subject": subject, "number": number, "kek": kek, "wrapped": bytes(wrapped).hex(), "seals": seals}
            for subject, number, kek, wrapped, seals in database.execute(
                "SELECT subject, number, kek, wrapped, seals FROM key_wrap ORDER BY subject, number"
            )
        ]
        erased = [pid for (pid,) in database.execute("SELECT pid FROM erasure ORDER BY pid")]
    _write(keys, [json.dumps({"format": "gemel keys 1", "made": made, "erased": erased, "keys": wraps}).encode()])
    _write(folder / "manifest.json", [json.dumps(told, indent=1).encode()])
    return Backup({name: table["rows"] for name, table in tables.items()}, last, made, HEAD, master, len(wraps))


def _read(path: Path, first: str) -> dict[str, Any]:
    try:
        told = json.loads(path.read_bytes())
        if told.get("format") == first:
            return told
    except FileNotFoundError as error:
        raise StoreError(
            "the backup is not whole", seen=f"no {path.name}", fix="name the folder that gemel db backup wrote, or another backup"
        ) from error
    except (OSError, ValueError, AttributeError) as error:
        raise FormatError("not a backup", seen=path.name, expected=first) from error
    raise FormatError("not a backup", seen=path.name, expected=first)


def verify_backup(folder: Path) -> Backup:
    """Hold every file of a backup against its manifest: what needs no key.

    Raises
    ------
    StoreError
        When a file is missing or another than the one that was written.
    """
    told = _read(folder / "manifest.json", FORMAT)
    for name, table in told["tables"].items():
        found, rows = sha256(), 0
        try:
            with (folder / f"{name}.jsonl").open("rb") as source:
                for line in source:
                    found.update(line)
                    rows += 1
        except FileNotFoundError as error:
            raise StoreError("the backup is not whole", seen=f"no {name}.jsonl", fix="use another backup") from error
        if (rows, found.hexdigest()) != (table["rows"], table["sha256"]):
            raise StoreError(
                "the backup is damaged",
                seen=f"{name}.jsonl: {rows} rows",
                expected=f"{table['rows']} rows with the hash of the manifest",
                fix="use another backup",
            )
    return Backup(
        {name: table["rows"] for name, table in told["tables"].items()},
        told["last_event"],
        told["made"],
        told["revision"],
        told["master"],
        0,
    )


def read_erased(path: Path) -> set[str]:
    """Return the patients of an erasure log, one JSON object a line."""
    try:
        return {json.loads(line)["pid"] for line in path.read_text(encoding="utf-8").splitlines() if line}
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError("not an erasure log", seen=path.name, expected="the NAME.erased that gemel erase writes") from error


def restore(
    folder: Path,
    keys: Path,
    place: str | Path,
    *,
    master: Master,
    erased: Iterable[str] = (),
    recorded: int,
    blobs_folder: Path | None = None,
) -> StoreCheck:
    """Make a store again from a backup and its key backup, of either database into either, and check it.

    Erasures are replayed first: those of the backup, of the key backup, and those given. Of these patients nothing but a number and its events comes back.

    Parameters
    ----------
    place : a new file, or a ``postgresql://`` URL of an empty schema.
    master : the key that the key backup was wrapped by.
    erased : patients of erasure logs.
    recorded : ns UTC, when.
    blobs_folder : the new store's folder of large bytes; left out, ``NAME.blobs`` beside a file.

    Raises
    ------
    StoreError
        When the backup is damaged, a key is missing, or something is there already.
    """
    found = verify_backup(folder)
    told, wraps = _read(folder / "manifest.json", FORMAT), _read(keys, "gemel keys 1")
    if found.revision not in REVISIONS or found.revision < SEALED:
        raise StoreError(
            "the backup was made by a newer gemel", seen=f"schema {found.revision}", expected=f"at most {HEAD}", fix="upgrade gemel"
        )
    if wraps["keys"] and wraps["keys"][0]["kek"] != master.id:
        raise StoreError(
            "the key backup is wrapped by another master key",
            seen=f"key {master.id}",
            expected=f"key {wraps['keys'][0]['kek']}",
            fix="GEMEL_KEY_FILE names the key",
        )
    gone = set(wraps["erased"]) | set(erased) | {row[0] for row in _load(folder, "erasure")}
    have = {row["subject"] for row in wraps["keys"]}
    patients = {row[0] for row in _load(folder, "patient")}
    lacking = sorted(patients - have - gone)
    if lacking:
        raise StoreError(
            "the key backup is not of this backup",
            seen=f"no key for {len(lacking)} of {len(patients)} patients",
            fix="name the key backup that was written with it, or a later one",
        )
    migrate(place, found.revision, keys=master)
    with Store(place, keys=master, blobs=blobs_folder) as store:
        if store.counts()["event"] or store.counts()["patient"]:
            raise StoreError(
                "a store is never overwritten", seen=str(store.place).rsplit("/", 1)[-1], expected="a new file or an empty schema"
            )
        with store._transaction("write") as database:
            _fill(database, store._sealing, folder, told, wraps, gone, recorded)
            for pid, token, _ in _load(folder, "blob"):
                if pid not in gone:
                    blobs.write_file(blobs.path_of(store._folder(), token), blobs.path_of(folder / "blobs", token).read_bytes())
            if "resource" in told["tables"]:
                tokens = {row[1] for row in _load(folder, "patient") if row[0] in gone and row[1] is not None}
                kept = (row for row in _load(folder, "resource") if row[1] not in gone)
                refill(database, store._sealing, kept, (row for row in _load(folder, "resource_body") if row[1] not in gone), tokens)
        store._sealing.forget()
        bare = {key: value for key, value in told.items() if key != "token"}
        if store._sealing.token("backup", _canonical(bare)) != told["token"]:
            raise StoreError(
                "the manifest is another than the one that was written", seen="its token", fix="use another backup; drop what was restored"
            )
        return store.check()


def _load(folder: Path, table: str) -> Iterator[list[Any]]:
    with (folder / f"{table}.jsonl").open("rb") as source:
        for line in source:
            yield [_value(value) for value in json.loads(line)]


def _fill(
    database: Database, sealing: Sealing, folder: Path, told: dict[str, Any], wraps: dict[str, Any], gone: set[str], recorded: int
) -> None:
    about = {row[0] for row in _load(folder, "inbox_patient") if row[1] in gone}
    subjects = (
        {row[1] for row in _load(folder, "inbox") if row[0] not in about} | {row[0] for row in _load(folder, "patient")} | {DEPLOYMENT}
    )
    database.execute("DELETE FROM key_wrap")
    for row in wraps["keys"]:
        if row["subject"] in subjects - gone:
            database.execute(
                "INSERT INTO key_wrap (subject, number, kek, wrapped, seals) VALUES (?, ?, ?, ?, ?)",
                (row["subject"], row["number"], row["kek"], bytes.fromhex(row["wrapped"]), row["seals"]),
            )
    known = {row[0] for row in _load(folder, "erasure")}
    patients = {row[0] for row in _load(folder, "patient")}
    lost: set[int] = set()
    for table, found in told["tables"].items():
        if table in ("resource", "resource_body"):  # what follows from them is made again: refill
            continue
        columns = found["columns"]
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        rows: list[list[Any]] = []
        for row in _load(folder, table):
            named = dict(zip(columns, row, strict=True))
            if table == "patient" and named["pid"] in gone:
                row = [None if name in ("token", "name") else value for name, value in named.items()]
            elif table == "series" and named["pid"] in gone:
                lost.add(named["sid"])
                continue
            elif (
                (table in _OWNED and named.get("pid") in gone)
                or (table == "series_chunk" and named["sid"] in lost)
                or (table in ("inbox", "inbox_patient", "receipt") and named["seq"] in about)
            ):
                continue
            rows.append(row)
            if len(rows) == _PAGE:
                database.executemany(statement, rows)
                rows = []
        database.executemany(statement, rows)
        if table == "erasure":
            database.executemany(
                "INSERT INTO erasure (pid, recorded_ns) VALUES (?, ?)", [(pid, recorded) for pid in sorted((gone & patients) - known)]
            )
    sealing.forget()


def drop_keys(path: Path, subjects: Iterable[str], pid: str) -> bool:
    """Take keys out of a key backup, and note the patient as erased; ``False`` when the file cannot be reached."""
    try:
        told = _read(path, "gemel keys 1")
    except (StoreError, FormatError):
        return False
    gone = {*subjects, pid}
    told["keys"] = [row for row in told["keys"] if row["subject"] not in gone]
    told["erased"] = sorted({*told["erased"], pid})
    size = path.stat().st_size
    with path.open("r+b") as old:
        _write(path, [json.dumps(told).encode()], replace=True)  # whole or not at all
        old.write(bytes(size))  # the blocks of the file that was replaced
        old.flush()
        os.fsync(old.fileno())
    return True
