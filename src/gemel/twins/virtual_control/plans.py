"""What can be done: a control patient goes on as a control. There is one plan, and nothing to advise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gemel.engine.forecast import Forecast
from gemel.engine.plan import Plan
from gemel.engine.recommend import Limit, Objective
from gemel.engine.twin import Twin

__all__ = ["limits", "objective", "plans"]


def plans(twin: Twin) -> Mapping[str, Plan | None]:
    """Return the one plan."""
    del twin
    return {"go on as a control": None}


def objective() -> Objective:
    """Return the lowness of the score at the last time."""

    def utility(forecast: Forecast) -> np.ndarray:
        return -forecast.draws[:, -1, 0]

    return Objective("lowness of the score", "{score}", utility)


def limits() -> tuple[Limit, ...]:
    """Return none: nothing is done to the patient."""
    return ()
