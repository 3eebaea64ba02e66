"""How much would have to be hidden: the E-value, and the drift of the controls from outside at which an effect is no longer told from none.

References
----------
VanderWeele and Ding 2017, doi:10.7326/M16-2607 (E-value; exp(0.91 d) as the risk ratio of a standardised difference d).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Sensitivity", "e_value", "e_value_of_difference", "tipping_point"]


@dataclass(frozen=True)
class Sensitivity:
    """What hidden differences would have to be.

    Parameters
    ----------
    e_value, e_value_limit : of the estimate, and of the limit of its interval nearer to no effect; 1 when that includes it. Not known
        without events in both groups.
    tipping : shift of the outcomes from outside at which the interval just reaches no effect, unit of the outcome (of the logarithm for
        a ratio); 0 when it already does.
    tipping_sd : the same in standard deviations of one patient's outcome; not known for a ratio.
    """

    e_value: float
    e_value_limit: float
    tipping: float
    tipping_sd: float


def e_value(ratio: float) -> float:
    """Return the E-value of a risk ratio: how strongly, as a ratio, something hidden must go with both source and outcome to explain it away.

    Examples
    --------
    >>> round(e_value(3.9), 2)
    7.26
    """
    r = ratio if ratio >= 1 else 1 / ratio
    return r + math.sqrt(r * (r - 1))


def e_value_of_difference(difference: float, error: float, sd: float, *, level_z: float = 1.959964) -> tuple[float, float]:
    """Return the E-values of a difference of means and of the nearer limit of its interval, by the risk ratio exp(0.91 d).

    Parameters
    ----------
    sd : of one patient's outcome.
    level_z : normal quantile of the interval.
    """
    d = abs(difference) / sd
    nearer = d - level_z * error / sd
    return e_value(math.exp(0.91 * d)), e_value(math.exp(0.91 * nearer)) if nearer > 0 else 1.0


def tipping_point(estimate: float, error: float, *, level_z: float = 1.959964) -> float:
    """Return the shift towards no effect at which the interval just reaches it; 0 when it already does."""
    return math.copysign(max(abs(estimate) - level_z * error, 0.0), estimate)
