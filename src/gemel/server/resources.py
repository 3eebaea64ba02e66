"""What the API says and takes, as types: the schema of its documentation, and what the client returns. Times are ISO 8601 in UTC.

Answers are not built from these on the way out: what was stored is sent as it was stored. A test holds every answer against them.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Ahead", "Answered", "Assimilated", "Audited", "Calibrated", "Compared", "ConsentTold", "DecisionTold", "Entry", "ErasedTold", "ErasureAsked", "EvidenceTold", "ExposureTold",
    "FindingTold", "Imported", "JobTold", "Kept", "Objected", "OutcomeTold", "Page", "PatientTold", "ProblemTold", "ProposalTold", "Rectified", "RegisterTold", "Resulted",
    "Scored", "Searched", "SeriesTold", "Trail", "TwinTold", "VersionTold", "Withdrawn",
]  # fmt: skip

T = TypeVar("T")
Id = Field(pattern=r"^[0-9a-f]{24}$", description="a random id, which says nothing about anybody")
Name = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$", description="id of an installed twin")
Moment = Field(max_length=40, description="ISO 8601 with its zone, such as 2026-01-31T08:05:00Z")
Minutes = Annotated[
    list[Annotated[float, Field(gt=0, lt=5_260_000, description="minutes ahead, below ten years")]], Field(min_length=1, max_length=1000)
]
Seed = Field(0, ge=0, le=2**53 - 1, description="makes the random key: the same seed, the same result")


class _Told(BaseModel):
    """What is answered; a later version may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Asked(BaseModel):
    """What is asked; nothing is ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Page(_Told, Generic[T]):
    """Some of many; ``next`` is the cursor of the rest."""

    items: list[T]
    next: str | None = None


class ProblemTold(_Told):
    """An error (RFC 9457): what was wrong, what was seen and expected, and what to do next."""

    type: str
    title: str
    status: int
    code: str
    seen: str | None = None
    expected: str | None = None
    next: str | None = None
    wrong: list[dict[str, str]] | None = None


class PatientTold(_Told):
    """A patient."""

    id: str = Id
    pseudonym: str
    enrolled: str = Field(description="when the store first heard of them")
    sex: str | None = None
    zone: str | None = None
    series: int | None = Field(None, description="how many series there are, of one's own reading")
    exposures: int | None = None
    findings: int | None = None
    etag: str | None = None


class Searched(_Asked):
    """Look for a patient by pseudonym, which does not belong into an address."""

    pseudonym: str = Field(min_length=1, max_length=500)


class SeriesTold(_Told):
    """Readings of one code in one unit from one source, in columns. Microseconds since 1970 UTC: JSON keeps them exactly."""

    code: str
    display: str
    unit: str
    source: str
    time_us: list[int]
    value: list[float]
    recorded_us: list[int]
    status: list[int] = Field(description="0 final, 1 preliminary, 2 entered in error")
    censored: list[int] = Field(description="0 measured, -1 below the value, 1 above it")


class ExposureTold(_Told):
    """A meal, a drug, exercise, a procedure."""

    id: str
    code: str
    display: str
    amount: float | None = None
    unit: str | None = None
    start: str
    end: str
    recorded: str
    source: str
    status: int


class FindingTold(_Told):
    """A diagnosis, an event, one measurement at a place."""

    id: str
    code: str
    display: str
    value: Any = None
    time: str
    recorded: str
    source: str
    site: str
    status: int


class VersionTold(_Told):
    """One version of a twin, a forecast or a proposal."""

    id: str = Id
    kind: str
    patient: str
    twin: str
    name: str
    version: int
    recorded: str
    upto_event: int = Field(description="the last event that it had read")
    status: str | None = None
    model: str
    code_version: str | None = None
    method: str | None = None
    seed: int | None = None
    superseded: bool = Field(False, description="there is a newer one")
    stale: bool = Field(False, description="facts came since that it has not read, or consents changed")


class TwinTold(_Told):
    """A twin of a patient: its newest version."""

    id: str = Field(description="PATIENT.ROOM")
    patient: str
    room: str
    newest: VersionTold
    forecast: str | None = Field(None, description="address of the standing forecast")


class Calibrated(_Asked):
    """Make a twin of a patient."""

    patient: str = Id
    twin: str = Name
    now: str | None = Field(None, max_length=40, description="only what was known by then is read; left out, everything that is known")
    seed: int = Seed
    method: str | None = Field(None, max_length=64, pattern=r"^[a-z][a-z0-9-]*$")


class Assimilated(_Asked):
    """Bring a twin up to date."""

    now: str | None = Field(None, max_length=40, description="only what was known by then is read; left out, everything that is known")


class Ahead(_Asked):
    """Forecast under a plan."""

    plan: dict[str, Any] | str | None = Field(
        None, description="a plan, the name of one of the twin's own plans; left out, what is known already"
    )
    minutes: Minutes | None = Field(None, description="how far ahead; left out, the twin's own horizons")
    n: int = Field(256, ge=2, le=100_000, description="draws")
    seed: int = Seed
    now: str | None = Field(None, max_length=40, description="only what was known by then is read; left out, everything that is known")


class Compared(_Asked):
    """Forecast several plans under the same draws; or choose among them."""

    plans: dict[str, dict[str, Any] | str | None] | None = Field(
        None, max_length=100, description="by name; left out, the twin's own plans"
    )
    minutes: Minutes | None = None
    n: int = Field(512, ge=2, le=100_000)
    seed: int = Seed
    now: str | None = Field(None, max_length=40)


class Scored(_Asked):
    """Score a forecast against what happened."""

    now: str | None = Field(None, max_length=40, description="only what was known by then counts; left out, everything that is known")


class Resulted(_Told):
    """What a job made."""

    kind: str
    id: str | None = None
    name: str | None = None
    href: str | None = None


class JobTold(_Told):
    """A piece of work."""

    id: str = Id
    kind: str
    patient: str | None = None
    state: Literal["waiting", "leased", "done", "dead", "cancelled"]
    created: str
    changed: str
    attempts: int
    done: int
    total: int = Field(description="0: not known yet")
    note: str = ""
    result: dict[str, Any] | None = None
    href: str | None = Field(None, description="address of what was made")
    reason: str | None = Field(None, description="why it was given back, or is dead")


class ProposalTold(_Told):
    """Advice: a ranked choice or an abstention, with what was answered to it."""

    version: VersionTold
    proposal: dict[str, Any]
    decisions: list[DecisionTold]


class DecisionTold(_Told):
    """What a person answered to a proposal."""

    id: str = Id
    recommendation: str
    time: str
    recorded: str
    who: str
    answer: Literal["accepted", "changed", "rejected"]
    plan: str = ""
    reason: str = ""


class Answered(_Asked):
    """Answer a proposal."""

    answer: Literal["accepted", "changed", "rejected"]
    plan: str = Field("", max_length=10_000, description="when it was changed: what is done instead")
    reason: str = Field("", max_length=10_000)
    time: str | None = Field(None, max_length=40, description="when it was decided; left out, now")


class OutcomeTold(_Told):
    """What came of a decision."""

    id: str = Id
    decision: str
    time: str
    recorded: str
    values: dict[str, float]
    note: str = ""


class Entry(_Asked):
    """Say what came of a decision."""

    values: dict[str, float] = Field(default_factory=dict, max_length=200)
    note: str = Field("", max_length=10_000)
    time: str | None = Field(None, max_length=40)


class EvidenceTold(_Told):
    """How far an installed twin may be trusted: its label by the definition of the National Academies, row by row, and the runs behind it."""

    id: str
    version: str
    title: str
    label: str
    is_twin: bool
    rows: list[dict[str, Any]]
    runs: list[dict[str, Any]]


class Kept(_Told):
    """A message that could not be placed, or waits. What it says and who sent it stays sealed."""

    id: int
    source: str
    received: str
    state: str
    attempts: int
    reason: str = ""


class Imported(_Told):
    """What became of something that was sent: ``read = mapped + refused + duplicates``."""

    id: int
    state: str
    is_new: bool
    facts: int
    patients: list[str]
    reason: str = ""
    report: dict[str, Any] | None = None


class ConsentTold(_Told):
    """A consent, as it was given, and as it is read."""

    id: str
    patient: str
    status: str
    scope: str
    base: Literal["permit", "deny"]
    models: list[str]
    is_ambiguous: bool
    notes: list[str]
    epoch: int = Field(description="counts the changes of this person's consents")
    resource: dict[str, Any] | None = None


class Withdrawn(_Told):
    """What a withdrawal did."""

    epoch: int
    cancelled: list[str] = Field(description="jobs that may not go on")
    hidden: int = Field(description="results that are hidden from everybody who needs consent")


class Rectified(_Asked):
    """Replace a fact, or take it back. The old one stays what was known until now."""

    kind: Literal["reading", "exposure", "finding"]
    code: str = Field(max_length=200, description="SYSTEM:CODE of the fact")
    source: str = Field(max_length=500, description="of the fact")
    time: str = Moment
    value: float | None = Field(None, description="the right value; left out, the fact is taken back")
    unit: str | None = Field(None, max_length=100, description="of the fact: UCUM")
    text: str | None = Field(None, max_length=10_000, description="of a finding in words")
    site: str = Field("", max_length=500, description="of a finding")
    id: str = Field("", max_length=500, description="of the fact, where it has one")
    reason: str = Field(min_length=1, max_length=10_000)


class Objected(_Asked):
    """Object to processing: for a purpose, or by a model. It takes effect at once."""

    purpose: Literal["TREAT", "HRESCH", "HOPERAT", "HMARKT"] | None = None
    reason: str = Field("", max_length=10_000)


class ErasureAsked(_Asked):
    """Erase a patient for good."""

    reason: str = Field(min_length=10, max_length=10_000)
    pseudonym: str = Field(min_length=1, max_length=500, description="said again, so that nobody is erased by mistake")


class ErasedTold(_Told):
    """What was erased. What remains is the random id."""

    id: str = Id
    rows: int
    messages: int
    unreached: list[str] = Field(description="key backups that could not be reached: the key is still in them")
    scrubbed: bool = Field(description="whether what was deleted is overwritten already; if not: gemel erase STORE")


class RegisterTold(_Told):
    """The register of processing."""

    activities: list[dict[str, Any]]
    answers: dict[str, str]
    unanswered: list[str]


class Audited(_Told):
    """An entry of the audit trail."""

    seq: int
    time: str
    action: str | None = None
    who: str | None = None
    purpose: str | None = None
    detail: dict[str, Any] | None = None
    hash: str


class Trail(_Told):
    """Whether the audit trail is whole."""

    sound: bool
    entries: int
    roots: int
    problems: list[str]
