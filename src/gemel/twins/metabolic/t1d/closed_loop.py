"""A virtual person, a sensor, and a controller that decides every five minutes: simulation only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gemel.twins.metabolic._controller import SAMPLE, Action, Patient
from gemel.twins.metabolic._gut import meal_amount
from gemel.twins.metabolic.t1d._cascade import cascade, minute
from gemel.twins.metabolic.t1d._uva_padova import PMOL_PER_UNIT, resting, sensed

__all__ = ["LIMITS", "Law", "Loop", "close", "days_of_meals", "patients"]

LIMITS = (39.0, 600.0)
"""What the sensor can show, mg/dL, as in simglucose's sensors."""
_MINUTES = round(SAMPLE)

_MEALS = (
    ("breakfast", 0.95, 7.0, 1.0, 5.0, 9.0, 45.0, 10.0), ("snack", 0.3, 9.5, 0.5, 9.0, 10.0, 10.0, 5.0), ("lunch", 0.95, 12.0, 1.0, 10.0, 14.0, 70.0, 10.0),
    ("snack", 0.3, 15.0, 0.5, 14.0, 16.0, 10.0, 5.0), ("dinner", 0.95, 18.0, 1.0, 16.0, 20.0, 80.0, 10.0), ("snack", 0.3, 21.5, 0.5, 20.0, 23.0, 10.0, 5.0),
)  # fmt: skip
"""Name, probability, hour and its deviation between bounds, grams and their deviation: the random scenario of simglucose 0.2.11."""


class Law(Protocol):
    """A controller of one person."""

    def begin(self, reading: Array) -> Any:
        """Return what is carried."""
        ...

    def decide(self, state: Any, reading: Array, announced: Array) -> tuple[Action, Any]:
        """Return what is given for five minutes."""
        ...


class Loop(eqx.Module):
    """What happened: glucose after every minute (mg/dL); readings, rates (U/min) and boluses (U) every five."""

    glucose: Float[Array, "minute person"]
    reading: Float[Array, "sample person"]
    rate: Float[Array, "sample person"]
    bolus: Float[Array, "sample person"]


def patients(p: Mapping[str, Array], grams_per_unit: Float[Array, " person"], drop_per_unit: Float[Array, " person"]) -> Patient:
    """Return what a clinic knows of people with these completed parameters."""
    return Patient(jnp.asarray(p["u2ss"] * p["BW"] / PMOL_PER_UNIT), jnp.asarray(grams_per_unit), jnp.asarray(drop_per_unit))


def days_of_meals(rng: np.random.Generator, days: int) -> list[tuple[float, float]]:
    """Draw meals ``(minute, g)`` of so many days: three meals and three snacks, each with its probability, hour and size."""
    out = []
    for day in range(days):
        for _, chance, hour, spread, early, late, grams, deviation in _MEALS:
            if rng.uniform() >= chance:
                continue
            at = rng.normal(hour, spread)
            while not early <= at <= late:
                at = rng.normal(hour, spread)
            amount = max(round(rng.normal(grams, deviation)), 0)
            if amount:
                out.append((day * 1440.0 + round(at * 60.0), float(amount)))
    return out


def _loop(law: Law, p: dict[str, Array], food: Array, announced: Array, noise: Array) -> Loop:
    c, start, grams = cascade(p), resting(p), food * 1000.0
    first = jnp.clip(sensed(start, p) + noise[0], *LIMITS)

    def step(carry, item):
        state, meal, before, law_state = carry
        eaten, told, wrong = item
        reading = jnp.clip(sensed(state, p) + wrong, *LIMITS)
        action, law_state = law.decide(law_state, reading, told)

        def one(inner, k):
            x, amount, last = inner
            now = eaten[k]
            amount = meal_amount(amount, x.solid + x.liquid, before=last, eaten=now)
            given = (action.rate + jnp.where(k == 0, action.bolus, 0.0)) * (PMOL_PER_UNIT / p["BW"])
            x, _ = minute(x, (given, now, amount), p, c)
            return (x, amount, now), sensed(x, p)

        (state, meal, before), path = jax.lax.scan(one, (state, meal, before), jnp.arange(_MINUTES))
        return (state, meal, before, law_state), (path, reading, action.rate, action.bolus)

    zero = jnp.zeros(())
    inputs = (grams.reshape(-1, _MINUTES), announced, noise)
    _, (path, reading, rate, bolus) = jax.lax.scan(step, (start, zero, zero, law.begin(first)), inputs)
    return Loop(path.reshape(-1), reading, rate, bolus)


@eqx.filter_jit
def close(
    law: Law, p: dict[str, Float[Array, " person"]], food: Float[Array, "minute person"], announced: Float[Array, "sample person"],
    noise: Float[Array, "sample person"],
) -> Loop:  # fmt: skip
    """Close the loop on many people at once.

    Parameters
    ----------
    law : a controller whose arrays have a leading axis of people.
    p : completed parameters.
    food : carbohydrate eaten, g/min.
    announced : carbohydrate told to the controller, g, in the sample in which the meal begins.
    noise : of the sensor, mg/dL.
    """
    return eqx.filter_vmap(_loop, in_axes=(eqx.if_array(0), 0, 1, 1, 1), out_axes=1)(law, p, food, announced, noise)
