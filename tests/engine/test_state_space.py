"""Levels and slopes: against the dense normal distribution, against quadrature, and one step against two."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, stats

from gemel.engine.state_space import Belief, Dynamics, Reading, carry, read, read_all

K = 2
DYNAMICS = Dynamics(jnp.array([0.3, 1e-6]), jnp.array([0.2, -0.1]), jnp.array([[0.5, 0.2], [0.2, 0.4]]))


def start() -> Belief:
    a = np.random.default_rng(0).normal(size=(2 * K, 2 * K))
    return Belief(jnp.array([1.0, -1.0, 0.3, 0.1]), jnp.asarray(a @ a.T))


def test_two_steps_are_one_of_their_sum():
    once = carry(start(), DYNAMICS, jnp.array(1.7))
    twice = carry(carry(start(), DYNAMICS, jnp.array(0.4)), DYNAMICS, jnp.array(1.3))
    np.testing.assert_allclose(once.mean, twice.mean, atol=1e-12)
    np.testing.assert_allclose(once.covariance, twice.covariance, atol=1e-12)


def test_a_step_is_the_matrix_exponential():
    """Against Van Loan's block exponential, which shares no formula with the code."""
    drive = np.block([[-np.diag(np.asarray(DYNAMICS.rate)), np.eye(K)], [np.zeros((K, K)), np.zeros((K, K))]])
    noise = linalg.block_diag(np.asarray(DYNAMICS.noise), np.zeros((K, K)))
    block = linalg.expm(np.block([[-drive, noise], [np.zeros_like(drive), drive.T]]) * 0.9)
    move = block[2 * K :, 2 * K :].T
    found = carry(start(), DYNAMICS, jnp.array(0.9))
    np.testing.assert_allclose(
        found.covariance, move @ np.asarray(start().covariance) @ move.T + move @ block[: 2 * K, 2 * K :], atol=1e-10
    )
    ramp = linalg.expm(
        np.block([[drive, np.concatenate([np.asarray(DYNAMICS.drift), np.zeros(K)])[:, None]], [np.zeros((1, 2 * K + 1))]]) * 0.9
    )[: 2 * K, 2 * K]
    np.testing.assert_allclose(found.mean, move @ np.asarray(start().mean) + ramp, atol=1e-10)


TIMES = np.array([0.0, 0.5, 2.0, 2.2])
LOADING = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, -0.7]])
VARIANCE, OFFSET = np.array([0.2, 0.3, 0.1]), np.array([0.0, 0.1, -0.2])


