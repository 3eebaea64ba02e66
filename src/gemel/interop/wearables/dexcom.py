"""Dexcom Clarity CSV export: one row per event, rows about patient, device and alerts on top without a time.

Dexcom publishes no specification. The layout is that of public exports and parsers of 2020-2026: fourteen columns, quoted,
often with a byte order mark; local times without a zone; ``Low`` and ``High`` for below 40 and above 400 mg/dL (2.2 and
22.2 mmol/L). Names, serial numbers and transmitter ids are not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gemel.core import Demographics, PatientRecord
from gemel.core.errors import FormatError
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._text import Table, decode, glucose_unit, header_cells, parse_numbers, parse_times, read_table, to_utc
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source

__all__ = ["LAYOUT", "pseudonym"]

_NAME = "Dexcom Clarity export"  # file names of these exports hold the person's name: messages do not repeat them


def pseudonym(kind: str, raw: bytes) -> str:
    """Name an export by its content, since its file name holds a person's."""
    return f"{kind}-{hashlib.sha256(raw).hexdigest()[:8]}"


def _find(columns: Sequence[str], start: str) -> str:
    return next((name for name in columns if name.lower().startswith(start)), "")


def _sniff(name: str, head: bytes) -> bool:
    try:
        line = decode(head, name).lstrip("\ufeff\r\n").splitlines()[0]
    except (FormatError, IndexError):
        return False
    cells = header_cells(line)
    return bool(_find(cells, "event type") and _find(cells, "glucose value") and _find(cells, "timestamp"))


def _pick(cells: Sequence[str], chosen: np.ndarray) -> Sequence[str]:
    return [cells[int(i)] for i in chosen]


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    for source in sources:
        raw = source.read()
        notes = Notes(_NAME, "dexcom")
        table = read_table(decode(raw, _NAME, notes).lstrip("\ufeff"), _NAME, notes)
        columns = list(table.columns)
        time_column, kind_column, glucose_column = (
            _find(columns, "timestamp"),
            _find(columns, "event type"),
            _find(columns, "glucose value"),
        )
        if not (time_column and kind_column and glucose_column):
            raise FormatError(
                f"{_NAME}: columns are missing",
                seen=", ".join(columns)[:160],
                expected="Timestamp, Event Type, Glucose Value",
                fix="export again from Clarity",
            )
        unit = glucose_unit(glucose_column) or "mg/dL"
        timed = np.array([index for index, cell in enumerate(table.columns[time_column]) if cell.strip()], np.int64)
        notes.ignore("rows on patient, device and alerts", table.length - len(timed))
        if not len(timed):
            raise FormatError(
                f"{_NAME} holds no glucose reading", seen="no row with a time", expected="EGV rows", fix="export a period with readings"
            )
        body = Table({name: _pick(cells, timed) for name, cells in table.columns.items()}, len(timed), table.first_row)
        notes.rows = len(timed)
        wall, aware = parse_times([cell.strip() for cell in body.columns[time_column]], _NAME, notes, body)
        time, zone = to_utc(wall, aware, options.tz, notes)
        rows = timed + table.first_row
        kinds = np.array([cell.strip().lower() for cell in body.columns[kind_column]])
        subtypes = np.array([cell.strip().lower() for cell in body.columns.get(_find(columns, "event subtype"), [""] * len(timed))])
        found: list[Any] = []
        for kind, code, origin in (("egv", facts.CGM[unit], "dexcom"), ("calibration", facts.CAPILLARY[unit], "dexcom:calibration")):
            chosen = np.flatnonzero(kinds == kind)
            part = Table({}, len(chosen), table.first_row)
            values, censored = facts.glucose_cells(_pick(body.columns[glucose_column], chosen), unit, part, _NAME, notes)
            series = facts.glucose_series(
                time[chosen],
                values,
                censored,
                time[chosen],
                rows[chosen],
                code=code,
                unit=unit,
                source=origin,
                name=_NAME,
                notes=notes,
                gaps=kind == "egv",
            )
            found += [series] if series is not None else []
        facts.require_glucose([series for series in found if series.source == "dexcom"], _NAME)
        long_acting = np.array(["long" in subtype for subtype in subtypes])
        for kind, mask, column, code, amount_unit in (
            ("carbs", True, "carb value", facts.CARBOHYDRATES, "g"),
            ("insulin", ~long_acting, "insulin value", facts.INSULIN_RAPID, "[iU]"),
            ("insulin", long_acting, "insulin value", facts.INSULIN_LONG, "[iU]"),
        ):
            chosen = np.flatnonzero((kinds == kind) & mask)
            header = _find(columns, column)
            if len(chosen) and header:
                amounts, unreadable, commas, _ = parse_numbers(_pick(body.columns[header], chosen))
                notes.repair("decimal commas read as points", commas)
                if unreadable:
                    notes.unclear(f"{header}: no number", len(unreadable))
                found += facts.dose_exposures(
                    time[chosen], amounts, time[chosen], rows[chosen], code=code, unit=amount_unit, source="dexcom", name=_NAME, notes=notes
                )
        used = {"egv", "calibration", "carbs", "insulin"}
        for kind in sorted(set(kinds.tolist()) - used):
            notes.ignore(f"event {kind[:30]!r}", int((kinds == kind).sum()))
        if options.id is None:
            notes.warn("no pseudonym given: the record is named by its content; pass id= to keep one person under one name across exports")
        record = PatientRecord(
            id=options.id or pseudonym("dexcom", raw), demographics=Demographics(zone=zone, traits={"sensor": "Dexcom"})
        ).with_facts(*found)
        parsed.append((record, notes.report(record)))
    return parsed


LAYOUT = Layout("dexcom", "Dexcom Clarity CSV export", _sniff, _parse)
