"""Glycated haemoglobin from mean glucose: the ADAG line, the GMI, and the memory of red cells that live for a fixed time.

References
----------
Nathan et al. 2008, doi:10.2337/dc08-0545 (ADAG). Bergenstal et al. 2018, doi:10.2337/dc18-1581 (GMI).
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gemel.twins.metabolic.slow.priors import fixed

__all__ = ["adag", "glucose_of", "gmi", "kernel", "kinetic"]


def adag(glucose: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return HbA1c (%) of a constant mean glucose (mg/dL): ``(G + 46.7)/28.7``."""
    return (glucose + fixed("adag_offset")) / fixed("adag_slope")


def glucose_of(hba1c: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the constant mean glucose (mg/dL) of an HbA1c (%): the inverse of :func:`adag`."""
    return hba1c * fixed("adag_slope") - fixed("adag_offset")


def gmi(glucose: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the glucose management indicator (%): ``3.31 + 0.02392 G``."""
    return fixed("gmi_offset") + fixed("gmi_slope") * glucose


def kernel(days: int, lifetime: int | None = None) -> Float[np.ndarray, " day"]:
    """Return the weights of the last ``days`` days, the latest first: integrals of ``2 (1 - s/M)/M`` over each day. They sum to one.

    Cells live ``M`` days (120; ``lifetime``), all ages are equally common, and each has been glycated in proportion to its age.
    """
    edge = np.minimum(np.arange(days + 1) / _span(lifetime), 1.0)
    return np.diff(2.0 * edge - edge**2)


def kinetic(glucose: Float[Array, " day"], before: Float[Array, ""], lifetime: int | None = None) -> Float[Array, " day"]:
    """Return HbA1c (%) at the end of each day: glucose weighted by :func:`kernel`, which is linear in age, so that two running sums do it.

    Parameters
    ----------
    glucose : (day,) mean glucose of each day, mg/dL. before : mean glucose of all days before the first, mg/dL.
    lifetime : of red cells, whole days.
    """
    span, n = _span(lifetime), glucose.shape[0]
    above = glucose - before
    day = jnp.arange(n, dtype=above.dtype)
    first, second = jnp.cumsum(above), jnp.cumsum(day * above)

    def window(total: Array) -> Array:
        earlier = jnp.concatenate([jnp.zeros(min(span, n), total.dtype), total[: max(n - span, 0)]])
        return total - earlier

    amount = window(first)
    age = day * amount - window(second)
    return adag(before + 2.0 / span * ((1.0 - 0.5 / span) * amount - age / span))


def _span(lifetime: int | None) -> int:
    return round(fixed("red_cell_days")) if lifetime is None else lifetime
