"""Open mHealth and IEEE 1752.1 data points: glucose, heart rate, steps, sleep, weight and physical activity.

A document is a data point (``header`` and ``body``), a body alone, a list of either, or one per line. The body says what it measures by its
own key (``blood_glucose``, ``heart_rate``, ``step_count``, ``sleep_duration``, ``total_sleep_time``, ``body_weight``, ``activity_name``). Glucose without
``specimen_source`` is not placed: a sensor's reading and a finger-stick are not the same thing. Values that summarise a period (``descriptive_statistic``)
are not readings and are listed as ignored.

References
----------
Open mHealth schemas, github.com/openmhealth/schemas (Apache-2.0); IEEE 1752.1-2021.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from gemel.core import Demographics, Finding, PatientRecord, Quantity
from gemel.core.errors import FormatError, TimeError, UnitError
from gemel.core.record import Fact
from gemel.core.time import SECOND
from gemel.core.units import convert
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._events import Events
from gemel.interop.wearables._json import Item, entries, load_json, moment, number, quantity_pair, text
from gemel.interop.wearables._text import decode
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source

__all__ = ["LAYOUT", "SPECIMENS"]

_BODY = re.compile(
    r'"(blood_glucose|heart_rate|step_count|sleep_duration|total_sleep_time|body_weight|activity_name|effective_time_frame)"\s*:'
)
_MARK = re.compile(r'"(effective_time_frame|schema_id)"\s*:')
SPECIMENS = {"interstitial fluid": facts.CGM, "capillary blood": facts.CAPILLARY}
"""Specimen -> code by unit. Plasma, serum, tears and whole blood are listed, not placed."""
_DURATIONS = {"sec": "s", "min": "min", "h": "h", "d": "d", "wk": "wk", "ms": "ms"}
_MASSES = {"kg": "kg", "g": "g", "lb": "[lb_av]", "oz": "[oz_av]"}
_EPISODE = ("latency_to_sleep_onset", "latency_to_arising", "wake_after_sleep_onset", "number_of_awakenings", "is_main_sleep")
_LONGEST = 31 * 24 * 3600.0  # s, of one interval


def _sniff(name: str, head: bytes) -> bool:
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"[", b"{")):
        return False
    try:
        body = decode(head, name)
    except FormatError:
        return False
    return bool(_BODY.search(body) and _MARK.search(body))


def _known_unit(table: dict[str, str], value: Any, name: str, row: int, key: str) -> tuple[float, str]:
    amount, unit = quantity_pair(value, name, row, key)
    if unit not in table:
        raise UnitError(
            f"entry {row} of {name} has {key} in an unknown unit", seen=unit[:30], expected=", ".join(table), fix="a unit is not guessed"
        )
    return amount, table[unit]


def _frame(body: Item, name: str, row: int, tz: str | None) -> tuple[int, int] | None:
    """Start and end of the effective time frame; None when it names only a part of a day."""
    frame: Any = body.get("effective_time_frame")
    if not isinstance(frame, dict):
        raise TimeError(f"entry {row} of {name} has no effective_time_frame", expected="date_time or time_interval")
    if frame.get("date_time") is not None:
        at = moment(frame["date_time"], name, row, tz=tz)
        return at, at
    interval: Any = frame.get("time_interval")
    if not isinstance(interval, dict):
        raise TimeError(f"entry {row} of {name} has no time", seen=repr(frame)[:60], expected="date_time or time_interval")
    start = moment(interval["start_date_time"], name, row, tz=tz) if interval.get("start_date_time") is not None else None
    end = moment(interval["end_date_time"], name, row, tz=tz) if interval.get("end_date_time") is not None else None
    if start is None and end is None:
        return None
    if start is None or end is None:
        length, unit = _known_unit(_DURATIONS, interval.get("duration"), name, row, "duration")
        seconds = convert(length, unit, "s")
        if not 0 <= seconds <= _LONGEST:
            raise TimeError(f"entry {row} of {name} has an impossible duration", seen=f"{length:g} {unit}", expected="0 to 31 days")
        start, end = (start, start + round(seconds * SECOND)) if start is not None else ((end or 0) - round(seconds * SECOND), end or 0)
    if end < start:
        raise TimeError(f"entry {row} of {name} ends before it starts", expected="an end at or after the start", fix="correct the clock")
    return start, end


class _Reader:
    """Reads one person's bodies by their own key."""

    def __init__(self, events: Events) -> None:
        self.events, self.name, self.notes = events, events.name, events.notes
        self.source = ""  # of the data point at hand: two devices are two series

    def read(self, body: Item, row: int, recorded: int | None, tz: str | None, schema: str = "") -> None:
        kinds = {
            "blood_glucose": self._glucose,
            "heart_rate": self._heart_rate,
            "step_count": self._steps,
            "sleep_duration": self._sleep,
            "total_sleep_time": self._sleep,
            **dict.fromkeys(_EPISODE, self._sleep),
            "body_weight": self._weight,
            "activity_name": self._activity,
        }
        key = next((key for key in kinds if key in body), "is_main_sleep" if schema == "sleep-episode" else "")
        if not key:
            named = next((k for k in body if k not in ("effective_time_frame", "descriptive_statistic", "user_notes")), "nothing")
            self.notes.ignore(f"body {str(named)[:40]!r}")
            return
        frame = _frame(body, self.name, row, tz) if "effective_time_frame" in body else None
        if frame is None:
            self.notes.unclear(f"{key} without a moment (a part of a day, or no time frame)")
        elif text(body, "descriptive_statistic") and not (key == "step_count" and text(body, "descriptive_statistic") == "count"):
            self.notes.ignore(f"{key}: {text(body, 'descriptive_statistic')[:30]} of a period, not a reading")
        else:
            known = None if recorded is None else max(recorded, frame[1]) if recorded + 120 * SECOND >= frame[1] else recorded
            kinds[key](body, frame, row, known)

    def _glucose(self, body: Item, frame: tuple[int, int], row: int, recorded: int | None) -> None:
        value, unit = quantity_pair(body["blood_glucose"], self.name, row, "blood_glucose")
        specimen = text(body, "specimen_source") or text(body, "blood_specimen_type")
        if unit not in ("mg/dL", "mmol/L"):
            raise UnitError(f"entry {row} of {self.name} has glucose in an unknown unit", seen=unit[:30], expected="mg/dL or mmol/L")
        if specimen not in SPECIMENS:
            self.notes.unclear(f"glucose of specimen {specimen[:30] or 'not stated'!r}")
            return
        code = SPECIMENS[specimen][unit]
        source = self.source or ("" if specimen == "interstitial fluid" else f"{self.events.origin}:meter")
        self.events.reading(code, unit, frame[1], value, row=row, recorded=recorded, source=source)
        relation = text(body, "temporal_relationship_to_meal")[:40]
        if relation:
            known = max(recorded or frame[1], frame[1])
            self.events.finding(
                Finding(
                    code=facts.RELATION_TO_MEAL, value=relation, time=frame[1], recorded=known, source=self.source or self.events.origin
                )
            )

    def _heart_rate(self, body: Item, frame: tuple[int, int], row: int, recorded: int | None) -> None:
        value, _ = _known_unit({"beats/min": "/min"}, body["heart_rate"], self.name, row, "heart_rate")
        self.events.reading(facts.HEART_RATE, "/min", frame[1], value, row=row, recorded=recorded, source=self.source)

    def _steps(self, body: Item, frame: tuple[int, int], row: int, recorded: int | None) -> None:
        given = body["step_count"]
        if isinstance(given, dict):
            value, _ = _known_unit({"steps": "{steps}"}, given, self.name, row, "step_count")
        else:  # version 1.0 writes a bare count, which is its own unit
            value = number(body, "step_count", self.name, row) or 0.0
        self.events.reading(facts.STEPS, "{steps}", frame[1], value, row=row, recorded=recorded, source=self.source)

    def _sleep(self, body: Item, frame: tuple[int, int], row: int, recorded: int | None) -> None:
        key = next((key for key in ("sleep_duration", "total_sleep_time") if key in body), "")
        if not key:  # an episode of which only the time in bed is known
            self.events.span(facts.SLEEP, *frame, row=row, recorded=recorded)
            return
        length, unit = _known_unit(_DURATIONS, body[key], self.name, row, key)
        hours = convert(length, unit, "h")
        if not 0 <= hours <= 24 * 31:
            raise TimeError(f"entry {row} of {self.name} has an impossible length of sleep", seen=f"{hours:g} h", expected="0 or more")
        self.events.span(facts.SLEEP, *frame, quantity=Quantity(value=hours, unit="h"), row=row, recorded=recorded)

    def _weight(self, body: Item, frame: tuple[int, int], row: int, recorded: int | None) -> None:
        value, unit = _known_unit(_MASSES, body["body_weight"], self.name, row, "body_weight")
        self.events.reading(facts.WEIGHT, "kg", frame[1], convert(value, unit, "kg"), row=row, recorded=recorded, source=self.source)

    def _activity(self, body: Item, frame: tuple[int, int], row: int, recorded: int | None) -> None:
        note = " ".join(part for part in (text(body, "activity_name")[:40], text(body, "reported_activity_intensity")[:20]) if part)
        self.events.span(facts.EXERCISE, *frame, row=row, recorded=recorded, note=note)
        moved = body.get("base_movement_quantity")
        if isinstance(moved, dict) and moved.get("unit") == "steps":
            self._steps({"step_count": moved}, frame, row, recorded)
        if body.get("kcal_burned") is not None:
            energy, _ = _known_unit({"kcal": "kcal"}, body["kcal_burned"], self.name, row, "kcal_burned")
            self.events.reading(facts.ENERGY_SPENT, "kcal", frame[1], energy, row=row, recorded=recorded, source=self.source)


