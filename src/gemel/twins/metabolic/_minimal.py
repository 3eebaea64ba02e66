"""The minimal identification model: equations of Cappon et al. 2023 (doi:10.1109/TBME.2023.3286856), states by name.

Glucose in mg/dL, amounts per kg of body weight, minutes. Carbohydrate of breakfast, lunch and dinner runs through a gut of its own,
because their absorption rates differ; the stomach empties at one rate.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gemel.twins.metabolic.priors import fixed

__all__ = ["PAST", "WINDOWS", "MinimalState", "basal_insulin", "bounded", "delayed", "delayed_now", "derivative", "gain", "resting"]

WINDOWS = ("breakfast", "lunch", "dinner")
"""Meal windows of the local day: breakfast 4-11 h, lunch 11-17 h, dinner else."""

PAST = 14
"""Earlier five-minute slots whose inputs still matter: a delay of up to an hour and the width of the spline."""


class MinimalState(eqx.Module):
    """States: plasma glucose ``G`` and interstitial ``IG`` (mg/dL), insulin action ``X`` (1/min), carbohydrate in stomach (solid,
    liquid) and gut per window (mg/kg), insulin under the skin ``I1 I2`` and in plasma ``Ip`` (mU/kg), unannounced appearance (mg/dL/min).
    """

    G: Array
    X: Array
    IG: Array
    I1: Array
    I2: Array
    Ip: Array
    solid_breakfast: Array
    liquid_breakfast: Array
    gut_breakfast: Array
    solid_lunch: Array
    liquid_lunch: Array
    gut_lunch: Array
    solid_dinner: Array
    liquid_dinner: Array
    gut_dinner: Array
    appearance: Array


def gain(G: Array, Gb: Array) -> Array:
    """Return rho(G): insulin acts more strongly below basal glucose, down to 60 mg/dL.

    Its slope is zero at ``Gb``; at 60 mg/dL it is held. Both sides of each ``where`` stay finite.
    """
    r1, r2 = fixed("r1"), fixed("r2")
    low = jnp.clip(G, fixed("rho_floor"), None)
    low = jnp.minimum(low, jnp.maximum(Gb, fixed("rho_floor")))
    difference = jnp.log(low) ** r2 - jnp.log(Gb) ** r2
    return jnp.where(G >= Gb, 1.0, 1.0 + 10.0 * r1**2 * difference**2)


def bounded(rate: Array) -> Array:
    """Return a rate (1/min) that cannot exceed 0.9 in size, unchanged below 0.3 (to 2e-5).

    Nobody clears most of his glucose, or empties his stomach, in a minute; draws of the prior can, and would make the fixed step unstable.
    """
    return rate / jnp.sqrt(jnp.sqrt(jnp.sqrt(1.0 + (rate / 0.9) ** 8)))  # a general power costs a third of the whole model


def basal_insulin(rate: Array) -> Array:
    """Return plasma insulin (mU/kg) at rest under a constant basal rate (mU/kg/min)."""
    return rate / fixed("ke")


def derivative(time: Array, s: MinimalState, inputs: tuple[Array, ...], parameters: dict[str, Array]) -> MinimalState:
    """Right-hand side.

    ``inputs`` are (insulin mU/kg/min, carbohydrate mg/kg/min of breakfast, lunch and dinner, insulin sensitivity mL/uU/min of this moment,
    basal insulin rate mU/kg/min); constant over a step.
    """
    del time
    insulin, *meals, sensitivity, basal = inputs
    p = parameters
    kempt, kd, f, VG = bounded(p["kempt"]), bounded(p["kd"]), fixed("f"), fixed("VG")
    flows = {}
    rate = 0.0
    for window, meal in zip(WINDOWS, meals, strict=True):
        solid, liquid, gut = getattr(s, f"solid_{window}"), getattr(s, f"liquid_{window}"), getattr(s, f"gut_{window}")
        kabs = bounded(p[f"kabs_{window}"])
        flows[f"solid_{window}"] = -kempt * solid + meal
        flows[f"liquid_{window}"] = kempt * (solid - liquid)
        flows[f"gut_{window}"] = kempt * liquid - kabs * gut
        rate = rate + kabs * gut
    return MinimalState(
        G=-bounded(p["SG"] + gain(s.G, p["Gb"]) * s.X) * s.G + p["SG"] * p["Gb"] + f * rate / VG + s.appearance,
        X=-p["p2"] * (s.X - sensitivity / fixed("VI") * (s.Ip - basal_insulin(basal))),
        IG=-(s.IG - s.G) / fixed("alpha"),
        I1=-kd * s.I1 + insulin,
        I2=kd * s.I1 - p["ka2"] * s.I2,
        Ip=p["ka2"] * s.I2 - fixed("ke") * s.Ip,
        appearance=jnp.zeros_like(s.appearance),
        **flows,
    )


def resting(G: Array, basal: Array, parameters: dict[str, Array]) -> MinimalState:
    """Return the state of a person who has not eaten, at glucose ``G`` and in balance with a basal rate (mU/kg/min)."""
    zero = jnp.zeros_like(jnp.asarray(G, float))
    guts = {f"{part}_{window}": zero for part in ("solid", "liquid", "gut") for window in WINDOWS}
    return MinimalState(
        G=jnp.asarray(G, float), X=zero, IG=jnp.asarray(G, float), I1=basal / bounded(parameters["kd"]) + zero, I2=basal / parameters["ka2"] + zero,
        Ip=basal_insulin(basal) + zero, appearance=zero, **guts,
    )  # fmt: skip


def _spline(offset: Array) -> tuple[Array, Array, Array, Array]:
    """Weights of the cubic B-spline on four neighbouring points, ``0 <= offset < 1`` past the second. They sum to one."""
    t = offset
    return (1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6


def delayed(rates: Float[Array, " step"], by: Array, step: float) -> Float[Array, " step"]:
    """Return rates on a uniform grid, later by ``by`` minutes (at least one step, at most ``PAST - 2`` of them), amounts conserved.

    The cubic B-spline makes the result twice differentiable in the delay, so that it can be found by gradient; nothing of a later step is used.
    """
    shift = by / step
    whole = jnp.floor(shift)
    padded = jnp.concatenate([jnp.zeros(PAST * 5, rates.dtype), rates])
    first = PAST * 5 - whole.astype(int) - 2
    parts = [jax.lax.dynamic_slice_in_dim(padded, first + j, rates.shape[0]) for j in range(4)]
    a, b, c, d = (w * x for w, x in zip(_spline(1.0 - (shift - whole)), parts, strict=True))
    return a + b + c + d


def delayed_now(column: Float[Array, " lag"], by: Array, step: float) -> Array:
    """Return the last value of :func:`delayed` from the rates of the last ``PAST`` steps and this one: the streaming form."""
    shift = by / step
    whole = jnp.floor(shift)
    taken = jax.lax.dynamic_slice_in_dim(column, column.shape[0] - 3 - whole.astype(int), 4)
    a, b, c, d = (w * x for w, x in zip(_spline(1.0 - (shift - whole)), taken, strict=True))
    return a + b + c + d
