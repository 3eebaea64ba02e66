"""``metabolic-t1d``: one person with type 1 diabetes by the UVA/Padova equations, for the six verbs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gemel.engine.data import Dataset
from gemel.engine.likelihood import ar1_whiten, masked_sum
from gemel.engine.model import AbstractStateModel, Output
from gemel.engine.plan import Channel, Plan
from gemel.engine.prior import Prior
from gemel.twins.metabolic._gut import meal_amount
from gemel.twins.metabolic._minimal import WINDOWS
from gemel.twins.metabolic.priors import fixed
from gemel.twins.metabolic.t1d import observe
from gemel.twins.metabolic.t1d._cascade import Cascade, cascade, minute
from gemel.twins.metabolic.t1d._uva_padova import PMOL_PER_UNIT, UvaPadovaState, completed, resting, sensed
from gemel.twins.metabolic.t1d.observe import CARBOHYDRATE, INSULIN
from gemel.twins.metabolic.t1d.priors import FREE, constant, person_prior, typical

__all__ = ["T1DModel", "T1DState", "model"]


class T1DState(eqx.Module):
    """State of the stream: the thirteen of the equations, the amount ``meal`` of the last meal (mg), glucose that appears unannounced (``appearance``,
    mg/dL/min), and what the sensor shows without noise (``shown``, mg/dL).
    """

    body: UvaPadovaState
    meal: Array
    appearance: Array
    shown: Array


class T1DModel(AbstractStateModel):
    """The UVA/Padova model with the personal parameters of its prior, everything else as in a typical person of the same age group.

    Parameters
    ----------
    prior : of the personal parameters, and, where it has them, of factors of insulin sensitivity by time of day.
    error_sd, error_minutes, nugget_sd : slow and white model error in calibration, mg/dL and minutes.
    appearance_sd, appearance_minutes : unannounced appearance in streams, mg/dL/min and minutes.
    slot : length of a slot, minutes; a slot is crossed in steps of one minute.
    """

    prior: Prior = eqx.field(default_factory=person_prior)
    error_sd: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("error_sd")))
    error_minutes: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("error_minutes")))
    nugget_sd: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("nugget_sd")))
    appearance_sd: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("appearance_sd")))
    appearance_minutes: Array | float = eqx.field(default_factory=lambda: jnp.asarray(fixed("appearance_minutes")))
    slot: float = eqx.field(static=True, default=5.0)
    id: str = eqx.field(static=True, default="metabolic-t1d")
    version: str = eqx.field(static=True, default="0.1.0")
    outputs: tuple[Output, ...] = eqx.field(static=True, default=(Output("glucose", "loinc:99504-3", "mg/dL"),))
    channels: tuple[Channel, ...] = eqx.field(static=True, default=(Channel("insulin", "[iU]"), Channel("carbohydrate", "g")))
    minutes: float = eqx.field(static=True, default=1.0)
    noise_size: int = eqx.field(static=True, default=2)
    lags: int = eqx.field(static=True, default=1)

    def observe(self, record, now, *, epoch=None):
        """Read CGM, meals and insulin (see :mod:`gemel.twins.metabolic.t1d.observe`)."""
        return observe.observe(self, record, now, epoch=epoch)

    def context(self, leaves):
        """Rebuild the context of :class:`gemel.twins.metabolic.t1d.observe.Context`."""
        return observe.Context(*leaves)

    def domain(self, record, now):
        """Abstain where the room is not validated."""
        return observe.domain(record, now)

    def slots(self, record, now, *, epoch):
        """Put readings on the nearest slot, inputs where they act."""
        return observe.slots(self, record, now, epoch=epoch)

    def slot_context(self, observed, start, count):
        """Return meal-window weights, weight and typical parameters of each slot."""
        return observe.slot_context(self, observed, start, count)

    def person(self, params: dict[str, Array], context: observe.Context) -> dict[str, Array]:
        """Return the completed parameters of one person."""
        like = {name: context.typical[i] for i, name in enumerate(FREE)}
        own = {name: value for name, value in params.items() if name in FREE}
        fixed_ones = {name: jnp.asarray(constant(name)) for name in ("Fcns", "ke1", "ke2", "HEb", "f")}
        return completed({**like, **own, "BW": context.weight, **fixed_ones})

    def _rhythm(self, params: dict[str, Array], window: Float[Array, " window"], p: dict[str, Array]) -> dict[str, Array]:
        """Return the parameters at a time of day: factors of sensitivity where the prior has them."""
        moved = {}
        for part in ("Vmx", "kp3"):
            logs = [window[i] * jnp.log(params[f"{part}_{w}"]) for i, w in enumerate(WINDOWS) if f"{part}_{w}" in params]
            if logs:
                moved[part] = p[part] * jnp.exp(sum(logs, jnp.zeros(())))
        return {**p, **moved}

    def _cross(self, body, meal, given, p: dict[str, Array], c: Cascade, appearance: Array | float):
        """Carry body and meal over a slot, minute by minute. ``given``: insulin U/min, carbohydrate g/min, that of the slot before."""
        units, now, before = given
        insulin, eaten = units * PMOL_PER_UNIT / p["BW"], now * 1000.0

        def step(carry, i):
            s, amount = carry
            amount = meal_amount(amount, s.solid + s.liquid, before=jnp.where(i == 0, before, now), eaten=eaten)
            return (minute(s, (insulin, eaten, amount), p, c, unannounced=appearance * p["Vg"])[0], amount), None

        return jax.lax.scan(step, (body, meal), jnp.arange(round(self.slot * self.minutes)))[0]

    def _insulin(self, given: Array, basal: Array, p: dict[str, Array]) -> Array:
        """Return insulin in U/min; where no basal insulin is logged, the rate that keeps the person at rest is added."""
        return given + jnp.where(basal > 0.0, 0.0, p["u2ss"] * p["BW"] / PMOL_PER_UNIT)

    def begin(self, p: dict[str, Array], glucose: Array, basal: Array) -> UvaPadovaState:
        """Return the state of somebody who has not eaten, at this glucose (mg/dL) and in balance with a basal rate (U/min; zero: their own).

        Insulin is at rest under that rate; tissue glucose is in balance with plasma glucose under its action.
        """
        rest = resting(p)
        share = jnp.where(basal > 0.0, basal * PMOL_PER_UNIT / p["BW"] / p["u2ss"], 1.0)
        Gp, X = glucose * p["Vg"], p["Ib"] * (share - 1.0)
        most = p["Vm0"] + p["Vmx"] * X
        half = 0.5 * (p["k2"] * p["Km0"] + most - p["k1"] * Gp)
        Gt = (jnp.sqrt(half**2 + p["k2"] * p["k1"] * Gp * p["Km0"]) - half) / p["k2"]
        insulin = {n: getattr(rest, n) * share for n in ("Ip", "Il", "I1", "Id", "Isc1", "Isc2")}
        return UvaPadovaState(solid=rest.solid, liquid=rest.liquid, gut=rest.gut, Gp=Gp, Gt=Gt, Gs=Gp, X=X, **insulin)

    def trajectory(self, params: dict[str, Array], plan: Plan, context: observe.Context) -> Float[Array, " slot"]:
        """Return what a sensor without noise shows at the end of every slot of the context, without unannounced appearance."""
        n = context.window.shape[0]
        rates = plan.rates(0.0, self.slot, n, len(self.channels))
        p = self.person(params, context)
        c, units = cascade(p), self._insulin(rates[:, INSULIN], context.basal, p)
        eaten = rates[:, CARBOHYDRATE]

        def cross(carry, item):
            (body, meal), (given, window) = carry, item
            body, meal = self._cross(body, meal, given, self._rhythm(params, window, p), c, 0.0)
            return (body, meal), sensed(body, p)

        given = (units, eaten, jnp.concatenate([jnp.zeros(1), eaten[:-1]]))
        start = (self.begin(p, context.first, context.basal), jnp.zeros(()))
        return jax.lax.scan(cross, start, (given, context.window))[1]

    def simulate(self, params, plan, times, context, *, key):
        """Predict subcutaneous glucose, mg/dL."""
        del key
        path = self.trajectory(params, plan, context)
        position = jnp.clip(times / self.slot - 1.0, 0.0, path.shape[0] - 1.0)
        return jnp.interp(position, jnp.arange(path.shape[0]), path)[:, None]

    def _errors(self, params, plan: Plan, data: Dataset, context) -> tuple[Array, Array]:
        path = self.trajectory(params, plan, context)
        index = jnp.clip(jnp.round(data.time / self.slot).astype(int) - 1, 0, path.shape[0] - 1)
        error = data.value - path[index]
        # A reading beyond a limit says only "at least so far": no error while the prediction agrees.
        beyond = jnp.where(data.censored < 0, jnp.minimum(error, 0.0), jnp.maximum(error, 0.0))
        error = jnp.where(data.censored == 0, error, beyond)
        return ar1_whiten(error, data.time, data.mask, sd=self.error_sd, persistence=self.error_minutes, nugget=self.nugget_sd)

    def residual(self, params, plan, data, context):
        """Return innovations of the readings, whitened for slow and white error."""
        return self._errors(params, plan, data, context)[0]

    def log_likelihood(self, params, plan, data, context):
        """Gaussian innovations form."""
        residual, scale = self._errors(params, plan, data, context)
        count = masked_sum(jnp.ones_like(residual), data.mask)
        return -0.5 * jnp.sum(residual**2) + scale - 0.5 * count * jnp.log(2 * jnp.pi)

    def measure(self, params, output, *, key):
        """Add white sensor noise."""
        del params
        return output + fixed("sensor_sd") * jax.random.normal(key, output.shape)

    def initial(self, params, value, noise):
        """Start at rest at the first reading (spread by the sensor), or at ``Gb`` when there is none, with a random appearance.

        What is not personal is that of a typical adult here: the context is not known yet, and the hours of spin-up take its place.
        """
        like = typical("adult")
        free = {name: jnp.asarray(like[name]) for name in like}
        p = completed({**free, **{name: v for name, v in params.items() if name in FREE}})
        known = jnp.isfinite(value[0])
        glucose = jnp.where(known, jnp.where(known, value[0], 0.0) + fixed("sensor_sd") * noise[0], params["Gb"] * jnp.exp(0.3 * noise[0]))
        glucose = jnp.maximum(glucose, 30.0)
        zero = jnp.zeros_like(glucose)
        return T1DState(self.begin(p, glucose, jnp.zeros(())), zero, self.appearance_sd * noise[1], glucose)

    def advance(self, params, state, inputs, context, noise):
        """Carry one member over one slot; ``inputs`` hold the slot before too, which tells whether a meal begins."""
        p = self.person(params, context)
        given = (self._insulin(inputs[-1, INSULIN], context.basal, p), inputs[-1, CARBOHYDRATE], inputs[-2, CARBOHYDRATE])
        here = self._rhythm(params, context.window, p)
        body, meal = self._cross(state.body, state.meal, given, here, cascade(p), state.appearance)
        keep = jnp.exp(-self.slot / self.appearance_minutes)
        appearance = keep * state.appearance + self.appearance_sd * jnp.sqrt(1 - keep**2) * noise[0]
        return T1DState(body, meal, appearance, sensed(body, p))

    def emit(self, params, state):
        """Return subcutaneous glucose."""
        del params
        return state.shown[None]

    def discrepancy(self, record, now):
        """Learn nothing: this twin answers by its equations alone. The twin ``metabolic`` has a layer for what equations miss in real people."""
        del record, now

    def correction(self, record, now, learnt):
        """Say nothing."""
        del record, now, learnt

    def learns(self):
        """Let readings move glucose, insulin action and unannounced appearance; gut and insulin follow from what was logged and from the parameters."""
        body = [float(f.name in ("Gp", "Gt", "Gs", "X", "Id")) for f in fields(UvaPadovaState)]
        return np.array([*body, 0.0, 1.0, 1.0])

    def noise_sd(self, predicted):
        """Return the sensor's white noise, 3 % of the value but at least 3 mg/dL (ASSUMED; short-term noise of a calibrated sensor)."""
        return jnp.maximum(0.03 * predicted, 3.0)


def model(**settings: Any) -> T1DModel:
    """Return the twin's model."""
    return T1DModel(**settings)
