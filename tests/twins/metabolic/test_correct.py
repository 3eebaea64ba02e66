"""The learnt part of the room's forecast: no look-ahead, and the same after storage."""

import numpy as np
import pytest

from _glucose import MINUTE, START, person
from gemel.engine.correction import DiscrepancySet
from gemel.twins.metabolic.correct import correction, corrections, learn_alone, plain_forecasts

NOW = START + 4 * 1440 * MINUTE


@pytest.fixture(scope="module")
def record():
    return person(1, days=6.0)


@pytest.fixture(scope="module")
def learnt(record):
    made = learn_alone(record.as_of(NOW), NOW)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def whole(record, learnt):
    return corrections(record, learnt)


def test_one_pass_says_what_asking_at_each_moment_says(record, learnt, whole):
    times = [t for t in record.series[0].time if t > NOW]
    for now in [*times[:: len(times) // 7], times[-1]]:
        alone = correction(record.as_of(now), now, learnt)
        assert np.allclose(alone.quantiles, whole[now].quantiles, atol=1e-6)  # sums over the past are taken in another order: rounding


def test_the_future_changes_nothing_earlier(record, learnt, whole):
    then = NOW + 700 * MINUTE
    rng = np.random.default_rng(0)
    series = record.series[0]
    value = np.where(series.time > then, rng.uniform(50, 350, len(series)), series.value)
    facts = [
        e if e.start <= then else e.model_copy(update={"quantity": e.quantity.model_copy(update={"value": 1.0})}) for e in record.exposures
    ]
    scrambled = record.model_copy(update={"series": (series.model_copy(update={"value": value}),), "exposures": tuple(facts)})
    again = corrections(scrambled, learnt)
    earlier = [t for t in whole if t <= then]
    assert len(earlier) > 300
    assert all(np.allclose(whole[t].quantiles, again[t].quantiles, atol=1e-9) for t in earlier)  # the same sums, in the same order
    later = [t for t in whole if t > then + 60 * MINUTE and t in again]
    assert any(not np.allclose(whole[t].quantiles, again[t].quantiles, atol=1.0) for t in later), "the scrambling was seen at all"


def test_learning_does_not_see_past_now(record, learnt):
    known = record.as_of(NOW)
    cut = learn_alone(record.model_copy(update={"series": tuple(s.between(0, NOW + 1) for s in record.series)}).as_of(NOW), NOW)
    assert cut is not None
    assert cut.to_arrays().keys() == learnt.to_arrays().keys()
    assert all(np.array_equal(v, cut.to_arrays()[k]) for k, v in learnt.to_arrays().items())
    assert learn_alone(known, START + 30 * 60 * MINUTE) is None, "with less than 36 h nothing is learnt"


def test_storage_gives_identical_corrections(record, learnt, whole):
    arrays = {k: np.array(v) for k, v in learnt.to_arrays().items()}
    assert all(v.dtype != object for v in arrays.values())
    loaded = DiscrepancySet.from_arrays(arrays)
    again = corrections(record, loaded)
    assert again.keys() == whole.keys()
    assert all(np.array_equal(again[t].quantiles, whole[t].quantiles) for t in whole)
    assert (loaded.horizons, loaded.step, loaded.until, loaded.source) == (learnt.horizons, learnt.step, learnt.until, learnt.source)


def test_it_keeps_silent_after_a_gap(record, learnt):
    series = record.series[0]
    now = int(series.time[-1])
    keep = (series.time < now - 100 * MINUTE) | (series.time == now)
    assert correction(record.model_copy(update={"series": (series.take(keep),)}), now, learnt) is None
    assert correction(record, now + 60 * MINUTE, learnt) is None, "the last reading is an hour old"


def test_plain_forecasts_stand_at_the_same_readings(record, learnt, whole):
    plain = plain_forecasts(record, learnt)
    assert plain.keys() == whole.keys()
    assert all(v.shape == (len(learnt.horizons),) for v in plain.values())
