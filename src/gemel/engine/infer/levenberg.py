"""Levenberg-Marquardt for one lane of many: column-scaled, three dampings tried at once, one Jacobian per iteration.

Everything here is for a single start; ``lanes.py`` runs many of them under ``vmap``.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

__all__ = ["LevenbergMarquardt", "LevenbergState", "triangle", "value_and_jacobian"]

_TRIED = (0.125, 1.0, 8.0)  # dampings tried at once, as multiples of the current one
_LEAST, _MOST = 1e-9, 1e9  # beyond the larger one a lane has stalled


def value_and_jacobian(
    function: Callable[[Float[Array, " parameter"]], Float[Array, " datum"]], z: Float[Array, " parameter"]
) -> tuple[Float[Array, " datum"], Float[Array, "datum parameter"]]:
    """Return a function's value and its Jacobian by one forward-mode pass with all directions at once."""
    return jax.vmap(lambda direction: jax.jvp(function, (z,), (direction,)), out_axes=(None, 1))(jnp.eye(z.shape[0], dtype=z.dtype))


def triangle(table: Float[Array, "row column"]) -> Float[Array, "column column"]:
    """Return the triangular factor of a tall matrix by Householder reflections.

    As accurate as LAPACK's, and under ``vmap`` six times cheaper (128 matrices of 591 x 16: 8 against 46 CPU-ms): it works on all
    lanes at once where a LAPACK call takes them one by one. A column of zeros gives a row of zeros.

    References
    ----------
    Golub and Van Loan, Matrix Computations, algorithm 5.2.1.
    """
    row = jnp.arange(table.shape[0])

    def reflect(j, a):
        column = jnp.where(row >= j, a[:, j], 0.0)
        norm = jnp.sqrt(jnp.sum(column**2))
        v = column + jnp.where(row == j, jnp.where(a[j, j] < 0, -norm, norm), 0.0)
        length = v @ v
        weight = jnp.where(length > 0, 2.0, 0.0) / jnp.where(length > 0, length, 1.0)
        return a - v[:, None] * (weight * (v @ a))

    return jnp.triu(jax.lax.fori_loop(0, table.shape[1], reflect, table)[: table.shape[1]])


class LevenbergState(eqx.Module):
    """Where one lane stands. ``factor`` and ``projected`` are the triangle and the rotated residual of the Jacobian's QR decomposition."""

    z: Float[Array, " parameter"]
    value: Float[Array, ""]
    factor: Float[Array, "parameter parameter"]
    projected: Float[Array, " parameter"]
    scale: Float[Array, " parameter"]
    damping: Float[Array, ""]
    decrement: Float[Array, ""]
    iterations: Int[Array, ""]
    done: Bool[Array, ""]
    converged: Bool[Array, ""]


class LevenbergMarquardt(eqx.Module):
    """Minimise ``|r(z)|^2 / 2``.

    A lane has converged when a full Gauss-Newton step promises less than ``absolute + relative * value``. It stalls when even the strongest
    damping finds nothing lower. Near the floor of rounding, where values no longer differ, a step is also taken when it halves the promised
    gain.

    References
    ----------
    Moré 1978, doi:10.1007/BFb0067700 (scaling by the largest column norms seen so far).
    """

    absolute: float = eqx.field(static=True, default=1e-10)
    relative: float = eqx.field(static=True, default=0.0)
    damping: float = eqx.field(static=True, default=1e-2)

    def init(self, z: Float[Array, " parameter"]) -> LevenbergState:
        """Return the state of a lane that has not been evaluated yet."""
        n = z.shape[-1]
        shape = z.shape[:-1]
        big, zero = jnp.full(shape, jnp.inf), jnp.zeros((*shape, n))
        return LevenbergState(
            z,
            big,
            jnp.broadcast_to(jnp.eye(n), (*shape, n, n)),
            zero,
            zero,
            jnp.full(shape, self.damping),
            big,
            jnp.zeros(shape, int),
            jnp.zeros(shape, bool),
            jnp.zeros(shape, bool),
        )

    def step(self, residual: Callable[[Float[Array, " parameter"]], Float[Array, " datum"]], s: LevenbergState) -> LevenbergState:
        """Make one iteration: three trial residuals, then value and Jacobian at the best of them."""
        n = s.z.shape[0]
        fresh = s.iterations == 0
        scale = jnp.where(s.scale > 0, s.scale, 1.0)
        left, singular, right = jnp.linalg.svd(s.factor / scale)
        coefficient = left.T @ s.projected
        tried = s.damping * jnp.asarray(_TRIED)
        moves = -(singular * coefficient / (singular**2 + tried[:, None])) @ right / scale
        trials = s.z + moves
        values = jax.vmap(lambda z: 0.5 * jnp.sum(jnp.square(residual(z))))(trials)
        best = jnp.argmin(jnp.where(jnp.isfinite(values), values, jnp.inf))
        z = jnp.where(fresh, s.z, trials[best])

        r, jacobian = value_and_jacobian(residual, z)
        value = 0.5 * jnp.sum(jnp.square(r))
        finite = jnp.isfinite(value) & jnp.isfinite(jacobian).all()
        table = jnp.where(finite, jnp.concatenate([jacobian, r[:, None]], axis=1), 0.0)
        reduced = triangle(table)
        factor, projected = reduced[:n, :n], reduced[:n, n]
        decrement = jnp.where(finite, 0.5 * jnp.sum(jnp.square(projected)), jnp.inf)

        lower = (value < s.value) | ((value < s.value * (1 + 1e-9)) & (decrement < 0.5 * s.decrement))
        taken = finite & lower
        damping = jnp.where(taken, jnp.where(fresh, s.damping, tried[best] / 4), s.damping * 64)
        iterations = s.iterations + 1
        decrement = jnp.where(taken, decrement, s.decrement)
        value = jnp.where(taken, value, s.value)
        converged = decrement <= self.absolute + self.relative * value
        norms = jnp.linalg.norm(table[:, :n], axis=0)
        return LevenbergState(
            jnp.where(taken, z, s.z),
            value,
            jnp.where(taken, factor, s.factor),
            jnp.where(taken, projected, s.projected),
            jnp.where(taken, jnp.maximum(s.scale, norms), s.scale),
            jnp.clip(damping, _LEAST, 1e3 * _MOST),
            decrement,
            iterations,
            converged | (damping > _MOST) | (fresh & ~finite),
            converged,
        )
