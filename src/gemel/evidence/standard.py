"""The studies that every twin goes through, whatever it models; a room's ``evidence.py`` adds its own known answers and the people it is validated on."""

from __future__ import annotations

import importlib
from dataclasses import is_dataclass, replace
from typing import Any

import jax
import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.core.time import MINUTE, iso
from gemel.engine.keys import stream
from gemel.engine.model import AbstractModel, Observed
from gemel.engine.room import Room
from gemel.evidence.applicability import applicability
from gemel.evidence.bootstrap import clustered_interval
from gemel.evidence.calibration import LEAST_P, MOST_REFUSED, coverage, sbc, uniformity
from gemel.evidence.loop import Life, live_many
from gemel.evidence.nasem import COVERED
from gemel.evidence.run import Measured
from gemel.evidence.sensitivity.of_model import sensitivity_of
from gemel.evidence.sensitivity.sobol import SobolResult
from gemel.evidence.study import Context, Found, Study, known_answers
from gemel.evidence.surveillance.prediction_log import log_of
from gemel.evidence.surveillance.watch import Settings, surveil
from gemel.evidence.validation import validate
from gemel.evidence.verification.convergence import refine
from gemel.physics.ode import RK4

__all__ = ["studies_of"]

REPLICAS, PEOPLE, POINTS = (200, 40), (40, 4), (2**10, 2**7)
"""Of a whole run and of a quick one: people ranked, people taken around the loop, base points of the sensitivity indices."""
LIMITS = 0.999
"""Of the binomial limits of each coverage: a dozen parameters of an honest method miss one of them once in a hundred runs."""


def _answers(context: Context) -> Found:
    problems = context.declared("VERIFICATION")
    if not problems:
        raise EvidenceError("the room declares no problem with a known answer", expected="VERIFICATION in its evidence module")
    return known_answers(problems)


def _ranks(context: Context) -> Found:
    replicas = REPLICAS[context.quick]
    found = sbc(context.room, replicas, model=context.model, key=context.key("ranks"))
    on = ShownOn(kind="simulated", n=replicas, what="people drawn from the model")
    refused = sum(found.refused.values())
    told = uniformity(found)
    figures = [
        Measured(name="smallest p-value of uniform ranks, adjusted", value=told.p_value, low=LEAST_P, met=told.p_value >= LEAST_P, shown_on=on, note=", ".join(told.worst)),
        Measured(name="people whose posterior was refused", value=refused / replicas, high=MOST_REFUSED, met=refused <= MOST_REFUSED * replicas, shown_on=on),
    ]  # fmt: skip
    for name in context.model.prior.names:
        (c,) = coverage(found, name, levels=(0.9,), limits=LIMITS)
        figures.append(
            Measured(
                name=f"coverage of 90 % intervals: {name}", value=c.share, low=c.low, high=c.high, met=c.within, shown_on=on,
                note=f"binomial limits {LIMITS:.1%}",
            )
        )  # fmt: skip
    tables = {"ranks": {k: v.tolist() for k, v in found.ranks.items()}, "draws": {"draws": [found.draws]}}
    return Found(tuple(figures), tables, settings={"replicas": replicas, "method": context.room.method().name})


def _end(model: AbstractModel, observed: Observed, now: int) -> float:
    """Return *now* in the model's unit of time since its epoch."""
    return (now - observed.epoch) / MINUTE / model.minutes


def _coverage_of_people(name: str, share: float, interval: tuple[float, float], on: ShownOn) -> Measured:
    """Return the coverage of 90 % intervals of forecasts, met when the interval over people reaches into what is asked."""
    (low, high), (least, most) = interval, COVERED
    note = f"limits: 95 % over people; met when they reach into {least} to {most}"
    return Measured(name=name, value=share, low=low, high=high, met=high >= least and low <= most, shown_on=on, note=note)


def _finer(model: AbstractModel, factor: int) -> AbstractModel | None:
    """Return the model with steps so many times as fine, where its solver is a Runge-Kutta method of fixed steps."""
    solver: Any = getattr(model, "integrator", None)
    return replace(model, integrator=RK4(solver.substeps * factor)) if isinstance(solver, RK4) and is_dataclass(model) else None


