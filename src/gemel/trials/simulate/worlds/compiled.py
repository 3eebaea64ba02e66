"""Worlds written in JAX, for patients that come out of a JAX model: one trial at a time, made to be mapped over thousands."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

__all__ = ["AbstractWorld", "NormalWorld", "Population", "Trial"]


class Trial(eqx.Module):
    """One trial as it would be read out: a row per patient.

    Parameters
    ----------
    arm : 0 control, 1 treated.
    covariates : known before randomisation.
    outcome : the endpoint; of a binary endpoint 0 or 1.
    observed : whether the endpoint was measured.
    """

    arm: Int[Array, " patient"]
    covariates: Float[Array, "patient covariate"]
    outcome: Float[Array, " patient"]
    observed: Bool[Array, " patient"]


class AbstractWorld(eqx.Module):
    """Draws the patients of a trial and their outcomes under the arm that each is given."""

    @property
    @abc.abstractmethod
    def effect(self) -> Array:
        """The estimand: expected outcome of all when treated less that of all under control."""

    @abc.abstractmethod
    def trial(self, arm: Int[Array, " patient"], *, key: PRNGKeyArray) -> Trial:
        """Enrol one patient per entry of ``arm``."""


class NormalWorld(AbstractWorld):
    """A normal outcome, partly foretold by one covariate: ``outcome = difference * arm + sd (r x + sqrt(1 - r^2) e)``.

    Parameters
    ----------
    difference : effect of treatment, the same for all.
    sd : standard deviation of the outcome under control.
    correlation : of covariate and outcome.
    dropout : share of endpoints that are missing completely at random.
    """

    difference: Array | float = 0.0
    sd: Array | float = 1.0
    correlation: Array | float = 0.0
    dropout: Array | float = 0.0

    @property
    def effect(self):
        """Return the difference."""
        return jnp.asarray(self.difference, float)

    def trial(self, arm, *, key):
        """Draw covariate, noise and dropout of every patient."""
        foretold, noise, lost = (jax.random.fold_in(key, i) for i in range(3))
        x, e = jax.random.normal(foretold, arm.shape), jax.random.normal(noise, arm.shape)
        outcome = self.difference * arm + self.sd * (self.correlation * x + jnp.sqrt(1.0 - jnp.asarray(self.correlation) ** 2) * e)
        return Trial(arm, x[:, None], outcome, jax.random.uniform(lost, arm.shape) >= self.dropout)


class Population(AbstractWorld):
    """A finite population of virtual patients whose outcome under both arms is known: a trial enrols some of them, each at most once.

    Parameters
    ----------
    control, treated : outcome of every patient under each arm.
    covariates : known before randomisation.
    """

    control: Float[Array, " person"]
    treated: Float[Array, " person"]
    covariates: Float[Array, "person covariate"]

    @property
    def effect(self):
        """Return the mean difference over the population."""
        return jnp.mean(self.treated - self.control)

    def trial(self, arm, *, key):
        """Enrol distinct people in random order."""
        who = jax.random.choice(key, self.control.shape[0], arm.shape, replace=False)
        outcome = jnp.where(arm == 1, self.treated[who], self.control[who])
        return Trial(arm, self.covariates[who], outcome, jnp.isfinite(outcome))
