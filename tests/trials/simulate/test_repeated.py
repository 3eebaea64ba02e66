"""Many mixed models at once beside one at a time, and what they say of worlds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from gemel.core.errors import ModelError
from gemel.trials.mmrm import mmrm
from gemel.trials.simulate import Batch, Design, Enrolment, LinearModel, LongitudinalWorld, RepeatedMeasures, reduction, simulate
from gemel.trials.simulate.analyses._reml import _derivatives, _evaluate, _Pairs, moments_of
from gemel.trials.simulate.batch import generator

N = 60
ARM = np.r_[np.zeros(30, int), np.ones(30, int)]


def drawn(trials: int = 6, **world) -> Batch:
    return LongitudinalWorld(**({"difference": 2.0, "dropout": 0.25} | world)).draw(Enrolment(ARM, trials), generator((3, 4), 0))


def table(batch: Batch, trial: int) -> dict[str, np.ndarray]:
    visits = batch.outcome.shape[2]
    seen = np.ones(batch.outcome.shape, bool) if batch.observed is None else batch.observed
    m = batch.covariates[0, trial]
    return {
        "id": np.repeat(np.arange(N), visits), "visit": np.tile(np.arange(1, visits + 1), N), "arm": np.repeat(np.where(ARM, "t", "c"), visits),
        "m": np.repeat(m, visits) if m.ndim == 1 else m.ravel(), "y": np.where(seen[trial], batch.outcome[trial], np.nan).ravel(),
    }  # fmt: skip


@pytest.mark.parametrize("world", [{"dropout": 0.0}, {}, {"intermittent": 0.1}, {"visits": 3}, {"mechanism": "mnar", "twin": "noise"}])
@pytest.mark.parametrize("covariates", [0, 1])
def test_each_trial_is_read_as_mmrm_reads_it(world, covariates):
    batch = drawn(**world)
    found = RepeatedMeasures(covariates).read(batch)
    for i in range(batch.trials):
        single = mmrm(table(batch, i), "y ~ m*visit + arm*visit" if covariates else "y ~ arm*visit", subject="id", visit="visit")
        last = single.differences("arm", by="visit")[-1]
        # both searches end where -2 log likelihood can fall by 1e-10 at most
        assert abs(found.estimate[i] - last.estimate) < 1e-6 * last.standard_error
        assert found.standard_error[i] == pytest.approx(last.standard_error, rel=1e-6)
        assert found.p_value[i] == pytest.approx(last.p_value, rel=1e-5)
        assert found.high[i] == pytest.approx(last.interval[1], rel=1e-5, abs=1e-5 * last.standard_error)


def test_a_prognosis_may_be_matched_in_time():
    batch = drawn()
    by_visit = batch.covariates[0][..., None] * np.linspace(0.3, 1.0, 4) + np.random.default_rng(1).normal(size=batch.outcome.shape) / 5
    batch = Batch(batch.arm, by_visit[None], batch.outcome, batch.observed)
    found = RepeatedMeasures().read(batch)
    last = mmrm(table(batch, 0), "y ~ m*visit + arm*visit", subject="id", visit="visit").differences("arm", by="visit")[-1]
    assert (
        abs(found.estimate[0] - last.estimate) < 0.05 * last.standard_error
    )  # the covariate is centred over all rows here, over those seen there
    assert found.standard_error[0] == pytest.approx(last.standard_error, rel=1e-5)


def test_derivatives_are_those_of_the_value():
    batch = drawn(3, intermittent=0.1)
    z = [np.ones(batch.outcome.shape[:2]), np.broadcast_to(ARM, batch.outcome.shape[:2]).astype(float), batch.covariates[0]]
    data = moments_of(z, batch.outcome, batch.observed)
    pairs, rng = _Pairs(4), np.random.default_rng(2)
    theta = rng.normal(size=(3, 10)) * 0.1 + np.where(pairs.first == pairs.second, 40.0, 15.0)

    def value(t):
        return _evaluate(data, pairs.matrices(t)).value

    gradient, observed, expected, _ = _derivatives(data, _evaluate(data, pairs.matrices(theta)), pairs)
    step = 1e-3 * np.eye(10)  # of 40: central differences are good to 1e-9 of the third derivative
    for i in range(10):
        np.testing.assert_allclose(gradient[:, i], (value(theta + step[i]) - value(theta - step[i])) / 2e-3, rtol=1e-5, atol=1e-7)
        ahead, behind = (_derivatives(data, _evaluate(data, pairs.matrices(theta + s * step[i])), pairs)[0] for s in (1, -1))
        np.testing.assert_allclose(observed[:, i], (ahead - behind) / 2e-3, rtol=1e-5, atol=1e-7)
    assert (np.linalg.eigvalsh(expected) > 0).all()


def test_two_visits_complete_without_covariate_is_a_t_test():
    """Complete and saturated by visit, the last visit is read as if alone; Satterthwaite gives n - 2."""
    batch = drawn(dropout=0.0, visits=2)
    found, plain = RepeatedMeasures(0).read(batch), LinearModel(0, "model").read(batch)
    np.testing.assert_allclose(found.estimate, plain.estimate, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.standard_error, plain.standard_error, rtol=1e-6)
    np.testing.assert_allclose(found.p_value, plain.p_value, rtol=1e-5)


def test_level_coverage_and_gain_under_missing_at_random():
    design = Design(100, 100, (RepeatedMeasures(0), RepeatedMeasures(1)))
    found = simulate(design, LongitudinalWorld(dropout=0.25), 1500, key=8)
    for one in found.values():
        assert one.failed == 0
        assert abs(one.power - 0.05) < 3.3 * one.errors["power"]
        assert abs(one.coverage - 0.95) < 3.3 * one.errors["coverage"]
    saved, error = reduction(found["mmrm unadjusted"], found["mmrm"])
    assert 0.10 < saved < 0.25 + 3 * error  # at most R²: what the earlier visits of those who left say, the prognosis says again


def test_missing_not_at_random_is_biased_and_says_so():
    found = simulate(Design(150, 150, (RepeatedMeasures(),)), LongitudinalWorld(7.0, dropout=0.4, mechanism="mnar"), 500, key=9)["mmrm"]
    assert found.bias < -3 * found.errors["bias"]


def test_an_arm_gone_at_a_visit_is_no_result():
    batch = drawn(4, dropout=0.0)
    seen = np.ones(batch.outcome.shape, bool)
    seen[1, 31:, -1] = False  # one left in the treated arm
    seen[2, :, 1] = False
    found = RepeatedMeasures().read(Batch(batch.arm, batch.covariates, batch.outcome, seen))
    assert np.isfinite(found.estimate).tolist() == [True, False, False, True]
    assert np.isnan(found.p_value[1:3]).all()


def test_a_singular_covariance_is_no_result():
    batch = drawn(3, dropout=0.0)
    outcome = batch.outcome.copy()
    outcome[1, :, 2] = outcome[1, :, 1]
    found = RepeatedMeasures().read(Batch(batch.arm, batch.covariates, outcome))
    assert np.isfinite(found.estimate).tolist() == [True, False, True]


def test_few_patients_and_many_losses_end_in_failures_not_in_errors():
    found = simulate(Design(10, 10, (RepeatedMeasures(),)), LongitudinalWorld(dropout=0.8, intermittent=0.2), 500, key=10)["mmrm"]
    assert found.failed > 250
    assert found.replicates + found.failed == 500
    assert np.isfinite(found.estimates).all()


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ModelError, match="two visits"):
        RepeatedMeasures().read(drawn().last_visit())
    with pytest.raises(ModelError, match="fewer covariates"):
        RepeatedMeasures(2).read(drawn())
    with pytest.raises(ModelError):
        RepeatedMeasures(-1)
