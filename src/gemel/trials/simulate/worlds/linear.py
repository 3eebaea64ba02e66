"""A normal (or skewed) outcome of which a twin foretells a part."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gemel.core.errors import ModelError
from gemel.trials.simulate.batch import Batch, Enrolment
from gemel.trials.simulate.worlds.base import World
from gemel.trials.simulate.worlds.dropout import left, refuse_dropout
from gemel.trials.simulate.worlds.twin import prognosis, refuse_quality

__all__ = ["NOISES", "LinearWorld"]

NOISES = ("normal", "skewed")
"""What is not foretold: normal, or exponential less its mean (skewness 2)."""


@dataclass(frozen=True)
class LinearWorld(World):
    """``outcome = difference * arm + sd (r s + sqrt(1 - r^2) e)``, ``s`` standard normal: what the best prognosis says.

    Parameters
    ----------
    difference : effect of treatment, the same for all, unit of the outcome.
    sd : standard deviation of the outcome under control; ``sd_ratio``: of the unforetold part under treatment, over that under control.
    correlation : of the best prognosis and the outcome, under control.
    twin : how good the prognosis is, one of :data:`~gemel.trials.simulate.worlds.twin.QUALITIES`.
    noise : one of :data:`NOISES`.
    dropout, mechanism : share of missing outcomes, and why they are: MAR by the best prognosis, MNAR by the outcome.
    """

    difference: float = 0.0
    sd: float = 1.0
    correlation: float = 0.5
    twin: str = "true"
    noise: str = "normal"
    sd_ratio: float = 1.0
    dropout: float = 0.0
    mechanism: str = "mcar"

    def __post_init__(self) -> None:
        refuse_quality(self.twin)
        refuse_dropout(self.dropout, self.mechanism)
        if not (self.sd > 0 and self.sd_ratio > 0 and -1 < self.correlation < 1) or self.noise not in NOISES:
            raise ModelError("no such world", seen=self, expected=f"positive SD, correlation between -1 and 1, noise among {NOISES}")

    @property
    def effect(self) -> float:
        """Return the difference."""
        return self.difference

    def null(self) -> LinearWorld:
        """Return the same world without an effect."""
        return replace(self, difference=0.0)

    def draw(self, enrolment: Enrolment, rng: np.random.Generator) -> Batch:
        """Enrol patients in single precision: the analysis sums squares of centred values, and draws have no more to tell."""
        one = np.float32
        signal = rng.standard_normal(enrolment.shape, dtype=one)
        if self.noise == "normal":
            error = rng.standard_normal(enrolment.shape, dtype=one)
        else:
            error = rng.standard_exponential(enrolment.shape, dtype=one) - one(1)
        error *= one(self.sd * np.sqrt(1 - self.correlation**2))
        if self.sd_ratio != 1:
            error *= np.where(enrolment.arm == 1, one(self.sd_ratio), one(1))
        outcome = error
        outcome += one(self.sd * self.correlation) * signal
        said = prognosis(self.twin, signal, rng)
        if self.difference:
            outcome += one(self.difference) * enrolment.arm.astype(one)
        observed = None
        if self.dropout:
            seen = left(self.dropout, self.mechanism, signal[..., None], outcome[..., None] / one(self.sd), rng)
            observed = None if seen is None else seen[..., 0]
        return Batch(enrolment.arm, said[None], outcome, observed)
