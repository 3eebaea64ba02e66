"""The rights of the person: access and a portable copy, rectification, objection, withdrawal, erasure; and who may see to them.

They are not grants to read: who may record a consent sees no data by it. The table is closed: what is not in it is refused.

References
----------
Regulation (EU) 2016/679, articles 7(3), 15 to 18, 20 and 21.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import orjson

from gemel.core.errors import AccessDenied, DataError, GemelError
from gemel.core.manifest import manifest_of
from gemel.core.record import Exposure, Finding, PatientRecord, Quantity
from gemel.core.series import ENTERED_IN_ERROR, FINAL, Series
from gemel.platform.access import Resource, Subject, decide
from gemel.platform.consent import Consent, Datum, covers
from gemel.platform.derived import model_of
from gemel.platform.scopes import Scope, allows
from gemel.platform.store import Store, lookup
from gemel.platform.store.consents import consents_of, put_consent, withdraw_consent
from gemel.platform.store.jobs import JobStatus
from gemel.platform.store.versions import KINDS
from gemel.platform.stream import twins as queue

__all__ = ["RIGHTS", "WORKER", "Withdrawal", "corrected", "may", "object_to", "require_right", "settle_consents", "withdraw"]

Right = Literal["consent", "object", "erase", "register"]
_LETTERS = {"consent": "update", "object": "update", "erase": "delete", "register": "metrics"}

RIGHTS: dict[Right, dict[str, tuple[frozenset[str], Literal["own", "any"]]]] = {
    "consent": {
        "patient": (frozenset({"PATRQT"}), "own"), "nurse": (frozenset({"TREAT"}), "own"), "physician": (frozenset({"TREAT"}), "own"),
        "service": (frozenset({"TREAT", "HOPERAT"}), "any"), "administrator": (frozenset({"HOPERAT"}), "any"),
    },
    "object": {
        "patient": (frozenset({"PATRQT"}), "own"), "proxy": (frozenset({"PATRQT"}), "own"), "nurse": (frozenset({"TREAT"}), "own"),
        "physician": (frozenset({"TREAT"}), "own"), "administrator": (frozenset({"HOPERAT"}), "any"),
    },
    "erase": {"administrator": (frozenset({"HOPERAT"}), "any")},
    "register": {"administrator": (frozenset({"HOPERAT"}), "any"), "service": (frozenset({"HOPERAT"}), "any")},
}  # fmt: skip
"""Right -> role -> for which purposes, and for whom: people with whom there is a relation, or any."""

WORKER = Subject("Device/gemel-worker", "service")
"""Who computes: what it may not read it may not work on."""


def may(subject: Subject, right: Right, purpose: str, patient: str) -> bool:
    """Say whether somebody may see to a right of a patient (random id; empty for what is about nobody)."""
    purposes, reach = RIGHTS[right].get(subject.role, (frozenset[str](), "own"))
    if not covers(purposes, purpose) or (covers(frozenset({"ETREAT"}), purpose)):
        return False
    return reach == "any" or patient in subject.patients


def require_right(
    subject: Subject,
    right: Right,
    purpose: str,
    patient: str,
    *,
    scopes: Iterable[Scope] | None = None,
    launch: frozenset[str] = frozenset(),
) -> None:
    """Refuse who may not see to a right of a patient.

    Raises
    ------
    AccessDenied
        Openly where role or purpose alone refuse; otherwise as if there were no such patient.
    """
    purposes, _ = RIGHTS[right].get(subject.role, (frozenset[str](), "own"))
    if not covers(purposes, purpose) or not may(subject, right, purpose, next(iter(subject.patients), patient)):
        raise AccessDenied(
            f"{subject.role} may not see to this right for {purpose or 'no purpose'}",
            expected="a role and a purpose (X-Purpose-Of-Use) that may",
            is_open=True,
        )
    if not may(subject, right, purpose, patient) or not allows(scopes, _LETTERS[right], Datum(patient, kind="Consent"), launch):
        raise AccessDenied()


@dataclass(frozen=True)
class Withdrawal:
    """What a change of consents did: the person's counter, jobs that were ended, and how many results are hidden now."""

    epoch: int
    cancelled: tuple[str, ...]
    hidden: int


def _model_of_job(job: JobStatus) -> str:
    try:
        return _model_of_room(orjson.loads(job.body)["twin"])
    except (ValueError, KeyError, TypeError):
        return ""


def _model_of_room(room: str) -> str:
    try:
        found = manifest_of(room)
    except GemelError:
        return f"{room}@0"
    return f"{found.id}@{found.version}"


