"""A population with a subgroup in which the treatment may do more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from gemel.core.errors import ModelError
from gemel.trials.simulate.batch import Batch, Enrolment
from gemel.trials.simulate.worlds.base import World
from gemel.trials.simulate.worlds.twin import prognosis, refuse_quality

__all__ = ["SubgroupWorld"]


@dataclass(frozen=True)
class SubgroupWorld(World):
    """``outcome = effect of the own group * arm + r s + sqrt(1 - r^2) e``. Covariates: the prognosis, and 1 within the subgroup.

    Parameters
    ----------
    inside, outside : effect within the subgroup and outside, in standard deviations of the outcome.
    share : of patients within the subgroup.
    correlation, twin : as of :class:`~gemel.trials.simulate.worlds.linear.LinearWorld`.
    """

    inside: float = 0.0
    outside: float = 0.0
    share: float = 0.5
    correlation: float = 0.5
    twin: str = "true"

    def __post_init__(self) -> None:
        refuse_quality(self.twin)
        if not (0 < self.share < 1 and -1 < self.correlation < 1):
            raise ModelError("no such world", seen=self, expected="a share between 0 and 1, correlation between -1 and 1")

    @property
    def effect(self) -> float:
        """Return the mean effect over everybody."""
        return self.share * self.inside + (1 - self.share) * self.outside

    def null(self) -> SubgroupWorld:
        """Return the same world without an effect in either group."""
        return replace(self, inside=0.0, outside=0.0)

    def draw(self, enrolment: Enrolment, rng: np.random.Generator) -> Batch:
        """Enrol patients of both groups."""
        return self.draw_among(enrolment, rng, np.zeros(enrolment.trials, bool))

    def draw_among(self, enrolment: Enrolment, rng: np.random.Generator, only: Bool[np.ndarray, " trial"]) -> Batch:
        """Enrol patients; of the subgroup alone in the trials of ``only``."""
        inside = (rng.random(enrolment.shape) < self.share) | only[:, None]
        signal, error = rng.standard_normal((2, *enrolment.shape))
        outcome = self.correlation * signal + np.sqrt(1 - self.correlation**2) * error
        outcome += enrolment.arm * np.where(inside, self.inside, self.outside)
        return Batch(enrolment.arm, np.stack([prognosis(self.twin, signal, rng), inside.astype(float)]), outcome)
