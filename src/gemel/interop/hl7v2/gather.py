"""What one message gave, row by row, and rows of many messages as facts: columns are made once, not per message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gemel.core.code import Code
from gemel.core.record import Demographics, Document, Exposure, Fact, Finding
from gemel.core.series import Series
from gemel.interop.people import Merge
from gemel.interop.report import MessageReport

__all__ = ["Gathered", "Point", "gather"]


class Point(NamedTuple):
    """One numeric result: a row of a Series that is not made yet. Times in ns UTC."""

    patient: str
    code: str
    text: str
    unit: str
    source: str
    time: int
    value: float
    recorded: int
    status: int
    censored: int


_EMPTY = MessageReport(source="", format="hl7v2")


@dataclass
class Gathered:
    """What a message gave.

    Parameters
    ----------
    points, findings, documents : with the patient's identifier first; a document with its bytes.
    people : identifier -> what is known of the person.
    merges : identifiers that are one person.
    report : read = mapped + refused + duplicates.
    sender, control : MSH-3 and MSH-4, and MSH-10: what names the message.
    kind : such as ORU^R01.
    """

    points: list[Point] = field(default_factory=list)
    findings: list[tuple[str, Finding]] = field(default_factory=list)
    documents: list[tuple[str, Document, bytes]] = field(default_factory=list)
    exposures: list[tuple[str, Exposure]] = field(default_factory=list)
    people: dict[str, Demographics] = field(default_factory=dict)
    merges: list[Merge] = field(default_factory=list)
    report: MessageReport = _EMPTY
    sender: str = ""
    control: str = ""
    kind: str = ""


def gather(parts: Iterable[Gathered]) -> dict[str, list[Fact]]:
    """Return the facts of each patient: rows of the same code, unit and source become one Series, in the order of arrival.

    Examples
    --------
    >>> row = Point("p1", "loinc:8867-4", "", "/min", "hl7v2:ICU", 0, 61.0, 0, 0, 0)
    >>> facts = gather([Gathered(points=[row, row._replace(time=1, recorded=1)])])
    >>> len(facts["p1"][0].value)
    2
    """
    columns: dict[tuple[str, str, str, str], list[Point]] = {}
    facts: dict[str, list[Fact]] = {}
    for part in parts:
        for patient in part.people:
            facts.setdefault(patient, [])
        for point in part.points:
            columns.setdefault((point.patient, point.code, point.unit, point.source), []).append(point)
        for patient, *rest in (*part.findings, *part.exposures, *part.documents):
            facts.setdefault(patient, []).append(rest[0])
    for (patient, code, unit, source), rows in columns.items():
        series = Series(
            code=Code.parse(code, display=rows[0].text), unit=unit, source=source,
            time=np.array([r.time for r in rows], np.int64), value=np.array([r.value for r in rows]),
            recorded=np.array([r.recorded for r in rows], np.int64), status=np.array([r.status for r in rows], np.uint8),
            censored=np.array([r.censored for r in rows], np.int8),
        )  # fmt: skip
        facts.setdefault(patient, []).append(series)
    return facts
