"""The elements of an Apple Health export as they come: records into columns, sleep, workouts and insulin into spans."""

from __future__ import annotations

import datetime as dt
import math
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from gemel.core.errors import ValueRangeError
from gemel.core.time import HOUR, SECOND
from gemel.interop.report import Tally
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._apple_types import ASLEEP, INSULIN, KINDS, SLEEP, WORKOUT, ucum_of
from gemel.interop.wearables._events import Events
from gemel.interop.wearables._priority import Amounts
from gemel.interop.wearables.base import Notes

__all__ = ["EPOCH", "Clock", "Column", "Reader"]

_PREFIX = re.compile(r"^HK(?:Quantity|Category|Data|Correlation|Document)?TypeIdentifier|^HKDataType|^HKWorkoutActivityType")
_MODEL = re.compile(r"\bmodel:\s*(\w+)")
_SIXTY = {f"{number:02d}": number for number in range(60)}
_DAYS: tuple[int, int] = (dt.date(1900, 1, 1).toordinal(), dt.date(2200, 1, 1).toordinal())
EPOCH = dt.date(1970, 1, 1).toordinal()
_LONGEST_NIGHT = 24 * HOUR


class Clock:
    """Reads times by position; each day is worked out once."""

    def __init__(self) -> None:
        self._days: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """Return ns UTC.

        Raises
        ------
        ValueError
            When it is not ``YYYY-MM-DD HH:MM:SS +ZZZZ`` from 1900 to 2200.
        """
        day = self._days.get(text[:10])
        try:
            if day is None:
                ordinal = dt.date(int(text[:4]), int(text[5:7]), int(text[8:10])).toordinal()
                if not _DAYS[0] <= ordinal <= _DAYS[1] or not text[:10].replace("-", "").isdigit():
                    raise ValueError
                day = self._days[text[:10]] = (ordinal - EPOCH) * 86_400
            hour = _SIXTY[text[11:13]]
            offset = (_SIXTY[text[21:23]] * 60 + _SIXTY[text[23:25]]) * 60
            seconds = hour * 3600 + _SIXTY[text[14:16]] * 60 + _SIXTY[text[17:19]]
        except (KeyError, IndexError) as error:
            raise ValueError from error
        if len(text) != 25 or hour > 23 or text[10] + text[13] + text[16] + text[19] != " :: " or text[20] not in "+-":
            raise ValueError
        return (day + seconds - (offset if text[20] == "+" else -offset)) * SECOND


@dataclass
class Column:
    """Records of one type, unit and source."""

    start: array[int] = field(default_factory=lambda: array("q"))
    end: array[int] = field(default_factory=lambda: array("q"))
    value: array[float] = field(default_factory=lambda: array("d"))
    recorded: array[int] = field(default_factory=lambda: array("q"))
    row: array[int] = field(default_factory=lambda: array("q"))

    def amounts(self) -> Amounts:
        return Amounts(*(np.array(c) for c in (self.start, self.end, self.value, self.recorded, self.row)))


