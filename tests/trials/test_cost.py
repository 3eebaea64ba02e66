"""Months and money follow from patients: by hand, and never from a price that nobody gave."""

from __future__ import annotations

import pytest

from gemel.core.errors import DataError
from gemel.trials import Assumptions, size
from gemel.trials.cost import Prices, costs


def test_costs_by_hand():
    plan = size(Assumptions(sd=1, correlation=0.5), 0.4, dropout=0.1)  # 262.7 and 197.0 with an outcome
    bare, ours, control = costs(plan, Prices(10, 6, 1000, "EUR"))
    assert (bare.plan, bare.enrolled) == ("without the prognosis", 2 * 147)  # ceil(132 / 0.9)
    assert (ours.plan, ours.enrolled) == ("with it", 2 * 110)  # ceil(99 / 0.9)
    assert control.enrolled == 147 + 88  # 132 treated, 79 controls: (1 - 0.4) 131.4
    assert bare.months == pytest.approx(294 / 10 + 6)
    assert ours.months_saved == pytest.approx(7.4)
    assert ours.money_saved == pytest.approx(74_000)
    assert bare.months_saved == bare.money_saved == 0


def test_no_prognosis_saves_nothing_and_unequal_arms_have_no_control_only():
    found = costs(size(Assumptions(sd=1, allocation=2), 0.4), Prices(cost_per_patient=1))
    assert [c.plan for c in found] == ["without the prognosis", "with it"]
    assert found[0].enrolled == found[1].enrolled
    assert found[1].money_saved == 0
    assert found[1].months is found[1].months_saved is None


@pytest.mark.parametrize(("prices", "words"), [({}, "no price"), ({"enrolment_per_month": 0}, "out of range"), ({"cost_per_patient": -1}, "out of range"), ({"cost_per_patient": 1, "follow_up_months": 3}, "cannot be counted"), ({"enrolment_per_month": 1, "follow_up_months": -1}, "out of range")])  # fmt: skip
def test_prices_that_cannot_be(prices, words):
    with pytest.raises(DataError, match=words):
        Prices(**prices)
