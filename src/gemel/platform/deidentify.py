"""Take out what tells who somebody is: safe harbour, or a limited data set with shifted dates. What is kept is on a list; everything else goes.

*Safe harbour* removes the eighteen identifiers: times become durations since an index that is not told, or years; ages above 89 become 90; of a
ZIP code three digits stay, or 000. *Limited* shifts every date of a person by one number of days: intervals and weekdays' order stay, and it is **not** safe
harbour, whatever else was removed. Text that somebody wrote is dropped, never searched for names.

References
----------
45 CFR 164.514(b)(2), safe harbour; 164.514(c), codes for re-identification; 164.514(e), limited data set.
US HHS, Guidance Regarding Methods for De-identification of Protected Health Information, 2012: the ZIP codes of areas with 20,000 people or fewer.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

import numpy as np

from gemel.core.errors import DataError
from gemel.core.record import Demographics, Exposure, Finding, PatientRecord, Quantity
from gemel.core.series import Series
from gemel.core.time import DAY

__all__ = [
    "LABELS",
    "OLDEST",
    "RESTRICTED",
    "DeidentificationReport",
    "Method",
    "capped_age",
    "deidentify_record",
    "pseudonym",
    "shift_days",
    "zip3",
]

Method = Literal["safe-harbour", "limited"]

LABELS: Mapping[Method, str] = {
    "safe-harbour": "identifiers removed by the list of 45 CFR 164.514(b)(2), safe harbour",
    "limited": "limited data set, 45 CFR 164.514(e): dates are shifted; not safe harbour",
}
"""What stands on every export."""

OLDEST = 90.0
"""Years; ages above 89 are told as this, meaning *or older*."""

RESTRICTED = frozenset({
    "036", "059", "063", "102", "203", "556", "692", "790", "821", "823", "830", "831", "878", "879", "884", "890", "893", "202", "204", "205", "369", "753", "772",
})  # fmt: skip
"""Three-digit ZIP codes that become 000: the seventeen of the guidance (census of 2000), and six more of the census of 2010. Give your own where newer figures are out."""


@dataclass(frozen=True)
class DeidentificationReport:
    """What was removed, counted by what it was and by where it stood."""

    method: Method
    removed: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What the result may be called."""
        return LABELS[self.method]

    def __add__(self, other: DeidentificationReport) -> DeidentificationReport:
        if other.method != self.method:
            raise DataError("reports of different methods do not add up", seen=(self.method, other.method))

        def both(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
            return {name: a.get(name, 0) + b.get(name, 0) for name in sorted({*a, *b})}

        return DeidentificationReport(self.method, both(self.removed, other.removed), both(self.places, other.places))


class Removals:
    """Counts on the way."""

    def __init__(self) -> None:
        self.removed: dict[str, int] = {}
        self.places: dict[str, int] = {}

    def count(self, what: str, place: str, n: int = 1) -> None:
        """Count something that is not there any more."""
        if n:
            self.removed[what] = self.removed.get(what, 0) + n
            self.places[place] = self.places.get(place, 0) + n

    def report(self, method: Method) -> DeidentificationReport:
        """Return the counts."""
        return DeidentificationReport(method, dict(sorted(self.removed.items())), dict(sorted(self.places.items())))


def _keyed(key: bytes, *parts: str) -> bytes:
    if len(key) < 32:
        raise DataError(
            "the key of pseudonyms is too short",
            seen=f"{len(key)} bytes",
            expected=">= 32 random bytes",
            fix="secrets.token_bytes(32), kept apart from the export",
        )
    return hmac.new(key, "\0".join(parts).encode(), sha256).digest()


def pseudonym(key: bytes, project: str, identifier: str) -> str:
    """Return the name of somebody or something in one project: 32 hexadecimal digits, HMAC-SHA-256.

    The same in every export of the project, another in every other. 164.514(c) forbids codes derived from information about the person: give it the
    random id of the store, not a record number.

    Raises
    ------
    DataError
        When the key has fewer than 32 bytes.
    """
    return _keyed(key, "pseudonym", project, identifier)[:16].hex()


def shift_days(key: bytes, project: str, patient: str) -> int:
    """Return by how many days the dates of a person are shifted: from -365 to 365, never 0."""
    number = int.from_bytes(_keyed(key, "shift", project, patient)[:8]) % 730 - 365
    return number if number < 0 else number + 1


def zip3(code: str, restricted: frozenset[str] = RESTRICTED) -> str:
    """Return the three digits of a US ZIP code that may be told; ``000`` where few people live, or when it is none."""
    head = code.strip()[:3]
    return head if len(head) == 3 and head.isascii() and head.isdigit() and head not in restricted else "000"


def capped_age(years: float) -> float:
    """Return an age as it may be told: above 89 it is 90, *or older*."""
    return OLDEST if years >= OLDEST else years


def deidentify_record(
    record: PatientRecord, *, method: Method, key: bytes, project: str, index: int | None = None, sites: frozenset[str] = frozenset()
) -> tuple[PatientRecord, DeidentificationReport]:
    """Return a record that does not tell whose it is, and what was removed.

    Parameters
    ----------
    key, project : of the pseudonyms.
    index : ns UTC from which *safe-harbour* counts; left out, the earliest time in the record. It is not told. Times then are durations since 1970-01-01.
    sites : places in the body that may stay, as the room names them; any other is dropped as text.

    Raises
    ------
    DataError
        When the key is too short, or the method unknown.
    """
    if method not in LABELS:
        raise DataError("no such method of de-identification", seen=method, expected=", ".join(LABELS))
    gone = Removals()
    times = [int(s.time.min()) for s in record.series if len(s)] + [f.time for f in (*record.exposures, *record.findings)]
    if method == "limited":
        moved = shift_days(key, project, record.id) * DAY
    else:
        moved = -(min(times, default=0) if index is None else index)
    gone.count("dates", "times", sum(len(s) for s in record.series) + len(record.exposures) + len(record.findings))
    sources: dict[str, str] = {}

    def source(name: str) -> str:
        gone.count("device and other numbers", "source")
        return sources.setdefault(name, f"source-{len(sources) + 1}")

    def named(name: str, place: str) -> str:
        if name:
            gone.count("record and account numbers", place)
        return pseudonym(key, project, name) if name else ""

    series = tuple(
        Series(code=s.code, unit=s.unit, time=s.time + np.int64(moved), value=s.value, recorded=s.recorded + np.int64(moved), status=s.status,
               censored=s.censored, source=source(s.source))
        for s in record.series
    )  # fmt: skip
    exposures = []
    for e in record.exposures:
        gone.count("free text", "exposure.note", int(bool(e.note)))
        exposures.append(
            Exposure(code=e.code, quantity=e.quantity, start=e.start + moved, end=e.end + moved, recorded=e.recorded + moved, source=source(e.source),
                     status=e.status, id=named(e.id, "exposure.id"), uncertainty=e.uncertainty)
        )  # fmt: skip
    findings = []
    for f in record.findings:
        text = isinstance(f.value, str)
        gone.count("free text", "finding.value", int(text))
        gone.count("free text", "finding.site", int(bool(f.site) and f.site not in sites))
        findings.append(
            Finding(code=f.code, value=None if text else f.value, time=f.time + moved, recorded=f.recorded + moved, status=f.status, source=source(f.source),
                    site=f.site if f.site in sites else "", id=named(f.id, "finding.id"))
        )  # fmt: skip
    gone.count("free text", "document", len(record.documents))
    gone.count("photographs and shapes", "geometry", len(record.geometry))
    gone.count("record and account numbers", "id")
    made = PatientRecord(
        id=pseudonym(key, project, record.id), demographics=_demographics(record.demographics, gone), series=series, exposures=tuple(exposures),
        findings=tuple(findings),
    )  # fmt: skip
    return made, gone.report(method)


def _demographics(known: Demographics, gone: Removals) -> Demographics:
    traits: dict[str, Any] = {}
    for name, value in known.traits.items():
        if not isinstance(value, Quantity):
            gone.count("free text", f"demographics.traits.{name}")
        elif name.partition("-")[0] == "age" and value.unit == "a":
            traits[name] = Quantity(value=capped_age(value.value), unit="a")
        else:
            traits[name] = value
    if known.zone != "UTC":
        gone.count("geography", "demographics.zone")
    age = None if known.age is None else capped_age(known.age)
    if age != known.age:
        gone.count("ages", "demographics.age")
    return Demographics(sex=known.sex, age=age, traits=traits)
