"""The same hours again under other inputs: what a recorded day would have looked like with another bolus, basal rate or meal.

Three steps (Pearl 2009, Causality, section 7.1): *abduction*, the parameters and the slow error that this very record asks for; *action*, the changed plan;
*prediction*, the difference that the equations say it makes to the glucose that was there (``_effect.py``). The record itself comes back, less the sensor's noise,
when nothing is changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gemel.core.errors import ModelError
from gemel.core.time import MINUTE
from gemel.engine.keys import stream
from gemel.engine.model import Observed
from gemel.engine.plan import Plan
from gemel.engine.posterior import AbstractPosterior
from gemel.engine.twin import Twin
from gemel.twins.metabolic._effect import Inputs, difference
from gemel.twins.metabolic._minimal import WINDOWS, MinimalState, basal_insulin, bounded
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.observe import Context
from gemel.twins.metabolic.priors import fixed

__all__ = ["Replayed", "replay", "replay_record", "scaled"]


@dataclass(frozen=True)
class Replayed:
    """Interstitial glucose of the recorded hours under a plan.

    Parameters
    ----------
    time : (slot,) ns UTC.
    draws : (draw, slot) mg/dL.
    """

    time: np.ndarray
    draws: Float[np.ndarray, "draw slot"]

    def quantiles(self, *levels: float) -> Float[np.ndarray, "level slot"]:
        """Return quantiles over draws."""
        return np.quantile(self.draws, levels, axis=0)


def scaled(plan: Plan, *, bolus: float = 1.0, basal: float = 1.0, carbohydrate: float = 1.0) -> Plan:
    """Return a plan with every bolus, every slow insulin (an hour and longer) or all carbohydrate multiplied.

    Examples
    --------
    >>> p = Plan.of([(0.0, 1.0, 5.0, 0), (0.0, 600.0, 10.0, 0), (0.0, 15.0, 40.0, 1)])
    >>> sorted(e[2] for e in scaled(p, bolus=0.5, basal=2.0).events)
    [2.5, 20.0, 40.0]
    """

    def factor(length: float, channel: int) -> float:
        if channel in range(1, len(WINDOWS) + 1):
            return carbohydrate
        return basal if length >= 60.0 else bolus

    return Plan.of([(s, d, a * factor(d, c), c) for s, d, a, c in plan.events], smallest=32)


@eqx.filter_jit
def _paths(model: MetabolicModel, z: Array, known: Plan, other: Plan, context: Context) -> tuple[Array, ...]:
    """Return per draw and slot: glucose of the known plan, sensitivity, and insulin and appearance of both plans."""

    def one(x):
        p = model.prior.constrain(x)
        sensitivity = sum((context.window[:, i] * p[f"SI_{w}"] for i, w in enumerate(WINDOWS)), jnp.zeros(()))

        def acts(path: MinimalState) -> tuple[Array, Array]:
            return path.Ip, sum((bounded(p[f"kabs_{w}"]) * getattr(path, f"gut_{w}") for w in WINDOWS), jnp.zeros(()))

        first, second = model.trajectory(p, known, context), model.trajectory(p, other, context)
        return first.IG, sensitivity, *acts(first), *acts(second)

    return jax.vmap(one)(z)


def _slow_error(
    grid: Float[np.ndarray, " slot"], at: Float[np.ndarray, " datum"], error: Float[np.ndarray, "draw datum"], slow: tuple[float, float],
    sensor: tuple[float, float], nugget: float, rng: np.random.Generator,
) -> Float[np.ndarray, "draw slot"]:  # fmt: skip
    """Draw the slow error on the grid given what each draw leaves unexplained.

    What is unexplained is slow error of the equations, wandering noise of the sensor and white noise; only the first belongs to the body. ``slow`` and
    ``sensor`` are (standard deviation, correlation time). Matheron's rule: a draw of everything, moved by its misfit.
    """

    def covariance(a: np.ndarray, b: np.ndarray, of: tuple[float, float]) -> np.ndarray:
        return of[0] ** 2 * np.exp(-np.abs(a[:, None] - b[None, :]) / of[1])

    n, whole = len(error), np.concatenate([grid, at])
    free = (
        rng.normal(size=(n, len(whole))) @ np.linalg.cholesky(covariance(whole, whole, slow) + 1e-8 * slow[0] ** 2 * np.eye(len(whole))).T
    )
    noise = covariance(at, at, sensor) + nugget**2 * np.eye(len(at))
    here, there = free[:, : len(grid)], free[:, len(grid) :] + rng.normal(size=(n, len(at))) @ np.linalg.cholesky(noise).T
    return here + (error - there) @ np.linalg.solve(covariance(at, at, slow) + noise, covariance(at, grid, slow))


def replay_record(
    model: MetabolicModel, observed: Observed, posterior: AbstractPosterior, plan: Plan, *, n: int = 256, key: PRNGKeyArray
) -> Replayed:
    """Replay what was observed under another plan (see :func:`replay`)."""
    z = posterior.draw(n, key=stream(key, "draws"))
    context = jax.tree.map(np.asarray, observed.context)
    known, sensitivity, *acts = (np.asarray(x) for x in _paths(model, z, observed.plan, plan, context))
    data = observed.data
    use = np.asarray(data.mask) & (np.asarray(data.censored) == 0)
    if not use.any():
        raise ModelError("nothing was read that could be replayed", seen="no uncensored reading", fix="replay after a calibration on CGM")
    at = np.asarray(data.time)[use]
    slots = round(float(at[-1]) / model.slot)
    grid = model.slot * np.arange(1, slots + 1)
    index = np.clip(np.round(at / model.slot).astype(int) - 1, 0, known.shape[1] - 1)
    error = np.asarray(data.value)[use] - known[:, index]
    rng = np.random.default_rng(np.asarray(jax.random.key_data(stream(key, "slow error"))).astype(np.uint32).tolist())
    unexplained, wander = (fixed("unexplained_sd"), fixed("unexplained_minutes")), (fixed("wander_sd"), fixed("wander_minutes"))
    slow = _slow_error(grid, at, error, unexplained, wander, float(np.asarray(model.nugget_sd)), rng)
    low, high = fixed("sensor_low"), fixed("sensor_high")
    there = np.clip(known[:, :slots] + slow, low, high)
    basal = basal_insulin(context.basal * 1000.0 / context.weight)
    recorded, changed = (Inputs(acts[i][:, :slots] - basal, acts[i + 1][:, :slots]) for i in (0, 2))
    effect = difference(there, recorded, changed, sensitivity[:, :slots], slot=model.slot)
    draws = np.clip(there + effect * np.exp(fixed("effect_cv") * rng.normal(size=(n, 1))), low, high)
    return Replayed(observed.epoch + np.round(grid * MINUTE).astype(np.int64), draws)


def replay(twin: Twin, plan: Plan, *, n: int = 256, key: PRNGKeyArray) -> Replayed:
    """Replay the hours that a twin was calibrated on under another plan.

    Parameters
    ----------
    twin : of this room, just calibrated: its posterior belongs to the hours it observed.
    plan : what would have been done instead (:func:`scaled`, or any plan on the same clock).
    n : draws.
    key : the same key gives the same draws under any plan.

    Returns
    -------
    Interstitial glucose, cut to the sensor's range: the sensor's own noise is no part of it, and widens the band. The size of the effect of the change carries a relative error of its
    own (``effect_cv``), because the equations are not the body.
    """
    if not isinstance(twin.model, MetabolicModel):
        raise ModelError("only twins of the metabolic room can be replayed", seen=type(twin.model).__name__)
    return replay_record(twin.model, twin.observed, twin.inference.posterior, plan, n=n, key=key)
