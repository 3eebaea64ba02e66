"""People with a planted, known bias: a cost that runs lower than need in one group, and what that does at equal score.

It stands in for the public files of health-care cost and need, none of which has a licence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

from gemel.core.errors import EvidenceError

__all__ = ["Planted", "PlantedBias"]


@dataclass(frozen=True)
class Planted:
    """People of a :class:`PlantedBias`, one row each.

    ``score`` is an observed cost of the same law as ``cost``; ``need_score`` observes need with the same noise and no bias. A missing label is empty.
    """

    need: Float[np.ndarray, " row"]
    cost: Float[np.ndarray, " row"]
    score: Float[np.ndarray, " row"]
    need_score: Float[np.ndarray, " row"]
    group: np.ndarray


@dataclass(frozen=True)
class PlantedBias:
    """A world in which cost stands for need, and costs of group B run lower by ``delta`` at equal need.

    ``cost = beta need - delta [B] + e``, ``e ~ N(0, sigma^2)``. At equal score group B then needs more:
    ``E[need | s, B] - E[need | s, A] = (mean_b - mean_a)(1 - beta kappa) + kappa delta``, ``kappa = beta tau^2 / (beta^2 tau^2 + sigma^2)``
    (Gaussian conditioning).

    Parameters
    ----------
    mean_a, mean_b, tau : of need: normal, or in *count* the means of a Poisson count whose rate is gamma distributed with shape ``shape``.
    beta, sigma, delta : of the cost, in its unit; in *heavy-tailed* of its logarithm.
    missing : share of labels that are lost, at random.

    Examples
    --------
    >>> world = PlantedBias(beta=1.0, tau=1.0, sigma=0.5, delta=0.5)
    >>> round(world.kappa, 3), round(world.gap, 3)
    (0.8, 0.4)
    """

    kind: Literal["gaussian", "count", "heavy-tailed"] = "gaussian"
    mean_a: float = 0.0
    mean_b: float = 0.0
    tau: float = 1.0
    beta: float = 1.0
    sigma: float = 0.5
    delta: float = 0.5
    shape: float = 2.0
    missing: float = 0.0

    def __post_init__(self) -> None:
        if min(self.tau, self.sigma, self.shape) <= 0 or not 0 <= self.missing < 1:
            raise EvidenceError(
                "a planted world needs spread",
                seen=(self.tau, self.sigma, self.shape, self.missing),
                expected="positive; missing from 0 to below 1",
            )
        if self.kind == "count" and min(self.mean_a, self.mean_b) <= 0:
            raise EvidenceError(
                "counts need positive means", seen=(self.mean_a, self.mean_b), fix="PlantedBias(kind='count', mean_a=2, mean_b=2)"
            )

    @property
    def kappa(self) -> float:
        """How much need a unit of score stands for, within a group of the Gaussian world."""
        return self.beta * self.tau**2 / (self.beta**2 * self.tau**2 + self.sigma**2)

    @property
    def gap(self) -> float:
        """Need of B less need of A at equal score, per person; the same at every score, but for counts.

        Raises
        ------
        EvidenceError
            For counts, where it depends on the score: :meth:`gap_at`.
        """
        if self.kind == "count":
            raise EvidenceError("the gap of counts depends on the score", fix="gap_at(score)")
        return (self.mean_b - self.mean_a) * (1 - self.beta * self.kappa) + self.kappa * self.delta

    def gap_at(self, score: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
        """Return need of B less need of A at each score; for counts the exact sum over need."""
        s = np.asarray(score, float)
        if self.kind != "count":
            return np.full(len(s), self.gap)
        return self._expected(s + self.delta, self.mean_b) - self._expected(s, self.mean_a)

    def _expected(self, unbiased: np.ndarray, mean: float) -> np.ndarray:
        """Return E[need | score] of one group, from the score without the bias."""
        chance = self.shape / (self.shape + mean)
        most = int(stats.nbinom.ppf(1 - 1e-12, self.shape, chance)) + 1
        need = np.arange(most + 1)
        log = stats.nbinom.logpmf(need, self.shape, chance) - 0.5 * ((unbiased[:, None] - self.beta * need) / self.sigma) ** 2
        weight = np.exp(log - log.max(axis=1, keepdims=True))
        return weight @ need / weight.sum(axis=1)

    def draw(self, per_group: int, *, seed: int) -> Planted:
        """Return ``per_group`` people of each group, A first."""
        rng = np.random.default_rng(seed)
        is_b = np.repeat([False, True], per_group)
        mean = np.where(is_b, self.mean_b, self.mean_a)
        n = len(mean)
        if self.kind == "count":
            need = rng.poisson(rng.gamma(self.shape, mean / self.shape)).astype(float)
        else:
            need = rng.normal(mean, self.tau)
        cost, score = (self.beta * need - self.delta * is_b + rng.normal(0, self.sigma, n) for _ in range(2))
        need_score = need + rng.normal(0, self.sigma / self.beta, n)
        if self.kind == "heavy-tailed":
            cost, score = np.exp(cost), np.exp(score)
        group = np.where(is_b, "B", "A")
        if self.missing:
            group = np.where(rng.random(n) < self.missing, "", group)
        return Planted(need, cost, score, need_score, group)

    def noise_in_score(self) -> float:
        """Return the standard deviation of the need that a score leaves open, within a group of the Gaussian world."""
        return self.tau * math.sqrt(1 - self.beta * self.kappa)
