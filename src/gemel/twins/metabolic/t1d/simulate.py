"""People for whom the truth is known, SIMULATED wherever they show. Two kinds, not to be mixed up:

:func:`simulate_record` draws the truth from the prior and the readings from the very process that the likelihood assumes, for calibration checks;
:func:`simulate_person` lets a virtual person live, all of whose parameters are their own, behind a simulated sensor.
"""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from gemel.core.record import Demographics, Exposure, PatientRecord, Quantity
from gemel.core.series import Series
from gemel.core.time import DAY, HOUR, MINUTE, to_ns
from gemel.engine.keys import stream
from gemel.engine.plan import Plan
from gemel.twins.metabolic import observe as shared
from gemel.twins.metabolic.sensor import GUARDIAN, Sensor, cgm_series
from gemel.twins.metabolic.t1d.model import T1DModel
from gemel.twins.metabolic.t1d.observe import Context
from gemel.twins.metabolic.t1d.priors import VirtualPerson, constant, people, typical
from gemel.twins.metabolic.t1d.virtual import basal_rate, bolus, eaten, parameters_of, simulate

__all__ = ["START", "simulate_person", "simulate_record"]

START = to_ns("2026-01-05T00:00:00Z")
_MEALS = ((7.0, 45.0), (12.0, 70.0), (19.0, 80.0))
_CHECKED_DAYS = 2.0
_SMALL_MEALS = ((7.5, 30.0), (12.5, 40.0), (19.0, 40.0))


@eqx.filter_jit
def _drawn(model: T1DModel, plan: Plan, context: Context, key: PRNGKeyArray):
    """Return a prior draw and readings at the end of every slot: trajectory, Ornstein-Uhlenbeck error from its stationary law, white noise."""
    z = model.prior.draw(1, key=stream(key, "truth"))[0]
    path = model.trajectory(model.prior.constrain(z), plan, context)
    keep = jnp.exp(-model.slot / model.error_minutes)
    e = model.error_sd * jax.random.normal(stream(key, "slow error"), path.shape)

    def slot(before, fresh):
        now = keep * before + jnp.sqrt(1 - keep**2) * fresh
        return now, now

    slow = jnp.concatenate([e[:1], jax.lax.scan(slot, e[0], e[1:])[1]])
    return z, path + slow + model.nugget_sd * jax.random.normal(stream(key, "white error"), path.shape)


def _generator(key: PRNGKeyArray) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(stream(key, "life"))).astype(np.uint32).tolist())


def _exposure(code, value: float, unit: str, start: int, end: int | None = None, recorded: int | None = None) -> Exposure:
    extra = {k: v for k, v in (("end", end), ("recorded", recorded)) if v is not None}
    return Exposure(code=code, quantity=Quantity(value=value, unit=unit), start=start, source="simulated", **extra)


