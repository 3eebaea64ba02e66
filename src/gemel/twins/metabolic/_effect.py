"""What a changed dose or meal does to the glucose that was there: the equations written for the difference between two lives.

The glucose of the recorded life is known, so what drove it beside the logged inputs need not be: as an input of its own it is the same in the other life and cancels out
(the residual signal of replay methods, Hughes et al. 2021, doi:10.1177/1932296820973193, which there is found by deconvolution). What is left is linear in the
change but for insulin's action on tissue, which grows with the glucose that is there:

    e'  = -k e - (1 - h) [(X + dX)(G + e) - X G] - h G_ref dH + f v dRa / VG         (mg/dL; G recorded, e the difference)
    X'  = -p (X - SI*/VI (Ip - Ip_basal))        tissue: on the glucose that is there
    dH' = -q (dH - SI*/VI dIp)                   liver: on production, whatever glucose is, and slowly

The publication has one action and lets glucose return at the rate that a day of data leaves uncertain; here the return is slow and a share ``h`` of insulin's action is on the
liver, as in the larger models (Dalla Man et al. 2007, doi:10.1109/TBME.2007.893506).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gemel.twins.metabolic.priors import fixed

__all__ = ["Inputs", "Response", "difference"]


@dataclass(frozen=True)
class Inputs:
    """What acts on glucose in one life.

    Parameters
    ----------
    insulin : (draw, slot) mU/kg, plasma insulin above that of the basal rate.
    appearance : (draw, slot) mg/kg/min, carbohydrate leaving the gut.
    """

    insulin: Float[np.ndarray, "draw slot"]
    appearance: Float[np.ndarray, "draw slot"]


@dataclass(frozen=True)
class Response:
    """How a body answers to a change (see ``effect_*`` in ``priors.py``).

    Parameters
    ----------
    back, tissue, liver : 1/min, return of glucose, and rates at which insulin's two actions follow it.
    share : of insulin's action that is on the liver, 0 to 1.
    sensitivity : mL/u[iU]/min, effective insulin sensitivity of whoever is identified at ``SI_REFERENCE``.
    power : by which it follows the identified one.
    appearance : of carbohydrate, against the equations'.
    """

    back: float
    tissue: float
    liver: float
    share: float
    sensitivity: float
    power: float
    appearance: float

    @classmethod
    def known(cls) -> Response:
        """Return the room's constants."""
        return cls(**{name: fixed(f"effect_{name}") for name in cls.__dataclass_fields__})


SI_REFERENCE = 6.76e-4
"""mL/u[iU]/min: only where the power is taken from."""
GLUCOSE_REFERENCE = 120.0
"""mg/dL at which both actions are equally strong."""


def difference(
    glucose: Float[np.ndarray, "draw slot"], recorded: Inputs, other: Inputs, sensitivity: Float[np.ndarray, "draw slot"], *, slot: float,
    response: Response | None = None,
) -> Float[np.ndarray, "draw slot"]:  # fmt: skip
    """Integrate the difference of interstitial glucose between another life and the recorded one.

    Parameters
    ----------
    glucose : mg/dL of the recorded life.
    recorded, other : what acted, and what would have.
    sensitivity : mL/u[iU]/min as identified, per slot.
    slot : minutes; inputs and rates are constant over one.

    Returns
    -------
    (draw, slot) mg/dL, at the end of every slot.
    """
    r = response or Response.known()
    scale = r.sensitivity * (sensitivity / SI_REFERENCE) ** r.power / fixed("VI")
    drive, changed = scale * recorded.insulin, scale * (other.insulin - recorded.insulin)
    meal = r.appearance * fixed("f") / fixed("VG") * (other.appearance - recorded.appearance)
    glucose, drive, changed, meal = (np.ascontiguousarray(x.T) for x in (glucose, drive, changed, meal))
    back, tissue, liver, lag = (np.exp(-slot * k) for k in (r.back, r.tissue, r.liver, 1.0 / fixed("alpha")))
    gain = (1.0 - back) / r.back
    X, dX, dH, e, seen = (np.zeros(glucose.shape[1], glucose.dtype) for _ in range(5))
    out = np.empty(glucose.shape)
    for t in range(len(glucose)):
        X, dX = tissue * X + (1.0 - tissue) * drive[t], tissue * dX + (1.0 - tissue) * changed[t]
        dH = liver * dH + (1.0 - liver) * changed[t]
        force = meal[t] - (1.0 - r.share) * dX * glucose[t] - r.share * GLUCOSE_REFERENCE * dH
        pull = np.maximum(gain * (1.0 - r.share) * (X + dX), -0.5)  # implicit, so that strong insulin cannot make a long step swing
        e = (back * e + gain * force) / (1.0 + pull)
        seen = lag * seen + (1.0 - lag) * e
        out[t] = seen
    return out.T
