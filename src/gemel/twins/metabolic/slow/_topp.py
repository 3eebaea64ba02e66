"""Glucose, insulin and beta-cell mass over months: Topp et al. 2000 (doi:10.1006/jtbi.2000.2150), per day, states by name.

Glucose and insulin settle within hours, mass within months: long runs use the steady state of the fast pair, which has one root.

With the published rate of mass, every healthy steady state lies at 100 mg/dL whatever the insulin sensitivity: a person with type 2 diabetes
would be cured within months by nothing at all. The twin therefore uses the fast pair alone and moves beta-cell *function* by what
``_link.py`` assumes; the whole system stands here for its verification and for who wants it.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gemel.twins.metabolic.slow.priors import fixed

__all__ = ["FIXED_POINTS", "ToppState", "derivative", "glucose_at_rest", "growth", "insulin_at_rest"]

_NEWTON = 12

FIXED_POINTS = ((100.0, 10.0, 300.0), (250.0, 2.8, 36.96), (600.0, 0.0, 0.0))
"""Glucose (mg/dL), insulin (mU/L) and mass (mg) at rest: a stable node, a saddle, and the state without beta cells."""


class ToppState(eqx.Module):
    """States: glucose (mg/dL), insulin (mU/L), beta-cell mass (mg)."""

    glucose: Array
    insulin: Array
    mass: Array


def growth(glucose: Array) -> Array:
    """Return the relative growth rate of beta-cell mass, 1/d: negative below 100 and above 250 mg/dL."""
    return -fixed("topp_d0") + fixed("topp_r1") * glucose - fixed("topp_r2") * glucose**2


def insulin_at_rest(glucose: Array, mass: Array) -> Array:
    """Return insulin (mU/L) in balance with glucose and beta-cell mass."""
    return mass * fixed("topp_sigma") / fixed("topp_k") * glucose**2 / (fixed("topp_alpha") + glucose**2)


def derivative(time: Array, s: ToppState, inputs: Array, sensitivity: Array) -> ToppState:
    """Right-hand side; ``sensitivity`` in L/mU/d. ``inputs`` is not used."""
    del time, inputs
    secretion = s.mass * fixed("topp_sigma") * s.glucose**2 / (fixed("topp_alpha") + s.glucose**2)
    return ToppState(
        glucose=fixed("topp_R0") - (fixed("topp_EG0") + sensitivity * s.insulin) * s.glucose,
        insulin=secretion - fixed("topp_k") * s.insulin,
        mass=growth(s.glucose) * s.mass,
    )


def glucose_at_rest(
    sensitivity: Float[Array, "..."],
    mass: Float[Array, "..."],
    *,
    production: Float[Array, "..."] | float | None = None,
    effectiveness: Float[Array, "..."] | float | None = None,
    infused: Float[Array, "..."] | float = 0.0,
) -> Float[Array, "..."]:
    """Return the one glucose (mg/dL) at which the fast pair rests, by Newton's method in the logarithm of glucose.

    What is cleared, ``(effectiveness + sensitivity (insulin(G) + infused)) G``, rises with G and is convex in log G: there is one root, and started
    above it the iteration falls to it. It differentiates like any other loop of fixed length.

    Parameters
    ----------
    sensitivity : L/mU/d. mass : mg. production : mg/dL/d. effectiveness : 1/d. infused : insulin from outside, mU/L.
    """
    made = jnp.asarray(fixed("topp_R0") if production is None else production, float)
    cleared = jnp.asarray(fixed("topp_EG0") if effectiveness is None else effectiveness, float)
    alpha, secretion = fixed("topp_alpha"), mass * fixed("topp_sigma") / fixed("topp_k")
    plain = cleared + sensitivity * infused

    def step(_, x):
        g = jnp.exp(x)
        squared = g**2
        lost = plain * g + sensitivity * secretion * g * squared / (alpha + squared)
        slope = plain * g + sensitivity * secretion * g * squared * (3.0 * alpha + squared) / (alpha + squared) ** 2
        return x - (lost - made) / slope

    start = jnp.log(made / plain) + jnp.zeros_like(sensitivity * secretion)
    return jnp.exp(jax.lax.fori_loop(0, _NEWTON, step, start))
