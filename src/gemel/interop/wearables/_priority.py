"""Amounts that two devices counted at once: one of them is believed where they overlap."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Amounts", "merge_by_priority", "union"]


class Amounts(NamedTuple):
    """Amounts over intervals, one row each: start, end and recorded in ns UTC, and the number of the entry."""

    start: np.ndarray
    end: np.ndarray
    value: np.ndarray
    recorded: np.ndarray
    row: np.ndarray


def union(starts: Sequence[int], ends: Sequence[int]) -> list[tuple[int, int]]:
    """Join intervals that overlap or touch; the result is disjoint and in order of time.

    Examples
    --------
    >>> union([0, 5, 20], [5, 9, 30])
    [(0, 9), (20, 30)]
    """
    joined: list[tuple[int, int]] = []
    for start, end in sorted(zip(starts, ends, strict=True)):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _uncovered(start: int, end: int, covered: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the parts of an interval that lie outside disjoint, ordered ones; a moment is an interval of no length."""
    index = max(bisect.bisect_right(covered, (start, 1 << 63)) - 1, 0)
    left: list[tuple[int, int]] = []
    at = start
    for one, two in itertools.islice(covered, index, None):
        if one >= end and not (start == end == one):
            break
        if two <= at:
            continue
        if one > at:
            left.append((at, one))
        at = max(at, two)
    if at < end or at == start == end:
        left.append((at, end))
    return left


def merge_by_priority(levels: Sequence[Amounts]) -> tuple[Amounts, int, int]:
    """Merge what several sources counted: where they overlap, the earlier source counts.

    An amount is taken to be spread evenly over its interval, so that what is left of an interval keeps its share.

    Parameters
    ----------
    levels : of each source, the one that is believed first at the front.

    Returns
    -------
    Amounts in order of their end, one a moment; how many rows were wholly covered; how many lost a part.

    Examples
    --------
    >>> watch = Amounts(*(np.array([x]) for x in (0, 60, 100.0, 60, 1)))
    >>> phone = Amounts(*(np.array([x]) for x in (30, 90, 80.0, 90, 2)))
    >>> merge_by_priority([watch, phone])[0].value.tolist()
    [100.0, 40.0]
    """
    covered: list[tuple[int, int]] = []
    kept: list[tuple[int, int, float, int, int]] = []
    dropped = trimmed = 0
    for level in levels:
        reach = -(1 << 63)
        for start, end, value, recorded, row in sorted(zip(*(column.tolist() for column in level), strict=True)):
            begin = max(start, reach)
            pieces = _uncovered(begin, end, covered) if begin <= end and (begin < end or start == end) else []
            reach = max(reach, end)
            whole = end - start
            dropped += not pieces
            trimmed += bool(pieces) and sum(two - one for one, two in pieces) < whole
            kept += [(two, one, value * ((two - one) / whole if whole else 1.0), recorded, row) for one, two in pieces]
        covered = union([*(one for one, _ in covered), *level.start.tolist()], [*(two for _, two in covered), *level.end.tolist()])
    once: dict[int, tuple[int, int, float, int, int]] = {}
    for end, start, value, recorded, row in sorted(kept):
        before = once.get(end)
        known = (start, end, value, recorded, row)
        once[end] = known if before is None else (before[0], end, before[2] + value, max(before[3], recorded), before[4])
    columns = list(zip(*once.values(), strict=True)) or [(), (), (), (), ()]
    types = (np.int64, np.int64, np.float64, np.int64, np.int64)
    return Amounts(*(np.array(column, kind) for column, kind in zip(columns, types, strict=True))), dropped, trimmed
