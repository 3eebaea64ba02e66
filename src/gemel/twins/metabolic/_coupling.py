"""The slow axis and the day of one body: what months of weight and HbA1c say of insulin sensitivity and beta cells, heard by the twin of hours.

Both twins become rooms of :mod:`gemel.engine.compose`: Gaussian in the logarithms of body weight, insulin sensitivity and beta-cell function, the
latter two against the typical ones in type 2 diabetes. The twin of hours listens (its imports are cut) and teaches nothing. Approximate: posteriors
are taken for Gaussian, and the two models mean the same by insulin sensitivity only as factors on what is typical in each (ASSUMED).
"""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gemel.core.errors import ModelError
from gemel.core.manifest import Port, TwinManifest
from gemel.engine.compose import AbstractRoom, CompositeInference
from gemel.engine.keys import stream
from gemel.engine.sites import Gaussian, site_from_tilted
from gemel.engine.twin import Twin
from gemel.twins.metabolic.slow.model import SlowModel
from gemel.twins.metabolic.slow.priors import fixed
from gemel.twins.metabolic.t2d.model import Type2Model

__all__ = ["CODES", "GaussianRoom", "day_room", "handed_over", "heard", "slow_room"]

CODES = ("loinc:29463-7", "gemel:insulin-sensitivity", "gemel:beta-cell-function")
"""Shared coordinates, all as logarithms: body weight (kg), insulin sensitivity, beta-cell function."""
DRAWS = 1000
WEIGHT_SPREAD = 0.2
"""Standard deviation of the logarithm of body weight that the twin of hours believes before it hears: ASSUMED, its data say nothing of it."""


class GaussianRoom(AbstractRoom):
    """A twin whose prior and posterior on (shared, private) coordinates are taken for Gaussian.

    Parameters
    ----------
    name : id. exports, imports : its ports. private : names of the private coordinates, which follow the shared ones.
    prior : moments of the shared coordinates before this person was seen. mean, covariance : of all coordinates, given the data.
    """

    name: str = eqx.field(static=True)
    exports: tuple[Port, ...] = eqx.field(static=True)
    imports: tuple[Port, ...] = eqx.field(static=True)
    private: tuple[str, ...] = eqx.field(static=True)
    prior: Gaussian
    mean: Float[Array, " n"]
    covariance: Float[Array, "n n"]

    @property
    def id(self):
        """Id of the twin."""
        return self.name

    @property
    def ports(self):
        """Exports and imports."""
        return self.exports, self.imports

    @property
    def shared(self):
        """Codes of the shared parameters."""
        return CODES

    @property
    def logarithmic(self):
        """All shared coordinates are logarithms."""
        return (True,) * len(CODES)

    def shared_prior(self):
        """Return the prior of the shared coordinates."""
        return self.prior

    def tilted(self, cavity):
        """Return what the data make of ``cavity``: the posterior with the own prior divided out, times the cavity."""
        k = len(CODES)
        site = site_from_tilted(self.mean[:k], self.covariance[:k, :k], self.prior)
        return cavity.times(site).moments()

    def conditional(self):
        """Return the law of the private coordinates given the shared ones."""
        k = len(CODES)
        slope = jnp.linalg.solve(self.covariance[:k, :k], self.covariance[:k, k:]).T
        own = self.covariance[k:, k:] - slope @ self.covariance[:k, k:]
        return self.private, self.mean[k:] - slope @ self.mean[:k], slope, (own + own.T) / 2


def _moments(rows: np.ndarray) -> tuple[Array, Array]:
    return jnp.asarray(rows.mean(axis=0)), jnp.asarray(np.cov(rows, rowvar=False))


@eqx.filter_jit
def _at(model: SlowModel, z, plan, context, day):
    def one(zi):
        p = model.prior.constrain(zi)
        path, start = model.path(p, plan, context)
        grid = jnp.arange(context.day.shape[0] + 1.0)
        columns = ((path.weight, start), (path.sensitivity, p["sensitivity"]), (path.function, p["function"]))
        typical = jnp.asarray([1.0, fixed("typical_sensitivity"), fixed("typical_function")])
        return jnp.log(jnp.stack([jnp.interp(day, grid, jnp.concatenate([first[None], x])) for x, first in columns]) / typical)

    return jax.vmap(one)(z)


