"""The log-rank test adjusted for covariates: more power, the same hypothesis, valid whatever the covariates are worth.

With A treatment, Y numbers at risk, dN events, S = w Y_1 + Y_0 and w = exp(theta), which is 1 for the test:

    U    = sum_i int [A_i - w Y_1/S] dN_i / n
    O_i1 = int (Y_0/S) {dN_i - w Y_i dN/S},   O_i0 = int (w Y_1/S) {dN_i - Y_i dN/S}
    b_a  = slope of O_ia on X within arm a
    U_adj = U - [sum_{A=1} (X_i - Xbar)' b_1 - sum_{A=0} (X_i - Xbar)' b_0] / n
    s2_adj = s2 - p (1 - p) (b_1 + b_0)' Cov(X) (b_1 + b_0)

Within strata the sums run over strata, X is centred in each, and the slopes are shared.

References
----------
Ye, Shao and Yi 2024, Covariate-adjusted log-rank test: guaranteed efficiency gain and universal applicability, Biometrika, doi:10.1093/biomet/asad045.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import EvidenceError
from gemel.trials.survival.data import SurvivalData
from gemel.trials.survival.logrank import tables_by_stratum

__all__ = ["AdjustedLogRank", "Scores", "adjusted_logrank", "adjustment", "scores", "slopes_cost"]


@dataclass(frozen=True)
class Scores:
    """The score of a hazard ratio, and each subject's part in it.

    Parameters
    ----------
    total : n U, events.
    information : minus the derivative of the total by the log hazard ratio (Breslow).
    variance : of the total; with the ties factor, so that it is the log-rank's at a ratio of 1.
    outcome : (subject,) O_ia for the subject's own arm.
    """

    total: float
    information: float
    variance: float
    outcome: Float[np.ndarray, " subject"]


@dataclass(frozen=True)
class AdjustedLogRank:
    """The adjusted test of two arms.

    Parameters
    ----------
    score : n U_adj, events; below 0 when treatment has fewer than expected.
    variance : of the score.
    unadjusted_score, unadjusted_variance : of the log-rank test: O - E and V.
    """

    score: float
    variance: float
    unadjusted_score: float
    unadjusted_variance: float

    @property
    def z(self) -> float:
        """The test statistic, standard normal when the arms do not differ."""
        return self.score / math.sqrt(self.variance)

    @property
    def p_value(self) -> float:
        """Two-sided."""
        return float(special.erfc(abs(self.z) / math.sqrt(2)))


def scores(data: SurvivalData, *, strata: Sequence[str] = (), log_ratio: float = 0.0) -> Scores:
    """Return the score at a log hazard ratio, its variance, and each subject's part.

    Parameters
    ----------
    data : two arms, by :meth:`SurvivalData.pair`.
    """
    w = math.exp(log_ratio)
    total = information = variance = 0.0
    outcome = np.zeros(data.n)
    for rows, risk in tables_by_stratum(data, data.trial.joint_strata(strata)):
        y0, y1, d = risk.at_risk[:, 0], risk.at_risk[:, 1], risk.events.sum(axis=1)
        s = w * y1 + y0
        share = w * y1 / s
        parts = share * (1 - share) * d
        total += float((risk.events[:, 1] - share * d).sum())
        information += float(parts.sum())
        variance += float((parts * (y0 + y1 - d) / np.maximum(y0 + y1 - 1, 1)).sum())
        for a, (weight, relative) in enumerate(((share, 1.0), (y0 / s, w))):
            own = rows[data.trial.arm[rows] == a]
            place = risk.place[data.trial.arm[rows] == a]
            before = np.concatenate([[0.0], np.cumsum(weight * relative * d / s)])
            jump = np.concatenate([weight, [0.0]])[np.maximum(place - 1, 0)] if len(weight) else np.zeros(len(own))
            outcome[own] = np.where(data.event[own], jump, 0.0) - before[place]
    return Scores(total, information, variance, outcome)


def adjustment(data: SurvivalData, outcome: Float[np.ndarray, " subject"], *, strata: Sequence[str] = ()) -> tuple[float, float]:
    """Return what the covariates take from the score and from its variance.

    Parameters
    ----------
    outcome : (subject,) O_ia, from :func:`scores`.

    Raises
    ------
    EvidenceError
        When the covariates are linearly dependent within an arm, or an arm is too small for them.
    """
    x, arm, n = data.trial.covariates, data.trial.arm, data.n
    if not data.trial.names:
        return 0.0, 0.0
    stratum = data.trial.joint_strata(strata)
    centred = _around(x, stratum)
    slopes = []
    for a in (0, 1):
        own = arm == a
        inside, (members, columns) = _around(x[own], stratum[own]), x[own].shape
        scale = np.sqrt(np.square(inside).sum(axis=0))
        if (
            members <= columns + len(np.unique(stratum[own]))
            or (scale == 0).any()
            or np.linalg.svd(inside / scale, compute_uv=False)[-1] < 1e-8
        ):
            raise EvidenceError(
                "the covariates are linearly dependent",
                seen=f"{columns} columns among {members} patients of arm {data.trial.arms[a]}",
                expected="columns that vary in each arm and are not sums of each other",
                fix="leave one out; a factor of the strata is no covariate beside them",
            )
        slopes.append(np.linalg.lstsq(inside, _around(outcome[own][:, None], stratum[own])[:, 0], rcond=None)[0])
    both = slopes[0] + slopes[1]
    shift = centred[arm == 1].sum(axis=0) @ slopes[1] - centred[arm == 0].sum(axis=0) @ slopes[0]
    covariance = centred.T @ centred / (n - len(np.unique(stratum)))
    share = arm.mean()
    return float(shift), float(n * share * (1 - share) * (both @ covariance @ both))


def _around(x: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    out = np.empty(x.shape)
    for s in np.unique(stratum):
        out[stratum == s] = x[stratum == s] - x[stratum == s].mean(axis=0)
    return out


def slopes_cost(data: SurvivalData, strata: Sequence[str] = ()) -> float:
    """Return by how much the variance of the adjusted score is too small for having taken its slopes as known: (n - 2 s) / (n - 2 s - 2 k).

    With k covariates and s strata; each arm has k slopes, as in analysis of covariance with a slope per arm. Not in the paper; measured in
    ``benchmarks/trials_survival.py``.
    """
    free = data.n - 2 * len(np.unique(data.trial.joint_strata(strata)))
    return free / max(free - 2 * len(data.trial.names), 1)


def adjusted_logrank(data: SurvivalData, *, strata: Sequence[str] = (), small_sample: bool = False) -> AdjustedLogRank:
    """Compare the two arms of a trial, adjusted for all covariates of the data.

    Parameters
    ----------
    data : two arms, by :meth:`SurvivalData.pair`.
    strata : factors among the strata of the data; sums over their cells.
    small_sample : multiply the variance by :func:`slopes_cost`; left out, it is the paper's.

    Raises
    ------
    EvidenceError
        When no event happened while both arms were at risk, the covariates are linearly dependent, or they explain all of the variance.
    """
    found = scores(data, strata=strata)
    shift, saved = adjustment(data, found.outcome, strata=strata)
    if found.variance <= 0 or found.variance - saved <= 1e-9 * found.variance:
        raise EvidenceError(
            "the test has no variance",
            seen=f"{found.variance:.4g} from the events, {saved:.4g} explained",
            expected="events while both arms are at risk, and fewer covariates than events",
        )
    cost = slopes_cost(data, strata) if small_sample else 1.0
    return AdjustedLogRank(found.total - shift, cost * (found.variance - saved), found.total, found.variance)
