"""Time to an event, Weibull with proportional hazards, censored at the end of the study and by dropout."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from gemel.core.errors import ModelError
from gemel.trials.simulate.batch import Batch, Enrolment
from gemel.trials.simulate.worlds.base import World
from gemel.trials.simulate.worlds.twin import prognosis, refuse_quality

__all__ = ["SurvivalWorld"]


@dataclass(frozen=True)
class SurvivalWorld(World):
    """``S(t) = Phi(-(r s + sqrt(1 - r^2) e))`` at the patient's own time, ``S`` Weibull by arm: hazards are proportional **marginally**, whatever ``r``.

    Parameters
    ----------
    median : of the time to event under control; ``shape``: of the Weibull distribution.
    hazard_ratio : treated over control, marginal.
    correlation : of the best prognosis and the normal score of S at the time of the event. The prognosis is the risk: high where it comes early.
    accrual, follow_up : patients enter evenly over ``accrual``; the study ends ``follow_up`` after the last; units of ``median``.
    dropout : share of patients censored by an exponential time within ``accrual / 2 + follow_up``.
    twin : how good the prognosis is.
    """

    median: float = 12.0
    shape: float = 1.0
    hazard_ratio: float = 1.0
    correlation: float = 0.5
    accrual: float = 12.0
    follow_up: float = 12.0
    dropout: float = 0.0
    twin: str = "true"

    def __post_init__(self) -> None:
        refuse_quality(self.twin)
        good = min(self.median, self.shape, self.hazard_ratio, self.follow_up) > 0 <= self.accrual
        if not (good and -1 < self.correlation < 1 and 0 <= self.dropout < 1):
            raise ModelError(
                "no such world", seen=self, expected="positive times, shape and ratio; correlation between -1 and 1; a share of dropout"
            )

    @property
    def effect(self) -> float:
        """Return the logarithm of the marginal hazard ratio."""
        return math.log(self.hazard_ratio)

    def null(self) -> SurvivalWorld:
        """Return the same world without an effect."""
        return replace(self, hazard_ratio=1.0)

    def draw(self, enrolment: Enrolment, rng: np.random.Generator) -> Batch:
        """Enrol patients."""
        r, shape = self.correlation, enrolment.shape
        signal, error = rng.standard_normal((2, *shape))
        hazard = -special.log_ndtr(-(r * signal + math.sqrt(1 - r**2) * error))  # cumulative, standard exponential
        ratio = np.where(enrolment.arm == 1, self.hazard_ratio, 1.0)
        time = self.median * (hazard / (ratio * math.log(2))) ** (1 / self.shape)
        end = self.follow_up + self.accrual * rng.random(shape)
        if self.dropout:
            rate = -math.log1p(-self.dropout) / (self.accrual / 2 + self.follow_up)
            end = np.minimum(end, rng.standard_exponential(shape) / rate)
        return Batch(enrolment.arm, -prognosis(self.twin, signal, rng)[None], np.minimum(time, end), time <= end)
