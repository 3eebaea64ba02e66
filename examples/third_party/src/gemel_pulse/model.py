"""Pulse: ``rest + sum over bouts of rise * exp(-(t - end)/recovery)``. Minutes; every number is ASSUMED."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gemel.core import AbstentionReason, Code, Exposure, PatientRecord, Quantity, Series
from gemel.core.time import MINUTE, to_ns
from gemel.engine.data import Dataset
from gemel.engine.keys import stream
from gemel.engine.likelihood import masked_sum, normal
from gemel.engine.model import AbstractLeastSquaresModel, Domain, Observed, Output
from gemel.engine.plan import Channel, Plan
from gemel.engine.prior import Parameter, Prior
from gemel.engine.transform import Identity, Log

PULSE, EXERCISE = Code.parse("loinc:8867-4"), Code.parse("gemel:activity-level")
NOISE = 3.0  # /min, standard deviation of a reading; ASSUMED
SHORT = "ASSUMED: an example"


def prior() -> Prior:
    """What is thought possible before this person is seen."""
    return Prior.of(
        (
            Parameter("rest", "/min", Identity(), 65.0, 8.0, SHORT, "pulse at rest"),
            Parameter("rise", "/min", Log(), float(np.log(70.0)), 0.2, SHORT, "rise at the end of a bout of ten minutes"),
            Parameter("recovery", "min", Log(), float(np.log(4.0)), 0.3, SHORT, "time constant of recovery"),
        )
    )


class PulseModel(AbstractLeastSquaresModel):
    """One person's pulse."""

    prior: Prior = eqx.field(default_factory=prior)
    id: str = eqx.field(static=True, default="pulse")
    version: str = eqx.field(static=True, default="0.1.0")
    outputs: tuple[Output, ...] = eqx.field(static=True, default=(Output("pulse", "loinc:8867-4", "/min"),))
    channels: tuple[Channel, ...] = eqx.field(static=True, default=(Channel("exercise", "min"),))
    minutes: float = eqx.field(static=True, default=1.0)

    def observe(self, record, now, *, epoch=None):
        """Turn what was known at ``now`` into arrays: readings, bouts, and no context."""
        series = [s.current() for s in record.find_series(PULSE)]
        time = np.concatenate([s.time for s in series]) if series else np.zeros(0, np.int64)
        value = np.concatenate([s.values_in("/min") for s in series]) if series else np.zeros(0)
        bouts = record.find_exposures(EXERCISE)
        use = time <= now
        if epoch is None:
            epoch = min([*time[use], *(b.start for b in bouts if b.start <= now)], default=now)
        events = [((b.start - epoch) / MINUTE, (b.end - b.start) / MINUTE, (b.end - b.start) / MINUTE, 0) for b in bouts]
        data = Dataset.of((time[use] - epoch) / MINUTE, value[use])
        return Observed(int(epoch), data, Plan.of(events), (), int(time[use].max()) if use.any() else None)

    def context(self, leaves):
        """This model needs no context."""
        del leaves
        return ()

    def domain(self, record, now):
        """Abstain without a bout, without three fresh readings, or when the last one is impossible."""
        readings = [s.current() for s in record.find_series(PULSE)]
        known = [s.take(s.time <= now) for s in readings]
        if not record.find_exposures(EXERCISE) or sum(map(len, known)) < 3:
            return Domain(AbstentionReason.OUT_OF_DOMAIN, "a bout of exercise and three readings are needed")
        last = max(known, key=lambda s: s.time[-1] if len(s) else 0)
        if now - last.time[-1] > 30 * MINUTE:
            return Domain(AbstentionReason.DATA_TOO_OLD, "the last reading is older than 30 min")
        if not 30.0 <= last.values_in("/min")[-1] <= 220.0:
            return Domain(AbstentionReason.OUT_OF_DOMAIN, f"a pulse of {last.value[-1]:.0f} lies outside 30 to 220 /min")
        return Domain()

    def predicted(self, params, plan, times):
        """Return the pulse without noise."""
        since = times[:, None] - (plan.start + plan.duration)
        share = jnp.where(plan.mask & (since >= 0), plan.amount / 10.0, 0.0)
        return params["rest"] + params["rise"] * jnp.sum(share * jnp.exp(-jnp.maximum(since, 0.0) / params["recovery"]), axis=1)

    def simulate(self, params, plan, times, context, *, key):
        """Return the pulse without noise of measurement."""
        del context, key
        return self.predicted(params, plan, times)[:, None]

    def residual(self, params, plan, data, context):
        """Return observed less predicted in units of the noise; masked data are zero."""
        del context
        return jnp.where(data.mask, (data.value - self.predicted(params, plan, data.time)) / NOISE, 0.0)

    def log_likelihood(self, params, plan, data, context):
        """Normal log likelihood."""
        return masked_sum(normal(self.residual(params, plan, data, context), 0.0, 1.0) - jnp.log(NOISE), data.mask)

    def measure(self, params, output, *, key):
        """Add the noise of a reading."""
        del params
        return output + NOISE * jax.random.normal(key, output.shape)


def simulate_record(key):
    """Draw a person from the prior and readings from the likelihood: record, now, truth."""
    model, start = PulseModel(), to_ns("2026-02-01T10:00:00Z")
    params = model.prior.constrain(model.prior.draw(1, key=stream(key, "truth"))[0])
    minutes = np.concatenate([np.arange(0.0, 3.0), 13.0 + np.arange(0.0, 14.0)])
    plan = Plan.of([(3.0, 10.0, 10.0, 0)])
    value = model.measure(params, model.predicted(params, plan, minutes)[:, None], key=stream(key, "measure"))[:, 0]
    time = start + (minutes * MINUTE).astype(np.int64)
    bout = Exposure(code=EXERCISE, quantity=Quantity(value=10.0, unit="min"), start=start + 3 * MINUTE, end=start + 13 * MINUTE)
    number = int(np.asarray(jax.random.key_data(key)).astype(np.uint32)[-1])
    record = PatientRecord(id=f"simulated-{number:08x}").with_facts(
        Series(code=PULSE, unit="/min", time=time, value=np.asarray(value)), bout
    )
    return record, int(time[-1]) + MINUTE, {name: float(x) for name, x in params.items()}
