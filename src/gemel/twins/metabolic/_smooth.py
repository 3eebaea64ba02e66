"""A smooth ``max(x, 0)``: thresholds of the published equations without their kink (house rule: right-hand sides are smooth)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["ramp"]


def ramp(x: Array, width: float) -> Array:
    """Return ``max(x, 0)`` with its kink spread over ``-width`` to ``width``: twice differentiable, and exact outside.

    Its slope there is the smooth step ``3 t^2 - 2 t^3``. It lies at most ``3/16 width`` above the kink.

    Examples
    --------
    >>> [float(ramp(x, 1.0)) for x in (-1.0, 0.0, 2.0)]
    [0.0, 0.1875, 2.0]
    """
    t = jnp.clip((x + width) / (2.0 * width), 0.0, 1.0)
    return width * t**3 * (2.0 - t) + jnp.maximum(x - width, 0.0)