def simulate_record(key: PRNGKeyArray, *, model: T1DModel | None = None) -> tuple[PatientRecord, int, Mapping[str, float]]:
    """Draw a person for calibration checks: the truth from the prior, the readings from the process that the likelihood assumes.

    Two days with small meals, boluses for them and the basal rate of a typical adult (which says nothing of the truth), so that nearly all draws of the
    prior stay within the sensor's range: what leaves it is censored, and a censored reading enters the likelihood only approximately. The first reading is
    given, not scored: the likelihood is conditional on it too.

    Returns
    -------
    The record, the time of its last reading, and the true parameters.
    """
    m = T1DModel() if model is None else model
    rng = _generator(key)
    slot = round(m.slot * MINUTE)
    n = round(_CHECKED_DAYS * DAY) // slot
    adult = typical("adult")
    weight = float(np.round(adult["BW"] * np.exp(rng.normal(0, 0.15))))
    p = parameters_of(
        [VirtualPerson("typical", 40.0, 10.0, 40.0, 40.0, {k: v for k, v in adult.items() if k not in ("Fcns", "ke1", "ke2", "HEb", "f")})]
    )
    hourly = round(float(basal_rate(p)[0]) * 60.0 * weight / adult["BW"], 2)
    exposures = [_exposure(shared.FAST, hourly, "[iU]/h", START - DAY, START + round((_CHECKED_DAYS + 1) * DAY), START - DAY)]
    for day in range(int(np.ceil(_CHECKED_DAYS))):
        for hour, grams in _SMALL_MEALS:
            start = START + day * DAY + round((hour + rng.uniform(-0.5, 0.5)) * HOUR) // MINUTE * MINUTE
            amount = float(np.round(grams * rng.uniform(0.7, 1.3)))
            exposures.append(_exposure(shared.CARBOHYDRATE, amount, "g", start))
            exposures.append(_exposure(shared.FAST, round(amount / 15.0, 1), "[iU]", start))
    time = START + np.arange(n + 1) * slot
    now = int(time[-1])
    value = np.full(n + 1, 110.0 + 60.0 * rng.uniform())
    person = PatientRecord(id=f"simulated-{rng.integers(2**32):08x}", demographics=Demographics(age=40.0)).with_facts(
        *(e for e in exposures if e.start <= now),
        Series(code=shared.WEIGHT, unit="kg", time=np.array([START - DAY]), value=np.array([weight]), source="simulated"),
    )

    def cgm() -> Series:
        return Series(code=shared.CGM[0], unit="mg/dL", time=time, value=value, source="simulated")

    seen = m.observe(person.with_facts(cgm()), now)  # plan and context depend on the first reading only
    z, readings = _drawn(m, seen.plan, jax.tree.map(np.asarray, seen.context), key)
    value[1:] = np.asarray(readings)[:n]
    return person.with_facts(cgm()), now, {name: float(v) for name, v in m.prior.constrain(z).items()}


def simulate_person(
    key: PRNGKeyArray, *, who: VirtualPerson | str = "adult#001", days: float = 3.0, sensor: Sensor = GUARDIAN, meal_error: float = 0.0,
    overdose: float = 1.0,
) -> tuple[PatientRecord, int, np.ndarray]:  # fmt: skip
    """Let a virtual person live for some days behind a sensor: three meals a day at varying hours and sizes, each with its bolus, under a steady basal rate.

    Parameters
    ----------
    key : of meals and noise.
    who : a virtual person, or one of the thirty by name.
    days : how long.
    sensor : what reads glucose.
    meal_error : standard deviation, on the log scale, of what is announced against what is eaten.
    overdose : factor of every bolus against the announced carbohydrate over the person's ratio.

    Returns
    -------
    The record (what was announced and read), the time of its last reading, and true subcutaneous glucose after every minute.
    """
    person = people()[who] if isinstance(who, str) else who
    rng = _generator(key)
    minutes = round(days * 1440)
    p = parameters_of([person])
    rate = float(basal_rate(p)[0])
    meals, doses = [], []
    exposures = [_exposure(shared.FAST, rate * 60.0, "[iU]/h", START - DAY, START + round((days + 1) * DAY), START - DAY)]
    for day in range(int(np.ceil(days))):
        for hour, grams in _MEALS:
            at = round(60.0 * (24.0 * day + hour + rng.normal(0, 0.5)))
            amount = float(np.round(grams * np.exp(rng.normal(0, 0.3))))
            told = float(np.round(amount * np.exp(meal_error * rng.normal())))
            units = round(overdose * told / person.carbohydrate_ratio, 1)
            if at >= minutes:
                continue
            meals.append((at, amount))
            doses.append((at, units))
            start = START + at * MINUTE
            exposures.append(_exposure(shared.CARBOHYDRATE, told, "g", start, start + round(amount / constant("eating_rate") * MINUTE)))
            exposures.append(_exposure(shared.FAST, units, "[iU]", start))
    insulin = rate + bolus(doses, minutes)
    glucose = simulate(p, insulin[:, None], eaten(meals, minutes)[:, None], every=1)[:, 0]
    at = 1.0 + np.arange(minutes)
    cgm = cgm_series(START, at, glucose, key=stream(key, "sensor"), sensor=sensor)
    weight = Series(
        code=shared.WEIGHT, unit="kg", time=np.array([START - DAY]), value=np.array([person.parameters["BW"]]), source="simulated"
    )
    record = PatientRecord(id=f"simulated-{person.name.replace('#', '-')}", demographics=Demographics(age=person.age)).with_facts(
        *exposures, weight, cgm
    )
    return record, int(cgm.time[-1]), glucose
