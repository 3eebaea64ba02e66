"""Every constant of the virtual control: value, unit, source. All are ASSUMED: what a population of controls does comes in as a prior file."""

from __future__ import annotations

import numpy as np

from gemel.engine.prior import ASSUMED, Parameter, Prior
from gemel.engine.transform import Identity

__all__ = ["CORRELATION", "NOISE", "RATE", "SPREAD", "YEAR", "control_prior"]

YEAR = 365.25
"""Days in a year."""
NOISE = 2.2
"""Standard deviation of a reading of ADAS-Cog, {score}; ASSUMED: of the order that repeated readings of one person show."""
SPREAD = 2.0
"""Stationary standard deviation of the deviation from a straight line, {score}; ASSUMED."""
RATE = 1.0 / 90.0
"""Rate at which a deviation fades, 1/d; ASSUMED."""
CORRELATION = 0.3
"""Of level and slope between people: who is worse gets worse faster; ASSUMED."""

_SOURCE = ASSUMED + ": mild to moderate Alzheimer's disease under placebo, round numbers; bring a prior file of your own controls"


def control_prior() -> Prior:
    """Return the prior: Gaussian, so that the posterior is known in closed form."""
    correlation = np.eye(3)
    correlation[0, 1] = correlation[1, 0] = CORRELATION
    return Prior.of(
        (
            Parameter("level", "{score}", Identity(), 24.0, 9.0, _SOURCE, "ADAS-Cog at the first visit, without reading error"),
            Parameter("slope", "{score}/a", Identity(), 5.0, 4.5, _SOURCE, "worsening per year"),
            Parameter("deviation", "{score}", Identity(), 0.0, SPREAD, _SOURCE, "deviation from the line at the last visit known"),
        ),
        correlation,
    )
