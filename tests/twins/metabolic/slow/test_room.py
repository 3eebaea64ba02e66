"""The room of the slow axis: what it reads, what it notes, plans and withdrawals, when it abstains, and what its page says."""

import dataclasses

import jax
import numpy as np
import pytest

from gemel.core.code import Code
from gemel.core.errors import DomainError, UnitError
from gemel.core.record import Demographics, Exposure, Finding, PatientRecord, Quantity
from gemel.core.series import Series
from gemel.core.time import DAY, MINUTE, to_ns
from gemel.engine.forecast import compare, forecast
from gemel.engine.infer.laplace import Laplace
from gemel.engine.recommend import Abstained, Choice, recommend
from gemel.engine.status import Status
from gemel.engine.twin import calibrate
from gemel.twins.metabolic.slow import observe, plans
from gemel.twins.metabolic.slow import room as here
from gemel.twins.metabolic.slow.model import SlowModel
from gemel.twins.metabolic.slow.observe import CHANNEL
from gemel.twins.metabolic.slow.report import view

START = to_ns("2025-01-06T08:00:00Z")
NOW = START + 400 * DAY
METFORMIN, SEMAGLUTIDE, BROMOCRIPTINE = (Code.parse(f"atc:{c}") for c in ("A10BA02", "A10BJ06", "A10BX08"))
WHO = Demographics(
    sex="female", age=56.0, traits={"height": Quantity(value=164.0, unit="cm"), "diabetes duration": Quantity(value=4.0, unit="a")}
)


def _series(code, unit, days, values):
    return Series(code=code, unit=unit, time=START + np.asarray(days) * DAY, value=np.asarray(values, float), source="clinic")


def _record():
    days = np.arange(0, 400, 40)
    return PatientRecord(id="p-slow", demographics=WHO).with_facts(
        _series(observe.WEIGHT, "kg", days, 96.0 - 0.01 * days),
        _series(observe.HBA1C, "%", [3, 120, 250, 390], [7.9, 7.7, 7.4, 7.3]),
        Exposure(code=METFORMIN, quantity=Quantity(value=2000.0, unit="mg/d"), start=START + 30 * DAY, end=START + 1000 * DAY),
        Exposure(code=SEMAGLUTIDE, quantity=Quantity(value=1.0, unit="mg"), start=START + 100 * DAY, end=START + 107 * DAY),
        Exposure(code=BROMOCRIPTINE, quantity=Quantity(value=5.0, unit="mg"), start=START + 10 * DAY),
        Exposure(code=observe.INSULIN[3], quantity=Quantity(value=20.0, unit="[iU]/d"), start=START + 50 * DAY, end=START + 60 * DAY),
    )


@pytest.fixture(scope="module")
def twin():
    return calibrate(SlowModel(), _record(), NOW, method=Laplace(resample=True, starts=4), key=jax.random.key(0))


def test_reads_units_findings_and_drugs():
    record = _record().with_facts(
        Finding(code=observe.HBA1C, value=Quantity(value=60.0, unit="mmol/mol"), time=START + 200 * DAY),
        Finding(code=observe.FASTING, value=Quantity(value=8.0, unit="mmol/L"), time=START + 201 * DAY),
    )
    _, hba1c = observe.measured(record, observe.HBA1C)
    assert hba1c[2] == pytest.approx(7.64, abs=0.005)  # 60 mmol/mol is 7.6 %
    assert observe.measured(record, observe.FASTING)[1] == pytest.approx([8.0 * 18.0156])  # 18.0156 mg/dL per mmol/L
    found, notes = observe.events(record, START)
    assert notes == ["atc:A10BX08: a drug or dose without a mapping; the model takes it for none"]
    by = {c: (s, d, a) for s, d, a, c in found}
    assert by[CHANNEL["metformin"]] == pytest.approx((30.0, 970.0, 970.0))  # one defined daily dose a day
    assert by[CHANNEL["glp1"]] == pytest.approx((100.0, 7.0, 1.0 / 0.11))  # a weekly injection, over its week
    assert by[CHANNEL["insulin"]] == pytest.approx((50.0, 10.0, 200.0))
    seen = observe.observe(SlowModel(), record, NOW)
    assert seen.counts == {"HbA1c": 5, "weighings": 9, "fasting glucose": 1, "mean glucose": 0}  # the first weighing starts the path
    assert float(seen.context.height) == pytest.approx(1.64)
    assert float(seen.context.weight) == 96.0
    assert seen.last == 7.3
    assert notes[0] in seen.notes
    with pytest.raises(UnitError, match="HbA1c in a unit"):
        observe.measured(record.with_facts(_series(observe.HBA1C, "mmol/L", [10], [7.0])), observe.HBA1C)


def test_raw_sensor_readings_enter_as_fortnights():
    time = START + np.arange(0, 20 * 96) * 15 * MINUTE
    value = np.where(time < START + 14 * DAY, 150.0, 210.0)
    record = _record().with_facts(Series(code=observe.CGM[0], unit="mg/dL", time=time, value=value, source="sensor"))
    when, mean = observe.fortnights(record)
    assert mean.tolist() == [150.0]  # six of fourteen days are fewer than half
    assert when[0] == START + 7 * DAY


