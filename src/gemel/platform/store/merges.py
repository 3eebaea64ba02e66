"""Two pseudonyms, one person: what is known under one is read under the other, until it is undone. And names that a source may use once.

Nothing is moved: each fact stays under the pseudonym, and the key, under which it came, so that undoing a merge leaves no trace in either record. A merge is an event:
a record as of an earlier event, or of an earlier time, does not know it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gemel.core.errors import StoreError
from gemel.core.record import PatientRecord
from gemel.platform.store import reading
from gemel.platform.store.base import Database
from gemel.platform.store.sealing import Sealing

if TYPE_CHECKING:
    from gemel.platform.store.store import Store

__all__ = ["claim_name", "families", "family_of", "merge", "priors_of", "survivor_of", "undo", "whole_record"]

_ALL = 2**62


def _links(database: Database, *, as_of: int | None, upto: int | None) -> dict[str, str]:
    """Return prior -> survivor, as it stood: of several merges of one prior the last one counts."""
    chosen = "SELECT pid, survivor FROM joined WHERE recorded_ns <= ? AND seq <= ? ORDER BY seq"
    rows = database.execute(chosen, (_ALL if as_of is None else as_of, _ALL if upto is None else upto)).fetchall()
    found = dict(rows)
    return {prior: survivor for prior, survivor in found.items() if survivor is not None}


def _top(links: dict[str, str], pid: str) -> str:
    while pid in links:
        pid = links[pid]
    return pid


def priors_of(database: Database, pid: str, *, as_of: int | None = None, upto: int | None = None) -> tuple[str, ...]:
    """Return the random ids of everybody who was merged into a person, directly or through another."""
    links = _links(database, as_of=as_of, upto=upto)
    found: list[str] = []
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        fresh = sorted(prior for prior, survivor in links.items() if survivor == one)
        found += fresh
        waiting += fresh
    return tuple(found)


def survivor_of(database: Database, pid: str) -> str:
    """Return under whose random id a person is known now; their own when they were never merged."""
    return _top(_links(database, as_of=None, upto=None), pid)


def family_of(database: Database, pid: str) -> tuple[str, ...]:
    """Return the random ids of all pseudonyms of this one's person, its own first: who is erased is erased under each."""
    top = survivor_of(database, pid)
    return tuple(dict.fromkeys((pid, top, *priors_of(database, top))))


def families(store: Store, known: dict[int, dict[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """Return random id -> those of all pseudonyms of that person, for everybody who has several now.

    Parameters
    ----------
    known : what was returned last, by the last merge; it is brought up to date.
    """
    with store._transaction("read") as database:
        last = database.execute("SELECT coalesce(max(seq), 0) FROM joined").fetchone()[0]
        found = known.get(last)  # other threads bring it up to date too
        if found is None:
            links = _links(database, as_of=None, upto=None)
            groups: dict[str, set[str]] = {}
            for prior in links:
                groups.setdefault(_top(links, prior), {_top(links, prior)}).add(prior)
            found = {pid: tuple(sorted(group)) for group in groups.values() for pid in group}
            known.clear()
            known[last] = found
    return found


def merge(store: Store, survivor: str, prior: str, *, recorded: int) -> None:
    """Read what is known under ``prior`` under ``survivor`` from now on; pseudonyms that are new are enrolled.

    Raises
    ------
    StoreError
        When both are the same, or the survivor is itself merged into the prior: a merge the other way round is undone first.
    """
    with store.batch():
        database = store._database
        for pseudonym in (survivor, prior):
            store.append(pseudonym, (), recorded=recorded)
        into, gone = store._pid(survivor), store._pid(prior)
        links = _links(database, as_of=None, upto=None)
        if links.get(gone) == into:
            return
        if into == gone or _top(links, into) == gone:
            raise StoreError(
                "a person cannot be merged into themselves",
                seen="the survivor is merged into the prior already",
                fix="undo that merge first",
            )
        _note(store, gone, into, recorded)


def undo(store: Store, survivor: str, prior: str, *, recorded: int) -> bool:
    """Take a merge back; return whether there was one."""
    with store.batch():
        into, gone = store._pid(survivor), store._pid(prior)
        if _links(store._database, as_of=None, upto=None).get(gone) != into:
            return False
        store._event("joined", into, "", recorded)  # the survivor's record changes too
        _note(store, gone, None, recorded)
        return True


def _note(store: Store, gone: str, into: str | None, recorded: int) -> None:
    seq = store._event("joined", gone, "", recorded)
    store._database.execute("INSERT INTO joined (seq, pid, survivor, recorded_ns) VALUES (?, ?, ?, ?)", (seq, gone, into, recorded))


def whole_record(
    database: Database, sealing: Sealing, pid: str, patient: str, as_of: int | None = None, upto: int | None = None
) -> PatientRecord:
    """Return a patient's record with what is known under pseudonyms that were merged into theirs."""
    priors = priors_of(database, pid, as_of=as_of, upto=upto)
    own = reading.read_record(database, sealing, pid, patient, as_of, upto)
    if not priors:
        return own
    everything = reading.read_record(database, sealing, pid, patient, None, upto)
    for prior in priors:
        everything = everything.with_facts(*reading.read_record(database, sealing, prior, patient, None, upto).facts())
    whole = everything.model_copy(update={"demographics": own.demographics})
    return whole if as_of is None else whole.as_of(as_of)


def claim_name(store: Store, source: str, name: str, message: int) -> bool:
    """Note which message of the inbox a source called so; return whether it may: a name is used once, and again by the same message."""
    with store.batch():
        token = store._sealing.token("receipt", json.dumps([source, name]))
        row = store._database.execute("SELECT seq FROM receipt WHERE token = ?", (token,)).fetchone()
        if row is None:
            store._database.execute("INSERT INTO receipt (token, seq) VALUES (?, ?)", (token, message))
        return row is None or row[0] == message
