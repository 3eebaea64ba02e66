"""Sensitivity of a room's model: shares that follow in closed form from the linear toy, and the batch that is compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemel.core.errors import EvidenceError
from gemel.engine.posterior import Laplace
from gemel.engine.prior import Prior
from gemel.evidence.sensitivity.of_model import batched_model, parameter_inputs, sensitivity_of
from gemel.evidence.sensitivity.shapley import shapley_linear
from gemel.twins.toys import linear_room

TIMES = np.array([3.0, 9.0, 20.0])
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def case():
    model = linear_room.model()
    record, now, _ = linear_room.simulate_record(jax.random.key(0))
    observed = model.observe(record.as_of(now), now)
    design = np.asarray(model.design(observed.plan, jnp.asarray(TIMES), jax.tree.map(jnp.asarray, observed.context)))
    return model, observed, design


def test_index_curves_of_the_linear_toy_in_closed_form(case):
    model, observed, design = case
    found = sensitivity_of(model, None, observed, TIMES, n=2**11, key=KEY, replicates=50)
    parts = (design * np.sqrt(np.diag(model.prior.covariance))) ** 2
    shares = (parts / parts.sum(axis=1, keepdims=True)).T
    assert found.outputs == ("3", "9", "20")
    np.testing.assert_allclose(found.first, shares, atol=0.01)
    np.testing.assert_allclose(found.total, shares, atol=0.01)
    np.testing.assert_allclose(found.variance, parts.sum(axis=1), rtol=0.01)
    assert "prior" in found.note


def test_quantities_methods_and_plans(case):
    model, observed, design = case
    quantities = {"last": lambda y: y[-1, 0], "rise": lambda y: y[-1, 0] - y[0, 0]}
    screened = sensitivity_of(model, None, observed, TIMES, quantities, method="morris", n=16, key=KEY)
    assert screened.outputs == ("last", "rise")
    assert screened.mu_star[model.prior.names.index("level"), 1] == pytest.approx(0.0, abs=1e-9)  # the level cancels in the rise
    polynomial = sensitivity_of(model, None, observed, TIMES, quantities, method="polynomial", n=64, key=KEY, replicates=10)
    assert (polynomial.error < 1e-12).all()
    parts = (design[-1] * np.sqrt(np.diag(model.prior.covariance))) ** 2
    np.testing.assert_allclose(polynomial.total[:, 0], parts / parts.sum(), atol=1e-9)
    with pytest.raises(EvidenceError, match="one quantity"):
        sensitivity_of(model, None, observed, TIMES, quantities, method="shapley", key=KEY)
    with pytest.raises(EvidenceError, match="no such method"):
        sensitivity_of(model, None, observed, TIMES, method="opinion", key=KEY)


def test_a_posterior_keeps_its_correlations_only_in_shapley_effects(case):
    model, observed, design = case
    covariance = np.array([[1.0, 0.6, 0.0], [0.6, 2.0, -0.3], [0.0, -0.3, 0.5]])
    posterior = Laplace(jnp.asarray([1.0, 2.0, 0.5]), jnp.asarray(np.linalg.cholesky(covariance)))
    last = {"last": lambda y: y[-1, 0]}
    found = sensitivity_of(model, None, observed, TIMES, last, method="shapley", posterior=posterior, n=3000, key=KEY, replicates=50)
    np.testing.assert_allclose(found.effects, shapley_linear(design[-1], covariance), atol=0.03)
    inputs = parameter_inputs(model, posterior)
    assert "posterior, its correlations (largest 0.42) left out" in inputs.note
    u = np.array([[0.5, 0.5, 0.975]])
    np.testing.assert_allclose(inputs.at(u), [[1.0, 2.0, 0.5 + 1.959964 * np.sqrt(0.5)]], rtol=1e-6)


def test_correlations_of_the_prior_are_told(case):
    model, _, _ = case
    mean = np.zeros(3)
    correlated = Prior.from_moments(model.prior.parameters, mean, np.array([[1.0, 0.5, 0], [0.5, 1.0, 0], [0, 0, 1.0]]))
    assert "correlations" not in parameter_inputs(model).note
    assert "largest 0.50" in parameter_inputs(type(model)(prior=correlated)).note


def test_the_batched_model_is_the_model(case):
    model, observed, design = case
    z = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]])
    run = batched_model(model, None, observed, TIMES, key=KEY)
    exact = np.stack([[float(v) for v in model.prior.constrain(jnp.asarray(row)).values()] for row in z]) @ design.T
    np.testing.assert_allclose(run(z), exact, rtol=1e-12)
