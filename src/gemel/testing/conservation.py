"""Promise: what the room declares to be conserved is conserved."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gemel.testing.report import require
from gemel.testing.subject import Subject

__all__ = ["TOLERANCE", "check_conservation"]

TOLERANCE = 1e-9
"""Relative; a law may carry its own as an attribute ``tolerance``."""


def check_conservation(subject: Subject) -> str:
    """Evaluate each law of the evidence module's ``CONSERVATION`` at prior draws.

    A law is ``law(model, params, plan, times, context) -> relative errors``; ``CONSERVATION`` is a tuple of laws, or a mapping from twin to tuple.
    """
    laws = subject.declared("CONSERVATION")
    if not laws:
        return "no law is declared"
    observed, model = subject.observed, subject.model
    context = jax.tree.map(np.asarray, observed.context)
    times = np.asarray(observed.data.time)
    worst = 0.0
    for law in laws:

        @eqx.filter_jit
        def errors(model, z, plan, times, context, law=law):
            return jax.vmap(lambda zi: jnp.atleast_1d(law(model, model.prior.constrain(zi), plan, times, context)))(z)

        found = np.abs(np.asarray(errors(model, subject.prior_draws[:8], observed.plan, times, context)))
        limit = getattr(law, "tolerance", TOLERANCE)
        require(
            found.max() <= limit,
            f"not conserved: {law.__name__.replace('_', ' ')}",
            seen=f"relative error {found.max():.2e}",
            expected=f"<= {limit:.0e}",
        )
        worst = max(worst, float(found.max()))
    return f"{len(laws)} law(s), largest relative error {worst:.1e}"
