"""The CSV tables of the OMOP Common Data Model 5.4, row by row, and the concepts that they name."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from gemel.core import Code
from gemel.core.errors import CodeError, FormatError
from gemel.interop.archives import UNREADABLE
from gemel.interop.wearables.base import Source

__all__ = ["TABLES", "Concept", "Row", "code_of", "concepts", "rows", "table_of"]

TABLES: dict[str, tuple[str, ...]] = {
    "person": ("person_id", "gender_concept_id", "year_of_birth"),
    "observation_period": ("observation_period_id", "person_id", "observation_period_start_date", "observation_period_end_date"),
    "visit_occurrence": ("visit_occurrence_id", "person_id", "visit_concept_id", "visit_start_date", "visit_end_date"),
    "condition_occurrence": ("condition_occurrence_id", "person_id", "condition_concept_id", "condition_start_date"),
    "drug_exposure": ("drug_exposure_id", "person_id", "drug_concept_id", "drug_exposure_start_date", "drug_exposure_end_date"),
    "measurement": ("measurement_id", "person_id", "measurement_concept_id", "measurement_date", "value_as_number", "unit_concept_id"),
    "concept": ("concept_id", "concept_name", "vocabulary_id", "concept_code"),
}
"""Table -> the columns without which it is not read."""

_SYSTEMS = {"LOINC": "loinc", "SNOMED": "snomed", "RxNorm": "rxnorm", "RxNorm Extension": "rxnorm", "ATC": "atc"}


class Row(NamedTuple):
    """One row: its line in the file, and what is in it by column."""

    line: int
    cells: dict[str, str]


class Concept(NamedTuple):
    """What a number stands for."""

    vocabulary: str
    code: str
    name: str


def table_of(name: str) -> str:
    """Return which table a file name says it is, or an empty text.

    Examples
    --------
    >>> table_of("export/MEASUREMENT.csv.gz")
    'measurement'
    """
    base = name.rsplit("/", 1)[-1].lower()
    for ending in (".gz", ".csv", ".tsv"):
        base = base.removesuffix(ending)
    return base if base in TABLES else ""


def rows(source: Source) -> Iterator[Row]:
    """Read a table row by row; nothing of it is kept.

    Raises
    ------
    FormatError
        When it is no table, lacks a column, a row does not fit the head, or the text is not UTF-8.
    """
    name, needed = source.base, TABLES[table_of(source.name)]
    number = 0
    try:
        with source.stream() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            first = text.readline()
            tabs = first.count("\t") > first.count(",")  # as the vocabularies are handed out: tabs, and quotes that quote nothing
            head = [cell.strip().strip('"').lower() for cell in first.strip("\r\n").split("\t" if tabs else ",")]
            missing = [column for column in needed if column not in head]
            if missing or len(set(head)) < len(head):
                raise FormatError(
                    f"{name} is not the OMOP table {table_of(source.name)}",
                    seen=", ".join(head)[:160],
                    expected=f"each column once, and {', '.join(needed)}",
                    fix="export the table as CSV with the column names of CDM 5.4",
                )
            kind = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(text, strict=True)
            for number, cells in enumerate(kind, 2):
                if not cells:
                    continue
                if len(cells) != len(head):
                    raise FormatError(
                        f"row {number} of {name} does not fit the head",
                        seen=f"{len(cells)} cells",
                        expected=len(head),
                        fix="the file may be cut off",
                    )
                yield Row(number, dict(zip(head, (cell.strip() for cell in cells), strict=True)))
    except (csv.Error, UnicodeError) as error:
        raise FormatError(
            f"{name} cannot be read after row {number}", seen=type(error).__name__, expected="CSV in UTF-8", fix="export the table again"
        ) from error
    except UNREADABLE as error:
        raise FormatError(f"{name} cannot be unpacked", seen=type(error).__name__, fix="fetch the file again") from error


def concepts(sources: list[Source], wanted: set[str]) -> dict[str, Concept]:
    """Look up the concepts that the tables name; the other millions are passed over."""
    found: dict[str, Concept] = {}
    for source in sources:
        for _, cells in rows(source):
            if cells["concept_id"] in wanted:
                found[cells["concept_id"]] = Concept(cells["vocabulary_id"], cells["concept_code"], cells["concept_name"])
    return found


def code_of(concept: Concept) -> Code | None:
    """Return the code of a concept; None when its vocabulary is none that a record holds."""
    system = _SYSTEMS.get(concept.vocabulary)
    try:
        return None if system is None else Code(system=system, code=concept.code, display=concept.name[:80])
    except CodeError:
        return None
