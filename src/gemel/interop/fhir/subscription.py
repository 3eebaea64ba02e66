"""Being told that something changed: Subscriptions of R4 (rest-hook), and what a notification says.

A notification is believed to say one thing only, that it is time to look: its content is not taken, since anybody may write one, and one may be lost, doubled or late.
What it says of its number is used to see that one was lost.

References
----------
HL7 FHIR R4, Subscription (rest-hook); Subscriptions R5 Backport 1.1.0 for R4: a Bundle of type history whose first entry is a Parameters; R5: a Bundle of type
subscription-notification whose first entry is a SubscriptionStatus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from gemel.core.errors import FormatError
from gemel.core.time import iso
from gemel.interop.fhir.codec import decode

__all__ = ["Notification", "read_notification", "subscription"]

Kind = Literal["handshake", "heartbeat", "event-notification", "query-status", "query-event", "plain"]


@dataclass(frozen=True)
class Notification:
    """One notification. ``number`` counts events since the subscription began; ``None`` where it does not say."""

    kind: Kind
    number: int | None = None


def subscription(criteria: str, endpoint: str, secret: str, *, end: int, reason: str = "a twin follows its patient") -> dict[str, Any]:
    """Return a Subscription of R4 that knocks at an endpoint, without content, when something matches.

    Parameters
    ----------
    criteria : a search, such as ``Observation?code=http://loinc.org|99504-3``.
    endpoint : our address.
    secret : sent with each notification as ``Authorization: Bearer``.
    end : ns UTC, when it ends.
    """
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": reason,
        "criteria": criteria,
        "end": iso(end),
        "channel": {"type": "rest-hook", "endpoint": endpoint, "header": [f"Authorization: Bearer {secret}"]},
    }


def _first(bundle: Mapping[str, Any]) -> Mapping[str, Any]:
    entries = bundle.get("entry")
    first = entries[0].get("resource") if isinstance(entries, tuple) and entries and isinstance(entries[0], dict) else None
    return first if isinstance(first, dict) else {}


def _value(parameters: Mapping[str, Any], name: str) -> Any:
    for one in parameters.get("parameter") or ():
        if isinstance(one, dict) and one.get("name") == name:
            return next((value for key, value in one.items() if key.startswith("value")), None)
    return None


def read_notification(body: bytes, *, limit: int = 1_000_000) -> Notification:
    """Read the body of a notification; an empty one is the plain knock of R4.

    Raises
    ------
    FormatError
        When it is not JSON, or too large.
    """
    if not body.strip():
        return Notification("plain")
    found = decode(body, limit=limit)
    if not isinstance(found, dict):
        raise FormatError("not a notification", expected="nothing, a resource or a Bundle")
    first = _first(found) if found.get("resourceType") == "Bundle" else {}
    if first.get("resourceType") == "SubscriptionStatus":
        kind, number = first.get("type"), first.get("eventsSinceSubscriptionStart")
    elif first.get("resourceType") == "Parameters":
        kind, number = _value(first, "type"), _value(first, "events-since-subscription-start")
    else:
        return Notification("plain")
    counted = str(number) if number is not None else ""
    return Notification(
        kind if kind in get_args(Kind) else "plain", int(counted) if counted.isascii() and counted.isdigit() and len(counted) < 19 else None
    )
