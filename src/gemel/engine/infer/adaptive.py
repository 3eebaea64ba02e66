"""Adaptive multiple importance sampling: a Laplace approximation widened and moved until its weights are light.

Each round draws from a Student t fitted to the weighted draws so far; all draws of all rounds are weighted against the mixture of the
proposals (Cornuet et al. 2012, doi:10.1111/j.1467-9469.2011.00756.x, with the deterministic-mixture weights of Owen & Zhou 2000).
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy.special import gammaln, logsumexp

from gemel.core.protocols import Progress
from gemel.engine.diagnostics import PSIS_LIMIT, psis
from gemel.engine.infer import lanes
from gemel.engine.infer.base import AbstractLeastSquaresTarget, AbstractMethod, AbstractTarget, Inference
from gemel.engine.infer.laplace import Laplace
from gemel.engine.posterior import Ensemble
from gemel.engine.status import Status, worst

__all__ = ["Adaptive"]

_FEWEST = 50  # effective draws


def _log_density(target: AbstractTarget, z: jax.Array) -> jax.Array:
    return jax.vmap(lambda x: target.log_prior(x) + target.log_likelihood(x))(z)


@jax.jit
def _normals_and_scales(key: jax.Array, shape_of: jax.Array, dof: float) -> tuple[jax.Array, jax.Array]:
    return jax.random.normal(key, shape_of.shape), jax.random.gamma(jax.random.fold_in(key, 1), dof / 2, shape_of.shape[:1]) * 2 / dof


def _log_t(z: np.ndarray, mean: np.ndarray, factor: np.ndarray, dof: float) -> np.ndarray:
    d = len(mean)
    white = np.linalg.solve(factor, (z - mean).T)
    shape = gammaln((dof + d) / 2) - gammaln(dof / 2) - 0.5 * d * np.log(dof * np.pi) - np.log(np.abs(np.diag(factor))).sum()
    return shape - (dof + d) / 2 * np.log1p((white**2).sum(axis=0) / dof)


class _Search:
    """One patient's proposals and draws, on the host."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray, dof: float) -> None:
        self.mean, self.covariance, self.dof = mean, covariance, dof
        d = len(mean)
        self.proposals = [(mean, np.linalg.cholesky(covariance + 1e-12 * np.eye(d)))]
        self.found, self.density = np.zeros((0, d)), np.zeros(0)
        self.weights, self.k, self.log_evidence = np.zeros(0), np.inf, np.nan

    def propose(self, normal: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Draw from the latest Student t."""
        centre, factor = self.proposals[-1]
        return centre + (normal / np.sqrt(scale)[:, None]) @ factor.T

    def learn(self, fresh: np.ndarray, density: np.ndarray) -> None:
        """Weight all draws against the mixture of all proposals so far, and fit the next proposal to them."""
        d = len(self.mean)
        self.found, self.density = np.concatenate([self.found, fresh]), np.concatenate([self.density, density])
        mixture = logsumexp(np.stack([_log_t(self.found, m, f, self.dof) for m, f in self.proposals]), axis=0) - np.log(len(self.proposals))
        ratios = np.where(np.isfinite(self.density), self.density - mixture, -np.inf)
        self.weights, self.k = psis(ratios)
        self.log_evidence = float(logsumexp(ratios) - np.log(len(ratios)))
        w = np.exp(self.weights)
        middle = w @ self.found
        centred = self.found - middle
        spread = (centred * w[:, None]).T @ centred
        ess = 1.0 / np.sum(w**2)
        share = ess / (ess + 2 * d)  # few effective draws: lean on the curvature
        spread = share * spread + (1 - share) * self.covariance
        self.proposals.append((share * middle + (1 - share) * self.proposals[-1][0], np.linalg.cholesky(spread + 1e-10 * np.eye(d))))


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
        return self.run_batch([target], keys=key[None], progress=progress)[0]

    def run_batch(
        self, targets: AbstractTarget | Sequence[AbstractTarget], *, keys: PRNGKeyArray, progress: Progress | None = None
    ) -> list[Inference]:
        """Infer the posteriors of many targets of one model and bucket with the same few programs.

        Parameters
        ----------
        targets : a target whose arrays have a leading patient axis (see ``lanes.stack``), or a sequence of targets.
        keys : one key per patient; a patient's result does not depend on who else is in the batch.
        progress : told how many starts of the Laplace approximation have finished.
        """
        targets = lanes.host(lanes.stack(targets) if isinstance(targets, Sequence) else targets)
        patients = keys.shape[0]
        split = [jax.random.split(keys[i]) for i in range(patients)]
        curvature = "gauss-newton" if isinstance(targets, AbstractLeastSquaresTarget) else "exact"
        laplace = Laplace(starts=self.starts, iterations=self.iterations, hessian=curvature, draws=64)
        begun = laplace.run_batch(targets, keys=jnp.stack([first for first, _ in split]), progress=progress)
        searches = {}
        for i, inference in enumerate(begun):
            mean, covariance = (np.asarray(v) for v in inference.posterior.moments())
            if np.isfinite(mean).all() and np.isfinite(covariance).all():
                searches[i] = _Search(mean, covariance, self.dof)
        waiting = list(searches)
        for r in range(self.rounds):
            if not waiting:
                break
            fresh = []
            for i in waiting:
                normal, scale = _normals_and_scales(jax.random.fold_in(split[i][1], r), jnp.zeros((self.draws, len(searches[i].mean))), self.dof)
                fresh.append(searches[i].propose(np.asarray(normal), np.asarray(scale)))
            density = lanes.chunked(_log_density, (lanes.rows(targets, np.array(waiting)), np.stack(fresh)), (1,) if patients == 1 else (16,))
            for i, z, value in zip(waiting, fresh, density, strict=True):
                searches[i].learn(z, value)
            waiting = [i for i in waiting if searches[i].k >= 0.5]
        return [self._conclude(begun[i], searches.get(i), split[i][1]) for i in range(patients)]

    def _conclude(self, begun: Inference, search: _Search | None, key: PRNGKeyArray) -> Inference:
        if search is None:
            return begun
        weights = search.weights
        ess = float(1.0 / np.sum(np.exp(weights) ** 2))
        chosen = Ensemble(jnp.asarray(search.found), jnp.asarray(weights)).draw(self.kept, key=jax.random.fold_in(key, 999))
        status = Status.OK if search.k <= PSIS_LIMIT else Status.PSIS_TOO_HEAVY
        if ess < _FEWEST:
            status = worst(status, Status.ESS_TOO_LOW)
        if begun.status in (Status.SEVERAL_MODES, Status.CANCELLED):
            status = worst(status, begun.status)
        diagnostics = {
            "psis_k": search.k,
            "ess": ess,
            "rounds": len(search.proposals) - 1,
            "draws_not_finite": int((~np.isfinite(search.density)).sum()),
            "laplace_psis_k": begun.diagnostics["psis_k"],
        }
        return Inference(Ensemble.equal(chosen), diagnostics, int(status), self.name, self.validity, search.log_evidence)
