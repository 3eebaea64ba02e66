"""Where records come from: a table, a zip, a folder of people, or a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gemel.cli.options import existing

if TYPE_CHECKING:
    from gemel.core.record import PatientRecord
    from gemel.interop.wearables import ImportReport

__all__ = ["format_options", "instant", "is_store", "known_until", "one_person", "people"]

_SQLITE = b"SQLite format 3\0"


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


def people(
    path: Path, *, format: str | None = None, tz: str | None = None, person: str | None = None
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
        from gemel.interop.wearables import read_all

        found = list(read_all(path, format=format, tz=tz))
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
