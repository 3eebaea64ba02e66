"""Bijectors: round trip, Jacobian by automatic differentiation, density that integrates to one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.engine.transform import Identity, Log, Logit, ordered, ordered_inverse, simplex, simplex_inverse

BIJECTORS = [Identity(), Log(), Log(lower=-2.0), Logit(), Logit(lower=-1.0, upper=4.0)]


@pytest.mark.parametrize("bijector", BIJECTORS, ids=repr)
@given(z=st.floats(-8, 8))
@settings(max_examples=30, deadline=None)
def test_round_trip(bijector, z):
    # logit near its ends loses the digits of 1 - x: e^8 times the rounding of x
    assert abs(float(bijector.unconstrain(bijector.constrain(jnp.asarray(z)))) - z) < 1e-11


@pytest.mark.parametrize("bijector", BIJECTORS, ids=repr)
def test_log_jacobian_is_that_of_automatic_differentiation(bijector):
    z = jnp.linspace(-6, 6, 25)
    slope = jax.vmap(jax.grad(bijector.constrain))(z)
    np.testing.assert_allclose(bijector.log_jacobian(z), jnp.log(slope), atol=1e-12)  # rounding


@pytest.mark.parametrize("bijector", BIJECTORS, ids=repr)
def test_density_integrates_to_one_in_constrained_space(bijector):
    """The normal density of z over the Jacobian, integrated over x: Gauss-Legendre on pieces of the support."""
    edges = np.asarray(bijector.constrain(jnp.linspace(-9.0, 9.0, 200)))
    nodes, weights = np.polynomial.legendre.leggauss(12)
    half, middle = np.diff(edges)[:, None] / 2, (edges[:-1] + edges[1:])[:, None] / 2
    x = jnp.asarray((middle + half * nodes).ravel())
    z = bijector.unconstrain(x)
    density = jnp.exp(-0.5 * z**2 - 0.5 * jnp.log(2 * jnp.pi) - bijector.log_jacobian(z))
    # beyond nine standard deviations lies 2e-19; the rule of order 24 is exact to rounding on pieces this short
    assert abs(float(density @ jnp.asarray((half * weights).ravel())) - 1) < 1e-8


Z = jnp.asarray(np.random.default_rng(0).normal(size=4))


def test_ordered_is_increasing_and_goes_back():
    x, _ = ordered(Z)
    assert (jnp.diff(x) > 0).all()
    np.testing.assert_allclose(ordered_inverse(x), Z, atol=1e-12)  # rounding


def test_simplex_sums_to_one_and_goes_back():
    x, _ = simplex(Z)
    assert (x > 0).all()
    np.testing.assert_allclose(float(x.sum()), 1, atol=1e-14)  # rounding
    np.testing.assert_allclose(simplex_inverse(x), Z, atol=1e-12)  # rounding
    np.testing.assert_allclose(simplex(jnp.zeros(4))[0], 0.2, atol=1e-14)  # zero is the centre


@pytest.mark.parametrize(("transform", "keep"), [(ordered, 4), (simplex, 4)])
def test_vector_log_jacobians_are_those_of_automatic_differentiation(transform, keep):
    jacobian = jax.jacfwd(lambda z: transform(z)[0][:keep])(Z)
    np.testing.assert_allclose(transform(Z)[1], jnp.linalg.slogdet(jacobian)[1], atol=1e-12)  # rounding
