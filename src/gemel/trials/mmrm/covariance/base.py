"""What a covariance structure is: parameters -> covariance between visits, with its first and second derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float

__all__ = ["AbstractStructure", "Shape", "common", "heterogeneous", "lags"]


@dataclass(frozen=True)
class Shape:
    """A covariance or correlation between visits, and how it changes with its parameters.

    Parameters
    ----------
    value : (visit, visit).
    first : (parameter, visit, visit) first derivatives.
    second : (parameter, parameter, visit, visit) second derivatives; None where all are zero.
    """

    value: Float[np.ndarray, "visit visit"]
    first: Float[np.ndarray, "parameter visit visit"]
    second: Float[np.ndarray, "parameter parameter visit visit"] | None


class AbstractStructure(Protocol):
    """A structure. Its parameters are those that SAS prints (variances, correlations, covariances, ranges), so that adjusted errors agree.

    ``needs_all_pairs``: each pair of visits must be observed together in somebody. ``needs_coordinates``: visits have a place in time.
    """

    name: str
    title: str
    needs_all_pairs: bool
    needs_coordinates: bool

    def parameters(self, visits: int, /) -> tuple[str, ...]:
        """Return the names of the parameters."""
        ...

    def start(self, moments: Float[np.ndarray, "visit visit"], coordinates: np.ndarray | None, /) -> Float[np.ndarray, " parameter"]:
        """Return where to begin, from a positive definite matrix of moments of residuals."""
        ...

    def build(self, theta: Float[np.ndarray, " parameter"], visits: int, coordinates: np.ndarray | None, /) -> Shape | None:
        """Return the covariance at ``theta``; None outside the parameters' range (positive definiteness is looked at by the caller)."""
        ...


def lags(visits: int) -> np.ndarray:
    """Return how many visits lie between two: (visit, visit) whole numbers."""
    at = np.arange(visits)
    return np.abs(at[:, None] - at)


def common(variance: float, correlation: Shape) -> Shape:
    """Return one variance times a correlation; parameters: the variance, then those of the correlation."""
    value, first = correlation.value, correlation.first
    c, m = len(first), len(value)
    second = np.zeros((c + 1, c + 1, m, m))
    second[0, 1:] = second[1:, 0] = first
    if correlation.second is not None:
        second[1:, 1:] = variance * correlation.second
    return Shape(variance * value, np.concatenate([value[None], variance * first]), second)


def heterogeneous(variances: Float[np.ndarray, " visit"], correlation: Shape) -> Shape:
    """Return a correlation scaled by a variance per visit; parameters: the variances, then those of the correlation."""
    m, c = len(variances), len(correlation.first)
    scale = np.sqrt(np.outer(variances, variances))
    value = scale * correlation.value
    here = np.eye(m)[:, :, None] + np.eye(m)[:, None, :]  # [c, a, b]: how often visit c stands in the pair (a, b)
    slope = here / (2 * variances[:, None, None])  # d log(scale) / d variance
    first = np.concatenate([slope * value, scale * correlation.first])
    second = np.zeros((m + c, m + c, m, m))
    second[:m, :m] = slope[:, None] * slope[None] * value
    at = np.arange(m)
    second[at, at] -= here / (2 * variances[:, None, None] ** 2) * value
    cross = slope[:, None] * (scale * correlation.first)[None]
    second[:m, m:], second[m:, :m] = cross, np.swapaxes(cross, 0, 1)
    if correlation.second is not None:
        second[m:, m:] = scale * correlation.second
    return Shape(value, first, second)
