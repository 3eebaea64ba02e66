"""Multiple imputation: the posterior against its closed form, the pooled estimate against the mixed model, each rule against its own expectation."""

from __future__ import annotations

import numpy as np
import pytest

from _trials import estimand
from gemel.core.errors import DataError, EvidenceError
from gemel.trials.imputation import impute_visits, pool, tipping_point
from gemel.trials.mmrm.imputation import RULES, augmentation, imputed, joint_mean
from gemel.trials.visits import analyse_visits, visit_data

PAIR = estimand("control", "treated")
COVARIANCE = np.array([[1.0, 0.5, 0.3], [0.5, 1.5, 0.8], [0.3, 0.8, 2.0]])


def trial(n=160, *, seed=0, effect=1.0, lost=0.3, visits=3):
    """Normal outcomes; of those whose second visit was low, more leave (missing at random)."""
    rng = np.random.default_rng(seed)
    x, arm = rng.normal(size=n), rng.permutation(np.arange(n) % 2)
    y = (
        0.5 * x[:, None]
        + arm[:, None] * effect * np.arange(1, visits + 1) / visits
        + rng.normal(size=(n, visits)) @ np.linalg.cholesky(COVARIANCE).T
    )
    leaves = rng.random(n) < 2 * lost / (1 + np.exp(2 * y[:, 1]))
    y[leaves, 2] = np.nan
    y[rng.random(n) < 0.05, 0] = np.nan
    columns = {
        "id": np.repeat([f"s{i}" for i in range(n)], visits).tolist(),
        "week": np.tile(np.arange(1, visits + 1), n).tolist(),
        "arm": np.repeat(np.where(arm == 1, "treated", "control"), visits).tolist(),
        "x": np.repeat(x, visits).tolist(),
        "y": y.ravel().tolist(),
    }
    return visit_data(columns, outcome="y", arm="arm", subject="id", visit="week", baseline=("x",))


def test_the_chain_has_the_known_posterior_where_nothing_is_missing():
    rng = np.random.default_rng(1)
    n, x = 60, np.column_stack([np.ones(60), rng.normal(size=60)])
    y = x @ [[1.0, 2.0], [0.5, -0.5]] + rng.normal(size=(n, 2)) @ np.array([[1.0, 0.0], [0.6, 0.8]]).T
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    scatter = (y - x @ best).T @ (y - x @ best)
    draws = list(augmentation(y, x, 4000, rng=np.random.default_rng(0), burn_in=1, thin=1))
    b, s = np.stack([d.coefficients for d in draws]), np.stack([d.covariance for d in draws])
    # inverse Wishart(n - p) of m columns has mean scatter / (n - p - m - 1); 4 Monte-Carlo errors of 4,000 independent draws
    assert np.allclose(s.mean(axis=0), scatter / (n - 2 - 3), atol=4 * s.std(axis=0).max() / 63)
    assert np.allclose(b.mean(axis=0), best, atol=4 * b.std(axis=0).max() / 63)
    spread = np.linalg.inv(x.T @ x)[1, 1] * scatter[0, 0] / (n - 2 - 3)
    assert b[:, 1, 0].var() == pytest.approx(spread, rel=0.1)  # 4 relative errors of a variance of 4,000 draws


def test_missing_at_random_is_the_mixed_model():
    data = trial()
    ours = impute_visits(data, PAIR, imputations=300, thin=5)
    theirs = analyse_visits(data, PAIR).results[-1]
    assert ours.estimate == pytest.approx(theirs.estimate, abs=0.1 * theirs.standard_error)  # Monte-Carlo error of 300 imputations
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.05)
    assert ours.contrast == "treated - control, visit 3"


def test_rules_are_what_their_names_say():
    own, reference = np.array([[1.0, 2.0, 3.0]]), np.array([[0.5, 1.0, 1.5]])
    last = np.array([0])
    assert joint_mean(own, reference, last, RULES[0]).tolist() == own.tolist()
    assert joint_mean(own, reference, last, RULES[1]).tolist() == [[1.0, 1.0, 1.5]]
    assert joint_mean(own, reference, last, RULES[2]).tolist() == [[1.0, 1.5, 2.0]]
    assert joint_mean(own, reference, last, RULES[3]).tolist() == reference.tolist()
    with pytest.raises(DataError, match="no such rule"):
        joint_mean(own, reference, last, "last one carried forward")


