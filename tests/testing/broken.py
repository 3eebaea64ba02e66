"""Twins that are broken on purpose, one promise each: the contract must catch every one with its own message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gemel.engine.infer.base import AbstractMethod, Inference
from gemel.engine.infer.laplace import Laplace
from gemel.engine.likelihood import masked_sum, normal
from gemel.engine.model import AbstractLeastSquaresModel, AbstractModel, Domain, Observed, Output
from gemel.engine.plan import Channel
from gemel.engine.posterior import Ensemble
from gemel.engine.prior import Parameter, Prior
from gemel.engine.room import Room
from gemel.engine.transform import Identity, Log
from gemel.twins.toys import linear_room
from gemel.twins.toys.model import LinearModel
from gemel.twins.toys.observe import Clock
from gemel.twins.toys.priors import linear_prior
from gemel.twins.toys.simulate import simulate_linear

_SEEN: dict[str, object] = {}


class StaticClock(eqx.Module):
    """A context that makes the hour of the day part of the program."""

    hour: float = eqx.field(static=True)


class Faulty(AbstractLeastSquaresModel):
    """The linear toy with one fault, by name."""

    fault: str = eqx.field(static=True, default="")
    inner: LinearModel = eqx.field(default_factory=LinearModel)
    prior: Prior = eqx.field(default_factory=linear_prior)
    id: str = eqx.field(static=True, default="toy-linear")
    version: str = eqx.field(static=True, default="0.1.0")
    outputs: tuple[Output, ...] = eqx.field(static=True, default=(Output("signal", "gemel:toy-signal", "[arb'U]"),))
    channels: tuple[Channel, ...] = eqx.field(static=True, default=(Channel("dose", "mg"),))
    minutes: float = eqx.field(static=True, default=60.0)

    def observe(self, record, now, *, epoch=None):
        if self.fault == "remembers":  # a cache by patient that keeps the longest record it has seen
            old = _SEEN.get(record.id)
            if old is None or sum(map(len, record.series)) > sum(map(len, old.series)):
                _SEEN[record.id] = record
            record = _SEEN[record.id]
        found = self.inner.observe(record, now, epoch=epoch)
        if self.fault == "static":
            return Observed(
                found.epoch, found.data, found.plan, StaticClock(float(found.context.hour) + len(record.series[0])), found.latest
            )
        return found

    def context(self, leaves):
        return Clock(np.asarray(0.0)) if self.fault == "forgets" else self.inner.context(leaves)

    def domain(self, record, now):
        return Domain() if self.fault == "never abstains" else self.inner.domain(record, now)

    def given(self, plan, times):
        return self.inner.given(plan, times) * (0.99 if self.fault == "loses mass" else 1.0)

    def simulate(self, params, plan, times, context, *, key):
        return self.inner.simulate(params, plan, times, context, key=key)

    def residual(self, params, plan, data, context):
        if self.fault == "off by one":
            data = eqx.tree_at(lambda d: d.time, data, data.time + 4.0)
        if self.fault == "prefix mask":
            data = eqx.tree_at(lambda d: d.mask, data, jnp.arange(data.mask.shape[0]) < data.mask.sum())
        r = self.inner.residual(params, plan, data, context)
        if self.fault == "padding":
            r = r + 1e-3 * data.value.mean()
        return r / 0.8 if self.fault == "narrow" else r

    def log_likelihood(self, params, plan, data, context):
        r = self.residual(params, plan, data, context)
        value = -0.5 * jnp.sum(r**2) + masked_sum(jnp.full_like(r, -0.5 * jnp.log(2 * jnp.pi)) - jnp.log(self.inner.noise), data.mask)
        if self.fault == "gradient":
            beyond = jnp.maximum(params["level"] - 1000.0, 0.0)
            value = value - jnp.where(beyond > 0, jnp.sqrt(beyond), 0.0)
        return value

    def measure(self, params, output, *, key):
        if self.fault == "ignores key":
            key = jax.random.key(0)
        if self.fault == "not repeatable":
            return output + np.random.default_rng().normal(size=output.shape)
        return self.inner.measure(params, output, key=key)


def weak_prior() -> Prior:
    return Prior.of(
        (
            Parameter("level", "[arb'U]", Identity(), 10.0, 2.0, "ASSUMED", "signal at midnight"),
            Parameter("rhythm", "[arb'U]", Identity(), 0.0, 1.5, "ASSUMED", "daily amplitude"),
            Parameter("response", "[arb'U]/mg", Log(), -0.7, 0.5, "ASSUMED", "rise per milligram, positive"),
        )
    )


def weak_model() -> LinearModel:
    """The linear toy with a positive response and readings of much noise: the prior's density matters."""
    return LinearModel(prior=weak_prior(), noise=jnp.asarray(40.0))


