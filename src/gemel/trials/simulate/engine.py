"""The simulator: one design in one world, thousands of times, with the Monte-Carlo error of every figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gemel.core.errors import ModelError
from gemel.core.protocols import Progress
from gemel.trials.simulate.kernels import AbstractAnalysis, Estimates
from gemel.trials.simulate.worlds import AbstractWorld

__all__ = ["Characteristics", "Design", "compare", "simulate"]


_LANES = 250
"""Trials side by side in the compiled program: fixed, because another number sums in another order and changes the last digit."""


class Design(eqx.Module):
    """A two-arm parallel trial.

    Parameters
    ----------
    control, treated : patients enrolled per arm.
    analyses : how each trial is read.
    alpha : two-sided level of the test.
    """

    control: int = eqx.field(static=True)
    treated: int = eqx.field(static=True)
    analyses: tuple[AbstractAnalysis, ...]
    alpha: float = eqx.field(static=True, default=0.05)

    def __check_init__(self):
        if min(self.control, self.treated) < 2:
            raise ModelError("an arm needs at least two patients", seen=(self.control, self.treated))
        if not 0 < self.alpha < 1:
            raise ModelError("the level of a test lies between 0 and 1", seen=self.alpha)
        if len({a.name for a in self.analyses}) < max(1, len(self.analyses)):
            raise ModelError("a design needs at least one analysis, each of another name", seen=[a.name for a in self.analyses])


@dataclass(frozen=True)
class Characteristics:
    """Operating characteristics of one analysis; ``errors`` has the Monte-Carlo standard error of each figure.

    ``power`` is the share of significant trials (type-I error where the effect is zero); ``estimates`` are those of every replicate.
    """

    analysis: str
    replicates: int
    effect: float
    power: float
    mean: float
    bias: float
    sd: float
    standard_error: float
    coverage: float
    errors: Mapping[str, float]
    estimates: Float[np.ndarray, " replicate"]
    p_values: Float[np.ndarray, " replicate"]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures without the replicates."""
        return {k: v for k, v in vars(self).items() if k not in ("estimates", "p_values")} | {"errors": dict(self.errors)}


@eqx.filter_jit
def _chunk(design: Design, world: AbstractWorld, key: PRNGKeyArray, index: Array) -> tuple[Estimates, ...]:
    arm = jnp.concatenate([jnp.zeros(design.control, int), jnp.ones(design.treated, int)])

    def one(i):
        trial = world.trial(arm, key=jax.random.fold_in(key, i))
        return tuple(a.analyse(trial) for a in design.analyses)

    return jax.vmap(one)(index)


def simulate(
    design: Design, world: AbstractWorld, replicates: int, *, key: PRNGKeyArray, progress: Progress | None = None
) -> dict[str, Characteristics]:
    """Repeat a trial.

    Parameters
    ----------
    design, world : who is enrolled and how it is read; where patients and outcomes come from.
    replicates : number of trials.
    key : a replicate's randomness is folded from it and the replicate's number; longer runs and other workers give the same bits.
    progress : told of finished trials.

    Returns
    -------
    Operating characteristics by analysis.
    """
    if replicates < 2:
        raise ModelError("operating characteristics need at least two trials", seen=replicates)
    parts: list[tuple[Estimates, ...]] = []
    if progress is not None:
        progress.start("trials", replicates)
    for first in range(0, replicates, _LANES):
        found = _chunk(design, world, key, first + jnp.arange(_LANES))
        parts.append(jax.tree.map(lambda x, first=first: np.asarray(x)[: replicates - first], found))
        if progress is not None and progress.update(min(first + _LANES, replicates)) is False:
            break
    if progress is not None:
        progress.finish()
    whole = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    effect = float(world.effect)
    return {a.name: _characteristics(a.name, e, effect, design.alpha) for a, e in zip(design.analyses, whole, strict=True)}


def compare(
    designs: Mapping[str, Design], world: AbstractWorld, replicates: int, *, key: PRNGKeyArray
) -> dict[str, dict[str, Characteristics]]:
    """Repeat several designs in one world under the same randomness."""
    return {name: simulate(design, world, replicates, key=key) for name, design in designs.items()}


def _characteristics(name: str, e: Estimates, effect: float, alpha: float) -> Characteristics:
    n = len(e.estimate)
    estimate, p = np.asarray(e.estimate), np.asarray(e.p_value)
    power = float(np.mean(p < alpha))
    covered = float(np.mean((np.asarray(e.low) <= effect) & (effect <= np.asarray(e.high))))
    sd = float(estimate.std(ddof=1))

    def share(v: float) -> float:
        return float(np.sqrt(max(v * (1 - v), 0.25 / n) / n))  # not zero where all or none of the trials agree

    errors = {
        "power": share(power),
        "coverage": share(covered),
        "mean": sd / np.sqrt(n),
        "bias": sd / np.sqrt(n),
        "sd": sd / np.sqrt(2 * (n - 1)),
    }
    return Characteristics(
        name, n, effect, power, float(estimate.mean()), float(estimate.mean()) - effect, sd, float(np.mean(e.standard_error)), covered, errors, estimate, p
    )  # fmt: skip
