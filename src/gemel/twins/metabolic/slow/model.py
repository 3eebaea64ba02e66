"""``metabolic-slow``: weight, insulin sensitivity, beta-cell function and HbA1c over months. Gathers equations, priors and observation."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gemel.engine.likelihood import masked_sum
from gemel.engine.model import AbstractLeastSquaresModel, Output
from gemel.engine.plan import Channel, Plan
from gemel.engine.prior import Prior
from gemel.physics.ode import RK4, AbstractIntegrator, integrate
from gemel.twins.metabolic.slow import observe
from gemel.twins.metabolic.slow._body_weight import BodyState, balanced, resting, weight
from gemel.twins.metabolic.slow._body_weight import derivative as body_derivative
from gemel.twins.metabolic.slow._glycation import kinetic
from gemel.twins.metabolic.slow._link import course, gain
from gemel.twins.metabolic.slow.observe import CHANNEL
from gemel.twins.metabolic.slow.priors import DRUGS, fixed, person_prior

__all__ = ["SlowModel", "SlowPath", "SlowState", "derivative", "model"]

_FIRST_DRUG = CHANNEL["insulin"] + 1


class SlowState(eqx.Module):
    """States: the body, and the relative gain of beta-cell function reached so far."""

    body: BodyState
    recovered: Array


class SlowPath(eqx.Module):
    """At the end of each day: weight (kg), insulin sensitivity and beta-cell function against the healthy, glucose (mg/dL), HbA1c (%)."""

    weight: Float[Array, " day"]
    sensitivity: Float[Array, " day"]
    function: Float[Array, " day"]
    fasting: Float[Array, " day"]
    mean: Float[Array, " day"]
    hba1c: Float[Array, " day"]


def derivative(time: Array, s: SlowState, inputs: tuple[Array, Array, Array], parameters: tuple[Any, dict[str, Array], Array]) -> SlowState:
    """Right-hand side: the body, and beta-cell function on its way to what the weight loss leads to."""
    body, p, duration = parameters
    target = gain(1.0 - weight(s.body, body) / weight(resting(body), body), duration, p)
    return SlowState(body_derivative(time, s.body, inputs, body), (target - s.recovered) / fixed("recovery_days"))


class SlowModel(AbstractLeastSquaresModel):
    """A person's weight and glucose over months, read by scales and laboratory. A model without a stream: new facts mean a new calibration.

    Parameters
    ----------
    prior : population prior over twelve parameters.
    errors : relative standard deviations of HbA1c, weight, fasting and mean glucose about the path.
    integrator : how a day is crossed; one Runge-Kutta step errs by five grams on the first day of a change of 500 kcal, by less than a tenth of one after ten.
    """

    prior: Prior = eqx.field(default_factory=person_prior)
    errors: Float[Array, " output"] = eqx.field(
        default_factory=lambda: jnp.asarray([fixed(f"{name}_error") for name in ("hba1c", "weight", "fasting", "mean")])
    )
    integrator: AbstractIntegrator = eqx.field(static=True, default=RK4())
    id: str = eqx.field(static=True, default="metabolic-slow")
    version: str = eqx.field(static=True, default="0.1.0")
    outputs: tuple[Output, ...] = eqx.field(
        static=True,
        default=(
            Output("hba1c", "loinc:4548-4", "%"),
            Output("weight", "loinc:29463-7", "kg"),
            Output("fasting_glucose", "loinc:1558-6", "mg/dL"),
            Output("mean_glucose", "loinc:97507-8", "mg/dL"),
        ),
    )
    channels: tuple[Channel, ...] = eqx.field(
        static=True,
        default=(Channel("energy", "kcal"), Channel("activity", "d"), Channel("insulin", "[iU]"), *(Channel(name, "d") for name in DRUGS)),
    )
    minutes: float = eqx.field(static=True, default=1440.0)

    def observe(self, record, now, *, epoch=None):
        """Read weighings, HbA1c, glucose and drugs (see :mod:`gemel.twins.metabolic.slow.observe`)."""
        return observe.observe(self, record, now, epoch=epoch)

    def context(self, leaves):
        """Rebuild the :class:`gemel.twins.metabolic.slow.observe.Person`."""
        return observe.Person(*leaves)

    def domain(self, record, now):
        """Abstain where the room is not validated."""
        return observe.domain(record, now)

    def path(self, params: dict[str, Array], plan: Plan, context: observe.Person) -> tuple[SlowPath, Array]:
        """Return the path at the end of every day of the context, and the weight (kg) from which it starts.

        The person was in balance before the first day, with the drugs of that day: their energy is counted against it.
        """
        n = context.day.shape[0]
        rates = plan.rates(0.0, 1.0, n, len(self.channels))
        shares = rates[:, _FIRST_DRUG:]
        insulin = rates[:, CHANNEL["insulin"]]
        by_drug = (shares - shares[0]) @ jnp.asarray([d.energy for d in DRUGS.values()]) + (insulin - insulin[0]) * fixed("insulin_energy")
        energy = params["energy_offset"] + rates[:, CHANNEL["energy"]] + by_drug
        start = context.weight * params["start"]
        body = balanced(start, context.height, context.age, context.is_male, params["activity"])
        drive = (energy, jnp.zeros(n), rates[:, CHANNEL["activity"]])
        states = integrate(
            derivative, SlowState(resting(body), jnp.zeros_like(start)), drive, (body, params, context.duration), integrator=self.integrator
        )
        weighed = jax.vmap(lambda s: weight(s, body))(states.body)
        found = course(params, 1.0 - weighed / start, states.recovered, shares, insulin)
        mean = params["excess"] * found.fasting
        hba1c = params["glycation"] * kinetic(mean, mean[0])
        return SlowPath(weighed, found.sensitivity, found.function, found.fasting, mean, hba1c), start

    def simulate(self, params, plan, times, context, *, key):
        """Predict HbA1c, weight, fasting and mean glucose; beyond the days of the context there is no number."""
        del key
        found, start = self.path(params, plan, context)
        columns = ((found.hba1c, found.hba1c[0]), (found.weight, start), (found.fasting, found.fasting[0]), (found.mean, found.mean[0]))
        day = jnp.arange(context.day.shape[0] + 1.0)
        rows = jnp.stack([jnp.interp(times, day, jnp.concatenate([first[None], values])) for values, first in columns], axis=1)
        return jnp.where((times <= day[-1])[:, None], rows, jnp.nan)

    def residual(self, params, plan, data, context):
        """Return observed against predicted in relative errors of measurement."""
        path = self.simulate(params, plan, jnp.clip(data.time, 0.0, context.day.shape[0]), context, key=None)
        predicted = jnp.take_along_axis(path, data.channel[:, None], axis=1)[:, 0]
        error = jnp.log(jnp.where(data.mask, data.value, 1.0)) - jnp.log(jnp.where(data.mask, predicted, 1.0))
        return jnp.where(data.mask, error / self.errors[data.channel], 0.0)

    def log_likelihood(self, params, plan, data, context):
        """Log-normal log likelihood."""
        residual = self.residual(params, plan, data, context)
        constant = -jnp.log(self.errors[data.channel]) - jnp.log(jnp.where(data.mask, data.value, 1.0)) - 0.5 * jnp.log(2 * jnp.pi)
        return -0.5 * jnp.sum(residual**2) + masked_sum(constant, data.mask)

    def measure(self, params, output, *, key):
        """Add the relative error of each measurement."""
        del params
        return output * jnp.exp(self.errors * jax.random.normal(key, output.shape))


def model(**settings: Any) -> SlowModel:
    """Return the room's model."""
    return SlowModel(**settings)
