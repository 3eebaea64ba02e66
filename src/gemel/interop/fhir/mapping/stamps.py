"""When a resource was true, when it became known, and what its status makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gemel.core.code import Code
from gemel.core.record import Finding
from gemel.core.series import ENTERED_IN_ERROR, FINAL, PRELIMINARY
from gemel.core.time import DAY, MINUTE, iso
from gemel.interop.fhir.mapping.base import Mapped, Refused, Resolve, Site
from gemel.interop.fhir.mapping.values import interval_of, is_coarse, is_day, items, patient_of, text_of

__all__ = ["INTERVAL", "Moment", "Task", "interval_finding", "moment_of", "recorded_of", "status_of", "true_at"]

INTERVAL = Code.parse("gemel:time-interval", "When it was true, as far as it is known")
"""Code of the finding that holds the interval of another one; its ``site`` is the other's id, its value the interval of ISO 8601."""

_AHEAD = 2 * MINUTE  # what the record allows between two clocks
_REVISED = frozenset({"amended", "corrected", "cancelled", "entered-in-error"})


@dataclass(slots=True)
class Task:
    """One resource that is being mapped: what it is, where its facts go, and what the site says."""

    resource: Mapping[str, Any]
    out: Mapped
    site: Site
    received: int
    resolve: Resolve | None
    source: str
    name: str  # type and id: the id of its facts
    site_of_facts: str = ""  # what ties the findings of one resource together, or where on the body they are

    def patient(self, reference: Any) -> str:
        """Return whom it is about, once known."""
        self.out.patient = patient_of(reference, self.site, self.resolve)
        return self.out.patient

    def repair(self, what: str) -> None:
        """Note what was put right or assumed."""
        if what and what not in self.out.repaired:
            self.out.repaired.append(what)

    def keep(self, why: str) -> None:
        """Say that it gives no fact, though nothing is wrong."""
        self.out.kept = why

    def fact_id(self, part: str = "") -> str:
        """Return the id of a fact: type and id of the resource, and which part of it."""
        if not self.name:
            return ""
        return f"{self.source}/{self.name}{'/' + part if part else ''}"


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was true: its begin (ns UTC), and the end of the interval where it is known only roughly or lasts; None for a moment."""

    time: int
    until: int | None = None
    coarse: bool = False


def recorded_of(task: Task, *elements: str, time: int | None = None) -> int:
    """Return when a resource became known, ns UTC: the first of the elements, else ``meta.lastUpdated``, else when it arrived here.

    A version that revises an earlier one became known when it was last updated: its ``issued`` is often still that of the first.
    """
    resource, site = task.resource, task.site
    meta = resource.get("meta")
    said = next((v for name in elements if isinstance(v := resource.get(name), str)), None)
    updated = meta.get("lastUpdated") if isinstance(meta, Mapping) else None
    found = _end(said, site)
    changed = _end(updated, site)
    if text_of(resource.get("status")) in _REVISED:
        if changed is None:
            task.repair("a revised resource without the time of its revision: taken as known when it arrived")
            changed = task.received
        found = changed if found is None else max(found, changed)
    if found is None:
        found = changed
    if found is None:
        if site.known_when_true and time is not None:
            task.repair("nobody says when it became known: when it was true, as the site asks")
            return time
        found = task.received
    if found > task.received + _AHEAD:
        task.repair("recorded after it arrived here: the sender's clock is ahead; taken as known when it arrived")
        found = task.received
    return found


def _end(text: Any, site: Site) -> int | None:
    """The moment a time was over: what is known only by its day was known at the day's end; seconds and finer are taken as they stand."""
    if not isinstance(text, str):
        return None
    try:
        low, high = interval_of(text, site.zone)
    except Refused:
        return None
    return high + 1 if len(text) <= 10 else low


