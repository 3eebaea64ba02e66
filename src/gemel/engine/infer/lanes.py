"""Many patients times many starts as lanes of a few compiled programs, compacted on the host so that no lane waits long for the slowest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from gemel.core.protocols import Progress
from gemel.engine.infer.base import AbstractTarget

__all__ = ["Optimum", "alike", "chunked", "count", "host", "multistart", "rows", "stack"]


def _join(*leaves: Any) -> Any:
    if eqx.is_array(leaves[0]):
        return np.stack([np.asarray(x) for x in leaves])
    return leaves[0] if all(x == leaves[0] for x in leaves) else np.asarray(leaves)


def alike(trees: Iterable[PyTree]) -> list[list[int]]:
    """Return the places of trees whose leaves have one structure, shapes and types: they share a program and run together."""
    groups: dict[Any, list[int]] = {}
    for i, tree in enumerate(trees):
        leaves, structure = jax.tree.flatten(tree)
        groups.setdefault((structure, tuple((np.shape(x), np.asarray(x).dtype.name) for x in leaves)), []).append(i)
    return list(groups.values())


def stack(targets: Sequence[AbstractTarget]) -> AbstractTarget:
    """Stack targets of one model and bucket: each array gains a leading patient axis.

    Plain numbers that are the same for all stay as they are: they are part of the program.
    """
    return jax.tree.map(_join, *targets)


def host(tree: PyTree) -> PyTree:
    """Bring arrays to the host, where they are cut and joined without compiling anything."""
    return jax.tree.map(lambda x: np.asarray(x) if eqx.is_array(x) else x, tree)


def rows(tree: PyTree, index: np.ndarray) -> PyTree:
    """Return the rows of every array."""
    return jax.tree.map(lambda x: x[index] if isinstance(x, np.ndarray) else x, tree)


def count(tree: PyTree) -> int:
    """Return the length of the leading axis."""
    return next(x.shape[0] for x in jax.tree.leaves(tree) if isinstance(x, np.ndarray | jax.Array))


@eqx.filter_jit
def _mapped(function: Callable, arguments: tuple, shared: tuple) -> PyTree:
    return eqx.filter_vmap(lambda *x: function(*x, *shared), in_axes=eqx.if_array(0))(*arguments)


def _sizes(n: int, sizes: Sequence[int]) -> list[int]:
    """Cut ``n`` rows into chunks of the allowed sizes: the largest that is more than half filled, or else the smallest."""
    out = []
    while n > 0:
        fitting = [s for s in sorted(sizes, reverse=True) if n > s // 2]
        out.append(fitting[0] if fitting else min(sizes))
        n -= out[-1]
    return out


def chunked(function: Callable, arguments: tuple, sizes: Sequence[int], shared: tuple = ()) -> PyTree:
    """Apply a compiled function to every row in chunks of few sizes: at most one compilation per size.

    Padding repeats the first row of a chunk and is dropped.

    Parameters
    ----------
    function : of the rows of ``arguments`` and of ``shared``; mapped over the leading axis.
    arguments : pytrees of host arrays with one leading axis.
    sizes : the allowed chunk lengths.
    shared : arguments that are the same for every row.
    """
    n, done, parts = count(arguments), 0, []
    for size in _sizes(n, sizes):
        index = np.minimum(np.arange(done, done + size), n - 1)
        index[n - done :] = done
        out = _mapped(function, rows(arguments, index), shared)
        keep = min(size, n - done)
        parts.append(jax.tree.map(lambda x, keep=keep: np.asarray(x)[:keep], out))
        done += size
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@eqx.filter_jit
def _advance(step: Callable, targets: PyTree, state: PyTree, iterations: jax.Array) -> PyTree:
    mapped = eqx.filter_vmap(step, in_axes=(eqx.if_array(0), 0))

    def body(carry):
        i, old = carry
        new = mapped(targets, old)
        return i + 1, jax.tree.map(lambda a, b: jnp.where(old.done.reshape(-1, *[1] * (a.ndim - 1)), a, b), old, new)

    return jax.lax.while_loop(lambda c: (c[0] < iterations) & ~c[1].done.all(), body, (jnp.asarray(0), state))[1]


@dataclass
class Optimum:
    """The best lane of each patient and what every lane found.

    ``points`` has the shape (patient, start, parameter), ``values`` (patient, start) with NaN for a start that failed.
    """

    state: Any
    points: np.ndarray
    values: np.ndarray
    converged: np.ndarray
    lane_iterations: int
    cancelled: bool


def multistart(
    step: Callable[[AbstractTarget, Any], Any],
    init: Callable[[jax.Array], Any],
    targets: AbstractTarget,
    starts: np.ndarray,
    *,
    iterations: int,
    halving: bool,
    sizes: Sequence[int],
    first: int = 8,
    stretch: int = 6,
    progress: Progress | None = None,
) -> Optimum:
    """Minimise from every start of every patient.

    Parameters
    ----------
    step : one iteration of one lane, given its target and state; the state has ``z``, ``value``, ``done``, ``converged``, ``iterations``.
    init : states of unevaluated lanes from their starts.
    targets : stacked targets.
    starts : (patient, start, parameter).
    iterations : budget per lane.
    halving : give every start ``first`` iterations and only the best quarter (at least two) of each patient the rest.
    sizes : numbers of lanes per compiled program.
    stretch : iterations between two compactions to the lanes that are still at work.
    """
    targets = host(targets)
    patients, per, _ = starts.shape
    owner = np.repeat(np.arange(patients), per)
    state = jax.tree.map(np.array, init(jnp.asarray(starts.reshape(patients * per, -1))))
    candidates = np.ones(patients * per, bool)
    used, cancelled, budget = 0, False, first if halving and per > 2 else iterations
    if progress is not None:
        progress.start("mode", patients * per)
    while not cancelled:
        active = np.flatnonzero(candidates & ~state.done & (state.iterations < budget))
        if not active.size:
            if budget == iterations:
                break
            ranked = np.where(np.isfinite(state.value), state.value, np.inf).reshape(patients, per).argsort(axis=1, kind="stable")
            candidates[:] = False
            candidates[(np.arange(patients)[:, None] * per + ranked[:, : max(2, per // 4)]).ravel()] = True
            budget = iterations
            continue
        limit = jnp.asarray(min(stretch, budget - int(state.iterations[active].max())) if budget > first else budget)
        done = 0
        for size in _sizes(active.size, sizes):
            lanes = active[done : done + size]
            padded = np.concatenate([lanes, np.full(size - lanes.size, lanes[0])])
            new = _advance(step, rows(targets, owner[padded]), rows(state, padded), limit)
            for old, fresh in zip(jax.tree.leaves(state), jax.tree.leaves(new), strict=True):
                old[lanes] = np.asarray(fresh)[: lanes.size]
            done += size
        used = int(state.iterations.sum())
        if progress is not None:
            cancelled = progress.update(int(state.done.sum())) is False
    if progress is not None:
        progress.finish()
    values = np.where(np.isfinite(state.value), state.value, np.inf).reshape(patients, per)
    best = np.arange(patients) * per + values.argmin(axis=1)
    values = np.where(np.isfinite(values), values, np.nan)
    return Optimum(rows(state, best), state.z.reshape(starts.shape), values, state.converged.reshape(patients, per), used, cancelled)
