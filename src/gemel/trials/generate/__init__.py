"""Virtual control patients: generators calibrated on real ones, drawn on real scales, by the million. Synthetic is not anonymous."""

from typing import TYPE_CHECKING, Any

from gemel.trials.generate.calibration import Calibration, assess_calibration
from gemel.trials.generate.constraints import constrained, violations
from gemel.trials.generate.copula import Copula, calibrate_copula
from gemel.trials.generate.gaussian import Gaussian
from gemel.trials.generate.panel import NOT_ANONYMOUS, Kind, Panel, Variable, history
from gemel.trials.generate.privacy import Privacy, assess_privacy
from gemel.trials.generate.scale import Order, generate, verify
from gemel.trials.generate.state_space import StateSpace
from gemel.trials.generate.store import Generator, from_bytes, to_bytes
from gemel.trials.generate.target import Tilt, coverage_by_group, tilted_to

if TYPE_CHECKING:
    from gemel.trials.generate.state_space_calibration import calibrate_state_space

__all__ = [
    "NOT_ANONYMOUS",
    "Calibration",
    "Copula",
    "Gaussian",
    "Generator",
    "Kind",
    "Order",
    "Panel",
    "Privacy",
    "StateSpace",
    "Tilt",
    "Variable",
    "assess_calibration",
    "assess_privacy",
    "calibrate_copula",
    "calibrate_state_space",
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


def __getattr__(name: str) -> Any:
    """Load what needs JAX when it is asked for."""
    if name == "calibrate_state_space":
        from gemel.trials.generate.state_space_calibration import calibrate_state_space

        return calibrate_state_space
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
