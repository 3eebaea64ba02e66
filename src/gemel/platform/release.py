"""Counts and rows that may leave a cohort: k-anonymous, small cells suppressed, and others with them so that none can be worked out.

A released table is about groups of at least ``k`` people. Where totals are told, a small cell that is blanked can be had back by subtraction: more
cells are blanked until every small one could, by all that is told, be as large as ``k``.

References
----------
Sweeney 2002, doi:10.1142/S0218488502001648 (k-anonymity). Machanavajjhala et al. 2007, doi:10.1145/1217299.1217302 (l-diversity).
Cox 1995, doi:10.1080/01621459.1995.10476615: what margins tell of suppressed cells is a flow in a network.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemel.core.errors import DataError

__all__ = ["CountTable", "KAnonymous", "bounds_of", "count_table", "k_anonymous"]

K = 11
"""Smallest group that is told by default: the cell size policy of US Medicare and Medicaid, 1 to 10 suppressed."""


@dataclass(frozen=True)
class KAnonymous:
    """Rows in groups of at least k people that look alike.

    Parameters
    ----------
    rows : only the keys and the sensitive value, in order of the keys, so that their order tells nothing.
    groups : how many. suppressed : how many people are left out. k : the size of the smallest group. l : the fewest different sensitive values in a group;
        ``None`` without a sensitive value. With 1 whoever knows that somebody is in the group knows the value.
    """

    rows: tuple[Mapping[str, Hashable], ...]
    groups: int
    suppressed: int
    k: int
    l: int | None

    @property
    def status(self) -> str:
        """What stands on the release."""
        return f"k-anonymous({self.k})"


@dataclass(frozen=True)
class CountTable:
    """Counts by one or two keys, with totals; ``None`` is suppressed.

    Parameters
    ----------
    rows, columns : values of the keys; one column, ``total``, for one key.
    counts : [row][column].
    row_totals, column_totals, total : told as they are. k : no cell from 1 to k - 1 is told.
    small, others : how many cells are suppressed for being small, and how many beside them.
    """

    rows: tuple[Hashable, ...]
    columns: tuple[Hashable, ...]
    counts: tuple[tuple[int | None, ...], ...]
    row_totals: tuple[int | None, ...]
    column_totals: tuple[int, ...]
    total: int
    k: int
    small: int
    others: int

    @property
    def status(self) -> str:
        """What stands on the release."""
        return f"k-anonymous({self.k})"


def _people(rows: Sequence[Mapping[str, Any]], subject: str, keys: Sequence[str], k: int) -> None:
    if k < 2:
        raise DataError("a group of one is a person", seen=k, expected="k >= 2")
    if len(rows) < k:
        raise DataError("fewer people than the smallest group that may be told", seen=len(rows), expected=f">= {k}", fix="release nothing")
    for name in (subject, *keys):
        missing = sum(name not in row for row in rows)
        if missing:
            raise DataError(f"rows without {name!r}", seen=missing, expected="every row has every key; say 'unknown' where it is not known")
    twice = [name for name, n in Counter(row[subject] for row in rows).items() if n > 1]
    if twice:
        raise DataError(
            "people with more than one row",
            seen=len(twice),
            expected="one row for each",
            fix="take one row for each person first: counts are of people",
        )


def k_anonymous(
    rows: Sequence[Mapping[str, Any]], *, subject: str, keys: Sequence[str], sensitive: str | None = None, k: int = K
) -> KAnonymous:
    """Return the rows of groups with at least k people; smaller groups are left out, and if they are fewer than k people together, the next one too.

    Parameters
    ----------
    subject : names the person; it is not released. keys : what others may know of a person. sensitive : what they shall not learn.

    Raises
    ------
    DataError
        When a person has two rows, a key is missing, or nothing is left.
    """
    _people(rows, subject, [*keys, *([sensitive] if sensitive else [])], k)
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row[sensitive] if sensitive else None)
    order = sorted(groups, key=lambda g: (len(groups[g]), str(g)))
    gone, people = [g for g in order if len(groups[g]) < k], 0
    people = sum(len(groups[g]) for g in gone)
    while 0 < people < k:  # the number left out would itself tell of a small group
        gone.append(order[len(gone)])
        people = sum(len(groups[g]) for g in gone)
    kept = [g for g in order if g not in set(gone)]
    if not kept:
        raise DataError(
            "every group is smaller than may be told",
            seen=f"{len(groups)} groups",
            expected=f"one of >= {k} people",
            fix="fewer or coarser keys",
        )
    made = [
        dict(zip(keys, g, strict=True)) | ({sensitive: value} if sensitive else {})
        for g in sorted(kept, key=str)
        for value in sorted(groups[g], key=str)
    ]
    diversity = min(len(set(groups[g])) for g in kept) if sensitive else None
    return KAnonymous(tuple(made), len(kept), people, min(len(groups[g]) for g in kept), diversity)


def _flow(counts: Sequence[Sequence[int]], hidden: set[tuple[int, int]], cell: tuple[int, int], up: bool, enough: int) -> int:
    """Return by how much a hidden cell can grow (or shrink) with all totals kept and no cell negative, up to ``enough``: a flow through the other hidden cells."""
    rows = len(counts)
    capacity: dict[int, dict[int, int]] = {}
    for r, c in hidden - {cell}:
        capacity.setdefault(r, {})[rows + c] = enough
        capacity.setdefault(rows + c, {})[r] = counts[r][c]
    start, end = (rows + cell[1], cell[0]) if up else (cell[0], rows + cell[1])
    moved = 0
    while moved < enough:
        before: dict[int, int] = {start: start}
        queue = deque([start])
        while queue and end not in before:
            node = queue.popleft()
            for neighbour, room in capacity.get(node, {}).items():
                if room > 0 and neighbour not in before:
                    before[neighbour] = node
                    queue.append(neighbour)
        if end not in before:
            break
        path = [end]
        while path[-1] != start:
            path.append(before[path[-1]])
        steps = list(zip(path[1:], path[:-1], strict=True))
        room = min(enough - moved, *(capacity[a][b] for a, b in steps))
        for a, b in steps:
            capacity[a][b] -= room
            capacity[b][a] += room
        moved += room
    return moved


def bounds_of(counts: Sequence[Sequence[int]], hidden: set[tuple[int, int]], cell: tuple[int, int]) -> tuple[int, int]:
    """Return between which counts a hidden cell must lie, by the totals and the cells that are told.

    Parameters
    ----------
    counts : [row][column], all cells as they are. With one column the total of the column is all that is told beside the cells.
    """
    r, c = cell
    if len(counts[0]) == 1:
        rest = sum(counts[i][0] for i, _ in hidden)
        return (counts[r][c] if len(hidden) == 1 else 0), rest
    enough = max(map(sum, counts)) + 1
    return counts[r][c] - min(counts[r][c], _flow(counts, hidden, cell, False, enough)), counts[r][c] + _flow(
        counts, hidden, cell, True, enough
    )


def _protect(counts: list[list[int]], k: int) -> tuple[set[tuple[int, int]], int]:
    """Return the cells to hide, and how many of them are small themselves.

    It ends: with everything hidden a cell may be as large as the smaller of its totals, and these are k or more.
    """
    rows, columns = len(counts), len(counts[0])
    every = [(r, c) for r in range(rows) for c in range(columns)]
    small = {(r, c) for r, c in every if 0 < counts[r][c] < k}
    hidden = set(small)

    def open_cells() -> list[tuple[int, int]]:
        return sorted(cell for cell in small if bounds_of(counts, hidden, cell)[1] < k)

    while bare := open_cells():
        r, c = bare[0]
        if columns == 1:
            ways = [{(i, 0)} for i in range(rows) if (i, 0) not in hidden and counts[i][0]]
        else:  # one corner each of the rectangles through the cell
            ways = [{(i, c), (r, j), (i, j)} - hidden for i in range(rows) for j in range(columns) if i != r and j != c]
            ways = [way for way in ways if way]
        ways.sort(key=lambda way: (sum(counts[i][j] for i, j in way), len(way), sorted(way)))
        chosen = next((way for way in ways if bounds_of(counts, hidden | way, (r, c))[1] >= k), ways[0])
        hidden |= chosen
    return hidden, len(small)


def count_table(rows: Sequence[Mapping[str, Any]], *, subject: str, by: str, across: str | None = None, k: int = K) -> CountTable:
    """Return how many people there are by one key, or by two, with totals, and with suppressed cells that the totals do not give away.

    Parameters
    ----------
    subject : names the person. by, across : the keys.

    Raises
    ------
    DataError
        When a person has two rows, a total is itself small, or too few people are there.
    """
    _people(rows, subject, [by, *([across] if across else [])], k)
    told = Counter((row[by], row[across] if across else "total") for row in rows)
    names = sorted({r for r, _ in told}, key=str)
    columns = sorted({c for _, c in told}, key=str)
    counts = [[told[(r, c)] for c in columns] for r in names]
    down = [sum(row[j] for row in counts) for j in range(len(columns))]
    along = [sum(row) for row in counts]
    if across and any(0 < n < k for n in (*down, *along)):
        raise DataError(
            "a total is itself a small group", seen=f"{sum(0 < n < k for n in (*down, *along))} totals from 1 to {k - 1}", expected=f">= {k} or 0",
            fix="join values of the keys",
        )  # fmt: skip
    hidden, small = _protect(counts, k)
    shown = tuple(tuple(None if (i, j) in hidden else n for j, n in enumerate(row)) for i, row in enumerate(counts))
    return CountTable(
        tuple(names),
        tuple(columns),
        shown,
        tuple(along) if across else tuple(row[0] for row in shown),
        tuple(down),
        sum(along),
        k,
        small,
        len(hidden) - small,
    )
