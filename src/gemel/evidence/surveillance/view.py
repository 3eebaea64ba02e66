"""A watch as a person sees it: the charts with thresholds and run lengths, the alarms, the inputs, the people."""

from __future__ import annotations

from typing import Any

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.time import iso
from gemel.core.view import Array, Axis, Band, Figure, Line, Rule, Standing, Table, Text, View, series_figure
from gemel.evidence.surveillance.charts import Rolling
from gemel.evidence.surveillance.watch import Watch, moment
from gemel.evidence.surveillance.watched import Watched

__all__ = ["alarm_table", "chart_table", "group_table", "input_table", "people_table", "watch_figures", "watch_to_dict", "watch_view"]


def _standing(watch: Watch, shown_on: ShownOn, question: str = "") -> Standing:
    simulated = shown_on.kind == "simulated"
    status = "simulated" if simulated else ("drifting" if watch.alarms else "current")
    banner = "INCOMPLETE: more than 10 % of the outcomes that are due are missing" if watch.is_incomplete else ""
    return Standing(status=status, lineage=watch.lineage, shown_on=shown_on, banner=banner, question=question)


def _dash(value: float, form: str = ".4g") -> str:
    return format(value, form) if np.isfinite(value) else "-"


def _chart_figure(chart: Watched, watch: Watch, shown_on: ShownOn) -> Figure:
    where = f" in {chart.group}" if chart.group else ""
    length = f"{chart.run_length:,.0f} outcomes"
    times = watch.log.recorded[chart.rows]
    figure = series_figure(
        title=f"CUSUM: {chart.name}{where}", quantity="Sum of evidence", unit="1", time=times, values=chart.path.value,
        thresholds=((chart.path.threshold, f"rings: once in {length} in control"),),
        **_standing(watch, shown_on, f"Looks for {chart.looks_for}; {'starts again' if chart.path.reset else 'goes on'} after an alarm; {len(chart.path.alarms)} alarms. Begun then, it would ring after {chart.delay:,.0f} outcomes on average."),
    )  # fmt: skip
    rang = f"rang {len(chart.path.alarms)} times" if len(chart.path.alarms) else "never rang"
    words = f"The chart of {chart.name}{where} {rang} in {len(chart.rows)} outcomes: highest {chart.path.largest:.3g}, last {chart.path.value[-1]:.3g}; it rings above {chart.path.threshold:.4g}, once in {length} while all is well."
    return figure.model_copy(update={"alt": words})


def _rolling_figure(group: str, times: np.ndarray, rolling: Rolling, standing: Standing) -> Figure:
    x = Array.of(times, unit="ns", axes=("time",))
    shares = {name: Array.of(100 * value, unit="%", axes=("time",)) for name, value in (("share", rolling.share), ("low", rolling.low), ("high", rolling.high))}  # fmt: skip
    state = "outside" if rolling.outside else "inside"
    return Figure(
        kind="series", title=f"Coverage of the last {rolling.window} intervals: {group}",
        axes=(Axis(name="x", label="Outcome known", unit="ns", kind="time"), Axis(name="y", label="Outcomes inside", unit="%", range=(0, 100))),
        layers=(
            Band(name="99 % by chance", x=x, lower=shares["low"], upper=shares["high"], level=0.99, role="reference", label="legend"),
            Line(x=x, y=shares["share"], role="data", label="none"), Rule(name="promised", value=100 * rolling.nominal),
        ),
        alt=f"Of the last {min(rolling.window, len(times))} outcomes of {group}, {100 * rolling.share[-1]:.1f} % fell inside their intervals, {state} the limits of chance; promised {100 * rolling.nominal:.0f} %.",
        table=Table.of(("known", "ns", x), ("inside", "%", shares["share"]), ("by chance from", "%", shares["low"]), ("to", "%", shares["high"]), is_keyed=True),
        **standing,
    )  # fmt: skip


