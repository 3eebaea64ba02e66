"""Warm-up of Hamiltonian Monte Carlo: Stan's windows, one step size and one metric for all chains."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

__all__ = ["Chains", "adapt", "schedule"]

_GAMMA, _DELAY, _KAPPA = 0.05, 10.0, 0.75  # Hoffman and Gelman 2014, JMLR 15, section 3.2.1


class Chains(eqx.Module):
    """What passes from one iteration to the next: chains side by side, step size and metric in common."""

    position: Float[Array, "chain parameter"]
    log_density: Float[Array, " chain"]
    gradient: Float[Array, "chain parameter"]
    log_step: Float[Array, ""]
    log_step_mean: Float[Array, ""]
    error_mean: Float[Array, ""]
    centre: Float[Array, ""]
    updates: Int[Array, ""]
    inverse_mass: Float[Array, " *metric"]
    count: Int[Array, ""]
    mean: Float[Array, "chain parameter"]
    scatter: Float[Array, " chain *metric"]


def schedule(warmup: int) -> Bool[np.ndarray, "iteration 3"]:
    """Return Stan's warm-up windows as flags (iteration, [adapt the step, learn the metric, end of a window]).

    A fast start (15 %), slow windows of 25 doubling in length, a fast end (10 %).

    References
    ----------
    Stan reference manual, "HMC algorithm parameters", automatic parameter tuning.
    """
    flags = np.zeros((warmup, 3), bool)
    flags[:, 0] = True
    if warmup < 20:
        return flags
    first, last = (75, 50) if warmup >= 150 else (int(0.15 * warmup), int(0.1 * warmup))
    length, position, stop = 25, first, warmup - last
    while position < stop:
        length = min(length, stop - position)
        if position + length + 2 * length > stop:
            length = stop - position
        flags[position : position + length, 1] = True
        flags[position + length - 1, 2] = True
        position += length
        length *= 2
    return flags


def adapt(c: Chains, flags: Array, acceptance: Array, accept_goal: Array) -> Chains:
    """Adapt step size (dual averaging on the mean acceptance of all chains) and metric (scatter within chains, pooled)."""
    step_on, metric_on, window_end = flags
    updates = c.updates + 1
    error = jnp.mean(jnp.where(jnp.isfinite(acceptance), acceptance, 0.0))
    eta = 1 / (updates + _DELAY)
    error_mean = (1 - eta) * c.error_mean + eta * (accept_goal - error)
    log_step = c.centre - jnp.sqrt(updates) / _GAMMA * error_mean
    weight = updates**-_KAPPA
    log_step_mean = weight * log_step + (1 - weight) * c.log_step_mean

    count = c.count + 1
    before = c.position - c.mean
    mean = c.mean + before / count
    after = c.position - mean
    dense = c.inverse_mass.ndim == 2
    scatter = c.scatter + (before[:, :, None] * after[:, None, :] if dense else before * after)

    pooled = scatter.sum(axis=0)
    freedom = jnp.maximum(c.position.shape[0] * (count - 1), 1)
    prior = jnp.eye(c.inverse_mass.shape[0]) if dense else jnp.ones_like(c.inverse_mass)
    metric = pooled / freedom * (freedom / (freedom + 5.0)) + 1e-3 * (5.0 / (freedom + 5.0)) * prior

    def choose(flag, new, old):
        return jnp.where(flag, new, old)

    renewed = choose(window_end, log_step_mean, log_step)
    return Chains(
        c.position,
        c.log_density,
        c.gradient,
        choose(step_on, renewed, c.log_step),
        choose(step_on & ~window_end, log_step_mean, choose(window_end, 0.0, c.log_step_mean)),
        choose(window_end, 0.0, choose(step_on, error_mean, c.error_mean)),
        choose(window_end, jnp.log(10.0) + log_step_mean, c.centre),
        choose(window_end, 0, choose(step_on, updates, c.updates)),
        choose(window_end, metric, c.inverse_mass),
        choose(window_end, 0, choose(metric_on, count, c.count)),
        choose(window_end, 0.0, choose(metric_on, mean, c.mean)),
        choose(window_end, 0.0, choose(metric_on, scatter, c.scatter)),
    )
