"""Adult body weight under a change of energy intake and activity: the NIDDK model, kcal, kg and days, states by name.

Hall et al. 2011, doi:10.1016/S0140-6736(11)60812-X; equations and constants as the R package ``bw`` implements them. That package adds the
rate of glycogen (kg/d) to terms in kcal/d; ``as_published`` reproduces it, the twin multiplies it by the energy density of glycogen.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from gemel.twins.metabolic.slow.priors import fixed

__all__ = ["Body", "BodyState", "balanced", "derivative", "fat", "resting", "weight"]

WATER = 3.7
"""Kilograms of glycogen and its water per kilogram of glycogen."""


class Body(eqx.Module):
    """What stays the same of one body, from its weight, height, age, sex and activity level at the start.

    ``resting`` and ``intake`` in kcal/d, ``per_weight`` kcal/d/kg, compartments in kg, ``constant`` kcal/d.
    """

    resting: Array
    intake: Array
    per_weight: Array
    per_activity: Array
    extracellular: Array
    fat: Array
    lean: Array
    carbohydrate: Array
    constant: Array


class BodyState(eqx.Module):
    """States: adaptive thermogenesis (kcal/d), extracellular fluid, glycogen and lean tissue (kg)."""

    adaptation: Array
    extracellular: Array
    glycogen: Array
    lean: Array


def balanced(weight: Array, height: Array, age: Array, is_male: Array, activity: Array) -> Body:
    """Return the body of a person in energy balance.

    Parameters
    ----------
    weight : kg. height : m. age : years. is_male : 1 for men, 0 for women; between them the equations are mixed (sex not known).
    activity : physical activity level, energy spent over resting metabolic rate.
    """
    mass_index = weight / height**2
    rate = 9.99 * weight + 625.0 * height - 4.92 * age + 166.0 * is_male - 161.0
    intake = rate * activity
    fluid = is_male * (0.025 * age + 9.57 * height + 0.191 * weight - 12.4) + (1.0 - is_male) * (-4.0 + 5.98 * height + 0.167 * weight)
    men, women = 37.31 * jnp.log(mass_index) - 103.94, 39.96 * jnp.log(mass_index) - 102.01
    fat_mass = weight / 100.0 * (0.14 * age + is_male * men + (1.0 - is_male) * women)
    lean = weight - fluid - fat_mass - WATER * fixed("glycogen")
    per_weight = ((1.0 - fixed("thermic")) * activity - 1.0) * rate / weight
    constant = intake - fixed("gamma_lean") * lean - fixed("gamma_fat") * fat_mass - per_weight * weight
    per_activity = (1.0 - fixed("thermic")) * rate / weight
    return Body(rate, intake, per_weight, per_activity, fluid, fat_mass, lean, fixed("carbohydrate_share") * intake, constant)


def resting(body: Body) -> BodyState:
    """Return the state of a body in balance."""
    return BodyState(jnp.zeros_like(body.lean), body.extracellular, jnp.full_like(body.lean, fixed("glycogen")), body.lean)


def fat(state: BodyState, body: Body) -> Array:
    """Return the fat mass that goes with the lean one (Forbes 1987): kg."""
    forbes = fixed("forbes") * fixed("rho_lean") / fixed("rho_fat")
    return body.fat * jnp.exp(fixed("rho_lean") / fixed("rho_fat") / forbes * (state.lean - body.lean))


def weight(state: BodyState, body: Body) -> Array:
    """Return body weight, kg."""
    return state.lean + fat(state, body) + state.extracellular + WATER * state.glycogen


def derivative(time: Array, s: BodyState, inputs: tuple[Array, Array, Array], body: Body, *, as_published: bool = False) -> BodyState:
    """Right-hand side.

    ``inputs`` are changes against the balance at the start: energy intake (kcal/d), sodium (mg/d), activity level.
    """
    del time
    energy, sodium, activity = inputs
    eaten = body.intake + energy
    carbohydrate = fixed("carbohydrate_share") * eaten
    glycogen = (carbohydrate - body.carbohydrate * (s.glycogen / fixed("glycogen")) ** 2) / fixed("rho_glycogen")
    stored = glycogen if as_published else fixed("rho_glycogen") * glycogen
    spent = (
        body.constant
        + (body.per_weight + body.per_activity * activity) * weight(s, body)
        + fixed("thermic") * energy
        + s.adaptation
        + fixed("gamma_lean") * s.lean
        + fixed("gamma_fat") * fat(s, body)
    )
    forbes = fixed("forbes") * fixed("rho_lean") / fixed("rho_fat")
    rate = (eaten - spent - stored) / (
        (1.0 + fixed("eta_lean") / fixed("rho_lean")) * forbes + (1.0 + fixed("eta_fat") / fixed("rho_fat")) * fat(s, body)
    )
    return BodyState(
        adaptation=(fixed("adaptation") * energy - s.adaptation) / fixed("adaptation_days"),
        extracellular=(
            sodium
            - fixed("sodium_fluid") * (s.extracellular - body.extracellular)
            - fixed("sodium_carbohydrate") * (1.0 - carbohydrate / body.carbohydrate)
        )
        / fixed("sodium"),
        glycogen=glycogen,
        lean=rate * forbes / fixed("rho_lean"),
    )
