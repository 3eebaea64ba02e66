"""Learners of a conditional mean: ridge regression and splines in NumPy, and any object from elsewhere by a small protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

__all__ = ["LEARNERS", "Foreign", "Learner", "LinearRule", "Ridge", "Rule", "Spline"]

Rule = Callable[[np.ndarray], np.ndarray]
"""(row, column) -> (row,)."""


class Learner(Protocol):
    """What learns a rule from rows."""

    @property
    def name(self) -> str:
        """What it is called in a lineage."""
        ...

    def calibrate(self, x: Float[np.ndarray, "row column"], y: Float[np.ndarray, " row"]) -> Rule:
        """Return the rule: (row, column) -> (row,)."""
        ...


@dataclass(frozen=True)
class LinearRule:
    """A rule that is linear in a basis, and nothing but numbers.

    Parameters
    ----------
    knots : per column, the knots of its natural cubic spline; none for a straight line.
    centre, scale : of the basis columns.
    coefficients : of the scaled basis.
    intercept : unit of the outcome.
    """

    knots: tuple[tuple[float, ...], ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float

    def __call__(self, x: Float[np.ndarray, "row column"]) -> Float[np.ndarray, " row"]:
        """Return the rule's value for each row."""
        z = (_basis(np.asarray(x, float), self.knots) - np.array(self.centre)) / np.array(self.scale)
        return self.intercept + z @ np.array(self.coefficients)


def _basis(x: np.ndarray, knots: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """Natural cubic splines: truncated powers that are straight beyond the outer knots (Hastie et al. 2009, eq. 5.4, 5.5)."""
    parts = []
    for j, places in enumerate(knots):
        column = x[:, j]
        parts.append(column)
        if len(places) >= 3:
            last, before = places[-1], places[-2]

            def d(k: float, column: np.ndarray = column, last: float = last) -> np.ndarray:
                return (np.clip(column - k, 0, None) ** 3 - np.clip(column - last, 0, None) ** 3) / (last - k)

            width = (last - places[0]) ** 2
            parts += [(d(k) - d(before)) / width for k in places[:-2]]
    return np.column_stack(parts) if parts else np.zeros((len(x), 0))


def _ridge(x: np.ndarray, y: np.ndarray, knots: tuple[tuple[float, ...], ...]) -> LinearRule:
    """Ridge regression whose penalty minimises generalised cross-validation (Golub, Heath and Wahba 1979)."""
    b = _basis(x, knots)
    centre = b.mean(axis=0)
    scale = b.std(axis=0)
    scale[scale < 1e-12 * (1 + np.abs(centre))] = np.inf
    z, mean, n = (b - centre) / scale, float(y.mean()), len(y)
    u, s, vt = np.linalg.svd(z, full_matrices=False)
    uy = u.T @ (y - mean)
    rest = float(np.square(y - mean).sum() - np.square(uy).sum())
    best, chosen = np.inf, 1e6 * n
    for penalty in n * np.logspace(-6, 3, 46):
        shrink = s**2 / (s**2 + penalty)
        loss = (rest + np.square(uy * (1 - shrink)).sum()) / max(1 - (1 + shrink.sum()) / n, 1e-3) ** 2
        if loss < best:
            best, chosen = loss, penalty
    beta = vt.T @ (s / (s**2 + chosen) * uy) if len(s) else np.zeros(0)
    finite = np.where(np.isfinite(scale), scale, 1.0)
    return LinearRule(knots, tuple(map(float, centre)), tuple(map(float, finite)), tuple(map(float, beta)), mean)


@dataclass(frozen=True)
class Ridge:
    """Ridge regression; the penalty by generalised cross-validation."""

    name: str = "ridge"

    def calibrate(self, x: Float[np.ndarray, "row column"], y: Float[np.ndarray, " row"]) -> LinearRule:
        """Return the rule."""
        return _ridge(np.asarray(x, float), np.asarray(y, float), ((),) * np.shape(x)[1])


@dataclass(frozen=True)
class Spline:
    """Natural cubic splines with ridge penalty, for columns with many values; straight lines and indicators for the others."""

    name: str = "spline"
    knots: int = 5

    def calibrate(self, x: Float[np.ndarray, "row column"], y: Float[np.ndarray, " row"]) -> LinearRule:
        """Return the rule."""
        x = np.asarray(x, float)
        places = []
        for column in x.T:
            found = np.unique(np.quantile(column, np.linspace(0.05, 0.95, self.knots)))
            places.append(tuple(map(float, found)) if len(np.unique(column)) >= 3 * self.knots and len(found) >= 3 else ())
        return _ridge(x, np.asarray(y, float), tuple(places))


@dataclass(frozen=True)
class Foreign:
    """An estimator of another library, with its ``fit`` and ``predict``. It is copied for each training, and cannot be locked into a file."""

    estimator: Any
    name: str = "foreign"

    def calibrate(self, x: Float[np.ndarray, "row column"], y: Float[np.ndarray, " row"]) -> Rule:
        """Return the rule of a fresh copy."""
        from copy import deepcopy

        trained = deepcopy(self.estimator).fit(x, y)
        return lambda new: np.asarray(trained.predict(new), float)


LEARNERS: dict[str, Learner] = {"ridge": Ridge(), "spline": Spline()}
"""By the names that a design file uses."""
