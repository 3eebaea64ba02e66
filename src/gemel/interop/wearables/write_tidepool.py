"""A record out as Tidepool data, readable again by :func:`gemel.interop.wearables.read`."""

from __future__ import annotations

import os
from typing import Any

from gemel.core import Exposure, PatientRecord
from gemel.core.errors import DataError
from gemel.core.series import BELOW, EXACT
from gemel.core.units import is_convertible
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._save import Left, current, identifier, length_minutes, plain, save_json, stamp

__all__ = ["tidepool_data", "write_tidepool"]

_MILLISECONDS = 60_000  # per minute


def _glucose(record: PatientRecord, left: Left) -> list[dict[str, Any]]:
    kinds = {**dict.fromkeys(facts.CGM.values(), "cbg"), **dict.fromkeys(facts.CAPILLARY.values(), "smbg")}
    found: list[dict[str, Any]] = []
    for series in record.series:
        kind = kinds.get(series.code)
        if kind is None:
            left.add(f"series {series.code}", len(series))
            continue
        for time, value, recorded, censored in zip(
            series.time.tolist(), series.value.tolist(), series.recorded.tolist(), series.censored.tolist(), strict=True
        ):
            item: dict[str, Any] = {
                "type": kind,
                "id": identifier(series.source, kind, time),
                "time": stamp(time),
                "createdTime": stamp(recorded),
            }
            item |= {"units": series.unit, "value": value}
            if censored != EXACT:
                item["annotations"] = [{"code": "bg/out-of-range", "value": "low" if censored == BELOW else "high", "threshold": value}]
            found.append(item)
    return found


def _food(code: Any, exposure: Exposure) -> dict[str, Any] | None:
    amount = exposure.quantity
    if amount is None:
        return None
    if code == facts.ENERGY:
        return {"energy": {"value": plain(amount.in_unit("kcal")), "units": "kilocalories"}}
    names = {facts.CARBOHYDRATES: ("carbohydrate", "net"), facts.PROTEIN: ("protein", "total"), facts.FAT: ("fat", "total")}
    if code not in names:
        return None
    name, field = names[code]
    return {name: {field: plain(amount.in_unit("g")), "units": "grams"}}


def _datum(exposure: Exposure, left: Left) -> dict[str, Any] | None:
    amount, minutes = exposure.quantity, length_minutes(exposure)
    duration = round(minutes * _MILLISECONDS)
    if exposure.code == facts.EXERCISE and minutes:
        return {"type": "physicalActivity", "duration": {"value": minutes, "units": "minutes"}}
    if exposure.code == facts.INSULIN_RAPID and amount is not None:
        if is_convertible(amount.unit, facts.BASAL_UNIT):
            rate = plain(amount.in_unit(facts.BASAL_UNIT))
            kind: dict[str, Any] = {"deliveryType": "scheduled", "rate": rate} if rate else {"deliveryType": "suspend"}
            return {"type": "basal", **kind, "duration": duration}
        units = plain(amount.in_unit("[iU]"))
        if duration:
            return {"type": "bolus", "subType": "square", "extended": units, "duration": duration}
        return {"type": "bolus", "subType": "normal", "normal": units}
    nutrition = _food(exposure.code, exposure)
    if nutrition is None:
        left.add(f"exposure {exposure.code}")
        return None
    if minutes:
        left.add(f"duration of exposure {exposure.code}")
    return {"type": "food", "nutrition": nutrition}


def tidepool_data(record: PatientRecord) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return the data of a record in Tidepool's model, and what it has no place for. Glucose keeps its unit."""
    left = Left()
    known = current(record, left)
    found = _glucose(known, left)
    for exposure in known.exposures:
        datum = _datum(exposure, left)
        if datum is not None:
            id = identifier(exposure.code, exposure.start, exposure.end, exposure.quantity)
            found.append({"id": id, "time": stamp(exposure.start), "createdTime": stamp(exposure.recorded), **datum})
    return found, left.listed()


def write_tidepool(record: PatientRecord, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Write a record as Tidepool's JSON.

    Returns
    -------
    What the format has no place for, with counts: nothing is left out in silence.

    Raises
    ------
    DataError
        When the record has no glucose, or the file cannot be written.
    """
    found, left = tidepool_data(record)
    if not any(item["type"] in ("cbg", "smbg") for item in found):
        raise DataError("a record without glucose cannot be written for Tidepool", seen=record.id, expected="a series of glucose")
    save_json(path, found)
    return left
