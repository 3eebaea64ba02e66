"""OhioT1DM: one XML file per person and part (``*-ws-training.xml``, ``*-ws-testing.xml``).

Times are local (``dd-mm-YYYY HH:MM:SS``) and shifted in date by the publisher; the zone is that of Ohio. Glucose and finger-sticks are mg/dL, basal
rates U/h, boluses U (``square`` and ``square dual`` are given until ``ts_end``), meals grams of carbohydrate. A temporary rate replaces the basal rate from
``ts_begin`` to ``ts_end``. Both parts of one person (same ``patient id``) found together become one record. Access to the data needs an agreement with its
publisher: nothing of it is here.

References
----------
Marling C, Bunescu R. The OhioT1DM dataset for blood glucose level prediction: update 2020. CEUR Workshop Proc. 2675 (2020) 71-74.
"""

from __future__ import annotations

import datetime as dt
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import numpy as np

from gemel.core import Code, Demographics, Finding, PatientRecord, Quantity
from gemel.core.errors import FormatError, TimeError
from gemel.core.time import MINUTE
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._checks import refuse_backwards
from gemel.interop.wearables._events import Events
from gemel.interop.wearables._json import number
from gemel.interop.wearables._pump import Temporary, deliver_steps
from gemel.interop.wearables._text import decode, to_utc
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source

__all__ = ["LAYOUT"]

