"""Problems with known answers of the default twin: order of its solver, rest, decay, and the risk that is zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from gemel.evidence.study import Problem
from gemel.physics.ode import RK4, integrate
from gemel.twins.metabolic._bergman import tolerance_test
from gemel.twins.metabolic._minimal import WINDOWS, derivative, resting
from gemel.twins.metabolic.metrics import risk_transform
from gemel.twins.metabolic.priors import identification_prior

__all__ = ["VERIFICATION"]

_BASAL = 0.2
"""Basal insulin, mU/kg/min: 0.9 U/h at 75 kg."""


def _person() -> dict[str, np.ndarray]:
    prior = identification_prior()
    return {k: np.asarray(v) for k, v in jax.jit(lambda z: prior.constrain(z))(prior.mean).items()}


def _drive(steps: int, p: dict[str, np.ndarray], insulin: float, meal: float) -> tuple[np.ndarray, ...]:
    return (np.full(steps, insulin), *(np.full(steps, meal) for _ in WINDOWS), np.full(steps, p["SI_lunch"]), np.full(steps, _BASAL))


def _after(steps: int, *, glucose: float, insulin: float, meal: float, minutes: float = 240.0) -> float:
    p = _person()
    start = jax.jit(resting)(np.asarray(glucose), np.asarray(_BASAL), p)
    run = jax.jit(lambda s, u: integrate(derivative, s, u, p, step=minutes / steps, integrator=RK4()).G[-1])
    return float(run(start, _drive(steps, p, insulin, meal)))


def order() -> float:
    """Return the order of the Runge-Kutta method on smooth input: four hours of a meal without insulin, from 220 mg/dL."""
    exact = _after(7680, glucose=220.0, insulin=0.0, meal=6.0)
    coarse, fine = (abs(_after(n, glucose=220.0, insulin=0.0, meal=6.0) - exact) for n in (240, 480))
    return float(np.log2(coarse / fine))


def resting_drift() -> float:
    """Return how far a person moves in a day without food under basal insulin, from the glucose at which the model rests; mg/dL."""
    p = _person()
    rest = float(p["Gb"])
    return abs(_after(1440, glucose=rest, insulin=_BASAL, meal=0.0, minutes=1440.0) - rest)


def decay_error() -> float:
    """Return the largest error of glucose without insulin action against its exponential decay; mg/dL."""
    p = {"p1": 0.031, "p2": 0.012, "p3": 4.9e-6, "Gb": 92.0, "Ib": 11.0}
    path = jax.jit(tolerance_test)(p, 279.0, jnp.full(240, 11.0))
    exact = 92.0 + (279.0 - 92.0) * np.exp(-0.031 * np.arange(1, 241))
    return float(np.abs(np.asarray(path.glucose) - exact).max())


VERIFICATION = (
    Problem("V5, order of the method", "steps of one minute and of half a minute", 4.0, 0.1, order),
    Problem("rest", "no meal, basal insulin: nothing moves in a day", 0.0, 1e-6, resting_drift, "mg/dL"),
    Problem("V13, decay without insulin action", "largest error over four hours", 0.0, 1e-8, decay_error, "mg/dL"),
    Problem("V14, zero of the risk function", "risk at 112.517 mg/dL", 0.0, 1e-3, lambda: float(risk_transform(np.asarray(112.517))), source="doi:10.2337/diacare.20.11.1655"),
)  # fmt: skip
"""Problems with known answers."""
