"""What carrying out a plan puts into the patient's record: the way back from advice to fact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gemel.core.code import Code
from gemel.core.errors import DomainError
from gemel.core.record import Exposure, Quantity
from gemel.core.time import MINUTE
from gemel.engine.plan import Plan
from gemel.engine.twin import Twin

__all__ = ["Written", "carried_out"]


@dataclass(frozen=True)
class Written:
    """How one channel of a plan is written as a fact.

    Parameters
    ----------
    code, unit : of the fact; a unit per time (``mg/d``) makes it a rate over the event's duration.
    factor : fact's amount per unit of the channel.
    delay : how long after the fact the channel begins, in the model's unit of time.
    is_rate : whether the unit is a rate per the model's unit of time.
    """

    code: Code
    unit: str
    factor: float = 1.0
    delay: float = 0.0
    is_rate: bool = False


def carried_out(
    twin: Twin, plan: Plan | None, written: Mapping[int, Written], *, recorded: int, source: str = "decision"
) -> tuple[Exposure, ...]:
    """Return the facts that a record gains when a plan is carried out: what the plan adds to what was known.

    Parameters
    ----------
    twin : at the moment of the decision.
    plan : ``None`` for what is already known: nothing is added.
    written : channel index -> how it is written; as the room declares it.
    recorded : when the facts become known, ns UTC.

    Raises
    ------
    DomainError
        When the plan changes or ends something that runs already, or uses a channel that cannot be written: that is not a new fact.
    """
    if plan is None:
        return ()
    # Plan.events come back from arrays: rounding makes equal what is equal
    then, now = (Counter((round(s, 6), round(d, 6), round(a, 6), c) for s, d, a, c in p.events) for p in (twin.observed.plan, plan))
    if then - now:
        raise DomainError(
            "this plan changes what runs already",
            seen=f"{sum((then - now).values())} event(s) changed or ended",
            expected="a plan that adds events",
            fix="record the change of the running treatment itself",
        )
    found = []
    for start, duration, amount, channel in sorted((now - then).elements()):
        if channel not in written:
            raise DomainError("this channel cannot be written as a fact", seen=twin.model.channels[channel].name, expected=sorted(written))
        how = written[channel]
        value = how.factor * (amount / duration if how.is_rate else amount)
        begin = twin.epoch + round((start - how.delay) * twin.model.minutes * MINUTE)
        end = begin + round(duration * twin.model.minutes * MINUTE) if how.is_rate else begin
        found.append(
            Exposure(code=how.code, quantity=Quantity(value=value, unit=how.unit), start=begin, end=end, recorded=recorded, source=source)
        )
    return tuple(found)
