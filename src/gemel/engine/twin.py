"""A twin: a model with a posterior, kept current. ``calibrate`` makes it, ``assimilate`` returns the next one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel import __version__
from gemel.core.errors import InferenceError, TimeError
from gemel.core.lineage import Lineage, digest
from gemel.core.protocols import Progress
from gemel.core.record import PatientRecord
from gemel.core.time import MINUTE
from gemel.engine.correction import Correction, DiscrepancySet
from gemel.engine.data import Slots
from gemel.engine.infer.base import AbstractMethod, Inference
from gemel.engine.keys import stream
from gemel.engine.model import AbstractModel, AbstractStateModel, Domain, Observed, target_of
from gemel.engine.posterior import AbstractPosterior, Ensemble
from gemel.engine.prior import Prior
from gemel.engine.status import Status, sentence, worst
from gemel.engine.stream import EnsembleFilter, Stream, run, start_rows

__all__ = ["Twin", "assimilate", "calibrate", "prior_dominated", "with_posterior"]

RECENT_SLOTS = 6
"""How far before the end of a long run a checkpoint is kept, so that facts known a little late do not restart it all."""

SPIN_UP_MINUTES = 720.0
"""How long before ``now`` the streaming ensemble starts, so that its states forget how they began."""


@dataclass(frozen=True)
class Twin:
    """One patient's model and posterior at one moment. Immutable: :func:`assimilate` returns a new one.

    ``calibrated`` is the *now* of calibration, ``now`` that of the last assimilation; both ns UTC. ``epoch`` is time zero of the model.
    """

    patient: str
    model: AbstractModel
    inference: Inference
    epoch: int
    calibrated: int
    now: int
    observed: Observed
    domain: Domain
    lineage: Lineage
    key: PRNGKeyArray
    method: AbstractMethod
    filter: EnsembleFilter
    stream: Stream | None = None
    learnt: DiscrepancySet | None = None
    correction: Correction | None = None
    status: Status = Status.OK
    notes: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def posterior(self) -> AbstractPosterior:
        """The posterior of the parameters: of the calibration, or of the stream once readings have moved it."""
        if self.stream is None:
            return self.inference.posterior
        return Ensemble.equal(jnp.asarray(self.stream.rows[:, : self.model.prior.size]))

    @property
    def sentence(self) -> str:
        """What the status means."""
        return sentence(self.status)

    def times(self, *minutes: float) -> np.ndarray:
        """Return the instants so many minutes after the twin's *now*, ns UTC."""
        return self.now + np.asarray([round(m * MINUTE) for m in minutes], np.int64)

    def model_time(self, times: np.ndarray) -> np.ndarray:
        """Return instants in the model's unit of time since its epoch."""
        return (np.asarray(times, np.int64) - self.epoch) / MINUTE / self.model.minutes


def _seed_of(key: PRNGKeyArray) -> int:
    return int.from_bytes(hashlib.sha256(np.asarray(jax.random.key_data(key)).tobytes()).digest()[:6], "big")


def _lineage(
    model: AbstractModel, record: str, method: AbstractMethod, filter_: EnsembleFilter, prior: Prior, key: PRNGKeyArray
) -> Lineage:
    settings = digest([repr(method), repr(filter_), np.asarray(prior.mean), np.asarray(prior.cholesky)])[:12]
    return Lineage(
        record=record,
        model=model.id,
        model_version=model.version,
        code_version=__version__,
        method=f"{method.name}:{settings}",
        seed=_seed_of(key),
        note="calibrate",
    )


def with_prior(model: AbstractModel, prior: Prior | None) -> AbstractModel:
    """Return the model with another population's prior."""
    if prior is None:
        return model
    if prior.names != model.prior.names:
        raise InferenceError("the prior is of other parameters than the model's", seen=prior.names, expected=model.prior.names)
    import equinox as eqx

    return eqx.tree_at(lambda m: m.prior, model, jax.tree.map(jnp.asarray, prior))


