"""Log densities against SciPy, masks with exact zeros, and the whitening of correlated errors against the dense Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from gemel.engine import likelihood as lk

Y = np.array([0.3, 1.7, 4.2])
MEAN = np.array([0.5, 1.5, 3.0])
SD = np.array([0.4, 0.9, 2.0])
EXACT = {"rtol": 1e-12, "atol": 1e-12}  # the same closed form in float64


def test_continuous_densities():
    assert np.allclose(lk.normal(Y, MEAN, SD), stats.norm.logpdf(Y, MEAN, SD), **EXACT)
    assert np.allclose(lk.lognormal(Y, MEAN, SD), stats.lognorm.logpdf(Y, s=SD, scale=np.exp(MEAN)), **EXACT)
    assert np.allclose(lk.student_t(Y, MEAN, SD, 4.0), stats.t.logpdf(Y, 4.0, MEAN, SD), **EXACT)


@pytest.mark.parametrize("density", [lambda y: lk.lognormal(y, 0.2, 0.7), lambda y: lk.normal(y, 3.0, 0.5)])
def test_densities_integrate_to_one(density):
    total, _ = integrate.quad(lambda y: float(np.exp(density(y))), 1e-12, 600, points=[1, 3, 20], limit=200, epsabs=1e-10)
    assert total == pytest.approx(1.0, abs=1e-8)


def test_counts_and_events():
    y = np.array([0.0, 3.0, 11.0])
    assert np.allclose(lk.poisson(y, np.array([0.5, 2.0, 9.0])), stats.poisson.logpmf(y, [0.5, 2.0, 9.0]), rtol=1e-10)
    mean, dispersion = np.array([0.5, 2.0, 9.0]), 3.0
    assert np.allclose(
        lk.negative_binomial(y, mean, dispersion), stats.nbinom.logpmf(y, dispersion, dispersion / (dispersion + mean)), rtol=1e-10
    )
    assert np.allclose(
        lk.bernoulli(np.array([0.0, 1.0]), np.array([0.3, -2.0])), stats.bernoulli.logpmf([0, 1], 1 / (1 + np.exp([-0.3, 2.0]))), rtol=1e-10
    )
    cuts = jnp.array([-1.0, 0.5])
    assert float(sum(jnp.exp(lk.ordinal(jnp.asarray(k), jnp.asarray(0.3), cuts)) for k in range(3))) == pytest.approx(1.0, abs=1e-12)


def test_beyond_a_limit():
    limit = np.array([1.0, 1.0, 1.0])
    found = lk.censored_normal(limit, MEAN, SD, np.array([-1, 0, 1]))
    expected = [stats.norm.logcdf(1.0, MEAN[0], SD[0]), stats.norm.logpdf(1.0, MEAN[1], SD[1]), stats.norm.logsf(1.0, MEAN[2], SD[2])]
    assert np.allclose(found, expected, rtol=1e-10)
    far = jax.grad(lambda m: lk.censored_normal(jnp.asarray(0.0), m, 1.0, jnp.asarray(-1)))(40.0)
    assert np.isfinite(far)  # forty standard deviations: the logarithm of a probability that underflows


def test_what_is_masked_adds_exactly_zero():
    terms = jnp.array([1.0, jnp.nan, jnp.inf])
    mask = jnp.array([True, False, False])
    assert float(lk.masked_sum(terms, mask)) == 1.0

    def total(scale):
        return lk.masked_sum(lk.normal(jnp.array([1.0, 5.0]), scale * jnp.array([1.0, 1e3]), 1.0), jnp.array([True, False]))

    alone = jax.grad(lambda s: lk.normal(1.0, s, 1.0))(0.7)
    assert float(jax.grad(total)(0.7)) == float(alone)


def test_whitening_equals_the_dense_gaussian():
    rng = np.random.default_rng(0)
    time = np.array([0.0, 1.0, 1.5, 4.0, 4.5, 9.0])
    error = rng.normal(size=6)
    sd, persistence, nugget = 2.0, 3.0, 0.5
    covariance = sd**2 * np.exp(-np.abs(time[:, None] - time) / persistence) + nugget**2 * np.eye(6)
    exact = stats.multivariate_normal.logpdf(error, np.zeros(6), covariance)
    residual, scale = lk.ar1_whiten(jnp.asarray(error), jnp.asarray(time), jnp.ones(6, bool), sd=sd, persistence=persistence, nugget=nugget)
    assert float(-0.5 * jnp.sum(residual**2) + scale - 3 * np.log(2 * np.pi)) == pytest.approx(exact, rel=1e-12)


def test_whitening_skips_what_is_masked():
    time = jnp.array([0.0, 1.0, 2.0, 2.0])
    mask = jnp.array([True, False, True, False])
    settings = {"sd": 1.0, "persistence": 2.0, "nugget": 0.3}
    residual, scale = lk.ar1_whiten(jnp.array([0.5, jnp.nan, -0.2, jnp.inf]), time, mask, **settings)
    short, short_scale = lk.ar1_whiten(jnp.array([0.5, -0.2]), jnp.array([0.0, 2.0]), jnp.ones(2, bool), **settings)
    assert np.allclose(np.asarray(residual), [short[0], 0.0, short[1], 0.0], rtol=1e-14)
    assert residual[1] == residual[3] == 0.0
    assert float(scale) == pytest.approx(float(short_scale), rel=1e-14)
    slope = jax.grad(lambda e: jnp.sum(lk.ar1_whiten(e, time, mask, **settings)[0] ** 2))(jnp.array([0.5, 7.0, -0.2, 3.0]))
    assert slope[1] == slope[3] == 0.0
