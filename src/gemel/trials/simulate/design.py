"""A parallel trial of two arms, read once at its end or at looks on the way there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gemel.core.errors import ModelError
from gemel.trials.design.allocation import BY_COVARIATE, RULES, allocate, minimised
from gemel.trials.design.boundary import Boundary
from gemel.trials.simulate.batch import Batch, Enrolment, Readings
from gemel.trials.simulate.worlds.base import World, given, potential

__all__ = ["Design"]


@dataclass(frozen=True)
class Design:
    """A two-arm parallel trial.

    Parameters
    ----------
    control, treated : patients enrolled per arm, at most.
    analyses : how each trial is read, each of another name.
    alpha : two-sided level of the test; a boundary has its own.
    allocation : one of :data:`gemel.trials.design.allocation.RULES`. ``fixed`` gives the first patients the one arm and the others the other: the same
        law as a random permutation where patients are drawn independently, and several times faster. ``minimisation`` balances the covariates,
        each cut at the trial's median; equal arms only, whose sizes then differ a little between trials.
    boundary : looks before the end. Each reads the patients enrolled so far; a trial stops at the first look whose z lies beyond.
    futility : (look,) z at or under which a trial stops without rejecting; non-binding, for the boundary was made without it.
    """

    control: int
    treated: int
    analyses: tuple[Any, ...]
    alpha: float = 0.05
    allocation: str = "fixed"
    boundary: Boundary | None = None
    futility: tuple[float, ...] = field(default=())

    def __post_init__(self) -> None:
        if min(self.control, self.treated) < 2:
            raise ModelError("an arm needs at least two patients", seen=(self.control, self.treated))
        if not 0 < self.alpha < 1:
            raise ModelError("the level of a test lies between 0 and 1", seen=self.alpha)
        if len({a.name for a in self.analyses}) < max(1, len(self.analyses)):
            raise ModelError("a design needs at least one analysis, each of another name", seen=[a.name for a in self.analyses])
        if self.allocation not in RULES + BY_COVARIATE:
            raise ModelError("no such allocation", seen=self.allocation, expected=RULES + BY_COVARIATE)
        if self.allocation == "minimisation" and self.control != self.treated:
            raise ModelError("minimisation is for equal arms", seen=(self.control, self.treated))
        looks = 1 if self.boundary is None else len(self.boundary.fractions)
        if self.futility and (self.boundary is None or len(self.futility) != looks):
            raise ModelError("futility needs a boundary, and a value per look", seen=self.futility, expected=f"{looks} values")

    @property
    def patients(self) -> int:
        """Both arms, at most."""
        return self.control + self.treated

    def replicate(self, world: World, rng: np.random.Generator, trials: int) -> dict[str, Readings]:
        """Run this many trials; readings by analysis."""
        if self.allocation == "minimisation":
            both = potential(world, self.patients, trials, rng)
            known = both[0].covariates if both[0].covariates.ndim == 3 else both[0].covariates[..., 0]
            levels = np.moveaxis(known > np.median(known, axis=2, keepdims=True), 0, 2).astype(int)
            batch = given(both, minimised(levels, rng))
        else:
            batch = world.draw(Enrolment(allocate(self.allocation, (self.control, self.treated), trials, rng), trials), rng)
        if self.boundary is None:
            return {a.name: replace(a.read(batch), patients=np.full(trials, float(self.patients))) for a in self.analyses}
        return {a.name: self._looked_at(a, batch, self.boundary) for a in self.analyses}

    def _first(self, share: float) -> slice | np.ndarray:
        """Return the patients enrolled by a look: a share of each arm, or of all where the arms are mixed."""
        if self.allocation != "fixed":
            return slice(round(share * self.patients))
        return np.r_[: round(share * self.control), self.control : self.control + round(share * self.treated)]

    def _looked_at(self, analysis: Any, batch: Batch, plan: Boundary) -> Readings:
        last = len(plan.fractions) - 1
        futility = self.futility or (-np.inf,) * (last + 1)
        found, going = None, np.ones(batch.trials, bool)
        for k, share in enumerate(plan.fractions):
            part = batch if k == last else batch.take(self._first(share))
            seen = analysis.read(part)
            over = seen.z >= plan.upper[k]
            under = seen.z <= plan.lower[k]
            here = replace(seen, patients=np.full(batch.trials, float(part.patients)), look=np.full(batch.trials, k), rejected=over | under)
            found = here if found is None else here.where(going, found)
            going = going & ~(over | under | (seen.z <= futility[k]))
        assert found is not None  # a boundary has a look
        return found
