"""The same steady flow by another route: one unknown per outlet, the dense path-incidence matrix. For few outlets, and to check the elimination."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

__all__ = ["path_incidence", "solve_paths"]


def path_incidence(parent: Int[np.ndarray, " branch"], is_outlet: np.ndarray) -> Float[np.ndarray, "outlet branch"]:
    """Return which elements (columns) lie on the way from the root to each outlet (rows).

    >>> path_incidence([-1, 0, 0], [False, True, True])
    array([[1., 1., 0.],
           [1., 0., 1.]])
    """
    above = np.asarray(parent)
    outlets = np.flatnonzero(is_outlet)
    incidence = np.zeros((len(outlets), len(above)))
    for row, at in zip(incidence, outlets, strict=True):
        while at >= 0:
            row[at] = 1.0
            at = above[at]
    return incidence


def solve_paths(
    incidence: Float[Array, "outlet branch"], resistance: Float[Array, " branch"], quadratic: Float[Array, " branch"],
    outlet_resistance: Float[Array, " outlet"], driving: Float[Array, ""] | float, *, iterations: int = 10,
) -> tuple[Float[Array, " outlet"], Float[Array, ""]]:  # fmt: skip
    """Solve ``driving = P (R Q + S Q |Q|) + R_h q`` with ``Q = P^T q`` by Newton's method from the flow without losses.

    The function whose gradient this is, ``sum(R Q^2/2 + S |Q|^3/3) + sum(R_h q^2/2) - driving sum(q)``, is convex for ``S >= 0``. There is no continuation
    here: a network with negative losses belongs to ``solve_steady``.

    Parameters
    ----------
    incidence : 1 where an element lies on the way to an outlet; rows of zeros are padding (give them any positive outlet resistance).
    resistance, quadratic : Pa s/m^3, Pa s^2/m^6. outlet_resistance : Pa s/m^3, finite. driving : Pa, root pressure less outlet pressure.
    iterations : fixed number of Newton steps.

    Returns
    -------
    Flow of each outlet, m^3/s (a padded row holds ``driving / outlet_resistance``), and the largest unbalanced pressure as a share of ``driving``.
    """

    def unbalanced(q, losses):
        flow = incidence.T @ q
        return driving - incidence @ ((resistance + losses * jnp.abs(flow)) * flow) - outlet_resistance * q

    def step(q, losses):
        slope = resistance + 2.0 * losses * jnp.abs(incidence.T @ q)
        jacobian = (incidence * slope) @ incidence.T + jnp.diag(outlet_resistance)
        return q + jnp.linalg.solve(jacobian, unbalanced(q, losses))

    q = step(jnp.zeros_like(outlet_resistance), jnp.zeros_like(quadratic))
    for_search = jax.lax.stop_gradient
    q = for_search(jax.lax.fori_loop(0, iterations, lambda _, x: step(x, quadratic), q))
    for _ in range(2):  # exact derivatives, as in solve_steady
        q = step(q, quadratic)
    return q, jnp.max(jnp.abs(unbalanced(q, quadratic))) / jnp.abs(driving)
