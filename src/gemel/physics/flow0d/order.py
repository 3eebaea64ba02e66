"""In which order the elements of a tree are visited, and where what is not finished yet waits.

A sweep through a tree needs, at any time, only the points whose other branches are still to come: a handful. They wait in the slots of a small
stack, assigned here once, outside compiled code. (One table of all points, carried through a compiled loop, is copied at every step: at a thousand
elements a hundred times slower.)
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

__all__ = ["TreeOrder", "make_order"]

TRASH, NOTHING = 0, 1  # two slots with a meaning: written and never read; read and always zero
STACKS = (8, 16, 64, 256)


class TreeOrder(eqx.Module):
    """``parent`` of each element (the size for a root or padding) and, for both sweeps, the slot of the element's own end and that of the end upstream."""

    parent: Int[Array, " branch"]
    up_own: Int[Array, " branch"]
    up_above: Int[Array, " branch"]
    down_own: Int[Array, " branch"]
    down_above: Int[Array, " branch"]
    stack: Float[Array, " slot"]


class _Slots:
    def __init__(self) -> None:
        self.free: list[int] = []
        self.count = 2
        self.of: dict[int, int] = {}

    def take(self, point: int) -> int:
        if self.free:
            slot = self.free.pop()
        else:
            slot, self.count = self.count, self.count + 1
        self.of[point] = slot
        return slot

    def give(self, point: int) -> int:
        slot = self.of.pop(point)
        self.free.append(slot)
        return slot


def make_order(parent: Int[np.ndarray, " branch"], size: int) -> TreeOrder:
    """Return the order of a tree.

    Parameters
    ----------
    parent : of each real element, before its children; -1 at a root. size : with padding.
    """
    count = len(parent)
    columns = {
        name: np.full(size, fill) for name, fill in (("up_own", NOTHING), ("up_above", TRASH), ("down_own", TRASH), ("down_above", NOTHING))
    }
    up, down = _Slots(), _Slots()
    waiting = np.bincount(parent[parent >= 0], minlength=count)
    has_children = waiting > 0
    for i in range(count - 1, -1, -1):
        above = int(parent[i])
        if i in up.of:
            columns["up_own"][i] = up.give(i)
        if above >= 0:
            columns["up_above"][i] = up.of[above] if above in up.of else up.take(above)
    for i in range(count):
        above = int(parent[i])
        if above >= 0:
            columns["down_above"][i] = down.of[above]
            waiting[above] -= 1
            if waiting[above] == 0:
                down.give(above)
        if has_children[i]:
            columns["down_own"][i] = down.take(i)
    needed = max(up.count, down.count)
    stack = next((s for s in STACKS if s >= needed), -(-needed // STACKS[-1]) * STACKS[-1])
    full = np.full(size, size)
    full[:count] = np.where(np.asarray(parent) < 0, size, parent)
    return TreeOrder(parent=jnp.asarray(full), stack=jnp.zeros(stack), **{k: jnp.asarray(v) for k, v in columns.items()})
