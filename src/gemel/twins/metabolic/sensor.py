"""What a simulated CGM adds to glucose: correlated noise of Johnson's SU kind, its limits, and its sampling.

The noise model and its numbers are those of simglucose (MIT), after Breton & Kovatchev 2008 (doi:10.1177/193229680800200517), who estimated it from
an early sensor: sensors of today are quieter. It serves simulation; the likelihood of a twin has an error model of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gemel.core.code import Code
from gemel.core.series import ABOVE, BELOW, EXACT, Series
from gemel.core.time import MINUTE

__all__ = ["DEXCOM", "GUARDIAN", "NAVIGATOR", "SENSORS", "Sensor", "cgm_series", "noise", "read"]

GRID = 15.0
"""Minutes between two new values of the noise."""


@dataclass(frozen=True)
class Sensor:
    """A simulated sensor.

    Parameters
    ----------
    name : what it imitates.
    cadence : minutes between readings.
    low, high : mg/dL, readings at or beyond these are censored there.
    persistence : of the noise from one value to the next, 15 minutes later.
    gamma, scale, delta, centre : Johnson SU: ``centre + scale sinh((e - gamma) / delta)``, mg/dL.
    """

    name: str
    cadence: float
    low: float
    high: float
    persistence: float = 0.7
    gamma: float = -0.5444
    scale: float = 15.9574
    delta: float = 1.6898
    centre: float = -5.47


DEXCOM = Sensor("Dexcom", 3.0, 39.0, 600.0)
GUARDIAN = Sensor("GuardianRT", 5.0, 39.0, 600.0)
NAVIGATOR = Sensor("Navigator", 1.0, 32.0, 600.0)
SENSORS = {s.name: s for s in (DEXCOM, GUARDIAN, NAVIGATOR)}
"""The sensors of the table ``sensor_params.csv`` of simglucose, by name."""


def _between(value: Float[Array, " grid"], position: Float[Array, " time"]) -> Float[Array, " time"]:
    """Return the cubic through neighbouring values (Catmull-Rom), at positions counted from the second value."""
    whole = jnp.clip(jnp.floor(position), 0, value.shape[0] - 4).astype(int)
    t = position - whole
    a, b, c, d = (value[whole + i] for i in range(4))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def noise(minutes: Float[Array, " time"], *, key: PRNGKeyArray, sensor: Sensor = GUARDIAN) -> Float[Array, " time"]:
    """Draw a sensor's noise (mg/dL) at the given minutes since it was put on, rising and not negative.

    A new value every 15 min, ``e' = persistence (e + N(0, 1))``, begun in its stationary law; between them a cubic through the neighbours. Its longest
    minute must not depend on a traced value, because it sets how many values are drawn.

    Notes
    -----
    The peer begins at one standard normal number and joins natural cubic splines of ten values each: the same law at the values, other curves between.
    """
    last = float(np.max(np.asarray(minutes))) if len(minutes) else 0.0
    count = int(np.floor(last / GRID)) + 4
    fresh = jax.random.normal(key, (count,))
    start = sensor.persistence / np.sqrt(1.0 - sensor.persistence**2) * fresh[0]

    def step(before, z):
        now = sensor.persistence * (before + z)
        return now, now

    e = jnp.concatenate([start[None], jax.lax.scan(step, start, fresh[1:])[1]])
    values = sensor.centre + sensor.scale * jnp.sinh((e - sensor.gamma) / sensor.delta)
    return _between(values, jnp.asarray(minutes) / GRID)


def read(
    glucose: Float[np.ndarray, " time"], added: Float[np.ndarray, " time"], sensor: Sensor = GUARDIAN
) -> tuple[Float[np.ndarray, " time"], np.ndarray]:
    """Return what the sensor shows of subcutaneous glucose under this noise (mg/dL), and which readings are censored at its limits."""
    shown = np.asarray(glucose) + np.asarray(added)
    censored = np.where(shown <= sensor.low, BELOW, np.where(shown >= sensor.high, ABOVE, EXACT))
    return np.clip(shown, sensor.low, sensor.high), censored


def cgm_series(
    start: int, minutes: Float[np.ndarray, " time"], glucose: Float[np.ndarray, " time"], *, key: PRNGKeyArray, sensor: Sensor = GUARDIAN
) -> Series:
    """Return the readings of a simulated sensor as a series of facts.

    Parameters
    ----------
    start : ns UTC of minute zero, when the sensor was put on.
    minutes, glucose : subcutaneous glucose (mg/dL) at rising minutes; readings are taken where these fall on the sensor's cadence.
    """
    due = np.isclose(np.mod(minutes, sensor.cadence), 0.0)
    at = np.asarray(minutes)[due]
    value, censored = read(np.asarray(glucose)[due], np.asarray(noise(at, key=key, sensor=sensor)), sensor)
    time = start + np.round(at * MINUTE).astype(np.int64)
    return Series(code=Code.parse("loinc:99504-3"), unit="mg/dL", time=time, value=value, censored=censored, source="simulated")
