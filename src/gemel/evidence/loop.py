"""The whole loop on simulated people: calibrate, forecast, advise, decide, act, observe, assimilate, score; every step an event of a life.

The person is drawn from the room's own model, and so is what happens after the act: the truth's parameters, the states that the record implies, new
noise. It shows that the loop closes and what it is worth **if the model is right**; it says nothing about real people.
"""

from __future__ import annotations

import time as _time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.advice import Decision, Proposal, Score
from gemel.core.errors import DomainError
from gemel.core.protocols import Progress
from gemel.core.record import PatientRecord
from gemel.core.series import Series
from gemel.core.time import MINUTE
from gemel.engine.carry_out import carried_out
from gemel.engine.forecast import Forecast, forecast
from gemel.engine.keys import stream
from gemel.engine.posterior import AbstractPosterior, Ensemble
from gemel.engine.recommend import recommend
from gemel.engine.room import Room
from gemel.engine.scoring import score
from gemel.engine.twin import Twin, assimilate, calibrate, with_posterior
from gemel.evidence.life import LifeEvent

__all__ = ["Life", "divergence", "live", "live_many"]

SHARES = (0.7, 0.85, 1.0)
"""When, as shares of the record: calibration, first assimilation, second assimilation and advice."""
MEMBERS, DRAWS = 96, 256


@dataclass(frozen=True)
class Life:
    """What happened to one simulated person. ``score`` and ``population`` are of the same forecast times; ``after`` is of the act's own forecast."""

    events: tuple[LifeEvent, ...]
    score: Score | None
    population: Score | None
    after: Score | None
    is_active: bool

    @property
    def is_closed(self) -> bool:
        """Whether something was done on advice, and its effect assimilated."""
        kinds = [e.kind for e in self.events]
        return "act" in kinds and "assimilated" in kinds[kinds.index("act") :]


def divergence(posterior: AbstractPosterior, before: AbstractPosterior) -> float:
    """Return the Kullback-Leibler divergence between two posteriors, nats, both taken for Gaussian in unconstrained space.

    Moments of finite ensembles make it positive even where nothing was learnt: compare with what draws of the prior itself give.
    """
    (m1, c1), (m0, c0) = ([np.asarray(x, float) for x in p.moments()] for p in (posterior, before))
    n = len(m1)
    ridge = 1e-9 * np.trace(c0) / n * np.eye(n)
    c0, c1 = c0 + ridge, c1 + ridge
    gap = m1 - m0
    solved = np.linalg.solve(c0, np.column_stack([c1, gap]))
    return float(max(0.0, 0.5 * (np.trace(solved[:, :n]) + gap @ solved[:, n] - n + np.linalg.slogdet(c0)[1] - np.linalg.slogdet(c1)[1])))


def _cadence(series: Series) -> int:
    gaps = np.diff(np.sort(series.time))
    return int(np.median(gaps)) if len(gaps) else 0


def _outputs(twin: Twin, record: PatientRecord) -> list[tuple[int, Series]]:
    """Return the outputs that this person is measured by, with the series they lie in."""
    found = []
    for i, output in enumerate(twin.model.outputs):
        mine = [s for s in record.series if str(s.code) == output.code and len(s) > 1]
        if mine:
            found.append((i, max(mine, key=len)))
    return found


def _what_happens(truth: Twin, record: PatientRecord, plan: Any, until: int, key: PRNGKeyArray) -> list[Series]:
    """Return the readings of the simulated person after *now* under a plan, each output at the cadence it had."""
    grids = {}
    for i, series in _outputs(truth, record):
        step = _cadence(series)
        times = np.arange(truth.now + step, until + 1, step, dtype=np.int64) if step else np.zeros(0, np.int64)
        if len(times):
            grids[i] = (series, times)
    if not grids:
        return []
    every = np.unique(np.concatenate([t for _, t in grids.values()]))
    drawn = forecast(truth, plan, every, n=1, key=key).draws[0]
    made = []
    for i, (series, times) in grids.items():
        value = drawn[np.searchsorted(every, times), i]
        made.append(Series(code=series.code, unit=truth.model.outputs[i].unit, time=times, value=value, source=series.source))
    return made


