"""Values of information against closed forms."""

import jax.numpy as jnp
import jax.random
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.integrate import quad

from gemel.core.errors import InferenceError
from gemel.engine.information import evpi, evpi_normal, evsi_gaussian, evsi_nested, evsi_normal, evsi_regression

MEAN, SD, VARIANCE = 0.4, 1.3, 2.0


def _benefit(n, seed=0):
    """Net benefit of the second plan over the first, known as N(MEAN, SD^2)."""
    theta = MEAN + SD * np.random.default_rng(seed).standard_normal(n)
    return theta, np.stack([np.zeros(n), theta], axis=1)


def test_closed_form_is_the_integral():
    exact = quad(lambda t: max(t, 0) * stats.norm.pdf(t, MEAN, SD), -15, 15, points=[0, MEAN], epsabs=1e-13)[0] - MEAN
    np.testing.assert_allclose(evpi_normal(MEAN, SD), exact, atol=1e-11)  # quadrature
    np.testing.assert_allclose(evpi_normal(-MEAN, SD), exact, atol=1e-11)  # the sign only says which plan leads
    assert abs(evsi_normal(MEAN, SD, VARIANCE, 10**9) - evpi_normal(MEAN, SD)) < 1e-8  # endless data are perfect: error of order v/n


def test_evpi_of_draws():
    found = evpi(_benefit(40_000)[1])
    assert abs(found.value - evpi_normal(MEAN, SD)) < 3 * found.error
    assert found.best == 1
    assert found.error < 0.01


def test_error_of_evpi_is_honest():
    values = np.array([[evpi(_benefit(400, seed)[1]).value, evpi(_benefit(400, seed)[1]).error] for seed in range(400)])
    # the spread of 400 repetitions is known to 3.5 %; the estimate ignores that the better plan is itself estimated: 15 %
    assert 0.85 < values[:, 1].mean() / values[:, 0].std() < 1.15


@pytest.mark.parametrize("n", [1, 5, 50])
def test_evsi_by_regression_on_the_sample_mean(n):
    theta, utilities = _benefit(20_000, n)
    mean_of_data = theta + np.sqrt(VARIANCE / n) * np.random.default_rng(100 + n).standard_normal(len(theta))
    found, perfect = evsi_regression(utilities, mean_of_data), evpi(utilities)
    assert abs(found.value - evsi_normal(MEAN, SD, VARIANCE, n)) < 3 * found.error
    assert 0 <= found.value <= perfect.value + 3 * (found.error + perfect.error)


@pytest.mark.parametrize("n", [1, 20])
def test_evsi_by_nested_gaussian_posteriors(n):
    found = evsi_gaussian(
        jnp.array([MEAN, 5.0]),
        jnp.array([[SD**2, 0.0], [0.0, 1.0]]),
        jnp.array([[1.0, 0.0]]),
        jnp.array([[VARIANCE / n]]),
        lambda draws: jnp.stack([jnp.zeros(draws.shape[0]), draws[:, 0]], axis=1),
        outer=4000,
        inner=8,
        key=jax.random.key(n),
    )
    # antithetic draws make the inner expectation exact: only the outer Monte Carlo error is left
    assert abs(found.value - evsi_normal(MEAN, SD, VARIANCE, n)) < 3 * found.error


def test_nested_and_regression_agree_on_a_curved_utility():
    """Utility ``theta^2 - c`` of a Gaussian parameter: the regression must find the curve, and quadrature knows the answer."""
    c, tau = 2.2, SD * SD / np.sqrt(SD**2 + VARIANCE / 4)  # sd of the posterior mean
    left = SD**2 - tau**2
    exact = quad(lambda m: max(m**2 + left - c, 0) * stats.norm.pdf(m, MEAN, tau), -15, 15, epsabs=1e-12, limit=300)[0]
    exact -= max(MEAN**2 + SD**2 - c, 0)
    theta, _ = _benefit(20_000, 3)
    utilities = np.stack([np.zeros_like(theta), theta**2 - c], axis=1)
    data = theta + np.sqrt(VARIANCE / 4) * np.random.default_rng(4).standard_normal(len(theta))
    found = evsi_regression(utilities, data)
    assert abs(found.value - exact) < 3 * found.error
    nested = evsi_gaussian(
        jnp.array([MEAN]),
        jnp.array([[SD**2]]),
        jnp.ones((1, 1)),
        jnp.array([[VARIANCE / 4]]),
        lambda draws: jnp.stack([jnp.zeros(draws.shape[0]), draws[:, 0] ** 2 - c], axis=1),
        outer=4000,
        inner=2048,
        key=jax.random.key(5),
    )
    # 2,048 shared inner draws move the curve by 1/sqrt(1024) of the inner variance: 0.03 of it, about 0.02 here
    assert abs(nested.value - exact) < 3 * nested.error + 0.02


def test_useless_and_perfect_summaries():
    theta, utilities = _benefit(5000, 9)
    noise = np.random.default_rng(10).standard_normal(len(theta))
    useless, perfect = evsi_regression(utilities, noise), evsi_regression(utilities, np.stack([theta, noise], axis=1))
    assert 0 <= useless.value < 3 * useless.error + 0.01
    np.testing.assert_allclose(perfect.value, evpi(utilities).value, atol=1e-10)  # the regression reproduces the utility
    assert evsi_regression(utilities, np.ones(5000)).value == 0.0


@settings(max_examples=50, deadline=None)
@given(arrays(float, st.tuples(st.integers(2, 20), st.integers(1, 4)), elements=st.floats(-1e3, 1e3)))
def test_information_is_never_worth_less_than_nothing(utilities):
    found = evpi(utilities)
    assert found.value >= 0
    expected = utilities.max(axis=1).mean() - utilities.mean(axis=0).max()
    np.testing.assert_allclose(found.value, expected, atol=1e-10)  # rounding of numbers up to 1e3
    assert evsi_nested(utilities).value == found.value
    np.testing.assert_allclose(evpi(utilities + 7.0).value, found.value, atol=1e-10)  # a common gain changes no choice


def test_bad_input_is_refused():
    with pytest.raises(InferenceError, match="matrix"):
        evpi([1.0, 2.0])
    with pytest.raises(InferenceError, match="not finite"):
        evpi([[1.0, np.nan], [0.0, 1.0]])
    with pytest.raises(InferenceError, match="summary"):
        evsi_regression([[1.0, 2.0], [0.0, 1.0]], [np.nan, 1.0])
