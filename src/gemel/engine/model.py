"""What every twin's model must be able to do."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from gemel.core.advice import AbstentionReason
from gemel.core.record import PatientRecord
from gemel.engine.correction import Correction, DiscrepancySet
from gemel.engine.data import Dataset, Slots
from gemel.engine.infer.base import AbstractLeastSquaresTarget, AbstractTarget
from gemel.engine.plan import Channel, Plan
from gemel.engine.prior import Prior

__all__ = [
    "AbstractLeastSquaresModel",
    "AbstractModel",
    "AbstractStateModel",
    "Domain",
    "Observed",
    "Output",
    "pack",
    "state_names",
    "target_of",
    "unpack",
]


@dataclass(frozen=True)
class Output:
    """One quantity that the model predicts: name, code and unit."""

    name: str
    code: str
    unit: str


@dataclass(frozen=True)
class Domain:
    """Whether a question may be answered: ``reason`` is ``None`` when it may."""

    reason: AbstentionReason | None = None
    sentence: str = ""


@dataclass(frozen=True)
class Observed:
    """A record in the form of the model: data, what was done, and the covariates that the model needs as arrays.

    ``epoch`` is time zero of the model, ns UTC; ``latest`` the time of the last datum used; ``notes`` say what was repaired, ignored or censored;
    ``last`` is the last value of the first output, in its unit.
    """

    epoch: int
    data: Dataset
    plan: Plan
    context: PyTree
    latest: int | None
    notes: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    last: float | None = None


class AbstractModel(eqx.Module):
    """A model of one patient. Everything patient-specific comes in as arrays; nothing patient-specific is static.

    ``context`` is whatever pytree of arrays the room's ``observe`` makes of demographics, clock and covariates.
    """

    id: eqx.AbstractVar[str]
    version: eqx.AbstractVar[str]
    prior: eqx.AbstractVar[Prior]
    outputs: eqx.AbstractVar[tuple[Output, ...]]
    channels: eqx.AbstractVar[tuple[Channel, ...]]
    minutes: eqx.AbstractVar[float]
    """Length of the model's unit of time, in minutes."""

    @abc.abstractmethod
    def observe(self, record: PatientRecord, now: int, *, epoch: int | None = None) -> Observed:
        """Turn what was known at ``now`` into data. ``epoch`` fixes time zero; left out, the room chooses it."""

    @abc.abstractmethod
    def context(self, leaves: list[np.ndarray]) -> PyTree:
        """Rebuild a context from its array leaves (when a stored twin is loaded)."""

    @abc.abstractmethod
    def domain(self, record: PatientRecord, now: int) -> Domain:
        """Say whether a forecast may be made from this record at ``now``."""

    @abc.abstractmethod
    def simulate(
        self, params: dict[str, Array], plan: Plan, times: Float[Array, " time"], context: PyTree, *, key: PRNGKeyArray
    ) -> Float[Array, "time output"]:
        """Predict the outputs, without noise of measurement."""

    @abc.abstractmethod
    def log_likelihood(self, params: dict[str, Array], plan: Plan, data: Dataset, context: PyTree) -> Float[Array, ""]:
        """Return the log likelihood of the data."""

    @abc.abstractmethod
    def measure(self, params: dict[str, Array], output: Float[Array, "time output"], *, key: PRNGKeyArray) -> Float[Array, "time output"]:
        """Add the noise of measurement to outputs: what an instrument would show."""


class AbstractLeastSquaresModel(AbstractModel):
    """A model whose log likelihood is ``-|residual|^2 / 2`` plus a constant."""

    @abc.abstractmethod
    def residual(self, params: dict[str, Array], plan: Plan, data: Dataset, context: PyTree) -> Float[Array, " datum"]:
        """Return whitened residuals; masked ones exactly zero."""


