"""Restricted mean survival time: the area under the curve to a horizon, plain and augmented with covariates.

    RMST(tau) = int_0^tau S,   Var = sum_j (int_{t_j}^tau S)^2 d_j / (n_j (n_j - d_j))
    psi_i = - int_0^tau [int_u^tau S] n / (Y(u) - dN(u)) dM_i(u)     the influence of patient i of an arm
    RMST_adj = RMST - (mean of X in the arm - mean of X over both)' b,    b = slope of psi on X within the arm

The augmented form is AIPW with a linear working model of the influence; randomisation makes it consistent whatever X is worth.

References
----------
Royston and Parmar 2013, doi:10.1186/1471-2288-13-152; Tsiatis et al. 2008, doi:10.1002/sim.3113 (augmentation of influence functions);
Ye et al. 2023, doi:10.1080/01621459.2022.2049278 (variance of ANHECOVA, here with psi as outcome).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DataError, EvidenceError
from gemel.trials.survival.data import SurvivalData
from gemel.trials.survival.kaplan_meier import Curve, curve, kaplan_meier

__all__ = ["RestrictedMeans", "horizon", "influence", "restricted_mean", "restricted_means"]


@dataclass(frozen=True)
class RestrictedMeans:
    """Restricted means of both arms and their difference, unit of time.

    Parameters
    ----------
    means : (arm,) reference, treatment; adjusted.
    difference, standard_error : treatment minus reference, adjusted.
    unadjusted, unadjusted_error : the same by Kaplan-Meier alone.
    """

    tau: float
    means: Float[np.ndarray, " arm"]
    difference: float
    standard_error: float
    unadjusted: float
    unadjusted_error: float


def horizon(data: SurvivalData) -> float:
    """Return the largest time at which the curves of all arms are known."""
    ends = [math.inf if len(c.survival) and c.survival[-1] == 0 else c.last for c in kaplan_meier(data)]
    return float(min(*ends, data.time.max()))


def _tails(found: Curve, tau: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Area to tau, which events count, and the area from each of them to tau."""
    found.known_at(tau)
    inside = found.times <= tau
    edges = np.concatenate([[0.0], found.times[inside], [tau]])
    height = np.concatenate([[1.0], found.survival[inside]])
    pieces = np.diff(edges) * height
    return float(pieces.sum()), inside, np.cumsum(pieces[::-1])[::-1][1:]


def restricted_mean(found: Curve, tau: float) -> tuple[float, float]:
    """Return the restricted mean of a curve and its variance.

    Raises
    ------
    DataError
        When the curve is not known at tau.
    """
    area, inside, rest = _tails(found, tau)
    y, d = found.at_risk[inside], found.events[inside]
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(y > d, rest**2 * d / (y * (y - d).astype(float)), 0.0)
    return area, float(parts.sum())


def influence(time: Float[np.ndarray, " subject"], found: Curve, event: np.ndarray, tau: float) -> Float[np.ndarray, " subject"]:
    """Return the influence of each patient on the restricted mean of their arm; their mean is nothing."""
    _, inside, rest = _tails(found, tau)
    y, d, n = found.at_risk[inside], found.events[inside], len(time)
    place = np.searchsorted(found.times[inside], time, side="right")
    part = rest * n / np.maximum(y - d, 1)  # where all at risk have the event, nothing is left of the area
    cumulative = np.concatenate([[0.0], np.cumsum(part * d / y)])
    jump = np.concatenate([[0.0], part])
    own = np.where(event & (time <= tau), jump[place], 0.0)
    return cumulative[place] - own


def restricted_means(data: SurvivalData, tau: float) -> RestrictedMeans:
    """Compare the restricted means of two arms, augmented with all covariates of the data.

    Parameters
    ----------
    data : two arms, by :meth:`SurvivalData.pair`.
    tau : horizon, unit of time; within the follow-up of both arms.

    Raises
    ------
    DataError
        When tau is not positive, or a curve is not known there.
    EvidenceError
        When the covariates are linearly dependent, or an arm is too small for them.
    """
    if not (math.isfinite(tau) and tau > 0):
        raise DataError("the horizon is not positive", seen=tau, expected="a time after 0")
    trial = data.trial
    x, columns, n = trial.centred, len(trial.names), data.n
    means, variances, slopes, residual = np.empty(2), np.empty(2), np.zeros((2, columns)), np.empty(2)
    shift = np.zeros(2)
    for a in (0, 1):
        own = trial.arm == a
        found = curve(data.time[own], data.event[own], trial.arms[a])
        means[a], variances[a] = restricted_mean(found, tau)
        residual[a] = variances[a]
        if columns and variances[a] > 0:
            psi = influence(data.time[own], found, data.event[own], tau)
            inside = x[own] - x[own].mean(axis=0)
            scale = np.sqrt(np.square(inside).sum(axis=0))
            if own.sum() <= columns + 2 or (scale == 0).any() or np.linalg.svd(inside / scale, compute_uv=False)[-1] < 1e-8:
                raise EvidenceError(
                    "the covariates are linearly dependent",
                    seen=f"{columns} columns among {int(own.sum())} patients of arm {trial.arms[a]}",
                    expected="columns that vary in each arm and are not sums of each other",
                    fix="leave one out",
                )
            slopes[a] = np.linalg.lstsq(inside, psi, rcond=None)[0]
            left = psi - inside @ slopes[a]
            # Greenwood's variance times the share that is left, with the degrees of freedom that the slopes cost
            residual[a] = variances[a] * (left @ left / (own.sum() - 1 - columns)) / (psi @ psi / (own.sum() - 1))
            shift[a] = x[own].mean(axis=0) @ slopes[a]
    apart = slopes[1] - slopes[0]
    centre = float(apart @ np.atleast_2d(np.cov(x, rowvar=False)) @ apart) / n if columns else 0.0
    adjusted = means - shift
    return RestrictedMeans(
        tau=float(tau),
        means=adjusted,
        difference=float(adjusted[1] - adjusted[0]),
        standard_error=math.sqrt(residual.sum() + centre),
        unadjusted=float(means[1] - means[0]),
        unadjusted_error=math.sqrt(variances.sum()),
    )
