"""What a trial that stopped at a look may say: p-value, median-unbiased estimate and interval by stage-wise ordering.

An outcome is more extreme the earlier the upper boundary was crossed, then the larger z was. The p-value agrees with the test: it lies under the level
exactly when a boundary was crossed. Futility that is non-binding is left out of it.

References
----------
Tsiatis, Rosner and Mehta 1984, doi:10.2307/2530925; Jennison and Turnbull 2000, Group Sequential Methods, ch. 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from gemel.core.errors import DataError
from gemel.trials.design.boundary import Boundary, crossing

__all__ = ["StageWise", "stagewise", "upper_tail"]


@dataclass(frozen=True)
class StageWise:
    """What stands after a sequential trial.

    Parameters
    ----------
    p_value : of as many sides as the boundary has.
    estimate, interval : median-unbiased, and of ``level``; unit of the effect if the standard error was given, else of the drift.
    naive : what would be reported without thought of the looks.
    """

    p_value: float
    estimate: float
    interval: tuple[float, float]
    level: float
    naive: float


def upper_tail(plan: Boundary, look: int, z: float, drift: float = 0.0) -> float:
    """Return the probability of an outcome as extreme upwards as z at this look, or more.

    Parameters
    ----------
    look : from 0. ``drift`` : mean of z at full information.
    """
    if not 0 <= look < len(plan.fractions):
        raise DataError("no such look", seen=look, expected=f"0 to {len(plan.fractions) - 1}")
    t = plan.fractions[look]
    upper, lower = [*plan.upper[:look], z], [*plan.lower[:look], -math.inf]
    fractions = np.array(plan.fractions[: look + 1]) / t
    return min(1.0, float(crossing(fractions.tolist(), upper, lower, drift * math.sqrt(t)).upper.sum()))


def stagewise(plan: Boundary, look: int, z: float, *, level: float = 0.95, standard_error: float | None = None) -> StageWise:
    """Return p-value, estimate and interval of a trial that ended at a look.

    Parameters
    ----------
    look, z : where it ended (from 0) and with which z.
    standard_error : of the estimate at that look; left out, all is in units of the drift.

    Raises
    ------
    DataError
        For a look that the plan does not have, or a z that is not finite.

    Examples
    --------
    >>> from gemel.trials.design.boundary import boundary
    >>> found = stagewise(boundary([0.5, 1.0], "obrien-fleming"), 1, 2.5)
    >>> round(found.p_value, 4), found.estimate < found.naive
    (0.0159, True)
    """
    if not math.isfinite(z) or not 0 < level < 1:
        raise DataError("a result is not usable", seen=f"z {z}, level {level}", expected="a finite z, a level between 0 and 1")
    t = plan.fractions[look] if 0 <= look < len(plan.fractions) else math.nan
    tail = upper_tail(plan, look, z)
    p = tail if plan.sides == 1 else 2 * min(tail, 1 - tail)
    unit = 1.0 if standard_error is None else standard_error * math.sqrt(t)
    naive = z / math.sqrt(t)

    def at(target: float) -> float:
        return _root(lambda drift: upper_tail(plan, look, z, drift) - target, naive) * unit

    each = (1 - level) / 2
    return StageWise(float(min(1.0, p)), at(0.5), (at(each), at(1 - each)), level, naive * unit)


def _root(curve: Callable[[float], float], middle: float) -> float:
    """Return the root of a rising curve, from a bracket that widens."""
    reach = 2.0
    while curve(middle - reach) > 0 or curve(middle + reach) < 0:
        reach *= 1.5
        if reach > 200:
            raise DataError("a stage-wise interval cannot be found", seen=f"z beyond {middle:g}", expected="a z that can happen")
    return float(optimize.brentq(curve, middle - reach, middle + reach, xtol=1e-9))
