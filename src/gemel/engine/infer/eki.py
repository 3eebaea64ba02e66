"""Ensemble smoother with multiple data assimilation (iterated ensemble Kalman inversion): no derivatives, cheap, and biased off the linear case."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from gemel.core.errors import InferenceError
from gemel.core.protocols import Progress
from gemel.engine.infer.base import AbstractLeastSquaresTarget, AbstractMethod, AbstractTarget, Inference
from gemel.engine.keys import stream
from gemel.engine.posterior import Ensemble
from gemel.engine.status import Status

__all__ = ["EnsembleSmoother"]


@eqx.filter_jit
def _begin(target: AbstractLeastSquaresTarget, keys: PRNGKeyArray) -> tuple[Array, Array]:
    z = jax.vmap(lambda k: target.start(key=k))(keys)
    return z, jax.vmap(target.residual)(z)


@eqx.filter_jit
def _step(target: AbstractLeastSquaresTarget, z: Array, r: Array, inflation: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
    """Assimilate the data once with their variance multiplied by ``inflation``. Residuals are whitened: data zero, variance one."""
    n, m = r.shape
    away, spread = z - z.mean(axis=0), r - r.mean(axis=0)
    noise = jnp.sqrt(inflation) * jax.random.normal(key, (n, m))
    innovation = noise - noise.mean(axis=0) - r
    total = spread.T @ spread / (n - 1) + inflation * jnp.eye(m)
    z = z + jax.scipy.linalg.solve(total, innovation.T, assume_a="pos").T @ (spread.T @ away) / (n - 1)
    return z, jax.vmap(target.residual)(z)


class EnsembleSmoother(AbstractMethod):
    """ES-MDA: the data are assimilated ``steps`` times with their error variance inflated, so that the inverses sum to one.

    Parameters
    ----------
    members : of the ensemble; it starts as prior draws.
    inflations : factors of the error variance, one per step; their inverses must sum to one.

    References
    ----------
    Emerick and Reynolds 2013, doi:10.1016/j.cageo.2012.03.011, eq. (8) to (10).
    """

    members: int = eqx.field(static=True, default=1000)
    inflations: tuple[float, ...] = eqx.field(static=True, default=(4.0, 4.0, 4.0, 4.0))

    @property
    def name(self):
        """Return ``eki``."""
        return "eki"

    @property
    def validity(self):
        """Say when it is exact."""
        return (
            "approximate: exact only for linear-Gaussian problems with infinitely many members; "
            f"biased when the model is not linear (ES-MDA, {len(self.inflations)} steps, {self.members} members)"
        )

    def run(self, target: AbstractTarget, *, key: PRNGKeyArray, progress: Progress | None = None) -> Inference:
        """Infer the posterior of one target."""
        if not isinstance(target, AbstractLeastSquaresTarget):
            raise InferenceError("ensemble smoothing needs a least-squares target", seen=type(target).__name__, fix="use Smc or Nuts")
        if abs(sum(1 / a for a in self.inflations) - 1) > 1e-9:
            raise InferenceError("the inverses of the inflations must sum to one", seen=self.inflations)
        keys = jax.vmap(lambda i: jax.random.fold_in(stream(key, "start"), i))(jnp.arange(self.members))
        z, r = _begin(target, keys)
        misfit = [_misfit(r)]
        if progress is not None:
            progress.start("eki", len(self.inflations))
        cancelled = False
        for i, inflation in enumerate(self.inflations):
            if cancelled:
                break
            z, r = _step(target, z, r, jnp.asarray(inflation), jax.random.fold_in(stream(key, "noise"), i))
            misfit.append(_misfit(r))
            if progress is not None:
                cancelled = progress.update(i + 1) is False
        if progress is not None:
            progress.finish()
        lost = int((~np.isfinite(np.asarray(z)).all(axis=1)).sum())
        status = Status.NOT_FINITE if lost else Status.CANCELLED if cancelled else Status.OK
        diagnostics = {"misfit": np.array(misfit), "members_not_finite": lost}
        return Inference(Ensemble.equal(z), diagnostics, int(status), self.name, self.validity)


def _misfit(residual: Array) -> float:
    """Return the mean squared whitened residual: near one where the data are met to within their noise."""
    return float(jnp.mean(jnp.square(residual)))
