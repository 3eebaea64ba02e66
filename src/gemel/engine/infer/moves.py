"""Moves of an ensemble by differential evolution: each half moves along differences of the other, and the target decides.

The moves leave the target as it is, whatever the ensemble: draws that came from importance weights lose what the weights got wrong, tails that
no proposal had reached first of all.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gemel.engine.infer.base import AbstractTarget

__all__ = ["evolve"]

_JUMP = 0.1  # share of moves by a whole difference: from one mode to another
_JITTER = 1e-4  # of the difference: the moves then reach every point


def _log_density(target: AbstractTarget, z: Float[Array, "draw parameter"]) -> Float[Array, " draw"]:
    return jax.vmap(lambda x: target.log_prior(x) + target.log_likelihood(x))(z)


def evolve(
    target: AbstractTarget, draws: Float[Array, "draw parameter"], key_data: Array, steps: Array
) -> tuple[Float[Array, "draw parameter"], Float[Array, ""]]:
    """Move every draw ``steps`` times.

    Parameters
    ----------
    target : of one patient; made to be mapped over patients.
    draws : an even number, more than twice the number of parameters.
    key_data : of a key, as plain numbers.
    steps : how often both halves move.

    Returns
    -------
    The draws, and the share of accepted moves.

    References
    ----------
    ter Braak 2006, doi:10.1007/s11222-006-8769-1 (moves, factor 2.38/sqrt(2d), jumps). Two halves in turn, as in Foreman-Mackey et al. 2013,
    doi:10.1086/670067, section 3, so that all of a half move at once.
    """
    key, (n, d) = jax.random.wrap_key_data(key_data), draws.shape
    half = n // 2

    def move(mine, value, others, key):
        pair, jump, factor, jitter, chance = (jax.random.fold_in(key, i) for i in range(5))
        first = jax.random.randint(pair, (half,), 0, half)
        second = (first + jax.random.randint(jax.random.fold_in(pair, 1), (half,), 1, half)) % half
        difference = others[first] - others[second]
        scale = 2.38 / jnp.sqrt(2.0 * d) * jax.random.uniform(factor, (half, 1), minval=0.5, maxval=1.2)
        scale = jnp.where(jax.random.uniform(jump, (half, 1)) < _JUMP, 1.0, scale)
        noise = _JITTER * jnp.std(others, axis=0) * jax.random.normal(jitter, mine.shape)
        tried = mine + scale * difference + noise
        new = _log_density(target, tried)
        taken = jnp.log(jax.random.uniform(chance, (half,))) < new - value  # not for what is not a number
        return jnp.where(taken[:, None], tried, mine), jnp.where(taken, new, value), taken.mean()

    def body(i, carry):
        a, b, value_a, value_b, accepted = carry
        one = jax.random.fold_in(key, i)
        a, value_a, share_a = move(a, value_a, b, jax.random.fold_in(one, 0))
        b, value_b, share_b = move(b, value_b, a, jax.random.fold_in(one, 1))
        return a, b, value_a, value_b, accepted + (share_a + share_b) / 2

    value = _log_density(target, draws)
    start = (draws[:half], draws[half:], value[:half], value[half:], jnp.zeros((), draws.dtype))
    a, b, _, _, accepted = jax.lax.fori_loop(0, steps, body, start)
    return jnp.concatenate([a, b]), accepted / steps
