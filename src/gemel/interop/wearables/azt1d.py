"""AZT1D, the full tables: one file per person (``Subject 1.csv``), 25 people with type 1 diabetes on automated insulin delivery.

Columns: ``EventDateTime, DeviceMode, BolusType, Basal, CorrectionDelivered, TotalBolusInsulinDelivered, FoodDelivered, CarbSize, CGM`` (in some files
``Readings (CGM / BGM)``). Basal is U/h and stands only where it changes; the total bolus contains the correction. A few rows carry basal rates that no
pump gives: they are listed, not used.

References
----------
Khamesian S et al. 2025, AZT1D: a real-world dataset for type 1 diabetes; Mendeley Data (CC BY 4.0).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from gemel.core import Demographics, Exposure, PatientRecord, Series
from gemel.core.errors import FormatError
from gemel.core.time import HOUR
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._grid import has_columns, read_grid
from gemel.interop.wearables._text import decode, header_cells
from gemel.interop.wearables.base import Layout, Options, Parsed, Source

__all__ = ["LAYOUT"]

ZONE = "America/Phoenix"  # recorded in Arizona
_GLUCOSE = ("CGM", "Readings (CGM / BGM)")
_NEEDED = ("Basal", "TotalBolusInsulinDelivered", "CarbSize")
_FEW = 0.01  # of the basal entries may be the defects that the set is known for; more is another unit
_HOLD = 24 * HOUR  # an automated pump changes its rate far more often


def _sniff(name: str, head: bytes) -> bool:
    return has_columns("EventDateTime", *_NEEDED)(name, head)


def _glucose_column(source: Source) -> str:
    header = decode(source.read(), source.base).lstrip("\ufeff\r\n").splitlines()
    cells = header_cells(header[0]) if header else []
    column = next((key for key in _GLUCOSE if key in cells), None)
    if column is None:
        raise FormatError(f"{source.base} has no glucose column", seen=", ".join(cells)[:160], expected=" or ".join(_GLUCOSE))
    return column


def _person(source: Source) -> str:
    found = re.search(r"Subject[ _-]*(\d+)", source.base, re.IGNORECASE)
    return f"azt1d-{int(found[1])}" if found else source.stem


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    for source in sources:
        column = _glucose_column(source)
        grid = read_grid(source, "azt1d", "EventDateTime", (*_NEEDED, column), options, ZONE, in_order=False, order="month")
        notes = grid.notes
        readings = grid.glucose(column)
        facts.require_glucose(readings, grid.name)
        found: list[Series | Exposure] = [*readings]
        if column != "CGM":
            notes.warn("sensor and meter readings share one column in this file and cannot be told apart")
        basal = grid.numbers("Basal")
        absurd = np.flatnonzero((basal > 30) | (basal < 0) | ((basal > 0) & (basal < 0.005)))
        if len(absurd) and len(absurd) <= max(1, _FEW * np.isfinite(basal).sum()) < np.isfinite(basal).sum():
            notes.unclear(f"basal rates that no pump gives, first in row {grid.rows[absurd[0]]}", len(absurd))
            basal[absurd] = np.nan
        found += grid.basal(basal, longest=_HOLD)
        found += grid.doses(facts.INSULIN_RAPID, "[iU]", grid.numbers("TotalBolusInsulinDelivered"))
        found += grid.doses(facts.CARBOHYDRATES, "g", grid.numbers("CarbSize"))
        for key, why in (
            ("CorrectionDelivered", "part of the total bolus"),
            ("FoodDelivered", "part of the total bolus"),
            ("BolusType", "words"),
            ("DeviceMode", "the pump's mode: sleep or exercise as set by the person"),
        ):
            if key in grid.table.columns:
                notes.ignore(f"column {key} ({why})")
        grid.ignore_others(("EventDateTime", column, *_NEEDED, "CorrectionDelivered", "FoodDelivered", "BolusType", "DeviceMode"))
        record = PatientRecord(
            id=options.id if options.id and len(sources) == 1 else _person(source),
            demographics=Demographics(zone=grid.zone, traits={"diabetes": "T1D", "dataset": "AZT1D"}),
        ).with_facts(*found)
        parsed.append((record, notes.report(record)))
    return parsed


LAYOUT = Layout("azt1d", "AZT1D full tables (EventDateTime, CGM, Basal, TotalBolusInsulinDelivered, CarbSize)", _sniff, _parse)