@pytest.mark.parametrize("rule", RULES)
def test_imputed_responses_have_the_conditional_distribution(rule):
    """An independent computation for one subject: the conditional normal by the joint mean of the rule."""
    n = 6000
    y = np.tile([1.4, np.nan, np.nan], (n, 1))
    own, reference = np.tile([1.0, 2.0, 3.0], (n, 1)), np.tile([0.5, 1.0, 1.5], (n, 1))
    draws = imputed(y, own, reference, COVARIANCE, np.ones(n, bool), rule, rng=np.random.default_rng(0))
    centre = joint_mean(own[:1], reference[:1], np.array([0]), rule)[0]
    mean = centre[1:] + COVARIANCE[1:, 0] / COVARIANCE[0, 0] * (1.4 - centre[0])
    spread = COVARIANCE[1:, 1:] - np.outer(COVARIANCE[1:, 0], COVARIANCE[0, 1:]) / COVARIANCE[0, 0]
    assert np.allclose(draws[:, 0], 1.4)
    assert np.allclose(draws[:, 1:].mean(axis=0), mean, atol=4 * np.sqrt(spread.max() / 6000))  # 4 Monte-Carlo errors
    assert np.allclose(np.cov(draws[:, 1:], rowvar=False), spread, atol=0.1)


def test_reference_based_rules_shrink_the_effect_in_order():
    data = trial(400, effect=2.0)
    random, jump, increments, copy = (impute_visits(data, PAIR, rule=rule, imputations=40, thin=5).estimate for rule in RULES)
    assert jump < increments < random
    assert copy < random
    found = impute_visits(data, PAIR, rule=RULES[1], imputations=20, thin=5)
    assert any("information-anchored" in s for s in found.status)


def test_a_delta_moves_the_estimate_in_proportion_and_tips_it():
    data = trial(200, effect=1.4)
    found = tipping_point(data, PAIR, (0.0, -1.0, -2.0, -8.0), imputations=40, thin=5)
    estimates = [r.estimate for r in found.results]
    assert estimates[1] - estimates[2] == pytest.approx(estimates[0] - estimates[1], rel=1e-9)  # the same draws: linear in delta
    assert found.tips in (-1.0, -2.0, -8.0)
    assert found.results[0].p_value < 0.05 <= found.results[found.deltas.index(found.tips)].p_value
    assert tipping_point(data, PAIR, (0.0,), imputations=10, thin=5).tips is None
    with pytest.raises(DataError, match="needs deltas"):
        tipping_point(data, PAIR, ())


def test_pooling_is_rubins():
    found = pool(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.7, 0.6]), 100.0)
    total = 0.6 + (1 + 1 / 3) * 1.0
    assert found.standard_error == pytest.approx(np.sqrt(total))
    share = 4 / 3 / total
    old, observed = 2 / share**2, 101 / 103 * 100 * (1 - share)
    assert found.df == pytest.approx(old * observed / (old + observed))
    same = pool(np.array([1.0, 1.0]), np.array([0.5, 0.5]), 30.0)
    assert same.standard_error == pytest.approx(np.sqrt(0.5))
    assert same.df == pytest.approx(31 / 33 * 30)
    with pytest.raises(DataError, match="two imputations"):
        pool(np.array([1.0]), np.array([1.0]), 10.0)


def test_the_same_seed_gives_the_same_and_the_lineage_knows():
    data = trial(80)
    a, b, c = (impute_visits(data, PAIR, imputations=5, seed=s, thin=2) for s in (1, 1, 2))
    assert a.estimate == b.estimate
    assert a.estimate != c.estimate
    assert a.lineage.id == b.lineage.id != c.lineage.id


def test_what_cannot_be_imputed_is_refused():
    data = trial(80)
    for settings, said in (
        ({"rule": "zero"}, "no such rule"),
        ({"visit": "9"}, "no such visit"),
        ({"imputations": 1}, "number of imputations"),
    ):
        with pytest.raises(DataError, match=said):
            impute_visits(data, PAIR, **settings)
    with pytest.raises(EvidenceError, match="difference of means"):
        impute_visits(data, estimand("control", "treated", "risk ratio"))
    with pytest.raises(EvidenceError, match="estimand"):
        impute_visits(data, None)
    y = np.full((20, 2), np.nan)
    y[:, 0], y[:3, 1] = np.arange(20.0), 1.0
    with pytest.raises(DataError, match="too few responses"):
        next(augmentation(y, np.ones((20, 2)), 5, rng=np.random.default_rng(0)))


@pytest.mark.slow
def test_the_interval_covers_under_missing_at_random():
    hits, trials = 0, 60
    for seed in range(trials):
        low, high = impute_visits(trial(100, seed=seed), PAIR, imputations=25, burn_in=40, thin=4).interval
        hits += low < 1.0 < high
    assert hits / trials > 0.86  # 3 SE of 60 trials below 0.95