def settle_consents(store: Store, patient: str, *, now: int) -> Withdrawal:
    """End the work that the consents of a patient do not permit any more, and let twins that are followed rest, or go on: inside the transaction that changed them.

    Parameters
    ----------
    patient : pseudonym. now : ns UTC.
    """
    subject = store.subject(patient)
    epoch, consents = consents_of(store, subject)

    def permits(action: str, kind: str, model: str) -> bool:
        resource = Resource(Datum(subject, kind=kind), model=model)
        return any(decide(WORKER, action, resource, purpose, consents, now) for purpose in ("TREAT", "HOPERAT"))

    ended = []
    for state in ("waiting", "leased"):
        for job in store.jobs(state=state, subject=subject, limit=100_000):
            if not permits("forecast", "Job", _model_of_job(job)) and store.cancel(job.id, now=now):
                ended.append(job.id)
    for followed in queue.followed(store):
        if followed.subject == subject:
            queue.withhold(store, subject, followed.room, permitted=permits("forecast", "Twin", _model_of_room(followed.room)))
    versions = [version for kind in KINDS for version in lookup.version_list(store, kind, subject)]
    hidden = sum(not permits("forecast", version.kind.title(), model_of(version)) for version in versions)
    return Withdrawal(epoch, tuple(ended), hidden)


def withdraw(store: Store, patient: str, consent: str, *, now: int) -> Withdrawal:
    """Withdraw a consent: from the next question on it permits nothing, work that rested on it ends, and what was derived under it is hidden.

    Raises
    ------
    StoreError
        When the person has no such consent.
    """
    with store.batch():
        withdraw_consent(store, patient, consent, recorded=now)
        return settle_consents(store, patient, now=now)


def object_to(store: Store, patient: str, *, purpose: str | None, reason: str, now: int) -> tuple[Consent, Withdrawal]:
    """Keep an objection as a consent that denies: all processing, or that for one purpose. It wins over any that permits, at once.

    Parameters
    ----------
    purpose : a code of v3-ActReason; ``None``: every purpose that asks for consent.
    reason : in words; may be empty.
    """
    name = f"objection-{(purpose or 'all').lower()}"
    subject = store.subject(patient)
    made = Consent(name, "", base=False, scope=name, given=now)
    with store.batch():
        put_consent(store, patient, made, recorded=now, resource={"objection": purpose or "all", "reason": reason})
        return replace(made, patient=subject), settle_consents(store, patient, now=now)


def corrected(
    record: PatientRecord, kind: str, *, code: str, source: str, time: int, now: int, value: float | None, unit: str | None, text: str | None = None,
    site: str = "", id: str = "",
) -> Series | Exposure | Finding:  # fmt: skip
    """Return the fact that replaces one of a record from now on; without a value it takes it back.

    Parameters
    ----------
    record : as it is known now.
    kind : reading, exposure or finding.
    code, source, time, id, site : of the fact that is wrong.
    value, unit, text : what is right, in the unit of the fact.

    Raises
    ------
    DataError
        When there is no such fact, or the unit is another.
    """
    status = ENTERED_IN_ERROR if value is None and text is None else FINAL
    if kind == "reading":
        for series in record.series:
            found = series.take(series.time == time) if (str(series.code), series.source) == (code, source) else None
            if found is not None and len(found):
                _same_unit(series.unit, unit)
                new = float(found.value[-1]) if value is None else value
                return Series(code=series.code, unit=series.unit, source=source, time=[time], value=[new], recorded=[now], status=[status])
    for fact in record.exposures if kind == "exposure" else record.findings if kind == "finding" else ():
        same = (str(fact.code), fact.source, fact.time, fact.id) == (code, source, time, id)
        if not same or (isinstance(fact, Finding) and fact.site != site):
            continue
        if isinstance(fact, Exposure):
            _same_unit(fact.quantity.unit if fact.quantity else None, unit)
            amount = fact.quantity if value is None or fact.quantity is None else Quantity(value=value, unit=fact.quantity.unit)
            return fact.model_copy(update={"quantity": amount, "recorded": now, "status": status})
        held = fact.value
        if value is not None:
            _same_unit(held.unit if isinstance(held, Quantity) else None, unit)
            held = Quantity(value=value, unit=unit or (held.unit if isinstance(held, Quantity) else "1"))
        return fact.model_copy(update={"value": text if text is not None else held, "recorded": now, "status": status})
    raise DataError(
        "there is no such fact to replace", expected="code, source, time, site and id as the fact has them", fix="read it first"
    )


def _same_unit(unit: str | None, given: str | None) -> None:
    if given is not None and unit is not None and given != unit:
        raise DataError("the unit is another than the fact's", seen=given, expected=unit, fix="give the value in the unit of the fact")