def _before_the_last_act(record: PatientRecord, end: int, horizon: int) -> tuple[PatientRecord, int]:
    """Return the record at the moment of its last meal, dose or the like, which is announced then, and that moment: there is something to decide.

    Where nothing was done in the last third, or what is done lasts, the end of the record stays the moment of advice.
    """
    first = min(int(s.time.min()) for s in record.series)
    acts = [e for e in record.exposures if e.start == e.end and first + 0.7 * (end - first) < e.start <= end]
    readings = np.unique(np.concatenate([s.time for s in record.series]))
    if not acts or horizon > end - first:
        return record, end
    moment = max(e.start for e in acts)
    seen = readings[readings <= moment]
    if len(seen) == 0 or moment - int(seen[-1]) > horizon / 4:
        return record, end
    told = tuple(
        e.model_copy(update={"recorded": min(e.recorded, moment - MINUTE)}) if e.start == moment else e
        for e in record.exposures
        if e.start <= moment or e.end > e.start
    )
    series = tuple(s.between(-(2**62), moment + 1) for s in record.series)
    return record.model_copy(update={"exposures": told, "series": series}), moment


def _tolerance(record: PatientRecord, twin: Twin) -> float:
    cadences = [_cadence(s) for _, s in _outputs(twin, record)]
    return max(2.5, max(cadences, default=0) / MINUTE / 2)


def _scored(event: str, done: Score, population: Score | None, who: str, now: int) -> LifeEvent:
    rows = done.rows
    values = {"n": float(len(rows)), "crps": done.mean(), "inside90": done.coverage("0.90")}
    if any(r.naive_crps is not None for r in rows):
        values["naive"] = done.mean("naive_crps")
    if population is not None:
        values["population"] = population.mean()
    return LifeEvent(patient=who, kind="scored", time=now, recorded=now, of=event, values=values)


def _deliver(proposal: Proposal) -> Proposal:
    """Hand advice over as what leaves the house: plain JSON, read again on the other side."""
    return Proposal.model_validate_json(proposal.model_dump_json())


