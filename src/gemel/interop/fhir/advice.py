"""Advice as it leaves for a hospital's FHIR server, and the answer as it comes back.

A choice becomes a ServiceRequest and a CarePlan with intent *proposal*, never an order; a Task that asks a person to accept or reject it before it expires;
RiskAssessments whose probabilities are in per cent; a Communication to people; a preliminary DiagnosticReport where there is a figure. An abstention is sent as what it is:
an Observation without a value, and a Communication that says why; there is nothing to accept. Every resource carries an identifier made from the proposal's id, and
is created only where none with it exists: sent twice, it is there once.

References
----------
HL7 FHIR R4 (4.0.1), Task, ServiceRequest, RiskAssessment (ras-2: probabilities as percentages), Provenance; conditional create: https://hl7.org/fhir/R4/http.html#ccreate
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gemel.core import ForecastTable, Lineage, Proposal, iso, to_ns
from gemel.core.errors import DataError, FormatError, TimeError
from gemel.interop.fhir.build import (
    OWN,
    RESEARCH,
    Builder,
    Resource,
    care_plan,
    concept,
    method_of,
    no_advice,
    percentage,
    provenance_body,
    research_notes,
    risk_body,
)

__all__ = [
    "SYSTEM",
    "Answer",
    "Change",
    "Figure",
    "advice_bundle",
    "decision_provenance",
    "is_ours",
    "provenance",
    "read_answer",
    "read_change",
    "subject_of",
    "words_of",
]

SYSTEM = "urn:gemel:advice"
"""Of the identifiers that make sending idempotent: the proposal's id, a slash, the part."""
MODEL = "urn:gemel:model"
LINEAGE = "urn:gemel:lineage"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/communication-category"
_PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_TASK = "http://hl7.org/fhir/CodeSystem/task-code"
_LONGEST = 2000

ANSWERS: dict[str, Literal["accepted", "rejected"]] = {
    "accepted": "accepted", "in-progress": "accepted", "completed": "accepted",
    "rejected": "rejected", "cancelled": "rejected", "failed": "rejected",
}  # fmt: skip
"""Status of a Task -> what was answered; any other status is no answer yet."""


@dataclass(frozen=True)
class Figure:
    """A drawing or report that goes with the advice: media type (``application/pdf``, ``image/svg+xml``, ``image/png``), bytes, title."""

    media_type: str
    body: bytes
    title: str


@dataclass(frozen=True, repr=False)
class Answer:
    """What a person answered on a Task. ``time`` (ns UTC) is when they did; ``version`` is the Task's."""

    answer: Literal["accepted", "rejected"]
    time: int
    who: str
    reason: str
    version: str

    def __repr__(self) -> str:
        return f"Answer({self.answer})"


@dataclass(frozen=True, repr=False)
class Change:
    """A request that a person put in place of ours: its own plan, in words."""

    reference: str
    subject: str
    replaces: tuple[str, ...]
    plan: str
    time: int
    who: str
    reason: str

    def __repr__(self) -> str:
        return f"Change({self.reference})"


class _Transaction:
    """Collects the entries of a transaction: each created only where none with its identifier exists."""

    def __init__(self, key: str, simulated: bool) -> None:
        self.key = key
        self._build = Builder(f"advice/{key}", simulated)
        self.entries: list[Resource] = []

    def add(self, kind: str, part: str, body: Resource, *, system: str = SYSTEM, value: str = "") -> Resource:
        """Add a resource; return a Reference to it."""
        name = value or f"{self.key}/{part}"
        url = self._build.add(kind, part, {"identifier": [{"system": system, "value": name}]} | body)
        entry = self._build.entries[-1]
        del entry["resource"]["id"]  # the server names what it creates
        request = {"method": "POST", "url": kind, "ifNoneExist": f"identifier={system}|{name}"}
        self.entries.append(entry | {"request": request})
        return {"reference": url}


def _limit_risks(proposal: Proposal, subject: Resource, basis: Sequence[Resource], until: int) -> Resource | None:
    chosen = next((score for score in proposal.ranking if score.plan == proposal.choice), None)
    if chosen is None or not chosen.violations:
        return None
    period = {"start": iso(proposal.issued), "end": iso(max(until, proposal.issued))}
    predictions = [
        {"outcome": {"text": f"limit not kept: {name}"}, "probabilityDecimal": percentage(probability), "whenPeriod": period}
        for name, probability in chosen.violations.items()
    ]
    body = {
        "status": "preliminary",
        "method": method_of(proposal.lineage),
        "code": {"text": f"Limits under plan '{proposal.choice}'"},
        "subject": subject,
        "occurrenceDateTime": iso(proposal.issued),
        "prediction": predictions,
        "note": research_notes(proposal),
    }
    return body | ({"basis": list(basis)} if basis else {})


def _device(send: _Transaction, proposal: Proposal) -> Resource:
    lineage = proposal.lineage
    body = {
        "status": "active",
        "deviceName": [{"name": f"Gemel twin {lineage.model}", "type": "model-name"}],
        "version": [{"value": lineage.model_version}],
        "type": concept("twin", OWN, "Digital twin: a model of one patient, research software"),
        "note": [{"text": RESEARCH}],
    }
    return send.add("Device", "device", body, system=MODEL, value=f"{lineage.model}@{lineage.model_version}/{lineage.code_version}")


