"""M4 reduction: extremes survive in every window, gaps stay gaps."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core.errors import ViewError
from gemel.core.reduce import breaks, reduce_m4, sampling_interval

MINUTE = 60_000_000_000


@st.composite
def windows(draw):
    n = draw(st.integers(1, 400))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.integers(0, 5, n)).astype(np.int64) * MINUTE
    y = np.round(rng.normal(120, 40, n), draw(st.sampled_from([0, 8])))
    y[rng.random(n) < draw(st.sampled_from([0.0, 0.2]))] = np.nan
    ends = sorted(draw(st.tuples(st.integers(-5, 2000), st.integers(-5, 2000))))
    return x, y, (ends[0] * MINUTE, ends[1] * MINUTE), draw(st.integers(1, 60))


@settings(max_examples=300, deadline=None)
@given(windows(), st.sampled_from([None, 3.0 * MINUTE]))
def test_minimum_and_maximum_of_any_window_survive_at_any_width(case, max_gap):
    x, y, window, buckets = case
    inside = (x >= window[0]) & (x <= window[1]) & np.isfinite(y)
    kept = reduce_m4(x, y, buckets, window=window, max_gap=max_gap)
    assert np.all(np.diff(kept.index) > 0)
    assert set(kept.index) <= set(np.flatnonzero(inside))
    if inside.any():
        assert y[kept.index].min() == y[inside].min()
        assert y[kept.index].max() == y[inside].max()
        assert kept.index[0] == np.flatnonzero(inside)[0]
        assert kept.index[-1] == np.flatnonzero(inside)[-1]
    else:
        assert kept.index.size == 0
    if max_gap is None and not np.isnan(y).any():
        assert kept.index.size <= 4 * buckets


@settings(max_examples=200, deadline=None)
@given(windows())
def test_every_bucket_keeps_its_first_last_lowest_and_highest(case):
    x, y, _, buckets = case
    y = np.nan_to_num(y, nan=100.0)
    kept = reduce_m4(x, y, buckets).index
    span = float(x[-1] - x[0]) or 1.0
    bucket = np.minimum(((x - x[0]) / span * buckets).astype(int), buckets - 1)
    for b in np.unique(bucket):
        mine, left = np.flatnonzero(bucket == b), kept[bucket[kept] == b]
        assert (left[0], left[-1]) == (mine[0], mine[-1])
        assert (y[left].min(), y[left].max()) == (y[mine].min(), y[mine].max())


def test_stretches_never_cross_a_gap_or_a_missing_value():
    x = np.concatenate([np.arange(50), np.arange(100, 150)]) * 5 * MINUTE
    y = np.sin(np.arange(100.0))
    y[20] = np.nan
    parts = reduce_m4(x, y, 3, max_gap=15 * MINUTE).stretches()
    assert [(part[0], part[-1]) for part in parts] == [(0, 19), (21, 49), (50, 99)]
    assert breaks(x, y, 15 * MINUTE).tolist() == [0, 20, 49]
    assert breaks(x, y).tolist() == [0, 20]


def test_planted_extremes_among_a_million_points():
    rng = np.random.default_rng(0)
    x, y = np.arange(1_000_000) * MINUTE, rng.normal(120, 20, 1_000_000)
    y[777_777], y[123_456] = 21.0, 444.0
    before = time.perf_counter()
    kept = reduce_m4(x, y, 800).index
    assert time.perf_counter() - before < 2.0  # about 0.1 s on one core; the rest is for a busy machine
    assert {777_777, 123_456} <= set(kept.tolist())
    assert kept.size <= 3200


def test_sampling_interval_is_the_median_distance():
    assert sampling_interval(np.array([0, 5, 10, 15, 100])) == 5
    assert np.isnan(sampling_interval(np.array([1])))


@pytest.mark.parametrize(
    ("x", "y", "buckets", "said"), [([2, 1], [0.0, 0.0], 1, "descends"), ([1, 2], [0.0], 1, "shape"), ([1, 2], [0.0, 0.0], 0, "1 or more")]
)
def test_refusals_say_what_to_do(x, y, buckets, said):
    with pytest.raises(ViewError, match=said):
        reduce_m4(np.array(x), np.array(y), buckets)
