"""What if the twin is wrong: the level stays, borrowing's does not, and both are what the formulas say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from gemel.core.errors import DataError
from gemel.trials.report.wrong import TWINS, _reject, adjusted_behaviour, borrowed_behaviour


def test_no_twin_moves_the_level_and_each_saves_what_it_explains():
    found = {b.twin: b for b in adjusted_behaviour(200, 0.3, replicates=4000, seed=1)}
    assert tuple(found) == TWINS
    for b in found.values():
        # HC3 is a little conservative (0.048 at n = 200); six cells at 3.3 Monte-Carlo SE: an honest run misses in 0.6 %
        assert abs(b.type_one - 0.0485) < 3.3 * np.sqrt(0.05 * 0.95 / 4000), b
    # mean variances of 4,000 trials are known to 0.3 %; HC3 takes up to 3 % at n = 200
    assert found["the true model"].variance_ratio == pytest.approx(1 / 0.7, rel=0.04)
    assert found["anti-correlated"].variance_ratio == pytest.approx(found["one SD too high"].variance_ratio, rel=0.02)
    assert found["pure noise"].variance_ratio == pytest.approx(1, rel=0.04)
    assert found["half the correlation planned"].variance_ratio == pytest.approx(1 / (1 - 0.3 / 4), rel=0.04)
    assert found["the true model"].power == pytest.approx(0.79, abs=0.03)  # 0.80 by normal theory, a little less by HC3
    assert found["pure noise"].power < found["half the correlation planned"].power < found["the true model"].power


def test_the_variance_is_that_of_the_product():
    from gemel.trials.adjust.ancova import least_squares

    rng = np.random.default_rng(0)
    x = np.stack([np.ones((3, 40)), rng.permuted(np.tile(np.arange(40) % 2, (3, 1)), axis=1), rng.normal(size=(3, 40))], axis=2)
    y = rng.normal(size=(3, 40))
    estimate, variance = _reject(x, y)
    for i in range(3):
        fit = least_squares(x[i], y[i], variance="hc3")
        assert estimate[i] == pytest.approx(fit.coefficients[1], rel=1e-9)  # the same sums in another order
        assert variance[i] == pytest.approx(fit.covariance[1, 1], rel=1e-9)


def test_a_prognosis_of_nothing_and_a_large_trial():
    assert all(abs(b.variance_ratio - 1) < 0.05 for b in adjusted_behaviour(2000, 0.0, replicates=300))
    assert adjusted_behaviour(100, 0.2, replicates=300, seed=5) == adjusted_behaviour(100, 0.2, replicates=300, seed=5)
    for n, r2 in ((10, 0.3), (100, 1.0), (100, -0.1)):
        with pytest.raises(DataError):
            adjusted_behaviour(n, r2)


def test_borrowing_is_what_a_simulation_of_it_gives():
    found = borrowed_behaviour(200)
    assert found[0].type_one == pytest.approx(0.05, abs=1e-12)
    assert [b.type_one for b in found] == sorted(b.type_one for b in found)
    assert found[-1].type_one > 0.2
    rng, n = np.random.default_rng(1), 40_000
    z = special.ndtri(0.975)
    for b in (found[2], found[4]):
        treated, control, past = rng.normal(size=(3, n)) / 10
        pooled = (control + past + b.drift) / 2
        rejected = (np.abs(treated - pooled) > z * np.sqrt(0.01 + 0.005)).mean()
        assert rejected == pytest.approx(b.type_one, abs=4 * np.sqrt(0.25 / n))
