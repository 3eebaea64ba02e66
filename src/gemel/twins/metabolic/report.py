"""What a person sees: one page about one person's glucose, and one about how far forecasts of many people can be trusted.

Every section is a plain description of :mod:`gemel.core.view`; nothing is drawn here. A section whose input is missing says so, and which command makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from gemel.core.advice import AbstentionReason, Proposal, Score, ShownOn
from gemel.core.lineage import digest
from gemel.core.record import PatientRecord
from gemel.core.time import HOUR, MINUTE, to_ns
from gemel.core.units import is_convertible
from gemel.core.view import Event, Figure, Table, Text, View, agp_figure, compare_figure, fan_figure, number_text, posterior_figure
from gemel.core.view.words import MINUS
from gemel.engine.forecast import Comparison, Forecast
from gemel.engine.keys import stream
from gemel.engine.posterior import AbstractPosterior
from gemel.engine.prior import Prior
from gemel.engine.recommend import Abstained, Choice
from gemel.engine.status import Status, usable
from gemel.engine.twin import Twin, prior_dominated
from gemel.twins.metabolic import metrics, observe
from gemel.twins.metabolic._report_numbers import metrics_tables, numbers
from gemel.twins.metabolic._report_trust import LEAD, score_sections, validation_view

__all__ = [
    "Streamed",
    "advice_sections",
    "compared_sections",
    "forecast_figure",
    "lead_figure",
    "learnt_sections",
    "metrics_tables",
    "person_view",
    "score_sections",
    "validation_view",
    "view",
]

Streamed = tuple[int, Forecast, Score | None]
"""A forecast as it was issued (ns UTC), and how it did once readings came."""

TARGET = (70.0, 180.0)
THRESHOLDS = ((54.0, "very low"), (250.0, "very high"))
BEFORE, SHOWN_STREAM, DRAWS, PAST_LINES = 8 * HOUR, 48 * HOUR, 400, 6
NOT_FOR = (
    "Not for automatic dosing, diagnosis, rescue from hypoglycaemia, pregnancy, intensive care, ketoacidosis, dialysis, or children under six. "
    "Activity, stress, illness, alcohol and the menstrual cycle are not in the model. A comparison of plans shows what the model expects: "
    "the life not lived is never seen."
)
_EXPOSED = {
    observe.CARBOHYDRATE: ("meal", "meal"), observe.ENERGY: ("meal", "meal"), observe.UNQUANTIFIED: ("meal", "meal"),
    observe.FAST: ("fast insulin", "insulin"), observe.INTERMEDIATE: ("intermediate insulin", "insulin"), observe.PREMIXED: ("premixed insulin", "insulin"),
    observe.LONG: ("long insulin", "insulin"),
}  # fmt: skip


def _missing(title: str, what: str, command: str) -> Text:
    return Text(title=title, body=f"Not shown: {what}. The command that makes it: {command}", tone="note")


def _standing(twin: Twin | None, lineage: Any, shown_on: ShownOn | None, simulated: bool) -> dict[str, Any]:
    """Return status, banner, lineage and on whom it was shown, for every figure that rests on the twin."""
    status, banner = "current", ""
    if twin is not None and twin.domain.reason is not None:
        status = "stale" if twin.domain.reason == AbstentionReason.DATA_TOO_OLD else "abstained"
        banner = f"{twin.domain.reason}: {twin.domain.sentence}"
    elif twin is not None and not usable(twin.status):
        status, banner = "drifting" if twin.status == Status.INNOVATIONS_INCONSISTENT else "abstained", twin.sentence
    if simulated:
        status, banner = "simulated", f"not measured on a person{'; ' if banner else ''}{banner}"
    return {"status": status, "banner": banner, "lineage": lineage, "shown_on": shown_on}


def _events(record: PatientRecord, start: int, stop: int, now: int) -> tuple[Event, ...]:
    """Return meals and insulin doses of a window; running basal rates are left out."""
    made = []
    for e in record.exposures:
        name, kind = _EXPOSED.get(e.code, ("", ""))
        is_rate = kind == "insulin" and e.quantity is not None and not is_convertible(e.quantity.unit, "[iU]")
        if kind and start <= e.start <= stop and not is_rate:
            unit = {"[iU]": "U"}.get(e.quantity.unit, e.quantity.unit) if e.quantity is not None else ""
            label = f"{name} {number_text(e.quantity.value)} {unit}" if e.quantity is not None else f"{name}, size unknown"
            made.append(Event(x=int(e.start), label=label, kind=kind, is_planned=e.start > now))  # type: ignore[arg-type]
    return tuple(made)


def forecast_figure(record: PatientRecord, forecast: Forecast, *, past: Sequence[Forecast] = (), standing: Mapping[str, Any]) -> Figure:
    """Describe one forecast as a fan, after the readings it was made from, with earlier medians and what came later.

    Parameters
    ----------
    record : with readings after the issue too, where there are any.
    past : earlier forecasts; a few of the last hours are drawn by their medians.
    standing : status, lineage, shown_on, banner of the figure.
    """
    time, value = metrics.readings(record)
    start, stop = forecast.issued - BEFORE, int(forecast.times[-1])
    known, later = (time >= start) & (time <= forecast.issued), (time > forecast.issued) & (time <= stop)
    recent = [f for f in past if len(f.draws) and start <= f.issued < forecast.issued]
    recent = recent[:: -max(1, -(-len(recent) // PAST_LINES))]
    return fan_figure(
        title="What comes next", question="Where will glucose be, and with what certainty?", quantity="Glucose", unit="mg/dL", time=forecast.times,
        draws=forecast.draws[:, :, 0], data=(time[known], value[known]), later=(time[later], value[later]), issued=forecast.issued,
        past=[(f.times, np.median(f.draws[:, :, 0], axis=0)) for f in recent], target=TARGET, thresholds=THRESHOLDS,
        events=_events(record, start, stop, forecast.issued), max_gap=30 * MINUTE, zone=record.demographics.zone, **standing,
    )  # fmt: skip


def _at_lead(streamed: Sequence[Streamed], lead: float) -> list[tuple[Forecast, int]]:
    found = [(f, np.flatnonzero(np.abs(f.horizons - lead) < 0.5)) for _, f, _ in streamed if len(f.draws)]
    return [(f, int(j[0])) for f, j in found if len(j)]


def lead_figure(record: PatientRecord, streamed: Sequence[Streamed], lead: float, *, standing: Mapping[str, Any]) -> Figure:
    """Describe what was said a fixed time ahead, forecast after forecast, against what happened; the last 48 hours."""
    pairs = _at_lead(streamed, lead)
    pairs = [(f, j) for f, j in pairs if f.times[j] >= pairs[-1][0].times[pairs[-1][1]] - SHOWN_STREAM]
    at = np.array([f.times[j] for f, j in pairs], np.int64)
    q = np.quantile(np.stack([f.draws[:, j, 0] for f, j in pairs]), [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)
    time, value = metrics.readings(record)
    seen = (time >= at[0]) & (time <= at[-1])
    made = fan_figure(
        title=f"What was said {lead:g} minutes before", question="Each point of the band was fixed that long before the reading beside it was known.",
        quantity="Glucose", unit="mg/dL", time=at, median=q[2], bands={0.5: (q[1], q[3]), 0.9: (q[0], q[4])}, data=(time[seen], value[seen]),
        target=TARGET, thresholds=THRESHOLDS, zone=record.demographics.zone, **standing,
    )  # fmt: skip
    gap = 3.0 * float(np.median(np.diff(at))) if len(at) > 1 else None
    layers = tuple(x.model_copy(update={"max_gap": gap}) if x.type in ("band", "line") else x for x in made.layers)
    near = np.interp(time[seen], at, q[0]), np.interp(time[seen], at, q[4])
    inside = 100.0 * np.mean((value[seen] >= near[0]) & (value[seen] <= near[1])) if seen.any() else float("nan")
    held = f"{number_text(inside)} % of {int(seen.sum())} readings lay inside the 90 % band, joined between forecasts"
    alt = f"Forecasts {lead:g} minutes ahead, {len(at)} of them: {held}."
    return made.model_copy(update={"layers": layers, "alt": alt})


def compared_sections(comparison: Comparison, zone: str, *, standing: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return plans under common draws: curves with paired differences, and a table of what each plan would do."""
    made = comparison.forecasts
    empty = [f"{name}: {f.reason}" for name, f in made.items() if not len(f.draws)]
    if empty or len(made) < 2:
        return (
            Text(
                title="Plans compared",
                body="No comparison: " + ("; ".join(empty) or "a single plan has nothing to be compared with"),
                tone="warning",
            ),
        )
    base = next(iter(made))
    draws = {name: f.draws[:, :, 0] for name, f in made.items()}
    differences, rows = [], []
    for d in draws.values():
        low, middle, high = np.quantile((d - draws[base]).mean(axis=1), [0.05, 0.5, 0.95])
        differences.append("reference" if d is draws[base] else f"{middle:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", MINUS))
        inside = 100 * np.mean((d >= TARGET[0]) & (d <= TARGET[1]))
        rows.append((d.mean(), inside, 100 * (d < 70).mean(axis=0).max(), 100 * (d > 250).mean(axis=0).max()))
    mean, *others = (np.round([row[i] for row in rows], 1) for i in range(4))
    shares = [(name, "%", column) for name, column in zip(("in range", "chance below 70", "chance above 250"), others, strict=True)]
    figure = compare_figure(
        title="Plans compared", question="The same draws and the same noise under each plan: differences are the plans' own.", quantity="Glucose",
        unit="mg/dL", time=made[base].times, plans=draws, target=TARGET, thresholds=THRESHOLDS, zone=zone, **standing,
    )  # fmt: skip
    table = Table.of(
        ("plan", None, list(draws)), ("mean", "mg/dL", mean), ("difference, mg/dL (90 %)", None, differences), *shares, title="Plans side by side",
        note=f"over the forecast; difference of the mean from {base!r}, draw by draw; chances: the highest at any one time",
    )  # fmt: skip
    return figure, table


