"""The stacked variant of GlucoBench's benchmark: it finds planted answers, and the test part cannot decide anything."""

import importlib
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def stack():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("_glucobench_stack")


@pytest.fixture(scope="module")
def windows():
    """Readings of a second-order recursion with a slow pull to what was twelve hours ago: only a long look back can see that."""
    rng = np.random.default_rng(3)
    value = np.zeros(6000)
    for t in range(150, len(value)):
        value[t] = (
            value[t - 1] + 0.5 * (value[t - 1] - value[t - 2]) - 0.05 * (value[t - 1] + value[t - 140 : t - 130].mean()) + rng.normal()
        )
    value += 150.0
    origin = np.arange(300, len(value) - 12)
    outcome = np.stack([value[origin + k + 1] for k in range(12)], axis=1)
    return value, origin, outcome, (np.arange(len(origin)) > 0.75 * len(origin)).astype(int)


def test_history_stays_inside_its_segment(stack):
    value, segment = np.arange(10.0), np.array([0, 0, 0, 0, -1, -1, 1, 1, 1, 1])
    past = stack.history(value, segment, np.array([3, 8]), 5)
    np.testing.assert_array_equal(past, [[3, 2, 1, 0, 0], [8, 7, 6, 6, 6]])


def test_features_are_the_reading_and_means_of_differences(stack):
    past = np.arange(144.0)[None]
    f = stack.features(past, 144)
    assert f.shape == (1, 12 + 10 + 6)  # the hour; five hours in halves; six hours
    np.testing.assert_allclose(f[0, :13], [*range(12), np.arange(12, 18).mean()])
    np.testing.assert_allclose(f[0, -1], np.arange(132, 144).mean())


def test_the_weight_is_the_one_that_made_the_mixture(stack):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400, 12))
    assert stack.weight_of(a, b, 0.3 * a + 0.7 * b) == pytest.approx(0.3, abs=1e-12)
    assert stack.weight_of(a, b, 2 * a - b) == 1.0
    assert stack.weight_of(a, b, 2 * b - a) == 0.0


def test_it_looks_as_far_back_as_the_recording_asks(stack, windows):
    value, origin, outcome, part = windows
    past = stack.history(value, np.zeros(len(value), int), origin, 192)
    hold = np.repeat(past[:, :1], 12, axis=1)
    made = stack.Stack.of(past, outcome, hold, part, 192)
    assert made.regression.span >= 144
    assert made.weight < 0.1, "holding the last value has nothing to add"
    near = stack.Stack.of(past, outcome, hold, part, 12)
    held = part == 1

    def rmse(s):
        return np.sqrt(np.mean((s(past[held], hold[held]) - outcome[held]) ** 2))

    assert rmse(made) < 0.98 * rmse(near)


def test_a_perfect_forecast_gets_all_the_weight(stack, windows):
    value, origin, outcome, part = windows
    past = stack.history(value, np.zeros(len(value), int), origin, 192)
    made = stack.Stack.of(past, outcome, outcome, part, 192)
    assert made.weight == 1.0
    np.testing.assert_allclose(made(past, outcome), outcome)


def test_the_test_part_is_refused(stack, windows):
    value, origin, outcome, part = windows
    past = stack.history(value, np.zeros(len(value), int), origin, 192)
    with pytest.raises(ValueError, match="decides nothing"):
        stack.Stack.of(past, outcome, outcome, part + 1, 192)
