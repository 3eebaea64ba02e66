"""The room of the type 2 twin: drugs by class and those without one, plans, changes from the slow axis, abstention, the page, and Shanghai."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from _data import require_dataset
from gemel.core.code import Code
from gemel.core.errors import DomainError
from gemel.core.record import Demographics, Exposure, Finding, PatientRecord, Quantity
from gemel.core.series import Series
from gemel.core.time import HOUR, MINUTE, to_ns
from gemel.engine.forecast import compare
from gemel.engine.stream import EnsembleFilter
from gemel.engine.twin import calibrate
from gemel.twins.metabolic import observe as shared
from gemel.twins.metabolic.t2d import observe, plans
from gemel.twins.metabolic.t2d.model import Type2Model, with_drugs
from gemel.twins.metabolic.t2d.observe import CHANNEL
from gemel.twins.metabolic.t2d.priors import DRUGS, column
from gemel.twins.metabolic.t2d.report import drug_table, view

START = to_ns("2026-03-02T06:00:00Z")
NOW = START + 30 * HOUR
ACARBOSE, METFORMIN, BROMOCRIPTINE = (Code.parse(f"atc:{c}") for c in ("A10BF01", "A10BA02", "A10BX08"))


def _record(*facts):
    time = START + np.arange(0, 30 * 4 + 1) * 15 * MINUTE
    value = 150.0 + 20.0 * np.sin(np.arange(len(time)) / 9.0)
    cgm = Series(code=shared.CGM[0], unit="mg/dL", time=time, value=value, source="sensor")
    meal = Exposure(code=shared.CARBOHYDRATE, quantity=Quantity(value=50.0, unit="g"), start=START + 2 * HOUR)
    return PatientRecord(id="p-two", demographics=Demographics(age=61.0)).with_facts(cgm, meal, *facts)


def _drug(code, amount, unit="mg", hour=2.0):
    quantity = None if amount is None else Quantity(value=amount, unit=unit)
    return Exposure(code=code, quantity=quantity, start=START + round(hour * HOUR), source="diary")


def test_drugs_by_class_and_those_without_one():
    record = _record(_drug(ACARBOSE, 50.0), _drug(METFORMIN, 0.5, "g"), _drug(METFORMIN, None, hour=8.0), _drug(BROMOCRIPTINE, 5.0))
    found, notes = observe.drug_events(record, START)
    assert found[0] == pytest.approx((120.0, 300.0, 50.0 / 300.0, CHANNEL["alpha_glucosidase"]))
    assert found[1] == pytest.approx((120.0, 1440.0, 0.25, CHANNEL["metformin"]))
    assert found[2] == pytest.approx((480.0, 1440.0, 0.5, CHANNEL["metformin"]))
    assert notes == [
        "atc:A10BA02: no amount is told; a usual single dose is ASSUMED",
        "atc:A10BX08: a drug or dose without a mapping; the model takes it for none",
    ]
    seen = observe.observe(Type2Model(), record, NOW)
    assert set(notes) <= set(seen.notes)
    assert seen.counts["drugs"] == 3
    channels = {c for *_, c in seen.plan.events}
    assert channels == {CHANNEL["carbohydrate"], CHANNEL["alpha_glucosidase"], CHANNEL["metformin"]}


def test_drugs_change_what_they_must():
    p = {name: jnp.asarray(v) for name, v in column().items()}
    change = jax.jit(lambda shares: with_drugs(p, shares, jnp.ones(())))
    none = change(np.zeros(len(DRUGS)))
    assert all(float(none[name]) == float(p[name]) for name in p)
    for i, (name, drug) in enumerate(DRUGS.items()):
        one, two = (change(n * np.eye(len(DRUGS))[i]) for n in (1.0, 2.0))
        for changed, log_factor in drug.changes.items():
            assert float(jnp.log(one[changed] / p[changed])) == pytest.approx(log_factor, rel=1e-12), (name, changed)
            assert float(jnp.log(two[changed] / p[changed])) == pytest.approx(log_factor * 4 / 3, rel=1e-12)
        others = set(p) - set(drug.changes)
        assert all(float(one[other]) == float(p[other]) for other in others)
    signs = {(n, k): np.sign(v) for n, d in DRUGS.items() for k, v in d.changes.items()}
    assert (
        signs["alpha_glucosidase", "kabs"]
        == signs["alpha_glucosidase", "f"]
        == signs["gliflozin", "ke2"]
        == signs["metformin", "kp1"]
        == -1
    )
    assert signs["secretagogue", "beta"] == signs["secretagogue", "K"] == 1


@pytest.fixture(scope="module")
def twin():
    """Return a twin that knows one reading: its posterior is the prior, and no inference has to run."""
    read = Series(code=shared.CGM[0], unit="mg/dL", time=[START], value=[160.0])
    return calibrate(
        Type2Model(), PatientRecord(id="one").with_facts(read), START + HOUR, filter=EnsembleFilter(size=48), key=jax.random.key(1)
    )


def test_plans_of_meals_and_drugs(twin):
    assert set(plans.named_plans(twin)) >= {"as known", "50 g carbohydrate now", "50 g with an alpha-glucosidase inhibitor"}
    assert plans.energy(twin, 400.0).events == plans.meal(twin, 50.0).events  # half of it carbohydrate, 4 kcal/g
    with pytest.raises(DomainError, match="not accepted"):
        plans.meal(twin, 250.0)
    with pytest.raises(DomainError, match="no such class"):
        plans.with_drug(twin, "aspirin")
    wall = {limit.name: limit.check for limit in plans.limits()}["dose walls"]
    assert wall is not None
    assert "defined daily doses" in str(wall(plans.with_drug(twin, "gliflozin", doses=3.0)))
    assert wall(plans.with_drug(twin, "alpha_glucosidase")) is None


@pytest.mark.slow
def test_meals_drugs_and_changes_move_glucose_the_way_they_must(twin):
    from dataclasses import replace

    from gemel.engine.model import Domain

    inside = replace(twin, domain=Domain())
    whole = plans.meal(inside, 50.0)
    options = {
        "nothing": None,
        "meal": whole,
        "half": plans.meal(inside, 25.0),
        "acarbose": plans.with_drug(inside, "alpha_glucosidase", plan=whole),
        "secretagogue": plans.with_drug(inside, "secretagogue", plan=whole),
    }
    times = inside.times(60, 120, 180)
    found = compare(inside, options, times, n=48, key=jax.random.key(2))
    assert found.difference("meal", "nothing").mean(axis=0).min() > 10.0
    assert (found.difference("meal", "half")[:, :2] > 0).all()
    assert found.difference("acarbose", "meal")[:, 0].mean() < -3.0  # slower and less, in the first hour
    assert found.difference("secretagogue", "meal")[:, 2].mean() < 0.0
    better = plans.changed(inside, sensitivity=1.6, function=1.4)
    after = compare(better, {"meal": plans.meal(better, 50.0)}, times, n=48, key=jax.random.key(2))
    gain = after.forecasts["meal"].draws - found.forecasts["meal"].draws
    assert gain[:, 1:, 0].mean() < -3.0  # the same draws, more sensitive and better secreting
    assert "assumed, not observed" in better.notes[-1]
    page = view(inside, _record(), found.forecasts["nothing"], comparison=found, simulated=True).model_dump_json()
    for words in ("Plans compared", "Prior-dominated", "alpha_glucosidase", "ASSUMED", "SIMULATED"):
        assert words in page, words
    assert drug_table().rows == len(DRUGS)


def test_abstains_where_it_has_no_business():
    model = Type2Model()
    assert model.domain(_record(), NOW).reason is None
    first = Finding(code=observe.TYPE_1, time=START)
    assert "beta cell" in model.domain(_record(first), NOW).sentence
    young = _record().model_copy(update={"demographics": Demographics(age=15.0)})
    assert model.domain(young, NOW).reason is not None
    assert model.domain(_record(), NOW + 2 * HOUR).reason == "data too old"


@pytest.mark.data
def test_reads_what_shanghai_gives():
    from gemel.interop.wearables import read_all

    records = [r for r, _ in read_all(require_dataset("shanghai"), format="shanghai") if r.id.startswith("2")]
    model, drugs, unmapped = Type2Model(), 0, set()
    for record in records:
        now = int(shared.glucose(record).time[-1])
        seen = model.observe(record.as_of(now), now)
        assert seen.data.count > 0
        drugs += seen.counts["drugs"]
        unmapped |= {n.split(":")[1] for n in seen.notes if "without a mapping" in n}
        told = {e.code.code for e in record.exposures if e.code.system == "atc" and e.code.code.startswith("A10B")}
        assert all(observe.class_of(Code(system="atc", code=c)) or any(c in n for n in seen.notes) for c in told), record.id  # never silent
    assert len(records) == 57
    assert drugs > 500
