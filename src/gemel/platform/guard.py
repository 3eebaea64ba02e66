"""The guard: the one place where it is asked whether data may be read or written, and where the answer is written down.

A reader asks :meth:`Guard.require` before anything leaves, a search puts :meth:`Guard.predicate` into its statement. Consents come from the store at each question, kept
only as long as the person's counter has not moved: what is withdrawn is withdrawn with the next question, whoever asked before.

A refusal that follows from role, purpose and scope alone says so; any other reads as if there were no such thing, and does so word by word.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from gemel.core.errors import AccessDenied, StoreError
from gemel.core.protocols import Audit
from gemel.platform.access import Decision, Resource, Subject, decide, fitting
from gemel.platform.access_sql import NO, YES, Predicate, compile_predicate
from gemel.platform.consent import Consent, Datum
from gemel.platform.scopes import LETTERS, Scope, allows
from gemel.platform.store.consents import consents_of, epoch_of, epochs
from gemel.platform.store.merges import families
from gemel.platform.store.relations import Relation, treated_by
from gemel.platform.store.store import Store

__all__ = ["Caller", "Guard"]

_KEPT = 10_000
"""People whose consents are held, read, in memory."""

_RELATIONS = 200_000
"""Relations that are held, opened, in memory."""


@dataclass(frozen=True)
class Caller:
    """Who asks, what for, and under which number the request is known.

    Parameters
    ----------
    subject : who, with the random ids of those with whom there is a relation.
    purpose : a code of v3-ActReason; empty when none was given.
    request : id of the request, which stands in the log and in the audit trail.
    scopes : what the token is narrowed to; ``None`` when its role alone decides.
    address : where the request came from.
    session : the login it belongs to; empty for a token.
    launch : random ids of those whom the token names: a *patient* scope is about them only.
    """

    subject: Subject
    purpose: str
    request: str
    scopes: tuple[Scope, ...] | None = None
    address: str = ""
    session: str = ""
    launch: frozenset[str] = frozenset()


class Guard:
    """Decides by :func:`gemel.platform.access.decide` and :func:`gemel.platform.access_sql.compile_predicate`, with the consents of the store.

    One guard serves many threads; the store is that of the thread that asks.

    Parameters
    ----------
    audit : where answers are written down.
    clock : returns the time, ns UTC.
    """

    def __init__(self, audit: Audit, clock: Callable[[], int]) -> None:
        self.audit, self.clock = audit, clock
        self._known: OrderedDict[str, tuple[int, tuple[Consent, ...]]] = OrderedDict()
        self._relations: dict[tuple[str, int], Relation] = {}
        self._families: dict[int, dict[str, tuple[str, ...]]] = {}
        self._lock = threading.Lock()

    def consents(self, store: Store, subject: str) -> tuple[Consent, ...]:
        """Return the consents of a person (random id), as they are now: those too that they gave under a pseudonym that was merged with this one."""
        family = families(store, self._families).get(subject, (subject,))
        return self._of(subject, [self._consents(store, member, epoch_of(store, member)) for member in family])

    @staticmethod
    def _of(subject: str, given: Iterable[tuple[Consent, ...]]) -> tuple[Consent, ...]:
        return tuple(consent if consent.patient == subject else replace(consent, patient=subject) for one in given for consent in one)

    def _consents(self, store: Store, subject: str, epoch: int) -> tuple[Consent, ...]:
        if not epoch:
            return ()
        with self._lock:
            kept = self._known.get(subject)
        if kept is not None and kept[0] == epoch:
            return kept[1]
        found = consents_of(store, subject)
        with self._lock:
            self._known[subject] = found
            self._known.move_to_end(subject)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return found[1]

    def writing_to(self, audit: Audit) -> Guard:
        """Return this guard, with what it knows, writing down elsewhere: for one request, whose entries are put on the disk together."""
        made = copy(self)
        made.audit = audit
        return made

    def treated(self, store: Store, who: str, kinds: tuple[str, ...]) -> frozenset[str]:
        """Return the random ids of those with whom somebody (a reference) stands in a relation of one of these kinds now."""
        if len(self._relations) > _RELATIONS:
            self._relations.clear()
        return treated_by(store, who, time=self.clock(), kinds=kinds, known=self._relations)

    def forget(self, subject: str) -> None:
        """Let go of what is held of a person: when they were erased."""
        with self._lock:
            self._known.pop(subject, None)
        self._relations.clear()

    def decide(self, store: Store, caller: Caller, action: str, resource: Resource) -> Decision:
        """Decide, and write nothing down: for a look inside a transaction that writes, after which :meth:`log` is called.

        Raises
        ------
        DataError
            When there is no such action.
        """
        refused = _refused(caller, action, resource.datum.kind)
        if not refused and not allows(caller.scopes, action, resource.datum, caller.launch):
            refused = "the token's scopes do not cover this"
        if refused:
            return Decision(False, frozenset({"log"}), refused)
        people = {datum.pid for datum in (resource.datum, *resource.sources) if datum.pid}
        consents = [consent for person in sorted(people) for consent in self.consents(store, person)]
        return decide(caller.subject, action, resource, caller.purpose, consents, self.clock())

    def check(self, caller: Caller, action: str, kind: str = "") -> None:
        """Refuse what role, purpose and scope alone refuse, before anything is looked up.

        Parameters
        ----------
        kind : class of what is asked for; empty when it is not known yet.

        Raises
        ------
        AccessDenied
            With its reason: it tells nothing of what there is.
        """
        refused = _refused(caller, action, kind)
        if refused:
            self.log(caller, "deny", detail={"asked": action, "reason": refused})
            raise _open(refused)

    def require(
        self, store: Store, caller: Caller, action: str, resource: Resource, *, detail: Mapping[str, Any] | None = None
    ) -> Decision:
        """Decide and write the answer down; return it with its obligations, when it is yes.

        After a disclosure the entry is on the disk before this returns. It is not for the inside of a transaction that writes: there it is :meth:`decide`.

        Parameters
        ----------
        detail : what else the entry says: plain JSON, no value of anybody's data.

        Raises
        ------
        AccessDenied
            When it is no. The reason stands in the audit trail, and in the error only where it does not depend on the data.
        """
        refused = _refused(caller, action, resource.datum.kind)
        told = self.decide(store, caller, action, resource)
        subject = resource.datum.pid or (resource.sources[0].pid if resource.sources else "")
        more = {"resource": resource.datum.ref, **({"model": resource.model} if resource.model else {}), **(detail or {})}
        if not told:
            self.log(caller, "deny", subject=_known(store, subject), detail={**more, "asked": action, "reason": told.reason})
            raise _open(refused) if refused else AccessDenied()
        alarm = {"alert": True, "reason": caller.subject.glass.reason} if "alert" in told.obligations and caller.subject.glass else {}
        self.log(caller, action, subject=subject, detail={**more, **alarm, "consents": list(told.consents)})
        return told

    def find(self, store: Store, caller: Caller, action: str, patient: str, *, kind: str = "Patient") -> str:
        """Return the random id of a patient (pseudonym) of whom the caller may do an action with something of a kind; nothing is written down when it may.

        A patient who is not there and one who is nobody of the caller's are refused in the same words.

        Raises
        ------
        AccessDenied
        """
        self.check(caller, action, kind)
        try:
            subject = store.subject(patient)
        except StoreError as error:
            if not error.what.startswith("the store has no such"):
                raise
            self.log(caller, "deny", detail={"asked": action, "reason": "no such patient"})
            raise AccessDenied() from None
        told = self.decide(store, caller, action, Resource(Datum(subject, f"Patient/{subject}", kind)))
        if not told:
            self.log(caller, "deny", subject=subject, detail={"asked": action, "reason": told.reason})
            raise AccessDenied()
        return subject

    def predicate(
        self, store: Store, caller: Caller, action: str, *, model: str = "", columns: Mapping[str, str] | None = None
    ) -> Predicate:
        """Return the condition of SQL under which the caller may do an action with a row.

        A scope with a filter cannot be pushed into it, and shows nothing: who searches with one asks :meth:`decide` row by row.

        Parameters
        ----------
        model, columns : as :func:`gemel.platform.access_sql.compile_predicate` takes them.
        """
        subject, now = caller.subject, self.clock()
        reach = {grant.reach for grant in fitting(subject, action, caller.purpose)}
        if not reach:
            return Predicate(NO)
        if "any" in reach:
            known = epochs(store)
        else:
            people = set(subject.patients) | ({subject.glass.patient} if subject.glass else set())
            known = epochs(store, sorted(people))
        joined = families(store, self._families)
        if not joined:
            consents = [consent for person, epoch in known.items() for consent in self._consents(store, person, epoch)]
        else:
            wanted = dict.fromkeys([*known, *(member for person in known for member in joined.get(person, ()) if "any" in reach)])
            consents = [consent for person in wanted for consent in self.consents(store, person)]
        made = compile_predicate(subject, action, caller.purpose, consents, now, model=model, columns=columns)
        return made if caller.scopes is None else _narrowed(made, caller, action, columns or {})

    def log(self, caller: Caller, action: str, *, subject: str = "", detail: Mapping[str, Any] | None = None) -> str:
        """Write an entry of the audit trail and return its hash.

        Parameters
        ----------
        action : what was done; one of :data:`gemel.platform.audit.DISCLOSURES` is on the disk when this returns.
        subject : random id of the patient, empty when it is about nobody.
        detail : plain JSON; no value of anybody's data.
        """
        return self.audit.write(**self._entry(caller, action, subject, detail))

    def note(self, caller: Caller, action: str, subjects: Iterable[str], *, detail: Mapping[str, Any] | None = None) -> None:
        """Write one entry for each of several patients of whom something was found: a search, an export."""
        entries = [self._entry(caller, action, subject, detail) for subject in dict.fromkeys(subjects)]
        many = getattr(self.audit, "write_many", None)
        if many is not None:
            many(entries)  # on the disk together
            return
        for entry in entries:
            self.audit.write(**entry)

    def _entry(self, caller: Caller, action: str, subject: str, detail: Mapping[str, Any] | None) -> dict[str, Any]:
        told = {
            "role": caller.subject.role,
            "request": caller.request,
            **({"address": caller.address} if caller.address else {}),
            **(detail or {}),
        }
        who = caller.subject.id or "anonymous"
        return {"who": who, "action": action, "patient": subject, "purpose": caller.purpose, "time": self.clock(), "detail": told}


def _refused(caller: Caller, action: str, kind: str) -> str:
    """Say why nobody of this role, purpose and scope may do it, whatever it is; empty when that depends on the data."""
    if not fitting(caller.subject, action, caller.purpose):
        return f"{caller.subject.role} may not {action} for {caller.purpose or 'no purpose'}"
    needed = set(LETTERS.get(action, "x"))
    if caller.scopes is None or not needed or any(needed <= s.letters and (not kind or s.kind in ("*", kind)) for s in caller.scopes):
        return ""
    return f"the token has no scope to {action} {kind or 'anything'}"


def _open(reason: str) -> AccessDenied:
    return AccessDenied(reason, expected="a role, a purpose (X-Purpose-Of-Use) and a scope that may", is_open=True)


def _known(store: Store, subject: str) -> str:
    """Return a random id that the store knows; empty where somebody asked for one that is nobody's: nothing can be sealed under its key."""
    with store._transaction("read") as database:
        row = database.execute("SELECT 1 FROM patient WHERE pid = ?", (subject,)).fetchone()
    return subject if row is not None else ""


