"""Simulated days of the minimal model and their targets: the people of ``identification.py``.

A day is 22 h from five in the morning: a reading every five minutes with white noise of 5 mg/dL, three meals of a quarter of an hour, a bolus
with each, basal insulin. Doses do not know the person, so that they say nothing of the parameters; days with a reading beyond the sensor's limits
are drawn again, which is a choice by the data alone and leaves every posterior as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gemel.engine  # noqa: F401  (flags before JAX)

# isort: split
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gemel.engine.data import Dataset
from gemel.engine.infer import lanes
from gemel.engine.infer.base import AbstractLeastSquaresTarget
from gemel.engine.keys import stream
from gemel.engine.model import Observed, target_of
from gemel.engine.plan import Plan
from gemel.evidence.calibration import LOG_LIKELIHOOD
from gemel.physics.ode import RK4, AbstractIntegrator
from gemel.twins.metabolic._minimal import WINDOWS
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.observe import Context
from gemel.twins.metabolic.priors import fixed, identification_prior

START, HOURS, CADENCE, SENSOR_SD = 300, 22, 5, 5.0
SLOTS = HOURS * 60 // CADENCE
BEYOND = (fixed("sensor_low"), fixed("sensor_high"))


@dataclass(frozen=True)
class Day:
    """One simulated person: the truth, what was logged (minutes since the start, per row of five minutes) and what the sensor showed."""

    truth: np.ndarray
    first: float
    basal: float
    weight: float
    meals: tuple[tuple[int, float], ...]
    boluses: tuple[tuple[int, float], ...]
    glucose: np.ndarray


def identification_model(slot: float = 5.0, integrator: AbstractIntegrator | None = None, barrier: float = 0.0) -> MetabolicModel:
    """Return the room's model with the published prior and white noise alone."""
    chosen = RK4(2) if integrator is None else integrator
    return MetabolicModel(prior=identification_prior(), error_sd=0.0, nugget_sd=SENSOR_SD, slot=slot, barrier=barrier, integrator=chosen)


