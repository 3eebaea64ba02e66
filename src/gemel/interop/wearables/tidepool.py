"""Tidepool's JSON export: a list of data with ``type`` cbg, smbg, bolus, basal, food, wizard or physicalActivity.

Glucose comes in mmol/L (or mg/dL where ``units`` says so) and keeps its unit; durations are milliseconds. A delivered amount counts, not
a programmed one (``expectedNormal``, ``expectedExtended``). Carbohydrate of the bolus calculator counts only where no food entry stands
within 15 min of it. Device and upload identifiers are not kept.

References
----------
Tidepool data model, github.com/tidepool-org/data-model (``device-data/types``), and its documentation of food and physical activity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gemel.core import Demographics, PatientRecord, Quantity
from gemel.core.errors import FormatError, TimeError, UnitError
from gemel.core.series import ABOVE, BELOW, EXACT
from gemel.core.time import MINUTE, SECOND
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._events import Events
from gemel.interop.wearables._json import Item, entries, load_json, moment, number, text
from gemel.interop.wearables._text import decode
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source
from gemel.interop.wearables.dexcom import pseudonym

__all__ = ["LAYOUT"]

_KINDS = re.compile(r'"type"\s*:\s*"(cbg|smbg|bolus|basal|wizard|food|physicalActivity|pumpSettings|upload)"')
_UNITS = {"mmol/L": "mmol/L", "mmol/l": "mmol/L", "mg/dL": "mg/dL", "mg/dl": "mg/dL"}
_MILLISECOND = SECOND // 1000
_LONGEST = 5 * 24 * 3600 * 1000.0  # ms, the data model's own limit for one interval of basal
_SAME_MEAL = 15 * MINUTE
_NUTRIENTS = (("carbohydrate", "net", facts.CARBOHYDRATES), ("protein", "total", facts.PROTEIN), ("fat", "total", facts.FAT))


def _sniff(name: str, head: bytes) -> bool:
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"[", b"{")):
        return False
    try:
        return bool(_KINDS.search(decode(head, name)))
    except FormatError:
        return False


class _Reader:
    """Reads one person's data, type by type."""

    def __init__(self, events: Events) -> None:
        self.events, self.name, self.notes = events, events.name, events.notes
        self.meals: list[int] = []
        self.calculated: list[tuple[int, float, int | None, int, str]] = []

    def id(self, item: Item, part: str) -> str:
        key = text(item, "id") or text(item, "guid")
        return f"{self.events.origin}:{key}:{part}" if key else ""

    def recorded(self, item: Item, row: int) -> int | None:
        stamps = [moment(item[key], self.name, row) for key in ("modifiedTime", "createdTime") if item.get(key) not in (None, "")]
        return max(stamps) if stamps else None

    def length(self, item: Item, row: int) -> int:
        found = number(item, "duration", self.name, row) or 0.0
        if not 0 <= found <= _LONGEST:
            raise TimeError(
                f"entry {row} of {self.name} has an impossible duration",
                seen=f"{found:g} ms",
                expected=f"0 to {_LONGEST:g} ms",
                fix="correct the entry",
            )
        return round(found) * _MILLISECOND

    def glucose(self, item: Item, time: int, recorded: int | None, row: int, kind: str) -> None:
        value, unit = number(item, "value", self.name, row), _UNITS.get(text(item, "units"))
        if value is None:
            self.notes.unclear(f"{kind} entries without a value")
            return
        if unit is None:
            raise UnitError(
                f"entry {row} of {self.name} has glucose in an unknown unit",
                seen=repr(item.get("units"))[:30],
                expected="mmol/L or mg/dL",
                fix="export again; a unit is not guessed",
            )
        censored = EXACT
        annotations = item.get("annotations")
        for note in annotations if isinstance(annotations, list) else []:
            if isinstance(note, dict) and text(note, "code") == "bg/out-of-range":
                censored = {"low": BELOW, "high": ABOVE}.get(text(note, "value"), EXACT)
        if censored:
            self.notes.repair(f"{'LOW' if censored == BELOW else 'HIGH'} kept as censored there", 1, row)
        table, source = (facts.CGM, "") if kind == "cbg" else (facts.CAPILLARY, f"{self.events.origin}:meter")
        self.events.reading(table[unit], unit, time, value, row=row, recorded=recorded, censored=censored, source=source)

    def bolus(self, item: Item, time: int, recorded: int | None, row: int) -> None:
        normal, extended = number(item, "normal", self.name, row), number(item, "extended", self.name, row)
        if normal is None and extended is None:
            self.notes.unclear("boluses without an amount")
            return
        if normal:
            self.events.dose(facts.INSULIN_RAPID, "[iU]", time, normal, recorded=recorded, row=row, id=self.id(item, "normal"))
        if extended:
            end = time + self.length(item, row)
            self.events.dose(facts.INSULIN_RAPID, "[iU]", time, extended, end=end, recorded=recorded, row=row, id=self.id(item, "extended"))

    def basal(self, item: Item, time: int, recorded: int | None, row: int) -> None:
        kind = text(item, "deliveryType")
        rate = 0.0 if kind == "suspend" else number(item, "rate", self.name, row)
        if rate is None and kind == "temp":
            percent, under = number(item, "percent", self.name, row), item.get("suppressed")
            planned = number(under, "rate", self.name, row) if isinstance(under, dict) else None
            rate = None if percent is None or planned is None else percent * planned
        length = self.length(item, row)
        if rate is None:
            self.notes.unclear(f"basal intervals without a rate ({kind[:20] or 'unknown'})")
        elif not length:
            self.notes.ignore("basal intervals without a duration")
        else:
            self.events.rate(time, time + length, rate, row=row, recorded=recorded, id=self.id(item, "basal"))

    def food(self, item: Item, time: int, recorded: int | None, row: int) -> None:
        nutrition: Any = item.get("nutrition")
        found = False
        for key, field, code in _NUTRIENTS if isinstance(nutrition, dict) else ():
            part = nutrition.get(key)
            amount = number(part, field, self.name, row) if isinstance(part, dict) else None
            if not amount or not isinstance(part, dict):
                continue
            if text(part, "units") != "grams":
                raise UnitError(
                    f"entry {row} of {self.name} has {key} in an unknown unit", seen=repr(part.get("units"))[:30], expected="grams"
                )
            self.events.dose(code, "g", time, amount, recorded=recorded, row=row, id=self.id(item, key))
            found = True
            if code == facts.CARBOHYDRATES:
                self.meals.append(time)
        energy: Any = nutrition.get("energy") if isinstance(nutrition, dict) else None
        amount = number(energy, "value", self.name, row) if isinstance(energy, dict) else None
        if amount:
            unit = {"kilocalories": "kcal", "kilojoules": "kJ", "calories": "cal", "joules": "J"}.get(text(energy, "units"))
            if unit is None:
                raise UnitError(
                    f"entry {row} of {self.name} has energy in an unknown unit",
                    seen=repr(energy.get("units"))[:30],
                    expected="kilocalories",
                )
            kcal = Quantity(value=amount, unit=unit).in_unit("kcal")
            self.events.dose(facts.ENERGY, "kcal", time, kcal, recorded=recorded, row=row, id=self.id(item, "energy"))
            found = True
        if not found:
            self.notes.ignore("food entries without an amount")

    def wizard(self, item: Item, time: int, recorded: int | None, row: int) -> None:
        carbs = number(item, "carbInput", self.name, row)
        if not carbs:
            self.notes.ignore("bolus calculations without carbohydrate")
        elif text(item, "carbUnits") == "exchanges":
            self.notes.unclear("carbohydrate in exchanges: grams per exchange are the pump's own, not guessed")
        else:
            self.calculated.append((time, carbs, recorded, row, self.id(item, "carbs")))

    def activity(self, item: Item, time: int, recorded: int | None, row: int) -> None:
        duration: Any = item.get("duration")
        amount = number(duration, "value", self.name, row) if isinstance(duration, dict) else None
        factor = {"seconds": "s", "minutes": "min", "hours": "h"}.get(text(duration, "units")) if isinstance(duration, dict) else None
        if amount is None or factor is None or amount < 0:
            self.notes.unclear("physical activity without a duration")
            return
        minutes = Quantity(value=amount, unit=factor).in_unit("min")
        if minutes > 7 * 24 * 60:
            raise TimeError(f"entry {row} of {self.name} lasts longer than a week", seen=f"{minutes:g} min", expected="an activity")
        note = text(item, "reportedIntensity")[:20]
        self.events.span(
            facts.EXERCISE, time, time + round(minutes * MINUTE), row=row, recorded=recorded, note=note, id=self.id(item, "activity")
        )

    def finish(self) -> None:
        """Add the calculator's carbohydrate where no food entry says it already."""
        for time, carbs, recorded, row, id in self.calculated:
            if any(abs(time - meal) <= _SAME_MEAL for meal in self.meals):
                self.notes.ignore("carbohydrate of the bolus calculator that a food entry within 15 min repeats")
            else:
                self.events.dose(facts.CARBOHYDRATES, "g", time, carbs, recorded=recorded, row=row, id=id)


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    for source in sources:
        raw = source.read()
        notes = Notes(source.base, "tidepool")
        events = Events(source.base, "tidepool", notes)
        reader = _Reader(events)
        users: set[str] = set()
        for row, item in entries(load_json(raw, source.base, notes), source.base, "data"):
            notes.rows += 1
            kind = text(item, "type")
            users.add(text(item, "userId") or text(item, "_userId"))
            if kind not in ("cbg", "smbg", "bolus", "basal", "food", "wizard", "physicalActivity"):
                notes.ignore(f"data of type {kind[:30] or 'unknown'!r}")
                continue
            if item.get("time") in (None, ""):
                raise TimeError(f"entry {row} of {source.base} has no time", expected="a field 'time'", fix="export again")
            time = moment(item["time"], source.base, row, tz=options.tz)
            recorded = reader.recorded(item, row)
            if kind in ("cbg", "smbg"):
                reader.glucose(item, time, recorded, row, kind)
            else:
                {
                    "bolus": reader.bolus,
                    "basal": reader.basal,
                    "food": reader.food,
                    "wizard": reader.wizard,
                    "physicalActivity": reader.activity,
                }[kind](item, time, recorded, row)
        if len(users - {""}) > 1:
            raise FormatError(
                f"{source.base} holds data of {len(users - {''})} people", expected="one person's export", fix="export each person"
            )
        reader.finish()
        if options.tz is None:
            notes.warn("zone unknown: name it (tz=) to have meals at the right hour of the day")
        record = PatientRecord(id=options.id or pseudonym("tidepool", raw), demographics=Demographics(zone=options.tz or "UTC")).with_facts(
            *events.facts()
        )
        facts.require_glucose(record.find_series(*facts.CGM.values()), source.base)
        parsed.append((record, notes.report(record)))
    return parsed


LAYOUT = Layout("tidepool", "Tidepool JSON export (cbg, smbg, bolus, basal, food, wizard, physicalActivity)", _sniff, _parse)
