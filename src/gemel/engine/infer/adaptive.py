"""Adaptive multiple importance sampling: Laplace approximations at every mode the starts have found, moved until their weights are light.

Each round draws from a mixture of Student t laws fitted to the weighted draws so far; all draws of all rounds are weighted against the mixture
of the proposals (Cornuet et al. 2012, doi:10.1111/j.1467-9469.2011.00756.x, with the deterministic-mixture weights of Owen & Zhou 2000). The
mixture learns by one step of expectation and maximisation per round (Cappé et al. 2008, doi:10.1007/s11222-008-9059-x, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp

from gemel.core.protocols import Progress
from gemel.engine.diagnostics import PSIS_LIMIT, psis
from gemel.engine.infer import lanes
from gemel.engine.infer.base import AbstractLeastSquaresTarget, AbstractMethod, AbstractTarget, Inference
from gemel.engine.infer.levenberg import LevenbergMarquardt, value_and_jacobian
from gemel.engine.infer.moves import evolve
from gemel.engine.infer.quasi_newton import QuasiNewton
from gemel.engine.keys import stream
from gemel.engine.posterior import Ensemble
from gemel.engine.status import Status, worst

__all__ = ["Adaptive"]

_FEWEST = 50  # effective draws below which nothing can be said
_APART, _RIVAL = 2.0, 15.0  # standard deviations between modes; nats below the best one
_WIDER = 1.3  # of the fitted variance: weighted draws see too little of the tails, and a narrow proposal never finds them
_LEAST_SHARE = 0.02  # of a component of the mixture: a smaller one is placed anew


def _log_density(target: AbstractTarget, z: jax.Array) -> jax.Array:
    return jax.vmap(lambda x: target.log_prior(x) + target.log_likelihood(x))(z)


def _residual(target: AbstractLeastSquaresTarget) -> Any:
    return lambda z: jnp.concatenate([target.residual(z), target.prior_residual(z)])


def _potential(target: AbstractTarget) -> Any:
    return lambda z: -target.log_prior(z) - target.log_likelihood(z)


def _least_squares_step(target: AbstractLeastSquaresTarget, state: Any) -> Any:
    return LevenbergMarquardt().step(_residual(target), state)


def _general_step(target: AbstractTarget, state: Any) -> Any:
    return QuasiNewton().step(_potential(target), state)


def _start(target: AbstractTarget, key_data: jax.Array) -> jax.Array:
    return target.start(key=jax.random.wrap_key_data(key_data))


def _precision(target: AbstractTarget, z: jax.Array) -> jax.Array:
    """Curvature of the potential: Gauss and Newton's for least squares, else exact."""
    if isinstance(target, AbstractLeastSquaresTarget):
        _, jacobian = value_and_jacobian(_residual(target), z)
        return jacobian.T @ jacobian
    return jax.hessian(_potential(target))(z)


