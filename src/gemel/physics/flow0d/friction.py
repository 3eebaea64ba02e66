"""Friction of laminar flow in tubes, and the pressure that a wire reads."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["static_pressure", "taper_resistance", "viscosity_of_haematocrit"]

Number = Float[Array, "..."] | float


def taper_resistance(length: Number, first_radius: Number, last_radius: Number, viscosity: Number) -> Float[Array, "..."]:
    """Return the resistance of a tube whose radius changes linearly, Poiseuille's law integrated exactly: Pa s/m^3.

    ``8 mu L (r1^2 + r1 r2 + r2^2) / (3 pi r1^3 r2^3)``. A length of zero gives zero, a radius of zero an infinite resistance (an occlusion);
    derivatives stay finite in the first case and are zero in the second.

    Parameters
    ----------
    length, first_radius, last_radius : m, not negative. viscosity : Pa s.

    >>> import math
    >>> abs(float(taper_resistance(0.01, 1e-3, 1e-3, 4e-3)) / (8 * 4e-3 * 0.01 / (math.pi * 1e-12)) - 1) < 1e-15
    True
    """
    length, first, last = jnp.asarray(length), jnp.asarray(first_radius), jnp.asarray(last_radius)
    is_open = (first > 0) & (last > 0)
    a, b = jnp.where(is_open, first, 1.0), jnp.where(is_open, last, 1.0)
    open_resistance = 8.0 * viscosity * length * (a * a + a * b + b * b) / (3.0 * jnp.pi * (a * b) ** 3)
    return jnp.where(is_open, open_resistance, jnp.where(length > 0, jnp.inf, 0.0))


def static_pressure(total: Number, flow: Number, radius: Number, density: Number, kinetic_factor: Number = 1.0) -> Float[Array, "..."]:
    """Return the static pressure from the total one, Pa: ``p_total - 0.5 rho a (Q/A)^2``.

    Parameters
    ----------
    total : Pa. flow : m^3/s. radius : m, positive. density : kg/m^3.
    kinetic_factor : 1 for a flat profile of velocity, 2 for a parabolic one.
    """
    speed = flow / (jnp.pi * jnp.asarray(radius) ** 2)
    return total - 0.5 * density * kinetic_factor * speed**2


def viscosity_of_haematocrit(haematocrit: Number) -> Float[Array, "..."]:
    """Return the viscosity of blood, Pa s, from the share of red cells: ``1.2e-3 exp(2.31 Hct)``.

    ASSUMED: the two constants stand in the platform's specification without a primary source that we could read; a twin that uses them must say so.
    """
    return 1.2e-3 * jnp.exp(2.31 * jnp.asarray(haematocrit))
