"""The simulator's path through JAX, for worlds that come out of a JAX model."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from gemel.core.errors import ModelError
from gemel.core.protocols import Progress
from gemel.trials.simulate.analyses.compiled import AbstractAnalysis, Estimates
from gemel.trials.simulate.batch import Readings
from gemel.trials.simulate.design import Design
from gemel.trials.simulate.engine import Characteristics, characteristics
from gemel.trials.simulate.worlds.compiled import AbstractWorld

__all__ = ["simulate_compiled"]

_LANES = 250
"""Trials side by side in the compiled program: fixed, because another number sums in another order and changes the last digit."""


@eqx.filter_jit
def _chunk(
    analyses: tuple[AbstractAnalysis, ...], size: tuple[int, int], world: AbstractWorld, key: PRNGKeyArray, index: Array
) -> tuple[Estimates, ...]:
    arm = jnp.concatenate([jnp.zeros(size[0], int), jnp.ones(size[1], int)])

    def one(i):
        trial = world.trial(arm, key=jax.random.fold_in(key, i))
        return tuple(a.analyse(trial) for a in analyses)

    return jax.vmap(one)(index)


def simulate_compiled(
    design: Design, world: AbstractWorld, replicates: int, *, key: Any, progress: Progress | None = None
) -> dict[str, Characteristics]:
    """Repeat a trial of a JAX world; see :func:`gemel.trials.simulate.engine.simulate`. A replicate's key is folded from its number.

    Raises
    ------
    ModelError
        When the design is none of one look, or has an analysis that is not written in JAX.
    """
    if not isinstance(design, Design) or design.boundary is not None or design.allocation != "fixed":
        raise ModelError(
            "a world written in JAX is read once, at the end", seen=type(design).__name__, expected="a Design without looks, fixed arms"
        )
    wrong = [type(a).__name__ for a in design.analyses if not isinstance(a, AbstractAnalysis)]
    if wrong or not isinstance(world, AbstractWorld):
        raise ModelError(
            "world and analyses do not go together", seen=[type(world).__name__, *wrong], expected="both written in JAX, or neither"
        )
    parts: list[tuple[Estimates, ...]] = []
    if progress is not None:
        progress.start("trials", replicates)
    for first in range(0, replicates, _LANES):
        found = _chunk(design.analyses, (design.control, design.treated), world, key, first + jnp.arange(_LANES))
        parts.append(jax.tree.map(lambda x, first=first: np.asarray(x)[: replicates - first], found))
        if progress is not None and progress.update(min(first + _LANES, replicates)) is False:
            break
    if progress is not None:
        progress.finish()
    whole = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    effect = float(world.effect)
    return {
        a.name: characteristics(
            a.name,
            Readings(
                e.estimate,
                e.standard_error,
                e.low,
                e.high,
                e.p_value,
                np.full(len(e.estimate), np.nan),
                np.full(len(e.estimate), float(design.patients)),
            ),
            effect,
            design.alpha,
        )
        for a, e in zip(design.analyses, whole, strict=True)
    }
