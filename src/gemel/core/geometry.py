"""Geometry of a patient, SI (metres): image volume, surface, tree. Types only; making them is the work of ``imaging``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from gemel.core.errors import DataError, GeometryError

__all__ = ["Geometry", "Surface", "Tree", "Volume"]


class Geometry(BaseModel):
    """What all geometry has in common: a name, both times, a source and arrays that nobody can write to."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    kind: Literal["geometry"] = "geometry"
    name: str
    time: int
    recorded: int
    source: str = "unknown"

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies this fact."""
        return ("geometry", type(self).__name__, self.name, self.source, str(self.time))


def _frozen(data: Any, columns: dict[str, Any]) -> Any:
    if not isinstance(data, dict):
        return data
    data = dict(data)
    for name, dtype in columns.items():
        array = np.array(data[name], dtype=dtype)
        array.flags.writeable = False
        data[name] = array
    return data


class Volume(Geometry):
    """A regular grid of values. ``affine`` (4, 4) maps voxel index (i, j, k, 1) to metres in patient space (left, posterior, superior)."""

    values: np.ndarray
    affine: np.ndarray
    unit: str

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, data: Any) -> Any:
        return _frozen(data, {"values": None, "affine": np.float64})

    @model_validator(mode="after")
    def _valid(self) -> Volume:
        if self.values.ndim != 3 or self.affine.shape != (4, 4) or abs(np.linalg.det(self.affine)) < 1e-30:
            raise DataError(
                "a volume needs a three-dimensional array and an invertible 4 x 4 affine", seen=(self.values.shape, self.affine.shape)
            )
        return self


class Surface(Geometry):
    """Triangles. ``vertices`` (v, 3) metres; ``triangles`` (t, 3) indices, outward orientation."""

    vertices: np.ndarray
    triangles: np.ndarray

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, data: Any) -> Any:
        return _frozen(data, {"vertices": np.float64, "triangles": np.int64})

    @model_validator(mode="after")
    def _valid(self) -> Surface:
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3 or self.triangles.ndim != 2 or self.triangles.shape[1] != 3:
            raise DataError("a surface needs (v, 3) vertices and (t, 3) triangles", seen=(self.vertices.shape, self.triangles.shape))
        if self.triangles.size and (self.triangles.min() < 0 or self.triangles.max() >= len(self.vertices)):
            raise DataError(
                "a triangle names a vertex that does not exist", seen=int(self.triangles.max()), expected=f"0..{len(self.vertices) - 1}"
            )
        return self


class Tree(Geometry):
    """A vessel or airway tree in patient space (left, posterior, superior), one row per point, parents before their children.

    ``points`` (p, 3) metres; ``radius`` (p,) metres, that of the circle of the same area; ``parent`` (p,) index of the upstream point, -1 at a root.

    What may be known besides, ``None`` where it is not: ``radius_sd`` (p,) metres, standard deviation of the radius; ``branch`` (p,) number of the
    branch, ``labels`` the name of each branch by that number; ``lumen_area`` and ``wall_area`` (p,) m^2, inside the lumen and inside the outer wall.
    """

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"radius_sd", "branch", "labels", "lumen_area", "wall_area"})

    points: np.ndarray
    radius: np.ndarray
    parent: np.ndarray
    radius_sd: np.ndarray | None = None
    branch: np.ndarray | None = None
    labels: tuple[str, ...] = ()
    lumen_area: np.ndarray | None = None
    wall_area: np.ndarray | None = None

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, data: Any) -> Any:
        known = {"points": np.float64, "radius": np.float64, "parent": np.int64}
        extra = {"radius_sd": np.float64, "branch": np.int64, "lumen_area": np.float64, "wall_area": np.float64}
        given = {name: kind for name, kind in extra.items() if isinstance(data, dict) and data.get(name) is not None}
        return _frozen(data, known | given)

    @model_validator(mode="after")
    def _valid(self) -> Tree:
        n = len(self.points)
        if self.points.shape != (n, 3) or self.radius.shape != (n,) or self.parent.shape != (n,):
            raise DataError(
                "a tree needs (p, 3) points, (p,) radii and (p,) parents", seen=(self.points.shape, self.radius.shape, self.parent.shape)
            )
        if (self.parent >= np.arange(n)).any() or (self.parent < -1).any():
            raise DataError("parents of a tree must come before their children (and -1 at a root)")
        if not np.isfinite(self.points).all() or not (np.isfinite(self.radius) & (self.radius > 0)).all():
            bad = int(np.flatnonzero(~(np.isfinite(self.points).all(axis=1) & np.isfinite(self.radius) & (self.radius > 0)))[0])
            raise GeometryError(
                f"point {bad} of the tree has no place or no positive radius", seen=(self.points[bad].tolist(), float(self.radius[bad])),
                expected="finite metres, radius > 0", reason="bad-radius",
            )  # fmt: skip
        for name in ("radius_sd", "branch", "lumen_area", "wall_area"):
            column = getattr(self, name)
            if column is not None and column.shape != (n,):
                raise DataError(f"{name} of a tree has another length than its points", seen=column.shape, expected=(n,))
        if self.labels and (self.branch is None or (n and not 0 <= self.branch.min() <= self.branch.max() < len(self.labels))):
            raise DataError("labels of a tree need a branch number for each point", seen=len(self.labels))
        return self

    @property
    def step(self) -> np.ndarray:
        """(p,) metres from the upstream point; 0 at a root."""
        above = np.where(self.parent < 0, np.arange(len(self.parent)), self.parent)
        return np.linalg.norm(self.points - self.points[above], axis=1)

    @property
    def distance(self) -> np.ndarray:
        """(p,) metres along the vessel from the root."""
        found = self.step.copy()
        for i, above in enumerate(self.parent):  # parents come first
            if above >= 0:
                found[i] += found[above]
        return found

    @property
    def ends(self) -> np.ndarray:
        """Points that nothing leads away from, in rising order."""
        return np.setdiff1d(np.arange(len(self.parent)), self.parent)
