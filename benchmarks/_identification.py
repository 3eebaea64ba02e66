"""Simulated days of the minimal model, their inference, and the objective of the peer: what ``identification.py`` runs.

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
from gemel.twins.metabolic._minimal import WINDOWS, delayed
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

# --- the peer's objective, from the publication: backward Euler at 1 min, priors as densities of the physical parameters -------------------------

PEER_VI = 0.135
"""Volume of insulin that the peer uses; ours is fixed at another value and the sensitivity takes up the ratio."""
PEER_GAIN = 10.0 * fixed("r1")
"""The peer multiplies the squared difference by 10 r1, the publication by 10 r1^2."""
LOG_NORMAL = {"SG": (-3.8, 0.5), "ka2": (-4.2875, 0.4274), "kd": (-3.5090, 0.6187), "kempt": (-1.9646, 0.7069), "kabs": (-5.4591, 1.4396)}
SI_MODE = 2.3 * 5e-4 / fixed("VG")


def published_path(p: dict[str, jax.Array], drive: tuple[jax.Array, ...], first: jax.Array) -> jax.Array:
    """Return interstitial glucose by backward Euler at 1 min, the gain taken at the last minute's glucose.

    Every equation but that of glucose is linear in the states before it, so each implicit step is solved from the first state to the last.
    """
    insulin, *meals, sensitivity, basal = drive
    meal, kabs = jnp.stack(meals, axis=1), jnp.stack([p[f"kabs_{w}"] for w in WINDOWS])
    k, kd, ka2, ke, p2, alpha = p["kempt"], p["kd"], p["ka2"], fixed("ke"), p["p2"], fixed("alpha")
    log_basal = jnp.log(p["Gb"]) ** fixed("r2")

    def step(state, item):
        G, X, IG, one, two, plasma, solid, liquid, gut = state
        insulin, meal, si, basal = item
        solid = (solid + meal) / (1 + k)
        liquid = (liquid + k * solid) / (1 + k)
        gut = (gut + k * liquid) / (1 + kabs)
        one = (one + insulin) / (1 + kd)
        two = (two + kd * one) / (1 + ka2)
        plasma = (plasma + ka2 * two) / (1 + ke)
        X = (X + p2 * si / PEER_VI * (plasma - basal / ke)) / (1 + p2)
        low = jnp.minimum(jnp.maximum(G, fixed("rho_floor")), p["Gb"])
        rho = 1 + PEER_GAIN * (jnp.log(low) ** fixed("r2") - log_basal) ** 2
        G = (G + p["SG"] * p["Gb"] + fixed("f") * (kabs @ gut) / fixed("VG")) / (1 + p["SG"] + rho * X)
        IG = (alpha * IG + G) / (1 + alpha)
        return (G, X, IG, one, two, plasma, solid, liquid, gut), IG

    zero, rest = jnp.zeros_like(kabs), basal[0]
    start = (first, jnp.zeros_like(first), first, rest / kd, rest / ka2, rest / ke, zero, zero, zero)
    return jax.lax.scan(step, start, (insulin, meal, sensitivity, basal))[1]


def _shifted(rates: jax.Array, by: jax.Array) -> jax.Array:
    """Shift by whole minutes."""
    padded = jnp.concatenate([jnp.zeros(64, rates.dtype), rates])
    return jax.lax.dynamic_slice_in_dim(padded, 64 - jnp.round(by).astype(int), rates.shape[0])


class PeerObjective(AbstractLeastSquaresTarget):
    """The density that the peer maximises, as sums of squares: its priors are densities of the physical parameters, without a Jacobian.

    ``z`` makes the priors as linear as they can be (see ``constrain``). Constraints are walls of ``width`` on the log scale. Where ``held``,
    delays are the whole minutes of ``whole``, shifted exactly as the peer does it; else they are smooth.
    """

    rates: jax.Array
    window: jax.Array
    basal: jax.Array
    first: jax.Array
    glucose: jax.Array
    whole: jax.Array
    width: float = eqx.field(static=True, default=0.02)
    held: bool = eqx.field(static=True, default=False)

    @property
    def names(self):
        return identification_prior().names

    def constrain(self, z: jax.Array) -> dict[str, jax.Array]:
        """Return named values; sensitivities in the peer's units."""
        kinds = {"Gb": lambda x: x, "p2": lambda x: x**2, "delay": lambda x: 60 * jax.nn.sigmoid(x), "SI": lambda x: SI_MODE * jnp.exp(x)}
        return {n: kinds.get(n.split("_")[0], jnp.exp)(z[i]) for i, n in enumerate(self.names)}

    def residual(self, z):
        p = self.constrain(z)
        if self.held:
            meals = [_shifted(self.rates[:, 1 + i], self.whole[i]) for i in range(3)]
        else:
            meals = [delayed(self.rates[:, 1 + i], jnp.maximum(p[f"delay_{w}"], 1.0), 1.0) for i, w in enumerate(WINDOWS)]
        sensitivity = sum(self.window[:, i] * p[f"SI_{w}"] for i, w in enumerate(WINDOWS))
        basal = jnp.broadcast_to(self.basal, sensitivity.shape)
        path = published_path(p, (self.rates[:, 0], *meals, sensitivity, basal), self.first)
        gaps = [
            jnp.log(p["ka2"] / p["kd"]),
            *(jnp.log(p[f"kabs_{w}"] / p["kempt"]) for w in WINDOWS),
            jnp.log(p["kd"]),
            jnp.log(p["kempt"]),
        ]
        walls = jnp.sqrt(2.0 * jax.nn.softplus(jnp.stack(gaps) / self.width) + 1e-200)
        return jnp.concatenate([(path[CADENCE - 1 :: CADENCE] - self.glucose) / SENSOR_SD, walls])

    def prior_residual(self, z):
        p, out = self.constrain(z), []
        for i, name in enumerate(self.names):
            kind = name.split("_")[0]
            if kind == "SI":  # a gamma density: exp(z) - z above its least value, as a signed root
                far = jnp.where(jnp.abs(z[i]) < 1e-3, 1.0, z[i])
                share = jnp.where(jnp.abs(z[i]) < 1e-3, 0.5 + z[i] / 6, (jnp.expm1(far) - far) / far**2)
                out.append(z[i] * jnp.sqrt(2 * 2.3 * share))
            elif kind == "delay":  # uniform to 0.02 nats between 0.6 and 59.4 min: keeps the search finite
                out.append(jnp.where(self.held, 1.0, 0.1) * z[i] * 0.43)
            elif kind in ("Gb", "p2"):
                location, scale = {"Gb": (119.13, 7.11), "p2": (0.11, 0.004)}[kind]
                out.append((z[i] - location) / scale)
            else:
                location, scale = LOG_NORMAL[kind]
                out.append((jnp.log(p[name]) - location + scale**2) / scale)
        return jnp.stack(out)

    def log_prior(self, z):
        return -0.5 * jnp.sum(self.prior_residual(z) ** 2)

    def log_likelihood(self, z):
        return -0.5 * jnp.sum(self.residual(z) ** 2)

    def unconstrain(self, p: dict[str, jax.Array]) -> jax.Array:
        """Undo ``constrain``."""
        kinds = {
            "Gb": lambda x: x,
            "p2": jnp.sqrt,
            "delay": lambda x: jax.scipy.special.logit(x / 60),
            "SI": lambda x: jnp.log(x / SI_MODE),
        }
        return jnp.stack([kinds.get(n.split("_")[0], jnp.log)(p[n]) for n in self.names])

    def start(self, *, key):
        prior = identification_prior()
        return self.unconstrain(prior.constrain(prior.draw(1, key=key)[0]))