@eqx.filter_jit
def _constrained(prior: Prior, posterior: AbstractPosterior, key: PRNGKeyArray) -> tuple[dict[str, Array], dict[str, Array]]:
    """Draw named values of prior and posterior, in one program."""
    drawn = prior.draw(DRAWS, key=stream(key, "prior")), posterior.draw(DRAWS, key=stream(key, "posterior"))
    return prior.constrain(drawn[0]), prior.constrain(drawn[1])


def learnt_sections(twin: Twin, *, standing: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return posterior against prior of every parameter, and what each means; prior-dominated ones are marked."""
    prior = twin.model.prior
    key = jax.random.key(0)  # the page is the same whenever it is made
    before, after = _constrained(prior, twin.posterior, key)
    ratio = prior_dominated(prior, twin.posterior, limit=0.0)
    dominated = tuple(prior_dominated(prior, twin.posterior))
    figure = posterior_figure(
        title="What the record taught", question="Where posterior (filled) and prior lie alike, the number is the population's and not this person's.",
        parameters={p.name: (np.asarray(before[p.name]), np.asarray(after[p.name]), p.unit) for p in prior.parameters}, dominated=dominated, **standing,
    )  # fmt: skip
    p = prior.parameters
    state = ["prior-dominated" if x.name in dominated else "informed by data" for x in p]
    own = twin.extra.get("prior")  # of a twin under another prior than the room's: where it is from
    table = Table.of(
        ("parameter", None, [x.name for x in p]), ("what it is", None, [x.meaning for x in p]),
        ("SD ratio", "1", np.round([ratio.get(x.name, 0.0) for x in p], 2)), ("state", None, state),
        ("prior from", None, [own or x.source for x in p]), title="Parameters",
        note=f"SD ratio: posterior over prior, unconstrained; {len(dominated)} of {len(p)} are prior-dominated (above 0.8)",
    )  # fmt: skip
    return figure, table


def advice_sections(outcome: Choice | Abstained | Proposal, zone: str) -> tuple[Any, ...]:
    """Return the choice or the abstention with its reason, the ranking, the limits in force, and why."""
    p = outcome if isinstance(outcome, Proposal) else outcome.proposal()
    head = f"Choice: {p.choice}." if p.choice is not None else f"No advice: {p.reason}."
    gain = p.explanation.get("gain")
    words = [head, f"{p.sentence[:1].upper()}{p.sentence[1:].rstrip('.')}."]
    if gain:
        words.append(
            f"{p.explanation['best']!r} over {p.explanation['second']!r}: {number_text(gain['mean'])} "
            f"(90 % interval {number_text(gain['low'])} to {number_text(gain['high'])})"
            + (f"; knowing every parameter would be worth {number_text(p.evpi)}." if p.evpi is not None else ".")
        )
    words.append("Advisory only: a person decides, and nothing here gives a dose.")
    found: list[Any] = [Text(title="Advice", body="\n\n".join(words), tone="plain" if p.choice is not None else "warning")]
    if p.ranking:
        broken = [(name, "%", np.round([100 * s.violations.get(name, np.nan) for s in p.ranking], 1)) for name in p.limits]
        utility = [f"{number_text(s.utility)} ± {number_text(s.utility_error, digits=2)}" for s in p.ranking]
        found.append(
            Table.of(
                ("plan", None, [s.plan for s in p.ranking]), ("keeps every limit", None, ["yes" if s.feasible else "NO" for s in p.ranking]),
                ("expected utility", None, utility), ("best", "%", np.round([100 * s.probability_best for s in p.ranking], 1)), *broken, title="Ranking",
                note="±: Monte Carlo error; best: probability among plans that keep every limit; then the probability of breaking each limit",
            )
        )  # fmt: skip
    if p.limits:
        found.append(Table.of(("limit", None, list(p.limits)), ("accepted", None, list(p.limits.values())), title="Limits in force"))
    moved = p.explanation.get("data") or []
    if moved:
        found.append(
            Table.of(
                ("time", "ns", np.array([to_ns(d["time"]) for d in moved], np.int64)), ("reading", "mg/dL", [d["value"] for d in moved]),
                ("moved the gain by", "1", np.array([float(f"{d['moved']:.3g}") for d in moved])), title="Readings that moved it", zone=zone,
            )
        )  # fmt: skip
    share, flip = p.explanation.get("parameters") or {}, p.explanation.get("flip") or {}
    if share or flip:
        names = list(dict.fromkeys((*share, *flip)))
        found.append(
            Table.of(
                ("parameter", None, names), ("share of the gain's variance", "%", np.round([100 * share.get(n, np.nan) for n in names], 1)),
                ("would flip at", None, [f"{number_text(flip[n])} SD" if n in flip else "beyond 10 SD" for n in names]),
                title="Parameters that carry it", note="posterior standard deviations along one parameter alone; shares sum to R squared",
            )
        )  # fmt: skip
    return tuple(found)


def person_view(
    *, record: PatientRecord | None, twin: Twin | None, streamed: Sequence[Streamed] | None, comparison: Comparison | None,
    outcome: Choice | Abstained | Proposal | None, summary: Mapping[str, float] | None, notes: Sequence[str] | None, shown_on: ShownOn | None,
    simulated: bool = False, title: str = "One person's glucose",
) -> View:  # fmt: skip
    """Return the page of one person, in the order in which one asks: what comes next, what to do, was it right so far, what is known.

    Parameters
    ----------
    record : readings, meals and insulin. What became known after the last issue is shown beside its forecast, and enters nothing else.
    twin : at its *now*: its state stands on every figure, its posterior is shown against the prior.
    streamed : ``(issued ns UTC, forecast, score or None)`` in any order; the last issued is *what comes next*, the scored ones make the evidence.
    comparison : plans under common draws; the first is the reference.
    outcome : the advice, or why there is none.
    summary : of :func:`gemel.twins.metabolic.metrics.summary`, as it is exported; left out, computed from the record.
    notes : of the import: what was repaired, censored, ignored.
    shown_on : what kind of person this is, and how many; stands on every figure.
    simulated : marks every figure SIMULATED.
    title : heading.
    """
    zone = record.demographics.zone if record is not None else "UTC"
    runs = sorted(streamed or (), key=lambda item: item[0])
    last = runs[-1][1] if runs else None
    name = twin.patient if twin is not None else record.id if record is not None else last.patient if last is not None else "nobody"
    lineage = last.lineage if last is not None else twin.lineage if twin is not None else digest(record)[:16]
    standing = _standing(twin, lineage, shown_on, simulated)
    now = last.issued if last is not None else twin.now if twin is not None else None
    known = record.as_of(now) if record is not None and now is not None else record
    plain = {
        "status": "simulated" if simulated else "current",
        "lineage": known.hash[:16] if known is not None else lineage,
        "shown_on": shown_on,
    }
    scores = [s for _, _, s in runs if s is not None and s.rows]
    if known is not None and not len(metrics.readings(known)[0]):
        record = known = None
    told = dict(summary) if summary is not None else metrics.summary(known) if known is not None else {}
    parts: list[Any] = []
    if record is not None:
        parts += numbers(record, last, scores, told, standing)
    if last is None or record is None:
        parts.append(_missing("What comes next", "no forecast, or no reading before it", "gemel forecast metabolic RECORD"))
    elif not len(last.draws):
        parts.append(Text(title="What comes next", body=f"No forecast is given. {last.reason}", tone="warning"))
    else:
        parts.append(forecast_figure(record, last, past=[f for _, f, _ in runs[:-1]], standing=standing))
    parts += (
        advice_sections(outcome, zone)
        if outcome is not None
        else [_missing("Advice", "no advice was asked for", "gemel recommend metabolic RECORD")]
    )
    if comparison is not None:
        parts += compared_sections(comparison, zone, standing=standing)
    else:
        parts.append(_missing("Plans compared", "no plans were compared", "gemel compare metabolic RECORD"))
    lead = min((h for _, f, _ in runs for h in f.horizons if len(f.draws)), key=lambda h: abs(h - LEAD), default=LEAD)
    if record is not None and len(_at_lead(runs, lead)) > 1:
        parts.append(lead_figure(record, runs, lead, standing=standing))
    if scores:
        parts += score_sections(scores, standing=standing)
    else:
        parts.append(
            _missing("Promises kept", "no forecast has been scored yet: readings after it are needed", "gemel score FORECAST RECORD")
        )
    if known is not None:
        time, value = metrics.readings(known)
        parts.append(agp_figure(time=time, glucose=value, unit="mg/dL", zone=zone, **plain))
    if known is not None or told:
        parts += metrics_tables(known, told)
    else:
        parts.append(_missing("Consensus metrics", "no readings are known", "gemel import FILE"))
    if twin is not None:
        parts += learnt_sections(twin, standing=standing)
    else:
        parts.append(_missing("What the record taught", "there is no twin", "gemel calibrate metabolic RECORD"))
    said = [*(notes or ()), *(twin.notes if twin is not None else ())]
    listed = "\n".join(f"- {n.strip()}" for n in dict.fromkeys(said) if n.strip())
    parts.append(Text(title="Notes of the import", body=listed or "Nothing was repaired, censored or ignored.", tone="plain"))
    parts.append(Text(title="What this page is not", body=NOT_FOR, tone="limit"))
    where = f"{shown_on}" if shown_on is not None else "not stated"
    subtitle = f"{name}{': SIMULATED' if simulated else ''} · twin metabolic · shown on: {where} · times in {zone}"
    return View(id=f"metabolic-{name}", title=title, subtitle=subtitle, sections=tuple(parts))


def view(
    twin: Twin, record: PatientRecord, forecast: Forecast, advice: Choice | Abstained | None = None, *, simulated: bool = False
) -> View:
    """Return the page for one forecast and, where asked for, its advice."""
    shown = ShownOn(kind="simulated" if simulated else "replayed", n=1)
    return person_view(
        record=record, twin=twin, streamed=[(forecast.issued, forecast, None)], comparison=None if advice is None else advice.comparison, outcome=advice,
        summary=None, notes=None, shown_on=shown, simulated=simulated,
    )  # fmt: skip
