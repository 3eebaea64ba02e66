"""What is looked up by id, or page by page: for those who answer questions from outside, who know random ids only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gemel.core.advice import Decision, Outcome
from gemel.core.errors import StoreError
from gemel.core.record import Demographics
from gemel.platform.store.store import Store
from gemel.platform.store.versions import KINDS, Version, content_of, table_of

__all__ = [
    "Answer", "Change", "Person", "changes", "decision_of", "decisions", "demographics", "enrolled", "fact_counts", "is_there", "job_id", "last_event", "last_facts", "named", "newest", "newest_id", "open_jobs", "outcomes", "owner", "people", "person", "persons", "pseudonym", "received",
    "version", "version_body", "version_list",
]  # fmt: skip


class Person(NamedTuple):
    """A patient: their place in the order of enrolment, random id, pseudonym, and when they were enrolled (ns UTC)."""

    number: int
    subject: str
    pseudonym: str
    recorded: int


class Change(NamedTuple):
    """One event, with the random id of whom it is about."""

    seq: int
    kind: str
    subject: str
    ref: str
    recorded: int


class Answer(NamedTuple):
    """A decision or an outcome, with its id."""

    id: str
    subject: str
    told: Decision | Outcome


_NAMED = re.compile(r":([asl]\d+)")

_ROW = (
    "(SELECT number, pid, name, recorded_ns, '' AS ref, 'Patient' AS kind, '' AS codes, '' AS labels, recorded_ns AS time_ns, '' AS author, '' AS basis,"
    " {research} AS research FROM patient WHERE token IS NOT NULL) AS person"
)


def _placed(sql: str, parameters: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Turn named parameters into places, in their order."""
    return _NAMED.sub("?", sql), [parameters[name] for name in _NAMED.findall(sql)]


def people(
    store: Store, sql: str = "1=1", parameters: Mapping[str, Any] | None = None, *, after: int = 0, upto: int | None = None, limit: int = 100, is_research: bool = False
) -> list[Person]:  # fmt: skip
    """Return patients in the order of enrolment.

    Parameters
    ----------
    sql, parameters : a condition on the columns of :mod:`gemel.platform.access_sql`.
    after, upto : numbers; those enrolled after ``upto`` was the last are not there, so that pages fit together.
    is_research : the rows count as made for research: for those who only see people without their identifiers.
    """
    condition, values = _placed(sql, parameters or {})
    with store._transaction("read") as database:
        rows = database.execute(
            f"SELECT number, pid, name, recorded_ns FROM {_ROW.format(research=int(is_research))} WHERE number > ? AND number <= ? AND ({condition})"
            " ORDER BY number LIMIT ?",
            (after, 2**62 if upto is None else upto, *values, limit),
        ).fetchall()
        return [Person(number, pid, store._name(pid, name), recorded) for number, pid, name, recorded in rows]


def persons(store: Store) -> int:
    """Return the number of the patient enrolled last."""
    with store._transaction("read") as database:
        return database.execute("SELECT coalesce(max(number), 0) FROM patient").fetchone()[0]


def enrolled(store: Store, subject: str) -> int | None:
    """Return when a patient was enrolled, ns UTC; ``None`` when nobody has the random id (any more)."""
    with store._transaction("read") as database:
        row = database.execute("SELECT recorded_ns FROM patient WHERE pid = ? AND token IS NOT NULL", (subject,)).fetchone()
        return None if row is None else row[0]


def is_there(store: Store, subject: str) -> bool:
    """Return whether a random id is that of a patient who was not erased."""
    with store._transaction("read") as database:
        return database.execute("SELECT 1 FROM patient WHERE pid = ? AND token IS NOT NULL", (subject,)).fetchone() is not None


def pseudonym(store: Store, subject: str) -> str:
    """Return the pseudonym of a random id.

    Raises
    ------
    StoreError
        When nobody has it (any more).
    """
    return person(store, subject).pseudonym


def person(store: Store, subject: str) -> Person:
    """Return one patient by random id.

    Raises
    ------
    StoreError
        When nobody has it (any more).
    """
    with store._transaction("read") as database:
        row = database.execute("SELECT number, name, recorded_ns FROM patient WHERE pid = ? AND token IS NOT NULL", (subject,)).fetchone()
        if row is None:
            raise StoreError("the store has no such patient", seen=subject, fix="GET /api/v1/patients lists them")
        return Person(row[0], subject, store._name(subject, row[1]), row[2])


def demographics(store: Store, subject: str) -> Demographics:
    """Return what is known of a person (random id) now."""
    with store._transaction("read") as database:
        row = database.execute("SELECT rev, body FROM demographics WHERE pid = ? ORDER BY rev DESC LIMIT 1", (subject,)).fetchone()
        return (
            Demographics()
            if row is None
            else Demographics.model_validate_json(store._sealing.open("demographics", subject, row[0], 0, row[1]))
        )


