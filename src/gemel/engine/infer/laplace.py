"""Laplace: the mode from many starts, the curvature there, and importance weights that say whether the Gaussian will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy.special import logsumexp

from gemel.core.errors import InferenceError
from gemel.core.protocols import Progress
from gemel.engine.diagnostics import PSIS_LIMIT, psis
from gemel.engine.infer import lanes
from gemel.engine.infer.base import AbstractLeastSquaresTarget, AbstractMethod, AbstractTarget, Inference
from gemel.engine.infer.levenberg import LevenbergMarquardt
from gemel.engine.infer.quasi_newton import QuasiNewton
from gemel.engine.keys import stream
from gemel.engine.posterior import Ensemble
from gemel.engine.posterior import Laplace as LaplacePosterior
from gemel.engine.status import Status

__all__ = ["Laplace"]

_SETTLED = 1e-10  # nats that a Newton step still promises at an accepted mode
_LOOSE = 1e-3  # above this the mode was not found: about a twentieth of a posterior standard deviation
_FORWARD = 20
_APART, _RIVAL = 2.0, 4.6  # standard deviations; nats (a rival of equal width holds 1 % of the mass)


def _centre(target: AbstractLeastSquaresTarget, z: jax.Array) -> jax.Array:
    """Return the prior mean of a least-squares target: where its prior residual, which is linear, is zero."""
    origin = jnp.zeros_like(z)
    slope = jax.jacfwd(target.prior_residual)(origin)
    return jnp.linalg.solve(slope, -target.prior_residual(origin))


def _start(target: AbstractTarget, key_data: jax.Array, number: jax.Array) -> jax.Array:
    z = target.start(key=jax.random.wrap_key_data(key_data))
    if not isinstance(target, AbstractLeastSquaresTarget):
        return z
    centre = _centre(target, z)
    return jnp.where((number == 0) & jnp.isfinite(centre).all(), centre, z)


def _residual(target: AbstractLeastSquaresTarget):
    return lambda z: jnp.concatenate([target.residual(z), target.prior_residual(z)])


def _potential(target: AbstractTarget):
    return lambda z: -target.log_prior(z) - target.log_likelihood(z)


def _least_squares_step(target: AbstractLeastSquaresTarget, state: Any) -> Any:
    return LevenbergMarquardt().step(_residual(target), state)


def _general_step(target: AbstractTarget, state: Any) -> Any:
    return QuasiNewton().step(_potential(target), state)


def _curvature(target: AbstractTarget, z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return value, gradient and Hessian of the potential, exactly.

    Up to ``_FORWARD`` parameters forward over forward: it compiles in a third of the time of forward over reverse (a scan of 576 Runge-Kutta
    steps, 15 parameters: 5 against 14 CPU-s) and runs as fast; beyond, forward over reverse.
    """
    potential, directions = _potential(target), jnp.eye(z.shape[0])
    if z.shape[0] > _FORWARD:
        gradient = jax.grad(potential)
    else:

        def gradient(x):
            return jax.vmap(lambda direction: jax.jvp(potential, (x,), (direction,))[1])(directions)

    slope, hessian = jax.vmap(lambda direction: jax.jvp(gradient, (z,), (direction,)), out_axes=(None, 0))(directions)
    return potential(z), slope, hessian


def _log_density(target: AbstractTarget, draws: jax.Array) -> jax.Array:
    return -jax.vmap(_potential(target))(draws)


def _normals(key_data: jax.Array, like: jax.Array) -> jax.Array:
    return jax.random.normal(jax.random.wrap_key_data(key_data), like.shape)


def _newton(gradient: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray | None, np.ndarray, float]:
    """Return the Newton step (none if the Hessian is not positive definite), the lower factor of its inverse, and the smallest eigenvalue.

    The test is made with unit diagonal, so that it does not depend on the units of the parameters.
    """
    hessian = (hessian + hessian.T) / 2
    n = hessian.shape[0]
    nothing = np.full((n, n), np.nan)
    if not (np.isfinite(hessian).all() and np.isfinite(gradient).all()):
        return None, nothing, np.nan
    diagonal = np.sqrt(np.abs(np.diagonal(hessian)))
    scale = np.where(diagonal > 0, diagonal, 1.0)
    unit = hessian / np.outer(scale, scale)
    smallest = float(np.linalg.eigvalsh(unit).min())
    if not smallest > n * np.finfo(float).eps:
        return None, nothing, smallest
    # with rows and columns reversed, the inverse of the transposed factor is lower triangular again
    flipped = np.linalg.inv(np.linalg.cholesky(unit[::-1, ::-1])).T[::-1, ::-1]
    factor = np.tril(flipped / scale[:, None])
    return -factor @ (factor.T @ gradient), factor, smallest


