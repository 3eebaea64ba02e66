"""Sensitivity when a run is dear: a polynomial in place of the model, its leave-one-out error printed, indices from its coefficients.

References
----------
Sudret 2008, doi:10.1016/j.ress.2007.04.002 (indices from coefficients). Blatman and Sudret 2010, doi:10.1016/j.probengmech.2009.10.003 (leave-one-out error).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import factorial
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.polynomial import hermite_e, legendre
from scipy import special

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.evidence.run import Measured
from gemel.evidence.sensitivity.sobol import INDEPENDENT
from gemel.evidence.sensitivity.unit_cube import EDGE, BatchedModel, Inputs, run_batched, sobol_points

__all__ = ["LARGEST_DEGREE", "PolynomialChaos", "polynomial_chaos"]

LARGEST_DEGREE = 4
CREDIBLE = 0.05
"""Above this leave-one-out error the indices are those of the polynomial, not of the model."""


@dataclass(frozen=True)
class PolynomialChaos:
    """Polynomials of one or more quantities in orthonormal terms, and the indices that follow.

    Parameters
    ----------
    names, outputs : of inputs and quantities.
    family : *uniform* (Legendre in the cube) or *normal* (Hermite in normal scores).
    runs : of the model.
    degree : (quantity,) total degree kept: that with the smallest leave-one-out error.
    errors : (degree, quantity) leave-one-out error of degrees 1, 2, ..., as a share of the variance.
    terms : (term, input) exponents of the largest degree; coefficients of a smaller one are zero.
    coefficients : (term, quantity).
    mean, variance, first, total : (quantity,), (quantity,), (input, quantity), (input, quantity), from the coefficients.
    first_interval, total_interval : (2, input, quantity) limits by bootstrap of the leave-one-out residuals, the degree held.
    """

    names: tuple[str, ...]
    outputs: tuple[str, ...]
    family: str
    runs: int
    degree: tuple[int, ...]
    errors: Float[np.ndarray, "degree quantity"]
    terms: Int[np.ndarray, "term input"]
    coefficients: Float[np.ndarray, "term quantity"]
    mean: Float[np.ndarray, " quantity"]
    variance: Float[np.ndarray, " quantity"]
    first: Float[np.ndarray, "input quantity"]
    first_interval: Float[np.ndarray, "2 input quantity"]
    total: Float[np.ndarray, "input quantity"]
    total_interval: Float[np.ndarray, "2 input quantity"]
    level: float
    note: str

    @property
    def error(self) -> Float[np.ndarray, " quantity"]:
        """(quantity,) leave-one-out error of the polynomial kept, as a share of the variance."""
        return self.errors[np.asarray(self.degree) - 1, np.arange(len(self.outputs))]

    @property
    def credible(self) -> tuple[bool, ...]:
        """Per quantity, whether that error is small enough for the indices to be the model's."""
        return tuple(bool(e <= CREDIBLE) for e in self.error)

    def at(self, u: Float[np.ndarray, "n input"]) -> Float[np.ndarray, "n quantity"]:
        """Return the polynomials at points of the unit cube."""
        return _basis(np.asarray(u, float), self.terms, self.family) @ self.coefficients

    def figures(self, shown_on: ShownOn | None = None) -> tuple[Measured, ...]:
        """Return the leave-one-out error and the total index of each input as figures of evidence."""
        on = shown_on or ShownOn(kind="simulated", n=self.runs, what="runs of the model")
        out = []
        for j, q in enumerate(self.outputs):
            note = f"{self.note}; polynomial of degree {self.degree[j]}"
            error, met = float(self.error[j]), self.credible[j]
            out.append(Measured(name=f"{q}: leave-one-out error", value=error, high=CREDIBLE, met=met, shown_on=on, note=note))
            for i, name in enumerate(self.names):
                low, high = (float(x) for x in self.total_interval[:, i, j])
                value = float(self.total[i, j])
                out.append(Measured(name=f"{q}: ST of {name}", value=value, low=low, high=high, shown_on=on, note=note))
        return tuple(out)

    def table(self) -> dict[str, list[Any]]:
        """Return the indices as columns, one row per quantity and input."""
        rows = [(q, n, i, j) for j, q in enumerate(self.outputs) for i, n in enumerate(self.names)]
        told: dict[str, list[Any]] = {"quantity": [r[0] for r in rows], "input": [r[1] for r in rows]}
        for name, value, limits in (("S", self.first, self.first_interval), ("ST", self.total, self.total_interval)):
            told[name] = [float(value[i, j]) for _, _, i, j in rows]
            told[f"{name} low"] = [float(limits[0, i, j]) for _, _, i, j in rows]
            told[f"{name} high"] = [float(limits[1, i, j]) for _, _, i, j in rows]
        return told


def _terms(d: int, degree: int) -> np.ndarray:
    rows = [
        np.bincount(np.array(chosen, int), minlength=d) for k in range(degree + 1) for chosen in combinations_with_replacement(range(d), k)
    ]
    return np.array(rows)


