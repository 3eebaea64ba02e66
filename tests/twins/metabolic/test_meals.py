"""Meals: published units, appearance that moves by as much as is said, draws with the spread that is stated, and nothing fed twice."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from _glucose import MINUTE, START, person
from gemel.core.errors import DomainError
from gemel.core.record import Exposure, Quantity
from gemel.engine.infer.laplace import Laplace
from gemel.engine.keys import make_key
from gemel.engine.plan import Plan
from gemel.engine.twin import calibrate
from gemel.twins.metabolic import observe
from gemel.twins.metabolic.meals import (
    FAT,
    MEAL_CONSTANTS,
    PROTEIN,
    Meal,
    absorption_minutes,
    eating_minutes,
    equivalent,
    fat_protein_units,
    meal_draws,
    meal_plan,
    meals,
    spread_by_meals,
)  # fmt: skip
from gemel.twins.metabolic.model import MetabolicModel

NOW = START + 1440 * MINUTE


def food(code, grams, at, **more):
    return Exposure(
        code=code,
        quantity=Quantity(value=grams, unit=more.pop("unit", "g")),
        start=START + at * MINUTE,
        recorded=START,
        source="diary",
        **more,
    )


@pytest.fixture(scope="module")
def twin():
    # a day and a bit: the domain asks for 24 h
    return calibrate(MetabolicModel(), person(3, days=1.1, step=5), NOW, method=Laplace(starts=1), key=make_key(0))


@pytest.fixture(scope="module")
def ahead(twin):
    """An hour from now, and one half an hour ago."""
    now = float(twin.model_time(np.asarray([twin.now]))[0])
    return now, Meal(now + 60.0, 60.0, 0), Meal(now - 30.0, 50.0, 2, fat=28.0, protein=16.0)


def test_the_published_example_of_fat_protein_units():
    # a hot dog: 28 g of fat and 16 g of protein, 316 kcal, 3.16 units: 31.6 g
    assert fat_protein_units(28.0, 16.0) == pytest.approx(3.16)
    grams, minutes = equivalent(28.0, 16.0)
    assert grams == pytest.approx(31.6)
    assert 300.0 < minutes < 480.0


@pytest.mark.parametrize(("units", "hours"), [(0.5, 3), (1, 3), (2, 4), (3, 5), (4, 8), (9, 8)])
def test_the_published_hours(units, hours):
    assert equivalent(0.0, 25.0 * units) == pytest.approx((10.0 * units, 60.0 * hours))  # 25 g of protein are 100 kcal


def test_words_and_minutes_of_absorption():
    assert absorption_minutes("Medium") == absorption_minutes(180) == 180.0
    assert eating_minutes(180.0) == 15.0, "the medium time is the meal as the identification takes it"
    for wrong in ("glacial", 0.0, 1000.0, float("nan")):
        with pytest.raises(DomainError):
            absorption_minutes(wrong)


def test_mean_appearance_moves_by_half_of_what_was_said(twin):
    """The gut is linear: the mean time of its outflow moves by what the mean of its input does."""
    model, context = MetabolicModel(), twin.model.slot_context(twin.observed, 1, 1440)
    context = replace_weight(context)
    parameters = model.prior.constrain(model.prior.mean) | {"kabs_breakfast": jnp.asarray(0.05)}

    def mean_time(minutes):
        plan = Plan.of([(60.0, eating_minutes(minutes), 50.0, 1)])
        path = model.trajectory(parameters, plan, context)
        rate = np.asarray(path.gut_breakfast)
        return float((rate * 5.0 * np.arange(1, len(rate) + 1)).sum() / rate.sum())

    moved = mean_time(300.0) - mean_time(180.0)
    assert moved == pytest.approx(60.0, abs=0.5)  # slots of 5 min and a gut that is empty to 1e-6 after five days
    assert -10.0 < mean_time(30.0) - mean_time(180.0) < 0.0, "faster than the own gut cannot be had"


def replace_weight(context):
    return type(context)(context.window, context.first[0], context.basal[0], context.weight[0])


def test_a_record_becomes_meals():
    record = person(3, days=0.2).with_facts(
        food(observe.CARBOHYDRATE, 60.0, 480, note="pasta, absorption: slow"),
        food(FAT, 28.0, 485), food(PROTEIN, 16.0, 480), food(PROTEIN, 30.0, 1200),
        food(observe.ENERGY, 400.0, 780, unit="kcal"),
        food(observe.CARBOHYDRATE, 20.0, 960, uncertainty=0.1, note="absorption 1.5 h"),
    )  # fmt: skip
    found = meals(record, START + 1, epoch=START)
    assert [(m.start, m.carbohydrate, m.window) for m in found] == [(480.0, 60.0, 0), (780.0, 50.0, 1), (960.0, 20.0, 1), (1200.0, 0.0, 2)]
    assert (found[0].fat, found[0].protein, found[0].absorption, found[0].cv) == (28.0, 16.0, 300.0, 0.3)
    assert (found[1].cv, found[2].cv, found[2].absorption) == (0.4, 0.1, 90.0)
    assert found[3].protein == 30.0
    later = record.with_facts(food(observe.CARBOHYDRATE, 99.0, 100).model_copy(update={"recorded": START + 10}))
    assert meals(later, START + 1, epoch=START) == found, "not known yet"


def test_left_alone_the_plan_is_the_twins_own(twin):
    assert meal_plan(twin).events == twin.observed.plan.events


def test_draws_have_the_spread_that_is_stated(twin, ahead):
    now, coming, _ = ahead
    plans = meal_draws(twin, 1000, key=make_key(5), told=[coming])
    starts, amounts = np.array([next((s, a) for s, _, a, c in p.events if c == 1) for p in plans]).T
    # standard errors with 1000 draws: mean 1 %, CV about 3 %, time 0.3 min, share 0.7 %; four of them
    assert amounts.mean() == pytest.approx(60.0, rel=0.04)
    assert amounts.std() / amounts.mean() == pytest.approx(0.30, abs=0.035)
    assert starts.mean() == pytest.approx(coming.start, abs=1.3)
    assert (np.abs(starts - coming.start) < 20.0).mean() == pytest.approx(0.954, abs=0.028)
    soon = meal_draws(twin, 200, key=make_key(5), told=[replace(coming, start=now + 5.0)])
    assert min(s for p in soon for s, _, _, c in p.events if c == 1) >= now, "what has not begun cannot have begun before now"


def test_the_same_key_gives_the_same_plans_and_insulin_stays(twin, ahead):
    one, two, other = (meal_draws(twin, 3, key=make_key(k), told=ahead[1:]) for k in (1, 1, 2))
    assert [p.events for p in one] == [p.events for p in two]
    assert [p.events for p in one] != [p.events for p in other]
    assert len({p.start.shape for p in one}) == 1, "one program serves them all"
    for p in one:
        assert [e for e in p.events if e[3] == 0] == [e for e in twin.observed.plan.events if e[3] == 0]


def test_a_meal_already_eaten_is_not_fed_twice(twin, ahead):
    now, _, eaten = ahead
    for p in meal_draws(twin, 50, key=make_key(3), told=[eaten]):
        carbs, late = sorted(e for e in p.events if e[3] == 3)
        assert carbs[:2] == (eaten.start, eaten.length), "the stream has it: neither later nor slower"
        assert late[0] == now
        assert late[1] < 480.0 * 2.2


def test_fat_and_protein_ahead_add_their_equivalent(twin, ahead):
    _, coming, _ = ahead
    rich = replace(coming, fat=28.0, protein=16.0)
    extra = [e for e in meal_plan(twin, [rich]).events if e[3] == 1 and e[1] > 200]
    assert len(extra) == 1
    assert extra[0][2] == pytest.approx(31.6 * MEAL_CONSTANTS["equivalent_share"].value)
    slow = [e for e in meal_plan(twin, [rich]).events if e[3] == 1 and e[1] < 200]
    assert slow[0][1] == pytest.approx(15.0 + 28.0), "a minute for each gram of fat"
    plans = meal_draws(twin, 1000, key=make_key(4), told=[replace(rich, carbohydrate=0.0)])
    total = [sum(a for _, _, a, c in p.events if c == 1) for p in plans]
    assert np.median(total) == pytest.approx(31.6 * 0.7, rel=0.1)  # log SD 0.6: standard error of a median 2.4 %
    assert np.log(total).std() == pytest.approx(0.6, abs=0.05)


def test_meals_add_spread_and_no_meal_adds_none(twin, ahead):
    _, coming, _ = ahead
    times = twin.times(60.0, 120.0, 180.0)
    soon = replace(coming, start=coming.start - 55.0)
    plans = meal_draws(twin, 16, key=make_key(6), told=[soon])
    told = spread_by_meals(twin, plans, times, n=96, key=make_key(7))
    assert told.reason == ""
    assert told.draws.shape == (16 * 96, 3)
    np.testing.assert_allclose(told.total, told.draws.std(axis=0), rtol=1e-9)  # the law of total variance, exact
    assert (told.added[1:] > 1.0).all()
    same = spread_by_meals(twin, [plans[0], plans[0]], times, n=96, key=make_key(7))
    np.testing.assert_allclose(same.added, 0.0, atol=1e-3)  # the square root of rounding


@pytest.mark.slow
def test_outside_the_domain_there_is_a_reason(twin, ahead):
    known = person(3, days=1.1, step=5)
    late = calibrate(MetabolicModel(), known, int(known.series[0].time[-1]) + 60 * MINUTE, method=Laplace(starts=1), key=make_key(0))
    told = spread_by_meals(late, meal_draws(late, 2, key=make_key(1)), late.times(30.0), key=make_key(2))
    assert "min old" in told.reason
    assert told.draws.shape == (0, 1)


@pytest.mark.parametrize("wrong", [{"carbohydrate": -1.0}, {"fat": float("nan")}, {"window": 3}])
def test_what_is_no_meal_is_refused(wrong):
    with pytest.raises(DomainError):
        replace(Meal(0.0, 10.0, 0), **wrong)
