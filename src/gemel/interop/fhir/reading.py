"""An export as patient records, without a store: for a look at it, for readiness, and for the verbs."""

from __future__ import annotations

import re
from pathlib import Path

from gemel.core.errors import FormatError
from gemel.core.record import PatientRecord
from gemel.interop.fhir.bulk import Broken, is_export, pieces, read_piece
from gemel.interop.fhir.codec import BODY
from gemel.interop.fhir.collect import Collected, Collector
from gemel.interop.fhir.files import unpack
from gemel.interop.fhir.mapping import Site
from gemel.interop.report import MessageReport, Refusal

__all__ = ["is_clinical", "read_export", "read_folder"]

_USUAL = Site()
_SENSOR = re.compile(rb"hl7\.org/fhir/uv/cgm|\"(?:99504-3|105272-9)\"")


def is_clinical(source: Path) -> bool:
    """Say whether a source is FHIR that the general mapping reads; one of sensor glucose by the CGM guide has its own layout."""
    if not is_export(source):
        return False
    if source.is_dir() or source.stat().st_size > BODY:
        return True
    try:
        return not any(_SENSOR.search(body[:65_536]) for _, body in unpack(source.read_bytes(), source.name))
    except FormatError:
        return True


def read_export(source: Path, *, received: int, site: Site = _USUAL) -> Collected:
    """Read everything in a file or folder into memory.

    Parameters
    ----------
    received : ns UTC: nothing that was true later is taken.

    Raises
    ------
    FormatError
        When there is no resource that can be read.
    """
    collector = Collector(source.name, received, site)
    broken: list[Refusal] = []
    for piece in pieces(source):
        for place, tree, _ in read_piece(piece):
            if isinstance(tree, Broken):
                broken.append(Refusal(reason="unreadable", place=place, what=tree.what, fix=tree.fix))
            else:
                collector.add(place, tree)
    if not collector.entries:
        raise FormatError(
            f"{source.name} holds no resource that can be read",
            seen=f"{broken[0].what} at {broken[0].place}" if broken else "nothing",
            expected="JSON, NDJSON or XML of FHIR R4, also in gzip or zip",
            fix="check the file with gemel fhir validate",
        )
    found = collector.finish()
    if broken:
        report = found.report
        found.report = report.model_copy(update={"read": report.read + len(broken), "refused": (*report.refused, *broken)})
    return found


def read_folder(source: Path, *, received: int, site: Site = _USUAL) -> list[tuple[PatientRecord, MessageReport]]:
    """Return a record for each person of an export, each with the report of the whole.

    Raises
    ------
    FormatError
        When nobody in it has a fact.
    """
    found = read_export(source, received=received, site=site)
    held = [record for record in found.records() if any(True for _ in record.facts())]
    if not held:
        refused = found.report.refused
        raise FormatError(
            f"{source.name} holds no fact of a person",
            seen=f"{refused[0].what} at {refused[0].place}" if refused else f"{found.report.read} items, none with a fact",
            expected="Observations, Conditions or others that are mapped",
            fix=(refused[0].fix if refused else "") or "gemel import --format fhir --verbose says why of each",
        )
    return [(record, found.report) for record in held]