def _basis(u: np.ndarray, terms: np.ndarray, family: str) -> np.ndarray:
    """Return (n, term) products of orthonormal polynomials."""
    top = int(terms.max())
    if family == "uniform":
        one = legendre.legvander(2 * u - 1, top) * np.sqrt(2 * np.arange(top + 1) + 1)
    else:
        z = special.ndtri(np.clip(u, EDGE, 1 - EDGE))
        one = hermite_e.hermevander(z, top) / np.sqrt([factorial(k) for k in range(top + 1)])
    out = np.ones((len(u), len(terms)))
    for i in range(u.shape[1]):
        out *= one[:, i][:, terms[:, i]]
    return out


def _shares(coefficients: np.ndarray, terms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    squares = coefficients**2
    variance = squares[1:].sum(axis=0)
    present = terms > 0
    alone = present.sum(axis=1) == 1
    with np.errstate(invalid="ignore", divide="ignore"):
        first = np.stack([squares[alone & present[:, i]].sum(axis=0) for i in range(terms.shape[1])]) / variance
        total = np.stack([squares[present[:, i]].sum(axis=0) for i in range(terms.shape[1])]) / variance
    return variance, first, total


def polynomial_chaos(
    f: BatchedModel, inputs: Inputs, *, n: int = 256, degree: int = LARGEST_DEGREE, family: Literal["uniform", "normal"] = "uniform",
    outputs: Sequence[str] | None = None, seed: int = 0, replicates: int = 200, level: float = 0.95, batch: int | None = None,
) -> PolynomialChaos:  # fmt: skip
    """Put a least-squares polynomial in place of the model and read Sobol indices from it.

    Per quantity the degree with the smallest leave-one-out error is kept; the error is part of the result, and above 5 % of the variance
    :attr:`PolynomialChaos.credible` is false.

    Parameters
    ----------
    f : batched model, ``(n, input) -> (n,)`` or ``(n, quantity)``.
    inputs : independent inputs.
    n : runs, a power of two: at least 1.5 times the terms of degree 1. Degrees with more than ``n / 1.5`` terms are left out.
    degree : largest total degree, at most 4.
    family : *normal* converges faster where inputs are smooth functions of normal scores (a room's prior).

    Raises
    ------
    EvidenceError
        When the degree is not 1 to 4, ``n`` too small, an output is not finite, or a quantity does not vary.
    """
    d = inputs.size
    if not 1 <= degree <= LARGEST_DEGREE:
        raise EvidenceError("the degree of the polynomial", seen=degree, expected=f"1 to {LARGEST_DEGREE}")
    if n < 1.5 * (d + 1):
        raise EvidenceError("too few runs for a polynomial of degree 1", seen=n, expected=f"at least {int(np.ceil(1.5 * (d + 1)))}")
    u = np.clip(sobol_points(n, d, seed), EDGE, 1 - EDGE)
    y = run_batched(f, inputs, u, batch=batch).reshape(n, -1)
    count = y.shape[1]
    names = tuple(outputs) if outputs is not None else ("output",) if count == 1 else tuple(f"output {j}" for j in range(count))
    if len(names) != count:
        raise EvidenceError("there must be one name per quantity", seen=f"{len(names)} names, {count} quantities")
    spread = y.var(axis=0, ddof=1)
    if (spread <= 1e-24 * y.mean(axis=0) ** 2).any():
        raise EvidenceError("a quantity does not vary with the inputs", seen=[q for q, v in zip(names, spread, strict=True) if not v > 0])
    terms, errors = _terms(d, degree), []
    sizes = [int((terms.sum(axis=1) <= k).sum()) for k in range(1, degree + 1)]
    design = _basis(u, terms, family)
    for size in sizes:
        if 1.5 * size > n:
            errors.append(np.full(count, np.inf))
            continue
        q, _ = np.linalg.qr(design[:, :size])
        leverage = np.minimum((q**2).sum(axis=1), 1 - 1e-12)
        rest = (y - q @ (q.T @ y)) / (1 - leverage)[:, None]
        errors.append((rest**2).mean(axis=0) / spread)
    errors = np.stack(errors)
    kept = errors.argmin(axis=0) + 1

    c, again = np.zeros((len(terms), count)), np.zeros((replicates, len(terms), count))
    drawn = np.random.default_rng([seed, 1]).integers(0, n, (replicates, n))
    for k in np.unique(kept):
        size, cols = sizes[k - 1], kept == k
        q, r = np.linalg.qr(design[:, :size])
        c[:size, cols] = np.linalg.solve(r, q.T @ y[:, cols])
        left = (y[:, cols] - q @ (q.T @ y[:, cols])) / (1 - np.minimum((q**2).sum(axis=1), 1 - 1e-12))[:, None]
        left -= left.mean(axis=0)
        for b in range(replicates):
            again[b][:size, cols] = c[:size, cols] + np.linalg.solve(r, q.T @ left[drawn[b]])
    variance, first, total = _shares(c, terms)
    shaken = [_shares(a, terms)[1:] for a in again]
    cuts = [(1 - level) / 2, (1 + level) / 2]
    limits = [np.quantile(np.stack([a[k] for a in shaken]), cuts, axis=0) for k in (0, 1)]
    note = "; ".join(t for t in (INDEPENDENT, inputs.note) if t)
    return PolynomialChaos(
        inputs.names, names, family, n, tuple(int(k) for k in kept), errors, terms, c, c[0], variance, first, limits[0], total, limits[1], level, note
    )  # fmt: skip
