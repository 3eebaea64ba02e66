"""The slow axis against known answers: body weight, Topp's fixed points, the memory of red cells, and independent solvers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from gemel.twins.metabolic.slow import _topp, evidence
from gemel.twins.metabolic.slow._glycation import adag, glucose_of, gmi, kernel, kinetic
from gemel.twins.metabolic.slow.priors import CONSTANTS, DRUGS, fixed, person_prior

AT_REST = jax.jit(lambda s, m, infused: _topp.glucose_at_rest(jnp.asarray(s), jnp.asarray(m), infused=infused))
AT_REST_SLOPE = jax.jit(jax.grad(lambda s, m, infused: _topp.glucose_at_rest(jnp.asarray(s), jnp.asarray(m), infused=infused)))


@pytest.mark.parametrize(
    ("case", "rate", "intake", "fat"), list(zip(evidence.WEIGHTS, (1883.0, 1421.5), (2824.5, 1990.2), (31.02, 37.90), strict=True))
)
def test_weight_follows_the_published_equations(case, rate, intake, fat):
    body, path = evidence.weight_path(case)
    assert float(body.resting) == pytest.approx(rate, abs=0.06)  # printed with one digit
    assert float(body.intake) == pytest.approx(intake, abs=0.06)
    assert float(body.fat) == pytest.approx(fat, abs=0.006)  # printed with two
    path = np.asarray(path)
    for day, kilograms in case.at:
        assert float(path[day - 1]) == pytest.approx(kilograms, abs=0.001)  # printed with three digits; the criterion is 0.01


@pytest.mark.parametrize(("case", "most"), list(zip(evidence.WEIGHTS, (0.0242, 0.0343), strict=True)))
def test_the_dimensionally_right_form_differs_by_grams(case, most):
    _, published = evidence.weight_path(case)
    _, right = evidence.weight_path(case, as_published=False)
    gaps = (np.asarray(right) - np.asarray(published))[[day - 1 for day, _ in case.at]]
    assert (gaps > 0.001).all()
    assert gaps.max() == pytest.approx(most, abs=0.0002)  # measured; glycogen that is used up need not come from tissue


def test_one_step_a_day_is_enough():
    case = evidence.WEIGHTS[0]
    for published in (True, False):
        coarse, fine = (np.asarray(evidence.weight_path(case, as_published=published, substeps=n)[1]) for n in (1, 8))
        gap = np.abs(coarse - fine)
        assert (
            gap.max() < 6e-3
        )  # kg: glycogen and fluid move at 1.3/d in the first days of a change, which a step of a day crosses with 2 % error
        assert gap[10:].max() < 1e-4  # and forgets


def test_topps_fixed_points_and_their_nature():
    assert evidence.topp_error() < 1e-10  # rounding of flows of 1e3
    found, slope = [], jax.jit(jax.jacobian(evidence.topp_rates))
    for glucose, _, _ in _topp.FIXED_POINTS:
        insulin, mass = evidence._exact(glucose)
        found.append(np.linalg.eigvals(np.asarray(slope(np.array([glucose, insulin, mass])))).real)
    healthy, saddle, none = found
    assert (healthy < 0).all()
    assert sorted(np.sign(saddle)) == [-1, -1, 1]
    assert (none < 0).all()


def test_quasi_steady_state_against_the_whole_system():
    gap, mass = evidence.quasi_steady_error(days=360)
    assert gap < 0.1  # mg/dL: the fast pair lags by an hour where glucose moves a milligram a day
    assert mass < 1e-3  # what that lag adds up to


def test_the_whole_system_against_lsoda():
    start = (150.0, 8.0, 200.0)

    def rates(_, x):
        return np.asarray(evidence.topp_rates(np.asarray(x), 0.4))

    far = solve_ivp(rates, (0.0, 30.0), start, method="LSODA", rtol=1e-8, atol=1e-8)
    glucose, insulin, mass = far.y[:, -1]
    at_rest = float(AT_REST(0.4, mass, 0.0))
    assert glucose == pytest.approx(at_rest, abs=0.1)  # the quasi-steady error
    assert insulin == pytest.approx(mass * 0.1 * at_rest**2 / (20000.0 + at_rest**2), rel=2e-3)  # the same


@pytest.mark.parametrize("infused", [0.0, 6.0])
@pytest.mark.parametrize(("sensitivity", "mass"), [(0.72, 300.0), (0.05, 40.0), (2.0, 900.0), (0.3, 1e-3)])
def test_glucose_at_rest_is_the_root(sensitivity, mass, infused):
    def balance(g):
        insulin = mass * 0.1 * g**2 / (20000.0 + g**2) + infused
        return 864.0 - (1.44 + sensitivity * insulin) * g

    exact = brentq(balance, 1.0, 700.0, xtol=1e-12)
    found = float(AT_REST(sensitivity, mass, infused))
    assert found == pytest.approx(exact, rel=1e-9)  # twelve Newton steps, quadratic
    slope = float(AT_REST_SLOPE(sensitivity, mass, infused))
    h = 1e-5 * sensitivity
    sides = [float(AT_REST(sensitivity + d, mass, infused)) for d in (h, -h)]
    assert slope == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-5, abs=1e-6)  # central difference


def test_memory_of_red_cells():
    shares, line = evidence.memory_error()
    assert shares < 1e-12  # integrals of a straight line
    assert line < 1e-10  # running sums over four hundred days
    assert kernel(120).sum() == pytest.approx(1.0, abs=1e-14)
    assert kernel(200).sum() == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("lifetime", [90, 120, 140])
def test_running_sums_are_the_convolution(lifetime):
    rng = np.random.default_rng(3)
    glucose, before = 150.0 + 30.0 * rng.normal(size=500), 170.0
    weights = kernel(lifetime, lifetime)
    padded = np.concatenate([np.full(lifetime, before), glucose])
    slow = [weights @ padded[lifetime + i - np.arange(lifetime)] for i in range(500)]
    run = jax.jit(kinetic, static_argnums=2)
    found = run(glucose, before, lifetime)
    np.testing.assert_allclose(found, adag(np.array(slow)), atol=1e-10)  # cancellation of sums of 1e5
    early = run(glucose[:40], before, lifetime)
    np.testing.assert_allclose(early, found[:40], atol=1e-10)  # shorter than a red cell lives


def test_lines_of_adag_and_gmi():
    assert float(adag(154.2)) == pytest.approx(7.0, abs=0.001)  # Nathan 2008: 7 % is 154 mg/dL
    assert float(gmi(154.2)) == pytest.approx(6.998, abs=0.001)
    assert float(glucose_of(adag(180.0))) == pytest.approx(180.0, abs=1e-12)


def test_every_constant_has_unit_and_source():
    from gemel.core.units import parse_unit

    for name, constant in CONSTANTS.items():
        parse_unit(constant.unit)
        assert constant.source, name
        assert constant.meaning, name
    assert {"weight_error", "recovery_days"} <= set(evidence.assumed())
    assert all(f"effect of {name}" in evidence.assumed() for name in DRUGS)
    assert fixed("topp_R0") == 864.0
    by_name = {p.name: p for p in person_prior().parameters}
    assert by_name["glycation"].scale == 0.07
    assert by_name["kS"].assumed
