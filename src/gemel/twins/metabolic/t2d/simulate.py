"""People drawn from the type 2 model, SIMULATED wherever they show.

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

from gemel.core.code import Code
from gemel.core.record import Demographics, Exposure, PatientRecord, Quantity
from gemel.core.series import ABOVE, BELOW, EXACT, Series
from gemel.core.time import DAY, HOUR, MINUTE, to_ns
from gemel.engine.keys import stream
from gemel.engine.model import pack, unpack
from gemel.engine.plan import Plan
from gemel.twins.metabolic import observe as shared
from gemel.twins.metabolic.priors import fixed as shared_constant
from gemel.twins.metabolic.t2d import observe
from gemel.twins.metabolic.t2d.model import Type2Model

__all__ = ["START", "simulate_person", "simulate_record"]

START = to_ns("2026-01-05T00:00:00Z")
METFORMIN, ACARBOSE = Code.parse("atc:A10BA02"), Code.parse("atc:A10BF01")
CHECKED_DAYS, DAYS = 2.0, 5.0
_MEALS = ((7.5, 40.0), (12.5, 60.0), (18.5, 60.0))
_SMALLER = 0.4
"""Share of these meals in calibration checks."""


def _life(rng: np.random.Generator, days: float, share: float = 1.0) -> list[Exposure]:
    """Return three meals a day, metformin with two of them, acarbose with all of some people's."""
    facts = []
    with_acarbose = rng.random() < 0.5
    for day in range(int(np.ceil(days))):
        for number, (hour, grams) in enumerate(_MEALS):
            start = START + day * DAY + round((hour + rng.normal(0, 0.5)) * HOUR) // MINUTE * MINUTE
            if start >= START + round(days * DAY):
                continue
            amount = float(np.round(share * grams * np.exp(rng.normal(0, 0.3))))
            facts.append(Exposure(code=shared.CARBOHYDRATE, quantity=Quantity(value=amount, unit="g"), start=start, source="simulated"))
            if number != 1:
                facts.append(Exposure(code=METFORMIN, quantity=Quantity(value=500.0, unit="mg"), start=start, source="simulated"))
            if with_acarbose:
                facts.append(Exposure(code=ACARBOSE, quantity=Quantity(value=50.0, unit="mg"), start=start, source="simulated"))
    return facts


def _generator(key: PRNGKeyArray) -> np.random.Generator:
    return np.random.default_rng(int(np.asarray(jax.random.key_data(stream(key, "life"))).astype(np.uint32)[-1]))


@eqx.filter_jit
def _drawn(model: Type2Model, plan: Plan, context: observe.Context, key: PRNGKeyArray):
    """Return a prior draw and readings at the end of every slot: trajectory, Ornstein-Uhlenbeck error from its stationary law, white noise."""
    params = model.prior.constrain(model.prior.draw(1, key=stream(key, "truth"))[0])
    path = model.trajectory(params, plan, context).body.IG
    keep = jnp.exp(-model.slot / model.error_minutes)
    white = jax.random.normal(stream(key, "slow error"), (path.shape[0] + 1,))

    def move(e, w):
        e = keep * e + model.error_sd * jnp.sqrt(1 - keep**2) * w
        return e, e

    slow = jax.lax.scan(move, model.error_sd * white[0], white[1:])[1]
    return params, path + slow + model.nugget_sd * jax.random.normal(stream(key, "nugget"), path.shape)


def simulate_record(key: PRNGKeyArray) -> tuple[PatientRecord, int, Mapping[str, float]]:
    """Return two days of a person drawn from the prior, read every fifteen minutes, *now*, and the truth.

    Meals are small, so that nearly all draws of the prior stay within the sensor's range: what leaves it is censored, and a censored reading enters the
    likelihood only approximately. The first reading is given, not scored: the likelihood is conditional on it.
    """
    model, rng = Type2Model(), _generator(key)
    first = float(np.round(rng.uniform(110.0, 190.0)))
    begun = Series(code=shared.CGM[0], unit="mg/dL", time=np.array([START]), value=np.array([first]), source="simulated")
    bare = PatientRecord(id=f"simulated-{rng.integers(2**32):08x}", demographics=Demographics(age=58.0)).with_facts(
        begun, *_life(rng, CHECKED_DAYS, _SMALLER)
    )
    now = START + round(CHECKED_DAYS * DAY)
    seen = model.observe(bare, now, epoch=START)
    params, shown = _drawn(model, seen.plan, seen.context, key)
    index = np.arange(2, round(CHECKED_DAYS * 1440 / model.slot), 3)
    time = START + np.round((index + 1) * model.slot).astype(np.int64) * MINUTE
    cgm = Series(code=shared.CGM[0], unit="mg/dL", time=time, value=np.asarray(shown)[index], source="simulated")
    return bare.with_facts(cgm), now, {name: float(x) for name, x in params.items()}


@eqx.filter_jit
def _run(model: Type2Model, z, inputs, context, key):
    params = model.prior.constrain(z)
    count = context.end.shape[0]
    noise = jax.random.normal(key, (count + 1, model.noise_size))
    like = model.initial(params, jnp.asarray([jnp.nan]), 0.3 * noise[-1])

    def slot(vector, item):
        u, here, e = item
        moved = model.advance(params, unpack(like, vector), u[None], here, e)
        return pack(moved), model.emit(params, moved)[0]

    return jax.lax.scan(slot, pack(like), (inputs, context, noise[:count]))[1]


def simulate_person(key: PRNGKeyArray, *, days: float = DAYS) -> tuple[PatientRecord, int, Mapping[str, float]]:
    """Return a person with meals, drugs and a CGM that reads every five minutes for some days, *now*, and the truth."""
    model, rng = Type2Model(), _generator(key)
    z = model.prior.mean + 0.5 * (model.prior.draw(1, key=stream(key, "truth"))[0] - model.prior.mean)
    person = PatientRecord(id=f"simulated-{rng.integers(2**32):08x}", demographics=Demographics(age=58.0)).with_facts(*_life(rng, days))
    now = START + round(days * DAY)
    slots = model.slots(person, now, epoch=START)
    context = model.slot_context(model.observe(person, now, epoch=START), 1, slots.count - 1)
    glucose = np.asarray(_run(model, z, jnp.asarray(slots.inputs[1:]), context, stream(key, "noise")))
    low, high = shared_constant("sensor_low"), shared_constant("sensor_high")
    reading = np.clip(glucose + np.asarray(model.noise_sd(glucose)) * rng.normal(size=len(glucose)), low, high)
    censored = np.where(reading <= low, BELOW, np.where(reading >= high, ABOVE, EXACT))
    time = START + (1 + np.arange(len(reading))) * 5 * MINUTE
    cgm = Series(code=shared.CGM[0], unit="mg/dL", time=time, value=reading, censored=censored, source="simulated")
    return person.with_facts(cgm), int(time[-1]), {name: float(v) for name, v in model.prior.constrain(z).items()}
