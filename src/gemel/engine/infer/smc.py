"""Tempered sequential Monte Carlo: from the prior to the posterior by steps of the likelihood's power, for posteriors with several modes."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gemel.core.protocols import Progress
from gemel.engine.infer.base import AbstractMethod, AbstractTarget, Inference
from gemel.engine.keys import stream
from gemel.engine.posterior import Ensemble
from gemel.engine.status import Status

__all__ = ["Smc", "systematic"]

_GROWTH, _PATIENCE = 0.01, 2  # a jump that grows by less, so many moves in a row, has stopped growing
_STAGES = 200


def systematic(log_weights: Float[Array, " particle"], *, key: PRNGKeyArray) -> Int[Array, " particle"]:
    """Return indices of systematic resampling: one uniform number, equally spaced pointers.

    References
    ----------
    Kitagawa 1996, doi:10.1080/10618600.1996.10474692.
    """
    n = log_weights.shape[0]
    cumulative = jnp.cumsum(jnp.exp(log_weights - jnp.max(log_weights)))
    pointers = (jnp.arange(n) + jax.random.uniform(key)) / n
    return jnp.clip(jnp.searchsorted(cumulative / cumulative[-1], pointers), 0, n - 1)


class _Particles(eqx.Module):
    z: Float[Array, "particle parameter"]
    log_prior: Float[Array, " particle"]
    log_likelihood: Float[Array, " particle"]
    power: Float[Array, ""]
    log_scale: Float[Array, ""]


def _evaluate(target: AbstractTarget, z: Array) -> tuple[Array, Array]:
    """Return log prior and log likelihood; what is not a number has no weight."""

    def one(x):
        return target.log_prior(x), target.log_likelihood(x)

    prior, likelihood = (jnp.where(jnp.isnan(v), -jnp.inf, v) for v in jax.vmap(one)(z))
    return prior, likelihood


@eqx.filter_jit
def _begin(target: AbstractTarget, keys: PRNGKeyArray) -> _Particles:
    z = jax.vmap(lambda k: target.start(key=k))(keys)
    log_prior, log_likelihood = _evaluate(target, z)
    return _Particles(z, log_prior, log_likelihood, jnp.asarray(0.0), jnp.log(2.38 / jnp.sqrt(1.0 * z.shape[1])))


def _ess(log_weights: Array) -> Array:
    return jnp.exp(2 * logsumexp(log_weights) - logsumexp(2 * log_weights))


def _next_power(log_likelihood: Array, power: Array, share: Array) -> Array:
    """Return the power at which the effective size falls to a share of the particles, or one."""
    n, rest = log_likelihood.shape[0], 1 - power
    finite = jnp.where(jnp.isfinite(log_likelihood), log_likelihood, -jnp.inf)
    shifted = finite - finite.max()

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        enough = _ess(middle * shifted) >= share * n
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    low, _ = jax.lax.fori_loop(0, 60, halve, (jnp.zeros(()), rest))
    return jnp.where(_ess(rest * shifted) >= share * n, 1.0, power + low)


@eqx.filter_jit
def _stage(target: AbstractTarget, p: _Particles, key: PRNGKeyArray, share: Array, moves: Array) -> tuple[_Particles, dict[str, Array]]:
    """Raise the power, weigh, resample, move. The randomness of a move depends on its number alone."""
    n, d = p.z.shape
    power = _next_power(p.log_likelihood, p.power, share)
    log_weights = (power - p.power) * p.log_likelihood
    log_weights = jnp.where(jnp.isnan(log_weights), -jnp.inf, log_weights)
    increment = logsumexp(log_weights) - jnp.log(n)
    parents = systematic(log_weights, key=stream(key, "resample"))
    z, log_prior, log_likelihood = p.z[parents], p.log_prior[parents], p.log_likelihood[parents]

    weight = jnp.exp(log_weights - logsumexp(log_weights))
    centred = p.z - weight @ p.z
    covariance = (centred * weight[:, None]).T @ centred
    factor = jnp.linalg.cholesky(covariance + 1e-10 * jnp.diag(jnp.diagonal(covariance)) + 1e-300 * jnp.eye(d))
    origin = z

    def going(carry):
        i, still = carry[0], carry[6]
        return (i < moves) & (still < _PATIENCE)

    def move(carry):
        i, z, log_prior, log_likelihood, log_scale, jump, still, accepted = carry
        step_key = jax.random.fold_in(stream(key, "move"), i)
        proposal = z + jnp.exp(log_scale) * jax.random.normal(stream(step_key, "step"), (n, d)) @ factor.T
        new_prior, new_likelihood = _evaluate(target, proposal)
        ratio = new_prior - log_prior + power * (new_likelihood - log_likelihood)
        take = jnp.log(jax.random.uniform(stream(step_key, "accept"), (n,))) < ratio
        z = jnp.where(take[:, None], proposal, z)
        log_prior, log_likelihood = jnp.where(take, new_prior, log_prior), jnp.where(take, new_likelihood, log_likelihood)
        rate = take.mean()
        white = jax.scipy.linalg.solve_triangular(factor, (z - origin).T, lower=True)
        now = jnp.mean(jnp.sum(white**2, axis=0))
        still = jnp.where(now > jump * (1 + _GROWTH), 0, still + 1)
        log_scale = log_scale + (rate - 0.3) / (1 + 0.2 * i)
        return i + 1, z, log_prior, log_likelihood, log_scale, jnp.maximum(now, jump), still, accepted + rate

    zero = jnp.zeros((), int)
    begin = (zero, z, log_prior, log_likelihood, p.log_scale, jnp.zeros(()), zero, jnp.zeros(()))
    done, z, log_prior, log_likelihood, log_scale, jump, still, accepted = jax.lax.while_loop(going, move, begin)
    note = {
        "power": power,
        "increment": increment,
        "ess": _ess(log_weights),
        "parents": jnp.sum(jnp.zeros(n).at[parents].set(1.0)),
        "moves": done,
        "stopped_growing": still >= _PATIENCE,
        "acceptance": accepted / jnp.maximum(done, 1),
        "jump": jump,
    }
    return _Particles(z, log_prior, log_likelihood, power, log_scale), note


class Smc(AbstractMethod):
    """Tempered sequential Monte Carlo with random-walk moves.

    The starts of the target must be draws of its prior; the evidence is that of the normalised prior and likelihood as the target gives them.

    Parameters
    ----------
    particles : how many.
    share : the next power of the likelihood leaves this share of them effective.
    moves : random-walk Metropolis moves per stage, at most; they end when the mean squared Mahalanobis jump has stopped growing.

    References
    ----------
    Del Moral, Doucet and Jasra 2006, doi:10.1111/j.1467-9868.2006.00553.x. Scale 2.38/sqrt(d) of the ensemble covariance:
    Gelman, Roberts and Gilks 1996; adapted towards an acceptance of 0.3.
    """

    particles: int = eqx.field(static=True, default=2000)
    share: float = eqx.field(static=True, default=0.5)
    moves: int = eqx.field(static=True, default=50)

    @property
    def name(self):
        """Return ``smc``."""
        return "smc"

    @property
    def validity(self):
        """Say when it is exact."""
        return "asymptotically exact in the number of particles: tempered sequential Monte Carlo"

    def run(self, target: AbstractTarget, *, key: PRNGKeyArray, progress: Progress | None = None) -> Inference:
        """Infer the posterior of one target."""
        keys = jax.vmap(lambda i: jax.random.fold_in(stream(key, "start"), i))(jnp.arange(self.particles))
        p = _begin(target, keys)
        notes: list[dict[str, Any]] = []
        cancelled = False
        if progress is not None:
            progress.start("smc", 100)
        while float(p.power) < 1 and len(notes) < _STAGES and not cancelled and np.isfinite(np.asarray(p.log_likelihood)).any():
            stage_key = jax.random.fold_in(stream(key, "stage"), len(notes))
            p, note = _stage(target, p, stage_key, jnp.asarray(self.share), jnp.asarray(self.moves))
            notes.append({k: v.item() for k, v in jax.device_get(note).items()})
            if progress is not None:
                cancelled = progress.update(int(100 * notes[-1]["power"]), f"stage {len(notes)}") is False
        if progress is not None:
            progress.finish()
        posterior = Ensemble.equal(p.z)
        if not notes:
            return Inference(posterior, {"stages": 0}, int(Status.NOT_FINITE), self.name, self.validity)
        fewest = min(n["parents"] for n in notes)
        if not np.isfinite(np.asarray(p.z)).all() or not np.isfinite(notes[-1]["increment"]):
            status = Status.NOT_FINITE
        elif cancelled:
            status = Status.CANCELLED
        elif float(p.power) < 1 or not all(n["stopped_growing"] for n in notes):
            status = Status.TEMPERING_STALLED
        elif notes[-1]["ess"] < 0.999 * self.share * self.particles or fewest < self.particles / 10:
            status = Status.COLLAPSED
        else:
            status = Status.OK
        diagnostics = {
            "stages": len(notes),
            "powers": np.array([n["power"] for n in notes]),
            "last_ess": notes[-1]["ess"],
            "fewest_parents": fewest,
            "moves": np.array([n["moves"] for n in notes]),
            "acceptance": np.array([n["acceptance"] for n in notes]),
            "jump": np.array([n["jump"] for n in notes]),
        }
        evidence = float(sum(n["increment"] for n in notes)) if float(p.power) >= 1 else None
        return Inference(posterior, diagnostics, int(status), self.name, self.validity, evidence)
