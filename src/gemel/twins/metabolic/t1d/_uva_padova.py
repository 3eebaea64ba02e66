"""The UVA/Padova model of type 1 diabetes, S2008 with subcutaneous insulin: equations by name, and the steady state from which its people start.

Dalla Man et al. 2007 (doi:10.1109/TBME.2007.893506) and 2014 (doi:10.1177/1932296814514502); values and the form of the equations as in simglucose
(MIT). Published units: mg/kg, pmol/kg, pmol/L, minutes. Parameters keep the names of the published table; :mod:`.priors` gives each its unit.
"""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from gemel.twins.metabolic._gut import appearance, gut_flows
from gemel.twins.metabolic._smooth import ramp

__all__ = ["PMOL_PER_UNIT", "UvaPadovaState", "completed", "derivative", "glucose_flows", "insulin_flows", "resting", "sensed"]

PMOL_PER_UNIT = 6000.0
"""pmol of insulin in one unit: the convention of all these models."""
PRODUCTION_WIDTH = 0.005
"""Half width of the smooth switch at which liver production ends, mg/kg/min: no result moves by 0.01 mg/dL (tested)."""
RENAL_WIDTH = 1.0
"""Half width of the smooth switch at which the kidney begins to excrete, mg/kg: no result moves by 0.01 mg/dL (tested)."""


class UvaPadovaState(eqx.Module):
    """States: carbohydrate ``solid`` and ``liquid`` in the stomach and in the ``gut`` (Qsto1, Qsto2, Qgut, mg); glucose in plasma ``Gp``, in tissue ``Gt``
    and under the skin ``Gs`` (mg/kg); insulin in plasma ``Ip``, liver ``Il`` and the two subcutaneous compartments ``Isc1 Isc2`` (pmol/kg);
    its action on utilisation ``X`` and its delayed signals ``I1``, ``Id`` to the liver (pmol/L).
    """

    solid: Array
    liquid: Array
    gut: Array
    Gp: Array
    Gt: Array
    Gs: Array
    Ip: Array
    Il: Array
    X: Array
    I1: Array
    Id: Array
    Isc1: Array
    Isc2: Array


def completed(p: Mapping[str, Array]) -> dict[str, Array]:
    """Return parameters with those that follow from the steady state: what a person is at rest, and what keeps them there.

    Needs the free parameters of :data:`gemel.twins.metabolic.t1d.priors.FREE`. A person for whom ``Gtb`` or ``u2ss`` is not positive has no steady state
    (:func:`gemel.twins.metabolic.t1d.virtual.solvable`).

    References
    ----------
    Dalla Man 2007, doi:10.1109/TBME.2007.893506, section II-D; renal loss added where ``Gpb`` lies above ``ke2``.
    """
    Ipb, Gpb = p["Ib"] * p["Vi"], p["Gb"] * p["Vg"]
    m4, m30 = 0.4 * p["m2"], p["m1"] * p["HEb"] / (1.0 - p["HEb"])
    lost = p["ke1"] * ramp(Gpb - p["ke2"], RENAL_WIDTH)
    Gtb = (p["Fcns"] + lost - p["EGPb"] + p["k1"] * Gpb) / p["k2"]
    u2ss = (p["m2"] + m4 - p["m1"] * p["m2"] / (p["m1"] + m30)) * Ipb
    made = {
        "m4": m4, "m30": m30, "Ipb": Ipb, "Gpb": Gpb, "Gtb": Gtb, "u2ss": u2ss,
        "Ilb": p["m2"] * Ipb / (p["m1"] + m30),
        "Vm0": (p["EGPb"] - p["Fcns"] - lost) * (p["Km0"] + Gtb) / Gtb,
        "kp1": p["EGPb"] + p["kp2"] * Gpb + p["kp3"] * p["Ib"],
    }  # fmt: skip
    return {**p, **made}


def glucose_flows(
    Gp: Array, Gt: Array, Gs: Array, *, rate: Array, X: Array, Id: Array, p: Mapping[str, Array]
) -> tuple[Array, Array, Array]:
    """Return the derivatives of glucose in plasma, tissue and under the skin, mg/kg/min, given appearance from the gut and the two actions of insulin."""
    production = ramp(p["kp1"] - p["kp2"] * Gp - p["kp3"] * Id, PRODUCTION_WIDTH)
    excreted = p["ke1"] * ramp(Gp - p["ke2"], RENAL_WIDTH)
    exchanged = p["k1"] * Gp - p["k2"] * Gt
    used = (p["Vm0"] + p["Vmx"] * X) * Gt / (p["Km0"] + Gt)
    return production + rate - p["Fcns"] - excreted - exchanged, exchanged - used, p["ksc"] * (Gp - Gs)


def insulin_flows(s: UvaPadovaState, insulin: Array, p: Mapping[str, Array]) -> dict[str, Array]:
    """Return the derivatives of the seven states of insulin, which know nothing of glucose: a linear system. ``insulin`` is given in pmol/kg/min."""
    concentration = s.Ip / p["Vi"]
    return {
        "Isc1": insulin - (p["ka1"] + p["kd"]) * s.Isc1,
        "Isc2": p["kd"] * s.Isc1 - p["ka2"] * s.Isc2,
        "Ip": -(p["m2"] + p["m4"]) * s.Ip + p["m1"] * s.Il + p["ka1"] * s.Isc1 + p["ka2"] * s.Isc2,
        "Il": p["m2"] * s.Ip - (p["m1"] + p["m30"]) * s.Il,
        "X": p["p2u"] * (concentration - p["Ib"] - s.X),
        "I1": p["ki"] * (concentration - s.I1),
        "Id": p["ki"] * (s.I1 - s.Id),
    }


def derivative(time: Array, s: UvaPadovaState, inputs: tuple[Array, Array, Array], p: Mapping[str, Array]) -> UvaPadovaState:
    """Right-hand side.

    ``inputs`` are (insulin pmol/kg/min, carbohydrate eaten mg/min, amount of the meal mg), constant over a step.
    """
    del time
    insulin, eaten, meal = inputs
    solid, liquid, gut = gut_flows(
        s.solid, s.liquid, s.gut, eaten=eaten, meal=meal, kmin=p["kmin"], kmax=p["kmax"], kabs=p["kabs"], b=p["b"], d=p["d"]
    )
    rate = appearance(s.gut, kabs=p["kabs"], f=p["f"], weight=p["BW"])
    Gp, Gt, Gs = glucose_flows(s.Gp, s.Gt, s.Gs, rate=rate, X=s.X, Id=s.Id, p=p)
    return UvaPadovaState(solid=solid, liquid=liquid, gut=gut, Gp=Gp, Gt=Gt, Gs=Gs, **insulin_flows(s, insulin, p))


def resting(p: Mapping[str, Array]) -> UvaPadovaState:
    """Return the steady state of a person under basal insulin who has not eaten; ``p`` is :func:`completed`."""
    zero = jnp.zeros_like(p["Gpb"])
    first = p["u2ss"] / (p["ka1"] + p["kd"])
    return UvaPadovaState(
        solid=zero, liquid=zero, gut=zero, Gp=p["Gpb"], Gt=p["Gtb"], Gs=p["Gpb"], Ip=p["Ipb"], Il=p["Ilb"], X=zero, I1=p["Ib"] + zero, Id=p["Ib"] + zero,
        Isc1=first, Isc2=p["kd"] * first / p["ka2"],
    )  # fmt: skip


def sensed(s: UvaPadovaState, p: Mapping[str, Array]) -> Array:
    """Return what a sensor without noise shows: subcutaneous glucose, mg/dL."""
    return s.Gs / p["Vg"]
