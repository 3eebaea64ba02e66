"""Promise: what the prior thinks possible is physiological."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gemel.core.errors import ContractError
from gemel.engine.keys import stream
from gemel.testing.report import require
from gemel.testing.subject import Subject

__all__ = ["MARGIN", "SHARE", "check_prior"]

MARGIN = 0.5
"""How far beyond the declared domain a value may lie, as a share of the domain's width."""
SHARE = 0.95


@eqx.filter_jit
def simulated(model, z, plan, times, context, key):
    """Return (draw, time, output): outputs of unconstrained draws, without noise of measurement."""

    def one(zi, i):
        return model.simulate(model.prior.constrain(zi), plan, times, context, key=jax.random.fold_in(key, i))

    return jax.vmap(one)(z, jnp.arange(z.shape[0]))


def check_prior(subject: Subject) -> str:
    """Simulate prior draws over the person's record: at least 95 % of all values must be finite and inside the declared domain, with margin."""
    observed, specs = subject.observed, {o.name: o for o in subject.room.manifest.outputs}
    use = np.asarray(observed.data.mask)
    times = np.asarray(observed.data.time)
    context = jax.tree.map(np.asarray, observed.context)
    values = np.asarray(
        simulated(subject.model, subject.prior_draws, observed.plan, times, context, stream(subject.key("prior"), "paths"))
    )[:, use]
    shares = []
    for i, output in enumerate(subject.model.outputs):
        domain = specs[output.name].domain
        if domain is None:
            raise ContractError(f"output {output.name!r} declares no domain", fix="state domain = [low, high] in twin.toml")
        low, high = domain
        room = MARGIN * (high - low)
        inside = np.isfinite(values[..., i]) & (values[..., i] >= low - room) & (values[..., i] <= high + room)
        share = float(inside.mean())
        finite = values[..., i][np.isfinite(values[..., i])]
        span = f"{finite.min():.3g} to {finite.max():.3g}" if finite.size else "nothing finite"
        require(
            share >= SHARE, f"the prior is not physiological: {share:.1%} of simulated {output.name!r} lie inside the domain with its margin",
            seen=f"{span} {output.unit}", expected=f"{SHARE:.0%} within {low - room:g} to {high + room:g} {output.unit}",
        )  # fmt: skip
        shares.append(share)
    return f"{min(shares):.1%} of what {len(values)} prior draws do is physiological"
