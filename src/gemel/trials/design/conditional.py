"""What an interim result says of the end: conditional power over the looks that are left, predictive power, and a futility rule made of it.

References
----------
Lachin 2005, doi:10.1002/sim.2147 (conditional power). Spiegelhalter, Freedman and Blackburn 1986, doi:10.1016/0197-2456(86)90003-6 (predictive power).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, special

from gemel.core.errors import DataError
from gemel.trials.design.boundary import Boundary, crossing

__all__ = ["futility", "predictive_power", "remaining_power"]


def _look(plan: Boundary, look: int) -> float:
    if not 0 <= look < len(plan.fractions) - 1:
        raise DataError("no look is left after this one", seen=look, expected=f"0 to {len(plan.fractions) - 2}")
    return plan.fractions[look]


def remaining_power(plan: Boundary, look: int, z: float, drift: float | None = None) -> float:
    """Return the probability of crossing the upper boundary at a later look, given z at this one.

    Parameters
    ----------
    look : from 0. ``z`` : seen there.
    drift : mean of z at full information; left out, the current trend z / sqrt(fraction).

    Examples
    --------
    >>> from gemel.trials.design.boundary import boundary
    >>> round(remaining_power(boundary([0.5, 1.0], "pocock"), 0, 1.0, drift=0.0), 4)
    0.0187
    """
    t = _look(plan, look)
    slope = z / math.sqrt(t) if drift is None else drift
    later = np.array(plan.fractions[look + 1 :])
    steps, here = later - t, z * math.sqrt(t)

    def seen_from_here(bounds: tuple[float, ...]) -> np.ndarray:
        return (np.array(bounds[look + 1 :]) * np.sqrt(later) - here) / np.sqrt(steps)

    fractions = (steps / (1 - t)).tolist()
    return crossing(fractions, seen_from_here(plan.upper).tolist(), seen_from_here(plan.lower).tolist(), slope * math.sqrt(1 - t)).power


def predictive_power(z: float, fraction: float, critical: float, *, prior_mean: float = 0.0, prior_information: float = 0.0) -> float:
    """Return the probability of crossing ``critical`` at the end, averaged over what is believed of the effect at the interim.

    Parameters
    ----------
    z, fraction : seen, at this share of the planned information.
    critical : of z at the end.
    prior_mean : of the drift (mean of z at full information). ``prior_information``: its weight, as a share of the planned information; 0 is flat.

    Examples
    --------
    >>> round(predictive_power(1.0, 0.5, 1.96), 4)
    0.2926
    """
    if not 0 < fraction < 1 or prior_information < 0:
        raise DataError(
            "an information fraction is out of range", seen=(fraction, prior_information), expected="between 0 and 1; a weight of 0 or more"
        )
    here, weight = z * math.sqrt(fraction), fraction + prior_information
    drift = (here + prior_information * prior_mean) / weight
    left = 1 - fraction
    return float(special.ndtr((here + drift * left - critical) / math.sqrt(left + left**2 / weight)))


def futility(plan: Boundary, drift: float, *, least: float = 0.2) -> tuple[float, ...]:
    """Return, per look, the z under which the remaining power at the planned effect falls below ``least``: a **non-binding** rule.

    The boundary was made without it, so the level holds whether the trial stops or not; the last value is minus infinity.

    Parameters
    ----------
    drift : mean of z at full information under the planned effect, as from :func:`~gemel.trials.design.boundary.inflation`.
    least : of the power that must remain.
    """
    if not 0 < least < 1 or not drift > 0:
        raise DataError("a futility rule is not usable", seen=f"least {least}, drift {drift}", expected="between 0 and 1; a positive drift")
    found = [
        float(optimize.brentq(lambda z, k=k: remaining_power(plan, k, z, drift) - least, -12.0, min(u, 12.0), xtol=1e-8))
        for k, u in enumerate(plan.upper[:-1])
    ]
    return (*found, -math.inf)
