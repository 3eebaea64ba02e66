"""The simulator against exact power, ordinary regression, and itself in other chunks."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

import gemel.engine  # noqa: F401  sets the numerics
from gemel.core.errors import ModelError
from gemel.engine.keys import make_key
from gemel.trials.design.boundary import boundary
from gemel.trials.simulate import (
    Ancova,
    Design,
    DifferenceInMeans,
    DifferenceInProportions,
    LinearModel,
    NormalWorld,
    Population,
    Trial,
    compare,
    simulate,
)


def exact_power(difference, n, alpha=0.05):
    df = 2 * n - 2
    bound, shift = stats.t.ppf(1 - alpha / 2, df), difference * np.sqrt(n / 2)
    return stats.nct.sf(bound, df, shift) + stats.nct.cdf(-bound, df, shift)


@pytest.mark.parametrize("difference", [0.0, 0.5])
def test_power_is_that_of_the_noncentral_t(difference):
    found = simulate(Design(40, 40, (DifferenceInMeans(),)), NormalWorld(difference), 4000, key=make_key(1))["unadjusted"]
    assert abs(found.power - exact_power(difference, 40)) < 3 * found.errors["power"]
    assert abs(found.coverage - 0.95) < 3 * found.errors["coverage"]
    assert abs(found.bias) < 3 * found.errors["bias"]


def test_a_covariate_narrows_by_what_it_foretells():
    found = simulate(Design(100, 100, (DifferenceInMeans(), Ancova())), NormalWorld(0.3, 2.0, 0.8), 3000, key=make_key(2))
    ratio = found["ancova"].sd / found["unadjusted"].sd
    assert ratio == pytest.approx(np.sqrt(1 - 0.8**2), abs=0.03)  # 3 Monte-Carlo errors of a ratio of deviations from 3,000 pairs
    assert found["ancova"].power > found["unadjusted"].power


def trial(seed, n=30, missing=0):
    rng = np.random.default_rng(seed)
    observed = np.arange(n) >= missing
    return Trial(np.arange(n) % 2, rng.normal(size=(n, 3)), rng.normal(size=n), observed)


@pytest.mark.parametrize("missing", [0, 5])
def test_ancova_is_ordinary_least_squares(missing):
    t = trial(3, missing=missing)
    found = Ancova().analyse(t)
    keep = t.observed
    design = np.c_[t.arm, np.ones(len(keep)), t.covariates][keep]
    beta, rss, *_ = np.linalg.lstsq(design, t.outcome[keep], rcond=None)
    df = keep.sum() - design.shape[1]
    error = np.sqrt(rss[0] / df * np.linalg.inv(design.T @ design)[0, 0])
    assert float(found.estimate) == pytest.approx(beta[0], rel=1e-10)  # the same normal equations
    assert float(found.standard_error) == pytest.approx(error, rel=1e-10)
    assert float(found.p_value) == pytest.approx(2 * stats.t.sf(abs(beta[0] / error), df), rel=1e-8)
    assert float(found.high - found.estimate) == pytest.approx(stats.t.ppf(0.975, df) * error, rel=1e-8)


def test_proportions_meet_newcombes_example():
    """Newcombe 1998, table II, example (a): 56/70 against 48/80, method 10: 0.0524 to 0.3339."""
    outcome = np.r_[np.ones(48), np.zeros(32), np.ones(56), np.zeros(14)]
    arm = np.r_[np.zeros(80, int), np.ones(70, int)]
    found = DifferenceInProportions().analyse(Trial(arm, np.zeros((150, 0)), outcome, np.ones(150, bool)))
    assert float(found.estimate) == pytest.approx(0.2)
    assert float(found.low) == pytest.approx(0.0524, abs=5e-5)  # four published digits
    assert float(found.high) == pytest.approx(0.3339, abs=5e-5)


def test_nobody_responds_and_nothing_is_claimed():
    found = DifferenceInProportions().analyse(Trial(np.arange(20) % 2, np.zeros((20, 0)), np.zeros(20), np.ones(20, bool)))
    assert float(found.p_value) == 1.0
    assert float(found.low) < 0 < float(found.high)


def test_a_longer_run_begins_with_the_shorter_one():
    design, world = Design(20, 20, (Ancova(),)), NormalWorld(0.2, 1.0, 0.5, 0.1)
    short, long = (simulate(design, world, n, key=make_key(4))["ancova"] for n in (130, 600))
    np.testing.assert_array_equal(short.estimates, long.estimates[:130])
    assert long.replicates == 600


def test_a_population_gives_its_own_effect_and_enrols_nobody_twice():
    rng = np.random.default_rng(5)
    control = (rng.uniform(size=400) < 0.1).astype(float)
    treated = np.maximum(control, rng.uniform(size=400) < 0.4)
    world = Population(control, treated, np.arange(400.0)[:, None])
    enrolled = np.asarray(world.trial(np.zeros(300, int), key=make_key(6)).covariates[:, 0])
    assert len(set(enrolled.tolist())) == 300
    found = simulate(Design(50, 100, (DifferenceInProportions(),)), world, 1000, key=make_key(7))["proportions"]
    assert abs(found.bias) < 3 * found.errors["bias"]
    assert found.power > 0.9


def test_designs_share_their_patients():
    world = NormalWorld(0.4, 1.0)
    found = compare(
        {"small": Design(20, 20, (DifferenceInMeans(),)), "same": Design(20, 20, (DifferenceInMeans(),))}, world, 50, key=make_key(8)
    )
    np.testing.assert_array_equal(found["small"]["unadjusted"].estimates, found["same"]["unadjusted"].estimates)


@pytest.mark.parametrize("wrong", [{"control": 1}, {"alpha": 0.0}, {"analyses": ()}])
def test_what_cannot_be_a_design_is_refused(wrong):
    with pytest.raises(ModelError):
        Design(**{"control": 10, "treated": 10, "analyses": (DifferenceInMeans(),), "alpha": 0.05} | wrong)


def test_what_is_written_in_jax_sets_its_flags_whoever_asks_first():
    code = "from gemel.trials.simulate import NormalWorld; import jax; assert jax.config.jax_enable_x64; import os; assert os.environ['EQX_ON_ERROR'] == 'nan'"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k not in ("JAX_ENABLE_X64", "EQX_ON_ERROR")},
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_world_in_jax_takes_a_plain_design_with_analyses_that_are():
    for design, world in (
        (Design(20, 20, (LinearModel(),)), NormalWorld()),
        (Design(20, 20, (DifferenceInMeans(),), allocation="permuted"), NormalWorld()),
        (Design(20, 20, (DifferenceInMeans(),), boundary=boundary([0.5, 1.0])), NormalWorld()),
    ):
        with pytest.raises(ModelError):
            simulate(design, world, 100, key=make_key(1))
