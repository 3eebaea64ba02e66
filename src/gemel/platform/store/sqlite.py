"""The embedded store: one SQLite file that keeps patients, facts, twins and what became of advice. Append only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gemel.core.advice import Decision, Outcome
from gemel.core.code import Code
from gemel.core.errors import StoreError
from gemel.core.lineage import digest
from gemel.core.record import Demographics, Fact, PatientRecord
from gemel.core.series import Series
from gemel.platform.store import chunks, jobs, versions
from gemel.platform.store.check import StoreCheck, find_problems
from gemel.platform.store.connection import connect, explained
from gemel.platform.store.facts import decode, encode
from gemel.platform.store.migrate import HEAD, migrate, revision_of
from gemel.platform.store.versions import Version

__all__ = ["Event", "Store"]

_FACT_TABLES = ("exposure", "finding", "document", "geometry")
_COUNTED = ("patient", "series", "series_chunk", *_FACT_TABLES, "event", *versions.KINDS.values(), "decision", "outcome", "job")


class Event(NamedTuple):
    """One change of the store. ``seq`` has no gaps."""

    seq: int
    kind: str
    patient: str
    ref: str
    recorded: int


class Store:
    """Keeps facts, twins, forecasts, proposals, decisions and outcomes in one file; implements :class:`gemel.core.protocols.Store`.

    Nothing is updated in place: a correction supersedes, and triggers refuse the rest. Every change is one transaction with one event,
    written to disk before the call returns (WAL, ``synchronous=FULL``): a killed process or a power cut leaves all of it or nothing.

    Values lie in the file **unsealed**: until access control and encryption guard it, keep it on an encrypted disk and give it
    pseudonyms only. One store object belongs to one thread; several processes may open the same file, on a local disk.

    Parameters
    ----------
    path : the file; made when missing (readable by its owner alone), carried to the present schema when older.
    busy_ms : how long to wait for another process that writes.

    Raises
    ------
    StoreError
        When the file is locked, damaged, of a newer gemel or another program's, with what to do.
    """

    def __init__(self, path: str | Path, *, busy_ms: int = 5000) -> None:
        self.path = Path(path)
        self._connection = connect(self.path, busy_ms=busy_ms)
        try:
            if revision_of(self._connection, self.path) != HEAD:
                self._connection.close()
                migrate(self.path, busy_ms=busy_ms)
                self._connection = connect(self.path, busy_ms=busy_ms)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _transaction(self, mode: str) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
            self._connection.execute(f"BEGIN {mode}")
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:  # sqlite has rolled back by itself when the disk is full
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _pid(self, connection: sqlite3.Connection, patient: str) -> str:
        row = connection.execute("SELECT pid FROM patient WHERE name = ?", (patient,)).fetchone()
        if row is None:
            raise StoreError("the store has no such patient", seen=patient, fix="patients() lists them")
        return row[0]

    @staticmethod
    def _event(connection: sqlite3.Connection, kind: str, pid: str, ref: str, recorded: int) -> int:
        seq = connection.execute("SELECT coalesce(max(seq), 0) + 1 FROM event").fetchone()[0]
        connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?)", (seq, kind, pid, ref, recorded))
        return seq

    def append(self, patient: str, facts: Iterable[Fact], *, recorded: int, demographics: Demographics | None = None) -> int:
        """Append facts of one patient; what is already there enters once.

        Parameters
        ----------
        patient : pseudonym; a new one is enrolled.
        facts : each with its own two times.
        recorded : ns UTC, when the store took them in; stands on the event.
        demographics : of the person, kept as a new version when they differ from the newest.

        Returns
        -------
        How many facts were new; every reading of a series counts.
        """
        series: dict[tuple[str, str, str], list[Series]] = {}
        single: dict[str, tuple[Any, ...]] = {}
        for place, fact in enumerate(facts):
            if isinstance(fact, Series):
                series.setdefault((str(fact.code), fact.unit, fact.source), []).append(fact)
            else:
                key = digest(fact)
                single.setdefault(key, (fact.kind, key, place, json.dumps(fact.key), fact.time, fact.recorded, encode(fact)))
        with self._transaction("IMMEDIATE") as connection:
            row = connection.execute("SELECT pid FROM patient WHERE name = ?", (patient,)).fetchone()
            pid = row[0] if row else secrets.token_hex(12)
            if row is None:
                connection.execute("INSERT INTO patient VALUES (?, ?, ?)", (pid, patient, recorded))
            new_rows, new_series = self._new_rows(connection, pid, series)
            new_single = [
                fact
                for fact in single.values()
                if row is None or not connection.execute(f"SELECT 1 FROM {fact[0]} WHERE pid = ? AND digest = ?", (pid, fact[1])).fetchone()
            ]
            body = None if demographics is None else demographics.model_dump_json()
            last = connection.execute("SELECT rev, body FROM demographics WHERE pid = ? ORDER BY rev DESC LIMIT 1", (pid,)).fetchone()
            told = body is not None and (last is None or last[1] != body)
            added = sum(len(columns["time"]) for _, _, _, columns in new_rows) + len(new_single)
            if row is None or added or told:
                seq = self._event(connection, "facts", pid, str(added), recorded)
                connection.executemany("INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?)", [(*found, seq) for found in new_series])
                connection.executemany(
                    "INSERT INTO series_chunk VALUES (?, ?, ?, ?, ?, ?)",
                    [(sid, day, rev, seq, len(columns["time"]), chunks.encode(columns)) for sid, day, rev, columns in new_rows],
                )
                for table in _FACT_TABLES:
                    rows = [(pid, f[1], seq, *f[2:]) for f in new_single if f[0] == table]
                    connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
                if told:
                    rev = last[0] + 1 if last else 1
                    connection.execute("INSERT INTO demographics VALUES (?, ?, ?, ?, ?)", (pid, rev, seq, recorded, body))
        return added

    @staticmethod
    def _new_rows(connection: sqlite3.Connection, pid: str, series: Mapping[tuple[str, ...], list[Series]]) -> tuple[list[Any], list[Any]]:
        """Return chunks of readings that are not there yet, and series that are."""
        fresh, places = [], []
        free = connection.execute("SELECT coalesce(max(sid), 0) + 1 FROM series").fetchone()[0]
        for (code, unit, source), parts in series.items():
            place = "SELECT sid FROM series WHERE pid = ? AND code = ? AND unit = ? AND source = ?"
            row = connection.execute(place, (pid, code, unit, source)).fetchone()
            sid = row[0] if row else free
            if row is None:
                places.append((sid, pid, code, parts[0].code.display, unit, source))
                free += 1
            whole = parts[0]
            for part in parts[1:]:
                whole = whole.append(part)
            days = chunks.split_days(whole)
            seen: dict[int, set[bytes]] = {}
            revs: dict[int, int] = {}
            if row is not None and days:
                chosen = "SELECT day, rev, block FROM series_chunk WHERE sid = ? AND day BETWEEN ? AND ? ORDER BY day, rev"
                for day, rev, block in connection.execute(chosen, (sid, min(days), max(days))):
                    if day in days:
                        seen.setdefault(day, set()).update(chunks.rows_of(chunks.decode(block)))
                        revs[day] = rev
            for day, columns in days.items():
                known, keep = seen.get(day, set()), []
                for i, one in enumerate(chunks.rows_of(columns)):
                    if one not in known:
                        known.add(one)
                        keep.append(i)
                if keep:
                    fresh.append((sid, day, revs.get(day, 0) + 1, {name: column[keep] for name, column in columns.items()}))
        return fresh, places

    def record(self, patient: str, *, as_of: int | None = None, upto: int | None = None) -> PatientRecord:
        """Return a patient's record.

        Parameters
        ----------
        patient : pseudonym.
        as_of : ns UTC; only what was known then, as :meth:`gemel.core.record.PatientRecord.as_of`. Left out: every version of every fact.
        upto : last event to read; with a version's ``upto_event`` the inputs of that version come back bit for bit,
            whatever was imported since.
        """
        limit = 2**62 if upto is None else upto
        with self._transaction("DEFERRED") as connection:
            pid = self._pid(connection, patient)

            def select(text: str, key: Any) -> list[Any]:
                return connection.execute(text, (key, limit)).fetchall()

            told = select("SELECT body, recorded_ns FROM demographics WHERE pid = ? AND seq <= ? ORDER BY rev", pid)
            places = select("SELECT sid, code, display, unit, source FROM series WHERE pid = ? AND seq <= ? ORDER BY seq, sid", pid)
            chosen = "SELECT block FROM series_chunk WHERE sid = ? AND seq <= ? ORDER BY day, rev"
            blocks = {sid: select(chosen, sid) for sid, *_ in places}
            single = {
                table: select(f"SELECT body FROM {table} WHERE pid = ? AND seq <= ? ORDER BY seq, place", pid) for table in _FACT_TABLES
            }
        known = [body for body, recorded in told if as_of is None or recorded <= as_of] or [body for body, _ in told[:1]]
        series = []
        for sid, code, display, unit, source in places:
            parts = [chunks.decode(block) for (block,) in blocks[sid]]
            if parts:
                columns = {name: np.concatenate([part[name] for part in parts]) for name in chunks.COLUMNS}
                series.append(Series(code=Code.parse(code, display), unit=unit, source=source, **columns))
        empty = PatientRecord(id=patient, demographics=Demographics.model_validate_json(known[-1]) if known else Demographics())
        record = empty.with_facts(*series, *(decode(table, body) for table, bodies in single.items() for (body,) in bodies))
        return record if as_of is None else record.as_of(as_of)

    def put(self, kind: str, patient: str, name: str, body: bytes, *, recorded: int, meta: Mapping[str, Any]) -> str:
        """Append a version of a named blob (``twin``, ``forecast`` or ``proposal``); return its id. The newest one put again stays one."""
        with self._transaction("IMMEDIATE") as connection:
            pid = self._pid(connection, patient)
            upto = connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]
            found, new = versions.insert_version(connection, kind, pid, name, body, recorded, meta, upto)
            if new:
                self._event(connection, kind, pid, found, recorded)
        return found

    def get(self, kind: str, patient: str, name: str, *, as_of: int | None = None) -> bytes:
        """Return the newest version of a named blob known at ``as_of``."""
        table = versions.table_of(kind)
        with self._transaction("DEFERRED") as connection:
            pid = self._pid(connection, patient)
            row = connection.execute(
                f"SELECT body, sha256 FROM {table} WHERE pid = ? AND name = ? AND recorded_ns <= ? ORDER BY version DESC LIMIT 1",
                (pid, name, 2**62 if as_of is None else as_of),
            ).fetchone()
        if row is None:
            raise StoreError(f"the store has no such {kind}", seen=name, fix="versions() lists them")
        if hashlib.sha256(row[0]).hexdigest() != row[1]:
            raise StoreError(f"a stored {kind} is damaged", seen=name, fix="restore the last backup")
        return row[0]

    def versions(self, kind: str, patient: str, name: str | None = None) -> list[Version]:
        """Return all versions of a patient's blobs of this kind, oldest first."""
        with self._transaction("DEFERRED") as connection:
            return versions.list_versions(connection, kind, self._pid(connection, patient), patient, name)

    def decide(self, decision: Decision) -> str:
        """Append what a person answered to a stored proposal; return its id. The same answer twice enters once."""
        with self._transaction("IMMEDIATE") as connection:
            found, pid, new = versions.insert_decision(connection, decision)
            if new:
                self._event(connection, "decision", pid, found, decision.recorded)
        return found

    def outcome(self, outcome: Outcome) -> str:
        """Append what came of a stored decision; return its id. The same outcome twice enters once."""
        with self._transaction("IMMEDIATE") as connection:
            found, pid, new = versions.insert_outcome(connection, outcome)
            if new:
                self._event(connection, "outcome", pid, found, outcome.recorded)
        return found

    def patients(self) -> tuple[str, ...]:
        """Return all pseudonyms, in the order of enrolment."""
        with self._transaction("DEFERRED") as connection:
            return tuple(name for (name,) in connection.execute("SELECT name FROM patient ORDER BY rowid"))

    def counts(self) -> dict[str, int]:
        """Return how many rows each table holds."""
        with self._transaction("DEFERRED") as connection:
            return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _COUNTED}

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return the events after one, in order."""
        with self._transaction("DEFERRED") as connection:
            chosen = "SELECT seq, kind, name, ref, event.recorded_ns FROM event JOIN patient USING (pid) WHERE seq > ? ORDER BY seq LIMIT ?"
            return [Event(*row) for row in connection.execute(chosen, (after, limit))]

    def position(self, consumer: str) -> int:
        """Return the last event that a consumer has dealt with."""
        with self._transaction("DEFERRED") as connection:
            row = connection.execute("SELECT seq FROM checkpoint WHERE consumer = ?", (consumer,)).fetchone()
        return row[0] if row else 0

    def advance(self, consumer: str, seq: int) -> None:
        """Note that a consumer has dealt with all events up to ``seq``; it never moves back."""
        with self._transaction("IMMEDIATE") as connection:
            forward = "INSERT INTO checkpoint VALUES (?, ?) ON CONFLICT (consumer) DO UPDATE SET seq = max(seq, excluded.seq)"
            connection.execute(forward, (consumer, seq))

    def enqueue(self, kind: str, key: str, body: str, *, now: int) -> str:
        """Ask for a piece of work, once per key; return its id."""
        with self._transaction("IMMEDIATE") as connection:
            return jobs.enqueue(connection, kind, key, body, now)[0]

    def claim(self, kind: str, worker: str, *, now: int, lease: int = 30_000_000_000) -> jobs.Job | None:
        """Lease the next piece of work to one worker, for ``lease`` ns."""
        with self._transaction("IMMEDIATE") as connection:
            return jobs.claim(connection, kind, worker, now, lease)

    def finish(self, job: str, worker: str, *, result: str = "") -> None:
        """Mark a leased piece of work as done."""
        with self._transaction("IMMEDIATE") as connection:
            jobs.finish(connection, job, worker, result)

    def give_back(self, job: str, worker: str, *, reason: str) -> None:
        """Return a leased piece of work to the queue."""
        with self._transaction("IMMEDIATE") as connection:
            jobs.give_back(connection, job, worker, reason)

    def check(self) -> StoreCheck:
        """Check pages, references, gaps in the events, every block, every fact's hash and every blob's."""
        with self._transaction("DEFERRED") as connection:
            problems = find_problems(connection)
        return StoreCheck(self.counts(), problems)
