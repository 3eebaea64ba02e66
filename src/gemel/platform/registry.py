"""What is installed: manifests without importing anything, rooms and models when asked for, and which twins fit together.

A twin that cannot be loaded is listed with its error; it never keeps the others from being listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

from gemel.core.errors import GemelError, ManifestError
from gemel.core.manifest import Port, TwinManifest, entry_point, installed, match_ports

if TYPE_CHECKING:
    from gemel.engine.model import AbstractModel
    from gemel.engine.room import Room

__all__ = ["Coupling", "Installed", "couplings", "models", "twins"]


@dataclass(frozen=True)
class Installed:
    """One registered twin. ``manifest`` or ``room`` is ``None`` where ``error`` says why, ``room`` also when rooms were not asked for."""

    id: str
    provider: str
    manifest: TwinManifest | None = None
    room: Room | None = None
    error: GemelError | None = None


@dataclass(frozen=True)
class Coupling:
    """One export of a twin that another can take in. ``factor`` turns the exporter's unit into the importer's."""

    exporter: str
    importer: str
    export: Port
    wanted: Port
    factor: float


def _room(twin: str) -> Room:
    from gemel.verbs import room

    try:
        return room(twin)
    except GemelError:
        raise
    except Exception as error:  # whatever a third party's module does when imported: it is reported, never passed on
        raise ManifestError(
            f"twin {twin!r} cannot be imported",
            seen=f"{type(error).__name__}: {error}",
            fix="reinstall or repair the package that provides it",
        ) from error


def twins(*, rooms: bool = False) -> tuple[Installed, ...]:
    """List every registered twin.

    Parameters
    ----------
    rooms : also import each room (and with it the numeric stack).
    """
    found = []
    for name, manifest in installed().items():
        point = entry_point(name)
        provider = point.dist.name if point.dist is not None else point.module.partition(".")[0]
        if isinstance(manifest, GemelError):
            found.append(Installed(name, provider, error=manifest))
            continue
        try:
            found.append(Installed(name, provider, manifest, _room(name) if rooms else None))
        except GemelError as error:
            found.append(Installed(name, provider, manifest, error=error))
    return tuple(found)


def models(*, only: Iterable[str] | None = None) -> dict[str, AbstractModel | GemelError]:
    """Build the model of every registered twin, or give the error that keeps it from being built."""
    wanted = None if only is None else set(only)
    found: dict[str, Any] = {}
    for twin in installed():
        if wanted is None or twin in wanted:
            try:
                found[twin] = _room(twin).model()
            except GemelError as error:
                found[twin] = error
    return found


def couplings() -> tuple[Coupling, ...]:
    """List every pair of installed twins that fit together, by code and unit of their ports, never by name."""
    manifests = [manifest for manifest in installed().values() if isinstance(manifest, TwinManifest)]
    found = []
    for exporter, importer in permutations(manifests, 2):
        try:
            pairs = match_ports(exporter, importer)
        except ManifestError:  # more than one exporter for one import: that pair fits in no single way
            continue
        found += [Coupling(exporter.id, importer.id, export, wanted, factor) for export, wanted, factor in pairs]
    return tuple(found)
