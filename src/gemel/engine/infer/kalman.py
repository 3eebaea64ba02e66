"""Square-root Kalman filter and Rauch-Tung-Striebel smoother: exact for linear-Gaussian states.

Covariances travel as triangular factors (``P = S S'``) and every step is one QR factorisation of a pre-array, so that no covariance
can lose symmetry or definiteness. A missing channel is mask ``False``: whatever stands there (NaN too) changes no bit of the result.

References
----------
Kailath, Sayed and Hassibi 2000, "Linear Estimation", chapter 12 (array algorithms).
Rauch, Tung and Striebel 1965, doi:10.2514/3.3166.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

__all__ = [
    "Conditioned",
    "Filtered",
    "LinearGaussian",
    "Smoothed",
    "condition",
    "kalman_filter",
    "kalman_smoother",
    "propagate",
    "psd_factor",
]


def psd_factor(covariance: Float[Array, "... n n"]) -> Float[Array, "... n n"]:
    """Return a square root ``S`` of a covariance that may be singular: ``S S' = covariance``.

    Parameters
    ----------
    covariance : (..., n, n) symmetric, positive semi-definite. Eigenvalues below zero (rounding) count as zero.
    """
    value, vector = jnp.linalg.eigh((covariance + jnp.swapaxes(covariance, -1, -2)) / 2)
    return vector * jnp.sqrt(jnp.maximum(value, 0.0))[..., None, :]


def _lower(wide: Float[Array, "n m"]) -> Float[Array, "n n"]:
    """Triangular factor of ``wide @ wide.T`` with a diagonal that is not negative (``m >= n``)."""
    upper = jnp.linalg.qr(wide.T, mode="r")
    sign = jnp.where(jnp.diagonal(upper) < 0, -1.0, 1.0)
    return (upper * sign[:, None]).T


class LinearGaussian(eqx.Module):
    """A linear-Gaussian state space: ``x' = F x + b + w``, ``y = H x + d + v``.

    Every field but the initial ones may carry a leading time axis of length T; entry t of ``transition``, ``process_factor`` and ``drift``
    moves the state from time t to time t + 1 (the last one is not used by the smoother). ``mean`` and ``factor`` describe the
    state at the first time, before its observation.

    Parameters
    ----------
    transition : ([time,] n, n) F.
    process_factor : ([time,] n, q) any square root of the process covariance; zeros for what cannot move.
    observation : ([time,] p, n) H.
    noise : ([time,] p, p) covariance of v, positive definite; or ([time,] p) its diagonal (then set ``diagonal=True``).
    mean, factor : (n,), (n, n) prior of the first state.
    drift : ([time,] n) b.   offset : ([time,] p) d.
    """

    transition: Float[Array, "*time n n"]
    process_factor: Float[Array, "*time n q"]
    observation: Float[Array, "*time p n"]
    noise: Float[Array, "*shape"]
    mean: Float[Array, " n"]
    factor: Float[Array, "n n"]
    drift: Float[Array, "*time n"]
    offset: Float[Array, "*time p"]
    diagonal: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(cls, transition, process, observation, noise, mean, covariance, *, drift=None, offset=None, diagonal=False) -> LinearGaussian:
        """Build from covariances; ``process`` and ``covariance`` may be singular."""
        transition, observation = jnp.asarray(transition, float), jnp.asarray(observation, float)
        return cls(
            transition,
            psd_factor(jnp.asarray(process, float)),
            observation,
            jnp.asarray(noise, float),
            jnp.asarray(mean, float),
            psd_factor(jnp.asarray(covariance, float)),
            jnp.zeros(transition.shape[-1]) if drift is None else jnp.asarray(drift, float),
            jnp.zeros(observation.shape[-2]) if offset is None else jnp.asarray(offset, float),
            diagonal,
        )

    def _by_time(self, length: int) -> tuple[Array, ...]:
        """Every field with a time axis of this length."""
        fields = (
            (self.transition, 2),
            (self.process_factor, 2),
            (self.observation, 2),
            (self.noise, 1 if self.diagonal else 2),
            (self.drift, 1),
            (self.offset, 1),
        )
        return tuple(a if a.ndim > rank else jnp.broadcast_to(a, (length, *a.shape)) for a, rank in fields)


class Conditioned(eqx.Module):
    """A Gaussian after one observation vector, with what the vector was worth.

    ``innovation`` is ``y - H m`` (zero where masked), ``whitened`` the same made independent with unit variance, in the order of the
    channels; the sum of its squares is chi-square with ``channels`` degrees of freedom when the model is right.
    """

    mean: Float[Array, " n"]
    factor: Float[Array, "n n"]
    innovation: Float[Array, " p"]
    whitened: Float[Array, " p"]
    log_likelihood: Float[Array, ""]
    channels: Int[Array, ""]


class Filtered(eqx.Module):
    """Filter output, time first. ``predicted_*`` stand before, ``mean``/``factor`` after the observation of the same time."""

    mean: Float[Array, "time n"]
    factor: Float[Array, "time n n"]
    predicted_mean: Float[Array, "time n"]
    predicted_factor: Float[Array, "time n n"]
    innovation: Float[Array, "time p"]
    whitened: Float[Array, "time p"]
    log_likelihoods: Float[Array, " time"]
    channels: Int[Array, " time"]

    @property
    def log_likelihood(self) -> Float[Array, ""]:
        """Log density of all observations: the log-evidence of the state space."""
        return jnp.sum(self.log_likelihoods, axis=-1)

    @property
    def covariance(self) -> Float[Array, "time n n"]:
        """Filtered covariances."""
        return self.factor @ jnp.swapaxes(self.factor, -1, -2)

    @property
    def predicted_covariance(self) -> Float[Array, "time n n"]:
        """Covariances before each observation."""
        return self.predicted_factor @ jnp.swapaxes(self.predicted_factor, -1, -2)

    @property
    def squared_innovation(self) -> Float[Array, " time"]:
        """Normalised innovation squared, chi-square with ``channels`` degrees of freedom at each time."""
        return jnp.sum(self.whitened**2, axis=-1)


class Smoothed(eqx.Module):
    """Smoother output: the law of each state given all observations, and ``cross[t] = cov(x[t+1], x[t])``."""

    mean: Float[Array, "time n"]
    factor: Float[Array, "time n n"]
    cross: Float[Array, "time-1 n n"]

    @property
    def covariance(self) -> Float[Array, "time n n"]:
        """Smoothed covariances."""
        return self.factor @ jnp.swapaxes(self.factor, -1, -2)


def condition(
    mean: Float[Array, " n"],
    factor: Float[Array, "n n"],
    observed: Float[Array, " p"],
    observation: Float[Array, "p n"],
    noise: Float[Array, "*shape"],
    mask: Bool[Array, " p"],
    offset: Float[Array, " p"] | float = 0.0,
) -> Conditioned:
    """Condition a Gaussian on one linear observation with missing channels.

    Parameters
    ----------
    mean, factor : prior mean (n,) and square root of its covariance (n, n).
    observed : (p,) values; anything where masked.
    observation : (p, n) H.
    noise : (p, p) covariance or (p,) variances, positive definite on the channels that are there.
    mask : (p,) True where a value is present.
    offset : (p,) added to ``H x``.
    """
    p, n = observation.shape
    mask = jnp.asarray(mask, bool)
    seen = jnp.where(mask[:, None], observation, 0.0)
    if noise.ndim == 1:
        noise_factor = jnp.diag(jnp.sqrt(jnp.where(mask, noise, 1.0)))
    else:
        both = mask[:, None] & mask[None, :]
        noise_factor = jnp.linalg.cholesky(jnp.where(both, noise, jnp.eye(p, dtype=noise.dtype)))
    innovation = jnp.where(mask, jnp.where(mask, observed - offset, 0.0) - seen @ mean, 0.0)
    before = jnp.block([[noise_factor, seen @ factor], [jnp.zeros((n, p), mean.dtype), factor]])
    after = _lower(before)
    white = solve_triangular(after[:p, :p], innovation, lower=True)
    channels = jnp.sum(mask)
    log_likelihood = -0.5 * jnp.sum(white**2) - jnp.sum(jnp.log(jnp.diagonal(after)[:p])) - 0.5 * channels * jnp.log(2 * jnp.pi)
    return Conditioned(mean + after[p:, :p] @ white, after[p:, p:], innovation, white, log_likelihood, channels)


def propagate(
    mean: Float[Array, " n"],
    factor: Float[Array, "n n"],
    transition: Float[Array, "n n"],
    process_factor: Float[Array, "n q"],
    drift: Float[Array, " n"] | float = 0.0,
) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Move a Gaussian one step in time.

    Returns
    -------
    Mean (n,) and triangular square root (n, n) of ``F P F' + Q``.
    """
    return transition @ mean + drift, _lower(jnp.concatenate([transition @ factor, process_factor], axis=1))


