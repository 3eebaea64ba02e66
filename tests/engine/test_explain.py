"""What a reading was worth counts what a learnt correction made of it, where the record is at hand, and says so where it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from _toys import KEY, calibrated, person

from gemel.engine.bands import LEVELS
from gemel.engine.correction import Correction
from gemel.engine.forecast import compare
from gemel.engine.keys import stream
from gemel.engine.recommend import Objective, recommend
from gemel.twins.toys import growth_room
from gemel.twins.toys.model import GrowthModel

OBJECTIVE = Objective("smallest square", "1", lambda f: -np.square(f.draws[:, -1, 0]))


def _series(record):
    return next(s for s in record.series if str(s.code) == "gemel:toy-signal")


def _persistence(record):
    """A layer that says: the last reading, again."""
    series = _series(record)
    last = float(series.value[np.argmax(series.time)])
    return Correction(np.array([720.0]), (last + 0.5 * (np.asarray(LEVELS) - 0.5))[None])


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(GrowthModel, "correction", lambda self, record, now, learnt: _persistence(record))
    record, now, _ = person("toy-growth")
    known = record.as_of(now)
    twin = calibrated("toy-growth")
    seen = replace(twin.observed, last=float(_series(known).value[-1]))
    return replace(twin, observed=seen, learnt="anything", correction=_persistence(known)), known


def _ask(twin, record):
    plans = growth_room.plans(twin)
    return recommend(twin, plans, OBJECTIVE, times=growth_room.times(twin), n=64, key=KEY, record=record).explanation


def _by_time(explanation):
    return {d["time"]: d for d in explanation["data"]}


def test_with_the_record_a_reading_is_left_out_of_the_correction_too(told):
    twin, known = told
    full, blind = (_by_time(_ask(twin, r)) for r in (known, None))
    assert {d["by"] for d in full.values()} == {"left out"}
    assert {d["by"] for d in blind.values()} == {"stream only"}
    last = max(full)
    assert abs(full[last]["moved"]) > 2 * abs(blind[last]["moved"])  # persistence reads the last reading only
    assert all(full[t]["moved"] == pytest.approx(blind[t]["moved"]) for t in set(full) & set(blind) - {last})


def test_the_influence_is_what_forgetting_the_reading_does(told):
    """Known answer: the mean gain less the mean gain under the correction of a record that never had the reading."""
    twin, known = told
    explanation = _ask(twin, known)
    series = _series(known)
    forgot = known.model_copy(update={"series": (series.take(series.time < series.time.max()),)})
    pair = {k: growth_room.plans(twin)[k] for k in (explanation["best"], explanation["second"])}

    def gain(one):
        made = compare(one, pair, growth_room.times(twin), n=64, key=stream(KEY, "judge")).forecasts
        return float(np.mean(OBJECTIVE.utility(made[explanation["best"]]) - OBJECTIVE.utility(made[explanation["second"]])))

    through_correction = gain(twin) - gain(replace(twin, correction=_persistence(forgot)))
    data = _by_time(explanation)
    through_stream = _by_time(_ask(twin, None))[max(data)]["moved"]
    # two ways of one reading: what they do together differs from their sum by their product, which is small
    assert data[max(data)]["moved"] == pytest.approx(through_correction + through_stream, rel=0.1)


def test_a_record_without_such_readings_is_the_stream_alone(told):
    twin, known = told
    empty = known.model_copy(update={"series": ()})
    assert {d["by"] for d in _by_time(_ask(twin, empty)).values()} == {"stream only"}