def fact_counts(store: Store, subject: str) -> dict[str, int]:
    """Return how many series, exposures and findings there are under a random id, each version counted."""
    with store._transaction("read") as database:
        return {
            name: database.execute(f"SELECT count(*) FROM {table} WHERE pid = ?", (subject,)).fetchone()[0]
            for name, table in (("series", "series"), ("exposures", "exposure"), ("findings", "finding"))
        }


def named(store: Store, patient: str) -> str | None:
    """Return the random id of a pseudonym; ``None`` when nobody has it."""
    with store._transaction("read") as database:
        row = database.execute("SELECT pid FROM patient WHERE token = ?", (store._sealing.token("patient", patient),)).fetchone()
        return None if row is None else row[0]


def last_event(store: Store) -> int:
    """Return the number of the last event."""
    with store._transaction("read") as database:
        return database.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]


def changes(store: Store, *, after: int = 0, subject: str | None = None, limit: int = 1000) -> list[Change]:
    """Return the events after one, in order: of everybody, or of one patient."""
    where, values = ("", ()) if subject is None else (" AND pid = ?", (subject,))
    with store._transaction("read") as database:
        chosen = f"SELECT seq, kind, pid, ref, recorded_ns FROM event WHERE seq > ?{where} ORDER BY seq LIMIT ?"
        return [Change(*row) for row in database.execute(chosen, (after, *values, limit)).fetchall()]


def last_facts(store: Store, subject: str) -> int:
    """Return the number of the last event that brought facts of a patient (random id); 0 when there was none."""
    with store._transaction("read") as database:
        return database.execute(
            "SELECT coalesce(max(seq), 0) FROM event WHERE pid = ? AND kind IN ('facts', 'joined')", (subject,)
        ).fetchone()[0]


def owner(store: Store, kind: str, found: str) -> str:
    """Return whose a version, decision or outcome is: the random id.

    Raises
    ------
    StoreError
        When there is no such thing.
    """
    table = KINDS.get(kind, kind)
    if table not in (*KINDS.values(), "decision", "outcome"):
        raise StoreError("the store keeps no such thing", seen=kind)
    with store._transaction("read") as database:
        row = database.execute(f"SELECT pid FROM {table} WHERE id = ?", (found,)).fetchone()
    if row is None:
        raise StoreError(f"the store has no such {kind}", seen=found)
    return row[0]


_HEAD = "id, pid, version, recorded_ns, upto_event, head"


def _version(store: Store, kind: str, row: Any, patient: str) -> Version:
    found, pid, number, recorded, upto, head = row
    name, meta = json.loads(store._sealing.open(table_of(kind), pid, found, "head", head))
    return Version(found, patient, kind, name, number, recorded, upto, meta)


def version(store: Store, kind: str, found: str) -> Version:
    """Return a version by its id; its ``patient`` is the random id."""
    with store._transaction("read") as database:
        row = database.execute(f"SELECT {_HEAD} FROM {table_of(kind)} WHERE id = ?", (found,)).fetchone()
        if row is None:
            raise StoreError(f"the store has no such {kind}", seen=found)
        return _version(store, kind, row, row[1])


def version_list(store: Store, kind: str, subject: str, name: str | None = None, *, as_of: int | None = None) -> list[Version]:
    """Return all versions of one patient (random id), oldest first; each one's ``patient`` is the random id."""
    table = table_of(kind)
    where, values = ("", []) if name is None else (" AND token = ?", [_token(store, subject, table, name)])
    with store._transaction("read") as database:
        rows = database.execute(
            f"SELECT {_HEAD} FROM {table} WHERE pid = ? AND recorded_ns <= ?{where} ORDER BY recorded_ns, version",
            (subject, 2**62 if as_of is None else as_of, *values),
        ).fetchall()
        return sorted((_version(store, kind, row, subject) for row in rows), key=lambda v: (v.recorded, v.name, v.version))


def _token(store: Store, subject: str, table: str, name: str) -> str:
    """Return the token of a name; that of nobody's where there is no such patient."""
    try:
        return store._sealing.own(subject, table, name)
    except StoreError as error:
        if error.what.startswith("the key of this patient is gone"):
            return ""
        raise


def newest(store: Store, kind: str, subject: str, name: str, *, as_of: int | None = None) -> Version | None:
    """Return the newest version of a named blob known at a time, in one statement; ``None`` when there is none."""
    table = table_of(kind)
    with store._transaction("read") as database:
        row = database.execute(
            f"SELECT {_HEAD} FROM {table} WHERE pid = ? AND token = ? AND recorded_ns <= ? ORDER BY version DESC LIMIT 1",
            (subject, _token(store, subject, table, name), 2**62 if as_of is None else as_of),
        ).fetchone()
        return None if row is None else _version(store, kind, row, subject)


