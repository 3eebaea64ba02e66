"""Adaptive multiple importance sampling: a Laplace approximation widened and moved until its weights are light.

Each round draws from a Student t fitted to the weighted draws so far; all draws of all rounds are weighted against the mixture of the
proposals (Cornuet et al. 2012, doi:10.1111/j.1467-9469.2011.00756.x, with the deterministic-mixture weights of Owen & Zhou 2000).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy.special import gammaln, logsumexp

from gemel.core.protocols import Progress
from gemel.engine.diagnostics import psis
from gemel.engine.infer.base import AbstractMethod, AbstractTarget, Inference
from gemel.engine.infer.laplace import Laplace
from gemel.engine.posterior import Ensemble
from gemel.engine.status import Status, worst

__all__ = ["Adaptive"]


@eqx.filter_jit
def _log_density(target: AbstractTarget, z: jax.Array) -> jax.Array:
    return jax.vmap(lambda x: target.log_prior(x) + target.log_likelihood(x))(z)


def _log_t(z: np.ndarray, mean: np.ndarray, factor: np.ndarray, dof: float) -> np.ndarray:
    d = len(mean)
    white = np.linalg.solve(factor, (z - mean).T)
    shape = gammaln((dof + d) / 2) - gammaln(dof / 2) - 0.5 * d * np.log(dof * np.pi) - np.log(np.abs(np.diag(factor))).sum()
    return shape - (dof + d) / 2 * np.log1p((white**2).sum(axis=0) / dof)


class Adaptive(AbstractMethod):
    """Importance sampling from Student t proposals that learn, started at a Laplace approximation.

    Parameters
    ----------
    starts, iterations : of the Laplace approximation (Gauss-Newton curvature for least-squares targets).
    draws, rounds : per round, and at most so many rounds; it stops early when the Pareto k is below 0.5.
    dof : degrees of freedom of the proposals.
    kept : equally weighted draws in the result.
    """

    starts: int = eqx.field(static=True, default=8)
    iterations: int = eqx.field(static=True, default=60)
    draws: int = eqx.field(static=True, default=512)
    rounds: int = eqx.field(static=True, default=5)
    dof: float = eqx.field(static=True, default=5.0)
    kept: int = eqx.field(static=True, default=400)

    @property
    def name(self):
        """Short name."""
        return "adaptive"

    @property
    def validity(self):
        """When it is exact."""
        return "asymptotically exact: adaptive importance sampling, Pareto k in the result"

    def run(self, target: AbstractTarget, *, key: PRNGKeyArray, progress: Progress | None = None) -> Inference:
        """Infer the posterior of one target."""
        first, rest = jax.random.split(key)
        from gemel.engine.infer.base import AbstractLeastSquaresTarget

        curvature = "gauss-newton" if isinstance(target, AbstractLeastSquaresTarget) else "exact"
        begun = Laplace(starts=self.starts, iterations=self.iterations, hessian=curvature, draws=64).run(target, key=first, progress=progress)
        mean, covariance = (np.asarray(v) for v in begun.posterior.moments())
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            return begun
        d = len(mean)
        proposals = [(mean, np.linalg.cholesky(covariance + 1e-12 * np.eye(d)))]
        found, density, k, weights = np.zeros((0, d)), np.zeros(0), np.inf, np.zeros(0)
        rounds = 0
        for r in range(self.rounds):
            rounds = r + 1
            centre, factor = proposals[-1]
            one = jax.random.fold_in(rest, r)
            normal = np.asarray(jax.random.normal(one, (self.draws, d)))
            chi = np.asarray(jax.random.gamma(jax.random.fold_in(one, 1), self.dof / 2, (self.draws,))) * 2 / self.dof
            fresh = centre + (normal / np.sqrt(chi)[:, None]) @ factor.T
            found = np.concatenate([found, fresh])
            density = np.concatenate([density, np.asarray(_log_density(target, jnp.asarray(fresh)))])
            mixture = logsumexp(np.stack([_log_t(found, m, f, self.dof) for m, f in proposals]), axis=0) - np.log(len(proposals))
            ratios = np.where(np.isfinite(density), density - mixture, -np.inf)
            weights, k = psis(ratios)
            if k < 0.5:
                break
            w = np.exp(weights)
            middle = w @ found
            centred = found - middle
            spread = (centred * w[:, None]).T @ centred
            ess = 1.0 / np.sum(w**2)
            share = ess / (ess + 2 * d)  # few effective draws: lean on the curvature
            spread = share * spread + (1 - share) * covariance
            proposals.append((share * middle + (1 - share) * proposals[-1][0], np.linalg.cholesky(spread + 1e-10 * np.eye(d))))
        log_evidence = float(logsumexp(ratios) - np.log(len(ratios)))
        ess = float(1.0 / np.sum(np.exp(weights) ** 2))
        chosen = Ensemble(jnp.asarray(found), jnp.asarray(weights - logsumexp(weights))).draw(self.kept, key=jax.random.fold_in(rest, 999))
        status = Status.OK if k <= 0.7 else Status.PSIS_TOO_HEAVY
        if ess < 50:
            status = worst(status, Status.ESS_TOO_LOW)
        diagnostics = {"psis_k": float(k), "ess": ess, "rounds": rounds, "draws_not_finite": int((~np.isfinite(density)).sum()), "laplace_psis_k": begun.diagnostics["psis_k"]}
        return Inference(Ensemble.equal(chosen), diagnostics, int(status), self.name, self.validity, log_evidence)
