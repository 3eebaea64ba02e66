"""What every kind of resource is mapped with: the site's settings, what a resource gave, and how that is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gemel.core.code import SYSTEMS, Code
from gemel.core.errors import FormatError
from gemel.core.record import Demographics, Document, Exposure, Fact, Finding
from gemel.core.series import ENTERED_IN_ERROR, Series
from gemel.core.time import zone
from gemel.core.units import parse_unit
from gemel.interop.people import Merge
from gemel.interop.report import Refusal

__all__ = ["Mapped", "Point", "Refused", "Resolve", "Site"]

Resolve = Callable[[str], Mapping[str, Any] | None]
"""Finds the resource that a reference leads to; None when it is not there."""


@dataclass(frozen=True)
class Site:
    """What a sender leaves out.

    Parameters
    ----------
    name : pseudonym of the server or export, part of every fact's source; the same server is always called the same.
    zone : IANA zone of dates, which carry none.
    codes : the site's own code -> ours: ``"http://lab.example|GLU"`` -> ``"loinc:2345-7"``.
    units : the site's own spelling of a unit -> UCUM.
    prefix : put before the logical id of a patient, where two servers may use the same ids for two people; empty for one server.
    version : ``R4`` or ``R5``; ``auto``: by the elements of each document, R4 where they could be either.
    known_when_true : a fact of which nobody says when it became known is taken as known when it was true, not when it arrived here. For replaying an old export only.

    Examples
    --------
    >>> Site(zone="Europe/Berlin", codes={"http://lab.example|GLU": "loinc:2345-7"}).name
    'fhir'
    """

    name: str = "fhir"
    zone: str = "UTC"
    codes: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    version: str = "auto"
    known_when_true: bool = False

    def __post_init__(self) -> None:
        zone(self.zone)
        if self.version not in ("auto", "R4", "R5"):
            raise FormatError("a version of FHIR that is not read", seen=self.version, expected="auto, R4 or R5", fix="correct the site")
        for code in self.codes.values():
            Code.parse(code)
        for unit in self.units.values():
            parse_unit(unit)

    def __hash__(self) -> int:
        return hash((self.name, self.zone, self.prefix, self.version, self.known_when_true, len(self.codes), len(self.units)))


class Point(NamedTuple):
    """One number: a row of a Series that is not made yet. Times in ns UTC."""

    code: str
    text: str
    unit: str
    source: str
    time: int
    value: float
    recorded: int
    status: int
    censored: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies a reading in a record: of two versions of it the later recorded one supersedes."""
        return self.code, self.source, self.time


class Refused(Exception):  # never leaves this package: an item that cannot be placed
    """An item that cannot be placed: a short code, what was wrong, and what to do next."""

    def __init__(self, reason: str, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.reason, self.what, self.fix = reason, what, fix


@dataclass
class Mapped:
    """What one resource gave to a record.

    Parameters
    ----------
    type, id : of the resource.
    patient : pseudonym of the person it is about; None when it is about nobody, or nobody can tell about whom.
    points, findings, exposures, documents : facts; a document with its bytes.
    demographics : of the person, from a Patient.
    identifiers : system and value of each identifier of a Patient. They identify a person: into a sealed index, never into a record.
    merges : people who are one.
    unmerged : people of whom the version before said so, and this one does not.
    consent : the Consent, for whoever keeps consents; it is not read here.
    kept : why a resource gives no fact, though nothing is wrong with it; None when it gave some or was refused.
    refused : what could not be placed, with its reason.
    repaired : what was put right or assumed.
    apart : whether its numbers stand under a source of their own, since another resource gave a number of that code and moment too.
    read, mapped : items, and how many of them became facts. ``read = mapped + refused``, and of a resource that is kept ``read`` is 0.
    """

    type: str
    id: str
    patient: str | None = None
    points: list[Point] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    exposures: list[Exposure] = field(default_factory=list)
    documents: list[tuple[Document, bytes]] = field(default_factory=list)
    demographics: Demographics | None = None
    identifiers: tuple[tuple[str, str], ...] = ()
    merges: list[Merge] = field(default_factory=list)
    unmerged: list[Merge] = field(default_factory=list)
    consent: Mapping[str, Any] | None = None
    kept: str | None = None
    refused: list[Refusal] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    apart: bool = False
    read: int = 0
    mapped: int = 0

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """Everything that goes into the record; numbers of one code, unit and source as one Series."""
        columns: dict[tuple[str, str, str], list[Point]] = {}
        for point in self.points:
            columns.setdefault((point.code, point.unit, point.source), []).append(point)
        return (*(series_of(rows) for rows in columns.values()), *self.findings, *self.exposures, *(one for one, _ in self.documents))

    @property
    def retracted(self) -> tuple[tuple[str, ...], ...]:
        """Keys of facts that this resource takes back: what was computed from them is to be computed again."""
        rows = [("series", p.code, p.source, str(p.time)) for p in self.points if p.status == ENTERED_IN_ERROR]
        return (*rows, *(one.key for one in (*self.findings, *self.exposures) if one.status == ENTERED_IN_ERROR))


def series_of(rows: list[Point]) -> Series:
    """Make a Series of rows of one code, unit and source."""
    first = rows[0]
    return Series(
        code=Code.parse(first.code, display=first.text), unit=first.unit, source=first.source,
        time=np.array([r.time for r in rows], np.int64), value=np.array([r.value for r in rows], np.float64),
        recorded=np.array([r.recorded for r in rows], np.int64), status=np.array([r.status for r in rows], np.uint8),
        censored=np.array([r.censored for r in rows], np.int8),
    )  # fmt: skip


SYSTEM_NAMES: dict[str, str] = {url: name for name, url in SYSTEMS.items()} | {
    "urn:oid:2.16.840.1.113883.6.1": "loinc",
    "urn:oid:2.16.840.1.113883.6.96": "snomed",
    "urn:oid:2.16.840.1.113883.6.88": "rxnorm",
    "urn:oid:2.16.840.1.113883.6.73": "atc",
    "urn:oid:2.16.840.1.113883.6.24": "mdc",
    "http://www.genenames.org/geneId": "hgnc",
    "http://www.sequenceontology.org/": "so",
}
"""Address of a code system -> our name of it."""
