"""No-U-turn sampling: blackjax's transition, our warm-up shared by all chains, chunks that can be watched, stopped and resumed.

One compiled program serves warm-up and draws: what an iteration adapts is data, not code. Nothing inside it calls back to the host.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import blackjax.mcmc.nuts as kernel
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gemel.core.errors import InferenceError
from gemel.core.protocols import Progress
from gemel.engine import diagnostics as checks
from gemel.engine.infer.base import AbstractMethod, AbstractTarget, Inference
from gemel.engine.infer.forward import ForwardGradient
from gemel.engine.infer.warmup import Chains, adapt, schedule
from gemel.engine.keys import stream
from gemel.engine.posterior import AbstractPosterior, Ensemble
from gemel.engine.status import Status, worst

__all__ = ["Nuts", "NutsState"]

_SEARCH, _ROUNDS, _NEGLIGIBLE = 200, 5, 10.0  # iterations, rounds, nats: see Nuts, "Notes"
_SPREAD = 1.5  # of a pilot's draws from its mean: chains that begin wider than the posterior show by R-hat that they have met
_DRAWS = ("position", "log_density", "energy", "divergent", "leapfrogs", "acceptance")


@dataclass
class NutsState:
    """A run between two chunks: everything needed to go on and get the same draws, as plain arrays.

    ``arrays()`` and ``of_arrays()`` turn it into a dictionary of NumPy arrays and back, for whoever keeps checkpoints.
    """

    chains: Chains
    attempt: int
    iteration: int
    draws: dict[str, np.ndarray] = field(default_factory=dict)
    failed: list[tuple[float, int]] = field(default_factory=list)
    round: int = 0
    restarted: int = 0

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything as named arrays."""
        out = {f"chains.{k}": np.asarray(v) for k, v in vars(self.chains).items()}
        out |= {f"draws.{k}": v for k, v in self.draws.items()}
        return out | {
            "progress": np.array([self.attempt, self.iteration, self.round, self.restarted]),
            "failed": np.array(self.failed, float).reshape(-1, 2),
        }

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray]) -> NutsState:
        """Undo :meth:`arrays`."""
        chains = Chains(**{k.removeprefix("chains."): jnp.asarray(v) for k, v in arrays.items() if k.startswith("chains.")})
        draws = {k.removeprefix("draws."): np.asarray(v) for k, v in arrays.items() if k.startswith("draws.")}
        attempt, iteration, number, restarted = (int(x) for x in arrays["progress"])
        return cls(chains, attempt, iteration, draws, [(float(a), int(b)) for a, b in arrays["failed"]], number, restarted)


def _log_density(target: AbstractTarget) -> Callable[[Array], Array]:
    return lambda z: target.log_prior(z) + target.log_likelihood(z)


@eqx.filter_jit
def _first_finite(target: AbstractTarget, keys: PRNGKeyArray) -> tuple[Array, Array, Array]:
    """Return for each chain the first of its candidate starts that has a finite density and gradient."""

    def one(keys):
        z = jax.vmap(lambda k: target.start(key=k))(keys)
        value, gradient = jax.vmap(jax.value_and_grad(_log_density(target)))(z)
        first = jnp.argmax(jnp.isfinite(value) & jnp.isfinite(gradient).all(axis=1))
        return z[first], value[first], gradient[first]

    return jax.vmap(one)(keys)


