"""V1 to V5: thirty people against a fine solution, at rest, what they eat, the order of the method, and smooth switches that change nothing."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from _data import require_dataset
from gemel.evidence.study import Problem
from gemel.physics.ode import RK4, integrate
from gemel.twins.metabolic._gut import meal_amount
from gemel.twins.metabolic.t1d import _uva_padova as equations
from gemel.twins.metabolic.t1d._cascade import cascade, minute
from gemel.twins.metabolic.t1d._uva_padova import PMOL_PER_UNIT, derivative, glucose_flows, resting, sensed
from gemel.twins.metabolic.t1d.evidence import VERIFICATION
from gemel.twins.metabolic.t1d.priors import FREE, people
from gemel.twins.metabolic.t1d.virtual import basal_rate, bolus, eaten, parameters_of, simulate

MEALS = ((420, 45.0), (720, 70.0), (1140, 80.0))
DAY = 1440


def smooth(time, s, inputs, p):
    """The right-hand side with its substeps' smooth switches as they are (a function of its own, because compiled steps are shared by function)."""
    return derivative(time, s, inputs, p)


def kinked(time, s, inputs, p):
    """The right-hand side with the published ``max`` instead of the smooth switches."""
    made = derivative(time, s, inputs, p)
    production = p["kp1"] - p["kp2"] * s.Gp - p["kp3"] * s.Id
    bent = equations.ramp(production, equations.PRODUCTION_WIDTH) - p["ke1"] * equations.ramp(s.Gp - p["ke2"], equations.RENAL_WIDTH)
    sharp = jnp.maximum(production, 0.0) - p["ke1"] * jnp.maximum(s.Gp - p["ke2"], 0.0)
    return type(made)(**{**vars(made), "Gp": made.Gp - bent + sharp})


@pytest.fixture(scope="module")
def thirty():
    """Completed parameters of the thirty, insulin (U/min) and food (g/min) of the day of V1, by minute and person."""
    persons = list(people().values())
    p = jax.jit(lambda: parameters_of(persons))()
    food = np.repeat(eaten(MEALS, DAY)[:, None], 30, axis=1)
    doses = [bolus([(t, g / q.carbohydrate_ratio) for t, g in MEALS], DAY) for q in persons]
    return p, np.stack(doses, axis=1) + np.asarray(basal_rate(p)), food


@pytest.fixture(scope="module")
def by_runge_kutta(thirty):
    """Return glucose minute by minute, by Runge-Kutta steps of the whole system."""
    p, _, _ = thirty

    def run(substeps, rhs=smooth):
        @jax.jit
        def go(insulin, grams):
            def step(carry, item):
                s, meal = carry
                u, before, now = item
                meal = meal_amount(meal, s.solid + s.liquid, before=before, eaten=now)
                s = RK4(substeps).advance(rhs, jnp.zeros(()), s, (u, now, meal), p, 1.0)
                return (s, meal), sensed(s, p)

            before = jnp.concatenate([jnp.zeros((1, 30)), grams[:-1]])
            return jax.lax.scan(step, (resting(p), jnp.zeros(30)), (insulin * PMOL_PER_UNIT / p["BW"], before, grams))[1]

        return lambda insulin, food: np.asarray(go(insulin, food * 1000.0))

    return run


@pytest.fixture(scope="module")
def reference(thirty, by_runge_kutta):
    """Runge-Kutta with steps of a 64th of a minute: 1/32 of the step under test."""
    _, insulin, food = thirty
    return by_runge_kutta(64)(insulin, food)


def test_v1_half_a_minute_is_within_a_hundredth_of_the_fine_solution(thirty, by_runge_kutta, reference):
    _, insulin, food = thirty
    worst = np.abs(by_runge_kutta(2)(insulin, food) - reference).max(axis=0)
    assert worst.max() < 0.01  # mg/dL; 0.0056 was measured (child#007, whose stomach opens within a minute)
    assert np.median(worst) < 0.001
    assert reference.min() > 30  # the day is one of meals covered by insulin, not of nothing happening
    assert np.median(np.ptp(reference, axis=0)) > 80


def test_v1_the_cascade_is_as_near(thirty, reference):
    p, insulin, food = thirty
    found = simulate(p, insulin, food, every=1)
    assert np.abs(found - reference).max() < 0.01  # mg/dL, at less than half of the cost
    np.testing.assert_allclose(simulate(p, insulin, food, every=5), found[4::5], rtol=1e-12)
    np.testing.assert_allclose(simulate(p, insulin, food, every=5, chunk=12), found[4::5], rtol=1e-12)


def test_smooth_switches_change_no_result(thirty, by_runge_kutta, reference):
    _, insulin, food = thirty
    assert np.abs(by_runge_kutta(64, kinked)(insulin, food) - reference).max() < 0.01  # mg/dL; 0.0009 was measured


