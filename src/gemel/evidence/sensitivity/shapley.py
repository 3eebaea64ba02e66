"""Shares of variance for correlated inputs: Shapley effects. They are never negative and sum to one, whatever the correlation.

References
----------
Owen 2014, doi:10.1137/130936233. Song, Nelson and Staum 2016, doi:10.1137/15M1048070 (algorithm, inner sample of 3).
Broto, Bachoc and Depecker 2020, doi:10.1137/18M1234631 (all subsets). Owen and Prieur 2017, doi:10.1137/16M1097717 (linear Gaussian).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Float

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.evidence.run import Measured
from gemel.evidence.sensitivity.unit_cube import BatchedModel, run_batched

__all__ = ["ShapleyResult", "shapley", "shapley_linear"]

LARGEST_EXACT = 20
"""Above this many inputs the subsets of a linear function are too many to write down."""


@dataclass(frozen=True)
class ShapleyResult:
    """Shapley effects: shares of the variance of one quantity, with bootstrap limits.

    Parameters
    ----------
    names : of the inputs.
    runs : of the model.
    variance : of the quantity.
    effects, interval : (input,) shares, and their (2, input) limits.
    subsets : whether all subsets were used; otherwise random permutations.
    """

    names: tuple[str, ...]
    output: str
    runs: int
    variance: float
    effects: Float[np.ndarray, " input"]
    interval: Float[np.ndarray, "2 input"]
    subsets: bool
    level: float
    note: str

    def ranking(self) -> tuple[str, ...]:
        """Return the inputs by share, the largest first."""
        return tuple(self.names[i] for i in np.argsort(-self.effects, kind="stable"))

    def figures(self, shown_on: ShownOn | None = None) -> tuple[Measured, ...]:
        """Return the share of each input as a figure of evidence."""
        on = shown_on or ShownOn(kind="simulated", n=self.runs, what="runs of the model")
        return tuple(
            Measured(name=f"{self.output}: Shapley effect of {n}", value=float(v), low=float(a), high=float(b), shown_on=on, note=self.note)
            for n, v, a, b in zip(self.names, self.effects, *self.interval, strict=True)
        )

    def table(self) -> dict[str, list[Any]]:
        """Return the shares as columns."""
        low, high = self.interval.tolist()
        return {"input": list(self.names), "share": self.effects.tolist(), "low": low, "high": high}


@dataclass(frozen=True)
class _Free:
    """Inputs of the whole space and not of the cube, with the transform of their own."""

    names: tuple[str, ...]
    transform: Callable[[np.ndarray], np.ndarray] | None

    def at(self, z: np.ndarray) -> np.ndarray:
        return z if self.transform is None else np.asarray(self.transform(z), float)


def _members(mask: int, d: int) -> np.ndarray:
    return np.array([bool(mask >> i & 1) for i in range(d)])


def _combine(cost: np.ndarray, d: int) -> np.ndarray:
    """Return Shapley values from the cost of every subset (leading axis of length 2^d, the bit i for input i)."""
    masks = np.arange(1 << d)
    sizes = np.array([int(m).bit_count() for m in masks])
    out = []
    for i in range(d):
        without = masks[(masks >> i & 1) == 0]
        weight = np.array([1 / (d * comb(d - 1, s)) for s in sizes[without]])
        out.append(np.tensordot(weight, cost[without | 1 << i] - cost[without], axes=1))
    return np.stack(out, axis=-1)


def shapley_linear(coefficients: Sequence[float], covariance: Float[np.ndarray, "input input"]) -> Float[np.ndarray, " input"]:
    """Return the exact Shapley effects of a linear function of correlated Gaussian inputs.

    The cost of a subset J is ``c_J' (S_JJ - S_JK S_KK^-1 S_KJ) c_J``, K the others: what varies when all but J are known.

    Parameters
    ----------
    coefficients : (input,).
    covariance : (input, input), positive definite.

    Returns
    -------
    (input,) shares of the variance, summing to one.

    Raises
    ------
    EvidenceError
        With more than 20 inputs, or without any variance.

    Examples
    --------
    >>> shapley_linear([1.0, 1.0], np.array([[1.0, 0.5], [0.5, 1.0]])).tolist()
    [0.5, 0.5]
    """
    c, s = np.asarray(coefficients, float), np.asarray(covariance, float)
    d = len(c)
    if d > LARGEST_EXACT:
        raise EvidenceError("too many inputs for all subsets", seen=d, expected=f"at most {LARGEST_EXACT}", fix="use shapley()")
    cost = np.zeros(1 << d)
    for mask in range(1, 1 << d):
        j = _members(mask, d)
        part = s[np.ix_(j, j)]
        if not j.all():
            cross = s[np.ix_(j, ~j)]
            part = part - cross @ np.linalg.solve(s[np.ix_(~j, ~j)], cross.T)
        cost[mask] = c[j] @ part @ c[j]
    if not cost[-1] > 0:
        raise EvidenceError("the function does not vary", seen=f"variance {cost[-1]}")
    return _combine(cost, d) / cost[-1]


def _conditional(mean: np.ndarray, s: np.ndarray, j: np.ndarray, outer: int, inner: int, rng: np.random.Generator) -> np.ndarray:
    """Draw (outer, inner, input): the inputs outside J are drawn once per outer draw, those of J given them, ``inner`` times."""
    z = np.empty((outer, inner, len(mean)))
    k = ~j
    cross = np.zeros((j.sum(), k.sum()))
    part = s[np.ix_(j, j)]
    known = np.zeros((outer, k.sum()))
    if k.any():
        root = np.linalg.cholesky(s[np.ix_(k, k)])
        known = rng.standard_normal((outer, k.sum())) @ root.T
        cross = np.linalg.solve(s[np.ix_(k, k)], s[np.ix_(k, j)]).T
        part = part - cross @ s[np.ix_(k, j)]
    root = np.linalg.cholesky((part + part.T) / 2)
    free = rng.standard_normal((outer, inner, int(j.sum()))) @ root.T + (known @ cross.T)[:, None]
    z[:, :, k], z[:, :, j] = known[:, None], free
    return z + mean


def shapley(
    f: BatchedModel, names: Sequence[str], mean: Sequence[float], covariance: Float[np.ndarray, "input input"], *,
    transform: Callable[[np.ndarray], np.ndarray] | None = None, output: str = "output", outer: int = 1000, inner: int = 3,
    permutations: int | None = None, seed: int = 0, replicates: int = 1000, level: float = 0.95, batch: int | None = None,
) -> ShapleyResult:  # fmt: skip
    """Estimate Shapley effects of one quantity under correlated Gaussian inputs (or inputs with a Gaussian copula).

    The cost of a subset J is ``E[Var(Y | all but J)]``, from ``outer`` draws of the others and ``inner`` of J given them.

    Parameters
    ----------
    f : batched model of the inputs, ``(n, input) -> (n,)``.
    names : of the inputs.
    mean, covariance : of the Gaussian z.
    transform : batched map from z to the inputs, ``(n, input) -> (n, input)``; left out, z themselves.
    outer, inner : draws per subset.
    permutations : left out: all subsets, ``outer inner (2^d - 2) + outer inner`` runs, for up to eight inputs. Otherwise so many random permutations are
        walked, with ``outer`` draws shared out among them (at least one each). More permutations with one draw each say more than the reverse.
    seed, replicates, level : of draws and bootstrap, and of the intervals.

    Raises
    ------
    EvidenceError
        When all subsets of more than eight inputs are asked for, ``inner`` is below two, the covariance is not positive definite, or the model does not vary.
    """
    m, s, d = np.asarray(mean, float), np.asarray(covariance, float), len(names)
    if s.shape != (d, d) or m.shape != (d,) or not np.linalg.eigvalsh((s + s.T) / 2).min() > 0:
        raise EvidenceError(
            "Shapley effects need a mean and a positive definite covariance of the inputs", seen=(m.shape, s.shape), expected=d
        )
    if inner < 2:
        raise EvidenceError("a conditional variance needs at least two inner draws", seen=inner)
    if permutations is None and d > 8:
        raise EvidenceError("too many inputs for all subsets", seen=d, expected="at most 8", fix="pass permutations=..., 200 or more")
    rng, boot = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    full = (1 << d) - 1
    if permutations is None:
        plan = [(mask, outer) for mask in (full, *range(1, full))]
    else:
        walks = rng.permuted(np.tile(np.arange(d), (permutations, 1)), axis=1)
        before = np.cumsum(1 << walks, axis=1)[:, :-1]
        plan = [(full, 4 * outer), *((int(mask), max(1, outer // permutations)) for mask in before.ravel())]
    z = np.concatenate([_conditional(m, s, _members(mask, d), count, inner, rng).reshape(-1, d) for mask, count in plan])
    y = run_batched(f, _Free(tuple(names), transform), z, batch=batch)
    if y.size != len(z):
        raise EvidenceError("Shapley effects are of one quantity at a time", seen=y.shape, expected="(n,)")
    spread = y.reshape(-1, inner).var(axis=1, ddof=1)
    total = float(spread[: outer * (1 if permutations is None else 4)].mean())
    if not total > 0:
        raise EvidenceError("the quantity does not vary with the inputs", seen=f"variance {total}")
    if permutations is None:
        told = spread.reshape(full, outer)
        every = np.concatenate([np.zeros((1, outer)), told[1:], told[:1]])
        effects = _combine(every.mean(axis=1), d)
        kept = np.stack([_combine(np.stack([row[boot.integers(0, outer, outer)].mean() for row in every]), d) for _ in range(replicates)])
        kept /= kept.sum(axis=1, keepdims=True)
    else:
        inside = spread[4 * outer :].reshape(permutations, d - 1, -1).mean(axis=2)
        steps = np.diff(np.concatenate([np.zeros((permutations, 1)), inside, np.full((permutations, 1), total)], axis=1), axis=1)
        gains = np.empty((permutations, d))
        np.put_along_axis(gains, walks, steps, axis=1)
        effects = gains.mean(axis=0)
        kept = np.stack([gains[boot.integers(0, permutations, permutations)].mean(axis=0) for _ in range(replicates)]) / total
    limits = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2], axis=0)
    largest = float(np.abs(s / np.sqrt(np.outer(np.diag(s), np.diag(s))) - np.eye(d)).max())
    note = f"shares of variance of correlated inputs (largest correlation {largest:.2f})"
    return ShapleyResult(tuple(names), output, len(z), total, effects / total, limits, permutations is None, level, note)
