"""The 19 NIST StRD nonlinear regression problems of lower and average difficulty as least-squares targets, and a reader of their files."""
# ruff: noqa: ARG001, ARG005  (every regression function has the same three arguments)

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gemel.engine.infer.base import AbstractLeastSquaresTarget


def lanczos(b, x, xp):
    return b[0] * xp.exp(-b[1] * x) + b[2] * xp.exp(-b[3] * x) + b[4] * xp.exp(-b[5] * x)


def gauss(b, x, xp):
    return b[0] * xp.exp(-b[1] * x) + b[2] * xp.exp(-(((x - b[3]) / b[4]) ** 2)) + b[5] * xp.exp(-(((x - b[6]) / b[7]) ** 2))


def chwirut(b, x, xp):
    return xp.exp(-b[0] * x) / (b[1] + b[2] * x)


def hahn(b, x, xp):
    return (b[0] + x * (b[1] + x * (b[2] + x * b[3]))) / (1 + x * (b[4] + x * (b[5] + x * b[6])))


def enso(b, x, xp):
    def wave(c, s, period):
        return c * xp.cos(2 * np.pi * x / period) + s * xp.sin(2 * np.pi * x / period)

    return b[0] + wave(b[1], b[2], 12.0) + wave(b[4], b[5], b[3]) + wave(b[7], b[8], b[6])


MODELS = {
    "Chwirut1": chwirut,
    "Chwirut2": chwirut,
    "DanWood": lambda b, x, xp: b[0] * x ** b[1],
    "ENSO": enso,
    "Gauss1": gauss,
    "Gauss2": gauss,
    "Gauss3": gauss,
    "Hahn1": hahn,
    "Kirby2": lambda b, x, xp: (b[0] + x * (b[1] + x * b[2])) / (1 + x * (b[3] + x * b[4])),
    "Lanczos1": lanczos,
    "Lanczos2": lanczos,
    "Lanczos3": lanczos,
    "MGH17": lambda b, x, xp: b[0] + b[1] * xp.exp(-x * b[3]) + b[2] * xp.exp(-x * b[4]),
    "Misra1a": lambda b, x, xp: b[0] * (1 - xp.exp(-b[1] * x)),
    "Misra1b": lambda b, x, xp: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Misra1c": lambda b, x, xp: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x, xp: b[0] * b[1] * x / (1 + b[1] * x),
    "Nelson": lambda b, x, xp: b[0] - b[1] * x[:, 0] * xp.exp(-b[2] * x[:, 1]),
    "Roszman1": lambda b, x, xp: b[0] - b[1] * x - xp.arctan(b[2] / (x - b[3])) / np.pi,
}
"""Regression functions of parameters, predictors and the array module (``jax.numpy`` for us, ``numpy`` for the peer)."""


@dataclass(frozen=True)
class Problem:
    """One file: data, two starts, reference parameters and standard deviations."""

    name: str
    x: np.ndarray
    y: np.ndarray
    starts: np.ndarray
    reference: np.ndarray
    sd: np.ndarray


def read(folder: Path, name: str) -> Problem:
    """Read ``<name>.dat``; line ranges are taken from its header."""
    lines = (folder / f"{name}.dat").read_text().splitlines()
    header = "\n".join(lines[:30])
    first, last = map(int, re.search(r"Starting Values\s+\(lines\s+(\d+)\s+to\s+(\d+)\)", header).groups())
    table = np.array([[float(v) for v in line.split("=")[1].split()] for line in lines[first - 1 : last]])
    first, last = map(int, re.search(r"Data\s+\(lines\s+(\d+)\s+to\s+(\d+)\)", header).groups())
    data = np.array([[float(v) for v in line.split()] for line in lines[first - 1 : last]])
    y, x = (np.log(data[:, 0]), data[:, 1:]) if name == "Nelson" else (data[:, 0], data[:, 1])
    return Problem(name, x, y, table[:, :2].T, table[:, 2], table[:, 3])


class NistTarget(AbstractLeastSquaresTarget):
    """A regression with a flat prior: unweighted residuals, and a prior residual that is always zero."""

    problem: str = eqx.field(static=True)
    x: Array
    y: Array
    first: Array

    @property
    def names(self):
        return tuple(f"b{i + 1}" for i in range(self.first.shape[-1]))

    def residual(self, z):
        return self.y - MODELS[self.problem](z, self.x, jnp)

    def prior_residual(self, z):
        return jnp.zeros_like(z)

    def log_prior(self, z):
        return 0.0 * z[0]

    def log_likelihood(self, z):
        return -0.5 * jnp.sum(self.residual(z) ** 2)

    def start(self, *, key):
        del key  # the start is prescribed
        return self.first


def log_relative_error(found: np.ndarray, reference: np.ndarray) -> float:
    """Return the digits that agree: minus the log10 of the relative error, the worst of all, between 0 and 11."""
    with np.errstate(divide="ignore", invalid="ignore"):
        digits = -np.log10(np.abs(found - reference) / np.abs(reference))
    return float(np.clip(np.where(np.isnan(digits), 0.0, digits), 0.0, 11.0).min())
