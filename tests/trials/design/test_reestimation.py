"""A blinded look at SD and R²: unbiased, worth its arithmetic, and information counted once."""

from __future__ import annotations

import numpy as np
import pytest

from gemel.core.errors import DataError
from gemel.trials.design.reestimation import Blinded, blinded, blinded_many, reestimate
from gemel.trials.sizing import Assumptions, size


def test_pooled_variances_less_the_planned_effect_are_those_within_arms():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 60))
    arm = np.arange(60) % 2
    y = 0.8 * arm + 1.5 * (0.6 * x + 0.8 * rng.normal(size=x.shape))
    whole, rest = blinded_many(y, x, 0.25 * 0.8**2)
    error = np.sqrt(2 / 59 / 4000)
    # a permuted arm of fixed size spreads by n / (n - 1) times p (1 - p) effect^2: 1.7 % of it, 0.1 % of the variance
    assert whole.mean() == pytest.approx(1.5**2, rel=4 * error + 0.002)
    assert rest.mean() == pytest.approx(1.5**2 * 0.64, rel=4 * error + 0.004)


def test_at_the_planned_variance_the_planned_size_is_wanted():
    found = reestimate(Blinded(100, 1.0, 0.75**0.5, 0.25), effect=0.4, planned=198, maximum=400)
    plan = size(Assumptions(sd=1.0, correlation=0.5), 0.4)
    assert found.wanted == pytest.approx(plan.n + 1.96**2 / 2, abs=0.01)
    assert found.reached == pytest.approx(100 / plan.n, rel=1e-9)


def test_the_gain_is_counted_once():
    """The size depends on the residual variance alone, however it is split into SD and R²."""
    a, b = (reestimate(Blinded(100, sd, 0.9, r2), effect=0.4, planned=100, maximum=1000) for sd, r2 in ((0.9, 0.0), (1.8, 0.75)))
    assert a.wanted == b.wanted


def test_limits_hold():
    wide, narrow = Blinded(100, 3.0, 3.0, 0.0), Blinded(100, 0.5, 0.5, 0.0)
    assert reestimate(wide, effect=0.4, planned=200, maximum=300).n == 300
    assert reestimate(narrow, effect=0.4, planned=200, maximum=300).n == 200
    assert reestimate(narrow, effect=0.4, planned=200, maximum=300, may_shrink=True).n == 100


def test_a_prognosis_of_nothing_is_worth_nothing():
    rng = np.random.default_rng(2)
    found = blinded(rng.normal(size=200), rng.normal(size=200))
    assert found.r_squared < 0.05
    assert found.residual_sd <= found.sd
    assert blinded(rng.normal(size=50), None).r_squared == 0.0


@pytest.mark.parametrize(
    ("outcome", "prognosis"),
    [(np.ones(50), None), (np.arange(9.0), None), (np.r_[np.nan, np.arange(20.0)], None), (np.arange(20.0), np.arange(19.0))],
)
def test_what_cannot_be_looked_at_is_refused(outcome, prognosis):
    with pytest.raises(DataError):
        blinded(outcome, prognosis)


@pytest.mark.parametrize("wrong", [{"effect": 0.0}, {"power": 0.01}, {"planned": 50}, {"maximum": 150}])
def test_what_cannot_be_planned_is_refused(wrong):
    with pytest.raises(DataError):
        reestimate(Blinded(100, 1.0, 1.0, 0.0), **{"effect": 0.4, "planned": 200, "maximum": 300, "power": 0.9} | wrong)
