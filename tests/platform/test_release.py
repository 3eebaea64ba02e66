"""Release of counts: groups of k, and small cells that no subtraction gives back, held against linear programming."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gemel.core.errors import DataError
from gemel.platform.release import bounds_of, count_table, k_anonymous


def people(*groups):
    """Rows from (number, values...)."""
    made = []
    for n, values in groups:
        made += [{"id": len(made) + i, **values} for i in range(n)]
    return made


def test_small_groups_are_left_out_and_the_rest_is_counted():
    rows = people((12, {"sex": "f", "age": 40}), (11, {"sex": "m", "age": 40}), (10, {"sex": "m", "age": 50}), (3, {"sex": "f", "age": 60}))
    told = k_anonymous(rows, subject="id", keys=["sex", "age"])
    assert (told.groups, told.suppressed, told.k, told.l, told.status) == (2, 13, 11, None, "k-anonymous(11)")
    assert Counter((r["sex"], r["age"]) for r in told.rows) == {("f", 40): 12, ("m", 40): 11}
    assert all("id" not in r for r in told.rows)


def test_a_few_who_are_left_out_take_the_next_group_with_them():
    rows = people((20, {"sex": "f"}), (12, {"sex": "m"}), (3, {"sex": "other"}))
    told = k_anonymous(rows, subject="id", keys=["sex"])
    assert (told.groups, told.suppressed) == (1, 15)  # 3 alone would tell of them


def test_l_is_the_fewest_different_values_in_a_group():
    rows = [{"id": i, "sex": "fm"[i % 2], "hiv": i % 2 and i % 3 == 0} for i in range(60)]
    assert k_anonymous(rows, subject="id", keys=["sex"], sensitive="hiv").l == 1
    assert k_anonymous([r for r in rows if r["sex"] == "m"], subject="id", keys=["sex"], sensitive="hiv").l == 2


rows_of = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=3, max_size=60)


@given(rows_of, st.integers(2, 6))
@settings(max_examples=100, deadline=None)
def test_no_group_is_smaller_than_k_and_those_left_out_are_none_or_k(values, k):
    rows = [{"id": i, "a": a, "b": b} for i, (a, b) in enumerate(values)]
    try:
        told = k_anonymous(rows, subject="id", keys=["a", "b"], k=k)
    except DataError:
        return
    assert min(Counter((r["a"], r["b"]) for r in told.rows).values()) == told.k >= k
    assert told.suppressed == 0 or told.suppressed >= k
    assert len(told.rows) + told.suppressed == len(rows)


def by_programming(counts, hidden, cell):
    """The bounds of a cell, by linear programming over all hidden cells with all totals told."""
    cells = sorted(hidden)
    rows = sorted({r for r, _ in cells})
    columns = sorted({c for _, c in cells})
    sums = [[float(c == cell_[0]) for cell_ in cells] for c in rows] + [[float(c == cell_[1]) for cell_ in cells] for c in columns]
    totals = [sum(counts[r][c] for r, c in cells if r == row) for row in rows] + [
        sum(counts[r][c] for r, c in cells if c == col) for col in columns
    ]
    goal = np.array([float(c == cell) for c in cells])
    return tuple(round(sign * linprog(sign * goal, A_eq=sums, b_eq=totals).fun) for sign in (1, -1))


@given(st.integers(2, 4), st.integers(2, 4), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_bounds_are_those_of_linear_programming(rows, columns, rng):
    counts = [[rng.choice([0, 1, 2, 5, 9, 15, 30]) for _ in range(columns)] for _ in range(rows)]
    hidden = {(r, c) for r in range(rows) for c in range(columns) if rng.random() < 0.6} or {(0, 0)}
    for cell in sorted(hidden):
        assert bounds_of(counts, hidden, cell) == by_programming(
            counts, hidden, cell
        )  # whole numbers: the constraints are totally unimodular


def test_one_blank_is_not_enough_where_totals_are_told():
    rows = people(
        (3, {"arm": "a", "out": "dead"}),
        (40, {"arm": "a", "out": "alive"}),
        (20, {"arm": "b", "out": "dead"}),
        (50, {"arm": "b", "out": "alive"}),
    )
    told = count_table(rows, subject="id", by="arm", across="out")
    assert (told.small, told.others) == (1, 3)
    assert told.counts == ((None, None), (None, None))
    assert (told.row_totals, told.column_totals, told.total) == ((43, 70), (90, 23), 113)


def random_rows(rng, rows, columns):
    n = {(a, b): rng.choice([0, 1, 3, 8, 12, 25, 60]) for a in range(rows) for b in range(columns)}
    return people(*((count, {"a": a, "b": b}) for (a, b), count in n.items()))


def test_no_small_cell_can_be_told_to_be_small():
    """By what is released every suppressed small cell could be k or more."""
    rng, tables, suppressed = random.Random(3), 0, 0
    for _ in range(60):
        rows = random_rows(rng, rng.randint(2, 5), rng.randint(2, 5))
        try:
            told = count_table(rows, subject="id", by="a", across="b")
        except DataError:  # a total that is small itself
            continue
        true = Counter((r["a"], r["b"]) for r in rows)
        counts = [[true[(a, b)] for b in told.columns] for a in told.rows]
        hidden = {(i, j) for i, row in enumerate(told.counts) for j, n in enumerate(row) if n is None}
        tables += 1
        for i, row in enumerate(told.counts):
            for j, n in enumerate(row):
                assert n == counts[i][j] or (i, j) in hidden
                assert n is None or n == 0 or n >= 11
                if 0 < counts[i][j] < 11:
                    assert by_programming(counts, hidden, (i, j))[1] >= 11
                    suppressed += 1
    assert tables >= 30
    assert suppressed > 50


def test_one_key():
    rows = people((4, {"a": "x"}), (12, {"a": "y"}), (30, {"a": "z"}))
    told = count_table(rows, subject="id", by="a")
    assert told.row_totals == (None, None, 30)
    assert (told.total, told.small, told.others) == (46, 1, 1)
    rows = people((8, {"a": "x"}), (9, {"a": "y"}), (30, {"a": "z"}))
    assert count_table(rows, subject="id", by="a").others == 0  # together they could be 17


@pytest.mark.parametrize(
    ("rows", "settings", "match"),
    [
        (people((10, {"a": 1})), {}, "fewer people"),
        ([*people((20, {"a": 1})), {"id": 3, "a": 1}], {}, "more than one row"),
        ([*people((20, {"a": 1})), {"id": 99}], {}, "rows without 'a'"),
        (people((20, {"a": 1})), {"k": 1}, "a group of one"),
        (people(*((2, {"a": i}) for i in range(10))), {}, "every group is smaller"),
        ([], {}, "fewer people"),
    ],
)
def test_what_cannot_be_released_is_named(rows, settings, match):
    with pytest.raises(DataError, match=match):
        k_anonymous(rows, subject="id", keys=["a"], **settings)


def test_totals_that_are_small_themselves():
    rows = people((5, {"a": 1, "b": 1}), (40, {"a": 2, "b": 1}), (40, {"a": 2, "b": 2}))
    with pytest.raises(DataError, match="a total is itself a small group"):
        count_table(rows, subject="id", by="a", across="b")


def test_where_nothing_helps_nothing_is_released():
    rows = people((5, {"a": 1, "b": 1}), (40, {"a": 1, "b": 2}), (40, {"a": 1, "b": 3}))  # one row: every total of a column is its cell
    with pytest.raises(DataError, match="a total is itself"):
        count_table(rows, subject="id", by="a", across="b")
