"""Functions whose sensitivity is known exactly: what the estimators here are held against.

References
----------
Ishigami and Homma 1990. Sobol 1998 (the g function). Morris 1991, doi:10.1080/00401706.1991.10484804, section 5 (twenty inputs).
Owen and Prieur 2017, doi:10.1137/16M1097717 (Shapley effects of linear functions of Gaussian inputs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from gemel.evidence.sensitivity.unit_cube import BatchedModel, Inputs, normal_inputs, uniform_inputs

__all__ = ["MORRIS_LINEAR", "MORRIS_NONLINEAR", "KnownSensitivity", "ishigami", "linear", "morris_function", "sobol_g"]

MORRIS_NONLINEAR, MORRIS_LINEAR = tuple(range(7)), (7, 8, 9)
"""Inputs of Morris's function that matter: the first seven through interactions and curvature as well, the next three linearly."""


@dataclass(frozen=True)
class KnownSensitivity:
    """A function, its inputs, and the exact variance, first-order, total and (independent inputs) Shapley shares."""

    name: str
    model: BatchedModel
    inputs: Inputs
    variance: float
    first: Float[np.ndarray, " input"]
    total: Float[np.ndarray, " input"]
    shapley: Float[np.ndarray, " input"] | None = None


def ishigami(a: float = 7.0, b: float = 0.1) -> KnownSensitivity:
    """Return ``sin x1 + a sin^2 x2 + b x3^4 sin x1`` on uniform inputs in (-pi, pi).

    Examples
    --------
    >>> [round(float(x), 6) for x in (ishigami().variance, *ishigami().total)]
    [13.844588, 0.557589, 0.442411, 0.243684]
    """
    v1 = 0.5 * (1 + b * np.pi**4 / 5) ** 2
    v2, v13 = a**2 / 8, b**2 * np.pi**8 * (1 / 18 - 1 / 50)
    v = v1 + v2 + v13

    def model(x):
        return np.sin(x[:, 0]) + a * np.sin(x[:, 1]) ** 2 + b * x[:, 2] ** 4 * np.sin(x[:, 0])

    inputs = uniform_inputs(("x1", "x2", "x3"), -np.pi, np.pi)
    shares = np.array([v1, v2, 0.0]) / v, np.array([v1 + v13, v2, v13]) / v, np.array([v1 + v13 / 2, v2, v13 / 2]) / v
    return KnownSensitivity("Ishigami", model, inputs, v, *shares)


def sobol_g(a: Sequence[float] = (0.0, 1.0, 4.5, 9.0, 99.0, 99.0, 99.0, 99.0)) -> KnownSensitivity:
    """Return ``prod (|4 x_i - 2| + a_i)/(1 + a_i)`` on uniform inputs in (0, 1).

    Examples
    --------
    >>> [round(float(x), 6) for x in (sobol_g().variance, *sobol_g().first[:3])]
    [0.465424, 0.716192, 0.179048, 0.023676]
    """
    c = np.asarray(a, float)
    v = 1 / (3 * (1 + c) ** 2)
    whole = np.prod(1 + v) - 1
    total = v * np.prod(1 + v) / (1 + v)

    def model(x):
        return np.prod((np.abs(4 * x - 2) + c) / (1 + c), axis=1)

    names = tuple(f"x{i + 1}" for i in range(len(c)))
    return KnownSensitivity("Sobol G", model, uniform_inputs(names, 0.0, 1.0), float(whole), v / whole, total / whole)


def linear(coefficients: Sequence[float], sd: Sequence[float]) -> KnownSensitivity:
    """Return ``sum c_i x_i`` on independent normal inputs with these standard deviations."""
    c, s = np.asarray(coefficients, float), np.asarray(sd, float)
    parts = (c * s) ** 2
    share = parts / parts.sum()
    names = tuple(f"x{i + 1}" for i in range(len(c)))
    return KnownSensitivity("linear", lambda x: x @ c, normal_inputs(names, 0.0, s), float(parts.sum()), share, share, share)


def morris_function(seed: int = 0) -> tuple[BatchedModel, Inputs, Float[np.ndarray, " input"], Float[np.ndarray, "input input"]]:
    """Return Morris's function of twenty uniform inputs in (0, 1).

    ``y = b0 + sum b_i w_i + sum_{i<j} b_ij w_i w_j + sum_{i<j<l} b_ijl w_i w_j w_l + sum b_ijls w_i w_j w_l w_s`` with ``w = 2 (x - 1/2)``, but
    ``w = 2 (1.1 x/(x + 0.1) - 1/2)`` for inputs 3, 5 and 7; b_i = 20 for the first ten, b_ij = -15 among the first six, b_ijl = -10 among the first five,
    b_ijls = 5 among the first four; other b_i and b_ij standard normal (drawn from ``seed``), other b_ijl and b_ijls zero.

    Returns
    -------
    The batched model, its inputs, (20,) linear coefficients and (20, 20) coefficients of pairs, upper triangle.
    """
    rng = np.random.default_rng(seed)
    b1 = np.where(np.arange(20) < 10, 20.0, rng.normal(size=20))
    b2 = np.triu(rng.normal(size=(20, 20)), 1)
    b2[:6, :6] = np.triu(np.full((6, 6), -15.0), 1)

    def model(x):
        w = 2 * (x - 0.5)
        curved = [2, 4, 6]
        w[:, curved] = 2 * (1.1 * x[:, curved] / (x[:, curved] + 0.1) - 0.5)
        y = w @ b1 + ((w @ b2) * w).sum(axis=1)
        triples = sum(w[:, list(three)].prod(axis=1) for three in combinations(range(5), 3))
        return y - 10 * triples + 5 * w[:, :4].prod(axis=1)

    return model, uniform_inputs(tuple(f"x{i + 1}" for i in range(20)), 0.0, 1.0), b1, b2
