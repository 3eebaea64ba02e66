"""A hierarchical prior, and for each person the one that the others ask for: leave one person out at the price of one fit.

As in :mod:`gemel.engine.population`, ``z_i ~ N(m, S)`` in unconstrained space. Each recording's likelihood is replaced by the Gaussian that gives its
posterior under the present ``(m, S)`` the right mean ``z`` and covariance ``V``: precision ``H = V^-1 - S^-1``, linear term ``h = H z + S^-1 (z - m)``. Given
``(H, h)`` expectation-maximisation is closed form and needs no model: a few rounds of it are taken, then the posteriors are found anew. To leave a person out
is to leave that person's ``(H, h)`` out of the sums and to go on to convergence: no simulation at all, and exact where the model is linear and Gaussian.
Where it is not, such a Gaussian holds nearby only: in closed form nobody moves farther than ``REACH`` from where it was made.

The moments are by adaptive importance sampling. Those of a Laplace approximation do for linear models only: on the fifteen parameters of `metabolic`, a mode of
which lies far from the mean, they led the population away from a known truth (``gemel bench metabolic-hierarchy``).

Several recordings of one person count together as one person, and are left out together.

References
----------
Dempster, Laird, Rubin 1977 (EM); Wei and Tanner 1990, doi:10.1080/01621459.1990.10474930 (its expectations by sampling).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from numpy import ndarray

from gemel.core.errors import InferenceError
from gemel.core.protocols import Progress
from gemel.core.record import PatientRecord
from gemel.engine.data import Dataset
from gemel.engine.infer import lanes
from gemel.engine.infer.adaptive import Adaptive
from gemel.engine.infer.laplace import Laplace
from gemel.engine.keys import stream
from gemel.engine.model import AbstractModel, Observed, target_of
from gemel.engine.plan import Plan
from gemel.engine.population import PopulationSums
from gemel.engine.prior import Prior
from gemel.engine.status import Status

__all__ = ["FEWEST_PEOPLE", "REACH", "Expansions", "Hierarchy", "enough_people", "hierarchical_prior", "person_of"]

FEWEST_PEOPLE = 5
"""With fewer the prior of the others would be the reference and next to nothing else."""

REACH = 2.0
"""Standard deviations of the reference, per parameter, within which an expansion is believed."""

_BETWEEN, _LAST, _TOLERANCE = 3, 500, 1e-6  # closed-form rounds between two expansions, and after the last; what they stop at


def person_of(record: PatientRecord) -> str:
    """Return whose record this is: the trait ``patient`` where a person has several recordings, else the record's own id."""
    return str(record.demographics.traits.get("patient", record.id))


def enough_people(people: Sequence[str]) -> None:
    """Refuse a hierarchy of too few people.

    Raises
    ------
    InferenceError
        With fewer than :data:`FEWEST_PEOPLE` people.
    """
    if len(set(people)) < FEWEST_PEOPLE:
        raise InferenceError(
            "too few people for a hierarchical prior", seen=f"{len(set(people))} people", expected=f"at least {FEWEST_PEOPLE}",
            fix="use the room's prior, or a file with --prior",
        )  # fmt: skip


