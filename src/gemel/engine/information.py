"""What it is worth to know more before choosing: perfect information (EVPI) and a measurement that can be made (EVSI).

Utilities are a matrix (draw, plan) on the same posterior draws. Values are in the unit of the utility, each with its Monte Carlo error.

References
----------
Strong, Oakley and Brennan 2014, doi:10.1177/0272989X13505910 (regression).
Strong, Oakley, Brennan and Breeze 2015, doi:10.1177/0272989X15575286 (on summaries of a sample).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from gemel.core.errors import InferenceError

__all__ = ["ValueOfInformation", "evpi", "evpi_normal", "evsi_gaussian", "evsi_nested", "evsi_normal", "evsi_regression"]


@dataclass(frozen=True)
class ValueOfInformation:
    """A value of information with its Monte Carlo standard error, both in the unit of the utility.

    ``best`` is the plan with the largest expected utility as things stand; ``method`` says how the number was made.
    """

    value: float
    error: float
    best: int
    method: str


def _matrix(utilities: ArrayLike) -> NDArray[np.float64]:
    u = np.asarray(utilities, float)
    if u.ndim != 2 or u.shape[0] < 2 or u.shape[1] < 1:
        raise InferenceError("utilities must be a matrix (draw, plan)", seen=u.shape, expected="two draws and one plan or more")
    if not np.isfinite(u).all():
        raise InferenceError("a utility is not finite", fix="check the status of the forecast first")
    return u


def _from_matrix(u: NDArray[np.float64], method: str) -> ValueOfInformation:
    """Value and error when every row is one state of knowledge: the gain of choosing row by row over choosing once."""
    best = int(np.argmax(u.mean(axis=0)))
    gain = u.max(axis=1) - u[:, best]
    return ValueOfInformation(float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain))), best, method)


def evpi(utilities: ArrayLike) -> ValueOfInformation:
    """Value perfect information: ``E[max_a U(a, th)] - max_a E[U(a, th)]``.

    Parameters
    ----------
    utilities : (draw, plan).

    Examples
    --------
    >>> evpi([[0.0, 1.0], [0.0, -1.0]]).value
    0.5
    """
    return _from_matrix(_matrix(utilities), "draws")


def evpi_normal(mean: float, sd: float) -> float:
    """Value perfect information on two plans whose difference in utility is ``N(mean, sd^2)``: ``s phi(m/s) - |m| Phi(-|m|/s)``.

    Parameters
    ----------
    mean, sd : of the difference, in the unit of the utility.
    """
    return float(sd * norm.pdf(mean / sd) - abs(mean) * norm.cdf(-abs(mean) / sd))


def evsi_normal(mean: float, sd: float, variance: float, n: int) -> float:
    """Value ``n`` measurements of that difference, each with this variance: :func:`evpi_normal` with ``s -> s^2 / sqrt(s^2 + v/n)``.

    Parameters
    ----------
    mean, sd : of the difference as known now.
    variance : v of one measurement.
    n : how many.
    """
    return evpi_normal(mean, sd**2 / np.sqrt(sd**2 + variance / n))


def _basis(summaries: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """All monomials of standardised summaries up to a degree."""
    columns = [np.ones(len(summaries))]
    for d in range(1, degree + 1):
        columns += [np.prod(summaries[:, c], axis=1) for c in map(list, combinations_with_replacement(range(summaries.shape[1]), d))]
    return np.stack(columns, axis=1)


def evsi_regression(utilities: ArrayLike, summaries: ArrayLike, *, degrees: tuple[int, ...] = (1, 2, 3, 4, 5)) -> ValueOfInformation:
    """Value a measurement by regressing the gain of each plan on summaries of simulated data.

    Each draw carries the data that would be seen if it were true; the fitted value is the expected gain after the data. The degree of the
    polynomial is chosen per plan by the exact leave-one-out error. Summaries that determine the draw give the EVPI.

    Parameters
    ----------
    utilities : (draw, plan).
    summaries : (draw,) or (draw, summary), of data simulated from the same draw.
    degrees : candidates; those with more than one term per ten draws are left out.

    Returns
    -------
    ValueOfInformation
        Its error holds the sampling of draws and of regression coefficients.
    """
    u = _matrix(utilities)
    s = np.asarray(summaries, float).reshape(len(u), -1)
    if not np.isfinite(s).all():
        raise InferenceError("a summary is not finite")
    scale = s.std(axis=0)
    s = (s - s.mean(axis=0))[:, scale > 0] / scale[scale > 0]
    best = int(np.argmax(u.mean(axis=0)))
    gain = u - u[:, [best]]  # only differences matter, and they are less noisy
    bases = [q for d in degrees if (q := _basis(s, d)).shape[1] <= max(2, len(u) // 10)] if s.shape[1] else []
    bases = [np.linalg.qr(b)[0] for b in (bases or [_basis(s, 1) if s.shape[1] else np.ones((len(u), 1))])]
    fitted, slack = np.zeros_like(gain), []
    for a in range(gain.shape[1]):
        if a == best:
            slack.append((bases[0], 0.0))
            continue
        trials = []
        for q in bases:
            value = q @ (q.T @ gain[:, a])
            leverage = np.minimum((q**2).sum(axis=1), 1 - 1e-9)
            trials.append((np.mean(((gain[:, a] - value) / (1 - leverage)) ** 2), value, q))
        _, fitted[:, a], q = min(trials, key=lambda t: t[0])
        residual = gain[:, a] - fitted[:, a]
        slack.append((q, float(residual @ residual) / max(len(u) - q.shape[1], 1)))
    chosen = fitted.argmax(axis=1)
    top = int(np.argmax(fitted.mean(axis=0)))
    rows = fitted.max(axis=1) - fitted[:, top]
    # delta method: with the choice of each row held fixed the value is linear in the coefficients
    extra = 0.0
    for a, (q, variance) in enumerate(slack):
        weight = ((chosen == a).astype(float) - (top == a)) / len(u)
        extra += variance * float(np.sum((q.T @ weight) ** 2))
    error = np.sqrt(rows.var(ddof=1) / len(u) + extra)
    return ValueOfInformation(float(rows.mean()), float(error), best, "regression on summaries, polynomial by leave-one-out")


def evsi_nested(expected: ArrayLike) -> ValueOfInformation:
    """Value a measurement from inner posteriors: row i holds each plan's expected utility after data set i.

    Noise of the inner expectations makes the value too large (a maximum of noisy numbers): use common draws for all data sets.

    Parameters
    ----------
    expected : (data set, plan), data sets simulated from the posterior.
    """
    return _from_matrix(_matrix(expected), "nested")


def evsi_gaussian(
    mean: Float[Array, " n"],
    covariance: Float[Array, "n n"],
    observation: Float[Array, "p n"],
    noise: Float[Array, "p p"],
    utilities: Callable[[Float[Array, "draw n"]], Float[Array, "draw plan"]],
    *,
    outer: int = 2000,
    inner: int = 256,
    key: PRNGKeyArray,
) -> ValueOfInformation:
    """Value a linear measurement of a Gaussian (or Laplace) posterior by nested simulation with Gaussian inner posteriors.

    The inner posterior has one covariance and a mean that depends on the data; all data sets share antithetic inner draws, so that a
    utility that is linear in the parameters is integrated exactly.

    Parameters
    ----------
    mean, covariance : posterior as things stand, (n,), (n, n).
    observation, noise : H (p, n) and R (p, p) of the measurement.
    utilities : (draw, n) -> (draw, plan).
    outer, inner : simulated data sets, and draws in each (even).
    """
    predicted = observation @ covariance @ observation.T + noise
    gain = jnp.linalg.solve(predicted, observation @ covariance).T
    left = covariance - gain @ observation @ covariance
    value, vector = jnp.linalg.eigh((left + left.T) / 2)
    root = vector * jnp.sqrt(jnp.maximum(value, 0.0))
    data_key, inner_key = jax.random.split(key)
    half = jax.random.normal(inner_key, (inner // 2, mean.shape[0]))
    around = jnp.concatenate([half, -half]) @ root.T
    shift = jax.random.normal(data_key, (outer, noise.shape[0])) @ (gain @ jnp.linalg.cholesky(predicted)).T
    expected = jax.jit(lambda m: jax.lax.map(lambda x: jnp.mean(utilities(x + around), axis=0), m, batch_size=64))(mean + shift)
    return _from_matrix(_matrix(np.asarray(expected)), "nested, Gaussian inner posteriors")
