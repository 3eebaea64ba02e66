"""The map of what drift costs: exact figures against simulation and closed forms, monotone where theory says so, drawn and labelled."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from gemel.core.errors import DataError, EvidenceError, InferenceError
from gemel.trials.external import LABEL, borrow_history, drift_figure, history_of
from gemel.trials.external.drift import DRIFTS, bootstrap_map, prior_map, rejects
from gemel.trials.external.mixture import BetaMixture, NormalMixture
from gemel.trials.external.power_prior import power_prior, weak_prior
from gemel.trials.external.priors import PRIORS, prior_of
from gemel.web import figure_svg

MEANS = history_of({"study": ["a", "b", "c", "d"], "n": [40, 60, 80, 50], "y": [1.0, 1.4, 0.8, 1.2], "sd": [2.0, 2.0, 2.0, 2.0]})
RATES = history_of({"study": ["a", "b", "c", "d"], "n": [40, 60, 80, 50], "r": [10, 18, 16, 15]})


def of(prior, history, nc=50, nt=60, **more):
    return prior_map(prior, weak=weak_prior(history), n_control=nc, n_treated=nt, centre=history.pooled, sigma=history.sigma, **more)


def test_without_borrowing_the_level_is_kept_exactly():
    found = of(weak_prior(MEANS), MEANS)
    assert found.type_one == pytest.approx(np.full(5, 0.05), abs=1e-5)  # the weak prior is a ten-thousandth of a patient
    assert found.power == pytest.approx(np.full(5, 0.8), abs=1e-4)  # the effect was chosen so; the other tail adds 1e-6
    assert found.squared_error == pytest.approx(np.full(5, 4 * (1 / 50 + 1 / 60)), rel=1e-4)
    assert found.without[0] == found.type_one[0]


def test_pooling_is_a_shifted_normal():
    """One normal part in closed form: the posterior mean is linear in the controls."""
    prior = NormalMixture(np.ones(1), np.array([MEANS.pooled]), np.array([2 / math.sqrt(100)]))
    found = of(prior, MEANS)
    share = 50 / 150
    spread = math.sqrt(4 / 150 + 4 / 60)
    seen = math.sqrt(share**2 * 4 / 50 + 4 / 60)
    bias = (1 - share) * 2 * np.array(DRIFTS)
    z = 1.959964 * spread
    known = special.ndtr((bias - z) / seen) + special.ndtr((-bias - z) / seen)
    assert found.type_one == pytest.approx(known, abs=2e-6)
    assert found.squared_error == pytest.approx(seen**2 + bias**2, rel=1e-5)
    assert (np.diff(found.type_one) > 0).all()


@pytest.mark.parametrize("method", PRIORS)
def test_means_agree_with_simulated_trials(method):
    prior, _ = prior_of(MEANS, method)
    found = of(prior, MEANS)
    rng, draws = np.random.default_rng(1), 20_000
    for k in (0, 3):
        mu = MEANS.pooled + found.shift[k]
        control = mu + 2 / math.sqrt(50) * rng.normal(size=draws)
        treated = mu + 2 / math.sqrt(60) * rng.normal(size=draws)
        w, m, s = prior.weights, prior.means, prior.sds  # the posterior written out again
        e2 = 4 / 50
        logs = np.log(w) - 0.5 * np.log(s**2 + e2) - 0.5 * (control[:, None] - m) ** 2 / (s**2 + e2)
        share = s**2 / (s**2 + e2)
        centre, spread = m + share * (control[:, None] - m), np.sqrt(share * e2 + 4 / 60)
        chance = (special.softmax(logs, axis=1) * special.ndtr((treated[:, None] - centre) / spread)).sum(axis=1)
        rate = ((chance > 0.975) | (chance < 0.025)).mean()
        assert rate == pytest.approx(found.type_one[k], abs=4 * math.sqrt(rate * (1 - rate) / draws))


def test_rates_agree_with_simulated_trials():
    prior = power_prior(RATES, 0.5)
    found = of(prior, RATES)
    rng, draws = np.random.default_rng(1), 3000
    p = RATES.pooled + found.shift[3]
    control, treated = rng.binomial(50, p, draws), rng.binomial(60, p, draws)
    above = np.array([
        (rng.beta(1 + b, 61 - b, 4000) > rng.beta(prior.a[0] + a, prior.b[0] + 50 - a, 4000)).mean() for a, b in zip(control, treated, strict=True)
    ])  # fmt: skip
    rate = ((above > 0.975) | (above < 0.025)).mean()
    # 3,000 trials: SE 0.006; draws of 4,000 blur the edge of 0.975 by 0.0025
    assert rate == pytest.approx(found.type_one[3], abs=0.025)


def test_rates_without_borrowing_are_conservative_by_enumeration():
    found = of(BetaMixture(np.ones(1), np.ones(1), np.ones(1)), RATES)
    assert (found.type_one < 0.07).all()
    low, high = rejects(BetaMixture(np.ones(1), np.ones(1), np.ones(1)), np.arange(51), 50, 60, 1.0, 0.95)
    # the edge by direct integration: the first count that is told from 20 of 50
    a, b = 21, 31
    chance = [
        stats.beta.expect(lambda p, r=r: stats.beta.sf(p, 1 + r, 61 - r), args=(a, b), epsabs=1e-9) for r in (math.floor(high[20]), math.floor(high[20]) + 1)
    ]  # fmt: skip
    assert chance[0] <= 0.975 < chance[1]
    assert low[20] < high[20]


@pytest.mark.parametrize("history", [MEANS, RATES])
@pytest.mark.parametrize("method", ["power", "map"])
def test_the_cost_rises_with_the_drift(history, method):
    found = of(prior_of(history, method)[0], history)
    assert (np.diff(found.type_one) > 0).all()
    assert (np.diff(found.squared_error) > 0).all()
    assert found.squared_error[0] < found.without[2]  # that is what borrowing buys
    assert found.power[0] > found.without[1]


def test_a_robust_prior_costs_less_where_the_drift_is_large():
    far = (0.0, 1.0, 2.0)
    plain, safe = (of(prior_of(MEANS, m)[0], MEANS, drifts=far) for m in ("map", "robust-map"))
    assert safe.type_one[2] < plain.type_one[2]
    assert safe.squared_error[2] < plain.squared_error[2]


def test_a_trial_of_one_arm_rests_on_history_alone():
    found = borrow_history(MEANS, "power", planned=(0, 60)).map
    assert math.isnan(found.without[0])
    assert found.type_one[0] < 0.05 < found.type_one[-1]


def test_a_bootstrap_is_shifted():
    def one(rng):
        return 0.4 + 0.1 * rng.normal(), 0.1

    found = bootstrap_map(one, (0.4, 0.1), sd=1.0, without=(0.05, 0.5, 0.02), replicates=4000)
    shift = np.array(DRIFTS)
    known = special.ndtr(shift / 0.1 - 1.959964) + special.ndtr(-shift / 0.1 - 1.959964)
    assert (np.abs(found.type_one - known) < 4 * np.maximum(found.errors[0], 0.003)).all()
    assert found.power[0] == pytest.approx(0.8, abs=4 * found.errors[1][0])
    assert found.squared_error == pytest.approx(0.01 + shift**2, rel=0.1)
    assert "4000 replicates" in found.how
    again = bootstrap_map(one, (0.4, 0.1), sd=1.0, without=(0.05, 0.5, 0.02), replicates=4000)
    assert (again.type_one == found.type_one).all()


def test_a_bootstrap_that_fails_too_often_is_no_result():
    def one(rng):
        if rng.random() < 0.3:
            raise EvidenceError("no")
        return 0.0, 1.0

    with pytest.raises(InferenceError, match="failed too often"):
        bootstrap_map(one, (0.0, 1.0), sd=1.0, without=(math.nan,) * 3, replicates=200)


def test_the_map_is_drawn_and_labelled():
    found = of(power_prior(MEANS, 0.5), MEANS)
    figure = drift_figure(found, title="Power prior", lineage="abc")
    assert LABEL in figure.alt
    assert LABEL in figure.table.note
    assert figure.status == "simulated"
    assert figure_svg(figure).startswith("<svg")


@pytest.mark.parametrize("more", [{"effect": 0.8}, {"drifts": (0.0, 3.0)}])
def test_a_rate_beyond_its_range_is_refused(more):
    with pytest.raises(DataError, match="leaves its range"):
        of(power_prior(RATES, 0.5), RATES, **more)
