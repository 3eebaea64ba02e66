"""Which of a twin's parameters decide what it says: the estimators of this floor on a room's model, all runs in one compiled program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy import special

from gemel.core.errors import EvidenceError
from gemel.engine.keys import stream
from gemel.engine.model import AbstractModel, Observed
from gemel.engine.plan import Plan
from gemel.engine.posterior import AbstractPosterior
from gemel.evidence.sensitivity.morris import MorrisResult, morris
from gemel.evidence.sensitivity.polynomial_chaos import PolynomialChaos, polynomial_chaos
from gemel.evidence.sensitivity.shapley import ShapleyResult, shapley
from gemel.evidence.sensitivity.sobol import SobolResult, sobol
from gemel.evidence.sensitivity.unit_cube import Inputs

__all__ = ["Quantities", "batched_model", "parameter_inputs", "sensitivity_of"]

Quantities = Mapping[str, Callable[[Float[jax.Array, "time output"]], Float[jax.Array, ""]]]
"""Quantities of interest by name, each a traceable function of the simulated outputs."""
CORRELATED = 1e-9
BATCH = 1024


@eqx.filter_jit
def _runs(model: AbstractModel, z, plan, times, context, key, quantities):
    def one(zi):
        path = model.simulate(model.prior.constrain(zi), plan, times, context, key=key)
        return path[:, 0] if quantities is None else jnp.stack([jnp.asarray(q(path)) for _, q in quantities])

    return jax.vmap(one)(z)


def batched_model(
    model: AbstractModel, plan: Plan | None, observed: Observed, times: Float[np.ndarray, " time"], quantities: Quantities | None = None, *,
    key: PRNGKeyArray,
) -> Callable[[Float[np.ndarray, "n parameter"]], Float[np.ndarray, "n quantity"]]:  # fmt: skip
    """Return a function of unconstrained parameters that simulates many people at once; the noise of the model, if any, is the same for all.

    Parameters
    ----------
    plan : left out, what was observed to be done.
    observed : whose context, and whose plan if none is given.
    times : (time,) in the model's unit, since its epoch.
    quantities : left out, the first output at each time.
    """
    context = jax.tree.map(np.asarray, observed.context)
    told = None if quantities is None else tuple(quantities.items())
    done, at = observed.plan if plan is None else plan, jnp.asarray(times, float)

    def run(z):
        return np.asarray(_runs(model, jnp.asarray(z, float), done, at, context, stream(key, "simulate"), told))

    return run


def _moments(model: AbstractModel, posterior: AbstractPosterior | None) -> tuple[np.ndarray, np.ndarray]:
    if posterior is None:
        return np.asarray(model.prior.mean), np.asarray(model.prior.covariance)
    mean, covariance = posterior.moments()
    return np.asarray(mean), np.asarray(covariance)


def parameter_inputs(model: AbstractModel, posterior: AbstractPosterior | None = None) -> Inputs:
    """Return a model's unconstrained parameters as independent normal inputs.

    Their spread is the prior's, or the Gaussian approximation of a posterior. Correlations are left out, and the note says how large they are.
    """
    mean, covariance = _moments(model, posterior)
    sd = np.sqrt(np.diag(covariance))
    largest = float(np.abs(covariance / np.outer(sd, sd) - np.eye(len(sd))).max()) if len(sd) > 1 else 0.0
    source = "prior" if posterior is None else "posterior"
    note = f"spread of the {source}" + (f", its correlations (largest {largest:.2f}) left out" if largest > CORRELATED else "")
    return Inputs(model.prior.names, lambda u: mean + sd * special.ndtri(u), note)


def sensitivity_of(
    model: AbstractModel, plan: Plan | None, observed: Observed, times: Float[np.ndarray, " time"], quantities: Quantities | None = None, *,
    method: Literal["sobol", "morris", "shapley", "polynomial"] = "sobol", n: int | None = None, posterior: AbstractPosterior | None = None,
    seed: int = 0, key: PRNGKeyArray, batch: int = BATCH, **options: Any,
) -> SobolResult | MorrisResult | ShapleyResult | PolynomialChaos:  # fmt: skip
    """Say which parameters decide what a model simulates, over its prior or a posterior.

    Parameters
    ----------
    model, plan, observed, times, quantities, key : as in :func:`batched_model`. With ``quantities`` left out the indices are curves over ``times``.
    method : *sobol* shares out variance among independent parameters; *morris* ranks many with few runs; *shapley* keeps the correlations (one quantity);
        *polynomial* when a run is dear.
    n : base points, trajectories, outer draws or runs; left out, 4096, 64, 1000 or 256.
    posterior : left out, the prior.
    seed : of designs and bootstrap; ``key`` is the model's own noise.
    batch : simulations per compiled call.
    options : passed on to the method.

    Returns
    -------
    :class:`~gemel.evidence.sensitivity.sobol.SobolResult`, :class:`~gemel.evidence.sensitivity.morris.MorrisResult`, :class:`~gemel.evidence.sensitivity.shapley.ShapleyResult` or
    :class:`~gemel.evidence.sensitivity.polynomial_chaos.PolynomialChaos`, by method.

    Raises
    ------
    EvidenceError
        When the method is not known, several quantities are given to *shapley*, or a simulation is not finite (with its unconstrained parameters).
    """
    run = batched_model(model, plan, observed, times, quantities, key=key)
    names = tuple(f"{t:g}" for t in np.asarray(times, float)) if quantities is None else tuple(quantities)
    inputs = parameter_inputs(model, posterior)
    if method == "sobol":
        return sobol(run, inputs, n=n or 2**12, outputs=names, seed=seed, batch=batch, **options)
    if method == "morris":
        return morris(run, inputs, trajectories=n or 64, outputs=names, seed=seed, batch=batch, **{"margin": 0.025} | options)
    if method == "polynomial":
        return polynomial_chaos(run, inputs, n=n or 256, outputs=names, seed=seed, batch=batch, **{"family": "normal"} | options)
    if method != "shapley":
        raise EvidenceError("no such method of sensitivity", seen=method, expected="sobol, morris, shapley or polynomial")
    if len(names) != 1:
        raise EvidenceError(
            "Shapley effects are of one quantity at a time", seen=f"{len(names)} quantities", fix="pass quantities={name: function}"
        )
    mean, covariance = _moments(model, posterior)
    return shapley(run, inputs.names, mean, covariance, output=names[0], outer=n or 1000, seed=seed, batch=batch, **options)
