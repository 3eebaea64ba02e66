"""The bootstrap particle filter against the Kalman filter, resampling, shrinkage and collapse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core.errors import InferenceError
from gemel.engine.infer.kalman import LinearGaussian, kalman_filter
from gemel.engine.infer.particle import ParticleFilter, effective_size, liu_west_kernel, resample_systematic, weigh, weighted_moments
from gemel.engine.status import Status

KEY = jax.random.key(9)


def _log_normalised(seed, size):
    raw = 2 * jax.random.normal(jax.random.key(seed), (size,))
    return raw - jax.scipy.special.logsumexp(raw)


def _level(size, *, series, observed):
    """Local level with unit variances: moves, weighs, for the scan of ``run``."""

    def move(x, item, key):
        return jnp.where(item[1] > 0, x + jax.random.normal(key, x.shape), x)

    def log_likelihood(x, item):
        return -0.5 * (item[0] - x[:, 0]) ** 2 - 0.5 * jnp.log(2 * jnp.pi)

    items = (observed, jnp.arange(len(observed)))
    method = ParticleFilter(size=size)

    def one(key):
        start = jax.random.normal(jax.random.fold_in(key, 77), (size, 1))
        return method.run(start, move, log_likelihood, items, key=key)

    return jax.jit(jax.vmap(one))(jax.random.split(KEY, series))


def test_moments_and_evidence_agree_with_the_kalman_filter():
    observed = jnp.asarray(np.cumsum(np.random.default_rng(1).standard_normal(12)))
    exact = kalman_filter(LinearGaussian.of([[1.0]], [[1.0]], [[1.0]], [[1.0]], [0.0], [[1.0]]), observed[:, None])
    series = 60
    out = _level(2000, series=series, observed=observed)
    assert (np.asarray(out.status) == Status.OK).all()
    error = np.asarray(out.mean[:, :, 0]).std(0) / np.sqrt(series)
    # four standard errors of 60 independent filters, plus the bias of a self-normalised weight, 1/N
    assert (np.abs(np.asarray(out.mean[:, :, 0]).mean(0) - exact.mean[:, 0]) < 4 * error + 2 / 2000).all()
    ratio = np.exp(np.asarray(out.log_evidence) - float(exact.log_likelihood))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(series)  # the evidence itself is unbiased
    spread = np.asarray(out.covariance[:, :, 0, 0])
    assert (np.abs(spread.mean(0) - exact.covariance[:, 0, 0]) < 4 * spread.std(0) / np.sqrt(series) + 4 / 2000).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_systematic_resampling_takes_floor_or_ceiling(seed):
    log_weights = _log_normalised(seed, 40)
    index = np.asarray(resample_systematic(log_weights, key=jax.random.key(seed)))
    count, expected = np.bincount(index, minlength=40), 40 * np.exp(np.asarray(log_weights))
    # floor or ceiling by definition; 1e-9 for a weight that is an integer but for rounding
    assert (count >= np.floor(expected - 1e-9)).all()
    assert (count <= np.ceil(expected + 1e-9)).all()
    assert (np.diff(index) >= 0).all()


def test_systematic_resampling_is_unbiased():
    log_weights = _log_normalised(3, 10)
    index = jax.vmap(lambda k: resample_systematic(log_weights, key=k))(jax.random.split(KEY, 4000))
    share = np.stack([np.bincount(i, minlength=10) for i in np.asarray(index)]) / 10
    # a share has variance at most 1/400 (it moves by one count of ten): four standard errors and a bit over ten cells
    assert np.abs(share.mean(0) - np.exp(log_weights)).max() < 4.5 * 0.05 / np.sqrt(4000)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0.9, 0.999))
def test_liu_west_keeps_mean_and_covariance_exactly(seed, discount):
    parameters = jax.random.normal(jax.random.key(seed), (50, 3)) @ jnp.array([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.3, 0.0, 5.0]])
    log_weights = _log_normalised(seed + 1, 50)
    mean, covariance = weighted_moments(parameters, log_weights)
    location, kernel = liu_west_kernel(parameters, log_weights, discount)
    new_mean, new_covariance = weighted_moments(location, log_weights)
    # an identity of algebra: rounding of numbers up to 30
    np.testing.assert_allclose(new_mean, mean, atol=1e-12)
    np.testing.assert_allclose(new_covariance + kernel, covariance, atol=1e-11)


def test_liu_west_draws_keep_mean_and_covariance_within_sampling_error():
    size = 1000
    particles = jnp.concatenate([jax.random.normal(KEY, (size, 2)) * jnp.array([1.0, 3.0]), jnp.ones((size, 1))], axis=1)
    log_likelihood = -0.5 * (particles[:, 0] - 2.0) ** 2 * 4
    method = ParticleFilter(size=size, threshold=1.0, discount=0.95, parameters=2)
    one = jax.jit(jax.vmap(lambda k: method.analyse(particles, method.start(), log_likelihood, key=k)))
    out = one(jax.random.split(KEY, 200))
    mean = np.asarray(out.particles.mean(1))
    assert (np.abs(mean.mean(0) - out.mean[0])[:2] < 4.5 * mean.std(0)[:2] / np.sqrt(200)).all()
    variance = np.asarray(out.particles.var(1))
    target = np.diag(np.asarray(out.covariance[0]))
    assert (np.abs(variance.mean(0) - target)[:2] < 4.5 * variance.std(0)[:2] / np.sqrt(200) + 3 * target[:2] / size).all()
    np.testing.assert_array_equal(out.particles[:, :, 2], 1.0)  # a state column is not touched by the kernel of the parameters


def test_weights_and_effective_size():
    start = jnp.full(4, -jnp.log(4.0))
    weights, evidence = weigh(start, jnp.log(jnp.array([1.0, 2.0, 3.0, 4.0])))
    np.testing.assert_allclose(jnp.exp(weights), [0.1, 0.2, 0.3, 0.4], rtol=1e-14)  # rounding
    np.testing.assert_allclose(evidence, np.log(2.5), rtol=1e-14)
    np.testing.assert_allclose(effective_size(weights), 1 / 0.3, rtol=1e-14)
    same, nothing = weigh(weights, jnp.zeros(4))
    np.testing.assert_allclose(same, weights, atol=1e-15)
    assert abs(float(nothing)) < 1e-15
    kept, impossible = weigh(weights, jnp.array([-jnp.inf, jnp.nan, -jnp.inf, -jnp.inf]))
    np.testing.assert_array_equal(kept, weights)
    assert impossible == -jnp.inf


def test_collapse_and_impossible_data_are_statuses():
    particles = jax.random.normal(KEY, (200, 1))
    method = ParticleFilter(size=200)
    sharp = method.analyse(particles, method.start(), -0.5 * (particles[:, 0] / 1e-4) ** 2, key=KEY)
    assert int(sharp.status) == Status.COLLAPSED
    assert bool(sharp.resampled)
    impossible = method.analyse(particles, method.start(), jnp.full(200, -jnp.inf), key=KEY)
    assert int(impossible.status) == Status.NOT_FINITE
    np.testing.assert_array_equal(impossible.particles, particles)
    fine = method.analyse(particles, method.start(), jnp.zeros(200), key=KEY)
    assert int(fine.status) == Status.OK
    assert not bool(fine.resampled)
    np.testing.assert_array_equal(fine.particles, particles)


def test_regularisation_moves_duplicates_only_and_only_where_allowed():
    particles = jax.random.normal(KEY, (300, 2))
    method = ParticleFilter(size=300, threshold=1.0, regularisation=1.0)
    out = method.analyse(particles, method.start(), -2 * particles[:, 0] ** 2, key=KEY, movable=np.array([True, False]))
    index = np.asarray(out.ancestors)
    unique = np.isin(index, np.flatnonzero(np.bincount(index, minlength=300) == 1))
    kept = np.asarray(particles)[index]
    np.testing.assert_array_equal(np.asarray(out.particles)[unique], kept[unique])
    np.testing.assert_array_equal(out.particles[:, 1], kept[:, 1])
    assert (np.asarray(out.particles)[~unique, 0] != kept[~unique, 0]).all()


def test_settings_are_checked():
    with pytest.raises(InferenceError, match="out of range"):
        ParticleFilter(threshold=1.5)
    with pytest.raises(InferenceError, match="Liu-West"):
        ParticleFilter(discount=0.98)
    assert "asymptotically exact" in ParticleFilter().validity
    assert "bias" in ParticleFilter(regularisation=0.5).validity