def test_v3_at_rest_nothing_moves(thirty, by_runge_kutta):
    p, _, food = thirty
    basal = np.repeat(np.asarray(basal_rate(p))[None], DAY, axis=0)
    for path in (by_runge_kutta(2)(basal, 0 * food), simulate(p, basal, 0 * food, every=5)):
        np.testing.assert_allclose(path, np.broadcast_to(p["Gb"], path.shape), atol=1e-6)  # rounding: 1e-13 was measured


def test_v4_what_is_eaten_is_absorbed_or_still_inside(thirty):
    p, insulin, food = thirty

    @jax.jit
    def go(insulin, grams):
        def one(p, u, g):
            c = cascade(p)

            def step(carry, item):
                s, meal = carry
                u, before, now = item
                meal = meal_amount(meal, s.solid + s.liquid, before=before, eaten=now)
                s, absorbed = minute(s, (u, now, meal), p, c)
                return (s, meal), (s.solid + s.liquid + s.gut, absorbed)

            return jax.lax.scan(step, (resting(p), jnp.zeros(())), (u, jnp.concatenate([g[:1] * 0, g[:-1]]), g))[1]

        return jax.vmap(one, in_axes=(0, 1, 1), out_axes=1)(p, insulin * PMOL_PER_UNIT / p["BW"], grams)

    inside, absorbed = map(np.asarray, go(insulin, food * 1000.0))
    whole = np.cumsum(food * 1000.0, axis=0)
    np.testing.assert_allclose(inside + np.cumsum(absorbed, axis=0), whole, atol=1e-10 * whole[-1].max())
    assert (absorbed >= -1e-6).all()
    assert (absorbed.sum(axis=0) > 0.6 * whole[-1]).all()


def test_v5_runge_kutta_has_order_four_on_smooth_input(thirty):
    p = {k: v[10] for k, v in thirty[0].items()}
    start = resting(p)

    def end(steps):
        insulin, food = jnp.full(steps, 1.5 * p["u2ss"]), jnp.full(steps, 100.0)
        meal = jnp.full(steps, 60_000.0)
        run = jax.jit(lambda u: integrate(smooth, start, u, p, step=240.0 / steps))
        path = run((insulin, food, meal))
        production = p["kp1"] - p["kp2"] * path.Gp - p["kp3"] * path.Id
        assert float(production.min()) > equations.PRODUCTION_WIDTH  # neither switch on the way
        assert float(path.Gp.max()) < p["ke2"] - equations.RENAL_WIDTH
        return np.array([float(path.Gp[-1]), float(path.Gs[-1]), float(path.gut[-1])])

    exact = end(3840)
    coarse, fine = (np.abs(end(n) - exact) for n in (120, 240))
    np.testing.assert_allclose(np.log2(coarse / fine), 4.0, atol=0.1)  # the next term is an order smaller per halving


def test_against_an_independent_solver(thirty, reference):
    """One adult's day written down again, and solved minute by minute by DOP853."""
    p, insulin, food = thirty
    i = list(people()).index("adult#001")
    q = {k: float(v[i]) for k, v in p.items()}

    def slope(_, x, u, e, meal):
        s1, s2, g, Gp, Gt, Ip, X, I1, Id, Il, c1, c2, Gs = x
        k = q["kmax"]
        if meal > 0:
            a, c = 5 / (2 * meal * (1 - q["b"])), 5 / (2 * meal * q["d"])
            k = q["kmin"] + (q["kmax"] - q["kmin"]) / 2 * (
                np.tanh(a * (s1 + s2 - q["b"] * meal)) - np.tanh(c * (s1 + s2 - q["d"] * meal)) + 2
            )
        made = max(q["kp1"] - q["kp2"] * Gp - q["kp3"] * Id, 0.0)
        lost = q["ke1"] * max(Gp - q["ke2"], 0.0)
        used = (q["Vm0"] + q["Vmx"] * X) * Gt / (q["Km0"] + Gt)
        level = Ip / q["Vi"]
        return [
            e - q["kmax"] * s1, q["kmax"] * s1 - k * s2, k * s2 - q["kabs"] * g,
            made + q["f"] * q["kabs"] * g / q["BW"] - 1.0 - lost - q["k1"] * Gp + q["k2"] * Gt, q["k1"] * Gp - q["k2"] * Gt - used,
            -(q["m2"] + q["m4"]) * Ip + q["m1"] * Il + q["ka1"] * c1 + q["ka2"] * c2, q["p2u"] * (level - q["Ib"] - X),
            q["ki"] * (level - I1), q["ki"] * (I1 - Id), q["m2"] * Ip - (q["m1"] + q["m30"]) * Il,
            u - (q["ka1"] + q["kd"]) * c1, q["kd"] * c1 - q["ka2"] * c2, q["ksc"] * (Gp - Gs),
        ]  # fmt: skip

    first = q["u2ss"] / (q["ka1"] + q["kd"])
    x = [0, 0, 0, q["Gpb"], q["Gtb"], q["Ipb"], 0, q["Ib"], q["Ib"], q["Ilb"], first, q["kd"] * first / q["ka2"], q["Gpb"]]
    meal, before, found = 0.0, 0.0, []
    for k in range(600):
        now = 1000.0 * food[k, i]
        meal = (x[0] + x[1] if now > 0 and before == 0 else meal) + now
        before = now
        args = (insulin[k, i] * PMOL_PER_UNIT / q["BW"], now, meal)
        x = solve_ivp(slope, (0.0, 1.0), x, method="DOP853", rtol=1e-10, atol=1e-9, args=args).y[:, -1]
        found.append(x[12] / q["Vg"])
    np.testing.assert_allclose(reference[:600, i], found, atol=1e-3)  # the smooth switches; without them 1e-8


