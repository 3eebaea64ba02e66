"""LibreView CSV export: a line about the export, then one row per event with a record type.

Abbott publishes no specification. The layout is that of public exports and parsers of 2018-2026: nineteen columns, the unit in
the column names; types 0 historic glucose, 1 scan, 2 strip, 3 ketone, 4 insulin, 5 food, 6 notes and clock changes; rows grouped by
device and type; local times without a zone, ``DD-MM-YYYY HH:MM`` or ``MM-DD-YYYY hh:mm AM`` after the account's setting. A
reading below the sensor's range is written as its floor (40 mg/dL, 2.2 mmol/L). Names, serial numbers and free-text notes are not kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from gemel.core import Demographics, Exposure, PatientRecord
from gemel.core.errors import FormatError, TimeError
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._text import Table, decode, glucose_unit, header_cells, parse_numbers, parse_times, read_table, to_utc
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source
from gemel.interop.wearables.dexcom import pseudonym

__all__ = ["LAYOUT"]

_NAME = "LibreView export"  # file names of these exports hold the person's name: messages do not repeat them
_HISTORIC, _SCAN, _STRIP, _KETONE, _INSULIN, _FOOD, _OTHER = range(7)
_LIMITS = {"mg/dL": ((40.0,), (400.0, 500.0)), "mmol/L": ((2.2,), (22.2, 27.8))}
_CALCULATOR = ("meal insulin", "correction insulin", "user change insulin")


def _header_row(text: str) -> int:
    for number, line in enumerate(text.splitlines()[:5]):
        plain = line.lower()
        if "device timestamp" in plain and "record type" in plain:
            return number
    return -1


def _sniff(name: str, head: bytes) -> bool:
    try:
        return _header_row(decode(head, name)) >= 0
    except FormatError:
        return False


def _find(columns: Sequence[str], start: str) -> str:
    return next((name for name in columns if name.lower().startswith(start)), "")


def _order(stamps: Sequence[str], notes: Notes) -> str:
    """Find whether day or month comes first: by AM/PM, by numbers above 12, else day first with a warning."""
    pairs = [(int(m[1]), int(m[2])) for stamp in stamps if (m := re.match(r"\s*(\d{1,2})[-/.](\d{1,2})[-/.]\d{4}", stamp))]
    if not pairs:
        return ""
    first, second = max(a for a, _ in pairs), max(b for _, b in pairs)
    if first > 12 and second > 12:
        raise TimeError(f"{_NAME} mixes day-first and month-first dates", expected="one order", fix="export again with one account setting")
    if first > 12:
        return "day"
    if second > 12 or any(re.search(r"[AP]\.?M\.?$", stamp.strip(), re.IGNORECASE) for stamp in stamps[:50]):
        return "month"
    notes.warn("dates read day first; nothing in the file tells day from month: check one by hand")
    return "day"


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    for source in sources:
        raw = source.read()
        notes = Notes(_NAME, "libreview")
        text = decode(raw, _NAME, notes).lstrip("\ufeff")
        above = _header_row(text)
        if above < 0:
            raise FormatError(
                f"{_NAME}: no header",
                seen=", ".join(header_cells(text.splitlines()[0]))[:60],
                expected="a line with Device Timestamp and Record Type",
                fix="export again",
            )
        record = _read(read_table(text, _NAME, notes, header_row=above), options, notes, pseudonym("libreview", raw))
        parsed.append((record, notes.report(record)))
    return parsed


class _Events:
    """The table, its times and its record types."""

    def __init__(self, table: Table, options: Options, notes: Notes) -> None:
        self.table, self.notes, self.columns = table, notes, list(table.columns)
        if not table.length:
            raise facts.no_rows(_NAME)
        stamps = [cell.strip() for cell in table.columns[_find(self.columns, "device timestamp")]]
        self.kept = np.array([index for index, stamp in enumerate(stamps) if stamp], np.int64)
        notes.ignore("rows without a time", len(stamps) - len(self.kept))
        if not len(self.kept):
            raise FormatError(
                f"{_NAME} holds no glucose reading",
                seen="no row with a time",
                expected="rows of record type 0",
                fix="export a period with readings",
            )
        stamps = [stamps[i] for i in self.kept]
        quiet = Notes(_NAME, "libreview")
        wall, aware = parse_times(stamps, _NAME, quiet, table, order=_order(stamps, notes))
        self.time, self.zone = to_utc(wall, aware, options.tz, notes)
        self.rows = self.kept + table.first_row
        kinds, unreadable, _, _ = parse_numbers(self.cells("record type"))
        self.kinds = np.where(np.isfinite(kinds), kinds, -1).astype(int)
        notes.unclear("record types that are no number", len(unreadable))
        notes.rows = len(self.kept)

    def cells(self, start: str) -> Sequence[str]:
        name = _find(self.columns, start)
        return [self.table.columns[name][int(i)] for i in self.kept] if name else [""] * len(self.kept)

    def numbers(self, start: str) -> np.ndarray:
        values, unreadable, commas, _ = parse_numbers(self.cells(start))
        self.notes.repair("decimal commas read as points", commas)
        self.notes.unclear(f"{start}: no number", len(unreadable))
        return values


def _read(table: Table, options: Options, notes: Notes, name: str) -> PatientRecord:
    events = _Events(table, options, notes)
    found: list[Any] = []
    for kind, start, origin in (
        (_HISTORIC, "historic glucose", "historic"),
        (_SCAN, "scan glucose", "scan"),
        (_STRIP, "strip glucose", "strip"),
    ):
        header = _find(events.columns, start)
        if not header:
            continue
        unit = glucose_unit(header) or "mg/dL"
        chosen = np.flatnonzero(events.kinds == kind)
        cells = events.cells(start)
        values, censored = facts.glucose_cells(
            [cells[int(i)] for i in chosen], unit, Table({}, len(chosen), table.first_row), _NAME, notes, low=40.0, high=500.0
        )
        if kind != _STRIP:
            censored = facts.limit_hits(values, censored, notes, lows=_LIMITS[unit][0], highs=_LIMITS[unit][1])
        code = (facts.CAPILLARY if kind == _STRIP else facts.CGM)[unit]
        series = facts.glucose_series(
            events.time[chosen],
            values,
            censored,
            events.time[chosen],
            events.rows[chosen],
            code=code,
            unit=unit,
            source=f"libreview:{origin}",
            name=_NAME,
            notes=notes,
            gaps=kind == _HISTORIC,
        )
        found += [series] if series is not None else []
    facts.require_glucose([series for series in found if series.code in facts.CGM.values()], _NAME)
    ketone = np.where(events.kinds == _KETONE, events.numbers("ketone"), np.nan)
    series = facts.plain_series(events.time, ketone, events.rows, code=facts.KETONE, unit="mmol/L", source="libreview:ketone", notes=notes)
    found += [series] if series is not None else []
    found += _inputs(events, notes)
    notes.ignore("notes and clock changes (record type 6)", int((events.kinds == _OTHER).sum()))
    notes.ignore("other record types", int(((events.kinds < 0) | (events.kinds > _OTHER)).sum()))
    notes.ignore("free-text notes", sum(bool(cell.strip()) for cell in events.cells("notes")))
    if options.id is None:
        notes.warn("no pseudonym given: the record is named by its content; pass id= to keep one person under one name across exports")
    return PatientRecord(
        id=options.id or name, demographics=Demographics(zone=events.zone, traits={"sensor": "FreeStyle Libre"})
    ).with_facts(*found)


def _inputs(events: _Events, notes: Notes) -> list[Exposure]:
    found: list[Exposure] = []
    common = {"source": "libreview", "name": _NAME, "notes": notes}
    insulin, food = events.kinds == _INSULIN, events.kinds == _FOOD
    parts = np.nansum([events.numbers(start) for start in _CALCULATOR], axis=0)
    rapid = np.where(insulin, events.numbers("rapid-acting insulin"), np.nan)
    from_parts = insulin & ~(rapid > 0) & (parts > 0)
    rapid = np.where(from_parts, parts, rapid)
    notes.repair("rapid insulin summed from the bolus calculator's meal, correction and change", int(from_parts.sum()))
    long_acting = np.where(insulin, events.numbers("long-acting insulin"), np.nan)
    carbs = np.where(food, events.numbers("carbohydrates (grams)"), np.nan)
    for amounts, code, unit in (
        (rapid, facts.INSULIN_RAPID, "[iU]"),
        (long_acting, facts.INSULIN_LONG, "[iU]"),
        (carbs, facts.CARBOHYDRATES, "g"),
    ):
        found += facts.dose_exposures(events.time, amounts, events.time, events.rows, code=code, unit=unit, **common)
    servings = events.numbers("carbohydrates (servings)")
    for mask, code, note in (
        (food & ~(carbs > 0), facts.MEAL_UNQUANTIFIED, "food without grams of carbohydrate"),
        (insulin & ~(rapid > 0) & _filled(events.cells("non-numeric rapid")), facts.INSULIN_RAPID, "dose not stated"),
        (insulin & ~(long_acting > 0) & _filled(events.cells("non-numeric long")), facts.INSULIN_LONG, "dose not stated"),
    ):
        for index in np.flatnonzero(mask):
            start = int(events.time[index])
            text = f"{note}; {servings[index]:g} servings" if code == facts.MEAL_UNQUANTIFIED and servings[index] > 0 else note
            found.append(Exposure(code=code, quantity=None, start=start, end=start, recorded=start, source="libreview", note=text))
        if mask.any():
            notes.warn(f"{code.display}: {int(mask.sum())} kept without an amount ({note})")
    return found


def _filled(cells: Sequence[str]) -> np.ndarray:
    return np.array([bool(cell.strip()) for cell in cells])


LAYOUT = Layout("libreview", "LibreView CSV export", _sniff, _parse)
