"""Boundaries against published constants, simulation and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gemel.core.errors import DataError
from gemel.trials import Spending, boundary
from gemel.trials.design.boundary import conditional_power, crossing, inflation, wang_tsiatis

THIRDS = (1 / 3, 2 / 3, 1.0)


@pytest.mark.parametrize(
    ("family", "constants"),
    [("pocock", (2.1783, 2.2895, 2.3613, 2.4132)), ("obrien-fleming", (1.9774, 2.0040, 2.0243, 2.0401))],
)
def test_constants_of_jennison_and_turnbull(family, constants):
    for looks, constant in zip((2, 3, 4, 5), constants, strict=True):
        plan = boundary([k / looks for k in range(1, looks + 1)], family)
        assert plan.upper[-1] == pytest.approx(constant, abs=5e-5)  # four decimals printed
        assert plan.lower == tuple(-u for u in plan.upper)
        assert plan.upper[0] == pytest.approx(constant * (1 if family == "pocock" else math.sqrt(looks)), abs=2e-4)


@pytest.mark.parametrize(
    ("spending", "values"),
    [
        (Spending("obrien-fleming"), (3.7103, 2.5114, 1.9930)),
        (Spending("pocock"), (2.2794, 2.2949, 2.2959)),
        (Spending("hwang-shih-decani", -4.0), (3.0107, 2.5465, 1.9992)),
    ],
)
@pytest.mark.parametrize(("sides", "alpha"), [(2, 0.05), (1, 0.025)])
def test_spending_boundaries(spending, values, sides, alpha):
    plan = boundary(THIRDS, spending, alpha=alpha, sides=sides)
    assert plan.upper == pytest.approx(values, abs=5e-5)  # four decimals printed
    spent = np.cumsum(crossing(THIRDS, plan.upper, (-math.inf,) * 3).upper)
    if sides == 1:
        assert np.allclose(spent, spending.spent(np.array(THIRDS), 0.025), atol=1e-9)


def test_one_look_is_a_fixed_trial():
    for family in ("pocock", Spending("pocock")):
        plan = boundary([1.0], family)
        assert plan.upper[0] == pytest.approx(stats.norm.ppf(0.975), abs=1e-9)
        assert inflation(plan, 0.9)[1] == pytest.approx(1.0, abs=1e-5)  # the other side's power is left out
        assert plan.nominal()[0] == pytest.approx(0.05)


def test_two_looks_are_a_bivariate_normal():
    plan = wang_tsiatis([0.4, 1.0], 0.25)
    rho = math.sqrt(0.4)
    inside = stats.multivariate_normal(mean=[1.5 * rho, 1.5], cov=[[1, rho], [rho, 1]])
    a, b = plan.upper
    both = inside.cdf([a, b]) - inside.cdf([-a, b]) - inside.cdf([a, -b]) + inside.cdf([-a, -b])
    found = crossing(plan.fractions, plan.upper, plan.lower, 1.5)
    assert 1 - found.power - found.lower.sum() == pytest.approx(both, abs=1e-7)


def test_simulated_trials_cross_as_told():
    plan = boundary([0.2, 0.5, 0.8, 1.0], Spending("hwang-shih-decani", 1.0))
    t, rng, drift = np.array(plan.fractions), np.random.default_rng(0), 2.0
    steps = np.diff(t, prepend=0.0)
    z = np.cumsum(rng.normal(drift * steps, np.sqrt(steps), (200_000, 4)), axis=1) / np.sqrt(t)
    up, down = z > np.array(plan.upper), z < np.array(plan.lower)
    first = np.where((up | down).any(axis=1), (up | down).argmax(axis=1), -1)
    told = crossing(plan.fractions, plan.upper, plan.lower, drift)
    for k in range(4):
        seen = (up[:, k] & (first == k)).mean()
        assert abs(seen - told.upper[k]) < 4 * math.sqrt(told.upper[k] / 200_000)
    used = np.where(first < 0, 1.0, t[first]).mean()
    assert used == pytest.approx(told.expected_information, abs=3e-3)


def test_many_and_uneven_looks_keep_the_level():
    for t in (np.arange(1, 21) / 20, [0.02, 0.03, 0.9, 1.0]):
        plan = boundary(t, Spending("obrien-fleming"))
        told = crossing(plan.fractions, plan.upper, plan.lower)
        assert told.upper.sum() + told.lower.sum() == pytest.approx(0.05, abs=1e-6)
    five = inflation(boundary(np.arange(1, 6) / 5, "obrien-fleming"), 0.9)[1]
    assert five == pytest.approx(1.026, abs=2e-3)  # Jennison and Turnbull 2000, table 2.4, power 0.9
    assert inflation(boundary(np.arange(1, 6) / 5, "pocock"), 0.9)[1] == pytest.approx(1.207, abs=2e-3)  # ibid., table 2.2


def test_conditional_power():
    assert conditional_power(1.0, 0.5, 1.96, 0.0) == pytest.approx(stats.norm.sf((1.96 - math.sqrt(0.5)) / math.sqrt(0.5)))
    assert conditional_power(2.0, 0.5, 1.96) > conditional_power(2.0, 0.5, 1.96, 0.0)
    rng = np.random.default_rng(0)
    end = 1.2 * math.sqrt(0.6) + 2.5 * 0.4 + math.sqrt(0.4) * rng.normal(size=200_000)
    assert conditional_power(1.2, 0.6, 2.0, 2.5) == pytest.approx((end > 2.0).mean(), abs=4e-3)  # 3.5 Monte-Carlo SE


@pytest.mark.parametrize(
    "call",
    [
        lambda: boundary([0.5, 0.9]),
        lambda: boundary([0.6, 0.5, 1.0]),
        lambda: boundary([0.5, 0.5, 1.0]),
        lambda: boundary([]),
        lambda: boundary([1.0], "haybittle"),
        lambda: boundary([1.0], alpha=1.2),
        lambda: boundary([1.0], sides=3),
        lambda: Spending("linear"),
        lambda: Spending("hwang-shih-decani", 100.0),
        lambda: inflation(boundary([1.0]), 0.01),
        lambda: crossing([0.5, 1.0], [2.0], [-2.0]),
        lambda: crossing([0.5, 1.0], [2.0, 2.0], [2.0, -2.0]),
        lambda: conditional_power(1.0, 1.0, 1.96),
    ],
)
def test_what_is_no_design_is_refused(call):
    with pytest.raises(DataError):
        call()
