"""The Glucose-ML collection: ``timestamp,glucose_value_mg_dl`` per person in ``*-extracted-glucose-files``, and one metadata table per set.

Times are local without a zone. Where the set comes from one place its zone is known (below); a set of unknown place is read as
UTC, and the report says so.

References
----------
Glucose-ML collection, github.com/Augmented-Health-Lab/Glucose-ML-Project, and the publication of each set (see ``platform.datasets``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gemel.core import Code, Finding, PatientRecord, Quantity
from gemel.core.errors import FormatError
from gemel.interop.wearables._text import decode, header_cells, read_table
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source
from gemel.interop.wearables.generic_csv import read_people

__all__ = ["LAYOUT"]

HBA1C = Code.parse("loinc:4548-4")
# set -> zone of the place where it was recorded, as its publication names it; PhysioCGM: two sites are not told apart, so none
_ZONES = {"AZT1D": "America/Phoenix", "HUPA-UCM": "Europe/Madrid", "Bris-T1D_Open": "Europe/London", "D1NAMO": "Europe/Zurich"}
# mg/dL: the range limits of the sensors in these sets (40-400 Dexcom, 40-500 Libre, 2.2-22.2 and 2.2-27.8 mmol/L times 18)
_CLIP = ((39.6, 40.0), (399.6, 400.0, 500.0, 500.4))
_SEX = {"male": "male", "m": "male", "female": "female", "f": "female", "non-binary": "other", "other": "other"}
_HEADER = ["timestamp", "glucose_value_mg_dl"]


def _sniff(name: str, head: bytes) -> bool:
    if not name.lower().endswith((".csv", ".csv.gz")):
        return False
    try:
        cells = header_cells(decode(head, name).lstrip("\ufeff\r\n").splitlines()[0])
    except (FormatError, IndexError):
        return False
    return cells == _HEADER or ("person_id" in cells and "CGM_type" in cells)


def _dataset(name: str) -> str:
    found = re.search(r"([^/]+)-(?:metadata\.csv|extracted-glucose-files(?:/|$))", name)
    return found[1] if found else ""


def _metadata(sources: Sequence[Source]) -> dict[tuple[str, str], dict[str, str]]:
    people: dict[tuple[str, str], dict[str, str]] = {}
    for source in sources:
        table = read_table(decode(source.read(), source.base).lstrip("\ufeff"), source.base, Notes(source.base, "glucose-ml"))
        if "person_id" not in table.columns:
            raise FormatError(
                f"{source.base} is not a metadata table",
                seen=", ".join(table.columns)[:80],
                expected="a column person_id",
                fix="remove the file or correct it",
            )
        for row in range(table.length):
            values = {name: cells[row].strip() for name, cells in table.columns.items()}
            people[_dataset(source.name), values["person_id"]] = values
    return people


def _number(values: dict[str, str], key: str, notes: Notes) -> float | None:
    text = values.get(key, "")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        notes.unclear(f"metadata {key}: {text[:20]!r}")
        return None


def _describe(record: PatientRecord, values: dict[str, str], notes: Notes) -> PatientRecord:
    sex = _SEX.get(values.get("gender", "").lower(), "unknown")
    if sex == "unknown" and values.get("gender"):
        notes.unclear(f"metadata gender: {values['gender'][:20]!r}")
    traits: dict[str, Quantity | str] = dict(record.demographics.traits)
    traits |= {
        trait: values[key]
        for key, trait in (("diabetes_type", "diabetes"), ("CGM_type", "sensor"), ("race_ethnicity", "ethnicity"))
        if values.get(key)
    }
    people = record.demographics.model_copy(update={"sex": sex, "age": _number(values, "age", notes), "traits": traits})
    record = record.model_copy(update={"demographics": people})
    hba1c = _number(values, "hba1c_%", notes)
    if hba1c is None:
        return record
    notes.warn("HbA1c: the date of the blood sample is not published; the first reading's is used")
    start = int(record.series[0].time.min())
    return record.with_facts(Finding(code=HBA1C, value=Quantity(value=hba1c, unit="%"), time=start, recorded=start, source="glucose-ml"))


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    tables, metadata = [], []
    for source in sources:
        (metadata if source.base.lower().endswith("metadata.csv") else tables).append(source)
    people = _metadata(metadata)
    parsed: Parsed = []
    read = set()
    for source in tables:
        dataset = _dataset(source.name)
        notes = Notes(source.base, "glucose-ml")
        head, _, body = decode(source.read(), source.base, notes).lstrip("\ufeff\r\n").partition("\n")
        if header_cells(head) != _HEADER:
            raise FormatError(
                f"{source.base} is not of the Glucose-ML layout", seen=head[:60], expected=",".join(_HEADER), fix="leave format out"
            )
        settings = {"origin": f"glucose-ml:{dataset}" if dataset else "glucose-ml", "clip": _CLIP, "zone": _ZONES.get(dataset)}
        if dataset:
            settings["traits"] = {"dataset": dataset}
        values = people.get((dataset, source.stem))
        if values is None and metadata:
            notes.warn("no row for this person in the metadata table")
        record, report = read_people(f"time,glucose_mg_dl\n{body}", source, Options(tz=options.tz), notes, settings=settings)[0]
        if values:
            mine = Notes(source.base, "glucose-ml", warnings=list(report.warnings))
            record = _describe(record, values, mine)
            told = mine.report(record)
            report = report.model_copy(
                update={"facts": told.facts, "warnings": told.warnings, "unparsed": (*report.unparsed, *told.unparsed)}
            )
        read.add((dataset, source.stem))
        parsed.append((record, report))
    if not parsed:
        raise FormatError(
            f"{sources[0].base} holds no glucose reading",
            seen="a metadata table alone",
            expected="the folder or zip with the persons' tables",
            fix="read the folder",
        )
    missing = sorted(person for key, person in people if (key, person) not in read)
    if missing:
        record, report = parsed[0]
        parsed[0] = (
            record,
            report.model_copy(
                update={"warnings": (*report.warnings, f"people in the metadata table without readings: {', '.join(missing)}")}
            ),
        )
    return parsed


LAYOUT = Layout("glucose-ml", "Glucose-ML collection (timestamp, glucose_value_mg_dl; metadata table)", _sniff, _parse)
