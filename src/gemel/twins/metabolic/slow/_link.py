"""From weight and drugs to glucose: insulin sensitivity and beta-cell function follow weight, glucose follows both.

``SI = SI0 exp(kS loss)``; beta-cell function gains ``recovery * logistic((loss - half_loss)/width)`` after a lag, less so the longer diabetes has
lasted, and loses ``decline`` a year; drugs change production, clearance, sensitivity and function by their class. All of it is ASSUMED.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gemel.twins.metabolic.slow._topp import glucose_at_rest
from gemel.twins.metabolic.slow.priors import DRUGS, fixed

__all__ = ["Course", "course", "gain", "multipliers"]


class Course(eqx.Module):
    """Day by day: insulin sensitivity and beta-cell function against the healthy ones, and fasting glucose (mg/dL)."""

    sensitivity: Float[Array, " day"]
    function: Float[Array, " day"]
    fasting: Float[Array, " day"]


def gain(loss: Float[Array, "..."], duration: Array, p: dict[str, Array]) -> Float[Array, "..."]:
    """Return the relative gain of beta-cell function that a relative weight loss leads to in the end; exactly 0 at no loss."""
    width = fixed("recovery_width")
    able = p["recovery"] * jnp.exp(-duration / fixed("recovery_duration"))
    return able * (jax.nn.sigmoid((loss - p["half_loss"]) / width) - jax.nn.sigmoid(-p["half_loss"] / width))


def multipliers(shares: Float[Array, "... drug"], response: Array) -> dict[str, Float[Array, "..."]]:
    """Return what drugs do, from their shares of the defined daily dose: factors, and the clearance that is added (1/d).

    The effect saturates: twice the dose has 4/3 of the effect.
    """
    acting = jnp.asarray(response)[..., None] * 2.0 * shares / (1.0 + shares)
    table = list(DRUGS.values())

    def factor(name: str) -> Array:
        return jnp.exp(acting @ jnp.asarray([getattr(d, name) for d in table]))

    return {name: factor(name) for name in ("production", "sensitivity", "function")} | {
        "effectiveness": acting @ jnp.asarray([d.effectiveness for d in table])
    }


def course(
    p: dict[str, Array],
    loss: Float[Array, " day"],
    recovered: Float[Array, " day"],
    shares: Float[Array, "day drug"],
    insulin: Float[Array, " day"],
) -> Course:
    """Return sensitivity, function and fasting glucose of each day.

    Parameters
    ----------
    p : parameters. loss : relative weight loss since the start. recovered : the gain of beta-cell function reached so far.
    shares : of the defined daily dose, per class of :data:`DRUGS`. insulin : injected, [iU]/d.
    """
    years = jnp.arange(1, loss.shape[0] + 1) / 365.25
    does = multipliers(shares, p["response"])
    sensitivity = p["sensitivity"] * jnp.exp(p["kS"] * loss)
    function = p["function"] * (1.0 + recovered) * jnp.exp(-p["decline"] * years)
    fasting = glucose_at_rest(
        fixed("topp_SI") * sensitivity * does["sensitivity"],
        fixed("topp_mass") * function * does["function"],
        production=fixed("topp_R0") * does["production"],
        effectiveness=fixed("topp_EG0") + does["effectiveness"],
        infused=insulin / fixed("units_per_level"),
    )
    return Course(sensitivity, function, fasting)
