"""What became of each alarm: incidents with a clock, in an append-only file whose lines are chained by their hashes.

An alarm opens an incident once. Nothing closes itself: a person does, with a name and a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gemel.core.errors import EvidenceError, FormatError
from gemel.core.lineage import digest
from gemel.core.time import DAY
from gemel.evidence.json_lines import append_lines, read_lines

__all__ = [
    "CLOCK_DAYS",
    "AlarmLike",
    "Entry",
    "Incident",
    "answer_alarms",
    "append_entries",
    "assign",
    "close",
    "fold",
    "open_incident",
    "read_entries",
]

Severity = Literal["major", "minor"]
CLOCK_DAYS: dict[str, int] = {"major": 10, "minor": 30}
"""Days until an incident is due. Ours: an alarm is not yet a reportable incident; the clocks of a jurisdiction begin when a person says that it is one."""
START = "0" * 64


class AlarmLike(Protocol):
    """What is needed of an alarm."""

    @property
    def key(self) -> str:
        """What names it, across runs."""
        ...

    @property
    def chart(self) -> str:
        """What rang."""
        ...

    @property
    def group(self) -> str:
        """In whom."""
        ...

    @property
    def time(self) -> int:
        """When, ns UTC."""
        ...

    @property
    def severity(self) -> Severity:
        """How bad."""
        ...

    @property
    def sentence(self) -> str:
        """What was seen."""
        ...


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(_Frozen):
    """One line: what happened to which incident, when, by whom; ``previous`` is the hash of the line above."""

    incident: str
    event: Literal["opened", "assigned", "noted", "closed"]
    time: int
    who: str
    fields: dict[str, Any] = Field(default_factory=dict)
    previous: str = START

    @property
    def hash(self) -> str:
        """SHA-256 of all fields, that of the line above among them."""
        return digest(self)


class Incident(_Frozen):
    """The state of one incident, from its entries.

    Parameters
    ----------
    id : 16 hexadecimal digits.
    chart, group : what rang, and in whom.
    rang : ns UTC, when the outcome that made it ring became known.
    opened, due : ns UTC: when it was put down, and until when it should be answered.
    owner : whose it is; empty when nobody was named.
    branch : what the change-control plan says to do.
    rollback : the version to go back to.
    sentence : what was seen.
    closed, closed_by, reason : when, by whom and why; None and empty while open.
    """

    id: str
    chart: str
    group: str = ""
    rang: int
    opened: int
    due: int
    severity: Severity
    owner: str = ""
    branch: str = ""
    rollback: str = ""
    sentence: str
    version: str = ""
    notes: tuple[str, ...] = ()
    closed: int | None = None
    closed_by: str = ""
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed it."""
        return self.closed is None

    def is_overdue(self, now: int) -> bool:
        """Whether it is open after its time."""
        return self.is_open and now > self.due


def open_incident(
    *, key: Any, chart: str, sentence: str, rang: int, now: int, severity: Severity, group: str = "", owner: str = "", branch: str = "",
    rollback: str = "", version: str = "", clock_days: int | None = None,
) -> Entry:  # fmt: skip
    """Return the entry that opens an incident; its id follows from ``key``, so that the same alarm opens it once.

    Parameters
    ----------
    key : plain values that name the alarm, whatever is computed later.
    rang, now : ns UTC.
    clock_days : until it is due; by severity when left out.
    """
    days = CLOCK_DAYS[severity] if clock_days is None else clock_days
    fields = {
        "chart": chart, "group": group, "rang": rang, "due": now + days * DAY, "severity": severity, "owner": owner, "branch": branch,
        "rollback": rollback, "sentence": sentence, "version": version,
    }  # fmt: skip
    return Entry(incident=digest(key)[:16], event="opened", time=now, who="gemel", fields=fields)


def _person(who: str, what: str) -> None:
    if not who.strip():
        raise EvidenceError(f"an incident is {what} by a person", seen="no name", fix="say who")


