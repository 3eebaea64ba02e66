"""Streaming: an ensemble of parameters and states carried slot by slot through what was measured and given.

The ensemble square-root update processes independent channels one by one; for a scalar channel it is exactly the symmetric
square root (Whitaker & Hamill 2002, doi:10.1175/1520-0493(2002)130<1913:EDAWPO>2.0.CO;2). Noise is keyed by the absolute slot,
so that an ensemble does not depend on when or in how many pieces its readings arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from gemel.engine.data import Slots
from gemel.engine.keys import fold_time, stream
from gemel.engine.model import AbstractStateModel, pack, unpack
from gemel.engine.status import Status

__all__ = ["EnsembleFilter", "History", "Stream", "run", "spread", "start_rows"]


class EnsembleFilter(eqx.Module):
    """Settings of the streaming filter.

    Parameters
    ----------
    size : members.
    inflation : factor on the anomalies after each update; 1 leaves them. A tuning constant: it lies in the lineage.
    gate : an innovation beyond so many standard deviations has its noise enlarged until it lies there (outliers, sensor artefacts).
    """

    size: int = eqx.field(static=True, default=96)
    inflation: float = eqx.field(static=True, default=1.0)
    gate: float = eqx.field(static=True, default=4.0)


class History(eqx.Module):
    """What the filter saw at each slot: mean row after the update, and mean and variance of the output predicted before it."""

    mean: Float[Array, "slot row"]
    predicted: Float[Array, "slot output"]
    variance: Float[Array, "slot output"]


@dataclass(frozen=True)
class Stream:
    """The streaming part of a twin, host side.

    ``first`` is the slot at which the ensemble began, ``done`` the last slot processed; ``seen`` what was processed from slot 0 on.
    ``checkpoints`` are (slot, rows), oldest first; ``surprise`` is (slot, output), the normalised squared innovations of the slots after
    ``first``, NaN where nothing was measured: kept by slot, so that a late fact rewrites what follows it and nothing else.
    """

    first: int
    learn_from: int
    done: int
    rows: np.ndarray
    seen: Slots
    checkpoints: tuple[tuple[int, np.ndarray], ...]
    surprise: np.ndarray

    @property
    def consistent(self) -> Status:
        """Whether the last 20 squared innovations lie inside their 99 % chi-square band."""
        recent = self.surprise[np.isfinite(self.surprise)][-20:]
        if len(recent) < 20:
            return Status.OK
        return Status.OK if recent.sum() <= 37.57 else Status.INNOVATIONS_INCONSISTENT  # chi-square, 20 degrees, upper 1 %

    def keep(self, slot: int, rows: np.ndarray, *, ring: int = 32) -> tuple[tuple[int, np.ndarray], ...]:
        """Return the checkpoints with this one added: a ring of 32, thinned by age so that they reach far back."""
        kept = {k: r for k, r in self.checkpoints if k <= slot}
        kept[slot] = rows
        while len(kept) > ring:
            ages = sorted(kept)
            gaps = [(ages[i + 1] - ages[i - 1]) / (slot - ages[i] + 1.0) for i in range(1, len(ages) - 1)]
            kept.pop(ages[1 + int(np.argmin(gaps))])
        return tuple(sorted(kept.items()))


def start_rows(
    model: AbstractStateModel, z: Float[Array, "draw parameter"], value: Float[Array, " output"], *, key: PRNGKeyArray
) -> Float[Array, "draw row"]:
    """Return rows ``[z, state]`` at the first slot, from parameter draws and the first reading."""
    noise = jax.random.normal(stream(key, "initial"), (z.shape[0], model.noise_size))
    return _start(model, z, value, noise)


@eqx.filter_jit
def _start(model, z, value, noise):
    def one(zi, e):
        return jnp.concatenate([zi, pack(model.initial(model.prior.constrain(zi), value, e))])

    return jax.vmap(one)(z, noise)


def _split(model: AbstractStateModel, row: Array) -> tuple[dict[str, Array], PyTree]:
    d = model.prior.size
    params = model.prior.constrain(row[:d])
    like = jax.eval_shape(lambda p: model.initial(p, jnp.zeros(len(model.outputs)), jnp.zeros(model.noise_size)), params)
    return params, unpack(like, row[d:])


def _advance(model: AbstractStateModel, row: Array, inputs: Array, context: PyTree, noise: Array) -> Array:
    d = model.prior.size
    params, state = _split(model, row)
    moved = pack(model.advance(params, state, inputs, context, noise[: model.noise_size]))
    drift = model.prior.drift * jnp.sqrt(model.slot * model.minutes / 1440.0)
    return jnp.concatenate([row[:d] + drift * noise[model.noise_size :], moved])


def _emit(model: AbstractStateModel, row: Array) -> Array:
    params, state = _split(model, row)
    return model.emit(params, state)


def _update(
    settings: EnsembleFilter, rows: Array, predicted: Array, y: Array, use: Array, censored: Array, sd: Array, gain_mask: Array
) -> tuple[Array, Array]:
    """Assimilate one scalar channel; ``gain_mask`` zeroes the rows that may not learn."""
    n = rows.shape[0]
    mean, centre = predicted.mean(), rows.mean(axis=0)
    innovation = y - mean
    told = jnp.where(
        censored < 0, innovation < 0, jnp.where(censored > 0, innovation > 0, True)
    )  # beyond a limit and predicted beyond: nothing learnt
    anomaly, deviation = rows - centre, predicted - mean
    variance = jnp.sum(deviation**2) / (n - 1)
    noise = sd**2
    noise = noise + jnp.maximum(innovation**2 / settings.gate**2 - (variance + noise), 0.0)
    total = variance + noise
    active = jnp.where(use & told, 1.0, 0.0)
    gain = gain_mask * (deviation @ anomaly) / (n - 1) / total
    shrink = 1.0 / (1.0 + jnp.sqrt(noise / total))
    centre = centre + active * gain * innovation
    anomaly = (anomaly - active * shrink * jnp.outer(deviation, gain)) * jnp.where(
        active > 0, 1 + (settings.inflation - 1) * gain_mask, 1.0
    )
    return centre + anomaly, jnp.where(use & told, (y - mean) ** 2 / (variance + sd**2), jnp.nan)


def slot_step(
    model: AbstractStateModel, settings: EnsembleFilter, rows: Array, value: Array, mask: Array, censored: Array, inputs: Array, context: PyTree,
    index: Int[Array, ""], learn: Array, key: PRNGKeyArray,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Carry the ensemble over slot ``index`` and assimilate what was measured at its end.

    Returns
    -------
    Rows, squared normalised innovation per output (NaN where nothing was learnt), predicted mean, predicted variance.
    """
    d = model.prior.size
    noise = jax.random.normal(fold_time(key, index), (rows.shape[0], model.noise_size + d))
    rows = jax.vmap(lambda r, e: _advance(model, r, inputs, context, e))(rows, noise)
    predicted = jax.vmap(lambda r: _emit(model, r))(rows)
    before, variance = predicted.mean(axis=0), predicted.var(axis=0, ddof=1)
    gain_mask = jnp.concatenate([jnp.where(model.prior.drift > 0, learn, 0.0), jnp.asarray(model.learns(), float)])
    surprise = []
    for o in range(len(model.outputs)):
        sd = model.noise_sd(predicted.mean(axis=0))[o]
        rows, squared = _update(settings, rows, predicted[:, o], value[o], mask[o], censored[o], sd, gain_mask)
        surprise.append(squared)
        if len(model.outputs) > 1:
            predicted = jax.vmap(lambda r: _emit(model, r))(rows)
    return rows, jnp.stack(surprise), before, variance