@dataclass(frozen=True)
class Expansions:
    """Likelihoods as Gaussians in unconstrained space, up to constants ``h'z - z'Hz / 2``.

    Parameters
    ----------
    precision : (recording, parameter, parameter), ``H``, positive semi-definite.
    linear : (recording, parameter), ``h``.
    centre : (recording, parameter), the posterior means (modes, of a Laplace approximation) at which they were made.
    weight : (recording,), one over how many recordings the person has; 0 for one that could not be used.
    """

    precision: Float[ndarray, "recording parameter parameter"]
    linear: Float[ndarray, "recording parameter"]
    centre: Float[ndarray, "recording parameter"]
    weight: Float[ndarray, " recording"]

    def given(
        self, mean: Float[ndarray, " parameter"], covariance: Float[ndarray, "parameter parameter"]
    ) -> tuple[Float[ndarray, "recording parameter"], Float[ndarray, "recording parameter parameter"]]:
        """Return means and covariances of the posteriors under a prior with these moments."""
        inverse = np.linalg.inv(covariance)
        spread = np.linalg.inv(self.precision + inverse)
        spread = (spread + spread.transpose(0, 2, 1)) / 2
        return np.einsum("rij,rj->ri", spread, self.linear + inverse @ mean), spread

    def population(
        self, reference: Prior, *, start: Prior | None = None, strength: float = 4.0, rounds: int = _LAST, tolerance: float = _TOLERANCE
    ) -> Prior:  # fmt: skip
        """Return the population prior that these likelihoods ask for, by expectation-maximisation in closed form.

        Parameters
        ----------
        reference : what the result is shrunk to, as if it were ``strength`` more people.
        start : where to begin; left out, at the reference.
        rounds, tolerance : at most so many rounds; it stops when nothing moves by more than the tolerance (in reference standard deviations; of the logarithm
            for standard deviations).
        """
        m0, s0 = np.asarray(reference.mean), np.asarray(reference.covariance)
        begun = reference if start is None else start
        mean, covariance, scale = np.asarray(begun.mean), np.asarray(begun.covariance), np.sqrt(np.diag(s0))
        used = self.weight > 0
        part = Expansions(self.precision[used], self.linear[used], self.centre[used], self.weight[used])
        for _ in range(rounds):
            m, v = part.given(mean, covariance)
            m = np.clip(m, part.centre - REACH * scale, part.centre + REACH * scale)
            second = np.einsum("r,ri,rj->ij", part.weight, m, m) + np.einsum("r,rij->ij", part.weight, v)
            fresh = PopulationSums(float(part.weight.sum()), part.weight @ m, second).moments(m0, s0, strength)
            change = _change((mean, covariance), fresh, scale)
            mean, covariance = fresh
            if change < tolerance:
                break
        return Prior.from_moments(reference.parameters, mean, covariance)

    def without(self, out: Float[ndarray, " recording"]) -> Expansions:
        """Return the same with the recordings marked in ``out`` left out."""
        return Expansions(self.precision, self.linear, self.centre, np.where(out, 0.0, self.weight))


@dataclass(frozen=True)
class Hierarchy:
    """A fitted hierarchy: the prior of everybody, and for each person the prior of all others.

    ``left_out`` names people none of whose recordings could be used for the fit; their own prior is that of all who could.
    """

    prior: Prior
    others: Mapping[str, Prior]
    people: int
    recordings: int
    rounds: int
    change: float
    left_out: tuple[str, ...]
    history: tuple[float, ...]
    expansions: Expansions = field(repr=False)

    def without(self, person: str) -> Prior:
        """Return the prior for a person, fitted on all others; of somebody who was not in the fit, that of everybody."""
        return self.others.get(person, self.prior)


def _change(before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray], scale: np.ndarray) -> float:
    moved = np.abs(after[0] - before[0]) / scale
    spread = np.abs(np.log(np.diag(after[1]) / np.diag(before[1]))) / 2
    return float(max(moved.max(), spread.max()))


