"""V18: the walls. Whatever the state, nothing beyond a limit is accepted."""

from types import SimpleNamespace

import numpy as np
import pytest

import gemel.engine  # noqa: F401  sets the numerics before the room is imported
from gemel.core.errors import DomainError
from gemel.engine.plan import Plan
from gemel.twins.metabolic.plans import SafetyLimits, plan_limits, refusal, scaled_basal

NAMES = ("bolus", "basal", "programmed", "carbohydrate", "glucose", "on_board", "forecast_low")
SAFE = {"bolus": 4.0, "basal": 1.0, "programmed": 1.0, "carbohydrate": 50.0, "glucose": 140.0, "on_board": 1.0, "forecast_low": 90.0}


def states(n, seed):
    """Random states, many of them on a wall or a hair beside it, some not numbers."""
    rng = np.random.default_rng(seed)
    high = np.array([20.0, 6.0, 2.0, 260.0, 420.0, 25.0, 300.0])
    table = rng.uniform(0, 1, (n, 7)) * high
    walls = {0: (0.0, 15.0), 1: (0.0, 3.0), 3: (0.0, 200.0), 4: (54.0,), 5: (20.0,), 6: (70.0,)}
    for column, values in walls.items():
        at = rng.random(n) < 0.25
        table[at, column] = rng.choice(values, at.sum()) + rng.choice([0.0, 1e-9, -1e-9], at.sum())
    table[rng.random(n) < 0.3, 0] = 0.0
    at = rng.random(n) < 0.1
    table[at, 1] = 3.0 * table[at, 2]
    odd = rng.random(n) < 0.05
    table[odd, rng.integers(0, 7, odd.sum())] = rng.choice([np.nan, np.inf, -np.inf, -1.0], odd.sum())
    return table


def keeps_every_wall(table):
    """The walls of the documentation, stated anew, column by column."""
    bolus, basal, programmed, carbohydrate, glucose, on_board, low = table.T
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(table[:, :6]).all(axis=1) & (table[:, :6] >= 0).all(axis=1)
        more = (bolus > 0) | (basal > programmed)
        return (
            usable
            & (glucose >= 54)
            & (carbohydrate <= 200)
            & (bolus <= 15)
            & ((bolus == 0) | (carbohydrate > 0))
            & ((bolus == 0) | (on_board + bolus <= 20))
            & (basal <= 3 * programmed)
            & (~more | (np.isfinite(low) & (low >= 70)))
        )


def test_nothing_beyond_a_wall_is_ever_accepted():
    table = states(100_000, 18)
    accepted = np.array([refusal(**dict(zip(NAMES, row, strict=True))) is None for row in table.tolist()])
    kept = keeps_every_wall(table)
    assert not (accepted & ~kept).any(), table[accepted & ~kept][:3]
    assert not (~accepted & kept).any(), "and what keeps every wall is not refused"
    assert accepted.sum() > 2000, "the test sees both sides"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0])
def test_what_is_no_usable_number_is_refused(name, value):
    assert refusal(**SAFE) is None
    told = refusal(**SAFE | {name: value})
    assert told, f"{name} = {value} was accepted"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"glucose": 53.9}, "treat hypoglycaemia"),
        ({"carbohydrate": 201.0}, "at most 200 g"),
        ({"bolus": 15.1}, "at most 15.0 U"),
        ({"carbohydrate": 0.0}, "without announced carbohydrate"),
        ({"on_board": 16.1}, "on board"),
        ({"basal": 3.1}, "programmed"),
        ({"forecast_low": 69.9}, "no more insulin"),
    ],
)
def test_a_refusal_says_why(change, words):
    assert words in refusal(**SAFE | change)


def test_stopping_insulin_is_always_allowed_above_the_lowest_glucose():
    assert refusal(**SAFE | {"bolus": 0.0, "basal": 0.0, "forecast_low": 40.0}) is None
    assert refusal(**SAFE | {"bolus": 0.0, "basal": 0.0, "forecast_low": np.nan}) is None


def test_a_site_sets_its_own_walls():
    assert refusal(**SAFE, walls=SafetyLimits(largest_bolus=3.0)) is not None
    assert refusal(**SAFE | {"carbohydrate": 0.0}, walls=SafetyLimits(largest_correction=5.0)) is None


def test_the_dose_walls_of_plans():
    check = plan_limits()[1].check
    assert check is not None
    assert check(Plan.of([(0.0, 1.0, 15.0, 0), (0.0, 15.0, 200.0, 1)])) is None
    assert "at most 15.0 U" in check(Plan.of([(0.0, 1.0, 15.1, 0)]))
    assert "at most 200 g" in check(Plan.of([(0.0, 15.0, 201.0, 2)]))
    assert check(Plan.of([(0.0, 1440.0, 24.0, 0)])) is None, "a day of basal insulin is no bolus"


def test_a_basal_rate_changes_from_now_on_only():
    events = [(0.0, 600.0, 10.0, 0), (400.0, 120.0, 2.0, 0), (250.0, 1.0, 4.0, 0), (350.0, 15.0, 40.0, 1)]
    twin = SimpleNamespace(now=0, model_time=lambda _: np.array([300.0]), observed=SimpleNamespace(plan=Plan.of(events)))
    found = sorted(scaled_basal(twin, 0.5).events)
    assert found == sorted(
        [(0.0, 300.0, 5.0, 0), (300.0, 300.0, 2.5, 0), (400.0, 120.0, 1.0, 0), (250.0, 1.0, 4.0, 0), (350.0, 15.0, 40.0, 1)]
    )
    with pytest.raises(DomainError, match="basal rate"):
        scaled_basal(twin, 4.0)
