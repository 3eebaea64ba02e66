"""Mixtures against their definitions: moments, updates by quadrature, effective sizes with a known answer, EM that finds what was put in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from gemel.core.errors import DataError
from gemel.trials.external.mixture import BetaMixture, NormalMixture, beta_mixture, normal_mixture

ONE = np.ones(1)
BETA = BetaMixture(np.array([0.7, 0.3]), np.array([4.0, 20.0]), np.array([12.0, 30.0]))
NORMAL = NormalMixture(np.array([0.6, 0.4]), np.array([-1.0, 2.0]), np.array([0.5, 1.5]))


@pytest.mark.parametrize(("mixture", "ends"), [(BETA, (0, 1)), (NORMAL, (-15, 15))])
def test_moments_and_quantiles_are_those_of_the_density(mixture, ends):
    def of(f):
        return integrate.quad(lambda x: f(x) * mixture.density(np.array([x]))[0], *ends, limit=200, epsabs=1e-12)[0]

    assert of(lambda _: 1.0) == pytest.approx(1, abs=1e-9)
    assert mixture.mean == pytest.approx(of(lambda x: x), abs=1e-9)
    assert mixture.sd**2 == pytest.approx(of(lambda x: (x - mixture.mean) ** 2), abs=1e-9)
    for level in (0.025, 0.5, 0.9):
        assert mixture.cumulative(np.array([mixture.quantile(level)]))[0] == pytest.approx(level, abs=1e-10)


def test_updates_are_bayes_rule():
    p = np.linspace(1e-4, 1 - 1e-4, 20001)
    dense = BETA.density(p) * stats.binom.pmf(9, 20, p)
    assert BETA.posterior(9, 20).density(p) == pytest.approx(dense / np.trapezoid(dense, p), abs=1e-6)  # the rule's own error
    x = np.linspace(-15, 15, 20001)
    dense = NORMAL.density(x) * stats.norm.pdf(1.3, x, 0.4)
    assert NORMAL.posterior(1.3, 0.4).density(x) == pytest.approx(dense / np.trapezoid(dense, x), abs=1e-6)


@pytest.mark.parametrize(("a", "b"), [(3.0, 9.0), (20.0, 5.0), (1.0, 1.0), (200.0, 800.0)])
def test_a_beta_prior_is_worth_a_plus_b_patients(a, b):
    # exact for one part (Neuenschwander et al. 2020); a uniform prior has no curvature of its own, and is worth nothing
    expected = a + b if min(a, b) > 1 else 0
    assert BetaMixture(ONE, a * ONE, b * ONE).effective_size() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_a_normal_prior_is_worth_its_precision():
    assert NormalMixture(ONE, 3 * ONE, 2 * ONE).effective_size(10.0) == pytest.approx(25, rel=1e-8)
    two = NormalMixture(np.array([0.5, 0.5]), np.array([3.0, 3.0]), np.array([2.0, 2.0]))
    assert two.effective_size(10.0) == pytest.approx(25, rel=1e-8)


def test_after_n_patients_a_prior_is_worth_n_more():
    """Predictive consistency, which this effective size has on the mean over the prior."""
    n = 40
    r = np.arange(n + 1)
    chance = (
        np.exp(stats.binom.logpmf(r[:, None], n, np.linspace(0.0005, 0.9995, 1000)))
        @ BETA.density(np.linspace(0.0005, 0.9995, 1000))
        / 1000
    )
    later = sum(c * BETA.posterior(float(k), n).effective_size() for k, c in zip(r, chance, strict=True))
    assert later == pytest.approx(BETA.effective_size() + n, rel=2e-3)  # midpoint rule of the predictive: 1e-3


def test_em_finds_what_was_put_in():
    p = (np.arange(4000) + 0.5) / 4000
    mass = BETA.density(p) / BETA.density(p).sum()
    found = beta_mixture(p, mass, 2)
    divergence = mass @ np.log(BETA.density(p) / found.density(p))
    assert divergence < 1e-6
    assert (found.mean, found.sd) == pytest.approx((BETA.mean, BETA.sd), abs=1e-4)
    x = np.linspace(-8, 12, 4001)
    mass = NORMAL.density(x) / NORMAL.density(x).sum()
    assert mass @ np.log(NORMAL.density(x) / normal_mixture(x, mass, 2).density(x)) < 1e-6


def test_a_weak_part_keeps_the_sum():
    assert BETA.with_weak(0.2).weights.sum() == pytest.approx(1)
    assert NORMAL.with_weak(0.2, 0.0, 3.0).weights.tolist() == pytest.approx([0.48, 0.32, 0.2])
    with pytest.raises(DataError, match="weight"):
        BETA.with_weak(1.0)
    with pytest.raises(DataError, match="components"):
        normal_mixture(np.zeros(3), np.ones(3) / 3, 9)
