"""Two models with known answers: a straight line with the posterior in closed form, and a colony that grows and is killed."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gemel.engine.likelihood import masked_sum, normal
from gemel.engine.model import AbstractLeastSquaresModel, AbstractStateModel, Observed, Output
from gemel.engine.plan import Channel, Plan
from gemel.engine.prior import Prior
from gemel.physics.ode import RK4, AbstractIntegrator, integrate
from gemel.twins.toys import observe
from gemel.twins.toys.priors import CLEARANCE, COLONY_NOISE, PROCESS, SIGNAL_NOISE, growth_prior, linear_prior

__all__ = ["Colony", "GrowthModel", "LinearModel", "exact_posterior"]

_SHORTEST = 1.0 / 60.0


class LinearModel(AbstractLeastSquaresModel):
    """``signal = level + rhythm sin(2 pi clock / 24 h) + response * milligrams given so far``, read with noise of known size.

    Parameters
    ----------
    prior : Gaussian prior over level, rhythm and response.
    noise : standard deviation of a reading, [arb'U].
    """

    prior: Prior = eqx.field(default_factory=linear_prior)
    noise: Array | float = eqx.field(default_factory=lambda: jnp.asarray(SIGNAL_NOISE))
    id: str = eqx.field(static=True, default="toy-linear")
    version: str = eqx.field(static=True, default="0.1.0")
    outputs: tuple[Output, ...] = eqx.field(static=True, default=(Output("signal", "gemel:toy-signal", "[arb'U]"),))
    channels: tuple[Channel, ...] = eqx.field(static=True, default=(Channel("dose", "mg"),))
    minutes: float = eqx.field(static=True, default=60.0)

    def observe(self, record, now, *, epoch=None):
        """Read signal and doses."""
        return observe.observe_linear(record, now, epoch=epoch)

    def context(self, leaves):
        """Rebuild the clock."""
        return observe.Clock(*leaves)

    def domain(self, record, now):
        """Abstain where readings are few, old or out of range."""
        return observe.domain(record, now, low=-40.0, high=60.0)

    def given(self, plan: Plan, times: Float[Array, " time"]) -> Float[Array, " time"]:
        """Return the milligrams given up to each time (hours)."""
        share = jnp.clip((times[:, None] - plan.start) / jnp.maximum(plan.duration, _SHORTEST), 0.0, 1.0)
        return jnp.sum(share * jnp.where(plan.mask, plan.amount, 0.0), axis=1)

    def design(self, plan: Plan, times: Float[Array, " time"], context: observe.Clock) -> Float[Array, "time parameter"]:
        """Return the matrix that turns parameters into the signal."""
        clock = jnp.sin(2 * jnp.pi * (context.hour + times) / 24.0)
        return jnp.stack([jnp.ones_like(times), clock, self.given(plan, times)], axis=1)

    def simulate(self, params, plan, times, context, *, key):
        """Return the signal without noise."""
        del key
        return (self.design(plan, times, context) @ jnp.stack([params[n] for n in self.prior.names]))[:, None]

    def residual(self, params, plan, data, context):
        """Return observed less predicted in units of the noise."""
        predicted = self.design(plan, data.time, context) @ jnp.stack([params[n] for n in self.prior.names])
        return jnp.where(data.mask, (data.value - predicted) / self.noise, 0.0)

    def log_likelihood(self, params, plan, data, context):
        """Normal log likelihood."""
        return masked_sum(normal(self.residual(params, plan, data, context), 0.0, 1.0) - jnp.log(self.noise), data.mask)

    def measure(self, params, output, *, key):
        """Add the noise of a reading."""
        del params
        return output + self.noise * jax.random.normal(key, output.shape)


def exact_posterior(model: LinearModel, observed: Observed) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the linear toy's posterior, in closed form and without JAX's help.

    Returns
    -------
    (parameter,) and (parameter, parameter), in the units of the parameters.

    References
    ----------
    Normal equations with a Gaussian prior: ``S = (A'A/s^2 + P^-1)^-1``, ``m = S (A'y/s^2 + P^-1 m0)``.
    """
    use = np.asarray(observed.data.mask)
    design = np.asarray(model.design(observed.plan, observed.data.time, observed.context))[use]
    value, noise = np.asarray(observed.data.value)[use], float(model.noise)
    precision = np.linalg.inv(np.asarray(model.prior.covariance))
    covariance = np.linalg.inv(design.T @ design / noise**2 + precision)
    return covariance @ (design.T @ value / noise**2 + precision @ np.asarray(model.prior.mean)), covariance


class Colony(eqx.Module):
    """State: size of the colony ([arb'U]), drug present and drug cleared so far (mg)."""

    size: Array
    drug: Array
    cleared: Array


def derivative(time: Array, s: Colony, dose: Array, p: dict[str, Array]) -> Colony:
    """Logistic growth with a loss in proportion to the drug present; ``dose`` in mg/h."""
    del time
    growth = p["rate"] * s.size * (1.0 - s.size / p["capacity"])
    return Colony(growth - p["kill"] * s.drug * s.size, dose - CLEARANCE * s.drug, CLEARANCE * s.drug)


class GrowthModel(AbstractStateModel):
    """Logistic growth with a kill that depends on the dose; a state that a stream of readings keeps current.

    Parameters
    ----------
    prior : lognormal prior over rate, capacity, kill and start.
    noise : standard deviation of a reading, [arb'U].
    process : relative standard deviation per square root of an hour of what the equation leaves out, in streams.
    slot : length of a slot, hours.
    """

    prior: Prior = eqx.field(default_factory=growth_prior)
    noise: Array | float = eqx.field(default_factory=lambda: jnp.asarray(COLONY_NOISE))
    process: Array | float = eqx.field(default_factory=lambda: jnp.asarray(PROCESS))
    slot: float = eqx.field(static=True, default=0.5)
    integrator: AbstractIntegrator = eqx.field(static=True, default=RK4())
    id: str = eqx.field(static=True, default="toy-growth")
    version: str = eqx.field(static=True, default="0.1.0")
    outputs: tuple[Output, ...] = eqx.field(static=True, default=(Output("size", "gemel:toy-signal", "[arb'U]"),))
    channels: tuple[Channel, ...] = eqx.field(static=True, default=(Channel("dose", "mg"),))
    minutes: float = eqx.field(static=True, default=60.0)
    noise_size: int = eqx.field(static=True, default=1)
    lags: int = eqx.field(static=True, default=0)

    def observe(self, record, now, *, epoch=None):
        """Read sizes and doses."""
        return observe.observe_growth(self, record, now, epoch=epoch)

    def context(self, leaves):
        """Rebuild the grid."""
        return observe.Grid(*leaves)

    def domain(self, record, now):
        """Abstain where readings are few, old or out of range."""
        return observe.domain(record, now, low=0.0, high=250.0)

    def slots(self, record, now, *, epoch):
        """Put readings on slots and doses where they act."""
        return observe.slots(self, record, now, epoch=epoch)

    def slot_context(self, observed, start, count):
        """Return the end of each slot; the equation does not depend on it."""
        del observed
        return observe.Grid(self.slot * (start + np.arange(count, dtype=float)))

    def trajectory(self, params: dict[str, Array], plan: Plan, context: observe.Grid) -> Colony:
        """Return the state at the end of every slot."""
        rates = plan.rates(0.0, self.slot, context.end.shape[0], len(self.channels))[:, 0]
        zero = jnp.zeros_like(params["start"])
        return integrate(derivative, Colony(params["start"], zero, zero), rates, params, step=self.slot, integrator=self.integrator)

    def simulate(self, params, plan, times, context, *, key):
        """Return sizes without noise, linear between slots."""
        del key
        path = jnp.concatenate([params["start"][None], self.trajectory(params, plan, context).size])
        return jnp.interp(times, self.slot * jnp.arange(path.shape[0]), path)[:, None]

    def residual(self, params, plan, data, context):
        """Return observed less predicted in units of the noise."""
        path = jnp.concatenate([params["start"][None], self.trajectory(params, plan, context).size])
        index = jnp.clip(jnp.round(data.time / self.slot).astype(int), 0, path.shape[0] - 1)
        return jnp.where(data.mask, (data.value - path[index]) / self.noise, 0.0)

    def log_likelihood(self, params, plan, data, context):
        """Normal log likelihood."""
        return masked_sum(normal(self.residual(params, plan, data, context), 0.0, 1.0) - jnp.log(self.noise), data.mask)

    def measure(self, params, output, *, key):
        """Add the noise of a reading."""
        del params
        return output + self.noise * jax.random.normal(key, output.shape)

    def initial(self, params, value, noise):
        """Start at the first reading, spread by its noise, or at ``start`` when there is none; without drug."""
        known = jnp.isfinite(value[0])
        size = jnp.where(known, jnp.where(known, value[0], 1.0) + self.noise * noise[0], params["start"])
        zero = jnp.zeros_like(size)
        return Colony(jnp.maximum(size, 0.1), zero, zero)

    def advance(self, params, state, inputs, context, noise):
        """Carry one member over one slot, with a little that the equation leaves out."""
        del context
        moved = self.integrator.advance(derivative, jnp.zeros(()), state, inputs[-1, 0], params, self.slot)
        return eqx.tree_at(lambda s: s.size, moved, moved.size * jnp.exp(self.process * jnp.sqrt(self.slot) * noise[0]))

    def emit(self, params, state):
        """Return the size."""
        del params
        return state.size[None]

    def discrepancy(self, record, now):
        """Learn nothing beside the equations."""
        del record, now

    def correction(self, record, now, learnt):
        """Have nothing to say."""
        del record, now, learnt

    def learns(self):
        """Let readings move the size; the drug follows from the doses alone."""
        return np.array([1.0, 0.0, 0.0])

    def noise_sd(self, predicted):
        """Return the standard deviation of a reading: the same at every size."""
        return jnp.broadcast_to(jnp.asarray(self.noise), predicted.shape)