class DroppedJacobian(AbstractModel):
    """A density written for the response itself and used for its logarithm: the log-Jacobian is missing."""

    drop: float = eqx.field(static=True, default=1.0)
    inner: LinearModel = eqx.field(default_factory=weak_model)
    prior: Prior = eqx.field(default_factory=weak_prior)
    id: str = eqx.field(static=True, default="toy-linear")
    version: str = eqx.field(static=True, default="0.1.0")
    outputs: tuple[Output, ...] = eqx.field(static=True, default=(Output("signal", "gemel:toy-signal", "[arb'U]"),))
    channels: tuple[Channel, ...] = eqx.field(static=True, default=(Channel("dose", "mg"),))
    minutes: float = eqx.field(static=True, default=60.0)

    def observe(self, record, now, *, epoch=None):
        return self.inner.observe(record, now, epoch=epoch)

    def context(self, leaves):
        return self.inner.context(leaves)

    def domain(self, record, now):
        return self.inner.domain(record, now)

    def simulate(self, params, plan, times, context, *, key):
        return self.inner.simulate(params, plan, times, context, key=key)

    def log_likelihood(self, params, plan, data, context):
        r = self.inner.residual(params, plan, data, context)
        return masked_sum(normal(r, 0.0, 1.0), data.mask) - self.drop * jnp.log(params["response"])

    def measure(self, params, output, *, key):
        return self.inner.measure(params, output, key=key)


class PriorMethod(AbstractMethod):
    """Returns the prior, whatever the data."""

    @property
    def name(self):
        return "prior"

    @property
    def validity(self):
        return "none"

    def run(self, target, *, key, progress=None):
        draws = jax.vmap(lambda k: target.start(key=k))(jax.random.split(key, 200))
        return Inference(Ensemble.equal(draws), {}, 0, self.name, self.validity)


def _with(fault: str, **changes) -> Room:
    return replace(linear_room, build=lambda: Faulty(fault=fault, **changes))


def weak_room(drop: float = 1.0) -> Room:
    def person(key):
        return simulate_linear(key, model=weak_model())

    return replace(linear_room, build=lambda: DroppedJacobian(drop=drop), method=lambda: Laplace(resample=True), simulate_record=person)


@dataclass(frozen=True)
class Broken:
    """A broken room, the promise it breaks, and words of the message that must come."""

    room: Callable[[], Room]
    check: str
    words: str
    replicas: int | None = None


def unphysiological() -> Prior:
    usual = linear_prior()
    return Prior.of([replace(p, scale=500.0) if p.name == "level" else p for p in usual.parameters])


BROKEN: dict[str, Broken] = {
    "likelihood sd x 0.8": Broken(lambda: _with("narrow"), "calibration", "not uniform", 200),
    "dropped Jacobian": Broken(weak_room, "calibration", "'response' are not uniform", 150),
    "off-by-one time": Broken(lambda: _with("off by one"), "calibration", "not uniform", 60),
    "posterior equal to prior": Broken(
        lambda: replace(linear_room, method=PriorMethod), "calibration", "ranks of 'log likelihood' are not uniform", 60
    ),
    "ignores its key": Broken(lambda: _with("ignores key"), "keys", "another key gave the same reading"),
    "not deterministic": Broken(lambda: _with("not repeatable"), "keys", "the same key gave another reading"),
    "NaN gradient": Broken(lambda: _with("gradient"), "transforms", "the gradient is not finite"),
    "wrong unit": Broken(
        lambda: _with("", outputs=(Output("signal", "gemel:toy-signal", "mg"),)), "manifest", "unit of code and manifest differ"
    ),
    "uses facts recorded later": Broken(lambda: _with("remembers"), "look-ahead", "recorded later changed"),
    "padding leaks": Broken(lambda: _with("padding"), "padding", "padding leaks into the log likelihood"),
    "static patient data": Broken(lambda: _with("static"), "compilation", "something patient-specific is static"),
    "does not abstain": Broken(lambda: _with("never abstains"), "abstention", "does not abstain outside its domain"),
    "state lost on save": Broken(lambda: _with("forgets"), "storage", "saving what was loaded gives other bytes"),
    "mass not conserved": Broken(lambda: _with("loses mass"), "conservation", "not conserved: all doses count"),
    "unphysiological prior": Broken(lambda: _with("", prior=unphysiological()), "prior", "the prior is not physiological"),
    "explanation misses the cause": Broken(lambda: _with("prefix mask"), "explanation", "misses the datum that decides"),
}