def handed_over(twin: Twin, z: Float[Array, "draw parameter"], *, days: float = 0.0) -> Float[np.ndarray, "draw 3"]:
    """Return what a slow twin exports so many days after its *now*: logarithms of weight (kg), sensitivity and function against the typical ones."""
    if not isinstance(twin.model, SlowModel):
        raise ModelError("only the slow axis hands over weight, sensitivity and function", seen=twin.model.id, expected="metabolic-slow")
    day = float(twin.model_time(np.asarray([twin.now]))[0]) + days
    context = jax.tree.map(np.asarray, twin.observed.context)
    return np.asarray(_at(twin.model, z, twin.observed.plan, context, jnp.asarray(day)))


def slow_room(twin: Twin, manifest: TwinManifest, *, key: PRNGKeyArray, days: float = 0.0) -> GaussianRoom:
    """Return the slow axis as a room, so many days after its *now*."""
    before = handed_over(twin, twin.model.prior.draw(DRAWS, key=stream(key, "prior")), days=days)
    z = twin.posterior.draw(DRAWS, key=stream(key, "posterior"))
    after = handed_over(twin, z, days=days)
    ports = tuple(p for p in manifest.exports if p.role == "parameter")
    keep = [i for i, name in enumerate(twin.model.prior.names) if name in ("kS", "recovery")]
    private = tuple(twin.model.prior.names[i] for i in keep)
    mean, covariance = _moments(np.concatenate([after, np.asarray(z)[:, keep]], axis=1))
    return GaussianRoom(manifest.id, ports, (), private, Gaussian.of_moments(*_moments(before)), mean, covariance)


def day_room(twin: Twin, manifest: TwinManifest) -> GaussianRoom:
    """Return the twin of hours as a room: its weight is what its record says, widely; sensitivity and function are its own parameters."""
    if not isinstance(twin.model, Type2Model):
        raise ModelError("only the type 2 twin listens to the slow axis", seen=twin.model.id, expected="metabolic-t2d")
    names = twin.model.prior.names
    order = [names.index("sensitivity"), names.index("function")]
    rest = [i for i in range(len(names)) if i not in order]
    weight = float(np.log(np.asarray(twin.observed.context.weight)))

    def wide(mean: Array, covariance: Array, index: list[int]) -> tuple[Array, Array]:
        whole = jax.scipy.linalg.block_diag(jnp.asarray([[WEIGHT_SPREAD**2]]), covariance[jnp.ix_(jnp.asarray(index), jnp.asarray(index))])
        return jnp.concatenate([jnp.asarray([weight]), mean[jnp.asarray(index)]]), whole

    ports = tuple(p for p in manifest.imports if p.role == "parameter")
    prior = Gaussian.of_moments(*wide(twin.model.prior.mean, twin.model.prior.covariance, order))
    mean, covariance = wide(*twin.posterior.moments(), order + rest)
    return GaussianRoom(manifest.id, (), ports, tuple(names[i] for i in rest), prior, mean, covariance)


def heard(twin: Twin, room: GaussianRoom, joint: CompositeInference) -> Twin:
    """Return the twin of hours after it has heard the slow axis: its weight, and its members moved so that they have the joint law.

    The shared coordinates are moved by the affine map between the two Gaussians, the private ones follow by regression: what no wire carries stays.
    """
    if twin.stream is None:
        raise ModelError("the twin has no stream to move", seen=twin.model.id)
    index = jnp.asarray([joint.names.index(code) for code in CODES[1:]])
    hub = np.asarray(joint.mean[index]), np.asarray(joint.covariance[jnp.ix_(index, index)])
    names, rows = twin.model.prior.names, np.array(twin.stream.rows)
    own = [names.index("sensitivity"), names.index("function")]
    rest = [names.index(name) for name in room.private]
    z = rows[:, own]
    now = z.mean(axis=0), np.cov(z, rowvar=False)
    moved = hub[0] + np.linalg.solve(np.linalg.cholesky(now[1]), (z - now[0]).T).T @ np.linalg.cholesky(hub[1]).T
    _, _, slope, _ = room.conditional()
    rows[:, rest] += (moved - z) @ np.asarray(slope)[:, 1:].T
    rows[:, own] = moved
    weight = float(np.exp(np.asarray(joint.mean)[joint.names.index(CODES[0])]))
    context = eqx.tree_at(lambda c: c.weight, twin.observed.context, np.asarray(weight))
    return replace(
        twin, stream=replace(twin.stream, rows=rows), observed=replace(twin.observed, context=context),
        notes=(*twin.notes, f"weight {weight:.0f} kg, insulin sensitivity and beta-cell function as the slow axis hands them over"),
    )  # fmt: skip
