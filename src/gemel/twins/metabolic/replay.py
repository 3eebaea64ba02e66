"""The same hours again under other inputs: what a recorded day would have looked like with another bolus, basal rate or meal.

Three steps (Pearl 2009, Causality, section 7.1): *abduction*, the parameters and the slow error that this very record asks for; *action*, the changed plan;
*prediction*, the equations under it with the same slow error. The record itself comes back, less the sensor's noise, when nothing
is changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gemel.core.errors import ModelError
from gemel.core.time import MINUTE
from gemel.engine.keys import stream
from gemel.engine.model import Observed
from gemel.engine.plan import Plan
from gemel.engine.posterior import AbstractPosterior
from gemel.engine.twin import Twin
from gemel.twins.metabolic._minimal import WINDOWS
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.priors import fixed

__all__ = ["Replayed", "replay", "replay_record", "response", "scaled"]


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
def _paths(model: MetabolicModel, z: Array, known: Plan, other: Plan, context: Array) -> tuple[Array, Array]:
    def one(x):
        p = model.prior.constrain(x)
        return model.trajectory(p, known, context).IG, model.trajectory(p, other, context).IG

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


def response(effect: Float[np.ndarray, "draw slot"]) -> Float[np.ndarray, "draw slot"]:
    """Return what a change does, given what the identification model says it does (mg/dL): larger while it is small, and it saturates.

    Fifteen parameters from a day leave glucose effectiveness near its prior, which pulls every effect back too soon, and below basal the model's gain makes
    falls too deep. The curve ``k e / (1 + |e| / c)`` was estimated on virtual people drawn anew from the larger model of ``metabolic-t1d``; that it holds
    for real people is ASSUMED.

    Examples
    --------
    >>> bool(response(np.array([[0.0]])) == 0.0)
    True
    """
    rise = fixed("rise_gain") * effect / (1.0 + np.abs(effect) / fixed("rise_half"))
    fall = fixed("fall_gain") * effect / (1.0 + np.abs(effect) / fixed("fall_half"))
    return np.where(effect > 0, rise, fall)


def replay_record(
    model: MetabolicModel, observed: Observed, posterior: AbstractPosterior, plan: Plan, *, n: int = 256, key: PRNGKeyArray
) -> Replayed:
    """Replay what was observed under another plan (see :func:`replay`)."""
    z = posterior.draw(n, key=stream(key, "draws"))
    context = jax.tree.map(np.asarray, observed.context)
    known, other = (np.asarray(x) for x in _paths(model, z, observed.plan, plan, context))
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
    sd, minutes, nugget = (float(np.asarray(x)) for x in (model.error_sd, model.error_minutes, model.nugget_sd))
    slow = _slow_error(grid, at, error, (sd, minutes), (fixed("wander_sd"), fixed("wander_minutes")), nugget, rng)
    effect = response((other - known)[:, :slots]) * np.exp(fixed("effect_cv") * rng.normal(size=(n, 1)))
    low, high = fixed("sensor_low"), fixed("sensor_high")
    draws = np.clip(known[:, :slots] + slow + effect, low, high)
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