@jax.jit
def _noise(key: jax.Array, like: jax.Array, dof: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return normals, the scales of Student's t, and uniform numbers, one per row of ``like``."""
    normal, scale, uniform = (jax.random.fold_in(key, i) for i in range(3))
    n = like.shape[:1]
    return jax.random.normal(normal, like.shape), jax.random.gamma(scale, dof / 2, n) * 2 / dof, jax.random.uniform(uniform, n)


def _inverse_factor(precision: np.ndarray) -> np.ndarray | None:
    """Return the lower factor of the inverse of a curvature; directions that do not curve upwards get the width of a unit prior."""
    if not np.isfinite(precision).all():
        return None
    value, vector = np.linalg.eigh((precision + precision.T) / 2)
    value = np.where(value > 1e-12 * max(value.max(), 1e-300), value, 1.0)
    return np.linalg.cholesky((vector / value) @ vector.T + 1e-14 * np.eye(len(value)))


class _Mixture:
    """Student t laws with their shares, factors lower triangular."""

    def __init__(self, shares: np.ndarray, means: np.ndarray, factors: np.ndarray, dof: float) -> None:
        self.shares, self.means, self.factors, self.dof = shares / shares.sum(), means, factors, dof

    def parts(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log density of every weighted component, and the squared distances from their centres."""
        d = z.shape[1]
        distance = np.stack([
            np.square(solve_triangular(f, (z - m).T, lower=True, check_finite=False)).sum(axis=0) for m, f in zip(self.means, self.factors, strict=True)
        ])  # fmt: skip
        constant = gammaln((self.dof + d) / 2) - gammaln(self.dof / 2) - 0.5 * d * np.log(self.dof * np.pi)
        volume = np.log(np.abs(np.diagonal(self.factors, axis1=1, axis2=2))).sum(axis=1)
        with np.errstate(divide="ignore"):
            shares = np.log(self.shares)
        return shares[:, None] + constant - volume[:, None] - (self.dof + d) / 2 * np.log1p(distance / self.dof), distance

    def log_density(self, z: np.ndarray) -> np.ndarray:
        """Return the log density."""
        return np.asarray(logsumexp(self.parts(z)[0], axis=0))

    def draw(self, normal: np.ndarray, scale: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Turn noise into draws, components in even shares."""
        n = len(normal)
        which = np.searchsorted(np.cumsum(self.shares), (np.arange(n) + uniform) / n).clip(max=len(self.shares) - 1)
        return self.means[which] + np.einsum("nij,nj->ni", self.factors[which], normal / np.sqrt(scale)[:, None])


class _Search:
    """One patient's proposals and weighted draws, on the host."""

    def __init__(self, first: _Mixture, generator: np.random.Generator) -> None:
        d = first.means.shape[1]
        self.proposals, self.generator = [first], generator
        self.found, self.density, self.mixture = np.zeros((0, d)), np.zeros(0), np.zeros(0)
        self.weights, self.k, self.ess, self.log_evidence = np.zeros(0), np.inf, 0.0, np.nan

    def learn(self, fresh: np.ndarray, density: np.ndarray) -> None:
        """Weight all draws against the mixture of all proposals so far."""
        *earlier, latest = self.proposals
        old = np.logaddexp(self.mixture, latest.log_density(self.found)) if len(self.found) else self.mixture
        new = np.asarray(logsumexp(np.stack([q.log_density(fresh) for q in self.proposals]), axis=0))
        self.found, self.density = np.concatenate([self.found, fresh]), np.concatenate([self.density, density])
        self.mixture = np.concatenate([old, new])
        ratios = np.where(np.isfinite(self.density), self.density - self.mixture + np.log(len(earlier) + 1), -np.inf)
        if np.isfinite(ratios).sum() < _FEWEST:
            return
        self.weights, self.k = psis(ratios)
        self.ess = float(1.0 / np.sum(np.exp(2 * self.weights)))
        self.log_evidence = float(logsumexp(ratios) - np.log(len(ratios)))

    def improve(self) -> None:
        """Fit the next proposal to the weighted draws; components that nearly vanish are placed anew among the heavy draws."""
        before = self.proposals[-1]
        if not len(self.weights):
            self.proposals.append(before)
            return
        d, w = self.found.shape[1], np.exp(self.weights)
        parts, distance = before.parts(self.found)
        responsible = w * np.exp(parts - logsumexp(parts, axis=0))
        shares = responsible.sum(axis=1)
        means, factors = before.means.copy(), before.factors.copy()
        chosen = self.generator.choice(len(w), size=len(shares), p=w / w.sum())
        for j, share in enumerate(shares):
            if share < _LEAST_SHARE:
                owner = int(parts[:, chosen[j]].argmax())
                means[j], factors[j] = self.found[chosen[j]], before.factors[owner] * 0.7
                continue
            r = responsible[j]
            u = r * (before.dof + d) / (before.dof + distance[j])
            middle = u @ self.found / u.sum()
            centred = self.found - middle
            spread = (centred * u[:, None]).T @ centred / share
            trust = share**2 / np.square(r).sum()
            trust = trust / (trust + 4 * d)  # few effective draws: lean on what was known
            means[j] = trust * middle + (1 - trust) * means[j]
            known = before.factors[j] @ before.factors[j].T
            factors[j] = np.linalg.cholesky(trust * _WIDER * spread + (1 - trust) * known + 1e-10 * np.diag(np.diagonal(known)))
        self.proposals.append(_Mixture(np.maximum(shares, _LEAST_SHARE), means, factors, before.dof))


class Adaptive(AbstractMethod):
    """Importance sampling from mixtures of Student t laws that learn, started at every mode that the optimiser finds.

    Parameters
    ----------
    starts, iterations : optimisations per patient, all carried to convergence, for other modes hold mass too.
    draws, rounds : per round, and at most so many rounds; it stops early when the Pareto k is below 0.5 and ``enough`` draws are effective.
    components : of the mixture, at most.
    dof : degrees of freedom of the proposals.
    kept : equally weighted draws in the result.
    moves : how often each of them moves by differential evolution afterwards (see ``moves.py``): slower, and right where the weights are not.
    """

    starts: int = eqx.field(static=True, default=8)
    iterations: int = eqx.field(static=True, default=60)
    draws: int = eqx.field(static=True, default=512)
    rounds: int = eqx.field(static=True, default=10)
    enough: int = eqx.field(static=True, default=200)
    components: int = eqx.field(static=True, default=6)
    dof: float = eqx.field(static=True, default=5.0)
    kept: int = eqx.field(static=True, default=400)
    moves: int = eqx.field(static=True, default=0)

    @property
    def name(self):
        """Short name."""
        return "adaptive"

    @property
    def validity(self):
        """When it is exact."""
        moved = f", then {self.moves} moves of each draw that leave the posterior as it is" if self.moves else ""
        return f"asymptotically exact: adaptive importance sampling, Pareto k in the result{moved}"

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
        progress : told how many starts have finished.
        """
        whole: AbstractTarget = lanes.host(lanes.stack(targets) if isinstance(targets, Sequence) else targets)
        patients = keys.shape[0]
        firsts, converged, cancelled = self._begin(whole, keys, progress)
        searches = {}
        for i, mixture in enumerate(firsts):
            if mixture is not None and not cancelled:
                seed = np.asarray(jax.random.key_data(stream(keys[i], "components")))
                searches[i] = _Search(mixture, np.random.default_rng(seed))
        waiting = list(searches)
        size = (1,) if patients == 1 else (16,)
        for r in range(self.rounds):
            if not waiting:
                break
            fresh = []
            for i in waiting:
                like = jnp.zeros((self.draws, searches[i].found.shape[1]))
                noise = _noise(jax.random.fold_in(stream(keys[i], "draws"), r), like, self.dof)
                fresh.append(searches[i].proposals[-1].draw(*(np.asarray(x) for x in noise)))
            density = lanes.chunked(_log_density, (lanes.rows(whole, np.array(waiting)), np.stack(fresh)), size)
            for i, z, value in zip(waiting, fresh, density, strict=True):
                searches[i].learn(z, value)
            waiting = [i for i in waiting if not (searches[i].k < 0.5 and searches[i].ess >= self.enough)]
            if r + 1 < self.rounds:
                for i in waiting:
                    searches[i].improve()
        kept = {i: self._resample(s, keys[i]) for i, s in searches.items() if len(s.weights)}
        accepted = dict.fromkeys(kept, np.nan)
        if self.moves and kept:
            who = np.array(list(kept))
            data = np.stack([np.asarray(jax.random.key_data(stream(keys[i], "moves"))) for i in who])
            moved, share = lanes.chunked(
                evolve, (lanes.rows(whole, who), np.stack(list(kept.values())), data), size, (jnp.asarray(self.moves),)
            )
            kept, accepted = dict(zip(who, moved, strict=True)), dict(zip(who, share, strict=True))
        return [
            self._conclude(searches.get(i), kept.get(i), accepted.get(i, np.nan), int(converged[i]), cancelled, len(whole.names))
            for i in range(patients)
        ]

    def _resample(self, search: _Search, key: PRNGKeyArray) -> np.ndarray:
        spare = self.rounds * self.draws - len(search.found)  # rows without weight: one program, however many rounds a patient took
        found, weights = np.pad(search.found, ((0, spare), (0, 0))), np.pad(search.weights, (0, spare), constant_values=-np.inf)
        return np.asarray(Ensemble(jnp.asarray(found), jnp.asarray(weights)).draw(self.kept, key=stream(key, "kept")))

    def _begin(
        self, targets: AbstractTarget, keys: PRNGKeyArray, progress: Progress | None
    ) -> tuple[list[_Mixture | None], np.ndarray, bool]:
        """Return a mixture over each patient's modes (none where no start was finite), and how many starts converged."""
        patients, per = keys.shape[0], self.starts
        squares = isinstance(targets, AbstractLeastSquaresTarget)
        method, step = (LevenbergMarquardt(), _least_squares_step) if squares else (QuasiNewton(), _general_step)
        each = jax.vmap(lambda k: jax.vmap(lambda i: jax.random.fold_in(stream(k, "start"), i))(jnp.arange(per)))(keys)
        owner = np.repeat(np.arange(patients), per)
        data, sizes = np.asarray(jax.random.key_data(each)).reshape(patients * per, -1), (8, 128) if patients * per <= 8 else (16, 128)
        starts = lanes.chunked(_start, (lanes.rows(targets, owner), data), sizes).reshape(patients, per, -1)
        best = lanes.multistart(
            step, method.init, targets, starts, iterations=self.iterations, halving=False, sizes=sizes, progress=progress
        )
        curvature = lanes.chunked(_precision, (lanes.rows(targets, owner), best.points.reshape(patients * per, -1)), sizes)
        curvature = curvature.reshape(patients, per, *curvature.shape[1:])
        return [self._modes(*x) for x in zip(best.points, best.values, curvature, strict=True)], best.converged.sum(axis=1), best.cancelled

    def _modes(self, points: np.ndarray, values: np.ndarray, curvature: np.ndarray) -> _Mixture | None:
        order = [j for j in np.argsort(values) if np.isfinite(values[j])]
        shares, means, factors = [], [], []
        for j in order:
            if values[j] - values[order[0]] > _RIVAL or len(means) == self.components:
                break
            factor = _inverse_factor(curvature[j])
            far = all(np.linalg.norm(np.linalg.solve(f, points[j] - m)) > _APART for m, f in zip(means, factors, strict=True))
            if factor is None or not far:
                continue
            means.append(points[j])
            factors.append(factor)
            shares.append(values[order[0]] - values[j] + np.log(np.diagonal(factor)).sum())
        if not means:
            return None
        shares = np.maximum(
            np.exp(0.5 * (np.array(shares) - max(shares))), 0.1
        )  # the square root of the mass: what is large on paper need not be
        spare = min(self.components - len(means), 2)  # without a share at first: placed where the weights say that something is missing
        return _Mixture(
            np.append(shares / shares.sum(), np.zeros(spare)),
            np.array(means + means[:1] * spare),
            np.array(factors + factors[:1] * spare),
            self.dof,
        )

    def _conclude(
        self, search: _Search | None, kept: np.ndarray | None, accepted: float, converged: int, cancelled: bool, size: int
    ) -> Inference:
        if search is None or kept is None:
            status = Status.CANCELLED if cancelled else Status.NOT_FINITE
            nothing = Ensemble.equal(jnp.full((self.kept, size), jnp.nan))
            return Inference(nothing, {"psis_k": np.inf, "ess": 0.0, "starts_converged": converged}, int(status), self.name, self.validity)
        status = Status.OK if search.k <= PSIS_LIMIT or self.moves else Status.PSIS_TOO_HEAVY
        if search.ess < _FEWEST:
            status = worst(status, Status.ESS_TOO_LOW)
        diagnostics = {
            "psis_k": search.k,
            "ess": search.ess,
            "rounds": len(search.proposals),
            "components": int((search.proposals[-1].shares > 0).sum()),
            "draws_not_finite": int((~np.isfinite(search.density)).sum()),
            "starts_converged": converged,
            "moves_accepted": float(accepted),
        }
        return Inference(Ensemble.equal(jnp.asarray(kept)), diagnostics, int(status), self.name, self.validity, search.log_evidence)
