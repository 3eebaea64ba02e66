"""Named blobs of which every version is kept: twins, forecasts, proposals. Then what people answered, and what came of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gemel.core.advice import Decision, Outcome
from gemel.core.errors import StoreError
from gemel.core.lineage import digest
from gemel.platform.store.base import Database
from gemel.platform.store.sealing import Sealing

__all__ = [
    "KINDS",
    "Version",
    "find_body",
    "insert_decision",
    "insert_outcome",
    "insert_version",
    "list_answers",
    "list_versions",
    "table_of",
]

KINDS = {"twin": "twin_version", "forecast": "forecast", "proposal": "proposal", "score": "score"}
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


def content_of(sealing: Sealing, pid: str, body: bytes) -> str:
    """Return the patient's own token of a blob's content."""
    return sealing.own(pid, "content", hashlib.sha256(body).hexdigest())


def insert_version(
    database: Database, sealing: Sealing, kind: str, pid: str, name: str, body: bytes, recorded: int, meta: Mapping[str, Any], upto: int
) -> tuple[str, bool]:
    """Add a version inside an open transaction; the newest one put again stays one. Return its id and whether it is new."""
    table = table_of(kind)
    token, content = sealing.own(pid, table, name), content_of(sealing, pid, body)
    last = database.execute(
        f"SELECT id, version, content, recorded_ns FROM {table} WHERE pid = ? AND token = ? ORDER BY version DESC LIMIT 1", (pid, token)
    ).fetchone()
    if last and last[2] == content:
        return last[0], False
    if last and recorded < last[3]:
        raise StoreError(
            "a version cannot be put before the newest one",
            seen=recorded,
            expected=f">= {last[3]}",
            fix="versions are only added at the end",
        )
    version = last[1] + 1 if last else 1
    found = sealing.own(pid, "id", json.dumps([kind, name, version, content]))[:24]
    known = [meta.get(column) for column in _COLUMNS]
    if known[5] is not None:
        known[5] = sealing.own(pid, "inputs", str(known[5]))
    head = json.dumps([name, json.loads(json.dumps(dict(meta), sort_keys=True, default=str))]).encode()
    database.execute(
        f"INSERT INTO {table} (id, pid, token, version, recorded_ns, upto_event, {', '.join(_COLUMNS)}, head, content, body)"
        f" VALUES ({', '.join('?' * (9 + len(_COLUMNS)))})",
        (found, pid, token, version, recorded, upto, *known, sealing.seal(table, pid, found, "head", head), content,
         sealing.seal(table, pid, found, "body", body)),
    )  # fmt: skip
    return found, True


def find_body(database: Database, sealing: Sealing, kind: str, pid: str, name: str, as_of: int | None) -> bytes:
    """Return the newest version of a blob known at a time."""
    table = table_of(kind)
    row = database.execute(
        f"SELECT id, body, content FROM {table} WHERE pid = ? AND token = ? AND recorded_ns <= ? ORDER BY version DESC LIMIT 1",
        (pid, sealing.own(pid, table, name), 2**62 if as_of is None else as_of),
    ).fetchone()
    if row is None:
        raise StoreError(f"the store has no such {kind}", seen=name, fix="versions() lists them")
    body = sealing.open(table, pid, row[0], "body", row[1])
    if content_of(sealing, pid, body) != row[2]:
        raise StoreError(f"a stored {kind} is damaged", seen=name, fix="restore the last backup")
    return body


def list_versions(database: Database, sealing: Sealing, kind: str, pid: str, patient: str, name: str | None) -> list[Version]:
    """Return all versions of a patient's blobs, oldest first."""
    table = table_of(kind)
    where, values = ("", ()) if name is None else (" AND token = ?", (sealing.own(pid, table, name),))
    rows = database.execute(f"SELECT id, version, recorded_ns, upto_event, head FROM {table} WHERE pid = ?{where}", (pid, *values))
    found = []
    for key, version, recorded, upto, head in rows:
        title, meta = json.loads(sealing.open(table, pid, key, "head", head))
        found.append(Version(key, patient, kind, title, version, recorded, upto, meta))
    return sorted(found, key=lambda v: (v.recorded, v.name, v.version))


def _insert_once(database: Database, table: str, pid: str, content: str, row: dict[str, Any]) -> tuple[str, bool]:
    known = database.execute(f"SELECT id FROM {table} WHERE pid = ? AND content = ?", (pid, content)).fetchone()
    if known:
        return known[0], False
    database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
    return row["id"], True


def _owner(database: Database, table: str, what: str, key: str) -> str:
    row = database.execute(f"SELECT pid FROM {table} WHERE id = ?", (key,)).fetchone()
    if row is None:
        raise StoreError(f"no such {what} in the store", seen=key, expected=f"the id of a {what} that was put", fix=f"put the {what} first")
    return row[0]


def insert_decision(database: Database, sealing: Sealing, decision: Decision) -> tuple[str, str, bool]:
    """Add what a person answered to a proposal; return id, patient and whether it is new."""
    pid = _owner(database, "proposal", "proposal", decision.proposal)
    content = sealing.own(pid, "decision", digest(decision))
    found = content[:24]
    body = json.dumps([decision.who, decision.answer, decision.plan, decision.reason]).encode()
    row = {
        "id": found,
        "pid": pid,
        "proposal": decision.proposal,
        "content": content,
        "time_ns": decision.time,
        "recorded_ns": decision.recorded,
        "body": sealing.seal("decision", pid, found, 0, body),
    }
    key, new = _insert_once(database, "decision", pid, content, row)
    return key, pid, new


def insert_outcome(database: Database, sealing: Sealing, outcome: Outcome) -> tuple[str, str, bool]:
    """Add what came of a decision; return id, patient and whether it is new."""
    pid = _owner(database, "decision", "decision", outcome.decision)
    content = sealing.own(pid, "outcome", digest(outcome))
    found = content[:24]
    row = {
        "id": found,
        "pid": pid,
        "decision": outcome.decision,
        "content": content,
        "time_ns": outcome.time,
        "recorded_ns": outcome.recorded,
        "body": sealing.seal("outcome", pid, found, 0, json.dumps([dict(outcome.values), outcome.note]).encode()),
    }
    key, new = _insert_once(database, "outcome", pid, content, row)
    return key, pid, new


def list_answers(database: Database, sealing: Sealing, pid: str) -> list[tuple[str, Decision | Outcome]]:
    """Return a patient's decisions and outcomes, in the order in which they were recorded."""
    found: list[tuple[int, str, str, Decision | Outcome]] = []
    for key, proposal, time, recorded, body in database.execute(
        "SELECT id, proposal, time_ns, recorded_ns, body FROM decision WHERE pid = ?", (pid,)
    ).fetchall():
        who, answer, plan, reason = json.loads(sealing.open("decision", pid, key, 0, body))
        told = Decision(proposal=proposal, time=time, recorded=recorded, who=who, answer=answer, plan=plan, reason=reason)
        found.append((recorded, "decision", key, told))
    for key, decision, time, recorded, body in database.execute(
        "SELECT id, decision, time_ns, recorded_ns, body FROM outcome WHERE pid = ?", (pid,)
    ).fetchall():
        values, note = json.loads(sealing.open("outcome", pid, key, 0, body))
        found.append((recorded, "outcome", key, Outcome(decision=decision, time=time, recorded=recorded, values=values, note=note)))
    return [(kind, told) for _, kind, _, told in sorted(found, key=lambda row: row[:3])]
