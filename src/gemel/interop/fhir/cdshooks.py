"""CDS Hooks 2.0: what is offered, what is asked, the cards that answer, and what was done with them. Pure: no clock, no store.

A card says what stands already: a forecast and a proposal that were made before anybody asked. When they are old it says so and suggests nothing; when the twin abstains it says
why. Nothing is ever *critical*: this is research software, and no alarm.

References
----------
CDS Hooks 2.0 (HL7): discovery, prefetch (412 where it is missing and cannot be read), card attributes (a summary of fewer than 140 characters; ``selectionBehavior`` where there
are suggestions; a display for each override reason), feedback.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gemel.core import ForecastTable, Proposal, iso, to_ns
from gemel.core.code import SYSTEMS
from gemel.core.errors import FormatError, TimeError
from gemel.core.time import HOUR, MINUTE
from gemel.interop.fhir.build import RESEARCH, research_notes

__all__ = [
    "HOOKS",
    "OVERRIDES",
    "SERVICE",
    "Asked",
    "Feedback",
    "card",
    "card_id",
    "discovery",
    "read_card_id",
    "read_feedback",
    "read_request",
]

SERVICE = "gemel-advice"
HOOKS = {
    "patient-view": "What the twin of this patient forecasts and proposes, when the record is opened",
    "order-select": "What the twin of this patient proposes, when an order is chosen",
    "order-sign": "What the twin of this patient proposes, before an order is signed",
}
OWN = SYSTEMS["gemel"]
OVERRIDES = {
    "not-applicable": "Does not apply to this patient now",
    "data-wrong": "The data behind it are wrong or incomplete",
    "other-plan": "Another plan was chosen",
    "patient-preference": "The patient wishes otherwise",
    "too-risky": "The risk is not acceptable",
}
"""Code -> what a person reads, who does not follow a card."""
LIKELY = 0.25
"""Probability of a named event from which a card is a warning. ASSUMED."""
_LONGEST, _MOST_FEEDBACK, _TEXT = 139, 100, 2000
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}\Z")
_USER = re.compile(r"[A-Z][A-Za-z]{1,63}/[A-Za-z0-9.\-]{1,64}\Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_MARKS = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&])")


@dataclass(frozen=True, repr=False)
class Asked:
    """One call of a hook. ``server`` is what the client calls its FHIR server; nobody calls it because it stands here."""

    hook: str
    instance: str
    patient: str
    user: str
    server: str
    prefetch: Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Feedback:
    """What was done with one card."""

    card: str
    outcome: Literal["accepted", "overridden"]
    time: int | None
    suggestions: tuple[str, ...]
    reason: str


def discovery(*, with_patient: bool) -> dict[str, Any]:
    """Return what is offered.

    Parameters
    ----------
    with_patient : whether the Patient must be sent, since the pseudonym is one of its identifiers.
    """
    prefetch = {"prefetch": {"patient": "Patient/{{context.patientId}}"}} if with_patient else {}
    return {
        "services": [
            {"hook": hook, "id": SERVICE, "title": "Gemel: digital twins", "description": f"{text}. {RESEARCH}", **prefetch}
            for hook, text in HOOKS.items()
        ]
    }


def _wrong(where: str, expected: str) -> FormatError:
    return FormatError("a call of a hook that cannot be understood", seen=where, expected=expected)


def read_request(body: Any) -> Asked:
    """Read the body of a call.

    Raises
    ------
    FormatError
        With the field; never with its value.
    """
    if not isinstance(body, dict):
        raise _wrong("the body", "a JSON object")
    hook, instance, context = body.get("hook"), body.get("hookInstance"), body.get("context")
    if hook not in HOOKS:
        raise _wrong("hook", ", ".join(HOOKS))
    if not isinstance(instance, str) or not _UUID.match(instance.lower()):
        raise _wrong("hookInstance", "a UUID")
    if not isinstance(context, dict):
        raise _wrong("context", "an object")
    patient, user = context.get("patientId"), context.get("userId")
    if not isinstance(patient, str) or not _ID.match(patient):
        raise _wrong("context.patientId", "a FHIR id")
    if not isinstance(user, str) or not _USER.match(user):
        raise _wrong("context.userId", "such as Practitioner/7")
    if hook != "patient-view" and not isinstance(context.get("draftOrders"), dict):
        raise _wrong("context.draftOrders", "a Bundle")
    prefetch, server = body.get("prefetch"), body.get("fhirServer")
    if server is not None and (not isinstance(server, str) or len(server) > _TEXT):
        raise _wrong("fhirServer", "a URL")
    return Asked(hook, instance.lower(), patient, user, server or "", prefetch if isinstance(prefetch, dict) else {})


def card_id(proposal: str, part: int = 0) -> str:
    """Return the id of a card, or of its n-th suggestion: a UUID (version 8, our own form) that holds the proposal's id.

    Examples
    --------
    >>> read_card_id(card_id("0123456789abcdef01234567", 2))
    ('0123456789abcdef01234567', 2)
    """
    if not re.fullmatch(r"[0-9a-f]{24}", proposal) or not 0 <= part < 256:
        raise FormatError("not an id of a proposal", expected="24 hexadecimal digits")
    text = f"{proposal[:12]}8{proposal[12:15]}8{proposal[15:24]}{part:02x}0000"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"


def read_card_id(found: str) -> tuple[str, int] | None:
    """Return proposal and part of an id of ours; ``None`` for another's."""
    text = found.lower().replace("-", "")
    if not _UUID.match(found.lower()) or text[12] != "8" or text[16] != "8" or text[28:] != "0000":
        return None
    return text[:12] + text[13:16] + text[17:26], int(text[26:28], 16)


