"""What many virtual patients would take: time, size and cost, in proportion to a run that was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemel.core.advice import ShownOn
from gemel.core.errors import DataError, FormatError
from gemel.core.lineage import digest
from gemel.core.view import Number, Table, Text, View
from gemel.trials.generate.panel import NOT_ANONYMOUS
from gemel.trials.generate.scale import MEASURED, SHARD

__all__ = ["capacity", "capacity_view", "measured_run"]

SMALLEST = 100_000
"""Records below which a measured run says too little: starting up would weigh too much."""


def measured_run(folder: Path) -> dict[str, Any]:
    """Read what a run took.

    Raises
    ------
    FormatError
        When the folder holds no run.
    """
    try:
        return json.loads((folder / MEASURED).read_text())
    except (OSError, ValueError) as error:
        raise FormatError(
            "no measured run is there", seen=str(folder / MEASURED), expected="a folder made by gemel trial generate", fix="run it first"
        ) from error


def capacity(
    measured: Mapping[str, Any],
    records: int,
    *,
    cores: int = 2,
    core_hour: float | None = None,
    gigabyte_month: float | None = None,
    currency: str = "EUR",
) -> dict[str, Any]:
    """Extrapolate a measured run in proportion to the records.

    Parameters
    ----------
    measured : from :func:`measured_run`.
    records : planned.
    cores : that work at once, as fast as those of the measured run.
    core_hour, gigabyte_month : the user's prices; without them no cost is given.

    Raises
    ------
    DataError
        When the measured run is smaller than 100,000 records, or a number is not positive.
    """
    prices = [p for p in (core_hour, gigabyte_month) if p is not None]
    if measured["records"] < SMALLEST or records < 1 or cores < 1 or not all(math.isfinite(p) and p >= 0 for p in prices):
        raise DataError(
            "a plan cannot be made of these numbers", seen={"measured": measured["records"], "records": records, "cores": cores, "prices": prices},
            expected=f"a run of {SMALLEST} records or more; positive numbers", fix="measure a larger run",
        )  # fmt: skip
    factor = records / measured["records"]
    core_hours = measured["cpu_s"] * factor / 3600
    gigabytes = measured["bytes"] * factor / 1e9
    plan: dict[str, Any] = {
        "records": records,
        "values": records * measured["variables"] * measured["visits"],
        "files": math.ceil(records / SHARD),
        "core_hours": core_hours,
        "hours": core_hours / cores,
        "hours_as_measured": measured["wall_s"] * factor / 3600 if measured["made_now"] == measured["records"] else None,
        "gigabytes": gigabytes,
        "bytes_per_record": measured["bytes"] / measured["records"],
        "cores": cores,
        "currency": currency,
        "cost_of_computing": None if core_hour is None else core_hours * core_hour,
        "cost_of_a_month": None if gigabyte_month is None else gigabytes * gigabyte_month,
        "measured": dict(measured),
        "factor": factor,
        "method": "in proportion to the records; nothing but the measured run is known",
        "note": NOT_ANONYMOUS,
    }
    return plan | {"lineage": digest(plan)[:16]}


def capacity_view(plan: Mapping[str, Any]) -> View:
    """Return the plan as a page."""
    run = plan["measured"]
    shown = ShownOn(kind="simulated", n=int(run["records"]), what="virtual patients of a measured run")
    standing: dict[str, Any] = {"status": "simulated", "lineage": plan["lineage"], "shown_on": shown}
    because = f"a run of {run['records']:,} records, times {plan['factor']:.4g}"
    rows = [
        ("Core-hours", plan["core_hours"], "h"),
        (f"Hours on {plan['cores']} cores", plan["hours"], "h"),
        ("Size on disk, gigabytes", plan["gigabytes"], "1"),
    ]
    numbers = [Number(label=label, value=float(value), unit=unit, certain_because=because, **standing) for label, value, unit in rows]
    for label, key in (("Cost of computing", "cost_of_computing"), ("Cost of a month on disk", "cost_of_a_month")):
        cost = (
            {"value": None, "note": "no price was given"} if plan[key] is None else {"value": float(plan[key]), "certain_because": because}
        )
        numbers.append(Number(label=f"{label}, {plan['currency']}", unit="1", **cost, **standing))
    table = Table.of(
        ("quantity", None, ["records", "core-seconds", "bytes", "bytes per record", "files"]),
        (
            "measured",
            "1",
            [float(run[k]) for k in ("records", "cpu_s", "bytes")] + [plan["bytes_per_record"], math.ceil(run["records"] / SHARD)],
        ),
        (
            "planned",
            "1",
            [float(plan["records"]), plan["core_hours"] * 3600, plan["gigabytes"] * 1e9, plan["bytes_per_record"], plan["files"]],
        ),
        title="Measured and planned",
    )
    words = (
        f"{plan['records']:,} virtual patients of {run['visits']} visits and {run['variables']} variables, one row per patient and visit, whole steps of each instrument "
        f"in Parquet. {plan['method'].capitalize()}: {run['records']:,} records took {run['cpu_s']:.0f} CPU-seconds and {run['bytes'] / 1e6:.0f} MB with {run['executor']}."
    )
    return View(
        id="virtual-patients-plan",
        title=f"{plan['records']:,} virtual patients",
        subtitle="time, size and cost",
        sections=(
            Text(body=words, title="What is planned"),
            *numbers,
            table,
            Text(body=NOT_ANONYMOUS.capitalize() + ".", title="Limit", tone="limit"),
        ),
    )
