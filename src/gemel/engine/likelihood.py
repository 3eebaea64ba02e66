"""Log densities per channel, with masks and detection limits. A masked datum adds exactly zero, to the value and to the gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln, log_ndtr
from jaxtyping import Array, Bool, Float, Int

__all__ = [
    "ar1_whiten",
    "bernoulli",
    "censored_normal",
    "lognormal",
    "masked_sum",
    "negative_binomial",
    "normal",
    "ordinal",
    "poisson",
    "student_t",
]

_HALF_LOG_2PI = 0.9189385332046727


def masked_sum(terms: Float[Array, "..."], mask: Bool[Array, "..."]) -> Float[Array, ""]:
    """Sum where the mask is true; a masked term contributes exactly zero even if it is not finite."""
    return jnp.sum(jnp.where(mask, terms, 0.0))


def normal(y: Array, mean: Array, sd: Array | float) -> Array:
    """Normal log density."""
    return -0.5 * ((y - mean) / sd) ** 2 - jnp.log(sd) - _HALF_LOG_2PI


def lognormal(y: Array, log_mean: Array, sd: Array | float) -> Array:
    """Lognormal log density of ``y``, its Jacobian ``-log y`` included."""
    return normal(jnp.log(y), log_mean, sd) - jnp.log(y)


def student_t(y: Array, mean: Array, sd: Array | float, dof: float) -> Array:
    """Student-t log density with scale ``sd`` and ``dof`` >= 3 degrees of freedom."""
    z = (y - mean) / sd
    return gammaln((dof + 1) / 2) - gammaln(dof / 2) - 0.5 * jnp.log(dof * jnp.pi) - jnp.log(sd) - (dof + 1) / 2 * jnp.log1p(z**2 / dof)


def censored_normal(y: Array, mean: Array, sd: Array | float, censored: Int[Array, "..."]) -> Array:
    """Normal log density, or the log probability beyond a limit when ``censored`` is -1 (below ``y``) or +1 (above ``y``)."""
    z = (y - mean) / sd
    tail = log_ndtr(jnp.where(censored < 0, z, -z))
    return jnp.where(censored == 0, normal(y, mean, sd), tail)


def poisson(y: Array, rate: Array) -> Array:
    """Poisson log mass."""
    return y * jnp.log(rate) - rate - gammaln(y + 1)


def negative_binomial(y: Array, mean: Array, dispersion: Array | float) -> Array:
    """Negative-binomial log mass with variance ``mean + mean^2 / dispersion``."""
    p = mean / (mean + dispersion)
    return gammaln(y + dispersion) - gammaln(dispersion) - gammaln(y + 1) + dispersion * jnp.log1p(-p) + y * jnp.log(p)


def bernoulli(y: Array, logit: Array) -> Array:
    """Bernoulli log mass from a logit."""
    return jnp.where(y > 0, jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit))


def ordinal(y: Int[Array, "..."], logit: Array, cuts: Float[Array, " cut"]) -> Array:
    """Cumulative-logit log mass of grade ``y`` in 0..n given increasing cut points."""
    upper = jnp.concatenate([cuts, jnp.array([jnp.inf])])
    lower = jnp.concatenate([jnp.array([-jnp.inf]), cuts])
    return jnp.log(jax.nn.sigmoid(upper[y] - logit) - jax.nn.sigmoid(lower[y] - logit))


def ar1_whiten(
    error: Float[Array, " datum"],
    time: Float[Array, " datum"],
    mask: Bool[Array, " datum"],
    *,
    sd: Array | float,
    persistence: Array | float,
    nugget: Array | float,
) -> tuple[Float[Array, " datum"], Float[Array, ""]]:
    """Whiten errors that are an Ornstein-Uhlenbeck process plus white noise, exactly, by a scalar Kalman filter.

    Parameters
    ----------
    error : observed minus predicted, in order of time; masked entries are skipped.
    time : in any unit; ``persistence`` is the correlation time in the same unit.
    sd : stationary standard deviation of the process; ``nugget`` that of the white noise.

    Returns
    -------
    Whitened residual (masked entries exactly zero), and minus the sum of the logs of the innovation standard deviations,
    so that the log likelihood is ``-|r|^2/2 + second - n log(2 pi)/2``.
    """
    time_before = jnp.concatenate([time[:1], time[:-1]])

    def step(carry, item):
        mean, variance = carry
        e, gap, use = item
        phi = jnp.exp(-gap / persistence)
        mean, variance = phi * mean, phi**2 * variance + (1 - phi**2) * sd**2
        total = variance + nugget**2
        safe = jnp.where(use, e, 0.0)
        r = jnp.where(use, (safe - mean) / jnp.sqrt(total), 0.0)
        gain = jnp.where(use, variance / total, 0.0)
        return (mean + gain * (safe - mean), (1 - gain) * variance), (r, jnp.where(use, -0.5 * jnp.log(total), 0.0))

    start = (jnp.zeros(()), jnp.asarray(sd, float) ** 2)
    _, (residual, log_scale) = jax.lax.scan(step, start, (error, time - time_before, mask))
    return residual, jnp.sum(log_scale)
