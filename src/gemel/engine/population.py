"""A hierarchical population prior: what a cohort teaches about the next person.

``z_i ~ N(m, S)`` for each person's parameters in unconstrained space. Expectation-maximisation with Laplace moments: given ``(m, S)`` each person's
posterior is approximated by mean ``m_i`` and covariance ``V_i``; then ``m <- mean m_i`` and ``S <- mean[(m_i - m)(m_i - m)' + V_i]``, the latter shrunk
towards the room's prior as if that were ``strength`` more people (an inverse-Wishart prior). Exact iterates where the model is linear and Gaussian.
The sums of one round, ``n``, ``sum m_i`` and ``sum (m_i m_i' + V_i)``, are all that a site of a federation would have to send.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.errors import InferenceError
from gemel.core.protocols import Progress
from gemel.engine.infer import lanes
from gemel.engine.infer.laplace import Laplace
from gemel.engine.keys import stream
from gemel.engine.model import AbstractModel, Observed, target_of
from gemel.engine.prior import Prior
from gemel.engine.status import usable

__all__ = ["Population", "PopulationSums", "population_prior"]


@dataclass(frozen=True)
class PopulationSums:
    """Sufficient statistics of one round: people, sum of means, sum of second moments. They add up over any split of the people."""

    n: float
    first: np.ndarray
    second: np.ndarray

    def __add__(self, other: PopulationSums) -> PopulationSums:
        """Pool two groups."""
        return PopulationSums(self.n + other.n, self.first + other.first, self.second + other.second)

    def moments(self, m0: np.ndarray, s0: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and covariance that these sums ask for, with a reference of these moments worth ``strength`` people."""
        size = self.n + strength
        mean = (self.first + strength * m0) / size
        second = self.second + strength * (s0 + np.outer(m0, m0))
        covariance = second / size - np.outer(mean, mean)
        return mean, (covariance + covariance.T) / 2

    def maximise(self, reference: Prior, strength: float) -> Prior:
        """Return the prior that these sums ask for, with the reference worth ``strength`` people."""
        return Prior.from_moments(
            reference.parameters, *self.moments(np.asarray(reference.mean), np.asarray(reference.covariance), strength)
        )


@dataclass(frozen=True)
class Population:
    """A fitted population: its prior, rounds used, the last change, and whose posterior could not be used."""

    prior: Prior
    rounds: int
    change: float
    people: int
    left_out: tuple[int, ...]
    history: tuple[float, ...]


def _moments(
    model: AbstractModel, observed: Sequence[Observed], method: Laplace, key: PRNGKeyArray
) -> tuple[PopulationSums, tuple[int, ...]]:
    keys = jax.random.split(stream(key, "people"), len(observed))
    d = model.prior.size
    sums, lost = PopulationSums(0, np.zeros(d), np.zeros((d, d))), []
    for members in lanes.alike((o.data, o.plan, o.context) for o in observed):
        found = method.run_batch([target_of(model, observed[i]) for i in members], keys=keys[np.asarray(members)])
        for i, inference in zip(members, found, strict=True):
            mean, covariance = (np.asarray(v) for v in inference.posterior.moments())
            if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
                lost.append(i)
                continue
            sums = sums + PopulationSums(1, mean, np.outer(mean, mean) + covariance)
            if not usable(inference.status):
                lost.append(i)
    return sums, tuple(sorted(lost))


def population_prior(
    model: AbstractModel, observed: Sequence[Observed], *, rounds: int = 15, tolerance: float = 1e-3, strength: float = 4.0, method: Laplace | None = None,
    key: PRNGKeyArray, progress: Progress | None = None,
) -> Population:  # fmt: skip
    """Learn a population prior from several people.

    Parameters
    ----------
    model : the room's model; its prior is where the iteration starts, and the reference it is shrunk to.
    observed : each person's data, as ``model.observe`` makes them. For a person's own calibration leave that person out.
    rounds, tolerance : at most so many rounds; it stops when mean and log standard deviations move by less than the tolerance (in prior standard deviations).
    strength : how many people the reference prior counts for.
    method : the Laplace approximation used in each round.

    Raises
    ------
    InferenceError
        With fewer than two people.

    Returns
    -------
    Population
        ``left_out`` lists people whose Laplace posterior failed its gates: those with finite moments still count, and are named.
    """
    if len(observed) < 2:
        raise InferenceError("a population needs at least two people", seen=len(observed), fix="use the room's prior")
    chosen = Laplace(starts=4, draws=100, hessian="gauss-newton") if method is None else method
    reference, current, history, lost = model.prior, model.prior, [], ()
    scale = np.sqrt(np.diag(np.asarray(reference.covariance)))
    change, done = np.inf, 0
    if progress is not None:
        progress.start("population", rounds)
    for done in range(1, rounds + 1):
        here = eqx.tree_at(lambda m: m.prior, model, jax.tree.map(jnp.asarray, current))
        sums, lost = _moments(here, observed, chosen, key)
        fresh = sums.maximise(reference, strength)
        moved = np.abs(np.asarray(fresh.mean) - np.asarray(current.mean)) / scale
        spread = np.abs(np.log(np.diag(np.asarray(fresh.covariance)) / np.diag(np.asarray(current.covariance)))) / 2
        change, current = float(max(moved.max(), spread.max())), fresh
        history.append(change)
        if progress is not None:
            progress.update(done, f"change {change:.2g}")
        if change < tolerance:
            break
    if progress is not None:
        progress.finish()
    return Population(current, done, change, len(observed), lost, tuple(history))
