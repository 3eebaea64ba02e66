"""Promise: padding changes nothing: what stands in it, bit for bit; how long it is, up to the rounding of sums.

Programs of another length may add the same terms in another order (the compiler sums in lanes), so that a longer bucket is held to ``ROUNDING``.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gemel.engine.data import Dataset
from gemel.engine.model import target_of
from gemel.engine.plan import Plan
from gemel.testing.report import require
from gemel.testing.subject import Subject

__all__ = ["ROUNDING", "check_padding"]

ROUNDING = 1e-12
"""Relative to the largest entry: some thousand units in the last place, as many as sums of a few thousand terms may lose."""


@eqx.filter_jit
def _value_and_slope(target, z):
    return jax.value_and_grad(target.log_likelihood)(z)


@eqx.filter_jit
def _path(model, z, plan, times, context, key):
    return model.simulate(model.prior.constrain(z), plan, times, context, key=key)


def _longer(data: Dataset, extra: int) -> Dataset:
    """Return the data with ``extra`` more masked rows full of rubbish, and rubbish in the rows that were masked before."""
    mask = np.concatenate([np.asarray(data.mask), np.zeros(extra, bool)])

    def pad(x: np.ndarray, rubbish: float) -> np.ndarray:
        full = np.concatenate([np.asarray(x), np.full(extra, rubbish).astype(np.asarray(x).dtype)])
        return np.where(mask, full, np.asarray(rubbish).astype(full.dtype))

    last = float(np.asarray(data.time).max())
    return Dataset(
        *(jnp.asarray(x) for x in (pad(data.time, last), pad(data.value, 1e6), pad(data.channel, 0), pad(data.censored, 0), mask))
    )


def _more(plan: Plan, extra: int) -> Plan:
    mask = np.concatenate([np.asarray(plan.mask), np.zeros(extra, bool)])

    def pad(x: np.ndarray, rubbish: float) -> np.ndarray:
        full = np.concatenate([np.asarray(x), np.full(extra, rubbish).astype(np.asarray(x).dtype)])
        return np.where(mask, full, np.asarray(rubbish).astype(full.dtype))

    return Plan(
        *(jnp.asarray(x) for x in (pad(plan.start, 1.0), pad(plan.duration, 1.0), pad(plan.amount, 1e6), pad(plan.channel, 0), mask))
    )


def check_padding(subject: Subject) -> str:
    """Put rubbish into masked data and events, then double both buckets; the log likelihood, its gradient and paths must not change."""
    model, observed = subject.model, subject.observed
    z = subject.prior_draws[0]
    base = target_of(model, observed)
    context = jax.tree.map(np.asarray, observed.context)
    value, slope = _value_and_slope(base, z)
    times = np.asarray(observed.data.time)
    path = np.asarray(_path(model, z, observed.plan, times, context, subject.key("padding")))
    for what, extra in (
        ("rubbish in masked rows", (0, 0)),
        ("a longer bucket of data", (len(times), 0)),
        ("a longer bucket of events", (0, observed.plan.mask.shape[0])),
    ):
        data, plan = _longer(observed.data, extra[0]), _more(observed.plan, extra[1])
        padded = eqx.tree_at(lambda t: (t.data, t.plan), base, (data, plan))
        found, gradient = _value_and_slope(padded, z)
        require(
            _same(found, value, extra),
            f"padding leaks into the log likelihood: {what}",
            seen=float(found),
            expected=float(value),
            fix="mask every sum",
        )
        require(
            _same(gradient, slope, extra),
            f"padding leaks into the gradient: {what}",
            seen=np.abs(np.asarray(gradient) - np.asarray(slope)).max(),
            expected=0,
        )
        longer = np.concatenate([times, np.full(extra[0], times[-1])])
        moved = np.asarray(_path(model, z, plan, longer, context, subject.key("padding")))[: len(times)]
        require(_same(moved, path, extra), f"padding leaks into the simulation: {what}", seen=np.abs(moved - path).max(), expected=0)
    return "what stands in it: bit for bit; how long it is: up to rounding"


def _same(found: np.ndarray, expected: np.ndarray, extra: tuple[int, int]) -> bool:
    a, b = np.asarray(found), np.asarray(expected)
    limit = ROUNDING * (1.0 + np.abs(b).max()) if any(extra) else 0.0
    return bool((np.abs(a - b) <= limit).all())
