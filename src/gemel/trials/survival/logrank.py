"""The log-rank test, plain and stratified.

References
----------
Mantel 1966; Peto and Peto 1972, doi:10.2307/2344317. The one-step estimate (O - E) / V: Yusuf et al. 1985, doi:10.1016/S0033-0620(85)80003-7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy import special

from gemel.core.errors import EvidenceError
from gemel.trials.survival.data import Risk, SurvivalData, risk_table

__all__ = ["LogRank", "logrank", "tables_by_stratum"]


@dataclass(frozen=True)
class LogRank:
    """The log-rank test of two arms.

    Parameters
    ----------
    observed, expected : events under treatment.
    variance : of their difference; hypergeometric, so ties are in it.
    """

    observed: float
    expected: float
    variance: float

    @property
    def chi_squared(self) -> float:
        """With one degree of freedom."""
        return (self.observed - self.expected) ** 2 / self.variance

    @property
    def z(self) -> float:
        """Below 0 when fewer events were observed under treatment than expected."""
        return (self.observed - self.expected) / math.sqrt(self.variance)

    @property
    def p_value(self) -> float:
        """Two-sided."""
        return float(special.erfc(abs(self.z) / math.sqrt(2)))


def tables_by_stratum(data: SurvivalData, stratum: Int[np.ndarray, " subject"]) -> Iterator[tuple[np.ndarray, Risk]]:
    """Yield the rows of each stratum with their numbers at risk by arm."""
    for s in np.unique(stratum):
        rows = np.flatnonzero(stratum == s)
        yield rows, risk_table(data.time[rows], data.event[rows], data.trial.arm[rows], 2)


def logrank(data: SurvivalData, *, strata: Sequence[str] = ()) -> LogRank:
    """Compare the two arms of a trial; with strata, sums over their cells.

    Parameters
    ----------
    data : two arms, by :meth:`SurvivalData.pair`.
    strata : factors among the strata of the data.

    Raises
    ------
    EvidenceError
        When no event happened while both arms were at risk.
    """
    observed = expected = variance = 0.0
    for _, risk in tables_by_stratum(data, data.trial.joint_strata(strata)):
        y, d = risk.at_risk.sum(axis=1), risk.events.sum(axis=1)
        share = risk.at_risk[:, 1] / y
        observed += float(risk.events[:, 1].sum())
        expected += float((share * d).sum())
        variance += float((d * share * (1 - share) * (y - d) / np.maximum(y - 1, 1)).sum())
    if variance <= 0:
        raise EvidenceError(
            "no event happened while both arms were at risk",
            seen=f"{int(data.event.sum())} events in {data.n}",
            expected="events in either arm",
        )
    return LogRank(observed, expected, variance)
