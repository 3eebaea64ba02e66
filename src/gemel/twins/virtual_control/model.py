"""One control patient: a straight line, a deviation from it that fades and is renewed, and readings with error.

    score(t) = level + slope t + deviation(t),      d deviation = -rate deviation dt + noise,      reading = score + error

A linear-Gaussian state space in continuous time (:mod:`gemel.engine.state_space`). The deviation before the last visit is integrated out exactly, backwards in time from
its value there, which is a parameter: a stationary deviation runs backwards as it runs forwards. Posterior and forecast are Gaussian and known in closed form.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gemel.engine.likelihood import masked_sum, normal
from gemel.engine.model import AbstractLeastSquaresModel, Observed, Output
from gemel.engine.plan import Channel
from gemel.engine.prior import Prior
from gemel.engine.state_space import Belief, Dynamics, carry, read
from gemel.twins.virtual_control import observe
from gemel.twins.virtual_control.priors import NOISE, RATE, SPREAD, YEAR, control_prior

__all__ = ["ControlModel", "exact_posterior"]


class ControlModel(AbstractLeastSquaresModel):
    """ADAS-Cog of a patient under control.

    Parameters
    ----------
    prior : of level, slope and deviation.
    noise, spread : standard deviations of a reading and of the deviation, {score}.
    rate : at which the deviation fades, 1/d.
    """

    prior: Prior = eqx.field(default_factory=control_prior)
    noise: Array | float = eqx.field(default_factory=lambda: jnp.asarray(NOISE))
    spread: Array | float = eqx.field(default_factory=lambda: jnp.asarray(SPREAD))
    rate: Array | float = eqx.field(default_factory=lambda: jnp.asarray(RATE))
    id: str = eqx.field(static=True, default="virtual-control")
    version: str = eqx.field(static=True, default="0.1.0")
    outputs: tuple[Output, ...] = eqx.field(static=True, default=(Output("score", "gemel:adas-cog", "{score}"),))
    channels: tuple[Channel, ...] = eqx.field(static=True, default=())
    minutes: float = eqx.field(static=True, default=1440.0)

    def observe(self, record, now, *, epoch=None):
        """Read the scores."""
        return observe.observe(record, now, epoch=epoch)

    def context(self, leaves):
        """Rebuild the anchor."""
        return observe.Anchor(*leaves)

    def domain(self, record, now):
        """Abstain without readings, with old ones, or beyond the scale."""
        return observe.domain(record, now)

    def _line(self, params: dict[str, Array], times: Float[Array, " time"]) -> Float[Array, " time"]:
        return params["level"] + params["slope"] / YEAR * times

    def simulate(self, params, plan, times, context, *, key):
        """Return the score without reading error: the line and one path of the deviation through its value at the anchor."""
        del plan
        away = jnp.exp(-self.rate * jnp.abs(times - context.time))
        between = jnp.exp(-self.rate * jnp.abs(times[:, None] - times[None, :]))
        rest = self.spread**2 * (between - away[:, None] * away[None, :] + 1e-9 * jnp.eye(times.shape[0]))
        path = params["deviation"] * away + jnp.linalg.cholesky(rest) @ jax.random.normal(key, times.shape)
        return (self._line(params, times) + path)[:, None]

    def _whitened(self, params, data, context) -> tuple[Float[Array, " datum"], Float[Array, " datum"]]:
        """Return whitened innovations, last reading first, and their standard deviations."""
        moves = Dynamics(jnp.reshape(self.rate, (1,)), jnp.zeros(1), jnp.reshape(2 * self.rate * self.spread**2, (1, 1)))
        line = self._line(params, data.time)

        def step(state, item):
            belief, now = state
            time, offset, value, mask = item
            belief = carry(belief, moves, jnp.maximum(now - time, 0.0))
            sd = jnp.sqrt(belief.covariance[0, 0] + self.noise**2)
            white = jnp.where(mask, (value - offset - belief.mean[0]) / sd, 0.0)
            after, _ = read(belief, jnp.ones(1), offset, jnp.asarray(self.noise**2), value, value, mask)
            return (after, jnp.where(mask, time, now)), (white, jnp.where(mask, sd, 1.0))

        start = Belief(jnp.stack([params["deviation"], jnp.zeros_like(params["deviation"])]), jnp.zeros((2, 2)))
        items = tuple(a[::-1] for a in (data.time, line, data.value, data.mask))
        _, (white, sd) = jax.lax.scan(step, (start, jnp.asarray(context.time, float)), items)
        return white, sd

    def residual(self, params, plan, data, context):
        """Return whitened innovations; masked ones zero."""
        del plan
        return self._whitened(params, data, context)[0][::-1]

    def log_likelihood(self, params, plan, data, context):
        """Normal log likelihood of all readings, the deviation integrated out."""
        del plan
        white, sd = self._whitened(params, data, context)
        return masked_sum(normal(white, 0.0, 1.0) - jnp.log(sd), data.mask[::-1])

    def measure(self, params, output, *, key):
        """Add the error of a reading."""
        del params
        return output + self.noise * jax.random.normal(key, output.shape)


def exact_posterior(model: ControlModel, observed: Observed) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the posterior from the dense joint normal of parameters and readings, which shares no code with the filter.

    Returns
    -------
    (parameter,) and (parameter, parameter), in the units of the parameters.
    """
    use = np.asarray(observed.data.mask)
    time, value = np.asarray(observed.data.time)[use], np.asarray(observed.data.value)[use]
    rate, spread, noise = float(model.rate), float(model.spread), float(model.noise)
    away = np.exp(-rate * np.abs(time - float(observed.context.time)))
    between = np.exp(-rate * np.abs(time[:, None] - time[None, :]))
    design = np.stack([np.ones_like(time), time / YEAR, away], axis=1)
    error = spread**2 * (between - np.outer(away, away)) + noise**2 * np.eye(len(time))
    prior, mean = np.asarray(model.prior.covariance), np.asarray(model.prior.mean)
    joint = design @ prior @ design.T + error
    gain = np.linalg.solve(joint, design @ prior).T
    return mean + gain @ (value - design @ mean), prior - gain @ design @ prior
