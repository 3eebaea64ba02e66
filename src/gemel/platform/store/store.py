"""The store: patients, facts, twins and what became of advice, sealed, append only; in one SQLite file or a PostgreSQL database."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gemel.core.advice import Decision, Outcome
from gemel.core.errors import StoreError
from gemel.core.record import Demographics, Fact, PatientRecord
from gemel.platform.keys import Master
from gemel.platform.store import answers, blobs, compaction, facts, inbox, jobs, merges, versions, writing
from gemel.platform.store.base import Database, Mode, is_postgres, open_database
from gemel.platform.store.blobs import folder_of as blobs_beside
from gemel.platform.store.check import StoreCheck, find_problems
from gemel.platform.store.inbox import Message
from gemel.platform.store.migrate import HEAD, master_of, migrate, revision_of
from gemel.platform.store.sealing import Sealing
from gemel.platform.store.versions import Version

__all__ = ["Event", "Store"]

_COUNTED = (
    "patient",
    "series",
    "series_chunk",
    *facts.TABLES,
    "event",
    *versions.KINDS.values(),
    "decision",
    "outcome",
    "job",
    "inbox",
    "blob",
    "resource",
    "image",
)


class Event(NamedTuple):
    """One change of the store. ``seq`` has no gaps. ``patient`` is empty when they were erased."""

    seq: int
    kind: str
    patient: str
    ref: str
    recorded: int


class Store:
    """Keeps facts, twins, forecasts, proposals, decisions and outcomes; implements :class:`gemel.core.protocols.Store`.

    Nothing is updated in place: a correction supersedes, and triggers refuse the rest. Every change is one transaction with one event,
    on the disk before the call returns: a killed process or a power cut leaves all of it or nothing.

    What says something about a person is sealed (AES-256-GCM) under that patient's key, bound to its row. Open are random patient ids, numbers of rows,
    days, versions, models, and when the store took things in. Of resources of FHIR also what is searched by order
    or decided by: dates, numbers, codes, labels (decision record 23). One store object belongs to one thread; several processes may open the same store.

    Parameters
    ----------
    place : a file, made when missing (readable by its owner alone), on a local disk; or a ``postgresql://`` URL. An older store is carried to the present schema.
    blobs : the folder of large bytes. Left out: ``NAME.blobs`` beside a file; for a server it must be named before :meth:`add_bytes` is used.
    keys : the master key. Left out: ``GEMEL_KEY`` or ``GEMEL_KEY_FILE``; for a file also ``NAME.key`` beside it, which is made with a new store.
    busy_ms : how long to wait for another process that writes.

    Raises
    ------
    StoreError
        When the store is locked, damaged, of a newer gemel, another program's, or sealed under another key, with what to do.
    """

    def __init__(self, place: str | Path, *, keys: Master | None = None, blobs: Path | None = None, busy_ms: int = 5000) -> None:
        self.place = str(place) if is_postgres(place) else Path(place)
        self.blobs = blobs or blobs_beside(self.place)
        self._depth = 0
        self._seen = writing.Seen()
        self._database: Database = open_database(self.place, busy_ms=busy_ms)
        try:
            revision = revision_of(self._database)
            master = keys or master_of(self.place, revision)
            if revision != HEAD:
                self._database.close()
                migrate(self.place, keys=master, busy_ms=busy_ms)
                self._database = open_database(self.place, busy_ms=busy_ms)
            self._sealing = Sealing(self._database, master)
            with self._transaction("read"):
                self._sealing.start()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _transaction(self, mode: Mode) -> Iterator[Database]:
        if self._depth:
            yield self._database
            return
        with self._database.explained():
            self._database.begin(mode)
            self._depth += 1
            try:
                yield self._database
                if mode != "read":
                    self._sealing.flush()
                self._database.commit()
            except BaseException:
                if mode != "read":
                    self._sealing.forget()  # keys that were made in this transaction are gone with it, and blocks
                    self._seen.clear()
                self._database.rollback()
                raise
            finally:
                self._depth -= 1

    @contextlib.contextmanager
    def batch(self) -> Iterator[Store]:
        """Make one transaction of everything inside: nothing is acknowledged before its end, and an error undoes all of it."""
        with self._transaction("write"):
            yield self

    def _pid(self, patient: str) -> str:
        row = self._database.execute("SELECT pid FROM patient WHERE token = ?", (self._sealing.token("patient", patient),)).fetchone()
        if row is None:
            raise StoreError("the store has no such patient", seen=patient, fix="patients() lists them")
        return row[0]

    def _event(self, kind: str, pid: str, ref: str, recorded: int) -> int:
        seq = self._database.execute("SELECT coalesce(max(seq), 0) + 1 FROM event").fetchone()[0]
        self._database.execute(
            "INSERT INTO event (seq, kind, pid, ref, recorded_ns) VALUES (?, ?, ?, ?, ?)", (seq, kind, pid, ref, recorded)
        )
        return seq

    def _enrol(self, patient: str, token: str, recorded: int) -> str:
        pid = secrets.token_hex(12)
        self._sealing.enrol(pid)
        name = self._sealing.seal("patient", pid, pid, 0, patient.encode())
        number = self._database.execute("SELECT coalesce(max(number), 0) + 1 FROM patient").fetchone()[0]
        self._database.execute(
            "INSERT INTO patient (pid, token, name, number, recorded_ns) VALUES (?, ?, ?, ?, ?)", (pid, token, name, number, recorded)
        )
        return pid

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
        given = writing.sort_facts(facts)
        with self._transaction("write") as database:
            token = self._sealing.token("patient", patient)
            row = database.execute("SELECT pid FROM patient WHERE token = ?", (token,)).fetchone()
            pid = row[0] if row else self._enrol(patient, token, recorded)
            fresh = writing.find_fresh(database, self._sealing, self._seen, pid, row is None, given, demographics)
            if row is None or fresh.count or fresh.demographics:
                seq = self._event("facts", pid, str(fresh.count), recorded)
                writing.write_facts(database, self._sealing, pid, fresh, seq, recorded)
        return fresh.count

    def record(self, patient: str, *, as_of: int | None = None, upto: int | None = None) -> PatientRecord:
        """Return a patient's record, with what is known under pseudonyms that were merged into theirs.

        Parameters
        ----------
        patient : pseudonym.
        as_of : ns UTC; only what was known then, as :meth:`gemel.core.record.PatientRecord.as_of`. Left out: every version of every fact.
        upto : last event to read; with a version's ``upto_event`` the inputs of that version come back bit for bit,
            whatever was imported since.
        """
        with self._transaction("read") as database:
            return merges.whole_record(database, self._sealing, self._pid(patient), patient, as_of, upto)

    def put(
        self, kind: str, patient: str, name: str, body: bytes, *, recorded: int, meta: Mapping[str, Any], upto: int | None = None
    ) -> str:
        """Append a version of a named blob (``twin``, ``forecast``, ``proposal`` or ``score``); return its id. The newest one put again stays one.

        ``upto`` is the last event that was read for it; left out, the last there is: for who reads and puts in one :meth:`batch`.
        """
        with self._transaction("write") as database:
            pid = self._pid(patient)
            upto = database.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0] if upto is None else upto
            found, new = versions.insert_version(database, self._sealing, kind, pid, name, body, recorded, meta, upto)
            if new:
                self._event(kind, pid, found, recorded)
        return found

    def get(self, kind: str, patient: str, name: str, *, as_of: int | None = None) -> bytes:
        """Return the newest version of a named blob known at ``as_of``."""
        versions.table_of(kind)
        with self._transaction("read") as database:
            return versions.find_body(database, self._sealing, kind, self._pid(patient), name, as_of)

    def versions(self, kind: str, patient: str, name: str | None = None) -> list[Version]:
        """Return all versions of a patient's blobs of this kind, oldest first."""
        with self._transaction("read") as database:
            return versions.list_versions(database, self._sealing, kind, self._pid(patient), patient, name)

    def decide(self, decision: Decision) -> str:
        """Append what a person answered to a stored proposal; return its id. The same answer twice enters once."""
        with self._transaction("write") as database:
            found, pid, new = versions.insert_decision(database, self._sealing, decision)
            if new:
                self._event("decision", pid, found, decision.recorded)
        return found

    def outcome(self, outcome: Outcome) -> str:
        """Append what came of a stored decision; return its id. The same outcome twice enters once."""
        with self._transaction("write") as database:
            found, pid, new = versions.insert_outcome(database, self._sealing, outcome)
            if new:
                self._event("outcome", pid, found, outcome.recorded)
        return found

    def answers(self, patient: str) -> list[tuple[str, Decision | Outcome]]:
        """Return what was answered to a patient's proposals and what came of it, each with ``decision`` or ``outcome``, as it was recorded."""
        with self._transaction("read") as database:
            return versions.list_answers(database, self._sealing, self._pid(patient))

    def rewrap(self, master: Master) -> int:
        """Wrap every key by another master key, which the store needs from now on; return how many. Nothing that is sealed changes."""
        with self._transaction("write"):
            return self._sealing.rewrap(master)

    def _name(self, pid: str, sealed: bytes | None) -> str:
        return "" if sealed is None else self._sealing.open("patient", pid, pid, 0, sealed).decode()

    def subject(self, patient: str) -> str:
        """Return the random id of a patient, which says nothing about them: for the audit trail."""
        with self._transaction("read"):
            return self._pid(patient)

    def is_erased(self, subject: str) -> bool:
        """Return whether a random id belonged to somebody who was erased."""
        with self._transaction("read") as database:
            return database.execute("SELECT 1 FROM erasure WHERE pid = ?", (subject,)).fetchone() is not None

    def patients(self) -> tuple[str, ...]:
        """Return all pseudonyms, in the order of enrolment."""
        with self._transaction("read") as database:
            rows = database.execute("SELECT pid, name FROM patient WHERE token IS NOT NULL ORDER BY number").fetchall()
            return tuple(self._name(pid, sealed) for pid, sealed in rows)

    def counts(self) -> dict[str, int]:
        """Return how many rows each table holds."""
        with self._transaction("read") as database:
            return {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _COUNTED}

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return the events after one, in order."""
        with self._transaction("read") as database:
            chosen = "SELECT seq, kind, pid, ref, recorded_ns FROM event WHERE seq > ? ORDER BY seq LIMIT ?"
            rows = database.execute(chosen, (after, limit)).fetchall()
            sealed = {
                pid: database.execute("SELECT name FROM patient WHERE pid = ?", (pid,)).fetchone()[0] for pid in {row[2] for row in rows}
            }
            names = {pid: self._name(pid, name) for pid, name in sealed.items()}
            return [Event(seq, kind, names[pid], ref, recorded) for seq, kind, pid, ref, recorded in rows]

    def _folder(self) -> Path:
        if self.blobs is None:
            raise StoreError(
                "the store has no folder for large bytes", expected="a folder that all its users reach", fix="Store(..., blobs=FOLDER)"
            )
        return self.blobs

    def add_bytes(self, patient: str, body: bytes) -> str:
        """Keep large bytes of a patient (a letter, an image), sealed in a file of their own; return their SHA-256, as a ``Document`` names it."""
        with self._transaction("write") as database:
            return blobs.add(database, self._sealing, self._folder(), self._pid(patient), body)

    def get_bytes(self, patient: str, sha256: str) -> bytes:
        """Return large bytes of a patient."""
        with self._transaction("read") as database:
            return blobs.read(database, self._sealing, self._folder(), self._pid(patient), sha256)

    def sweep(self, *, grace_s: float = 3600.0) -> int:
        """Remove files that belong to nobody, left by changes that were undone; return how many."""
        with self._transaction("write") as database:
            return blobs.sweep(database, self._folder(), grace_s=grace_s)

    def compact(self, *, now: int, limit: int = 100) -> int:
        """Merge blocks of readings that came one by one, of at most so many days of series; return how many blocks there are fewer.

        Nothing that can be read changes. A worker calls it again until it returns 0.
        """
        with self._transaction("write") as database:
            return compaction.compact(database, self._sealing, now, limit)

    def position(self, consumer: str) -> int:
        """Return the last event that a consumer has dealt with."""
        with self._transaction("read") as database:
            row = database.execute("SELECT seq FROM checkpoint WHERE consumer = ?", (consumer,)).fetchone()
        return row[0] if row else 0

    def advance(self, consumer: str, seq: int) -> None:
        """Note that a consumer has dealt with all events up to ``seq``; it never moves back."""
        with self._transaction("write") as database:
            forward = "INSERT INTO checkpoint (consumer, seq) VALUES (?, ?) ON CONFLICT (consumer) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > checkpoint.seq"
            database.execute(forward, (consumer, seq))

    def mark(self, source: str, place: str, *, recorded: int) -> None:
        """Note how far a source was read, in its own words; inside :meth:`batch` with what was read there, both stand or neither."""
        with self._transaction("write") as database:
            database.execute(
                "INSERT INTO source (name, place, recorded_ns) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET place = excluded.place, recorded_ns = excluded.recorded_ns",
                (source, place, recorded),
            )

    def marked(self, source: str) -> str | None:
        """Return how far a source was read; ``None`` when it never was."""
        with self._transaction("read") as database:
            row = database.execute("SELECT place FROM source WHERE name = ?", (source,)).fetchone()
        return row[0] if row else None

    def receive(self, source: str, body: bytes, *, received: int, name: str = "") -> tuple[int, bool]:
        """Take in raw bytes as they came; once this returns they may be acknowledged.

        The same bytes under the same name from the same source are one message. Return its number and whether it is new.
        """
        with self._transaction("write") as database:
            return inbox.receive(database, self._sealing, source, body, received, name)

    def settle(self, message: int, state: str, *, reason: str = "", patients: Iterable[str] = ()) -> None:
        """Say what became of a message (``done``, ``quarantined``, ``dropped``), why, and whom it was about: it is erased with them."""
        with self._transaction("write") as database:
            inbox.settle(database, self._sealing, message, state, reason, [self._pid(patient) for patient in patients])

    def messages(self, state: str | None = None) -> list[Message]:
        """Return what arrived, in order, of one state or all."""
        with self._transaction("read") as database:
            return inbox.listing(database, self._sealing, state)

    def message(self, seq: int) -> tuple[Message, bytes]:
        """Return one message, and its bytes as they came."""
        with self._transaction("read") as database:
            return inbox.find(database, self._sealing, seq), inbox.raw(database, self._sealing, seq)

    def enqueue(self, kind: str, key: str, body: str, *, now: int, patient: str | None = None) -> str:
        """Ask for a piece of work, once per key; return its id. One that is about a patient is sealed under their key and erased with them."""
        with self._transaction("write") as database:
            return jobs.enqueue(database, self._sealing, kind, key, body, now, None if patient is None else self._pid(patient))[0]

    def claim(self, kind: str, worker: str, *, now: int, lease: int = 30_000_000_000) -> jobs.Job | None:
        """Lease the next piece of work to one worker, for ``lease`` ns."""
        with self._transaction("work") as database:
            return jobs.claim(database, self._sealing, kind, worker, now, lease)

    def finish(self, job: str, worker: str, *, result: str = "", now: int | None = None) -> None:
        """Mark a leased piece of work as done."""
        with self._transaction("work") as database:
            jobs.finish(database, self._sealing, job, worker, result, now)

    def give_back(self, job: str, worker: str, *, reason: str, now: int | None = None, ready: int = 0) -> None:
        """Return a leased piece of work to the queue, where nobody takes it before ``ready`` (ns UTC)."""
        with self._transaction("work") as database:
            jobs.give_back(database, self._sealing, job, worker, reason, now, ready)

    def progress(
        self,
        job: str,
        done: int,
        total: int,
        note: str = "",
        *,
        worker: str | None = None,
        now: int | None = None,
        lease: int = 30_000_000_000,
    ) -> bool:
        """Say how far a leased piece of work is; with ``now`` its lease begins anew. Return whether it is still wanted, and still this worker's."""
        with self._transaction("work") as database:
            return jobs.progress(database, self._sealing, job, done, total, note, worker, now, lease)

    def cancel(self, job: str, *, now: int) -> bool:
        """End a piece of work; who works on it hears so at the next word. Return whether it was still open."""
        with self._transaction("work") as database:
            return jobs.cancel(database, job, now)

    def redrive(self, job: str, *, now: int) -> bool:
        """Put a dead or cancelled piece of work into the queue again. Return whether it was one."""
        with self._transaction("work") as database:
            return jobs.redrive(database, job, now)

    def job(self, job: str) -> jobs.JobStatus:
        """Return how a piece of work stands."""
        with self._transaction("read") as database:
            return jobs.find(database, self._sealing, job)

    def jobs(
        self, *, state: str | None = None, kind: str | None = None, subject: str | None = None, changed: int | None = None,
        after: tuple[int, str] | None = None, limit: int = 100,
    ) -> list[jobs.JobStatus]:  # fmt: skip
        """Return pieces of work, oldest first.

        Parameters
        ----------
        subject : random id of the patient.
        changed : ns UTC; only those that changed after it, in that order.
        after : when the last one seen was made, and its id.
        """
        with self._transaction("read") as database:
            return jobs.listing(database, self._sealing, state=state, kind=kind, pid=subject, changed=changed, after=after, limit=limit)

    def answered(self, key: str, request: bytes) -> answers.Kept | None:
        """Return what was answered to a request that named a key; ``None`` when nothing was."""
        with self._transaction("read") as database:
            return answers.find(database, self._sealing, key, request)

    def keep_answer(self, key: str, request: bytes, body: bytes, *, now: int, subject: str | None = None) -> None:
        """Keep what is answered to a request that named a key; inside :meth:`batch` with what the request did, both stand or neither.

        What is about a patient (``subject``, the random id) is sealed under their key and erased with them.
        """
        with self._transaction("write") as database:
            answers.keep(database, self._sealing, key, request, body, now, subject)

    def tidy(self, *, answers_before: int, jobs_before: int) -> tuple[int, int]:
        """Delete answers that were kept, and work that ended, before these times (ns UTC); return how many of each."""
        with self._transaction("write") as database:
            return answers.forget(database, answers_before), jobs.forget(database, jobs_before)

    def check(self) -> StoreCheck:
        """Check pages, references, gaps in the events, keys, and that every sealed value opens to what its token says."""
        with self._transaction("read") as database:
            problems = (*find_problems(database, self._sealing), *blobs.find_problems(database, self._sealing, self.blobs))
        return StoreCheck(self.counts(), problems)
