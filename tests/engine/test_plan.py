"""Plans: events, rates that conserve what was given, and spaces of plans."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core.errors import ModelError
from gemel.engine.plan import GridPlans, Plan

EVENTS = st.lists(st.tuples(st.floats(2, 20), st.floats(0, 5), st.floats(0, 100), st.integers(0, 2)), max_size=10)


@settings(deadline=None)  # the first example compiles
@given(events=EVENTS)
def test_rates_conserve_what_was_given(events):
    plan = Plan.of(events, smallest=16)
    rates = np.asarray(plan.rates(0.0, 0.5, 64, 3))  # to 32: every event of at most 25 ends inside
    given_ = rates.sum(axis=0) * 0.5
    expected = [sum(a for *_, a, c in events if c == k) for k in range(3)]
    assert np.allclose(given_, expected, rtol=1e-12, atol=1e-9)
    assert (rates >= 0).all()


def test_rates_are_the_overlap():
    plan = Plan.of([(1.0, 2.0, 6.0, 0)])  # 3 per unit of time from 1 to 3
    assert np.allclose(np.asarray(plan.rates(0.0, 1.0, 4, 1))[:, 0], [0, 3, 3, 0])
    assert np.allclose(np.asarray(plan.rates(0.5, 1.0, 3, 1))[:, 0], [1.5, 3, 1.5])


def test_a_bolus_lasts_one_step():
    assert np.allclose(np.asarray(Plan.of([(2.0, 0.0, 5.0, 0)]).rates(0.0, 0.5, 8, 1))[:, 0], [0, 0, 0, 0, 10, 0, 0, 0])


@settings(deadline=None)  # the first example compiles
@given(events=EVENTS)
def test_events_come_back_in_order(events):
    plan = Plan.of(events)
    assert plan.events == sorted(plan.events)
    assert len(plan.events) == len(events)
    assert plan.mask.shape[0] in (8, 16)
    assert Plan.of(plan.events).events == plan.events


def test_changes_return_new_plans():
    plan = Plan.of([(1.0, 0.0, 2.0, 0), (5.0, 0.0, 4.0, 0), (5.0, 0.0, 1.0, 1)])
    assert plan.scaled(0, 0.5, after=2.0).events == [(1.0, 0.0, 2.0, 0), (5.0, 0.0, 1.0, 1), (5.0, 0.0, 2.0, 0)]
    assert plan.shifted(0, 1.0, after=2.0).events == [(1.0, 0.0, 2.0, 0), (5.0, 0.0, 1.0, 1), (6.0, 0.0, 4.0, 0)]
    assert len(plan.with_events((0.0, 1.0, 1.0, 0)).events) == 4
    assert len(plan.events) == 3


@pytest.mark.parametrize("event", [(float("nan"), 0.0, 1.0, 0), (0.0, -1.0, 1.0, 0), (0.0, 0.0, float("inf"), 0)])
def test_impossible_events_are_refused(event):
    with pytest.raises(ModelError, match="not finite or lasts less"):
        Plan.of([event])


def test_grid_names_every_combination():
    grid = GridPlans({"dose": [1.0, 2.0], "hour": [0.0, 6.0]}, lambda s: Plan.of([(s["hour"], 0.0, s["dose"], 0)]))
    named = grid.named()
    assert list(named) == ["dose 1, hour 0", "dose 1, hour 6", "dose 2, hour 0", "dose 2, hour 6"]
    assert named["dose 2, hour 6"].events == [(6.0, 0.0, 2.0, 0)]
