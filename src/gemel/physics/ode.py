"""Ordinary differential equations: fixed steps in ``lax.scan`` for smooth right-hand sides with piecewise-constant inputs, diffrax for the rest.

One interface for both: a right-hand side ``f(time, state, inputs, parameters) -> derivative`` whose state is any pytree of arrays,
and inputs that are constant over each step. Everything here is pure, can be vmapped, and differentiated in either mode (fixed steps).
"""

from __future__ import annotations

import abc
import functools
import types
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

__all__ = ["RK4", "AbstractIntegrator", "Adaptive", "BackwardEuler", "RightHandSide", "integrate", "rk4_step"]

RightHandSide = Callable[[Float[Array, ""], PyTree, Any, Any], PyTree]
"""``f(time, state, inputs, parameters) -> derivative of the state``."""


def _axpy(scale: Any, x: PyTree, y: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: a * scale + b, x, y)


def rk4_step(
    f: RightHandSide, time: Float[Array, ""], state: PyTree, inputs: Any, parameters: Any, step: Float[Array, ""] | float
) -> PyTree:
    """Advance one step by the classical fourth-order Runge-Kutta method.

    References
    ----------
    Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I, table II.1.2.
    """
    k1 = f(time, state, inputs, parameters)
    k2 = f(time + step / 2, _axpy(step / 2, k1, state), inputs, parameters)
    k3 = f(time + step / 2, _axpy(step / 2, k2, state), inputs, parameters)
    k4 = f(time + step, _axpy(step, k3, state), inputs, parameters)
    return jax.tree.map(lambda x, a, b, c, d: x + step / 6 * (a + 2 * b + 2 * c + d), state, k1, k2, k3, k4)


@functools.lru_cache(maxsize=64)
def _shared(f: RightHandSide) -> Callable[..., PyTree]:
    """Return :func:`rk4_step` of one right-hand side as a function of its own in the traced program.

    JAX then traces, differentiates and batches the right-hand side once and not eight times a slot: a sixth of the time to trace, the same
    compiled code (calls are inlined by the compiler) and the same numbers.
    """
    once = jax.jit(f)

    @jax.jit
    def step(time, state, inputs, parameters, length):
        return rk4_step(once, time, state, inputs, parameters, length)

    return step


def _step(f: RightHandSide) -> Callable[..., PyTree]:
    """Return one step of ``f``; only module-level functions are shared, what they compute cannot depend on a trace around them."""
    if isinstance(f, types.FunctionType) and f.__closure__ is None and f.__name__ != "<lambda>":
        return _shared(f)
    return lambda *rest: rk4_step(f, *rest)


class AbstractIntegrator(eqx.Module):
    """Carries a state over one interval on which the inputs are constant."""

    @abc.abstractmethod
    def advance(self, f: RightHandSide, time: Float[Array, ""], state: PyTree, inputs: Any, parameters: Any, length: float) -> PyTree:
        """Return the state after ``length``. A failed solve gives states that are not finite, never a wrong number."""


class RK4(AbstractIntegrator):
    """Classical Runge-Kutta with a fixed number of substeps per interval. Order 4."""

    substeps: int = eqx.field(static=True, default=1)

    def advance(self, f, time, state, inputs, parameters, length):
        """Take ``substeps`` equal steps."""
        step, once = length / self.substeps, _step(f)
        if self.substeps == 1:
            return once(time, state, inputs, parameters, step)

        def body(i, x):
            return once(time + i * step, x, inputs, parameters, step)

        if self.substeps <= 4:  # unrolled: cheaper to run and as cheap to compile
            for i in range(self.substeps):
                state = body(i, state)
            return state
        return jax.lax.scan(lambda x, i: (body(i, x), None), state, jnp.arange(self.substeps))[0]


class BackwardEuler(AbstractIntegrator):
    """Implicit Euler with a fixed number of substeps, solved by Newton's method. Order 1, for stiff systems and for comparison with peers that use it."""

    substeps: int = eqx.field(static=True, default=1)
    newton: int = eqx.field(static=True, default=4)

    def advance(self, f, time, state, inputs, parameters, length):
        """Take ``substeps`` equal steps, each with ``newton`` iterations from the last state."""
        step = length / self.substeps
        flat, unravel = ravel_pytree(state)

        def one(x, i):
            end = time + (i + 1) * step

            def residual(y):
                return y - x - step * ravel_pytree(f(end, unravel(y), inputs, parameters))[0]

            def iterate(_, y):
                return y - jnp.linalg.solve(jax.jacfwd(residual)(y), residual(y))

            return jax.lax.fori_loop(0, self.newton, iterate, x), None

        return unravel(jax.lax.scan(one, flat, jnp.arange(self.substeps))[0])


class Adaptive(AbstractIntegrator):
    """An adaptive diffrax solver, for stiff or event-driven systems and for reference solutions.

    Errors become NaN (``throw=False``, ``EQX_ON_ERROR=nan``): status and finiteness are checked at the boundary.
    """

    solver: diffrax.AbstractSolver = diffrax.Tsit5()
    rtol: float = eqx.field(static=True, default=1e-8)
    atol: float = eqx.field(static=True, default=1e-10)
    max_steps: int = eqx.field(static=True, default=4096)

    def advance(self, f, time, state, inputs, parameters, length):
        """Solve over the interval; a solve that fails returns NaN."""
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: f(t, y, args[0], args[1])), self.solver, t0=time, t1=time + length, dt0=length / 16, y0=state,
            args=(inputs, parameters), stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol), max_steps=self.max_steps, throw=False,
        )  # fmt: skip
        good = solution.result == diffrax.RESULTS.successful
        return jax.tree.map(lambda y: jnp.where(good, y[-1], jnp.nan), solution.ys)


def integrate(
    f: RightHandSide, state: PyTree, inputs: PyTree, parameters: Any, *, start: float = 0.0, step: float = 1.0, integrator: AbstractIntegrator | None = None,
    every: int = 1,
) -> PyTree:  # fmt: skip
    """Integrate over a uniform grid of inputs that are constant on each step.

    Parameters
    ----------
    f : right-hand side.
    state : initial state, any pytree.
    inputs : pytree of arrays with leading axis ``n``: the input on ``[start + k step, start + (k + 1) step)``.
    parameters : passed to ``f``.
    start, step : in the time unit of the model.
    integrator : default one RK4 step per grid step.
    every : keep every so-manieth state; must divide ``n``.

    Returns
    -------
    The state at ``start + every * step * (1, 2, ...)``, leading axis ``n / every``; the initial state is not repeated.
    """
    solver = RK4() if integrator is None else integrator
    n = jax.tree.leaves(inputs)[0].shape[0]
    grouped = jax.tree.map(lambda u: u.reshape(n // every, every, *u.shape[1:]), inputs)

    def outer(x, block):
        index, us = block

        def inner(y, item):
            j, u = item
            return solver.advance(f, start + (index * every + j) * step, y, u, parameters, step), None

        if every == 1:
            x = inner(x, (0, jax.tree.map(lambda u: u[0], us)))[0]
        else:
            x = jax.lax.scan(inner, x, (jnp.arange(every), us))[0]
        return x, x

    return jax.lax.scan(outer, state, (jnp.arange(n // every), grouped))[1]