@eqx.filter_jit
def _run(model, settings, rows, slots, context, first, count, learn_from, key):
    size = slots.value.shape[0]
    outputs = len(model.outputs)
    history = (jnp.zeros((size, rows.shape[1])), jnp.zeros((size, outputs)), jnp.zeros((size, outputs)), jnp.full((size, outputs), jnp.nan))

    def body(k, carry):
        rows, (mean, predicted, variance, surprise) = carry
        learn = jnp.where(first + k >= learn_from, 1.0, 0.0)
        here = jax.tree.map(lambda x: x[k], context)
        rows, squared, before, spread_ = slot_step(
            model,
            settings,
            rows,
            slots.value[k],
            slots.mask[k],
            slots.censored[k],
            jax.lax.dynamic_slice_in_dim(slots.inputs, k, model.lags + 1),
            here,
            first + k,
            learn,
            key,
        )
        return rows, (
            mean.at[k].set(rows.mean(axis=0)),
            predicted.at[k].set(before),
            variance.at[k].set(spread_),
            surprise.at[k].set(squared),
        )

    rows, (mean, predicted, variance, surprise) = jax.lax.fori_loop(0, count, body, (rows, history))
    return rows, History(mean, predicted, variance), surprise


def run(
    model: AbstractStateModel, settings: EnsembleFilter, rows: Float[Array, "draw row"], slots: Slots, context: PyTree, *, first: int, count: int,
    learn_from: int, key: PRNGKeyArray,
) -> tuple[Float[Array, "draw row"], History, Float[Array, "slot output"]]:  # fmt: skip
    """Run the filter over ``count`` slots, the first of which has absolute index ``first``. ``slots`` and ``context`` may be padded."""
    return _run(
        model, settings, rows, slots, context, jnp.asarray(first), jnp.asarray(count), jnp.asarray(learn_from), stream(key, "process")
    )


@eqx.filter_jit
def _spread(model, rows, inputs, context, first, key):
    d = model.prior.size
    size = inputs.shape[0] - model.lags

    def slot(rows, item):
        k, here, index = item
        u = jax.lax.dynamic_slice_in_dim(inputs, k, model.lags + 1)
        noise = jax.random.normal(fold_time(key, index), (rows.shape[0], model.noise_size + d))
        rows = jax.vmap(lambda r, e: _advance(model, r, u, here, e))(rows, noise)
        return rows, jax.vmap(lambda r: _emit(model, r))(rows)

    _, outputs = jax.lax.scan(slot, rows, (jnp.arange(size), context, first + jnp.arange(size)))
    return jnp.moveaxis(outputs, 0, 1)


def spread(
    model: AbstractStateModel,
    rows: Float[Array, "draw row"],
    inputs: Float[Array, "slot channel"],
    context: Any,
    *,
    first: int,
    key: PRNGKeyArray,
):
    """Return (draw, slot, output): the outputs at the end of each future slot, without noise of measurement.

    ``inputs`` has ``model.lags`` rows of the past in front. The same key gives the same process noise under any plan.
    """
    return _spread(model, rows, inputs, context, jnp.asarray(first), stream(key, "future"))
