"""What the lumped-flow solvers share: how a solve ended, and what it returns."""

from __future__ import annotations

from enum import IntEnum

import equinox as eqx
from jaxtyping import Array, Float, Int

__all__ = ["FlowStatus", "SteadyFlow"]


class FlowStatus(IntEnum):
    """How a solve ended. Only ``OK`` carries numbers; every other status comes with NaN."""

    OK = 0
    NO_SOLUTION = 1
    """The branch of solutions that begins at zero loss coefficients ends before the given ones: possible for negative coefficients only."""
    NOT_CONVERGED = 2
    """The limit on iterations was reached: nothing is said about whether a solution exists."""
    NOT_FINITE = 3
    """An input is not finite where it has to be, or a resistance or outlet conductance is negative."""


class SteadyFlow(eqx.Module):
    """Steady flow through a network, one value per branch; NaN unless ``status`` is ``OK``.

    ``flow`` m^3/s, away from the root; ``pressure`` Pa at the downstream end of the branch (total pressure, see ``solve_steady``); ``outflow`` m^3/s that
    leaves through the outlet or leak at that end; ``residual`` the largest unbalanced pressure as a share of the driving pressure;
    ``imbalance`` the largest unbalanced flow as a share of the largest flow; ``iterations`` linear solves that were needed.
    """

    flow: Float[Array, " branch"]
    pressure: Float[Array, " branch"]
    outflow: Float[Array, " branch"]
    residual: Float[Array, ""]
    imbalance: Float[Array, ""]
    iterations: Int[Array, ""]
    status: Int[Array, ""]