class Reader:
    """Takes the elements of one export as they come; makes the facts at the end."""

    def __init__(self, name: str) -> None:
        self.name, self.notes = name, Notes(name, "apple-health")
        self.tally, self.events, self.clock = Tally(name, "apple-health"), Events(name, "apple-health", self.notes), Clock()
        self.columns: dict[tuple[str, str | float, int], Column] = {}
        self.sources: dict[tuple[str, str], int] = {}  # (name, class) -> number
        self.first: list[int] = []  # of each source: when it first wrote
        self.asleep: list[tuple[int, int, int]] = []
        self.spans: set[tuple[object, ...]] = set()
        self.zones: Counter[str] = Counter()
        self.me: dict[str, str] = {}
        self.refused: dict[str, tuple[int, int]] = {}  # what -> how often, first entry
        self.left = 0
        self.insulin: dict[str, str] | None = None
        self.reason = ""
        self.depth = 0
        self._named: dict[tuple[str, str], int] = {}

    # elements

    def start(self, tag: str, item: dict[str, str]) -> None:
        self.depth += 1
        if tag in ("Record", WORKOUT):
            self.tally.read += 1
            name = _PREFIX.sub("", item.get("type", "")) if tag == "Record" else WORKOUT
            if name == INSULIN:
                self.insulin, self.reason = item, ""  # what it was for comes in a child
            else:
                self._record(name, item)
        elif tag == "MetadataEntry":
            key, value = item.get("key", ""), item.get("value", "")
            if key == "HKInsulinDeliveryReason":
                self.reason = value
            elif key == "HKTimeZone" and (value in self.zones or len(self.zones) < 64):
                self.zones[value] += 1
        elif tag == "Me":
            self.me = item
        elif self.depth == 2 and tag not in ("ExportDate", "Correlation"):
            self.notes.ignore(f"elements {tag[:40]}" if len(self.notes.ignored) < 200 else "other elements")

    def end(self, tag: str) -> None:
        self.depth -= 1
        if tag == "Record" and self.insulin is not None:
            item, self.insulin = self.insulin, None
            self._record(INSULIN, item)

    # records

    def refuse(self, what: str, items: int = 1, row: int | None = None) -> None:
        """Note records that cannot be placed; the first of a kind is named."""
        count, first = self.refused.get(what, (0, self.tally.read if row is None else row))
        self.refused[what] = (count + items, first)

    def leave(self, what: str) -> None:
        """Note a record that is not used."""
        self.left += 1
        self.notes.ignore(what if what in self.notes.ignored or len(self.notes.ignored) < 200 else "other types")

    def _source(self, item: dict[str, str]) -> int:
        key = (item.get("sourceName", ""), item.get("device", ""))
        number = self._named.get(key)
        if number is None:
            found = _MODEL.search(key[1])
            words = (found.group(1) if found else key[0]).lower()
            kind = "watch" if "watch" in words else "phone" if "iphone" in words else "app"
            number = self.sources.setdefault((key[0], kind), len(self.sources))
            if number == len(self.first):
                self.first.append(1 << 62)
            if len(self._named) < 10_000:
                self._named[key] = number
        return number

    def _record(self, name: str, item: dict[str, str]) -> None:
        kind = KINDS.get(name)
        if kind is None and name not in (INSULIN, SLEEP, WORKOUT):
            self.leave(f"type {name[:48] if name.isidentifier() else 'without a name'}")
            return
        try:
            start, end = self.clock(item.get("startDate", "")), self.clock(item.get("endDate", ""))
            created = self.clock(item["creationDate"]) if item.get("creationDate") else end
        except ValueError:
            self.refuse(f"{name} without a readable time")
            return
        if end < start:
            self.refuse(f"{name} that ends before it starts")
            return
        if created < end:
            self.notes.repair("written down before it ended: known when it had ended", 1, self.tally.read)
        recorded = max(created, end)
        if kind is None:
            self._span(name, item, start, end, recorded)
            return
        unit = ucum_of(name, kind, item.get("unit", ""))
        if unit is None:
            self.refuse(f"{name} in a unit that is not known: {item.get('unit', '')[:20]!r}")
            return
        value = self._number(item)
        if value is None:
            self.refuse(f"{name} whose value is no number")
            return
        source = self._source(item)
        self.first[source] = min(self.first[source], created)
        column = self.columns.setdefault((name, unit, source), Column())
        column.start.append(start)
        column.end.append(end)
        column.value.append(value)
        column.recorded.append(recorded)
        column.row.append(self.tally.read)

    def _number(self, item: dict[str, str]) -> float | None:
        text = item.get("value", "")
        try:
            value = float(text)
        except ValueError:
            return None
        return value if math.isfinite(value) and "_" not in text else None

    def _span(self, name: str, item: dict[str, str], start: int, end: int, recorded: int) -> None:
        row = self.tally.read
        content = (name, start, end, item.get("value"), item.get("workoutActivityType"), item.get("sourceName"))
        if content in self.spans:
            self.tally.duplicates += 1
            self.notes.repair(f"{name}: the same entry again, counted once", 1, row)
            return
        self.spans.add(content)
        if name == SLEEP:
            if item.get("value") not in ASLEEP:
                self.leave("SleepAnalysis: in bed or awake")
            elif end - start > _LONGEST_NIGHT:
                self.refuse("SleepAnalysis longer than a day")
            else:
                self.asleep.append((start, end, recorded))
                self.tally.mapped += 1
            return
        if name == WORKOUT:
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", _PREFIX.sub("", item.get("workoutActivityType", "")))[:40].lower()
            self.events.span(facts.EXERCISE, start, end, row=row, recorded=recorded, note=words)
            self.tally.mapped += 1
            return
        amount = self._number(item)
        if not amount or item.get("unit") != "IU":
            self.refuse("InsulinDelivery without an amount in IU")
            return
        # HKInsulinDeliveryReason: 1 basal, 2 bolus. What a pump gives as basal lasts; a basal dose at one moment is a pen's.
        code = {"1": facts.INSULIN_RAPID if end > start else facts.INSULIN_LONG, "2": facts.INSULIN_RAPID}.get(self.reason)
        if code is None:
            self.refuse("InsulinDelivery without a reason: basal or bolus is not guessed")
            return
        if self.reason == "1" and end == start:
            self.notes.repair("basal insulin at one moment read as long-acting", 1, row)
        try:
            self.events.dose(
                code, "[iU]", start, amount, end=end, row=row, recorded=recorded, id=f"apple-health:{code}:{start}-{end}-{amount:g}"
            )
        except ValueRangeError as error:
            self.refuse(f"InsulinDelivery: {error.expected} was expected")
            return
        self.tally.mapped += 1
