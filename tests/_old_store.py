"""A store as the release before sealing wrote it: its own statements, frozen."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

from gemel.core.advice import Decision, Outcome
from gemel.core.lineage import digest
from gemel.core.record import PatientRecord
from gemel.platform.store import chunks, facts

_TEXT = {
    "patient": "pid TEXT NOT NULL, name TEXT NOT NULL, recorded_ns INTEGER NOT NULL, PRIMARY KEY (pid), UNIQUE (name)",
    "event": "seq INTEGER NOT NULL, kind TEXT NOT NULL, pid TEXT NOT NULL, ref TEXT NOT NULL, recorded_ns INTEGER NOT NULL, PRIMARY KEY (seq), FOREIGN KEY(pid) REFERENCES patient (pid)",
    "demographics": "pid TEXT NOT NULL, rev INTEGER NOT NULL, seq INTEGER NOT NULL, recorded_ns INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (pid, rev)",
    "series": "sid INTEGER NOT NULL, pid TEXT NOT NULL, code TEXT NOT NULL, display TEXT NOT NULL, unit TEXT NOT NULL, source TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (sid)",
    "series_chunk": "sid INTEGER NOT NULL, day INTEGER NOT NULL, rev INTEGER NOT NULL, seq INTEGER NOT NULL, n INTEGER NOT NULL, block BLOB NOT NULL, PRIMARY KEY (sid, day, rev)",
    **dict.fromkeys(
        facts.TABLES,
        "pid TEXT NOT NULL, digest TEXT NOT NULL, seq INTEGER NOT NULL, place INTEGER NOT NULL, key TEXT NOT NULL, time_ns INTEGER NOT NULL, recorded_ns INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (pid, digest)",
    ),
    **dict.fromkeys(
        ("twin_version", "forecast", "proposal"),
        "id TEXT NOT NULL, pid TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, recorded_ns INTEGER NOT NULL, upto_event INTEGER NOT NULL, model TEXT, model_version TEXT, code_version TEXT, method TEXT, seed INTEGER, inputs TEXT, status TEXT, meta TEXT NOT NULL, sha256 TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (id)",
    ),
    "decision": "id TEXT NOT NULL, pid TEXT NOT NULL, proposal TEXT NOT NULL, time_ns INTEGER NOT NULL, recorded_ns INTEGER NOT NULL, who TEXT NOT NULL, answer TEXT NOT NULL, plan TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (id)",
    "outcome": "id TEXT NOT NULL, pid TEXT NOT NULL, decision TEXT NOT NULL, time_ns INTEGER NOT NULL, recorded_ns INTEGER NOT NULL, body TEXT NOT NULL, note TEXT NOT NULL, PRIMARY KEY (id)",
    "job": "id TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, created_ns INTEGER NOT NULL, state TEXT NOT NULL, worker TEXT NOT NULL, lease_ns INTEGER NOT NULL, attempts INTEGER NOT NULL, result TEXT NOT NULL, PRIMARY KEY (id), CONSTRAINT uq_job_key UNIQUE (kind, key)",
    "checkpoint": "consumer TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (consumer)",
}


def write(path: Path, records: list[PatientRecord], answered: tuple[bytes, Decision, Outcome] | None = None) -> str:
    """Write records of facts, a twin each, and for the first a proposal with its decision and outcome; return the decision's id."""
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("PRAGMA application_id = 0x47454D4C")
    for name, columns in _TEXT.items():
        raw.execute(f"CREATE TABLE {name} ({columns}) STRICT")
        if name not in ("job", "checkpoint"):
            for verb in ("UPDATE", "DELETE"):
                raw.execute(
                    f"CREATE TRIGGER {name}_no_{verb.lower()} BEFORE {verb} ON {name} BEGIN SELECT RAISE(ABORT, 'append only: {name}'); END"
                )
    raw.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))")
    raw.execute("INSERT INTO alembic_version VALUES ('0002')")
    seq = sid = 0
    decided = ""
    for i, record in enumerate(records):
        pid = f"{i:024x}"
        raw.execute("INSERT INTO patient VALUES (?, ?, ?)", (pid, record.id, i))
        seq += 1
        raw.execute("INSERT INTO event VALUES (?, 'facts', ?, '0', ?)", (seq, pid, i))
        raw.execute("INSERT INTO demographics VALUES (?, 1, ?, ?, ?)", (pid, seq, i, record.demographics.model_dump_json()))
        for series in record.series:
            sid += 1
            raw.execute(
                "INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?)",
                (sid, pid, str(series.code), series.code.display, series.unit, series.source, seq),
            )
            for day, columns in chunks.split_days(series).items():
                raw.execute(
                    "INSERT INTO series_chunk VALUES (?, ?, 1, ?, ?, ?)", (sid, day, seq, len(columns["time"]), chunks.encode(columns))
                )
        for place, fact in enumerate((*record.exposures, *record.findings, *record.documents, *record.geometry)):
            row = (pid, digest(fact), seq, place, json.dumps(fact.key), fact.time, fact.recorded, facts.encode(fact))
            raw.execute(f"INSERT INTO {fact.kind} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        for kind, table, name, body in (
            ("twin", "twin_version", "toy", b"state of " + record.id.encode()),
            ("proposal", "proposal", "bolus", answered[0] if answered else b"p"),
        ):
            seq += 1
            sha = hashlib.sha256(body).hexdigest()
            found = digest([kind, pid, name, 1, sha])[:24]
            raw.execute(
                f"INSERT INTO {table} VALUES (?, ?, ?, 1, ?, ?, 'toy', '1', '1', 'smc', 7, 'abc', 'OK', ?, ?, ?)",
                (found, pid, name, i, seq - 1, json.dumps({"model": "toy", "inputs": "abc"}), sha, body),
            )
            raw.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?)", (seq, kind, pid, found, i))
        if answered and not i:
            decision = answered[1].model_copy(update={"proposal": found})
            decided = digest(["decision", decision])[:24]
            raw.execute(
                "INSERT INTO decision VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (decided, pid, found, decision.time, decision.recorded, decision.who, decision.answer, decision.plan, decision.reason),
            )
            outcome = answered[2].model_copy(update={"decision": decided})
            raw.execute(
                "INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    digest(["outcome", outcome])[:24],
                    pid,
                    decided,
                    outcome.time,
                    outcome.recorded,
                    json.dumps(outcome.values, sort_keys=True),
                    outcome.note,
                ),
            )
    raw.execute("INSERT INTO job VALUES ('j1', 'assimilate', 'anna/5', '{}', 1, 'waiting', '', 0, 0, '')")
    raw.execute("INSERT INTO checkpoint VALUES ('worker', 2)")
    raw.close()
    return decided
