"""Worlds give what they say: means, correlations, chances, hazards, who leaves; twins are as good as they are called."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from gemel.core.errors import ModelError
from gemel.trials.simulate import (
    BinaryWorld,
    Design,
    Enrolment,
    LinearModel,
    LinearWorld,
    LogRank,
    LongitudinalWorld,
    NonlinearWorld,
    RepeatedMeasures,
    RiskDifference,
    SurvivalWorld,
    reduction,
    simulate,
)
from gemel.trials.simulate.batch import generator
from gemel.trials.simulate.worlds.twin import QUALITIES, prognosis
from gemel.trials.survival.adjusted_logrank import adjusted_logrank
from gemel.trials.survival.data import survival_data
from gemel.trials.survival.logrank import logrank

MANY = 40_000
ARM = np.r_[np.zeros(MANY // 2, int), np.ones(MANY // 2, int)]


def people(world):
    return world.draw(Enrolment(ARM, 1), generator((1, 1), 0))


def within(batch, values):
    return np.concatenate([values[ARM == a] - values[ARM == a].mean() for a in (0, 1)])


@pytest.mark.parametrize(
    "world",
    [
        LinearWorld(0.4, sd=2.0, correlation=0.6),
        LinearWorld(0.4, sd=2.0, correlation=0.6, noise="skewed"),
        NonlinearWorld(0.4, sd=2.0, correlation=0.6),
    ],
)
def test_outcomes_have_their_moments(world):
    drawn = people(world)
    y, m = drawn.outcome[0].astype(float), drawn.covariates[0, 0].astype(float)
    error = 2.0 * np.sqrt(4 / MANY)
    assert abs(y[ARM == 1].mean() - y[ARM == 0].mean() - world.effect) < 4 * error
    assert y[ARM == 0].std() == pytest.approx(2.0, rel=0.05)  # 4 errors of an SD of 20,000 with kurtosis up to 9
    assert np.corrcoef(within(drawn, y), within(drawn, m))[0, 1] == pytest.approx(0.6, abs=0.03)


def test_a_part_of_the_noise_may_differ_between_arms():
    drawn = people(LinearWorld(correlation=0.0, sd_ratio=2.0))
    assert drawn.outcome[0, ARM == 1].std() / drawn.outcome[0, ARM == 0].std() == pytest.approx(2.0, abs=0.06)


def test_the_effect_follows_the_population():
    world = NonlinearWorld(0.3, heterogeneity=0.4, shift=1.0)
    drawn = people(world)
    assert world.effect == pytest.approx(0.7)
    assert drawn.outcome[0, ARM == 1].mean() - drawn.outcome[0, ARM == 0].mean() == pytest.approx(0.7, abs=4 * 2.2 * np.sqrt(4 / MANY))


def test_a_moved_population_and_a_varying_effect_leave_the_estimate_unbiased():
    for world in (NonlinearWorld(0.3, heterogeneity=0.5), NonlinearWorld(0.3, heterogeneity=0.5, shift=1.0)):
        found = simulate(Design(60, 120, (LinearModel(0, "hc2"), LinearModel(2, "hc2"))), world, 3000, key=4)
        for one in found.values():
            assert abs(one.bias) < 3.3 * one.errors["bias"] + 0.01  # one slope for both arms at 1:2 is consistent, biased by order 1/n
            assert abs(one.coverage - 0.95) < 3.3 * one.errors["coverage"] + 0.006
        assert reduction(found["unadjusted"], found["ancova"])[0] > 0.05


def test_chances_are_marginal_whatever_the_twin():
    for correlation in (0.0, 0.8):
        drawn = people(BinaryWorld(0.3, 0.42, correlation=correlation))
        for a, chance in ((0, 0.3), (1, 0.42)):
            assert abs(drawn.outcome[0, ARM == a].mean() - chance) < 4 * np.sqrt(0.25 / (MANY / 2))
    said, y = drawn.covariates[0, 0, ARM == 0], drawn.outcome[0, ARM == 0]
    for low in np.arange(0.0, 1.0, 0.25):  # the prognosis is the chance under control
        near = (said >= low) & (said < low + 0.25)
        assert abs(y[near].mean() - said[near].mean()) < 4 * np.sqrt(0.25 / near.sum())


def test_proportions_meet_newcombe_and_hold_their_level():
    found = simulate(
        Design(80, 80, (RiskDifference(), LinearModel(0, "hc2"), LinearModel(1, "hc2"))), BinaryWorld(correlation=0.7), 4000, key=5
    )
    for one in found.values():
        assert abs(one.power - 0.05) < 3.3 * one.errors["power"] + 0.004  # proportions of 80 are lumpy
    np.testing.assert_allclose(found["proportions"].estimates, found["unadjusted"].estimates, atol=1e-6)  # single precision
    assert found["ancova"].sd < 0.92 * found["unadjusted"].sd


def test_hazards_are_proportional_marginally_and_times_weibull():
    world = SurvivalWorld(median=10.0, shape=1.5, hazard_ratio=0.6, accrual=0.0, follow_up=1e6, correlation=0.7)
    times = people(world).outcome[0]
    cumulative = np.log(2) * (times / 10.0) ** 1.5 * np.where(ARM == 1, 0.6, 1.0)
    for a in (0, 1):
        assert stats.kstest(cumulative[ARM == a], "expon").pvalue > 1e-3
    drawn = people(world)
    score = special.ndtri(np.exp(-np.log(2) * (drawn.outcome[0, ARM == 0] / 10.0) ** 1.5))
    assert np.corrcoef(score, drawn.covariates[0, 0, ARM == 0])[0, 1] == pytest.approx(0.7, abs=0.02)


def test_a_log_rank_of_many_is_that_of_one():
    arm = np.r_[np.zeros(40, int), np.ones(50, int)]
    drawn = SurvivalWorld(hazard_ratio=0.6, dropout=0.2).draw(Enrolment(arm, 4), generator((2, 2), 0))
    plain, adjusted = LogRank().read(drawn), LogRank(1).read(drawn)
    for i in range(4):
        data = survival_data(
            {
                "t": drawn.outcome[i].tolist(), "e": drawn.observed[i].astype(int).tolist(), "a": np.where(arm, "t", "c").tolist(),
                "m": drawn.covariates[0, i].tolist(),
            },
            time="t", event="e", arm="a", baseline=("m",), reference="c",
        )  # fmt: skip
        one, other = logrank(data), adjusted_logrank(data)
        assert plain.z[i] == pytest.approx(one.z, rel=1e-9)
        assert adjusted.z[i] == pytest.approx(other.z, rel=1e-9)


def test_log_rank_holds_its_level_and_a_twin_saves_events():
    found = simulate(Design(100, 100, (LogRank(), LogRank(1))), SurvivalWorld(correlation=0.7), 3000, key=6)
    for one in found.values():
        assert abs(one.power - 0.05) < 3.3 * one.errors["power"] + 0.003
    saved, _ = reduction(found["logrank"], found["adjusted logrank"])
    assert 0.2 < saved < 0.5  # censoring hides a part of R² = 0.49


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_who_leaves(mechanism):
    drawn = people(LongitudinalWorld(dropout=0.3, mechanism=mechanism, visits=4))
    seen, y = drawn.observed[0, ARM == 0], drawn.outcome[0, ARM == 0]
    assert seen[:, 0].all()
    assert (np.diff(seen.astype(int), axis=1) <= 0).all()
    assert 1 - seen[:, -1].mean() == pytest.approx(
        0.3, abs=0.012 if mechanism == "mcar" else 0.04
    )  # those who are left are not standard normal
    stays = seen[:, 1]
    before = y[stays, 0].mean() - y[~stays, 0].mean()
    error = y[:, 0].std() * np.sqrt(1 / stays.sum() + 1 / (~stays).sum())
    assert (abs(before) < 4 * error) if mechanism == "mcar" else (before < -4 * error)


def test_gaps_come_back():
    seen = people(LongitudinalWorld(intermittent=0.2)).observed[0]
    assert (np.diff(seen.astype(int), axis=1) == 1).any()


def test_a_longitudinal_world_has_its_covariance_and_r_squared():
    world = LongitudinalWorld(3.0, visits=3, correlation=0.6)
    drawn = people(world)
    y, m = drawn.outcome[0], drawn.covariates[0, 0]
    control = ARM == 0
    loading = 0.6 * world.times * world.scales
    rest = y[control] - m[control, None] * loading
    np.testing.assert_allclose(np.cov(rest.T), world.covariance, rtol=0.06)  # 4 errors of 20,000
    assert np.corrcoef(m[control], y[control, -1])[0, 1] == pytest.approx(0.6, abs=0.02)
    assert y[ARM == 1, -1].mean() - y[control, -1].mean() == pytest.approx(3.0, abs=4 * 7 * np.sqrt(4 / MANY))


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_twin_is_as_good_as_it_is_called(quality):
    signal = np.random.default_rng(1).standard_normal(MANY)
    said = prognosis(quality, signal, np.random.default_rng(2))
    expected = {"noise": 0.0, "shifted": 0.5 / np.sqrt(np.expm1(0.25)), "anti-correlated": -1.0}.get(quality, 1.0)
    assert np.corrcoef(signal, said)[0, 1] == pytest.approx(expected, abs=0.02)
    assert said.mean() == pytest.approx({"biased": 1.0, "shifted": np.exp(0.625)}.get(quality, 0.0), abs=0.05)
    assert said.std() == pytest.approx(
        {"miscalibrated": 2.0, "shifted": np.sqrt(np.expm1(0.25)) * np.exp(0.625)}.get(quality, 1.0), rel=0.05
    )


@pytest.mark.parametrize(
    ("world", "wrong"),
    [
        (LinearWorld, {"twin": "good"}), (LinearWorld, {"sd": 0.0}), (LinearWorld, {"noise": "pink"}), (LinearWorld, {"dropout": 0.95}),
        (LinearWorld, {"mechanism": "whim"}), (NonlinearWorld, {"shift": 9.0}), (BinaryWorld, {"control": 1.0}), (SurvivalWorld, {"hazard_ratio": 0.0}),
        (LongitudinalWorld, {"visits": 1}), (LongitudinalWorld, {"correlation": 1.0}),
    ],
)  # fmt: skip
def test_what_cannot_be_a_world_is_refused(world, wrong):
    with pytest.raises(ModelError):
        world(**wrong)


def test_an_analysis_that_does_not_go_with_the_world_is_refused():
    for analysis, world in (
        (LogRank(), LinearWorld()),
        (RepeatedMeasures(), LinearWorld()),
        (LogRank(3), SurvivalWorld()),
        (RepeatedMeasures(2), LongitudinalWorld()),
    ):
        with pytest.raises(ModelError):
            simulate(Design(20, 20, (analysis,)), world, 250, key=1)
