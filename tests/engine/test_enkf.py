"""Ensemble analysis against the Kalman filter, and what masks, inflation and rotation must and must not do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core.errors import InferenceError
from gemel.engine.infer.enkf import EnKF, analyse_local, analyse_perturbed, analyse_sqrt, gaspari_cohn, random_rotation
from gemel.engine.infer.kalman import LinearGaussian, condition, kalman_filter, psd_factor

KEY = jax.random.key(4)
CONDITION = jax.jit(condition)
SQRT = jax.jit(analyse_sqrt, static_argnames="rotate")
OBSERVATION = jnp.array([[1.0, 0.0, 0.5], [0.0, 2.0, 0.0]])
NOISE = jnp.array([[0.5, 0.2], [0.2, 0.8]])
Y = jnp.array([1.0, -2.0])
ALL = np.array([True, True])


def _ensemble(size, seed=0):
    return jax.random.normal(jax.random.key(seed), (size, 3)) @ jnp.array([[1.0, 0.3, 0.0], [0.0, 0.7, 0.2], [0.1, 0.0, 1.2]]) + 0.5


def _moments(ensemble):
    return np.mean(ensemble, axis=0), np.cov(np.asarray(ensemble).T)


@pytest.mark.parametrize("size", [2, 3, 5, 40])
@pytest.mark.parametrize("noise", [NOISE, jnp.array([0.5, 0.8])])
def test_sqrt_has_the_moments_of_the_kalman_update_of_its_own_covariance(size, noise):
    """Both sides of the computation: fewer members than channels (5 channels below) and more."""
    wide = jnp.concatenate([OBSERVATION, jnp.ones((3, 3))])
    for h, r, y in ((OBSERVATION, noise, Y), (wide, jnp.arange(1.0, 6.0), jnp.arange(5.0))):
        ensemble = _ensemble(size)
        mean, covariance = _moments(ensemble)
        exact = CONDITION(jnp.asarray(mean), psd_factor(jnp.asarray(covariance)), y, h, r, np.ones(len(y), bool))
        out = SQRT(ensemble, ensemble @ h.T, y, r, np.ones(len(y), bool), rotate=True, key=KEY)
        # algebraically equal: rounding only
        np.testing.assert_allclose(_moments(out)[0], exact.mean, atol=1e-10)
        np.testing.assert_allclose(_moments(out)[1], exact.factor @ exact.factor.T, atol=1e-10)


def test_both_sides_give_the_symmetric_transform():
    """The channel side equals ``V sqrt((N-1)/w) V'`` of the definition, with the definition written out here."""
    ensemble = np.asarray(_ensemble(12))
    mean = ensemble.mean(0)
    anomalies = ensemble - mean
    seen = np.asarray(ensemble @ OBSERVATION.T)
    y_anomalies, inverse = seen - seen.mean(0), np.linalg.inv(NOISE)
    value, vector = np.linalg.eigh(y_anomalies @ inverse @ y_anomalies.T + 11 * np.eye(12))
    weights = vector @ np.diag(1 / value) @ vector.T @ y_anomalies @ inverse @ np.asarray(Y - seen.mean(0))
    transform = vector @ np.diag(np.sqrt(11 / value)) @ vector.T
    expected = mean + weights @ anomalies + 1.1 * transform @ anomalies
    np.testing.assert_allclose(analyse_sqrt(ensemble, seen, Y, NOISE, ALL, inflation=1.1), expected, atol=1e-12)  # rounding


@pytest.mark.parametrize("kind", ["sqrt", "perturbed"])
def test_large_ensembles_approach_the_kalman_filter(kind):
    system = LinearGaussian.of([[0.9, 0.2], [0.0, 0.8]], 0.2 * np.eye(2), [[1.0, 0.0]], [[0.5]], np.zeros(2), np.eye(2))
    rng = np.random.default_rng(2)
    observed, mask = rng.standard_normal((10, 1)), rng.uniform(size=(10, 1)) < 0.8
    exact = kalman_filter(system, observed, mask)
    size = 10_000
    settings_ = EnKF(kind=kind, size=size)

    def step(carry, item):
        ensemble, key = carry
        value, present = item
        key, a, b = jax.random.split(key, 3)
        out = settings_.analyse(ensemble, ensemble @ system.observation.T, value, jnp.diag(system.noise), present, key=a)
        moved = out @ system.transition.T + jax.random.normal(b, (size, 2)) @ system.process_factor.T
        return (moved, key), (jnp.mean(out, axis=0), jnp.cov(out.T))

    start = jax.random.normal(KEY, (size, 2))
    _, (mean, covariance) = jax.lax.scan(step, (start, jax.random.key(1)), (observed, mask))
    # sampling error of a mean and of a covariance of N draws, accumulated over a filter with memory of a few steps: 5/sqrt(N) of an sd
    assert np.abs(mean - exact.mean).max() < 5 / np.sqrt(size)
    assert np.abs(covariance - exact.covariance).max() < 5 * np.sqrt(2 / size)


