"""Diagnostics against ArviZ's numbers, and what they must say of samples made on purpose."""

import numpy as np
import pytest

from gemel.core.errors import ValueRangeError
from gemel.engine import diagnostics as checks
from gemel.engine.posterior import Ensemble
from gemel.engine.prior import Parameter, Prior
from gemel.engine.transform import Identity


def chains(seed, persistence, apart):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(4, 500))
    x = np.zeros((4, 500))
    x[:, 0] = noise[:, 0]
    for t in range(1, 500):
        x[:, t] = persistence * x[:, t - 1] + noise[:, t]
    return x + apart * np.arange(4)[:, None]


SAMPLES = {
    "independent": chains(1, 0.0, 0.0),
    "sticky": np.exp(chains(2, 0.9, 0.0) / 2),
    "antithetic": chains(3, -0.5, 0.0),
    "apart": chains(4, 0.3, 0.7),
}

# rhat, ess bulk, tail, mean, quantile 0.3, mcse mean, sd, quantile 0.3, bfmi of the first chain: ArviZ 0.23.4 on the samples above
ARVIZ = {
    "independent": (1.0051182208183744, 2008.8884428488348, 1952.5744591520352, 1991.2345361586943, 2053.2584110966627,
                    0.022563316313191265, 0.016377711498316884, 0.029749666734921687, 2.2026799875659555),
    "sticky": (1.062280310868378, 89.28263075000389, 258.5139840018071, 218.36526984380782, 225.40824878651424,
               0.10460040751297099, 0.16729977841474597, 0.04038850573586403, 0.39828960065200053),
    "antithetic": (1.001115626972137, 5788.859419355757, 2022.0836952779243, 5735.766322374693, 3829.68357064965,
                   0.014927381239770814, 0.022231716831927793, 0.02898520893034634, 3.0407404879808757),
    "apart": (1.291246040863005, 10.90216929393699, 131.4131983904818, 10.813568865329842, 16.211934484707314,
              0.39690767489887413, 0.030996946315468097, 0.42980135426522326, 1.4461977102534154),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_chain_diagnostics_are_those_of_arviz(name):
    x = SAMPLES[name]
    found = (
        checks.rhat(x),
        checks.ess_bulk(x),
        checks.ess_tail(x),
        checks.ess_mean(x),
        checks.ess_quantile(x, 0.3),
        checks.mcse_mean(x),
        checks.mcse_sd(x),
        checks.mcse_quantile(x, 0.3),
        checks.energy_fraction(x)[0],
    )
    # the same formulae in another order of summation: rounding of a few thousand terms
    np.testing.assert_allclose(np.array(found, float), ARVIZ[name], rtol=1e-11)


# k, largest log-weight, weighted sum of the log-ratios: ArviZ 0.23.4
PSIS = {
    "light": (
        lambda: (0.5 * np.random.default_rng(5).normal(size=1000), 1.0),
        (0.1239429389140256, -5.476787182898586, 0.2472104454805043),
    ),
    "heavy": (
        lambda: (2.0 * np.random.default_rng(6).normal(size=1000), 1.0),
        (0.8302500467942111, -2.4298586780345324, 3.518270237862237),
    ),
    "student": (
        lambda: (np.random.default_rng(8).standard_t(2, size=500), 0.7),
        (2.1233138719574636, -0.17502640131792546, 18.49301773509989),
    ),
}


@pytest.mark.parametrize("name", PSIS)
def test_psis_is_that_of_arviz(name):
    make, expected = PSIS[name]
    ratios, relative = make()
    log_weights, k = checks.psis(ratios, relative)
    # rounding, amplified by the profile likelihood of the tail
    np.testing.assert_allclose([k, log_weights.max(), np.exp(log_weights) @ ratios], expected, rtol=1e-9)
    assert abs(np.exp(log_weights).sum() - 1) < 1e-12  # normalised, to rounding


def test_psis_of_equal_ratios_has_no_tail():
    log_weights, k = checks.psis(np.full(100, 3.0) + 1e-13 * np.arange(100))
    assert k == 0
    np.testing.assert_allclose(np.exp(log_weights), 0.01, rtol=1e-12)  # rounding


def test_psis_with_four_heavy_draws_refuses():
    ratios = np.full(50, -800.0)
    ratios[:4] = [0.0, -1.0, -2.0, -3.0]
    assert checks.psis(ratios)[1] == np.inf


@pytest.mark.parametrize("bad", [np.array([1.0, np.nan, 0, 0, 0, 0]), np.zeros(3), np.full(10, -np.inf)])
def test_psis_refuses_what_is_no_ratio(bad):
    with pytest.raises(ValueRangeError):
        checks.psis(bad)


@pytest.mark.parametrize("shape", [-0.5, 0.2, 0.9])
def test_pareto_fit_recovers_the_shape(shape):
    u = (np.arange(4000) + 0.5) / 4000
    k, scale = checks.pareto_fit(2.0 * np.expm1(-shape * np.log1p(-u)) / shape)
    # exact quantiles of 4,000: the weak prior moves k by 10/4010 of its distance to 0.5, the grid of the fit by a little more
    assert abs(k - shape) < 0.02
    assert abs(scale / 2 - 1) < 0.03


def test_rhat_names_the_parameter_that_disagrees():
    good, bad = SAMPLES["independent"], SAMPLES["apart"]
    values = checks.rhat(np.stack([good, bad], axis=-1))
    assert values[0] < checks.RHAT_LIMIT < values[1]


def test_rhat_sees_chains_that_differ_in_scale_only():
    x = SAMPLES["independent"] * np.array([1, 1, 1, 4])[:, None]
    assert checks.rhat(x) > 1.05  # only the folded half can see it


def test_constant_and_broken_draws_are_not_certified():
    x = SAMPLES["independent"].copy()
    x[0, 3] = np.nan
    assert np.isnan(checks.rhat(x))
    assert np.isnan(checks.ess_bulk(x))
    assert not checks.rhat(np.zeros((4, 100))) <= checks.RHAT_LIMIT


def test_draws_without_chains_are_refused():
    with pytest.raises(ValueRangeError, match="chain, draw"):
        checks.rhat(np.zeros(10))


def test_filter_ess_counts_equal_weights():
    # exact: n equal weights count n, whatever their scale
    np.testing.assert_allclose(checks.filter_ess(np.array([[5.0, 5.0, -np.inf], [1e3, 1e3, 1e3]])), [2, 3], rtol=1e-12)


def test_conflict_with_the_prior_is_two_sided():
    replicated = np.arange(999.0)
    assert checks.prior_data_conflict(499.5, replicated) == (0.5005, False)
    assert checks.prior_data_conflict(-1, replicated)[1]
    assert checks.prior_data_conflict(1e6, replicated)[1]


def test_prior_dominated_flags_what_the_data_did_not_touch():
    prior = Prior.of([Parameter(n, "1", Identity(), 0.0, 2.0, "ASSUMED", n) for n in ("told", "untold")])
    rng = np.random.default_rng(0)
    posterior = Ensemble.equal(rng.normal(size=(4000, 2)) * [0.5, 1.9])
    assert checks.prior_dominated(prior, posterior).tolist() == [False, True]
    # standard deviations of 4,000 draws: 1.1 % standard error
    np.testing.assert_allclose(checks.contraction(prior, posterior), [0.25, 0.95], rtol=0.05)