def _other_modes(points: np.ndarray, gap: np.ndarray, converged: np.ndarray, mode: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return how far, in nats, the ends of other starts lie above the mode: those that are too good and too far away to be the same mode.

    Importance weights cannot see a mode that the proposal never visits; the starts can.
    """
    if np.isnan(factor).any():
        return np.empty(0)
    distance = np.linalg.norm(np.linalg.solve(factor, (points - mode).T), axis=0)
    return gap[converged & (distance > _APART) & (gap < _RIVAL)]


class Laplace(AbstractMethod):
    """Gaussian at the mode of the unconstrained density, checked by importance sampling.

    Parameters
    ----------
    starts : optimisations per patient: the prior mean (of least-squares targets) and prior draws.
    draws : importance draws for the Pareto k and the evidence; 0 leaves that check out (of inner steps, whose result nobody reads).
    halving : every start gets eight iterations, then the best quarter goes on to convergence.
    hessian : ``"exact"`` by automatic differentiation, or ``"gauss-newton"`` (least-squares targets only): cheaper, named in the validity.
    resample : return the importance-weighted draws instead of the Gaussian.
    iterations : budget per start.
    lanes : numbers of starts that run together in one compiled program; each number is one compilation.
    patients : numbers of patients whose Hessians and weights are computed together.

    Notes
    -----
    The mode depends on the parametrisation: it is the mode in unconstrained space.
    """

    starts: int = eqx.field(static=True, default=16)
    draws: int = eqx.field(static=True, default=400)
    halving: bool = eqx.field(static=True, default=True)
    hessian: Literal["exact", "gauss-newton"] = eqx.field(static=True, default="exact")
    resample: bool = eqx.field(static=True, default=False)
    iterations: int = eqx.field(static=True, default=200)
    lanes: tuple[int, ...] = eqx.field(static=True, default=(16, 128))
    patients: tuple[int, ...] = eqx.field(static=True, default=(1, 16))

    @property
    def name(self):
        """Return ``laplace``."""
        return "laplace"

    @property
    def validity(self):
        """Say when it is exact."""
        hessian = "" if self.hessian == "exact" else "; the Hessian is Gauss-Newton's, without the curvature of the model"
        if self.resample:
            return f"asymptotically exact in the number of draws while PSIS k <= 0.7: weighted draws of a Gaussian at the mode{hessian}"
        return f"approximate: a Gaussian at the mode in unconstrained space, exact only if the posterior is Gaussian there{hessian}"

    def run(self, target: AbstractTarget, *, key: PRNGKeyArray, progress: Progress | None = None) -> Inference:
        """Infer the posterior of one target."""
        return self.run_batch(lanes.stack([target]), keys=key[None], progress=progress)[0]

    def run_batch(
        self, targets: AbstractTarget | Sequence[AbstractTarget], *, keys: PRNGKeyArray, starts: np.ndarray | None = None,
        progress: Progress | None = None,
    ) -> list[Inference]:  # fmt: skip
        """Infer the posteriors of many targets of one model and bucket with the same few programs.

        Parameters
        ----------
        targets : a target whose arrays have a leading patient axis (see ``lanes.stack``), or a sequence of targets.
        keys : one key per patient; a patient's result does not depend on who else is in the batch.
        starts : (patient, start, parameter), where to begin instead of at prior draws: modes found before, under a slightly other prior.
        progress : told how many starts have finished.

        Returns
        -------
        One inference per patient, in order.
        """
        if isinstance(targets, Sequence):
            targets = lanes.stack(targets)
        targets = lanes.host(targets)
        squares = isinstance(targets, AbstractLeastSquaresTarget)
        if self.hessian == "gauss-newton" and not squares:
            raise InferenceError(
                "a Gauss-Newton Hessian needs a least-squares target", seen=type(targets).__name__, fix="use hessian='exact'"
            )
        patients = lanes.count(targets)
        if keys.shape != (patients,):
            raise InferenceError("one key per patient is needed", seen=keys.shape, expected=(patients,))
        method = LevenbergMarquardt() if squares else QuasiNewton()
        best = lanes.multistart(
            _least_squares_step if squares else _general_step,
            method.init,
            targets,
            self._starts(targets, keys) if starts is None else np.asarray(starts, float),
            iterations=self.iterations,
            halving=self.halving,
            sizes=self.lanes,
            progress=progress,
        )
        mode, value, decrement, factor, smallest = self._settle(targets, best.state)
        others = [_other_modes(best.points[i], best.values[i] - value[i], best.converged[i], mode[i], factor[i]) for i in range(patients)]
        z, log_weights, k, evidence, lost = self._weigh(targets, keys, mode, factor)
        out = []
        for i in range(patients):
            status = Status.OK
            if best.cancelled:
                status = Status.CANCELLED
            elif not np.isfinite(value[i]):
                status = Status.NOT_FINITE
            elif np.isnan(factor[i]).any():
                status = Status.NOT_POSITIVE_DEFINITE
            elif not decrement[i] <= _LOOSE:
                status = Status.NOT_CONVERGED
            elif self.draws and not k[i] <= PSIS_LIMIT:
                status = Status.PSIS_TOO_HEAVY
            elif others[i].size:
                status = Status.SEVERAL_MODES
            diagnostics = {
                "psis_k": float(k[i]),
                "log_density_at_mode": float(-value[i]),
                "decrement": float(decrement[i]),
                "smallest_eigenvalue": float(smallest[i]),
                "starts_failed": int(np.isnan(best.values[i]).sum()),
                "starts_converged": int(best.converged[i].sum()),
                "other_modes": int(others[i].size),
                "other_mode_gap": float(others[i].min(initial=np.inf)),
                "draws_not_finite": int(lost[i]),
            }
            weighted = self.resample and np.isfinite(log_weights[i]).any()
            posterior = (
                Ensemble(jnp.asarray(z[i]), jnp.asarray(log_weights[i]))
                if weighted
                else LaplacePosterior(jnp.asarray(mode[i]), jnp.asarray(factor[i]))
            )
            out.append(Inference(posterior, diagnostics, int(status), self.name, self.validity, float(evidence[i])))
        return out

    def _together(self, patients: int) -> tuple[int, ...]:
        """One chunk length for the programs per patient, so that a batch compiles each of them once."""
        return (min((s for s in self.patients if s >= patients), default=max(self.patients)),)

    def _starts(self, targets: AbstractTarget, keys: PRNGKeyArray) -> np.ndarray:
        patients = keys.shape[0]
        base = jax.vmap(lambda k: jax.vmap(lambda i: jax.random.fold_in(stream(k, "start"), i))(jnp.arange(self.starts)))(keys)
        data = np.asarray(jax.random.key_data(base)).reshape(patients * self.starts, -1)
        owner, number = np.repeat(np.arange(patients), self.starts), np.tile(np.arange(self.starts), patients)
        flat = lanes.chunked(_start, (lanes.rows(targets, owner), data, number), self.lanes)
        return flat.reshape(patients, self.starts, -1)

    def _settle(self, targets: AbstractTarget, state: Any) -> tuple[np.ndarray, ...]:
        """Take Newton steps from each best point until they promise nothing; return mode, value, decrement, factor, smallest eigenvalue."""
        z, value = state.z.copy(), state.value.copy()
        patients, n = z.shape
        if self.hessian == "gauss-newton":
            found = [_newton(r.T @ q, r.T @ r) for r, q in zip(state.factor, state.projected, strict=True)]
            return z, value, state.decrement, np.stack([f for _, f, _ in found]), np.array([e for _, _, e in found])
        decrement, smallest = np.full(patients, np.inf), np.full(patients, np.nan)
        factor = np.full((patients, n, n), np.nan)
        lowest, trial, waiting = np.full(patients, np.inf), z.copy(), np.arange(patients)
        for _ in range(6):
            f, g, h = lanes.chunked(_curvature, (lanes.rows(targets, waiting), trial[waiting]), self._together(patients))
            again = []
            for i, value_i, g_i, h_i in zip(waiting, f, g, h, strict=True):
                if not value_i <= lowest[i] + 1e-9 * (1 + abs(value_i)):
                    continue  # the last step went uphill: the point before it stands
                lowest[i], z[i] = value_i, trial[i]
                step, factor[i], smallest[i] = _newton(g_i, h_i)
                if step is None:
                    decrement[i] = np.inf
                    continue
                decrement[i] = -0.5 * g_i @ step
                if decrement[i] > _SETTLED:
                    again.append(i)
                trial[i] = z[i] + step
            waiting = np.array(again, int)
            if not waiting.size:
                break
        return np.where(decrement[:, None] < 1e-6, trial, z), lowest, decrement, factor, smallest

    def _weigh(self, targets: AbstractTarget, keys: PRNGKeyArray, mode: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, ...]:
        """Draw from each Gaussian; return draws, smoothed log-weights, Pareto k, log evidence and how many densities were not finite."""
        patients, n = mode.shape
        if not self.draws:
            nothing = np.full(patients, np.nan)
            return np.zeros((patients, 0, n)), np.zeros((patients, 0)), nothing, nothing.copy(), np.zeros(patients, int)
        data = np.asarray(jax.random.key_data(jax.vmap(lambda k: stream(k, "importance"))(keys)))
        white = lanes.chunked(_normals, (data, np.zeros((patients, self.draws, n))), self._together(patients))
        draws = mode[:, None] + np.einsum("pij,pdj->pdi", factor, white)
        log_weights = np.full((patients, self.draws), -np.inf)
        k, evidence, lost = np.full(patients, np.inf), np.full(patients, np.nan), np.zeros(patients, int)
        sound = np.flatnonzero(np.isfinite(draws).all(axis=(1, 2)))
        if not sound.size:
            return draws, log_weights, k, evidence, lost
        density = lanes.chunked(_log_density, (lanes.rows(targets, sound), draws[sound]), self._together(patients))
        for row, i in enumerate(sound):
            log_q = -0.5 * np.square(white[i]).sum(axis=1) - np.log(np.diagonal(factor[i])).sum() - 0.5 * n * np.log(2 * np.pi)
            ratio = density[row] - log_q
            finite = np.isfinite(ratio)
            lost[i] = self.draws - finite.sum()
            if finite.sum() < 5:
                continue
            ratio = np.where(finite, ratio, -np.inf)
            evidence[i] = logsumexp(ratio) - np.log(self.draws)
            log_weights[i], k[i] = psis(ratio)
        return draws, log_weights, k, evidence, lost
