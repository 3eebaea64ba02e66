"""A tree of points as a padded network of short vessels: the geometry part of a flow model, ready to be moved by draws of the radius."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gemel.core.geometry import Tree
from gemel.physics.flow0d.friction import taper_resistance
from gemel.physics.flow0d.network import bucket_size
from gemel.physics.flow0d.order import TreeOrder, make_order

__all__ = ["Vessels", "make_vessels"]


class Vessels(eqx.Module):
    """One element per point of a tree, from the point upstream to it; padded elements have no length. SI.

    ``above`` is the parent with every root and padded element sent to itself, so that columns can be read upstream without a bound;
    ``begins`` marks the first element of a branch.
    """

    order: TreeOrder
    above: Int[Array, " branch"]
    is_real: Bool[Array, " branch"]
    is_outlet: Bool[Array, " branch"]
    begins: Bool[Array, " branch"]
    length: Float[Array, " branch"]
    radius: Float[Array, " branch"]
    distance: Float[Array, " branch"]

    def upstream(self, column: Float[Array, " branch"]) -> Float[Array, " branch"]:
        """Return the column at the upstream end of each element."""
        return column[self.above]

    def friction(self, radius: Float[Array, " branch"], viscosity: Float[Array, ""] | float) -> Float[Array, " branch"]:
        """Return the resistance of each element for radii (m) at its ends, Pa s/m^3: Poiseuille's law integrated over the taper."""
        return taper_resistance(self.length, self.upstream(radius), radius, viscosity)


def make_vessels(tree: Tree, *, size: int | None = None) -> Vessels:
    """Pad a tree to a size bucket.

    Parameters
    ----------
    tree : with parents before children; resample it first where the step matters.
    size : padded size; default the bucket of the number of points.
    """
    count = len(tree.parent)
    width = bucket_size(count) if size is None else size
    children = np.bincount(tree.parent[tree.parent >= 0], minlength=count)
    above = np.arange(width)
    above[:count] = np.where(tree.parent < 0, np.arange(count), tree.parent)

    def padded(column: np.ndarray, fill: float = 0.0) -> np.ndarray:
        out = np.full(width, fill, dtype=column.dtype)
        out[:count] = column
        return out

    return Vessels(
        order=make_order(tree.parent, width),
        above=jnp.asarray(above),
        is_real=jnp.asarray(np.arange(width) < count),
        is_outlet=jnp.asarray(padded(children == 0)),
        begins=jnp.asarray(padded((tree.parent < 0) | (children[tree.parent] > 1))),
        length=jnp.asarray(padded(tree.step)),
        radius=jnp.asarray(padded(np.asarray(tree.radius), 1e-3)),  # any positive number: padding has no length
        distance=jnp.asarray(padded(tree.distance)),
    )
