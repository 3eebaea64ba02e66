"""The virtual control: closed forms, forecasts that sharpen with each visit, a prior learnt from controls."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from scipy import stats

import gemel
from gemel.cli.priors import parse_prior
from gemel.core.errors import DataError, EvidenceError
from gemel.core.time import DAY
from gemel.engine.infer.laplace import Laplace
from gemel.engine.model import target_of
from gemel.engine.plan import Plan
from gemel.trials.generate import Kind, Panel, Variable
from gemel.trials.generate.prior import control_prior
from gemel.twins.virtual_control.evidence import closed_form_error
from gemel.twins.virtual_control.model import ControlModel, exact_posterior
from gemel.twins.virtual_control.observe import Anchor
from gemel.twins.virtual_control.priors import NOISE, RATE, SPREAD, YEAR
from gemel.twins.virtual_control.priors import control_prior as default_prior
from gemel.twins.virtual_control.simulate import simulate_control

MODEL = ControlModel()


@pytest.fixture(scope="module")
def observed():
    record, now, _ = simulate_control(jax.random.key(3))
    return MODEL.observe(record, now)


def test_the_default_method_meets_the_dense_normal(observed):
    """V1: the posterior, from a joint normal that shares no code with the filter."""
    found = Laplace().run(target_of(MODEL, observed), key=jax.random.key(0))
    assert closed_form_error(MODEL, observed, found.posterior) < 1e-8


def test_the_likelihood_is_the_dense_one(observed):
    params = {k: np.asarray(v) for k, v in (("level", 25.0), ("slope", 3.0), ("deviation", -1.0))}
    use = np.asarray(observed.data.mask)
    t, y, anchor = np.asarray(observed.data.time)[use], np.asarray(observed.data.value)[use], float(observed.context.time)
    away = np.exp(-RATE * np.abs(t - anchor))
    covariance = SPREAD**2 * (np.exp(-RATE * np.abs(t[:, None] - t)) - np.outer(away, away)) + NOISE**2 * np.eye(len(t))
    expected = stats.multivariate_normal(25 + 3 * t / YEAR - away, covariance).logpdf(y)
    found = jax.jit(lambda p: MODEL.log_likelihood(p, observed.plan, observed.data, observed.context))(params)
    assert float(found) == pytest.approx(expected, abs=1e-9)


def test_paths_have_the_law_of_the_deviation():
    params = {k: np.asarray(v) for k, v in (("level", 20.0), ("slope", 0.0), ("deviation", 2.0))}
    times = np.array([10.0, 60.0, 200.0])
    plan = Plan.of(())
    draw = jax.jit(jax.vmap(lambda k: MODEL.simulate(params, plan, times, Anchor(60.0), key=k)[:, 0]))
    paths = np.asarray(draw(jax.random.split(jax.random.key(0), 20000)))
    away = np.exp(-RATE * np.abs(np.array([10.0, 60.0, 200.0]) - 60.0))
    # standard error of a mean of 20,000 is at most 0.014, of a variance 0.04
    np.testing.assert_allclose(paths.mean(axis=0), 20 + 2 * away, atol=0.06)
    np.testing.assert_allclose(paths.var(axis=0), SPREAD**2 * (1 - away**2), atol=0.16)


def test_every_visit_sharpens_the_forecast():
    record, _, _ = simulate_control(jax.random.key(5))
    sd, time = [], record.series[0].time
    for visit in (0, 3, 6):
        then = int(time[visit]) + DAY
        found = MODEL.observe(record.as_of(then), then)
        mean, covariance = exact_posterior(MODEL, found)
        del mean
        ahead = np.array([1.0, (364.0 - 0.0) / YEAR, np.exp(-RATE * (364.0 - float(found.context.time)))])
        sd.append(float(np.sqrt(ahead @ covariance @ ahead)))
    assert sd[0] > sd[1] > sd[2]


def controls(n: int, seed: int = 0) -> Panel:
    """Patients of the model with another mean and covariance than the default prior."""
    rng = np.random.default_rng(seed)
    days = np.array([0.0, 60.0, 120.0, 240.0, 360.0])
    person = rng.multivariate_normal([30.0, 8.0], [[49.0, 6.0], [6.0, 9.0]], n)
    deviation = rng.multivariate_normal(np.zeros(5), SPREAD**2 * np.exp(-RATE * np.abs(days[:, None] - days)), n)
    value = person[:, :1] + person[:, 1:] * days / YEAR + deviation + rng.normal(0, NOISE, (n, 5))
    value[rng.random(value.shape) < 0.1] = np.nan
    value[:, 0] = np.where(np.isnan(value[:, 0]), 30.0, value[:, 0])
    return Panel((Variable("adas", Kind.CONTINUOUS, -50, 120, 0.01),), days, value[:, :, None], np.full(n, 4), np.full(n, 5))


def test_a_prior_learnt_from_controls_is_theirs():
    found = control_prior(controls(2000), "adas")
    # standard errors at 2,000: 0.17 and 0.12 for the means, about 1.7, 0.9 and 1.0 for the covariances
    np.testing.assert_allclose(found["mean"], [30.0, 8.0, 0.0], atol=0.6)
    np.testing.assert_allclose(np.array(found["covariance"])[:2, :2], [[49, 6], [6, 9]], atol=5.0)
    assert parse_prior(json.loads(json.dumps(found)), default_prior()).names == ("level", "slope", "deviation")
    with pytest.raises(EvidenceError, match="two readings"):
        control_prior(controls(5), "adas")
    with pytest.raises(DataError, match="no such variable"):
        control_prior(controls(20), "mmse")


@pytest.mark.slow
def test_the_verbs_by_name_and_with_a_learnt_prior(tmp_path):
    from gemel.engine.prior import Prior

    record, now, _ = simulate_control(jax.random.key(5))
    told = control_prior(controls(300), "adas")
    prior = Prior.from_moments(default_prior().parameters, np.array(told["mean"]), np.array(told["covariance"]))
    first = int(record.series[0].time[0]) + DAY
    twin = gemel.calibrate("virtual-control", record, first, key=1, prior=prior)
    later = gemel.assimilate(twin, record, now, key=2)
    times = gemel.room("virtual-control").times(later)
    early, late = (gemel.forecast(t, None, times, n=2000, key=3) for t in (twin, later))
    assert late.draws[:, -1, 0].std() < early.draws[:, -1, 0].std()
    assert np.isfinite(late.draws).all()
