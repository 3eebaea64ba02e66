"""Data as the numeric core sees them: buckets, masks, order, and windows of slots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core.errors import ValueRangeError
from gemel.engine.compile import bucket, counting
from gemel.engine.data import Dataset, Slots


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), max_size=70))
def test_data_are_sorted_padded_and_masked(rows):
    time, value = (np.array([r[i] for r in rows], float) for i in (0, 1))
    data = Dataset.of(time, value)
    n = len(rows)
    assert data.count == n
    assert data.time.shape[0] == bucket(max(n, 1))
    assert np.array_equal(np.asarray(data.time)[:n], np.sort(time))
    assert np.array_equal(np.sort(np.asarray(data.value)[:n]), np.sort(value))
    assert np.array_equal(np.asarray(data.mask), np.arange(data.mask.shape[0]) < n)
    assert (np.diff(np.asarray(data.time)) >= 0).all()  # padding lies at the last time


@pytest.mark.parametrize(("time", "value"), [([0.0, 1.0], [1.0, np.nan]), ([0.0, np.inf], [1.0, 2.0])])
def test_what_is_not_finite_is_refused_with_its_place(time, value):
    with pytest.raises(ValueRangeError, match="channel 3"):
        Dataset.of(np.array(time), np.array(value), 3)


def test_sizes_are_few():
    assert {bucket(n) for n in range(1, 1001)} == {32, 64, 128, 256, 512, 1024}
    with pytest.raises(ValueRangeError):
        bucket(-1)


def slots(n: int, seed: int = 0) -> Slots:
    rng = np.random.default_rng(seed)
    return Slots(rng.normal(size=(n, 1)), rng.random((n, 1)) < 0.5, np.zeros((n, 1), int), rng.normal(size=(n, 2)))


def test_windows_have_the_past_in_front():
    whole = slots(50)
    part = whole.window(10, 20, lags=3)
    assert part.count == 32
    assert np.array_equal(part.value[:10], whole.value[10:20])
    assert not part.mask[10:].any()
    assert np.array_equal(part.inputs[:13], whole.inputs[7:20])
    assert part.inputs.shape[0] == 35
    first = whole.window(0, 5, lags=3)
    assert (first.inputs[:3] == 0).all()
    assert np.array_equal(first.inputs[3:8], whole.inputs[:5])
    assert np.array_equal(whole.until(7).value, whole.value[:7])


@settings(deadline=None)
@given(st.integers(0, 39), st.sampled_from(["value", "mask", "inputs"]))
def test_the_first_difference_is_found(where, column):
    a, b = slots(40), slots(40)
    changed = np.array(getattr(b, column))
    changed[where, 0] = ~changed[where, 0] if column == "mask" else changed[where, 0] + 1
    b = Slots(**{n: changed if n == column else getattr(b, n) for n in ("value", "mask", "censored", "inputs")})
    assert a.first_difference(b) == where
    assert a.first_difference(slots(40)) == 40
    assert a.first_difference(slots(40).until(12)) == 12
    assert a.until(0).first_difference(a) == 0


def test_putting_data_into_buckets_compiles_nothing():
    for n in (3, 40, 70):
        Dataset.of(np.arange(float(n)), np.arange(float(n)))
    with counting() as counter:
        for n in range(1, 100):
            Dataset.of(np.arange(float(n)), np.arange(float(n)))
    assert counter.count == 0
