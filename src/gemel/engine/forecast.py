"""``forecast`` and ``compare``: draws of the future under plans, with the same draws and noise for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from gemel.core.advice import ForecastTable
from gemel.core.errors import ModelError
from gemel.core.lineage import Lineage, digest
from gemel.core.time import MINUTE
from gemel.core.units import convert
from gemel.engine.compile import bucket
from gemel.engine.keys import stream
from gemel.engine.model import AbstractModel, AbstractStateModel, Output
from gemel.engine.plan import Plan
from gemel.engine.status import Status, sentence, usable
from gemel.engine.stream import _spread, spread
from gemel.engine.twin import Twin

__all__ = ["Comparison", "Forecast", "compare", "forecast"]

LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)


@dataclass(frozen=True)
class Forecast:
    """Draws of what an instrument would show at future times, and what they mean.

    ``draws`` is (draw, time, output) in the outputs' units; an abstained forecast has no draws.
    """

    draws: Float[np.ndarray, "draw time output"]
    times: np.ndarray
    outputs: tuple[Output, ...]
    issued: int
    status: Status
    reason: str
    plan: str
    patient: str
    lineage: Lineage
    method_validity: str = ""

    @property
    def usable(self) -> bool:
        """Whether the forecast may be used."""
        return usable(self.status)

    @property
    def horizons(self) -> np.ndarray:
        """Minutes from issue to each time."""
        return (self.times - self.issued) / MINUTE

    def _index(self, output: str | None) -> int:
        names = [o.name for o in self.outputs]
        if output is None:
            return 0
        if output not in names:
            raise ModelError(f"the forecast has no output {output!r}", expected=names)
        return names.index(output)

    def quantiles(
        self, levels: Sequence[float] = LEVELS, *, output: str | None = None, unit: str | None = None, analyte: str | None = None
    ) -> np.ndarray:
        """Return (level, time) quantiles of one output, converted to ``unit`` if given."""
        i = self._index(output)
        q = np.quantile(self.draws[:, :, i], levels, axis=0)
        return convert(q, self.outputs[i].unit, unit, analyte=analyte) if unit else q

    def mean(self, *, output: str | None = None) -> np.ndarray:
        """Return the (time,) mean of one output."""
        return self.draws[:, :, self._index(output)].mean(axis=0)

    def probability(self, *, below: float | None = None, above: float | None = None, output: str | None = None) -> np.ndarray:
        """Return the (time,) probability that an output lies below or above a threshold in its unit."""
        values = self.draws[:, :, self._index(output)]
        hit = np.ones(values.shape, bool)
        if below is not None:
            hit &= values < below
        if above is not None:
            hit &= values > above
        return hit.mean(axis=0)

    def table(self, *, probabilities: Mapping[str, np.ndarray] | None = None, levels: Sequence[float] = LEVELS) -> ForecastTable:
        """Return the forecast as a plain type that may leave the engine."""
        if len(self.draws):
            quantiles, mean = np.quantile(self.draws, levels, axis=0), self.draws.mean(axis=0)
            times = self.times
        else:
            quantiles, mean, times = np.zeros((len(levels), 0, len(self.outputs))), np.zeros((0, len(self.outputs))), self.times[:0]
        return ForecastTable(
            twin=self.patient, issued=self.issued, times=times, outputs=tuple(o.name for o in self.outputs), units=tuple(o.unit for o in self.outputs),
            levels=tuple(levels), quantiles=quantiles, mean=mean, probabilities={k: [float(x) for x in v] for k, v in (probabilities or {}).items()},
            status=self.status.name, sentence=self.reason or sentence(self.status), plan=self.plan, lineage=self.lineage,
        )  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Forecasts of several plans under the same draws and noise, so that differences are the plans' own."""

    forecasts: dict[str, Forecast]

    def difference(self, a: str, b: str, *, output: str | None = None) -> np.ndarray:
        """Return (draw, time) paired differences, plan ``a`` minus plan ``b``."""
        first, second = self.forecasts[a], self.forecasts[b]
        i = first._index(output)
        return first.draws[:, :, i] - second.draws[:, :, i]

    def probability_better(self, a: str, b: str, utility) -> float:
        """Return the probability that plan ``a`` has the higher utility, ties counted half."""
        ua, ub = utility(self.forecasts[a]), utility(self.forecasts[b])
        return float(np.mean(ua > ub) + 0.5 * np.mean(ua == ub))


@eqx.filter_jit
def _static_draws(model: AbstractModel, z, plan, times, context, key):
    def one(zi, i):
        k = jax.random.fold_in(key, i)
        params = model.prior.constrain(zi)
        latent = model.simulate(params, plan, times, context, key=stream(k, "simulate"))
        return latent, model.measure(params, latent, key=stream(k, "measure"))

    return jax.vmap(one)(z, jnp.arange(z.shape[0]))


@eqx.filter_jit
def _measured(model: AbstractModel, z, latent, key):
    def one(zi, y, i):
        return model.measure(model.prior.constrain(zi), y, key=jax.random.fold_in(key, i))

    return jax.vmap(one)(z, latent, jnp.arange(z.shape[0]))


