"""Sizes with known answers, what is deflated, and the exact power against simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gemel.core.errors import DataError, EvidenceError
from gemel.trials import Assumptions, size
from gemel.trials.sizing import (
    control_arm_reduction,
    exact_power,
    generalised_bound,
    guenther_schouten,
    power_of,
    residual_variance,
    restricted_correlation,
    total_reduction,
    variance,
)

PLAN = Assumptions(sd=1.0, correlation=0.5)


@pytest.mark.parametrize(
    ("plan", "n"),
    [(Assumptions(sd=1.0), 262.7), (PLAN, 197.0), (replace(PLAN, correlation_deflation=0.9, sd_inflation=1.05), 231.0)],
)
def test_sizes_with_known_answers(plan, n):
    assert size(plan, 0.4).n == pytest.approx(n, abs=0.05)  # printed with one decimal


def test_both_reductions_stand_together():
    found = size(PLAN, 0.4, dropout=0.1)
    assert found.r_squared == pytest.approx(0.25)
    assert (
        (found.total_reduction, found.control_arm_reduction)
        == (total_reduction(0.25), control_arm_reduction(0.25))
        == (0.25, pytest.approx(0.4))
    )
    assert found.n == pytest.approx(found.unadjusted * 0.75)
    assert (found.reference, found.treated, found.enrolled) == (99, 99, 220)
    for r_squared, share in ((0.136, 0.24), (0.212, 0.35), (1 / 3, 0.5)):
        assert control_arm_reduction(r_squared) == pytest.approx(share, abs=1e-3)
    fewer = 1 - control_arm_reduction(0.25)  # (1 - R²)(1/n0' + 1/n1) = 2/n1
    assert 0.75 * (1 / fewer + 1) == pytest.approx(2)


def test_variance_of_unequal_arms_is_that_of_the_formula():
    plan = Assumptions(sd=2.0, sd_treated=3.0, correlation=0.4, correlation_treated=0.6, allocation=2.0)
    p0, p1 = 1 / 3, 2 / 3
    assert variance(plan) == pytest.approx(4 / p0 + 9 / p1 - p0 * p1 * (0.4 * 2 / p0 + 0.6 * 3 / p1) ** 2)
    assert size(plan, 1.0).n * plan.shares[1] == pytest.approx(size(plan, 1.0).treated, abs=1)


def test_the_grid_holds_nine_cells_and_its_corner_is_the_plan():
    grid = {(k, g): n for k, g, n in size(PLAN, 0.4).grid}
    assert len(grid) == 9
    assert grid[1.0, 1.0] == pytest.approx(197.0, abs=0.05)
    assert grid[0.9, 1.05] == pytest.approx(231.0, abs=0.05)
    assert all(grid[0.8, g] > grid[0.9, g] > grid[1.0, g] for g in (1.0, 1.05, 1.1))


def test_inflation_alone_lowers_r_squared_in_the_other_convention_and_not_in_ours():
    ours = size(replace(PLAN, sd_inflation=np.sqrt(1.1)), 0.4)
    theirs = size(PLAN, 0.4, convention="postcard", variance_inflation=1.1)
    assert ours.r_squared == pytest.approx(0.25)
    assert theirs.r_squared == pytest.approx(0.25 / 1.1)
    assert theirs.n > ours.n
    assert residual_variance(4.0, 0.25, variance_inflation=1.1, r_squared_deflation=0.9) == pytest.approx(4.0 * (1.1 - 0.225))
    assert theirs.grid == ()


@pytest.mark.parametrize("method", ["asymptotic", "guenther-schouten", "exact"])
def test_the_size_has_the_power(method):
    found = size(PLAN, 0.4, method=method, power=0.8)
    assert found.power >= 0.8
    assert found.power < 0.81  # rounding up adds at most one patient per arm of about 75


def test_guenther_schouten_lies_by_the_exact_size_and_above_the_asymptotic_one():
    asymptotic, corrected, exact = (size(PLAN, 0.4, method=m).n for m in ("asymptotic", "guenther-schouten", "exact"))
    assert corrected - asymptotic == pytest.approx(stats.norm.ppf(0.975) ** 2 / 2)
    assert corrected == pytest.approx(exact, abs=0.1)
    assert guenther_schouten(0.4, 1.0, 0.25, allocation=2.0) > guenther_schouten(0.4, 1.0, 0.25)


def test_exact_power_tends_to_the_asymptotic_one():
    gaps = [
        abs(exact_power(n, 3.24 / np.sqrt(n) * 2 * 0.8, 1.0, 0.6) - power_of(n, 3.24 / np.sqrt(n) * 2 * 0.8, 4 * 0.64))
        for n in (50, 500, 5000)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 5e-4  # the gap falls as 1/n


def test_exact_power_is_that_of_simulated_trials():
    rng, n, replicates, rho, effect = np.random.default_rng(3), 60, 8000, 0.6, 0.65
    arm = np.repeat([0.0, 1.0], n // 2)
    x = rng.normal(size=(replicates, n))
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=(replicates, n)) + effect * arm
    within = lambda v: v - np.where(arm == 0, v[:, : n // 2].mean(1, keepdims=True), v[:, n // 2 :].mean(1, keepdims=True))  # noqa: E731
    xw, yw = within(x), within(y)
    slope = (xw * yw).sum(1) / (xw**2).sum(1)
    gap = lambda v: v[:, n // 2 :].mean(1) - v[:, : n // 2].mean(1)  # noqa: E731
    estimate = gap(y) - slope * gap(x)
    s2 = ((yw - slope[:, None] * xw) ** 2).sum(1) / (n - 3)
    t = estimate / np.sqrt(s2 * (4 / n + gap(x) ** 2 / (xw**2).sum(1)))
    seen = (np.abs(t) > stats.t.ppf(0.975, n - 3)).mean()
    # a random imbalance of the covariate costs 1/(n - 4) of the information, 0.006 of power here: not in the conditional formula
    told = exact_power(n * (1 - 1 / (n - 4)), effect, 1.0, rho)
    assert abs(seen - told) < 3 * np.sqrt(told * (1 - told) / replicates)
    assert abs(seen - exact_power(n, effect, 1.0, rho)) < 3 * np.sqrt(told * (1 - told) / replicates) + 0.01


def test_the_bound_is_a_bound():
    assert generalised_bound((1, 1), (1, 1)) == pytest.approx(6.0)  # useless predictions: the truth is 4
    assert generalised_bound((1, 1), (1, 1), covariance=1.0) == pytest.approx(4.0)
    assert generalised_bound((1, 1), (0.75, 0.75), covariance=1.0) == pytest.approx(4 * 0.75)  # a constant effect: 4 kappa²


def test_a_narrow_trial_sees_less():
    assert restricted_correlation(0.5, 1.0) == pytest.approx(0.5)
    x, e = np.random.default_rng(0).normal(size=(2, 400_000))
    y, kept = 0.5 * x + np.sqrt(0.75) * e, np.abs(x) < 1
    assert restricted_correlation(0.5, x[kept].std()) == pytest.approx(
        np.corrcoef(x[kept], y[kept])[0, 1], abs=6e-3
    )  # 3 SE of 273,000 rows


@pytest.mark.parametrize(
    "call",
    [
        lambda: Assumptions(sd=-1.0),
        lambda: Assumptions(sd=1.0, correlation=1.0),
        lambda: Assumptions(sd=1.0, correlation_deflation=1.2),
        lambda: Assumptions(sd=1.0, sd_inflation=0.9),
        lambda: size(PLAN, 0.0),
        lambda: size(PLAN, 0.4, margin=0.4),
        lambda: size(PLAN, 0.4, power=1.0),
        lambda: size(PLAN, 0.4, dropout=1.0),
        lambda: size(PLAN, 0.4, method="guess"),
        lambda: size(PLAN, 0.4, r_squared_deflation=0.9),
        lambda: size(replace(PLAN, sd_inflation=1.1), 0.4, convention="postcard"),
        lambda: size(PLAN, float("nan")),
    ],
)
def test_what_cannot_be_sized_is_refused(call):
    with pytest.raises(DataError):
        call()


def test_an_exact_size_knows_one_variance():
    with pytest.raises(EvidenceError, match="one standard deviation"):
        size(replace(PLAN, sd_treated=2.0), 0.4, method="exact")
    for method in ("asymptotic", "exact"):
        with pytest.raises(EvidenceError, match="large enough"):
            size(PLAN, 1e-6, method=method)
