"""The controller: its walls hold in every state, its chains are the exact ones, and it does what is asked of a controller."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import gemel.engine  # noqa: F401  sets the numerics
from gemel.twins.metabolic import _controller as control
from gemel.twins.metabolic._controller import Action, Controller, ControlState, Patient, Tuning, Walls, within_walls

STATES = 100_000


@pytest.fixture(scope="module")
def one():
    return Controller(Patient(jnp.asarray(0.02), jnp.asarray(10.0), jnp.asarray(35.0)))


@pytest.fixture(scope="module")
def decide(one):
    return jax.jit(lambda state, reading, announced: one.decide(state, reading, announced))


def wild(rng, n, scale):
    """Numbers of every size, and now and then one that is none."""
    x = rng.normal(size=n) * 10.0 ** rng.uniform(-3, scale, n)
    return np.where(rng.uniform(size=n) < 0.05, rng.choice([np.nan, np.inf, -np.inf], n), x)


def test_no_action_passes_a_wall():
    """V18: whatever is wanted, forecast or read, what comes out keeps every wall."""
    rng = np.random.default_rng(0)
    walls, programmed = Walls(), rng.uniform(0.001, 0.1, STATES)
    seen = {
        "on_board": wild(rng, STATES, 2), "announced": np.abs(wild(rng, STATES, 3)), "reading": wild(rng, STATES, 3), "age": rng.uniform(0, 60, STATES),
        "forecast_low": wild(rng, STATES, 3),
    }  # fmt: skip
    wanted = Action(wild(rng, STATES, 3), wild(rng, STATES, 3))
    got = jax.jit(lambda w, p, s: within_walls(w, walls, programmed=p, **s))(wanted, programmed, seen)
    rate, bolus = np.asarray(got.rate), np.asarray(got.bolus)
    known = np.isfinite(seen["reading"]) & (seen["age"] <= walls.stale)
    assert np.isfinite(rate).all()
    assert np.isfinite(bolus).all()
    assert (rate >= 0).all()
    assert (rate <= walls.basal_factor * programmed).all()
    assert (bolus >= 0).all()
    assert (bolus <= walls.largest_bolus).all()
    meal = (seen["announced"] > 0) & (seen["announced"] <= walls.largest_meal)
    assert (bolus[~meal] == 0).all()
    assert (rate[~known] == programmed[~known]).all()
    assert (bolus[~known] == 0).all()
    low = known & (seen["reading"] < walls.lowest)
    assert (rate[low] == 0).all()
    assert (bolus[low] == 0).all()
    danger = known & ~(seen["forecast_low"] >= walls.low)
    assert (rate[danger] == 0).all()
    assert (bolus[danger & ~meal] == 0).all()
    full = known & (seen["on_board"] > walls.on_board_hours * 60 * programmed)
    assert (rate[full] <= programmed[full]).all()
    assert (rate[known] > programmed[known]).any(), "the walls leave something"
    assert (bolus > 0).any()


def test_the_controller_itself_keeps_them(one):
    """Adversarial states straight into ``decide``: chains, forecasts and covariances of any size."""
    rng, n = np.random.default_rng(1), 2000
    state = ControlState(
        rng.normal(0, 20, (n, 3)), np.abs(rng.normal(0, 80, (n, 3))), np.stack([rng.normal(150, 120, n), rng.normal(0, 5, n)], axis=1),
        np.abs(rng.normal(0, 30, (n, 1, 1))) * np.eye(2), rng.uniform(0, 40, n),
    )  # fmt: skip
    reading, announced = (
        np.where(rng.uniform(size=n) < 0.2, np.nan, rng.uniform(30, 500, n)),
        np.where(rng.uniform(size=n) < 0.5, 0, rng.uniform(0, 400, n)),
    )
    action, after = jax.jit(jax.vmap(one.decide))(state, reading, announced)
    rate, bolus = np.asarray(action.rate), np.asarray(action.bolus)
    assert (rate >= 0).all()
    assert (rate <= 3 * 0.02 + 1e-15).all()
    assert (bolus >= 0).all()
    assert (bolus <= 25).all()
    assert (bolus[announced == 0] == 0).all()
    assert (bolus[announced > 200] == 0).all()
    assert (rate[reading < 54] == 0).all()
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(after))


def test_chains_are_exact():
    minutes = (55.0, 55.0, 40.0)

    def flows(_, x):
        out = x[:3] / minutes
        return np.r_[-out[0], out[0] - out[1], out[1] - out[2], out[2]]

    start = np.array([1.0, 0.5, 0.2, 0.0])
    reference = solve_ivp(flows, (0, control.SAMPLE), start, rtol=1e-12, atol=1e-14).y[:, -1]
    np.testing.assert_allclose(control._chain(minutes) @ start, reference, rtol=1e-10)  # the reference's own tolerance
    np.testing.assert_allclose(control._chain(minutes).sum(axis=0), 1.0, rtol=1e-13)  # nothing is lost


def test_at_the_target_it_gives_the_programmed_rate(one, decide):
    target = jnp.asarray(Tuning().target)
    action, _ = decide(one.begin(target), target, jnp.asarray(0.0))
    assert float(action.rate) == pytest.approx(0.02, rel=1e-6)  # the optimum of a cost that is zero there
    assert float(action.bolus) == 0.0


def test_above_the_target_it_gives_more_and_below_less(one, decide):
    rates = [float(decide(one.begin(jnp.asarray(g)), jnp.asarray(g), jnp.asarray(0.0))[0].rate) for g in (90.0, 108.0, 180.0, 300.0)]
    assert rates == sorted(rates)
    assert rates[0] < 0.02 < rates[2]
    assert rates[3] == pytest.approx(0.06)  # the wall


def test_a_meal_gets_its_dose_less_what_is_lacking(one, decide):
    doses = [float(decide(one.begin(jnp.asarray(g)), jnp.asarray(g), jnp.asarray(60.0))[0].bolus) for g in (75.0, 108.0, 250.0)]
    assert doses[1] == pytest.approx(6.0)
    assert doses[0] < doses[1] < doses[2]


def test_a_silent_sensor_means_the_programmed_rate(one, decide):
    state = one.begin(jnp.asarray(250.0))
    rates = []
    for _ in range(6):
        action, state = decide(state, jnp.asarray(jnp.nan), jnp.asarray(50.0))
        rates.append((float(action.rate), float(action.bolus)))
    assert rates[-1] == (pytest.approx(0.02), 0.0)


def test_the_search_finds_the_optimum():
    """The rate chosen is that of a slow, sure search of the same cost."""
    from scipy.optimize import minimize

    one = Controller(Patient(jnp.asarray(0.02), jnp.asarray(10.0), jnp.asarray(35.0)), Tuning(iterations=4000))
    quick = Controller(one.patient)
    t, rng = one.tuning, np.random.default_rng(2)
    response = -35.0 * control._responses(t)
    for _ in range(4):
        free = 108 + np.cumsum(rng.normal(0, 4, t.horizon))
        weight = np.linspace(0.4, 1.0, t.horizon)

        def cost(u, free=free, weight=weight):
            gap = free + response @ u - t.target
            return 0.5 * np.mean(np.where(gap < 0, t.below, 1) * weight * gap**2) + 0.5 * t.effort / 0.1**2 * np.sum(
                np.array(t.moves) * u**2
            )

        best = minimize(cost, np.zeros(len(t.moves)), bounds=[(-0.1, 0.2)] * len(t.moves), options={"ftol": 1e-14, "gtol": 1e-10}).fun
        assert cost(np.asarray(one._moves(jnp.asarray(free)))) == pytest.approx(best, rel=1e-6)  # both converged
        assert (
            cost(np.asarray(quick._moves(jnp.asarray(free)))) <= best + 0.02 * abs(cost(np.zeros(len(t.moves))) - best) + 1e-9
        )  # forty steps: 2 % of the gain
