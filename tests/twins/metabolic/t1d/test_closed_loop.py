"""The closed loop: at rest it stays at rest, announced meals are met, and every dose in it has passed the walls."""

import jax.numpy as jnp
import numpy as np
import pytest

import gemel.engine  # noqa: F401  sets the numerics
from gemel.twins.metabolic._controller import Controller
from gemel.twins.metabolic._peer_controllers import BasalBolus
from gemel.twins.metabolic.t1d.closed_loop import close, days_of_meals, patients
from gemel.twins.metabolic.t1d.priors import people
from gemel.twins.metabolic.t1d.virtual import eaten, parameters_of, simulate

DAY = 1440


@pytest.fixture(scope="module")
def adults():
    persons = [v for k, v in people().items() if k.startswith("adult")][:3]
    p = {k: jnp.asarray(v) for k, v in parameters_of(persons).items()}
    return p, patients(p, np.array([x.carbohydrate_ratio for x in persons]), np.array([x.correction_factor for x in persons]))


def nothing(n):
    return np.zeros((DAY, n)), np.zeros((DAY // 5, n)), np.zeros((DAY // 5, n))


@pytest.mark.slow
def test_without_meals_the_programmed_rate_keeps_everyone_at_rest(adults):
    p, known = adults
    loop = close(BasalBolus(known), p, *nothing(3))
    np.testing.assert_allclose(loop.glucose, np.broadcast_to(p["Gb"], loop.glucose.shape), atol=1e-6)  # V3
    np.testing.assert_array_equal(loop.bolus, 0.0)


@pytest.mark.slow
def test_the_loop_is_the_simulator_under_the_same_doses(adults):
    p, known = adults
    food, announced, noise = nothing(3)
    food[:] = eaten([(420, 45.0), (720, 70.0)], DAY)[:, None]
    announced[84], announced[144] = 45.0, 70.0
    loop = close(BasalBolus(known), p, food, announced, noise)
    insulin = np.repeat(np.asarray(loop.rate), 5, axis=0)
    insulin[::5] += np.asarray(loop.bolus)
    apart = simulate({k: np.asarray(v) for k, v in p.items()}, insulin, food, every=5)
    np.testing.assert_allclose(np.asarray(loop.glucose)[4::5], apart, atol=1e-8)  # the same minutes, in another program


@pytest.mark.slow
def test_a_day_under_control_stays_within_walls_and_beats_nothing_done(adults):
    p, known = adults
    food, announced, _ = nothing(3)
    rng = np.random.default_rng(3)
    meals = days_of_meals(rng, 1)
    food[:] = eaten(meals, DAY)[:, None]
    for minute, grams in meals:
        announced[int(minute) // 5] += grams * 1.2
    loop = close(Controller(known), p, food, announced, rng.normal(0, 5, (DAY // 5, 3)))
    rate, bolus = np.asarray(loop.rate), np.asarray(loop.bolus)
    assert (rate >= 0).all()
    assert (rate <= 3 * np.asarray(known.basal) + 1e-12).all()
    assert (bolus[announced == 0] == 0).all()
    assert (bolus <= 25).all()
    glucose = np.asarray(loop.glucose)
    assert ((glucose >= 70) & (glucose <= 180)).mean() > 0.8
    assert glucose.min() > 54


def test_meals_are_drawn_within_their_hours():
    meals = days_of_meals(np.random.default_rng(0), 200)
    hour = np.array([m for m, _ in meals]) % DAY / 60
    grams = np.array([g for _, g in meals])
    assert hour.min() >= 5.0
    assert hour.max() <= 23.0
    assert len(meals) / 200 == pytest.approx(3 * 0.95 + 3 * 0.3, abs=0.2)  # four standard errors of the mean count
    assert grams[(hour > 10) & (hour < 14)].mean() == pytest.approx(70.0, abs=5.0)
