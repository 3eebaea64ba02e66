"""Toy problems with known answers, as targets: for tests, for benchmarks, and for whoever writes a method of inference.

Each has ``truth()``: posterior mean and standard deviation per coordinate, and the log evidence, in closed form or by quadrature.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gemel.engine.infer.base import AbstractLeastSquaresTarget, AbstractTarget

__all__ = ["Banana", "Decay", "Funnel", "LinearRegression", "NormalMean", "Truth", "TwoModes"]

_LOG_2PI = float(np.log(2 * np.pi))


class Truth(NamedTuple):
    """What a perfect method would return."""

    mean: np.ndarray
    sd: np.ndarray
    log_evidence: float


def _standard(z: Array) -> Array:
    return -0.5 * jnp.sum(z**2) - 0.5 * z.shape[0] * _LOG_2PI


class NormalMean(AbstractLeastSquaresTarget):
    """``y_i ~ N(theta, noise^2)``, ``theta ~ N(0, spread^2)``, both variances known.

    Examples
    --------
    >>> problem = NormalMean.of([1.0, 2.0], noise=1.0, spread=2.0)
    >>> [round(float(x), 4) for x in problem.truth()[0]]
    [1.3333]
    """

    y: Float[Array, " datum"]
    noise: Float[Array, ""]
    spread: Float[Array, ""]

    @classmethod
    def of(cls, y, *, noise: float, spread: float) -> NormalMean:
        """Build from plain numbers."""
        return cls(jnp.asarray(y, float), jnp.asarray(noise, float), jnp.asarray(spread, float))

    @property
    def names(self):
        """Return ``("theta",)``."""
        return ("theta",)

    def residual(self, z):
        """Return whitened residuals."""
        return (self.y - z[0]) / self.noise

    def prior_residual(self, z):
        """Return the whitened deviation from zero."""
        return z / self.spread

    def log_prior(self, z):
        """Return the normal log density."""
        return _standard(self.prior_residual(z)) - jnp.log(self.spread)

    def log_likelihood(self, z):
        """Return the normal log likelihood."""
        return _standard(self.residual(z)) - self.y.shape[0] * jnp.log(self.noise)

    def start(self, *, key):
        """Draw from the prior."""
        return self.spread * jax.random.normal(key, (1,))

    def truth(self) -> Truth:
        """Return the conjugate posterior and the evidence."""
        y, noise, spread = np.asarray(self.y), float(self.noise), float(self.spread)
        precision = y.size / noise**2 + 1 / spread**2
        covariance = noise**2 * np.eye(y.size) + spread**2
        evidence = -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1] + y.size * _LOG_2PI)
        return Truth(np.array([y.sum() / noise**2 / precision]), np.array([precision**-0.5]), float(evidence))


class LinearRegression(AbstractLeastSquaresTarget):
    """``y ~ N(X b, noise^2 I)``, ``b ~ N(0, spread^2 I)``."""

    design: Float[Array, "datum parameter"]
    y: Float[Array, " datum"]
    noise: Float[Array, ""]
    spread: Float[Array, ""]

    @classmethod
    def simulated(cls, seed: int = 0, *, size: int = 5, n: int = 30, noise: float = 0.5, spread: float = 2.0) -> LinearRegression:
        """Draw a design with correlated columns and data from the prior."""
        rng = np.random.default_rng(seed)
        design = rng.normal(size=(n, size)) + rng.normal(size=(n, 1))
        y = design @ (spread * rng.normal(size=size)) + noise * rng.normal(size=n)
        return cls(jnp.asarray(design), jnp.asarray(y), jnp.asarray(noise), jnp.asarray(spread))

    @property
    def names(self):
        """Return the names of the coefficients."""
        return tuple(f"b{i}" for i in range(self.design.shape[-1]))

    def residual(self, z):
        """Return whitened residuals."""
        return (self.y - self.design @ z) / self.noise

    def prior_residual(self, z):
        """Return the whitened deviation from zero."""
        return z / self.spread

    def log_prior(self, z):
        """Return the normal log density."""
        return _standard(self.prior_residual(z)) - z.shape[0] * jnp.log(self.spread)

    def log_likelihood(self, z):
        """Return the normal log likelihood."""
        return _standard(self.residual(z)) - self.y.shape[0] * jnp.log(self.noise)

    def start(self, *, key):
        """Draw from the prior."""
        return self.spread * jax.random.normal(key, (self.design.shape[-1],))

    def covariance(self) -> np.ndarray:
        """Return the posterior covariance."""
        x, noise, spread = np.asarray(self.design), float(self.noise), float(self.spread)
        return np.linalg.inv(x.T @ x / noise**2 + np.eye(x.shape[1]) / spread**2)

    def truth(self) -> Truth:
        """Return the conjugate posterior and the evidence."""
        x, y, noise, spread = np.asarray(self.design), np.asarray(self.y), float(self.noise), float(self.spread)
        covariance = self.covariance()
        marginal = noise**2 * np.eye(y.size) + spread**2 * x @ x.T
        evidence = -0.5 * (y @ np.linalg.solve(marginal, y) + np.linalg.slogdet(marginal)[1] + y.size * _LOG_2PI)
        return Truth(covariance @ x.T @ y / noise**2, np.sqrt(np.diagonal(covariance)), float(evidence))


class Decay(AbstractLeastSquaresTarget):
    """``y ~ N(a exp(-k t), noise^2)`` with ``log a`` and ``log k`` standard normal: the smallest nonlinear least-squares posterior."""

    time: Float[Array, " datum"]
    y: Float[Array, " datum"]
    noise: Float[Array, ""]

    @classmethod
    def simulated(cls, seed: int = 0, *, n: int = 20, noise: float = 0.05) -> Decay:
        """Draw data from the prior."""
        rng = np.random.default_rng(seed)
        time = np.linspace(0.1, 4.0, n)
        a, k = np.exp(rng.normal(size=2))
        return cls(jnp.asarray(time), jnp.asarray(a * np.exp(-k * time) + noise * rng.normal(size=n)), jnp.asarray(noise))

    @property
    def names(self):
        """Return the names of the logs of amplitude and rate."""
        return ("log_amplitude", "log_rate")

    def residual(self, z):
        """Return whitened residuals."""
        return (self.y - jnp.exp(z[0] - jnp.exp(z[1]) * self.time)) / self.noise

    def prior_residual(self, z):
        """Return the whitened deviation from zero."""
        return z

    def log_prior(self, z):
        """Return the standard normal log density."""
        return _standard(z)

    def log_likelihood(self, z):
        """Return the normal log likelihood."""
        return _standard(self.residual(z)) - self.y.shape[0] * jnp.log(self.noise)

    def start(self, *, key):
        """Draw from the prior."""
        return jax.random.normal(key, (2,))

    def truth(self) -> Truth:
        """Return moments and evidence by quadrature."""
        return _quadrature(self)


class Banana(AbstractTarget):
    """``y ~ N(z1 + z2^2, noise^2)``, ``z ~ N(0, I)``: a curved ridge that is symmetric in ``z2``."""

    y: Float[Array, ""]
    noise: Float[Array, ""]

    @classmethod
    def of(cls, y: float = 2.0, *, noise: float = 0.5) -> Banana:
        """Build from plain numbers."""
        return cls(jnp.asarray(y), jnp.asarray(noise))

    @property
    def names(self):
        """Return the names of the coordinates."""
        return ("z1", "z2")

    def log_prior(self, z):
        """Return the standard normal log density."""
        return _standard(z)

    def log_likelihood(self, z):
        """Return the normal log likelihood."""
        return -0.5 * ((self.y - z[0] - z[1] ** 2) / self.noise) ** 2 - jnp.log(self.noise) - 0.5 * _LOG_2PI

    def start(self, *, key):
        """Draw from the prior."""
        return jax.random.normal(key, (2,))

    def truth(self) -> Truth:
        """Return moments and evidence by quadrature."""
        return _quadrature(self)


class Funnel(AbstractTarget):
    """``v ~ N(0, scale^2)``, ``x_k ~ N(0, exp(v))``: no data, and a neck that no step size suits.

    References
    ----------
    Neal 2003, doi:10.1214/aos/1056562461, section 8.
    """

    scale: Float[Array, ""]
    size: int = 9

    @property
    def names(self):
        """Return the names of the coordinates."""
        return ("v", *(f"x{i}" for i in range(self.size)))

    def log_prior(self, z):
        """Return the log density of the funnel."""
        v, x = z[0], z[1:]
        return (-0.5 * (v / self.scale) ** 2 - jnp.log(self.scale) - 0.5 * jnp.exp(-v) * jnp.sum(x**2) - 0.5 * self.size * v) - 0.5 * (
            self.size + 1
        ) * _LOG_2PI

    def log_likelihood(self, z):
        """Return zero: there are no data."""
        return 0.0 * z[0]

    def start(self, *, key):
        """Draw from the funnel."""
        white = jax.random.normal(key, (self.size + 1,))
        v = self.scale * white[0]
        return jnp.concatenate([v[None], jnp.exp(v / 2) * white[1:]])

    def truth(self) -> Truth:
        """Return the moments in closed form."""
        scale = float(self.scale)
        sd = np.concatenate([[scale], np.full(self.size, np.exp(scale**2 / 4))])
        return Truth(np.zeros(self.size + 1), sd, 0.0)


class TwoModes(AbstractTarget):
    """A posterior that is a mixture of two equal Gaussians at opposite points with known weights.

    The likelihood is ``sum_k w_k N(+-centre; z, noise^2 I)``, the prior ``N(0, spread^2 I)``: by symmetry the posterior weights are ``w``.
    """

    weight: Float[Array, ""]
    centre: Float[Array, " parameter"]
    noise: Float[Array, ""]
    spread: Float[Array, ""]

    @classmethod
    def of(cls, weight: float = 0.3, *, distance: float = 4.0, size: int = 2, noise: float = 0.5, spread: float = 4.0) -> TwoModes:
        """Build with modes at plus and minus ``distance`` along the diagonal; ``weight`` belongs to the negative one."""
        centre = np.full(size, distance / np.sqrt(size))
        return cls(jnp.asarray(weight), jnp.asarray(centre), jnp.asarray(noise), jnp.asarray(spread))

    @property
    def names(self):
        """Return the names of the coordinates."""
        return tuple(f"z{i}" for i in range(self.centre.shape[-1]))

    def log_prior(self, z):
        """Return the normal log density."""
        return _standard(z / self.spread) - z.shape[0] * jnp.log(self.spread)

    def log_likelihood(self, z):
        """Return the log of the mixture."""
        minus = _standard((z + self.centre) / self.noise) + jnp.log(self.weight)
        plus = _standard((z - self.centre) / self.noise) + jnp.log1p(-self.weight)
        return jnp.logaddexp(minus, plus) - z.shape[0] * jnp.log(self.noise)

    def start(self, *, key):
        """Draw from the prior."""
        return self.spread * jax.random.normal(key, self.centre.shape)

    def truth(self) -> Truth:
        """Return the moments and the evidence in closed form."""
        weight, centre = float(self.weight), np.asarray(self.centre)
        noise, spread = float(self.noise) ** 2, float(self.spread) ** 2
        location = centre * spread / (spread + noise)
        variance = spread * noise / (spread + noise) + location**2 * (1 - (1 - 2 * weight) ** 2)
        total = spread + noise
        evidence = -0.5 * (centre @ centre / total + centre.size * (np.log(total) + _LOG_2PI))
        return Truth((1 - 2 * weight) * location, np.sqrt(variance), float(evidence))


def _quadrature(target: AbstractTarget, low: float = -8.0, high: float = 8.0, n: int = 801) -> Truth:
    """Integrate a density of two coordinates on a grid, then again on twelve standard deviations about the mean.

    For smooth densities that vanish at the edge the trapezoid rule converges exponentially.
    """
    density = jax.jit(jax.vmap(lambda z: target.log_prior(z) + target.log_likelihood(z)))
    lower, upper = np.full(2, low), np.full(2, high)
    for _ in range(3):
        axes = np.linspace(lower, upper, n)
        points = np.stack(np.meshgrid(axes[:, 0], axes[:, 1], indexing="ij"), axis=-1).reshape(-1, 2)
        value = np.asarray(density(jnp.asarray(points)))
        top = value.max()
        w = np.exp(value - top)
        mean = w @ points / w.sum()
        step = axes[1] - axes[0]
        sd = np.sqrt(w @ np.square(points - mean) / w.sum())
        evidence = float(top + np.log(w.sum() * step.prod()))
        wide = 12 * np.maximum(sd, step)
        lower, upper = np.maximum(mean - wide, low), np.minimum(mean + wide, high)
    return Truth(mean, sd, evidence)
