"""People drawn from the toys' own models: the truth is a prior draw, the data come from the likelihood."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.record import Demographics, Exposure, PatientRecord, Quantity
from gemel.core.series import Series
from gemel.core.time import HOUR, MINUTE, to_ns
from gemel.engine.keys import stream
from gemel.engine.model import AbstractModel
from gemel.engine.plan import Plan
from gemel.twins.toys.model import GrowthModel, LinearModel
from gemel.twins.toys.observe import DOSE, SIGNAL, Clock, Grid

__all__ = ["START", "simulate_growth", "simulate_linear"]

START = to_ns("2026-01-05T06:00:00Z")


@eqx.filter_jit
def _drawn(model: AbstractModel, plan: Plan, times, context, key):
    z = model.prior.draw(1, key=stream(key, "truth"))[0]
    params = model.prior.constrain(z)
    clean = model.simulate(params, plan, times, context, key=stream(key, "simulate"))
    return params, model.measure(params, clean, key=stream(key, "measure"))[:, 0]


def _person(model: AbstractModel, context, hours: np.ndarray, given: list[tuple[float, float]], key: PRNGKeyArray):
    plan = Plan.of([(start, 0.0, amount, 0) for start, amount in given])
    params, value = _drawn(model, plan, hours, context, key)
    time = START + np.round(hours * 60).astype(np.int64) * MINUTE
    record = PatientRecord(id=f"simulated-{_number(key):08x}", demographics=Demographics(age=40.0)).with_facts(
        Series(code=SIGNAL, unit="[arb'U]", time=time, value=np.asarray(value), source="simulated"),
        *(
            Exposure(code=DOSE, quantity=Quantity(value=amount, unit="mg"), start=START + round(start * HOUR), source="simulated")
            for start, amount in given
        ),
    )
    return record, int(time[-1]) + 10 * MINUTE, {name: float(x) for name, x in params.items()}


def _number(key: PRNGKeyArray) -> int:
    return int(np.asarray(jax.random.key_data(key)).astype(np.uint32)[-1])


def _given(key: PRNGKeyArray, count: int, span: float, largest: float) -> list[tuple[float, float]]:
    draw = np.random.default_rng(np.asarray(jax.random.key_data(stream(key, "doses"))).astype(np.uint32).tolist())
    starts = np.sort(np.round(draw.uniform(0.0, span, count), 1))
    return [(float(s), float(a)) for s, a in zip(starts, np.round(draw.uniform(0.5, largest, count), 1), strict=True)]


def simulate_linear(key: PRNGKeyArray, *, model: LinearModel | None = None) -> tuple[PatientRecord, int, Mapping[str, float]]:
    """Return five days of readings every four hours under four doses, *now*, and the truth."""
    hours = 4.0 * np.arange(30)
    return _person(
        LinearModel() if model is None else model, Clock(np.asarray(START % (24 * HOUR) / HOUR)), hours, _given(key, 4, 100.0, 4.0), key
    )


def simulate_growth(key: PRNGKeyArray) -> tuple[PatientRecord, int, Mapping[str, float]]:
    """Return forty hours of readings every hour under three doses, *now*, and the truth."""
    model = GrowthModel()
    hours = np.arange(41.0)
    grid = Grid(model.slot * (1.0 + np.arange(128)))
    return _person(model, grid, hours, _given(key, 3, 30.0, 6.0), key)
