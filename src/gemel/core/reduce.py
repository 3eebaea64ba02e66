"""Honest reduction of long series: minimum, maximum, first and last of each bucket (M4); gaps stay gaps.

A reading that is the lowest or highest of its bucket is never lost, so a hypoglycaemia cannot vanish by zooming out.

References
----------
Jugel et al. 2014, "M4: a visualization-oriented time series data aggregation", doi:10.14778/2732951.2732953.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemel.core.errors import ViewError


@dataclass(frozen=True)
class Reduced:
    """What is left of a series: `index` into the original (kept,), and `starts`, where in `index` each unbroken stretch begins."""

    index: NDArray[np.int64]
    starts: NDArray[np.int64]

    def stretches(self) -> list[NDArray[np.int64]]:
        """Return the kept indices of each unbroken stretch."""
        return np.split(self.index, self.starts[1:]) if self.index.size else []


def sampling_interval(x: NDArray[Any]) -> float:
    """Return the median distance between neighbours, in the unit of x; NaN for fewer than two.

    Parameters
    ----------
    x : (point,) ascending.
    """
    return float(np.median(np.diff(x))) if len(x) > 1 else float("nan")


def breaks(x: NDArray[Any], y: NDArray[Any], max_gap: float | None = None) -> NDArray[np.int64]:
    """Find where a line must be broken.

    Parameters
    ----------
    x : (point,) ascending, of one unit.
    y : (point,) finite, or NaN where nothing was measured.
    max_gap : longest distance over which a line may be drawn, unit of x; None for any.

    Returns
    -------
    (stretch,) index into the finite points of the first of each stretch.
    """
    finite = np.flatnonzero(np.isfinite(y))
    if finite.size == 0:
        return np.zeros(0, dtype=np.int64)
    is_broken = np.diff(finite) > 1
    if max_gap is not None:
        is_broken |= np.diff(x[finite]) > max_gap
    return np.concatenate(([0], np.flatnonzero(is_broken) + 1)).astype(np.int64)


def reduce_m4(
    x: NDArray[Any], y: NDArray[Any], buckets: int, *, window: tuple[float, float] | None = None, max_gap: float | None = None
) -> Reduced:
    """Keep first, last, lowest and highest of each bucket of each unbroken stretch.

    Parameters
    ----------
    x : (point,) ascending; int64 nanoseconds or numbers of one unit.
    y : (point,) of one unit; not finite where nothing was measured.
    buckets : number of equal parts of the window, such as pixel columns.
    window : (from, to) of x, both included; all of x when None.
    max_gap : longest distance over which a line may be drawn, unit of x.

    Returns
    -------
    Reduced
        At most 4 points per bucket and stretch, in the order of x; minimum and maximum of y in the window are among them.

    Raises
    ------
    ViewError : lengths differ, x descends, or fewer than one bucket.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 1 or x.shape != y.shape:
        raise ViewError(f"reduce_m4: x has shape {x.shape} and y {y.shape}; expected one dimension, one length")
    if buckets < 1:
        raise ViewError(f"reduce_m4: {buckets} buckets; expected 1 or more")
    if x.size and bool(np.any(x[1:] < x[:-1])):
        raise ViewError("reduce_m4: x descends; sort the series by time first")
    low, high = (0, x.size) if window is None else (int(np.searchsorted(x, window[0], "left")), int(np.searchsorted(x, window[1], "right")))
    stretch_start = breaks(x[low:high], y[low:high], max_gap)
    kept = low + np.flatnonzero(np.isfinite(y[low:high]))
    if kept.size == 0:
        return Reduced(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    start, stop = (x[kept[0]], x[kept[-1]]) if window is None else window
    span = float(stop - start) or 1.0
    bucket = np.minimum(((x[kept] - start) / span * buckets).astype(np.int64), buckets - 1)
    stretch = np.zeros(kept.size, dtype=np.int64)
    stretch[stretch_start] = 1
    stretch = np.cumsum(stretch)
    first = np.concatenate(([0], np.flatnonzero((np.diff(bucket) != 0) | (np.diff(stretch) != 0)) + 1))
    last = np.concatenate((first[1:], [kept.size])) - 1
    value = y[kept]
    group = np.repeat(np.arange(first.size), last - first + 1)
    chosen = np.concatenate(
        (
            first,
            last,
            _first_equal(value, np.minimum.reduceat(value, first), group),
            _first_equal(value, np.maximum.reduceat(value, first), group),
        )
    )
    chosen = np.unique(chosen)
    starts = np.searchsorted(chosen, stretch_start)
    return Reduced(kept[chosen].astype(np.int64), starts.astype(np.int64))


def _first_equal(value: NDArray[Any], wanted: NDArray[Any], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of the first value of each group that equals the wanted one."""
    hits = np.flatnonzero(value == wanted[group])
    return hits[np.concatenate(([True], np.diff(group[hits]) > 0))]
