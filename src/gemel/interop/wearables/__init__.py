"""Files of sensors, pumps and diaries become patient records, with a report of everything that was done to them.

Two times stand on every fact: when it was true and, where the file says so, when it was recorded. Units stay the
sender's. What is wrong is refused with its row, or repaired and listed: nothing is dropped in silence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemel.core import PatientRecord
from gemel.core.errors import DataError, FormatError
from gemel.core.time import zone
from gemel.interop.wearables import (
    apple,
    azt1d,
    cgmacros,
    colas,
    d1namo,
    dexcom,
    fhir_cgm,
    generic_csv,
    glucose_ml,
    hupa,
    libreview,
    nightscout,
    ohio_xml,
    omop,
    open_mhealth,
    shanghai,
    tidepool,
)  # fmt: skip
from gemel.interop.wearables._merge import merge_boluses as _merge
from gemel.interop.wearables.base import ImportReport, Layout, Options, Repair, Source, collect, count_facts
from gemel.interop.wearables.export import write_csv
from gemel.interop.wearables.write_fhir_cgm import write_fhir_cgm
from gemel.interop.wearables.write_nightscout import write_nightscout
from gemel.interop.wearables.write_open_mhealth import write_open_mhealth
from gemel.interop.wearables.write_tidepool import write_tidepool

__all__ = [
    "EXPORTS",
    "FORMATS",
    "ImportReport",
    "Repair",
    "read",
    "read_all",
    "write",
    "write_csv",
    "write_fhir_cgm",
    "write_nightscout",
    "write_open_mhealth",
    "write_tidepool",
]

_LAYOUTS: tuple[Layout, ...] = (
    shanghai.LAYOUT,
    dexcom.LAYOUT,
    libreview.LAYOUT,
    fhir_cgm.LAYOUT,
    tidepool.LAYOUT,
    open_mhealth.LAYOUT,
    nightscout.LAYOUT,
    ohio_xml.LAYOUT,
    apple.LAYOUT,
    omop.LAYOUT,
    glucose_ml.LAYOUT,
    d1namo.LAYOUT,
    hupa.LAYOUT,
    azt1d.LAYOUT,
    cgmacros.LAYOUT,
    colas.LAYOUT,
    generic_csv.LAYOUT,
)
FORMATS: dict[str, str] = {layout.name: layout.title for layout in _LAYOUTS}
"""Every layout that can be read: name -> what it is. Without ``format`` they are tried in this order."""

EXPORTS: dict[str, str] = {
    "csv": "the generic table",
    "nightscout": "Nightscout: a .json with entries, treatments and profile, or a folder of the three",
    "tidepool": "Tidepool's JSON",
    "open-mhealth": "Open mHealth data points",
    "fhir-cgm": "FHIR R4 transaction of the HL7 CGM guide 1.0.0",
}
"""Every format that can be written: name -> what it is."""

_HEAD = 65536


def _sort(sources: Sequence[Source], format: str | None) -> tuple[dict[str, list[Source]], list[str]]:
    if format is not None and format not in FORMATS:
        raise FormatError(
            f"unknown format {format!r}", expected=f"one of {', '.join(FORMATS)}", fix="leave format out to have it recognised"
        )
    groups: dict[str, list[Source]] = {}
    left: list[str] = []
    for source in sources:
        if len(sources) == 1 and format is not None:
            return {format: [source]}, []
        head = source.head(_HEAD)
        for layout in _LAYOUTS:
            if (format is None or layout.name == format) and layout.sniff(source.name, head):
                groups.setdefault(layout.name, []).append(source)
                break
        else:
            left.append(source.base)
    return groups, left


def _explain(sources: Sequence[Source], path: Path) -> DataError:
    from gemel.interop.wearables._text import decode

    if not sources:
        return FormatError(f"{path.name} holds no file", expected="a table, a zip or a folder with tables", fix="check the path")
    if len(sources) == 1:
        try:
            first = decode(sources[0].head(_HEAD), path.name).lstrip("\ufeff").splitlines()[0]
        except FormatError as error:
            return error
        if not first.lstrip().startswith(("{", "[", "<")) and any(mark in first for mark in (",", ";", "\t")):
            try:  # the generic reader names what is missing: its message is worth more than "not recognised"
                generic_csv.LAYOUT.parse(sources, Options())
            except DataError as error:
                return error
    return FormatError(
        f"{path.name} is of no known layout",
        seen=f"{len(sources)} file(s)",
        expected=f"one of {', '.join(FORMATS)}",
        fix="rename the columns to time and glucose_mg_dl (or glucose_mmol_l), or name the format",
    )


def _merged(record: PatientRecord, report: ImportReport) -> tuple[PatientRecord, ImportReport]:
    record, dropped = _merge(record)
    if not dropped:
        return record, report
    repair = Repair(what="identical boluses within 60 s merged, as asked", count=dropped)
    warnings = tuple(warning for warning in report.warnings if "within 60 s: both kept" not in warning)
    return record, report.model_copy(update={"repairs": (*report.repairs, repair), "warnings": warnings, "facts": count_facts(record)})


def _read(path: str | os.PathLike[str], format: str | None, options: Options) -> list[tuple[PatientRecord, ImportReport]]:
    place = Path(path)
    if options.tz is not None:
        zone(options.tz)
    sources = collect(place)
    groups, left = _sort(sources, format)
    if not groups:
        raise _explain(sources, place)
    found = [pair for layout in _LAYOUTS if layout.name in groups for pair in layout.parse(groups[layout.name], options)]
    if options.merge_boluses:
        found = [_merged(record, report) for record, report in found]
    if left:
        record, report = found[0]
        found[0] = (
            record,
            report.model_copy(
                update={"ignored": (*report.ignored, f"files of no known layout: {', '.join(sorted(left))[:200]} ({len(left)})")}
            ),
        )
    return found


def read_all(
    path: str | os.PathLike[str], *, format: str | None = None, tz: str | None = None, merge_boluses: bool = False
) -> list[tuple[PatientRecord, ImportReport]]:
    """Read every person in a file, zip, gz or folder.

    Parameters
    ----------
    path : file, archive or folder.
    format : a name in :data:`FORMATS`; recognised from the content when left out.
    tz : IANA zone of times that carry none. Left out: the zone that the layout is known for, else UTC with a note in the report.
    merge_boluses : drop a bolus that repeats the amount of one at most 60 s before it; left out, such pairs are only reported.

    Returns
    -------
    A record and its report for each person (for Shanghai: each recording), in the order of the files.

    Raises
    ------
    DataError
        With what was wrong, what was seen, what was expected and what to do. Nothing is returned then.
    """
    return _read(path, format, Options(tz=tz, merge_boluses=merge_boluses))


def read(
    path: str | os.PathLike[str], *, format: str | None = None, tz: str | None = None, id: str | None = None, merge_boluses: bool = False
) -> tuple[PatientRecord, ImportReport]:
    r"""Read one person.

    Parameters
    ----------
    path : file, archive or folder.
    format : a name in :data:`FORMATS`; recognised from the content when left out.
    tz : IANA zone of times that carry none.
    id : the pseudonym to give to a single person; where the source holds several, which of them to take.
    merge_boluses : drop a bolus that repeats the amount of one at most 60 s before it; left out, such pairs are only reported.

    Raises
    ------
    FormatError
        When the source holds several people and ``id`` names none of them.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "p1.csv"
    >>> _ = file.write_text("time,glucose_mg_dl,carbs_g\n2026-01-31T08:00Z,110,\n2026-01-31T08:05Z,LOW,20\n")
    >>> record, report = read(file)
    >>> record.id, report.facts
    ('p1', {'loinc:99504-3': 2, 'loinc:9059-7': 1})
    """
    found = _read(path, format, Options(tz=tz, id=id, merge_boluses=merge_boluses))
    if len(found) > 1:
        chosen = [pair for pair in found if pair[0].id == id]
        if len(chosen) != 1:
            names = ", ".join(record.id for record, _ in found[:10])
            raise FormatError(
                f"{Path(path).name} holds {len(found)} people",
                seen=f"{names}{', ...' if len(found) > 10 else ''}",
                expected="one person, or id= one of them",
                fix="name the person with id=, or use read_all",
            )
        return chosen[0]
    record, report = found[0]
    return (record if id is None or record.id == id else record.model_copy(update={"id": id})), report


def write(record: PatientRecord, path: str | os.PathLike[str], *, format: str, summary: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Write a record in one of the formats of :data:`EXPORTS`.

    Parameters
    ----------
    path : the file (for Nightscout also a folder); replaced only when the whole of it is written.
    format : a name in :data:`EXPORTS`.
    summary : of sensor glucose, for ``fhir-cgm`` alone; see :func:`gemel.interop.fhir.submission_bundle`.

    Returns
    -------
    What the format has no place for, with counts: nothing is left out in silence.

    Raises
    ------
    FormatError
        For an unknown format, or a summary where none is written.
    DataError
        When the record lacks what the format needs, or the file cannot be written.
    """
    writers = {"csv": write_csv, "nightscout": write_nightscout, "tidepool": write_tidepool, "open-mhealth": write_open_mhealth}
    if format == "fhir-cgm":
        return write_fhir_cgm(record, path, summary=summary)
    if format not in writers:
        raise FormatError(f"unknown format {format!r}", expected=f"one of {', '.join(EXPORTS)}", fix="choose one of them")
    if summary is not None:
        raise FormatError(f"format {format!r} holds no summary", expected="fhir-cgm", fix="leave the summary out")
    return writers[format](record, path)
