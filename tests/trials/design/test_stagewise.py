"""Stage-wise ordering: agrees with the test, with the fixed design, and with simulated trials."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from gemel.core.errors import DataError
from gemel.trials.design.boundary import boundary
from gemel.trials.design.stagewise import stagewise, upper_tail

PLAN = boundary((0.4, 0.7, 1.0), "obrien-fleming")


def test_one_look_is_the_fixed_design():
    found = stagewise(boundary([1.0]), 0, 2.3, standard_error=0.5)
    assert found.p_value == pytest.approx(2 * special.ndtr(-2.3), abs=1e-9)
    assert found.estimate == pytest.approx(1.15, abs=1e-6) == found.naive
    assert found.interval == pytest.approx((1.15 - 0.5 * 1.959964, 1.15 + 0.5 * 1.959964), abs=1e-5)


def test_a_stop_at_the_first_look_is_the_plain_p_value():
    assert stagewise(PLAN, 0, 3.5).p_value == pytest.approx(2 * special.ndtr(-3.5), rel=1e-6)


def test_on_the_last_boundary_the_p_value_is_the_level():
    assert stagewise(PLAN, 2, PLAN.upper[2]).p_value == pytest.approx(
        0.05, abs=2e-5
    )  # the lower boundary is crossed before the upper once in 1e5
    one = boundary((0.4, 0.7, 1.0), "pocock", sides=1, alpha=0.025)
    assert stagewise(one, 2, one.upper[2]).p_value == pytest.approx(0.025, abs=1e-8)


def test_the_p_value_agrees_with_the_test():
    for look in range(3):
        for z in (PLAN.upper[look] - 0.01, PLAN.upper[look] + 0.01):
            p = stagewise(PLAN, look, z).p_value
            spent = 2 * sum(np.diff([0.0, *(upper_tail(PLAN, k, PLAN.upper[k]) for k in range(look + 1))]))
            assert (p < spent + 1e-9) == (z > PLAN.upper[look])


def test_signs_mirror():
    up, down = stagewise(PLAN, 1, 2.6), stagewise(PLAN, 1, -2.6)
    assert up.p_value == pytest.approx(down.p_value, abs=1e-7)
    assert up.estimate == pytest.approx(-down.estimate, abs=1e-5)
    assert up.interval == pytest.approx((-down.interval[1], -down.interval[0]), abs=1e-5)


def test_half_of_the_estimates_lie_below_and_intervals_cover():
    drift, rng = 2.2, np.random.default_rng(3)
    times = np.array(PLAN.fractions)
    steps = np.diff(times, prepend=0.0)
    z = np.cumsum(rng.normal(drift * steps, np.sqrt(steps), size=(1500, 3)), axis=1) / np.sqrt(times)
    over = np.abs(z) >= np.array(PLAN.upper)
    look = np.where(over.any(axis=1), over.argmax(axis=1), 2)
    reached = z[np.arange(len(z)), look]
    tails = np.array([upper_tail(PLAN, int(k), float(v), drift) for k, v in zip(look, reached, strict=True)])
    # the estimate lies below the truth where the tail at the truth is over a half; the interval misses where it is beyond 0.025
    assert abs((tails > 0.5).mean() - 0.5) < 3.3 * np.sqrt(0.25 / len(z))
    assert abs(((tails > 0.025) & (tails < 0.975)).mean() - 0.95) < 3.3 * np.sqrt(0.05 * 0.95 / len(z))
    naive = reached / np.sqrt(times[look])
    assert naive.mean() > drift + 0.05  # what stops early overstates


@pytest.mark.parametrize(("look", "z", "level"), [(3, 2.0, 0.95), (-1, 2.0, 0.95), (0, np.inf, 0.95), (0, 2.0, 1.0)])
def test_what_did_not_happen_is_refused(look, z, level):
    with pytest.raises(DataError):
        stagewise(PLAN, look, z, level=level)
