"""Promise: the model can be compiled, mapped and differentiated, and its gradient is the slope."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gemel.engine.model import AbstractLeastSquaresModel, AbstractModel, target_of
from gemel.testing.report import require
from gemel.testing.subject import Subject

__all__ = ["check_transforms"]

STEP = 1e-5
"""Step of the central difference in unconstrained space: its error is about 1e-10 of the third derivative plus 1e-11 of the value."""
CLOSE = 1e-4


@eqx.filter_jit
def _value(target, z):
    return target.log_likelihood(z)


@eqx.filter_jit
def _values(target, z):
    return jax.vmap(target.log_likelihood)(z)


@eqx.filter_jit
def _slope(target, z):
    return jax.grad(target.log_likelihood)(z)


@eqx.filter_jit
def _squares(target, z):
    return jnp.sum(target.residual(z) ** 2)


def check_transforms(subject: Subject) -> str:
    """Run the log likelihood under jit, vmap and grad at prior draws; compare the gradient with central differences."""
    model: AbstractModel = subject.model
    target = target_of(model, subject.observed)
    points = np.concatenate([np.asarray(model.prior.mean)[None], subject.prior_draws[:2]])
    single = np.array([float(_value(target, z)) for z in points])
    require(np.isfinite(single).all(), "the log likelihood of a prior draw is not finite", seen=single)
    mapped = np.asarray(_values(target, points))
    # programs of different shape may sum in another order
    require(np.allclose(single, mapped, rtol=1e-9, atol=1e-9), "vmap changes the log likelihood", seen=mapped, expected=single)
    names, worst = model.prior.names, 0.0
    for z in points[:2]:
        slope = np.asarray(_slope(target, z))
        bad = [n for n, g in zip(names, slope, strict=True) if not np.isfinite(g)]
        require(not bad, "the gradient is not finite", seen=bad, fix="guard both branches of every where, and roots and logarithms at zero")
        steps = STEP * np.eye(len(z))
        sides = np.asarray(_values(target, np.concatenate([z + steps, z - steps])))
        difference = (sides[: len(z)] - sides[len(z) :]) / (2 * STEP)
        scale = np.maximum(np.abs(difference), 1.0 + 1e-3 * np.abs(difference).max())
        error = np.abs(slope - difference) / scale
        worst = max(worst, float(error.max()))
        which = names[int(error.argmax())]
        require(
            error.max() <= CLOSE,
            f"the gradient of {which!r} is not the slope",
            seen=slope[error.argmax()],
            expected=difference[error.argmax()],
        )
    if isinstance(model, AbstractLeastSquaresModel):
        squares = np.array([float(_squares(target, z)) for z in points])
        gap = (single - single[0]) + 0.5 * (squares - squares[0])
        fits = np.abs(gap) <= 1e-8 * (1 + np.abs(single) + squares)
        require(
            fits.all(),
            "log likelihood and residual disagree: it must be -|r|^2/2 plus a constant",
            seen=float(np.abs(gap).max()),
            expected="< 1e-8 of the whole",
        )
    return f"gradient within {worst:.1e} of central differences"
