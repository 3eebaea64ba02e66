"""The type 2 twin of the metabolic room: a meal model with a beta cell, drugs as parameter changes, minutes to hours."""

from gemel.engine.infer.adaptive import Adaptive
from gemel.engine.infer.eki import EnsembleSmoother
from gemel.engine.infer.ladder import Ladder
from gemel.engine.room import Room
from gemel.twins.metabolic.t2d.model import Type2Model
from gemel.twins.metabolic.t2d.plans import limits, named_plans, objective, written
from gemel.twins.metabolic.t2d.simulate import simulate_record

__all__ = ["Type2Model", "room"]


def _method() -> Ladder:
    """Adaptive importance sampling; where its weights stay heavy, an ensemble smoother, which is approximate and says so. The result names the rung."""
    return Ladder([Adaptive(), EnsembleSmoother(members=300)])


room = Room(
    id="metabolic-t2d", build=Type2Model, method=_method, simulate_record=simulate_record, plans=named_plans, objective=objective, limits=limits,
    horizons=(15.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0), evidence="gemel.twins.metabolic.t2d.evidence",
    report="gemel.twins.metabolic.t2d.report", written=written(),
)  # fmt: skip
