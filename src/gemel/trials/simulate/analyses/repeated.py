"""The mixed model for repeated measures of many trials at once: REML, unstructured, Satterthwaite, the effect at the last visit.

References
----------
Mallinckrodt et al. 2008, doi:10.1177/009286150804200402 (the analysis). Giesbrecht and Burns 1985, doi:10.2307/2530872 (degrees of freedom).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemel.core.errors import ModelError
from gemel.trials.simulate.analyses._reml import maximise, moments_of
from gemel.trials.simulate.batch import Batch, Readings, student

__all__ = ["RepeatedMeasures"]


@dataclass(frozen=True)
class RepeatedMeasures:
    """Read ``outcome ~ visit + arm * visit + covariates * visit`` as :func:`gemel.trials.mmrm.mmrm` does, thousands of trials together.

    A trial whose search does not converge, or an arm of which fewer than two were seen at some visit, has no result: NaN, counted as failed.

    Parameters
    ----------
    covariates : how many of the trial's covariates; one that is given by visit is matched in time.
    name : of the analysis in the result; left empty, ``mmrm``, or ``mmrm unadjusted`` without covariates.
    """

    covariates: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        if self.covariates < 0:
            raise ModelError("a number of covariates is not negative", seen=self.covariates)
        if not self.name:
            object.__setattr__(self, "name", "mmrm" if self.covariates else "mmrm unadjusted")

    def read(self, batch: Batch) -> Readings:
        """Read the trials."""
        if batch.outcome.ndim != 3 or batch.outcome.shape[2] < 2:
            raise ModelError("repeated measures need two visits or more", seen=batch.outcome.shape, expected="(trial, patient, visit)")
        if self.covariates > len(batch.covariates):
            raise ModelError("the world has fewer covariates than the analysis", seen=len(batch.covariates), expected=self.covariates)
        y = batch.outcome.astype(np.float64)
        seen = np.ones(y.shape, bool) if batch.observed is None else batch.observed
        arm = np.broadcast_to(batch.arm, y.shape[:2]).astype(np.float64)
        count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
        y = y - np.where(seen, y, 0.0).sum(axis=1, keepdims=True) / count  # moves the intercepts only; sums keep their digits
        covariates = [x - x.mean(axis=1, keepdims=True) for x in batch.covariates[: self.covariates].astype(np.float64)]
        by_arm = np.stack([(seen * (arm == a)[..., None]).sum(axis=1) for a in (0, 1)])
        enough = (by_arm >= 2).all(axis=(0, 2)) & (seen.sum(axis=1) > 2 + self.covariates).all(axis=1)
        result = np.full((3, len(y)), np.nan)
        if enough.any():
            result[:, enough] = _effect([np.ones_like(arm)[enough], arm[enough], *(x[enough] for x in covariates)], y[enough], seen[enough])
        estimate, squared, df = result
        good = np.isfinite(df) & (df >= 2)
        read = student(np.where(good, estimate, 0.0), np.where(good, squared, 1.0), np.where(good, df, 10.0))
        return Readings(**{k: v if v is None else np.where(good, v, np.nan) for k, v in vars(read).items()})


def _effect(z: list[np.ndarray], y: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return estimate, squared error and degrees of freedom of the last coefficient of the arm: (3, trial)."""
    at = maximise(moments_of(z, y, seen))
    found = np.full((3, len(y)), np.nan)
    good = at.converged
    if not good.any():
        return found
    last = (y.shape[2] - 1) * len(z) + 1
    row = at.inverse[good][:, last]
    squared = row[:, last]
    slope = np.einsum("ta,tiab,tb->ti", row, at.cross[good], row)
    hessian = at.hessian[good]
    spread = 2 * (slope * np.linalg.solve(hessian, slope[..., None])[..., 0]).sum(axis=1)
    found[:, good] = at.beta[good, -1, 1], squared, 2 * squared**2 / spread
    return found