def test_abstains_outside_its_domain():
    model, record = SlowModel(), _record()
    assert model.domain(record, NOW).reason is None
    young = record.model_copy(update={"demographics": WHO.model_copy(update={"age": 16.0})})
    light = record.with_facts(_series(observe.WEIGHT, "kg", [395], [36.0]))
    cases = (young, light, PatientRecord(id="nobody"), record.with_facts(_series(observe.HBA1C, "%", [396], [16.5])))
    cases += (record.with_facts(Finding(code=Code.parse("snomed:442338001"), time=START)),)
    hungry = Exposure(code=observe.ENERGY, quantity=Quantity(value=-2000.0, unit="kcal/d"), start=NOW, end=NOW + DAY)
    for case in (*cases, record.with_facts(hungry)):
        found = model.domain(case, NOW)
        assert found.reason is not None
        assert found.sentence
    assert model.domain(record, NOW + 300 * DAY).reason is None
    assert model.domain(record, NOW + 400 * DAY).reason == "data too old"


def test_plans_start_and_withdraw(twin):
    assert plans.taken(twin) == ["metformin"]
    known = twin.observed.plan.events
    stopped = plans.stop(twin, "metformin").events
    before = next(e for e in known if e[3] == CHANNEL["metformin"])
    after = next(e for e in stopped if e[3] == CHANNEL["metformin"])
    now = 400.0
    assert after[:2] == pytest.approx((before[0], now - before[0]))
    assert after[2] / after[1] == pytest.approx(before[2] / before[1])  # what was taken stays taken
    assert [e for e in stopped if e[3] != CHANNEL["metformin"]] == [e for e in known if e[3] != CHANNEL["metformin"]]
    assert plans.start_insulin(twin, 20.0, days=10).events[-1] == pytest.approx((now, 10.0, 200.0, CHANNEL["insulin"]))
    with pytest.raises(DomainError, match="no such class"):
        plans.start_drug(twin, "aspirin")
    wall = {limit.name: limit.check for limit in plans.limits()}["walls of the plan"]
    assert wall is not None
    assert wall(plans.energy_change(twin, -1200.0)) == "a deficit of 1200 kcal/d; at most 1000"
    assert wall(plans.start_drug(twin, "glp1", share=3.0)) == "3.0 times the defined daily dose; at most 2"
    assert wall(plans.energy_change(twin, -600.0)) is None


@pytest.mark.slow
def test_plans_move_weight_and_glucose_the_way_they_must(twin):
    assert twin.status == Status.OK
    options = {
        "as known": None,
        "less": plans.energy_change(twin, -500.0),
        "much less": plans.energy_change(twin, -900.0),
        "walk": plans.activity(twin, 0.1),
        "stop": plans.stop(twin, "metformin"),
        "insulin": plans.start_insulin(twin, 20.0),
        "glp1": plans.start_drug(twin, "glp1"),
    }
    found = compare(twin, options, twin.times(365 * 1440.0), n=64, key=jax.random.key(1))

    def gain(name, output):
        return found.difference(name, "as known", output=output)[:, 0]

    assert (gain("less", "weight") < -4.0).all()  # 500 kcal for a year: 10 kg and more by the verified equations, after adaptation
    assert (gain("much less", "weight") < gain("less", "weight")).all()
    for name in ("less", "walk", "insulin", "glp1"):
        assert (gain(name, "hba1c") < 0).all(), name
    assert (gain("stop", "hba1c") > 0).all()
    assert (gain("insulin", "weight") > 0).all()  # insulin brings weight
    assert (gain("glp1", "weight") < 0).all()
    assert (gain("walk", "weight") < 0).all()


def test_beyond_its_days_there_is_no_number(twin):
    assert forecast(twin, None, twin.times(1100 * 1440.0), n=8, key=jax.random.key(1)).status == Status.NOT_FINITE
    assert len(forecast(twin, None, twin.times(1050 * 1440.0), n=8, key=jax.random.key(1)).draws) == 8


@pytest.mark.slow
def test_advice_and_page(twin):
    advice = recommend(twin, here.plans(twin), here.objective(), here.limits(), times=here.times(twin), n=128, key=jax.random.key(2))
    assert isinstance(advice, Choice | Abstained)
    assert advice.comparison is not None
    made = forecast(twin, None, here.times(twin), key=jax.random.key(2))
    page = view(twin, _record(), made, advice, simulated=True)
    told = page.model_dump_json()
    for words in ("Model consequence under stated assumptions", "ASSUMED", "FAILED", "without a mapping", "SIMULATED", "HbA1c"):
        assert words in told, words
    silent = dataclasses.replace(made, draws=made.draws[:0], status=Status.ABSTAINED, reason="out of domain: because")
    assert "because" in view(twin, _record(), silent).model_dump_json()