def _narrowed(made: Predicate, caller: Caller, action: str, columns: Mapping[str, str]) -> Predicate:
    """Return a condition with the token's scopes in it: for each kind of context, which kinds of resource."""
    needed = set(LETTERS.get(action, "x"))
    if not needed or made.sql == NO:
        return made
    scopes = [scope for scope in caller.scopes or () if needed <= scope.letters and not scope.filters]
    values: dict[str, str] = {}
    parts = []
    for is_launch in (False, True):
        kinds = {scope.kind for scope in scopes if (scope.context == "patient") == is_launch}
        terms = [] if "*" in kinds else [_among(columns.get("kind", "kind"), sorted(kinds), values, "s")]
        if is_launch:
            terms.append(_among(columns.get("pid", "pid"), sorted(caller.launch), values, "l"))
        if kinds and (not is_launch or caller.launch):
            parts.append(" AND ".join(terms) or YES)
    if YES in parts:
        return made
    if not parts:
        return Predicate(NO)
    return Predicate(f"({made.sql} AND ({' OR '.join(f'({part})' for part in parts)}))", {**made.parameters, **values})


def _among(column: str, found: list[str], values: dict[str, str], mark: str) -> str:
    names = []
    for value in found:
        names.append(f"{mark}{len(values)}")
        values[names[-1]] = value
    return f"{column} IN ({', '.join(f':{name}' for name in names)})"
