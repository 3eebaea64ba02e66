"""What is hidden cannot be worked out: checked by solving the published sums, not by the rule that hides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core.errors import EvidenceError
from gemel.evidence.fairness.suppression import suppressed


def table(counts: np.ndarray, names=("a", "b", "c")) -> dict:
    """Sizes of all margins of an array of counts."""
    sizes = {(): int(counts.sum())}
    for k in range(1, counts.ndim + 1):
        for axes in itertools.combinations(range(counts.ndim), k):
            margin = counts.sum(axis=tuple(i for i in range(counts.ndim) if i not in axes))
            for place in np.ndindex(margin.shape):
                if margin[place]:
                    sizes[tuple((names[a], str(v)) for a, v in zip(axes, place, strict=True))] = int(margin[place])
    return sizes


def bounds(counts: np.ndarray, sizes: dict, hidden: set) -> list[tuple[tuple, float]]:
    """For each hidden cell, how much it can vary among all tables with the same published numbers: the range of an intruder's knowledge."""
    cells = list(np.ndindex(counts.shape))
    names = "abc"
    rows = []
    for key in sizes:
        if key not in hidden:
            want = {names.index(a): int(v) for a, v in key}
            rows.append([float(all(c[i] == v for i, v in want.items())) for c in cells])
    rows += [np.eye(len(cells))[i].tolist() for i, c in enumerate(cells) if counts[c] == 0]  # that nobody is there is known
    matrix = np.array(rows)
    _, size, right = np.linalg.svd(matrix)
    free = right[(size > 1e-9).sum() :]
    out = []
    for key in hidden:
        want = {names.index(a): int(v) for a, v in key}
        direction = np.array([float(all(c[i] == v for i, v in want.items())) for c in cells])
        out.append((key, float(np.abs(free @ direction).max()) if len(free) else 0.0))
    return out


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_hidden_group_can_be_solved_for(data):
    shape = data.draw(st.sampled_from([(2,), (5,), (3, 4), (2, 2), (4, 5), (2, 3, 2)]))
    counts = np.array(
        data.draw(st.lists(st.sampled_from([0, 3, 12, 19, 20, 45, 130]), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    )
    counts = counts.reshape(shape)
    if counts.sum() < 20:
        return
    sizes = table(counts)
    small, complements = suppressed(sizes)
    assert small == {k for k, n in sizes.items() if n < 20}
    assert not small & complements
    if shape[0] == 1 or not small:
        assert not complements
    hidden = small | complements
    for key, freedom in bounds(counts, sizes, hidden):
        assert freedom > 1e-6, key


def test_a_bridge_between_two_blocks_is_hidden_too():
    # every row and column of this pattern has two small cells, yet (2, 2) would follow from the sums of the blocks
    counts = np.full((5, 5), 100)
    for place in ((0, 0), (0, 1), (1, 0), (1, 1), (3, 3), (3, 4), (4, 3), (4, 4)):
        counts[place] = 15
    counts[1, 3] = 15
    sizes = table(counts)
    small, complements = suppressed(sizes)
    assert all(freedom > 1e-6 for _, freedom in bounds(counts, sizes, small | complements))
    assert complements


def test_small_groups_together_are_not_small():
    small, complements = suppressed({(): 205, (("s", "a"),): 4, (("s", "b"),): 6, (("s", "c"),): 95, (("s", "d"),): 100})
    assert small == {(("s", "a"),), (("s", "b"),)}
    assert complements == {(("s", "c"),)}  # 4 + 6 people would be the rest


def test_with_two_groups_both_go():
    assert suppressed({(): 500, (("s", "a"),): 5, (("s", "b"),): 495})[1] == {(("s", "b"),)}


def test_nothing_is_hidden_without_need():
    assert suppressed(table(np.full((3, 4), 20))) == (set(), set())


def test_too_many_cells():
    with pytest.raises(EvidenceError, match="band them"):
        suppressed({(("s", str(i)),): 50 for i in range(4000)})
