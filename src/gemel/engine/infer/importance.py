"""Importance sampling from any posterior that can be drawn and evaluated, with Pareto-smoothed weights."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy.special import logsumexp

from gemel.core.errors import InferenceError
from gemel.core.protocols import Progress
from gemel.engine.diagnostics import PSIS_LIMIT, filter_ess, psis
from gemel.engine.infer.base import AbstractMethod, AbstractTarget, Inference
from gemel.engine.keys import stream
from gemel.engine.posterior import AbstractPosterior, Ensemble
from gemel.engine.posterior import Laplace as LaplacePosterior
from gemel.engine.status import Status

__all__ = ["Importance"]


@eqx.filter_jit
def _ratios(target: AbstractTarget, proposal: LaplacePosterior, draws: jax.Array) -> jax.Array:
    return jax.vmap(lambda z: target.log_prior(z) + target.log_likelihood(z) - proposal.log_density(z))(draws)


class Importance(AbstractMethod):
    """Weight draws of a proposal by target over proposal density, smooth the heaviest, and say how far they can be trusted.

    Parameters
    ----------
    proposal : a Gaussian in unconstrained space (``posterior.Laplace``); of an ensemble, the Gaussian of its moments is used.
    draws : how many.
    """

    proposal: AbstractPosterior
    draws: int = eqx.field(static=True, default=2000)

    @property
    def name(self):
        """Return ``importance``."""
        return "importance"

    @property
    def validity(self):
        """Say when it is exact."""
        return "asymptotically exact in the number of draws while PSIS k <= 0.7: Pareto-smoothed importance sampling"

    def run(self, target: AbstractTarget, *, key: PRNGKeyArray, progress: Progress | None = None) -> Inference:
        """Infer the posterior of one target."""
        del progress  # one program, over in a moment
        proposal = self.proposal
        if isinstance(proposal, Ensemble):
            mean, covariance = proposal.moments()
            proposal = LaplacePosterior(mean, jnp.linalg.cholesky(covariance))
        if not isinstance(proposal, LaplacePosterior):
            raise InferenceError("the proposal cannot be evaluated", seen=type(proposal).__name__, expected="Laplace or Ensemble")
        if len(target.names) != proposal.mode.shape[0]:
            raise InferenceError("proposal and target differ in size", seen=proposal.mode.shape[0], expected=len(target.names))
        draws = proposal.draw(self.draws, key=stream(key, "importance"))
        ratio = np.asarray(_ratios(target, proposal, draws))
        finite = np.isfinite(ratio)
        if finite.sum() < 5:
            diagnostics = {"psis_k": np.inf, "ess": 0.0, "draws_not_finite": int((~finite).sum())}
            return Inference(Ensemble.equal(draws), diagnostics, int(Status.NOT_FINITE), self.name, self.validity)
        ratio = np.where(finite, ratio, -np.inf)
        log_weights, k = psis(ratio)
        diagnostics = {"psis_k": k, "ess": float(filter_ess(log_weights)), "draws_not_finite": int((~finite).sum())}
        status = Status.OK if k <= PSIS_LIMIT else Status.PSIS_TOO_HEAVY
        evidence = float(logsumexp(ratio) - np.log(ratio.size))
        return Inference(Ensemble(draws, jnp.asarray(log_weights)), diagnostics, int(status), self.name, self.validity, evidence)