def kalman_filter(system: LinearGaussian, observed: Float[Array, "time p"], mask: Bool[Array, "time p"] | None = None) -> Filtered:
    """Filter a series: the law of each state given what was observed up to its time.

    Parameters
    ----------
    system : the state space.
    observed : (time, p).
    mask : (time, p) True where a value is present; all of them when None.

    Examples
    --------
    >>> level = LinearGaussian.of([[1.0]], [[1.0]], [[1.0]], [[1.0]], [0.0], [[1.0]])
    >>> round(float(kalman_filter(level, jnp.zeros((60, 1))).predicted_covariance[-1, 0, 0]), 7)
    1.618034
    """
    observed = jnp.asarray(observed)
    mask = jnp.ones(observed.shape, bool) if mask is None else jnp.asarray(mask, bool)

    def step(carry, item):
        mean, factor = carry
        (transition, process, observation, noise, drift, offset), value, present = item
        new = condition(mean, factor, value, observation, noise, present, offset)
        out = Filtered(new.mean, new.factor, mean, factor, new.innovation, new.whitened, new.log_likelihood, new.channels)
        return propagate(new.mean, new.factor, transition, process, drift), out

    start = (system.mean, _lower(system.factor))
    _, out = jax.lax.scan(step, start, (system._by_time(observed.shape[0]), observed, mask))
    return out


