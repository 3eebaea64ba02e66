"""The discrepancy layer's parts against answers that are known without it."""

import numpy as np
import pytest
from scipy import stats

from gemel.engine.bands import LEVELS, crps_of_quantiles
from gemel.engine.correction import Correction
from gemel.engine.discrepancy import BlockRidge, Ridge, Settings


def problem(n=400, p=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, p)) * [1.0, 10.0, 0.1, 3.0, 5.0]
    return x, x @ [1.0, -0.2, 5.0, 0.0, 0.4] + rng.normal(0, 0.5, n)


def test_one_block_of_lags_is_a_plain_ridge():
    x, y = problem()
    settings = Settings(lag_penalty=0.05)
    made = BlockRidge.of({"lag": x}, y, np.arange(400) // 80, 1, settings)
    z = (x - x.mean(0)) / x.std(0)
    assert np.allclose(made.design({"lag": x}), z)
    plain = Ridge.of(z, y[:, None], penalty=0.05 * len(y))
    assert np.allclose(made.intercept + z @ made.weights, plain(z)[:, 0], atol=1e-10)  # two solves of one well-conditioned system


def test_one_penalised_block_is_a_plain_ridge_with_the_penalty_that_was_chosen():
    x, y = problem(seed=1)
    settings = Settings()
    blocks = {"lag": x[:, :0], "features": x}
    made = BlockRidge.of(blocks, y, np.arange(400) // 80, 2, settings)
    penalty = max(made.penalties["features"], settings.floor * 2 / 400)
    z = (x - x.mean(0)) / x.std(0)
    plain = Ridge.of(z, y[:, None], penalty=penalty * 400)
    assert np.allclose(made.intercept + made.design(blocks) @ made.weights, plain(z)[:, 0], atol=1e-10)  # as above


def test_a_constant_column_has_no_weight():
    x, y = problem(seed=2)
    x[:, 2] = 7.0
    made = BlockRidge.of({"lag": x}, y, np.arange(400) // 80, 1, Settings())
    assert made.weights[2] == 0
    assert np.isfinite(made.weights).all()


def correction():
    quantiles = np.stack([stats.norm.ppf(LEVELS, 120.0, 10.0), stats.gamma.ppf(LEVELS, 9.0, scale=16.0)])
    return Correction(np.array([30.0, 60.0]), quantiles)


def test_apply_keeps_the_order_and_gives_the_calibrated_quantiles():
    rng = np.random.default_rng(3)
    draws = np.stack([rng.normal(90, 40, 4000), rng.exponential(50, 4000)], axis=1)
    given = correction()
    out = given.apply(draws, np.array([30.0, 60.0]), 110.0)
    assert np.array_equal(np.argsort(draws, axis=0), np.argsort(out, axis=0)), "who was high stays high"
    # The quantiles of 4,000 evenly spread ranks differ from the asked ones by half a rank: less than 0.3 mg/dL in the tails of these two.
    assert np.allclose(np.quantile(out, LEVELS, axis=0).T, given.quantiles, atol=0.3)


def test_apply_between_before_and_beyond_horizons():
    rng = np.random.default_rng(4)
    draws = rng.normal(90, 5, (2000, 3))
    given = correction()
    out = given.apply(draws, np.array([0.0, 45.0, 120.0]), 110.0)
    assert np.allclose(out[:, 0], 110.0), "now is known"
    halfway = given.quantiles.mean(axis=0)
    assert np.allclose(np.quantile(out[:, 1], LEVELS), halfway, atol=0.3)  # as above
    assert np.median(out[:, 2]) == pytest.approx(given.quantiles[-1, 49], abs=1e-9)
    size = np.subtract(*np.quantile(out[:, 2], [0.9, 0.1]))
    assert size == pytest.approx(given.quantiles[-1, 89] - given.quantiles[-1, 9], rel=1e-6), (
        "beyond the last horizon never narrower than there"
    )


@pytest.mark.parametrize("observed", [-2.0, -0.5, 0.0, 1.0, 2.5])
def test_crps_of_quantiles_against_the_closed_form(observed):
    mean, sd = 140.0, 12.0
    quantiles = stats.norm.ppf(LEVELS, mean, sd)[None]
    z = observed
    exact = sd * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))  # Gneiting & Raftery 2007, eq. 21
    found = crps_of_quantiles(np.array([mean + z * sd]), quantiles)[0]
    # 99 levels leave out half a per cent at each end, where the quantile function is steep, and divide by 99: about 1 %.
    assert found == pytest.approx(exact, rel=0.015)