def true_at(task: Task, time: int, recorded: int) -> int:
    """Return when it became known, not before it was true.

    Raises
    ------
    Refused
        When it was true after it arrived here.
    """
    if time > task.received + _AHEAD:
        raise Refused("time-ahead", "true after it arrived here", "check the sender's clock and zone")
    if time > recorded:
        task.repair("recorded before it was true: taken as known when it was true")
        return time
    return recorded


def moment_of(task: Task, stem: str, resource: Mapping[str, Any] | None = None) -> Moment | None:
    """Return when a choice such as ``effective[x]`` or ``performed[x]`` was true; None where it is not said.

    Raises
    ------
    Refused
        When it cannot be read.
    """
    held = task.resource if resource is None else resource
    for end in ("DateTime", "Instant", "Date"):
        text = held.get(stem + end)
        if isinstance(text, str):
            return _single(task, text)
    period = held.get(stem + "Period")
    if isinstance(period, Mapping):
        return period_of(task, period)
    timing = held.get(stem + "Timing")
    if isinstance(timing, Mapping):
        events = [text for text in items(timing.get("event")) if isinstance(text, str)]
        if len(events) == 1:
            return _single(task, events[0])
        repeat = timing.get("repeat")
        if isinstance(repeat, Mapping) and isinstance(bounds := repeat.get("boundsPeriod"), Mapping):
            return period_of(task, bounds)
        raise Refused("timing", "a timing of several moments", "have the sender name one moment or a period")
    return None


def _single(task: Task, text: str) -> Moment:
    low, high = interval_of(text, task.site.zone)
    if is_coarse(text):
        return Moment(low, high + 1, coarse=True)
    if is_day(text):
        task.repair("time of day missing: start of the day taken")
    return Moment(low)


def period_of(task: Task, period: Mapping[str, Any]) -> Moment | None:
    """Return begin and end of a Period; None where it has neither.

    Raises
    ------
    Refused
        When it ends before it begins.
    """
    start, end = text_of(period.get("start")), text_of(period.get("end"))
    if not start and not end:
        return None
    if not start:
        task.repair("a period without its start: its end taken")
        return _single(task, end)
    low, high = interval_of(start, task.site.zone)
    until = high + 1 if is_coarse(start) else None
    if end:
        last = interval_of(end, task.site.zone)
        until = last[1] + 1 if len(end) <= 10 else last[0]
        if until < low:
            raise Refused("period", "a period that ends before it starts", "correct it at its source")
    return Moment(low, until, coarse=is_coarse(start))


def interval_finding(task: Task, about: str, moment: Moment, recorded: int, status: int = FINAL) -> Finding | None:
    """Return the finding that keeps the interval of another fact; None for a moment."""
    if moment.until is None or not about:
        return None
    return Finding(
        code=INTERVAL, value=f"{iso(moment.time)}/{iso(moment.until)}", time=moment.time, recorded=recorded, status=status, source=task.source,
        site=about, id=f"{about}/when",
    )  # fmt: skip


_STATUS = {
    "preliminary": PRELIMINARY, "partial": PRELIMINARY, "final": FINAL, "amended": FINAL, "corrected": FINAL, "appended": FINAL,
    "cancelled": ENTERED_IN_ERROR, "entered-in-error": ENTERED_IN_ERROR, "unknown": PRELIMINARY,
}  # fmt: skip


def status_of(task: Task) -> int:
    """Return what an Observation's or a report's status makes of its facts.

    Raises
    ------
    Refused
        When it is none of FHIR's.
    """
    said = text_of(task.resource.get("status"))
    if said not in _STATUS:
        raise Refused("status-unknown", "a status that FHIR does not know", "correct it at its source")
    if said == "unknown":
        task.repair("status unknown: taken as preliminary")
    return _STATUS[said]


def day_long(moment: Moment) -> bool:
    """Say whether it lasted a day at most: short enough to stand at its start."""
    return moment.until is None or (not moment.coarse and moment.until - moment.time <= DAY)