def _starts(target: AbstractTarget, key: PRNGKeyArray, chains: int) -> tuple[Array, Array, Array]:
    """Draw a start for each chain, from up to 32 candidates."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(chains * 32)).reshape(chains, 32)
    return _first_finite(target, keys)


@eqx.filter_jit
def _at(target: AbstractTarget, z: Array) -> tuple[Array, Array]:
    return jax.vmap(jax.value_and_grad(_log_density(target)))(z)


class _Origin:
    """Where chains begin and with which metric: draws of the prior and the unit metric, or what a pilot run has found."""

    def __init__(self, target: AbstractTarget, key: PRNGKeyArray, method: Nuts, progress: Progress | None) -> None:
        self.plain, self.key, self.method, self.progress = target, key, method, progress
        self.target = ForwardGradient(target) if method.forward else target

    @functools.cached_property
    def pilot(self) -> tuple[Array, Array, AbstractPosterior] | None:
        """Mean, covariance and posterior of the pilot; none without one, or where it found nothing. Run when first needed: a resumed run may not need it."""
        if self.method.pilot is None:
            return None
        found = self.method.pilot.run(self.plain, key=stream(self.key, "pilot"), progress=self.progress).posterior
        mean, covariance = found.moments()
        return (mean, covariance, found) if bool(jnp.isfinite(covariance).all()) else None

    def starts(self, name: str) -> tuple[Array, Array, Array]:
        """Return positions, log densities and gradients."""
        chains, key = self.method.chains, stream(self.key, name)
        if self.pilot is not None:
            mean, _, posterior = self.pilot
            drawn = posterior.draw(chains, key=key)
            for spread in (_SPREAD, 1.0):
                z = mean + spread * (drawn - mean)
                value, gradient = _at(self.target, z)
                if bool(jnp.isfinite(value).all() & jnp.isfinite(gradient).all()):
                    return z, value, gradient
        return _starts(self.target, key, chains)

    def metric(self, size: int, dense: bool) -> Array:
        """Return the inverse mass to begin with."""
        shape = (size, size) if dense else (size,)
        given = self.method.inverse_mass
        if given is not None:
            if np.shape(given) != shape:
                raise InferenceError("the metric has the wrong shape", seen=np.shape(given), expected=shape)
            return jnp.asarray(given, float)
        if self.pilot is None:
            return jnp.eye(size) if dense else jnp.ones(size)
        covariance = self.pilot[1]
        return covariance + 1e-6 * jnp.diag(jnp.diagonal(covariance)) if dense else jnp.diagonal(covariance)


@eqx.filter_jit
def _chunk(
    target: AbstractTarget, chains: Chains, key: PRNGKeyArray, first: Array, flags: Array, active: Array, goal: Array, depth: int
) -> tuple[Chains, tuple[Array, ...]]:
    """Advance all chains by as many iterations as there are flags; the randomness of an iteration depends on its absolute index alone."""
    transition = kernel.build_kernel()
    density = _log_density(target)
    size = chains.position.shape[0]

    def move(c, index, flag):
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, index), i))(jnp.arange(size))
        # the averaged step is the one to draw with; while it is being sought, the latest
        step = jnp.exp(jnp.where(flag[0], c.log_step, c.log_step_mean))

        def one(k, position, value, gradient):
            state = kernel.hmc.HMCState(position, value, gradient)
            return transition(k, state, density, step, c.inverse_mass, max_num_doublings=depth)

        state, info = jax.vmap(one)(keys, c.position, c.log_density, c.gradient)
        moved = eqx.tree_at(lambda x: (x.position, x.log_density, x.gradient), c, tuple(state))
        out = (state.position, state.logdensity, info.energy, info.is_divergent, info.num_integration_steps, info.acceptance_rate)
        return adapt(moved, flag, info.acceptance_rate, goal), out

    def rest(c, index, flag):
        del index, flag
        n = jnp.zeros(size)
        return c, (c.position, c.log_density, n, n.astype(bool), n.astype(int), n)

    def body(c, x):
        index, flag, on = x
        c, out = jax.lax.cond(on, move, rest, c, index, flag)
        return c, out

    return jax.lax.scan(body, chains, (first + jnp.arange(flags.shape[0]), flags, active))


class Nuts(AbstractMethod):
    """Hamiltonian Monte Carlo with no-U-turn trajectories in several chains.

    Parameters
    ----------
    chains : they advance in lockstep, to the deepest trajectory of the step.
    warmup : adaptive iterations per chain, thrown away.
    draws : iterations per chain that are kept, at least.
    until_ess : go on until bulk and tail effective sizes of every parameter reach this and R-hat its limit, or ``most`` draws per chain are
        made; ``None``: exactly ``draws``.
    goal : acceptance that the step size aims at; after a divergence the run starts again at the next of ``retries``.
    dense : metric with correlations; left out: up to 64 parameters.
    pilot : a method that is run first, say adaptive importance sampling: chains start at draws of its result, half as far again from its mean,
        with its covariance as metric. Left out: draws of the prior and a unit metric. A pilot saves most of the warm-up of a model with a
        wide prior; modes that neither it nor the chains have seen do not show in R-hat.
    forward : gradients by forward differentiation (see ``forward.py``): for up to some 20 parameters and a long scan.
    inverse_mass : metric to begin with instead.
    chunk : iterations between two visits to the host.
    depth : doublings of a trajectory, at most.

    Notes
    -----
    After 200 iterations of warm-up the mass around each chain is estimated (mean log density plus log volume, by standard deviations).
    A chain that sits where less than ``exp(-10)`` of the best chain's mass is would stay there for thousands of iterations; it gets a new
    start, drawn like the first, and all begin their warm-up again: at most five times. No chain is moved to another's place, so that modes
    which hold mass still show in R-hat. The number of restarts is in the diagnostics.
    """

    chains: int = eqx.field(static=True, default=4)
    warmup: int = eqx.field(static=True, default=500)
    draws: int = eqx.field(static=True, default=500)
    until_ess: int | None = eqx.field(static=True, default=checks.ESS_LIMIT)
    most: int = eqx.field(static=True, default=5000)
    goal: float = eqx.field(static=True, default=0.8)
    retries: tuple[float, ...] = eqx.field(static=True, default=(0.95, 0.99))
    dense: bool | None = eqx.field(static=True, default=None)
    pilot: AbstractMethod | None = None
    forward: bool = eqx.field(static=True, default=False)
    inverse_mass: Float[Array, " *metric"] | None = None
    chunk: int = eqx.field(static=True, default=100)
    depth: int = eqx.field(static=True, default=10)

    @property
    def name(self):
        """Return ``nuts``."""
        return "nuts"

    @property
    def validity(self):
        """Say when it is exact."""
        begun = "" if self.pilot is None else f"; started from {self.pilot.name}"
        return f"asymptotically exact in the number of draws if the chains have found every mode: R-hat and effective sizes are the evidence{begun}"

    def run(
        self,
        target: AbstractTarget,
        *,
        key: PRNGKeyArray,
        progress: Progress | None = None,
        state: NutsState | None = None,
        checkpoint: Callable[[NutsState], None] | None = None,
    ) -> Inference:
        """Infer the posterior of one target.

        Parameters
        ----------
        state : a checkpoint of the same target, settings and key: the run goes on from there and gives the draws of an uninterrupted one.
        checkpoint : called with the state after every chunk.
        """
        size = len(target.names)
        dense = size <= 64 if self.dense is None else self.dense
        if self.chains < 2:
            raise InferenceError("chains cannot be compared with fewer than two", seen=self.chains, expected=">= 2")
        goals = (self.goal, *self.retries)
        plan = schedule(self.warmup)
        if progress is not None:
            progress.start("nuts", self.warmup + self.draws)
        cancelled, origin = False, _Origin(target, key, self, progress)
        target = origin.target
        if state is None:
            state = self._fresh(origin, 0, size, dense)
        while not self._finished(state) and not cancelled:
            last = self._advance(target, key, state, plan, goals)
            if state.iteration == _SEARCH < self.warmup and state.round < _ROUNDS:
                state = self._search(origin, state, size, dense, last)
            divergent = int(state.draws["divergent"].sum()) if state.draws else 0
            if divergent and state.attempt + 1 < len(goals):
                failed = [*state.failed, (goals[state.attempt], divergent)]
                state = self._fresh(origin, state.attempt + 1, size, dense)
                state.failed = failed
            if checkpoint is not None:
                checkpoint(state)
            if progress is not None:
                note = f"attempt {state.attempt + 1}, {max(state.iteration - self.warmup, 0)} draws"
                cancelled = progress.update(state.iteration, note) is False
        if progress is not None:
            progress.finish()
        return self._conclude(state, goals, cancelled)

    def _fresh(self, origin: _Origin, attempt: int, size: int, dense: bool) -> NutsState:
        return NutsState(self._begin(origin.starts(f"start {attempt}"), origin.metric(size, dense)), attempt, 0)

    def _begin(self, starts: tuple[Array, Array, Array], metric: Array) -> Chains:
        position, value, gradient = starts
        log_step, none = jnp.log(0.1), jnp.asarray(0)
        zero = jnp.asarray(0.0)
        centre, mean, scatter = jnp.log(10.0) + log_step, jnp.zeros_like(position), jnp.zeros((self.chains, *metric.shape))
        begun = Chains(position, value, gradient, log_step, log_step, zero, centre, none, metric, none, mean, scatter)
        return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), begun)  # no weak types: a resumed run finds the same program

    def _search(self, origin: _Origin, state: NutsState, size: int, dense: bool, last: tuple[np.ndarray, ...]) -> NutsState:
        """Give chains in a place of negligible mass a new start; return the state unchanged if there are none."""
        position, value = last[0], last[1]
        with np.errstate(divide="ignore"):
            mass = value.mean(axis=0) + np.log(position.std(axis=0)).sum(axis=1)
        poor = ~(mass >= np.nanmax(mass) - _NEGLIGIBLE)
        if not poor.any():
            return state
        fresh = origin.starts(f"start {state.attempt} {state.round + 1}")
        now = (state.chains.position, state.chains.log_density, state.chains.gradient)
        mixed = tuple(jnp.where(jnp.asarray(poor).reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(fresh, now, strict=True))
        chains = self._begin(mixed, origin.metric(size, dense))
        return NutsState(chains, state.attempt, 0, {}, state.failed, state.round + 1, state.restarted + int(poor.sum()))

    def _finished(self, state: NutsState) -> bool:
        if not np.isfinite(np.asarray(state.chains.log_density)).all():
            return True  # no start with a finite density
        kept = state.iteration - self.warmup
        if kept < self.draws:
            return False
        if self.until_ess is None or kept >= self.most:
            return True
        x = np.swapaxes(state.draws["position"], 0, 1)
        enough = min(checks.ess_bulk(x).min(), checks.ess_tail(x).min()) >= self.until_ess
        return bool(enough and np.all(checks.rhat(x) <= checks.RHAT_LIMIT))

    def _advance(
        self, target: AbstractTarget, key: PRNGKeyArray, state: NutsState, plan: np.ndarray, goals: tuple[float, ...]
    ) -> tuple[np.ndarray, ...]:
        """Run one chunk; one that is not full is padded with iterations that do nothing. Return what it drew."""
        end = self.warmup if state.iteration < self.warmup else max(self.warmup + self.draws, state.iteration + self.chunk)
        end = min(end, self.warmup + max(self.most, self.draws))
        if state.iteration < _SEARCH < self.warmup:
            end = _SEARCH
        length = min(self.chunk, end - state.iteration)
        flags = np.zeros((self.chunk, 3), bool)
        if state.iteration < self.warmup:
            flags[:length] = plan[state.iteration : state.iteration + length]
        state.chains, out = _chunk(
            target,
            state.chains,
            stream(key, f"draw {state.attempt} {state.round}"),
            jnp.asarray(state.iteration),
            jnp.asarray(flags),
            jnp.asarray(np.arange(self.chunk) < length),
            jnp.asarray(goals[state.attempt]),
            self.depth,
        )
        drawn = tuple(np.asarray(value)[:length] for value in out)
        if state.iteration >= self.warmup:
            for name, new in zip(_DRAWS, drawn, strict=True):
                state.draws[name] = np.concatenate([state.draws[name], new]) if name in state.draws else new
        state.iteration += length
        return drawn

    def _conclude(self, state: NutsState, goals: tuple[float, ...], cancelled: bool) -> Inference:
        if not state.draws or len(state.draws["energy"]) < 8:
            status = Status.CANCELLED if cancelled else Status.NOT_FINITE
            diagnostics: dict[str, Any] = {"attempts": len(state.failed) + 1}
            return Inference(Ensemble.equal(jnp.asarray(state.chains.position)), diagnostics, int(status), self.name, self.validity)
        draws = {k: np.swapaxes(v, 0, 1) for k, v in state.draws.items()}
        table = np.concatenate([draws["position"], draws["log_density"][..., None]], axis=-1)
        with np.errstate(all="ignore"):
            rhat, bulk, tail = checks.rhat(table), checks.ess_bulk(table), checks.ess_tail(table)
            fraction = checks.energy_fraction(draws["energy"])
        divergent = int(draws["divergent"].sum())
        failed = [
            gate
            for gate, passed in (
                (Status.RHAT_TOO_HIGH, np.all(rhat <= checks.RHAT_LIMIT)),
                (Status.ESS_TOO_LOW, min(bulk[:-1].min(), tail[:-1].min()) >= checks.ESS_LIMIT),
                (Status.DIVERGENT, not divergent),
                (Status.ENERGY_FRACTION_LOW, np.all(fraction >= checks.ENERGY_FRACTION_LIMIT)),
                (Status.NOT_FINITE, np.isfinite(table).all()),
                (Status.CANCELLED, not cancelled),
            )
            if not passed
        ]
        status = worst(Status.RETRIED if state.failed else Status.OK, *failed)
        diagnostics = {
            "failed_gates": tuple(g.name for g in failed),
            "rhat": rhat[:-1],
            "rhat_log_density": float(rhat[-1]),
            "ess_bulk": bulk[:-1],
            "ess_tail": tail[:-1],
            "divergences": divergent,
            "attempts": [*state.failed, (goals[state.attempt], divergent)],
            "restarted": state.restarted,
            "energy_fraction": fraction,
            "step_size": float(np.exp(state.chains.log_step_mean)),
            "acceptance": float(draws["acceptance"].mean()),
            "leapfrogs": int(draws["leapfrogs"].sum()),
            "deepest": int(np.log2(draws["leapfrogs"].max() + 1)),
            "chains": self.chains,
            "draws_per_chain": table.shape[1],
        }
        flat = jnp.asarray(draws["position"].reshape(-1, table.shape[-1] - 1))
        return Inference(Ensemble.equal(flat), diagnostics, int(status), self.name, self.validity)
