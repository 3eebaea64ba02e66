"""Bergman's minimal model: decay without insulin action, and an independent solver with it."""

import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gemel.twins.metabolic._bergman import sensitivity, tolerance_test

P = {"p1": 0.031, "p2": 0.012, "p3": 4.9e-6, "Gb": 92.0, "Ib": 11.0}
TEST = jax.jit(tolerance_test)


def test_without_insulin_action_glucose_decays_at_p1():
    path = TEST(P, 279.0, np.full(240, 11.0))
    minute = np.arange(1, 241)
    exact = 92.0 + (279.0 - 92.0) * np.exp(-0.031 * minute)
    np.testing.assert_allclose(path.glucose, exact, atol=1e-8)  # (p1 h)^5/120 of 187 mg/dL a step: 1e-12, summed below 1e-9
    assert np.abs(np.asarray(path.action)).max() == 0.0


def test_with_insulin_against_dop853():
    insulin = 11.0 + 60.0 * np.exp(-np.arange(180) / 30.0)
    path = TEST(P, 279.0, insulin)
    p1, p2, p3 = 0.031, 0.012, 4.9e-6
    state, found = [279.0, 0.0], []
    for level in insulin:  # piece by piece: the input jumps at every minute

        def rates(_, x, level=level):
            return [-(p1 + x[1]) * x[0] + p1 * 92.0, -p2 * x[1] + p3 * (level - 11.0)]

        state = solve_ivp(rates, (0.0, 1.0), state, method="DOP853", rtol=1e-11, atol=1e-11).y[:, -1]
        found.append(state[0])
    np.testing.assert_allclose(path.glucose, found, atol=1e-7)  # fourth order at a quarter of a minute
    assert np.asarray(path.glucose).min() < 92.0 - 1.0  # insulin acts


def test_sensitivity_is_the_ratio():
    assert float(sensitivity(P)) == pytest.approx(4.9e-6 / 0.012, rel=1e-14)
