"""Linear flow through a tree, from the leaves to the root and back: work and memory in proportion to the number of elements.

The unknowns are the flow ``q`` of each element and the pressure ``p`` at its downstream end::

    p[parent] - p - a q = c                      (every element)
    -q + sum of q of the children + g p = j      (every downstream end)

The matrix is symmetric, so that one elimination serves the solution, its derivatives and their transposes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

__all__ = ["children_sum", "has_inertia_of_resistors", "solve_linear_tree"]

Columns = Float[Array, " branch"]


def _get(array: Array, index: Array) -> Array:
    return jax.lax.dynamic_index_in_dim(array, index, 0, keepdims=False)


def _add(array: Array, index: Array, value: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(array, _get(array, index) + value, index, 0)


def children_sum(parent: Int[Array, " branch"], values: Columns) -> Columns:
    """Sum the values of the children of each element (padding and roots add to a slot that is thrown away)."""
    size = parent.shape[-1]
    return jax.ops.segment_sum(values, parent, num_segments=size + 1)[:size]


def _eliminate(parent, is_open, a, g, c, j):
    """Leaves to root. Each end of an element becomes ``q = conductance * p_upstream - source`` (Norton's equivalent)."""
    size = parent.shape[-1]
    room = jnp.zeros(1)

    def step(sums, item):
        index, above, closed, slope, offset = item
        conductance, source = _get(sums[0], index), _get(sums[1], index)
        weight = jnp.where(closed, 0.0, 1.0 / (1.0 + slope * conductance))
        upstream, pushed = conductance * weight, (source + conductance * offset) * weight
        return (_add(sums[0], above, upstream), _add(sums[1], above, pushed)), (conductance, source, upstream, pushed)

    items = (jnp.arange(size), parent, ~is_open, a, c)
    start = (jnp.concatenate([g, room]), jnp.concatenate([j, room]))
    return jax.lax.scan(step, start, items, reverse=True)[1]


def _substitute(parent, is_open, a, c, norton):
    """Root to leaves."""
    conductance, source, upstream, pushed = norton
    at_rest = jnp.where(conductance != 0.0, source / jnp.where(conductance != 0.0, conductance, 1.0), 0.0)

    def step(pressures, item):
        index, above, opened, slope, offset, up, push, still = item
        before = _get(pressures, above)
        flow = up * before - push
        after = jnp.where(opened, before - slope * flow - offset, still)
        return jax.lax.dynamic_update_index_in_dim(pressures, after, index, 0), (jnp.where(opened, flow, 0.0), after)

    items = (jnp.arange(parent.shape[-1]), parent, is_open, a, c, upstream, pushed, at_rest)
    return jax.lax.scan(step, jnp.zeros(parent.shape[-1] + 1), items)[1]


def solve_linear_tree(
    parent: Int[Array, " branch"], is_open: Bool[Array, " branch"], a: Columns, g: Columns, c: Columns, j: Columns,
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
    size = parent.shape[-1]
    opened = is_open.astype(a.dtype)

    def matrix(x):
        flow, pressure = x
        upstream = jnp.concatenate([pressure, jnp.zeros(1)])[parent]
        along = opened * (upstream - pressure) - jnp.where(is_open, a, 1.0) * flow
        through = jax.ops.segment_sum(opened * flow, parent, num_segments=size + 1)[:size] - opened * flow + g * pressure
        return along, through

    def eliminate(_, b):
        offset = jnp.where(is_open, b[0], 0.0)
        norton = _eliminate(parent, is_open, a, g, offset, b[1])
        flow, pressure = _substitute(parent, is_open, a, offset, norton)
        return jnp.where(is_open, flow, -b[0]), pressure

    return jax.lax.custom_linear_solve(matrix, (jnp.where(is_open, c, 0.0), j), eliminate, symmetric=True)


def has_inertia_of_resistors(parent: Int[Array, " branch"], is_open: Bool[Array, " branch"], a: Columns, g: Columns) -> Bool[Array, ""]:
    """Tell whether the matrix has as many positive and negative eigenvalues as one of ordinary (positive) resistors.

    On a curve of solutions that changes continuously this number changes only where the matrix is singular, that is, where the curve turns back:
    a solution with the right number has not passed a turning point. The signs of the pivots count it (Sylvester's law of inertia).
    """
    zero = jnp.zeros_like(a)
    conductance = _eliminate(parent, is_open, a, g, zero, zero)[0]
    # pivots: the conductance at each end, and minus (1 + a g)/g for the element that leads to it
    positive_end = (conductance > 0).sum()
    positive_element = (is_open & ((1.0 + a * conductance) * jnp.sign(conductance) < 0)).sum()
    return positive_end + positive_element == (conductance != 0).sum()
