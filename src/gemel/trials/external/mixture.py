"""Priors as mixtures of conjugate parts: normal for a mean, beta for a rate. What they say, how data change them, how many patients they are worth.

References
----------
Dempster, Laird and Rubin 1977 (EM). Expected local-information-ratio effective sample size: Neuenschwander et al. 2020, doi:10.1111/biom.13252.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import optimize, special

from gemel.core.errors import DataError, InferenceError

__all__ = ["BetaMixture", "Mixture", "NormalMixture", "beta_mixture", "normal_mixture"]

STEPS = 20_000
"""EM steps before the search is called off."""
FINE = 20_001
"""Points of the trapezoidal rule; the integrands are smooth and vanish at both ends."""


@dataclass(frozen=True)
class NormalMixture:
    """A mixture of normal distributions of a mean.

    Parameters
    ----------
    weights : (part,) sum to 1.
    means, sds : (part,) unit of the outcome.
    """

    weights: Float[np.ndarray, " part"]
    means: Float[np.ndarray, " part"]
    sds: Float[np.ndarray, " part"]

    @property
    def mean(self) -> float:
        """Of the mixture."""
        return float(self.weights @ self.means)

    @property
    def sd(self) -> float:
        """Of the mixture."""
        return math.sqrt(float(self.weights @ (self.sds**2 + self.means**2)) - self.mean**2)

    def density(self, x: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """Return the density."""
        z = (np.asarray(x, float)[:, None] - self.means) / self.sds
        return np.exp(-0.5 * z * z) / (self.sds * math.sqrt(2 * math.pi)) @ self.weights

    def cumulative(self, x: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """Return the probability of values up to x."""
        return special.ndtr((np.asarray(x, float)[..., None] - self.means) / self.sds) @ self.weights

    def quantile(self, level: float) -> float:
        """Return the value below which this share lies."""
        ends = self.means - 40 * self.sds, self.means + 40 * self.sds
        return float(optimize.brentq(lambda x: self.cumulative(np.array(x)) - level, ends[0].min(), ends[1].max(), xtol=1e-12))

    def posterior(self, mean: float, error: float) -> NormalMixture:
        """Return the mixture after a mean was seen with this standard error."""
        spread = np.sqrt(self.sds**2 + error**2)
        logs = np.log(self.weights) - np.log(spread) - 0.5 * ((mean - self.means) / spread) ** 2
        share = self.sds**2 / spread**2
        return NormalMixture(special.softmax(logs), self.means + share * (mean - self.means), self.sds * error / spread)

    def with_weak(self, weight: float, mean: float, sd: float) -> NormalMixture:
        """Return the mixture with a weak part of this weight: robust against a history that does not fit."""
        kept = (1 - _share(weight)) * self.weights
        return NormalMixture(np.append(kept, weight), np.append(self.means, mean), np.append(self.sds, sd))

    def effective_size(self, sigma: float) -> float:
        """Return how many patients of standard deviation sigma the prior is worth: the mean of its local information over theirs."""
        x = np.linspace((self.means - 9 * self.sds).min(), (self.means + 9 * self.sds).max(), FINE)
        u = (self.means - x[:, None]) / self.sds**2
        return _elir(x, self.density(x), u, u * u - 1 / self.sds**2, self._parts(x)) * sigma**2

    def _parts(self, x: np.ndarray) -> np.ndarray:
        z = (x[:, None] - self.means) / self.sds
        return special.softmax(np.log(self.weights) - np.log(self.sds) - 0.5 * z * z, axis=1)


@dataclass(frozen=True)
class BetaMixture:
    """A mixture of beta distributions of a rate.

    Parameters
    ----------
    weights : (part,) sum to 1.
    a, b : (part,) positive; events and non-events that a part is worth.
    """

    weights: Float[np.ndarray, " part"]
    a: Float[np.ndarray, " part"]
    b: Float[np.ndarray, " part"]

    @property
    def mean(self) -> float:
        """Of the mixture."""
        return float(self.weights @ (self.a / (self.a + self.b)))

    @property
    def sd(self) -> float:
        """Of the mixture."""
        s = self.a + self.b
        return math.sqrt(float(self.weights @ (self.a * (self.a + 1) / (s * (s + 1)))) - self.mean**2)

    def density(self, x: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """Return the density."""
        return np.exp(self._logs(np.asarray(x, float))) @ np.ones(len(self.weights))

    def cumulative(self, x: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """Return the probability of rates up to x."""
        return special.betainc(self.a, self.b, np.asarray(x, float)[..., None]) @ self.weights

    def quantile(self, level: float) -> float:
        """Return the rate below which this share lies."""
        return float(optimize.brentq(lambda x: self.cumulative(np.array(x)) - level, 0.0, 1.0, xtol=1e-14))

    def posterior(self, events: float, n: float) -> BetaMixture:
        """Return the mixture after so many events were seen in n patients."""
        logs = np.log(self.weights) + special.betaln(self.a + events, self.b + n - events) - special.betaln(self.a, self.b)
        return BetaMixture(special.softmax(logs), self.a + events, self.b + n - events)

    def with_weak(self, weight: float, a: float = 1.0, b: float = 1.0) -> BetaMixture:
        """Return the mixture with a weak part of this weight, by default uniform."""
        kept = (1 - _share(weight)) * self.weights
        return BetaMixture(np.append(kept, weight), np.append(self.a, a), np.append(self.b, b))

    def effective_size(self) -> float:
        """Return how many patients the prior is worth: the mean of its local information over that of one patient; a + b for a single part."""
        z = np.linspace(-25, 25, FINE)
        p = special.expit(z)
        dense = self.density(p)
        keep = dense * p * (1 - p) > 1e-13 * (dense * p * (1 - p)).max()
        z, p, dense = z[keep], p[keep][:, None], dense[keep]
        u = (self.a - 1) / p - (self.b - 1) / (1 - p)
        second = u * u - (self.a - 1) / p**2 - (self.b - 1) / (1 - p) ** 2
        step = (p * (1 - p))[:, 0]
        return _elir(z, dense * step * step, u, second, special.softmax(self._logs(p[:, 0]), axis=1))

    def _logs(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            logs = special.xlogy(self.a - 1, x[:, None]) + special.xlog1py(self.b - 1, -x[:, None])
        return logs - special.betaln(self.a, self.b) + np.log(self.weights)


Mixture = NormalMixture | BetaMixture


def _share(weight: float) -> float:
    if not 0 < weight < 1:
        raise DataError("a weight is out of range", seen=weight, expected="between 0 and 1, such as 0.2")
    return weight


def _elir(x: np.ndarray, dense: np.ndarray, first: np.ndarray, second: np.ndarray, parts: np.ndarray) -> float:
    """Integrate -(log f)'' over a density (times the variance of one patient), from each part's f'/f and f''/f."""
    information = (parts * first).sum(axis=1) ** 2 - (parts * second).sum(axis=1)
    return float(np.trapezoid(information * dense, x))


def _split(masses: np.ndarray, components: int) -> np.ndarray:
    """Return first responsibilities: softly, by quantiles."""
    if not 1 <= components <= 5:
        raise DataError("the number of components is out of range", seen=components, expected="1 to 5; 2 or 3 are usual")
    middle = (np.cumsum(masses) - 0.5 * masses)[:, None]
    centres = (np.arange(components) + 0.5) / components
    return special.softmax(-np.abs(middle - centres) * 4 * components, axis=1)


def _late(steps: int) -> InferenceError:
    return InferenceError("the mixture has not converged", seen=f"{steps} steps of EM", expected="a maximum", fix="fewer components")


def normal_mixture(points: Float[np.ndarray, " point"], masses: Float[np.ndarray, " point"], components: int = 3) -> NormalMixture:
    """Approximate a distribution, given as masses at points, by a few normal parts: EM to the smallest Kullback-Leibler divergence.

    Raises
    ------
    InferenceError
        When EM does not converge.
    """
    share, before = _split(masses, components), -math.inf
    for _ in range(STEPS):
        weight = masses @ share
        means = (masses[:, None] * share).T @ points / weight
        sds = np.sqrt(((masses[:, None] * share) * (points[:, None] - means) ** 2).sum(axis=0) / weight)
        logs = np.log(weight) - np.log(sds) - 0.5 * ((points[:, None] - means) / sds) ** 2
        value = float(masses @ special.logsumexp(logs, axis=1))
        if value - before < 1e-9:
            return NormalMixture(weight / weight.sum(), means, sds)
        share, before = special.softmax(logs, axis=1), value
    raise _late(STEPS)


def beta_mixture(points: Float[np.ndarray, " point"], masses: Float[np.ndarray, " point"], components: int = 3) -> BetaMixture:
    """Approximate a distribution of a rate, given as masses at points, by a few beta parts.

    Raises
    ------
    InferenceError
        When EM does not converge.
    """
    share, before = _split(masses, components), -math.inf
    left, right = np.log(points), np.log1p(-points)
    a = b = np.zeros(0)
    for _ in range(STEPS):
        mass = masses[:, None] * share
        weight = mass.sum(axis=0)
        if not len(a):
            mean = mass.T @ points / weight
            spread = (mass * (points[:, None] - mean) ** 2).sum(axis=0) / weight
            size = np.maximum(mean * (1 - mean) / spread - 1, 0.5)
            a, b = mean * size, (1 - mean) * size
        a, b = _beta_step(a, b, left @ mass / weight, right @ mass / weight)
        logs = np.log(weight) + (a - 1) * left[:, None] + (b - 1) * right[:, None] - special.betaln(a, b)
        value = float(masses @ special.logsumexp(logs, axis=1))
        if abs(value - before) < 1e-9:
            return BetaMixture(weight / weight.sum(), a, b)
        share, before = special.softmax(logs, axis=1), value
    raise _late(STEPS)


def _beta_step(a: np.ndarray, b: np.ndarray, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the maximum of a (weighted) beta likelihood, by Newton steps from where the last EM step stood."""
    for _ in range(50):
        both = special.polygamma(1, a + b)
        g0, g1 = special.digamma(a) - special.digamma(a + b) - left, special.digamma(b) - special.digamma(a + b) - right
        h0, h1 = special.polygamma(1, a) - both, special.polygamma(1, b) - both
        bottom = h0 * h1 - both**2
        step = (h1 * g0 + both * g1) / bottom, (h0 * g1 + both * g0) / bottom
        new = np.where(step[0] < 0.9 * a, a - step[0], 0.1 * a), np.where(step[1] < 0.9 * b, b - step[1], 0.1 * b)
        moved = max(float(np.max(np.abs(new[0] / a - 1))), float(np.max(np.abs(new[1] / b - 1))))
        a, b = new
        if moved < 1e-10:
            break
    return a, b
