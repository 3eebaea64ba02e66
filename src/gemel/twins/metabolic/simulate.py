"""People drawn from the room's own model: for tests, for calibration checks, and for a demonstration without data. SIMULATED wherever it shows."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.record import Demographics, Exposure, PatientRecord, Quantity
from gemel.core.series import ABOVE, BELOW, EXACT, Series
from gemel.core.time import DAY, HOUR, MINUTE, to_ns
from gemel.engine.keys import stream
from gemel.engine.model import pack, unpack
from gemel.twins.metabolic import observe
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.priors import fixed

__all__ = ["START", "simulate_record"]

START = to_ns("2026-01-05T00:00:00Z")
DAYS = 5.0
_MEALS = ((7.5, 45.0), (12.5, 70.0), (19.0, 80.0))


@eqx.filter_jit
def _run(model: MetabolicModel, z, inputs, context, key):
    params = model.prior.constrain(z)
    count = context.window.shape[0]
    like = model.initial(params, jnp.asarray([jnp.nan]), jnp.zeros(model.noise_size))
    noise = jax.random.normal(key, (count + 1, model.noise_size))
    state = model.initial(params, jnp.asarray([jnp.nan]), noise[-1] * 0.3)

    def slot(vector, item):
        k, here, e = item
        recent = jax.lax.dynamic_slice_in_dim(inputs, k, model.lags + 1)
        moved = model.advance(params, unpack(like, vector), recent, here, e)
        return pack(moved), model.emit(params, moved)[0]

    return jax.lax.scan(slot, pack(state), (jnp.arange(count), context, noise[:count]))[1]


def simulate_record(key: PRNGKeyArray, *, days: float = DAYS, model: MetabolicModel | None = None) -> tuple[PatientRecord, int, Mapping[str, float]]:
    """Draw a person: parameters from the prior, meals and boluses of a day repeated with variation, CGM with noise and limits.

    Returns
    -------
    The record, a moment shortly after its last reading, and the true parameters.
    """
    m = MetabolicModel() if model is None else model
    rng = np.random.default_rng(int(np.asarray(jax.random.key_data(stream(key, "life"))).astype(np.uint32)[-1]))
    # Half the width of the prior: people as one meets them; draws whose glucose leaves the sensor's range for days are no patients.
    z = m.prior.mean + 0.5 * (m.prior.draw(1, key=stream(key, "truth"))[0] - m.prior.mean)
    carbs, insulin = [], []
    for day in range(int(np.ceil(days))):
        for hour, grams in _MEALS:
            start = START + day * DAY + round((hour + rng.normal(0, 0.5)) * HOUR) // MINUTE * MINUTE
            amount = float(np.round(grams * np.exp(rng.normal(0, 0.3))))
            carbs.append(Exposure(code=observe.CARBOHYDRATE, quantity=Quantity(value=amount, unit="g"), start=start, source="simulated"))
            insulin.append(Exposure(code=observe.FAST, quantity=Quantity(value=round(amount / 12.0, 1), unit="[iU]"), start=start, source="simulated"))
    rate = Exposure(code=observe.FAST, quantity=Quantity(value=0.8, unit="[iU]/h"), start=START - DAY, end=START + round((days + 1) * DAY), recorded=START - DAY, source="simulated")
    person = PatientRecord(id=f"simulated-{rng.integers(2**32):08x}", demographics=Demographics(age=40.0)).with_facts(*carbs, *insulin, rate)
    now = START + round(days * DAY)
    slots = m.slots(person, now, epoch=START)
    observed = m.observe(person, now, epoch=START)
    context = m.slot_context(observed, 1, slots.count - 1)
    inputs = slots.window(1, slots.count, lags=m.lags).inputs[: slots.count - 1 + m.lags]
    glucose = np.asarray(_run(m, z, jnp.asarray(inputs), context, stream(key, "noise")))
    reading = np.clip(glucose + fixed("sensor_sd") * rng.normal(size=len(glucose)), fixed("sensor_low"), fixed("sensor_high"))
    censored = np.where(reading <= fixed("sensor_low"), BELOW, np.where(reading >= fixed("sensor_high"), ABOVE, EXACT))
    time = START + (1 + np.arange(len(reading))) * 5 * MINUTE
    cgm = Series(code=observe.CGM[0], unit="mg/dL", time=time, value=reading, censored=censored, source="simulated")
    truth = {name: float(v) for name, v in m.prior.constrain(z).items()}
    return person.with_facts(cgm), int(time[-1]), truth
