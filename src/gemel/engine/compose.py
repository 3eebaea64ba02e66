"""Several twins of one body: ports joined into wires, and what the rooms share inferred on one hub.

Rooms never import each other: each declares ports (``core.manifest.Port``), and composition matches them by code and unit dimension.
Built here: shared parameters by Gaussian messages. Wires of series are checked and listed, but not simulated: composing rooms that
have them is refused.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gemel.core.code import Code, vocabulary
from gemel.core.errors import ManifestError, ModelError
from gemel.core.manifest import Port
from gemel.core.units import conversion_factor, is_convertible
from gemel.engine.sites import Gaussian, conflict_of_evidence, divergence, pooled, refine, site_from_tilted, stack
from gemel.engine.status import Status, worst

__all__ = ["AbstractRoom", "Composite", "CompositeInference", "LinearGaussianRoom", "Messages", "Wire", "Wiring", "compose"]

_PARTNER = {"parameter": "parameter", "output-series": "input-series", "plan-channel": "plan-channel"}


@dataclass(frozen=True)
class Wire:
    """One export joined to one import. ``factor`` turns the exporter's unit into the importer's and is applied here, once.

    ``within_domain`` is False where the exporter can hand over values outside what the importer was validated for: there the composite
    must abstain.
    """

    exporter: str
    export: Port
    importer: str
    wanted: Port
    factor: float
    within_domain: bool


def _check_code(room: str, port: Port) -> None:
    code = Code.parse(port.code)
    if code.system == "gemel" and port.code not in vocabulary:
        raise ManifestError(f"port {port.name!r} of {room} has an unknown house code", seen=port.code, fix="add it to core.code.vocabulary")


def _join(importer: str, wanted: Port, rooms: Mapping[str, tuple[Sequence[Port], Sequence[Port]]]) -> Wire | None:
    """Find the one exporter of an import, or None when there is none and the import has a default."""
    name = f"import {wanted.name!r} of {importer}"
    offers = [(room, port) for room, (exports, _) in rooms.items() if room != importer for port in exports if port.code == wanted.code]
    if not offers:
        if wanted.default is not None or wanted.owner:
            return None
        raise ManifestError(f"{name} has no exporter and no default", seen=wanted.code, fix="add a room that exports it, or a default")
    if len(offers) > 1:
        raise ManifestError(f"{name} has more than one exporter", seen=[f"{room}.{port.name}" for room, port in offers], expected="one")
    exporter, export = offers[0]
    other = f"export {export.name!r} of {exporter}"
    if _PARTNER.get(export.role) != wanted.role:
        raise ManifestError(f"{name} and {other} have roles that do not fit", seen=(export.role, wanted.role))
    if export.kind != wanted.kind:
        raise ManifestError(
            f"{name} and {other}: an amount is never joined to a level",
            seen=(export.kind, wanted.kind),
            fix="exchange the integral over a step",
        )
    if not is_convertible(export.unit, wanted.unit):
        raise ManifestError(f"{name} and {other} have units that cannot be converted", seen=(export.unit, wanted.unit))
    factor = conversion_factor(export.unit, wanted.unit)
    inside = True
    if wanted.domain is not None:
        low, high = wanted.domain
        inside = export.domain is not None and low <= factor * export.domain[0] and factor * export.domain[1] <= high
    return Wire(exporter, export, importer, wanted, factor, inside)


@dataclass(frozen=True)
class Wiring:
    """All wires of a composite, checked: the plain part of assembly, before anything is compiled."""

    rooms: tuple[str, ...]
    wires: tuple[Wire, ...]
    owners: Mapping[str, str]

    @classmethod
    def of(cls, rooms: Mapping[str, tuple[Sequence[Port], Sequence[Port]]]) -> Wiring:
        """Match ports.

        Parameters
        ----------
        rooms : id -> (exports, imports).

        Raises
        ------
        ManifestError
            For an unknown code, a unit that cannot be converted, no or more than one exporter of an import, roles that do not fit, an
            amount joined to a level, or a shared parameter whose prior has not exactly one owner.
        """
        for room, (exports, imports) in rooms.items():
            for port in (*exports, *imports):
                _check_code(room, port)
        joined = [_join(room, wanted, rooms) for room, (_, imports) in rooms.items() for wanted in imports]
        wires = tuple(w for w in joined if w is not None)
        owners = {}
        for code in {w.export.code for w in wires if w.export.role == "parameter"}:
            ports = {(w.exporter, w.export.owner) for w in wires if w.export.code == code}
            ports |= {(w.importer, w.wanted.owner) for w in wires if w.export.code == code}
            own = sorted(room for room, owner in ports if owner)
            if len(own) != 1:
                raise ManifestError(f"the prior of {code} needs exactly one owner", seen=own or "none", fix="set owner = true on one port")
            owners[code] = own[0]
        return cls(tuple(rooms), wires, owners)

    @property
    def outside_domain(self) -> tuple[Wire, ...]:
        """Wires on which the composite must abstain when a value leaves the importer's domain."""
        return tuple(w for w in self.wires if not w.within_domain)


