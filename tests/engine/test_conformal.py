"""Conformal layers: the Beta law, the adaptive theorem, and what is infinite or empty."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gemel.core.errors import DataError
from gemel.engine.conformal import (
    AdaptiveConformal,
    AdaptiveStream,
    MondrianConformal,
    SplitConformal,
    conformal_quantile,
    conformal_rank,
    cqr_scores,
    replay_adaptive,
)


@pytest.mark.parametrize(("n", "alpha"), [(19, 0.1), (50, 0.05), (100, 0.2)])
def test_coverage_follows_the_beta_law(n, alpha):
    """Uniform scores: the coverage of a radius r is r itself."""
    scores = np.random.default_rng(n).uniform(size=(10_000, n))
    a, b = SplitConformal.of(scores[0]).coverage_law(alpha)
    assert (a, b) == (conformal_rank(n, alpha), n + 1 - conformal_rank(n, alpha))
    # the law is exact: an honest method fails with probability 0.001
    assert stats.kstest(conformal_quantile(scores, alpha), stats.beta(a, b).cdf).pvalue > 0.001


def test_level_is_the_ceiling_and_infinity_is_not_clipped():
    assert conformal_rank(9, 0.1) == 9  # 10 * 0.9 is 9, not 9.000000000000002
    assert conformal_quantile(np.arange(1.0, 10.0), 0.1) == 9
    assert conformal_quantile(np.arange(1.0, 9.0), 0.1) == np.inf
    radius = SplitConformal.of([1.0, 2.0, 3.0]).radius(0.1)
    assert radius.is_infinite
    assert radius.interval(5.0) == (-np.inf, np.inf)
    assert SplitConformal.of([1.0]).coverage_law(0.1) is None
    assert conformal_quantile(np.arange(5.0), 1.0) == -np.inf
    assert conformal_quantile(np.zeros(0), 0.1) == np.inf


def test_cqr_covers_whatever_the_model():
    """Intervals of a wrong model (too narrow, biased) cover at the level after the layer: marginal coverage is 1 - alpha to (n+1)."""
    rng = np.random.default_rng(1)
    n, sets = 99, 2000
    y = rng.standard_normal((sets, n + 1)) * np.exp(0.3 * rng.standard_normal((sets, n + 1)))
    radius = conformal_quantile(cqr_scores(-0.5 + 0.4, 0.5 + 0.4, y[:, :n]), 0.1)
    inside = (-0.1 - radius <= y[:, n]) & (y[:, n] <= 0.9 + radius)
    # expected coverage k/(n+1) = 0.9 exactly: four binomial standard errors
    assert abs(inside.mean() - 0.9) < 4 * np.sqrt(0.09 / sets)
    np.testing.assert_array_equal(cqr_scores(0.0, 1.0, [0.5, -1.0, 3.0]), [-0.5, 1.0, 2.0])
    wide = SplitConformal.of(np.full(20, -0.3)).radius(0.1)  # a model whose intervals are too wide is narrowed
    np.testing.assert_allclose(wide.interval(0.0, 1.0), (0.3, 0.7), rtol=1e-12)  # rounding


def test_mondrian_groups_fall_back_in_the_open():
    scores = np.concatenate([np.arange(40.0), 100 + np.arange(5.0)])
    layer = MondrianConformal.of(scores, ["many"] * 40 + ["few"] * 5)
    own, pooled = layer.radius(0.1, "many"), layer.radius(0.1, "few")
    assert (own.source, own.n, own.value) == ("own", 40, 36.0)
    assert pooled.source == "pooled"
    assert pooled.value == layer.radius(0.1, "never seen").value == SplitConformal.of(scores).radius(0.1).value
    soft = MondrianConformal.of(scores, ["many"] * 40 + ["few"] * 5, strength=10.0)
    mixed = soft.radius(0.3, "few")
    expected = (5 * SplitConformal.of(scores[40:]).radius(0.3).value + 10 * SplitConformal.of(scores).radius(0.3).value) / 15
    assert mixed.source == "shrunken"
    np.testing.assert_allclose(mixed.value, expected, rtol=1e-14)  # rounding
    assert soft.radius(0.1, "few").source == "pooled"  # its own radius is infinite


def test_mondrian_covers_each_group():
    rng = np.random.default_rng(2)
    hits = {"a": [], "b": []}
    for _ in range(800):
        scores = np.abs(np.concatenate([rng.standard_normal(30), 5 * rng.standard_normal(30)]))
        layer = MondrianConformal.of(scores, ["a"] * 30 + ["b"] * 30)
        hits["a"].append(abs(rng.standard_normal()) <= layer.radius(0.2, "a").value)
        hits["b"].append(abs(5 * rng.standard_normal()) <= layer.radius(0.2, "b").value)
    for hit in hits.values():
        assert abs(np.mean(hit) - 25 / 31) < 4 * np.sqrt(0.16 / 800)  # k/(n+1) exactly; four binomial standard errors


@settings(max_examples=200, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=300), st.floats(0.01, 0.5), st.floats(0.001, 2.0), st.floats(0, 1))
def test_the_adaptive_bound_holds_for_any_adversary(wishes, target, rate, start):
    """The adversary decides every outcome but two: the infinite set cannot be missed, the empty one always is."""
    layer = AdaptiveConformal.of(target, rate, start)
    for wish in wishes:
        assert -rate <= layer.level <= 1 + rate
        layer = layer.settle(False if layer.is_infinite else True if layer.is_empty else wish)
    assert abs(layer.missed / layer.settled - target) <= layer.bound() + 1e-12  # rounding
    assert layer.settled == len(wishes)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(1, 12), st.floats(0.05, 0.5), st.floats(0.005, 0.5))
def test_the_bound_with_delayed_outcomes(wishes, horizon, target, rate):
    layer, issued = AdaptiveConformal.of(target, rate), []
    for t, wish in enumerate(wishes):
        if t >= horizon:
            layer = layer.settle(issued[t - horizon])
            assert abs(layer.missed / layer.settled - target) <= layer.bound(horizon) + 1e-12  # rounding
        issued.append(False if layer.is_infinite else True if layer.is_empty else wish)


def test_a_greedy_adversary_shows_that_the_bound_is_not_idle():
    layer = AdaptiveConformal.of(0.1, 0.05)
    for _ in range(400):
        layer = layer.settle(not layer.is_infinite)
    assert abs(layer.missed / layer.settled - 0.1) <= layer.bound()
    assert layer.bound() < 0.05


@pytest.mark.parametrize("horizon", [1, 6])
def test_replay_adapts_to_a_shift_and_stream_agrees_with_it(horizon):
    rng = np.random.default_rng(3)
    scores = np.abs(rng.standard_normal((600, 4))) * np.where(np.arange(600) < 300, 1.0, 4.0)[:, None]
    level, radius, missed = replay_adaptive(scores, target=0.1, rate=0.05, horizon=horizon, window=200)
    settled = missed[: 600 - horizon + 1]
    bound = (0.9 + horizon * 0.05) / (len(settled) * 0.05)
    assert (np.abs(settled.mean(0) - 0.1) <= bound).all()
    stream, shown = AdaptiveStream(AdaptiveConformal.of(0.1, 0.05), window=200), []
    for t in range(120):
        if t >= horizon:
            stream = stream.settle(t - horizon, scores[t - horizon, 0])
        assert abs(stream.layer.level - level[t, 0]) < 1e-12  # rounding
        stream, interval = stream.issue(t, 0.0, 0.0)
        shown.append(interval[1])
    np.testing.assert_array_equal(shown, radius[:120, 0])


def test_the_stream_settles_in_any_order_and_once():
    stream = AdaptiveStream(AdaptiveConformal.of(0.1, 0.05), scores=tuple(np.linspace(0, 1, 50)))
    for name in "abc":
        stream, _ = stream.issue(name, 1.0, 2.0)
    forward = stream.settle("a", 1.5).settle("b", 9.0).settle("c", 1.0)
    backward = stream.settle("c", 1.0).settle("b", 9.0).settle("a", 1.5)
    assert forward.layer.missed == backward.layer.missed == 1
    assert abs(forward.layer.level - backward.layer.level) < 1e-15  # rounding
    assert sorted(forward.scores) == sorted(backward.scores)
    assert stream.layer.settled == 0  # the first stream has not changed
    with pytest.raises(DataError, match="no open forecast"):
        forward.settle("a", 1.0)
    with pytest.raises(DataError, match="still open"):
        stream.issue("a", 0.0, 1.0)
    assert stream.drop("b").settle("a", 1.5).layer.settled == 1


def test_infinite_and_empty_are_said():
    low = AdaptiveConformal.of(0.1, 0.5, 0.0)
    assert low.is_infinite
    assert AdaptiveStream(low, scores=(1.0,)).radius().is_infinite
    high = AdaptiveConformal.of(0.5, 0.5, 1.0)
    assert high.is_empty
    stream, interval = AdaptiveStream(high).issue("x", 0.0, 1.0)
    assert interval == (np.inf, -np.inf)
    assert stream.settle("x", 0.5).layer.missed == 1


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="not a number"):
        SplitConformal.of([1.0, np.nan])
    with pytest.raises(DataError, match="not a number"):
        conformal_quantile([np.nan], 0.1)
    with pytest.raises(DataError, match="its group"):
        MondrianConformal.of([1.0], [])
    with pytest.raises(DataError, match="cannot be negative"):
        MondrianConformal.of([1.0], ["a"], strength=-1.0)
    with pytest.raises(DataError, match="target"):
        AdaptiveConformal.of(1.5)
    with pytest.raises(DataError, match="first level"):
        AdaptiveConformal.of(0.1, 0.1, 2.0)
    with pytest.raises(DataError, match="finite scores"):
        replay_adaptive(np.zeros(3), target=0.1)
