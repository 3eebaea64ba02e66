"""The slow axis of the metabolic room: weight, insulin sensitivity, beta-cell function and HbA1c, months to years."""

from gemel.engine.infer.adaptive import Adaptive
from gemel.engine.infer.ladder import Ladder
from gemel.engine.infer.laplace import Laplace
from gemel.engine.room import Room
from gemel.twins.metabolic.slow.model import SlowModel
from gemel.twins.metabolic.slow.plans import limits, named_plans, objective, written
from gemel.twins.metabolic.slow.simulate import simulate_record

__all__ = ["SlowModel", "room"]

_DAY = 1440.0


def _method() -> Ladder:
    """Laplace with importance-weighted draws; where its weights are heavy, adaptive importance sampling. The result names the rung."""
    return Ladder([Laplace(resample=True), Adaptive()])


room = Room(
    id="metabolic-slow", build=SlowModel, method=_method, simulate_record=simulate_record, plans=named_plans, objective=objective, limits=limits,
    horizons=tuple(_DAY * d for d in (30, 90, 180, 270, 365, 540)), evidence="gemel.twins.metabolic.slow.evidence",
    report="gemel.twins.metabolic.slow.report", written=written(),
)  # fmt: skip
