"""OMOP Common Data Model 5.4: a folder (or zip) of CSV tables with the ``concept`` table that says what their numbers stand for.

Read are PERSON, MEASUREMENT, DRUG_EXPOSURE, CONDITION_OCCURRENCE, VISIT_OCCURRENCE and OBSERVATION_PERIOD. The vocabulary is the user's own: none is
shipped, and without it no number is guessed. A row whose concept is 0 was never mapped by whoever made the tables: it is refused with its source value.
The model knows no time of recording: a fact is known when it was true, one that lasts when it has ended, and one that has only a date at the end of that day.

References
----------
OHDSI, OMOP Common Data Model v5.4 specification (tables and columns).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gemel.core import Code, Demographics, Exposure, Finding, PatientRecord, Series
from gemel.core.errors import FormatError, UnitError
from gemel.core.record import Fact
from gemel.core.series import ABOVE, BELOW, EXACT
from gemel.core.time import DAY, to_ns
from gemel.core.units import parse_unit
from gemel.interop.report import Tally
from gemel.interop.wearables._omop_tables import TABLES, Concept, Row, code_of, concepts, rows, table_of
from gemel.interop.wearables._text import header_cells
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source

__all__ = ["LAYOUT"]

PERIOD = Code.parse("gemel:observation-period", "Time in which what happened would have been written down")
VISIT = Code.parse("gemel:visit", "Visit or stay")
_EARLIEST, _LATEST = 1900, 2200
_SEX = {"M": "male", "F": "female", "O": "other"}
_OPERATORS = {"<": BELOW, "<=": BELOW, "=": EXACT, ">": ABOVE, ">=": ABOVE}
_NAMED = 40  # distinct source values that a report lists


def _sniff(name: str, head: bytes) -> bool:
    table = table_of(name)
    if not table:
        return False
    line = head.decode("utf-8", "replace").lstrip("\ufeff").partition("\n")[0]
    return set(TABLES[table]) <= {cell.strip('"').lower() for cell in header_cells(line)}


@dataclass
class _Point:
    time: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    recorded: list[int] = field(default_factory=list)
    censored: list[int] = field(default_factory=list)


@dataclass
class _Person:
    """One person while the tables are read."""

    id: str
    row: dict[str, str]
    notes: Notes
    tally: Tally
    points: dict[tuple[Code, str], _Point] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)

    def refuse(self, what: str) -> None:
        if what not in self.refused and len(self.refused) >= _NAMED:
            what = "other rows that cannot be placed"
        self.refused[what] = self.refused.get(what, 0) + 1

    def record(self, zone: str, concept: Callable[[str], Concept | None]) -> PatientRecord:
        series = [
            Series(code=code, unit=unit, time=np.array(p.time), value=np.array(p.value), recorded=np.array(p.recorded),
                   censored=np.array(p.censored, np.int8), source="omop")
            for (code, unit), p in self.points.items()
        ]  # fmt: skip
        found: list[Fact] = [*series, *self.facts]
        for one in series:
            if again := len(one) - len(np.unique(one.time)):
                self.notes.repair(f"{one.code}: two values at one time, the later row counts", again)
        for what, items in self.refused.items():
            self.notes.unclear(what, items)
            self.tally.refuse(what.partition(":")[0], "", what, items=items)
        self.tally.report()
        first = min((int(np.min(fact.time)) for fact in found), default=None)
        gender = concept(self.row.get("gender_concept_id", ""))
        sex = _SEX.get(gender.code, "unknown") if gender is not None and gender.vocabulary == "Gender" else "unknown"
        person = Demographics(sex=sex, age=None if first is None else self._age(first), zone=zone)  # pyright: ignore[reportArgumentType]
        return PatientRecord(id=self.id, demographics=person).with_facts(*found)

    def _age(self, first: int) -> float | None:
        day = dt.datetime.fromtimestamp(first // 10**9, dt.UTC)
        try:
            year = int(self.row["year_of_birth"])
            month, date = (int(self.row.get(key) or 1) for key in ("month_of_birth", "day_of_birth"))
        except ValueError:
            self.notes.unclear("a year of birth that is no number")
            return None
        age = day.year - year - ((day.month, day.day) < (month, date))
        if not 0 <= age <= 130:
            self.notes.unclear("a year of birth that does not go with the times of the rows")
            return None
        return float(age)


class _Reader:
    """Reads all tables of one export."""

    def __init__(self, sources: Sequence[Source], options: Options) -> None:
        self.tables: dict[str, list[Source]] = {}
        for source in sources:
            self.tables.setdefault(table_of(source.name), []).append(source)
        self.zone = options.tz or "UTC"
        self.people: dict[str, _Person] = {}
        self.strangers = 0
        self.known: dict[str, Concept] = {}
        if "person" not in self.tables or "concept" not in self.tables:
            lacking = [name for name in ("person", "concept") if name not in self.tables]
            raise FormatError(
                f"the OMOP tables lack {' and '.join(lacking)}",
                seen=", ".join(sorted(self.tables)),
                expected="person.csv, and concept.csv of the vocabularies in use",
                fix="put them into the same folder; the vocabularies are had from OHDSI Athena, none is shipped",
            )

    def concept(self, number: str) -> Concept | None:
        return self.known.get(number)

    def look_up(self) -> None:
        """One pass over all tables for the numbers they use, then one over the vocabulary."""
        wanted: set[str] = set()
        for name, found in self.tables.items():
            if name != "concept":
                for source in found:
                    for _, cells in rows(source):
                        wanted.update(value for column, value in cells.items() if column.endswith("_concept_id"))
        self.known = concepts(self.tables["concept"], wanted - {"", "0"})

    def read(self) -> None:
        for source in self.tables["person"]:
            for line, cells in rows(source):
                id = cells["person_id"]
                if not id or id in self.people:
                    raise FormatError(
                        f"row {line} of {source.base}: {'no person_id' if not id else 'a person twice'}", expected="one row a person"
                    )
                self.people[id] = _Person(id, cells, Notes("omop", "omop"), Tally("omop", "omop"))
        if not self.people:
            raise FormatError("the OMOP tables hold nobody", seen="person with a head and no rows", expected="a row a person")
        placers = {
            "measurement": self._measurement, "drug_exposure": self._drug, "condition_occurrence": self._condition,
            "visit_occurrence": self._visit, "observation_period": self._period,
        }  # fmt: skip
        for table, place in placers.items():
            seen: dict[str, int] = {}
            for source in self.tables.get(table, []):
                for row in rows(source):
                    person = self.people.get(row.cells["person_id"])
                    if person is None:
                        self.strangers += 1
                        continue
                    person.tally.read += 1
                    key, content = row.cells[f"{table}_id"], hash(tuple(row.cells.values()))
                    if not key:
                        person.refuse(f"{table}: no {table}_id")
                    elif key not in seen:
                        seen[key] = content
                        if problem := place(person, row):
                            person.refuse(f"{table}: {problem}")
                        else:
                            person.tally.mapped += 1
                    elif seen[key] == content:
                        person.tally.duplicates += 1
                        person.notes.repair(f"{table}: the same row again, counted once", 1, row.line)
                    else:
                        person.refuse(f"{table}: two rows of one {table}_id that differ, the first kept")

    # times

    def _when(self, person: _Person, row: Row, stem: str) -> tuple[int, int] | None:
        """Return when it was true and the end of what is known of that moment, ns UTC; None when it cannot be read."""
        moment, day = row.cells.get(f"{stem}_datetime", ""), row.cells.get(f"{stem}_date", "")
        try:
            written = dt.datetime.fromisoformat(moment or day)
            if not _EARLIEST <= written.year <= _LATEST:
                return None
            time = to_ns(written, tz=self.zone)
        except ValueError:  # TimeError too
            return None
        if moment:
            return time, time
        person.notes.repair("only a date: true at its beginning, known at its end", 1, row.line)
        return time, time + DAY

    def _span(self, person: _Person, row: Row, stem: str) -> tuple[int, int] | str:
        start = self._when(person, row, f"{stem}_start")
        if start is None:
            return "no readable start"
        if not (row.cells.get(f"{stem}_end_datetime") or row.cells.get(f"{stem}_end_date")):
            return start
        end = self._when(person, row, f"{stem}_end")
        if end is None:
            return "no readable end"
        return (start[0], end[1]) if end[1] >= start[0] else "ends before it starts"

    # tables

    def _code(self, row: Row, column: str, source_value: str) -> Code | str:
        number = row.cells[column]
        if number in ("", "0"):
            return f"concept 0, source value {row.cells.get(source_value, '')[:30]!r}"
        concept = self.concept(number)
        if concept is None:
            return f"concept {number[:12]} is not in the vocabulary"
        return code_of(concept) or f"vocabulary {concept.vocabulary[:20]!r} is none that a record holds"

    def _measurement(self, person: _Person, row: Row) -> str:
        code = self._code(row, "measurement_concept_id", "measurement_source_value")
        if isinstance(code, str):
            return code
        when = self._when(person, row, "measurement")
        if when is None:
            return "no readable time"
        written = row.cells["value_as_number"]
        if not written:
            answer = self.concept(row.cells.get("value_as_concept_id", ""))
            value = (code_of(answer) or answer.name[:80]) if answer is not None else row.cells.get("value_source_value", "")[:80]
            if not value:
                return "no value"
            id = f"omop:measurement:{row.cells['measurement_id']}"
            person.facts.append(Finding(code=code, value=value, time=when[0], recorded=when[1], source="omop", id=id))
            return ""
        try:
            number = float(written)
        except ValueError:
            return "a value that is no number"
        if not math.isfinite(number) or "_" in written:
            return "a value that is no number"
        operator = row.cells.get("operator_concept_id", "")
        if operator not in ("", "0"):
            sign = self.concept(operator)
            if sign is None or sign.name not in _OPERATORS:
                return "an operator that is not known"
            censored = _OPERATORS[sign.name]
        else:
            censored = EXACT
        unit = self._unit(person, row)
        if unit is None:
            return f"no unit, source value {row.cells.get('unit_source_value', '')[:20]!r}"
        point = person.points.setdefault((code, unit), _Point())
        point.time.append(when[0])
        point.value.append(number)
        point.recorded.append(when[1])
        point.censored.append(censored)
        return ""

    def _unit(self, person: _Person, row: Row) -> str | None:
        concept = self.concept(row.cells["unit_concept_id"])
        written = concept.code if concept is not None and concept.vocabulary == "UCUM" else row.cells.get("unit_source_value", "")
        if not written:
            return None
        try:
            parse_unit(written)
        except UnitError:
            return None
        if concept is None:
            person.notes.repair("unit without a concept read from its source value, which is UCUM", 1, row.line)
        return written

    def _drug(self, person: _Person, row: Row) -> str:
        code = self._code(row, "drug_concept_id", "drug_source_value")
        if isinstance(code, str):
            return code
        return self._lasting(person, row, "drug_exposure", "drug_exposure", code, row.cells.get("quantity", ""))

    def _visit(self, person: _Person, row: Row) -> str:
        concept = self.concept(row.cells["visit_concept_id"])
        return self._lasting(person, row, "visit_occurrence", "visit", VISIT, "" if concept is None else concept.name[:60])

    def _period(self, person: _Person, row: Row) -> str:
        return self._lasting(person, row, "observation_period", "observation_period", PERIOD, "")

    def _lasting(self, person: _Person, row: Row, table: str, stem: str, code: Code, note: str) -> str:
        span = self._span(person, row, stem)
        if isinstance(span, str):
            return span
        if table == "drug_exposure" and note:
            note = f"quantity {note[:20]}"  # pieces or millilitres, as the product is counted: no amount of substance
        person.facts.append(
            Exposure(
                code=code,
                quantity=None,
                start=span[0],
                end=span[1],
                recorded=span[1],
                source="omop",
                id=f"omop:{table}:{row.cells[f'{table}_id']}",
                note=note,
            )
        )
        return ""

    def _condition(self, person: _Person, row: Row) -> str:
        code = self._code(row, "condition_concept_id", "condition_source_value")
        if isinstance(code, str):
            return code
        when = self._when(person, row, "condition_start")
        if when is None:
            return "no readable start"
        id = f"omop:condition_occurrence:{row.cells['condition_occurrence_id']}"
        person.facts.append(Finding(code=code, time=when[0], recorded=when[1], source="omop", id=id))
        return ""


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    reader = _Reader(sources, options)
    reader.look_up()
    reader.read()
    people, empty = ([p for p in reader.people.values() if bool(p.points or p.facts) is full] for full in (True, False))
    if not people:
        told = {what for person in reader.people.values() for what in person.refused}
        raise FormatError(
            "the OMOP tables hold nothing that can be placed", seen="; ".join(sorted(told))[:200] or "no rows", expected="measurements, drugs, conditions or visits",
            fix="map the concepts that are 0, or bring the vocabularies that the tables use",
        )  # fmt: skip
    first = people[0].notes
    first.unclear("rows of people who are not in person", reader.strangers)
    parsed: Parsed = []
    for person in empty:
        first.ignore("people of whom nothing can be placed")
        first.unclear("rows of people of whom nothing can be placed", person.tally.read)
    for person in people:
        if options.tz is None:
            person.notes.warn("OMOP times carry no zone: read as UTC; name it (tz=)")
        person.notes.rows = person.tally.read
        if options.id and len(people) == 1:
            person.id = options.id
        record = person.record(reader.zone, reader.concept)
        parsed.append((record, person.notes.report(record)))
    return parsed


LAYOUT = Layout("omop", "OMOP CDM 5.4 tables as CSV, with the concept table of the vocabularies in use", _sniff, _parse)
