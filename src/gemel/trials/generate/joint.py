"""The joint model of T1 in JAX: what networks of the baseline say of the dynamics, and the log likelihood of one patient.

Every variable has a level and a slope and is read on the scale of its pooled normal scores: a value where the instrument has many steps, an interval where it has few
(ordinal, binary) or is at its floor (zero-inflated). Leaving and the event are readings too: a hazard that shares the levels. The networks give where a patient
starts, how the levels drift, and the pace at which time passes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gemel.engine.state_space import Belief, Dynamics, Reading, carry, read_all
from gemel.trials.generate.state_space import HAZARDS

__all__ = ["Rows", "beliefs", "dynamics_of", "initial", "log_likelihood", "start_of"]

Parameters = dict[str, Array]
Rows = dict[str, Array]
"""``x`` (patient, input), ``low``, ``high``, ``mask`` (patient, visit, variable + hazard)."""


def initial(
    inputs: int, between: Float[Array, "level level"], within: Float[Array, " level"], hidden: int, *, key: PRNGKeyArray
) -> Parameters:
    """Return parameters to begin with: slow reversion, networks near zero.

    Parameters
    ----------
    between : covariance of the scores between people.
    within : variance within people.
    """
    levels = len(within)
    keys = [jax.random.fold_in(key, i) for i in range(3)]
    out = 2 * levels + 1
    factor = jnp.diag(jnp.full(2 * levels, 0.3)).at[:levels, :levels].set(jnp.linalg.cholesky(between))
    return {
        "in": jax.random.normal(keys[0], (hidden, inputs)) / jnp.sqrt(max(inputs, 1)),
        "in_bias": 0.1 * jax.random.normal(keys[1], (hidden,)),
        "out": 0.01 * jax.random.normal(keys[2], (out, hidden)),
        "straight": jnp.zeros((out, inputs)),
        "out_bias": jnp.zeros(out),
        "rate": jnp.full(levels, -1.5),
        "noise": jnp.diag(jnp.full(levels, -1.0)),
        "start": factor,
        "variance": jnp.log(within),
        "hazard": jnp.zeros((HAZARDS, 2)).at[:, 0].set(-1.5),
        "hazard_levels": jnp.zeros((HAZARDS, levels)),
        "hazard_inputs": jnp.zeros((HAZARDS, inputs)),
    }


def _networks(p: Parameters, x: Float[Array, " input"]) -> tuple[Array, Array, Array]:
    """Return start (level,), drift (level,) and pace."""
    k = p["rate"].shape[0]
    out = p["out"] @ jnp.tanh(p["in"] @ x + p["in_bias"]) + p["straight"] @ x + p["out_bias"]
    return out[:k], out[k : 2 * k], jnp.exp(jnp.clip(out[2 * k], -2.0, 2.0))


def _triangle(raw: Array) -> Array:
    """Lower triangle with a positive diagonal."""
    return jnp.tril(raw, -1) + jnp.diag(jnp.exp(jnp.diagonal(raw)))


def dynamics_of(p: Parameters, x: Float[Array, " input"]) -> tuple[Dynamics, Float[Array, ""]]:
    """Return a patient's dynamics per unit of their own time, and the pace at which it passes."""
    _, drift, pace = _networks(p, x)
    factor = _triangle(p["noise"])
    return Dynamics(jnp.exp(p["rate"]) + 1e-4, drift, factor @ factor.T), pace


def start_of(p: Parameters, x: Float[Array, " input"]) -> Belief:
    """Return what is believed of levels and slopes before the first reading."""
    start, _, _ = _networks(p, x)
    factor = jnp.tril(p["start"])
    return Belief(jnp.concatenate([start, jnp.zeros_like(start)]), factor @ factor.T + 1e-6 * jnp.eye(2 * len(start)))


def reading_of(p: Parameters, x: Array, time: Array, low: Array, high: Array, mask: Array) -> Reading:
    """Return the readings of one visit: every variable, then the hazards."""
    k = p["rate"].shape[0]
    offset = p["hazard"][:, 0] + p["hazard"][:, 1] * time + p["hazard_inputs"] @ x
    return Reading(
        jnp.concatenate([jnp.eye(k), p["hazard_levels"]]),
        jnp.concatenate([jnp.zeros(k), offset]),
        jnp.concatenate([jnp.exp(p["variance"]) + 1e-4, jnp.ones(HAZARDS)]),
        low,
        high,
        mask,
    )


def _filtered(p: Parameters, x: Array, times: Array, low: Array, high: Array, mask: Array) -> tuple[Belief, Array]:
    dynamics, pace = dynamics_of(p, x)

    def step(belief: Belief, item: Any):
        gap, time, lo, hi, known = item
        belief = carry(belief, dynamics, pace * gap)
        belief, log = read_all(belief, reading_of(p, x, time, lo, hi, known))
        return belief, log

    gaps = jnp.diff(times, prepend=times[:1])
    last, logs = jax.lax.scan(step, start_of(p, x), (gaps, times, low, high, mask))
    return last, jnp.sum(logs)


def log_likelihood(p: Parameters, times: Float[Array, " visit"], rows: Rows) -> Float[Array, " patient"]:
    """Return each patient's log likelihood: exact for values; intervals by assumed density."""
    return jax.vmap(lambda x, lo, hi, m: _filtered(p, x, times, lo, hi, m)[1])(rows["x"], rows["low"], rows["high"], rows["mask"])


def beliefs(p: Parameters, times: Float[Array, " visit"], rows: Rows) -> Belief:
    """Return each patient's belief at the last of the times given."""
    return jax.vmap(lambda x, lo, hi, m: _filtered(p, x, times, lo, hi, m)[0])(rows["x"], rows["low"], rows["high"], rows["mask"])
