"""The metabolic room: one person's glucose, from minutes to hours."""

from gemel.engine.infer.adaptive import Adaptive
from gemel.engine.room import Room
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.plans import limits, named_plans, objective
from gemel.twins.metabolic.simulate import simulate_record

__all__ = ["MetabolicModel", "room"]

room = Room(
    id="metabolic", build=MetabolicModel, method=Adaptive, simulate_record=simulate_record, plans=named_plans, objective=objective, limits=limits,
    horizons=(15.0, 30.0, 45.0, 60.0, 90.0, 120.0), evidence="gemel.twins.metabolic.evidence", report="gemel.twins.metabolic.report",
)  # fmt: skip
