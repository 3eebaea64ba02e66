"""The toys: one room, two twins with known answers."""

from gemel.engine.infer.laplace import Laplace
from gemel.engine.room import Room
from gemel.twins.toys.model import GrowthModel, LinearModel
from gemel.twins.toys.plans import WRITTEN, growth_limits, growth_objective, growth_plans, linear_limits, linear_objective, linear_plans
from gemel.twins.toys.simulate import simulate_growth, simulate_linear

__all__ = ["growth_room", "linear_room"]


def _weighted() -> Laplace:
    """Return Laplace with importance-weighted draws: the growth toy's posterior is not quite Gaussian."""
    return Laplace(resample=True)


linear_room = Room(
    id="toy-linear", build=LinearModel, method=Laplace, simulate_record=simulate_linear, plans=linear_plans, objective=linear_objective,
    limits=linear_limits, horizons=(60.0, 240.0, 480.0, 720.0, 1440.0), evidence="gemel.twins.toys.evidence", report="gemel.twins.toys.report", written=WRITTEN,
)  # fmt: skip

growth_room = Room(
    id="toy-growth", build=GrowthModel, method=_weighted, simulate_record=simulate_growth, plans=growth_plans, objective=growth_objective,
    limits=growth_limits, horizons=tuple(60.0 * h for h in range(1, 13)), evidence="gemel.twins.toys.evidence", report="gemel.twins.toys.report", written=WRITTEN,
)  # fmt: skip
