"""Virtual control patients: generators calibrated on real ones, drawn on real scales, by the million. Synthetic is not anonymous."""

from gemel.trials.generate.constraints import constrained, violations
from gemel.trials.generate.copula import Copula, calibrate_copula
from gemel.trials.generate.gaussian import Gaussian
from gemel.trials.generate.panel import NOT_ANONYMOUS, Kind, Panel, Variable, history
from gemel.trials.generate.scale import Order, generate, verify
from gemel.trials.generate.store import Generator, from_bytes, to_bytes
from gemel.trials.generate.target import Tilt, coverage_by_group, tilted_to

__all__ = [
    "NOT_ANONYMOUS",
    "Copula",
    "Gaussian",
    "Generator",
    "Kind",
    "Order",
    "Panel",
    "Tilt",
    "Variable",
    "calibrate_copula",
    "constrained",
    "coverage_by_group",
    "from_bytes",
    "generate",
    "history",
    "tilted_to",
    "to_bytes",
    "verify",
    "violations",
]
