"""The log-rank test of many trials, without and with covariates (Ye, Shao and Yi), for times without ties.

References
----------
Ye, Shao and Yi 2024, doi:10.1093/biomet/asad045 (covariate-adjusted log-rank). Peto and Peto 1972, doi:10.2307/2344317 (one-step estimate).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from gemel.core.errors import ModelError
from gemel.trials.simulate.batch import Batch, Readings

__all__ = ["LogRank"]


@dataclass(frozen=True)
class LogRank:
    """Compare survival. The estimate is the **one-step** logarithm of the hazard ratio, ``U / V``: exact as the effect goes to zero, too near to zero for
    large ones, where its interval does not cover; the test is the log-rank test.

    Parameters
    ----------
    covariates : how many of the trial's covariates the test is adjusted for.
    name : of the analysis in the result; left empty, ``logrank`` or ``adjusted logrank``.
    """

    covariates: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        if self.covariates < 0:
            raise ModelError("a number of covariates is not negative", seen=self.covariates)
        if not self.name:
            object.__setattr__(self, "name", "adjusted logrank" if self.covariates else "logrank")

    def read(self, batch: Batch) -> Readings:
        """Read the trials; one without an event in which both arms were at risk has no result."""
        if batch.observed is None or batch.outcome.ndim != 2:
            raise ModelError("a log-rank test needs times and events", seen=batch.outcome.shape, expected="a world of survival")
        if self.covariates > len(batch.covariates):
            raise ModelError("the world has fewer covariates than the analysis", seen=len(batch.covariates), expected=self.covariates)
        n = batch.patients
        order = np.argsort(batch.outcome, axis=1)
        arm = np.take_along_axis(np.broadcast_to(batch.arm, batch.outcome.shape), order, axis=1).astype(float)
        event = np.take_along_axis(batch.observed, order, axis=1).astype(float)
        whole = np.arange(n, 0, -1.0)
        treated = np.cumsum(arm[:, ::-1], axis=1)[:, ::-1]
        share = treated / whole
        score = ((arm - share) * event).sum(axis=1) / n
        variance = (share * (1 - share) * event).sum(axis=1) / n
        information = variance.copy()
        if self.covariates:
            x = np.take_along_axis(batch.covariates[: self.covariates].astype(float), order[None], axis=2)
            score, variance = _adjusted(x, arm, event, share, whole, score, variance)
        good = (information > 0) & (variance > 0)
        safe = np.where(good, variance, 1.0)
        z = np.sqrt(n) * score / np.sqrt(safe)
        estimate = score / np.where(good, information, 1.0)
        error = np.sqrt(safe / n) / np.where(good, information, 1.0)
        width = special.ndtri(0.975) * error
        read = (estimate, error, estimate - width, estimate + width, 2 * special.ndtr(-np.abs(z)), z)
        return Readings(*(np.where(good, value, np.nan) for value in read))


def _adjusted(
    x: np.ndarray, arm: np.ndarray, event: np.ndarray, share: np.ndarray, whole: np.ndarray, score: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return score and variance after regression of each arm's derived outcomes on the covariates; rows are sorted by time."""
    n = arm.shape[1]
    x = np.moveaxis(x - x.mean(axis=2, keepdims=True), 0, 2)  # (trial, patient, covariate), around the mean of all
    loss = 1 / whole
    slopes, moved = 0.0, 0.0
    for a, other in ((1.0, 1 - share), (0.0, share)):
        outcome = other * event - np.cumsum(other * event * loss, axis=1)
        mine = (arm == a)[..., None]
        count = mine.sum(axis=1)
        own = np.where(mine, x - (x * mine).sum(axis=1, keepdims=True) / count[:, None], 0.0)
        slope = np.linalg.solve(np.swapaxes(own, 1, 2) @ own, np.einsum("tpc,tp->tc", own, outcome)[..., None])[..., 0]
        slopes = slopes + slope
        moved = moved + (1 if a else -1) * np.einsum("tpc,tc->t", np.where(mine, x, 0.0), slope)
    p = arm.mean(axis=1)
    spread = np.swapaxes(x, 1, 2) @ x / (n - 1)
    return score - moved / n, variance - p * (1 - p) * np.einsum("tc,tcd,td->t", slopes, spread, slopes)