def _draw_future(twin: Twin, plan: Plan, model_times: np.ndarray, n: int, key: PRNGKeyArray) -> np.ndarray:
    model = twin.model
    if not isinstance(model, AbstractStateModel):
        z = twin.inference.posterior.draw(n, key=stream(key, "draws"))
        size = bucket(len(model_times), smallest=8)
        padded = np.concatenate([model_times, np.full(size - len(model_times), model_times[-1])])
        context = jax.tree.map(np.asarray, twin.observed.context)
        _, seen = _static_draws(model, z, plan, jnp.asarray(padded), context, stream(key, "future"))
        return np.asarray(seen)[:, : len(model_times)]
    (_, rows, _, context, done, _, members), position = future_lane(twin, plan, model_times, n, key)
    rows = jnp.asarray(rows)[np.asarray(jax.random.permutation(stream(key, "draws"), members))]
    size = jax.tree.leaves(context)[0].shape[0]
    inputs = plan.rates((done - model.lags) * model.slot, model.slot, size + model.lags, len(model.channels))
    latent = spread(model, rows, inputs, context, first=int(done) + 1, key=key)
    return on_times(np.asarray(_measured(model, rows[:, : model.prior.size], latent, stream(key, "measure"))), position)


def future_lane(twin: Twin, plan: Plan, model_times: np.ndarray, n: int, key: PRNGKeyArray) -> tuple[tuple, np.ndarray]:
    """Return what :func:`draw_lane` takes of a twin with a state, and where the times lie on the slots it draws."""
    model, state = twin.model, twin.stream
    assert isinstance(model, AbstractStateModel)
    assert state is not None
    position = model_times / model.slot  # slots since the epoch; slot k ends at k * slot
    size = bucket(max(1, int(np.ceil(position.max() - 1e-9)) - state.done), smallest=8)
    context = jax.tree.map(np.asarray, model.slot_context(twin.observed, state.done + 1, size))
    lane = (model, state.rows, plan, context, np.int64(state.done), key, np.arange(n) % len(state.rows))
    return lane, np.clip(position - state.done - 1, 0, size - 1)


def draw_lane(model: AbstractStateModel, rows, plan: Plan, context, done, key, members):
    """Return (draw, slot, output): what an instrument would show at the end of each slot; the steps of a single forecast as one program."""
    rows = rows[jax.random.permutation(stream(key, "draws"), members)]
    size = jax.tree.leaves(context)[0].shape[0]
    inputs = plan.rates((done - model.lags) * model.slot, model.slot, size + model.lags, len(model.channels))
    latent = _spread.__wrapped__(model, rows, inputs, context, done + 1, stream(key, "future"))
    return _measured.__wrapped__(model, rows[:, : model.prior.size], latent, stream(key, "measure"))


def on_times(seen: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return draws at positions between slots, linear between them."""
    low = np.floor(position + 1e-9).astype(int)
    weight = (position - low)[None, :, None]
    return seen[:, low] * (1 - weight) + seen[:, np.minimum(low + 1, seen.shape[1] - 1)] * weight


def forecast(
    twin: Twin, plan: Plan | None, times: np.ndarray | Sequence[int], *, n: int = 256, key: PRNGKeyArray, name: str = "as known",
    draws: np.ndarray | None = None,
) -> Forecast:  # fmt: skip
    """Draw the future under a plan.

    Parameters
    ----------
    twin : the twin at its *now*.
    plan : what will be done; ``None`` continues what is already known (scheduled doses included).
    times : ns UTC, after the twin's *now*.
    n : draws.
    key : the same key gives the same draws and the same noise, under any plan.
    draws : (draw, time, output), where they were drawn already, with those of others (:mod:`gemel.engine.batch`).

    Returns
    -------
    Forecast
        With status ``ABSTAINED``, a reason and no draws outside the validated domain; with the twin's own status when its posterior is not usable.
    """
    moments = np.asarray(times, np.int64)
    if moments.ndim != 1 or len(moments) == 0:
        raise ModelError("a forecast needs at least one time", seen=moments.shape, expected="(time,) ns UTC")
    if (moments <= twin.now).any():
        raise ModelError(
            "a forecast time lies at or before the twin's now",
            seen=int(moments.min()),
            expected=f"> {twin.now}",
            fix="assimilate first, or forecast later times",
        )
    lineage = twin.lineage.then(f"forecast:{name}:{digest([moments, n, np.asarray(jax.random.key_data(key))])[:12]}")
    blank = np.zeros((0, len(moments), len(twin.model.outputs)))
    made = {
        "times": moments, "outputs": twin.model.outputs, "issued": twin.now, "plan": name, "patient": twin.patient, "lineage": lineage,
        "method_validity": twin.inference.method_validity,
    }  # fmt: skip
    if twin.domain.reason is not None:
        return Forecast(draws=blank, status=Status.ABSTAINED, reason=f"{twin.domain.reason}: {twin.domain.sentence}", **made)
    if draws is None:
        draws = _draw_future(twin, twin.observed.plan if plan is None else plan, twin.model_time(moments), n, key)
    if twin.correction is not None and twin.observed.last is not None and np.isfinite(draws).all():
        known = draws if plan is None else _draw_future(twin, twin.observed.plan, twin.model_time(moments), n, key)
        corrected = np.array(known)
        corrected[:, :, 0] = twin.correction.apply(known[:, :, 0], (moments - twin.now) / MINUTE, twin.observed.last)
        draws = corrected + (
            draws - known
        )  # what a plan changes is the equations' own, never the statistical part's: its weights are associations, not causes
    if not np.isfinite(draws).all():
        return Forecast(draws=blank, status=Status.NOT_FINITE, reason=sentence(Status.NOT_FINITE), **made)
    return Forecast(draws=draws, status=twin.status, reason=sentence(twin.status), **made)


def compare(
    twin: Twin, plans: Mapping[str, Plan | None], times: np.ndarray | Sequence[int], *, n: int = 256, key: PRNGKeyArray
) -> Comparison:
    """Forecast several plans with the same draws and noise for each. A plan against itself differs by exactly zero."""
    return Comparison({name: forecast(twin, plan, times, n=n, key=key, name=name) for name, plan in plans.items()})
