"""Where records come from: a file, a zip, a folder of people, or a store; and where they go: ``gemel export``."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from gemel.cli.options import FilePath, as_json, common, existing
from gemel.cli.output import echo, print_json

if TYPE_CHECKING:
    from gemel.core.record import PatientRecord
    from gemel.interop.wearables import ImportReport

__all__ = ["EXPORTS", "export", "format_options", "instant", "is_fhir", "is_store", "known_until", "one_person", "people"]

_SQLITE = b"SQLite format 3\0"
EXPORTS = ("csv", "nightscout", "tidepool", "open-mhealth", "fhir-cgm")
"""Names of :data:`gemel.interop.wearables.EXPORTS`, here so that ``--help`` need not load it."""


def format_options(function):
    """Add ``--format``, ``--tz`` and ``--id`` to a command that reads records."""
    for option in (
        click.option("--id", "person", metavar="PERSON", help="Which person, where the source holds several; else the pseudonym to give."),
        click.option("--tz", metavar="ZONE", help="Time zone of times that carry none, such as Europe/Berlin."),
        click.option("--format", "format_", metavar="NAME", help="Layout of the data; recognised from the content when left out."),
    ):
        function = option(function)
    return function


def is_store(path: Path) -> bool:
    """Say whether a file is a database."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(16) == _SQLITE


def is_fhir(path: Path, format: str | None) -> bool:
    """Say whether a source is read by the general mapping of FHIR."""
    from gemel.interop.fhir.reading import is_clinical

    return format == "fhir" or (format is None and is_clinical(path))


def _read(path: Path, format: str | None, tz: str | None, merge_boluses: bool, start: str | None) -> list[tuple[PatientRecord, Any]]:
    """Messages and devices by their content, else the layouts of sensors, pumps and diaries."""
    from gemel.interop import dicom, hl7v2, wearables

    if format == "dicom" or (format is None and dicom.is_dicom(path)):
        return list(dicom.read_folder(path, tz=tz or "UTC"))
    if path.is_file() and (format == "hl7v2" or format is None):
        with path.open("rb") as stream:
            head = stream.read(64)
        if format == "hl7v2" or hl7v2.is_hl7(head):
            return list(hl7v2.read_file(path, site=hl7v2.Site(zone=tz or "UTC")))
    if path.is_file() and format in (None, "wfdb"):
        from gemel.interop import waveforms

        if format == "wfdb" or waveforms.is_wfdb(path):
            return [_recording(path, tz, start)]
    if path.is_file() and format in (None, "vcf"):
        from gemel.interop import genomics

        if format == "vcf" or genomics.is_vcf(path):
            return list(genomics.read_file(path))
    if is_fhir(path, format):
        from gemel.interop.fhir.mapping import Site
        from gemel.interop.fhir.reading import read_folder

        return list(read_folder(path, received=time.time_ns(), site=Site(zone=tz or "UTC", known_when_true=True)))
    return list(wearables.read_all(path, format=format, tz=tz, merge_boluses=merge_boluses))


def _recording(path: Path, tz: str | None, start: str | None) -> tuple[PatientRecord, Any]:
    from gemel.core.time import to_ns
    from gemel.interop.waveforms import read_recording, recording_facts

    found = read_recording(path, start=None if start is None else to_ns(start, tz=tz), tz=tz or "UTC")
    return recording_facts(found)[0], found.report


def people(
    path: Path,
    *,
    format: str | None = None,
    tz: str | None = None,
    person: str | None = None,
    merge_boluses: bool = False,
    start: str | None = None,
) -> list[tuple[PatientRecord, ImportReport | None]]:
    """Return every person at a path with the report of the import; from a store there is none.

    Raises
    ------
    FormatError
        When ``person`` is not there, or two people have one name.
    """
    from gemel.core.errors import FormatError

    if is_store(existing(path)):
        from gemel.platform.store import Store

        with Store(path) as store:
            found: list[tuple[PatientRecord, ImportReport | None]] = [
                (store.record(name), None) for name in store.patients() if person is None or name == person
            ]
    else:
        found = _read(path, format, tz, merge_boluses, start)
        if person is not None and len(found) == 1:
            record, report = found[0]
            found = [(record if record.id == person else record.model_copy(update={"id": person}), report)]
        elif person is not None:
            found = [pair for pair in found if pair[0].id == person]
    if not found:
        raise FormatError(
            "no such person in the source",
            seen=person or "nobody",
            expected=f"somebody in {path.name}",
            fix="gemel import lists who is there",
        )
    names = [record.id for record, _ in found]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise FormatError(
            "two people of one name", seen=", ".join(twice[:5]), expected="a pseudonym each", fix="rename the files, or add a column 'id'"
        )
    return found


