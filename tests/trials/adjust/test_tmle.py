"""Targeted maximum likelihood: the equation that it solves, its range, its agreement with AIPW, coverage, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from _trials import Nothing, actg, estimand, made, simulated
from gemel.core.errors import DataError, EvidenceError
from gemel.trials.adjust.aipw import aipw
from gemel.trials.adjust.gcomputation import standardised
from gemel.trials.adjust.tmle import targeted, tmle
from gemel.trials.learners import Spline

PAIR = estimand("arm0", "arm1")


def test_the_residuals_of_each_arm_sum_to_nothing():
    for binary in (False, True):
        data = made(simulated(240, arms=3, binary=binary, seed=2), "x", "noise")
        _, mu = targeted(data)
        for a in range(3):
            mine = data.arm == a
            assert abs((data.outcome - mu[:, a])[mine].sum()) < 1e-9 * mine.sum() * np.ptp(
                data.outcome
            )  # the targeting step's own tolerance


def test_a_learner_that_knows_nothing_gives_the_arm_means():
    data = made(simulated(200, arms=3, seed=4), "x")
    means, _ = targeted(data, learner=Nothing())
    plain = [data.outcome[data.arm == a].mean() for a in range(3)]
    assert means.means == pytest.approx(plain, abs=5e-3)  # folds' means differ a little between arms' members and all


def test_without_folds_in_the_way_it_is_g_computation_of_the_same_model():
    """A logistic regression solves the targeting equation already: with its means, nothing moves."""
    data = made(simulated(400, binary=True, seed=1), "x")
    theirs = standardised(data, interaction=True)

    class _Logistic:
        name = "logistic"

        def calibrate(self, x, y):
            from gemel.trials.adjust.gcomputation import canonical

            beta = canonical(np.column_stack([np.ones(len(x)), x]), y, "binomial")
            return lambda new: 1 / (1 + np.exp(-np.column_stack([np.ones(len(new)), new]) @ beta))

    ours, _ = targeted(data, learner=_Logistic(), folds=20)
    assert ours.means == pytest.approx(theirs.means, abs=0.01 * theirs.standard_errors.min() + 1e-3)  # leaving 5 % out moves little
    assert ours.standard_errors == pytest.approx(theirs.standard_errors, rel=0.03)


@pytest.mark.parametrize("summary", ["risk difference", "risk ratio", "odds ratio"])
def test_it_agrees_with_aipw_on_events_of_three_arms(summary):
    data = made(simulated(300, seed=1, binary=True, arms=3), "x", "noise")
    pair = estimand("arm0", "arm2", summary)
    ours, theirs = tmle(data, pair), aipw(data, pair)
    assert (
        abs(ours.estimate - theirs.estimate) < 0.05 * theirs.standard_error
    )  # both efficient: they differ by less than a part of the error
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.01)


def test_means_stay_inside_the_bounds():
    columns = simulated(200, seed=3)
    columns["y"] = np.clip(np.round(8 * np.array(columns["x"]) ** 3), 0, 70).tolist()  # most sit at the floor
    data = made(columns, "x")
    _, mu = targeted(data, bounds=(0.0, 70.0), learner=Spline())
    assert 0 < mu.min()
    assert mu.max() < 70
    with pytest.raises(DataError, match="bounds"):
        targeted(data, bounds=(0.0, 10.0))


def test_an_arm_on_one_bound_is_refused():
    columns = simulated(100, binary=True)
    columns["y"] = [1.0 if a == "arm1" else y for y, a in zip(columns["y"], columns["arm"], strict=True)]
    with pytest.raises(EvidenceError, match="one bound"):
        tmle(made(columns, "x"), PAIR)


def test_the_interval_covers():
    hits, trials = 0, 250
    for seed in range(trials):
        low, high = tmle(made(simulated(150, seed=seed), "x", "noise"), PAIR, folds=5).interval
        hits += low < 0.4 < high
    assert 0.90 < hits / trials < 0.99  # 3 SE of 250 trials around 0.95


@pytest.mark.data
def test_actg_175_gains_as_much_as_aipw():
    data = actg("cd40", "cd80", "age", "wtkg", "karnof", "str2", "symptom")
    ours, theirs = (method(data, estimand("0", "1"), learner=Spline()) for method in (tmle, aipw))
    assert abs(ours.estimate - theirs.estimate) < 0.1 * theirs.standard_error
    assert ours.variance_ratio > 1.575  # ANCOVA with cd40
