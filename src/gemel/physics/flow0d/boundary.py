"""What closes a tree of vessels: how much flow leaves where, and through which resistance. Outlets, and the side branches that no image shows."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gemel.physics.flow0d.elimination import children_sum, solve_linear_tree
from gemel.physics.flow0d.order import TreeOrder

__all__ = ["distal_conductance", "leak_weights", "mean_aortic_pressure", "outflow_by_weight", "prescribed_pressure"]

Columns = Float[Array, " branch"]
Number = Float[Array, ""] | float

_NODES = (-0.7745966692414834, 0.0, 0.7745966692414834)  # Gauss-Legendre with three points, Abramowitz & Stegun table 25.4
_WEIGHTS = (5 / 9, 8 / 9, 5 / 9)


def mean_aortic_pressure(systolic: Number, diastolic: Number, share: Number = 1 / 3) -> Float[Array, ""]:
    """Return ``diastolic + share (systolic - diastolic)`` in the unit given; the usual shares are 1/3 and 0.4."""
    return diastolic + share * (jnp.asarray(systolic) - diastolic)


def leak_weights(
    order: TreeOrder, radius: Columns, upstream_radius: Columns, exponent: Number, fraction: Number
) -> Columns:  # fmt: skip
    """Return how much of the flow leaves along the vessels through side branches, as weights at the downstream ends, in m^exponent.

    Flow along a branch follows the reference radius to a power; what it loses between two points leaves there. The loss of an element is shared between its
    two ends so that the friction of the flow in between is that of the continuous loss (three-point quadrature, not a mean): steps of 0.5 mm are then as good
    as the integral.

    Parameters
    ----------
    radius, upstream_radius : m, reference radius at the downstream and at the upstream end of each element; equal where an element begins a new branch, positive.
        An element that widens leaks nothing.
    exponent : of flow over radius, 2 to 3. fraction : 0 (all flow leaves at the outlets) to 1.
    """
    first, last = jnp.maximum(upstream_radius, radius), radius
    middle, half = 0.5 * (first + last), 0.5 * (last - first)
    inside = jnp.stack([middle + x * half for x in _NODES])
    weights = jnp.asarray(_WEIGHTS)[:, None] * inside**-4.0
    carried = (weights * inside**exponent).sum(axis=0) / weights.sum(axis=0)
    before, after = first**exponent - carried, carried - last**exponent
    return fraction * (children_sum(order.parent, before) + after)


def outflow_by_weight(total: Number, weight: Columns, is_real: Bool[Array, " branch"]) -> Columns:
    """Share a flow (m^3/s) among ends in proportion to their weights; for outlets the weight is the healthy radius to the power of the exponent."""
    held = jnp.where(is_real, weight, 0.0)
    return total * held / held.sum()


def prescribed_pressure(
    order: TreeOrder, is_real: Bool[Array, " branch"], resistance: Columns, outflow: Columns, root_pressure: Number
) -> tuple[Columns, Columns]:  # fmt: skip
    """Return flow (m^3/s) and pressure (Pa) of each element when what leaves at each end is prescribed and only friction acts."""
    at_root = (order.parent == order.parent.shape[-1]) & is_real
    zero = jnp.zeros_like(resistance)
    return solve_linear_tree(order, is_real, resistance, zero, jnp.where(at_root, -root_pressure, 0.0), -outflow)


def distal_conductance(
    order: TreeOrder, is_real: Bool[Array, " branch"], healthy_resistance: Columns, outflow: Columns, root_pressure: Number,
    venous_pressure: Number, ratio: Number = 1.0, *, is_path_subtracted: bool = True,
) -> Columns:  # fmt: skip
    """Return the conductance (m^3/(Pa s)) behind each end through which the healthy tree carries the rest flow given.

    The resistance is that of the microvessels alone: the pressure lost on the way through the *healthy* tree is taken off first. Taking it off the
    stenosed tree would compensate the lesion twice.

    Parameters
    ----------
    healthy_resistance : Pa s/m^3, of the reference tree. outflow : m^3/s at rest, zero where nothing leaves.
    root_pressure, venous_pressure : Pa. ratio : of the resistance in hyperaemia to that at rest, 1 for rest.
    is_path_subtracted : false for ``(Pa - Pv)/q`` without the path, as in networks that were made so.
    """
    pressure = root_pressure * jnp.ones_like(outflow)
    if is_path_subtracted:
        _, pressure = prescribed_pressure(order, is_real, healthy_resistance, outflow, root_pressure)
    drop = pressure - venous_pressure
    return jnp.where(is_real & (outflow > 0), outflow / jnp.where(is_real & (outflow > 0), ratio * drop, 1.0), 0.0)
