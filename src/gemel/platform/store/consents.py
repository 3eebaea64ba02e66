"""Consents in the store: each sealed under its person's key, never edited, with a counter per person that moves with every change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from gemel.core.errors import StoreError
from gemel.platform.consent import Consent, Rule
from gemel.platform.store.store import Store

__all__ = ["consents_of", "epoch_of", "epochs", "plain_consent", "put_consent", "read_plain", "resource_of", "withdraw_consent"]

_SETS = frozenset({"recipients", "authors", "purposes", "actions", "kinds", "codes", "labels", "models"})
_AT_ONCE = 100
_SPANS = frozenset({"period", "data_period", "valid"})


def _rule(rule: Rule) -> dict[str, Any]:
    return {f.name: _value(f.name, getattr(rule, f.name)) for f in fields(rule) if getattr(rule, f.name) or f.name == "permit"}


def _value(name: str, value: Any) -> Any:
    if name == "rules":
        return [_rule(rule) for rule in value]
    return sorted(value) if name in _SETS else sorted(map(list, value)) if name == "data" else value


def _read(table: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict(table)
    for name, value in table.items():
        if value is None:
            continue
        if name in _SETS:
            found[name] = frozenset(value)
        elif name in _SPANS:
            found[name] = (value[0], value[1])
        elif name == "data":
            found[name] = frozenset((meaning, ref) for meaning, ref in value)
        elif name == "rules":
            found[name] = tuple(Rule(**_read(rule)) for rule in value)
        elif name == "notes":
            found[name] = tuple(value)
    return found


def plain_consent(consent: Consent) -> dict[str, Any]:
    """Return a consent as plain JSON, without what it leaves at its default."""
    return {
        f.name: _value(f.name, getattr(consent, f.name))
        for f in fields(consent)
        if f.name in ("id", "patient", "base") or getattr(consent, f.name) != f.default
    }


def read_plain(table: Mapping[str, Any]) -> Consent:
    """Return the consent that :func:`plain_consent` wrote."""
    return Consent(**_read(table))


def epoch_of(store: Store, subject: str) -> int:
    """Return how often the consents of a person have changed."""
    with store._transaction("read") as database:
        return database.execute("SELECT coalesce(max(rev), 0) FROM consent WHERE pid = ?", (subject,)).fetchone()[0]


def epochs(store: Store, subjects: Iterable[str] | None = None) -> dict[str, int]:
    """Return the counters of people who have any, or of those named: 0 where there is none."""
    with store._transaction("read") as database:
        if subjects is None:
            return dict(database.execute("SELECT pid, max(rev) FROM consent GROUP BY pid").fetchall())
        wanted = list(subjects)
        found = dict.fromkeys(wanted, 0)
        for at in range(0, len(wanted), _AT_ONCE):
            part = (wanted[at : at + _AT_ONCE] + [""] * _AT_ONCE)[:_AT_ONCE]  # one statement, prepared once
            marks = ", ".join("?" * _AT_ONCE)
            found |= dict(database.execute(f"SELECT pid, max(rev) FROM consent WHERE pid IN ({marks}) GROUP BY pid", part).fetchall())
    return found


def consents_of(store: Store, subject: str) -> tuple[int, tuple[Consent, ...]]:
    """Return the counter of a person, and the newest version of each of their consents; ``patient`` of each is the random id."""
    with store._transaction("read") as database:
        rows = database.execute("SELECT rev, token, body FROM consent WHERE pid = ? ORDER BY rev", (subject,)).fetchall()
        newest = {token: (rev, body) for rev, token, body in rows}
        found = [json.loads(store._sealing.open("consent", subject, rev, 0, body))["consent"] for rev, body in newest.values()]
    return (rows[-1][0] if rows else 0), tuple(replace(read_plain(table), patient=subject) for table in found)


def resource_of(store: Store, subject: str, consent: str) -> Any:
    """Return what a consent was read from, as it was given to :func:`put_consent`; ``None`` when that was nothing.

    Raises
    ------
    StoreError
        When the person has no such consent.
    """
    with store._transaction("read") as database:
        token = store._sealing.own(subject, "consent", consent)
        row = database.execute(
            "SELECT rev, body FROM consent WHERE pid = ? AND token = ? ORDER BY rev DESC LIMIT 1", (subject, token)
        ).fetchone()
        if row is None:
            raise StoreError("the store has no such consent", fix="consents_of() lists them")
        return json.loads(store._sealing.open("consent", subject, row[0], 0, row[1])).get("resource")


def put_consent(store: Store, patient: str, consent: Consent, *, recorded: int, resource: Any = None) -> int:
    """Keep a consent; one of the same id is superseded, the same again enters once. Return the person's counter.

    Parameters
    ----------
    patient : pseudonym.
    consent : as :func:`gemel.platform.consent_fhir.read_consent` reads it; whom it names as ``patient`` does not count.
    recorded : ns UTC.
    resource : what it was read from, plain JSON.
    """
    with store._transaction("write") as database:
        pid = store._pid(patient)
        told = {"consent": plain_consent(replace(consent, patient="")), "resource": resource}
        token = store._sealing.own(pid, "consent", consent.id)
        rows = database.execute("SELECT rev, token, body FROM consent WHERE pid = ? ORDER BY rev", (pid,)).fetchall()
        last = rows[-1][0] if rows else 0
        kept = [(rev, body) for rev, held, body in rows if held == token]
        if kept and json.loads(store._sealing.open("consent", pid, kept[-1][0], 0, kept[-1][1])) == json.loads(json.dumps(told)):
            return last
        sealed = store._sealing.seal("consent", pid, last + 1, 0, json.dumps(told, separators=(",", ":")).encode())
        database.execute(
            "INSERT INTO consent (pid, rev, token, recorded_ns, body) VALUES (?, ?, ?, ?, ?)", (pid, last + 1, token, recorded, sealed)
        )
        store._event("consent", pid, str(last + 1), recorded)
    return last + 1


def withdraw_consent(store: Store, patient: str, consent: str, *, recorded: int) -> int:
    """Let a consent count for nothing from now on; what was permitted by it alone is not any more. Return the person's counter.

    Raises
    ------
    StoreError
        When the person has no such consent.
    """
    with store._transaction("write"):
        pid = store._pid(patient)
        for kept in consents_of(store, pid)[1]:
            if kept.id == consent:
                return put_consent(
                    store, patient, replace(kept, status="inactive"), recorded=recorded, resource=resource_of(store, pid, consent)
                )
        raise StoreError("the store has no such consent", fix="consents_of() lists them")
