"""People drawn from the room's own model, SIMULATED wherever they show. Two kinds, not to be mixed up:

:func:`simulate_record` draws the truth from the prior and the readings from the very process that the likelihood assumes, for calibration checks;
:func:`simulate_person` draws people as one meets them, with unannounced appearance of glucose and a sensor, for a demonstration without data.
"""

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
from gemel.engine.plan import Plan
from gemel.twins.metabolic import observe
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.priors import fixed

__all__ = ["START", "simulate_person", "simulate_record"]

START = to_ns("2026-01-05T00:00:00Z")
DAYS = 5.0
_MEALS = ((7.5, 45.0), (12.5, 70.0), (19.0, 80.0))
_CHECKED_DAYS = 2.0
_SMALL_MEALS = ((7.5, 30.0), (12.5, 40.0), (19.0, 40.0))


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


@eqx.filter_jit
def _drawn(model: MetabolicModel, plan: Plan, context: observe.Context, key: PRNGKeyArray):
    """Return a prior draw and readings at the end of every slot: trajectory, Ornstein-Uhlenbeck error from its stationary law, white noise."""
    z = model.prior.draw(1, key=stream(key, "truth"))[0]
    params = model.prior.constrain(z)
    path = model.trajectory(params, plan, context).IG
    keep = jnp.exp(-model.slot / model.error_minutes)
    e = model.error_sd * jax.random.normal(stream(key, "slow error"), path.shape)
    first = e[0]

    def slot(before, fresh):
        now = keep * before + jnp.sqrt(1 - keep**2) * fresh
        return now, now

    slow = jnp.concatenate([first[None], jax.lax.scan(slot, first, e[1:])[1]])
    return z, path + slow + model.nugget_sd * jax.random.normal(stream(key, "white error"), path.shape)


def simulate_record(key: PRNGKeyArray, *, model: MetabolicModel | None = None) -> tuple[PatientRecord, int, Mapping[str, float]]:
    """Draw a person for calibration checks: the truth from the prior, the readings from the process that the likelihood assumes.

    Two days with small meals and small boluses, so that nearly all draws of the prior stay within the sensor's range: what leaves it is censored, and
    a censored reading enters the likelihood only approximately. The first reading is given, not scored: the likelihood is conditional on it too.

    Returns
    -------
    The record, the time of its last reading, and the true parameters.
    """
    m = MetabolicModel() if model is None else model
    rng = np.random.default_rng(np.asarray(jax.random.key_data(stream(key, "life"))).astype(np.uint32).tolist())
    slot = round(m.slot * MINUTE)
    n = round(_CHECKED_DAYS * DAY) // slot
    exposures = []
    for day in range(int(np.ceil(_CHECKED_DAYS))):
        for hour, grams in _SMALL_MEALS:
            start = START + day * DAY + round((hour + rng.uniform(-0.5, 0.5)) * HOUR) // MINUTE * MINUTE
            amount = float(np.round(grams * rng.uniform(0.7, 1.3)))
            dose = {"code": observe.FAST, "quantity": Quantity(value=round(amount / 60.0, 1), unit="[iU]")}
            exposures.append(
                Exposure(code=observe.CARBOHYDRATE, quantity=Quantity(value=amount, unit="g"), start=start, source="simulated")
            )
            exposures.append(Exposure(**dose, start=start, source="simulated"))
    time = START + np.arange(n + 1) * slot
    now = int(time[-1])
    value = np.full(n + 1, 100.0 + 60.0 * rng.uniform())
    person = PatientRecord(id=f"simulated-{rng.integers(2**32):08x}", demographics=Demographics(age=40.0)).with_facts(
        *(e for e in exposures if e.start <= now)
    )

    def cgm() -> Series:
        return Series(code=observe.CGM[0], unit="mg/dL", time=time, value=value, source="simulated")

    seen = m.observe(person.with_facts(cgm()), now)  # plan and context depend on the first reading only
    z, readings = _drawn(m, seen.plan, jax.tree.map(np.asarray, seen.context), key)
    value[1:] = np.asarray(readings)[:n]
    return person.with_facts(cgm()), now, {name: float(v) for name, v in m.prior.constrain(z).items()}


def simulate_person(
    key: PRNGKeyArray, *, days: float = DAYS, model: MetabolicModel | None = None
) -> tuple[PatientRecord, int, Mapping[str, float]]:
    """Draw a person as one meets them: parameters from the inner half of the prior, meals and boluses of a day repeated with variation, CGM with noise and limits.

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
            insulin.append(
                Exposure(code=observe.FAST, quantity=Quantity(value=round(amount / 12.0, 1), unit="[iU]"), start=start, source="simulated")
            )
    rate = Exposure(
        code=observe.FAST,
        quantity=Quantity(value=0.8, unit="[iU]/h"),
        start=START - DAY,
        end=START + round((days + 1) * DAY),
        recorded=START - DAY,
        source="simulated",
    )
    person = PatientRecord(id=f"simulated-{rng.integers(2**32):08x}", demographics=Demographics(age=40.0)).with_facts(
        *carbs, *insulin, rate
    )
    now = START + round(days * DAY)
    slots = m.slots(person, now, epoch=START)
    observed = m.observe(person, now, epoch=START)
    context = m.slot_context(observed, 1, slots.count - 1)
    inputs = slots.window(1, slots.count, lags=m.lags).inputs[: slots.count - 1 + m.lags]
    glucose = np.asarray(_run(m, z, jnp.asarray(inputs), context, stream(key, "noise")))
    noise = np.asarray(m.noise_sd(glucose)) * rng.normal(size=len(glucose))
    reading = np.clip(glucose + noise, fixed("sensor_low"), fixed("sensor_high"))
    censored = np.where(reading <= fixed("sensor_low"), BELOW, np.where(reading >= fixed("sensor_high"), ABOVE, EXACT))
    time = START + (1 + np.arange(len(reading))) * 5 * MINUTE
    cgm = Series(code=observe.CGM[0], unit="mg/dL", time=time, value=reading, censored=censored, source="simulated")
    truth = {name: float(v) for name, v in m.prior.constrain(z).items()}
    return person.with_facts(cgm), int(time[-1]), truth