def advice_bundle(
    proposal: Proposal,
    *,
    key: str,
    subject: str,
    expires: int,
    forecasts: Sequence[ForecastTable] = (),
    basis: Sequence[str] = (),
    figures: Sequence[Figure] = (),
    recipients: Sequence[str] = (),
    replaces: Sequence[str] = (),
    simulated: bool = False,
) -> dict[str, Any]:
    """Put a proposal into one transaction Bundle for a FHIR R4 server.

    Parameters
    ----------
    proposal : a choice or an abstention.
    key : the proposal's id in the store; identifiers are made from it.
    subject : reference of the patient there, such as ``Patient/7``.
    expires : ns UTC; later the Task may not be accepted any more.
    forecasts : whose events become RiskAssessments; one that is not ``OK`` is left out, since it says nothing.
    basis : references of what it was made from, with their versions: ``Observation/x/_history/2``.
    figures : of the report; none: no DiagnosticReport.
    recipients : references of those whom the Communication is for.
    replaces : references of earlier requests of ours which this one takes the place of.
    simulated : mark as test data of no real person.

    Returns
    -------
    The Bundle as plain JSON types. The same proposal gives the same Bundle.

    Raises
    ------
    DataError
        When it expires before it was issued, or the key is empty.
    """
    if not key or expires <= proposal.issued:
        raise DataError("advice that cannot be sent", seen=f"expires {iso(expires)}", expected=f"a key, and after {iso(proposal.issued)}")
    send = _Transaction(key, simulated)
    person, inputs = {"reference": subject}, [{"reference": one} for one in basis]
    device = _device(send, proposal)
    until = max((int(table.times[-1]) for table in forecasts if len(table.times)), default=proposal.issued)
    risks = [
        send.add("RiskAssessment", f"risk/{number}", risk_body(table, person, basis=inputs) | {"performer": device})
        for number, table in enumerate(forecasts)
        if table.status == "OK" and table.probabilities
    ]
    about: list[Resource] = []
    if proposal.choice is None:
        about = [send.add("Observation", "abstention", no_advice(proposal, person) | {"device": device})]
    else:
        limits = _limit_risks(proposal, person, inputs, until)
        if limits is not None:
            risks.append(send.add("RiskAssessment", "limits", limits | {"performer": device}))
        plan = care_plan(proposal, person) | ({"supportingInfo": risks} if risks else {}) | {"author": device}
        made = send.add("CarePlan", "plan", plan)
        request = {
            "basedOn": [made],
            "status": "active",
            "intent": "proposal",
            "code": {"text": proposal.choice},
            "subject": person,
            "authoredOn": iso(proposal.issued),
            "requester": device,
            "note": research_notes(proposal),
        }
        request |= {"supportingInfo": risks} if risks else {}
        request |= {"replaces": [{"reference": one} for one in replaces]} if replaces else {}
        asked = send.add("ServiceRequest", "request", request)
        task = {
            "status": "requested",
            "intent": "proposal",
            "code": concept("approve", _TASK, "Accept or reject what is proposed"),
            "description": proposal.sentence,
            "focus": asked,
            "for": person,
            "authoredOn": iso(proposal.issued),
            "lastModified": iso(proposal.issued),
            "requester": device,
            "restriction": {"period": {"end": iso(expires)}},
        }
        about = [send.add("Task", "task", task), asked]
    title = f"Proposed: {proposal.choice}" if proposal.choice else f"No advice: {proposal.reason}"
    send.add(
        "Communication",
        "message",
        {
            "status": "completed",
            "category": [concept("notification", _CATEGORY)],
            "subject": person,
            "topic": {"text": title},
            "about": about,
            "sent": iso(proposal.issued),
            "sender": device,
            "payload": [{"contentString": proposal.sentence}, {"contentString": RESEARCH}],
        }
        | ({"recipient": [{"reference": one} for one in recipients]} if recipients else {}),
    )
    if figures:
        report = {
            "status": "preliminary",
            "code": concept("forecast-report", OWN, f"Forecast by {proposal.lineage.model}"),
            "subject": person,
            "effectiveDateTime": iso(proposal.issued),
            "issued": iso(proposal.issued),
            "performer": [{"display": f"Gemel {proposal.lineage.code_version}"}],
            "conclusion": proposal.sentence,
            "presentedForm": [_attachment(figure, proposal.issued) for figure in figures],
        }
        send.add("DiagnosticReport", "report", report)
    return {"resourceType": "Bundle", "type": "transaction", "entry": send.entries}


def _attachment(figure: Figure, time: int) -> Resource:
    data = base64.b64encode(figure.body).decode()
    return {"contentType": figure.media_type, "data": data, "title": figure.title, "creation": iso(time)}