def kalman_smoother(system: LinearGaussian, filtered: Filtered) -> Smoothed:
    """Smooth a filtered series: the law of each state given all observations.

    The backward gain and the covariance of ``x[t]`` given ``x[t+1]`` come from one QR factorisation. The predicted covariance must be
    definite (a coordinate known exactly from the start does not belong into the state).

    Parameters
    ----------
    system : the state space that was filtered.
    filtered : from :func:`kalman_filter`.
    """
    n = system.mean.shape[0]
    transition, process, *_ = system._by_time(filtered.mean.shape[0])

    def step(carry, item):
        later_mean, later_factor = carry
        mean, factor, move, noise, predicted_mean = item
        before = jnp.block([[move @ factor, noise], [factor, jnp.zeros_like(noise)]])
        if before.shape[1] < 2 * n:
            before = jnp.concatenate([before, jnp.zeros((2 * n, 2 * n - before.shape[1]))], axis=1)
        after = _lower(before)
        gain = solve_triangular(after[:n, :n].T, after[n:, :n].T, lower=False).T
        new_mean = mean + gain @ (later_mean - predicted_mean)
        new_factor = _lower(jnp.concatenate([after[n:, n:], gain @ later_factor], axis=1))
        cross = later_factor @ (later_factor.T @ gain.T)
        return (new_mean, new_factor), (new_mean, new_factor, cross)

    last = (filtered.mean[-1], filtered.factor[-1])
    items = (filtered.mean[:-1], filtered.factor[:-1], transition[:-1], process[:-1], filtered.predicted_mean[1:])
    _, (means, factors, cross) = jax.lax.scan(step, last, items, reverse=True)
    return Smoothed(jnp.concatenate([means, last[0][None]]), jnp.concatenate([factors, last[1][None]]), cross)
