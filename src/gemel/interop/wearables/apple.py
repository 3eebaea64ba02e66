"""Apple Health: ``export.zip`` as the telephone shares it, or the ``export.xml`` in it.

The file is read as a stream: a decade of a watch is gigabytes. Its document type is thrown away unread, entities are refused. Times are local with their
offset, ``2026-01-31 08:05:00 +0100``, cut by position. ``creationDate`` is when the reading became known. The name of a source often holds the
owner's: sources are called watch, phone or app, numbered in the order in which they first wrote. Watch and telephone count the same steps: where intervals
overlap the watch counts, then the telephone, then apps. A record that stands alone and again inside a correlation counts once.

References
----------
Codes: LOINC, as HealthKitOnFHIR maps them; the document type of the export (HealthKit Export Version 12 and 14) for elements and attributes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Sequence

from gemel.core import Demographics, PatientRecord, Series
from gemel.core.errors import FormatError, TimeError
from gemel.core.record import Fact
from gemel.core.time import DAY, zone
from gemel.interop.wearables._apple_facts import Builder
from gemel.interop.wearables._apple_read import EPOCH, Reader
from gemel.interop.wearables._apple_types import KINDS
from gemel.interop.wearables._xml_stream import read_elements
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source

__all__ = ["LAYOUT"]

_ROOT = re.compile(rb"<HealthData[\s/>]|<!DOCTYPE\s+HealthData\b")
_SEX = {"HKBiologicalSexFemale": "female", "HKBiologicalSexMale": "male", "HKBiologicalSexOther": "other"}


def _sniff(name: str, head: bytes) -> bool:  # noqa: ARG001  the content decides
    return bool(_ROOT.search(head))


def _born(reader: Reader, first: int) -> float | None:
    """Return the age in whole years at the first fact; the day of birth itself is not kept."""
    written = reader.me.get("HKCharacteristicTypeIdentifierDateOfBirth", "")
    if not written:
        return None
    try:
        born = dt.date.fromisoformat(written)
    except ValueError:
        reader.notes.unclear("a date of birth that cannot be read")
        return None
    day = dt.date.fromordinal(EPOCH + first // DAY)
    age = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    if not 0 <= age <= 130:
        reader.notes.unclear("a date of birth that does not go with the times of the entries")
        return None
    return float(age)


def _zone(reader: Reader, tz: str | None) -> str:
    if tz is not None:
        return tz
    for name, _ in reader.zones.most_common():
        try:
            zone(name)
        except TimeError:
            continue
        reader.notes.warn(f"zone {name} taken from the entries that name one; --tz names another")
        return name
    reader.notes.warn("zone unknown: name it (tz=) to have meals at the right hour of the day")
    return "UTC"


def _first(fact: Fact) -> int:
    return int(fact.time.min()) if isinstance(fact, Series) else int(fact.time)


def _one(source: Source, options: Options, alone: bool) -> tuple[PatientRecord, Notes]:
    reader = Reader(source.base)
    notes = reader.notes
    removed = read_elements(source, "HealthData", reader.start, reader.end)
    notes.repair("control characters that no XML may hold taken out", removed)
    notes.rows = reader.tally.read
    found = Builder(reader).facts()
    if not found:
        raise FormatError(
            f"{source.base} holds nothing that can be placed",
            seen="; ".join([*notes.ignored, *notes.unparsed])[:200] or "no record",
            expected=f"records of {', '.join(KINDS)}",
            fix="export all health data again",
        )
    first = min(_first(fact) for fact in found)
    stamp = hashlib.sha256(f"{first} {min(reader.first, default=0)}".encode()).hexdigest()[:8]
    id = options.id if options.id and alone else f"apple-health-{stamp}"  # the file's name is the same for everybody
    sex = _SEX.get(reader.me.get("HKCharacteristicTypeIdentifierBiologicalSex", ""), "unknown")
    person = Demographics(sex=sex, age=_born(reader, first), zone=_zone(reader, options.tz))  # pyright: ignore[reportArgumentType]
    return PatientRecord(id=id, demographics=person).with_facts(*found), notes


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    for source in sources:
        record, notes = _one(source, options, len(sources) == 1)
        parsed.append((record, notes.report(record)))
    return parsed


LAYOUT = Layout(
    "apple-health",
    "Apple Health export.zip or export.xml (heart, oxygen, glucose, steps, weight, pressure, food, insulin, sleep, workouts)",
    _sniff,
    _parse,
)