@pytest.mark.parametrize("kind", ["sqrt", "perturbed", "letkf"])
def test_masked_channels_change_no_bit(kind):
    method = EnKF(kind=kind, size=6, inflation=1.05, rotate=True, radius=2.0)
    noise = jnp.array([0.5, 0.8])
    distance = jnp.zeros((3, 2)).at[0, 1].set(1.0)
    ensemble = _ensemble(6)
    predicted = ensemble @ OBSERVATION.T
    mask = np.array([True, False])
    analyse = jax.jit(method.analyse)
    reference = analyse(ensemble, predicted, Y, noise, mask, key=KEY, distance=distance)
    for junk in (np.nan, np.inf, 1e300):
        out = analyse(ensemble, predicted.at[:, 1].set(junk), Y.at[1].set(junk), noise.at[1].set(junk), mask, key=KEY, distance=distance)
        np.testing.assert_array_equal(out, reference)
    alone = analyse(ensemble, predicted[:, :1], Y[:1], noise[:1], mask[:1], key=KEY, distance=distance[:, :1])
    # one channel or two of which one is masked: matrices of another size are summed in another order, hence rounding
    np.testing.assert_allclose(alone, reference, atol=1e-13)
    nothing = analyse(ensemble, predicted, Y, noise, np.array([False, False]), key=KEY, distance=distance)
    np.testing.assert_array_equal(nothing, ensemble)
    full = jnp.diag(noise) if kind != "letkf" else noise
    np.testing.assert_allclose(analyse(ensemble, predicted, Y, full, mask, key=KEY, distance=distance), reference, atol=1e-13)


ROTATION = jax.jit(random_rotation, static_argnums=0)


@pytest.mark.parametrize("size", [2, 3, 24])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_rotation_is_orthogonal_and_fixes_the_ones(size, seed):
    rotation = ROTATION(size, key=jax.random.key(seed))
    # Householder and QR are orthogonal to rounding, which grows slowly with the size
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(size), atol=1e-12)
    np.testing.assert_allclose(rotation @ jnp.ones(size), np.ones(size), atol=1e-12)
    np.testing.assert_allclose(jnp.ones(size) @ rotation, np.ones(size), atol=1e-12)


def test_rotation_is_uniform_in_its_first_moments():
    rotations = jax.jit(jax.vmap(lambda k: random_rotation(5, key=k)))(jax.random.split(KEY, 20_000))
    # E[U] = 11'/N for the uniform law; an entry has variance below 1/4: four standard errors over 25 cells
    assert np.abs(rotations.mean(0) - 0.2).max() < 4.5 * 0.5 / np.sqrt(20_000)


def test_perturbed_mean_and_covariance_are_unbiased():
    ensemble = _ensemble(50)
    mean, covariance = _moments(ensemble)
    exact = CONDITION(jnp.asarray(mean), psd_factor(jnp.asarray(covariance)), Y, OBSERVATION, NOISE, ALL)

    def one(k):
        return analyse_perturbed(ensemble, ensemble @ OBSERVATION.T, Y, NOISE, ALL, key=k)

    out = jax.jit(jax.vmap(one))(jax.random.split(KEY, 400))
    np.testing.assert_allclose(out.mean((0, 1)), exact.mean, atol=1e-10)  # the perturbations are centred: the mean is exact
    spread = np.stack([np.cov(np.asarray(e).T) for e in out])
    error = np.abs(spread.mean(0) - exact.factor @ exact.factor.T)
    assert (error < 4.5 * spread.std(0) / np.sqrt(400) + 1e-12).all()  # Monte Carlo error over 400 keys


def test_taper():
    # Gaspari & Cohn 1999, eq. 4.10: 1 at zero, 5/24 at the half-width, 0 at twice that
    np.testing.assert_allclose(gaspari_cohn(jnp.array([0.0, 1.82, 3.64, 9.0, jnp.inf]), 1.0), [1, 5 / 24, 0, 0, 0], atol=1e-12)
    # near zero it is the Gaussian of standard deviation 1: 1.82 for sqrt(10/3) is 0.6 % in the curvature, the next term is of third order
    assert abs((1 - float(gaspari_cohn(jnp.asarray(0.01), 1.0))) / 0.5e-4 - 1) < 0.01
    fine = np.asarray(gaspari_cohn(jnp.linspace(0, 4, 401), 1.0))
    assert (np.diff(fine) <= 1e-15).all()
    assert np.isfinite(jax.vmap(jax.grad(lambda d: gaspari_cohn(d, 1.0)))(jnp.linspace(0, 4, 401))).all()


def test_local_analysis_is_global_without_distance_and_nothing_far_away():
    ensemble = _ensemble(7)
    predicted, noise = ensemble @ OBSERVATION.T, jnp.array([0.5, 0.8])
    near = jax.jit(analyse_local)(ensemble, predicted, Y, noise, ALL, distance=jnp.zeros((3, 2)), radius=1.0, inflation=1.04)
    np.testing.assert_allclose(near, analyse_sqrt(ensemble, predicted, Y, noise, ALL, inflation=1.04), atol=1e-12)  # same algebra
    far = jax.jit(analyse_local)(ensemble, predicted, Y, noise, ALL, distance=jnp.full((3, 2), jnp.inf).at[0].set(0.0), radius=1.0)
    np.testing.assert_allclose(far[:, 1:], ensemble[:, 1:], atol=1e-12)  # taper zero: transform is the identity to rounding
    assert np.abs(far[:, 0] - ensemble[:, 0]).max() > 0.1


def test_settings_are_checked_and_speak_of_their_limits():
    with pytest.raises(InferenceError, match="unknown kind"):
        EnKF(kind="other")
    with pytest.raises(InferenceError, match="two members"):
        EnKF(size=1)
    with pytest.raises(InferenceError, match="radius"):
        EnKF(kind="letkf")
    with pytest.raises(InferenceError, match="independent noise"):
        analyse_local(_ensemble(4), _ensemble(4)[:, :2], Y, NOISE, ALL, distance=jnp.zeros((3, 2)), radius=1.0)
    with pytest.raises(InferenceError, match="distance"):
        EnKF(kind="letkf", radius=1.0).analyse(_ensemble(4), _ensemble(4)[:, :2], Y, jnp.ones(2), ALL, key=KEY)
    text = EnKF(kind="letkf", size=7, inflation=1.04, rotate=True, radius=4.0).validity
    assert all(part in text for part in ("1.04", "radius 4", "approximate"))
