"""The hierarchical prior on the room's own model: the algebra of an expansion, and a population that is not the room's."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gemel.engine.hierarchy import hierarchical_prior
from gemel.engine.infer.laplace import Laplace
from gemel.engine.prior import Prior
from gemel.engine.twin import with_prior
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.simulate import simulate_record


@pytest.mark.slow
def test_people_whose_glucose_settles_higher_say_so():
    model = MetabolicModel()
    prior, scale = model.prior, np.sqrt(np.diag(np.asarray(model.prior.covariance)))
    gb = prior.names.index("Gb")
    shift = np.zeros(prior.size)
    shift[gb] = 1.5
    population = Prior.from_moments(prior.parameters, np.asarray(prior.mean) + shift * scale, 0.25 * np.asarray(prior.covariance))
    records = [simulate_record(key, model=with_prior(model, population)) for key in jax.random.split(jax.random.key(4), 6)]
    observed, names = [model.observe(record, now) for record, now, _ in records], [record.id for record, *_ in records]
    method = Laplace(starts=2, draws=0, hessian="gauss-newton")  # a single round, and half the price of sampled moments
    fitted = hierarchical_prior(model, observed, names, rounds=1, method=method, key=jax.random.key(0))
    found = (np.asarray(fitted.prior.mean) - np.asarray(prior.mean)) / scale
    # six people and four of the room's: 0.9 at most of 1.5; a single one differs from the mean of the six by 0.5 / sqrt(6)
    assert 0.3 < found[gb] < 1.5
    assert all(0.0 < (float(other.mean[gb]) - float(prior.mean[gb])) / scale[gb] < 1.5 for other in fitted.others.values())
    # under the prior at which they were made, the expansions give back the means: H and h belong together
    mean, spread = fitted.expansions.given(np.asarray(prior.mean), np.asarray(prior.covariance))
    np.testing.assert_allclose((mean - fitted.expansions.centre) / scale, 0.0, atol=1e-8)
    assert (np.sqrt(np.einsum("rii->ri", spread)) <= scale * (1 + 1e-9)).all()  # readings take away from what is not known, never add