def context_of(day: Day, slot: float = 5.0) -> Context:
    """Return meal windows per slot, first reading, basal rate and weight. A slot has the window of the row in which it begins."""
    begin = np.arange(round(HOURS * 60 / slot)) * slot
    hour = (START + begin // CADENCE * CADENCE) % 1440 / 60
    breakfast, lunch = (hour >= 4) & (hour < 11), (hour >= 11) & (hour < 17)
    window = np.stack([breakfast, lunch, ~breakfast & ~lunch], axis=1).astype(float)
    return Context(window, np.asarray(day.first), np.asarray(day.basal), np.asarray(day.weight))


def plan_of(day: Day, earlier: float = 0.0) -> Plan:
    """Return the inputs. ``earlier`` shifts them: the peer lets what is logged at a minute act in the step that ends there."""
    tau, total = fixed("tau"), HOURS * 60.0
    events = [(-10.0, total + 20.0, day.basal * (total + 20.0), 0)]
    events += [(t + tau - earlier, float(CADENCE), u, 0) for t, u in day.boluses]
    events += [(t - earlier, 15.0, g, 1 + i) for i, (t, g) in enumerate(day.meals)]
    return Plan.of(events)


def observed_of(day: Day, slot: float = 5.0, earlier: float = 0.0) -> Observed:
    """Return the day as the engine's data: readings from the first slot's end on."""
    time = CADENCE * (1.0 + np.arange(len(day.glucose)))
    return Observed(0, Dataset.of(time, day.glucose, smallest=len(time)), plan_of(day, earlier), context_of(day, slot), None)


@eqx.filter_jit
def paths(model: MetabolicModel, z: jax.Array, plans: Plan, contexts: Context) -> jax.Array:
    def one(z, plan, context):
        return model.trajectory(model.prior.constrain(z), plan, context).IG

    return jax.vmap(one)(z, plans, contexts)


def allowed(model: MetabolicModel, z: np.ndarray) -> np.ndarray:
    """Return how much of the prior's density the walls between ordered rates leave at each draw: with probability that much it is kept."""
    if model.barrier == 0.0:
        return np.ones(len(z))
    p = {n: np.asarray(v) for n, v in jax.vmap(model.prior.constrain)(jnp.asarray(z)).items()}
    gaps = [np.log(p["ka2"] / p["kd"]), *(np.log(p[f"kabs_{w}"] / p["kempt"]) for w in WINDOWS)]
    return np.exp(-np.logaddexp(0.0, np.stack(gaps) / model.barrier).sum(axis=0))


def _conditions(generator: np.random.Generator) -> dict[str, Any]:
    times = [int(generator.integers(a, b) // CADENCE * CADENCE) - START for a, b in ((390, 480), (720, 810), (1110, 1200))]
    grams = np.round(generator.uniform((30, 50, 50), (60, 90, 100)))
    ratio = 20.0 * np.exp(0.25 * generator.normal())
    weight = float(np.clip(generator.normal(72, 12), 50, 110))
    return {
        "first": float(np.clip(140 * np.exp(0.15 * generator.normal()), 90, 220)),
        "basal": float(0.012 * np.exp(0.2 * generator.normal())),
        "weight": weight,
        "meals": tuple((t, float(g)) for t, g in zip(times, grams, strict=True)),
        "boluses": tuple((t, float(np.round(g / ratio, 1))) for t, g in zip(times, grams, strict=True)),
    }


def simulate(model: MetabolicModel, n: int, *, seed: int, first: int = 0) -> tuple[list[Day], float]:
    """Draw ``n`` days from prior and likelihood; return them and the share of drawn days that were kept."""
    generator, days, drawn = np.random.default_rng([seed, first]), [], 0
    while len(days) < n:
        z = np.asarray(model.prior.draw(512, key=jax.random.fold_in(stream(jax.random.key(seed), "people"), 100_000 * first + drawn)))
        drawn += len(z)
        z = z[generator.uniform(size=len(z)) < allowed(model, z)]
        z = np.resize(z, (256, z.shape[1])) if len(z) < 256 else z[:256]
        guesses = [Day(row, glucose=np.zeros(SLOTS), **_conditions(generator)) for row in z]
        plans, contexts = (lanes.stack([f(d) for d in guesses]) for f in (plan_of, lambda d: context_of(d, model.slot)))
        clean = np.asarray(paths(model, jnp.asarray(z), plans, contexts))
        noisy = clean + SENSOR_SD * generator.normal(size=clean.shape)
        for day, glucose in zip(guesses, noisy, strict=True):
            if np.isfinite(glucose).all() and BEYOND[0] < glucose.min() and glucose.max() < BEYOND[1]:
                days.append(Day(**{**vars(day), "glucose": glucose}))
    return days[:n], len(days) / drawn


def targets_of(model: MetabolicModel, days: list[Day]) -> list[AbstractLeastSquaresTarget]:
    """Return the posterior densities of the days."""
    return [target_of(model, observed_of(day, model.slot)) for day in days]


def _log_likelihoods(target: Any, z: jax.Array) -> jax.Array:
    return jax.vmap(target.log_likelihood)(z)


def ranks_of(days: list[Day], targets: list[Any], inferences: list[Any], *, draws: int, seed: int) -> np.ndarray:
    """Return the rank of the truth among posterior draws, (person, parameter and log likelihood); -1 where there is no posterior."""
    out, rows = np.full((len(days), len(days[0].truth) + 1), -1), []
    for i, (day, inference) in enumerate(zip(days, inferences, strict=True)):
        z = np.asarray(inference.posterior.draw(draws, key=jax.random.fold_in(stream(jax.random.key(seed), "ranks"), i)))
        rows.append(np.concatenate([day.truth[None], z]))
        if np.isfinite(z).all():
            out[i, :-1] = (z < day.truth).sum(axis=0)
    value = np.asarray(lanes.chunked(_log_likelihoods, (lanes.host(lanes.stack(targets)), np.stack(rows)), (16,)))
    good = out[:, 0] >= 0
    out[good, -1] = (value[good, 1:] < value[good, :1]).sum(axis=1)
    return out


NAMES = (*identification_prior().names, LOG_LIKELIHOOD)
