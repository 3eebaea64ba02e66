"""What carrying out a plan puts into the patient's record: the way back from advice to fact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gemel.core.code import Code
from gemel.core.errors import DomainError
from gemel.core.record import Exposure, PatientRecord, Quantity
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
    twin: Twin, plan: Plan | None, written: Mapping[int, Written], *, recorded: int, record: PatientRecord | None = None, source: str = "decision"
) -> tuple[Exposure, ...]:  # fmt: skip
    """Return the facts that a record gains when a plan is carried out: what the plan adds to what was known, and what it changes of what was only announced.

    Parameters
    ----------
    twin : at the moment of the decision.
    plan : ``None`` for what is already known: nothing is added.
    written : channel index -> how it is written; as the room declares it.
    recorded : when the facts become known, ns UTC.
    record : with the facts that announced what the plan changes; a changed amount supersedes its announcement.

    Raises
    ------
    DomainError
        When the plan changes or ends something that runs already, or uses a channel that cannot be written: that is not a new fact.
    """
    if plan is None:
        return ()
    # Plan.events come back from arrays: rounding makes equal what is equal
    then, now = (Counter((round(s, 6), round(d, 6), round(a, 6), c) for s, d, a, c in p.events) for p in (twin.observed.plan, plan))
    new, gone = now - then, then - now
    found = []
    for start, duration, amount, channel in sorted(gone.elements()):
        announced = _announced(twin, written, record, start, channel)
        other = next((e for e in new.elements() if (e[0], e[1], e[3]) == (start, duration, channel)), None)
        if announced is None or announced.quantity is None:
            break
        share = 0.0 if other is None else other[2] / amount
        quantity = announced.quantity.model_copy(update={"value": announced.quantity.value * share})
        found.append(announced.model_copy(update={"quantity": quantity, "recorded": recorded}))
        gone[start, duration, amount, channel] -= 1
        if other is not None:
            new[other] -= 1
    if +gone:
        raise DomainError(
            "this plan changes what runs already",
            seen=f"{sum((+gone).values())} event(s) changed or ended",
            expected="a plan that adds events",
            fix="record the change of the running treatment itself",
        )
    for start, duration, amount, channel in sorted((+new).elements()):
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


def _announced(twin: Twin, written: Mapping[int, Written], record: PatientRecord | None, start: float, channel: int) -> Exposure | None:
    """Return the fact that announced an event which has not begun at the twin's *now*."""
    if record is None or channel not in written or written[channel].is_rate:
        return None
    how = written[channel]
    begin = twin.epoch + round((start - how.delay) * twin.model.minutes * MINUTE)
    if begin < twin.now:
        return None
    mine = [e for e in record.find_exposures(how.code) if abs(e.start - begin) < MINUTE and e.end == e.start]
    return mine[0] if len(mine) == 1 else None
