"""What the toys are held against: answers in closed form, laws of conservation, and questions outside their domain."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from gemel.core.record import PatientRecord
from gemel.core.time import DAY
from gemel.engine.model import Observed
from gemel.engine.posterior import AbstractPosterior
from gemel.evidence.study import Problem
from gemel.twins.toys.model import GrowthModel, LinearModel, exact_posterior
from gemel.twins.toys.priors import CLEARANCE

__all__ = ["CONSERVATION", "OUTSIDE", "VERIFICATION", "closed_form_error", "logistic_error", "washout_hours"]


def all_doses_count(model: LinearModel, params, plan, times, context):
    """Relative error of the milligrams that have acted in the end against those in the plan."""
    del params, context
    total = jnp.sum(jnp.where(plan.mask, plan.amount, 0.0))
    end = jnp.max(plan.start + plan.duration) + jnp.max(jnp.abs(times)) + 1.0
    return (model.given(plan, end[None]) - total) / jnp.maximum(total, 1.0)


def drug_present_and_cleared(model: GrowthModel, params, plan, times, context):
    """Relative error, slot by slot, of drug present and cleared against what had been given (Runge-Kutta keeps linear invariants exactly)."""
    del times
    path = model.trajectory(params, plan, context)
    given = jnp.cumsum(plan.rates(0.0, model.slot, context.end.shape[0], 1)[:, 0]) * model.slot
    return (path.drug + path.cleared - given) / jnp.maximum(given[-1], 1.0)


CONSERVATION = {"toy-linear": (all_doses_count,), "toy-growth": (drug_present_and_cleared,)}
"""Laws by twin: ``law(model, params, plan, times, context) -> relative errors``, at most 1e-9 of the whole."""


def a_week_later(record: PatientRecord, now: int) -> tuple[PatientRecord, int]:
    """Ask about a moment a week after the last reading."""
    return record, now + 7 * DAY


OUTSIDE = {"toy-linear": (a_week_later,), "toy-growth": (a_week_later,)}
"""Questions outside the validated domain, by twin: ``(record, now) -> (record, now)``."""


def closed_form_error(model: LinearModel, observed: Observed, posterior: AbstractPosterior) -> float:
    """Return the largest error of a posterior's moments against the closed form, in exact standard deviations (variances: relative)."""
    mean, covariance = exact_posterior(model, observed)
    found, spread = (np.asarray(x) for x in posterior.moments())
    sd = np.sqrt(np.diag(covariance))
    return float(max(np.abs((found - mean) / sd).max(), np.abs((spread - covariance) / np.outer(sd, sd)).max()))


def logistic_error(model: GrowthModel, rate: float, capacity: float, start: float, hours: float) -> float:
    """Return the largest relative error of the growth toy without drug against the logistic curve."""
    from gemel.engine.plan import Plan
    from gemel.twins.toys.observe import Grid

    n = round(hours / model.slot)
    params = {"rate": jnp.asarray(rate), "capacity": jnp.asarray(capacity), "kill": jnp.asarray(0.0), "start": jnp.asarray(start)}
    end = model.slot * (1.0 + np.arange(n))
    path = np.asarray(model.trajectory(params, Plan.of(), Grid(end)).size)
    exact = capacity / (1 + (capacity / start - 1) * np.exp(-rate * end))
    return float(np.abs(path / exact - 1).max())


def washout_hours(share: float) -> float:
    """Return how long the growth toy's drug takes to fall to a share of itself, hours."""
    return float(-np.log(share) / CLEARANCE)


def _closed_form() -> float:
    """Return the error of the default method on one simulated person."""
    import jax

    from gemel.engine.infer.laplace import Laplace
    from gemel.engine.model import target_of
    from gemel.twins.toys.simulate import simulate_linear

    model = LinearModel()
    record, now, _ = simulate_linear(jax.random.key(1))
    observed = model.observe(record, now)
    found = Laplace().run(target_of(model, observed), key=jax.random.key(2))
    return closed_form_error(model, observed, found.posterior)


VERIFICATION = {
    "toy-linear": (Problem("posterior", "moments of the default method against the closed form, in standard deviations", 0.0, 1e-6, _closed_form),),
    "toy-growth": (
        Problem("growth without drug", "largest relative error against the logistic curve", 0.0, 1e-5, lambda: logistic_error(GrowthModel(), 0.3, 40.0, 2.0, 30.0)),
    ),
}  # fmt: skip
"""Problems with known answers, by twin."""
