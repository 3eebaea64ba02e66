"""How alike two groups are before and after weighting: standardised mean differences; how many patients weights leave.

References
----------
Austin 2009, doi:10.1002/sim.3697 (0.1 as a mark); Kish 1965 (effective sample size).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["MARK", "SMALLEST_SHARE", "Balance", "balance", "effective_size"]

MARK = 0.1
"""Standardised difference from which a covariate is called unbalanced."""
SMALLEST_SHARE = 0.25
"""Share of the patients under which their effective number is too small."""


@dataclass(frozen=True)
class Balance:
    """Standardised mean differences, treated minus outside, in the unweighted pooled standard deviation.

    Parameters
    ----------
    before, after : (covariate,) without weights, and with them.
    """

    names: tuple[str, ...]
    before: Float[np.ndarray, " covariate"]
    after: Float[np.ndarray, " covariate"]

    @property
    def flagged(self) -> tuple[str, ...]:
        """Covariates that are unbalanced after weighting."""
        return tuple(name for name, d in zip(self.names, self.after, strict=True) if not abs(d) < MARK)


def effective_size(weights: Float[np.ndarray, " patient"]) -> float:
    """Return (sum w)² / sum w²."""
    return float(weights.sum() ** 2 / (weights @ weights))


def balance(
    names: tuple[str, ...],
    first: Float[np.ndarray, "patient covariate"],
    second: Float[np.ndarray, "other covariate"],
    weights: tuple[Float[np.ndarray, " patient"], Float[np.ndarray, " other"]],
) -> Balance:
    """Compare the means of covariates in two groups, before and after weighting."""
    spread = np.sqrt((first.var(axis=0, ddof=1) + second.var(axis=0, ddof=1)) / 2)
    spread[spread == 0] = 1.0
    after = weights[0] @ first / weights[0].sum() - weights[1] @ second / weights[1].sum()
    return Balance(names, (first.mean(axis=0) - second.mean(axis=0)) / spread, after / spread)
