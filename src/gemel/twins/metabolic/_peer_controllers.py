"""The two controllers that come with simglucose 0.2.11 (MIT), as laws that can be mapped over people: what a closed loop is compared with.

Both see a reading and announced carbohydrate every five minutes, as :class:`gemel.twins.metabolic._controller.Controller` does. They know no wall.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from gemel.twins.metabolic._controller import SAMPLE, Action, Patient

__all__ = ["BasalBolus", "Pid", "PidState"]

TARGET, CORRECT_ABOVE = 140.0, 150.0


class BasalBolus(eqx.Module):
    """The programmed rate, and with each meal ``carbohydrate / CR``, plus ``(reading - 140) / CF`` above 150 mg/dL."""

    patient: Patient

    def begin(self, reading: Array) -> Array:
        """Nothing is carried."""
        return jnp.zeros_like(reading)

    def decide(self, state: Array, reading: Array, announced: Array) -> tuple[Action, Array]:
        """Return rate (U/min) and bolus (U)."""
        p = self.patient
        correction = jnp.where(reading > CORRECT_ABOVE, (reading - TARGET) / p.drop_per_unit, 0.0)
        bolus = jnp.where(announced > 0, announced / p.grams_per_unit + correction, 0.0)
        return Action(p.basal + 0.0 * reading, bolus), state


class PidState(eqx.Module):
    """Integral and last reading."""

    integral: Array
    before: Array


class Pid(eqx.Module):
    """Proportional, integral and derivative action on the reading; meals are not told to it. Gains as in simglucose's example."""

    patient: Patient
    proportional: float = 0.001
    integral: float = 0.00001
    derivative: float = 0.001

    def begin(self, reading: Array) -> PidState:
        """Start with nothing integrated; as in simglucose, the reading before the first is zero."""
        return PidState(jnp.zeros_like(reading), jnp.zeros_like(reading))

    def decide(self, state: PidState, reading: Array, announced: Array) -> tuple[Action, PidState]:
        """Return a rate (U/min), not below zero, and no bolus."""
        del announced
        gap = reading - TARGET
        rate = self.proportional * gap + self.integral * state.integral + self.derivative * (reading - state.before) / SAMPLE
        return Action(jnp.maximum(rate, 0.0), jnp.zeros_like(reading)), PidState(state.integral + gap * SAMPLE, reading)
