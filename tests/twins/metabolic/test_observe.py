"""From record to data: limits, units, time; and when the room abstains."""

import numpy as np
import pytest

from _glucose import MINUTE, person
from gemel.core.advice import AbstentionReason
from gemel.core.code import Code
from gemel.core.errors import DataError
from gemel.core.manifest import manifest_of
from gemel.core.record import Exposure, Finding, Quantity
from gemel.core.series import ABOVE, BELOW, EXACT, Series
from gemel.twins.metabolic import observe
from gemel.twins.metabolic.model import MetabolicModel


@pytest.fixture(scope="module")
def record():
    return person(2, days=2.0, step=5)


@pytest.fixture(scope="module")
def model():
    return MetabolicModel()


def now_of(record):
    return int(record.series[0].time[-1])


def replaced(record, **columns):
    return record.model_copy(update={"series": (record.series[0].model_copy(update=columns),)})


def with_last(record, value):
    values = record.series[0].value.copy()
    values[-1] = value
    return replaced(record, value=values)


def test_low_and_high_are_censored(record, model):
    series = record.series[0]
    value, censored = series.value.copy(), series.censored.copy()
    value[10], value[20], value[30], value[40] = 38.0, 40.0, 400.0, 430.0
    value[50], censored[50] = 55.0, BELOW  # a sensor with a higher limit of its own
    known = observe.glucose(replaced(record, value=value, censored=censored))
    assert known.censored[[10, 20, 30, 40, 50, 60]].tolist() == [BELOW, BELOW, ABOVE, ABOVE, BELOW, EXACT]
    assert known.value[[10, 20, 30, 40, 50]].tolist() == [40.0, 40.0, 400.0, 400.0, 55.0]
    assert known.read[[10, 40]].tolist() == [38.0, 430.0], "what was read is kept"
    seen = model.observe(replaced(record, value=value, censored=censored), now_of(record))
    assert any("limits enter as censored" in note for note in seen.notes)
    assert (np.asarray(seen.data.censored)[np.asarray(seen.data.mask)] != EXACT).sum() == 5


def test_mmol_is_converted_and_mmol_called_mg_is_refused(record, model):
    series = record.series[0]
    honest = Series(code=series.code, unit="mmol/L", time=series.time, value=series.value / 18.0156, source="sensor")
    known = observe.glucose(record.model_copy(update={"series": (honest,)}))
    assert np.allclose(known.value, series.value, rtol=1e-3)  # 18.016 or 18.0156: the molar mass has five digits
    wrong = replaced(record, value=series.value / 18.0156)
    with pytest.raises(DataError, match="mmol/L read as mg/dL"):
        model.observe(wrong, now_of(record))


def test_future_readings_are_ignored(record, model):
    now = now_of(record) - 300 * MINUTE
    cut = record.model_copy(update={"series": (record.series[0].between(0, now + 1),)})
    full, part = model.observe(record, now), model.observe(cut, now)
    assert any("later than now were ignored" in note for note in full.notes)
    assert full.latest == part.latest == now
    for a, b in ((full.data.value, part.data.value), (full.data.mask, part.data.mask), (full.context.first, part.context.first)):
        assert np.array_equal(a, b)
    assert model.slots(record, now, epoch=full.epoch).mask.sum() == model.slots(cut, now, epoch=full.epoch).mask.sum()
    assert observe.domain(record, now).reason is None


def test_the_first_reading_starts_the_trajectory_and_is_not_scored(record, model):
    seen = model.observe(record, now_of(record))
    assert float(seen.context.first) == record.series[0].value[0]
    assert int(np.asarray(seen.data.mask).sum()) == len(record.series[0]) - 1


def test_inside_the_domain_it_answers(record):
    assert observe.domain(record, now_of(record)).reason is None
    assert observe.domain(with_last(record, 39.0), now_of(record)).reason is None, "LOW is an answer of the sensor"
    assert observe.domain(with_last(record, 401.0), now_of(record)).reason is None, "HIGH too"


