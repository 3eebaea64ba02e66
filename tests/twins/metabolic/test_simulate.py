"""Simulated people: for calibration checks the readings come from the very process that the likelihood assumes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import gemel.engine  # noqa: F401  sets the numerics before the room is imported
from gemel.twins.metabolic import observe
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.simulate import simulate_person, simulate_record


@pytest.fixture(scope="module")
def drawn():
    """Twelve people without readings at the sensor's limits, as the model sees them, with the residual at their truth."""
    model = MetabolicModel()
    residual = jax.jit(lambda *seen: model.residual(*seen))
    found = []
    for i in range(24):
        record, now, truth = simulate_record(jax.random.fold_in(jax.random.key(4), i))
        seen = model.observe(record.as_of(now), now)
        if (np.asarray(seen.data.censored) == 0).all():
            params = {k: jnp.asarray(v) for k, v in truth.items()}
            r = np.asarray(residual(params, seen.plan, seen.data, seen.context))
            found.append((record, now, truth, r[np.asarray(seen.data.mask)]))
        if len(found) == 12:
            break
    assert len(found) == 12
    return found


def test_at_the_truth_the_whitened_residual_is_white_and_normal(drawn):
    r = np.concatenate([residual for *_, residual in drawn])
    n = len(r)
    assert n == 12 * 576, "two days of five minutes, the first reading given"
    assert abs(r.mean()) < 4 / np.sqrt(n)  # four standard errors
    assert abs(r.var() - 1) < 4 * np.sqrt(2 / n)
    assert stats.kstest(r, "norm").pvalue > 1e-3
    for lag in (1, 2, 18):
        shifted = np.concatenate([x[lag:] * x[:-lag] for *_, x in drawn])
        assert abs(shifted.mean()) < 4 / np.sqrt(len(shifted))


def test_the_truth_is_drawn_from_the_whole_prior(drawn):
    prior = MetabolicModel().prior
    z = np.array([[float(p.bijector.unconstrain(truth[p.name])) for p in prior.parameters] for _, _, truth, _ in drawn])
    white = np.linalg.solve(np.asarray(prior.cholesky), (z - np.asarray(prior.mean)).T)
    # 180 standard normals, less those whose glucose left the sensor's range: the spread is that of the prior, not of half of it.
    assert 0.8 < white.std() < 1.15


def test_people_are_inside_the_domain_and_follow_their_key(drawn):
    for record, now, _, _ in drawn:
        assert record.id.startswith("simulated-")
        assert observe.domain(record.as_of(now), now).reason is None
    again = simulate_record(jax.random.fold_in(jax.random.key(4), 0))
    same = simulate_record(jax.random.fold_in(jax.random.key(4), 0))
    assert again[0].hash == same[0].hash
    assert again[2] == same[2]


def test_a_person_for_show_stays_within_the_sensor():
    record, now, truth = simulate_person(jax.random.key(1), days=2.0)
    value = record.series[0].value
    assert value.min() >= 40.0
    assert value.max() <= 400.0
    assert observe.domain(record.as_of(now), now).reason is None
    assert set(truth) == set(MetabolicModel().prior.names)
