"""The objective that py_replay_bg maximises, written from the publication: backward Euler at 1 min, priors as densities of the physical parameters.

Its program evaluates the same number up to a constant (``identification.py`` has it judge our point by its own code).
"""

from __future__ import annotations

from typing import Any

from _identification import CADENCE, HOURS, SENSOR_SD, START, Day, context_of, plan_of  # first: it sets the flags before JAX

# isort: split
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gemel.engine.infer import lanes
from gemel.engine.infer.base import AbstractLeastSquaresTarget
from gemel.engine.infer.laplace import Laplace
from gemel.engine.infer.levenberg import LevenbergMarquardt
from gemel.twins.metabolic._minimal import WINDOWS, delayed
from gemel.twins.metabolic.priors import fixed, identification_prior

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


def _held_step(target, state):
    return LevenbergMarquardt().step(lambda z: jnp.concatenate([target.residual(z), target.prior_residual(z)]), state)


def maximise(objective: PeerObjective, key: jax.Array) -> tuple[dict[str, float], float, Any]:
    """Return the best point of the peer's objective: smooth delays first, then the whole minutes around them, each with the rest free."""
    found = Laplace(starts=16, draws=64).run(objective, key=key)
    z = np.asarray(found.posterior.moments()[0])
    delays = [float(objective.constrain(jnp.asarray(z))[f"delay_{w}"]) for w in WINDOWS]
    corners = [[int(np.clip(np.floor(d) + ((c >> i) & 1), 0, 59)) for i, d in enumerate(delays)] for c in range(8)]
    whole = held(objective)
    stacked = lanes.stack([eqx.tree_at(lambda t: t.whole, whole, np.array(c, float)) for c in corners])
    best = lanes.multistart(
        _held_step, LevenbergMarquardt().init, stacked, np.tile(z, (8, 1, 1)), iterations=100, halving=False, sizes=(8,)
    )
    winner = int(np.nanargmin(best.values[:, 0]))
    values = {k: float(v) for k, v in whole.constrain(jnp.asarray(best.points[winner, 0])).items()}
    return (
        values | {f"delay_{w}": float(c) for w, c in zip(WINDOWS, corners[winner], strict=True)},
        float(best.values[winner, 0]),
        found,
    )