def watch_figures(watch: Watch, *, shown_on: ShownOn) -> tuple[Figure, ...]:
    """Return the figures of a watch: every CUSUM, the adaptive window, VLAD, EWMA, coverage, and the adaptive level."""
    standing, recorded, made = _standing(watch, shown_on), watch.log.recorded, watch.log.time
    found = [_chart_figure(chart, watch, shown_on) for chart in watch.charts if len(chart.rows)]
    if watch.scan is not None:
        rows, scan, length = watch.scan
        found.append(series_figure(
            title="Residuals over an adaptive window", quantity="Largest score", unit="1", time=recorded[rows], values=scan.value,
            thresholds=((scan.limit, f"rings: once in {length:,.0f} outcomes in control"),), **standing,
        ))  # fmt: skip
    if watch.vlad is not None:
        rows, value = watch.vlad
        found.append(series_figure(
            title="VLAD: events fewer than predicted", quantity="Predicted minus observed", unit="1", time=recorded[rows], values=value,
            **_standing(watch, shown_on, "A picture, without limits: it rings no alarm."),
        ))  # fmt: skip
    if watch.ewma is not None:
        rows, path = watch.ewma
        found.append(series_figure(
            title="EWMA of the residual", quantity="Observed minus predicted", unit="1", time=recorded[rows], values=path.value,
            thresholds=((path.limit, "limit"), (-path.limit, "limit below")), **_standing(watch, shown_on, "Shown beside; the CUSUM rings."),
        ))  # fmt: skip
    found += [_rolling_figure(group, recorded[rows], rolling, standing) for group, (rows, rolling) in watch.rolling.items() if len(rows)]
    if watch.adaptive is not None:
        rows, replay = watch.adaptive
        width = replay.upper - replay.lower
        own = watch.log.numbers["upper"][rows] - watch.log.numbers["lower"][rows]
        ratio = np.where(np.isfinite(width) & (own > 0), width / np.where(own > 0, own, 1), np.nan)
        found.append(series_figure(
            title="Adaptive conformal level", quantity="Miss rate in force", unit="1", time=made[rows], values=replay.level, thresholds=((replay.target, "promised"),),
            **_standing(watch, shown_on, f"Below the promise: the model's own intervals are too narrow. Adapted intervals missed {100 * replay.missed:.1f} % of {replay.settled} outcomes; any data keep this within {100 * replay.bound:.1f} points of {100 * replay.target:.0f} %."),
        ))  # fmt: skip
        if np.isfinite(ratio).any():
            found.append(series_figure(
                title="Width of the adapted interval", quantity="Times the model's own", unit="1", time=made[rows], values=ratio, **standing
            ))  # fmt: skip
    return tuple(found)


def chart_table(watch: Watch) -> Table:
    """Return what each chart looks for, its threshold, its run length and what it found, in both orders of time."""
    rows: list[tuple[Any, ...]] = [
        (c.name, c.group or "everybody", str(len(c.rows)), _dash(c.path.threshold), f"{c.run_length:,.0f}", _dash(c.delay), _dash(c.path.largest), str(len(c.path.alarms)), str(len(c.by_time.alarms)))
        for c in watch.charts
    ]  # fmt: skip
    if watch.scan is not None:
        seen, scan, length = watch.scan
        rows.append(("residuals, adaptive window", "everybody", str(len(seen)), _dash(scan.limit), f"{length:,.0f} (simulated)", "-", _dash(float(scan.value.max(initial=0))), str(len(scan.alarms)), "-"))  # fmt: skip
    heads = ("chart", "in", "outcomes", "threshold", "run length in control", "run length once it has happened", "largest", "alarms", "alarms by time of prediction")  # fmt: skip
    return Table.of(*((h, None, [r[i] for r in rows]) for i, h in enumerate(heads)), title="Charts that ring")


