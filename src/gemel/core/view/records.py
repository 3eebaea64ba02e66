"""Figures of what is known: a series, a timeline of facts, and the ambulatory glucose profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemel.core.errors import ViewError
from gemel.core.time import local_minutes_of_day

from .array import Array
from .common import Standing, along, held, limits, moment, sides_of, time_axis
from .document import times
from .figure import Figure
from .layers import Band, Facts, Layer, Line, Points, Shares
from .parts import Axis, Event, Panel, Table
from .statistics import quantiles
from .words import count_text, date_text, duration_text, local, number_text, sentence, span_text, with_unit


def series_figure(
    *,
    title: str,
    quantity: str,
    unit: str,
    time: Any,
    values: ArrayLike | Mapping[str, ArrayLike],
    max_gap: float | None = None,
    target: tuple[float | None, float | None] | None = None,
    thresholds: Sequence[tuple[float, str]] = (),
    events: tuple[Event, ...] = (),
    zone: str = "UTC",
    time_unit: str | None = None,
    has_dots: bool = False,
    **standing: Unpack[Standing],
) -> Figure:
    """Describe one or several series of one quantity over time; gaps stay gaps.

    Parameters
    ----------
    title, quantity, unit : such as "Last 24 hours", "Glucose", "mg/dL".
    time : (time,) datetime64 or int64 ns UTC, ascending; numbers when `time_unit` is given.
    values : (time,), or name -> (time,); NaN where nothing was measured.
    max_gap : longest stretch over which a line is drawn, ns or `time_unit`; None for any.
    target, thresholds : as in `fan_figure`.
    has_dots : draws a dot at each reading.
    standing : status, lineage, shown_on, question, banner, links; see `Figure`.
    """
    named = {name: np.asarray(y, dtype=np.float64) for name, y in (values.items() if isinstance(values, Mapping) else [("", values)])}
    x, sides = along(time, time_unit), sides_of(target, thresholds)
    layers: list[Layer] = limits(target, thresholds)
    columns: list[tuple[str, str | None, object]] = [("time", x.unit, x)]
    words = []
    for series, (name, y) in enumerate(named.items()):
        layers.append(Line(name=name, x=x, y=held(y, unit), series=series, role="data" if len(named) == 1 else "median", max_gap=max_gap))
        if has_dots:
            layers.append(Points(name="", x=x, y=held(y, unit), series=series, role="data" if len(named) == 1 else "estimate"))
        columns.append((name or quantity, unit, held(y, unit)))
        words.append(_series_words(name, unit, x.numpy(), y, sides, time_unit, zone))
    at = x.numpy()
    gaps = int(np.count_nonzero(np.diff(at) > max_gap)) if max_gap is not None else 0
    if len(at) > 1:
        extent = duration_text(int(at[-1] - at[0])) if time_unit is None else with_unit(float(at[-1] - at[0]), time_unit)
        words[0] = f"{words[0]}, over {extent}" + (f" with {count_text(gaps, 'gap')}" if gaps else "")
    return Figure(
        kind="series",
        title=title,
        axes=(time_axis(time_unit, zone), Axis(name="y", label=quantity, unit=unit)),
        layers=tuple(layers),
        events=events,
        alt=sentence(f"{quantity}: {'; '.join(words)}"),
        table=Table.of(*columns, title=quantity, zone=zone, is_keyed=True),
        **standing,  # pyright: ignore[reportArgumentType]  a Lineage becomes its id
    )


def _series_words(
    name: str, unit: str, at: NDArray[Any], y: NDArray[np.float64], sides: tuple[float, ...], time_unit: str | None, zone: str
) -> str:
    known = np.flatnonzero(np.isfinite(y))
    prefix = f"{name}: " if name else ""
    if known.size == 0:
        return f"{prefix}no readings"
    is_dated = bool(time_unit is None and at[-1] - at[0] > 86_400_000_000_000)
    low, high, last = known[np.argmin(y[known])], known[np.argmax(y[known])], known[-1]
    named = [
        f"{word} {with_unit(float(y[i]), unit, sides=sides)} at {moment(at[i].item(), time_unit, zone, is_dated=is_dated)}"
        for word, i in (("lowest", low), ("highest", high), ("last", last))
    ]
    return f"{prefix}{count_text(known.size, 'reading')}, {', '.join(named)}"


def timeline_figure(
    *,
    title: str,
    lanes: Mapping[str, Sequence[tuple[Any, Any, Any, str]]],
    zone: str = "UTC",
    **standing: Unpack[Standing],
) -> Figure:
    """Describe facts in lanes, each with both its times: when it was true and when it was known.

    Parameters
    ----------
    lanes : name -> facts (start, end or None for a moment, recorded or None for "when true", label); times datetime64 or ns UTC.
    zone : IANA zone in which times are shown.
    standing : status, lineage, shown_on, question, banner, links; see `Figure`.
    """
    layers: list[Layer] = []
    rows: list[tuple[str, str, int, int, int]] = []
    for series, (name, facts) in enumerate(lanes.items()):
        made = [
            (name, label, _ns(start), _ns(start if end is None else end), _ns(start if recorded is None else recorded))
            for start, end, recorded, label in facts
        ]
        rows.extend(made)
        start, end, known = (np.array([row[i] for row in made], dtype=np.int64) for i in (2, 3, 4))
        layers.append(
            Facts(
                name=name,
                series=series,
                start=Array.of(start, unit="ns", axes=("fact",)),
                end=Array.of(end, unit="ns", axes=("fact",)),
                recorded=Array.of(known, unit="ns", axes=("fact",)),
                labels=tuple(row[1] for row in made),
            )
        )
    if not rows:
        raise ViewError("timeline_figure: no facts; expected at least one lane with one fact")
    rows.sort(key=lambda row: row[2])
    columns = [np.array([row[i] for row in rows], dtype=np.int64) for i in (2, 3, 4)]
    late = int(np.count_nonzero(columns[2] > columns[1]))
    return Figure(
        kind="timeline",
        title=title,
        axes=(time_axis(None, zone), Axis(name="y", label="Lane", unit="1", kind="category", categories=tuple(lanes))),
        layers=tuple(layers),
        alt=sentence(
            f"Timeline: {count_text(len(rows), 'fact')} in {count_text(len(lanes), 'lane')}, {date_text(int(columns[0].min()), zone)} to "
            f"{date_text(int(columns[1].max()), zone)}; {late if late else 'none'} known later than true"
        ),
        table=Table.of(
            ("true from", "ns", columns[0]),
            ("true until", "ns", columns[1]),
            ("known at", "ns", columns[2]),
            ("lane", None, [row[0] for row in rows]),
            ("fact", None, [row[1] for row in rows]),
            title=title,
            zone=zone,
        ),
        **standing,  # pyright: ignore[reportArgumentType]  a Lineage becomes its id
    )


def _ns(value: Any) -> int:
    return int(times(value))


RANGES = {
    "mg/dL": ((54.0, "very low"), (70.0, "low"), (180.0, "in range"), (250.0, "high")),
    "mmol/L": ((3.0, "very low"), (3.9, "low"), (10.0, "in range"), (13.9, "high")),
}
"""Upper ends of the ranges of the international consensus on time in range, doi:10.2337/dci19-0028, table 2; 70 and 180 are in range."""


def agp_figure(
    *,
    title: str = "Ambulatory glucose profile",
    time: Any,
    glucose: ArrayLike,
    unit: str,
    zone: str = "UTC",
    bin_minutes: int = 15,
    **standing: Unpack[Standing],
) -> Figure:
    """Describe the ambulatory glucose profile: percentiles by local time of day, and times in range.

    Parameters
    ----------
    time : (time,) datetime64 or int64 ns UTC.
    glucose : (time,) in `unit`; NaN where nothing was measured.
    unit : "mg/dL" or "mmol/L".
    zone : IANA zone of the person's day.
    bin_minutes : width of the bins of the day, minutes; percentiles are taken over all days within a bin.
    standing : status, lineage, shown_on, question, banner, links; see `Figure`.

    References
    ----------
    Battelino et al. 2019, doi:10.2337/dci19-0028: percentiles 5, 25, 50, 75, 95; ranges of table 2; 14 days advised.
    """
    if unit not in RANGES:
        raise ViewError(f"agp_figure: unit is {unit!r}, expected one of {list(RANGES)}; convert first with core.units")
    at, value = times(time), np.asarray(glucose, dtype=np.float64)
    is_known = np.isfinite(value)
    at, value = at[is_known], value[is_known]
    if value.size == 0 or 1440 % bin_minutes:
        raise ViewError(f"agp_figure: {value.size} readings in bins of {bin_minutes} min; expected at least one, and a divisor of 1440")
    minute = local_minutes_of_day(at, zone)
    place = (minute // bin_minutes).astype(np.int64)
    found = np.full((5, 1440 // bin_minutes), np.nan)
    for bucket in np.unique(place):
        found[:, bucket] = quantiles(value[place == bucket], (0.05, 0.25, 0.5, 0.75, 0.95))
    clock = Array.of((np.arange(found.shape[1]) + 0.5) * bin_minutes, unit="min", axes=("time",))
    curves = [held(curve, unit) for curve in found]
    shares, names = _ranges(value, unit)
    low, high = RANGES[unit][1][0], RANGES[unit][2][0]
    days = len({local(int(hour) * 3_600_000_000_000, zone).date() for hour in np.unique(at // 3_600_000_000_000)})
    typical = np.flatnonzero(np.isfinite(found[2]))
    peak = typical[np.argmax(found[2, typical])]
    alt = (
        f"Glucose by time of day from {count_text(value.size, 'reading')} on {count_text(days, 'day')}: "
        f"{number_text(float(shares[2]))} % of readings in {span_text(low, high, unit)}, "
        f"{number_text(float(shares[0] + shares[1]))} % below, {number_text(float(shares[3] + shares[4]))} % above; "
        f"the median is highest, {with_unit(float(found[2, peak]), unit)}, "
        f"around {int(clock.numpy()[peak]) // 60:02d}:{int(clock.numpy()[peak]) % 60:02d}"
    )
    columns = [
        ("time of day", "min", clock),
        *((f"{p} % of readings below", unit, curve) for p, curve in zip((5, 25, 50, 75, 95), curves, strict=True)),
    ]
    table = Table.of(
        *columns,
        title="Glucose by time of day",
        note="; ".join(f"{n}: {number_text(float(s))} %" for n, s in zip(names, shares, strict=True)),
    )
    table = table.model_copy(
        update={"columns": (table.columns[0].model_copy(update={"kind": "clock"}), *table.columns[1:]), "is_keyed": True}
    )
    return Figure(
        kind="agp",
        title=title,
        axes=(
            Axis(name="x", label="Time of day", unit="min", kind="clock", range=(0, 1440), zone=zone),
            Axis(name="y", label="Glucose", unit=unit),
            Axis(name="x", label="Share of readings", unit="%", range=(0, 100), panel=1),
            Axis(name="y", label="Range", unit="1", panel=1),
        ),
        panels=(Panel(share=1.0), Panel(title="Times in range", share=0.2)),
        layers=(
            *limits((low, high), ((RANGES[unit][0][0], ""), (RANGES[unit][3][0], ""))),
            Band(name="5 to 95 %", x=clock, lower=curves[0], upper=curves[4], level=0.9),
            Band(name="25 to 75 %", x=clock, lower=curves[1], upper=curves[3], level=0.5),
            Line(name="median", x=clock, y=curves[2]),
            Shares(panel=1, names=names, value=Array.of(shares, unit="%", axes=("range",)), emphasis=2),
        ),
        alt=sentence(alt),
        table=table,
        **standing,  # pyright: ignore[reportArgumentType]  a Lineage becomes its id
    )


def _ranges(value: NDArray[np.float64], unit: str) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return percentages of readings in the five ranges, and their names; compared unrounded."""
    (very_low, _), (low, _), (high, _), (very_high, _) = RANGES[unit]
    counts = [
        np.count_nonzero(value < very_low),
        np.count_nonzero((value >= very_low) & (value < low)),
        np.count_nonzero((value >= low) & (value <= high)),
        np.count_nonzero((value > high) & (value <= very_high)),
        np.count_nonzero(value > very_high),
    ]
    text = [number_text(end) for end in (very_low, low, high, very_high)]
    names = (f"very low, below {text[0]}", f"low, {text[0]} to {text[1]}", f"in range, {text[1]} to {text[2]}")
    return 100 * np.array(counts) / value.size, (*names, f"high, {text[2]} to {text[3]}", f"very high, above {text[3]}")