def one_person(path: Path, *, format: str | None = None, tz: str | None = None, person: str | None = None) -> PatientRecord:
    """Return the one person at a path."""
    from gemel.core.errors import FormatError

    found = people(path, format=format, tz=tz, person=person)
    if len(found) > 1:
        names = ", ".join(record.id for record, _ in found[:8])
        raise FormatError(
            f"{path.name} holds {len(found)} people",
            seen=names + ("" if len(found) <= 8 else ", ..."),
            expected="one",
            fix="name the person with --id",
        )
    return found[0][0]


def known_until(record: PatientRecord) -> int:
    """Return when the last fact of a record became known, ns UTC.

    Raises
    ------
    DataError
        When the record is empty.
    """
    from gemel.core.errors import DataError

    times = [int(series.recorded.max()) for series in record.series if len(series)]
    times += [fact.recorded for fact in (*record.exposures, *record.findings, *record.geometry, *record.documents)]
    if not times:
        raise DataError("the record is empty", seen=record.id, expected="at least one fact", fix="check the source with gemel import")
    return max(times)


def instant(text: str | None, record: PatientRecord, tz: str | None) -> int:
    """Return a time given on the command line; left out, when the last fact of the record became known."""
    from gemel.core.time import to_ns

    return (
        known_until(record)
        if text is None
        else to_ns(text, tz=tz or (record.demographics.zone if record.demographics.zone != "UTC" else None))
    )


def _summary(record: PatientRecord) -> dict[str, float]:
    """Return the consensus metrics of a record, without those that it is too short for."""
    from gemel.twins.metabolic.metrics import summary

    return {key: value for key, value in summary(record).items() if not isinstance(value, float) or math.isfinite(value)}


@click.command()
@click.argument("record", type=FilePath)
@click.option("--format", "format_", type=click.Choice((*EXPORTS, "fhir")), default="csv", show_default=True, help="What to write.")
@click.option("-o", "--output", type=FilePath, required=True, help="The file; for several people a folder.")
@click.option("--from", "layout", metavar="NAME", help="Layout of RECORD; recognised from the content when left out.")
@click.option("--tz", metavar="ZONE", help="Time zone of times that carry none, such as Europe/Berlin.")
@click.option("--id", "person", metavar="PERSON", help="Which person, where the source holds several; else the pseudonym to give.")
@click.option("--summary", is_flag=True, help="With fhir-cgm: add mean, times in ranges, GMI and the other consensus metrics.")
@as_json
@common
def export(
    record: Path, format_: str, output: Path, layout: str | None, tz: str | None, person: str | None, summary: bool, json_: bool
) -> int:
    """Write RECORD (a file, folder or store) in another format, and say what that has no place for.

    Formats: csv (the generic table), nightscout, tidepool, open-mhealth, fhir-cgm (the transaction of the HL7 CGM guide), fhir (NDJSON of resources in a
    folder: what came as FHIR and was kept leaves as it came, all else as resources made of its facts).
    """
    if format_ == "fhir":
        from gemel.cli.export_fhir import export_fhir

        if summary:
            raise click.UsageError("--summary belongs to fhir-cgm; fhir holds none")
        return export_fhir(existing(record), output, layout=layout, tz=tz, person=person, json_=json_)
    from gemel.interop.wearables import write

    if summary and format_ != "fhir-cgm":
        raise click.UsageError(f"--summary belongs to fhir-cgm; {format_} holds none")
    found = people(record, format=layout, tz=tz, person=person)
    ending = "csv" if format_ == "csv" else "json"
    if len(found) > 1:
        if output.suffix:
            raise click.UsageError(f"{record} holds {len(found)} people: name a folder with -o, or one of them with --id")
        output.mkdir(parents=True, exist_ok=True)
    told = []
    for one, _ in found:
        place = output / f"{quote(one.id, safe='')}.{ending}" if len(found) > 1 else output
        left = write(one, place, format=format_, summary=_summary(one) if summary else None)
        told.append({"patient": one.id, "file": str(place), "format": format_, "not_in_file": list(left)})
    if json_:
        print_json({"people": told})
        return 0
    for line in told:
        echo(f"{line['patient']}: written as {format_}: {line['file']}")
        for what in line["not_in_file"]:
            echo(f"  not in the file: {what}")
    return 0
