"""The minimal model: order of its integrators, what it conserves, where it rests, its gain, its delays, and an independent solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gemel.engine.plan import Plan
from gemel.physics.ode import RK4, BackwardEuler, integrate
from gemel.twins.metabolic._minimal import PAST, WINDOWS, delayed, delayed_now, derivative, gain, resting
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.observe import Context
from gemel.twins.metabolic.priors import fixed, identification_prior

PRIOR = identification_prior()
PERSON = {k: np.asarray(v) for k, v in jax.jit(lambda z: PRIOR.constrain(z))(PRIOR.mean).items()}
BASAL, WEIGHT = 0.015, 75.0
REST = BASAL * 1000 / WEIGHT
COMPILED = {"start": jax.jit(resting), "late": jax.jit(delayed, static_argnums=2), "gain": jax.jit(gain), "slope": jax.jit(jax.grad(gain))}
"""One program each: whatever runs outside ``jit`` is compiled operation by operation."""


def resting_at(G):
    return COMPILED["start"](np.asarray(float(G)), np.asarray(REST), PERSON)


def trajectory(model, plan, context):
    return jax.jit(lambda *x: model.trajectory(PERSON, *x))(plan, context)


def inputs(n, insulin=None, meal=0.0):
    basal = np.full(n, REST)
    return (basal if insulin is None else np.full(n, insulin), *(np.full(n, meal) for _ in WINDOWS), np.full(n, PERSON["SI_lunch"]), basal)


def day(slot=5.0, hours=20):
    n = round(hours * 60 / slot)
    hour = (5.0 + slot * np.arange(n) / 60) % 24
    breakfast, lunch = (hour >= 4) & (hour < 11), (hour >= 11) & (hour < 17)
    window = np.stack([breakfast, lunch, ~breakfast & ~lunch], axis=1).astype(float)
    context = Context(window, *(np.asarray(x) for x in (150.0, BASAL, WEIGHT)))
    events = [(-5.0, hours * 60.0 + 60.0, BASAL * (hours * 60.0 + 60.0), 0)]
    events += [(t, 15.0, grams, 1 + i) for i, (t, grams) in enumerate([(130.0, 45.0), (445.0, 70.0), (840.0, 60.0)])]
    events += [(t + 8.0, 5.0, units, 0) for t, units in [(130.0, 2.0), (445.0, 3.0), (840.0, 2.5)]]
    return Plan.of(events), context


def end(solver, steps, length):
    run = jax.jit(lambda s, u: integrate(derivative, s, u, PERSON, step=length / steps, integrator=solver))
    path = run(resting_at(220.0), inputs(steps, insulin=0.0, meal=6.0))
    assert np.min(path.G) > PERSON["Gb"]  # no kink of the gain on the way
    return np.array([float(path.G[-1]), float(path.IG[-1])])


@pytest.mark.parametrize(("solver", "order", "steps"), [(RK4(), 4.0, 240), (BackwardEuler(newton=6), 1.0, 240)])
def test_integrators_have_their_order_on_smooth_input(solver, order, steps):
    exact = end(RK4(), 7680, 240.0)
    coarse, fine = (np.abs(end(solver, n, 240.0) - exact) for n in (steps, 2 * steps))
    np.testing.assert_allclose(np.log2(coarse / fine), order, atol=0.1)  # V5; the next term is an order smaller per halving


def test_what_was_eaten_is_absorbed_or_still_in_the_gut():
    def counted(time, state, u, p):
        s, _ = state
        return derivative(time, s, u, p), sum(p[f"kabs_{w}"] * getattr(s, f"gut_{w}") for w in WINDOWS)

    n = 288
    meal = np.zeros(n)
    meal[20:23] = 50.0
    u = list(inputs(n))
    u[1], u[3] = meal, np.roll(meal, 100)
    run = jax.jit(lambda s, u: integrate(counted, (s, jnp.zeros(())), u, PERSON, step=5.0, integrator=RK4(2)))
    s, absorbed = run(resting_at(120.0), tuple(u))
    inside = sum(np.asarray(getattr(s, f"{part}_{w}")) for part in ("solid", "liquid", "gut") for w in WINDOWS)
    eaten = 5.0 * np.cumsum(u[1] + u[3])
    np.testing.assert_allclose(
        inside + np.asarray(absorbed), eaten, rtol=1e-10, atol=1e-9
    )  # Runge-Kutta keeps linear invariants to rounding


def test_a_person_at_rest_stays_there():
    model = MetabolicModel(prior=PRIOR)
    _, context = day(hours=24)
    context = Context(context.window, PERSON["Gb"], context.basal, context.weight)
    plan = Plan.of([(-5.0, 2000.0, BASAL * 2000.0, 0)])
    path = trajectory(model, plan, context)
    for name, start in vars(resting_at(PERSON["Gb"])).items():
        np.testing.assert_allclose(np.asarray(getattr(path, name)), float(start), atol=1e-9 * max(1.0, abs(float(start))), err_msg=name)


def test_gain_is_continuous_and_flat_at_basal_glucose():
    floor = fixed("rho_floor")
    value, slope = (lambda G, Gb=120.0, f=COMPILED[k]: float(f(np.asarray(G), np.asarray(Gb))) for k in ("gain", "slope"))
    for at in (120.0, floor):
        assert abs(value(at + 1e-7) - value(at - 1e-7)) < 1e-6
    for G in (120.0, 120.0 + 1e-9, 120.0 - 1e-9, 300.0, 10.0):
        assert abs(slope(G)) < 1e-8  # zero at basal glucose, above it, and below the floor
    r1, r2 = fixed("r1"), fixed("r2")
    assert value(80.0) == pytest.approx(1 + 10 * r1**2 * (np.log(80) ** r2 - np.log(120) ** r2) ** 2, rel=1e-12)
    assert value(300.0) == 1.0
    assert value(10.0) == value(floor)


@pytest.mark.parametrize("by", [5.0, 7.3, 22.5, 30.0, 59.9])
def test_delay_conserves_amounts_and_streams(by):
    rates = np.zeros(100)
    rates[30:33] = 1.0, 4.0, 2.0
    late = np.asarray(COMPILED["late"](rates, np.asarray(by), 5.0))
    np.testing.assert_allclose(late.sum(), rates.sum(), rtol=1e-12)
    centre = [np.arange(100) @ x / x.sum() for x in (rates, late)]
    assert (centre[1] - centre[0]) * 5.0 == pytest.approx(by, abs=1e-9)
    padded = np.concatenate([np.zeros(PAST), rates])
    windows = np.stack([padded[k : k + PAST + 1] for k in range(100)])
    streamed = jax.jit(jax.vmap(lambda column, d: delayed_now(column, d, 5.0), in_axes=(0, None)))(windows, np.asarray(by))
    np.testing.assert_allclose(streamed, late, atol=1e-12)
    assert not late[: 30 + int(by // 5) - 1].any()  # nothing before its time, but for the width of the spline


def test_streaming_agrees_with_the_whole_trajectory():
    model = MetabolicModel(prior=PRIOR)
    plan, context = day()
    n = len(context.window)
    rates = np.asarray(jax.jit(lambda p: p.rates(0.0, 5.0, n, 4))(plan))
    padded = np.concatenate([np.zeros((PAST, 4)), rates])
    windows = np.stack([padded[k : k + PAST + 1] for k in range(n)])

    def step(state, item):
        u, window = item
        state = model.advance(PERSON, state, u, Context(window, context.first, context.basal, context.weight), jnp.zeros(4))
        return state, state.IG

    streamed = jax.jit(lambda s: jax.lax.scan(step, s, (windows, context.window))[1])(resting_at(150.0))
    np.testing.assert_allclose(streamed, trajectory(model, plan, context).IG, atol=1e-9)  # the same steps in the same order


def test_against_an_independent_solver():
    plan, context = day(hours=14)
    n = len(context.window)
    rates = np.asarray(jax.jit(lambda p: p.rates(0.0, 5.0, n, 4))(plan)) * 1000 / WEIGHT
    p = {k: float(v) for k, v in PERSON.items()}
    meals = [np.asarray(COMPILED["late"](rates[:, 1 + i], PERSON[f"delay_{w}"], 5.0)) for i, w in enumerate(WINDOWS)]
    VG, VI, ke, f, alpha, r1, r2 = (fixed(k) for k in ("VG", "VI", "ke", "f", "alpha", "r1", "r2"))

    def slope(_, x, k):
        G, X, IG, one, two, plasma, *gut = x
        si = sum(float(context.window[k, i]) * p[f"SI_{w}"] for i, w in enumerate(WINDOWS))
        rho = 1.0 if G >= p["Gb"] else 1 + 10 * r1**2 * (np.log(max(G, 60.0)) ** r2 - np.log(p["Gb"]) ** r2) ** 2
        out, appears = [], 0.0
        for i, w in enumerate(WINDOWS):
            solid, liquid, content = gut[3 * i : 3 * i + 3]
            flow = p[f"kabs_{w}"] * content
            appears += flow
            out += [meals[i][k] - p["kempt"] * solid, p["kempt"] * (solid - liquid), p["kempt"] * liquid - flow]
        return [
            -(p["SG"] + rho * X) * G + p["SG"] * p["Gb"] + f * appears / VG, -p["p2"] * (X - si / VI * (plasma - REST / ke)), (G - IG) / alpha,
            rates[k, 0] - p["kd"] * one, p["kd"] * one - p["ka2"] * two, p["ka2"] * two - ke * plasma, *out,
        ]  # fmt: skip

    x, theirs = [150.0, 0.0, 150.0, REST / p["kd"], REST / p["ka2"], REST / ke, *[0.0] * 9], []
    for k in range(n):
        x = solve_ivp(slope, (0.0, 5.0), x, method="DOP853", rtol=1e-10, atol=1e-10, args=(k,)).y[:, -1]
        theirs.append(x[2])
    fine = trajectory(MetabolicModel(prior=PRIOR, integrator=RK4(32)), plan, context).IG
    np.testing.assert_allclose(fine, theirs, atol=1e-3)  # steps of 9 s, second order at the kink of the gain; bounded rates differ by 4e-8
    default = trajectory(MetabolicModel(prior=PRIOR), plan, context).IG
    np.testing.assert_allclose(default, theirs, atol=0.1)  # what the room promises for glucose between 40 and 400 mg/dL
