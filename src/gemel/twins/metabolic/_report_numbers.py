"""The numbers of a person's page: the few at its top, and the metrics of the consensus with their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gemel.core.advice import Score
from gemel.core.record import PatientRecord
from gemel.core.time import MINUTE
from gemel.core.view import Number, Table, number_text
from gemel.engine.forecast import Forecast
from gemel.twins.metabolic import metrics
from gemel.twins.metabolic._report_trust import LEAD, block_interval

__all__ = ["SIDES", "metrics_tables", "numbers"]

SIDES = (54.0, 70.0, 180.0, 250.0)

_ROWS = (
    ("Readings", ("readings",), ""), ("Mean", ("mean_mg_dl",), "mg/dL"), ("Mean", ("mean_mmol_l",), "mmol/L"), ("Standard deviation", ("sd_mg_dl",), "mg/dL"),
    ("Glucose management indicator", ("gmi_percent",), "%"), ("HbA1c by the ADAG line", ("estimated_a1c_percent",), "%"), ("Glycemia risk index", ("gri",), ""),
    ("Low and high blood glucose index", ("lbgi", "hbgi"), ""), ("MAGE", ("mage_mg_dl",), "mg/dL"), ("MODD", ("modd_mg_dl",), "mg/dL"),
    ("CONGA over 1, 2 and 4 h", ("conga1_mg_dl", "conga2_mg_dl", "conga4_mg_dl"), "mg/dL"),
)  # fmt: skip


def metrics_tables(record: PatientRecord | None, summary: Mapping[str, float] | None = None) -> tuple[Table, ...]:
    """Return the consensus metrics with their targets, and the others. Values given in ``summary`` stand as given: page and export agree."""
    found = (metrics.extended_summary(record) if record is not None else {}) | dict(summary or {})
    for total, parts in (
        ("below_70_percent", ("very_low_percent", "low_percent")),
        ("above_180_percent", ("high_percent", "very_high_percent")),
    ):
        if all(k in found for k in parts):
            found[total] = sum(found[k] for k in parts)
    rows, others = [], []
    for t in (t for t in metrics.TARGETS if t.key in found):
        side, unit = {"above": ">", "below": "<", "at most": "≤", "at least": "≥"}[t.side], "days" if t.unit == "d" else t.unit
        value = number_text(found[t.key], sides=(t.limit,))
        rows.append((t.label, f"{value} {unit}", f"{side} {t.limit:g} {unit}", "met" if t.met(found[t.key]) else "NOT met"))
    for label, keys, unit in _ROWS:
        if all(k in found for k in keys):
            others.append((label, f"{', '.join(number_text(found[k]) for k in keys)} {unit}".strip()))
    heads, made = ("metric", "value", "target", "state"), []
    for title, listed, note in (
        ("Consensus metrics", rows, "targets of the 2019 international consensus for adults, doi:10.2337/dci19-0028; shares of readings"),
        ("Other metrics", others, "lines to HbA1c are of other people: one person's HbA1c may differ by half a point and more"),
    ):
        if listed:
            made.append(
                Table.of(*((h, None, column) for h, column in zip(heads, zip(*listed, strict=True), strict=False)), title=title, note=note)
            )
    return tuple(made)


def numbers(
    record: PatientRecord, forecast: Forecast | None, scores: Sequence[Score], summary: Mapping[str, float], standing: Mapping[str, Any]
) -> list[Number]:
    """Return the few numbers at the top of the page."""
    state = {k: standing[k] for k in ("status", "lineage", "shown_on")}
    time, value = metrics.readings(record)
    cards = []
    now = forecast.issued if forecast is not None else int(time[-1])
    if (time <= now).any():
        last = int(np.flatnonzero(time <= now)[-1])
        age = round((now - int(time[last])) / MINUTE)
        why = f"one sensor reading{f', {age} min old' if age else ''}"
        cards.append(Number(label="Last reading", value=float(value[last]), unit="mg/dL", sides=SIDES, certain_because=why, **state))
    if forecast is not None and len(forecast.draws):
        j = int(np.argmin(np.abs(forecast.horizons - LEAD)))
        low, middle, high = (float(x) for x in np.quantile(forecast.draws[:, j, 0], [0.05, 0.5, 0.95]))
        cards.append(
            Number(
                label=f"Forecast in {forecast.horizons[j]:g} min",
                value=middle,
                lower=low,
                upper=high,
                level=0.9,
                unit="mg/dL",
                sides=SIDES,
                **state,
            )
        )
        chance = forecast.probability(below=70.0)
        worst = int(np.argmax(chance))
        hits = round(float(chance[worst]) * len(forecast.draws))
        count = f"of {len(forecast.draws)} draws"
        why = f"{hits} {count}, highest in {forecast.horizons[worst]:g} min" if hits else f"none {count} at any time"
        cards.append(
            Number(label="Chance below 70 mg/dL", value=float(np.round(100 * chance[worst], 1)), unit="%", certain_because=why, **state)
        )
    rows = [(s.issued, r) for s in scores for r in s.rows]
    if rows:
        inside = np.array([100.0 * r.inside["0.90"] for _, r in rows])
        low, high = block_interval(np.array([i for i, _ in rows]), inside, round(max(r.horizon for _, r in rows) * MINUTE))
        sure: dict[str, Any] = {"certain_because": "too few forecasts that do not overlap for an interval"}
        if np.isfinite([low, high]).all():
            sure = {"lower": max(low, 0.0), "upper": min(high, 100.0), "level": 0.9}
        cards.append(
            Number(
                label="90 % bands held, to date", value=float(inside.mean()), unit="%", note=f"{len(rows)} forecast values", **sure, **state
            )
        )
    if "in_range_percent" in summary and len(cards) < 4:  # four stand in a row; the share is in the profile too
        why = f"share of readings on {summary.get('days_of_wear', 0):g} days; target above 70 %"
        cards.append(
            Number(label="Time in range", value=summary["in_range_percent"], unit="%", certain_because=why, sides=(70.0,), **state)
        )
    return cards
