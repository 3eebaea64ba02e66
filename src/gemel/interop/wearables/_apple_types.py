"""What of Apple's types is placed: code, unit, the units that Apple writes, and what no person has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from gemel.core import Code
from gemel.interop.wearables import _facts as facts

__all__ = ["ASLEEP", "GLUCOSE", "INSULIN", "KINDS", "SLEEP", "WORKOUT", "Kind", "ucum_of"]


@dataclass(frozen=True)
class Kind:
    """One type of record.

    Parameters
    ----------
    code, unit : of the facts.
    units : as Apple writes them -> UCUM, or a factor to ``unit`` where the two only look alike.
    low, high : in ``unit``; no person is outside.
    way : a reading; an amount counted over an interval by several devices; something eaten.
    """

    code: Code
    unit: str
    units: dict[str, str | float]
    low: float
    high: float
    way: Literal["reading", "counted", "eaten"] = "reading"


_RATE: dict[str, str | float] = {"count/min": "/min"}
_MASS: dict[str, str | float] = {
    "kg": "kg",
    "g": "g",
    "lb": "[lb_av]",
    "st": 6.35029318,
}  # stone = 14 lb, exactly; UCUM's is not in the table
_ENERGY: dict[str, str | float] = {"kcal": "kcal", "Cal": "kcal", "kJ": "kJ"}
_PRESSURE: dict[str, str | float] = {"mmHg": "mm[Hg]", "kPa": "kPa"}
_EATEN: dict[str, str | float] = {"g": "g", "mg": "mg"}
GLUCOSE = {"mg/dL": Code.parse("loinc:2339-0", "Glucose in blood, mass"), "mmol/L": Code.parse("loinc:15074-8", "Glucose in blood, amount")}
"""The specimen is not said: neither sensor nor finger-stick is guessed."""

KINDS: dict[str, Kind] = {
    "HeartRate": Kind(facts.HEART_RATE, "/min", _RATE, 1, 350),
    "RestingHeartRate": Kind(Code.parse("loinc:40443-4", "Heart rate, resting"), "/min", _RATE, 1, 350),
    "HeartRateVariabilitySDNN": Kind(Code.parse("loinc:80404-7", "Standard deviation of RR intervals"), "ms", {"ms": "ms"}, 0, 2000),
    "OxygenSaturation": Kind(Code.parse("loinc:59408-5", "Oxygen saturation by pulse oximetry"), "%", {"%": 100.0}, 1, 100),  # a fraction
    "RespiratoryRate": Kind(Code.parse("loinc:9279-1"), "/min", _RATE, 1, 200),
    "BodyTemperature": Kind(Code.parse("loinc:8310-5", "Body temperature"), "Cel", {"degC": "Cel", "degF": "[degF]", "K": "K"}, 10, 50),
    "BloodPressureSystolic": Kind(Code.parse("loinc:8480-6", "Systolic blood pressure"), "mm[Hg]", _PRESSURE, 10, 400),
    "BloodPressureDiastolic": Kind(Code.parse("loinc:8462-4", "Diastolic blood pressure"), "mm[Hg]", _PRESSURE, 1, 300),
    "BodyMass": Kind(facts.WEIGHT, "kg", _MASS, 0.2, 700),
    "Height": Kind(Code.parse("loinc:8302-2"), "cm", {"cm": "cm", "m": "m", "ft": "[ft_i]", "in": "[in_i]"}, 20, 280),
    "BloodGlucose": Kind(GLUCOSE["mg/dL"], "mg/dL", {}, 0, float("inf")),  # unit and limits: ucum_of, check_glucose
    "StepCount": Kind(facts.STEPS, "{steps}", {"count": "{steps}"}, 0, 200_000, "counted"),
    "ActiveEnergyBurned": Kind(facts.ENERGY_SPENT, "kcal", _ENERGY, 0, 20_000, "counted"),
    "DietaryCarbohydrates": Kind(facts.CARBOHYDRATES, "g", _EATEN, 0, float("inf"), "eaten"),  # limits: check_amounts
    "DietaryProtein": Kind(facts.PROTEIN, "g", _EATEN, 0, float("inf"), "eaten"),
    "DietaryFatTotal": Kind(facts.FAT, "g", _EATEN, 0, float("inf"), "eaten"),
    "DietaryFiber": Kind(facts.FIBRE, "g", _EATEN, 0, float("inf"), "eaten"),
    "DietaryEnergyConsumed": Kind(facts.ENERGY, "kcal", _ENERGY, 0, float("inf"), "eaten"),
}
INSULIN, SLEEP, WORKOUT = "InsulinDelivery", "SleepAnalysis", "Workout"
ASLEEP = {f"HKCategoryValueSleepAnalysisAsleep{stage}" for stage in ("", "Unspecified", "Core", "Deep", "REM")}
_MOLAR = re.compile(r"^mmol(?:<180\.1\d*>)?/L$")  # 180.1558800000541 g/mol is glucose; another molar mass is another substance


def ucum_of(name: str, kind: Kind, unit: str) -> str | float | None:
    """Return the UCUM unit of what Apple wrote, a factor to the kind's unit, or None when it is not known.

    Examples
    --------
    >>> ucum_of("BloodGlucose", KINDS["BloodGlucose"], "mmol<180.1558800000541>/L")
    'mmol/L'
    """
    if name == "BloodGlucose":
        return "mg/dL" if unit == "mg/dL" else "mmol/L" if _MOLAR.match(unit) else None
    return kind.units.get(unit)
