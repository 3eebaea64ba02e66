"""Analyses written in JAX, for worlds that are: in closed form, one simulated trial at a time, made to be mapped over thousands."""

from __future__ import annotations

import abc

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import betainc, gammaln, ndtr, ndtri
from jaxtyping import Array, Float

from gemel.trials.simulate.worlds.compiled import Trial

__all__ = ["AbstractAnalysis", "Ancova", "DifferenceInMeans", "DifferenceInProportions", "Estimates"]


class Estimates(eqx.Module):
    """What an analysis says: estimate of the effect, its standard error, a 95 % interval and a two-sided p-value."""

    estimate: Array
    standard_error: Array
    low: Array
    high: Array
    p_value: Array


def _student_p(t: Array, df: Array) -> Array:
    """Two-sided p-value of Student's t."""
    return betainc(df / 2, 0.5, df / (df + t**2))


def _student_quantile(df: Array) -> Array:
    """Return the 97.5 % quantile of Student's t, by Newton's method on its distribution function from the normal quantile."""
    z = ndtri(jnp.asarray(0.975))
    t = z + (z**3 + z) / (4 * df)
    constant = jnp.exp(gammaln((df + 1) / 2) - gammaln(df / 2)) / jnp.sqrt(df * jnp.pi)
    for _ in range(4):
        density = constant * (1 + t**2 / df) ** (-(df + 1) / 2)
        t = t + (_student_p(t, df) / 2 - 0.025) / density
    return t


class AbstractAnalysis(eqx.Module):
    """Turns one trial into an estimate of the effect."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Short name."""

    @abc.abstractmethod
    def analyse(self, trial: Trial) -> Estimates:
        """Estimate the effect from what was observed."""


def _regression(design: Float[Array, "patient column"], outcome: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Least squares on the observed rows; return the coefficient of the first column, its standard error and the degrees of freedom.

    The other columns are partialled out (Frisch and Waugh 1933): the coefficient is then a ratio of sums.
    """
    first, rest = design[:, 0] * weight, design[:, 1:] * weight[:, None]
    gram = rest.T @ rest
    residual = first - rest @ jnp.linalg.solve(gram, rest.T @ first)
    left = outcome * weight - rest @ jnp.linalg.solve(gram, rest.T @ (outcome * weight))
    squares = jnp.sum(residual**2)
    estimate = jnp.sum(residual * left) / squares
    freedom = weight.sum() - design.shape[1]
    variance = jnp.sum((left - estimate * residual) ** 2) / freedom
    return estimate, jnp.sqrt(variance / squares), freedom


def _with_student(estimate: Array, error: Array, freedom: Array) -> Estimates:
    width = _student_quantile(freedom) * error
    return Estimates(estimate, error, estimate - width, estimate + width, _student_p(estimate / error, freedom))


class DifferenceInMeans(AbstractAnalysis):
    """Student's t-test with pooled variance."""

    @property
    def name(self):
        """Return ``unadjusted``."""
        return "unadjusted"

    def analyse(self, trial):
        """Compare the arms' means."""
        arm = trial.arm.astype(float)
        weight = trial.observed.astype(float)
        return _with_student(*_regression(jnp.stack([arm, jnp.ones_like(arm)], axis=1), _known(trial), weight))


class Ancova(AbstractAnalysis):
    """Linear regression on arm and all covariates of the trial, model-based standard error."""

    @property
    def name(self):
        """Return ``ancova``."""
        return "ancova"

    def analyse(self, trial):
        """Adjust for the covariates."""
        arm = trial.arm.astype(float)
        design = jnp.concatenate([arm[:, None], jnp.ones_like(arm)[:, None], trial.covariates], axis=1)
        return _with_student(*_regression(design, _known(trial), trial.observed.astype(float)))


class DifferenceInProportions(AbstractAnalysis):
    """Risk difference with Newcombe's hybrid score interval and the pooled z test.

    References
    ----------
    Newcombe 1998, Stat Med 17:873-890, method 10.
    """

    @property
    def name(self):
        """Return ``proportions``."""
        return "proportions"

    def analyse(self, trial):
        """Compare the arms' proportions."""
        weight, y, z = trial.observed.astype(float), _known(trial), ndtri(jnp.asarray(0.975))
        treated = weight * (trial.arm == 1)
        control = weight * (trial.arm == 0)
        n1, n0 = treated.sum(), control.sum()
        p1, p0 = jnp.sum(treated * y) / n1, jnp.sum(control * y) / n0

        def wilson(p, n):
            middle = p + z**2 / (2 * n)
            half = z * jnp.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
            return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)

        (l1, u1), (l0, u0) = wilson(p1, n1), wilson(p0, n0)
        difference = p1 - p0
        pooled = (n1 * p1 + n0 * p0) / (n1 + n0)
        spread = jnp.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0))
        statistic = jnp.where(spread > 0, difference / jnp.where(spread > 0, spread, 1.0), 0.0)
        return Estimates(
            difference,
            jnp.sqrt(p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0),
            difference - jnp.sqrt((p1 - l1) ** 2 + (u0 - p0) ** 2),
            difference + jnp.sqrt((u1 - p1) ** 2 + (p0 - l0) ** 2),
            2 * ndtr(-jnp.abs(statistic)),
        )


def _known(trial: Trial) -> Array:
    return jnp.where(trial.observed, trial.outcome, 0.0)