def dense() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of all readings at all times, from the joint law of the states."""
    h = np.concatenate([LOADING, np.zeros((3, K))], axis=1)
    means, blocks = [], {}
    for i, t in enumerate(TIMES):
        now = carry(start(), DYNAMICS, jnp.array(t))
        means.append(h @ np.asarray(now.mean) + OFFSET)
        for j, later in enumerate(TIMES[i:], start=i):
            a = np.exp(-np.asarray(DYNAMICS.rate) * (later - t))
            move = np.block([[np.diag(a), np.diag((1 - a) / np.asarray(DYNAMICS.rate))], [np.zeros((K, K)), np.eye(K)]])
            blocks[j, i] = h @ move @ np.asarray(now.covariance) @ h.T + (np.diag(VARIANCE) if i == j else 0)
            blocks[i, j] = blocks[j, i].T
    return np.concatenate(means), np.block([[blocks[i, j] for j in range(4)] for i in range(4)])


def filtered(values: np.ndarray, mask: np.ndarray) -> tuple[Belief, float]:
    belief, total = start(), 0.0
    for i, t in enumerate(TIMES):
        belief = carry(belief, DYNAMICS, jnp.array(t - TIMES[i - 1] if i else 0.0))
        y = jnp.asarray(np.where(mask[i], values[i], 0.0))
        belief, log = read_all(
            belief, Reading(jnp.asarray(LOADING), jnp.asarray(OFFSET), jnp.asarray(VARIANCE), y, y, jnp.asarray(mask[i]))
        )
        total += float(log)
    return belief, total


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_the_likelihood_is_the_dense_one_and_missing_is_dropping(share):
    """V17."""
    rng = np.random.default_rng(3)
    mean, covariance = dense()
    values, mask = rng.multivariate_normal(mean, covariance), rng.random(12) < share
    expected = stats.multivariate_normal(mean[mask], covariance[np.ix_(mask, mask)]).logpdf(values[mask])
    assert filtered(values.reshape(4, 3), mask.reshape(4, 3))[1] == pytest.approx(expected, abs=1e-9)


def test_the_forecast_is_the_dense_conditional():
    """V1: what comes at the last time, given all before."""
    mean, covariance = dense()
    values = np.random.default_rng(4).multivariate_normal(mean, covariance)
    mask = np.arange(12) < 9
    gain = np.linalg.solve(covariance[:9, :9], covariance[:9, 9:]).T
    belief, _ = filtered(values.reshape(4, 3), mask.reshape(4, 3))
    h = np.concatenate([LOADING, np.zeros((3, K))], axis=1)
    np.testing.assert_allclose(h @ np.asarray(belief.mean) + OFFSET, mean[9:] + gain @ (values[:9] - mean[:9]), atol=1e-8)
    found = h @ np.asarray(belief.covariance) @ h.T + np.diag(VARIANCE)
    np.testing.assert_allclose(found, covariance[9:, 9:] - gain @ covariance[:9, 9:], atol=1e-8)


@pytest.mark.parametrize(("low", "high"), [(0.3, np.inf), (-np.inf, -2.0), (-0.5, 0.2), (5.0, np.inf)])
def test_an_interval_keeps_mean_and_covariance(low, high):
    """Against quadrature over the reading: law of total mean and covariance."""
    belief, loading = start(), np.array([0.8, -0.4])
    after, log = read(
        belief, jnp.asarray(loading), jnp.asarray(0.1), jnp.asarray(0.5), jnp.asarray(low), jnp.asarray(high), jnp.asarray(True)
    )
    m, p = np.asarray(belief.mean), np.asarray(belief.covariance)
    c = np.concatenate([loading, np.zeros(K)])
    centre, total = c @ m + 0.1, c @ p @ c + 0.5
    law = stats.truncnorm((low - centre) / np.sqrt(total), (high - centre) / np.sqrt(total), centre, np.sqrt(total))
    gain = p @ c / total
    np.testing.assert_allclose(after.mean, m + gain * (law.mean() - centre), atol=1e-6)
    np.testing.assert_allclose(after.covariance, p - np.outer(gain, gain) * (total - law.var()), atol=1e-5)
    both = stats.norm(centre, np.sqrt(total))
    assert float(log) == pytest.approx(np.log(both.cdf(high) - both.cdf(low) if low < centre else both.sf(low) - both.sf(high)), rel=1e-6)


def test_what_is_masked_changes_nothing_and_an_impossible_interval_stays_finite():
    for low, mask in ((1e9, False), (np.nan, False), (200.0, True)):
        after, log = read(start(), jnp.ones(K), jnp.zeros(()), jnp.ones(()), jnp.asarray(low), jnp.asarray(np.inf), jnp.asarray(mask))
        assert np.isfinite(after.mean).all()
        assert np.isfinite(float(log))
        if not mask:
            np.testing.assert_array_equal(after.mean, start().mean)
            assert float(log) == 0


def test_gradients_agree_with_differences():
    def loss(x):
        belief = carry(
            Belief(start().mean * x[0], start().covariance), Dynamics(jnp.exp(x[1:3]), DYNAMICS.drift, DYNAMICS.noise), jnp.array(0.7)
        )
        low, high = jnp.array([0.2, -jnp.inf, 0.1]), jnp.array([0.2, 0.3, jnp.inf])
        return read_all(
            belief, Reading(jnp.asarray(LOADING), jnp.asarray(OFFSET), jnp.exp(x[3]) * jnp.asarray(VARIANCE), low, high, jnp.ones(3, bool))
        )[1]

    x = jnp.array([0.7, -1.0, -2.0, 0.3])
    found = jax.grad(loss)(x)
    step = 1e-5
    for i in range(4):
        e = jnp.zeros(4).at[i].set(step)
        assert float(found[i]) == pytest.approx(
            float((loss(x + e) - loss(x - e)) / (2 * step)), rel=1e-5, abs=1e-8
        )  # central differences, 1e-5
