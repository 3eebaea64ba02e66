"""A nonlinear outcome with an effect that varies between patients, and a population that may have moved since the twin was learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gemel.core.errors import ModelError
from gemel.trials.simulate.batch import Batch, Enrolment
from gemel.trials.simulate.worlds.base import World
from gemel.trials.simulate.worlds.twin import prognosis, refuse_quality

__all__ = ["NonlinearWorld"]


@dataclass(frozen=True)
class NonlinearWorld(World):
    """``outcome = (difference + heterogeneity x1) arm + sd (r g(x) + sqrt(1 - r^2) e)``, ``g = (x1 + (x2^2 - 1) / sqrt(2) + x1 x3) / sqrt(3)``.

    In the population of the twin ``x1, x2, x3`` are standard normal, where ``g`` has mean 0, variance 1 and no linear part in x2 or x3. The
    covariates of the trial are the prognosis, which knows ``g``, and x1.

    Parameters
    ----------
    difference : effect at x1 = 0, unit of the outcome. ``heterogeneity``: how it changes with x1.
    sd, correlation, twin : as of :class:`~gemel.trials.simulate.worlds.linear.LinearWorld`, in the twin's population.
    shift : mean of x1, x2 and x3 in this trial: the population has moved, the twin has not.
    """

    difference: float = 0.0
    heterogeneity: float = 0.0
    sd: float = 1.0
    correlation: float = 0.5
    twin: str = "true"
    shift: float = 0.0

    def __post_init__(self) -> None:
        refuse_quality(self.twin)
        if not (self.sd > 0 and -1 < self.correlation < 1 and abs(self.shift) <= 3):
            raise ModelError("no such world", seen=self, expected="positive SD, correlation between -1 and 1, shift within 3")

    @property
    def effect(self) -> float:
        """Return the mean effect over the trial's population."""
        return self.difference + self.heterogeneity * self.shift

    def null(self) -> NonlinearWorld:
        """Return the same world without an effect on average; it still varies."""
        return replace(self, difference=-self.heterogeneity * self.shift)

    def draw(self, enrolment: Enrolment, rng: np.random.Generator) -> Batch:
        """Enrol patients."""
        one = np.float32
        x1, x2, x3 = rng.standard_normal((3, *enrolment.shape), dtype=one) + one(self.shift)
        signal = (x1 + (x2 * x2 - one(1)) / one(np.sqrt(2)) + x1 * x3) / one(np.sqrt(3))
        error = rng.standard_normal(enrolment.shape, dtype=one)
        outcome = one(self.sd) * (one(self.correlation) * signal + one(np.sqrt(1 - self.correlation**2)) * error)
        outcome += enrolment.arm.astype(one) * (one(self.difference) + one(self.heterogeneity) * x1)
        return Batch(enrolment.arm, np.stack([prognosis(self.twin, signal, rng), x1]), outcome)
