"""Wearables as covariates: on their slots when they were known, relative to the person, nothing of a later slot; and no forecast sees what came later."""

import numpy as np

from _glucose import MINUTE, START, person
from gemel.core.record import Exposure
from gemel.core.series import Series
from gemel.evidence.stream_protocol import windows
from gemel.twins.metabolic import correct, observe, wearables
from gemel.twins.metabolic.evidence import PROTOCOL

HOUR = 60 * MINUTE


def worn(record, seed=0, days=4):
    """Add a watch: a reading of heart rate and steps every five minutes, an hour's run a day, seven hours of sleep."""
    rng = np.random.default_rng(seed)
    time = START + np.arange(0, days * 1440, 5) * MINUTE
    hour = (time - START) / HOUR % 24
    running = (hour >= 17) & (hour < 18)
    heart = Series(code=wearables.HEART_RATE, unit="/min", time=time, value=65 + 60 * running + rng.normal(0, 3, len(time)), source="watch")
    steps = Series(code=wearables.MOVEMENT[0], unit="1", time=time, value=np.where(running, 800.0, 20.0), source="watch")
    sleep = [
        Exposure(
            code=wearables.SLEEP,
            quantity=None,
            start=START + d * 24 * HOUR,
            end=START + (d * 24 + 7) * HOUR,
            recorded=START + (d * 24 + 7) * HOUR,
            source="watch",
        )
        for d in range(days)
    ]
    return record.with_facts(heart, steps, *sleep)


def test_without_a_watch_there_is_nothing():
    p = correct.recording(person(1), 15)
    assert p.watch is None
    assert p.logged == {"inputs"}


def test_running_shows_while_it_lasts_and_after():
    p = correct.recording(worn(person(1)), 15)
    assert p.logged == {"inputs", "wearables"}
    table = wearables.features(p.watch, p.step)
    hour = p.hour
    late = np.arange(len(hour)) > 2 * 96
    assert table[late & (hour == 17.75), 0].min() > 2  # four heart-rate units of 15 beats above the usual 67
    assert table[late & (hour == 12.0), 0].max() < 0.5
    assert table[late & (hour == 19.0), 2].min() > 0.5  # one to three hours ago
    assert np.isfinite(table).all()
    assert table.shape[1] == wearables.COUNT


def test_sleep_told_in_the_morning_was_not_known_in_the_night():
    p = correct.recording(worn(person(1)), 15)
    asleep = p.watch[:, 3]
    assert asleep[p.hour == 3.0].max() == 0.0
    assert asleep[np.isclose(p.hour, 7.0)].max() > 0.9  # the slot that ends as it is told


def test_features_use_no_later_slot():
    p = correct.recording(worn(person(1)), 15)
    whole = wearables.features(p.watch, 15)
    for k in (100, 201, 333):
        np.testing.assert_array_equal(wearables.features(p.watch[: k + 1], 15)[k], whole[k])


def test_garbage_recorded_after_an_origin_changes_no_forecast():
    """Protocol P from end to end: readings, meals, doses and a watch that are known later leave every earlier forecast as it was, to the bit."""
    people = [worn(person(s, days=6), s, days=6) for s in range(3)]
    until = START + round(5.5 * 24) * HOUR  # inside the test part, which begins at 4.8 days
    spoilt = []
    for k, record in enumerate(people):
        rng = np.random.default_rng(100 + k)
        series = []
        for s in record.series:
            later = s.time > until
            series.append(s.model_copy(update={"value": np.where(later, rng.uniform(60, 350, len(s.value)), s.value)}))
        known = record.model_copy(update={"series": tuple(series)})
        extra = [
            Exposure(code=observe.CARBOHYDRATE, quantity=e.quantity, start=until + 3 * HOUR, source="garbage") for e in record.exposures[:1]
        ]
        spoilt.append(known.with_facts(*extra))
    made = []
    for records in (people, spoilt):
        recordings, _ = PROTOCOL.recordings(records)
        parts = [windows(r, PROTOCOL) for r in recordings]
        made.append((recordings, parts, PROTOCOL.forecaster(recordings, parts, PROTOCOL.horizons, {})))
    compared = 0
    for r, w, v, a, b in zip(made[0][0], made[0][1], made[1][1], made[0][2], made[1][2], strict=True):
        early = r.start + w.origin * r.step * MINUTE <= until
        other = np.isin(v.origin, w.origin[early])
        same = np.isin(w.origin, v.origin[other]) & early
        np.testing.assert_array_equal(a.mean[same], b.mean[other])
        np.testing.assert_array_equal(a.quantiles[same], b.quantiles[other])
        compared += int((same & (w.part == 2)).sum())
    assert compared > 100
