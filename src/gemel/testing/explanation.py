"""Promise: the explanation names the cause. A parameter and a datum are planted that decide the advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gemel.core.code import Code
from gemel.core.record import PatientRecord
from gemel.core.series import ENTERED_IN_ERROR, Series
from gemel.core.time import MINUTE, iso, to_ns
from gemel.core.units import convert, is_convertible
from gemel.engine.explain import explain
from gemel.engine.forecast import Comparison, compare
from gemel.engine.model import AbstractStateModel
from gemel.engine.plan import Plan
from gemel.engine.posterior import Laplace
from gemel.engine.twin import Twin
from gemel.testing.report import require
from gemel.testing.subject import Subject

__all__ = ["check_explanation"]

DRAWS = 256
SHIFT = 5.0
"""How far the planted reading lies from what was read, in standard deviations of a reading."""


class _Question:
    """Two plans, and the parameter on which it depends most how much better the one is: found by moving each parameter up and down."""

    def __init__(self, subject: Subject, twin: Twin) -> None:
        self.subject, self.objective, self.times = subject, subject.room.objective(), subject.room.times(twin)
        self.plans: dict[str, Plan] = {n: twin.observed.plan if p is None else p for n, p in subject.room.plans(twin).items()}
        names = list(self.plans)
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        self.sd = np.sqrt(np.diag(np.asarray(twin.posterior.moments()[1])))
        self.pairs = pairs
        best, self.pair, self.cause = 0.0, pairs[0] if pairs else ("", ""), 0
        for i in range(len(self.sd) if pairs else 0):
            step = np.where(np.arange(len(self.sd)) == i, self.sd, 0.0)
            up, down = (
                self.utilities(_believing(twin, 1e-6 * self.sd, subject.key("beliefs"), sign * step), self.plans) for sign in (1.0, -1.0)
            )
            for a, b in pairs:
                high, low = up[a] - up[b], down[a] - down[b]
                effect = abs(high.mean() - low.mean()) / (high.std() + low.std() + 1e-9 * np.abs(high).max() + 1e-300)
                if effect > best:
                    best, self.pair, self.cause = effect, (a, b), i
        self.effect = best

    def utilities(self, twin: Twin, plans: Mapping[str, Plan]) -> dict[str, np.ndarray]:
        """Return the utility of each plan per draw, under the same draws and noise."""
        found = compare(twin, plans, self.times, n=DRAWS, key=self.subject.key("judge"))
        return {n: np.asarray(self.objective.utility(f), float) for n, f in found.forecasts.items()}

    def ask(self, twin: Twin) -> tuple[Comparison, np.ndarray]:
        """Return the comparison of the two plans and the gain of the first, per draw."""
        a, b = self.pair
        found = compare(twin, {n: self.plans[n] for n in self.pair}, self.times, n=DRAWS, key=self.subject.key("judge"))
        return found, np.asarray(self.objective.utility(found.forecasts[a])) - np.asarray(self.objective.utility(found.forecasts[b]))

    def explained(self, twin: Twin, record: PatientRecord | None = None) -> Mapping[str, Any]:
        """Return the explanation of the two plans."""
        comparison, gain = self.ask(twin)
        return explain(twin, comparison, gain, *self.pair, self.objective, key=self.subject.key("judge"), plans=self.plans, record=record)


def _believing(twin: Twin, sd: np.ndarray, key: jax.Array, moved: np.ndarray | float = 0.0) -> Twin:
    """Return the twin with independent Gaussian beliefs of these standard deviations about its parameters, their means moved."""
    if twin.stream is None:
        mean = np.asarray(twin.inference.posterior.moments()[0]) + moved
        posterior = Laplace(jnp.asarray(mean), jnp.asarray(np.diag(sd)))
        return replace(twin, inference=eqx.tree_at(lambda i: i.posterior, twin.inference, posterior))
    rows, d = np.array(twin.stream.rows), twin.model.prior.size
    white = np.asarray(jax.random.normal(key, (len(rows), d)))
    rows[:, :d] = rows[:, :d].mean(axis=0) + moved + white * sd
    rows[:, d:] = rows[:, d:].mean(axis=0)
    return replace(twin, stream=replace(twin.stream, rows=rows))


def _plant_parameter(subject: Subject, question: _Question) -> str:
    """Let the parameter on which the gain depends most be far more uncertain than the others."""
    names, cause = subject.model.prior.names, question.cause
    require(question.effect > 0, "no plan's gain depends on any parameter", seen=question.pair, fix="offer plans that act on the patient")
    planted = np.where(np.arange(len(names)) == cause, 1.0, 0.1) * question.sd
    told = question.explained(_believing(subject.twin, planted, subject.key("beliefs")))["parameters"]
    first = next(iter(told), None)
    require(first == names[cause], "the explanation misses the parameter that decides", seen=first, expected=names[cause])
    return f"parameter {names[cause]!r} carries {told[first]:.0%}"


def _noise(subject: Subject, value: float) -> float:
    params = subject.model.prior.constrain(subject.model.prior.mean)
    latent = np.full((200, len(subject.model.outputs)), value)
    return float(np.asarray(subject.model.measure(params, latent, key=subject.key("noise")))[:, 0].std())


def _moved_by(record: PatientRecord, one: Series, value: float, now: int) -> PatientRecord:
    """Return the record with a correction of one reading."""
    return record.with_facts(one.model_copy(update={"value": np.array([value]), "recorded": np.array([now])}))


def _candidates(subject: Subject) -> list[Series]:
    """Return readings spread over the record (of a stream: the last one that it has processed), one row each."""
    twin, first = subject.twin, subject.model.outputs[0]
    series = next(s.current() for s in subject.record.series if s.code == Code.parse(first.code))
    rows = np.flatnonzero(series.time <= subject.now)
    if twin.stream is not None:
        return [series.take(rows[-1:])]
    chosen = rows[np.unique(np.linspace(1, len(rows) - 1, 3 if subject.quick else 6).astype(int))]
    return [series.take(chosen[i : i + 1]) for i in range(len(chosen))]


def _left_out(subject: Subject, question: _Question, record: PatientRecord, one: Series, gain: float) -> float:
    """Return the mean gain less what it is without this reading: by calibrating again."""
    wrong = one.model_copy(update={"recorded": np.array([subject.now]), "status": np.array([ENTERED_IN_ERROR], np.uint8)})
    return gain - float(question.ask(subject.calibrate(record.with_facts(wrong), subject.now, name="planted"))[1].mean())


def _plant_datum(subject: Subject, question: _Question) -> str:
    """Move a reading that matters by five standard deviations: it must be named first, or another that truly matters as much; its influence must be told."""
    record, now, output = subject.record, subject.now, subject.model.outputs[0]
    is_stream = subject.twin.stream is not None
    base, tried = question.ask(subject.twin)[1].mean(), []
    for one in _candidates(subject):
        analyte = None if is_convertible(one.unit, output.unit) else "glucose"
        known = float(one.values_in(output.unit, analyte=analyte)[0])
        value = float(convert(known + SHIFT * _noise(subject, known), output.unit, one.unit, analyte=analyte))
        planted = subject.calibrate(_moved_by(record, one, value, now), now, name="planted")
        gain = question.ask(planted)[1]
        moved = one.model_copy(update={"value": np.array([value])})
        exact = float(gain.mean() - base) if is_stream else _left_out(subject, question, record, moved, float(gain.mean()))
        tried.append((exact, moved, planted, gain))
    exact, one, planted, gain = max(tried, key=lambda item: abs(item[0]))
    named = question.explained(planted, _moved_by(record, one, float(one.value[0]), now)).get("data", [])
    require(named, "the explanation names no data")
    first = named[0]
    is_planted = abs(to_ns(first["time"]) - int(one.time[0])) <= _grid(subject)
    if not is_planted and not is_stream:  # another reading may matter more than the planted one: then leaving it out must show it
        other = _nearest(_moved_by(record, one, float(one.value[0]), now), to_ns(first["time"]))
        theirs = _left_out(subject, question, _moved_by(record, one, float(one.value[0]), now), other, float(gain.mean()))
        is_planted, exact = abs(theirs) >= 0.5 * abs(exact), theirs
    require(
        is_planted and first["moved"] != 0, "the explanation misses the datum that decides", seen=first, expected=f"the reading at {iso(int(one.time[0]))}",
        fix="log_likelihood must honour the mask of every datum",
    )  # fmt: skip
    if not is_stream and abs(exact) > 0.2 * gain.std():  # below that, sampling error hides it
        ratio = first["moved"] / exact
        require(
            0.4 < ratio < 2.5, "the explanation tells another influence than leaving the datum out has", seen=first["moved"], expected=exact
        )
    return f"the datum at {first['time']} moves the gain by {first['moved']:.3g}"


def _nearest(record: PatientRecord, time: int) -> Series:
    parts = [s.as_of(2**62).current() for s in record.series if len(s)]
    series = min(parts, key=lambda s: np.abs(s.time - time).min())
    return series.take(np.array([int(np.abs(series.time - time).argmin())]))


def _grid(subject: Subject) -> int:
    model = subject.model
    return round(model.slot * model.minutes * MINUTE) if isinstance(model, AbstractStateModel) else MINUTE


def check_explanation(subject: Subject) -> str:
    """Plant a parameter and a datum that decide between two plans; both must be named first."""
    question = _Question(subject, subject.twin)
    if not question.pairs:
        return "the room offers one plan only: there is nothing to explain"
    return f"{_plant_parameter(subject, question)}; {_plant_datum(subject, question)}"
