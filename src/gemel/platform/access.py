"""Who may do what with which data: one pure function, with default deny.

A role has grants, each for some purposes and actions. A grant fits when the relation to the person, the confidentiality of the data and the consents of that person
allow it; what no grant allows is denied. What a twin says is readable only where everything that it was made from is. The same grants, compiled to
a condition of SQL (:mod:`gemel.platform.access_sql`), filter searches, counts and exports.

References
----------
Decision record 14: roles, purposes, break-glass, and what consent is needed for. HL7 v3 Confidentiality and ActReason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from gemel.core.errors import DataError
from gemel.core.time import MINUTE
from gemel.platform.consent import Ask, Consent, Datum, covers, ruling

__all__ = [
    "ACTIONS", "GLASS", "GRANTS", "LEVELS", "ROLES", "BreakGlass", "Decision", "Grant", "Resource", "Role", "Subject", "asks", "cleared", "decide",
    "fitting", "propagated",
]  # fmt: skip

Role = Literal[
    "anonymous", "patient", "proxy", "nurse", "physician", "other-physician", "researcher", "device", "service", "administrator"
]  # fmt: skip
ROLES: tuple[Role, ...] = (
    "anonymous", "patient", "proxy", "nurse", "physician", "other-physician", "researcher", "device", "service", "administrator",
)  # fmt: skip

LEVELS = ("U", "L", "M", "N", "R", "V")
"""Confidentiality, v3: unrestricted to very restricted. A label that is none of these names something sensitive, and counts as R."""

GLASS = 60 * MINUTE
"""How long a broken glass stays open, ns."""

_SEEN = frozenset(
    {"read", "vread", "history", "search", "include", "revinclude", "chained", "has", "count", "stream", "prefetch", "image", "error"}
)
_TWIN = frozenset({"forecast", "posterior"})
_SENT = frozenset({"export", "subscribe"})
_WRITTEN = frozenset({"create", "update", "delete"})

ACTIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(sorted(_SEEN), ("access",)),
    **dict.fromkeys(sorted(_TWIN), ("access", "use")),
    **dict.fromkeys(sorted(_SENT), ("access", "disclose")),
    "create": ("collect",), "update": ("correct",), "delete": ("correct",), "audit": ("access",), "metrics": (),
}  # fmt: skip
"""Action -> the actions of consent that it needs, all of them. *error*: a text that tells whether something exists."""


@dataclass(frozen=True)
class BreakGlass:
    """Somebody opened a person's data in an emergency.

    Parameters
    ----------
    patient : whose.
    reason : why, in words; must not be empty.
    opened : ns UTC.
    """

    patient: str
    reason: str
    opened: int

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise DataError("the glass is broken for a reason only", seen="none", expected="a sentence, which is reviewed")


@dataclass(frozen=True)
class Subject:
    """Who asks.

    Parameters
    ----------
    id : a reference, such as ``Practitioner/7``; it and ``actors`` are what consents name.
    role : one of :data:`ROLES`.
    patients : with whom there is a relation: oneself, those one acts for, is treating, or a device is attached to.
    glass : an opened emergency access.
    """

    id: str
    role: Role
    actors: frozenset[str] = frozenset()
    patients: frozenset[str] = frozenset()
    glass: BreakGlass | None = None


@dataclass(frozen=True)
class Resource:
    """What is asked for: one datum, or something derived from several.

    Parameters
    ----------
    datum : the thing itself.
    sources : what it was derived from; empty for what was recorded.
    model : ``id@version`` for what a twin says.
    is_released : an aggregate that was released with k-anonymity or differential privacy: it is about nobody any more.
    """

    datum: Datum
    sources: tuple[Datum, ...] = ()
    model: str = ""
    is_released: bool = False


@dataclass(frozen=True)
class Grant:
    """What a role may do.

    Parameters
    ----------
    role, purposes, actions : for whom, for what, which.
    reach : *own* people of the subject, *any*, *glass* (the one whose glass is broken), or *nobody's* data.
    consent : *needed*; *unless denied*, none being enough; *not asked*.
    clearance : the highest level of confidentiality.
    is_research : only data made for research.
    obligations : what whoever answers must do: log, redact, de-identify, alert, review.
    """

    role: Role
    purposes: frozenset[str]
    actions: frozenset[str]
    reach: Literal["own", "any", "glass", "nobody's"]
    consent: Literal["needed", "unless denied", "not asked"]
    clearance: str
    is_research: bool = False
    obligations: frozenset[str] = frozenset({"log"})


def _of(*names: str) -> frozenset[str]:
    return frozenset(names)


_EMERGENCY = _SEEN | {"forecast"}
_ALARM = _of("log", "alert", "review")
GRANTS: tuple[Grant, ...] = (
    Grant("patient", _of("PATRQT"), _SEEN | _TWIN | _SENT | {"audit"}, "own", "not asked", "V"),
    Grant("proxy", _of("PATRQT"), _SEEN | _SENT | {"forecast"}, "own", "unless denied", "N"),
    Grant("nurse", _of("TREAT"), _SEEN | _WRITTEN | {"forecast", "subscribe"}, "own", "needed", "R"),
    Grant("physician", _of("TREAT"), _SEEN | _WRITTEN | _TWIN | {"subscribe"}, "own", "needed", "V"),
    Grant("nurse", _of("ETREAT"), _EMERGENCY, "glass", "unless denied", "R", obligations=_ALARM),
    Grant("physician", _of("ETREAT"), _EMERGENCY, "glass", "unless denied", "R", obligations=_ALARM),
    Grant("other-physician", _of("ETREAT"), _EMERGENCY, "glass", "unless denied", "R", obligations=_ALARM),
    Grant(
        "researcher", _of("HRESCH"), (_SEEN - {"prefetch", "stream", "error"}) | _TWIN | {"export"}, "any", "needed", "N", is_research=True,
        obligations=_of("log", "de-identify"),
    ),
    Grant("device", _of("TREAT"), _of("stream", "subscribe", "forecast", "create"), "own", "needed", "N"),
    Grant("service", _of("TREAT", "HOPERAT"), _SEEN | _WRITTEN | _TWIN | _SENT, "any", "needed", "R"),
    Grant("service", _of("HOPERAT"), _of("metrics"), "nobody's", "not asked", "V"),
    Grant("administrator", _of("HOPERAT"), _of("metrics"), "nobody's", "not asked", "V"),
    Grant("administrator", _of("HOPERAT"), _of("audit"), "any", "not asked", "V", obligations=_of("log", "redact")),
)  # fmt: skip
"""All that is allowed. ``HMARKT``, a missing purpose, and anonymous have none."""

_RELEASED = frozenset({"nurse", "physician", "other-physician", "researcher", "service", "administrator"})


@dataclass(frozen=True)
class Decision:
    """The answer, what must be done with it, and why."""

    permit: bool
    obligations: frozenset[str]
    reason: str
    consents: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.permit


def level(labels: frozenset[str]) -> int:
    """Return the highest level of confidentiality among labels, as a place in :data:`LEVELS`; without any it is N."""
    return max((LEVELS.index(label) if label in LEVELS else LEVELS.index("R") for label in labels), default=LEVELS.index("N"))


def cleared(grant: Grant, labels: frozenset[str]) -> bool:
    """Say whether the grant reaches this confidentiality."""
    return level(labels) <= LEVELS.index(grant.clearance)


def propagated(sources: Iterable[Datum]) -> frozenset[str]:
    """Return the labels of what is derived: every sensitive one of its sources, and the highest level."""
    found = frozenset[str]().union(*(s.labels for s in sources))
    named = [label for label in found if label in LEVELS]
    return frozenset(found - set(named)) | ({max(named, key=LEVELS.index)} if named else set())


def fitting(subject: Subject, action: str, purpose: str) -> tuple[Grant, ...]:
    """Return the grants of a role for an action and a purpose.

    Raises
    ------
    DataError
        When there is no such action or role.
    """
    if action not in ACTIONS or subject.role not in ROLES:
        raise DataError("no such action or role", seen=(action, subject.role), expected=f"{', '.join(ACTIONS)}; {', '.join(ROLES)}")
    return tuple(
        g for g in GRANTS if g.role == subject.role and action in g.actions and covers(g.purposes, purpose) and not _emergency(g, purpose)
    )


def _emergency(grant: Grant, purpose: str) -> bool:
    """Say whether an emergency would slip in as ordinary treatment."""
    return grant.reach != "glass" and covers(frozenset({"ETREAT"}), purpose)


def glass_opens(subject: Subject, time: int) -> str:
    """Return whose glass is open now; empty when none is."""
    glass = subject.glass
    return glass.patient if glass is not None and 0 <= time - glass.opened < GLASS else ""


def asks(subject: Subject, action: str, purpose: str, time: int, model: str) -> tuple[Ask, ...]:
    """Return the questions that consents must answer, all with yes."""
    return tuple(Ask(subject.actors | {subject.id}, purpose, needed, time, model) for needed in ACTIONS[action])


def decide(subject: Subject, action: str, resource: Resource, purpose: str, consents: Iterable[Consent], time: int) -> Decision:
    """Decide whether a subject may do an action with a resource for a purpose at a time.

    Parameters
    ----------
    action : one of :data:`ACTIONS`.
    purpose : a code of v3-ActReason; empty when missing.
    consents : of everybody whose data are in it; others do not count.
    time : ns UTC.

    Raises
    ------
    DataError
        When there is no such action or role.
    """
    grants = fitting(subject, action, purpose)
    if not grants:
        return Decision(False, frozenset({"log"}), f"{subject.role} has no grant to {action} for {purpose or 'no purpose'}")
    if resource.is_released and subject.role in _RELEASED:
        return Decision(True, frozenset({"log"}), "a released aggregate")
    consents = tuple(consents)
    parts = resource.sources or (resource.datum,)
    if resource.sources:
        parts = tuple(replace(part, labels=part.labels | resource.datum.labels, is_research=resource.datum.is_research) for part in parts)
    denied = Decision(False, frozenset({"log"}), "nothing")
    for grant in grants:
        told = [_one(grant, subject, action, part, purpose, resource.model, consents, time) for part in parts]
        refused = [t for t in told if not t.permit]
        if not refused:
            return replace(told[0], consents=tuple(dict.fromkeys(c for t in told for c in t.consents)))
        denied = refused[0]
    return denied


def _one(
    grant: Grant, subject: Subject, action: str, datum: Datum, purpose: str, model: str, consents: tuple[Consent, ...], time: int
) -> Decision:
    def no(reason: str, ids: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> Decision:
        return Decision(False, frozenset({"log"}), reason, ids, notes)

    if grant.reach == "nobody's":
        return Decision(True, grant.obligations, "about nobody")
    if grant.reach == "own" and datum.pid not in subject.patients:
        return no("no relation to this person")
    if grant.reach == "glass" and datum.pid != glass_opens(subject, time):
        return no("an emergency needs a reason, and holds for an hour")
    if not cleared(grant, datum.labels):
        return no(f"more confidential than {grant.clearance}")
    if grant.is_research and not datum.is_research:
        return no("not made for research")
    if grant.consent == "not asked":
        return Decision(True, grant.obligations, f"{grant.role}: no consent is asked")
    told = [ruling(consents, ask, datum) for ask in asks(subject, action, purpose, time, model)]
    for found in told:
        if found.ruling == "deny" or (found.ruling == "none" and grant.consent == "needed"):
            return no(found.reason, found.consents, found.notes)
    return Decision(True, grant.obligations, told[0].reason, told[0].consents, told[0].notes)
