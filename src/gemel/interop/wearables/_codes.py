"""The codes of what sensors, pumps and diaries say."""

from __future__ import annotations

from gemel.core import Code

__all__ = [
    "BASAL_UNIT",
    "CAPILLARY",
    "CARBOHYDRATES",
    "CGM",
    "ENERGY",
    "ENERGY_SPENT",
    "EXERCISE",
    "FAT",
    "FIBRE",
    "HEART_RATE",
    "INSULIN_LONG",
    "INSULIN_RAPID",
    "KETONE",
    "MEAL_UNQUANTIFIED",
    "PROTEIN",
    "RELATION_TO_MEAL",
    "SLEEP",
    "STEPS",
    "WEIGHT",
]

CGM = {"mg/dL": Code.parse("loinc:99504-3"), "mmol/L": Code.parse("loinc:105272-9")}
CAPILLARY = {
    "mg/dL": Code.parse("loinc:41653-7"),
    "mmol/L": Code.parse("loinc:14743-9", "Glucose in capillary blood by glucometer, amount"),
}
KETONE = Code.parse("loinc:53060-9", "Beta hydroxybutyrate in blood, amount")
CARBOHYDRATES = Code.parse("loinc:9059-7")
ENERGY = Code.parse("loinc:9052-2")
INSULIN_RAPID = Code.parse("atc:A10AB")
INSULIN_LONG = Code.parse("atc:A10AE")
MEAL_UNQUANTIFIED = Code.parse("gemel:meal-unquantified")
PROTEIN = Code.parse("gemel:protein-intake", "Protein intake")
FAT = Code.parse("gemel:fat-intake", "Fat intake")
FIBRE = Code.parse("gemel:fibre-intake", "Dietary fibre intake")
HEART_RATE = Code.parse("loinc:8867-4")
STEPS = Code.parse("loinc:55423-8")
WEIGHT = Code.parse("loinc:29463-7")
EXERCISE = Code.parse("loinc:73985-4", "Exercise activity")
SLEEP = Code.parse("gemel:sleep", "Sleep")
RELATION_TO_MEAL = Code.parse("gemel:relation-to-meal", "Relation of a measurement to a meal, in the words of Open mHealth")
ENERGY_SPENT = Code.parse("gemel:energy-spent", "Energy spent as the device reports it")
BASAL_UNIT = "[iU]/h"