class AbstractStateModel(AbstractLeastSquaresModel):
    """A model with a state that a stream of readings keeps current, slot by slot.

    Rows of the streaming ensemble are ``[z, state]``: unconstrained parameters, then the packed state.
    """

    slot: eqx.AbstractVar[float]
    """Length of a slot in the model's unit of time."""
    noise_size: eqx.AbstractVar[int]
    """How many standard normal numbers one slot consumes."""
    lags: eqx.AbstractVar[int]
    """How many earlier slots' inputs ``advance`` also sees, oldest first."""

    @abc.abstractmethod
    def slots(self, record: PatientRecord, now: int, *, epoch: int) -> Slots:
        """Put what was known at ``now`` on the grid of slots that begins at ``epoch``."""

    @abc.abstractmethod
    def slot_context(self, observed: Observed, start: int, count: int) -> PyTree:
        """Return the context of each slot (time of day, say), leading axis ``count``, from slot ``start`` on."""

    @abc.abstractmethod
    def initial(self, params: dict[str, Array], value: Float[Array, " output"], noise: Float[Array, " noise"]) -> PyTree:
        """Return one member's state at the epoch, given the first reading and standard normal numbers."""

    @abc.abstractmethod
    def advance(
        self, params: dict[str, Array], state: PyTree, inputs: Float[Array, "lag channel"], context: PyTree, noise: Float[Array, " noise"]
    ) -> PyTree:
        """Carry one member's state over one slot; ``inputs`` has ``lags + 1`` rows, this slot's last."""

    @abc.abstractmethod
    def emit(self, params: dict[str, Array], state: PyTree) -> Float[Array, " output"]:
        """Return what an instrument without noise would show now."""

    @abc.abstractmethod
    def discrepancy(self, record: PatientRecord, now: int) -> DiscrepancySet | None:
        """Learn what the model keeps getting wrong from this person's past; ``None`` when the room has no such layer or the past is too short."""

    @abc.abstractmethod
    def correction(self, record: PatientRecord, now: int, learnt: DiscrepancySet) -> Correction | None:
        """Return what that layer says at ``now``."""

    @abc.abstractmethod
    def learns(self) -> Float[np.ndarray, " state"]:
        """Return, per packed state, 1 where a reading may move it and 0 where it follows from inputs and parameters alone."""

    @abc.abstractmethod
    def noise_sd(self, predicted: Float[Array, " output"]) -> Float[Array, " output"]:
        """Return the standard deviation of measurement at a predicted value."""


def pack(state: PyTree) -> Float[Array, " state"]:
    """Put the scalar fields of a state module into a vector, in the order of the fields."""
    return jnp.stack(jax.tree.leaves(state))


def state_names(model: AbstractStateModel) -> tuple[str, ...]:
    """Return what each entry of a packed state is called: the fields of the state, *now*."""
    start = jnp.zeros(len(model.outputs)), jnp.zeros(model.noise_size)
    like = jax.eval_shape(lambda z: model.initial(model.prior.constrain(z), *start), model.prior.mean)
    return tuple(
        f"{jax.tree_util.keystr(path, simple=True, separator='.')} now" for path, _ in jax.tree_util.tree_flatten_with_path(like)[0]
    )


def unpack(like: PyTree, vector: Float[Array, " state"]) -> PyTree:
    """Undo :func:`pack`."""
    leaves, treedef = jax.tree.flatten(like)
    return jax.tree.unflatten(treedef, [vector[i] for i in range(len(leaves))])


class _ModelTarget(AbstractTarget):
    model: AbstractModel
    plan: Plan
    data: Dataset
    context: Any

    @property
    def names(self):
        return self.model.prior.names

    def log_prior(self, z):
        return self.model.prior.log_density(z)

    def log_likelihood(self, z):
        return self.model.log_likelihood(self.model.prior.constrain(z), self.plan, self.data, self.context)

    def start(self, *, key):
        return self.model.prior.draw(1, key=key)[0]


class _LeastSquaresModelTarget(AbstractLeastSquaresTarget):
    model: AbstractLeastSquaresModel
    plan: Plan
    data: Dataset
    context: Any

    @property
    def names(self):
        return self.model.prior.names

    def log_prior(self, z):
        return self.model.prior.log_density(z)

    def log_likelihood(self, z):
        return self.model.log_likelihood(self.model.prior.constrain(z), self.plan, self.data, self.context)

    def residual(self, z):
        return self.model.residual(self.model.prior.constrain(z), self.plan, self.data, self.context)

    def prior_residual(self, z):
        prior = self.model.prior
        return jax.scipy.linalg.solve_triangular(prior.cholesky, z - prior.mean, lower=True)

    def start(self, *, key):
        return self.model.prior.draw(1, key=key)[0]


def target_of(model: AbstractModel, observed: Observed) -> AbstractTarget:
    """Return the posterior density of a model's parameters given what was observed."""
    kind = _LeastSquaresModelTarget if isinstance(model, AbstractLeastSquaresModel) else _ModelTarget
    context = jax.tree.map(np.asarray, observed.context)
    return kind(model, observed.plan, observed.data, context)
