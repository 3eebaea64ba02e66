"""Scores against closed forms, quadrature and their own properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.integrate import quad

from gemel.core.errors import DataError
from gemel.engine.score import (
    central_interval,
    coverage,
    crps_draws,
    crps_many,
    crps_normal,
    energy_score,
    interval_score,
    log_score_kernel,
    log_score_normal,
    pit,
    skill,
)

NUMBERS = st.floats(-1e3, 1e3)


def test_crps_of_the_standard_normal_at_zero():
    assert abs(crps_normal(0.0, 1.0, 0.0) - 0.2336950) < 1e-7  # printed digits


@pytest.mark.parametrize(("mean", "sd", "y"), [(0.0, 1.0, 0.0), (2.0, 0.5, 1.0), (-1.0, 3.0, 12.0), (0.0, 1e-3, 5.0)])
def test_crps_normal_is_the_integral_of_squared_differences(mean, sd, y):
    def integral(density, low, high):
        knots = np.unique(np.clip([low, *(mean + sd * np.arange(-12, 13, 4)), high], low, high))
        return sum(quad(density, a, b, epsabs=1e-14, epsrel=1e-13)[0] for a, b in itertools.pairwise(knots))

    below = integral(lambda x: stats.norm.cdf(x, mean, sd) ** 2, min(y, mean - 12 * sd), y)
    above = integral(lambda x: stats.norm.sf(x, mean, sd) ** 2, y, max(y, mean + 12 * sd))
    np.testing.assert_allclose(crps_normal(mean, sd, y), below + above, atol=1e-10)  # quadrature to 1e-12, tails beyond 12 sd below 1e-30


def test_crps_of_draws_approaches_the_closed_form():
    x = np.random.default_rng(1).standard_normal((2000, 400))
    scores = crps_draws(x, np.zeros(400), fair=True)
    # the fair score is unbiased: four standard errors over 400 repetitions
    assert abs(scores.mean() - 0.2336950) < 4 * scores.std() / 20
    # midpoint quantiles of the normal: quadrature error of order 1/m
    grid = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    assert abs(crps_draws(grid, 0.0) - 0.2336950) < 1e-4


@settings(max_examples=60, deadline=None)
@given(arrays(float, st.integers(2, 30), elements=NUMBERS), NUMBERS)
def test_crps_by_sorting_is_the_double_sum(draws, y):
    m = len(draws)
    double = np.abs(draws[:, None] - draws[None, :]).sum() / 2
    scale = max(1.0, np.abs(draws - y).max())
    np.testing.assert_allclose(crps_draws(draws, y), np.abs(draws - y).mean() - double / m**2, atol=1e-12 * scale)  # rounding
    np.testing.assert_allclose(crps_draws(draws, y, fair=True), np.abs(draws - y).mean() - double / (m * (m - 1)), atol=1e-12 * scale)
    np.testing.assert_allclose(energy_score(draws[:, None], np.array([y])), crps_draws(draws, y), atol=1e-12 * scale)
    assert crps_draws(draws, y) >= -1e-12 * scale


@settings(max_examples=30, deadline=None)
@given(arrays(float, st.integers(1, 20), elements=NUMBERS), NUMBERS, st.floats(0.1, 10), NUMBERS)
def test_crps_moves_and_scales_with_the_unit(draws, y, factor, shift):
    expected = factor * crps_draws(draws, y)
    np.testing.assert_allclose(crps_draws(factor * draws + shift, factor * y + shift), expected, atol=1e-9)  # rounding at 1e4


def test_crps_axes_and_compiled_form():
    rng = np.random.default_rng(2)
    draws, y = rng.standard_normal((5, 40, 3)), rng.standard_normal((5, 3))
    whole = crps_draws(draws, y, axis=1)
    assert whole.shape == (5, 3)
    np.testing.assert_allclose(whole[2, 1], crps_draws(draws[2, :, 1], y[2, 1]), atol=1e-14)  # rounding
    np.testing.assert_allclose(crps_many(np.moveaxis(draws, 1, 0), y), whole, atol=1e-13)  # rounding
    assert crps_draws([3.0], 1.0) == 2.0  # one draw: the absolute error


def test_log_scores():
    rng = np.random.default_rng(3)
    draws = rng.normal(2.0, 1.5, 20_000)
    exact = -stats.norm.logpdf(1.0, 2.0, 1.5)
    assert abs(log_score_normal(draws, 1.0) - exact) < 0.03  # sampling error 1/sqrt(20000) of mean and log sd, four times
    assert abs(log_score_kernel(draws, 1.0) - exact) < 0.05  # the kernel's bias: h^2 f''/2f is 0.01, its noise 0.02
    few, h = np.array([0.0, 1.0, 4.0]), 0.7
    np.testing.assert_allclose(log_score_kernel(few, 0.5, bandwidth=h), -np.log(stats.norm.pdf(0.5, few, h).mean()), atol=1e-12)  # rounding


@settings(max_examples=40, deadline=None)
@given(NUMBERS, st.floats(0, 100), NUMBERS, st.floats(0.01, 0.99))
def test_interval_score(low, width, y, alpha):
    high = low + width
    score = interval_score(low, high, y, alpha)
    outside = max(low - y, 0) + max(y - high, 0)
    np.testing.assert_allclose(score, (high - low) + 2 / alpha * outside, rtol=1e-12, atol=1e-12)  # rounding
    assert score >= (high - low)


def test_interval_score_is_least_at_the_quantiles():
    y = np.random.default_rng(4).standard_normal(200_000)
    at = [interval_score(-q, q, y, 0.1).mean() for q in (1.3, 1.6448536, 2.0)]
    assert at[1] < at[0]
    assert at[1] < at[2]


@pytest.mark.parametrize("law", ["normal", "poisson"])
def test_pit_is_uniform_also_for_counts(law):
    rng = np.random.default_rng(5)
    sample = {"normal": lambda n: rng.standard_normal(n), "poisson": lambda n: rng.poisson(1.3, n).astype(float)}[law]
    values = pit(sample((19, 4000)), sample(4000), rng=rng)
    # exactly uniform by exchangeability: a wrong transform fails, an honest one with probability 0.001
    assert stats.kstest(values, "uniform").pvalue > 0.001


def test_pit_without_randomness_is_the_middle_of_the_step():
    assert pit([1.0, 2.0, 3.0], 2.5) == 2.5 / 4
    assert pit([1.0, 2.0, 2.0], 2.0) == (1 + 0.5 * 3) / 4


def test_coverage_of_an_honest_forecast():
    rng = np.random.default_rng(6)
    inside = coverage(rng.standard_normal((999, 3000)), rng.standard_normal(3000))
    assert sorted(inside) == ["0.50", "0.80", "0.90", "0.95"]
    for level, hit in inside.items():
        p = float(level)
        # four binomial standard errors, and 2/1000 because quantiles of 999 draws are estimates
        assert abs(hit.mean() - p) < 4 * np.sqrt(p * (1 - p) / 3000) + 0.002
    low, high = central_interval(np.arange(101.0), 0.9)
    np.testing.assert_allclose((low, high), (5.0, 95.0), rtol=1e-14)  # rounding


def test_energy_score_of_two_dimensions():
    rng = np.random.default_rng(7)
    draws, y = rng.standard_normal((30, 2)), np.array([0.3, -1.0])
    gaps = np.linalg.norm(draws[:, None] - draws[None], axis=-1).sum() / 2
    near = np.linalg.norm(draws - y, axis=1).mean()
    np.testing.assert_allclose(energy_score(draws, y), near - gaps / 900, atol=1e-12)  # rounding
    np.testing.assert_allclose(energy_score(draws, y, fair=True), near - gaps / 870, atol=1e-12)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    np.testing.assert_allclose(energy_score(draws @ turn.T, turn @ y), energy_score(draws, y), atol=1e-12)


def test_skill_and_bad_input():
    assert skill([1.0, 1.0], [2.0, 2.0]) == 0.5
    assert np.isnan(skill([1.0], [0.0]))
    with pytest.raises(DataError, match="without draws"):
        crps_draws(np.zeros((0, 2)), np.zeros(2))
    with pytest.raises(DataError, match="do not match"):
        crps_draws(np.zeros((4, 2)), np.zeros(3))
    with pytest.raises(DataError, match="two draws"):
        crps_draws([1.0], 0.0, fair=True)
    with pytest.raises(DataError, match="alpha"):
        interval_score(0.0, 1.0, 0.5, 1.5)
    with pytest.raises(DataError, match="vectors"):
        energy_score([1.0, 2.0], 0.0)
