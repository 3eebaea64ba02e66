"""BFGS for one lane of many: one value and gradient per iteration, whether the step is taken or shortened.

No inner line search: lanes under ``vmap`` would wait for the longest one.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

__all__ = ["QuasiNewton", "QuasiNewtonState"]


class QuasiNewtonState(eqx.Module):
    """Where one lane stands. ``inverse`` approximates the inverse Hessian, ``length`` is the fraction of the step to be tried next."""

    z: Float[Array, " parameter"]
    value: Float[Array, ""]
    gradient: Float[Array, " parameter"]
    inverse: Float[Array, "parameter parameter"]
    length: Float[Array, ""]
    decrement: Float[Array, ""]
    iterations: Int[Array, ""]
    updates: Int[Array, ""]
    done: Bool[Array, ""]
    converged: Bool[Array, ""]


class QuasiNewton(eqx.Module):
    """Minimise a smooth function by BFGS with its whole history (a dense inverse Hessian: meant for up to some hundred parameters).

    A step that meets the Armijo condition is taken; another is shortened and tried again in the next iteration.

    References
    ----------
    Nocedal and Wright 2006, doi:10.1007/978-0-387-40065-5, algorithm 6.1, eq. (6.17) and (6.20).
    """

    absolute: float = eqx.field(static=True, default=1e-10)

    def init(self, z: Float[Array, " parameter"]) -> QuasiNewtonState:
        """Return the state of a lane that has not been evaluated yet."""
        n, shape = z.shape[-1], z.shape[:-1]
        big = jnp.full(shape, jnp.inf)
        none = jnp.zeros(shape, int)
        no = jnp.zeros(shape, bool)
        identity = jnp.broadcast_to(jnp.eye(n), (*shape, n, n))
        return QuasiNewtonState(z, big, jnp.zeros((*shape, n)), identity, jnp.ones(shape), big, none, none, no, no)

    def step(self, function: Callable[[Float[Array, " parameter"]], Float[Array, ""]], s: QuasiNewtonState) -> QuasiNewtonState:
        """Make one iteration."""
        fresh = s.iterations == 0
        move = -s.length * (s.inverse @ s.gradient)
        z = jnp.where(fresh, s.z, s.z + move)
        value, gradient = jax.value_and_grad(function)(z)
        finite = jnp.isfinite(value) & jnp.isfinite(gradient).all()
        gradient = jnp.where(finite, gradient, 0.0)
        slope = s.gradient @ move
        # the last clause lets a lane finish where rounding hides the decrease
        small = (jnp.abs(value - s.value) <= 1e-12 * (1 + jnp.abs(s.value))) & (jnp.abs(gradient @ s.inverse @ gradient) < 2 * s.decrement)
        taken = finite & (fresh | (value <= s.value + 1e-4 * slope) | small)

        change = gradient - s.gradient
        curvature = change @ move
        good = taken & ~fresh & (curvature > 1e-12 * jnp.linalg.norm(change) * jnp.linalg.norm(move))
        safe = jnp.where(good, curvature, 1.0)
        start = jnp.where(s.updates == 0, safe / jnp.maximum(change @ change, 1e-300), 1.0) * s.inverse
        left = jnp.eye(z.shape[0]) - jnp.outer(move, change) / safe
        inverse = jnp.where(good, left @ start @ left.T + jnp.outer(move, move) / safe, s.inverse)

        stuck = ~taken & (s.length < 1e-8)
        reset = stuck & (s.updates > 0)  # one restart from steepest descent before giving up
        inverse = jnp.where(reset, jnp.eye(z.shape[0]), inverse)
        now = jnp.where(taken, gradient, s.gradient)
        first = jnp.minimum(1.0, 1.0 / jnp.maximum(jnp.linalg.norm(now), 1e-300))  # until curvature is known: a unit step at most
        unscaled = reset | fresh | (taken & ~good & (s.updates == 0))
        length = jnp.where(unscaled, first, jnp.where(taken, 1.0, s.length * 0.3))
        decrement = jnp.where(taken | reset, 0.5 * now @ inverse @ now, s.decrement)
        updates = jnp.where(reset, 0, s.updates + good)
        converged = (decrement <= self.absolute) & (updates > 0) | (taken & (jnp.linalg.norm(now) < 1e-13))
        return QuasiNewtonState(
            jnp.where(taken, z, s.z),
            jnp.where(taken, value, s.value),
            now,
            inverse,
            length,
            decrement,
            s.iterations + 1,
            updates,
            converged | (stuck & ~reset) | (fresh & ~finite),
            converged,
        )
