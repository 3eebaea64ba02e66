"""Nightscout: ``entries``, ``treatments`` and ``profile`` as the server's API or a database dump writes them.

``sgv`` is mg/dL whatever the site displays. Values up to 12 are a sensor's error codes, 13 to 39 stand for LOW, 401 for HIGH. A folder
with the three files (or one object with the three lists) is one person. Without a profile only temporary rates are known, and percent
rates are not: the report says so. Names, notes, devices and addresses are not kept.

References
----------
Nightscout cgm-remote-monitor, ``lib/client/careportal.js`` (a combo bolus: ``insulin`` is the part given at once, ``relative`` the rate
of the rest in U/h) and its API description; the layout has no other specification.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemel.core import Code, Demographics, PatientRecord
from gemel.core.errors import FormatError, TimeError
from gemel.core.series import ABOVE, BELOW, EXACT
from gemel.core.time import MINUTE, zone
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._checks import check_glucose, check_rates
from gemel.interop.wearables._events import Events
from gemel.interop.wearables._json import Item, entries, load_json, moment, number, text
from gemel.interop.wearables._pump import Schedule, Temporary, deliver
from gemel.interop.wearables._text import decode
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source
from gemel.interop.wearables.dexcom import pseudonym

__all__ = ["LAYOUT"]

_ENTRY = re.compile(r'"(sgv|mbg)"\s*:')
_TREATMENT = re.compile(r'"eventType"\s*:')
_PROFILE = re.compile(r'"(defaultProfile|store)"\s*:')
_DATE = re.compile(r'"(date|dateString|created_at|startDate|mills)"\s*:')
_ERROR_CODES = 12  # of Dexcom receivers, as Nightscout passes them on
_LOW, _LOW_LIMIT, _HIGH, _HIGH_LIMIT = 39.0, 40.0, 401.0, 400.0
_MAX_MINUTES = 7 * 24 * 60.0  # of a temporary rate or an extended bolus; longer is a wrong unit
_FINGER_UNITS = {"mg/dl": "mg/dL", "mg/dL": "mg/dL", "mmol": "mmol/L", "mmol/l": "mmol/L", "mmol/L": "mmol/L"}
_LISTS = ("entries", "treatments", "profile")


def _sniff(name: str, head: bytes) -> bool:
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"[", b"{")):
        return False
    try:
        body = decode(head, name)
    except FormatError:
        return False
    return bool(_DATE.search(body) and (_ENTRY.search(body) or _TREATMENT.search(body) or (_PROFILE.search(body))))


def _lists(found: Any, name: str) -> dict[str, list[Item]]:
    """Sort a document into entries, treatments and profiles."""
    if isinstance(found, dict) and any(isinstance(found.get(key), list) for key in _LISTS):
        return {key: [item for _, item in entries(found.get(key) or [], name)] for key in _LISTS}
    sorted_out: dict[str, list[Item]] = {key: [] for key in _LISTS}
    for _, item in entries(found, name, "result"):
        if "store" in item or "defaultProfile" in item:
            sorted_out["profile"].append(item)
        elif "eventType" in item or ("created_at" in item and "sgv" not in item and "mbg" not in item):
            sorted_out["treatments"].append(item)
        else:
            sorted_out["entries"].append(item)
    return sorted_out


def _recorded(item: Item, name: str, row: int, time: int) -> int:
    stamps = [moment(item[key], name, row) for key in ("srvModified", "srvCreated") if item.get(key) is not None]
    return max(stamps) if stamps else time


def _when(item: Item, name: str, row: int, keys: Sequence[str], tz: str | None) -> int:
    for key in keys:
        if item.get(key) not in (None, ""):
            return moment(item[key], name, row, tz=tz)
    raise TimeError(f"entry {row} of {name} has no time", expected=f"one of {', '.join(keys)}", fix="export the collection again")


def _is_code(value: float) -> bool:
    return 0 < value <= _ERROR_CODES and value == int(value)


def _entries(items: Sequence[Item], events: Events, tz: str | None) -> None:
    name, notes = events.name, events.notes
    readings: list[tuple[str, int, float, int, int]] = []
    devices: set[str] = set()
    for row, item in enumerate(items, 1):
        kind = text(item, "type") or next((key for key in ("sgv", "mbg") if key in item), "")
        if kind not in ("sgv", "mbg") or item.get("isValid") is False:
            notes.ignore(f"entries of type {kind[:20] or 'unknown'!r}" if kind not in ("sgv", "mbg") else "entries deleted at the source")
            continue
        value = number(item, kind, name, row)
        if value is None:
            notes.unclear(f"{kind} entries without a value")
            continue
        time = _when(item, name, row, ("date", "mills", "dateString", "sysTime"), tz)
        devices.add(text(item, "device"))
        readings.append((kind, time, value, _recorded(item, name, row, time), row))
    sensor = np.array([value for kind, _, value, _, _ in readings if kind == "sgv" and not _is_code(value)])
    rows = [row for kind, _, value, _, row in readings if kind == "sgv" and not _is_code(value)]
    check_glucose(sensor, np.zeros(len(sensor), np.int8), "mg/dL", lambda i: rows[i], name, Notes("", ""))  # before codes hide the unit
    for kind, time, value, recorded, row in readings:
        censored = EXACT
        if kind == "sgv" and _is_code(value):
            notes.ignore(f"sensor error code {value:g}")
            continue
        if kind == "sgv" and 0 < value <= _LOW:
            value, censored = _LOW_LIMIT, BELOW
            notes.repair(f"LOW kept as censored below {_LOW_LIMIT:g} mg/dL", 1, row)
        elif kind == "sgv" and value == _HIGH:
            value, censored = _HIGH_LIMIT, ABOVE
            notes.repair(f"HIGH kept as censored above {_HIGH_LIMIT:g} mg/dL", 1, row)
        code = facts.CGM["mg/dL"] if kind == "sgv" else facts.CAPILLARY["mg/dL"]
        source = "" if kind == "sgv" else f"{events.origin}:meter"
        events.reading(code, "mg/dL", time, value, row=row, recorded=recorded, censored=censored, source=source)
    if len(devices - {""}) > 1:
        notes.warn(f"readings of {len(devices - {''})} devices stand in one series: two sensors worn at once are not told apart")


def _length(item: Item, name: str, row: int) -> int:
    """Duration in ns; the field is minutes."""
    found = number(item, "duration", name, row) or 0.0
    if not 0 <= found <= _MAX_MINUTES:
        raise TimeError(
            f"entry {row} of {name} has an impossible duration",
            seen=f"{found:g} min",
            expected=f"0 to {_MAX_MINUTES:g} min",
            fix="the field is minutes, not milliseconds: correct the entry",
        )
    return round(found * MINUTE)


def _combo(item: Item, name: str, row: int, minutes: float) -> tuple[float, float]:
    """Units given at once and units given over the duration."""
    entered, now = number(item, "enteredinsulin", name, row), number(item, "insulin", name, row)
    share, relative = number(item, "splitExt", name, row), number(item, "relative", name, row)
    if entered is not None and share is not None:
        later = entered * share / 100.0
        return (entered - later if now is None else now), later
    return now or 0.0, (relative or 0.0) * minutes / 60.0


@dataclass(frozen=True)
class _Giver:
    """Adds the amounts of one treatment, each under an identifier of its own."""

    events: Events
    key: str
    time: int
    recorded: int
    row: int

    def dose(self, code: Code, unit: str, amount: float | None, part: str, end: int | None = None) -> bool:
        if not amount:
            return False
        id = f"{self.events.origin}:{self.key}:{part}" if self.key else ""
        self.events.dose(code, unit, self.time, amount, end=end, recorded=self.recorded, row=self.row, id=id)
        return True


def _treatments(items: Sequence[Item], events: Events, tz: str | None) -> tuple[list[Temporary], list[tuple[int, Item, int]]]:
    """Read treatments; returns temporary rates and profile switches, which need the profile."""
    name, notes = events.name, events.notes
    temporaries: list[Temporary] = []
    switches: list[tuple[int, Item, int]] = []
    for row, item in enumerate(items, 1):
        kind = text(item, "eventType")
        if item.get("isValid") is False:
            notes.ignore("treatments deleted at the source")
            continue
        time = _when(item, name, row, ("mills", "date", "created_at", "timestamp"), tz)
        recorded = _recorded(item, name, row, time)
        key = text(item, "identifier") or text(item, "_id")
        timed = kind == "Combo Bolus" or kind.startswith("Temp Basal") or kind == "Exercise" or "splitExt" in item
        length = _length(item, name, row) if timed else 0
        give = _Giver(events, key, time, recorded, row)
        used = False
        if kind == "Combo Bolus" or "splitExt" in item:
            now, later = _combo(item, name, row, length / MINUTE)
            used |= give.dose(facts.INSULIN_RAPID, "[iU]", now, "insulin")
            used |= give.dose(facts.INSULIN_RAPID, "[iU]", later, "extended", time + length)
        else:
            used |= give.dose(facts.INSULIN_RAPID, "[iU]", number(item, "insulin", name, row), "insulin")
        used |= give.dose(facts.CARBOHYDRATES, "g", number(item, "carbs", name, row), "carbs")
        used |= give.dose(facts.PROTEIN, "g", number(item, "protein", name, row), "protein")
        used |= give.dose(facts.FAT, "g", number(item, "fat", name, row), "fat")
        if kind.startswith("Temp Basal"):
            rate = number(item, "absolute", name, row)
            rate = number(item, "rate", name, row) if rate is None else rate
            percent = number(item, "percent", name, row)
            if rate is not None or percent is not None or length == 0:
                factor = None if rate is not None or percent is None else max(0.0, 1.0 + percent / 100.0)
                temporaries.append(Temporary(time, time + length, row, rate, factor, recorded))
                used = True
        elif kind == "Profile Switch":
            switches.append((time, item, row))
            used = True
        elif kind == "Exercise" and length:
            events.span(facts.EXERCISE, time, time + length, row=row, recorded=recorded)
            used = True
        elif kind == "BG Check" and item.get("glucose") is not None and text(item, "glucoseType") != "Sensor":
            value, unit = number(item, "glucose", name, row), _FINGER_UNITS.get(text(item, "units"))
            if value is None or unit is None:
                notes.unclear("finger-stick values without a unit: not guessed")
            else:
                events.reading(facts.CAPILLARY[unit], unit, time, value, row=row, recorded=recorded, source=f"{events.origin}:meter")
            used = True
        if not used:
            notes.ignore(f"treatments of type {kind[:30] or 'unknown'!r}")
        if text(item, "insulinInjections") not in ("", "[]"):
            notes.warn("kinds of injected insulin are not read: every dose is taken as fast acting")
    return temporaries, switches


def _seconds(entry: Item, name: str, row: int) -> int:
    given = number(entry, "timeAsSeconds", name, row)
    if given is None:
        hours, _, minutes = text(entry, "time").partition(":")
        try:
            given = int(hours) * 3600 + int(minutes or 0) * 60
        except ValueError as error:
            raise FormatError(
                f"a basal entry of profile {row} of {name} has no time of day", seen=text(entry, "time")[:20], expected="HH:MM"
            ) from error
    if not 0 <= given < 86_400:
        raise FormatError(f"a basal entry of profile {row} of {name} lies outside the day", seen=given, expected="0 to 86399 s")
    return int(given)


def _schedule(store: Any, start: int, name: str, row: int, tz: str, factor: float = 1.0) -> Schedule | None:
    basal = store.get("basal") if isinstance(store, dict) else None
    if not isinstance(basal, list) or not basal:
        return None
    points = sorted((_seconds(entry, name, row), (number(entry, "value", name, row) or 0.0) * factor) for _, entry in entries(basal, name))
    if points[0][0] != 0:
        points.insert(0, (0, points[-1][1]))  # the day begins with what ran before midnight
    rates = np.array([rate for _, rate in points])
    check_rates(rates, np.full(len(points), row), name)
    return Schedule(start, tuple(s for s, _ in points), tuple(rates.tolist()), tz)


def _zone(profiles: Sequence[Item], notes: Notes) -> str | None:
    """Zone of the newest profile that names one."""
    for item in profiles:
        stores = item.get("store")
        for store in stores.values() if isinstance(stores, dict) else ():
            given = text(store, "timezone") if isinstance(store, dict) else ""
            for candidate in (given, given.replace("ETC/", "Etc/")):
                try:
                    return zone(candidate).key if candidate else None
                except TimeError:
                    continue
            if given:
                notes.unclear(f"time zone of the profile: {given[:30]!r}")
    return None


def _schedules(profiles: Sequence[Item], switches: Sequence[tuple[int, Item, int]], events: Events, tz: str, first: int) -> list[Schedule]:
    name, notes = events.name, events.notes
    found: list[Schedule] = []
    stores: Item = {}
    for row, item in enumerate(profiles, 1):
        documents = item.get("store")
        if not isinstance(documents, dict):
            notes.unclear("profiles without a store")
            continue
        stores = documents | stores  # the newest document comes first
        start = moment(item["startDate"], name, row, tz=tz) if item.get("startDate") not in (None, "") else first
        schedule = _schedule(documents.get(text(item, "defaultProfile")), start, name, row, tz)
        if schedule is None:
            notes.unclear("profiles without a basal schedule")
        else:
            found.append(schedule)
    for time, item, row in switches:
        factor = (number(item, "percentage", name, row) or 100.0) / 100.0
        length = _length(item, name, row)
        schedule = _schedule(stores.get(text(item, "profile")), time, name, row, tz, factor)
        if schedule is None:
            notes.unclear("profile switches to a profile that is not in the export")
            continue
        before = max((s for s in found if s.start <= time), key=lambda s: s.start, default=None)
        found.append(schedule)
        if length and before is not None:
            found.append(Schedule(time + length, before.seconds, before.rates, before.tz))
    return found


def _person(lists: dict[str, list[Item]], name: str, notes: Notes, options: Options, id: str) -> tuple[PatientRecord, Notes]:
    events = Events(name, "nightscout", notes)
    place = options.tz or _zone(lists["profile"], notes)
    _entries(lists["entries"], events, place)
    temporaries, switches = _treatments(lists["treatments"], events, place)
    notes.rows = sum(map(len, lists.values()))
    marks = [*(t.start for t in temporaries), *(time for time, _, _ in switches), *(events.bounds or ())]
    if marks and (temporaries or lists["profile"]):
        start, stop = min(marks), max(marks)
        schedules = _schedules(lists["profile"], switches, events, place or "UTC", start)
        stretches, unknown = deliver(schedules, temporaries, start, stop)
        if unknown:
            notes.unclear("percent basal rates without a schedule to relate to", unknown)
        if not schedules:
            notes.warn("no basal schedule in the export: between temporary rates the pump's rate is unknown")
        for piece in stretches:
            events.rate(piece.start, piece.end, piece.rate, row=piece.row, recorded=piece.recorded if piece.temporary else piece.start)
    if place is None:
        notes.warn("zone unknown: name it (tz=) to have meals at the right hour of the day")
    found = events.facts()
    record = PatientRecord(id=id, demographics=Demographics(zone=place or "UTC")).with_facts(*found)
    facts.require_glucose(record.find_series(*facts.CGM.values()), name)
    return record, notes


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    people: dict[str, list[Source]] = {}
    for source in sources:
        people.setdefault(source.name.rpartition("/")[0], []).append(source)
    parsed: Parsed = []
    for folder, files in people.items():
        name = files[0].base if len(files) == 1 else folder.rpartition("/")[2] or "Nightscout export"
        notes = Notes(name, "nightscout")
        lists: dict[str, list[Item]] = {key: [] for key in _LISTS}
        raw = b""
        for source in files:
            content = source.read()
            raw += content
            for key, items in _lists(load_json(content, source.base, notes, extended=True), source.base).items():
                lists[key] += items
        label = folder.rpartition("/")[2] if len(people) > 1 and folder else ""
        record, notes = _person(lists, name, notes, options, label or options.id or pseudonym("nightscout", raw))
        parsed.append((record, notes.report(record)))
    return parsed


LAYOUT = Layout("nightscout", "Nightscout entries, treatments and profile (JSON files or a folder of them)", _sniff, _parse)
