"""Bootstrap particle filter: weights in logs, systematic resampling, optional kernels for states and for parameters.

Asymptotically exact as particles grow, at a price that is exponential in the dimension: for at most six or so. A regularisation kernel
biases by its width; Liu-West shrinkage keeps mean and variance of the parameters but not their shape.

References
----------
Gordon, Salmond and Smith 1993, doi:10.1049/ip-f-2.1993.0015 (bootstrap proposal).
Liu and West 2001, "Combined parameter and state estimation", eq. 10.3 (shrinkage).
Doucet, de Freitas and Gordon 2001, section 12.2.2 (regularisation, Scott's bandwidth).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from gemel.core.errors import InferenceError
from gemel.engine.infer.kalman import psd_factor
from gemel.engine.status import Status

__all__ = [
    "ParticleFilter",
    "ParticleHistory",
    "ParticleStep",
    "effective_size",
    "liu_west_kernel",
    "resample_systematic",
    "weigh",
    "weighted_moments",
]


def weigh(
    log_weights: Float[Array, " particle"], log_likelihood: Float[Array, " particle"]
) -> tuple[Float[Array, " particle"], Float[Array, ""]]:
    """Multiply normalised weights by likelihoods.

    Returns
    -------
    Normalised log-weights (particle,) and the log-evidence of this observation, ``log sum w L``. When no particle has a finite
    likelihood the weights come back as they were and the log-evidence is ``-inf``.
    """
    joint = log_weights + jnp.where(jnp.isnan(log_likelihood), -jnp.inf, log_likelihood)
    evidence = logsumexp(joint)
    possible = jnp.isfinite(evidence)
    return jnp.where(possible, joint - jnp.where(possible, evidence, 0.0), log_weights), evidence


def effective_size(log_weights: Float[Array, " particle"]) -> Float[Array, ""]:
    """Effective number of particles, ``1 / sum w^2``."""
    return jnp.exp(-logsumexp(2 * log_weights))


def weighted_moments(
    particles: Float[Array, "particle n"], log_weights: Float[Array, " particle"], *, unbiased: bool = False
) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Weighted mean and covariance; ``unbiased`` divides by ``1 - sum w^2``."""
    w = jnp.exp(log_weights)
    mean = w @ particles
    centred = particles - mean
    covariance = (centred * w[:, None]).T @ centred
    return mean, covariance / jnp.maximum(1 - jnp.sum(w**2), 1e-12) if unbiased else covariance


def resample_systematic(log_weights: Float[Array, " particle"], *, key: PRNGKeyArray, n: int | None = None) -> Int[Array, " n"]:
    """Choose indices, in rising order, with one uniform number: particle i is taken ``floor`` or ``ceil`` of ``n w_i`` times."""
    size = log_weights.shape[0]
    n = size if n is None else n
    cumulative = jnp.cumsum(jnp.exp(log_weights))
    points = (jnp.arange(n) + jax.random.uniform(key)) / n * cumulative[-1]
    return jnp.clip(jnp.searchsorted(cumulative, points, side="right"), 0, size - 1)


def liu_west_kernel(
    parameters: Float[Array, "particle k"], log_weights: Float[Array, " particle"], discount: float
) -> tuple[Float[Array, "particle k"], Float[Array, "k k"]]:
    """Return shrunken locations and the covariance of the kernel around them.

    With ``a = (3 d - 1)/(2 d)`` the mixture ``sum w_i N(a th_i + (1 - a) mean, (1 - a^2) V)`` has exactly the mean and the
    covariance ``V`` of the weighted particles.

    Parameters
    ----------
    discount : d, in [0.95, 0.99] as a rule.

    Returns
    -------
    Locations (particle, k) and kernel covariance (k, k).
    """
    a = (3 * discount - 1) / (2 * discount)
    mean, covariance = weighted_moments(parameters, log_weights)
    return a * parameters + (1 - a) * mean, (1 - a**2) * covariance