ZONE = "America/New_York"  # recorded in Ohio
_FORBIDDEN = re.compile(r"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
_PATIENT = re.compile(r"<patient\b[^>]*\b(?:insulin_type|weight|id)\s*=")
_SERIES = {
    "basis_heart_rate": (facts.HEART_RATE, "/min"),
    "basis_steps": (facts.STEPS, "{steps}"),
    "basis_gsr": (Code.parse("gemel:skin-conductance", "Galvanic skin response as the device reports it"), "1"),
    "basis_skin_temperature": (Code.parse("gemel:skin-temperature", "Skin temperature"), "[degF]"),
    "basis_air_temperature": (Code.parse("gemel:air-temperature", "Air temperature beside the skin"), "[degF]"),
    "acceleration": (Code.parse("gemel:acceleration", "Magnitude of acceleration as the device reports it"), "1"),
}
_EVENTS = {
    "stressors": Code.parse("gemel:stress", "Reported stress"),
    "hypo_event": Code.parse("gemel:hypoglycaemia-reported", "Reported hypoglycaemia"),
    "illness": Code.parse("gemel:illness-reported", "Reported illness"),
}
_LONGEST_BOLUS = 24 * 60 * MINUTE


def _sniff(name: str, head: bytes) -> bool:
    try:
        return name.lower().endswith(".xml") and bool(_PATIENT.search(decode(head, name)))
    except FormatError:
        return False


def _root(raw: bytes, name: str, notes: Notes) -> ElementTree.Element:
    body = decode(raw, name, notes)
    if _FORBIDDEN.search(body):
        raise FormatError(
            f"{name} declares a document type or entities", seen="<!DOCTYPE or <!ENTITY", expected="plain XML", fix="remove the declaration"
        )
    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", body.lstrip("\ufeff")))
    except (ElementTree.ParseError, ValueError) as error:
        raise FormatError(f"{name} is not XML", seen=str(error)[:80], expected="an OhioT1DM file", fix="fetch the file again") from error
    if root.tag != "patient":
        raise FormatError(f"{name} is not an OhioT1DM file", seen=f"<{root.tag[:20]}>", expected="<patient>", fix="leave format out")
    return root


def _wall(item: dict[str, str], keys: Sequence[str], name: str, tag: str, row: int) -> int | None:
    """Wall-clock ns; None where the attribute is there and empty (an open end)."""
    written = next((item[key].strip() for key in keys if key in item), None)
    if written == "":
        return None
    try:
        found = dt.datetime.strptime(written or "", "%d-%m-%Y %H:%M:%S")
        if not 1900 <= found.year <= 2200:
            raise ValueError
    except ValueError as error:
        raise TimeError(
            f"event {row} of {tag} in {name} has no readable time",
            seen=repr(written)[:40],
            expected="dd-mm-YYYY HH:MM:SS",
            fix="correct it",
        ) from error
    return int(np.datetime64(found, "ns").astype(np.int64))


class _Reader:
    """Reads the sections of one person's files."""

    def __init__(self, root: ElementTree.Element, events: Events, tz: str) -> None:
        self.root, self.events, self.name, self.notes, self.tz = root, events, events.name, events.notes, tz
        self.last = 0  # of this file: where its last basal rate ends

    def section(self, tag: str) -> list[tuple[int, dict[str, str]]]:
        return [(row, dict(event.attrib)) for part in self.root.findall(tag) for row, event in enumerate(part.findall("event"), 1)]

    def times(self, tag: str, items: Sequence[tuple[int, dict[str, str]]], *keys: str) -> list[int | None]:
        """UTC times; None where an end is open."""
        walls = [_wall(item, keys, self.name, tag, row) for row, item in items]
        known = np.array([wall for wall in walls if wall is not None], np.int64)
        placed = to_utc(known, np.zeros(len(known), bool), self.tz, self.notes)[0].tolist() if len(known) else []
        self.last = max([self.last, *placed])
        utc = iter(placed)
        return [None if wall is None else next(utc) for wall in walls]

    def begun(self, tag: str, items: Sequence[tuple[int, dict[str, str]]], *keys: str) -> list[int]:
        found = self.times(tag, items, *keys)
        for (row, _), time in zip(items, found, strict=True):
            if time is None:
                raise TimeError(f"event {row} of {tag} in {self.name} has no time", expected="dd-mm-YYYY HH:MM:SS")
        return [time for time in found if time is not None]

    def readings(self, tag: str, code: Code, unit: str, source: str = "") -> None:
        items = self.section(tag)
        if tag == "glucose_level":
            walls = [_wall(item, ("ts",), self.name, tag, row) or 0 for row, item in items]
            refuse_backwards(np.array(walls, np.int64), np.array([row for row, _ in items], np.int64), f"{tag} of {self.name}")
        for (row, item), time in zip(items, self.begun(tag, items, "ts"), strict=True):
            value = number(item, "value", self.name, row)
            if value is None or (code == facts.HEART_RATE and value == 0):
                self.notes.ignore(f"{tag}: no value")
            else:
                self.events.reading(code, unit, time, value, row=row, source=source)

    def doses(self) -> None:
        items = self.section("bolus")
        starts, ends = self.begun("bolus", items, "ts_begin", "ts"), self.times("bolus", items, "ts_end", "ts_begin", "ts")
        for (row, item), start, end in zip(items, starts, ends, strict=True):
            kind, amount = item.get("type", ""), number(item, "dose", self.name, row)
            stop = end if "square" in kind and end is not None else start
            if stop - start > _LONGEST_BOLUS:
                raise TimeError(
                    f"bolus {row} of {self.name} lasts longer than a day", seen=f"{(stop - start) / MINUTE:.0f} min", expected="hours"
                )
            if amount:
                self.events.dose(facts.INSULIN_RAPID, "[iU]", start, amount, end=stop, row=row, id=f"ohio:{kind}:{start}" if kind else "")
            else:
                self.notes.ignore("boluses without an amount")
        items = self.section("meal")
        for (row, item), time in zip(items, self.begun("meal", items, "ts"), strict=True):
            amount = number(item, "carbs", self.name, row)
            if amount:
                self.events.dose(facts.CARBOHYDRATES, "g", time, amount, row=row, note=item.get("type", "").strip()[:30])
            else:
                self.events.span(facts.MEAL_UNQUANTIFIED, time, time, row=row, note=item.get("type", "").strip()[:30])

    def basal(self) -> None:
        items = self.section("basal")
        starts = self.begun("basal", items, "ts")
        rates = [number(item, "value", self.name, row) for row, item in items]
        steps = [(start, rate, row) for start, rate, (row, _) in zip(starts, rates, items, strict=True) if rate is not None]
        items = self.section("temp_basal")
        starts, ends = self.begun("temp_basal", items, "ts_begin"), self.times("temp_basal", items, "ts_end")
        temporaries = []
        for (row, item), start, end in zip(items, starts, ends, strict=True):
            rate = number(item, "value", self.name, row)
            if rate is None or end is None:
                self.notes.unclear("temporary rates without a rate or an end")
            elif end < start:
                raise TimeError(f"temporary rate {row} of {self.name} ends before it starts", expected="ts_end at or after ts_begin")
            else:
                temporaries.append(Temporary(start, end, row, rate))
        for piece in deliver_steps(steps, temporaries, self.last):
            self.events.rate(piece.start, piece.end, piece.rate, row=piece.row)

    def activity(self) -> None:
        items = self.section("exercise")
        for (row, item), start in zip(items, self.begun("exercise", items, "ts", "ts_begin"), strict=True):
            minutes = number(item, "duration", self.name, row) or 0.0
            if not 0 <= minutes <= 7 * 24 * 60:
                raise TimeError(f"exercise {row} of {self.name} has an impossible duration", seen=f"{minutes:g} min", expected="minutes")
            note = f"intensity {item['intensity'][:4]} of 10" if item.get("intensity", "").strip() else ""
            self.events.span(facts.EXERCISE, start, start + round(minutes * MINUTE), row=row, note=note)
        for tag, keys in (("sleep", ("ts_begin", "ts_end")), ("basis_sleep", ("tbegin", "tend"))):
            items = self.section(tag)
            for (row, _), one, two in zip(items, self.begun(tag, items, keys[0]), self.times(tag, items, keys[1]), strict=True):
                if two is None:
                    self.notes.unclear(f"{tag} without an end")
                    continue
                start, end = min(one, two), max(one, two)
                if start != one:
                    self.notes.repair(f"{tag}: begin and end written the wrong way round", 1, row)
                asleep = Quantity(value=(end - start) / (60 * MINUTE), unit="h")
                self.events.span(
                    facts.SLEEP, start, end, row=row, quantity=asleep, note="worn sensor" if tag == "basis_sleep" else "reported"
                )
        for tag, code in _EVENTS.items():
            items = self.section(tag)
            for time in self.begun(tag, items, "ts", "ts_begin"):
                self.events.finding(Finding(code=code, time=time, recorded=time, source=self.events.origin))


_KNOWN = {"glucose_level", "finger_stick", "basal", "temp_basal", "bolus", "meal", "exercise", "sleep", "basis_sleep", *_SERIES, *_EVENTS}


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    tz = options.tz or ZONE
    people: dict[str, Events] = {}
    for source in sources:
        notes = Notes(source.base, "ohio")
        root = _root(source.read(), source.base, notes)
        id = root.get("id", "").strip() or source.stem
        if id not in people:
            people[id] = Events(source.base, "ohio", notes)
        events = people[id]
        events.name = source.base
        reader = _Reader(root, events, tz)
        reader.readings("glucose_level", facts.CGM["mg/dL"], "mg/dL")
        reader.readings("finger_stick", facts.CAPILLARY["mg/dL"], "mg/dL", "ohio:meter")
        for tag, (code, unit) in _SERIES.items():
            reader.readings(tag, code, unit)
        reader.doses()
        reader.activity()
        reader.basal()
        for part in root:
            if part.tag not in _KNOWN:
                events.notes.ignore(f"section {part.tag[:30]!r}", max(1, len(part)))
        events.notes.rows += sum(len(part) for part in root)
        if root.get("weight", "").strip() == "99":
            events.notes.warn("weight 99 is the publisher's placeholder: not kept")
    parsed: Parsed = []
    for id, events in people.items():
        events.notes.warn("dates are shifted by the publisher: no season")
        record = PatientRecord(
            id=options.id if options.id and len(people) == 1 else id,
            demographics=Demographics(zone=tz, traits={"diabetes": "T1D", "dataset": "OhioT1DM"}),
        ).with_facts(*events.facts())
        facts.require_glucose(record.find_series(*facts.CGM.values()), events.name)
        parsed.append((record, events.notes.report(record)))
    return parsed


LAYOUT = Layout("ohio", "OhioT1DM XML (glucose, finger-sticks, insulin, meals, exercise, sleep, wristband)", _sniff, _parse)
