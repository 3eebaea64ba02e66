"""A scene: geometry with fields on it, each value beside its uncertainty. Types only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field as Restricted
from pydantic import model_validator

from gemel.core.advice import ShownOn

from .array import Array
from .base import Described
from .notebook import mimebundle
from .parts import LineageId, Link, Status, Table, Words

Vector = tuple[float, float, float]


class Field(Described):
    """Values per vertex, cell or voxel, with their standard deviation beside.

    Without `deviation`, `certain_because` says why there is none: a bare value is refused.
    """

    name: Words
    on: Literal["vertex", "cell", "voxel"] = "vertex"
    values: Array
    deviation: Array | None = None
    certain_because: str = ""
    range: tuple[float, float] | None = None
    colours: Literal["cividis", "turbo", "diverging"] = "cividis"
    midpoint: float | None = None
    thresholds: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Field:
        if self.deviation is None and not self.certain_because:
            raise ValueError("deviation is missing; pass the standard deviation beside the values, or certain_because='...'")
        if self.deviation is not None and (self.deviation.shape != self.values.shape or self.deviation.unit != self.values.unit):
            raise ValueError("deviation must have the shape and unit of the values")
        if self.colours == "diverging" and self.midpoint is None:
            raise ValueError("a diverging map needs its midpoint")
        return self


class _Object(Described):
    name: Words
    fields: tuple[Field, ...] = ()
    opacity: Annotated[float, Restricted(ge=0, le=1)] = 1.0


def _columns(array: Array, count: int, what: str) -> None:
    if len(array.shape) != 2 or array.shape[1] != count:
        raise ValueError(f"{what} has shape {array.shape}, expected (n, {count})")


class Tubes(_Object):
    """Centrelines (point, 3) with a radius (point,), split into branches by `offsets`; all in the unit of the points."""

    type: Literal["tubes"] = "tubes"
    points: Array
    radius: Array
    offsets: tuple[int, ...] = (0,)

    @model_validator(mode="after")
    def _check(self) -> Tubes:
        _columns(self.points, 3, "points")
        if self.radius.shape != self.points.shape[:1] or self.radius.unit != self.points.unit:
            raise ValueError("radius must be one per point, in the unit of the points")
        return self


class Surface(_Object):
    """Triangles (cell, 3) of indices into vertices (vertex, 3)."""

    type: Literal["surface"] = "surface"
    vertices: Array
    triangles: Array

    @model_validator(mode="after")
    def _check(self) -> Surface:
        _columns(self.vertices, 3, "vertices")
        _columns(self.triangles, 3, "triangles")
        return self


class PointSet(_Object):
    """Single places (point, 3), such as electrodes."""

    type: Literal["points"] = "points"
    points: Array
    labels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> PointSet:
        _columns(self.points, 3, "points")
        return self


class Glyphs(_Object):
    """Arrows: vectors (point, 3) at places (point, 3), such as a flow or a fibre direction."""

    type: Literal["glyphs"] = "glyphs"
    points: Array
    vectors: Array

    @model_validator(mode="after")
    def _check(self) -> Glyphs:
        _columns(self.points, 3, "points")
        _columns(self.vectors, 3, "vectors")
        return self


class VolumeImage(_Object):
    """A regular grid of voxels (i, j, k), placed by a 4 x 4 matrix from indices to the scene's unit (row by row)."""

    type: Literal["volume"] = "volume"
    voxels: Array
    affine: tuple[float, ...]
    window: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _check(self) -> VolumeImage:
        if len(self.voxels.shape) != 3 or len(self.affine) != 16:
            raise ValueError("voxels must have three dimensions and affine sixteen numbers")
        return self


class Slices(_Object):
    """Planes through a volume of this scene, by its name: each an origin and a normal."""

    type: Literal["slices"] = "slices"
    of: Words
    planes: tuple[tuple[Vector, Vector], ...]


class Contours(_Object):
    """Isolines or isosurfaces of a field of another object of this scene, at stated values in the field's unit."""

    type: Literal["contours"] = "contours"
    of: Words
    field: Words
    values: tuple[float, ...]


class Label(_Object):
    """Words at a place."""

    type: Literal["label"] = "label"
    position: Vector
    text: Words


SceneObject = Annotated[Tubes | Surface | PointSet | Glyphs | VolumeImage | Slices | Contours | Label, Restricted(discriminator="type")]


class Camera(Described):
    """Where the scene is seen from, in its unit."""

    position: Vector
    focus: Vector
    up: Vector = (0.0, 0.0, 1.0)


class Scene(Described):
    """Describe a three-dimensional scene, for any renderer; refused like a `Figure` without status, lineage, alt and table."""

    type: Literal["scene"] = "scene"
    title: Words
    question: str = ""
    unit: Words
    objects: tuple[SceneObject, ...]
    time: Array | None = None
    camera: Camera | None = None
    clip: tuple[tuple[Vector, Vector], ...] = ()
    pick: tuple[str, ...] = ("name", "position", "value", "interval", "lineage")
    status: Status
    banner: str = ""
    lineage: LineageId
    alt: Words
    table: Table
    links: tuple[Link, ...] = ()
    shown_on: ShownOn | None = None

    @model_validator(mode="after")
    def _check(self) -> Scene:
        names = [item.name for item in self.objects]
        if len(set(names)) != len(names):
            raise ValueError("two objects have one name; a pick could not tell them apart")
        for item in self.objects:
            if isinstance(item, Slices | Contours) and item.of not in names:
                raise ValueError(f"object {item.name!r} refers to {item.of!r}, which is not in this scene")
        return self

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002  named by IPython
        return mimebundle(self, self.alt)
