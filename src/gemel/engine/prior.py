"""Population priors: named parameters, Gaussian in unconstrained space with a full covariance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gemel.core.errors import ModelError
from gemel.core.units import parse_unit
from gemel.engine.transform import AbstractBijector

__all__ = ["ASSUMED", "Parameter", "Prior"]

ASSUMED = "ASSUMED"
"""Source of a constant that nobody has published: it is marked so wherever it appears."""


@dataclass(frozen=True)
class Parameter:
    """What is known of one parameter before this patient is seen.

    Parameters
    ----------
    name : field name in ``model.py``.
    unit : UCUM.
    bijector : from the real line to the support.
    location, scale : mean and standard deviation **in unconstrained space**.
    source : DOI and table, or ``ASSUMED``.
    drift : standard deviation of the random walk in unconstrained space per square root of a day, in streams; 0 for what cannot drift.
    """

    name: str
    unit: str
    bijector: AbstractBijector
    location: float
    scale: float
    source: str
    meaning: str
    drift: float = 0.0

    def __post_init__(self) -> None:
        parse_unit(self.unit)
        if not self.scale > 0:
            raise ModelError(f"parameter {self.name!r} needs a positive prior scale", seen=self.scale)

    @property
    def assumed(self) -> bool:
        """Whether the numbers are our assumption."""
        return self.source.startswith(ASSUMED)


class Prior(eqx.Module):
    """``z ~ N(mean, S)`` in unconstrained space; ``constrain(z)`` gives named values.

    Only ``mean`` and ``cholesky`` are arrays: a population's own prior replaces them without a new compilation.
    """

    parameters: tuple[Parameter, ...] = eqx.field(static=True)
    mean: Float[Array, " parameter"]
    cholesky: Float[Array, "parameter parameter"]

    @classmethod
    def of(cls, parameters: Sequence[Parameter], correlation: np.ndarray | None = None) -> Prior:
        """Build a prior from its parameters and, if known, their correlation in unconstrained space."""
        names = [p.name for p in parameters]
        if len(set(names)) != len(names):
            raise ModelError("parameter names must differ", seen=names)
        scale = np.array([p.scale for p in parameters])
        covariance = np.eye(len(parameters)) if correlation is None else np.asarray(correlation, float)
        return cls.from_moments(parameters, np.array([p.location for p in parameters]), covariance * np.outer(scale, scale))

    @classmethod
    def from_moments(cls, parameters: Sequence[Parameter], mean: np.ndarray, covariance: np.ndarray) -> Prior:
        """Build a prior from a mean and covariance in unconstrained space.

        Raises
        ------
        ModelError
            When the covariance is not positive definite, with its smallest eigenvalue.
        """
        covariance = np.asarray(covariance, float)
        smallest = float(np.linalg.eigvalsh((covariance + covariance.T) / 2).min())
        if not smallest > 0 or not np.isfinite(covariance).all():
            raise ModelError("the prior covariance is not positive definite", seen=f"smallest eigenvalue {smallest:.3g}", expected="> 0")
        return cls(tuple(parameters), jnp.asarray(mean, float), jnp.asarray(np.linalg.cholesky(covariance)))

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names, in order."""
        return tuple(p.name for p in self.parameters)

    @property
    def size(self) -> int:
        """How many parameters."""
        return len(self.parameters)

    @property
    def covariance(self) -> Float[Array, "parameter parameter"]:
        """Covariance in unconstrained space."""
        return self.cholesky @ self.cholesky.T

    @property
    def drift(self) -> Float[Array, " parameter"]:
        """Random-walk standard deviation per square root of a day."""
        return jnp.asarray([p.drift for p in self.parameters])

    def constrain(self, z: Float[Array, " parameter"]) -> dict[str, Float[Array, ""]]:
        """Return named values in their units."""
        return {p.name: p.bijector.constrain(z[..., i]) for i, p in enumerate(self.parameters)}

    def unconstrain(self, values: Mapping[str, float | Array]) -> Float[Array, " parameter"]:
        """Return the unconstrained vector of named values."""
        missing = set(self.names) - set(values)
        if missing:
            raise ModelError("values are missing for some parameters", seen=sorted(missing), expected=self.names)
        return jnp.stack([jnp.asarray(p.bijector.unconstrain(jnp.asarray(values[p.name], float))) for p in self.parameters], axis=-1)

    def log_density(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Log density in unconstrained space."""
        white = jax.scipy.linalg.solve_triangular(self.cholesky, z - self.mean, lower=True)
        return -0.5 * jnp.sum(white**2) - jnp.sum(jnp.log(jnp.diagonal(self.cholesky))) - 0.5 * self.size * jnp.log(2 * jnp.pi)

    def log_density_constrained(self, values: Mapping[str, float | Array]) -> Float[Array, ""]:
        """Log density of named values in their own space: the unconstrained one less the log-Jacobian."""
        z = self.unconstrain(values)
        return self.log_density(z) - sum(p.bijector.log_jacobian(z[i]) for i, p in enumerate(self.parameters))

    def draw(self, n: int, *, key: PRNGKeyArray) -> Float[Array, "draw parameter"]:
        """Draw ``n`` unconstrained vectors."""
        return self.mean + jax.random.normal(key, (n, self.size)) @ self.cholesky.T

    def shifted(self, design: Float[Array, "parameter covariate"], covariates: Float[Array, " covariate"]) -> Prior:
        """Return the prior of a person with these covariates: the mean moves by ``design @ covariates``."""
        return Prior(self.parameters, self.mean + design @ covariates, self.cholesky)
