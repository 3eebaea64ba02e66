"""Priors: density in both spaces, covariance, covariates, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemel.core.errors import ModelError
from gemel.engine.keys import make_key
from gemel.engine.prior import Parameter, Prior
from gemel.engine.transform import Identity, Log, Logit

PARAMETERS = [
    Parameter("volume", "L", Log(), 1.0, 0.3, "doi:10.0000/none, table 1", "distribution volume"),
    Parameter("fraction", "1", Logit(), -0.5, 0.8, "ASSUMED", "absorbed fraction"),
]
CORRELATION = np.array([[1.0, 0.6], [0.6, 1.0]])


def test_density_integrates_to_one_over_named_values():
    prior = Prior.of(PARAMETERS, CORRELATION)
    nodes, weights = np.polynomial.legendre.leggauss(10)

    def axis(parameter):
        edges = np.asarray(parameter.bijector.constrain(jnp.asarray(parameter.location + parameter.scale * np.linspace(-8, 8, 24))))
        half, middle = np.diff(edges)[:, None] / 2, (edges[:-1] + edges[1:])[:, None] / 2
        return (middle + half * nodes).ravel(), (half * weights).ravel()

    (volume, wv), (fraction, wf) = map(axis, PARAMETERS)
    one = jax.vmap(jax.vmap(lambda v, f: prior.log_density_constrained({"volume": v, "fraction": f}), (None, 0)), (0, None))
    total = wv @ np.exp(np.asarray(one(jnp.asarray(volume), jnp.asarray(fraction)))) @ wf
    # the tails beyond eight standard deviations hold 1e-15; the rule of order 20 is far below 1e-8 on these pieces
    assert abs(total - 1) < 1e-8


def test_moments_of_draws_are_those_of_the_prior():
    prior = Prior.of(PARAMETERS, CORRELATION)
    z = np.asarray(prior.draw(40_000, key=make_key(0)))
    # five standard errors of a mean (0.5 % of a scale) and of a correlation (0.3 %)
    np.testing.assert_allclose((z.mean(axis=0) - [1.0, -0.5]) / [0.3, 0.8], 0, atol=0.025)
    assert abs(np.corrcoef(z.T)[0, 1] - 0.6) < 0.02


def test_names_go_round():
    prior = Prior.of(PARAMETERS)
    z = jnp.array([0.7, -1.2])
    np.testing.assert_allclose(prior.unconstrain(prior.constrain(z)), z, atol=1e-12)  # rounding


def test_covariates_move_the_mean_alone():
    prior = Prior.of(PARAMETERS)
    moved = prior.shifted(jnp.array([[0.1], [0.0]]), jnp.array([2.0]))
    np.testing.assert_allclose(moved.mean - prior.mean, [0.2, 0.0], atol=1e-15)  # rounding
    assert moved.parameters is prior.parameters


def test_covariance_that_is_not_positive_definite_is_refused_with_its_eigenvalue():
    with pytest.raises(ModelError, match=r"smallest eigenvalue -0\.2"):
        Prior.from_moments(PARAMETERS, np.zeros(2), np.array([[1.0, 1.2], [1.2, 1.0]]))


def test_names_must_differ_and_values_be_complete():
    with pytest.raises(ModelError, match="differ"):
        Prior.of([PARAMETERS[0], PARAMETERS[0]])
    with pytest.raises(ModelError, match="fraction"):
        Prior.of(PARAMETERS).unconstrain({"volume": 1.0})


def test_assumed_is_read_from_the_source():
    assert [p.assumed for p in PARAMETERS] == [False, True]


def test_scale_must_be_positive():
    with pytest.raises(ModelError, match="positive prior scale"):
        Parameter("x", "1", Identity(), 0.0, 0.0, "ASSUMED", "x")
