"""Images of one series into a volume: by where they lie, not by their numbers; gaps and doubles are named.

References
----------
DICOM PS3.3 2024e, C.7.6.2 (Image Plane: position and orientation in millimetres, left, posterior and superior positive).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gemel.core.errors import DataError, FormatError
from gemel.core.geometry import Volume

__all__ = ["Slice", "assemble"]

_MM = 1e-3
_PLACE = 0.01  # mm: positions are written with about this many digits
_STEP = 0.02  # share of the distance between images by which one may lie off the regular grid


@dataclass(frozen=True)
class Slice:
    """One image with its place.

    Parameters
    ----------
    values : (row, column), rescaled, in ``unit``.
    position : (3,) mm, of the centre of the first voxel.
    orientation : (6,) cosines of the direction of a row, then of a column.
    spacing : mm between rows, between columns.
    thickness : mm; None when not said.
    """

    patient: str
    series: str
    instance: str
    name: str
    values: np.ndarray
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]
    thickness: float | None
    unit: str
    time: int

    @property
    def grid(self) -> tuple[object, ...]:
        """What images of one volume have in common."""
        return (self.patient, self.series, self.values.shape, self.unit, *np.round(self.orientation, 4), *np.round(self.spacing, 4))


def _steps(along: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the vector from one image to the next, mm; images must lie on a regular grid."""
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    if (gaps < _PLACE).any():
        n = int((gaps < _PLACE).sum())
        raise DataError("several images at one place", seen=f"{n} of {len(along)}", expected="one", fix="split the series by phase or time")
    wide = np.flatnonzero(np.abs(gaps - usual) > max(_STEP * usual, _PLACE))
    if len(wide):
        raise DataError(
            "images are missing or unevenly spaced",
            seen=f"{gaps[wide[0]]:.3g} mm after image {int(wide[0]) + 1} of {len(along)}, {len(wide)} such places",
            expected=f"{usual:.3g} mm",
            fix="export the whole series",
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    off = np.abs(positions - (positions[0] + np.arange(len(positions))[:, None] * step)).max()
    if off > max(_STEP * usual, _PLACE) * 2:
        raise DataError(
            "images do not lie on one line", seen=f"{off:.3g} mm off", expected=f"at most {_STEP * usual:.2g} mm", fix="split the series"
        )
    return step


def assemble(slices: Sequence[Slice], *, recorded: int) -> Volume:
    """Put the images of one grid in order and return the volume, first index along a row.

    Parameters
    ----------
    slices : all of one :attr:`Slice.grid`, in any order.
    recorded : ns UTC.

    Raises
    ------
    DataError
        When images are missing, doubled or uneven, when they are of several grids, or when a single one does not say how thick it is.
    """
    if not slices or len({s.grid for s in slices}) != 1:
        raise DataError("no images of one grid", seen=f"{len(slices)} images of {len({s.grid for s in slices})} grids", expected="one grid")
    row, column = slices[0].orientation[:3], slices[0].orientation[3:]
    normal = np.cross(row, column)
    ordered = sorted(slices, key=lambda s: float(normal @ s.position))
    positions = np.array([s.position for s in ordered])
    if len(ordered) > 1:
        step = _steps(positions @ normal, positions)
    elif ordered[0].thickness:
        step = normal * ordered[0].thickness
    else:
        raise DataError(
            "a single image without its thickness", seen="no SliceThickness", expected="millimetres", fix="export the whole series"
        )
    between_rows, between_columns = slices[0].spacing
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * between_columns * _MM, column * between_rows * _MM, step * _MM
    affine[:3, 3] = positions[0] * _MM
    time = min(s.time for s in ordered)
    if not np.isfinite(affine).all():
        raise FormatError("a place that is no number", seen="not finite", expected="millimetres")
    return Volume(
        name=ordered[0].name, time=time, recorded=max(recorded, time), source="dicom", unit=ordered[0].unit, affine=affine,
        values=np.stack([s.values.T for s in ordered], axis=2),
    )  # fmt: skip
