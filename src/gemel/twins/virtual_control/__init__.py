"""The virtual control: what one patient of a control arm would do, kept current by the visits so far."""

from gemel.engine.infer.laplace import Laplace
from gemel.engine.room import Room
from gemel.twins.virtual_control.model import ControlModel
from gemel.twins.virtual_control.plans import limits, objective, plans
from gemel.twins.virtual_control.simulate import simulate_control

__all__ = ["room"]

room = Room(
    id="virtual-control", build=ControlModel, method=Laplace, simulate_record=simulate_control, plans=plans, objective=objective, limits=limits,
    horizons=tuple(1440.0 * days for days in (91, 182, 273, 364)), evidence="gemel.twins.virtual_control.evidence", report="gemel.twins.virtual_control.report",
)  # fmt: skip
