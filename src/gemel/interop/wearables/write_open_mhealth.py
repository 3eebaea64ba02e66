"""A record out as Open mHealth data points, readable again by :func:`gemel.interop.wearables.read`."""

from __future__ import annotations

import os
import uuid
from typing import Any

import numpy as np

from gemel.core import Exposure, PatientRecord, Series
from gemel.core.errors import DataError
from gemel.core.series import EXACT
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._save import Left, current, plain, save_json, stamp

__all__ = ["open_mhealth_points", "write_open_mhealth"]

_NAMESPACE = uuid.UUID("2f0f5d0e-93a9-5b6f-9a55-6d1f0c8e7a11")  # fixed: the same fact gets the same id
_SPECIMEN = {
    **dict.fromkeys(facts.CGM.values(), "interstitial fluid"),
    **dict.fromkeys(facts.CAPILLARY.values(), "capillary blood"),
}


class _Points:
    """Gathers data points of one person."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.found: list[dict[str, Any]] = []

    def add(self, name: str, version: str, body: dict[str, Any], recorded: int, source: str, *, sensed: bool = True) -> None:
        header = {
            "id": str(uuid.uuid5(_NAMESPACE, f"{self.user}/{source}/{name}/{body}")),
            "creation_date_time": stamp(recorded),
            "schema_id": {"namespace": "omh", "name": name, "version": version},
            "acquisition_provenance": {"source_name": source or "unknown", "modality": "sensed" if sensed else "self-reported"},
            "user_id": self.user,
        }
        self.found.append({"header": header, "body": body})


def _moment(time: int) -> dict[str, Any]:
    return {"effective_time_frame": {"date_time": stamp(time)}}


def _interval(start: int, end: int) -> dict[str, Any]:
    return {"effective_time_frame": {"time_interval": {"start_date_time": stamp(start), "end_date_time": stamp(end)}}}


def _steps(series: Series, points: _Points, left: Left) -> None:
    """A count is of the time since the count before it; the first is given the usual distance."""
    if len(series) < 2:
        left.add("steps whose interval is not known", len(series))
        return
    usual = int(np.median(np.diff(series.time)))
    starts = np.maximum(np.append(series.time[0] - usual, series.time[:-1]), series.time - 2 * usual)
    for start, end, value, recorded in zip(
        starts.tolist(), series.time.tolist(), series.value.tolist(), series.recorded.tolist(), strict=True
    ):
        body = {"step_count": {"value": plain(value), "unit": "steps"}, **_interval(start, end)}
        points.add("step-count", "3.0", body, recorded, series.source)


def _series(series: Series, points: _Points, left: Left, meals: dict[int, str]) -> None:
    if series.code == facts.STEPS:
        _steps(series, points, left)
        return
    for time, value, recorded, censored in zip(
        series.time.tolist(), series.value.tolist(), series.recorded.tolist(), series.censored.tolist(), strict=True
    ):
        if censored != EXACT:
            left.add("readings beyond the sensor's range: the format has no word for them")
        elif series.code in _SPECIMEN:
            body = {"blood_glucose": {"value": value, "unit": series.unit}, "specimen_source": _SPECIMEN[series.code], **_moment(time)}
            if time in meals:
                body["temporal_relationship_to_meal"] = meals.pop(time)
            points.add("blood-glucose", "3.0", body, recorded, series.source)
        elif series.code == facts.HEART_RATE:
            points.add("heart-rate", "2.0", {"heart_rate": {"value": value, "unit": "beats/min"}, **_moment(time)}, recorded, series.source)
        elif series.code == facts.WEIGHT:
            body = {"body_weight": {"value": value, "unit": "kg"}, **_moment(time)}
            points.add("body-weight", "2.0", body, recorded, series.source)
        else:
            left.add(f"series {series.code}")


def _exposure(exposure: Exposure, points: _Points, left: Left) -> None:
    frame = _interval(exposure.start, exposure.end)
    if exposure.code == facts.SLEEP and exposure.quantity is not None:
        body = {"sleep_duration": {"value": plain(exposure.quantity.in_unit("h")), "unit": "h"}, **frame}
        points.add("sleep-duration", "2.0", body, exposure.recorded, exposure.source)
    elif exposure.code == facts.SLEEP:
        points.add("sleep-episode", "1.1", frame, exposure.recorded, exposure.source)
    elif exposure.code == facts.EXERCISE:
        name = exposure.note or "physical activity"
        points.add("physical-activity", "1.2", {"activity_name": name, **frame}, exposure.recorded, exposure.source, sensed=False)
    else:
        left.add(f"exposure {exposure.code}")


def open_mhealth_points(record: PatientRecord) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return the data points of a record, and what has no schema: insulin, meals, censored readings."""
    left = Left()
    known = current(record, left, placed=facts.RELATION_TO_MEAL)
    points = _Points(record.id)
    meals = {f.time: f.value for f in known.findings if f.code == facts.RELATION_TO_MEAL and isinstance(f.value, str)}
    for series in known.series:
        _series(series, points, left, meals)
    left.add("relations to a meal without a measurement", len(meals))
    for exposure in known.exposures:
        _exposure(exposure, points, left)
    return points.found, left.listed()


def write_open_mhealth(record: PatientRecord, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Write a record as a list of Open mHealth data points.

    Returns
    -------
    What the format has no place for, with counts: nothing is left out in silence.

    Raises
    ------
    DataError
        When nothing of the record has a schema, or the file cannot be written.
    """
    found, left = open_mhealth_points(record)
    if not found:
        raise DataError(
            "nothing of the record has an Open mHealth schema",
            seen="; ".join(left)[:120],
            expected="glucose, heart rate, steps, sleep, weight or activity",
        )
    save_json(path, found)
    return left
