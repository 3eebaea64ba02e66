"""The Kalman filter and smoother against the dense joint Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.engine.infer.kalman import LinearGaussian, condition, kalman_filter, kalman_smoother, propagate, psd_factor

GOLDEN = (1 + 5**0.5) / 2
FILTER = jax.jit(kalman_filter)


def _system(rng, n=3, p=2, time=None):
    """A random stable system; time-varying when a length is given. The last state is a constant parameter (no process noise)."""
    lead = () if time is None else (time,)
    transition = 0.5 * rng.standard_normal((*lead, n, n)) / np.sqrt(n) + 0.3 * np.eye(n)
    transition[..., -1, :] = np.eye(n)[-1]
    root = rng.standard_normal((*lead, n, n))
    process = root @ np.swapaxes(root, -1, -2) * 0.3
    process[..., -1, :] = process[..., :, -1] = 0
    observation = rng.standard_normal((*lead, p, n))
    root = rng.standard_normal((*lead, p, p))
    noise = root @ np.swapaxes(root, -1, -2) + 0.5 * np.eye(p)
    root = rng.standard_normal((n, n))
    drift, offset = rng.standard_normal((*lead, n)), rng.standard_normal((*lead, p))
    return LinearGaussian.of(
        transition, process, observation, noise, rng.standard_normal(n), root @ root.T + 0.2 * np.eye(n), drift=drift, offset=offset
    )


def _dense(system, observed, mask):
    """Joint Gaussian of all states given the present observations, and their log density, with plain linear algebra."""
    length = len(observed)
    transition, factor, observation, noise, drift, offset = (np.asarray(a) for a in system._by_time(length))
    n = transition.shape[-1]
    mean, covariance = [np.asarray(system.mean)], np.zeros((length * n, length * n))
    start = np.asarray(system.factor)
    covariance[:n, :n] = start @ start.T
    for t in range(length - 1):
        a, b = slice(t * n, t * n + n), slice(t * n + n, t * n + 2 * n)
        mean.append(transition[t] @ mean[-1] + drift[t])
        covariance[b, : t * n + n] = transition[t] @ covariance[a, : t * n + n]
        covariance[: t * n + n, b] = covariance[b, : t * n + n].T
        covariance[b, b] = transition[t] @ covariance[a, a] @ transition[t].T + factor[t] @ factor[t].T
    mean = np.concatenate(mean)
    rows, values, noises = [], [], []
    for t in range(length):
        present = mask[t]
        block = np.zeros((present.sum(), length * n))
        block[:, t * n : t * n + n] = observation[t][present]
        rows.append(block)
        values.append((observed[t] - offset[t])[present])
        noises.append(noise[t][np.ix_(present, present)])
    h, y = np.concatenate(rows), np.concatenate(values)
    r = np.zeros((len(y), len(y)))
    place = 0
    for block in noises:
        r[place : place + len(block), place : place + len(block)] = block
        place += len(block)
    s = h @ covariance @ h.T + r
    gain = np.linalg.solve(s, h @ covariance).T
    residual = y - h @ mean
    log_density = -0.5 * (residual @ np.linalg.solve(s, residual) + np.linalg.slogdet(s)[1] + len(y) * np.log(2 * np.pi))
    return (mean + gain @ residual).reshape(length, n), covariance - gain @ h @ covariance, log_density


def test_local_level_reaches_the_golden_ratio():
    system = LinearGaussian.of([[1.0]], [[1.0]], [[1.0]], [[1.0]], [0.0], [[7.0]])
    out = FILTER(system, jnp.zeros((40, 1)))
    # the variance contracts by 0.146 a step: after 40 steps what is left of the start is below 1e-30
    np.testing.assert_allclose(out.predicted_covariance[-1, 0, 0], GOLDEN, rtol=0, atol=1e-10)
    np.testing.assert_allclose(out.covariance[-1, 0, 0], GOLDEN - 1, rtol=0, atol=1e-10)
    gain = out.predicted_covariance[-1, 0, 0] / (out.predicted_covariance[-1, 0, 0] + 1)
    np.testing.assert_allclose(gain, 0.6180339887498949, rtol=0, atol=1e-10)


@pytest.mark.parametrize("time", [None, 12])
def test_filter_and_smoother_equal_the_dense_joint_gaussian(time):
    rng = np.random.default_rng(3)
    system = _system(rng, time=time)
    observed, mask = 3 * rng.standard_normal((12, 2)), rng.uniform(size=(12, 2)) < 0.6
    mask[4] = False
    filtered = FILTER(system, observed, mask)
    smoothed = kalman_smoother(system, filtered)
    mean, covariance, log_density = _dense(system, observed, mask)
    blocks = np.stack([covariance[3 * t : 3 * t + 3, 3 * t : 3 * t + 3] for t in range(12)])
    cross = np.stack([covariance[3 * t + 3 : 3 * t + 6, 3 * t : 3 * t + 3] for t in range(11)])
    # the condition of the dense system is below 1e5, rounding below 1e-11: 1e-8 leaves room
    np.testing.assert_allclose(filtered.mean[-1], mean[-1], atol=1e-8)
    np.testing.assert_allclose(filtered.covariance[-1], blocks[-1], atol=1e-8)
    np.testing.assert_allclose(smoothed.mean, mean, atol=1e-8)
    np.testing.assert_allclose(smoothed.covariance, blocks, atol=1e-8)
    np.testing.assert_allclose(smoothed.cross, cross, atol=1e-8)
    np.testing.assert_allclose(filtered.log_likelihood, log_density, atol=1e-8)


def test_sequential_regression_equals_the_batch_posterior_in_any_order():
    rng = np.random.default_rng(5)
    design, noise = rng.standard_normal((30, 5)), 0.7
    truth = rng.standard_normal(5)
    y = design @ truth + noise * rng.standard_normal(30)
    precision = design.T @ design / noise**2 + np.eye(5) / 4
    batch_mean, batch_covariance = np.linalg.solve(precision, design.T @ y / noise**2), np.linalg.inv(precision)
    for order in (np.arange(30), rng.permutation(30), np.arange(30)[::-1]):
        system = LinearGaussian.of(np.eye(5), np.zeros((5, 5)), design[order][:, None, :], [[noise**2]], np.zeros(5), 4 * np.eye(5))
        out = FILTER(system, y[order][:, None])
        # 30 orthogonal transformations of numbers of order one: rounding is below 1e-12
        np.testing.assert_allclose(out.mean[-1], batch_mean, atol=1e-10)
        np.testing.assert_allclose(out.covariance[-1], batch_covariance, atol=1e-10)


def test_late_facts_sorted_by_time_give_the_same_state():
    """Arrivals in any order, put back into their times, are the dense joint Gaussian; so is conditioning channel by channel."""
    rng = np.random.default_rng(7)
    system = _system(rng, p=2)
    observed, mask = rng.standard_normal((6, 2)), np.ones((6, 2), bool)
    whole = FILTER(system, observed, mask)
    seen = np.zeros((6, 2), bool)
    for fact in rng.permutation(12):
        seen.flat[fact] = True
        out = FILTER(system, observed, seen)
    np.testing.assert_array_equal(out.mean, whole.mean)
    noise = np.diag([0.5, 2.0])
    prior = condition(system.mean, system.factor, observed[0], system.observation, jnp.diag(noise), np.array([True, True]))
    for order in ([0, 1], [1, 0]):
        mean, factor, total = system.mean, system.factor, 0.0
        for channel in order:
            one = condition(mean, factor, observed[0], system.observation, jnp.diag(noise), np.arange(2) == channel)
            mean, factor, total = one.mean, one.factor, total + one.log_likelihood
        # independent channels one after the other are the joint update: only rounding differs
        np.testing.assert_allclose(mean, prior.mean, atol=1e-12)
        np.testing.assert_allclose(factor @ factor.T, prior.factor @ prior.factor.T, atol=1e-12)
        np.testing.assert_allclose(total, prior.log_likelihood, atol=1e-12)


def test_a_masked_channel_changes_no_bit():
    rng = np.random.default_rng(11)
    system = _system(rng)
    observed, mask = rng.standard_normal((9, 2)), rng.uniform(size=(9, 2)) < 0.5
    reference = FILTER(system, observed, mask)
    for junk in (np.nan, np.inf, 1e300):
        out = FILTER(system, np.where(mask, observed, junk), mask)
        for a, b in zip(jax.tree.leaves(reference), jax.tree.leaves(out), strict=True):
            np.testing.assert_array_equal(a, b)
    gradient = jax.grad(lambda y: FILTER(system, y, mask).log_likelihood)(jnp.where(mask, observed, 0.0))
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[~mask] == 0).all()


def test_innovations_are_chi_square_under_the_model():
    system = LinearGaussian.of([[0.9]], [[0.4]], [[1.0], [0.5]], np.diag([1.0, 0.3]), [0.0], [[1.0]])
    rng = np.random.default_rng(13)
    series, length = 400, 20
    state = rng.standard_normal(series)
    observed = np.empty((series, length, 2))
    for t in range(length):
        observed[:, t] = state[:, None] * [1.0, 0.5] + rng.standard_normal((series, 2)) * np.sqrt([1.0, 0.3])
        state = 0.9 * state + np.sqrt(0.4) * rng.standard_normal(series)
    nis = np.asarray(jax.vmap(lambda y: FILTER(system, y).squared_innovation)(observed))
    # mean 2, variance 4 of chi-square(2), innovations independent: standard error 2/sqrt(8000) = 0.022, four of them
    assert abs(nis.mean() - 2) < 4 * 2 / np.sqrt(nis.size)
    assert abs((nis < 9.21034).mean() - 0.99) < 4 * np.sqrt(0.99 * 0.01 / nis.size)


def test_gradient_of_the_evidence_agrees_with_differences():
    rng = np.random.default_rng(17)
    observed = rng.standard_normal((15, 1))

    def evidence(log_q):
        q = jnp.exp(log_q)
        system = LinearGaussian(
            jnp.eye(1), jnp.sqrt(q)[None, None], jnp.eye(1), jnp.eye(1), jnp.zeros(1), jnp.eye(1), jnp.zeros(1), jnp.zeros(1)
        )
        return FILTER(system, observed).log_likelihood

    step = 1e-5
    difference = (evidence(0.3 + step) - evidence(0.3 - step)) / (2 * step)
    # central difference: error step^2 times the third derivative (of order one) plus rounding 1e-15/1e-5
    np.testing.assert_allclose(jax.grad(evidence)(0.3), difference, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_conditioning_never_widens_and_moving_adds(seed):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((3, 3))
    factor = psd_factor(root @ root.T)
    np.testing.assert_allclose(factor @ factor.T, root @ root.T, atol=1e-12 * max(1, np.abs(root).max() ** 2) * 10)  # rounding of eigh
    mask = rng.uniform(size=2) < 0.7
    out = condition(jnp.zeros(3), factor, rng.standard_normal(2), jnp.asarray(rng.standard_normal((2, 3))), jnp.ones(2), mask)
    loss = np.linalg.eigvalsh(np.asarray(factor @ factor.T - out.factor @ out.factor.T))
    assert loss.min() > -1e-10  # rounding
    assert np.linalg.matrix_rank(np.asarray(factor @ factor.T - out.factor @ out.factor.T), tol=1e-9) <= mask.sum()
    _, moved = propagate(jnp.zeros(3), factor, jnp.eye(3), 0.5 * jnp.eye(3))
    np.testing.assert_allclose(moved @ moved.T, factor @ factor.T + 0.25 * np.eye(3), atol=1e-10)
