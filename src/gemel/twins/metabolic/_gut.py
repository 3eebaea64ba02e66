"""Stomach and gut of Dalla Man 2006 (doi:10.1109/TBME.2006.883792): two compartments of the stomach, one of the gut, emptying that depends on what is left.

Shared by the twins that eat real meals. Amounts of carbohydrate in **mg**, time in minutes. The amount of the meal, ``D`` in the paper, is part of the
input and not of the equations: it is constant while nothing is eaten, and :func:`meal_amount` says how it moves from step to step.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["appearance", "emptying_rate", "gut_flows", "meal_amount"]


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
    eaten = meal > 0.0
    share = jnp.where(eaten, stomach / jnp.where(eaten, meal, 1.0), 0.0)
    full = jnp.tanh(2.5 * (share - b) / (1.0 - b))
    empty = jnp.tanh(2.5 * (share - d) / d)
    return jnp.where(eaten, kmin + 0.5 * (kmax - kmin) * (full - empty + 2.0), kmax)


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
    return f * kabs * gut / weight


def meal_amount(meal: Array, stomach: Array, *, before: Array, eaten: Array) -> Array:
    """Return the amount of the meal during a step in which ``eaten`` mg are eaten, given the amount and the stomach at its start, all mg.

    A meal begins in a step in which something is eaten after one (``before``) in which nothing was: what the stomach still holds then counts as part of it.
    Between meals the amount stays.
    """
    begins = (eaten > 0.0) & (before <= 0.0)
    return jnp.where(begins, stomach, meal) + eaten