def _moments_of(prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(prior.mean), np.asarray(prior.covariance)


def _alike(observed: Sequence[Observed]) -> list[Observed]:
    """Pad everybody's data and plans to the largest: then one program serves all whose contexts have one shape."""
    data, events = (max(len(x) for x in lengths) for lengths in ([o.data.time for o in observed], [o.plan.start for o in observed]))
    padded = []
    for o in observed:
        real = np.asarray(o.data.mask)
        columns = (np.asarray(c)[real] for c in (o.data.time, o.data.value, o.data.channel, o.data.censored))
        padded.append(replace(o, data=Dataset.of(*columns, smallest=data), plan=Plan.of(o.plan.events, smallest=events)))
    return padded


def _buckets(observed: Sequence[Observed]) -> list[np.ndarray]:
    """Return the recordings that share a program, with something in them."""
    filled = np.array([i for i, o in enumerate(observed) if o.data.count], int)
    return [filled[members] for members in lanes.alike((observed[i].data, observed[i].plan, observed[i].context) for i in filled)]


def _expand(
    model: AbstractModel,
    observed: Sequence[Observed],
    weight: np.ndarray,
    method: Laplace | Adaptive,
    modes: np.ndarray | None,
    keys: PRNGKeyArray,
) -> Expansions:
    """Put a Gaussian in the place of every recording's likelihood, so that the posterior keeps its moments; what is not finite has weight 0."""
    mean, covariance = _moments_of(model.prior)
    inverse, d = np.linalg.inv(covariance), len(mean)
    precision, linear, centre = np.zeros((len(observed), d, d)), np.zeros((len(observed), d)), np.tile(mean, (len(observed), 1))
    kept = np.zeros(len(observed))
    for members in _buckets(observed):
        targets = [target_of(model, observed[i]) for i in members]
        starts = {"starts": modes[members][:, None]} if isinstance(method, Laplace) and modes is not None else {}
        for i, inference in zip(members, method.run_batch(targets, keys=keys[members], **starts), strict=True):
            z, spread = (np.asarray(v) for v in inference.posterior.moments())
            if inference.status == Status.NOT_POSITIVE_DEFINITE or not (np.isfinite(z).all() and np.isfinite(spread).all()):
                continue
            if np.linalg.eigvalsh(spread).min() <= 0:
                continue
            value, vector = np.linalg.eigh(np.linalg.inv(spread) - inverse)
            precision[i] = (vector * np.maximum(value, 0.0)) @ vector.T
            linear[i] = precision[i] @ z + inverse @ (z - mean)
            centre[i], kept[i] = z, weight[i]
    return Expansions(precision, linear, centre, kept)


def hierarchical_prior(
    model: AbstractModel, observed: Sequence[Observed], people: Sequence[str], *, rounds: int = 8, tolerance: float = 0.03, strength: float = 4.0,
    method: Laplace | Adaptive | None = None, key: PRNGKeyArray, progress: Progress | None = None,
) -> Hierarchy:  # fmt: skip
    """Learn a population prior from several people, and for each of them the prior of all others.

    Parameters
    ----------
    model : the room's model; its prior is where the iteration starts, and the reference that it is shrunk to.
    observed : each recording's data, as ``model.observe`` makes them.
    people : whose each recording is. The recordings of one person weigh together as one person.
    rounds, tolerance : at most so many rounds of posteriors; they stop when mean and log standard deviations move by less than the tolerance (in reference standard
        deviations).
    strength : how many people the reference counts for.
    method : how posteriors are found; left out, adaptive importance sampling. Moments that fail its gates count as long as they are finite. Of a Laplace
        approximation later rounds start from the modes of the round before; it suits models that are nearly linear.

    Raises
    ------
    InferenceError
        With fewer than :data:`FEWEST_PEOPLE` people.
    """
    recordings = Counter(people)
    if len(observed) != len(people):
        raise InferenceError("each recording needs the person whose it is", seen=f"{len(observed)} recordings, {len(people)} names")
    enough_people(people)
    chosen = Adaptive() if method is None else method
    weight, observed = np.array([1.0 / recordings[p] for p in people]), _alike(observed)
    keys = jax.random.split(stream(key, "people"), len(observed))
    reference = current = model.prior
    scale, history, modes, expansions = np.sqrt(np.diag(np.asarray(reference.covariance))), [], None, None
    if progress is not None:
        progress.start("population prior", rounds)
    for done in range(1, rounds + 1):
        here = eqx.tree_at(lambda m: m.prior, model, jax.tree.map(jnp.asarray, current))
        expansions = _expand(here, observed, weight, chosen, modes, keys)
        modes, before = expansions.centre, current
        current = expansions.population(reference, start=current, strength=strength, rounds=_BETWEEN)
        history.append(_change(_moments_of(before), _moments_of(current), scale))
        if progress is not None:
            progress.update(done, f"change {history[-1]:.2g}")
        if history[-1] < tolerance:
            break
    assert expansions is not None
    names = np.asarray(list(people))
    used = {p for p, w in zip(people, expansions.weight, strict=True) if w > 0}
    if len(used) < FEWEST_PEOPLE:
        raise InferenceError(
            "too few people whose data could be used for a hierarchical prior", seen=f"{len(used)} of {len(recordings)} people",
            expected=f"at least {FEWEST_PEOPLE}", fix="look at their records with gemel import",
        )  # fmt: skip
    current = expansions.population(reference, start=current, strength=strength)
    others = {p: expansions.without(names == p).population(reference, start=current, strength=strength) for p in sorted(used)}
    if progress is not None:
        progress.finish()
    left_out = tuple(sorted(set(recordings) - used))
    return Hierarchy(current, others, len(recordings), len(observed), len(history), history[-1], left_out, tuple(history), expansions)
