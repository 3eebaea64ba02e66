"""The minimal model of an intravenous glucose tolerance test: Bergman et al. 1979 (doi:10.1152/ajpendo.1979.236.6.E667), per minute."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gemel.physics.ode import RK4, integrate

__all__ = ["BergmanState", "derivative", "sensitivity", "tolerance_test"]


class BergmanState(eqx.Module):
    """States: glucose (mg/dL), remote insulin action (1/min)."""

    glucose: Array
    action: Array


def derivative(time: Array, s: BergmanState, insulin: Array, p: dict[str, Array]) -> BergmanState:
    """Right-hand side: ``G' = -(p1 + X) G + p1 Gb``, ``X' = -p2 X + p3 (I - Ib)``.

    ``insulin`` in mU/L; parameters ``p1`` and ``p2`` in 1/min, ``p3`` in L/mU/min^2, ``Gb`` in mg/dL, ``Ib`` in mU/L.
    """
    del time
    return BergmanState(
        glucose=-(p["p1"] + s.action) * s.glucose + p["p1"] * p["Gb"],
        action=-p["p2"] * s.action + p["p3"] * (insulin - p["Ib"]),
    )


def sensitivity(p: dict[str, Array]) -> Array:
    """Return insulin sensitivity ``p3/p2``, L/mU/min."""
    return p["p3"] / p["p2"]


def tolerance_test(
    p: dict[str, Array], glucose: Array | float, insulin: Float[Array, " step"], *, step: float = 1.0, substeps: int = 4
) -> BergmanState:
    """Return both states at the end of each step after a bolus of glucose.

    Parameters
    ----------
    glucose : just after the bolus, mg/dL. insulin : (step,) mean plasma insulin of each step, mU/L. step : minutes.
    """
    start = BergmanState(jnp.asarray(glucose, float), jnp.zeros(()))
    return integrate(derivative, start, insulin, p, step=step, integrator=RK4(substeps))