def live(
    room: Room, *, key: PRNGKeyArray, clock: Callable[[], float] = _time.perf_counter, deliver: Callable[[Proposal], Proposal] = _deliver
) -> Life:
    """Take one simulated person once around the loop.

    Parameters
    ----------
    room : the twin's.
    key : of the person, the inference and what happens.
    clock : seconds, for the latency of assimilation.
    deliver : how advice reaches people; returns what they read.
    """
    record, end, truth = room.simulate_record(stream(key, "person"))
    model = room.model()
    record, end = _before_the_last_act(record, end, round(room.horizons[-1] * MINUTE))
    first = min(int(s.time.min()) for s in record.series)
    moments = [first + round(share * (end - first)) for share in SHARES[:-1]] + [end]
    who, events = record.id, []

    def tell(kind: Any, time: int, **more: Any) -> None:
        events.append(LifeEvent(patient=who, kind=kind, time=time, recorded=time, **more))

    def on(made: Twin, before: Twin, seconds: float) -> None:
        known = sum(len(s.as_of(made.now)) - len(s.as_of(before.now)) for s in record.series)
        tell(
            "assimilated",
            made.now,
            values={"divergence": divergence(made.posterior, before.posterior), "seconds": seconds, "facts": float(known)},
        )

    twin = calibrate(model, record, moments[0], method=room.method(), key=stream(key, "calibrate"))
    prior = Ensemble.equal(model.prior.draw(2048, key=stream(key, "prior")))
    tell("calibrated", twin.now, values={"parameters": float(model.prior.size), "divergence": divergence(twin.inference.posterior, prior)})
    if twin.domain.reason is not None:
        tell("proposal", twin.now, values={"plans": 0.0, "abstained": 1.0}, note=str(twin.domain.reason))
        return Life(tuple(events), None, None, None, False)
    horizon = end - moments[0]
    ahead = np.unique(np.concatenate([s.time for _, s in _outputs(twin, record)]))
    ahead = ahead[(ahead > twin.now) & (ahead <= min(twin.now + round(room.horizons[-1] * MINUTE), twin.now + horizon))]
    said: Forecast | None = None
    other: Forecast | None = None
    if len(ahead):
        said = forecast(twin, None, ahead[:: max(1, len(ahead) // 8)], n=DRAWS, key=stream(key, "said"))
        population = with_posterior(twin, record, Ensemble.equal(model.prior.draw(MEMBERS, key=stream(key, "population"))))
        other = forecast(population, None, said.times, n=DRAWS, key=stream(key, "said"))
        tell("forecast", twin.now, id=said.lineage.id)
    for moment in moments[1:]:
        before, start = twin, clock()
        twin = assimilate(twin, record, moment)
        on(twin, before, clock() - start)
    done = alike = None
    tolerance = _tolerance(record, twin)
    if said is not None and other is not None and len(said.draws) and len(other.draws):
        done, alike = score(said, record, end, tolerance=tolerance), score(other, record, end, tolerance=tolerance)
        if done.rows:
            events.append(_scored(said.lineage.id, done, alike, who, end))
    plans = room.plans(twin)
    advice = recommend(
        twin, plans, room.objective(), room.limits(), times=room.times(twin), n=DRAWS, key=stream(key, "advise"), record=record
    )
    proposal = advice.proposal()
    name = proposal.lineage.id
    values = {"plans": float(len(proposal.ranking)), "abstained": float(proposal.choice is None)}
    if proposal.choice is not None:
        best = next(p for p in proposal.ranking if p.plan == proposal.choice)
        values |= {"utility": best.utility, "probability_best": best.probability_best}
    tell("proposal", twin.now, id=name, values=values, note=proposal.choice or f"{proposal.reason}: {proposal.sentence}")
    if proposal.choice is None:
        return Life(tuple(events), done, alike, None, False)
    read = deliver(proposal)
    tell("delivered", twin.now, of=name, note=read.sentence)
    chosen = plans[read.choice or ""]
    answer = Decision(proposal=name, time=twin.now, recorded=twin.now, who="simulated clinician", answer="accepted", plan=read.choice or "")
    tell("decision", answer.time, of=name, note=answer.answer)
    try:
        facts = carried_out(twin, chosen, room.written, recorded=twin.now, record=record)
    except DomainError as error:
        tell("decision", answer.time, of=name, note=f"not carried out: {error.what}")
        return Life(tuple(events), done, alike, None, False)
    tell("act", twin.now, of=name, values={"facts": float(len(facts))}, note=read.choice or "")
    promised = forecast(twin, chosen, room.times(twin), n=DRAWS, key=stream(key, "promised"))
    tell("forecast", twin.now, id=promised.lineage.id, of=name)
    z = jnp.asarray([p.bijector.unconstrain(np.asarray(truth[p.name], float)) for p in model.prior.parameters])
    real = with_posterior(twin, record, Ensemble.equal(jnp.tile(z, (MEMBERS, 1))))
    until = twin.now + round(room.horizons[-1] * MINUTE)
    known = record.with_facts(*facts, *_what_happens(real, record, chosen, until, stream(key, "world")))
    before, start = twin, clock()
    twin = assimilate(twin, known, until)
    record = known
    on(twin, before, clock() - start)
    after = score(promised, known, until, tolerance=tolerance) if len(promised.draws) else None
    if after is not None and after.rows:
        events.append(_scored(promised.lineage.id, after, None, who, until))
        tell("outcome", until, of=name, values={r.output: r.observed for r in after.rows[-len(model.outputs) :]})
    return Life(tuple(events), done, alike, after, bool(facts))


def live_many(
    room: Room, n: int, *, active: int = 3, most: int = 40, key: PRNGKeyArray, progress: Progress | None = None
) -> tuple[Life, ...]:
    """Take people around the loop until ``n`` were, and ``active`` of them had something done to them on advice; at most ``most`` people."""
    lives: list[Life] = []
    if progress is not None:
        progress.start("loop", n)
    for i in range(most):
        lives.append(live(room, key=jax.random.fold_in(key, i)))
        if progress is not None:
            progress.update(min(i + 1, n), f"{sum(life.is_active for life in lives)} acted on")
        if len(lives) >= n and sum(life.is_active and life.is_closed for life in lives) >= active:
            break
    if progress is not None:
        progress.finish()
    return tuple(lives)
