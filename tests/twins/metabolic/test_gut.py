"""Stomach and gut: what is eaten is kept, emptying as published, and the smooth switch beside the kink that it replaces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemel.physics.ode import RK4, integrate
from gemel.twins.metabolic._gut import appearance, emptying_rate, gut_flows, meal_amount
from gemel.twins.metabolic._smooth import ramp

RATES = {"kmin": 0.008, "kmax": 0.0558, "b": 0.82, "d": 0.01}
KABS = 0.057


@pytest.fixture(scope="module")
def emptied():
    return jax.jit(lambda stomach, meal: emptying_rate(stomach, meal, **RATES))


def published(stomach, meal):
    """Emptying as the paper writes it."""
    if meal == 0:
        return RATES["kmax"]
    a, c = 5 / (2 * meal * (1 - RATES["b"])), 5 / (2 * meal * RATES["d"])
    bent = np.tanh(a * (stomach - RATES["b"] * meal)) - np.tanh(c * (stomach - RATES["d"] * meal)) + 2
    return RATES["kmin"] + (RATES["kmax"] - RATES["kmin"]) / 2 * bent


@pytest.mark.parametrize("meal", [0.0, 500.0, 78_000.0])
def test_emptying_as_published(emptied, meal):
    for share in np.linspace(0, 1, 11):
        assert float(emptied(share * meal, meal)) == pytest.approx(published(share * meal, meal), rel=1e-12)


def test_emptying_has_a_finite_slope_without_a_meal():
    slopes = jax.jit(jax.grad(lambda s, m: emptying_rate(s, m, **RATES), argnums=(0, 1)))
    for stomach, meal in ((0.0, 0.0), (100.0, 0.0), (0.0, 1.0), (1e5, 1e5)):
        assert np.isfinite(slopes(stomach, meal)).all()


def test_a_meal_that_begins_on_a_full_stomach_counts_what_is_left():
    amount = jax.jit(lambda m, s, before, eaten: meal_amount(m, s, before=before, eaten=eaten))
    assert float(amount(70_000.0, 9_000.0, 0.0, 5_000.0)) == 14_000.0  # a new meal
    assert float(amount(14_000.0, 13_000.0, 5_000.0, 5_000.0)) == 19_000.0  # the same one goes on
    assert float(amount(19_000.0, 8_000.0, 0.0, 0.0)) == 19_000.0  # nobody eats


def test_what_is_eaten_is_absorbed_or_still_inside():
    eaten = np.zeros(600)
    eaten[10:24], eaten[200:216] = 5_000.0, 5_000.0

    def step(carry, item):
        state, meal = carry
        before, now = item
        meal = meal_amount(meal, state[0] + state[1], before=before, eaten=now)

        def flows(_, x, u, p):
            *parts, _ = x
            return *gut_flows(*parts, eaten=u, meal=p, kabs=KABS, **RATES), appearance(parts[2], kabs=KABS, f=1.0, weight=1.0)

        once = jax.tree.map(lambda x: x[-1], integrate(flows, state, now[None], meal, integrator=RK4(2)))
        return (once, meal), once

    zero = jnp.zeros(())
    run = jax.jit(lambda u: jax.lax.scan(step, ((zero,) * 4, zero), (jnp.concatenate([u[:1] * 0, u[:-1]]), u))[1])
    path = np.asarray(run(eaten))
    whole = np.cumsum(eaten)
    assert whole[-1] == 150_000
    np.testing.assert_allclose(path.sum(axis=0), whole, rtol=1e-10)  # V4: Runge-Kutta keeps linear invariants to rounding
    assert path[3, -1] > 0.9 * whole[-1]
    assert 0.5 * whole[150] < path[3, 150] < whole[150]


def test_the_smooth_switch_is_exact_outside_its_window_and_twice_differentiable():
    f = jax.jit(jax.vmap(lambda x: ramp(x, 0.5)))
    x = np.linspace(-2, 2, 4001)
    y = np.asarray(f(x))
    outside = np.abs(x) >= 0.5
    np.testing.assert_allclose(y[outside], np.maximum(x, 0)[outside], atol=1e-15)
    gap = y - np.maximum(x, 0)
    assert gap.min() > -1e-15
    assert gap.max() == pytest.approx(3 / 16 * 0.5, rel=1e-6)
    curvature = np.asarray(jax.jit(jax.vmap(jax.grad(jax.grad(lambda x: ramp(x, 0.5)))))(x))
    assert np.abs(np.diff(curvature)).max() < 0.02  # continuous: the third derivative is at most 6 / (2 w)^2 = 6, on steps of 1e-3
