"""A logistic risk model with its standard errors: what a risk-adjusted chart is adjusted by, and refitted to tell how sure its run length is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

from gemel.core.errors import EvidenceError
from gemel.evidence.logistic import newton_logistic

__all__ = ["RiskModel", "fit_risk"]


@dataclass(frozen=True)
class RiskModel:
    """``logit p = intercept + slopes . x``, with standard errors (intercept first)."""

    coefficients: tuple[float, ...]
    standard_errors: tuple[float, ...]
    n: int
    events: int

    def probability(self, covariates: ArrayLike) -> Float[np.ndarray, " case"]:
        """Return the probability of the event.

        Parameters
        ----------
        covariates : (case,) or (case, covariate).
        """
        return special.expit(_design(covariates) @ np.asarray(self.coefficients))


def _design(covariates: ArrayLike) -> np.ndarray:
    x = np.asarray(covariates, float)
    x = x[:, None] if x.ndim == 1 else x
    return np.column_stack([np.ones(len(x)), x])


def fit_risk(covariates: ArrayLike, outcome: ArrayLike, *, weights: ArrayLike | None = None) -> RiskModel:
    """Maximise the likelihood of a logistic model by Newton's method.

    Parameters
    ----------
    covariates : (case,) or (case, covariate), finite.
    outcome : (case,) 0 or 1.
    weights : (case,) how often each case counts; one each when left out.

    Raises
    ------
    EvidenceError
        When an outcome is not 0 or 1, only one of the two occurs, or the cases are separated.
    """
    x, y = _design(covariates), np.asarray(outcome, float)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, float)
    if not np.isin(y, (0.0, 1.0)).all() or not np.isfinite(x).all():
        raise EvidenceError("a risk model needs outcomes of 0 or 1 and finite covariates", fix="leave the case out and count it")
    events = float(w @ y)
    if not 0 < events < w.sum():
        raise EvidenceError("a risk model needs both outcomes", seen=f"{events:g} events of {w.sum():g}", expected="at least one of each")
    start = np.zeros(x.shape[1])
    start[0] = special.logit(events / w.sum())
    found = newton_logistic(x, y, w, start)
    if found is not None:
        errors = np.sqrt(np.diag(np.linalg.inv(found[1])))
        return RiskModel(tuple(found[0].tolist()), tuple(errors.tolist()), round(w.sum()), round(events))
    raise EvidenceError(
        "the risk model does not settle: its cases are separated, or a covariate is a sum of others",
        seen=f"{len(y)} cases, {events:g} events",
        fix="use fewer covariates",
    )
