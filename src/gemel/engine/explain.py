"""Why this advice: which data moved it, which parameters carry it, and what would have to be different for it to flip."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.special import logsumexp

from gemel.core.record import PatientRecord
from gemel.core.time import MINUTE, iso
from gemel.engine.data import Dataset
from gemel.engine.forecast import Comparison, compare
from gemel.engine.keys import stream
from gemel.engine.model import AbstractModel, AbstractStateModel, state_names
from gemel.engine.twin import Twin

if TYPE_CHECKING:
    from gemel.engine.recommend import Objective

__all__ = ["carriers", "explain", "influence"]

MOST = 6
ENOUGH = 0.3
"""Share of the draws that leave-one-out weights must leave effective: below it a handful of draws decides."""


def carriers(
    z: Float[np.ndarray, "draw parameter"], names: tuple[str, ...], gain: Float[np.ndarray, " draw"]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return, per parameter, the share of the variance of ``gain`` that it carries, and the shift that would flip the advice.

    Both come from the regression of the gain on standardised parameters. The share is the product of coefficient and covariance
    (Pratt's measure: shares sum to R^2). The shift is in posterior standard deviations along that parameter alone; infinite ones are left out.
    """
    spread = z.std(axis=0)
    varied = spread > 1e-12
    white = (z[:, varied] - z[:, varied].mean(axis=0)) / spread[varied]
    centred = gain - gain.mean()
    if white.shape[1] == 0 or centred.std() == 0:
        return {}, {}
    ridge = 1e-6 * len(white)
    slope = np.linalg.solve(white.T @ white + ridge * np.eye(white.shape[1]), white.T @ centred)
    kept = [n for n, v in zip(names, varied, strict=True) if v]
    share = slope * (white.T @ centred / len(white)) / centred.var()
    flip = {n: float(-gain.mean() / b) for n, b in zip(kept, slope, strict=True) if abs(b) > 1e-9 and abs(gain.mean() / b) < 10}
    order = np.argsort(-np.abs(share))[:MOST]
    return {kept[i]: float(share[i]) for i in order}, dict(sorted(flip.items(), key=lambda kv: abs(kv[1]))[:MOST])


@eqx.filter_jit
def _pointwise(model: AbstractModel, z, plan, data: Dataset, context):
    def leave(zi, k):
        kept = eqx.tree_at(lambda d: d.mask, data, data.mask & (jnp.arange(data.mask.shape[0]) != k))
        return model.log_likelihood(model.prior.constrain(zi), plan, kept, context)

    def one(zi):
        whole = model.log_likelihood(model.prior.constrain(zi), plan, data, context)
        return whole - jax.lax.map(lambda k: leave(zi, k), jnp.arange(data.mask.shape[0]))

    return jax.vmap(one)(z)


def _expected(z: Float[np.ndarray, "draw parameter"], gain: Float[np.ndarray, " draw"]) -> Float[np.ndarray, " draw"]:
    """Return the gain expected from the parameters alone, by regression on them and their squares: no datum of the past moves future noise."""
    spread = z.std(axis=0)
    white = (z - z.mean(axis=0))[:, spread > 1e-12] / spread[spread > 1e-12]
    columns = np.concatenate([white, white**2 - 1], axis=1) if len(z) >= 8 * white.shape[1] else white
    slope = np.linalg.solve(columns.T @ columns + 1e-6 * len(z) * np.eye(columns.shape[1]), columns.T @ (gain - gain.mean()))
    return gain.mean() + columns @ slope


def influence(
    model: AbstractModel, z: Float[np.ndarray, "draw parameter"], observed: Any, gain: Float[np.ndarray, " draw"]
) -> list[dict[str, Any]]:
    """Return the data that moved the mean gain most: ``moved`` is the mean gain with all data less the mean gain without this datum.

    By leave-one-out importance weights ``1 / p(y_j | theta)`` where they leave an effective ``ENOUGH`` of the draws; beyond, where a few draws
    would carry all the weight, by the first-order effect of the datum's weight, the covariance of gain and log likelihood. ``by`` says which.

    References
    ----------
    Giordano and Broderick 2023, arXiv:2305.06466 (the posterior covariance as the derivative by a datum's weight).
    """
    context = jax.tree.map(np.asarray, observed.context)
    terms = np.asarray(_pointwise(model, jnp.asarray(z), observed.plan, observed.data, context))
    weights = -terms
    weights = np.exp(weights - logsumexp(weights, axis=0, keepdims=True))
    ess = 1 / np.sum(weights**2, axis=0)
    gain = _expected(np.asarray(z), gain)
    first_order = (gain - gain.mean()) @ (terms - terms.mean(axis=0)) / len(gain)
    sound = ess >= ENOUGH * len(gain)
    moved = np.where(sound, gain.mean() - gain @ weights, first_order)
    real = np.flatnonzero(np.asarray(observed.data.mask))
    order = real[np.argsort(-np.abs(moved[real]))[:MOST]]
    time, value, channel = (np.asarray(getattr(observed.data, n)) for n in ("time", "value", "channel"))
    return [
        {
            "time": iso(observed.epoch + round(float(time[j]) * model.minutes * MINUTE)), "output": model.outputs[int(channel[j])].name, "value": float(value[j]),
            "moved": float(moved[j]), "ess": float(ess[j]), "by": "importance weights" if sound[j] else "first order",
        }
        for j in order
    ]  # fmt: skip


