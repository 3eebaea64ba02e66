"""Replay: the record itself when nothing is changed, the same draws under every plan, and parts that meet their closed forms."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from _glucose import MINUTE, START, person
from gemel.core.errors import ModelError
from gemel.engine.keys import make_key
from gemel.engine.plan import Plan
from gemel.engine.posterior import Ensemble
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.replay import _slow_error, replay, replay_record, scaled


@pytest.fixture(scope="module")
def seen():
    record = person(2, days=1.0, step=5)
    model = MetabolicModel()
    observed = model.observe(record, START + 1440 * MINUTE)
    z = model.prior.mean + 0.3 * (model.prior.draw(64, key=make_key(1)) - model.prior.mean)
    return record, model, observed, Ensemble.equal(z)


def test_nothing_changed_is_the_record_within_its_noise(seen):
    record, model, observed, posterior = seen
    again = replay_record(model, observed, posterior, observed.plan, n=64, key=make_key(2))
    series = record.series[0]
    low, middle, high = again.quantiles(0.05, 0.5, 0.95)
    read = np.interp(again.time, series.time, series.value)
    assert np.abs(middle - read).mean() < 6.0  # a sensor that may wander by 9 mg/dL
    assert ((low <= read) & (read <= high)).mean() > 0.85


def test_more_insulin_is_lower_and_more_carbohydrate_higher(seen):
    _, model, observed, posterior = seen

    def mean(**change):
        return replay_record(model, observed, posterior, scaled(observed.plan, **change), n=64, key=make_key(2)).draws.mean()

    assert mean(bolus=2.0) < mean() < mean(bolus=0.5)
    assert mean(carbohydrate=0.5) < mean() < mean(carbohydrate=1.5)


def test_the_same_key_is_the_same_noise_under_any_plan(seen):
    _, model, observed, posterior = seen
    a, b = (replay_record(model, observed, posterior, scaled(observed.plan, bolus=f), n=64, key=make_key(2)).draws for f in (1.0, 0.5))
    first = round((7.0 * 60 - 60) / model.slot)  # before the first meal and its bolus
    np.testing.assert_array_equal(a[:, : first // 2], b[:, : first // 2])
    again = replay_record(model, observed, posterior, scaled(observed.plan, bolus=0.5), n=64, key=make_key(2)).draws
    np.testing.assert_array_equal(b, again)


def test_the_slow_error_is_the_normal_posterior():
    """Mean and spread of the draws against the closed form of a Gaussian process seen through wandering and white noise."""
    grid, at = np.arange(5.0, 300.0, 5.0), np.arange(15.0, 300.0, 15.0)
    error = np.repeat(20 * np.sin(at / 40)[None], 4000, axis=0)
    made = _slow_error(grid, at, error, (30.0, 90.0), (9.0, 40.0), 3.0, np.random.default_rng(0))

    def k(a, b, sd, tau):
        return sd**2 * np.exp(-np.abs(a[:, None] - b[None]) / tau)

    seen = k(at, at, 30, 90) + k(at, at, 9, 40) + 9 * np.eye(len(at))
    gain = np.linalg.solve(seen, k(at, grid, 30, 90))
    mean, covariance = error[0] @ gain, k(grid, grid, 30, 90) - k(grid, at, 30, 90) @ gain
    sd = np.sqrt(np.diag(covariance))
    assert np.abs(made.mean(axis=0) - mean).max() < 5 * sd.max() / np.sqrt(4000)  # five standard errors over 60 places
    np.testing.assert_allclose(made.std(axis=0), sd, rtol=0.06)  # five standard errors of a deviation


def test_scaling_touches_what_it_names():
    plan = Plan.of([(0.0, 1.0, 5.0, 0), (0.0, 600.0, 10.0, 0), (0.0, 15.0, 40.0, 2)])
    assert [e[2] for e in sorted(scaled(plan, carbohydrate=1.5).events, key=lambda e: e[1])] == [5.0, 60.0, 10.0]


def test_what_cannot_be_replayed_is_refused(seen):
    _, model, observed, posterior = seen
    silent = replace(observed, data=jax.tree.map(np.zeros_like, observed.data))
    with pytest.raises(ModelError, match="nothing was read"):
        replay_record(model, silent, posterior, observed.plan, n=8, key=make_key(0))

    class Other:
        model = None

    with pytest.raises(ModelError, match="metabolic room"):
        replay(Other(), observed.plan, key=make_key(0))