def _steps(context: Context) -> Found:
    if _finer(context.model, 1) is None:
        raise EvidenceError("this model has no step to refine: it is solved in closed form, or by a method of its own")
    record, now, truth = context.room.simulate_record(context.key("steps"))
    observed = context.model.observe(record, now)
    z = np.asarray([float(p.bijector.unconstrain(np.asarray(truth[p.name], float))) for p in context.model.prior.parameters])
    end = _end(context.model, observed, now)
    times = np.linspace(end / 8, end, 8)
    names = [f"{o.name} ({o.unit})" for o in context.model.outputs]

    def solve(step: float) -> dict[str, float]:
        model = _finer(context.model, round(1 / step))
        assert model is not None
        path = np.asarray(
            model.simulate(
                model.prior.constrain(z), observed.plan, times, jax.tree.map(np.asarray, observed.context), key=context.key("noise")
            )
        )
        return {f"{name} at {t:.4g}": float(path[i, j]) for j, name in enumerate(names) for i, t in enumerate(times)}

    told = refine(solve, [0.25, 0.5, 1.0], expected=4.0)
    on = ShownOn(kind="simulated", n=1, what="one person drawn from the model, three steps")
    figures, table = [], {"quantity": [], "shipped": [], "state": [], "order": [], "error of the shipped step": []}
    for name in names:
        mine = {k: v for k, v in told.items() if k.startswith(name)}
        errors = {k: abs(v.values[-1] - v.values[0]) for k, v in mine.items()}
        worst = max(errors, key=lambda k: errors[k])
        scale = max(abs(v.values[0]) for v in mine.values())
        share = errors[worst] / scale if scale else 0.0
        figures.append(
            Measured(
                name=f"step error of {name}", value=share, high=0.005, met=share <= 0.005, shown_on=on,
                note=f"largest change on steps a quarter as long, as a share of the largest value: {worst}, {told[worst].state}",
            )
        )  # fmt: skip
    for k, v in told.items():
        for column, value in zip(table, (k, v.values[-1], v.state, v.order, abs(v.values[-1] - v.values[0])), strict=True):
            table[column].append(value)
    return Found(tuple(figures), {"steps": table})


def _indices(context: Context) -> Found:
    record, now, _ = context.room.simulate_record(context.key("sensitivity"))
    observed = context.model.observe(record, now)
    end = _end(context.model, observed, now)
    times = np.linspace(end / 4, end, 4)
    outputs = context.model.outputs

    def at(i: int, j: int):
        return lambda path: path[i, j]

    quantities = {f"{o.name} at {t:.4g}": at(i, j) for j, o in enumerate(outputs) for i, t in enumerate(times)}
    found = sensitivity_of(
        context.model,
        None,
        observed,
        times,
        quantities,
        n=POINTS[context.quick],
        seed=context.seed,
        key=context.key("noise"),
        replicates=200,
    )
    assert isinstance(found, SobolResult)
    on = ShownOn(kind="simulated", n=found.runs, what="runs of the model over its prior")
    last = [f"{o.name} at {times[-1]:.4g}" for o in outputs]
    note = f"may be held fixed (total index surely below 0.01 in every quantity): {', '.join(found.fixable) or 'none'}; {found.note}"
    return Found(found.figures(on, outputs=last), {"indices": found.table()}, settings={"base points": found.n}, note=note)


def _lives(context: Context) -> tuple[Life, ...]:
    if "lives" not in context.shared:
        context.shared["lives"] = live_many(
            context.room,
            PEOPLE[context.quick],
            active=3,
            most=max(36, PEOPLE[context.quick]),
            key=context.key("loop"),
            progress=context.progress,
        )
    return context.shared["lives"]


def _watch(context: Context) -> Found:
    lives = _lives(context)
    table = _forecasts(lives)
    rows = [
        {
            "time": iso(table["issued"][i]), "recorded": iso(table["time"][i]), "patient": f"person {table['person'][i]}", "group": table["output"][i],
            "prediction": repr(table["median"][i]), "outcome": repr(table["observed"][i]), "pit": repr(table["pit"][i]),
        }
        for i in sorted(range(len(table["issued"])), key=lambda i: table["issued"][i])
    ]  # fmt: skip
    log = log_of(rows, kind="value")
    settings = Settings(level=0.9)
    watch = surveil(log, now=max(table["time"]), settings=settings)
    people = len(set(table["person"]))
    on = ShownOn(kind="simulated", n=people, what="people drawn from the model; not a deployment")
    figures = (
        Measured(name="outcomes watched", value=float(watch.known), low=1.0, met=watch.known > 0, shown_on=on),
        Measured(name="charts drawn", value=float(len(watch.charts)), low=1.0, met=len(watch.charts) > 0, shown_on=on),
        Measured(
            name="alarms", value=float(len(watch.alarms)), shown_on=on, note="; ".join(a.sentence for a in watch.alarms[:4]) or "none"
        ),
        Measured(name="outcomes between false alarms, wanted", value=settings.run_length, shown_on=on),
    )
    return Found(figures, settings={"run length": settings.run_length, "release": log.hash}, note="; ".join(watch.notes[:4]))


