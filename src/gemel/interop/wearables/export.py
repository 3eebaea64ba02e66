"""A record out into the generic table, readable again by :func:`gemel.interop.wearables.read`."""

from __future__ import annotations

import contextlib
import csv
import os
import tempfile
from pathlib import Path

import numpy as np

from gemel.core import Code, PatientRecord, iso
from gemel.core.errors import DataError
from gemel.core.series import ABOVE, BELOW, ENTERED_IN_ERROR
from gemel.core.units import is_convertible
from gemel.interop.wearables import _facts as facts

__all__ = ["write_csv"]

_DOSES: dict[Code, tuple[str, str]] = {
    facts.CARBOHYDRATES: ("carbs_g", "g"),
    facts.ENERGY: ("energy_kcal", "kcal"),
    facts.INSULIN_RAPID: ("bolus_u", "[iU]"),
    facts.INSULIN_LONG: ("long_acting_u", "[iU]"),
}
_BASAL = "basal_u_h"
_Rows = dict[tuple[int, int], dict[str, float | str]]


def _glucose(record: PatientRecord, rows: _Rows, left: dict[str, int]) -> str:
    series = record.find_series(*facts.CGM.values())
    if not series:
        raise DataError(
            "a record without glucose cannot be written as the generic table",
            seen=record.id,
            expected="a series of sensor glucose",
            fix="export it as FHIR",
        )
    unit = series[0].unit
    column = "glucose_mg_dl" if unit == "mg/dL" else "glucose_mmol_l"
    for one in series:
        values = one.values_in(unit, analyte="glucose")
        for time, recorded, value, censored, status in zip(
            one.time.tolist(), one.recorded.tolist(), values.tolist(), one.censored.tolist(), one.status.tolist(), strict=True
        ):
            if status == ENTERED_IN_ERROR:
                left["glucose entered in error"] = left.get("glucose entered in error", 0) + 1
                continue
            row = rows.setdefault((time, recorded), {})
            if column in row:
                left["second sensor's reading at the same moment"] = left.get("second sensor's reading at the same moment", 0) + 1
                continue
            row[column] = "LOW" if censored == BELOW else "HIGH" if censored == ABOVE else value
    return column


def _inputs(record: PatientRecord, rows: _Rows, left: dict[str, int]) -> None:
    basal = []
    for exposure in record.exposures:
        column, unit = _DOSES.get(exposure.code, ("", ""))
        key = (exposure.start, exposure.recorded)
        amount = exposure.quantity
        if exposure.code == facts.INSULIN_RAPID and amount is not None and is_convertible(amount.unit, facts.BASAL_UNIT):
            basal.append(exposure)
        elif (
            column
            and amount is not None
            and is_convertible(amount.unit, unit)
            and exposure.end == exposure.start
            and exposure.status != ENTERED_IN_ERROR
        ):
            row = rows.setdefault(key, {})
            before = row.get(column, 0.0)
            row[column] = float(before) + amount.in_unit(unit)
        else:
            what = f"exposure {exposure.code}"
            left[what] = left.get(what, 0) + 1
    starts = {exposure.start for exposure in basal}
    for exposure in basal:
        rows.setdefault((exposure.start, exposure.recorded), {})[_BASAL] = exposure.quantity.in_unit(facts.BASAL_UNIT)  # type: ignore[union-attr]
    last = max(time for time, _ in rows)
    for exposure in basal:
        if exposure.end not in starts and (exposure.end < last or exposure.end > last):
            rows.setdefault((exposure.end, max(exposure.recorded, exposure.end)), {}).setdefault(_BASAL, 0.0)


def write_csv(record: PatientRecord, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Write a record as the generic table: one row per moment, times in UTC, the sender's glucose unit.

    Parameters
    ----------
    record : with sensor glucose; carbohydrate, energy, rapid insulin (doses and pump rates) and long-acting insulin are written too.
    path : the file; replaced only when the whole of it is written.

    Returns
    -------
    What the table has no place for, with counts: nothing is left out in silence.

    Raises
    ------
    DataError
        When the record has no glucose, or the file cannot be written.

    Notes
    -----
    A censored reading is written as ``LOW`` or ``HIGH`` (below 40, above 400 mg/dL), whatever the sensor's own limit was.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gemel.core import Code, Series
    >>> cgm = Series(code=Code.parse("loinc:99504-3"), unit="mg/dL", time=[0], value=[110.0])
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "p.csv"
    >>> write_csv(PatientRecord(id="p").with_facts(cgm), file)
    ()
    >>> print(file.read_text().split())
    ['id,time,glucose_mg_dl', 'p,1970-01-01T00:00:00Z,110.0']
    """
    rows: _Rows = {}
    left: dict[str, int] = {}
    column = _glucose(record, rows, left)
    _inputs(record, rows, left)
    for series in record.series:
        if series.code not in facts.CGM.values():
            left[f"series {series.code}"] = left.get(f"series {series.code}", 0) + len(series)
    for name in ("findings", "documents", "geometry"):
        if getattr(record, name):
            left[name] = len(getattr(record, name))
    used = [name for name in (column, *(name for name, _ in _DOSES.values()), _BASAL) if any(name in row for row in rows.values())]
    late = any(recorded != time for time, recorded in rows)
    header = ["id", "time", *used, *(["recorded"] if late else [])]
    keys = sorted(rows)
    stamps = {ns: iso(ns) for ns in np.unique([ns for key in keys for ns in key]).tolist()}
    target = Path(path)
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=target.parent, prefix=".gemel-", suffix=".csv", delete=False
        ) as stream:
            temporary = stream.name
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(header)
            for time, recorded in keys:
                row = rows[time, recorded]
                writer.writerow([record.id, stamps[time], *(row.get(name, "") for name in used), *([stamps[recorded]] if late else [])])
        os.replace(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise DataError(
            "the table cannot be written", seen=type(error).__name__, expected="a writable folder", fix="check path, permissions and space"
        ) from error
    return tuple(f"{what} ({count})" for what, count in left.items())
