"""How far forecasts can be trusted, as sections of a page: of one person's stream, and of a validation on many people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gemel.core.advice import Score, ScoreRow
from gemel.core.lineage import digest
from gemel.core.time import MINUTE
from gemel.core.view import Array, Axis, Figure, Line, Points, Rule, Table, Text, View, bars_figure, calibration_figure, number_text
from gemel.core.view.words import MINUS
from gemel.evidence.bootstrap import clustered_interval
from gemel.evidence.validation import Row, Validation
from gemel.twins.metabolic import metrics

__all__ = ["LEAD", "block_interval", "score_sections", "validation_view"]

LEAD = 60.0
"""Minutes ahead at which one figure stands for all."""


def _by_lead(scores: Sequence[Score]) -> dict[float, list[tuple[int, ScoreRow]]]:
    found: dict[float, list[tuple[int, ScoreRow]]] = {}
    for s in scores:
        for row in s.rows:
            found.setdefault(round(row.horizon, 1), []).append((s.issued, row))
    return dict(sorted(found.items()))


def block_interval(issued: np.ndarray, values: np.ndarray, block: int) -> tuple[float, float]:
    """Return a 90 % interval of a mean over a stream: blocks as long as the longest lead (ns) are resampled, because forecasts overlap."""
    _, cluster = np.unique(issued // block, return_inverse=True)
    total, count = np.bincount(cluster, values), np.bincount(cluster)
    return clustered_interval(lambda w: float(w @ total / max(w @ count, 1)), len(count), level=0.9)


def score_sections(scores: Sequence[Score], *, lead: float = LEAD, standing: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return coverage to date and calibration at one lead, a table by lead, and CRPS beside that of the last value.

    Parameters
    ----------
    scores : of past forecasts of one person.
    lead : minutes ahead at which calibration is shown; forecasts closer than this overlap and are not counted as independent.
    """
    leads = _by_lead(scores)
    lead = min(leads, key=lambda h: abs(h - lead))
    block, bars, ends, rows = round(max(leads) * MINUTE), {}, {}, []
    for h, found in leads.items():
        issued = np.array([i for i, _ in found])
        r = [row for _, row in found]
        y, mean = np.array([x.observed for x in r]), np.array([x.mean for x in r])
        crps, naive = np.array([x.crps for x in r]), np.array([np.nan if x.naive_crps is None else x.naive_crps for x in r])
        both = np.isfinite(naive)
        for name, v, use in (("twin", crps, np.ones(len(r), bool)), ("last value", naive, both)):
            if use.any():
                bars[f"{h:g} min: {name}"], ends[f"{h:g} min: {name}"] = float(v[use].mean()), block_interval(issued[use], v[use], block)
        inside = [100.0 * np.mean([x.inside[level] for x in r]) for level in ("0.50", "0.90")]
        skill = 100.0 * (1.0 - crps[both].sum() / naive[both].sum()) if naive[both].sum() > 0 else np.nan
        width = float(np.mean([x.width["0.90"] for x in r]))
        hold = np.nanmean(naive) if both.any() else np.nan
        rows.append((h, len(r), np.sqrt(np.mean((y - mean) ** 2)), metrics.mard(y, mean), crps.mean(), hold, skill, *inside, width))
    heads = (
        ("lead", "min"), ("n", "1"), ("RMSE", "mg/dL"), ("MARD", "%"), ("CRPS", "mg/dL"), ("CRPS, hold", "mg/dL"), ("skill", "%"),
        ("50 % held", "%"), ("90 % held", "%"), ("90 % width", "mg/dL"),
    )  # fmt: skip
    columns = [(name, unit, np.round(np.array([row[i] for row in rows], float), 1)) for i, (name, unit) in enumerate(heads)]
    shown = leads[lead]
    effective = float(len({i // round(lead * MINUTE) for i, _ in shown}))
    return (
        calibration_figure(
            title=f"Promises kept, {lead:g} minutes ahead", question="Do bands hold what they promise? Grey limits count forecasts that do not overlap.",
            pit=[row.pit for _, row in shown], effective=effective, **standing,
        ),
        bars_figure(
            title="Forecasts beside the last value", question="CRPS: how far the forecast distribution lies from the reading; smaller is better",
            quantity="CRPS", unit="mg/dL", values=bars, intervals=ends, category="Forecast", **standing,
        ),
        Table.of(
            *columns, title="How past forecasts did",
            note="hold: the last reading at the issue taken as the forecast; skill: one less the ratio of CRPS to its; RMSE and MARD of the mean",
        ),
    )  # fmt: skip


def _per_cent(values: Sequence[float | None]) -> np.ndarray:
    return np.round([np.nan if v is None else 100.0 * v for v in values], 1)


def _with_span(value: float, ends: tuple[float, float]) -> str:
    text = f"{value:.1f} ({ends[0]:.1f} to {ends[1]:.1f})" if np.isfinite(ends).all() else f"{value:.1f} (no interval)"
    return text.replace("-", MINUS)


def _accuracy_table(found: Validation) -> Table:
    rows, unit = found.rows, found.unit
    return Table.of(
        ("lead", "min", [r.horizon for r in rows]), ("forecaster", None, [r.forecaster for r in rows]), ("windows", "1", [r.n for r in rows]),
        ("RMSE", unit, np.round([r.rmse for r in rows], 2)), ("median person", unit, np.round([r.rmse_median_person for r in rows], 2)),
        ("MAE", unit, np.round([r.mae for r in rows], 2)), ("CRPS", unit, np.round([r.crps for r in rows], 2)),
        ("RMSE gain, % (95 %)", None, [_with_span(r.gain_rmse, r.gain_rmse_interval) for r in rows]),
        ("CRPS gain", "%", np.round([r.gain_crps for r in rows], 1)), ("people better", "%", _per_cent([r.people_better for r in rows])),
        title="Accuracy of all forecasters", note="gains and people are against ridge; intervals resample people; the same windows for every forecaster",
    )  # fmt: skip


def _bands_table(found: Validation) -> Table:
    rows, unit = found.rows, found.unit
    held = [_with_span(100 * r.coverage90, (100 * r.coverage90_interval[0], 100 * r.coverage90_interval[1])) for r in rows]
    return Table.of(
        ("lead", "min", [r.horizon for r in rows]), ("forecaster", None, [r.forecaster for r in rows]),
        ("50 % held", "%", _per_cent([r.coverage50 for r in rows])), ("90 % held, % (95 %)", None, held),
        ("median person", "%", _per_cent([r.coverage90_median_person for r in rows])),
        *((text, "%", _per_cent([r.coverage90_bands[i] for r in rows])) for i, text in enumerate(_bands(found))),
        ("50 % width", unit, np.round([r.width50 for r in rows], 1)), ("90 % width", unit, np.round([r.width90 for r in rows], 1)),
        title="Bands of all forecasters", note="share of readings inside the band; by band of the reading at the origin: of the 90 % band",
    )  # fmt: skip


def _bands(found: Validation) -> list[str]:
    """Name the groups of the reading at the origin."""
    edges = [number_text(e, digits=4) for e in found.bands]
    return [f"below {edges[0]}", *(f"{a} to {b}" for a, b in pairwise(edges)), f"above {edges[-1]}"]


def _zones_table(found: Validation) -> Table | None:
    grids = [(r, grid) for r in found.rows for grid in r.zones]
    if not grids:
        return None
    letters = [(f"zone {z}", "%", np.round([100.0 * r.zones[g].get(z, 0.0) for r, g in grids], 2)) for z in "ABCDE"]
    return Table.of(
        ("grid", None, [g for _, g in grids]), ("lead", "min", [r.horizon for r, _ in grids]), ("forecaster", None, [r.forecaster for r, _ in grids]), *letters,
        title="Error grids", note="grids made for meters: they weigh forecast errors by what acting on them would do",
    )  # fmt: skip


def _gain_figure(found: Validation, standing: Mapping[str, Any]) -> Figure | None:
    rows = [r for r in found.rows if r.forecaster != "ridge"]
    if not rows:
        return None
    values = {f"{r.horizon} min: {r.forecaster}": r.gain_rmse for r in rows}
    ends = {f"{r.horizon} min: {r.forecaster}": r.gain_rmse_interval for r in rows if np.isfinite(r.gain_rmse_interval).all()}
    return bars_figure(
        title="Gain over ridge", question="Per cent of the RMSE of a pooled ridge regression on the last hour; right of zero is better", quantity="Gain in RMSE",
        unit="%", values=values, intervals=ends, level=0.95, category="Forecaster", thresholds=((0.0, "ridge"),), **standing,
    )  # fmt: skip


def _coverage_figure(found: Validation, lead: int, standing: Mapping[str, Any]) -> Figure:
    """Describe coverage by band of the reading at the origin, for the twin and the strongest others; all are in the table."""
    shown = [r for name in ("twin", "ridge", "LSTM") for r in found.rows if r.horizon == lead and r.forecaster == name]
    values, ends = {}, {}
    for r in shown or [r for r in found.rows if r.horizon == lead]:
        values[f"{r.forecaster}, all"] = 100.0 * r.coverage90
        if np.isfinite(r.coverage90_interval).all():
            ends[f"{r.forecaster}, all"] = (100.0 * r.coverage90_interval[0], 100.0 * r.coverage90_interval[1])
        for text, share, n in zip(_bands(found), r.coverage90_bands, found.bands_n, strict=True):
            if share is not None:
                values[f"{r.forecaster}, {text} (n = {n:,})"] = 100.0 * share
    made = bars_figure(
        title=f"Where the 90 % band holds, {lead} minutes ahead",
        question=f"By the reading at the origin, {found.unit}: a good average can hide a band that fails when it matters.",
        quantity="Readings inside the 90 % band", unit="%", values=values, intervals=ends, level=0.95, category="Forecaster and reading at the origin",
        thresholds=((90.0, "promised"),), **standing,
    )  # fmt: skip
    return made.model_copy(update={"axes": (made.axes[0].model_copy(update={"range": (0, 100)}), *made.axes[1:])})


def _alarm_figure(found: Validation, standing: Mapping[str, Any]) -> Figure | None:
    curves = {name: c for name, c in found.alarms.items() if c.events > 0 and c.days > 0}
    if not curves:
        return None
    layers: list[Any] = [Rule(name="one a day", axis="x", value=1.0)]
    columns: list[list[Any]] = [[], [], [], []]
    words = []
    for k, (name, c) in enumerate(curves.items()):
        order = np.argsort(c.false_per_day, kind="stable")
        x, y = np.asarray(c.false_per_day, float)[order], 100.0 * np.asarray(c.sensitivity, float)[order]
        layers.append(Line(name=name, x=Array.of(x, unit="/d"), y=Array.of(y, unit="%"), series=k, label="legend"))
        share, false = c.at_chosen()
        at, height = Array.of([false], unit="/d"), Array.of([100.0 * share], unit="%")
        layers.append(Points(x=at, y=height, series=k, marker="diamond", role="estimate", label="none"))
        words.append(f"{name} warns of {number_text(100 * share)} % of events at {number_text(false)} false alarms a day")
        for t, s, f in zip(c.thresholds, c.sensitivity, c.false_per_day, strict=True):
            for column, v in zip(columns, (name, t, round(100.0 * s, 1), round(f, 3)), strict=True):
                column.append(v)
    first = next(iter(curves.values()))
    about = f"{first.events:,} events in {number_text(first.days)} days"
    heads = (("forecaster", None), ("rings above", "1"), ("events warned of", "%"), ("false alarms", "/d"))
    table = Table.of(*((name, unit, column) for (name, unit), column in zip(heads, columns, strict=True)), title=first.name, note=about)
    return Figure(
        kind="curve", title=f"Alarm: {first.name}",
        question="Diamonds: the probability at which it rings, chosen on the calibration parts for at most one false alarm a day",
        axes=(Axis(name="x", label="False alarms per day", unit="/d"), Axis(name="y", label="Events warned of", unit="%", range=(0, 100))), layers=tuple(layers),
        alt=f"{about}: {'; '.join(words)}.", table=table, **standing,
    )  # fmt: skip


def _lead_words(found: Validation, row: Row) -> str:
    held = f"its 90 % band held {number_text(100 * row.coverage90)} % at a mean width of {number_text(row.width90)} {found.unit}"
    sure = np.isfinite(row.gain_rmse_interval).all()
    low, high = row.gain_rmse_interval
    gain = f"{number_text(row.gain_rmse)} %" + (f" (95 % interval {number_text(low)} to {number_text(high)})" if sure else "")
    return f"{row.horizon} minutes ahead: RMSE {number_text(row.rmse)} {found.unit}, gain over ridge {gain}; {held}."


def validation_view(validation: Validation, *, title: str = "How far to trust the forecasts") -> View:
    """Return the page of a validation: who, how it did beside naive forecasters, where its bands hold, what its alarm is worth.

    Parameters
    ----------
    validation : of :func:`gemel.evidence.validation.validate`.
    """
    plain = {k: v for k, v in validation.to_dict().items() if k != "seconds"}
    simulated = validation.shown_on.kind == "simulated"
    standing = {"status": "simulated" if simulated else "current", "lineage": digest(plain)[:16], "shown_on": validation.shown_on}
    leads = sorted({r.horizon for r in validation.rows})
    lead = min(leads, key=lambda h: abs(h - LEAD))
    twin = [r for r in validation.rows if r.forecaster == "twin"]
    counts = ", ".join(f"{n:,} to {name}" for name, n in validation.windows.items())
    about = f"{validation.people} people, {validation.recordings} recordings; windows: {counts}. Each person is split by time 60/20/20."
    parts: list[Any] = [Text(title="Question", body=f"{validation.question}\n\n{about}")]
    if twin:
        parts.append(Text(title="In short", body="\n".join(f"- {_lead_words(validation, r)}" for r in twin)))
    drawn = _gain_figure(validation, standing), _coverage_figure(validation, lead, standing), _alarm_figure(validation, standing)
    parts += [figure for figure in drawn if figure is not None]
    parts += [_accuracy_table(validation), _bands_table(validation)]
    zones = _zones_table(validation)
    parts += [zones] if zones is not None else []
    spent = ", ".join(f"{name} {number_text(s)} s" for name, s in validation.seconds.items())
    notes = [*validation.notes, *([f"CPU time: {spent}"] if spent else [])]
    if notes:
        parts.append(Text(title="Notes", body="\n".join(f"- {n}" for n in notes)))
    few = f" With {validation.people} people the intervals are wide." if validation.people < 20 else ""
    body = f"How the forecasts do on people unlike these, or under plans that were not lived.{few}"
    parts.append(Text(title="What this does not show", body=body, tone="limit"))
    return View(id="metabolic-validation", title=title, subtitle=f"twin metabolic · shown on: {validation.shown_on}", sections=tuple(parts))
