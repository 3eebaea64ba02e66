"""Posteriors in unconstrained space: weighted draws, or a Gaussian at the mode."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["AbstractPosterior", "Ensemble", "Laplace"]


class AbstractPosterior(eqx.Module):
    """What is believed of the parameters, in unconstrained space."""

    @abc.abstractmethod
    def draw(self, n: int, *, key: PRNGKeyArray) -> Float[Array, "draw parameter"]:
        """Return ``n`` equally weighted draws."""

    @abc.abstractmethod
    def moments(self) -> tuple[Float[Array, " parameter"], Float[Array, "parameter parameter"]]:
        """Return mean and covariance."""


class Ensemble(AbstractPosterior):
    """Weighted draws. ``log_weights`` are normalised: they log-sum-exp to zero."""

    draws: Float[Array, "draw parameter"]
    log_weights: Float[Array, " draw"]

    @classmethod
    def equal(cls, draws: Float[Array, "draw parameter"]) -> Ensemble:
        """Build an ensemble of equal weights."""
        return cls(jnp.asarray(draws), jnp.full(draws.shape[0], -jnp.log(draws.shape[0])))

    def draw(self, n, *, key):
        """Return every draw once if ``n`` is their number and the weights are equal, else resample systematically and shuffle."""
        u = jax.random.uniform(key)
        cumulative = jnp.cumsum(jnp.exp(self.log_weights))
        index = jnp.searchsorted(cumulative / cumulative[-1], (jnp.arange(n) + u) / n)
        index = jnp.clip(index, 0, self.draws.shape[0] - 1)
        return self.draws[jax.random.permutation(jax.random.fold_in(key, 1), index)]

    def moments(self):
        """Return weighted mean and covariance (unbiased for equal weights)."""
        w = jnp.exp(self.log_weights)
        mean = w @ self.draws
        centred = self.draws - mean
        return mean, (centred * w[:, None]).T @ centred / (1 - jnp.sum(w**2))

    @property
    def ess(self) -> Float[Array, ""]:
        """Effective number of draws by weight alone."""
        return jnp.exp(-jax.scipy.special.logsumexp(2 * self.log_weights))


class Laplace(AbstractPosterior):
    """A Gaussian at the mode of the unconstrained density. Exact only if the posterior is Gaussian there."""

    mode: Float[Array, " parameter"]
    cholesky: Float[Array, "parameter parameter"]

    def draw(self, n, *, key):
        """Return ``n`` Gaussian draws."""
        return self.mode + jax.random.normal(key, (n, self.mode.shape[0])) @ self.cholesky.T

    def moments(self):
        """Return mode and covariance."""
        return self.mode, self.cholesky @ self.cholesky.T

    def log_density(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Log density of the Gaussian."""
        white = jax.scipy.linalg.solve_triangular(self.cholesky, z - self.mode, lower=True)
        return -0.5 * jnp.sum(white**2) - jnp.sum(jnp.log(jnp.diagonal(self.cholesky))) - 0.5 * z.shape[0] * jnp.log(2 * jnp.pi)