class AbstractRoom(eqx.Module):
    """One twin as composition sees it: its ports, its prior on what it shares, and its posterior under another prior there."""

    @property
    @abc.abstractmethod
    def id(self) -> str:
        """Id of the twin."""

    @property
    @abc.abstractmethod
    def ports(self) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Exports and imports."""

    @property
    @abc.abstractmethod
    def shared(self) -> tuple[str, ...]:
        """Codes of the shared parameters, in the order of the room's shared coordinates."""

    @property
    @abc.abstractmethod
    def logarithmic(self) -> tuple[bool, ...]:
        """Which shared coordinates are logs of their parameter (a unit then shifts them) rather than the parameter itself."""

    @abc.abstractmethod
    def shared_prior(self) -> Gaussian:
        """Return the room's own prior on its shared coordinates."""

    @abc.abstractmethod
    def tilted(self, cavity: Gaussian) -> tuple[Float[Array, " k"], Float[Array, "k k"]]:
        """Return mean and covariance of the shared coordinates given the data, with ``cavity`` in the place of the own prior there."""

    @abc.abstractmethod
    def conditional(self) -> tuple[tuple[str, ...], Float[Array, " m"], Float[Array, "m k"], Float[Array, "m m"]]:
        """Return names, offset, slope and covariance of the private coordinates given the shared ones and the data (Laplace)."""


class LinearGaussianRoom(AbstractRoom):
    """A room with Gaussian prior and linear observations ``y = design @ (shared, private) + noise``: every answer is exact.

    Parameters
    ----------
    name : id.
    exports, imports : ports; those of role ``parameter`` are the shared coordinates, exports first.
    private : names of the private coordinates, which follow the shared ones.
    mean, covariance : prior of (shared, private).
    design, observed, noise : (datum, coordinate), (datum,), (datum, datum).
    """

    name: str = eqx.field(static=True)
    exports: tuple[Port, ...] = eqx.field(static=True)
    imports: tuple[Port, ...] = eqx.field(static=True)
    private: tuple[str, ...] = eqx.field(static=True)
    mean: Float[Array, " n"]
    covariance: Float[Array, "n n"]
    design: Float[Array, "datum n"]
    observed: Float[Array, " datum"]
    noise: Float[Array, "datum datum"]
    logs: tuple[str, ...] = eqx.field(static=True, default=())

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
        return tuple(p.code for p in (*self.exports, *self.imports) if p.role == "parameter")

    @property
    def logarithmic(self):
        """Which shared coordinates are logs."""
        return tuple(code in self.logs for code in self.shared)

    def shared_prior(self):
        """Return the marginal prior of the shared coordinates."""
        k = len(self.shared)
        return Gaussian.of_moments(self.mean[:k], self.covariance[:k, :k])

    def _factor(self) -> Gaussian:
        """What remains of prior and data on (shared, private) when the prior of the shared ones is divided out."""
        n, k = self.mean.shape[0], len(self.shared)
        weighted = jnp.linalg.solve(self.noise, self.design)
        data = Gaussian(self.design.T @ weighted, weighted.T @ self.observed)
        return Gaussian.of_moments(self.mean, self.covariance).without(self.shared_prior().embed(jnp.arange(k), n)).times(data)

    def tilted(self, cavity):
        """Return the exact tilted moments."""
        k = len(self.shared)
        mean, covariance = self._factor().times(cavity.embed(jnp.arange(k), self.mean.shape[0])).moments()
        return mean[:k], covariance[:k, :k]

    def conditional(self):
        """Return the exact law of the private coordinates given the shared ones."""
        k, factor = len(self.shared), self._factor()
        own = jnp.linalg.inv(factor.precision[k:, k:])
        return self.private, own @ factor.shift[k:], -own @ factor.precision[k:, :k], own


