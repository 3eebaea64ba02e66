"""Cross-fitted AIPW and the weighted analysis: identities, coverage, and what they may not do."""

from __future__ import annotations

import numpy as np
import pytest

from _trials import Nothing, actg, estimand, made, simulated
from gemel.core.errors import DataError, EvidenceError
from gemel.trials.adjust.aipw import aipw, augmented, folds_of
from gemel.trials.adjust.ancova import ancova
from gemel.trials.adjust.weighted import log_variance, weighted
from gemel.trials.learners import Foreign, LinearRule, Ridge, Spline

PAIR = estimand("arm0", "arm1")


def test_a_learner_that_knows_nothing_leaves_the_plain_comparison():
    data = made(simulated(400, arms=3), "x")
    plain = [data.outcome[data.arm == a].mean() for a in range(3)]
    means, phi = augmented(data, learner=Nothing())
    assert np.allclose(means.means, plain, atol=0.02)  # fold means differ from the arm's by chance
    assert phi.shape == (400, 3)
    assert aipw(data, PAIR, learner=Nothing()).variance_ratio == pytest.approx(1.0, abs=0.02)


def test_the_outcome_of_a_fold_does_not_reach_its_own_rule():
    columns = simulated(100)
    data = made(columns, "x")
    fold = folds_of(data, 5, 0)
    first = columns["y"][0]
    before = augmented(data, folds=5)[1]
    columns["y"][0] = first + 100.0
    after = augmented(made(columns, "x"), folds=5)[1]
    own = data.arm[0]
    assert np.allclose(before[fold == fold[0], 1 - own], after[fold == fold[0], 1 - own])
    assert after[0, own] - before[0, own] == pytest.approx(100 / data.shares[own])


def test_seed_and_identifiers_make_the_folds_not_the_order_of_rows():
    columns = simulated(90)
    order = np.random.default_rng(1).permutation(90)
    turned = {k: [v[i] for i in order] for k, v in columns.items()}
    a, b = (aipw(made(c, "x"), PAIR, seed=4) for c in (columns, turned))
    assert a.estimate == pytest.approx(b.estimate, abs=1e-12)
    assert a.lineage.seed == 4
    assert aipw(made(columns, "x"), PAIR, seed=5).estimate != a.estimate
    for folds in (1, 21):
        with pytest.raises(DataError, match="folds"):
            aipw(made(columns, "x"), PAIR, folds=folds)


def test_splines_find_what_a_line_does_not():
    columns = simulated(500)
    columns["y"] = [y + 2 * abs(x) for y, x in zip(columns["y"], columns["x"], strict=True)]
    data = made(columns, "x")
    straight, curved = (aipw(data, PAIR, learner=learner) for learner in (Ridge(), Spline()))
    assert curved.standard_error < 0.75 * straight.standard_error


def test_the_interval_covers():
    hits, trials = 0, 250
    for seed in range(trials):
        low, high = aipw(made(simulated(150, seed=seed), "x", "noise"), PAIR, folds=5).interval
        hits += low < 0.4 < high
    assert 0.90 < hits / trials < 0.99  # 3 SE of 250 trials around 0.95


@pytest.mark.data
def test_actg_175_gains_no_less_than_one_covariate():
    data = actg("cd40", "cd80", "age", "wtkg", "karnof", "str2", "symptom")
    found = aipw(data, estimand("0", "1"), learner=Spline())
    linear = ancova(data, estimand("0", "1"))
    assert abs(found.estimate - linear.estimate) < 0.5 * linear.standard_error  # two adjustments of one trial
    assert found.variance_ratio > 1.575  # ANCOVA with cd40


def test_an_estimator_of_another_library_is_copied_and_asked():
    class Mean:
        def fit(self, x, y):
            self.mean = y.mean()
            return self

        def predict(self, x):
            return np.full(len(x), self.mean)

    estimator = Mean()
    data = made(simulated(200), "x")
    found, same = (aipw(data, PAIR, learner=learner) for learner in (Foreign(estimator), Nothing()))
    assert found.estimate == same.estimate
    assert not hasattr(estimator, "mean")


def test_rules_are_numbers_and_straight_beyond_the_knots():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (300, 1))
    rule = Spline().calibrate(x, np.sin(x[:, 0]) + 0.1 * rng.normal(size=300))
    assert isinstance(rule, LinearRule)
    inside = np.linspace(-1.8, 1.8, 50)[:, None]
    assert np.abs(rule(inside) - np.sin(inside[:, 0])).max() < 0.15
    far = rule(np.array([[5.0], [6.0], [7.0]]))
    assert far[2] - far[1] == pytest.approx(far[1] - far[0])
    line = Ridge().calibrate(x, 1 + 3 * x[:, 0])
    assert line(np.array([[0.0], [2.0]])) == pytest.approx([1.0, 7.0], abs=1e-3)  # the penalty is the smallest of its grid


def test_weights_follow_the_variance_and_equal_ones_change_nothing():
    rng = np.random.default_rng(0)
    s2 = np.exp(rng.normal(size=4000))
    g = log_variance(2.0 * s2**0.7 * rng.chisquare(1, 4000), s2)
    assert g == pytest.approx([np.log(2.0), 0.7], abs=0.08)  # 3 SE of 4,000 squared normals
    data = made(simulated(120), "x")
    same = weighted(data, PAIR, np.full(120, 3.0))
    plain = ancova(data, PAIR, interaction=False)
    assert (same.estimate, same.standard_error) == (pytest.approx(plain.estimate), pytest.approx(plain.standard_error))


def test_weights_gain_where_variances_differ_and_say_what_they_do():
    rng = np.random.default_rng(1)
    columns = simulated(600, seed=1)
    s2 = np.exp(1.5 * rng.normal(size=600))
    columns["y"] = [
        0.6 * x + 0.4 * (a == "arm1") + e for x, a, e in zip(columns["x"], columns["arm"], np.sqrt(s2) * rng.normal(size=600), strict=True)
    ]
    data = made(columns, "x")
    found = weighted(data, PAIR, s2)
    assert found.standard_error < 0.7 * ancova(data, PAIR, interaction=False).standard_error
    assert abs(found.estimate - 0.4) < 3 * found.standard_error
    assert any("change the estimand" in flag for flag in found.status)


def test_what_cannot_be_weighted_is_refused():
    data = made(simulated(60), "x")
    for s2 in (np.zeros(60), np.ones(59), np.full(60, np.nan)):
        with pytest.raises(DataError, match="predicted variance"):
            weighted(data, PAIR, s2)
    with pytest.raises(EvidenceError, match="difference"):
        weighted(data, estimand("arm0", "arm1", "odds ratio"), np.ones(60))
