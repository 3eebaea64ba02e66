"""What became of advice that was sent to another server, until its outcome is known: one row for each proposal and server, sealed, gone with its patient."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from gemel.core.errors import StoreError
from gemel.platform.store.inbox import names_of

if TYPE_CHECKING:
    from gemel.platform.store.store import Store

__all__ = ["OPEN", "Delivery", "State", "deliveries", "find", "inputs_of", "save"]

_VERSIONED = re.compile(r"[A-Z][A-Za-z]{1,63}/[A-Za-z0-9.\-]{1,64}/_history/[A-Za-z0-9.\-]{1,64}\Z")

State = Literal["sending", "sent", "decided", "scoring", "closed", "expired", "told"]
"""``sending``: on its way, perhaps there; ``sent``: a Task waits; ``decided``: answered, the outcome is awaited; ``scoring``: the outcome is being scored; ``closed``: nothing more to come;
``expired``: nobody answered in time; ``told``: an abstention, to which there is no answer."""
OPEN: tuple[State, ...] = ("sending", "sent", "decided", "scoring")


@dataclass(frozen=True)
class Delivery:
    """One proposal on one server. ``told`` says what stands where there; ``due`` is when the outcome is overdue, ns UTC."""

    proposal: str
    patient: str
    server: str
    state: State
    sent: int
    expires: int
    due: int | None = None
    rev: int = 0
    told: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def now(self, state: State, *, due: int | None = None, **told: Any) -> Delivery:
        """Return it in another state, with more to tell."""
        return replace(self, state=state, due=self.due if due is None else due, told={**self.told, **told})


_COLUMNS = "proposal, pid, server, state, sent_ns, expires_ns, due_ns, rev, told"


def save(store: Store, delivery: Delivery) -> Delivery:
    """Write it, inside the transaction that has what it says; return it as it stands.

    Raises
    ------
    StoreError
        When another process has written it since it was read.
    """
    with store._transaction("write") as database:
        pid = store._pid(delivery.patient)
        rev, place = delivery.rev + 1, f"{delivery.proposal}/{delivery.server}"
        told = store._sealing.seal("delivery", pid, place, rev, json.dumps(dict(delivery.told), sort_keys=True).encode())
        if delivery.rev == 0:
            done = database.execute(
                f"INSERT INTO delivery ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (proposal, server) DO NOTHING",
                (delivery.proposal, pid, delivery.server, delivery.state, delivery.sent, delivery.expires, delivery.due, rev, told),
            )
        else:
            done = database.execute(
                "UPDATE delivery SET state = ?, due_ns = ?, rev = ?, told = ? WHERE proposal = ? AND server = ? AND rev = ?",
                (delivery.state, delivery.due, rev, told, delivery.proposal, delivery.server, delivery.rev),
            )
        if done.rowcount != 1:
            raise StoreError("a delivery was written by another process", seen=delivery.proposal, fix="read it again")
    return replace(delivery, rev=rev)


def _read(store: Store, where: str, values: tuple[Any, ...]) -> list[Delivery]:
    with store._transaction("read") as database:
        rows = database.execute(f"SELECT {_COLUMNS} FROM delivery WHERE {where} ORDER BY sent_ns, proposal", values).fetchall()
        found = []
        for proposal, pid, server, state, sent, expires, due, rev, body in rows:
            told = json.loads(store._sealing.open("delivery", pid, f"{proposal}/{server}", rev, body))
            sealed = database.execute("SELECT name FROM patient WHERE pid = ?", (pid,)).fetchone()[0]
            found.append(Delivery(proposal, store._name(pid, sealed), server, state, sent, expires, due, rev, told))
    return found


def find(store: Store, proposal: str, server: str) -> Delivery | None:
    """Return what became of one proposal on one server; ``None`` when it was not sent."""
    found = _read(store, "proposal = ? AND server = ?", (proposal, server))
    return found[0] if found else None


def deliveries(store: Store, server: str, states: tuple[State, ...] = OPEN) -> list[Delivery]:
    """Return the deliveries of a server that are in one of these states, oldest first."""
    return _read(store, f"server = ? AND state IN ({', '.join('?' * len(states))})", (server, *states))


def inputs_of(store: Store, subject: str, server: str, *, before: int, limit: int = 20) -> tuple[str, ...]:
    """Return references, with their versions, of the newest resources of a FHIR server that were read for a patient (random id).

    Parameters
    ----------
    before : ns UTC; only what had arrived by then.
    limit : how many; the hash of the record covers all of them.
    """
    with store._transaction("read") as database:
        names = names_of(database, store._sealing, subject, f"fhir/{server}", before=before, limit=limit)
    return tuple(name for name in names if _VERSIONED.match(name))
