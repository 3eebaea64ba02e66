"""Repeated measures in the manner of an Alzheimer's trial: decline, variance that grows, a prognosis, dropout."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from gemel.core.errors import ModelError
from gemel.trials.simulate.batch import Batch, Enrolment
from gemel.trials.simulate.worlds.base import World
from gemel.trials.simulate.worlds.dropout import left, refuse_dropout
from gemel.trials.simulate.worlds.twin import prognosis, refuse_quality

__all__ = ["LongitudinalWorld"]


@dataclass(frozen=True)
class LongitudinalWorld(World):
    """Change of a score over visits at equal distances; every figure of the shape is ASSUMED, none is fitted to a trial.

    The mean rises by ``decline`` to the last visit, the standard deviation from half of ``sd`` to ``sd``, the correlation with the best prognosis in
    proportion to time, the effect too. What is not foretold is correlated between visits by 0.3 + 0.7 * 0.8^lag.

    Parameters
    ----------
    difference : effect at the last visit, unit of the score. ``visits``: how many.
    sd : at the last visit. ``decline``: mean change under control until then.
    correlation : of the best prognosis and the last visit, so that its R² is the square.
    twin : how good the prognosis is.
    dropout : share of controls gone by the last visit; the first visit is always seen. ``mechanism``: MAR by the last value seen, MNAR by the value
        unseen, both less the mean of the controls: higher leaves more often.
    intermittent : share of single visits missing at random besides.
    """

    difference: float = 0.0
    visits: int = 4
    sd: float = 7.0
    decline: float = 4.0
    correlation: float = 0.5
    twin: str = "true"
    dropout: float = 0.0
    mechanism: str = "mar"
    intermittent: float = 0.0

    def __post_init__(self) -> None:
        refuse_quality(self.twin)
        refuse_dropout(self.dropout, self.mechanism)
        if not (self.sd > 0 and -1 < self.correlation < 1 and 2 <= self.visits <= 12 and 0 <= self.intermittent <= 0.5):
            raise ModelError("no such world", seen=self, expected="positive SD, correlation between -1 and 1, 2 to 12 visits")

    @property
    def effect(self) -> float:
        """Return the difference at the last visit."""
        return self.difference

    @property
    def times(self) -> Float[np.ndarray, " visit"]:
        """Visits as shares of the trial's length."""
        return np.arange(1, self.visits + 1) / self.visits

    @property
    def scales(self) -> Float[np.ndarray, " visit"]:
        """Standard deviations at the visits, given the arm."""
        return self.sd * (0.5 + 0.5 * self.times)

    @property
    def covariance(self) -> Float[np.ndarray, "visit visit"]:
        """Between visits, given arm and best prognosis."""
        lag = np.abs(np.subtract.outer(np.arange(self.visits), np.arange(self.visits)))
        rest = self.scales * np.sqrt(1 - (self.correlation * self.times) ** 2)
        return (0.3 + 0.7 * 0.8**lag) * np.outer(rest, rest)

    def null(self) -> LongitudinalWorld:
        """Return the same world without an effect."""
        return replace(self, difference=0.0)

    def draw(self, enrolment: Enrolment, rng: np.random.Generator) -> Batch:
        """Enrol patients."""
        signal = rng.standard_normal(enrolment.shape)
        loading = self.correlation * self.times * self.scales
        error = rng.standard_normal((*enrolment.shape, self.visits)) @ np.linalg.cholesky(self.covariance).T
        moved = error + signal[..., None] * loading
        arm = np.broadcast_to(enrolment.arm, enrolment.shape)
        moved = moved + arm[..., None] * (self.difference * self.times)
        standard = moved / self.scales
        there = None
        if self.dropout:
            later = left(self.dropout, self.mechanism, standard[..., :-1], standard[..., 1:], rng)
            if later is not None:
                there = np.concatenate([np.ones((*enrolment.shape, 1), bool), later], axis=2)
        if self.intermittent:
            here = rng.random(moved.shape, dtype=np.float32) >= self.intermittent
            there = here if there is None else here & there
        return Batch(enrolment.arm, prognosis(self.twin, signal, rng)[None], moved + self.times * self.decline, there)