def answer_alarms(
    alarms: Iterable[AlarmLike], entries: Sequence[Entry], *, now: int, owner: str = "", rollback: str = "", version: str = "",
    branches: Mapping[str, str] | None = None, clock_days: Mapping[str, int] | None = None,
) -> tuple[Entry, ...]:  # fmt: skip
    """Return what is to be appended for alarms: one incident per chart and subgroup while it is open, a note when the chart rings again.

    An alarm that rang before its incident was closed belongs to that incident; one that rang later opens another.

    Parameters
    ----------
    alarms : in order of time.
    entries : what stands in the file; alarms that it knows are passed over.
    branches : chart -> what the change-control plan says to do; "*" for all others.
    """
    seen = {str(k) for e in entries for k in (e.incident, e.fields.get("key"))}
    state = {i.id: i for i in fold(entries)}
    fresh: list[Entry] = []
    told, days = branches or {}, clock_days or CLOCK_DAYS
    for alarm in alarms:
        same = [i for i in state.values() if (i.chart, i.group) == (alarm.chart, alarm.group)]
        if digest(alarm.key)[:16] in seen or alarm.key in seen or any(i.closed is not None and alarm.time <= i.closed for i in same):
            continue
        still = next((i for i in same if i.is_open), None)
        if still is not None:
            fresh.append(Entry(incident=still.id, event="noted", time=now, who="gemel", fields={"key": alarm.key, "text": f"rang again: {alarm.sentence}", "rang": alarm.time}))  # fmt: skip
        else:
            entry = open_incident(
                key=alarm.key, chart=alarm.chart, group=alarm.group, sentence=alarm.sentence, rang=alarm.time, now=now, severity=alarm.severity,
                owner=owner, branch=told.get(alarm.chart, told.get("*", "")), rollback=rollback, version=version, clock_days=days[alarm.severity],
            )  # fmt: skip
            fresh.append(entry)
            state[entry.incident] = fold([entry])[0]
        seen |= {alarm.key}
    return tuple(fresh)


def close(incident: Incident, *, who: str, reason: str, now: int) -> Entry:
    """Return the entry that closes an incident.

    Raises
    ------
    EvidenceError
        Without a name or a reason, or when it is closed already.
    """
    _person(who, "closed")
    if not reason.strip():
        raise EvidenceError("an incident is closed for a reason", seen="none", fix="say what was found and what was done")
    if not incident.is_open:
        raise EvidenceError("the incident is closed already", seen=incident.id, fix="a new alarm opens a new one")
    return Entry(incident=incident.id, event="closed", time=now, who=who, fields={"reason": reason})


def assign(incident: Incident, *, owner: str, who: str, now: int) -> Entry:
    """Return the entry that gives an incident an owner."""
    _person(who, "assigned")
    return Entry(incident=incident.id, event="assigned", time=now, who=who, fields={"owner": owner})


def append_entries(path: Path, entries: Iterable[Entry]) -> int:
    """Append entries to a file, chained to what stands there; an incident is opened once. Return how many were new."""
    old = read_entries(path) if path.exists() else ()
    known, last = {e.incident for e in old if e.event == "opened"}, old[-1].hash if old else START
    new = []
    for entry in entries:
        if entry.event == "opened" and entry.incident in known:
            continue
        if entry.event != "opened" and entry.incident not in known:
            raise EvidenceError("no incident of this id was opened", seen=entry.incident, expected="an id of the list")
        chained = entry.model_copy(update={"previous": last})
        last = chained.hash
        known.add(entry.incident)
        new.append({**chained.model_dump(mode="json"), "hash": last})
    append_lines(path, new)
    return len(new)


def read_entries(path: Path) -> tuple[Entry, ...]:
    """Read a file of entries.

    Raises
    ------
    FormatError
        When a line cannot be read, was edited, or one is missing.
    """
    entries, last = [], START
    for place, table in read_lines(path, "an entry about an incident"):
        told = table.pop("hash", None)
        try:
            entry = Entry(**table)
        except (ValidationError, TypeError) as error:
            raise FormatError("not an entry about an incident", seen=place, expected="what gemel surveil wrote") from error
        if entry.previous != last or told != entry.hash:
            raise FormatError(
                "the file of incidents was edited, or a line is missing",
                seen=place,
                expected="each line chained to the one above by its hash",
                fix="restore the file; entries are appended, never edited",
            )
        last = entry.hash
        entries.append(entry)
    return tuple(entries)


def fold(entries: Iterable[Entry], *, as_of: int | None = None) -> tuple[Incident, ...]:
    """Return the state of every incident, in the order in which they were opened, as it was known at ``as_of``."""
    found: dict[str, Incident] = {}
    for e in entries:
        if as_of is not None and e.time > as_of:
            continue
        if e.event == "opened":
            found[e.incident] = Incident(id=e.incident, opened=e.time, **e.fields)
        elif e.incident in found:
            was = found[e.incident]
            change: dict[str, Any] = {
                "assigned": {"owner": e.fields.get("owner", "")},
                "noted": {"notes": (*was.notes, str(e.fields.get("text", "")))},
                "closed": {"closed": e.time, "closed_by": e.who, "reason": e.fields.get("reason", "")},
            }[e.event]
            found[e.incident] = was.model_copy(update=change)
    return tuple(found.values())
