"""A record out as Nightscout documents, readable again by :func:`gemel.interop.wearables.read`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gemel.core import Code, Exposure, PatientRecord
from gemel.core.errors import DataError
from gemel.core.series import ABOVE, BELOW
from gemel.core.units import is_convertible
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._save import Left, current, identifier, length_minutes, milliseconds, plain, save_json, stamp

__all__ = ["nightscout_documents", "write_nightscout"]

_DOSES: dict[Code, tuple[str, str, str]] = {
    facts.CARBOHYDRATES: ("carbs", "g", "Carb Correction"),
    facts.PROTEIN: ("protein", "g", "Meal Bolus"),
    facts.FAT: ("fat", "g", "Meal Bolus"),
    facts.INSULIN_RAPID: ("insulin", "[iU]", "Bolus"),
}
_BY = "gemel"


def _entries(record: PatientRecord, left: Left) -> list[dict[str, Any]]:
    kinds = {**dict.fromkeys(facts.CGM.values(), "sgv"), **dict.fromkeys(facts.CAPILLARY.values(), "mbg")}
    entries: list[dict[str, Any]] = []
    for series in record.series:
        kind = kinds.get(series.code)
        if kind is None:
            left.add(f"series {series.code}", len(series))
            continue
        values = series.values_in("mg/dL", analyte="glucose")
        for time, value, recorded, censored in zip(
            series.time.tolist(), values.tolist(), series.recorded.tolist(), series.censored.tolist(), strict=True
        ):
            written = 39 if censored == BELOW else 401 if censored == ABOVE else plain(value)
            entry: dict[str, Any] = {
                "_id": identifier(series.source, kind, time),
                "type": kind,
                "date": milliseconds(time),
                "dateString": stamp(time),
            }
            entries.append(entry | {kind: written, "device": _BY, "srvCreated": milliseconds(recorded)})
    return entries


def _treatment(exposure: Exposure, left: Left) -> dict[str, Any] | None:
    field, unit, kind = _DOSES.get(exposure.code, ("", "", ""))
    amount, minutes = exposure.quantity, length_minutes(exposure)
    if exposure.code == facts.EXERCISE and minutes:
        return {"eventType": "Exercise", "duration": minutes}
    if amount is None or not field:
        left.add(f"exposure {exposure.code}")
        return None
    if field == "insulin" and is_convertible(amount.unit, facts.BASAL_UNIT):
        return {"eventType": "Temp Basal", "absolute": plain(amount.in_unit(facts.BASAL_UNIT)), "duration": minutes}
    units = plain(amount.in_unit(unit))
    if not minutes:
        return {"eventType": kind, field: units}
    if field == "insulin":
        rest = {"splitNow": 0, "splitExt": 100, "relative": plain(units / minutes * 60), "duration": minutes}
        return {"eventType": "Combo Bolus", "enteredinsulin": units, "insulin": 0, **rest}
    left.add(f"duration of exposure {exposure.code}")
    return {"eventType": kind, field: units}


def nightscout_documents(record: PatientRecord) -> tuple[dict[str, list[dict[str, Any]]], tuple[str, ...]]:
    """Return ``entries``, ``treatments`` and ``profile`` of a record, and what they have no place for.

    Pump rates become temporary rates; the profile carries the zone alone. Glucose becomes mg/dL; a censored reading 39 or 401.
    """
    left = Left()
    known = current(record, left)
    entries = sorted(_entries(known, left), key=lambda entry: -entry["date"])
    treatments: list[dict[str, Any]] = []
    for exposure in known.exposures:
        treatment = _treatment(exposure, left)
        if treatment is not None:
            id = identifier(exposure.code, exposure.start, exposure.end, exposure.quantity)
            when = {"_id": id, "created_at": stamp(exposure.start), "srvCreated": milliseconds(exposure.recorded), "enteredBy": _BY}
            treatments.append(when | treatment)
    start = min([entry["date"] for entry in entries], default=0)
    store = {"Default": {"timezone": known.demographics.zone, "units": "mg/dl", "basal": []}}
    profile = [{"defaultProfile": "Default", "startDate": stamp(start * 1_000_000), "store": store}]
    return {"entries": entries, "treatments": treatments, "profile": profile}, left.listed()


def write_nightscout(record: PatientRecord, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Write a record for Nightscout: one ``.json`` with the three lists, or a folder with ``entries.json``, ``treatments.json`` and ``profile.json``.

    Returns
    -------
    What the format has no place for, with counts: nothing is left out in silence.

    Raises
    ------
    DataError
        When the record has no glucose, or a file cannot be written.
    """
    documents, left = nightscout_documents(record)
    if not documents["entries"]:
        raise DataError("a record without glucose cannot be written for Nightscout", seen=record.id, expected="a series of glucose")
    target = Path(path)
    if target.suffix.lower() == ".json":
        save_json(target, documents)
        return left
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError("the folder cannot be made", seen=type(error).__name__, expected="a writable place") from error
    for name, content in documents.items():
        save_json(target / f"{name}.json", content)
    return left