def peer_objective(day: Day) -> PeerObjective:
    """Return the peer's objective on a day, inputs as the peer reads them."""
    rates = np.array(plan_of(day, earlier=1.0).rates(0.0, 1.0, HOURS * 60, 4)) * 1000 / day.weight
    window = np.asarray(context_of(day, 1.0).window)
    window = np.concatenate([window[1:], window[-1:]])  # the step that ends at a minute belongs to that minute
    scalar = [np.asarray(x) for x in (day.basal * 1000 / day.weight, day.first)]
    return PeerObjective(rates, window, *scalar, np.asarray(day.glucose), np.zeros(3))


def ours_to_peer(values: dict[str, float]) -> dict[str, float]:
    """Convert our parameters to the peer's: the same ratio of sensitivity and insulin volume; delays in whole minutes."""
    out = {n: float(v) * (PEER_VI / fixed("VI") if n.startswith("SI") else 1.0) for n, v in values.items()}
    return {n: float(np.round(v)) if n.startswith("delay") else v for n, v in out.items()}


def rows_of(day: Day) -> list[dict[str, Any]]:
    """Return the day as the table that the peer reads: a row per five minutes, rates per minute."""
    rows = []
    for i, glucose in enumerate([day.first, *day.glucose]):
        minute, label, carbohydrate, bolus = CADENCE * i, "", 0.0, 0.0
        for letter, (t, grams) in zip("BLD", day.meals, strict=True):
            if t <= minute < t + 15:
                label, carbohydrate = letter, grams / 15
        for t, units in day.boluses:
            bolus += units / CADENCE if t == minute else 0.0
        rows.append(
            {"minute": START + minute, "glucose": glucose, "cho": carbohydrate, "cho_label": label, "bolus": bolus, "basal": day.basal}
        )
    return rows


def held(objective: PeerObjective) -> PeerObjective:
    """Return the objective with delays held at ``whole``."""
    return PeerObjective(**{**vars(objective), "held": True})
