"""Which twins must follow what has arrived, who is at it, and until when: rows of the store, so that nothing is lost with a process.

A twin is followed from its calibration on. Facts that arrive are events of the store; :func:`feed` turns them into wants, once each, whatever number arrives: a want is
the number of the newest event, not a list. A worker leases what is due, one worker a twin at a time, and settles it in the transaction in which the result is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gemel.core.time import SECOND
from gemel.platform.store import Store, merges
from gemel.platform.store.jobs import MOST_ATTEMPTS

__all__ = [
    "CONSUMER", "LEASE", "Followed", "claim", "dead", "due", "feed", "follow", "followed", "give_back", "hold", "keep", "mark_wanted", "pause_after", "redrive", "release", "settle",
    "supersede", "superseded", "wanted_since", "withhold",
]  # fmt: skip

CONSUMER = "live"
"""The name under which the store remembers up to which event wants were derived."""

LEASE = 30 * SECOND


@dataclass(frozen=True)
class Followed:
    """One twin that is followed.

    Parameters
    ----------
    subject : random id of the patient; ``patient`` their pseudonym.
    room : which twin.
    wanted, done : the newest event that concerns it, and up to which it has read.
    state : ``live``, or ``dead`` after too many tries.
    reason : why it was given back last.
    """

    subject: str
    patient: str = field(repr=False)
    room: str
    wanted: int
    done: int
    state: str
    attempts: int
    reason: str = ""

    @property
    def is_due(self) -> bool:
        """Whether something arrived that it has not read."""
        return self.state == "live" and self.wanted > self.done


def _token(store: Store, subject: str, room: str) -> str:
    return store._sealing.own(subject, "live", room)


def _is_there(store: Store, subject: str) -> bool:
    return store._database.execute("SELECT 1 FROM patient WHERE pid = ? AND token IS NOT NULL", (subject,)).fetchone() is not None


def follow(store: Store, patient: str, room: str, *, upto: int) -> None:
    """Follow a twin that has read up to an event; one that was followed (or given up) starts anew from there."""
    with store._transaction("write") as database:
        subject = store._pid(patient)
        token = _token(store, subject, room)
        database.execute(
            "INSERT INTO live (pid, token, name, wanted, done, state, worker, lease_ns, ready_ns, attempts, told) VALUES (?, ?, ?, ?, ?, 'live', '', 0, 0, 0, NULL)"
            " ON CONFLICT (pid, token) DO UPDATE SET done = excluded.done, state = 'live', attempts = 0, ready_ns = 0, worker = '', lease_ns = 0",
            (subject, token, store._sealing.seal("live", subject, token, "name", room.encode()), upto, upto),
        )
        # what arrived between reading and now was an event before this row was there: it is wanted too
        newest = database.execute(
            "SELECT coalesce(max(seq), 0) FROM event WHERE pid = ? AND kind IN ('facts', 'joined')", (subject,)
        ).fetchone()[0]
        database.execute("UPDATE live SET wanted = ? WHERE pid = ? AND token = ? AND wanted < ?", (newest, subject, token, newest))


def feed(store: Store, *, now: int, debounce: int = 0) -> int:
    """Turn the events since the last time into wants; return how many events there were.

    Parameters
    ----------
    now : ns UTC.
    debounce : ns to wait after the first of several facts before the twin is due, so that a burst is one assimilation.
    """
    after = store.position(CONSUMER)
    with store._transaction("work") as database:
        last = database.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]
        if last <= after:
            return 0
        rows = database.execute(
            "SELECT pid, max(seq) FROM event WHERE seq > ? AND seq <= ? AND kind IN ('facts', 'joined') GROUP BY pid", (after, last)
        ).fetchall()
        mark_wanted(store, rows, ready=now + debounce)
        database.execute(
            "INSERT INTO checkpoint (consumer, seq) VALUES (?, ?) ON CONFLICT (consumer) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > checkpoint.seq",
            (CONSUMER, last),
        )
    return last - after


def mark_wanted(store: Store, newest: Iterable[tuple[str, int]], *, ready: int) -> None:
    """Note that twins of these patients (random id, newest event) want to be brought up to date, from ``ready`` (ns UTC) on."""
    with store._transaction("work") as database:
        links = merges._links(database, as_of=None, upto=None)
        for subject, seq in sorted(newest):
            for one in {subject, merges._top(links, subject)}:
                database.execute(
                    "UPDATE live SET ready_ns = CASE WHEN wanted <= done OR (attempts = 0 AND ready_ns > ?) THEN ? ELSE ready_ns END, wanted = ?"
                    " WHERE pid = ? AND wanted < ?",
                    (ready, ready, seq, one, seq),
                )


def wanted_since(store: Store) -> int:
    """Return the last event that was turned into wants."""
    return store.position(CONSUMER)


_DUE = "state = 'live' AND wanted > done AND ready_ns <= ? AND (lease_ns < ? OR lease_ns > ?)"


def claim(store: Store, worker: str, *, now: int, lease: int = LEASE, limit: int = 1000) -> list[Followed]:
    """Lease twins that are due to one worker; those that waited longest first. After too many tries one is dead.

    Notes
    -----
    A lease that ends much later than leases do was given under a clock that has been set back since: it counts as ended.
    """
    with store._transaction("work") as database:
        skip = "" if database.dialect == "sqlite" else " FOR UPDATE SKIP LOCKED"
        bounds = (now, now, now + 2 * lease)
        over = database.execute(f"SELECT pid, token FROM live WHERE {_DUE} AND attempts >= ?{skip}", (*bounds, MOST_ATTEMPTS)).fetchall()
        for subject, token in over:
            database.execute("UPDATE live SET state = 'dead', worker = '' WHERE pid = ? AND token = ?", (subject, token))
        rows = database.execute(
            f"SELECT pid, token, name, wanted, done, state, attempts FROM live WHERE {_DUE} ORDER BY wanted LIMIT ?{skip}", (*bounds, limit)
        ).fetchall()
        database.executemany(
            "UPDATE live SET worker = ?, lease_ns = ?, attempts = attempts + 1 WHERE pid = ? AND token = ?",
            [(worker, now + lease, row[0], row[1]) for row in rows],
        )
        return [_followed(store, row, attempts=row[6] + 1) for row in rows]


def _followed(store: Store, row: tuple, *, attempts: int, told: bytes | None = None) -> Followed:
    subject, token, name, wanted, done, state = row[:6]
    sealed = store._database.execute("SELECT name FROM patient WHERE pid = ?", (subject,)).fetchone()[0]
    room = store._sealing.open("live", subject, token, "name", name).decode()
    reason = "" if told is None else store._sealing.open("live", subject, token, "told", told).decode()
    return Followed(subject, store._name(subject, sealed), room, wanted, done, state, attempts, reason)


def hold(store: Store, patient: str, room: str, worker: str, *, now: int, lease: int = LEASE) -> bool:
    """Lease one twin, due or not, for work that was asked for; ``False`` while another worker is at it. One that is not followed needs no lease."""
    with store._transaction("work") as database:
        subject = store._pid(patient)
        token = _token(store, subject, room)
        row = database.execute("SELECT worker, lease_ns FROM live WHERE pid = ? AND token = ?", (subject, token)).fetchone()
        if row is not None and row[0] not in ("", worker) and now <= row[1] <= now + 2 * lease:
            return False
        database.execute("UPDATE live SET worker = ?, lease_ns = ? WHERE pid = ? AND token = ?", (worker, now + lease, subject, token))
        return True


def release(store: Store, patient: str, room: str, worker: str, *, done: int | None = None) -> None:
    """Let go of a twin that was held; ``done``: it has read up to this event."""
    with store._transaction("work") as database:
        subject = store._pid(patient)
        database.execute(
            "UPDATE live SET done = coalesce(?, done), worker = '', lease_ns = 0 WHERE pid = ? AND token = ? AND worker = ?",
            (done, subject, _token(store, subject, room), worker),
        )


def keep(store: Store, worker: str, *, now: int, lease: int = LEASE) -> int:
    """Begin the leases of a worker anew; return how many it still has."""
    with store._transaction("work") as database:
        return database.execute("UPDATE live SET lease_ns = ? WHERE worker = ? AND lease_ns > 0", (now + lease, worker)).rowcount


def settle(store: Store, one: Followed, worker: str, *, done: int, later: int = 0) -> bool:
    """Note, in the transaction of the result, that a twin has read up to an event. ``False``: the lease was lost, and the result must not be written.

    Parameters
    ----------
    later : ns UTC at which something becomes known that is in the store already: it is due again then, or when more arrives; 0: there is nothing.
    """
    with store._transaction("write") as database:
        token = _token(store, one.subject, one.room) if _is_there(store, one.subject) else ""
        changed = database.execute(
            "UPDATE live SET done = CASE WHEN ? > 0 AND wanted <= ? THEN wanted - 1 ELSE ? END, attempts = 0, worker = '', lease_ns = 0, told = NULL,"
            " ready_ns = CASE WHEN wanted <= ? THEN ? ELSE 0 END WHERE pid = ? AND token = ? AND worker = ?",
            (later, done, done, done, later, one.subject, token, worker),
        )
        return changed.rowcount == 1


def give_back(store: Store, one: Followed, worker: str, *, now: int, reason: str, pause: int) -> None:
    """Give a leased twin back, due again after ``pause`` ns; the fifth time it is dead until somebody drives it again."""
    with store._transaction("work") as database:
        if not _is_there(store, one.subject):
            return
        token = _token(store, one.subject, one.room)
        told = store._sealing.seal("live", one.subject, token, "told", reason.encode())
        database.execute(
            "UPDATE live SET state = CASE WHEN attempts >= ? THEN 'dead' ELSE 'live' END, worker = '', lease_ns = 0, ready_ns = ?, told = ?"
            " WHERE pid = ? AND token = ? AND worker = ?",
            (MOST_ATTEMPTS, now + pause, told, one.subject, token, worker),
        )


def pause_after(attempts: int, draw: Callable[[], float], *, first: int = SECOND, longest: int = 300 * SECOND) -> int:
    """Return how long to wait before the next try, ns: doubled each time, times 0.5 to 1.5, so that many that failed together do not return together.

    Parameters
    ----------
    attempts : how often it was tried.
    draw : uniform in [0, 1).
    """
    return round(min(longest, first * 2 ** max(0, attempts - 1)) * (0.5 + draw()))


def redrive(store: Store, *, subject: str | None = None) -> int:
    """Let dead twins live again, of everybody or of one patient (random id); return how many."""
    where, values = ("", ()) if subject is None else (" AND pid = ?", (subject,))
    with store._transaction("work") as database:
        return database.execute(f"UPDATE live SET state = 'live', attempts = 0, ready_ns = 0 WHERE state = 'dead'{where}", values).rowcount


def withhold(store: Store, subject: str, room: str, *, permitted: bool) -> bool:
    """Let a twin rest while no consent permits to work on it, or go on: inside the transaction that changed the consents. Return whether that changed.

    Who is at it just now loses the lease, and what they made is not written. What arrives meanwhile is wanted when it goes on.
    """
    with store._transaction("write") as database:
        before, after = ("withheld", "live") if permitted else ("live", "withheld")
        done = database.execute(
            "UPDATE live SET state = ?, worker = '', lease_ns = 0 WHERE pid = ? AND token = ? AND state = ?",
            (after, subject, _token(store, subject, room), before),
        )
        return done.rowcount == 1


def followed(store: Store, *, state: str | None = None) -> list[Followed]:
    """Return every twin that is followed."""
    where, values = ("", ()) if state is None else (" WHERE state = ?", (state,))
    with store._transaction("read") as database:
        rows = database.execute(
            f"SELECT pid, token, name, wanted, done, state, attempts, told FROM live{where} ORDER BY pid, token", values
        ).fetchall()
        return [_followed(store, row, attempts=row[6], told=row[7]) for row in rows]


def due(store: Store) -> int:
    """Return how many twins have not read what arrived for them: the length of the queue."""
    with store._transaction("read") as database:
        return database.execute("SELECT count(*) FROM live WHERE state = 'live' AND wanted > done").fetchone()[0]


def dead(store: Store) -> int:
    """Return how many twins were given up after too many tries."""
    with store._transaction("read") as database:
        return database.execute("SELECT count(*) FROM live WHERE state = 'dead'").fetchone()[0]


def supersede(store: Store, patient: str, model: str, *, since: int, recorded: int) -> int:
    """Flag the forecasts of a model that were made at or after a time about which something else is known now; they stay as they were made. Return how many."""
    with store._transaction("write") as database:
        subject = store._pid(patient)
        rows = database.execute(
            "SELECT id FROM forecast WHERE pid = ? AND model = ? AND recorded_ns >= ? AND id NOT IN (SELECT id FROM superseded WHERE pid = ?)",
            (subject, model, since, subject),
        ).fetchall()
        seq = database.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]
        database.executemany(
            "INSERT INTO superseded (id, pid, seq, recorded_ns) VALUES (?, ?, ?, ?)", [(row[0], subject, seq, recorded) for row in rows]
        )
        return len(rows)


def superseded(store: Store, forecast: str) -> int | None:
    """Return when a forecast was overtaken by facts that it should have known (ns UTC); ``None`` when it was not."""
    with store._transaction("read") as database:
        row = database.execute("SELECT recorded_ns FROM superseded WHERE id = ?", (forecast,)).fetchone()
        return None if row is None else row[0]