def _stream_influence(
    twin: Twin, a: str, b: str, plans: dict[str, Any], times: np.ndarray, objective: Objective, n: int, key: PRNGKeyArray,
    record: PatientRecord | None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Leave out each of the last readings in turn and run the stream again: exact, with the same noise.

    With the record the learnt correction is asked again too, as if the reading had never been made; without it ``by`` says *stream only* where there is a correction.
    """
    state, model = twin.stream, twin.model
    assert state is not None
    assert isinstance(model, AbstractStateModel)
    marks = [k for k in np.flatnonzero(np.asarray(state.seen.mask).any(axis=1)) if k > state.first][-MOST:]
    baseline = _mean_gain(twin, a, b, plans, times, objective, n, key)
    found = []
    for k in marks:
        mask = np.array(state.seen.mask)
        mask[k] = False
        earlier = [(slot, rows) for slot, rows in state.checkpoints if slot < k]
        if not earlier:
            continue
        again = _without(twin, int(k), mask, earlier[-1])
        known = None if record is None else _never_read(twin, record, int(k))
        if twin.correction is not None and twin.learnt is not None and known is not None:
            again = replace(again, correction=model.correction(known, twin.now, twin.learnt))
        moved = baseline - _mean_gain(again, a, b, plans, times, objective, n, key)
        by = "stream only" if twin.correction is not None and known is None else "left out"
        value = float(np.asarray(state.seen.value)[k, 0])
        found.append({"time": iso(_moment(twin, int(k))), "output": model.outputs[0].name, "value": value, "moved": float(moved), "by": by})
    return sorted(found, key=lambda item: -abs(item["moved"]))


def _moment(twin: Twin, slot: int) -> int:
    assert isinstance(twin.model, AbstractStateModel)
    return twin.epoch + round(slot * twin.model.slot * twin.model.minutes * MINUTE)


def _without(twin: Twin, slot: int, mask: np.ndarray, checkpoint: tuple[int, np.ndarray]) -> Twin:
    """Return the twin whose stream was run again from a checkpoint with this mask."""
    from gemel.engine.twin import _follow

    state = twin.stream
    assert state is not None
    start, rows = checkpoint
    earlier = tuple((k, r) for k, r in state.checkpoints if k < slot)
    restart = replace(state, done=start, rows=rows, checkpoints=earlier, surprise=state.surprise[: start - state.first])
    return _follow(twin, restart, replace_slots(state.seen, mask), state.done, twin.observed)


def _never_read(twin: Twin, record: PatientRecord, slot: int) -> PatientRecord | None:
    """Return what was known at the twin's *now*, without the readings of the first output that fall into a slot; None where there are none of its code."""
    known = record.as_of(twin.now)
    half, code = (_moment(twin, 1) - _moment(twin, 0)) / 2, twin.model.outputs[0].code
    kept = tuple(s.take(np.abs(s.time - _moment(twin, slot)) > half) if str(s.code) == code else s for s in known.series)
    if sum(map(len, kept)) == sum(map(len, known.series)):
        return None
    return known.model_copy(update={"series": kept})


def replace_slots(slots: Any, mask: np.ndarray) -> Any:
    """Return slots with another mask."""
    return eqx.tree_at(lambda s: s.mask, slots, mask)


def _mean_gain(
    twin: Twin, a: str, b: str, plans: dict[str, Any], times: np.ndarray, objective: Objective, n: int, key: PRNGKeyArray
) -> float:
    pair = compare(twin, {a: plans[a], b: plans[b]}, times, n=n, key=key)
    return float(np.mean(objective.utility(pair.forecasts[a]) - objective.utility(pair.forecasts[b])))


def explain(
    twin: Twin, comparison: Comparison, gain: Float[np.ndarray, " draw"], best: str, second: str, objective: Objective, *, key: PRNGKeyArray,
    plans: dict[str, Any] | None = None, record: PatientRecord | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Explain why ``best`` beats ``second``.

    Parameters
    ----------
    record : the person's; with it the influence of a reading counts what the learnt correction made of it.

    Returns
    -------
    dict
        ``data``: the data that moved the mean gain most; ``parameters``: share of its variance each parameter carries;
        ``flip``: by how many posterior standard deviations a parameter must differ for the advice to flip; ``gain``: its mean and 90 % interval.
    """
    low, high = np.quantile(gain, [0.05, 0.95])
    told: dict[str, Any] = {"best": best, "second": second, "gain": {"mean": float(gain.mean()), "low": float(low), "high": float(high)}}
    model, n = twin.model, len(gain)
    if isinstance(model, AbstractStateModel):
        assert twin.stream is not None
        rows = np.asarray(twin.stream.rows)
        pick = np.asarray(jax.random.permutation(stream(key, "draws"), np.arange(n) % len(rows)))
        names = (*model.prior.names, *state_names(model))
        told["parameters"], told["flip"] = carriers(rows[pick], names, gain)
        if plans is not None:
            told["data"] = _stream_influence(
                twin, best, second, plans, comparison.forecasts[best].times, objective, min(n, 128), key, record
            )
    else:
        z = np.asarray(twin.inference.posterior.draw(n, key=stream(key, "draws")))
        told["parameters"], told["flip"] = carriers(z, model.prior.names, gain)
        if twin.observed.data.count:
            told["data"] = influence(model, z, twin.observed, gain)
    return told
