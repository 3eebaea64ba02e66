"""What a twin said, as the store keeps it: a forecast's table and a proposal, to bytes and back, and what was really observed beside a forecast."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from gemel.core.advice import ForecastTable, Proposal
from gemel.core.code import Code
from gemel.core.errors import FormatError, GemelError, StoreError
from gemel.core.record import PatientRecord
from gemel.core.time import MINUTE
from gemel.platform.store import Store, lookup
from gemel.platform.store.versions import Version

__all__ = ["forecast_behind", "observed", "read_forecast", "read_proposal", "write_forecast", "write_proposal"]


def write_proposal(proposal: Proposal) -> bytes:
    """Return a proposal as it is kept: JSON."""
    return proposal.model_dump_json().encode()


def write_forecast(table: ForecastTable) -> bytes:
    """Return a forecast's table as it is kept: JSON, what has no finite value as null."""
    told = table.to_dict()
    for name in ("quantiles", "mean"):
        told[name] = _finite(told[name])
    return json.dumps(told, allow_nan=False).encode()


def _finite(found: Any) -> Any:
    if isinstance(found, list):
        return [_finite(one) for one in found]
    return found if found is not None and np.isfinite(found) else None


def read_proposal(body: bytes) -> Proposal:
    """Return a stored proposal.

    Raises
    ------
    FormatError
        When it is none; nothing of its content is repeated.
    """
    try:
        return Proposal.model_validate_json(body)
    except ValidationError as error:
        raise FormatError("not a stored proposal", seen=f"{error.error_count()} faults", expected="the JSON of a Proposal") from None


def read_forecast(body: bytes) -> ForecastTable:
    """Return the table of a stored forecast.

    Raises
    ------
    FormatError
        When it is none; nothing of its content is repeated.
    """
    try:
        told = json.loads(body)
        lineage = {key: value for key, value in told["lineage"].items() if key != "id"}
        shape = (len(told["levels"]), len(told["times"]), len(told["outputs"]))
        arrays = {
            "times": np.asarray(told["times"], np.int64),
            "quantiles": np.asarray(told["quantiles"], float).reshape(shape),
            "mean": np.asarray(told["mean"], float).reshape(shape[1:]),
        }
        known = {key: value for key, value in told.items() if key in ForecastTable.model_fields}
        return ForecastTable(**(known | arrays | {"lineage": lineage}))
    except (ValueError, KeyError, TypeError, AttributeError, GemelError) as error:
        raise FormatError("not a stored forecast", seen=type(error).__name__, expected="the JSON of a ForecastTable") from None


def observed(
    table: ForecastTable, record: PatientRecord, codes: Mapping[str, Code], *, tolerance: int = 3 * MINUTE, until: int | None = None
) -> dict[str, tuple[int, float, bool]]:
    """Return what was observed at the times of a forecast.

    Parameters
    ----------
    record : as known now.
    codes : output -> code of its readings, as the twin's manifest says.
    tolerance : ns between a reading and the time of the forecast.
    until : the last time of the forecast that is looked at, ns UTC; left out, all.

    Returns
    -------
    ``OUTPUT+MINUTESmin`` -> time of the nearest reading (ns UTC), its value in the unit of the forecast, and whether it lay between the outermost quantiles.
    """
    found: dict[str, tuple[int, float, bool]] = {}
    for column, (output, unit) in enumerate(zip(table.outputs, table.units, strict=True)):
        code = codes.get(output)
        if code is None:
            continue
        time, value, _ = record.exact_readings(code, unit=unit)
        for row, when in enumerate(table.times):
            if not len(time) or (until is not None and when > until):
                break
            near = int(np.argmin(np.abs(time - when)))
            if abs(int(time[near]) - int(when)) <= tolerance:
                low, high = table.quantiles[0, row, column], table.quantiles[-1, row, column]
                minutes = (int(when) - table.issued) / MINUTE
                found[f"{output}+{minutes:g}min"] = (int(time[near]), float(value[near]), bool(low <= value[near] <= high))
    return found


def forecast_behind(store: Store, proposal: Version) -> tuple[str, ForecastTable] | None:
    """Return id and table of the forecast that a proposal was made with: the one that it names, else the standing one of then; ``None`` without one."""
    told = proposal.meta.get("forecast")
    latest = None if isinstance(told, str) else lookup.newest(store, "forecast", proposal.patient, proposal.name, as_of=proposal.recorded)
    found = told if isinstance(told, str) else latest.id if latest else ""
    try:
        return (found, read_forecast(lookup.version_body(store, "forecast", found))) if found else None
    except (FormatError, StoreError):
        return None
