"""Named blobs of which every version is kept: twins, forecasts, proposals. Then what people answered, and what came of it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gemel.core.advice import Decision, Outcome
from gemel.core.errors import StoreError
from gemel.core.lineage import digest

__all__ = ["KINDS", "Version", "insert_decision", "insert_outcome", "insert_version", "list_versions", "table_of"]

KINDS = {"twin": "twin_version", "forecast": "forecast", "proposal": "proposal"}
"""What ``put`` takes, and the table it goes to."""

_COLUMNS = ("model", "model_version", "code_version", "method", "seed", "inputs", "status")


@dataclass(frozen=True)
class Version:
    """One version of a named blob. ``upto_event`` is the last event that the store had when it was put."""

    id: str
    patient: str
    kind: str
    name: str
    version: int
    recorded: int
    upto_event: int
    meta: dict[str, Any] = field(default_factory=dict)


def table_of(kind: str) -> str:
    """Return the table of a kind of blob."""
    if kind not in KINDS:
        raise StoreError("the store keeps no such thing", seen=kind, expected=", ".join(KINDS))
    return KINDS[kind]


def insert_version(
    connection: sqlite3.Connection, kind: str, pid: str, name: str, body: bytes, recorded: int, meta: Mapping[str, Any], upto: int
) -> tuple[str, bool]:
    """Add a version inside an open transaction; the newest one put again stays one. Return its id and whether it is new."""
    table = table_of(kind)
    sha = hashlib.sha256(body).hexdigest()
    last = connection.execute(
        f"SELECT id, version, sha256, recorded_ns FROM {table} WHERE pid = ? AND name = ? ORDER BY version DESC LIMIT 1", (pid, name)
    ).fetchone()
    if last and last[2] == sha:
        return last[0], False
    if last and recorded < last[3]:
        raise StoreError(
            "a version cannot be put before the newest one",
            seen=recorded,
            expected=f">= {last[3]}",
            fix="versions are only added at the end",
        )
    version = last[1] + 1 if last else 1
    found = digest([kind, pid, name, version, sha])[:24]
    known = [meta.get(column) for column in _COLUMNS]
    connection.execute(
        f"INSERT INTO {table} (id, pid, name, version, recorded_ns, upto_event, {', '.join(_COLUMNS)}, meta, sha256, body)"
        f" VALUES ({', '.join('?' * (9 + len(_COLUMNS)))})",
        (found, pid, name, version, recorded, upto, *known, json.dumps(dict(meta), sort_keys=True, default=str), sha, body),
    )
    return found, True


def list_versions(connection: sqlite3.Connection, kind: str, pid: str, patient: str, name: str | None) -> list[Version]:
    """Return all versions of a patient's blobs, oldest first."""
    where, values = ("", ()) if name is None else (" AND name = ?", (name,))
    rows = connection.execute(
        f"SELECT id, name, version, recorded_ns, upto_event, meta FROM {table_of(kind)} WHERE pid = ?{where}"
        " ORDER BY recorded_ns, name, version",
        (pid, *values),
    )
    return [Version(i, patient, kind, n, v, r, u, json.loads(m)) for i, n, v, r, u, m in rows]


def _insert_once(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> bool:
    if connection.execute(f"SELECT 1 FROM {table} WHERE id = ?", (row["id"],)).fetchone():
        return False
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
    return True


def _owner(connection: sqlite3.Connection, table: str, what: str, key: str) -> str:
    row = connection.execute(f"SELECT pid FROM {table} WHERE id = ?", (key,)).fetchone()
    if row is None:
        raise StoreError(f"no such {what} in the store", seen=key, expected=f"the id of a {what} that was put", fix=f"put the {what} first")
    return row[0]


def insert_decision(connection: sqlite3.Connection, decision: Decision) -> tuple[str, str, bool]:
    """Add what a person answered to a proposal; return id, patient and whether it is new."""
    pid = _owner(connection, "proposal", "proposal", decision.proposal)
    found = digest(["decision", decision])[:24]
    row = {
        "id": found,
        "pid": pid,
        "proposal": decision.proposal,
        "time_ns": decision.time,
        "recorded_ns": decision.recorded,
        "who": decision.who,
        "answer": decision.answer,
        "plan": decision.plan,
        "reason": decision.reason,
    }
    return found, pid, _insert_once(connection, "decision", row)


def insert_outcome(connection: sqlite3.Connection, outcome: Outcome) -> tuple[str, str, bool]:
    """Add what came of a decision; return id, patient and whether it is new."""
    pid = _owner(connection, "decision", "decision", outcome.decision)
    found = digest(["outcome", outcome])[:24]
    row = {
        "id": found,
        "pid": pid,
        "decision": outcome.decision,
        "time_ns": outcome.time,
        "recorded_ns": outcome.recorded,
        "body": json.dumps(outcome.values, sort_keys=True),
        "note": outcome.note,
    }
    return found, pid, _insert_once(connection, "outcome", row)
