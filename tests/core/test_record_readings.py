"""Readings that are no limits, of several codes, in one unit and in order of time."""

from __future__ import annotations

import numpy as np
import pytest

from gemel.core.code import Code
from gemel.core.record import PatientRecord
from gemel.core.series import BELOW, EXACT, Series

WEIGHT, OTHER = Code.parse("loinc:29463-7"), Code.parse("loinc:8302-2")


def test_exact_readings_in_one_unit():
    first = Series(code=WEIGHT, unit="kg", time=np.array([30, 10]), value=np.array([70.0, 80.0]), source="a")
    second = Series(
        code=WEIGHT, unit="g", time=np.array([20, 40]), value=np.array([75e3, 1.0]), censored=np.array([EXACT, BELOW]), source="b"
    )
    record = PatientRecord(id="p").with_facts(first, second)
    time, value, left = record.exact_readings(WEIGHT, unit="kg")
    assert time.tolist() == [10, 20, 30]
    assert value == pytest.approx([80.0, 75.0, 70.0])
    assert left == 1
    assert [len(x) for x in record.exact_readings(OTHER, unit="cm")[:2]] == [0, 0]
