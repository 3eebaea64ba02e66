"""Every constant of the toys: value, unit, source. All are ASSUMED: nothing was measured."""

from __future__ import annotations

import numpy as np

from gemel.engine.prior import ASSUMED, Parameter, Prior
from gemel.engine.transform import Identity, Log

__all__ = ["CLEARANCE", "COLONY_NOISE", "PROCESS", "SIGNAL_NOISE", "SOURCE", "growth_prior", "linear_prior"]

SOURCE = ASSUMED + ": a toy"
SIGNAL_NOISE = 0.5
"""Standard deviation of a reading of the linear toy, [arb'U]; ASSUMED."""
COLONY_NOISE = 2.0
"""Standard deviation of a reading of the growth toy, [arb'U]; ASSUMED."""
CLEARANCE = 1.0
"""Clearance of the growth toy's drug, 1/h; ASSUMED."""
PROCESS = 0.01
"""Relative standard deviation per square root of an hour of what the growth equation leaves out, in streams; ASSUMED."""


def linear_prior() -> Prior:
    """Return the prior of the linear toy: Gaussian, so that the posterior is known in closed form."""
    return Prior.of(
        (
            Parameter("level", "[arb'U]", Identity(), 10.0, 2.0, SOURCE, "signal at midnight before any dose"),
            Parameter("rhythm", "[arb'U]", Identity(), 0.0, 1.5, SOURCE, "amplitude of the daily rhythm"),
            Parameter("response", "[arb'U]/mg", Identity(), 0.5, 0.3, SOURCE, "rise per milligram given"),
        )
    )


def growth_prior() -> Prior:
    """Return the prior of the growth toy: lognormal."""

    def positive(name: str, centre: float, scale: float, unit: str, meaning: str, drift: float = 0.0) -> Parameter:
        return Parameter(name, unit, Log(), float(np.log(centre)), scale, SOURCE, meaning, drift)

    return Prior.of(
        (
            positive("rate", 0.3, 0.25, "/h", "growth of a small colony", drift=0.05),
            positive("capacity", 100.0, 0.2, "[arb'U]", "size at which growth stops"),
            positive("kill", 0.08, 0.4, "/mg/h", "relative loss per milligram present", drift=0.05),
            positive("start", 20.0, 0.3, "[arb'U]", "size at time zero"),
        )
    )
