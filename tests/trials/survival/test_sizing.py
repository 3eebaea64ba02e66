"""Events by Schoenfeld's formula, what a prognosis saves, and whether the adjusted test then has the power that was asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from _survival import columns, made
from gemel.core.errors import ValueRangeError
from gemel.trials.survival import adjusted_logrank, events_needed, martingale_residuals


def test_schoenfelds_number_of_events():
    found = events_needed(0.5, power=0.9)
    assert found.unadjusted == pytest.approx(4 * (1.959964 + 1.281552) ** 2 / math.log(2) ** 2)  # 87.5, as tabulated
    assert found.events == found.unadjusted
    assert events_needed(2.0, power=0.9).events == pytest.approx(found.events)
    uneven = events_needed(0.5, power=0.9, allocation=2.0)
    assert uneven.events == pytest.approx(found.events * 0.25 / (2 / 9))


def test_both_reductions_and_the_patients():
    found = events_needed(0.7, correlation=0.5, correlation_deflation=0.9, event_share=0.6, dropout=0.1)
    assert found.r_squared == pytest.approx(0.2025)
    assert found.events == pytest.approx(found.unadjusted * 0.7975)
    assert found.control_arm_reduction == pytest.approx(0.405 / 1.2025)
    assert found.patients == math.ceil(found.events / 0.6 / 0.9)


def test_the_adjusted_test_has_the_power_that_was_asked_for():
    slope, target = 0.8, -0.5
    history = made(columns(4000, seed=99, slope=slope), "x")
    # R² of the best straight line in x, from a large trial without effect; the marginal ratio is nearer to 1 than the one put in
    residual = martingale_residuals(history.time, history.event)
    rho = abs(np.corrcoef(residual, history.trial.covariates[:, 0])[0, 1])
    large = made(columns(20_000, seed=98, slope=slope, log_ratio=target), "x")
    from gemel.trials.survival import marginal_hazard

    ratio = math.exp(marginal_hazard(large).log_ratio)
    plan = events_needed(ratio, correlation=float(rho), power=0.8, event_share=float(large.event.mean()))
    z = [adjusted_logrank(made(columns(plan.patients, seed=k, slope=slope, log_ratio=target), "x")).z for k in range(400)]
    # 400 trials: SE 0.02; Schoenfeld's formula is one for ratios near 1
    assert np.mean(np.abs(z) > 1.959964) == pytest.approx(0.8, abs=0.07)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hazard_ratio": 1.0},
        {"hazard_ratio": -1.0},
        {"correlation": 1.0},
        {"power": 0.2},
        {"alpha": 0.0},
        {"event_share": 0.0},
        {"dropout": 1.0},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueRangeError, match=next(iter(wrong))):
        events_needed(**({"hazard_ratio": 0.7} | wrong))