def newest_id(store: Store, kind: str, subject: str, name: str, *, as_of: int | None = None) -> str | None:
    """Return the id of the newest version of a named blob known at a time; ``None`` when there is none. Nothing is opened."""
    table = table_of(kind)
    with store._transaction("read") as database:
        row = database.execute(
            f"SELECT id FROM {table} WHERE pid = ? AND token = ? AND recorded_ns <= ? ORDER BY version DESC LIMIT 1",
            (subject, _token(store, subject, table, name), 2**62 if as_of is None else as_of),
        ).fetchone()
        return None if row is None else row[0]


def version_body(store: Store, kind: str, found: str) -> bytes:
    """Return the bytes of a version, as they were put.

    Raises
    ------
    StoreError
        When there is no such version, or it is damaged.
    """
    table = table_of(kind)
    with store._transaction("read") as database:
        row = database.execute(f"SELECT pid, content, body FROM {table} WHERE id = ?", (found,)).fetchone()
        if row is None:
            raise StoreError(f"the store has no such {kind}", seen=found)
        body = store._sealing.open(table, row[0], found, "body", row[2])
        if content_of(store._sealing, row[0], body) != row[1]:
            raise StoreError(f"a stored {kind} is damaged", seen=found, fix="restore the last backup")
        return body


def _decision(store: Store, row: Any) -> Answer:
    found, pid, proposal, time, recorded, body = row
    who, answer, plan, reason = json.loads(store._sealing.open("decision", pid, found, 0, body))
    return Answer(found, pid, Decision(proposal=proposal, time=time, recorded=recorded, who=who, answer=answer, plan=plan, reason=reason))


def decisions(store: Store, subject: str, proposal: str | None = None) -> list[Answer]:
    """Return what was answered to a patient's proposals, or to one of them, as it was recorded."""
    where, values = ("", ()) if proposal is None else (" AND proposal = ?", (proposal,))
    chosen = f"SELECT id, pid, proposal, time_ns, recorded_ns, body FROM decision WHERE pid = ?{where} ORDER BY recorded_ns, id"
    with store._transaction("read") as database:
        return [_decision(store, row) for row in database.execute(chosen, (subject, *values)).fetchall()]


def decision_of(store: Store, found: str) -> Answer:
    """Return one decision by its id."""
    with store._transaction("read") as database:
        row = database.execute("SELECT id, pid, proposal, time_ns, recorded_ns, body FROM decision WHERE id = ?", (found,)).fetchone()
        if row is None:
            raise StoreError("the store has no such decision", seen=found)
        return _decision(store, row)


def outcomes(store: Store, subject: str, decision: str | None = None) -> list[Answer]:
    """Return what came of a patient's decisions, or of one of them, as it was recorded."""
    where, values = ("", ()) if decision is None else (" AND decision = ?", (decision,))
    chosen = f"SELECT id, pid, decision, time_ns, recorded_ns, body FROM outcome WHERE pid = ?{where} ORDER BY recorded_ns, id"
    with store._transaction("read") as database:
        found = []
        for key, pid, of, time, recorded, body in database.execute(chosen, (subject, *values)).fetchall():
            told, note = json.loads(store._sealing.open("outcome", pid, key, 0, body))
            found.append(Answer(key, pid, Outcome(decision=of, time=time, recorded=recorded, values=told, note=note)))
        return found


def open_jobs(store: Store, subject: str) -> int:
    """Return how much work waits or is being done for a patient (random id)."""
    with store._transaction("read") as database:
        return database.execute("SELECT count(*) FROM job WHERE pid = ? AND state IN ('waiting', 'leased')", (subject,)).fetchone()[0]


def job_id(store: Store, kind: str, key: str) -> str:
    """Return the id that a piece of work has, or would have."""
    with store._transaction("read"):
        return store._sealing.token("job", json.dumps([kind, key]))[:24]


def received(store: Store, subject: str) -> Iterator[tuple[str, bytes]]:
    """Yield type and bytes of every version of every FHIR resource that was stored of a patient (random id), deletions left out."""
    from gemel.platform.store.resources import Resources  # it imports this room's store

    resources = Resources(store)
    with store._transaction("read") as database:
        nums = [row[0] for row in database.execute("SELECT num FROM resource WHERE pid = ? ORDER BY num", (subject,)).fetchall()]
        for start in range(0, len(nums), 500):
            rows = [row for row in resources.rows(nums[start : start + 500]) if not row.deleted]
            yield from zip((row.kind for row in rows), resources.bodies(rows), strict=True)
