"""Many patients: what a trial asks, how many patients it needs, how it is analysed; and the simulator of trials (:mod:`gemel.trials.simulate`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gemel.trials.adjust.base import Result
from gemel.trials.analysis import analyse
from gemel.trials.data import TrialData, columns_of, trial_data
from gemel.trials.design.boundary import Boundary, boundary
from gemel.trials.design.spending import Spending
from gemel.trials.estimand import Estimand, IntercurrentEvent, Strategy, Summary
from gemel.trials.prognosis import Prognosis, PrognosisBundle, calibrate
from gemel.trials.sizing import Assumptions, Size, size

if TYPE_CHECKING:
    from gemel.trials.simulate import compare, recommend

__all__ = [
    "Assumptions",
    "Boundary",
    "Estimand",
    "IntercurrentEvent",
    "Prognosis",
    "PrognosisBundle",
    "Result",
    "Size",
    "Spending",
    "Strategy",
    "Summary",
    "TrialData",
    "analyse",
    "boundary",
    "calibrate",
    "columns_of",
    "compare",
    "recommend",
    "size",
    "trial_data",
]


def __getattr__(name: str) -> Any:
    if name in ("compare", "recommend"):  # the simulator is loaded when it is first asked for
        from gemel.trials import simulate

        return getattr(simulate, name)
    raise AttributeError(f"module 'gemel.trials' has no attribute {name!r}")
