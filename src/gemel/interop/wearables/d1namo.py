"""D1NAMO as tabulated by GlucoBench: glucose, insulin, energy of meals and a chest strap, every 5 min, nine people with type 1 diabetes.

Zero means *absent* in this table, also for insulin and meals: not "none". Glucose is clipped at 39.6 and 399.6 mg/dL.
Meals are energy, not carbohydrate; turning one into the other is the business of the twin's room, which knows how uncertain that is.

References
----------
Dubosson F et al. 2018, doi:10.1016/j.imu.2018.09.003; data doi:10.5281/zenodo.5651217 (CC BY-SA 4.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gemel.core import Code, Demographics, PatientRecord
from gemel.core.errors import FormatError
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._text import decode, header_cells, parse_numbers, parse_times, read_table, to_utc
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source

__all__ = ["LAYOUT"]

ZONE = "Europe/Zurich"  # recorded in Switzerland
_SERIES = {
    "HR": (Code.parse("loinc:8867-4"), "/min"),
    "BR": (Code.parse("loinc:9279-1"), "/min"),
    "Activity": (Code.parse("gemel:activity-level"), "1"),
    "HRV": (Code.parse("gemel:heart-rate-variability"), "1"),
}
_DOSES = {"fast_insulin": (facts.INSULIN_RAPID, "[iU]"), "slow_insulin": (facts.INSULIN_LONG, "[iU]"), "calories": (facts.ENERGY, "kcal")}
_UNUSED = {
    "balance": "code of the meal's balance",
    "quality": "code of the meal's quality",
    "Posture": "posture in degrees",
    "CoreTemp": "core temperature as estimated by the strap",
}


def _sniff(name: str, head: bytes) -> bool:
    try:
        cells = header_cells(decode(head, name).lstrip("\ufeff\r\n").splitlines()[0])
    except (FormatError, IndexError):
        return False
    return {"id", "time", "gl", "fast_insulin", "slow_insulin", "calories"} <= set(cells)


def _person(name: str) -> str:
    return name[:-2] if name.endswith(".0") else name


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    for source in sources:
        name = source.base
        shared = Notes(name, "d1namo")
        table = read_table(decode(source.read(), name, shared).lstrip("\ufeff"), name, shared)
        needed = {"id", "time", "gl", *_DOSES}
        if not needed <= set(table.columns):
            raise FormatError(
                f"{name} is not the D1NAMO table",
                seen=", ".join(table.columns)[:120],
                expected=", ".join(sorted(needed)),
                fix="leave format out",
            )
        if not table.length:
            raise facts.no_rows(name)
        wall, aware = parse_times(table.columns["time"], name, shared, table)
        glucose, censored = facts.glucose_cells(table.columns["gl"], "mg/dL", table, name, shared)
        numbers = {key: _column(table.columns[key], key, name) for key in (*_SERIES, *_DOSES) if key in table.columns}
        people = np.array([_person(cell.strip()) for cell in table.columns["id"]])
        for person in dict.fromkeys(people.tolist()):
            chosen = people == person
            notes = Notes(name, "d1namo", int(chosen.sum()), dict(shared.repairs))
            time, zone = to_utc(wall[chosen], aware[chosen], options.tz or ZONE, notes)
            rows = np.flatnonzero(chosen) + table.first_row
            marks = facts.limit_hits(glucose[chosen], censored[chosen], notes, lows=(39.6,), highs=(399.6,))
            found: list[Any] = [
                facts.glucose_series(
                    time, glucose[chosen], marks, time, rows, code=facts.CGM["mg/dL"], unit="mg/dL", source="d1namo", name=name, notes=notes
                )
            ]
            facts.require_glucose(found, f"{name}, person {person}")
            for key, (code, unit) in _DOSES.items():
                found += facts.dose_exposures(
                    time, numbers[key][chosen], time, rows, code=code, unit=unit, source="d1namo", name=name, notes=notes
                )
            for key, (code, unit) in _SERIES.items():
                if key in numbers:
                    values = numbers[key][chosen].copy()
                    absent = ~(values != 0) | ~np.isfinite(values)
                    values[absent] = np.nan
                    notes.ignore(f"{key}: absent (zero or empty)", int(absent.sum()))
                    series = facts.plain_series(time, values, rows, code=code, unit=unit, source="d1namo", notes=notes)
                    found += [series] if series is not None else []
            for key, meaning in _UNUSED.items():
                if key in table.columns:
                    notes.ignore(f"column {key} ({meaning})")
            notes.warn("a zero in insulin or energy means absent, not none: meals and doses are logged sparsely")
            notes.warn("activity and heart-rate variability are in the strap's own units")
            record = PatientRecord(
                id=person, demographics=Demographics(zone=zone, traits={"diabetes": "T1D", "dataset": "D1NAMO"})
            ).with_facts(*found)
            parsed.append((record, notes.report(record)))
    return parsed


def _column(cells: Sequence[str], key: str, name: str) -> np.ndarray:
    values, unreadable, _, _ = parse_numbers(cells)
    if unreadable:
        raise FormatError(
            f"{name} has text in column {key}", seen=repr(cells[unreadable[0]][:20]), expected="numbers", fix="fetch the file again"
        )
    return values


LAYOUT = Layout("d1namo", "D1NAMO as tabulated by GlucoBench (gl, insulin, calories, chest strap)", _sniff, _parse)
