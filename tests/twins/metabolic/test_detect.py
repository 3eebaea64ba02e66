"""Unannounced eating and compression lows: known posteriors, hysteresis, no look-ahead, and nothing hidden."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from _glucose import MINUTE, START, person
from gemel.core.errors import DomainError, ModelError, TimeError
from gemel.core.record import Exposure, PatientRecord, Quantity
from gemel.core.series import PRELIMINARY, Series
from gemel.engine.infer.laplace import Laplace
from gemel.engine.keys import make_key
from gemel.engine.twin import assimilate, calibrate
from gemel.twins.metabolic import observe
from gemel.twins.metabolic._compression import candidates
from gemel.twins.metabolic.detect import (
    CONSTANTS,
    Watch,
    WatchSettings,
    compression_lows,
    compression_suspected,
    grams_per_appearance,
    marked,
    unannounced_meals,
)  # fmt: skip
from gemel.twins.metabolic.model import MetabolicModel

NOW = START + 1440 * MINUTE
GRAMS = grams_per_appearance(75.0)


def eaten(record, at, grams):
    """Return the record with the glucose of a meal added to its readings, not to its meals."""
    series = record.series[0]
    since = np.maximum((series.time - START) / MINUTE - at, 0.0) / 45.0
    value = series.value + 2.0 * grams * since * np.exp(-since)
    return record.model_copy(update={"series": (series.model_copy(update={"value": value}),)})


@pytest.fixture(scope="module")
def record():
    return person(3, days=1.1, step=5)


@pytest.fixture(scope="module")
def twin(record):
    return calibrate(MetabolicModel(), record, NOW, method=Laplace(starts=1), key=make_key(0))


def saying(twin, rate, sd, *, later=0):
    """Return the twin, so many minutes later, with this mean and standard deviation of its unannounced appearance, g/min."""
    n = len(twin.stream.rows)
    shape = norm.ppf((np.arange(n) + 0.5) / n)
    rows = twin.stream.rows.copy()
    rows[:, -1] = (rate + sd * shape / shape.std(ddof=1)) / GRAMS
    moment = twin.now + later * MINUTE
    observed = replace(twin.observed, latest=twin.observed.latest + later * MINUTE)
    return replace(twin, stream=replace(twin.stream, rows=rows), now=moment, observed=observed)


def test_grams_follow_from_volume_share_and_weight():
    # 1.45 dL/kg * 75 kg / 0.9 = 120.8 mg/min of carbohydrate for 1 mg/dL/min
    assert pytest.approx(0.12083, abs=1e-5) == GRAMS
    assert grams_per_appearance(150.0) == pytest.approx(2 * GRAMS)


def test_the_posterior_is_the_tail_above_the_threshold(twin):
    said = unannounced_meals(saying(twin, 0.2, 0.05))
    assert said.posterior == pytest.approx(norm.cdf(2.0), abs=1e-9)
    assert said.rate == pytest.approx(0.2)
    assert said.interval == pytest.approx((0.2 - 1.645 * 0.05, 0.2 + 1.645 * 0.05))
    assert said.coming == pytest.approx(0.2 * 40.0), "an appearance that fades over 40 min"
    line = CONSTANTS["offset"].value + CONSTANTS["slope"].value * 2.0
    assert said.probability == pytest.approx(1 / (1 + np.exp(-line)))
    assert unannounced_meals(saying(twin, 0.2, 0.05), threshold=0.2).posterior == pytest.approx(0.5)


def test_probability_rises_with_the_rate_and_stays_a_probability(twin):
    p = [unannounced_meals(saying(twin, r, 0.08)).probability for r in (-50.0, -0.2, 0.0, 0.1, 0.3, 50.0)]
    assert p == sorted(p)
    assert 0.0 <= p[0] < 0.05
    assert 0.8 < p[-1] <= 1.0


@pytest.mark.slow
def test_no_answer_has_a_reason(record, twin):
    late = calibrate(MetabolicModel(), record, int(record.series[0].time[-1]) + 60 * MINUTE, method=Laplace(starts=1), key=make_key(0))
    said = unannounced_meals(late)
    assert "min old" in said.reason
    assert np.isnan(said.probability)
    rows = twin.stream.rows.copy()
    rows[0, 0] = np.nan
    assert "finite" in unannounced_meals(replace(twin, stream=replace(twin.stream, rows=rows))).reason
    with pytest.raises(ModelError):
        unannounced_meals(replace(twin, stream=None))


def fed(twin, rates, *, watch=None):
    watch, seen = Watch() if watch is None else watch, []
    for i, rate in enumerate(rates):
        watch = watch.seen(saying(twin, rate, 0.08, later=5 * (i + 1)))
        seen.append(watch)
    return watch, seen


def test_an_episode_is_raised_once_and_ends(twin):
    watch, seen = fed(twin, [0.0] * 6 + [0.4] * 12 + [0.05, 0.3] * 3 + [-0.1] * 24)
    assert len(watch.episodes) == 1, "it does not flicker"
    assert watch.current is None
    e = watch.episodes[0]
    assert e.ended is not None
    assert e.began < e.raised < e.ended
    assert e.raised > twin.now + 6 * 5 * MINUTE
    assert e.interval[0] < e.grams < e.interval[1]
    assert all(w.current is None for w in seen[:6])
    assert e.probability == pytest.approx(max(w.probability for w in seen))


def test_the_size_is_what_appeared_and_what_is_coming(twin):
    watch, seen = fed(twin, [0.0] * 3 + [0.4] * 10)
    assert watch.current is not None
    first = next(i for i, w in enumerate(seen) if w.since is not None)
    stream_says = 0.4 * 5.0 * (len(seen) - first) + 0.4 * 40.0
    assert watch.appeared == pytest.approx(0.4 * 5.0 * (len(seen) - first))
    assert CONSTANTS["size_later"].value <= watch.current.grams / stream_says <= CONSTANTS["size_at_first"].value


def test_a_higher_wall_is_later_or_never(twin):
    rates = [0.0] * 3 + [0.3] * 10
    (low, _), (high, _) = (fed(twin, rates, watch=Watch(WatchSettings(k, k / 2))) for k in (0.3, 0.7))
    assert low.episodes
    assert not high.episodes or high.episodes[0].raised >= low.episodes[0].raised


def test_the_same_moment_counts_once_and_none_backwards(twin):
    watch, _ = fed(twin, [0.3] * 3)
    again = saying(twin, 0.3, 0.08, later=15)
    assert watch.seen(again) == watch
    with pytest.raises(TimeError):
        watch.seen(saying(twin, 0.3, 0.08, later=10))


def test_without_news_it_returns_to_what_is_usual(twin):
    watch, _ = fed(twin, [0.5] * 8)
    silent = saying(twin, 0.5, 0.08, later=40)
    usual = Watch().probability
    before = watch.probability
    for later in (5, 60, 600):
        old = replace(silent, now=silent.now + later * MINUTE)
        decay = np.exp(-(CONSTANTS["begin"].value + CONSTANTS["end"].value) * later)
        assert watch.seen(old).probability == pytest.approx(usual + (before - usual) * decay), "the solution of a two-state chain"


def test_an_unlogged_meal_is_noticed_and_the_same_meal_logged_is_not(record, twin):
    """A rise by 110 mg/dL that no meal explains, and the same readings for a twin that knows of the meal."""
    at = 1450.0
    unlogged = eaten(record, at, 150.0)
    meal = Exposure(code=observe.CARBOHYDRATE, quantity=Quantity(value=100.0, unit="g"), start=START + round(at) * MINUTE, source="diary")
    highest, raised = {}, {}
    for name, told in (("quiet", record), ("unlogged", unlogged), ("logged", unlogged.with_facts(meal))):
        carried, watch, p = twin, Watch(), []
        for minute in range(1445, 1560, 5):
            carried = assimilate(carried, told, START + minute * MINUTE, ask=False)
            watch = watch.seen(carried)
            p.append(watch.probability)
        highest[name] = max(p)
        raised[name] = len(watch.episodes)
    assert raised["quiet"] == 0
    assert raised["unlogged"] == 1
    assert highest["quiet"] < 0.25
    assert highest["logged"] < highest["unlogged"]


def night(*, dips=(), value=120.0, noise=1.5, seed=0):
    """A flat night of readings every five minutes with dips (first minute, minutes, share lost, minutes of its edges)."""
    minute = np.arange(0.0, 480.0, 5.0)
    glucose = np.full(len(minute), value) + noise * np.random.default_rng(seed).normal(size=len(minute))
    for start, length, share, edge in dips:
        glucose *= 1.0 - share * np.clip(np.minimum(minute - start, start + length - minute) / edge, 0.0, 1.0)
    series = Series(code=observe.CGM[0], unit="mg/dL", time=START + minute.astype(np.int64) * MINUTE, value=glucose, source="sensor")
    return PatientRecord(id="sleeper").with_facts(series)


PRESSED = (180.0, 45.0, 0.45, 8.0)


def test_a_compression_low_is_found_where_it_is():
    found = compression_lows(night(dips=[PRESSED]))
    assert len(found) == 1
    first, last = ((t - START) / MINUTE for t in (found[0].first, found[0].last))
    assert abs(first - 185.0) <= 5.0
    assert abs(last - 220.0) <= 5.0
    assert found[0].probability > 0.8
    assert found[0].level == pytest.approx(120.0, abs=3.0)  # noise of 1.5 mg/dL, median of four
    assert found[0].ended


@pytest.mark.parametrize(
    ("name", "dips"), [("quiet", []), ("slow", [(150.0, 200.0, 0.5, 60.0)]), ("no rebound", [(300.0, 900.0, 0.45, 8.0)])]
)
def test_what_is_no_compression_low_is_not_one(name, dips):
    assert all(not compression_lows(night(dips=dips, seed=s)) for s in range(20)), name


def test_what_explains_it_lowers_the_probability():
    record = night(dips=[PRESSED])
    plain = candidates(record)[0]
    dose = Exposure(code=observe.FAST, quantity=Quantity(value=4.0, unit="[iU]"), start=START + 120 * MINUTE, source="pump")
    sport = Exposure(
        code=observe.Code.parse("loinc:73985-4"), quantity=None, start=START + 100 * MINUTE, end=START + 130 * MINUTE, source="watch"
    )
    for fact in (dose, sport):
        other = candidates(record.with_facts(fact))[0]
        assert other.explained
        assert other.probability < plain.probability
    basal = Exposure(code=observe.FAST, quantity=Quantity(value=1.0, unit="[iU]/h"), start=START, end=START + 480 * MINUTE, source="pump")
    assert not candidates(record.with_facts(basal))[0].explained, "a basal rate explains nothing"


def test_the_causal_one_sees_no_rebound_and_no_future():
    record = night(dips=[PRESSED])
    during = START + 205 * MINUTE
    said = compression_suspected(record, during, least=0.0)
    assert said is not None
    assert not said.ended
    series = record.series[0]
    spoilt = np.where(series.time > during, 300.0, series.value)
    other = record.model_copy(update={"series": (series.model_copy(update={"value": spoilt}),)})
    assert compression_suspected(other, during, least=0.0) == said
    assert compression_suspected(record, START + 170 * MINUTE, least=0.0) is None, "before it began"
    assert compression_suspected(record, START + 280 * MINUTE, least=0.0) is None, "after it was over"
    late = series.model_copy(update={"recorded": np.where(series.time > START + 170 * MINUTE, START + 400 * MINUTE, series.time)})
    unheard = record.model_copy(update={"series": (late,)})
    assert compression_suspected(unheard, during, least=0.0) is None, "not known yet"


def test_marks_hide_and_change_nothing():
    record, now = night(dips=[PRESSED]), START + 600 * MINUTE
    lows = compression_lows(record)
    after = marked(record, lows, now)
    before, later = observe.glucose(record), observe.glucose(after.as_of(now))
    np.testing.assert_array_equal(before.read, later.read)
    np.testing.assert_array_equal(before.time, later.time)
    assert (later.read < 70).any(), "the low is there for every alarm"
    kept = after.as_of(now).series[0]
    inside = (kept.time >= lows[0].first) & (kept.time <= lows[0].last)
    np.testing.assert_array_equal(kept.status == PRELIMINARY, inside)
    assert not (after.as_of(now - 1).series[0].status == PRELIMINARY).any(), "before it was marked it was not"
    assert marked(after, lows, now) == after or len(marked(after, lows, now).series[0]) == len(after.series[0]), (
        "marking twice adds nothing"
    )
    with pytest.raises(TimeError):
        marked(record, lows, lows[0].last - 1)


def test_readings_too_far_apart_are_refused():
    with pytest.raises(DomainError, match="far apart"):
        compression_lows(person(1, days=1.0, step=15))
    assert compression_lows(PatientRecord(id="nobody")) == ()
