"""Which twins an export can feed: by the manifest, and by asking the twin."""

from __future__ import annotations

import numpy as np
import pytest

from gemel.core.code import Code
from gemel.core.errors import DataError
from gemel.core.manifest import manifest_of
from gemel.core.record import Exposure, PatientRecord, Quantity
from gemel.core.series import Series
from gemel.core.time import DAY, MINUTE, to_ns
from gemel.platform.readiness import readiness

START = to_ns("2026-03-02T00:00:00Z")
MANIFESTS = [manifest_of("metabolic"), manifest_of("toy-linear")]


def cgm(days=2.0, step=5, unit="mg/dL", value=120.0, code="loinc:99504-3"):
    time = START + np.arange(0, round(days * 1440), step) * MINUTE
    return Series(code=Code.parse(code), unit=unit, time=time, value=np.full(len(time), value), source="sensor")


def person(name="a", *facts):
    return PatientRecord(id=name).with_facts(*facts)


def of(found, twin):
    return next(t for t in found if t.twin == twin)


def quality(record, name):
    (patient,) = of(readiness([record], MANIFESTS), "metabolic").patients
    return next(i for i in patient.inputs if i.name == name)


def test_what_is_there_is_counted_and_what_is_missing_is_named():
    bolus = Exposure(code=Code.parse("atc:A10AB05"), quantity=Quantity(value=3.0, unit="[iU]"), start=START + DAY)
    found = readiness([person("a", cgm(), bolus), person("b")], MANIFESTS)
    metabolic = of(found, "metabolic")
    assert (metabolic.ready, [p.is_ready for p in metabolic.patients]) == (1, [True, False])
    assert metabolic.with_input["glucose"] == 1
    assert metabolic.with_input["fast insulin"] == 1  # a substance of the group
    assert "missing: glucose" in metabolic.patients[1].refusal
    assert "body weight" in metabolic.patients[0].absent
    assert of(found, "toy-linear").ready == 0
    assert found[0].twin == "metabolic"  # whom it can feed most comes first
    assert dict(metabolic.refusals) == {"missing: glucose": 1}


def test_density_gaps_range_and_units():
    whole = quality(person("a", cgm()), "glucose")
    assert (whole.interval, whole.complete, whole.faults) == (5.0, 1.0, ())
    assert whole.days == pytest.approx(2.0, abs=0.01)
    series = cgm()
    half = series.take((series.time - START) // (6 * 60 * MINUTE) % 2 == 0)  # six hours on, six off
    sparse = quality(person("a", half), "glucose")
    assert sparse.complete == pytest.approx(0.571, abs=0.01)  # the last half day is off: 4 of 7 quarters
    assert any("complete" in f for f in sparse.faults)
    assert quality(person("a", cgm(value=20.0)), "glucose").outside == len(cgm())
    molar = quality(person("a", cgm(unit="mmol/L", value=6.0)), "glucose")
    assert (molar.outside, molar.wrong_unit) == (0, 0)  # 6 mmol/L is 108 mg/dL
    wrong = quality(person("a", cgm(unit="kg", value=6.0)), "glucose")
    assert (wrong.count, wrong.wrong_unit) == (0, len(cgm()))
    assert any("cannot be converted" in f for f in wrong.faults)
    rate = Exposure(code=Code.parse("atc:A10AB"), quantity=Quantity(value=0.8, unit="[iU]/h"), start=START, end=START + DAY)
    assert quality(person("a", rate), "fast insulin").count == 1
    meal = Exposure(code=Code.parse("gemel:meal-unquantified"), quantity=None, start=START)
    assert quality(person("a", meal), "meal of unknown size").count == 1


def test_the_twin_is_asked_at_the_end_of_the_record_and_decides():
    asked = []

    def ask(twin, record, now):
        asked.append((twin, record.id, now))
        return "out of domain: 12 h of 24 h" if record.id == "b" else None

    found = readiness([person("a", cgm()), person("b", cgm(0.5))], MANIFESTS, ask)
    end = int(cgm().time[-1])
    assert ("metabolic", "a", end) in asked
    metabolic = of(found, "metabolic")
    assert metabolic.ready == 1
    assert dict(metabolic.refusals) == {"out of domain: … h of … h": 1}
    assert not [a for a in asked if a[0] == "toy-linear"]  # nothing to ask about


def test_an_error_of_a_twin_is_a_refusal_and_nobody_is_an_error():
    def ask(twin, record, now):
        raise DataError("the record cannot be read by this twin")

    assert of(readiness([person("a", cgm())], MANIFESTS, ask), "metabolic").patients[0].refusal == "the record cannot be read by this twin"
    with pytest.raises(DataError, match="nobody"):
        readiness([], MANIFESTS)
