"""A textbook trial, every number: O, E, V and chi² of the log-rank test, survival at 10 weeks, restricted means to 20 (V11)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from _survival import freireich, freireich_columns
from gemel.trials.survival import adjusted_logrank, curves_figure, kaplan_meier, logrank, marginal_hazard, restricted_means, survival_data
from gemel.trials.survival.kaplan_meier import Curve
from gemel.trials.survival.rmst import horizon, restricted_mean
from gemel.web import figure_svg


def test_logrank():
    found = logrank(freireich())
    assert found.observed == 9
    assert found.expected == pytest.approx(19.2505, abs=5e-5)  # printed digits
    assert found.variance == pytest.approx(6.25696, abs=5e-6)
    assert found.chi_squared == pytest.approx(16.7929, abs=5e-5)
    assert found.p_value == pytest.approx(math.erfc(math.sqrt(16.7929 / 2)), rel=1e-4)


def test_without_covariates_the_adjusted_test_is_the_test():
    plain, adjusted = logrank(freireich()), adjusted_logrank(freireich())
    assert adjusted.score == pytest.approx(plain.observed - plain.expected, abs=1e-12)
    assert adjusted.variance == pytest.approx(plain.variance, abs=1e-12)
    assert adjusted.p_value == pytest.approx(plain.p_value)


def test_survival_at_ten_weeks_and_medians():
    placebo, treated = kaplan_meier(freireich())
    assert (placebo.name, treated.name) == ("placebo", "6-MP")
    assert treated.at(10) == pytest.approx(0.752941, abs=5e-7)
    assert placebo.at(10) == pytest.approx(0.380952, abs=5e-7)
    assert placebo.at(0) == 1
    assert (placebo.quantile(), treated.quantile()) == (8, 23)
    low, high = treated.limits()
    assert (low < treated.survival).all()
    assert (high > treated.survival).all()
    # Greenwood at 10 weeks by hand: three of 21, one of 17, one of 15
    by_hand = 0.752941**2 * (3 / (21 * 18) + 1 / (17 * 16) + 1 / (15 * 14))
    assert treated.variance[np.searchsorted(treated.times, 10)] == pytest.approx(by_hand, rel=1e-5)


def test_restricted_means():
    placebo, treated = (restricted_mean(c, 20) for c in kaplan_meier(freireich()))
    assert (treated[0], math.sqrt(treated[1])) == pytest.approx((16.1165, 1.2516), abs=5e-5)
    assert (placebo[0], math.sqrt(placebo[1])) == pytest.approx((8.4286, 1.2681), abs=5e-5)
    both = restricted_means(freireich(), 20)
    assert both.difference == both.unadjusted == pytest.approx(treated[0] - placebo[0])
    assert both.standard_error == pytest.approx(math.hypot(1.2516, 1.2681), abs=1e-4)
    assert horizon(freireich()) == 35  # all on placebo relapsed, so their curve is known for ever


def test_hazard_ratio_is_the_root_of_the_score():
    """Cox without covariates, Breslow's ties: -1.509, as every textbook has it."""
    assert marginal_hazard(freireich()).log_ratio == pytest.approx(-1.50919, abs=5e-6)
    assert marginal_hazard(freireich()).standard_error == pytest.approx(0.40956, abs=5e-6)


def test_the_censoring_flag_of_adam_is_read():
    adam = survival_data(freireich_columns(), time="weeks", censor="cnsr", arm="arm", subject="id", reference="placebo")
    assert adam.hash == freireich().hash
    assert logrank(adam) == logrank(freireich())


def test_a_curve_is_not_known_after_its_last_patient():
    treated = kaplan_meier(freireich())[1]
    with pytest.raises(ValueError, match="not known at this time"):
        treated.at(36)
    assert isinstance(treated, Curve)


def test_the_curves_are_drawn():
    figure = curves_figure(freireich(), title="Remission", variable="relapse", unit="wk", lineage="abc")
    assert "median 8 wk" in figure.alt
    assert figure_svg(figure).startswith("<svg")
