"""A writer of OMOP tables of made-up people, with the truth. Concepts have local numbers (above 2,000,000,000): no vocabulary is shipped."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gemel.core.time import DAY, MINUTE, iso, to_ns

__all__ = ["CONCEPTS", "OmopTruth", "write_omop", "write_omop_table"]

CONCEPTS: dict[int, tuple[str, str, str]] = {
    2_000_000_001: ("Gender", "F", "FEMALE"),
    2_000_000_002: ("Gender", "M", "MALE"),
    2_000_000_003: ("LOINC", "2345-7", 'Glucose, called "sugar"'),
    2_000_000_004: ("LOINC", "2160-0", "Creatinine"),
    2_000_000_005: ("UCUM", "mg/dL", "milligram per decilitre"),
    2_000_000_006: ("SNOMED", "44054006", "Type 2 diabetes"),
    2_000_000_007: ("RxNorm", "6809", "Metformin"),
    2_000_000_008: ("Visit", "IP", "Inpatient visit"),
    2_000_000_009: ("Meas Value Operator", "LT", "<"),
    2_000_000_010: ("OMOP Extension", "OMOP1", "Of no system that a record holds"),
}
_GENDER, _GLUCOSE, _CREATININE, _MG_DL, _DIABETES, _METFORMIN, _STAY, _LESS, _OTHER = (
    2_000_000_000 + n for n in (1, 3, 4, 5, 6, 7, 8, 9, 10)
)


@dataclass(frozen=True)
class OmopTruth:
    """What a reader must find.

    Parameters
    ----------
    glucose : person -> time in ns UTC -> mg/dL.
    below : how many creatinines are given as below a limit.
    placed, refused, duplicates : rows of each kind, PERSON and CONCEPT not counted.
    """

    glucose: dict[str, dict[int, float]] = field(default_factory=dict)
    below: int = 0
    placed: int = 0
    refused: int = 0
    duplicates: int = 0


def write_omop_table(path: Path, rows: Sequence[Mapping[str, object]], *, tabs: bool = False) -> Path:
    """Write one table; the first row names the columns. With ``tabs`` nothing is quoted, as the vocabularies are handed out."""
    columns = list(rows[0])
    lines: Iterable[Sequence[object]] = (columns, *([row[name] for name in columns] for row in rows))
    with path.open("w", encoding="utf-8", newline="") as file:
        if tabs:
            file.writelines("\t".join(str(cell) for cell in line) + "\n" for line in lines)
        else:
            csv.writer(file, lineterminator="\n").writerows(lines)
    return path


def write_omop(folder: Path, *, people: int = 2, readings: int = 20, seed: int = 0, start: int = to_ns("2026-01-05T06:00Z")) -> OmopTruth:
    """Write the tables of some people: glucose, a creatinine below the limit, a drug, a condition, a stay, and rows that nobody can place.

    Parameters
    ----------
    folder : is made when missing.
    readings : of glucose each.
    seed : of the values.
    start : ns UTC.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    truth: dict[str, dict[int, float]] = {}
    tables: dict[str, list[dict[str, object]]] = {
        name: [] for name in ("person", "observation_period", "visit_occurrence", "condition_occurrence", "drug_exposure", "measurement")
    }
    day = iso(start)[:10]

    def measured(person: int, concept: int, value: object, at: int, **more: object) -> None:
        row: dict[str, object] = {
            "measurement_id": len(tables["measurement"]) + 1, "person_id": person, "measurement_concept_id": concept,
            "measurement_date": iso(at)[:10], "measurement_datetime": iso(at)[:19].replace("T", " "), "operator_concept_id": 0,
            "value_as_number": value, "value_as_concept_id": 0, "unit_concept_id": _MG_DL, "measurement_source_value": "LAB1", "unit_source_value": "mg/dl",
        }  # fmt: skip
        tables["measurement"].append(row | more)

    for person in range(1, people + 1):
        mine = truth.setdefault(str(person), {})
        tables["person"].append(
            {"person_id": person, "gender_concept_id": _GENDER, "year_of_birth": 1960, "month_of_birth": 7, "day_of_birth": ""}
        )
        for index in range(readings):
            at, value = start + index * 15 * MINUTE, round(float(draw.uniform(60, 250)), 1)
            mine[at] = value
            measured(person, _GLUCOSE, value, at)
        tables["measurement"].append(dict(tables["measurement"][-1]))  # delivered twice
        measured(person, _CREATININE, 0.5, start, operator_concept_id=_LESS, measurement_datetime="")
        measured(person, 0, 1.0, start)  # never mapped
        measured(person, _OTHER, 1.0, start)
        measured(person, _GLUCOSE, 99.0, start, unit_concept_id=0, unit_source_value="")
        ends = {"drug_exposure_start_date": day, "drug_exposure_end_date": iso(start + 30 * DAY)[:10], "quantity": 60}
        tables["drug_exposure"].append({"drug_exposure_id": person, "person_id": person, "drug_concept_id": _METFORMIN, **ends})
        tables["condition_occurrence"].append(
            {"condition_occurrence_id": person, "person_id": person, "condition_concept_id": _DIABETES, "condition_start_date": day}
        )
        stay = {"visit_start_date": day, "visit_end_date": iso(start + 3 * DAY)[:10]}
        tables["visit_occurrence"].append({"visit_occurrence_id": person, "person_id": person, "visit_concept_id": _STAY, **stay})
        period = {"observation_period_start_date": day, "observation_period_end_date": iso(start + 60 * DAY)[:10]}
        tables["observation_period"].append({"observation_period_id": person, "person_id": person, **period})
    for name, rows in tables.items():
        write_omop_table(folder / f"{name}.csv", rows)
    vocabulary = [
        {"concept_id": number, "concept_name": name, "domain_id": "", "vocabulary_id": vocabulary, "concept_code": code}
        for number, (vocabulary, code, name) in CONCEPTS.items()
    ]
    write_omop_table(folder / "CONCEPT.csv", vocabulary, tabs=True)
    return OmopTruth(truth, people, people * (readings + 5), people * 3, people)
