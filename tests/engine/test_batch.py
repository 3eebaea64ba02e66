"""Many twins at once are each as they would be alone, bit for bit."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from _toys import calibrated, person

import gemel
from gemel.core.errors import GemelError, TimeError
from gemel.core.time import HOUR
from gemel.engine import serialise
from gemel.engine.batch import FEW, LANES, Question, Step, _cut, assimilate_many, forecast_many
from gemel.engine.compile import counting
from gemel.engine.forecast import forecast
from gemel.engine.plan import Plan
from gemel.engine.status import Status
from gemel.engine.twin import assimilate


@pytest.fixture(scope="module")
def crowd():
    """Twins of several people, calibrated at several moments: their ways to the same *now* differ in length."""
    record, now, _ = person("toy-growth")
    made = gemel.calibrate("toy-growth", record, now - 6 * HOUR, key=3)
    return [(made, record, now + k * HOUR) for k in (-5, -4, 0, 1)] + [(assimilate(made, record, now - 5 * HOUR), record, now)]


def test_each_twin_is_as_it_would_be_alone(crowd):
    steps = [Step(*one) for one in crowd]
    together = assimilate_many(steps)
    for step, twin in zip(steps, together, strict=True):
        assert not isinstance(twin, GemelError)
        assert serialise.dump(twin) == serialise.dump(assimilate(step.twin, step.record, step.now))


def test_a_late_fact_and_a_recalibration_among_others(crowd):
    made, record, now = crowd[2]
    whole = record.series[0]
    half = np.arange(len(whole)) % 2 == 0
    late = whole.take(~half).model_copy(update={"recorded": np.maximum(whole.recorded[~half], now)})
    forgotten = record.model_copy(update={"series": (whole.take(half),)})
    known_late = forgotten.with_facts(late)
    early_twin = gemel.calibrate("toy-growth", forgotten, now - 6 * HOUR, key=3)
    steps = [Step(early_twin, known_late, now), Step(made, record, now)]
    for step, twin in zip(steps, assimilate_many(steps), strict=True):
        assert not isinstance(twin, GemelError)
        assert serialise.dump(twin) == serialise.dump(assimilate(step.twin, step.record, step.now))
    assert assimilate(early_twin, known_late, now).status == Status.RECALIBRATED, "or this test shows less than it says"


def test_a_model_without_a_state_and_an_error_take_their_turn(crowd):
    record, now, _ = person("toy-linear")
    made, other, later = crowd[0]
    linear = gemel.calibrate("toy-linear", record, now - 6 * HOUR, key=1)
    backwards = Step(replace(made, now=later + HOUR), other, later)
    plain, wrong, good = assimilate_many([Step(linear, record, now), backwards, Step(made, other, later)])
    assert isinstance(wrong, TimeError)
    assert not isinstance(plain, GemelError)
    assert not isinstance(good, GemelError)
    assert serialise.dump(plain) == serialise.dump(assimilate(linear, record, now))
    assert serialise.dump(good) == serialise.dump(assimilate(made, other, later))


def test_forecasts_are_those_of_each_alone(crowd):
    made = crowd[0][0]
    keys, moments = jax.random.split(jax.random.key(0), 3), made.times(30.0, 60.0, 90.0, 470.0)
    asked = [
        Question(made, moments, keys[0]),
        Question(
            made,
            moments[:2],
            keys[1],
            plan=made.observed.plan.with_events((float(made.model_time(moments[:1])[0]), 0.0, 3.0, 0)),
            n=100,
            name="more",
        ),
        Question(made, moments, keys[2], plan=Plan.of()),
        Question(calibrated("toy-linear"), calibrated("toy-linear").times(60.0), keys[0]),
    ]
    for question, made_many in zip(asked, forecast_many(asked), strict=True):
        alone = forecast(question.twin, question.plan, question.times, n=question.n, key=question.key, name=question.name)
        assert not isinstance(made_many, GemelError)
        assert np.array_equal(made_many.draws, alone.draws)
        assert made_many.lineage == alone.lineage
        assert (made_many.plan, made_many.status) == (alone.plan, alone.status)


def test_a_question_that_cannot_be_asked_is_its_own_error(crowd):
    made = crowd[0][0]
    wrong, right = forecast_many([Question(made, made.times(-1.0), jax.random.key(0)), Question(made, made.times(30.0), jax.random.key(0))])
    assert isinstance(wrong, GemelError)
    assert not isinstance(right, GemelError)


def test_one_program_serves_however_many(crowd):
    step = Step(*crowd[0])
    assimilate_many([step] * LANES)
    with counting() as counter:
        many = assimilate_many([step] * (2 * LANES))
    assert counter.count == 0
    dumps = {serialise.dump(twin) for twin in many if not isinstance(twin, GemelError)}
    assert len(dumps) == 1
    assert len(many) == 2 * LANES


@pytest.mark.parametrize("n", [0, 1, FEW, FEW + 1, LANES // 2, LANES // 2 + 1, LANES, LANES + 1, 3 * LANES + 5])
def test_every_lane_runs_once(n):
    cut = list(_cut(list(range(n))))
    assert [i for chosen, _ in cut for i in chosen] == list(range(n))
    assert all(0 < len(chosen) <= width for chosen, width in cut)
    assert sum(width for _, width in cut) <= 2 * n + FEW


def test_nothing_is_nothing():
    assert assimilate_many([]) == []
    assert forecast_many([]) == []
