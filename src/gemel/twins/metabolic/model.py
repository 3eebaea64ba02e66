"""``metabolic``: the model of one person's glucose, minutes to hours. Gathers equations, priors and observation into the engine's form."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gemel.engine.data import Dataset
from gemel.engine.likelihood import ar1_whiten, masked_sum
from gemel.engine.model import AbstractStateModel, Output
from gemel.engine.plan import Channel, Plan
from gemel.engine.prior import Prior
from gemel.physics.ode import RK4, AbstractIntegrator, integrate
from gemel.twins.metabolic import correct, observe
from gemel.twins.metabolic._minimal import PAST, WINDOWS, MinimalState, delayed, delayed_now, derivative, resting
from gemel.twins.metabolic.priors import fixed, person_prior

__all__ = ["CARBOHYDRATE", "INSULIN", "MetabolicModel", "model"]

INSULIN = 0
CARBOHYDRATE = {window: i + 1 for i, window in enumerate(WINDOWS)}


class MetabolicModel(AbstractStateModel):
    """The minimal identification model with meal windows, an unannounced appearance of glucose, and a CGM sensor.

    Parameters
    ----------
    prior : population prior over the fifteen parameters.
    error_sd, error_minutes, nugget_sd : slow and white model error in calibration, mg/dL and minutes.
    appearance_sd, appearance_minutes : unannounced appearance in streams, mg/dL/min and minutes.
    slot : length of a slot, minutes.
    barrier : width, on the log scale, of the wall between rate constants that the publication orders; 0 leaves them free (they are then told apart
        by their priors alone).
    integrator : how a slot is crossed; two Runge-Kutta steps keep the error below 1 mg/dL for every draw of the prior.
    """

    prior: Prior = eqx.field(default_factory=person_prior)
    error_sd: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("error_sd")))
    error_minutes: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("error_minutes")))
    nugget_sd: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("nugget_sd")))
    appearance_sd: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("appearance_sd")))
    appearance_minutes: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("appearance_minutes")))
    slot: float = eqx.field(static=True, default=5.0)
    barrier: float = eqx.field(static=True, default=0.0)
    integrator: AbstractIntegrator = eqx.field(static=True, default=RK4(2))
    id: str = eqx.field(static=True, default="metabolic")
    version: str = eqx.field(static=True, default="0.1.0")
    outputs: tuple[Output, ...] = eqx.field(static=True, default=(Output("glucose", "loinc:99504-3", "mg/dL"),))
    channels: tuple[Channel, ...] = eqx.field(
        static=True, default=(Channel("insulin", "[iU]"), *(Channel(f"carbohydrate_{w}", "g") for w in WINDOWS))
    )
    minutes: float = eqx.field(static=True, default=1.0)
    noise_size: int = eqx.field(static=True, default=4)
    lags: int = eqx.field(static=True, default=PAST)

    def observe(self, record, now, *, epoch=None):
        """Read CGM, meals and insulin (see :mod:`gemel.twins.metabolic.observe`)."""
        return observe.observe(self, record, now, epoch=epoch)

    def context(self, leaves):
        """Rebuild the context of :class:`gemel.twins.metabolic.observe.Context`."""
        return observe.Context(*leaves)

    def domain(self, record, now):
        """Abstain where the room is not validated."""
        return observe.domain(record, now)

    def slots(self, record, now, *, epoch):
        """Put readings on the nearest slot, inputs where they act."""
        return observe.slots(self, record, now, epoch=epoch)

    def slot_context(self, observed, start, count):
        """Return meal-window weights and the basal reference of each slot."""
        return observe.slot_context(self, observed, start, count)

    def _drive(self, params: dict[str, Array], rates: Float[Array, "step channel"], context: observe.Context) -> tuple[Array, ...]:
        weight = context.weight
        sensitivity = sum((context.window[:, i] * params[f"SI_{w}"] for i, w in enumerate(WINDOWS)), jnp.zeros(()))
        meals = [delayed(rates[:, CARBOHYDRATE[w]], params[f"delay_{w}"], self.slot) * 1000.0 / weight for w in WINDOWS]
        basal = jnp.broadcast_to(context.basal, sensitivity.shape)
        return (rates[:, INSULIN] * 1000.0 / weight, *meals, sensitivity, basal * 1000.0 / weight)

    def trajectory(self, params: dict[str, Array], plan: Plan, context: observe.Context) -> MinimalState:
        """Return all states at the end of every slot of the context, without unannounced appearance."""
        n = context.window.shape[0]
        rates = plan.rates(0.0, self.slot, n, len(self.channels))
        start = resting(context.first, context.basal * 1000.0 / context.weight, params)
        return integrate(derivative, start, self._drive(params, rates, context), params, step=self.slot, integrator=self.integrator)

    def simulate(self, params, plan, times, context, *, key):
        """Predict interstitial glucose, mg/dL."""
        del key
        path = self.trajectory(params, plan, context).IG
        position = jnp.clip(times / self.slot - 1.0, 0.0, path.shape[0] - 1.0)
        return jnp.interp(position, jnp.arange(path.shape[0]), path)[:, None]

    def _errors(self, params, plan: Plan, data: Dataset, context) -> tuple[Array, Array]:
        path = self.trajectory(params, plan, context).IG
        index = jnp.clip(jnp.round(data.time / self.slot).astype(int) - 1, 0, path.shape[0] - 1)
        error = data.value - path[index]
        # A reading beyond a limit says only "at least so far": no error while the prediction agrees.
        beyond = jnp.where(data.censored < 0, jnp.minimum(error, 0.0), jnp.maximum(error, 0.0))
        error = jnp.where(data.censored == 0, error, beyond)
        return ar1_whiten(error, data.time, data.mask, sd=self.error_sd, persistence=self.error_minutes, nugget=self.nugget_sd)

    def residual(self, params, plan, data, context):
        """Return innovations of the readings, whitened for slow and white error; then, if asked for, a barrier that keeps ``ka2 < kd`` and ``kabs < kempt``."""
        residual, _ = self._errors(params, plan, data, context)
        if self.barrier == 0.0:
            return residual
        gaps = jnp.stack([jnp.log(params["ka2"] / params["kd"]), *(jnp.log(params[f"kabs_{w}"] / params["kempt"]) for w in WINDOWS)])
        return jnp.concatenate([residual, jnp.sqrt(2.0 * jax.nn.softplus(gaps / self.barrier) + 1e-200)])

    def log_likelihood(self, params, plan, data, context):
        """Gaussian innovations form, the barrier of ``residual`` included."""
        residual, scale = self._errors(params, plan, data, context)
        whole = self.residual(params, plan, data, context)
        barrier = whole[residual.shape[0] :]
        count = masked_sum(jnp.ones_like(residual), data.mask)
        return -0.5 * jnp.sum(residual**2) + scale - 0.5 * count * jnp.log(2 * jnp.pi) - 0.5 * jnp.sum(barrier**2)

    def measure(self, params, output, *, key):
        """Add white sensor noise."""
        del params
        return output + fixed("sensor_sd") * jax.random.normal(key, output.shape)

    def initial(self, params, value, noise):
        """Start at rest at the first reading (spread by the sensor), or at ``Gb`` when there is none, with a random appearance."""
        known = jnp.isfinite(value[0])
        G = jnp.where(known, jnp.where(known, value[0], 0.0) + fixed("sensor_sd") * noise[0], params["Gb"] * jnp.exp(0.3 * noise[0]))
        rest = resting(jnp.maximum(G, 30.0), jnp.zeros(()), params)
        return eqx.tree_at(lambda s: s.appearance, rest, self.appearance_sd * noise[1])

    def advance(self, params, state, inputs, context, noise):
        """Carry one member over one slot; ``inputs`` hold the last hour too, for meals that come later than logged."""
        window, basal, weight = context.window, context.basal, context.weight
        sensitivity = sum((window[i] * params[f"SI_{w}"] for i, w in enumerate(WINDOWS)), jnp.zeros(()))
        meals = [delayed_now(inputs[:, CARBOHYDRATE[w]], params[f"delay_{w}"], self.slot) * 1000.0 / weight for w in WINDOWS]
        drive = (inputs[-1, INSULIN] * 1000.0 / weight, *meals, sensitivity, basal * 1000.0 / weight)
        moved = self.integrator.advance(derivative, jnp.zeros(()), state, drive, params, self.slot)
        keep = jnp.exp(-self.slot / self.appearance_minutes)
        appearance = keep * state.appearance + self.appearance_sd * jnp.sqrt(1 - keep**2) * noise[0]
        return eqx.tree_at(lambda s: s.appearance, moved, appearance)

    def emit(self, params, state):
        """Return interstitial glucose."""
        del params
        return state.IG[None]

    def discrepancy(self, record, now):
        """Learn from the person's own past (see :mod:`gemel.twins.metabolic.correct`)."""
        return correct.learn_alone(record, now)

    def correction(self, record, now, learnt):
        """Ask it at ``now``."""
        return correct.correction(record, now, learnt)

    def learns(self):
        """Let readings move glucose, insulin action and unannounced appearance; gut and insulin follow from what was logged and from the parameters."""
        moved = ("G", "X", "IG", "appearance")
        return np.array([float(f.name in moved) for f in fields(MinimalState)])

    def noise_sd(self, predicted):
        """Return the sensor's white noise, 3 % of the value but at least 3 mg/dL (ASSUMED; short-term noise of a calibrated sensor)."""
        return jnp.maximum(0.03 * predicted, 3.0)


def model(**settings: Any) -> MetabolicModel:
    """Return the room's model."""
    return MetabolicModel(**settings)


def window_of(minute_of_day: np.ndarray) -> Int[np.ndarray, " n"]:
    """Return the meal window of local minutes: 0 breakfast (4-11 h), 1 lunch (11-17 h), 2 dinner."""
    hour = np.asarray(minute_of_day) / 60.0
    return np.where((hour >= 4) & (hour < 11), 0, np.where((hour >= 11) & (hour < 17), 1, 2))
