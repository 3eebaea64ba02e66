"""What a contrast needs besides the estimates: their covariance, how it moves with the covariance parameters, and how sure those are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from gemel.trials.mmrm.likelihood import Likelihood
from gemel.trials.mmrm.scoring import Optimum

__all__ = ["DegreesOfFreedom", "Precision", "precision"]

DegreesOfFreedom = Literal["satterthwaite", "kenward-roger", "kenward-roger-linear", "between-subjects"]


@dataclass(frozen=True)
class Precision:
    """The precision of mean coefficients.

    Parameters
    ----------
    model : (column, column) ``(X'WX)^-1``.
    sensitivity : (parameter, column, column) its derivatives by the covariance parameters.
    uncertainty : (parameter, parameter) asymptotic covariance of the covariance parameters, ``2 H^-1``.
    """

    model: Float[np.ndarray, "column column"]
    sensitivity: Float[np.ndarray, "parameter column column"]
    uncertainty: Float[np.ndarray, "parameter parameter"]


def precision(likelihood: Likelihood, optimum: Optimum) -> Precision:
    """Return the precision at an optimum, in the basis of the design matrix as it was given."""
    assert optimum.evaluation is not None  # the caller has looked at the status
    assert optimum.derivatives is not None
    back = np.linalg.inv(likelihood.data.upper)
    inverse = optimum.evaluation.inverse
    model = back @ inverse @ back.T
    turned = back @ inverse
    sensitivity = turned @ optimum.derivatives.cross @ turned.T
    scale = np.sqrt(np.diag(optimum.derivatives.observed))
    uncertainty = 2 * np.linalg.inv(optimum.derivatives.observed / np.outer(scale, scale)) / np.outer(scale, scale)
    return Precision(model, sensitivity, (uncertainty + uncertainty.T) / 2)
