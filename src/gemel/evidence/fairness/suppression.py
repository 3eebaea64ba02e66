"""Small cells, and the cells from which a small one could be worked out by subtraction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from gemel.core.errors import EvidenceError

__all__ = ["Key", "suppressed"]

Key = tuple[tuple[str, str], ...]
"""A cell: (attribute, value) pairs in the order of the attributes; the empty tuple is everybody."""
MOST = 3000


def _lines(sizes: Mapping[Key, int]) -> dict[tuple[Key, str], list[Key]]:
    """Return, per margin and attribute, the cells that add up to the margin."""
    lines: dict[tuple[Key, str], list[Key]] = defaultdict(list)
    for key in sizes:
        for i, (attribute, _) in enumerate(key):
            parent = key[:i] + key[i + 1 :]
            if parent in sizes:
                lines[parent, attribute].append(key)
    return lines


def _derivable(hidden: set[Key], lines: Mapping[tuple[Key, str], list[Key]]) -> list[Key]:
    """Return the hidden cells that the sums determine: those whose unit vector lies in the row space of the sums."""
    order = sorted(hidden)
    place = {key: i for i, key in enumerate(order)}
    rows = []
    for (parent, _), children in lines.items():
        row = np.zeros(len(order))
        for key, sign in [(parent, -1.0), *((child, 1.0) for child in children)]:
            if key in place:
                row[place[key]] += sign
        if row.any():
            rows.append(row)
    if not rows:
        return []
    matrix = np.unique(np.array(rows), axis=0)
    _, size, right = np.linalg.svd(matrix, full_matrices=False)
    inside = np.square(right[size > 1e-9]).sum(axis=0)
    return [order[i] for i in np.flatnonzero(inside > 1 - 1e-7)]


def suppressed(sizes: Mapping[Key, int], *, minimum: int = 20) -> tuple[set[Key], set[Key]]:
    """Say which cells are too small to be shown, and which others must go with them.

    A cell goes with the small ones when otherwise a small one, or a union of small ones below the minimum, would be the difference of what is shown;
    cells inside a hidden margin are hidden too.

    Parameters
    ----------
    sizes : people per cell, everybody under the empty key. Cells of one set of attributes must add up to their margins.
    minimum : the smallest number of people that is shown.

    Returns
    -------
    (small, complements)

    Raises
    ------
    EvidenceError
        When there are more cells than can be checked.

    Examples
    --------
    >>> small, more = suppressed({(): 150, (("site", "a"),): 12, (("site", "b"),): 38, (("site", "c"),): 100})
    >>> small, more
    ({(('site', 'a'),)}, {(('site', 'b'),)})
    """
    if len(sizes) > MOST:
        raise EvidenceError("too many cells", seen=len(sizes), expected=f"at most {MOST}", fix="name fewer groups, or band them")
    small = {key for key, n in sizes.items() if n < minimum}
    hidden, lines = set(small), _lines(sizes)
    while True:
        before = len(hidden)
        for (parent, _), children in lines.items():
            gone = [key for key in children if key in hidden]
            if parent in hidden:
                hidden.update(children)
            elif gone and (len(gone) < 2 or sum(sizes[key] for key in gone) < minimum):
                _hide_next(children, sizes, hidden)
        if len(hidden) > before:
            continue
        for key in _derivable(hidden, lines):
            near = [(parent, c) for (parent, _), c in lines.items() if key in c or key == parent]
            if not any(_hide_next(children, sizes, hidden) for _, children in near):
                hidden.update(parent for parent, _ in near if parent)
        if len(hidden) == before:
            return small, hidden - small


def _hide_next(children: list[Key], sizes: Mapping[Key, int], hidden: set[Key]) -> bool:
    shown = [key for key in children if key not in hidden]
    if shown:
        hidden.add(min(shown, key=lambda key: (sizes[key], key)))
    return bool(shown)