@dataclass(frozen=True, eq=False)
class Composite:
    """Rooms that share parameters around one hub, in the owners' units.

    ``places[i]`` are the hub coordinates of room i; its own coordinate is ``scale * hub + offset``. A room that ``listens`` has its imports
    cut: it hears the hub and teaches it nothing.
    """

    rooms: tuple[AbstractRoom, ...]
    wiring: Wiring
    codes: tuple[str, ...]
    places: tuple[Array, ...]
    scales: tuple[Array, ...]
    offsets: tuple[Array, ...]
    listens: tuple[bool, ...]
    prior: Gaussian


def compose(rooms: Sequence[AbstractRoom]) -> Composite:
    """Join rooms by their ports.

    Parameters
    ----------
    rooms : two or more, ids differ.

    Raises
    ------
    ManifestError
        See :meth:`Wiring.of`.
    ModelError
        When rooms exchange series (co-simulation is not part of this composition), two rooms keep one parameter in different spaces, or
        a room is cut on some of its wires only.
    UnitError
        When two units of a shared parameter differ by more than a factor.
    """
    by_id = {room.id: room for room in rooms}
    if len(by_id) != len(rooms):
        raise ModelError("rooms of one composite need different ids", seen=[room.id for room in rooms])
    wiring = Wiring.of({room.id: room.ports for room in rooms})
    series = [w for w in wiring.wires if w.export.role == "output-series"]
    if series:
        raise ModelError("these rooms exchange series; only shared parameters are composed here", seen=[w.wanted.name for w in series])
    owners = dict(wiring.owners)
    wired = {(room, w.export.code) for w in wiring.wires for room in (w.exporter, w.importer)}
    for room, code in [(r.id, c) for r in rooms for c in r.shared if (r.id, c) not in wired]:
        if code in owners:
            raise ModelError(
                f"{room} and {owners[code]} have {code} without a wire between them", fix="export it from one, import it in the other"
            )
        owners[code] = room  # nobody else wants it: the room keeps its own prior
    codes = tuple(sorted(owners))
    units = {(room.id, p.code): p.unit for room in rooms for side in room.ports for p in side if p.role == "parameter"}
    places, scales, offsets = [], [], []
    for room in rooms:
        factors = [conversion_factor(units[owners[code], code], units[room.id, code]) for code in room.shared]
        for code, is_log in zip(room.shared, room.logarithmic, strict=True):
            owner = by_id[owners[code]]
            if owner.logarithmic[owner.shared.index(code)] != is_log:
                raise ModelError(
                    f"{room.id} and {owner.id} keep {code} in different spaces", seen="log and identity", expected="one of them"
                )
        places.append(jnp.asarray([codes.index(code) for code in room.shared], int))
        scales.append(jnp.asarray([1.0 if is_log else f for f, is_log in zip(factors, room.logarithmic, strict=True)]))
        offsets.append(jnp.asarray([log(f) if is_log else 0.0 for f, is_log in zip(factors, room.logarithmic, strict=True)]))
    listens = tuple(_listens(room, wiring) for room in rooms)
    prior = Gaussian.flat(len(codes))
    for room, place in zip(rooms, places, strict=True):
        mine = jnp.asarray([i for i, code in enumerate(room.shared) if owners[code] == room.id], int)
        if mine.size:
            prior = prior.times(room.shared_prior().marginal(mine).embed(place[mine], len(codes)))
    return Composite(tuple(rooms), wiring, codes, tuple(places), tuple(scales), tuple(offsets), listens, prior)


def _listens(room: AbstractRoom, wiring: Wiring) -> bool:
    """Say whether all of a room's wires are cut towards it."""
    kinds = {w.wanted.feedback for w in wiring.wires if w.importer == room.id} | {"full" for w in wiring.wires if w.exporter == room.id}
    if len(kinds) > 1:
        raise ModelError(
            f"{room.id} is cut on some wires and teaches on others", fix="split the room, or give all its parameter imports one feedback"
        )
    return kinds == {"cut"}


