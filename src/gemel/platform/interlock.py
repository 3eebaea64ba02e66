"""Whether an operation may be sent to a device: only when the site lists it, a person accepted it, the value lies inside hard limits and the data behind it are fresh.

The answer is a pure function of what is known. Whatever is missing, unknown or not a number is a no, with its reason: doubt fails safe, and visibly. Nothing in Gemel calls a device
by itself; whoever builds that bridge asks here first and writes the answer down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gemel.core.advice import Decision
from gemel.core.time import MINUTE, SECOND

__all__ = ["Interlock", "Operation", "Request", "Verdict", "allow"]

_AHEAD = 5 * SECOND
"""How far a time may lie ahead of our clock, ns; a time further ahead is of a clock that is wrong. ASSUMED."""


@dataclass(frozen=True)
class Operation:
    """One operation that a site allows on one device.

    Parameters
    ----------
    device : its identifier, letter by letter.
    name : of the operation, such as ``set-basal-rate``.
    unit : UCUM; a request in another unit is refused, not converted.
    low, high : hard limits, both included.
    largest_step : the most that the value may differ from what is set now; ``None``: no limit of that kind.
    """

    device: str
    name: str
    unit: str
    low: float
    high: float
    largest_step: float | None = None


@dataclass(frozen=True)
class Interlock:
    """What a site allows; by default nothing.

    Parameters
    ----------
    is_on : whether anything at all may be sent.
    operations : what may be sent.
    data_age : ns, the most that may lie between the newest reading behind the advice and now.
    decision_age : ns, the most that may lie between the acceptance and now.
    """

    is_on: bool = False
    operations: tuple[Operation, ...] = ()
    data_age: int = 5 * MINUTE
    decision_age: int = 5 * MINUTE


@dataclass(frozen=True)
class Request:
    """What is to be sent.

    Parameters
    ----------
    proposal : id of the proposal that it carries out; ``plan``: the plan of it that it carries out.
    current : what is set on the device now; ``None`` when it is not known.
    newest : ns UTC, time of the newest reading behind the proposal; ``None`` when it is not known.
    expires : ns UTC, when the proposal expires.
    """

    device: str
    operation: str
    value: float
    unit: str
    proposal: str
    plan: str
    newest: int | None
    expires: int | None
    current: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The answer. ``refused`` names every condition that does not hold, so that a person sees all of them at once."""

    refused: tuple[str, ...]
    operation: Operation | None = None

    @property
    def is_allowed(self) -> bool:
        """Whether it may be sent."""
        return not self.refused and self.operation is not None

    def __bool__(self) -> bool:
        return self.is_allowed


def _age(time: int | None, now: int, most: int, what: str) -> list[str]:
    if time is None:
        return [f"it is not known when {what}"]
    if time > now + _AHEAD:
        return [f"{what} lies in the future: a clock is wrong"]
    return [f"{what} is {(now - time) / MINUTE:.1f} min old; at most {most / MINUTE:g} min is allowed"] if now - time > most else []


def _value(operation: Operation, request: Request) -> list[str]:
    found = []
    if request.unit != operation.unit:
        found.append(f"the unit is {request.unit or 'missing'}; {operation.unit} is asked for")
    bounds = (operation.low, operation.high)
    if not all(map(math.isfinite, bounds)) or operation.low > operation.high:
        found.append("the limits of the operation are not limits")
    if not math.isfinite(request.value):
        return [*found, "the value is not a number"]
    if not operation.low <= request.value <= operation.high:
        found.append(f"the value lies outside {operation.low:g} to {operation.high:g} {operation.unit}")
    if operation.largest_step is not None:
        if request.current is None or not math.isfinite(request.current):
            found.append("what is set now is not known, and a step is limited")
        elif not abs(request.value - request.current) <= operation.largest_step:
            found.append(f"the step is larger than {operation.largest_step:g} {operation.unit}")
    return found


def _accepted(request: Request, decisions: Mapping[str, Decision | None], now: int, most: int) -> list[str]:
    decision = decisions.get(request.proposal)
    if not request.proposal or decision is None:
        return ["no person has decided about it"]
    found = []
    if decision.proposal != request.proposal:
        found.append("the decision is about another proposal")
    kind: Literal["accepted", "changed", "rejected"] = decision.answer
    if kind == "rejected":
        found.append("a person has rejected it")
    if not decision.who.strip():
        found.append("nobody is named who accepted it")
    if kind != "rejected" and decision.plan != request.plan:
        found.append("another plan was accepted")
    if not request.plan:
        found.append("it is not known which plan is carried out")
    return found + _age(decision.time, now, most, "the acceptance")


def allow(interlock: Interlock, request: Request, decisions: Mapping[str, Decision | None], *, now: int) -> Verdict:
    """Decide whether an operation may be sent.

    Parameters
    ----------
    interlock : what the site allows.
    request : what is to be sent.
    decisions : the newest decision of each proposal, by its id.
    now : ns UTC.

    Examples
    --------
    >>> bool(allow(Interlock(), Request("pump", "set-rate", 1.0, "[iU]/h", "p", "low", 0, 10), {}, now=1))
    False
    """
    refused = [] if interlock.is_on is True else ["operations on devices are switched off"]
    listed = [one for one in interlock.operations if (one.device, one.name) == (request.device, request.operation)]
    if len(listed) != 1:
        refused.append("the site does not list this operation" if not listed else "the site lists this operation more than once")
    else:
        refused += _value(listed[0], request)
    refused += _accepted(request, decisions, now, interlock.decision_age)
    refused += _age(request.newest, now, interlock.data_age, "the newest reading")
    if request.expires is None or now >= request.expires:
        refused.append("the proposal has expired" if request.expires is not None else "it is not known when the proposal expires")
    return Verdict(tuple(refused), listed[0] if len(listed) == 1 else None)