def test_the_gradient_of_a_day_is_its_slope(thirty):
    p, insulin, food = thirty
    one = {k: v[3] for k, v in p.items()}
    u, grams = jnp.asarray(insulin[400:520, 3] * PMOL_PER_UNIT) / one["BW"], jnp.asarray(food[400:520, 3] * 1000.0)

    @jax.jit
    def end(log):
        q = equations.completed(
            {**{k: one[k] for k in (*FREE, "Fcns", "ke1", "ke2", "HEb", "f")}, **{k: one[k] * jnp.exp(log[k]) for k in log}}
        )
        c = cascade(q)

        def step(carry, item):
            s, meal = carry
            u, before, now = item
            meal = meal_amount(meal, s.solid + s.liquid, before=before, eaten=now)
            return (minute(s, (u, now, meal), q, c)[0], meal), None

        before = jnp.concatenate([jnp.zeros(1), grams[:-1]])
        return sensed(jax.lax.scan(step, (resting(q), jnp.zeros(())), (u, before, grams))[0][0], q)

    names = ("Vmx", "kabs", "kmax", "b", "ka1", "Gb", "m2")
    at = {n: jnp.zeros(()) for n in names}
    slope = jax.jit(jax.jacfwd(end))(at)
    for name in names:
        sides = [float(end({**at, name: jnp.asarray(h)})) for h in (1e-5, -1e-5)]
        assert float(slope[name]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-5, abs=1e-6), name


@pytest.mark.data
def test_the_table_is_the_published_one(thirty):
    p, _, _ = thirty
    folder = require_dataset("uva-padova")
    rows = list(csv.DictReader((folder / "vpatient_params.csv").read_text().splitlines()))
    assert [r["Name"] for r in rows] == list(people())
    for name in (*FREE, "m4", "m30", "Ipb", "Gpb", "Gtb", "Vm0", "kp1", "u2ss", "Ilb"):
        np.testing.assert_allclose(p[name], [float(r[name]) for r in rows], rtol=1e-9, err_msg=name)  # typed with 12 digits
    quest = {r["Name"]: r for r in csv.DictReader((folder / "Quest.csv").read_text().splitlines())}
    for q in people().values():
        assert (q.carbohydrate_ratio, q.age) == (float(quest[q.name]["CR"]), float(quest[q.name]["Age"]))
        assert q.correction_factor == pytest.approx(float(quest[q.name]["CF"]), rel=1e-12)


def test_glucose_is_used_and_made_in_the_published_amounts():
    q = {
        "kp1": 5.0,
        "kp2": 0.005,
        "kp3": 0.01,
        "ke1": 0.0005,
        "ke2": 339.0,
        "k1": 0.06,
        "k2": 0.1,
        "Vm0": 4.0,
        "Vmx": 0.05,
        "Km0": 230.0,
        "Fcns": 1.0,
        "ksc": 0.1,
    }
    q = {k: jnp.asarray(v) for k, v in q.items()}
    Gp, Gt, Gs = jax.jit(lambda a, b, c: glucose_flows(a, b, c, rate=2.0, X=jnp.asarray(20.0), Id=jnp.asarray(100.0), p=q))(
        400.0, 150.0, 390.0
    )
    assert float(Gp) == pytest.approx(5 - 2 - 1 + 2 - 1 - 0.0005 * 61 - 24 + 15, abs=1e-9)
    assert float(Gt) == pytest.approx(24 - 15 - 5.0 * 150 / 380, abs=1e-9)
    assert float(Gs) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.slow
def test_the_problems_of_the_evidence_have_their_answers():
    assert [p.name for p in VERIFICATION] == ["V1", "V1, cascade", "V3", "V5"]
    assert all(p.passed() for p in VERIFICATION)
    broken = Problem("order", "of another method", 1.0, 0.1, VERIFICATION[-1].compute)
    assert not broken.passed()