class ParticleStep(eqx.Module):
    """One analysis. ``mean`` and ``covariance`` are the weighted ones before resampling; ``status`` is an integer of ``engine.status``."""

    particles: Float[Array, "particle n"]
    log_weights: Float[Array, " particle"]
    mean: Float[Array, " n"]
    covariance: Float[Array, "n n"]
    log_evidence: Float[Array, ""]
    ess: Float[Array, ""]
    resampled: Bool[Array, ""]
    ancestors: Int[Array, " particle"]
    status: Int[Array, ""]


class ParticleHistory(eqx.Module):
    """A filtered series: last particles, and per observation the moments, effective size, log-evidence and whether it was resampled."""

    particles: Float[Array, "particle n"]
    log_weights: Float[Array, " particle"]
    mean: Float[Array, "time n"]
    covariance: Float[Array, "time n n"]
    ess: Float[Array, " time"]
    log_evidences: Float[Array, " time"]
    resampled: Bool[Array, " time"]
    status: Int[Array, ""]

    @property
    def log_evidence(self) -> Float[Array, ""]:
        """Log of the estimated evidence (unbiased before the log, without kernels)."""
        return jnp.sum(self.log_evidences, axis=-1)


class ParticleFilter(eqx.Module):
    """Settings of a bootstrap particle filter.

    Parameters
    ----------
    size : particles N.
    threshold : resample when the effective size falls below this share of N.
    regularisation : width of the Gaussian kernel on resampled particles, in units of Scott's bandwidth ``N^(-1/(n+4))`` times the
        weighted covariance (unweighted when fewer than two particles are effective); 0 for none.
    duplicates_only : jitter only particles that were taken more than once.
    discount : Liu-West discount of the leading ``parameters`` columns; None for no kernel on parameters.
    parameters : how many leading columns are parameters; without a discount the regularisation kernel moves them like states.
    floor : share of N below which the effective size means ``COLLAPSED``.
    """

    size: int = eqx.field(static=True, default=1024)
    threshold: float = eqx.field(static=True, default=0.5)
    regularisation: float = eqx.field(static=True, default=0.0)
    duplicates_only: bool = eqx.field(static=True, default=True)
    discount: float | None = eqx.field(static=True, default=None)
    parameters: int = eqx.field(static=True, default=0)
    floor: float = eqx.field(static=True, default=0.05)

    def __check_init__(self) -> None:
        if self.size < 2 or not 0 <= self.threshold <= 1 or self.regularisation < 0:
            raise InferenceError("settings of the particle filter are out of range", seen=(self.size, self.threshold, self.regularisation))
        if self.discount is not None and not (1 / 3 < self.discount <= 1 and self.parameters > 0):
            raise InferenceError(
                "Liu-West shrinkage needs a discount in (1/3, 1] and parameter columns",
                seen=(self.discount, self.parameters),
                expected="d in [0.95, 0.99]",
            )

    @property
    def name(self) -> str:
        """Short name, as the command line knows it."""
        return "particle"

    @property
    def validity(self) -> str:
        """When the result is exact, and when it is not."""
        if self.regularisation or self.discount:
            kernels = f"regularisation {self.regularisation:g}, discount {self.discount}"
            return f"approximate: kernels ({kernels}) bias by their width; {self.size} particles"
        return f"asymptotically exact as particles (here {self.size}) grow"

    def start(self) -> Float[Array, " particle"]:
        """Return equal log-weights."""
        return jnp.full(self.size, -jnp.log(float(self.size)))

    def analyse(
        self,
        particles: Float[Array, "particle n"],
        log_weights: Float[Array, " particle"],
        log_likelihood: Float[Array, " particle"],
        *,
        key: PRNGKeyArray,
        movable: Bool[Array, " n"] | None = None,
    ) -> ParticleStep:
        """Weigh particles by their likelihood and, if the effective size asks for it, resample.

        Parameters
        ----------
        particles : (particle, n) rows ``[parameters, state]`` already moved to the time of the observation.
        log_weights : (particle,) normalised.
        log_likelihood : (particle,) of this observation; NaN counts as impossible. All zeros (nothing observed) change no weight.
        key : used once.
        movable : (n,) columns that a kernel may move; what physically cannot drift must not.
        """
        size, n = particles.shape
        weights, evidence = weigh(log_weights, log_likelihood)
        ess = effective_size(weights)
        mean, covariance = weighted_moments(particles, weights)
        resampled = ess < self.threshold * size
        chosen = resample_systematic(weights, key=jax.random.fold_in(key, 0))
        index = jnp.where(resampled, chosen, jnp.arange(size))
        taken = particles[index]
        allowed = jnp.ones(n, bool) if movable is None else jnp.asarray(movable, bool)
        if self.regularisation:
            taken = taken + self._jitter(particles, weights, index, resampled, allowed, jax.random.fold_in(key, 1))
        if self.discount is not None:
            taken = self._shrink(taken, particles, weights, index, resampled, allowed, jax.random.fold_in(key, 2))
        status = jnp.where(jnp.isfinite(evidence), jnp.where(ess < self.floor * size, Status.COLLAPSED, Status.OK), Status.NOT_FINITE)
        equal = jnp.full_like(weights, -jnp.log(float(size)))
        return ParticleStep(
            taken, jnp.where(resampled, equal, weights), mean, covariance, evidence, ess, resampled, index, status.astype(int)
        )

    def _jitter(self, particles, weights, index, resampled, allowed, key):
        """Noise of the regularisation kernel: zero without resampling, for unique particles and for columns that may not move."""
        size, n = particles.shape
        # fewer than two effective particles have no covariance of their own: the spread before the observation helps to find the track again
        degenerate = effective_size(weights) < 2
        _, covariance = weighted_moments(particles, jnp.where(degenerate, self.start(), weights), unbiased=True)
        if self.discount is not None:
            allowed = allowed & (jnp.arange(n) >= self.parameters)
        noise = jax.random.normal(key, (size, n)) @ psd_factor(covariance).T * (self.regularisation * size ** (-1 / (n + 4)))
        same = index[1:] == index[:-1]
        duplicate = jnp.concatenate([same, jnp.zeros(1, bool)]) | jnp.concatenate([jnp.zeros(1, bool), same])
        moved = resampled & (duplicate if self.duplicates_only else jnp.ones(size, bool))
        return jnp.where(moved[:, None] & allowed, noise, 0.0)

    def _shrink(self, taken, particles, weights, index, resampled, allowed, key):
        """Replace resampled parameters by draws of the Liu-West kernel."""
        k = self.parameters
        location, covariance = liu_west_kernel(particles[:, :k], weights, self.discount)
        drawn = location[index] + jax.random.normal(key, (particles.shape[0], k)) @ psd_factor(covariance).T
        return taken.at[:, :k].set(jnp.where(resampled & allowed[:k], drawn, taken[:, :k]))

    def run(
        self,
        particles: Float[Array, "particle n"],
        move: Callable[[Float[Array, "particle n"], Any, PRNGKeyArray], Float[Array, "particle n"]],
        log_likelihood: Callable[[Float[Array, "particle n"], Any], Float[Array, " particle"]],
        items: Any,
        *,
        key: PRNGKeyArray,
        movable: Bool[Array, " n"] | None = None,
    ) -> ParticleHistory:
        """Filter a series in one ``lax.scan``.

        Parameters
        ----------
        particles : (particle, n) draws of the prior before the first move.
        move : ``(particles, item, key) -> particles`` brings them to the time of the item.
        log_likelihood : ``(particles, item) -> (particle,)``, zero where nothing was observed.
        items : pytree of arrays with a leading time axis.
        """

        def step(carry, numbered):
            particles, weights = carry
            number, item = numbered
            now = jax.random.fold_in(key, number)
            moved = move(particles, item, jax.random.fold_in(now, 0))
            out = self.analyse(moved, weights, log_likelihood(moved, item), key=jax.random.fold_in(now, 1), movable=movable)
            return (out.particles, out.log_weights), (out.mean, out.covariance, out.ess, out.log_evidence, out.resampled, out.status)

        length = jax.tree.leaves(items)[0].shape[0]
        (particles, weights), (mean, covariance, ess, evidence, resampled, status) = jax.lax.scan(
            step, (particles, self.start()), (jnp.arange(length), items)
        )
        return ParticleHistory(particles, weights, mean, covariance, ess, evidence, resampled, jnp.max(status))
