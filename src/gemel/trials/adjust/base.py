"""What every analysis returns, and how adjusted arm means become a contrast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel import __version__
from gemel.core.errors import EvidenceError
from gemel.core.lineage import Lineage, digest
from gemel.trials.estimand import Estimand, Summary

__all__ = ["Analysed", "ArmMeans", "Result", "made", "of_means"]


class Analysed(Protocol):
    """What a result says of its data: how many patients, what was done to the rows, a hash of it all."""

    @property
    def n(self) -> int:
        """Subjects that are analysed."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the rows."""
        ...

    @property
    def hash(self) -> str:
        """Of all that is analysed."""
        ...


@dataclass(frozen=True)
class Result:
    """One contrast of two arms.

    Parameters
    ----------
    contrast : ``treatment - reference``, or ``treatment / reference`` for a ratio.
    estimate, standard_error : unit of the outcome; of the **logarithm** for a ratio.
    interval : two-sided, of ``level``; the ratio itself for a ratio.
    ratio : exponential of the estimate, or None.
    df : degrees of freedom of t; infinite for the normal distribution.
    variance_ratio : (standard error without adjustment / this one)².
    effective_n : patients that an unadjusted trial would need for this standard error.
    status : flags; empty when there is nothing to say.
    """

    contrast: str
    method: str
    summary: str
    estimate: float
    standard_error: float
    interval: tuple[float, float]
    level: float
    p_value: float
    df: float
    n: int
    effective_n: float
    variance_ratio: float
    ratio: float | None
    status: tuple[str, ...]
    lineage: Lineage


@dataclass(frozen=True)
class ArmMeans:
    """Adjusted means of all arms and their covariance.

    Parameters
    ----------
    means : (arm,) unit of the outcome.
    covariance : (arm, arm) unit squared.
    """

    means: Float[np.ndarray, " arm"]
    covariance: Float[np.ndarray, "arm arm"]

    @property
    def standard_errors(self) -> Float[np.ndarray, " arm"]:
        """Square roots of the diagonal."""
        return np.sqrt(np.diag(self.covariance))


def of_means(means: ArmMeans, summary: Summary, reference: int, treatment: int) -> tuple[float, float]:
    """Return the contrast of two arm means and its standard error, on the log scale for ratios (delta method).

    Raises
    ------
    EvidenceError
        When the summary is none of means, or its logarithm does not exist.
    """
    psi = means.means[[reference, treatment]]
    v = means.covariance[np.ix_([reference, treatment], [reference, treatment])]
    if summary in (Summary.MEAN_DIFFERENCE, Summary.RISK_DIFFERENCE):
        value, slope = psi[1] - psi[0], np.array([-1.0, 1.0])
    elif summary in (Summary.RISK_RATIO, Summary.RATE_RATIO) and (psi > 0).all():
        value, slope = math.log(psi[1] / psi[0]), np.array([-1 / psi[0], 1 / psi[1]])
    elif summary is Summary.ODDS_RATIO and ((psi > 0) & (psi < 1)).all():
        value, slope = special.logit(psi[1]) - special.logit(psi[0]), np.array([-1.0, 1.0]) / (psi * (1 - psi))
    else:
        raise EvidenceError(
            f"a {summary.value} does not exist here",
            seen=f"arm means {psi[0]:.6g} and {psi[1]:.6g}",
            expected="a difference; a ratio of positive means; odds of means between 0 and 1",
            fix="choose another summary in the estimand",
        )
    return float(value), float(math.sqrt(slope @ v @ slope))


def made(
    data: Analysed,
    estimand: Estimand,
    *,
    method: str,
    estimate: float,
    standard_error: float,
    unadjusted_error: float,
    df: float = math.inf,
    level: float = 0.95,
    status: tuple[str, ...] = (),
    seed: int = 0,
    parents: tuple[str, ...] = (),
) -> Result:
    """Put an estimate and its standard error into a :class:`Result`.

    Raises
    ------
    EvidenceError
        When either is not a finite number, or there is no variance beyond rounding.
    """
    if not (math.isfinite(estimate) and math.isfinite(standard_error) and standard_error > 1e-12 * abs(estimate)):
        raise EvidenceError(
            "the analysis gave no usable number",
            seen=f"{estimate} with standard error {standard_error}",
            expected="finite, with a positive standard error",
            fix="look at the outcome and the covariates",
        )
    infinite = math.isinf(df)
    quantile = special.ndtri(0.5 + level / 2) if infinite else special.stdtrit(df, 0.5 + level / 2)
    t = abs(estimate) / standard_error
    p = 2 * (special.ndtr(-t) if infinite else special.stdtr(df, -t))
    low, high = estimate - quantile * standard_error, estimate + quantile * standard_error
    if estimand.is_ratio:
        low, high = math.exp(low), math.exp(high)
    gain = (unadjusted_error / standard_error) ** 2
    mark = "/" if estimand.is_ratio else "-"
    return Result(
        contrast=f"{estimand.treatment} {mark} {estimand.reference}",
        method=method,
        summary=estimand.summary.value,
        estimate=float(estimate),
        standard_error=float(standard_error),
        interval=(float(low), float(high)),
        level=level,
        p_value=float(p),
        df=float(df),
        n=data.n,
        effective_n=float(data.n * gain),
        variance_ratio=float(gain),
        ratio=math.exp(estimate) if estimand.is_ratio else None,
        status=(*data.notes, *status),
        lineage=Lineage(
            record=data.hash,
            model="trial",
            model_version="1",
            code_version=__version__,
            method=method,
            seed=seed,
            parents=parents,
            note=f"estimand {digest(estimand)[:16]}",
        ),
    )
