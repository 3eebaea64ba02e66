"""Risk difference of many trials: pooled z test, Newcombe's hybrid score interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from gemel.trials.simulate.batch import Batch, Readings, only

__all__ = ["RiskDifference"]


@dataclass(frozen=True)
class RiskDifference:
    """Compare the arms' proportions; without an adjustment. A linear model of 0 and 1 is the adjusted analysis of the same estimand.

    References
    ----------
    Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I, method 10.
    """

    name: str = "proportions"

    def read(self, batch: Batch) -> Readings:
        """Read the trials; where everybody or nobody responds nothing is claimed, and a trial with fewer than two of an arm has no result."""
        batch = batch.last_visit()
        good = (batch.seen() >= 2).all(axis=0)
        if not good.all():
            return only(good, self.read(batch.keep(good)) if good.any() else Readings(*[np.zeros(0)] * 6))
        seen = np.ones(batch.outcome.shape) if batch.observed is None else batch.observed.astype(float)
        treated = seen * batch.arm
        y = np.where(seen > 0, batch.outcome, 0.0)
        z = special.ndtri(0.975)
        n1, n0 = treated.sum(axis=1), (seen - treated).sum(axis=1)
        p1, p0 = (treated * y).sum(axis=1) / n1, ((seen - treated) * y).sum(axis=1) / n0

        def wilson(p: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            middle = p + z**2 / (2 * n)
            half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
            return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)

        (l1, u1), (l0, u0) = wilson(p1, n1), wilson(p0, n0)
        difference, pooled = p1 - p0, (n1 * p1 + n0 * p0) / (n1 + n0)
        spread = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0))
        statistic = np.where(spread > 0, difference / np.where(spread > 0, spread, 1.0), 0.0)
        return Readings(
            difference,
            np.sqrt(p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0),
            difference - np.sqrt((p1 - l1) ** 2 + (u0 - p0) ** 2),
            difference + np.sqrt((u1 - p1) ** 2 + (p0 - l0) ** 2),
            2 * special.ndtr(-np.abs(statistic)),
            statistic,
        )