def calibrate(
    model: AbstractModel, record: PatientRecord, now: int, *, method: AbstractMethod | None = None, prior: Prior | None = None,
    filter: EnsembleFilter | None = None, learnt: DiscrepancySet | None = None, key: PRNGKeyArray, progress: Progress | None = None,
) -> Twin:  # fmt: skip
    """Infer one patient's parameters from what was known at ``now``.

    Parameters
    ----------
    model : the room's model.
    record : the patient's record; only ``record.as_of(now)`` is read.
    now : ns UTC.
    method : how to infer; left out, the default (Laplace from many starts).
    prior : a population's prior instead of the room's.
    filter : settings of the stream, for models with a state.
    learnt : discrepancy learnt from a cohort; left out, it is learnt from this person's own past, where the room has such a layer.
    key : randomness; the same key gives the same twin.
    progress : told of the progress of long methods.

    Returns
    -------
    Twin
        With status ``PRIOR_ONLY`` when there was nothing to learn from.
    """
    from gemel.engine.infer.laplace import Laplace

    model = with_prior(model, prior)
    chosen = Laplace() if method is None else method
    settings = EnsembleFilter() if filter is None else filter
    known = record.as_of(now)
    observed = model.observe(known, now)
    if observed.data.count == 0:
        inference = Inference(
            Ensemble.equal(model.prior.draw(settings.size, key=stream(key, "prior"))),
            {},
            int(Status.PRIOR_ONLY),
            "prior",
            "exact: the prior itself",
        )
    else:
        inference = chosen.run(target_of(model, observed), key=stream(key, "calibrate"), progress=progress)
    twin = Twin(
        patient=record.id, model=model, inference=inference, epoch=observed.epoch, calibrated=now, now=now, observed=observed, domain=model.domain(known, now),
        lineage=_lineage(model, known.hash, chosen, settings, model.prior, key), key=key, method=chosen, filter=settings, status=Status(int(inference.status)),
        notes=observed.notes,
    )  # fmt: skip
    if not isinstance(model, AbstractStateModel):
        return twin
    learnt = model.discrepancy(known, now) if learnt is None else learnt
    return corrected(_begin_stream(replace(twin, learnt=learnt), known), known)


def corrected(twin: Twin, known: PatientRecord) -> Twin:
    """Ask the discrepancy layer at the twin's *now*; where it has nothing to say the forecast is the mechanistic one, and a note says so."""
    assert isinstance(twin.model, AbstractStateModel)
    if twin.learnt is None:
        return twin
    said = None if twin.domain.reason is not None else twin.model.correction(known, twin.now, twin.learnt)
    return replace(twin, correction=said)


