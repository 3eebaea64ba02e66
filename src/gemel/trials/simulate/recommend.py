"""The smallest design that keeps its promises in a world, or none and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemel.core.errors import ModelError
from gemel.core.protocols import Executor, Progress
from gemel.trials.simulate.engine import Characteristics, Watch, simulate
from gemel.trials.simulate.worlds.base import World

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    from gemel.trials.simulate.batch import SimulationKey

__all__ = ["Abstained", "Limits", "Recommended", "Weighed", "recommend"]

SURE = 1.645
"""Monte-Carlo errors by which power must lie above its limit, and type-I error may lie above its own: 95 % one-sided."""


@dataclass(frozen=True)
class Limits:
    """What a design must keep.

    Parameters
    ----------
    power : at least, shown beyond Monte-Carlo error. ``type_one``: at most, not shown to be exceeded beyond it.
    patients : enrolled at most, expected under the effect. ``failed``: at most, share of trials whose analysis came to no result.
    """

    power: float = 0.9
    type_one: float = 0.05
    patients: float = float("inf")
    failed: float = 0.01

    def __post_init__(self) -> None:
        if not (0 < self.type_one < self.power < 1 and self.patients > 0 and 0 <= self.failed < 1):
            raise ModelError("no such limits", seen=self, expected="type-I error below power, both between 0 and 1")


@dataclass(frozen=True)
class Weighed:
    """One design, one analysis, in both worlds; ``against`` says which limits it does not keep."""

    design: str
    analysis: str
    patients: float
    under_effect: Characteristics
    under_null: Characteristics
    against: tuple[str, ...]


@dataclass(frozen=True)
class Recommended:
    """The design and the analysis to take. ``weighed`` has all of them, smallest first."""

    design: str
    analysis: str
    sentence: str
    weighed: tuple[Weighed, ...]


@dataclass(frozen=True)
class Abstained:
    """No design keeps the limits, and why."""

    reason: str
    weighed: tuple[Weighed, ...]


def _against(limits: Limits, effect: Characteristics, null: Characteristics, patients: float) -> tuple[str, ...]:
    found = []
    low = effect.power - SURE * effect.errors["power"]
    if low < limits.power:
        found.append(f"power {effect.power:.4f} (Monte-Carlo SE {effect.errors['power']:.4f}) is not shown to reach {limits.power:g}")
    if null.power - SURE * null.errors["power"] > limits.type_one:
        found.append(f"type-I error {null.power:.4f} (Monte-Carlo SE {null.errors['power']:.4f}) exceeds {limits.type_one:g}")
    if patients > limits.patients:
        found.append(f"{patients:.0f} patients are more than {limits.patients:g}")
    share = effect.failed / (effect.failed + effect.replicates)
    if share > limits.failed:
        found.append(f"{share:.1%} of the trials came to no result")
    return tuple(found)


def recommend(
    designs: Mapping[str, Any],
    world: World,
    limits: Limits,
    *,
    replicates: int = 10_000,
    key: SimulationKey | PRNGKeyArray,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Recommended | Abstained:
    """Return the design with the fewest expected patients that keeps all limits, or an abstention with its reason.

    Every design is run in the world and in its null; an analysis is a candidate of its own.

    Parameters
    ----------
    designs : name -> design. ``world`` : with the effect that the trial is to find.
    limits : see :class:`Limits`.
    replicates : in each world. ``progress`` : where it asks for a stop, nothing is recommended.

    Raises
    ------
    ModelError
        When there is no design, or the world has no effect.
    """
    if not designs:
        raise ModelError("there is no design to choose from", seen=0)
    if world.effect == world.null().effect:
        raise ModelError("power needs a world with an effect", seen=world.effect)
    weighed, watch = [], Watch(progress)
    for name, design in designs.items():
        under = simulate(design, world, replicates, key=key, progress=watch, executor=executor)
        null = simulate(design, world.null(), replicates, key=key, progress=watch, executor=executor)
        weighed += [Weighed(name, a, c.patients, c, null[a], _against(limits, c, null[a], c.patients)) for a, c in under.items()]
        if watch.stopped:
            break
    ranked = tuple(sorted(weighed, key=lambda w: (w.patients, -w.under_effect.power)))
    good = [w for w in ranked if not w.against]
    if watch.stopped:
        return Abstained(f"stopped before every design was weighed: {len({w.design for w in ranked})} of {len(designs)} begun", ranked)
    if good:
        best = good[0]
        sentence = (
            f"{best.design}, {best.analysis}: {best.patients:.0f} patients, power {best.under_effect.power:.4f} "
            f"({best.under_effect.errors['power']:.4f}), type-I error {best.under_null.power:.4f} ({best.under_null.errors['power']:.4f})"
        )
        return Recommended(best.design, best.analysis, sentence, ranked)
    nearest = max(ranked, key=lambda w: (-len(w.against), w.under_effect.power))
    return Abstained(f"no design keeps the limits; nearest is {nearest.design}, {nearest.analysis}: {'; '.join(nearest.against)}", ranked)
