"""Uncertain inputs as points of the unit cube: marginals by inverse distribution functions, designs, and batched runs of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from gemel.core.errors import EvidenceError

__all__ = ["BatchedModel", "Inputs", "Placed", "normal_inputs", "run_batched", "sobol_points", "uniform_inputs"]

BatchedModel = Callable[[np.ndarray], Any]
"""``f(points (n, input)) -> (n,) or (n, quantity, ...)``: one call runs many points."""
EDGE = 2.0**-31
"""Points of the cube keep this far from its faces: an unbounded marginal has no value there."""


class Placed(Protocol):
    """What maps points of a design to named inputs."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the inputs."""
        ...

    def at(self, u: np.ndarray, /) -> np.ndarray:
        """Map points (n, input) to inputs (n, input)."""
        ...


@dataclass(frozen=True)
class Inputs:
    """Named independent inputs.

    Parameters
    ----------
    names : of the inputs.
    transform : batched map from the unit cube to the inputs, ``(n, input) -> (n, input)``.
    note : what else must be said of them; goes into every result.
    """

    names: tuple[str, ...]
    transform: Callable[[Float[np.ndarray, "n input"]], Float[np.ndarray, "n input"]]
    note: str = ""

    @classmethod
    def of(cls, marginals: dict[str, Any]) -> Inputs:
        """Build from marginals: frozen SciPy distributions, or inverse distribution functions.

        Raises
        ------
        EvidenceError
            When a marginal has no inverse distribution function.
        """
        inverses = []
        for name, m in marginals.items():
            inverse = getattr(m, "ppf", getattr(m, "icdf", m))
            if not callable(inverse):
                raise EvidenceError(f"input {name!r} has no inverse distribution function", seen=type(m).__name__)
            inverses.append(inverse)

        def transform(u):
            return np.stack([np.asarray(inverse(u[:, i]), float) for i, inverse in enumerate(inverses)], axis=1)

        return cls(tuple(marginals), transform)

    @property
    def size(self) -> int:
        """How many inputs."""
        return len(self.names)

    def at(self, u: Float[np.ndarray, "n input"]) -> Float[np.ndarray, "n input"]:
        """Map points of the cube, kept off its faces, to the inputs."""
        return np.asarray(self.transform(np.clip(u, EDGE, 1 - EDGE)), float)


def uniform_inputs(names: Sequence[str], low: Sequence[float] | float, high: Sequence[float] | float) -> Inputs:
    """Return independent uniform inputs between bounds."""
    a, b = np.asarray(low, float), np.asarray(high, float)
    return Inputs(tuple(names), lambda u: a + (b - a) * u)


def normal_inputs(names: Sequence[str], mean: Sequence[float] | float = 0.0, sd: Sequence[float] | float = 1.0) -> Inputs:
    """Return independent normal inputs."""
    m, s = np.asarray(mean, float), np.asarray(sd, float)
    return Inputs(tuple(names), lambda u: m + s * special.ndtri(u))


def sobol_points(n: int, size: int, seed: int) -> Float[np.ndarray, "n size"]:
    """Return scrambled Sobol points; ``n`` must be a power of two.

    Raises
    ------
    EvidenceError
        When it is not: other numbers of points lose the balance of the sequence.
    """
    if n < 2 or n & (n - 1):
        raise EvidenceError("the number of base points must be a power of two", seen=n, expected="2, 4, 8, ... such as 4096")
    return stats.qmc.Sobol(size, scramble=True, rng=np.random.default_rng(seed)).random_base2(n.bit_length() - 1)


def run_batched(f: BatchedModel, inputs: Placed, u: Float[np.ndarray, "n input"], *, batch: int | None = None) -> np.ndarray:
    """Run a model at points of the cube.

    Parameters
    ----------
    batch : points per call, all calls of one size (the last one is padded): a compiled model is compiled once. Left out, one call.

    Returns
    -------
    (n, ...) outputs.

    Raises
    ------
    EvidenceError
        When an output is not finite: indices of a model that fails in places would be those of another model. The first such point is named.
    """
    size = len(u) if batch is None else min(batch, len(u))
    parts = []
    for k in range(0, len(u), size):
        rows = u[k : k + size]
        short = size - len(rows)
        told = np.asarray(f(inputs.at(np.concatenate([rows, np.repeat(rows[-1:], short, axis=0)]) if short else rows)), float)
        if told.ndim < 1 or len(told) != size:
            raise EvidenceError("the model must return one row per point", seen=told.shape, expected=f"({size}, ...)")
        parts.append(told[: len(rows)])
    out = np.concatenate(parts)
    bad = ~np.isfinite(out.reshape(len(out), -1)).all(axis=1)
    if bad.any():
        point = inputs.at(u[bad][:1])[0]
        seen = ", ".join(f"{n} = {v:.6g}" for n, v in zip(inputs.names, point, strict=True))
        raise EvidenceError(
            f"the model has no finite output at {int(bad.sum())} of {len(u)} points",
            seen=seen,
            fix="narrow the inputs to where the model holds, and say so",
        )
    return out
