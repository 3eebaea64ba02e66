"""The simulator: one design in one world, thousands of times, with the Monte-Carlo error of every figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float, Int

from gemel.core.errors import InferenceError, ModelError
from gemel.core.protocols import Executor, Progress
from gemel.trials.simulate.batch import BLOCK, Batch, Readings, generator, philox_key
from gemel.trials.simulate.worlds.base import World

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    from gemel.trials.simulate.batch import SimulationKey
    from gemel.trials.simulate.worlds.compiled import AbstractWorld

__all__ = ["Analysis", "Characteristics", "Replicated", "Watch", "characteristics", "compare", "reduction", "simulate"]


class Analysis(Protocol):
    """Reads many trials at once. ``name`` is unique within a design."""

    @property
    def name(self) -> str:
        """Short name."""
        ...

    def read(self, batch: Batch) -> Readings:
        """Estimate the effect of every trial."""
        ...


class Replicated(Protocol):
    """A design: it enrols from a world and reads what came, many trials at once."""

    @property
    def alpha(self) -> float:
        """Two-sided level of the test."""
        ...

    def replicate(self, world: World, rng: np.random.Generator, trials: int) -> dict[str, Readings]:
        """Run this many trials; readings by analysis."""
        ...


class Watch:
    """Hands progress on, and remembers that a stop was asked for."""

    def __init__(self, inner: Progress | None) -> None:
        self.inner, self.stopped = inner, False

    def start(self, label: str, total: int | None) -> None:
        """Begin a stretch."""
        if self.inner is not None:
            self.inner.start(label, total)

    def update(self, done: int, note: str = "") -> bool:
        """Report, and remember the answer."""
        if self.inner is not None and self.inner.update(done, note) is False:
            self.stopped = True
        return not self.stopped

    def finish(self) -> None:
        """End the stretch."""
        if self.inner is not None:
            self.inner.finish()


@dataclass(frozen=True)
class Characteristics:
    """Operating characteristics of one analysis; ``errors`` has the Monte-Carlo standard error of each figure.

    Parameters
    ----------
    replicates : trials that the figures rest on; ``failed``: trials whose analysis came to no result, and in which nothing was concluded.
    effect : the truth. ``mean``, ``bias``, ``sd``: of the estimates.
    power : share of trials that rejected (type-I error where the effect is zero). ``standard_error``: mean of the stated ones.
    coverage : of the stated 95 % interval. After an early stop it is that of the naive interval.
    patients : mean number enrolled. ``stops``: share of trials that ended at each look; one entry where there is one.
    estimates, p_values : (replicate,) of every trial with a result.
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
    failed: int = 0
    patients: float = float("nan")
    stops: tuple[float, ...] = (1.0,)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures without the replicates."""
        return {k: v for k, v in vars(self).items() if k not in ("estimates", "p_values")} | {"errors": dict(self.errors)}


_STRETCH = 20
"""Blocks that travel to a worker together; it changes no result."""


@dataclass(frozen=True)
class _Task:
    """Some blocks of trials: the same wherever they run."""

    design: Replicated
    world: World
    key: tuple[int, int]
    first: int
    last: int


def run_blocks(task: _Task) -> list[dict[str, Readings]]:
    """Run some blocks of trials; at the top of the module, so that another process finds it."""
    return [task.design.replicate(task.world, generator(task.key, block), BLOCK) for block in range(task.first, task.last)]


def simulate(
    design: Any,
    world: World | AbstractWorld,
    replicates: int,
    *,
    key: SimulationKey | PRNGKeyArray,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> dict[str, Characteristics]:
    """Repeat a trial.

    Parameters
    ----------
    design, world : who is enrolled and how it is read; where patients and outcomes come from. A world written in JAX takes a plain
        :class:`~gemel.trials.simulate.design.Design` with analyses that are.
    replicates : number of trials.
    key : a seed or a typed JAX key. Trials are drawn in blocks of a fixed size, each from a counter-based generator that starts at the block's number:
        longer runs, other tasks and other workers give the same bits.
    progress : told of finished trials; where it asks for a stop, the figures are those of the trials done.
    executor : runs blocks elsewhere; left out, here, one after the other.

    Returns
    -------
    Operating characteristics by analysis.

    Raises
    ------
    ModelError
        For fewer than two replicates, or a world without what an analysis needs.
    InferenceError
        When no trial came to a result.
    """
    if replicates < 2:
        raise ModelError("operating characteristics need at least two trials", seen=replicates)
    if not isinstance(world, World):
        from gemel.trials.simulate.compiled import simulate_compiled

        return simulate_compiled(design, world, replicates, key=key, progress=progress)
    words, blocks = philox_key(key), -(-replicates // BLOCK)
    if executor is not None:
        tasks = [_Task(design, world, words, first, min(first + _STRETCH, blocks)) for first in range(0, blocks, _STRETCH)]
        parts = [part for stretch in executor.run(run_blocks, tasks, progress=progress) for part in stretch]
    else:
        parts = []
        if progress is not None:
            progress.start("trials", replicates)
        for block in range(blocks):
            parts += run_blocks(_Task(design, world, words, block, block + 1))
            if progress is not None and progress.update(min((block + 1) * BLOCK, replicates)) is False:
                break
        if progress is not None:
            progress.finish()
    if not parts:
        raise InferenceError("stopped before any trial was done", seen=0, expected="a block of trials or more", fix="run it again")
    return {
        name: characteristics(name, joined([part[name] for part in parts], replicates), world.effect, design.alpha) for name in parts[0]
    }


def joined(parts: Sequence[Readings], replicates: int) -> Readings:
    """Put blocks of readings together and cut them to the number asked for."""
    whole = {}
    for field in fields(Readings):
        values = [getattr(part, field.name) for part in parts]
        if field.name == "truth" or values[0] is None:
            whole[field.name] = values[0]
        else:
            whole[field.name] = np.concatenate(values)[:replicates]
    return Readings(**whole)


def compare(
    designs: Mapping[str, Any],
    world: World | AbstractWorld,
    replicates: int,
    *,
    key: SimulationKey | PRNGKeyArray,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> dict[str, dict[str, Characteristics]]:
    """Repeat several designs in one world under the same randomness."""
    return {name: simulate(design, world, replicates, key=key, progress=progress, executor=executor) for name, design in designs.items()}


def reduction(plain: Characteristics, adjusted: Characteristics) -> tuple[float, float]:
    """Return the share of patients that an analysis saves beside another of the same trials, and its Monte-Carlo error.

    That is one less the ratio of the variances of the estimates; the error knows that both come from the same trials.

    References
    ----------
    Pitman 1939, doi:10.1093/biomet/31.1-2.9 (variances of correlated normals).
    """
    n = min(len(plain.estimates), len(adjusted.estimates))
    if plain.failed or adjusted.failed or n < 3:
        ratio, r = adjusted.sd**2 / plain.sd**2, 0.0
    else:
        ratio = float(np.var(adjusted.estimates, ddof=1) / np.var(plain.estimates, ddof=1))
        r = float(np.corrcoef(plain.estimates, adjusted.estimates)[0, 1])
    return 1 - ratio, float(2 * ratio * np.sqrt(max(1 - r**2, 0.0) / max(n - 1, 1)))


def _stops(look: Int[np.ndarray, " replicate"] | None) -> tuple[float, ...]:
    return (1.0,) if look is None else tuple((np.bincount(look) / len(look)).tolist())


def characteristics(name: str, readings: Readings, effect: float, alpha: float) -> Characteristics:
    """Sum up the readings of one analysis.

    Raises
    ------
    InferenceError
        When fewer than two trials came to a result.
    """
    effect = effect if readings.truth is None else readings.truth
    good = np.isfinite(readings.estimate) & np.isfinite(readings.p_value)
    n, failed = int(good.sum()), int((~good).sum())
    if n < 2:
        raise InferenceError(
            "no operating characteristics: the analysis came to no result", seen=f"{failed} of {len(good)} trials of {name}",
            expected="two or more with a result", fix="enrol more patients per arm, or lose fewer of them",
        )  # fmt: skip
    estimate, p = readings.estimate[good], readings.p_value[good]
    rejected = p < alpha if readings.rejected is None else readings.rejected[good]
    power = float(np.mean(rejected))
    covered = float(np.mean((readings.low[good] <= effect) & (effect <= readings.high[good])))
    sd = float(estimate.std(ddof=1))

    def share(v: float) -> float:
        return float(np.sqrt(max(v * (1 - v), 0.25 / n) / n))  # not zero where all or none of the trials agree

    patients = float("nan") if readings.patients is None else float(readings.patients[good].mean())
    errors = {
        "power": share(power),
        "coverage": share(covered),
        "mean": sd / math.sqrt(n),
        "bias": sd / math.sqrt(n),
        "sd": sd / math.sqrt(2 * (n - 1)),
    }
    if readings.patients is not None:
        errors["patients"] = float(readings.patients[good].std(ddof=1) / np.sqrt(n))
    mean = float(estimate.mean())
    return Characteristics(
        name, n, effect, power, mean, mean - effect, sd, float(np.mean(readings.standard_error[good])), covered, errors, estimate, p,
        failed, patients, _stops(None if readings.look is None else readings.look[good]),
    )  # fmt: skip
