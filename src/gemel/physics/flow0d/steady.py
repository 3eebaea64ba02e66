"""Steady flow through a tree with quadratic losses: Newton's method, continuation in the losses, exact derivatives, and a status instead of a wrong number.

The unknown pressure is the *total* pressure. Friction and losses then have coefficients that are not negative, the problem is the minimum of a convex
function and has exactly one solution. Negative coefficients (networks whose elements were estimated have them) may leave none: the solver follows the
solution from zero losses to the given ones and says ``NO_SOLUTION`` where the curve ends.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gemel.physics.flow0d.base import FlowStatus, SteadyFlow
from gemel.physics.flow0d.elimination import children_sum, has_inertia_of_resistors, solve_linear_tree
from gemel.physics.flow0d.network import Network
from gemel.physics.flow0d.order import TreeOrder

__all__ = ["solve_steady"]

Columns = Float[Array, " branch"]
NEWTON_LIMIT = 40  # from the flow without losses each step at most halves the flow: 40 halvings span twelve orders of magnitude
CORRECTOR = 6  # Newton steps at each station of the continuation
CONTINUATION_LIMIT = 400  # stations, refused ones included
FIRST_STRIDE, LAST_STRIDE = 0.125, 1e-9  # as a share of the way from zero to the given losses


class _Problem(NamedTuple):
    """A network, made ready: occlusions have a finite placeholder for their resistance, padding is closed."""

    order: TreeOrder
    is_open: Bool[Array, " branch"]
    resistance: Columns
    quadratic: Columns
    conductance: Columns
    source: Columns
    root: Columns

    def linearised(self, flow: Columns, share: Array | float) -> tuple[Columns, Columns]:
        """Slope and offset of the pressure drop at a flow, with the losses taken at a share."""
        loss = share * self.quadratic * jnp.abs(flow)
        return self.resistance + 2.0 * loss, -loss * flow

    def newton(self, flow: Columns, share: Array | float) -> tuple[Columns, Columns]:
        """One linear solve: the next flow and pressure."""
        slope, offset = self.linearised(flow, share)
        return solve_linear_tree(self.order, self.is_open, slope, self.conductance, offset - self.root, self.source)

    def residual(self, flow: Columns, pressure: Columns, share: Array | float) -> Array:
        """Largest unbalanced pressure, Pa."""
        upstream = jnp.concatenate([pressure, jnp.zeros(1)])[self.order.parent] + self.root
        drop = (self.resistance + share * self.quadratic * jnp.abs(flow)) * flow
        return jnp.max(jnp.where(self.is_open, jnp.abs(upstream - pressure - drop), 0.0))


def _prepare(network: Network) -> tuple[_Problem, Array, Array]:
    real = network.is_real
    occluded = jnp.isposinf(network.resistance)
    is_open = real & ~occluded
    given = (network.quadratic, network.outlet_conductance, network.outlet_pressure, network.injection)
    finite = jnp.stack([jnp.where(real, x, 0.0) for x in given])
    is_valid = (
        jnp.isfinite(finite).all()
        & jnp.isfinite(network.root_pressure)
        & (jnp.where(is_open, network.resistance, 0.0) >= 0).all()
        & (finite[1] >= 0).all()
    )
    clean = jnp.where(jnp.isfinite(finite), finite, 0.0)
    at_root = (network.parent == network.size) & is_open
    problem = _Problem(
        order=network.order,
        is_open=is_open,
        resistance=jnp.where(is_open & ~jnp.isnan(network.resistance), jnp.where(occluded, 0.0, network.resistance), 0.0),
        quadratic=jnp.where(is_open, clean[0], 0.0),
        conductance=clean[1],
        source=clean[1] * clean[2] + clean[3],
        root=jnp.where(at_root, network.root_pressure, 0.0),
    )
    outlets = jnp.where(real & (clean[1] > 0), jnp.abs(network.root_pressure - clean[2]), 0.0)
    return problem, is_valid & ~jnp.isnan(jnp.where(real, network.resistance, 0.0)).any(), jnp.max(outlets)


class _Walk(NamedTuple):
    share: Array
    stride: Array
    flow: Array
    count: Array


def _continue(problem: _Problem, start: Columns, scale: Array, tolerance: float, is_needed: Array) -> _Walk:
    """Follow the solution from zero losses to the given ones; a station counts only if it is a solution and no turning point lies before it."""

    def unfinished(walk: _Walk) -> Array:
        return is_needed & (walk.share < 1.0) & (walk.stride > LAST_STRIDE) & (walk.count < CONTINUATION_LIMIT)

    def station(walk: _Walk) -> _Walk:
        target = jnp.minimum(1.0, walk.share + walk.stride)
        flow = jax.lax.fori_loop(0, CORRECTOR, lambda _, q: problem.newton(q, target)[0], walk.flow)
        after, pressure = problem.newton(flow, target)
        slope = problem.linearised(after, target)[0]
        is_good = problem.residual(after, pressure, target) <= tolerance * scale
        is_good &= has_inertia_of_resistors(problem.order, problem.is_open, slope, problem.conductance)
        return _Walk(
            share=jnp.where(is_good, target, walk.share),
            stride=jnp.where(is_good, 2.0 * walk.stride, 0.25 * walk.stride),
            flow=jnp.where(is_good, after, walk.flow),
            count=walk.count + 1,
        )

    begin = _Walk(jnp.asarray(0.0), jnp.asarray(FIRST_STRIDE), start, jnp.asarray(0))
    return jax.lax.while_loop(unfinished, station, begin)


def solve_steady(network: Network, *, tolerance: float = 1e-11) -> SteadyFlow:
    """Solve for steady flow and total pressure in a tree.

    Pure, for ``jit`` and ``vmap`` (over draws of any column; fast where the tree is shared); derivatives of first to third order are exact in both modes, because the
    last two Newton steps, each of which squares the error in the parameters, are taken outside the search.

    Parameters
    ----------
    network : padded network, SI.
    tolerance : largest unbalanced pressure as a share of the driving pressure: the largest difference between root and outlets, or, where a flow
        is given at the inlet, the largest pressure.

    Returns
    -------
    Flow m^3/s and pressure Pa of every element with residual and status; NaN unless the status is ``FlowStatus.OK``.

    Examples
    --------
    One vessel of 1 Pa s/m^3 before an outlet of 1 Pa s/m^3, driven by 10 Pa:

    >>> from gemel.physics.flow0d import make_network, solve_steady
    >>> found = solve_steady(make_network([-1], 1.0, outlet_conductance=1.0, root_pressure=10.0))
    >>> float(found.flow[0]), float(found.pressure[0])
    (5.0, 5.0)
    """
    problem, is_valid, driving = _prepare(network)
    frozen = jax.tree.map(jax.lax.stop_gradient, problem)
    start, still = frozen.newton(jnp.zeros_like(frozen.resistance), 0.0)
    scale = jnp.maximum(jax.lax.stop_gradient(driving), jnp.where(driving > 0, 0.0, jnp.max(jnp.abs(still))))
    has_negative = (frozen.quadratic < 0).any()

    def unfinished(state):
        _, residual, count = state
        return ~(residual <= tolerance * scale) & (count < NEWTON_LIMIT) & ~has_negative & is_valid

    def iterate(state):
        flow, _, count = state
        after, pressure = frozen.newton(flow, 1.0)
        return after, frozen.residual(after, pressure, 1.0), count + 1

    flow, residual, count = jax.lax.while_loop(unfinished, iterate, (start, frozen.residual(start, still, 1.0), jnp.asarray(0)))
    is_direct = residual <= tolerance * scale
    walk = _continue(frozen, start, scale, tolerance, (has_negative | ~is_direct) & is_valid)
    found = jax.lax.stop_gradient(jnp.where(has_negative | ~is_direct, walk.flow, flow))
    is_found = jnp.where(has_negative | ~is_direct, walk.share >= 1.0, is_direct)

    for _ in range(2):
        found, pressure = problem.newton(found, 1.0)
    residual = problem.residual(found, pressure, 1.0) / scale
    outflow = problem.conductance * (pressure - jnp.where(network.is_real, network.outlet_pressure, 0.0))
    unbalanced = found - children_sum(network.parent, found) - outflow + jnp.where(network.is_real, network.injection, 0.0)
    imbalance = jnp.max(jnp.abs(unbalanced)) / jnp.maximum(jnp.max(jnp.abs(found)), jnp.finfo(found.dtype).tiny)

    ended = jnp.where(has_negative & (walk.stride <= LAST_STRIDE), int(FlowStatus.NO_SOLUTION), int(FlowStatus.NOT_CONVERGED))
    is_good = is_valid & is_found & (residual <= tolerance) & jnp.isfinite(found).all()
    status = jnp.where(is_good, int(FlowStatus.OK), jnp.where(is_valid, ended, int(FlowStatus.NOT_FINITE)))
    masked = [jnp.where(is_good, x, jnp.nan) for x in (found, pressure, outflow, residual, imbalance)]
    return SteadyFlow(*masked, iterations=count + walk.count * (CORRECTOR + 1), status=status)
