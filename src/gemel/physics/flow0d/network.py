"""A tree of lumped flow elements, padded to a size bucket so that one compiled program serves all patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gemel.core.errors import DataError
from gemel.physics.flow0d.order import TreeOrder, make_order

__all__ = ["BUCKETS", "Network", "bucket_size", "make_network"]

BUCKETS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Sizes to which networks are padded. Whatever is larger is padded to the next multiple of the last."""


class Network(eqx.Module):
    """A tree (or several) of elements. Element ``b`` leads from the end of ``parent[b]`` to a point of its own, from which a conductance may lead out.

    The pressure falls along an element by ``resistance * flow + quadratic * flow * |flow|``. An infinite resistance is an occlusion: no flow, exactly.
    ``order`` holds the parent of each, before its children, and the way of the sweeps. Elements beyond the real ones (``is_real`` false) are padding.

    resistance Pa s/m^3; quadratic Pa s^2/m^6; outlet_conductance m^3/(Pa s), zero where nothing leaves; outlet_pressure Pa;
    injection m^3/s that enters at the downstream end from outside; root_pressure Pa.
    """

    order: TreeOrder
    is_real: Bool[Array, " branch"]
    resistance: Float[Array, " branch"]
    quadratic: Float[Array, " branch"]
    outlet_conductance: Float[Array, " branch"]
    outlet_pressure: Float[Array, " branch"]
    injection: Float[Array, " branch"]
    root_pressure: Float[Array, ""]

    @property
    def parent(self) -> Int[Array, " branch"]:
        """Element upstream of each; the size at a root."""
        return self.order.parent

    @property
    def size(self) -> int:
        """Number of elements with padding: the only thing about a network that a compiled program depends on."""
        return self.order.parent.shape[-1]


def bucket_size(count: int) -> int:
    """Return the size to which ``count`` elements are padded.

    >>> bucket_size(9), bucket_size(17), bucket_size(5000)
    (16, 32, 8192)
    """
    for size in BUCKETS:
        if count <= size:
            return size
    return -(-count // BUCKETS[-1]) * BUCKETS[-1]


def _column(values: Any, count: int, size: int, name: str, fill: float = 0.0) -> np.ndarray:
    column = np.full(size, fill)
    if values is not None:
        found = np.asarray(values, dtype=np.float64)
        if found.shape not in ((), (count,)):
            raise DataError(f"{name} of a network has another length than its parents", seen=found.shape, expected=(count,))
        column[:count] = found
    return column


def make_network(
    parent: Sequence[int] | np.ndarray, resistance: Any, *, quadratic: Any = None, outlet_conductance: Any = None, outlet_pressure: Any = None,
    injection: Any = None, root_pressure: float | None = None, inflow: float | None = None, size: int | None = None,
) -> Network:  # fmt: skip
    """Build a padded network. Numbers are not judged here (they may be traced later): the solver does, by its status.

    Parameters
    ----------
    parent : index of the element upstream, before its children; -1 at the root.
    resistance, quadratic, outlet_conductance, outlet_pressure, injection : as in :class:`Network`, one value or one per element.
    root_pressure : Pa, where the inlet pressure is given.
    inflow : m^3/s, where the inlet flow is given instead: it enters at a point of its own before the one root element. Then a first element, which is occluded, is put before all others, and results carry it as element 0.
    size : padded size; default the bucket of the number of elements.

    Raises
    ------
    DataError
        If a parent does not come before its child, both or neither of ``root_pressure`` and ``inflow`` are given, or ``size`` is too small.
    """
    above = np.asarray(parent, dtype=np.int64)
    count = len(above)
    if above.ndim != 1 or count == 0 or (above >= np.arange(count)).any() or (above < -1).any():
        raise DataError(
            "parents of a network must come before their children (and -1 at the root)", seen=above.tolist()[:8], expected="parent[i] < i"
        )
    if (root_pressure is None) == (inflow is None):
        raise DataError("a network needs either the pressure or the flow at its inlet", seen={"pressure": root_pressure, "flow": inflow})
    columns = {
        "resistance": np.broadcast_to(np.asarray(resistance, dtype=np.float64), (count,)),
        "quadratic": quadratic,
        "outlet_conductance": outlet_conductance,
        "outlet_pressure": outlet_pressure,
        "injection": injection,
    }
    if inflow is not None:
        above = np.concatenate([[-1], above + 1])
        filled = {k: _column(v, count, count, k) for k, v in columns.items()}
        first = {"resistance": np.inf, "injection": inflow}
        columns = {k: np.concatenate([[first.get(k, 0.0)], v]) for k, v in filled.items()}
        count += 1
    width = bucket_size(count) if size is None else size
    if width < count:
        raise DataError("the padded size is smaller than the network", seen=width, expected=f">= {count}")
    return Network(
        order=make_order(above, width),
        is_real=jnp.asarray(np.arange(width) < count),
        root_pressure=jnp.asarray(0.0 if root_pressure is None else root_pressure),
        **{k: jnp.asarray(_column(v, count, width, k)) for k, v in columns.items()},
    )