def slot_of(twin: Twin, now: int) -> int:
    assert isinstance(twin.model, AbstractStateModel)
    return int((now - twin.epoch) // round(twin.model.slot * twin.model.minutes * MINUTE))


def _begin_stream(twin: Twin, known: PatientRecord) -> Twin:
    model = twin.model
    assert isinstance(model, AbstractStateModel)
    end = slot_of(twin, twin.now)
    slots = model.slots(known, twin.now, epoch=twin.epoch)
    first = max(0, end - round(SPIN_UP_MINUTES / model.minutes / model.slot))
    z = twin.inference.posterior.draw(twin.filter.size, key=stream(twin.key, "rows"))
    measured = np.flatnonzero(np.asarray(slots.mask)[first : end + 1, 0])
    value = np.asarray(slots.value)[first + measured[0]] if len(measured) else np.full(len(model.outputs), np.nan)
    rows = np.asarray(start_rows(model, z, jnp.asarray(value), key=twin.key))
    begun = Stream(first, end + 1, first, rows, slots.until(0), ((first, rows),), np.zeros((0, len(model.outputs))))
    return _follow(twin, begun, slots, end, twin.observed)


def _follow(twin: Twin, state: Stream, slots: Slots, end: int, observed: Observed) -> Twin:
    """Carry the stream from where it stands to slot ``end`` through ``slots``.

    Facts mostly become known some minutes after they were true. A long way is therefore run in two pieces, so that a checkpoint lies shortly before
    the end: without it, every reading that changes the last slot would restart the whole way again.
    """
    for stop in stops(state.done, end):
        state = _carry(twin, state, slots, stop, observed)
    return with_stream(twin, state)


def stops(done: int, end: int) -> tuple[int, ...]:
    """Return the slots at which a way from ``done`` to ``end`` is checkpointed."""
    short = end - RECENT_SLOTS
    return (short, end) if done < short else (end,)


def with_stream(twin: Twin, state: Stream) -> Twin:
    """Return the twin with its stream where it is now, and the status that follows."""
    finite = Status.OK if np.isfinite(state.rows).all() else Status.NOT_FINITE
    return replace(twin, stream=state, status=worst(twin.inference.status, finite, state.consistent))


def _carry(twin: Twin, state: Stream, slots: Slots, end: int, observed: Observed) -> Stream:
    """Run the filter to slot ``end`` and keep a checkpoint there."""
    model, count = twin.model, end - state.done
    assert isinstance(model, AbstractStateModel)
    if count <= 0:
        return landed(state, slots, end)
    window = slots.window(state.done + 1, end + 1, lags=model.lags)
    context, key = model.slot_context(observed, state.done + 1, window.count), stream(twin.key, "stream")
    rows, _, squared = run(
        model,
        twin.filter,
        jnp.asarray(state.rows),
        window,
        context,
        first=state.done + 1,
        count=count,
        learn_from=state.learn_from,
        key=key,
    )
    return landed(state, slots, end, np.asarray(rows), np.asarray(squared)[:count])


def landed(state: Stream, slots: Slots, end: int, rows: np.ndarray | None = None, squared: np.ndarray | None = None) -> Stream:
    """Return the stream at slot ``end`` with a checkpoint there, after the filter gave these rows and squared innovations (none: it did not move)."""
    host = state.rows if rows is None else rows
    surprise = state.surprise if squared is None else np.concatenate([state.surprise, squared])
    return replace(state, done=end, rows=host, seen=slots.until(end + 1), checkpoints=state.keep(end, host), surprise=surprise)


def assimilate(twin: Twin, record: PatientRecord, now: int, *, key: PRNGKeyArray | None = None, ask: bool = True) -> Twin:
    """Return the twin that also knows what has become known up to ``now``.

    Facts may arrive in any order: the stream restarts from the checkpoint before the first slot that changed, and noise is keyed
    by slot, so that any permutation of arrivals gives the same twin. A fact older than the oldest checkpoint means recalibration
    (status ``RECALIBRATED``). A fact that is already in, or that was superseded, counts once.

    Parameters
    ----------
    twin : the twin so far.
    record : the record, new facts included; only ``record.as_of(now)`` is read.
    now : ns UTC, not before ``twin.now``.
    key : only for models without a state, which recalibrate; left out, the twin's own key.
    ask : ask the discrepancy layer at ``now``; a replay that asked it for all moments at once puts the answer in itself.

    Raises
    ------
    TimeError
        When ``now`` lies before the twin's.
    """
    if now < twin.now:
        raise TimeError(
            "a twin cannot assimilate backwards",
            seen=now,
            expected=f">= {twin.now}",
            fix="load the earlier version of the twin from the store",
        )
    known = record.as_of(now)
    model = twin.model
    if not isinstance(model, AbstractStateModel):
        again = calibrate(model, record, now, method=twin.method, filter=twin.filter, key=twin.key if key is None else key)
        return replace(again, calibrated=twin.calibrated, lineage=again.lineage.then("assimilate", record=known.hash))
    lineage = next_lineage(twin, known.hash)
    moved = _carried(twin, known, now, ask=ask)
    if moved is not None:
        return replace(moved, lineage=lineage)
    again = calibrate(model, _up_to(known, twin.calibrated), twin.calibrated, method=twin.method, filter=twin.filter, key=twin.key)
    moved = _carried(again, known, now) if now > twin.calibrated else again
    if moved is None:  # nothing was known when it was calibrated, and the first reading falls into the slot at which the stream began
        moved = replace(calibrate(model, known, now, method=twin.method, filter=twin.filter, key=twin.key), calibrated=twin.calibrated)
    return replace(moved, status=worst(moved.status, Status.RECALIBRATED), lineage=lineage)


def next_lineage(twin: Twin, record: str) -> Lineage:
    """Return the lineage of the twin after it has assimilated a record of this hash: it does not grow with the number of steps."""
    if twin.lineage.note == "calibrate":
        return twin.lineage.then("assimilate", record=record)
    return twin.lineage.model_copy(update={"record": record})


def _carried(twin: Twin, known: PatientRecord, now: int, *, ask: bool = True) -> Twin | None:
    """Carry the stream to ``now`` from the last checkpoint before the first slot that changed; ``None`` when there is none."""
    begun = restart(twin, known, now)
    if begun is None:
        return None
    moved, state, slots = begun
    carried = _follow(moved, state, slots, slot_of(twin, now), moved.observed)
    return corrected(carried, known) if ask else replace(carried, correction=None)


def restart(twin: Twin, known: PatientRecord, now: int) -> tuple[Twin, Stream, Slots] | None:
    """Return the twin at ``now``, its stream at the last checkpoint before the first slot that changed, and the slots to carry it through.

    ``None`` when what became known is older than the oldest checkpoint.
    """
    model, state = twin.model, twin.stream
    assert isinstance(model, AbstractStateModel)
    assert state is not None
    slots = model.slots(known, now, epoch=twin.epoch)
    changed = slots.first_difference(state.seen)
    usable = [(k, r) for k, r in state.checkpoints if k < changed]
    if not usable:
        return None
    slot, rows = usable[-1]
    observed = model.observe(known, now, epoch=twin.epoch)
    kept = tuple((k, r) for k, r in state.checkpoints if k <= slot)
    again = replace(state, done=slot, rows=rows, checkpoints=kept, surprise=state.surprise[: slot - state.first])
    return replace(twin, now=now, observed=observed, domain=model.domain(known, now), notes=observed.notes), again, slots


def _up_to(known: PatientRecord, time: int) -> PatientRecord:
    """Return facts true up to ``time`` as if they had been recorded by then: what is now known of the past."""
    series = tuple(
        part.model_copy(update={"recorded": np.minimum(part.recorded, time)})
        for part in (s.between(-(2**62), time + 1) for s in known.series)
        if len(part)
    )
    exposures = tuple(e.model_copy(update={"recorded": min(e.recorded, time)}) for e in known.exposures if e.start <= time)
    findings = tuple(f.model_copy(update={"recorded": min(f.recorded, time)}) for f in known.findings if f.time <= time)
    return known.model_copy(update={"series": series, "exposures": exposures, "findings": findings})


def with_posterior(twin: Twin, record: PatientRecord, posterior: AbstractPosterior) -> Twin:
    """Return the twin as it would be if these were its parameters: its states are followed again from the record, its learnt correction is left out.

    What a population's twin would say of this person (``posterior`` = draws of the prior), or, for a simulated person, what really happens (the truth).
    """
    known = record.as_of(twin.now)
    other = replace(
        twin, inference=replace(twin.inference, posterior=posterior), calibrated=twin.now, stream=None, learnt=None, correction=None
    )
    return _begin_stream(other, known) if isinstance(twin.model, AbstractStateModel) else other


def prior_dominated(prior: Prior, posterior: AbstractPosterior, *, limit: float = 0.8) -> dict[str, float]:
    """Return, per parameter for which the prior speaks, the ratio of posterior to prior standard deviation (unconstrained).

    A ratio above ``limit`` means that the data said little: the parameter is *prior-dominated*.
    """
    _, covariance = posterior.moments()
    ratio = np.sqrt(np.diag(np.asarray(covariance)) / np.diag(np.asarray(prior.covariance)))
    return {name: float(r) for name, r in zip(prior.names, ratio, strict=True) if r > limit}
