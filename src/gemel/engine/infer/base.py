"""What a method of inference takes (a target) and gives (an inference)."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from gemel.core.protocols import Progress
from gemel.engine.posterior import AbstractPosterior
from gemel.engine.status import Status, sentence, usable

__all__ = ["AbstractLeastSquaresTarget", "AbstractMethod", "AbstractTarget", "Inference"]


class AbstractTarget(eqx.Module):
    """A posterior density in unconstrained space, split into prior and likelihood.

    Data are array leaves, never static: targets of one model and bucket share one compiled program, and ``jax.vmap`` runs many patients.
    """

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the unconstrained coordinates."""

    @abc.abstractmethod
    def log_prior(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Log prior density in unconstrained space, Jacobian included."""

    @abc.abstractmethod
    def log_likelihood(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Log likelihood of the data."""

    @abc.abstractmethod
    def start(self, *, key: PRNGKeyArray) -> Float[Array, " parameter"]:
        """Draw one over-dispersed start: a prior draw, never a point near a known answer."""


class AbstractLeastSquaresTarget(AbstractTarget):
    """A target whose log-likelihood is ``-|r(z)|^2 / 2`` plus a constant, and whose prior is Gaussian."""

    @abc.abstractmethod
    def residual(self, z: Float[Array, " parameter"]) -> Float[Array, " datum"]:
        """Whitened residual of the data (masked entries are exactly zero)."""

    @abc.abstractmethod
    def prior_residual(self, z: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Whitened deviation from the prior mean."""


class Inference(eqx.Module):
    """A posterior with all that is needed to know whether it may be used.

    ``diagnostics`` are plain numbers or arrays by name; ``method_validity`` says *exact*, *asymptotically exact* or *approximate* and why.
    """

    posterior: AbstractPosterior
    diagnostics: dict[str, Any]
    status: int
    method: str = eqx.field(static=True)
    method_validity: str = eqx.field(static=True)
    log_evidence: Float[Array, ""] | float | None = None

    @property
    def usable(self) -> bool:
        """Whether every gate was passed."""
        return usable(self.status)

    @property
    def sentence(self) -> str:
        """What the status means."""
        return sentence(Status(int(self.status)))


class AbstractMethod(eqx.Module):
    """A method of inference with its settings. Final subclasses live one per file."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Short name, as the command line knows it."""

    @property
    @abc.abstractmethod
    def validity(self) -> str:
        """When the result is exact, and when it is not."""

    @abc.abstractmethod
    def run(self, target: AbstractTarget, *, key: PRNGKeyArray, progress: Progress | None = None) -> Inference:
        """Infer the posterior of one target.

        Raises
        ------
        InferenceError
            Before any compilation, when the method cannot handle the target.
        """