def alarm_table(watch: Watch) -> Table | None:
    """Return the alarms, oldest first, or None."""
    if not watch.alarms:
        return None
    columns = (("rang", [moment(a.time) for a in watch.alarms]), ("chart", [a.chart for a in watch.alarms]), ("in", [a.group or "everybody" for a in watch.alarms]),
               ("severity", [a.severity for a in watch.alarms]), ("what was seen", [a.sentence for a in watch.alarms]))  # fmt: skip
    return Table.of(*((h, None, v) for h, v in columns), title=f"Alarms: {len(watch.alarms)}")


def group_table(watch: Watch) -> Table:
    """Return performance in each subgroup; small ones are not shown."""
    event = watch.log.kind == "event"
    scale = [1.0 if event else 1.0 / max(g.n, 1) for g in watch.groups]
    heads = ("events", "expected", "Brier score") if event else ("mean outcome", "mean prediction", "mean square error")
    return Table.of(
        ("in", None, [g.group for g in watch.groups]), ("outcomes", None, [str(g.n) if not g.note else "-" for g in watch.groups]),
        (heads[0], None, [_dash(g.observed * k) for g, k in zip(watch.groups, scale, strict=True)]),
        (heads[1], None, [_dash(g.expected * k) for g, k in zip(watch.groups, scale, strict=True)]),
        (heads[2], None, [_dash(g.brier) for g in watch.groups]), ("coverage", None, [_dash(g.coverage, ".3f") for g in watch.groups]),
        ("note", None, [g.note for g in watch.groups]), title="Performance by subgroup, of outcomes known now",
    )  # fmt: skip


def people_table(watch: Watch) -> Table:
    """Return how people live with it."""
    return Table.of(
        ("what", None, [r.name for r in watch.people]), ("value", None, [_dash(r.value) for r in watch.people]), ("unit", None, [r.unit for r in watch.people]),
        ("95 % from", None, [_dash(r.low) for r in watch.people]), ("to", None, [_dash(r.high) for r in watch.people]),
        ("n", None, [str(r.n) for r in watch.people]), ("note", None, [r.note for r in watch.people]), title="People",
    )  # fmt: skip


def input_table(watch: Watch) -> Table | None:
    """Return the findings about inputs in the batch that rang last, or in the newest one; None without a baseline of inputs."""
    if not watch.batches:
        return None
    rang = [b for b in watch.batches if b.rings]
    batch = (rang or watch.batches)[-1]
    which = "that rang last" if rang else "that is newest"
    rows = sorted(batch.findings, key=lambda d: d.p_value)
    return Table.of(
        ("input", None, [d.input for d in rows]), ("statistic", None, [d.statistic for d in rows]), ("value", None, [_dash(d.value) for d in rows]),
        ("p before correction", None, [f"{d.p_value:.2g}" for d in rows]), ("note", None, [d.note for d in rows]),
        title=f"Inputs of the batch {which}, from {moment(int(watch.log.time[batch.first]))}",
        note="Drift of inputs is not drift of performance: it explains an alarm.",
    )  # fmt: skip


def watch_words(watch: Watch) -> str:
    """Return what was watched, in words: counts, delays, run length, and what was assumed."""
    s, d = watch.settings, watch.delay_days
    lines = [
        f"As of {moment(watch.as_of)}: {len(watch.log)} predictions; outcomes known {watch.known}, not yet due {watch.pending}, missing {watch.missing}; abstained {watch.abstained}.",
        f"- Outcomes became known {_dash(d[0], '.3g')} days after the prediction (median; nine in ten within {_dash(d[1], '.3g')})." if watch.known else "- No outcome is known.",
        f"- Wanted: one false alarm of the whole watch in {s.run_length:,.0f} outcomes; {watch.ringing_charts} charts ring, each set to {s.run_length * watch.ringing_charts:,.0f}.",
        f"- After an alarm a chart {'starts again at 0' if s.reset else 'goes on'}.",
    ]  # fmt: skip
    if watch.sprt is not None:
        lines.append(f"- Sequential test of odds {s.ratio:g} against 1, error rates 1 %, which decides once: {watch.sprt.decision}" + (f" at outcome {watch.sprt.at + 1}." if watch.sprt.at is not None else "."))  # fmt: skip
    lines += [f"- Innovations, {name}: {v:.3f}, {'inside' if a <= v <= b else 'OUTSIDE'} {a:.3f} to {b:.3f} (99 %)." for name, (v, a, b) in watch.innovation.items()]  # fmt: skip
    return "\n".join([*lines, *(f"- {note}" for note in watch.notes)])


