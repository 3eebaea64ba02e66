"""The meal model with a beta cell: Dalla Man, Rizza & Cobelli 2007 (doi:10.1109/TBME.2007.893506), states by name, per minute.

Glucose in mg/kg, insulin in pmol/kg, carbohydrate in mg. Symbols are the paper's; ``priors.TABLE`` maps each to words and unit. Thresholds are
spread over widths that change no published figure. Subcutaneous insulin (``under_skin``) is that of the UVA/Padova simulator.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from gemel.twins.metabolic._gut import appearance, gut_flows
from gemel.twins.metabolic._smooth import ramp
from gemel.twins.metabolic.t2d.priors import fixed

__all__ = ["Drive", "MealState", "at_rest", "basal_production", "derivative", "held_at", "insulin_of", "secretion_at_rest"]


class MealState(eqx.Module):
    """States.

    ``Gp``, ``Gt`` : glucose in plasma and tissue. ``IG`` : interstitial glucose, mg/dL. ``Il``, ``Ip`` : insulin in liver and plasma. ``Ipo`` : in the portal
    vein. ``Y`` : delayed secretion, pmol/kg/min. ``I1``, ``Id`` : delayed insulin, ``X`` remote insulin, pmol/L. ``solid``, ``liquid``, ``gut`` :
    carbohydrate. ``first``, ``second`` : insulin under the skin.
    """

    Gp: Array
    Gt: Array
    IG: Array
    Il: Array
    Ip: Array
    Ipo: Array
    Y: Array
    I1: Array
    Id: Array
    X: Array
    solid: Array
    liquid: Array
    gut: Array
    first: Array
    second: Array


class Drive(eqx.Module):
    """Inputs, constant over a step: carbohydrate (mg/min), amount of the meal (mg), injected insulin (pmol/kg/min), unannounced glucose (mg/kg/min)."""

    eaten: Array
    meal: Array
    insulin: Array
    unannounced: Array


def secretion_at_rest(p: dict[str, Array]) -> Array:
    """Return ``Sb`` (pmol/kg/min): from hepatic extraction at rest, times the factor ``secreting`` where beta-cell function has changed since."""
    return p["secreting"] * (p["m6"] - p["HEb"]) / p["m5"]


def insulin_of(secretion: Array, injected: Array, p: dict[str, Array]) -> tuple[Array, Array]:
    """Return insulin in liver and plasma (pmol/kg) in balance with a secretion and an injected rate (pmol/kg/min)."""
    extraction = p["m6"] - p["m5"] * secretion
    degraded = p["m1"] / (1.0 - extraction)  # m1 + m3
    plasma = (secretion + degraded / p["m1"] * injected) / (degraded * (p["m2"] + p["m4"]) / p["m1"] - p["m2"])
    return ((p["m2"] + p["m4"]) * plasma - injected) / p["m1"], plasma


def basal_production(p: dict[str, Array]) -> Array:
    """Return production of glucose at the basal state of a column, mg/kg/min."""
    return p["kp1"] - p["kp2"] * p["Gb"] * p["Vg"] - p["kp3"] * p["Ib"] - p["kp4"] * secretion_at_rest(p) / p["gamma"]


def _renal(Gp: Array, p: dict[str, Array]) -> Array:
    return p["ke1"] * ramp(Gp - p["ke2"], fixed("renal_width"))


def at_rest(p: dict[str, Array], production: Array) -> dict[str, Array]:
    """Return the parameters with ``Ib``, ``kp1`` and ``Vm0`` such that the person rests at ``Gb`` with this production (mg/kg/min)."""
    secretion = secretion_at_rest(p)
    _, plasma = insulin_of(secretion, jnp.zeros_like(secretion), p)
    insulin = plasma / p["Vi"]
    Gp = p["Gb"] * p["Vg"]
    lost = _renal(Gp, p) + p["Fcns"]
    Gt = (lost - production + p["k1"] * Gp) / p["k2"]
    return p | {
        "Ib": insulin,
        "kp1": production + p["kp2"] * Gp + p["kp3"] * insulin + p["kp4"] * secretion / p["gamma"],
        "Vm0": (production - lost) * (p["Km0"] + Gt) / Gt,
    }


def held_at(G: Array, injected: Array, p: dict[str, Array]) -> MealState:
    """Return the state of a fasting person whose glucose has long been held at ``G`` (mg/dL), under an injected rate of insulin (pmol/kg/min)."""
    zero = jnp.zeros_like(G)
    Gp = G * p["Vg"]
    basal = secretion_at_rest(p)
    Y = ramp(p["beta"] * (G - p["Gb"]) + basal, fixed("secretion_width")) - basal
    secretion = basal + Y
    Il, Ip = insulin_of(secretion, injected, p)
    insulin = Ip / p["Vi"]
    X = insulin - p["Ib"]
    uptake = ramp(p["Vm0"] + p["Vmx"] * X, 0.01)
    half = 0.5 * (p["k1"] * Gp - uptake - p["k2"] * p["Km0"])  # k1 Gp = uptake Gt / (Km0 + Gt) + k2 Gt
    Gt = (half + jnp.sqrt(half**2 + p["k2"] * p["Km0"] * p["k1"] * Gp)) / p["k2"]
    first = injected / (fixed("ka1") + fixed("kd"))
    return MealState(
        Gp,
        Gt,
        G + zero,
        Il,
        Ip,
        secretion / p["gamma"],
        Y,
        insulin,
        insulin,
        X,
        zero,
        zero,
        zero,
        first + zero,
        fixed("kd") * first / fixed("ka2") + zero,
    )


def derivative(time: Array, s: MealState, drive: Drive, p: dict[str, Array]) -> MealState:
    """Right-hand side; ``p`` holds the table's names, ``weight`` (kg) among them."""
    del time
    G, insulin = s.Gp / p["Vg"], s.Ip / p["Vi"]
    solid, liquid, gut = gut_flows(
        s.solid, s.liquid, s.gut, eaten=drive.eaten, meal=drive.meal, kmin=p["kmin"], kmax=p["kmax"], kabs=p["kabs"], b=p["b"], d=p["d"]
    )
    appears = appearance(s.gut, kabs=p["kabs"], f=p["f"], weight=p["weight"])
    production = ramp(p["kp1"] - p["kp2"] * s.Gp - p["kp3"] * s.Id - p["kp4"] * s.Ipo, fixed("production_width"))
    Gp = production + appears + drive.unannounced - p["Fcns"] - _renal(s.Gp, p) - p["k1"] * s.Gp + p["k2"] * s.Gt
    uptake = ramp(p["Vm0"] + p["Vmx"] * s.X, 0.01) * s.Gt / (p["Km0"] + s.Gt)
    basal = secretion_at_rest(p)
    delayed = ramp(p["beta"] * (G - p["Gb"]) + basal, fixed("secretion_width")) - basal
    rising = p["K"] * ramp(Gp / p["Vg"], fixed("rise_width"))  # K multiplies the rate of change of glucose
    secretion = p["gamma"] * s.Ipo
    degraded = p["m1"] / (1.0 - (p["m6"] - p["m5"] * secretion))  # m1 + m3
    under_skin = fixed("ka1") * s.first + fixed("ka2") * s.second
    return MealState(
        Gp=Gp,
        Gt=-uptake + p["k1"] * s.Gp - p["k2"] * s.Gt,
        IG=(G - s.IG) / fixed("sensor_minutes"),
        Il=-degraded * s.Il + p["m2"] * s.Ip + secretion,
        Ip=-(p["m2"] + p["m4"]) * s.Ip + p["m1"] * s.Il + under_skin,
        Ipo=-secretion + s.Y + basal + rising,
        Y=-p["alpha"] * (s.Y - delayed),
        I1=-p["ki"] * (s.I1 - insulin),
        Id=-p["ki"] * (s.Id - s.I1),
        X=p["p2U"] * (insulin - p["Ib"] - s.X),
        solid=solid,
        liquid=liquid,
        gut=gut,
        first=drive.insulin - (fixed("ka1") + fixed("kd")) * s.first,
        second=fixed("kd") * s.first - fixed("ka2") * s.second,
    )
