"""What the virtual control is held against: the dense normal distribution, and questions outside its domain."""

from __future__ import annotations

import jax
import numpy as np

from gemel.core.record import PatientRecord
from gemel.core.time import DAY
from gemel.engine.model import Observed
from gemel.engine.posterior import AbstractPosterior
from gemel.evidence.study import Problem
from gemel.twins.virtual_control.model import ControlModel, exact_posterior

__all__ = ["OUTSIDE", "VERIFICATION", "closed_form_error"]


def three_years_later(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask about a moment three years after the last visit."""
    return record, now + 1100 * DAY


OUTSIDE = {"virtual-control": (three_years_later,)}
"""Questions outside the validated domain: ``(record, now) -> (record, now)``."""


def closed_form_error(model: ControlModel, observed: Observed, posterior: AbstractPosterior) -> float:
    """Return the largest error of a posterior's moments against the dense normal, in exact standard deviations (variances: relative)."""
    mean, covariance = exact_posterior(model, observed)
    found, spread = (np.asarray(x) for x in posterior.moments())
    sd = np.sqrt(np.diag(covariance))
    return float(max(np.abs((found - mean) / sd).max(), np.abs((spread - covariance) / np.outer(sd, sd)).max()))


def _closed_form() -> float:
    """Return the error of the default method on one simulated patient."""
    from gemel.engine.infer.laplace import Laplace
    from gemel.engine.model import target_of
    from gemel.twins.virtual_control.simulate import simulate_control

    model = ControlModel()
    record, now, _ = simulate_control(jax.random.key(1))
    observed = model.observe(record, now)
    found = Laplace().run(target_of(model, observed), key=jax.random.key(2))
    return closed_form_error(model, observed, found.posterior)


VERIFICATION = {
    "virtual-control": (
        Problem("posterior", "moments of the default method against the dense normal, in standard deviations", 0.0, 1e-6, _closed_form),
    )
}
"""Problems with known answers."""
