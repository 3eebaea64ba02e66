"""The population prior: closed form where there is one, any split of the people gives the same."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gemel.core.errors import InferenceError
from gemel.core.record import PatientRecord
from gemel.core.series import Series
from gemel.core.time import HOUR
from gemel.engine.infer.laplace import Laplace
from gemel.engine.population import PopulationSums, population_prior
from gemel.twins.toys.model import LinearModel
from gemel.twins.toys.observe import SIGNAL
from gemel.twins.toys.simulate import START


def _people(n, rng, level, spread):
    model = LinearModel()
    sd = np.sqrt(np.diag(np.asarray(model.prior.covariance)))
    found, truth = [], []
    hours = np.arange(1.0, 25.0)
    for i in range(n):
        z = np.asarray(model.prior.mean).copy()
        z[0] += level * sd[0] + spread * sd[0] * rng.normal()
        value = z[0] + z[1] * np.sin(2 * np.pi * hours / 24.0) + float(model.noise) * rng.normal(size=len(hours))
        time = START - START % (24 * HOUR) + (hours * HOUR).astype(np.int64)
        record = PatientRecord(id=f"p{i}").with_facts(Series(code=SIGNAL, unit="[arb'U]", time=time, value=value))
        found.append(model.observe(record, int(time[-1]), epoch=int(START - START % (24 * HOUR))))
        truth.append(z)
    return model, found, np.array(truth)


def test_learns_where_the_people_are():
    rng = np.random.default_rng(3)
    model, observed, truth = _people(30, rng, level=0.8, spread=0.2)
    fitted = population_prior(model, observed, strength=2.0, rounds=12, method=Laplace(starts=2, draws=50), key=jax.random.key(0))
    sd = np.sqrt(np.diag(np.asarray(model.prior.covariance)))
    # the mean of 30 people is known to 0.2/sqrt(30) prior sd, and the reference pulls by 2/32 of 0.8
    assert abs(float(fitted.prior.mean[0]) - truth[:, 0].mean()) / sd[0] < 0.12
    learnt = np.sqrt(np.diag(np.asarray(fitted.prior.covariance)))
    assert learnt[0] / sd[0] < 0.6  # true 0.2; two people's worth of prior (1 + 0.8^2 apart) adds sqrt(2 x 1.64 / 32) = 0.32
    assert fitted.people == 30
    assert fitted.history[-1] <= fitted.history[0]


def test_sums_do_not_depend_on_the_split():
    rng = np.random.default_rng(0)
    model = LinearModel()
    d = model.prior.size
    parts = [PopulationSums(1, m, np.outer(m, m) + np.eye(d)) for m in rng.normal(size=(9, d))]
    whole = sum(parts[1:], parts[0])
    split = (parts[0] + parts[1]) + sum(parts[3:], parts[2])
    a, b = whole.maximise(model.prior, 4.0), split.maximise(model.prior, 4.0)
    np.testing.assert_allclose(np.asarray(a.mean), np.asarray(b.mean), rtol=1e-13)  # only the order of additions differs
    np.testing.assert_allclose(np.asarray(a.covariance), np.asarray(b.covariance), rtol=1e-12, atol=1e-12)


def test_one_person_is_no_population():
    model, observed, _ = _people(1, np.random.default_rng(0), 0.0, 0.1)
    with pytest.raises(InferenceError, match="two people"):
        population_prior(model, observed, key=jax.random.key(0))
