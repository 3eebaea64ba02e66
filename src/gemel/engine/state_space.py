"""Levels that revert and slopes that stay: a linear-Gaussian state space in continuous time, read one number at a time.

    d level = (slope + drift - rate * level) dt + noise,      d slope = 0

Levels and slopes are jointly Gaussian at the start; the noise of the levels may be correlated. The law after any time is exact, so that two steps are one step of their
sum and a visit that was missed changes nothing. A reading is ``loading . level + offset + error``; what is known of it may be its value, or only an interval in which it
lies (a category, a floor, something that has or has not happened). A value conditions exactly (Kalman); after an interval the state is no longer Gaussian, and keeps its exact mean
and covariance (assumed density, Maybeck 1982, ch. 12): the likelihood of several intervals is then an approximation.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float

__all__ = ["Belief", "Dynamics", "Reading", "carry", "read", "read_all"]

_FAR = 8.0
"""An interval's end further than this from the expected reading, in standard deviations, is as good as infinite."""


class Belief(eqx.Module):
    """Mean and covariance of levels and slopes, in that order."""

    mean: Float[Array, " state"]
    covariance: Float[Array, "state state"]


class Dynamics(eqx.Module):
    """How levels move.

    Parameters
    ----------
    rate : (level,) of reversion, per unit of time; positive, however small.
    drift : (level,) per unit of time, beside each slope.
    noise : (level, level) covariance that the levels gain per unit of time.
    """

    rate: Float[Array, " level"]
    drift: Float[Array, " level"]
    noise: Float[Array, "level level"]


class Reading(eqx.Module):
    """Numbers read at one time, independent given the levels.

    Parameters
    ----------
    loading : (reading, level).
    offset, variance : (reading,) of the error.
    low, high : (reading,) limits of what is known; equal where the value is. Infinite ends are allowed.
    mask : (reading,) whether anything is known.
    """

    loading: Float[Array, "reading level"]
    offset: Float[Array, " reading"]
    variance: Float[Array, " reading"]
    low: Float[Array, " reading"]
    high: Float[Array, " reading"]
    mask: Bool[Array, " reading"]


def carry(belief: Belief, dynamics: Dynamics, time: Float[Array, ""]) -> Belief:
    """Move a belief on by a time: ``F m + b`` and ``F P F' + Q`` with ``Q_ij = noise_ij (1 - a_i a_j) / (rate_i + rate_j)``."""
    k = dynamics.rate.shape[0]
    stay = jnp.exp(-dynamics.rate * time)
    gain = -jnp.expm1(-dynamics.rate * time) / dynamics.rate
    level, slope = belief.mean[:k], belief.mean[k:]
    mean = jnp.concatenate([stay * level + gain * (slope + dynamics.drift), slope])
    move = jnp.block([[jnp.diag(stay), jnp.diag(gain)], [jnp.zeros((k, k)), jnp.eye(k)]])
    both = dynamics.rate[:, None] + dynamics.rate[None, :]
    gained = dynamics.noise * -jnp.expm1(-both * time) / both
    covariance = move @ belief.covariance @ move.T
    return Belief(mean, covariance.at[:k, :k].add(gained))


def _between(low: Array, high: Array) -> tuple[Array, Array, Array]:
    """Log mass, mean and variance of a standard normal between two limits; smooth, and finite where the interval is all but impossible."""
    low, high = jnp.clip(low, -_FAR, _FAR), jnp.clip(high, -_FAR, _FAR)
    flip = low + high > 0  # work in the lower tail, where the distribution function keeps its digits
    a, b = jnp.where(flip, -high, low), jnp.where(flip, -low, high)
    mass = jnp.maximum(ndtr(b) - ndtr(a), 1e-16)
    at_a, at_b = (jnp.exp(-0.5 * x**2) / jnp.sqrt(2 * jnp.pi) for x in (a, b))
    mean = jnp.clip((at_a - at_b) / mass, a, b)
    variance = jnp.clip(1.0 + (a * at_a - b * at_b) / mass - mean**2, 1e-6, 1.0)
    return jnp.log(mass), jnp.where(flip, -mean, mean), variance


def read(
    belief: Belief, loading: Array, offset: Array, variance: Array, low: Array, high: Array, mask: Array
) -> tuple[Belief, Float[Array, ""]]:
    """Condition on one reading.

    Returns
    -------
    The belief after it, and the log density of the value or the log probability of the interval; unchanged and 0 where masked.
    """
    k = loading.shape[0]
    along = belief.covariance[:, :k] @ loading
    total = loading @ along[:k] + variance
    expected, sd = loading @ belief.mean[:k] + offset, jnp.sqrt(total)
    is_value = low == high
    value = jnp.where(is_value & mask, low, expected)
    white = (value - expected) / sd
    open_low, open_high = (is_value | ~mask | ~jnp.isfinite(end) for end in (low, high))
    a = jnp.where(open_low, -_FAR, (jnp.where(open_low, 0.0, low) - expected) / sd)
    b = jnp.where(open_high, _FAR, (jnp.where(open_high, 0.0, high) - expected) / sd)
    log_mass, centre, spread = _between(a, b)
    shift = jnp.where(is_value, white, centre)
    shrink = jnp.where(is_value, 1.0, 1.0 - spread)
    gain = along / sd
    log = jnp.where(is_value, -0.5 * white**2 - 0.5 * jnp.log(2 * jnp.pi * total), log_mass)
    keep = jnp.where(mask, 1.0, 0.0)
    after = Belief(belief.mean + keep * gain * shift, belief.covariance - keep * shrink * jnp.outer(gain, gain))
    return after, keep * log


def read_all(belief: Belief, reading: Reading) -> tuple[Belief, Float[Array, ""]]:
    """Condition on the readings of one time, one after the other; exact in any order where all are values."""

    def step(state, item):
        return read(state, item.loading, item.offset, item.variance, item.low, item.high, item.mask)

    after, logs = jax.lax.scan(step, belief, reading)
    return after, jnp.sum(logs)