@pytest.mark.parametrize("value", [615.0, 501.0, 38.0, 5.0])
def test_a_value_out_of_range_abstains(record, value):
    found = observe.domain(with_last(record, value), now_of(record))
    assert found.reason == AbstentionReason.OUT_OF_DOMAIN
    assert f"{value:.0f} mg/dL" in found.sentence


def test_a_silent_sensor_abstains(record):
    now = now_of(record)
    assert observe.domain(record, now + 15 * MINUTE).reason is None
    found = observe.domain(record, now + 16 * MINUTE)
    assert found.reason == AbstentionReason.DATA_TOO_OLD
    assert "16 min old" in found.sentence
    slow = person(2, days=2.0, step=15)
    assert observe.domain(slow, now_of(slow) + 30 * MINUTE).reason is None, "a sensor that reads every 15 min is waited for"
    assert observe.domain(slow, now_of(slow) + 31 * MINUTE).reason == AbstentionReason.DATA_TOO_OLD


def test_less_than_a_day_abstains(record):
    now = now_of(record)
    short = replaced(record).model_copy(update={"series": (record.series[0].between(now - 23 * 60 * MINUTE, now + 1),)})
    found = observe.domain(short, now)
    assert found.reason == AbstentionReason.OUT_OF_DOMAIN
    assert "24 h" in found.sentence
    assert observe.domain(record.model_copy(update={"series": ()}), now).reason == AbstentionReason.DATA_TOO_OLD


@pytest.mark.parametrize(("snomed", "word"), [("77386006", "pregnancy"), ("420422005", "ketoacidosis"), ("265764009", "dialysis")])
def test_findings_outside_the_context_of_use_abstain(record, snomed, word):
    now = now_of(record)
    told = record.with_facts(Finding(code=Code(system="snomed", code=snomed), time=now - 60 * MINUTE))
    found = observe.domain(told, now)
    assert found.reason == AbstentionReason.OUT_OF_DOMAIN
    assert word in found.sentence
    later = record.with_facts(Finding(code=Code(system="snomed", code=snomed), time=now + 60 * MINUTE))
    assert observe.domain(later, now).reason is None


def test_amounts_out_of_range_abstain(record):
    now = now_of(record)
    for code, value, unit in ((observe.CARBOHYDRATE, 201.0, "g"), (observe.FAST, 50.5, "[iU]")):
        dose = Exposure(code=code, quantity=Quantity(value=value, unit=unit), start=now - 60 * MINUTE)
        found = observe.domain(record.with_facts(dose), now)
        assert found.reason == AbstentionReason.OUT_OF_DOMAIN
        assert unit in found.sentence
        old = Exposure(code=code, quantity=Quantity(value=value, unit=unit), start=now - 73 * 60 * MINUTE)
        assert observe.domain(record.with_facts(old), now).reason is None, "calibration does not read it any more"
    rate = Exposure(code=observe.FAST, quantity=Quantity(value=60.0, unit="[iU]/d"), start=now - 60 * MINUTE, end=now)
    assert observe.domain(record.with_facts(rate), now).reason is None, "a rate is no single dose"
    heavy = record.with_facts(Series(code=observe.WEIGHT, unit="kg", time=[now - MINUTE], value=[300.0]))
    assert observe.domain(heavy, now).reason == AbstentionReason.OUT_OF_DOMAIN


def test_manifest_and_domain_tell_the_same_limits():
    found = {spec.name: spec.domain for spec in manifest_of("metabolic").inputs if spec.domain}
    assert found == {"glucose": (39.0, 500.0), "carbohydrate": (0.0, 200.0), "fast insulin": (0.0, 50.0), "body weight": (15.0, 250.0)}


def test_a_young_child_abstains():
    young = person(2, days=2.0, step=5, age=5.0)
    assert observe.domain(young, now_of(young)).reason == AbstentionReason.OUT_OF_DOMAIN