def _people(sources: Sequence[Source]) -> dict[str, list[tuple[str, int, Item, Item]]]:
    people: dict[str, list[tuple[str, int, Item, Item]]] = {}
    for source in sources:
        for row, item in entries(load_json(source.read(), source.base), source.base, "body"):
            header, body = item.get("header"), item.get("body")
            if isinstance(body, dict):
                header = header if isinstance(header, dict) else {}
            else:
                header, body = {}, item
            people.setdefault(text(header, "user_id"), []).append((source.base, row, header, body))
    return people


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    people = _people(sources)
    for user, points in people.items():
        name = points[0][0]
        notes = Notes(name, "open-mhealth", rows=len(points))
        events = Events(name, "open-mhealth", notes)
        reader = _Reader(events)
        for file, row, header, body in points:
            events.name = reader.name = file
            created = header.get("creation_date_time") or header.get("source_creation_date_time")  # Open mHealth; IEEE 1752.1
            recorded = None if created is None else moment(created, file, row, tz=options.tz)
            schema = header.get("schema_id")
            provenance = header.get("acquisition_provenance")
            named = text(provenance, "source_name")[:40] if isinstance(provenance, dict) else ""
            reader.source = f"open-mhealth:{named}" if named else ""
            reader.read(body, row, recorded, options.tz, text(schema, "name") if isinstance(schema, dict) else "")
        events.name = name
        found: list[Fact] = events.facts()
        if not found:
            raise FormatError(
                f"{name} holds nothing that can be placed",
                seen="; ".join([*notes.ignored, *notes.unparsed])[:200],
                expected="glucose with a specimen_source, heart rate, steps, sleep, weight or activity",
                fix="state the specimen: interstitial fluid or capillary blood",
            )
        if options.tz is None:
            notes.warn("zone unknown: name it (tz=) to have meals at the right hour of the day")
        stamp = hashlib.sha256((user or name).encode()).hexdigest()[:8]  # user ids can be addresses
        id = options.id if options.id and len(people) == 1 else f"open-mhealth-{stamp}"
        record = PatientRecord(id=id, demographics=Demographics(zone=options.tz or "UTC")).with_facts(*found)
        parsed.append((record, notes.report(record)))
    return parsed


LAYOUT = Layout(
    "open-mhealth", "Open mHealth and IEEE 1752.1 data points (glucose, heart rate, steps, sleep, weight, activity)", _sniff, _parse
)