def provenance(proposal: Proposal, targets: Sequence[str], *, device: str, basis: Sequence[str] = ()) -> Resource:
    """Return where sent advice comes from, once the server has named it: the twin as author, inputs by version, the lineage hash.

    Parameters
    ----------
    targets : references of what was sent.
    device : reference of the twin's Device there.
    basis : references of inputs with their versions.
    """
    agent = {"type": concept("author", _PARTICIPANT), "who": {"reference": device}}
    body = provenance_body(targets, proposal.lineage, proposal.issued, agents=[agent], sources=[{"reference": one} for one in basis])
    return {"resourceType": "Provenance", "extension": [{"url": LINEAGE, "valueString": proposal.lineage.id}], **body}


def decision_provenance(lineage: Lineage, targets: Sequence[str], *, device: str, answer: str, time: int, who: str) -> Resource:
    """Return who answered: the person as verifier of what the twin had written."""
    person = {"reference": who} if "/" in who else {"display": who or "not named"}
    agents = [
        {"type": concept("verifier", _PARTICIPANT), "who": person},
        {"type": concept("author", _PARTICIPANT), "who": {"reference": device}},
    ]
    body = provenance_body(targets, lineage, time, agents=agents)
    body["activity"] = {"text": f"a person's decision: {answer}"}
    return {"resourceType": "Provenance", "extension": [{"url": LINEAGE, "valueString": lineage.id}], **body}


def _listed(found: Any) -> list[Mapping[str, Any]]:
    """Return the objects of what should be an array of them."""
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, (list, tuple)) else []


def _said(found: Any) -> str:
    return found[:_LONGEST] if isinstance(found, str) else ""


def _text(found: Any) -> str:
    """Return the words of a CodeableConcept."""
    if not isinstance(found, Mapping):
        return ""
    coded = (_said(one.get("display")) or _said(one.get("code")) for one in _listed(found.get("coding")))
    return _said(found.get("text")) or ", ".join(filter(None, coded))[:_LONGEST]


def is_ours(resource: Mapping[str, Any]) -> bool:
    """Say whether a resource was written by :func:`advice_bundle`."""
    return any(one.get("system") == SYSTEM for one in _listed(resource.get("identifier")))


def words_of(resource: Mapping[str, Any], name: str) -> str:
    """Return the words of an element that is a CodeableConcept; empty when it is none."""
    return _text(resource.get(name))


def subject_of(task: Mapping[str, Any]) -> str:
    """Return the reference of the patient whom a Task is for."""
    return _who(task.get("for"))


def _who(*found: Any) -> str:
    told = (_said(one.get("reference")) or _said(one.get("display")) for one in found if isinstance(one, Mapping))
    return next(filter(None, told), "")[:200]


def _notes(resource: Mapping[str, Any]) -> list[str]:
    return [text for note in _listed(resource.get("note")) if (text := _said(note.get("text")))]


def _meta(resource: Mapping[str, Any], name: str) -> str:
    meta = resource.get("meta")
    return _said(meta.get(name)) if isinstance(meta, Mapping) else ""


def _time(resource: Mapping[str, Any], name: str, *, not_before: str = "") -> int:
    told, updated = _said(resource.get(name)), _meta(resource, "lastUpdated")
    if not_before and told == _said(resource.get(not_before)):
        told = updated or told  # whoever answered left it as we had written it
    for value in (told, updated):
        with contextlib.suppress(TimeError):  # a date without time or zone says too little
            return to_ns(value)
    raise FormatError(f"a {resource.get('resourceType')} without a time", expected=f"{name} or meta.lastUpdated, with a zone")


def read_answer(task: Mapping[str, Any]) -> Answer | None:
    """Return what a person answered on a Task of ours; None as long as nobody has.

    Raises
    ------
    FormatError
        When it is no Task, or says nowhere when it was changed.
    """
    if task.get("resourceType") != "Task":
        raise FormatError("not a Task", seen=task.get("resourceType"), expected="Task")
    answer = ANSWERS.get(_said(task.get("status")))
    if answer is None:
        return None
    authors = [note.get("authorReference") for note in _listed(task.get("note"))]
    reason = _text(task.get("statusReason")) or "; ".join(_notes(task))[:_LONGEST]
    return Answer(
        answer, _time(task, "lastModified", not_before="authoredOn"), _who(task.get("owner"), *authors), reason, _meta(task, "versionId")
    )


def read_change(request: Mapping[str, Any]) -> Change:
    """Return a request that takes the place of others.

    Raises
    ------
    FormatError
        When it is no ServiceRequest, or has no time.
    """
    if request.get("resourceType") != "ServiceRequest":
        raise FormatError("not a ServiceRequest", seen=request.get("resourceType"), expected="ServiceRequest")
    replaced = tuple(filter(None, (_who(one) for one in _listed(request.get("replaces")))))
    reasons = [text for one in _listed(request.get("reasonCode")) if (text := _text(one))]
    told = _text(request.get("code")) or _said(request.get("patientInstruction"))
    reason = "; ".join([*reasons, *_notes(request)])[:_LONGEST]
    return Change(
        f"ServiceRequest/{request.get('id')}", _who(request.get("subject")), replaced, told, _time(request, "authoredOn"), _who(request.get("requester")), reason
    )  # fmt: skip
