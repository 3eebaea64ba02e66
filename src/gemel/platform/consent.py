"""Consent: what a person permitted, to whom, for what, until when; and one pure reading of it.

A consent has a base (permit or deny) and rules, each an exception to what stands around it. A rule counts when all that it names fits; inside it the
same holds again, so that the innermost rule that fits wins, and where several fit side by side one that denies wins. What is not known of the data (its time, its author)
fits a rule that denies and does not fit one that permits.

Within a scope the newest consent wins; two of one time that disagree deny. A consent that is not active, not yet given, or whose time is over counts for nothing.

References
----------
HL7 FHIR R4 (4.0.1), Consent. How its examples are read stands in the decision record 13.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from gemel.core.errors import DataError

__all__ = [
    "PURPOSES",
    "Ask",
    "Consent",
    "ConsentBook",
    "Datum",
    "Finding",
    "Rule",
    "Ruling",
    "counts",
    "covers",
    "is_for",
    "judge",
    "newest",
    "rule_fits",
    "ruling",
]  # fmt: skip

Ruling = Literal["permit", "deny", "none"]

PURPOSES: Mapping[str, str] = MappingProxyType(
    {"ETREAT": "TREAT", "BTG": "ETREAT", "CAREMGT": "HOPERAT", "CLINTRCH": "HRESCH"}  # v3-ActReason, child -> parent
)
"""Purposes that are kinds of another: who may do the one for the other may do it for them."""

SCOPES: Mapping[str, frozenset[str] | None] = MappingProxyType(
    {
        "patient-privacy": None,
        "treatment": frozenset({"TREAT"}),
        "research": frozenset({"HRESCH"}),
        "adr": frozenset(),
        **{f"objection-{purpose.lower()}": frozenset({purpose}) for purpose in ("TREAT", "HRESCH", "HOPERAT", "HMARKT")},
    }
)
"""Scope -> the purposes that it speaks of; ``None``: all. An advance directive (adr) is not about data; an objection has a scope of its own, so that it wins."""


@dataclass(frozen=True)
class Ask:
    """Who asks, what for, when.

    Parameters
    ----------
    actors : references under which the one who asks is known: person, organisation, device, role.
    purpose : a code of v3-ActReason; empty when none is given.
    action : a code of consentaction: collect, access, use, disclose, correct.
    time : ns UTC.
    model : ``id@version`` of the twin's model when it is about what a twin says; empty otherwise.
    """

    actors: frozenset[str]
    purpose: str
    action: str
    time: int
    model: str = ""


@dataclass(frozen=True)
class Datum:
    """What is asked for: the few columns that decide.

    Parameters
    ----------
    pid : whose it is.
    ref : its reference, such as ``Observation/7``.
    kind : its class, such as ``Observation``.
    codes : ``system|code``.
    labels : security labels, codes only.
    time : ns UTC of what it says; ``None`` when not known.
    author : reference; ``None`` when not known.
    basis : references that it was made from or belongs to.
    is_research : it holds no direct identifiers and was made for research.
    """

    pid: str
    ref: str = ""
    kind: str = ""
    codes: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    time: int | None = None
    author: str | None = None
    basis: frozenset[str] = frozenset()
    is_research: bool = False


@dataclass(frozen=True)
class Rule:
    """An exception. Each criterion that is empty fits anything; of each that is not, one entry must fit.

    Parameters
    ----------
    permit : what follows when it fits.
    period : [start, end) ns UTC in which the rule holds.
    data_period : [start, end) ns UTC of the data.
    recipients : who asks. authors : who made the data.
    purposes, actions, kinds, codes, labels : codes; ``codes`` with their system.
    data : (meaning, reference): instance, related, dependents, authoredby.
    rules : exceptions to this one.
    """

    permit: bool
    period: tuple[int, int] | None = None
    data_period: tuple[int, int] | None = None
    recipients: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    data: frozenset[tuple[str, str]] = frozenset()
    rules: tuple[Rule, ...] = ()

    @property
    def criteria(self) -> tuple[object, ...]:
        """Everything that must fit, without what follows."""
        return (
            self.period, self.data_period, self.recipients, self.authors, self.purposes, self.actions, self.kinds, self.codes, self.labels, self.data,
        )  # fmt: skip

    @property
    def is_bare(self) -> bool:
        """It names nothing at all."""
        return not any(self.criteria)


@dataclass(frozen=True)
class Consent:
    """One consent, read.

    Parameters
    ----------
    id, patient : of the resource.
    status : only *active* counts.
    scope : patient-privacy, treatment, research, adr.
    given : ns UTC, when it was given; ``None`` is older than any.
    base : permit or deny, where no rule fits.
    rules : exceptions to the base.
    valid : [start, end) ns UTC outside of which it says nothing.
    recipients : whom it speaks of at all; empty: everybody.
    models : ``id@major`` of the models that it was asked for; it permits nothing of a twin whose major version is another, which must ask again. What it denies
        of the data it denies of every twin.
    notes : what was ambiguous or unusual, in words.
    is_ambiguous : it cannot be read in one way; it denies, until a person has resolved it.
    """

    id: str
    patient: str
    base: bool
    status: str = "active"
    scope: str = "patient-privacy"
    given: int | None = None
    rules: tuple[Rule, ...] = ()
    valid: tuple[int, int] | None = None
    recipients: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    is_ambiguous: bool = False


@dataclass(frozen=True)
class Finding:
    """What the consents of one person say to one question, and why."""

    ruling: Ruling
    reason: str
    consents: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def covers(purposes: frozenset[str], purpose: str) -> bool:
    """Say whether a purpose is among these, or a kind of one of them."""
    while purpose:
        if purpose in purposes:
            return True
        purpose = PURPOSES.get(purpose, "")
    return False


def rule_fits(rule: Rule, ask: Ask, datum: Datum) -> bool:
    """Say whether everything that a rule names fits. What is not known fits a rule that denies only."""
    unknown = not rule.permit
    if not asked(rule, ask):
        return False
    if rule.data_period and not (unknown if datum.time is None else rule.data_period[0] <= datum.time < rule.data_period[1]):
        return False
    if rule.authors and not (unknown if datum.author is None else datum.author in rule.authors):
        return False
    if (rule.kinds and datum.kind not in rule.kinds) or (rule.codes and not rule.codes & datum.codes):
        return False
    if rule.labels and not rule.labels & datum.labels:
        return False
    return not rule.data or any(_is_meant(meaning, ref, datum, unknown) for meaning, ref in rule.data)


def asked(rule: Rule, ask: Ask) -> bool:
    """Say whether what a rule names of the question fits: time, recipients, purpose, action."""
    return (
        (rule.period is None or rule.period[0] <= ask.time < rule.period[1])
        and (not rule.recipients or bool(rule.recipients & ask.actors))
        and (not rule.purposes or covers(rule.purposes, ask.purpose))
        and (not rule.actions or ask.action in rule.actions)
    )


def _is_meant(meaning: str, ref: str, datum: Datum, unknown: bool) -> bool:
    if meaning == "authoredby":
        return unknown if datum.author is None else datum.author == ref
    return datum.ref == ref or (meaning != "instance" and ref in datum.basis)


def _inside(rules: tuple[Rule, ...], otherwise: bool, ask: Ask, datum: Datum) -> bool:
    told = [_inside(rule.rules, rule.permit, ask, datum) for rule in rules if rule_fits(rule, ask, datum)]
    return all(told) if told else otherwise


def counts(consent: Consent, ask: Ask) -> bool:
    """Say whether a consent is about such a question at all: active, given, and of a scope that speaks of the purpose."""
    of = SCOPES.get(consent.scope)
    return consent.status == "active" and (consent.given is None or consent.given <= ask.time) and (of is None or covers(of, ask.purpose))


def frame(consent: Consent, ask: Ask) -> Finding | None:
    """Return what a consent says whatever the data are; ``None`` when that depends on them."""
    if consent.is_ambiguous:
        return Finding("deny", "the consent can be read in more than one way", (consent.id,), consent.notes)
    if consent.valid is not None and not consent.valid[0] <= ask.time < consent.valid[1]:
        return Finding("none", "the consent holds at another time", (consent.id,), consent.notes)
    if consent.recipients and not consent.recipients & ask.actors:
        return Finding("none", "the consent is for others", (consent.id,), consent.notes)
    return None


def is_for(consent: Consent, model: str) -> bool:
    """Say whether a consent was asked for the major version of a model; for what no twin says, always."""
    name, _, version = model.partition("@")
    return not model or f"{name}@{version.partition('.')[0]}" in consent.models


def judge(consent: Consent, ask: Ask, datum: Datum) -> Finding:
    """Say what one consent says, taken alone."""
    if consent.patient != datum.pid or not counts(consent, ask):
        return Finding("none", "the consent is not about this", (consent.id,), consent.notes)
    told = frame(consent, ask)
    if told is not None:
        return told
    permit = _inside(consent.rules, consent.base, ask, datum)
    if permit and not is_for(
        consent, ask.model
    ):  # it does not permit what it was not asked for; what it denies of the person's data it denies of what is made of them
        name, _, version = ask.model.partition("@")
        return Finding("none", f"the consent was not asked for {name} {version.partition('.')[0]}", (consent.id,), consent.notes)
    return Finding("permit" if permit else "deny", "permitted" if permit else "not permitted", (consent.id,), consent.notes)


def newest(consents: Iterable[Consent], patient: str, ask: Ask) -> dict[str, list[Consent]]:
    """Return for each scope the newest consents of a person that count; several when they are of one time."""
    found: dict[str, list[Consent]] = {}
    for consent in consents:
        if consent.patient == patient and counts(consent, ask):
            held = found.setdefault(consent.scope, [consent])
            if held[0] is consent:
                continue
            this, that = (-1 if c.given is None else c.given for c in (consent, held[0]))
            if this > that:
                found[consent.scope] = [consent]
            elif this == that:
                held.append(consent)
    return found


def ruling(consents: Iterable[Consent], ask: Ask, datum: Datum) -> Finding:
    """Say what the consents of a person say: *permit*, *deny*, or *none* when none speaks of it.

    Within a scope the newest wins, and several of one time must agree; then any scope that denies wins over one that permits.
    """
    found: list[Finding] = []
    for same in newest(consents, datum.pid, ask).values():
        told = [judge(consent, ask, datum) for consent in same]
        if len({t.ruling for t in told}) > 1:
            told = [Finding("deny", "consents of one time contradict each other", tuple(c.id for c in same))]
        found.append(told[0])
    for wanted in ("deny", "permit"):
        for told in found:
            if told.ruling == wanted:
                return told
    return found[0] if found else Finding("none", "no consent speaks of this")


@dataclass(frozen=True)
class ConsentBook:
    """The consents of everybody, with a counter per person that moves with every change: whoever kept an answer compares it before using it again."""

    consents: Mapping[str, tuple[Consent, ...]] = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)

    def of(self, patient: str) -> tuple[Consent, ...]:
        """Return the consents of a person."""
        return self.consents.get(patient, ())

    def epoch(self, patient: str) -> int:
        """Return how often the consents of a person have changed."""
        return self.epochs.get(patient, 0)

    def record(self, consent: Consent) -> ConsentBook:
        """Return a book with this consent; one of the same id is superseded."""
        kept = tuple(c for c in self.of(consent.patient) if c.id != consent.id)
        return ConsentBook(
            {**self.consents, consent.patient: (*kept, consent)}, {**self.epochs, consent.patient: self.epoch(consent.patient) + 1}
        )

    def withdraw(self, patient: str, consent: str) -> ConsentBook:
        """Return a book in which a consent counts for nothing any more.

        Raises
        ------
        DataError
            When the person has no such consent.
        """
        for kept in self.of(patient):
            if kept.id == consent:
                return self.record(replace(kept, status="inactive"))
        raise DataError(
            "no such consent to withdraw", seen=consent, expected=", ".join(c.id for c in self.of(patient)) or "none is recorded"
        )

    def is_current(self, epochs: Mapping[str, int]) -> bool:
        """Say whether no consent of these people has changed since their counters were noted: what was derived under them may be shown."""
        return all(self.epoch(patient) == epoch for patient, epoch in epochs.items())
