"""The metabolic room: one person's glucose, from minutes to hours."""

from gemel.engine.infer.adaptive import Adaptive
from gemel.engine.infer.eki import EnsembleSmoother
from gemel.engine.infer.ladder import Ladder
from gemel.engine.room import Room
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.plans import limits, named_plans, objective, written
from gemel.twins.metabolic.simulate import simulate_record

__all__ = ["MetabolicModel", "room"]


def _method() -> Ladder:
    """Adaptive importance sampling; where its weights stay heavy, an ensemble smoother, which is approximate and says so. The result names the rung."""
    return Ladder([Adaptive(), EnsembleSmoother(members=300)])


room = Room(
    id="metabolic", build=MetabolicModel, method=_method, simulate_record=simulate_record, plans=named_plans, objective=objective, limits=limits,
    horizons=(15.0, 30.0, 45.0, 60.0, 90.0, 120.0), evidence="gemel.twins.metabolic.evidence", report="gemel.twins.metabolic.report",
    written=written(),
)  # fmt: skip