def _plain(text: str) -> str:
    """Return words that no reader of Markdown takes for anything else."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def _summary(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1].rstrip() + "…"


def _age(time: int, now: int) -> str:
    minutes = max(0, now - time) / MINUTE
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} d"


def _detail(proposal: Proposal, table: ForecastTable | None, now: int) -> str:
    parts = [_plain(proposal.sentence)]
    if proposal.ranking:
        rows = [
            f"| {_plain(score.plan)} | {100 * score.probability_best:.0f} % | "
            + (", ".join(f"{_plain(name)} {100 * p:.1f} %" for name, p in score.violations.items()) or "-")
            + f" | {'yes' if score.feasible else 'no'} |"
            for score in proposal.ranking
        ]
        parts.append("\n".join(["| plan | best with | limit not kept | keeps the limits |", "|---|---|---|---|", *rows]))
    if table is not None and table.status == "OK":
        for event, probabilities in table.probabilities.items():
            if probabilities:
                worst = max(range(len(probabilities)), key=probabilities.__getitem__)
                hours = (int(table.times[worst]) - table.issued) / HOUR
                parts.append(f"{_plain(event)}: {100 * probabilities[worst]:.0f} % at {hours:.1f} h, as things stand.")
    notes = [str(note["text"]) for note in research_notes(proposal)]
    parts.append(f"Made {_age(proposal.issued, now)} ago ({iso(proposal.issued)}). " + " ".join(map(_plain, notes)))
    return "\n\n".join(parts)


def _suggestion(proposal: Proposal, key: str, plan: str, number: int, patient: str) -> dict[str, Any]:
    request = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "code": {"text": plan},
        "subject": {"reference": f"Patient/{patient}"},
        "authoredOn": iso(proposal.issued),
        "note": research_notes(proposal),
    }
    label = plan if len(plan) <= 80 else plan[:79] + "…"
    action = {"type": "create", "description": f"Draft a request: {label}", "resource": request}
    return {"label": label, "uuid": card_id(key, number), "isRecommended": plan == proposal.choice, "actions": [action]}


def card(
    proposal: Proposal, key: str, *, patient: str, now: int, stale: int, table: ForecastTable | None = None, is_overtaken: bool = False
) -> dict[str, Any]:
    """Return a card for a stored proposal.

    Parameters
    ----------
    key : the proposal's id in the store.
    patient : logical id of the Patient at the client.
    now : ns UTC.
    stale : ns after which it is old.
    table : the forecast that it was made with.
    is_overtaken : whether facts have become known since that the twin has not read.
    """
    told: dict[str, Any] = {
        "uuid": card_id(key),
        "indicator": "info",
        "source": {
            "label": f"Gemel {proposal.lineage.model} {proposal.lineage.model_version}",
            "topic": {"system": OWN, "code": proposal.lineage.model, "display": "Digital twin, research software"},
        },
        "detail": _detail(proposal, table, now),
    }
    if proposal.choice is None:
        return told | {"summary": _summary(f"No advice: {proposal.reason}")}
    if now - proposal.issued > stale or is_overtaken:
        why = "overtaken by newer data" if is_overtaken else f"made {_age(proposal.issued, now)} ago"
        return told | {"summary": _summary(f"Stale, {why}: {proposal.choice}"), "overrideReasons": _overrides()}
    chosen = next((score for score in proposal.ranking if score.plan == proposal.choice), None)
    sure = f", best of {len(proposal.ranking)} with probability {100 * chosen.probability_best:.0f} %" if chosen else ""
    room = _LONGEST - len("Proposed: ") - len(sure)
    name = proposal.choice if len(proposal.choice) <= room else proposal.choice[: room - 1].rstrip() + "…"
    likely = table is not None and table.status == "OK" and any(p >= LIKELY for ps in table.probabilities.values() for p in ps)
    plans = [proposal.choice, *(s.plan for s in proposal.ranking if s.feasible and s.plan != proposal.choice)][:5]
    return told | {
        "summary": _summary(f"Proposed: {name}{sure}"),
        "indicator": "warning" if likely else "info",
        "suggestions": [_suggestion(proposal, key, plan, number, patient) for number, plan in enumerate(plans, 1)],
        "selectionBehavior": "at-most-one",
        "overrideReasons": _overrides(),
    }


def plan_of(proposal: Proposal, part: int) -> str | None:
    """Return the plan of the n-th suggestion of a card; ``None`` when it had none of that number."""
    plans = [proposal.choice, *(s.plan for s in proposal.ranking if s.feasible and s.plan != proposal.choice)][:5]
    return plans[part - 1] if 0 < part <= len(plans) else None


def _overrides() -> list[dict[str, str]]:
    return [{"system": OWN, "code": code, "display": text} for code, text in OVERRIDES.items()]


def read_feedback(body: Any) -> list[Feedback]:
    """Read what was done with cards.

    Raises
    ------
    FormatError
        With the field; never with its value.
    """
    listed = body.get("feedback") if isinstance(body, dict) else None
    if not isinstance(listed, (list, tuple)) or len(listed) > _MOST_FEEDBACK:
        raise _wrong("feedback", f"an array of at most {_MOST_FEEDBACK}")
    return [_one(one) for one in listed]


def _one(told: Any) -> Feedback:
    if not isinstance(told, dict) or not isinstance(told.get("card"), str) or told.get("outcome") not in ("accepted", "overridden"):
        raise _wrong("feedback[]", "card, and outcome: accepted or overridden")
    try:
        stamp = told.get("outcomeTimestamp")
        time = to_ns(stamp) if isinstance(stamp, str) else None
    except TimeError:
        raise _wrong("feedback[].outcomeTimestamp", "ISO 8601 with a zone") from None
    accepted = told.get("acceptedSuggestions")
    ids = [one.get("id") for one in accepted if isinstance(one, dict)] if isinstance(accepted, (list, tuple)) else []
    override = told.get("overrideReason")
    override = override if isinstance(override, dict) else {}
    coded = override.get("reason")
    coded = coded if isinstance(coded, dict) else {}
    code, shown, comment = coded.get("code"), coded.get("display"), override.get("userComment")
    known = OVERRIDES.get(code) if isinstance(code, str) and coded.get("system") == OWN else None
    reason = [
        known or (shown if isinstance(shown, str) else code if isinstance(code, str) else ""),
        comment if isinstance(comment, str) else "",
    ]
    return Feedback(
        told["card"], told["outcome"], time, tuple(i for i in ids if isinstance(i, str)), "; ".join(filter(None, reason))[:_TEXT]
    )
