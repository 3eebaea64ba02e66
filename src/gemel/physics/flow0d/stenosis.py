"""Losses of a narrowing: Young and Tsai, Itu, and sudden expansion. Each returns coefficients for ``dP = R Q + S Q|Q|`` (and the inertance for dQ/dt).

Never add the viscous term of Young and Tsai to the integrated Poiseuille resistance over the same length: each is the whole friction.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["LossCoefficients", "expansion_loss", "itu_loss", "quadratic_loss", "young_tsai_loss"]

Number = Float[Array, "..."] | float

# Young & Tsai 1973, doi:10.1016/0021-9290(73)90099-7, and Seeley & Young 1976, doi:10.1016/0021-9290(76)90086-5, as the platform's specification
# states them; the papers themselves were not at hand, so a twin lists these as second-hand.
TURBULENCE = 1.52
INERTIA = 1.2


class LossCoefficients(NamedTuple):
    """``resistance`` Pa s/m^3, ``quadratic`` Pa s^2/m^6, ``inertance`` Pa s^2/m^3, ``mean_resistance`` Pa s/m^3 (multiplies the cycle-mean flow)."""

    resistance: Float[Array, "..."]
    quadratic: Float[Array, "..."]
    inertance: Float[Array, "..."]
    mean_resistance: Float[Array, "..."]


def quadratic_loss(area: Number, least_area: Number, density: Number, turbulence: Number = TURBULENCE) -> Float[Array, "..."]:
    """Return the turbulent coefficient ``Kt rho/(2 A0^2) (A0/As - 1)^2`` alone, Pa s^2/m^6: to stand beside integrated friction.

    Parameters
    ----------
    area, least_area : m^2 of the reference and the narrowest section, ``least_area`` positive. density : kg/m^3.
    """
    area = jnp.asarray(area)
    return turbulence * density / (2.0 * area**2) * (area / least_area - 1.0) ** 2


def young_tsai_loss(
    radius: Number, least_radius: Number, length: Number, viscosity: Number, density: Number, turbulence: Number = TURBULENCE,
) -> LossCoefficients:  # fmt: skip
    """Return the coefficients of Young and Tsai; the viscous one replaces integrated friction over the lesion.

    Parameters
    ----------
    radius, least_radius : m, reference and narrowest, positive. length : m. viscosity : Pa s. density : kg/m^3.

    References
    ----------
    Young & Tsai 1973, doi:10.1016/0021-9290(73)90099-7; Seeley & Young 1976, doi:10.1016/0021-9290(76)90086-5: Kv = 32 (La/D0)(A0/As)^2,
    La = 0.83 Ls + 1.64 Ds, Kt = 1.52, Ku = 1.2 (second-hand, see above).
    """
    radius, least = jnp.asarray(radius), jnp.asarray(least_radius)
    area, least_area = jnp.pi * radius**2, jnp.pi * least**2
    effective = 0.83 * length + 1.64 * 2.0 * least
    viscous = 32.0 * effective / (2.0 * radius) * (area / least_area) ** 2
    return LossCoefficients(
        resistance=viscous * viscosity / (2.0 * jnp.pi * radius**3),
        quadratic=quadratic_loss(area, least_area, density, turbulence),
        inertance=INERTIA * density * length / area,
        mean_resistance=jnp.zeros_like(area * least_area),
    )


def itu_loss(
    radius: Number, least_radius: Number, length: Number, friction: Number, viscosity: Number, density: Number, frequency: Number,
    turbulence: Number = TURBULENCE,
) -> LossCoefficients:  # fmt: skip
    """Return the pulsatile coefficients of Itu; as the frequency goes to zero the viscous part becomes the integrated friction given.

    Parameters
    ----------
    radius, least_radius, length : m. friction : Pa s/m^3, Poiseuille's law integrated over the lesion. viscosity : Pa s. density : kg/m^3.
    frequency : rad/s, of the heart.

    References
    ----------
    Itu et al. 2012, doi:10.1115/1.4006681: Kv = 1 + 0.053 (As/A0) alpha^2, Kc = 0.0018 alpha^2, alpha = r0 sqrt(omega rho/mu) (second-hand: the
    specification's form; the DOI is not checked).
    """
    radius, least = jnp.asarray(radius), jnp.asarray(least_radius)
    area, least_area = jnp.pi * radius**2, jnp.pi * least**2
    squared = radius**2 * frequency * density / viscosity
    return LossCoefficients(
        resistance=(1.0 + 0.053 * least_area / area * squared) * friction,
        quadratic=quadratic_loss(area, least_area, density, turbulence),
        inertance=INERTIA * density * length / area,
        mean_resistance=0.0018 * squared * friction,
    )


def expansion_loss(
    least_area: Number, distal_area: Number, half_angle: Number, density: Number, turbulence: Number = TURBULENCE,
    *, separation_angle: Number = 0.122, softness: Number = 0.035,
) -> Float[Array, "..."]:  # fmt: skip
    """Return the loss coefficient of a widening, ``Kt rho/2 (1/As - 1/Ad)^2``, where the flow separates: Pa s^2/m^6.

    The gate ``(1 + tanh((angle - separation)/softness))/2`` is smooth, so that derivatives exist; with integrated friction beside it.

    Parameters
    ----------
    least_area, distal_area : m^2. half_angle : rad, of the widening. density : kg/m^3.
    separation_angle, softness : rad; 7 and 2 degrees, ASSUMED (the specification says "above about 7 degrees").
    """
    gate = 0.5 * (1.0 + jnp.tanh((jnp.asarray(half_angle) - separation_angle) / softness))
    return gate * turbulence * density / 2.0 * (1.0 / jnp.asarray(least_area) - 1.0 / jnp.asarray(distal_area)) ** 2