def _loop(context: Context) -> Found:
    lives = _lives(context)
    events = [e for life in lives for e in life.events]
    outside = _declined(context)
    on = ShownOn(kind="simulated", n=len(lives), what="people drawn from the model, and what happens to them")
    figures = list(_loop_figures(lives, on))
    return Found(tuple(figures), {"forecasts": _forecasts(lives)}, life=(*events, *outside), settings={"people": len(lives)})


def _loop_figures(lives: tuple[Life, ...], on: ShownOn) -> list[Measured]:
    inside = np.array([sum(r.inside["0.90"] for s in (life.score, life.after) if s for r in s.rows) for life in lives], float)
    count = np.array([sum(len(s.rows) for s in (life.score, life.after) if s) for life in lives], float)
    low, high = clustered_interval(lambda w: float(w @ inside / max(w @ count, 1)), len(lives))
    seconds = [e.values["seconds"] for life in lives for e in life.events if e.kind == "assimilated"]
    share = float(inside.sum() / max(count.sum(), 1))
    return [
        Measured(name="people taken around the loop", value=float(len(lives)), shown_on=on),
        Measured(name="people acted on as advised", value=float(sum(life.is_active for life in lives)), shown_on=on),
        Measured(name="people for whom no advice was given", value=float(sum(any(e.values.get("abstained") for e in life.events) for life in lives)), shown_on=on),
        _coverage_of_people("coverage of 90 % intervals of forecasts", share, (low, high), on),
        Measured(name="seconds to assimilate, median", value=float(np.median(seconds)) if seconds else 0.0, unit="s", shown_on=on),
    ]  # fmt: skip


def _forecasts(lives: tuple[Life, ...]) -> dict[str, list[Any]]:
    rows = [(i, s.issued, r) for i, life in enumerate(lives) for s in (life.score, life.after) if s for r in s.rows]
    return {
        "person": [i for i, _, _ in rows], "issued": [t for _, t, _ in rows], "time": [r.time for *_, r in rows], "output": [r.output for *_, r in rows],
        "observed": [r.observed for *_, r in rows], "median": [r.median for *_, r in rows], "width": [r.width["0.90"] for *_, r in rows],
        "crps": [r.crps for *_, r in rows], "pit": [r.pit for *_, r in rows], "inside": [r.inside["0.90"] for *_, r in rows],
    }  # fmt: skip


def _declined(context: Context) -> tuple[Any, ...]:
    """Ask what lies outside the validated domain, as the room declares it: the twin must say why it does not answer."""
    from gemel.evidence.life import LifeEvent

    found = []
    for ask in context.declared("OUTSIDE"):
        record, now, _ = context.room.simulate_record(stream(context.key("outside"), ask.__name__))
        asked, when = ask(record, now)
        said = context.model.domain(asked.as_of(when), when)
        if said.reason is not None:
            found.append(
                LifeEvent(
                    patient=record.id, kind="proposal", time=when, recorded=when, values={"plans": 0.0, "abstained": 1.0},
                    note=f"{ask.__name__.replace('_', ' ')}: {said.reason}, {said.sentence}",
                )
            )  # fmt: skip
    return tuple(found)


def _validated(context: Context) -> Found:
    protocol = getattr(context.room.load("evidence"), "PROTOCOL", None)
    if protocol is None:
        raise EvidenceError("the room declares no protocol on people", expected="PROTOCOL in its evidence module")
    given = [context.people(name) for name in context.declared("VALIDATION")]
    records = [r for p in given for r in p.records]
    result = validate(
        protocol, records, peers=False, ablations=not context.quick, shown_on=given[0].kind, seed=context.seed, progress=context.progress
    )
    names = ", ".join(p.name for p in given)
    on = result.shown_on.model_copy(update={"what": f"{names}: {result.shown_on.what}"})
    figures = []
    for row in result.rows:
        if row.forecaster != "twin":
            continue
        figures += [
            _coverage_of_people(f"coverage of 90 % intervals at {row.horizon} min", row.coverage90, row.coverage90_interval, on),
            Measured(name=f"error against ridge at {row.horizon} min", value=row.gain_rmse, unit="%", low=row.gain_rmse_interval[0], high=row.gain_rmse_interval[1], met=row.gain_rmse_interval[1] >= 0.0, shown_on=on, note="gain in RMSE; met unless surely worse than ridge"),
            Measured(name=f"RMSE at {row.horizon} min", value=row.rmse, unit=result.unit, shown_on=on),
            Measured(name=f"CRPS at {row.horizon} min", value=row.crps, unit=result.unit, shown_on=on),
        ]  # fmt: skip
    table = {
        k: [getattr(r, k) for r in result.rows]
        for k in ("forecaster", "horizon", "n", "rmse", "mae", "crps", "coverage90", "width90", "gain_rmse")
    }
    return Found(tuple(figures), {"rows": table}, settings={"people": result.people}, note="; ".join(result.notes[:8]))


