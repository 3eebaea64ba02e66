"""Conditional and predictive power against their integrals and against simulated Brownian motion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from gemel.core.errors import DataError
from gemel.trials.design.boundary import boundary, conditional_power, crossing, inflation
from gemel.trials.design.conditional import futility, predictive_power, remaining_power

LOOKS = (0.3, 0.6, 1.0)


def paths(drift, times, start=0.0, many=200_000, seed=1):
    """Score process at times, from ``start`` at time 0."""
    steps = np.diff(times, prepend=0.0)
    return start + np.cumsum(np.random.default_rng(seed).normal(drift * steps, np.sqrt(steps), size=(many, len(steps))), axis=1)


def test_remaining_power_of_one_look_is_conditional_power():
    plan = boundary([0.4, 1.0], "pocock")
    for drift in (None, 0.0, 3.0):
        assert remaining_power(plan, 0, 1.2, drift) == pytest.approx(conditional_power(1.2, 0.4, plan.upper[1], drift), abs=1e-9)


@pytest.mark.parametrize("drift", [0.0, 2.5])
def test_remaining_power_is_that_of_simulated_motion(drift):
    plan = boundary(LOOKS, "obrien-fleming", sides=1, alpha=0.025)
    z = 1.1
    found = paths(drift, np.array(LOOKS[1:]) - LOOKS[0], start=z * np.sqrt(LOOKS[0])) / np.sqrt(LOOKS[1:])
    share = float((found >= plan.upper[1:]).any(axis=1).mean())
    assert abs(remaining_power(plan, 0, z, drift) - share) < 3.3 * np.sqrt(0.25 / len(found))


def test_remaining_power_averages_to_power():
    """The tower rule: what is left, averaged over the interim, and what has crossed are the power."""
    plan = boundary(LOOKS, "pocock")
    drift, t = 2.5, LOOKS[0]

    def left(z):
        return remaining_power(plan, 0, z, drift) * stats.norm.pdf(z - drift * np.sqrt(t))

    going = integrate.quad(left, -plan.upper[0], plan.upper[0], epsabs=1e-9)[0]
    whole = crossing(plan.fractions, plan.upper, plan.lower, drift)
    assert going + whole.upper[0] == pytest.approx(whole.power, abs=1e-7)


@pytest.mark.parametrize(("mean", "information"), [(0.0, 0.0), (2.0, 0.3)])
def test_predictive_power_is_the_average_over_the_posterior(mean, information):
    z, t, critical = 1.3, 0.45, 1.96
    centre = (z * np.sqrt(t) + information * mean) / (t + information)
    posterior = stats.norm(centre, (t + information) ** -0.5)
    expected = integrate.quad(lambda d: conditional_power(z, t, critical, d) * posterior.pdf(d), centre - 12, centre + 12, epsabs=1e-10)[0]
    assert predictive_power(z, t, critical, prior_mean=mean, prior_information=information) == pytest.approx(expected, abs=1e-8)


def test_a_sure_prior_is_conditional_power():
    assert predictive_power(1.0, 0.5, 1.96, prior_mean=3.0, prior_information=1e9) == pytest.approx(
        conditional_power(1.0, 0.5, 1.96, 3.0), abs=1e-6
    )


def test_futility_leaves_what_it_says_and_the_level_alone():
    plan = boundary(LOOKS, "obrien-fleming", sides=1, alpha=0.025)
    drift, _, _ = inflation(plan, 0.9)
    low = futility(plan, drift, least=0.3)
    for k in (0, 1):
        assert remaining_power(plan, k, low[k], drift) == pytest.approx(0.3, abs=1e-6)
    assert low[-1] == -np.inf
    with_it = crossing(plan.fractions, plan.upper, low, 0.0)
    assert with_it.power < 0.025  # non-binding: stopping for futility only lowers it
    assert crossing(plan.fractions, plan.upper, low, drift).power > 0.8


def test_what_is_no_interim_is_refused():
    plan = boundary([0.5, 1.0], "pocock")
    for call in (
        lambda: remaining_power(plan, 1, 1.0),
        lambda: predictive_power(1.0, 1.0, 1.96),
        lambda: predictive_power(1.0, 0.5, 1.96, prior_information=-1.0),
        lambda: futility(plan, 0.0),
    ):
        with pytest.raises(DataError):
            call()
