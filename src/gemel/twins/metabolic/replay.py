"""Replay of whole recordings through the streaming twin, many people at once: what the mechanistic forecast would have said at every slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gemel.core.record import PatientRecord
from gemel.core.time import MINUTE, local_minutes_of_day
from gemel.engine.compile import bucket
from gemel.engine.keys import stream
from gemel.engine.posterior import AbstractPosterior
from gemel.engine.stream import EnsembleFilter, slot_step, start_rows
from gemel.engine.model import pack
from gemel.twins.metabolic import observe
from gemel.twins.metabolic.discrepancy import PersonSeries
from gemel.twins.metabolic.model import MetabolicModel

__all__ = ["mechanistic"]

GROUP = 16
"""People filtered together: enough to fill a processor, few enough that the longest does not hold up many."""


@eqx.filter_jit
def _forward(model: MetabolicModel, settings: EnsembleFilter, rows: Array, value, mask, censored, inputs, context, ahead: tuple[int, ...], learn_from: Array, key):
    """Filter one person and, at every slot, carry the mean row forward without further input: change of glucose at each horizon, in slots."""
    d = model.prior.size
    like = jax.eval_shape(lambda p: model.initial(p, jnp.zeros(1), jnp.zeros(model.noise_size)), model.prior.constrain(rows[0, :d]))
    treedef = jax.tree.structure(like)
    lags, longest = model.lags, max(ahead)

    def expected(mean: Array, recent: Array, contexts) -> Array:
        params = model.prior.constrain(mean[:d])
        state = jax.tree.unflatten(treedef, list(mean[d:]))

        def slot(carry, here):
            state, recent = carry
            # What was running (insulin over hours) goes on at the mean rate of the last hour's slow part: the newest row stands for it.
            recent = jnp.concatenate([recent[1:], recent[-1:] * 0.0])
            state = model.advance(params, state, recent, here, jnp.zeros(model.noise_size))
            return (state, recent), model.emit(params, state)[0]

        _, path = jax.lax.scan(slot, (state, recent), contexts)
        return path[jnp.asarray(ahead) - 1] - state.IG

    def body(rows, item):
        k, y, m, c, here = item
        u = jax.lax.dynamic_slice_in_dim(inputs, k, lags + 1)
        learn = jnp.where(k >= learn_from, 1.0, 0.0)
        rows, _, _, _ = slot_step(model, settings, rows, y, m, c, u, here, k, learn, key)
        mean = rows.mean(axis=0)
        later = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, k + 1, longest), context)
        return rows, expected(mean, u, later)

    n = value.shape[0]
    now = jax.tree.map(lambda x: x[:n], context)
    _, change = jax.lax.scan(body, rows, (jnp.arange(n), value, mask, censored, now))
    return change


@eqx.filter_jit
def _many(model, settings, rows, value, mask, censored, inputs, context, ahead, learn_from, key):
    return jax.vmap(lambda *a: _forward(model, settings, *a, ahead, learn_from, key))(rows, value, mask, censored, inputs, context)


def mechanistic(
    model: MetabolicModel, records: Sequence[PatientRecord], people: Sequence[PersonSeries], posteriors: Sequence[AbstractPosterior], horizons: tuple[int, ...],
    *, settings: EnsembleFilter | None = None, seed: int = 0,
) -> list[PersonSeries]:  # fmt: skip
    """Return the recordings with the change that the streaming twin expects at every slot and horizon, each from what was known at it.

    Parameters
    ----------
    posteriors : of each person's parameters, from the training part or the prior.
    horizons : minutes, multiples of the model's slot.
    """
    settings = EnsembleFilter(size=48) if settings is None else settings
    ahead = tuple(int(h / model.slot) for h in horizons)
    slot_ns = round(model.slot * MINUTE)
    key = jax.random.key(seed)
    order = np.argsort([len(p.value) * p.step for p in people])
    out: list[PersonSeries | None] = [None] * len(people)
    for start in range(0, len(order), GROUP):
        group = order[start : start + GROUP]
        longest = bucket(max(int(len(people[i].value) * people[i].step / model.slot) + 1 for i in group), smallest=256)
        stacked = []
        for i in group:
            record, person = records[i], people[i]
            epoch = person.start
            count = int(len(person.value) * person.step / model.slot)
            slots = model.slots(record, epoch + count * slot_ns, epoch=epoch)
            window = slots.window(0, longest, lags=model.lags)
            clock = local_minutes_of_day(epoch + slot_ns * np.arange(longest + max(ahead)), record.demographics.zone)
            found, _ = observe.events(record, epoch)
            basal = observe._basal(found, 0.0, count * model.slot)
            n = len(clock)
            weight = observe._weight(record)
            context = observe.Context(observe._weights(clock), np.full(n, 0.0), np.full(n, basal), np.full(n, weight))
            z = posteriors[i].draw(settings.size, key=stream(key, "rows"))
            first = np.flatnonzero(np.asarray(slots.mask)[:, 0])
            rows = start_rows(model, z, jnp.asarray(slots.value[first[0]]), key=key)
            stacked.append((np.asarray(rows), window.value[:longest], window.mask[:longest], window.censored[:longest], window.inputs[: longest + model.lags], context))
        while len(stacked) < GROUP and len(people) > GROUP:
            stacked.append(stacked[-1])
        arrays = jax.tree.map(lambda *x: np.stack(x), *stacked)
        change = np.asarray(_many(model, settings, *arrays, ahead, jnp.asarray(0), stream(key, "stream")))
        for j, i in enumerate(group):
            person = people[i]
            every = int(person.step / model.slot)
            taken = change[j][:: every][: len(person.value)]
            out[i] = replace(person, physics=np.where(np.isfinite(taken), np.clip(taken, -400, 400), 0.0))
    return [p for p in out if p is not None]
