"""Designs that change on the way: a size looked at again while blinded, a population narrowed at an interim, an allocation that follows the outcomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from gemel.core.errors import ModelError
from gemel.trials.design.allocation import FLAG, play_the_winner
from gemel.trials.design.enrichment import closed
from gemel.trials.design.reestimation import blinded_many, needed
from gemel.trials.simulate.analyses.linear import LinearModel
from gemel.trials.simulate.batch import Batch, Enrolment, Readings
from gemel.trials.simulate.worlds.base import World, given, potential
from gemel.trials.simulate.worlds.binary import BinaryWorld
from gemel.trials.simulate.worlds.subgroup import SubgroupWorld

__all__ = ["Enrichment", "Reestimation", "ResponseAdaptive"]


def _arms(control: int, treated: int) -> np.ndarray:
    return np.r_[np.zeros(control, np.int8), np.ones(treated, np.int8)]


@dataclass(frozen=True)
class Reestimation:
    """A 1:1 trial whose size is set at a blinded interim by standard deviation and R² of the prognosis; see :mod:`gemel.trials.design.reestimation`.

    Parameters
    ----------
    interim, planned, maximum : patients per arm at the look, planned, and at most.
    planned_effect : that the size is for. ``power``: to be reached.
    analyses : linear models; the size is for the first, which says whether the prognosis is adjusted for.
    may_shrink : whether fewer than planned may be enrolled.
    """

    interim: int
    planned: int
    maximum: int
    planned_effect: float
    analyses: tuple[LinearModel, ...] = (LinearModel(1),)
    power: float = 0.9
    alpha: float = 0.05
    may_shrink: bool = False

    def __post_init__(self) -> None:
        if (
            not 10 <= 2 * self.interim <= 2 * self.planned <= 2 * self.maximum
            or not self.planned_effect
            or not 0 < self.alpha < self.power < 1
        ):
            raise ModelError(
                "no such re-estimation",
                seen=self,
                expected="5 or more at the interim, then planned, then maximum; an effect; power above the level",
            )
        if not self.analyses or len({a.name for a in self.analyses}) < len(self.analyses):
            raise ModelError("a design needs at least one analysis, each of another name", seen=[a.name for a in self.analyses])

    def replicate(self, world: World, rng: np.random.Generator, trials: int) -> dict[str, Readings]:
        """Run this many trials; readings by analysis."""
        n = self.maximum
        batch = world.draw(Enrolment(_arms(n, n), trials), rng).last_visit()
        if batch.observed is not None:
            raise ModelError(
                "a size is not looked at again in a world with missing outcomes", seen=type(world).__name__, expected="complete outcomes"
            )
        first = batch.take(np.r_[: self.interim, n : n + self.interim])
        whole, rest = blinded_many(
            first.outcome.astype(float),
            first.covariates[0].astype(float) if self.analyses[0].covariates else None,
            self.planned_effect**2 / 4,
        )
        wanted = needed(rest if self.analyses[0].covariates else whole, self.planned_effect, power=self.power, alpha=self.alpha)
        least = self.interim if self.may_shrink else self.planned
        size = np.clip(np.ceil(np.asarray(wanted) / 2), least, n)
        place = np.r_[np.arange(n), np.arange(n)]
        masked = replace(batch, observed=place[None] < size[:, None])
        return {a.name: replace(a.read(masked), patients=2 * size) for a in self.analyses}


@dataclass(frozen=True)
class Enrichment:
    """Two stages; at the interim everybody, the subgroup alone, or nobody is enrolled further; see :mod:`gemel.trials.design.enrichment`.

    Readings are ``whole``, ``subgroup`` and ``either``, one-sided at ``alpha / 2``; ``either`` rejects when one of them does: under no effect at all its
    share is the family-wise error. Estimates pool both stages and are not corrected for the choice.

    Parameters
    ----------
    first, second : patients per arm and stage.
    go_whole, go_part : z at the interim from which everybody, else the subgroup, is enrolled further; below both the trial stops.
    """

    first: int
    second: int
    go_whole: float = 1.0
    go_part: float = 0.5
    covariates: int = 1
    variance: str = "hc2"
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if min(self.first, self.second) < 10 or not 0 < self.alpha < 1:
            raise ModelError("no such enrichment", seen=self, expected="10 patients or more per arm and stage")

    def replicate(self, world: World, rng: np.random.Generator, trials: int) -> dict[str, Readings]:
        """Run this many trials; readings by hypothesis."""
        if not isinstance(world, SubgroupWorld):
            raise ModelError("enrichment needs a world with a subgroup", seen=type(world).__name__, expected="SubgroupWorld")
        analysis = LinearModel(self.covariates, self.variance)

        def read(batch: Batch, among: np.ndarray | None) -> Readings:
            return analysis.read(replace(batch, observed=among))

        one = world.draw(Enrolment(_arms(self.first, self.first), trials), rng)
        part = one.covariates[1] > 0.5
        whole_1, part_1 = read(one, None), read(one, part)
        goes = whole_1.z >= self.go_whole
        narrow = ~goes & (part_1.z >= self.go_part)
        stopped = ~goes & ~narrow
        two = world.draw_among(Enrolment(_arms(self.second, self.second), trials), rng, narrow)
        part_2 = two.covariates[1] > 0.5
        tails = [_upper(r) for r in (whole_1, read(two, None), part_1, read(two, part_2))]
        p_whole, p_part = closed((tails[0], tails[1]), (tails[2], tails[3]), share=self.first / (self.first + self.second), enriched=narrow)
        p_whole, p_part = np.where(stopped, 1.0, p_whole), np.where(stopped, 1.0, p_part)
        both = Batch(
            np.r_[one.arm, two.arm],
            np.concatenate([one.covariates, two.covariates], axis=2),
            np.concatenate([one.outcome, two.outcome], axis=1),
        )
        ran = np.concatenate([np.ones(one.outcome.shape, bool), np.broadcast_to(~stopped[:, None], two.outcome.shape)], axis=1)
        everybody = ran.copy()
        everybody[:, 2 * self.first :] &= goes[:, None]
        patients = 2.0 * (self.first + np.where(stopped, 0, self.second))
        found = {}
        for name, among, p, truth in (
            ("whole", everybody, p_whole, world.effect),
            ("subgroup", ran & (both.covariates[1] > 0.5), p_part, world.inside),
        ):
            rejected = p < self.alpha / 2
            found[name] = replace(
                read(both, among),
                p_value=np.minimum(1.0, 2 * p),
                patients=patients,
                rejected=rejected,
                look=np.where(stopped, 0, 1),
                truth=truth,
            )
        either = found["whole"].rejected | found["subgroup"].rejected
        found["either"] = replace(found["whole"], p_value=np.minimum(1.0, 2 * np.minimum(p_whole, p_part)), rejected=either)
        return found


@dataclass(frozen=True)
class ResponseAdaptive:
    """A trial whose arms follow the outcomes by a play-the-winner urn; ``flag`` says what must be said of it.

    Parameters
    ----------
    patients : both arms. ``start``, ``added``: of :func:`~gemel.trials.design.allocation.play_the_winner`.
    succeeds : whether the outcome 1 is a success, which its arm is rewarded for.
    """

    patients: int
    analyses: tuple[Any, ...]
    start: float = 1.0
    added: float = 1.0
    succeeds: bool = True
    alpha: float = 0.05
    flag: ClassVar[str] = FLAG

    def __post_init__(self) -> None:
        if self.patients < 10 or not self.analyses or not (self.start > 0 and self.added >= 0):
            raise ModelError("no such urn", seen=self, expected="10 patients or more, an analysis, balls to begin with")

    def replicate(self, world: World, rng: np.random.Generator, trials: int) -> dict[str, Readings]:
        """Run this many trials; readings by analysis. A trial with fewer than two patients in an arm has no result."""
        if not isinstance(world, BinaryWorld):
            raise ModelError("the urn needs a binary world", seen=type(world).__name__, expected="BinaryWorld")
        both = potential(world, self.patients, trials, rng)
        won = np.stack([b.outcome for b in both], axis=2)
        arm = play_the_winner(won if self.succeeds else 1 - won, rng, start=self.start, added=self.added)
        batch = given(both, arm)
        return {a.name: replace(a.read(batch), patients=np.full(trials, float(self.patients))) for a in self.analyses}


def _upper(readings: Readings) -> np.ndarray:
    """Return one-sided p-values of an effect upwards; where there is no result nothing is claimed."""
    from scipy import special

    return np.where(np.isfinite(readings.z), special.ndtr(-readings.z), 1.0)
