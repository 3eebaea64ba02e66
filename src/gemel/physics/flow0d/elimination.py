"""Linear flow through a tree, from the leaves to the root and back: work and memory in proportion to the number of elements.

The unknowns are the flow ``q`` of each element and the pressure ``p`` at its downstream end::

    p[parent] - p - a q = c                      (every element)
    -q + sum of q of the children + g p = j      (every downstream end)

The matrix is symmetric, so that one elimination serves the solution, its derivatives and their transposes.
"""

from __future__ import annotations

import jax
import jax.custom_batching
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gemel.physics.flow0d.order import TreeOrder

__all__ = ["children_sum", "has_inertia_of_resistors", "solve_linear_tree"]

Columns = Float[Array, " branch"]


def _get(array: Array, index: Array) -> Array:
    return jax.lax.dynamic_index_in_dim(array, index, 0, keepdims=False)


def _put(array: Array, index: Array, value: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(array, value, index, 0)


def _batch_last(function):
    """Give a function of (order, columns...) a batch of its own: new axes go to the end, so that a sweep reads and writes draws that lie together."""
    batched = jax.custom_batching.custom_vmap(function)

    @batched.def_vmap
    def rule(axis_size, in_batched, order, *columns):
        if any(jax.tree.leaves(in_batched[0])):  # trees of different shape in one batch
            axes = jax.tree.map(lambda x: 0 if x else None, tuple(in_batched))
            out = jax.vmap(function, in_axes=axes, axis_size=axis_size)(order, *columns)
        else:
            rank = max(c.ndim - int(b) for c, b in zip(columns, in_batched[1:], strict=True))
            ready = []
            for column, is_batched in zip(columns, in_batched[1:], strict=True):
                moved = jnp.moveaxis(column, 0, -1) if is_batched else column[..., None]
                wide = moved.reshape(moved.shape[:1] + (1,) * (rank + 1 - moved.ndim) + moved.shape[1:])
                ready.append(wide)
            shape = jnp.broadcast_shapes(*(c.shape for c in ready))
            out = jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), batched(order, *(jnp.broadcast_to(c, shape) for c in ready)))
        return out, jax.tree.map(lambda _: True, out)

    return batched


def children_sum(parent: Int[Array, " branch"], values: Columns) -> Columns:
    """Sum the values of the children of each element (padding and roots add to a slot that is thrown away)."""
    size = parent.shape[-1]
    return jax.ops.segment_sum(values, parent, num_segments=size + 1)[:size]


def _eliminate(order, is_open, a, g, c, j):
    """Leaves to root. Each end of an element becomes ``q = conductance * p_upstream - source`` (Norton's equivalent)."""

    def step(stack, item):
        own, above, opened, slope, leak, offset, drawn = item
        conductance, source = _get(stack[0], own) + leak, _get(stack[1], own) + drawn
        weight = jnp.where(opened, 1.0 / (1.0 + slope * conductance), 0.0)
        upstream, pushed = conductance * weight, (source + conductance * offset) * weight
        empty = jnp.zeros_like(upstream)
        first, second = _put(stack[0], own, empty), _put(stack[1], own, empty)
        stack = (_put(first, above, _get(first, above) + upstream), _put(second, above, _get(second, above) + pushed))
        return stack, (conductance, source, upstream, pushed)

    start = jnp.zeros((order.stack.shape[0], *a.shape[1:]))
    return jax.lax.scan(step, (start, start), (order.up_own, order.up_above, is_open, a, g, c, j), reverse=True)[1]


def _substitute(order, is_open, a, c, norton):
    """Root to leaves."""
    conductance, source, upstream, pushed = norton
    at_rest = jnp.where(conductance != 0.0, source / jnp.where(conductance != 0.0, conductance, 1.0), 0.0)

    def step(stack, item):
        own, above, opened, slope, offset, up, push, still = item
        before = _get(stack, above)
        flow = up * before - push
        after = jnp.where(opened, before - slope * flow - offset, still)
        return _put(stack, own, after), (jnp.where(opened, flow, 0.0), after)

    items = (order.down_own, order.down_above, is_open, a, c, upstream, pushed, at_rest)
    return jax.lax.scan(step, jnp.zeros((order.stack.shape[0], *a.shape[1:])), items)[1]


@_batch_last
def _solve(order, is_open, a, g, c, j):
    """Both sweeps; columns (branch, ...)."""
    return _substitute(order, is_open, a, c, _eliminate(order, is_open, a, g, c, j))


@_batch_last
def _seen_conductance(order, is_open, a, g):
    """Conductance at the end of each element, of all that lies behind it."""
    zero = jnp.zeros_like(a)
    return _eliminate(order, is_open, a, g, zero, zero)[0]


def solve_linear_tree(
    order: TreeOrder, is_open: Bool[Array, " branch"], a: Columns, g: Columns, c: Columns, j: Columns,
) -> tuple[Columns, Columns]:  # fmt: skip
    """Solve the two sets of equations above; the pressure of the root is zero (put a given one into ``c`` of the root elements).

    Parameters
    ----------
    is_open : false for occlusions and padding: their flow is zero and ``a`` and ``c`` are not read, but must be finite.
    a : Pa s/m^3; g : m^3/(Pa s); c : Pa; j : m^3/s.

    Returns
    -------
    flow (m^3/s) and pressure (Pa) of each element. Behind an occlusion without any outlet the pressure is not determined and given as 0.
    """
    parent, size = order.parent, order.parent.shape[-1]
    opened = is_open.astype(a.dtype)

    def matrix(x):
        flow, pressure = x
        upstream = jnp.concatenate([pressure, jnp.zeros(1)])[parent]
        along = opened * (upstream - pressure) - jnp.where(is_open, a, 1.0) * flow
        through = jax.ops.segment_sum(opened * flow, parent, num_segments=size + 1)[:size] - opened * flow + g * pressure
        return along, through

    def eliminate(_, b):
        offset = jnp.where(is_open, b[0], 0.0)
        flow, pressure = _solve(order, is_open, a, g, offset, b[1])
        return jnp.where(is_open, flow, -b[0]), pressure

    return jax.lax.custom_linear_solve(matrix, (jnp.where(is_open, c, 0.0), j), eliminate, symmetric=True)


def has_inertia_of_resistors(order: TreeOrder, is_open: Bool[Array, " branch"], a: Columns, g: Columns) -> Bool[Array, ""]:
    """Tell whether the matrix has as many positive and negative eigenvalues as one of ordinary (positive) resistors.

    On a curve of solutions that changes continuously this number changes only where the matrix is singular, that is, where the curve turns back:
    a solution with the right number has not passed a turning point. The signs of the pivots count it (Sylvester's law of inertia).
    """
    conductance = _seen_conductance(order, is_open, a, g)
    # pivots: the conductance at each end, and minus (1 + a g)/g for the element that leads to it
    positive_end = (conductance > 0).sum()
    positive_element = (is_open & ((1.0 + a * conductance) * jnp.sign(conductance) < 0)).sum()
    return positive_end + positive_element == (conductance != 0).sum()