class CompositeInference(eqx.Module):
    """What the rooms know together: the hub, the sites, and the joint law of (hub, private coordinates of every room).

    ``conflicts`` holds statistic, degrees of freedom and p-value of each room against all others.
    """

    hub: Gaussian
    sites: Gaussian
    names: tuple[str, ...] = eqx.field(static=True)
    mean: Float[Array, " n"]
    covariance: Float[Array, "n n"]
    conflicts: tuple[tuple[Array, Array, Array], ...]
    sweeps: int
    status: int
    method_validity: str = eqx.field(static=True)


class Messages(eqx.Module):
    """Gaussian messages around one hub.

    Parameters
    ----------
    sweeps : at most this many.
    damping : 1 for serial sweeps; None takes 1, or 1/K for parallel ones.
    schedule : ``"serial"`` uses each new site at once, ``"parallel"`` all rooms calibrate against the hub of the last sweep.
    tolerance : stop when the divergence of the hub from the last one is below this, in nats.
    """

    sweeps: int = eqx.field(static=True, default=50)
    damping: float | None = eqx.field(static=True, default=None)
    schedule: Literal["serial", "parallel"] = eqx.field(static=True, default="serial")
    tolerance: float = eqx.field(static=True, default=1e-6)

    def run(self, composite: Composite) -> CompositeInference:
        """Infer the joint posterior of a composite."""
        n, count = len(composite.codes), len(composite.rooms)
        damping = self.damping or (1.0 if self.schedule == "serial" else 1.0 / count)
        sites = stack([Gaussian.flat(n) for _ in range(count)])
        hub, refused, gap, done = composite.prior, [Status.OK] * count, jnp.inf, 0
        while done < self.sweeps and not gap < self.tolerance:
            basis, before = sites, hub
            for k in (k for k in range(count) if not composite.listens[k]):
                proposal = self._proposal(composite, basis if self.schedule == "parallel" else sites, k)
                refined = refine(composite.prior, sites, k, proposal, damping)
                sites, refused[k] = refined.sites, Status(int(refined.status))
            hub = pooled(composite.prior, sites)
            gap, done = divergence(hub, before), done + 1
        conflicts = tuple(self._conflict(composite, hub, sites, k) for k in range(count))
        status = worst(*refused, Status.OK if gap < self.tolerance else Status.NOT_CONVERGED)
        if any(p < 0.005 for _, _, p in conflicts):
            status = worst(status, Status.PRIOR_DATA_CONFLICT)
        names, mean, covariance = _joint(composite, hub)
        validity = "exact for linear-Gaussian rooms, loops included; approximate otherwise (moment matching)"
        return CompositeInference(hub, sites, names, mean, covariance, conflicts, done, status, validity)

    @staticmethod
    def _proposal(composite: Composite, sites: Gaussian, k: int) -> Gaussian:
        """Return the site of room k, calibrated against its cavity."""
        place, scale, offset = composite.places[k], composite.scales[k], composite.offsets[k]
        cavity = pooled(composite.prior, sites).without(jax.tree.map(lambda a: a[k], sites)).marginal(place)
        local = cavity.rescaled(1 / scale, -offset / scale)
        site = site_from_tilted(*composite.rooms[k].tilted(local), local)
        return site.rescaled(scale, offset).embed(place, len(composite.codes))

    @staticmethod
    def _conflict(composite: Composite, hub: Gaussian, sites: Gaussian, k: int) -> tuple[Array, Array, Array]:
        own = jax.tree.map(lambda a: a[k], sites)
        place = composite.places[k]
        local = Gaussian(own.precision[jnp.ix_(place, place)], own.shift[place])
        return conflict_of_evidence(local, hub.without(own).marginal(place))


def _joint(composite: Composite, hub: Gaussian) -> tuple[tuple[str, ...], Array, Array]:
    """Joint law of the hub and every room's private coordinates, which are independent given the hub."""
    mean, covariance = hub.moments()
    n = len(composite.codes)
    names, slopes, means, owns = list(composite.codes), [jnp.eye(n)], [mean], [jnp.zeros((n, n))]
    for room, place, scale, offset in zip(composite.rooms, composite.places, composite.scales, composite.offsets, strict=True):
        private, start, slope, own = room.conditional()
        names += [f"{room.id}.{name}" for name in private]
        means.append(start + slope @ (scale * mean[place] + offset))
        slopes.append(jnp.zeros((len(private), n)).at[:, place].set(slope * scale))
        owns.append(own)
    slope = jnp.concatenate(slopes)
    return tuple(names), jnp.concatenate(means), slope @ covariance @ slope.T + jax.scipy.linalg.block_diag(*owns)
