"""The size looked at again while arms stay hidden: standard deviation and R² of the prognosis from pooled data, size from information.

Information is counted once: what is needed is ``((z_a + z_b) / effect)^2``, what a patient brings is ``p (1 - p) / residual variance``, and the residual
variance already holds what the prognosis explains. A plan that shrank its size by R² and then takes this variance times (1 - R²) counts the gain twice.

References
----------
Gould and Shih 1992, doi:10.1080/03610929208830947; Kieser and Friede 2003, doi:10.1002/sim.1585 (blinded one-sample variance).
Mehta and Tsiatis 2001, doi:10.1177/009286150103500407 (information-based design). Friede and Kieser 2011, doi:10.1002/sim.3989 (with a covariate).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import DataError

__all__ = ["Blinded", "Reestimated", "blinded", "blinded_many", "needed", "reestimate"]


@dataclass(frozen=True)
class Blinded:
    """What pooled data say.

    Parameters
    ----------
    patients : with an outcome so far.
    sd : of the outcome within arm, if the planned effect holds. ``residual_sd``: around the line on the prognosis, the same.
    r_squared : one less the ratio of their squares, not below 0.
    """

    patients: int
    sd: float
    residual_sd: float
    r_squared: float


@dataclass(frozen=True)
class Reestimated:
    """A size looked at again.

    Parameters
    ----------
    n : total with an outcome, between the limits. ``wanted``: without the limits.
    information : needed at the end; ``reached``: so far, as a share of it.
    planned : total before. ``seen`` : what it rests on.
    """

    n: int
    wanted: float
    information: float
    reached: float
    planned: int
    seen: Blinded


def blinded_many(
    outcome: Float[np.ndarray, "trial patient"], prognosis: Float[np.ndarray, "trial patient"] | None, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return pooled variance and residual variance of each trial, both less ``spread``, what the planned effect adds."""
    y = outcome - outcome.mean(axis=1, keepdims=True)
    n = y.shape[1]
    whole = (y**2).sum(axis=1)
    rest, lost = whole, 1
    if prognosis is not None:
        x = prognosis - prognosis.mean(axis=1, keepdims=True)
        bottom = np.maximum((x**2).sum(axis=1), 1e-300)
        rest, lost = whole - (x * y).sum(axis=1) ** 2 / bottom, 2
    return np.maximum(whole / (n - 1) - spread, 1e-12 * whole / n), np.maximum(rest / (n - lost) - spread, 1e-12 * whole / n)


def blinded(
    outcome: Float[np.ndarray, " patient"],
    prognosis: Float[np.ndarray, " patient"] | None,
    *,
    planned_effect: float = 0.0,
    allocation: float = 1.0,
) -> Blinded:
    """Return standard deviation and R² from pooled data, without knowledge of the arms.

    Parameters
    ----------
    outcome, prognosis : of the patients so far; the locked prognosis, or None.
    planned_effect : it spreads pooled outcomes by ``p (1 - p) effect^2``, which is taken off; 0 keeps it, on the safe side.
    allocation : treated per control patient.

    Raises
    ------
    DataError
        For fewer than ten patients, values that are not finite, or outcomes that do not vary.
    """
    y = np.asarray(outcome, float)
    x = None if prognosis is None else np.asarray(prognosis, float)
    if y.ndim != 1 or len(y) < 10 or not np.isfinite(y).all() or (x is not None and (x.shape != y.shape or not np.isfinite(x).all())):
        raise DataError(
            "a blinded look needs ten patients or more with finite values",
            seen=f"{y.shape} outcomes",
            expected="one outcome and one prognosis each",
        )
    if np.ptp(y) == 0:
        raise DataError("the outcomes do not vary", seen=float(y[0]), expected="outcomes of more than one value")
    share = allocation / (1 + allocation)
    whole, rest = (float(v[0]) for v in blinded_many(y[None], None if x is None else x[None], share * (1 - share) * planned_effect**2))
    return Blinded(len(y), math.sqrt(whole), math.sqrt(min(rest, whole)), max(0.0, 1 - rest / whole))


def needed(
    residual_variance: np.ndarray | float, effect: float, *, power: float, alpha: float, allocation: float = 1.0
) -> np.ndarray | float:
    """Return the total size, not rounded, at which a linear model with this residual variance has its information (normal, plus z²/2 for t)."""
    z, share = special.ndtri(1 - alpha / 2), allocation / (1 + allocation)
    return residual_variance / (share * (1 - share)) * ((z + special.ndtri(power)) / effect) ** 2 + z**2 / 2


def reestimate(
    seen: Blinded,
    *,
    effect: float,
    planned: int,
    maximum: int,
    power: float = 0.9,
    alpha: float = 0.05,
    allocation: float = 1.0,
    may_shrink: bool = False,
) -> Reestimated:
    """Return the total size that the residual variance seen asks for.

    Parameters
    ----------
    effect : planned; it does not change at a blinded look.
    planned, maximum : total before, and at most.
    may_shrink : whether the trial may end before the planned size (restricted designs do not).

    Raises
    ------
    DataError
        For no effect, a power or level out of range, or limits in the wrong order.

    Examples
    --------
    >>> found = reestimate(Blinded(100, 1.2, 1.2 * 0.75**0.5, 0.25), effect=0.4, planned=197, maximum=400)
    >>> found.n, round(found.reached, 2)
    (286, 0.35)
    """
    if not (effect and math.isfinite(effect) and 0 < alpha < power < 1 and allocation > 0):
        raise DataError(
            "a size cannot be looked at again",
            seen=f"effect {effect}, power {power}, level {alpha}",
            expected="an effect, a power above the level",
        )
    if not seen.patients <= planned <= maximum:
        raise DataError("sizes are in the wrong order", seen=(seen.patients, planned, maximum), expected="seen, planned, maximum, rising")
    wanted = float(needed(seen.residual_sd**2, effect, power=power, alpha=alpha, allocation=allocation))
    least = seen.patients if may_shrink else planned
    share = allocation / (1 + allocation)
    information = ((special.ndtri(1 - alpha / 2) + special.ndtri(power)) / effect) ** 2
    reached = seen.patients * share * (1 - share) / seen.residual_sd**2 / information
    return Reestimated(min(maximum, max(least, math.ceil(wanted - 1e-9))), wanted, float(information), float(reached), planned, seen)
