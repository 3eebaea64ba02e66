"""Stomach and gut of Dalla Man 2006 (doi:10.1109/TBME.2006.883792): two compartments of the stomach, one of the gut, emptying that depends on what is left.

Shared by the twins that eat real meals. Amounts of carbohydrate in **mg**, time in minutes. The amount of the meal, ``D`` in the paper, is part of the
input and not of the equations: it is constant while nothing is eaten, and :func:`meal_amount` says how it moves from step to step.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["Emptying", "appearance", "emptying_rate", "gut_flows", "meal_amount"]

LARGEST_EXPONENT = 300.0
"""Where an exponential is cut off, so that no product of two overflows: its logistic function is 0 there to the last bit."""


class Emptying(eqx.Module):
    """How the stomach empties during one meal: what does not change with its content, so that a rate costs two exponentials and one division.

    Half the difference of two hyperbolic tangents is a difference of two logistic functions of the content; these are their slopes and offsets.
    """

    slope_full: Array
    offset_full: Array
    slope_empty: Array
    offset_empty: Array
    kmin: Array
    kmax: Array

    @classmethod
    def of(cls, meal: Array, *, kmin: Array, kmax: Array, b: Array, d: Array) -> Emptying:
        """Prepare a meal. Parameters as in :func:`emptying_rate`; without a meal both functions are equal, which leaves ``kmax``."""
        is_meal = meal > 0.0
        share = jnp.where(is_meal, 5.0 / jnp.where(is_meal, meal, 1.0), 0.0)
        return cls(
            share * (1.0 / (1.0 - b)),
            jnp.where(is_meal, 5.0 * b * (1.0 / (1.0 - b)), 0.0),
            share * (1.0 / d),
            jnp.where(is_meal, 5.0, 0.0),
            kmin,
            kmax,
        )

    def rate(self, stomach: Array) -> Array:
        """Return ``kgut`` (1/min) at a content of the stomach (mg)."""
        full = jnp.exp(jnp.minimum(self.offset_full - self.slope_full * stomach, LARGEST_EXPONENT))
        empty = jnp.exp(jnp.minimum(self.offset_empty - self.slope_empty * stomach, LARGEST_EXPONENT))
        return self.kmax + (self.kmax - self.kmin) * (empty - full) / ((1.0 + full) * (1.0 + empty))


def emptying_rate(stomach: Array, meal: Array, *, kmin: Array, kmax: Array, b: Array, d: Array) -> Array:
    """Return ``kgut`` (1/min): fast while the stomach is full, slow in between, fast again when it is nearly empty.

    Parameters
    ----------
    stomach : carbohydrate in the stomach, solid and liquid, mg.
    meal : ``D``, what the stomach held when the meal began and what has been eaten of it since, mg; where it is zero, the stomach empties at ``kmax``.
    kmin, kmax : 1/min.
    b, d : shares of the meal left in the stomach at which emptying has slowed down, and sped up again, half way.

    References
    ----------
    Dalla Man, Camilleri & Cobelli 2006, doi:10.1109/TBME.2006.883792, eq. (9)-(11), written for the share ``stomach / meal``.

    Examples
    --------
    >>> round(float(emptying_rate(0.0, 0.0, kmin=0.008, kmax=0.0558, b=0.82, d=0.01)), 4)
    0.0558
    """
    return Emptying.of(meal, kmin=kmin, kmax=kmax, b=b, d=d).rate(stomach)


def gut_flows(
    solid: Array, liquid: Array, gut: Array, *, eaten: Array, meal: Array, kmin: Array, kmax: Array, kabs: Array, b: Array, d: Array
) -> tuple[Array, Array, Array]:
    """Return the derivatives of the solid and liquid content of the stomach and of the content of the gut, mg/min.

    Parameters
    ----------
    solid, liquid, gut : ``Qsto1``, ``Qsto2``, ``Qgut``, mg.
    eaten : carbohydrate eaten now, mg/min.
    meal, kmin, kmax, b, d : as in :func:`emptying_rate`.
    kabs : absorption from the gut, 1/min.
    """
    emptied = emptying_rate(solid + liquid, meal, kmin=kmin, kmax=kmax, b=b, d=d) * liquid
    ground = kmax * solid
    return eaten - ground, ground - emptied, emptied - kabs * gut


def appearance(gut: Array, *, kabs: Array, f: Array, weight: Array) -> Array:
    """Return ``Ra``, glucose that appears in plasma, mg/kg/min: the share ``f`` of what leaves the gut, per kg of body weight."""
    return gut * (f * kabs / weight)  # what does not change over a day stands together: the compiler takes it out of the loop


def meal_amount(meal: Array, stomach: Array, *, before: Array, eaten: Array) -> Array:
    """Return the amount of the meal during a step in which ``eaten`` mg are eaten, given the amount and the stomach at its start, all mg.

    A meal begins in a step in which something is eaten after one (``before``) in which nothing was: what the stomach still holds then counts as part of it.
    Between meals the amount stays.
    """
    begins = (eaten > 0.0) & (before <= 0.0)
    return jnp.where(begins, stomach, meal) + eaten