def watch_view(watch: Watch, *, title: str, shown_on: ShownOn, extra: tuple[Any, ...] = ()) -> View:
    """Return the page of a watch: the state in words, alarms, charts, tables.

    Parameters
    ----------
    extra : sections put after the first words, such as incidents.
    """
    tone = "warning" if watch.is_incomplete else "plain"
    banner = "INCOMPLETE: more than 10 % of the outcomes that are due are missing; what is missing may be what went wrong.\n\n" if watch.is_incomplete else ""  # fmt: skip
    sections: list[Any] = [Text(body=banner + watch_words(watch), title="What was watched", tone=tone), *extra]
    sections += [t for t in (alarm_table(watch), chart_table(watch)) if t is not None]
    sections += watch_figures(watch, shown_on=shown_on)
    sections += [t for t in (group_table(watch), input_table(watch), people_table(watch)) if t is not None]
    return View(
        id=f"watch-{watch.lineage}", title=title, subtitle=f"as of {moment(watch.as_of)}; shown on: {shown_on}", sections=tuple(sections)
    )


def watch_to_dict(watch: Watch) -> dict[str, Any]:
    """Return the watch as plain values: counts, charts, alarms, tables; no row of the log."""
    return {
        "as_of": iso(watch.as_of), "lineage": watch.lineage, "release": watch.release.id if watch.release else None, "kind": watch.log.kind,
        "predictions": len(watch.log), "known": watch.known, "pending": watch.pending, "missing": watch.missing, "abstained": watch.abstained,
        "incomplete": watch.is_incomplete, "delay_days": watch.delay_days, "settings": vars(watch.settings), "ringing_charts": watch.ringing_charts,
        "charts": [
            {"chart": c.name, "group": c.group, "outcomes": len(c.rows), "threshold": c.path.threshold, "reset": c.path.reset, "run_length": c.run_length,
             "delay": c.delay, "largest": c.path.largest, "last": float(c.path.value[-1]) if len(c.path.value) else 0.0, "alarms": len(c.path.alarms),
             "alarms_by_time_of_prediction": len(c.by_time.alarms)}
            for c in watch.charts
        ],
        "scan": None if watch.scan is None else {"limit": watch.scan[1].limit, "run_length": watch.scan[2], "largest": float(watch.scan[1].value.max(initial=0)), "alarms": len(watch.scan[1].alarms)},
        "inputs": [{"from": moment(int(watch.log.time[b.first])), "p_value": b.p_value, "rings": b.rings, "worst": b.sentence} for b in watch.batches],
        "batch_level": watch.batch_level,
        "alarms": [vars(a) | {"time": iso(a.time), "row": a.row + 1} for a in watch.alarms],
        "coverage": {g: {"window": r.window, "share": float(r.share[-1]), "low": float(r.low[-1]), "high": float(r.high[-1]), "outside": r.outside} for g, (rows, r) in watch.rolling.items() if len(rows)},
        "adaptive": None if watch.adaptive is None else {
            "level": float(watch.adaptive[1].level[-1]), "target": watch.adaptive[1].target, "missed": watch.adaptive[1].missed, "bound": watch.adaptive[1].bound,
            "settled": watch.adaptive[1].settled, "delay": watch.adaptive[1].delay,
        },
        "sprt": None if watch.sprt is None else {"decision": watch.sprt.decision, "at": watch.sprt.at},
        "innovation": {name: {"value": v, "low": a, "high": b} for name, (v, a, b) in watch.innovation.items()},
        "groups": [vars(g) for g in watch.groups], "people": [vars(r) for r in watch.people], "notes": watch.notes,
    }  # fmt: skip
