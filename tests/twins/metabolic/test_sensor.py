"""The simulated sensor: moments of its noise in closed form, its correlation, its limits, its cadence."""

import jax
import numpy as np
import pytest

import gemel.engine  # noqa: F401  sets the numerics before the room is imported
from gemel.core.series import ABOVE, BELOW, EXACT
from gemel.core.time import MINUTE
from gemel.twins.metabolic.sensor import DEXCOM, GRID, GUARDIAN, cgm_series, noise, read


@pytest.fixture(scope="module")
def drawn():
    """Noise of 400 sensors at the moments of new values, 200 of them each."""
    at = GRID * np.arange(200)
    return np.asarray(jax.jit(jax.vmap(lambda k: noise(at, key=k)))(jax.random.split(jax.random.key(3), 400)))


def moments():
    """Mean and standard deviation of ``centre + scale sinh((e - gamma) / delta)`` for the stationary normal ``e``."""
    s = GUARDIAN
    spread = s.persistence / np.sqrt(1 - s.persistence**2) / s.delta
    middle = -s.gamma / s.delta
    first = np.exp(spread**2 / 2) * np.sinh(middle)
    second = 0.5 * (np.exp(2 * spread**2) * np.cosh(2 * middle) - 1)
    return s.centre + s.scale * first, s.scale * np.sqrt(second - first**2)


def test_noise_has_the_moments_of_its_law(drawn):
    mean, sd = moments()
    # 80,000 values, correlated over about three of them: about 28,000 free ones; four standard errors.
    assert drawn.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(28_000))
    assert drawn.std() == pytest.approx(sd, rel=0.05)  # heavy tails: the error of a variance is several times that of the normal law
    assert drawn[:, 0].std() == pytest.approx(drawn[:, 150].std(), rel=0.35)  # begun in the stationary law: 400 values of a heavy tail


def test_noise_forgets_as_it_should(drawn):
    s = GUARDIAN
    e = s.gamma + s.delta * np.arcsinh((drawn - s.centre) / s.scale)
    for lag, expected in ((1, s.persistence), (2, s.persistence**2), (10, s.persistence**10)):
        found = np.mean(e[:, lag:] * e[:, :-lag]) / np.mean(e**2)
        assert found == pytest.approx(expected, abs=0.02)  # 80,000 values


def test_noise_is_continuous_and_passes_through_its_values():
    make = jax.jit(lambda k, t: noise(np.arange(0, 301, 0.5), key=k) + 0 * t)
    fine = np.asarray(make(jax.random.key(5), 0.0))
    coarse = np.asarray(jax.jit(lambda k: noise(GRID * np.arange(21), key=k))(jax.random.key(5)))
    np.testing.assert_allclose(fine[::30], coarse, atol=1e-9)
    assert np.abs(np.diff(fine)).max() < 8.0  # half a minute of a curve that bends every fifteen


def test_readings_at_the_limits_are_censored_and_come_when_they_are_due():
    value, censored = read(np.array([30.0, 100.0, 700.0, 38.0]), np.array([0.0, 5.0, 0.0, 2.0]))
    assert value.tolist() == [39.0, 105.0, 600.0, 40.0]
    assert censored.tolist() == [BELOW, EXACT, ABOVE, EXACT]
    made = cgm_series(0, np.arange(0.0, 31.0), np.full(31, 120.0), key=jax.random.key(1), sensor=DEXCOM)
    assert (made.time // MINUTE).tolist() == list(range(0, 31, 3))
    again = cgm_series(0, np.arange(0.0, 31.0), np.full(31, 120.0), key=jax.random.key(1), sensor=DEXCOM)
    np.testing.assert_array_equal(made.value, again.value)
