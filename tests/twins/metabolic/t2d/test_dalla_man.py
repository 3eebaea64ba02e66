"""The meal model against published figures, an independent solver, and its own steady states."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gemel.core.units import parse_unit
from gemel.twins.metabolic.t2d import _dalla_man as equations
from gemel.twins.metabolic.t2d import evidence
from gemel.twins.metabolic.t2d.priors import CONSTANTS, DRUGS, TABLE, column, person_prior


@pytest.mark.parametrize(("is_normal", "found"), [(True, 1.917), (False, 2.012)])
def test_production_at_rest(is_normal, found):
    assert evidence.production_at_rest(is_normal) == pytest.approx(found, abs=0.0005)  # printed with three digits
    assert evidence.production_at_rest(is_normal) == pytest.approx(evidence.PRODUCTION[is_normal], abs=0.005)  # the publication has two


@pytest.fixture(scope="module")
def paths():
    return {(m.is_normal, n): evidence.meal_path(m.is_normal, substeps=n) for m in evidence.MEALS for n in (1, 8)}


@pytest.mark.parametrize("meal", evidence.MEALS, ids=["normal", "type 2"])
def test_the_reference_meal(paths, meal):
    rest, glucose, insulin = paths[meal.is_normal, 1]
    assert rest == pytest.approx(meal.rest, rel=5e-4)  # thresholds are spread over a hundredth of a unit
    assert glucose.max() == pytest.approx(meal.peak[0], rel=5e-4)  # printed with four digits; the criterion is 0.5 %
    assert glucose.argmax() + 1 == meal.peak[1]
    for minute, value in meal.at.items():
        assert glucose[minute - 1] == pytest.approx(value, rel=5e-4)
    assert insulin.max() == pytest.approx(meal.insulin[0], rel=5e-4)
    assert insulin.argmax() + 1 == meal.insulin[1]
    _, fine, _ = paths[meal.is_normal, 8]
    assert np.abs(fine - glucose).max() < 1e-3  # mg/dL, fourth order at a minute


def test_an_independent_solver_agrees():
    """LSODA on the same right-hand side, smoothing and all: what differs is the integrator alone."""
    p = {name: jnp.asarray(v) for name, v in column().items()}
    start = equations.held_at(p["Gb"], jnp.zeros(()), p)
    start = replace(start, solid=jnp.asarray(78000.0))
    zero = jnp.zeros(())
    drive = equations.Drive(zero, jnp.asarray(78000.0), zero, zero)
    leaves, tree = jax.tree.flatten(start)
    rates = jax.jit(lambda x: jnp.stack(jax.tree.leaves(equations.derivative(zero, jax.tree.unflatten(tree, list(x)), drive, p))))
    far = solve_ivp(lambda _, x: np.asarray(rates(x)), (0.0, 180.0), [float(x) for x in leaves], method="LSODA", rtol=1e-9, atol=1e-9)
    from gemel.physics.ode import RK4, integrate

    still = jnp.zeros(180)
    run = jax.jit(lambda s: integrate(equations.derivative, s, equations.Drive(still, still + 78000.0, still, still), p, integrator=RK4(1)))
    mine = np.array([float(x[-1]) for x in jax.tree.leaves(run(start))])
    np.testing.assert_allclose(mine, far.y[:, -1], rtol=1e-4, atol=1e-4)  # steps of a minute; the smoothed kinks are crossed within one


REST = jax.jit(lambda p, production: equations.at_rest(p, production))
RATES = jax.jit(lambda s, p: jnp.stack(jax.tree.leaves(equations.derivative(0.0, s, equations.Drive(*[jnp.zeros(())] * 4), p))))
HELD = jax.jit(lambda g, injected, p: equations.held_at(g, injected, p))


@pytest.mark.parametrize("is_normal", [True, False])
@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_person_rests_where_it_says(is_normal, factor):
    p = column(is_normal)
    p = p | {"Gb": p["Gb"] * (0.9 if is_normal else 1.2), "Vmx": p["Vmx"] * factor, "beta": p["beta"] / factor}
    p = REST(p, np.asarray(evidence.PRODUCTION[is_normal]))
    rates = np.asarray(RATES(HELD(p["Gb"], np.asarray(0.0), p), p))
    assert np.abs(rates).max() < 0.01  # nothing moves but by what the smooth corners let through: 3/16 of their widths


def test_glucose_that_is_held_leaves_insulin_at_rest():
    p = REST(column(), np.asarray(2.01))
    for glucose, injected in ((120.0, 0.0), (220.0, 0.0), (160.0, 0.8)):
        state = HELD(np.asarray(glucose), np.asarray(injected), p)
        rates = dict(zip(vars(state), np.asarray(RATES(state, p)), strict=True))
        still = ("Gt", "IG", "Il", "Y", "I1", "Id", "X", "second")
        assert max(abs(rates[name]) for name in still) < 1e-2, (glucose, rates)  # the same corners
        assert float(state.Ip) > 0.0


def test_secretion_answers_the_rate_of_change_and_not_the_level():
    p = REST(column(True), np.asarray(1.92))
    state = HELD(p["Gb"], np.asarray(0.0), p)
    rising = replace(state, gut=jnp.asarray(20000.0))
    alone = {name: float(v) for name, v in zip(vars(state), RATES(state, p), strict=True)}
    found = {name: float(v) for name, v in zip(vars(state), RATES(rising, p), strict=True)}
    speed = (found["Gp"] - alone["Gp"]) / float(p["Vg"])
    assert speed > 1.0  # mg/dL/min
    assert found["Ipo"] - alone["Ipo"] == pytest.approx(2.30 * speed, rel=0.01)  # K dG/dt; the corner is a hundredth of it
    assert found["Y"] == pytest.approx(alone["Y"], abs=1e-12)  # the level has not moved yet


def test_every_number_has_unit_and_source():
    for name, (normal, sick, unit, meaning) in TABLE.items():
        parse_unit(unit)
        assert normal > 0, name
        assert sick > 0, name
        assert meaning
    for constant in CONSTANTS.values():
        parse_unit(constant.unit)
        assert constant.source
    assert all(set(d.changes) <= set(TABLE) for d in DRUGS.values())
    for normal in (True, False):
        centre = {p.name: float(np.exp(p.location)) for p in person_prior(normal).parameters}
        assert centre["kabs"] == pytest.approx(TABLE["kabs"][0 if normal else 1])