def _applies(context: Context) -> Found:
    """Measure how much of the declared context of use lies within the people of the validation."""
    module = context.room.load("evidence")
    people = [r for name in context.declared("VALIDATION") for r in context.people(name).records]
    rows = [module.traits(r) for r in people]
    box: dict[str, tuple[float, float]] = module.CONTEXT
    found = applicability(box, {n: [row.get(n, float("nan")) for row in rows] for n in box}, seed=context.seed)
    on = ShownOn(kind="replayed", n=found.people, what=", ".join(context.declared("VALIDATION")))
    where = "; ".join(f"{n} {low:g} to {high:g}" for n, (low, high) in box.items())
    figures = (
        Measured(name="share of the context of use inside the cohort's 95 % ellipsoid", value=found.inside, shown_on=on, note=where),
        Measured(name="share of the context of use near a validated person", value=found.near, shown_on=on, note="as near as 95 % of them are to each other"),
        *(Measured(name=f"share of the range of {n} that nobody has", value=v, shown_on=on) for n, v in found.uncovered.items()),
    )  # fmt: skip
    return Found(figures)


def _sources(context: Context) -> Found:
    """Count constants and parameters with and without a source."""
    package = type(context.model).__module__.rpartition(".")[0]
    constants = getattr(importlib.import_module(f"{package}.priors"), "CONSTANTS", {})
    rows = [(name, c.source, f"{c.meaning}: {c.value:g} {c.unit}") for name, c in constants.items()]
    rows += [(p.name, p.source, f"prior of a parameter, {p.unit}") for p in context.model.prior.parameters]
    assumed = sorted({r for r in rows if r[1].startswith("ASSUMED") or not r[1]})
    on = ShownOn(kind="proof", n=len(rows), what="constants and priors of the room")
    figures = (
        Measured(name="constants and priors", value=float(len(rows)), shown_on=on),
        Measured(name="of which ASSUMED", value=float(len(assumed)), shown_on=on, note="listed in the dossier"),
    )
    columns = ("constant", "source", "meaning")
    return Found(figures, {"assumed": {c: [r[i] for r in assumed] for i, c in enumerate(columns)}})


def studies_of(room: Room) -> tuple[Study, ...]:
    """Return the studies of a room: those of every twin, then those that its evidence module declares as ``STUDIES``."""
    uq = "calculation verification and UQ"
    blank = Context(room, True, 0, _nobody)
    validation = tuple(blank.declared("VALIDATION"))
    answered = tuple(sorted({2} | {f for p in blank.declared("VERIFICATION") for f in p.factors}))
    found = [
        Study("known-answers", "verification", "The code solves its equations: problems with known answers.", _answers, answered, "code verification"),
        Study("step-error", "calculation", "The steps of the solver are fine enough for what the twin says.", _steps, (3, 4), uq),
        Study("ranks", "calibration", "The posterior is the posterior of this prior and likelihood: ranks of simulated truths are uniform.", _ranks, (7,), uq),
        Study("sensitivity", "sensitivity", "Which parameters decide what the twin says: Sobol indices with intervals.", _indices, (7,), uq),
        Study("loop", "loop", "The loop closes: forecast, advice, decision, act, effect, on people drawn from the model.", _loop, (12,), "emergent behaviour"),
        Study("sources", "provenance", "Every constant has a source, or is listed as ASSUMED.", _sources),
        Study("surveillance", "surveillance", "The charts that watch a released twin run on its forecasts, with limits from a wanted run length.", _watch),
    ]  # fmt: skip
    if getattr(room.load("evidence"), "PROTOCOL", None) is not None and validation:
        found.append(
            Study(
                "validation", "validation", "Forecasts of real people, replayed without look-ahead, beside last value and ridge.", _validated,
                (6, 8, 9, 10, 11), "in-vivo validation", validation,
            )
        )  # fmt: skip
    if validation and hasattr(room.load("evidence"), "traits"):
        found.append(
            Study(
                "applicability",
                "validation",
                "How much of the context of use lies within the validated people.",
                _applies,
                (13,),
                "",
                validation,
            )
        )
    return (*found, *blank.declared("STUDIES"))


def _nobody(name: str) -> Any:
    raise EvidenceError("no people were given", seen=name)
