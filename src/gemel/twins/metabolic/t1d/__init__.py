"""The twin ``metabolic-t1d``: the UVA/Padova model of type 1 diabetes, its virtual people, and one person's twin of it."""

from gemel.engine.infer.adaptive import Adaptive
from gemel.engine.infer.eki import EnsembleSmoother
from gemel.engine.infer.ladder import Ladder
from gemel.engine.room import Room
from gemel.twins.metabolic.t1d.model import T1DModel
from gemel.twins.metabolic.t1d.plans import WRITTEN, limits, named_plans, objective
from gemel.twins.metabolic.t1d.simulate import simulate_record

__all__ = ["T1DModel", "room"]


def _method() -> Ladder:
    """Adaptive importance sampling; where its weights stay heavy, an ensemble smoother, which is approximate and says so. The result names the rung."""
    return Ladder([Adaptive(), EnsembleSmoother(members=300)])


room = Room(
    id="metabolic-t1d", build=T1DModel, method=_method, simulate_record=simulate_record, plans=named_plans, objective=objective, limits=limits,
    horizons=(15.0, 30.0, 45.0, 60.0, 90.0, 120.0), evidence="gemel.twins.metabolic.t1d.evidence", report="gemel.twins.metabolic.t1d.report",
    written=WRITTEN,
)  # fmt: skip
