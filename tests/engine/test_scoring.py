"""``score``: only facts after the issue, known by now, in the right unit; what is missing is told."""

from dataclasses import replace

import numpy as np
import pytest
from _toys import calibrated, person

import gemel
from gemel.core.code import Code
from gemel.core.errors import ModelError, UnitError
from gemel.core.record import PatientRecord
from gemel.core.series import ABOVE, ENTERED_IN_ERROR, Series
from gemel.core.time import HOUR, MINUTE
from gemel.engine.model import Output
from gemel.engine.score import crps_draws

TWIN = "toy-linear"


@pytest.fixture(scope="module")
def made():
    twin = calibrated(TWIN)
    return gemel.forecast(twin, None, twin.times(60, 120, 180, 240), n=200, key=1)


def later(forecast, values, minutes, **columns):
    time = forecast.issued + np.asarray(minutes, np.int64) * MINUTE
    return Series(code=Code.parse("gemel:toy-signal"), unit="[arb'U]", time=time, value=values, source="later", **columns)


def test_rows_missing_and_naive(made):
    record, now, _ = person(TWIN)
    found = gemel.score(made, record.with_facts(later(made, [12.0, 13.0], [61, 118])), now + 4 * HOUR)
    assert [r.horizon for r in found.rows] == [60.0, 120.0]
    assert [m[0] for m in found.missing] == made.times[2:].tolist()
    row = found.rows[0]
    assert row.observed == 12.0
    assert row.crps == pytest.approx(float(crps_draws(made.draws[:, 0, 0], 12.0)))
    assert row.naive_crps == pytest.approx(abs(record.series[0].value[-1] - 12.0))
    assert row.inside["0.90"] == bool(np.quantile(made.draws[:, 0, 0], 0.05) <= 12.0 <= np.quantile(made.draws[:, 0, 0], 0.95))
    assert row.width["0.95"] > row.width["0.50"]
    assert found.lineage == made.lineage
    assert found.skill() == pytest.approx(1 - sum(r.crps for r in found.rows) / sum(r.naive_crps for r in found.rows))


def test_only_what_was_known_by_now_and_true_after_the_issue(made):
    record, now, _ = person(TWIN)
    late = later(made, [12.0], [60], recorded=[made.issued + 300 * MINUTE])
    assert not gemel.score(made, record.with_facts(late), now + HOUR).rows
    assert len(gemel.score(made, record.with_facts(late), now + 6 * HOUR).rows) == 1
    before = later(made, [12.0], [-1])
    assert not gemel.score(made, record.with_facts(before), now + 6 * HOUR).rows


def test_corrections_errors_and_censored_readings(made):
    record, now, _ = person(TWIN)
    first, second = later(made, [12.0], [60]), later(made, [14.0], [60], recorded=[made.issued + 90 * MINUTE])
    assert gemel.score(made, record.with_facts(first, second), now + 6 * HOUR).rows[0].observed == 14.0
    wrong = later(made, [14.0], [60], recorded=[made.issued + 90 * MINUTE], status=[ENTERED_IN_ERROR])
    assert not gemel.score(made, record.with_facts(first, wrong), now + 6 * HOUR).rows
    assert not gemel.score(made, record.with_facts(later(made, [14.0], [60], censored=[ABOVE])), now + 6 * HOUR).rows


def test_the_nearest_reading_within_tolerance(made):
    record, now, _ = person(TWIN)
    two = later(made, [1.0, 2.0], [58, 61])
    assert gemel.score(made, record.with_facts(two), now + 6 * HOUR).rows[0].observed == 2.0
    assert not gemel.score(made, record.with_facts(later(made, [1.0], [63])), now + 6 * HOUR).rows


def test_units():
    twin = calibrated(TWIN)
    made = gemel.forecast(twin, None, twin.times(60), n=50, key=1)
    glucose = replace(made, outputs=(Output("glucose", "loinc:99504-3", "mg/dL"),))
    time = [int(made.times[0])]
    amount = Series(code=Code.parse("loinc:105272-9"), unit="mmol/L", time=time, value=[1.0])
    found = gemel.score(glucose, PatientRecord(id="p").with_facts(amount), int(made.times[0]))
    assert found.rows[0].observed == pytest.approx(18.0156)
    assert found.rows[0].naive_crps is None
    odd = Series(code=Code.parse("gemel:toy-signal"), unit="kg", time=time, value=[1.0])
    with pytest.raises(UnitError):
        gemel.score(made, PatientRecord(id="p").with_facts(odd), int(made.times[0]))


def test_an_abstained_forecast_cannot_be_scored(made):
    with pytest.raises(ModelError, match="abstained"):
        gemel.score(replace(made, draws=made.draws[:0], reason="silent"), person(TWIN)[0], made.issued)


@pytest.mark.slow
def test_the_linear_twin_covers_as_it_promises():
    """Sixty people, four readings ahead each: the 90 % band holds 90 %, within the 99.9 % binomial limits of 240 readings that lean on each other."""
    import jax

    room = gemel.room(TWIN)
    inside = []
    for i in range(60):
        record, now, _ = room.simulate_record(jax.random.fold_in(jax.random.key(11), i))
        series = record.series[0]
        then = int(series.time[25]) + MINUTE
        twin = gemel.calibrate(TWIN, record.model_copy(update={"series": (series.between(0, then),)}), then, key=i)
        found = gemel.score(gemel.forecast(twin, None, series.time[26:30], n=400, key=i), record, now)
        inside += [r.inside["0.90"] for r in found.rows]
    assert len(inside) == 240
    assert 0.80 < np.mean(inside) < 0.97
