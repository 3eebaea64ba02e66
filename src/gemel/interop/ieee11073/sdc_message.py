"""What a device reported, as a message of ours: kept as it is, read into facts by whoever asks, again if need be.

A message holds what was reported between two versions of one device's description, and with whom the device was associated then. Which patient that is, is never
guessed: readings of a device that is associated with nobody, with several, or with somebody of another root are not placed.

References
----------
IEEE 11073-10207-2017, B.122 (MeasurementValidity), B.75 (GenerationMode), 5.4 (contexts).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gemel.core.code import Code
from gemel.core.errors import FormatError
from gemel.core.record import Finding
from gemel.core.series import FINAL, PRELIMINARY, Series
from gemel.core.time import MINUTE
from gemel.interop.ieee11073.mdib import CODING_SYSTEM, Patient, patient_of
from gemel.interop.ieee11073.nomenclature import TERMS, UNITS
from gemel.interop.report import MessageReport, Tally

__all__ = ["Alert", "Reading", "Report", "facts_of", "read_report", "write_report"]

_MDC_SYSTEMS = (CODING_SYSTEM, "urn:oid:1.3.111.2.11073.10101")  # named by 20701; the second is the same nomenclature without a version
_AHEAD = 2 * MINUTE
_MEASURED = ("Msrmt", "Clc")
_USABLE = {"Vld": FINAL, "Vldated": FINAL, "Qst": PRELIMINARY}
_UNUSABLE = {
    "Ong": "the measurement is going on", "Calib": "the sensor is being calibrated", "Inv": "the device says that it is invalid",
    "Oflw": "beyond what the device measures, without its limit", "Uflw": "below what the device measures, without its limit", "NA": "not available",
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Reading:
    """One value of a metric.

    Parameters
    ----------
    value : ``None`` where there is none.
    time : ns UTC by the device's clock; ``None`` when it does not say.
    version : of the device's description.
    """

    handle: str
    mds: str
    code: str
    system: str
    unit: str
    category: str
    value: float | None
    validity: str
    mode: str
    time: int | None
    version: int

    def __repr__(self) -> str:
        return f"Reading({self.handle})"


@dataclass(frozen=True, repr=False)
class Alert:
    """One condition that is there, or is no longer."""

    handle: str
    mds: str
    code: str
    system: str
    is_present: bool
    time: int | None
    version: int

    def __repr__(self) -> str:
        return f"Alert({self.handle})"


@dataclass(frozen=True, repr=False)
class Report:
    """What a device reported between two versions.

    Parameters
    ----------
    device : endpoint reference.
    sequence : of its description: another one after it was started anew.
    received : ns UTC by our clock, when the last of it came.
    patients : who is associated, by device; when it changes a new message begins.
    since : ns UTC, by the device's clock, since when; what was measured before is somebody else's.
    is_complete : whether it was read as a whole, after something had been missed.
    """

    device: str
    sequence: str
    received: int
    patients: tuple[Patient, ...] = ()
    since: Mapping[str, int] = field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    alerts: tuple[Alert, ...] = ()
    is_complete: bool = False

    @property
    def name(self) -> str:
        """What it is called: device, sequence, first and last version."""
        versions = [one.version for one in (*self.readings, *self.alerts)] or [0]
        return f"{self.device}|{self.sequence}|{min(versions)}-{max(versions)}{'|whole' if self.is_complete else ''}"

    def __repr__(self) -> str:
        return f"Report({len(self.readings)} readings, {len(self.alerts)} alerts)"


def write_report(report: Report) -> bytes:
    """Return the bytes of a message: the same report gives the same bytes."""
    body = asdict(report) | {"format": "gemel-sdc/1", "since": dict(report.since)}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def read_report(raw: bytes) -> Report:
    """Read the bytes of a message.

    Raises
    ------
    FormatError
        When it is none.
    """
    try:
        body = json.loads(raw)
        if body.pop("format") != "gemel-sdc/1":
            raise ValueError("another format")
        patients = tuple(Patient(one["mds"], tuple((str(a), str(b)) for a, b in one["identifications"])) for one in body.pop("patients"))
        readings = tuple(Reading(**one) for one in body.pop("readings"))
        alerts = tuple(Alert(**one) for one in body.pop("alerts"))
        return Report(patients=patients, readings=readings, alerts=alerts, **body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError("no report of a device", seen=type(error).__name__, expected="gemel-sdc/1") from error


def _coded(reading: Reading) -> tuple[str, str] | tuple[str, str, str]:
    """Return our code and unit, or reason, words and what to do."""
    if reading.system not in _MDC_SYSTEMS or not reading.code.isdigit():
        return "code-private", "a code of the manufacturer's own", "have the device send IEEE 11073-10101"
    unit = UNITS.get(int(reading.unit)) if reading.unit.isdigit() else None
    if unit is None:
        return "unit-unknown", "a unit that is not in the table", "it is not guessed"
    term = TERMS.get(int(reading.code))
    # what was set at the device, or is recommended by it, was not measured in anybody
    known = dict(term.codes).get(unit) if term is not None and reading.category in _MEASURED else None
    return known or f"mdc:{reading.code}", unit


def _refusal(reading: Reading, received: int, since: int | None) -> tuple[str, str, str] | None:
    if reading.mode != "Real":
        return "not-a-patient", "the device says that it demonstrates or tests", ""
    if reading.value is None:
        return "no-number", "reported without a value", ""
    if reading.validity not in _USABLE or not math.isfinite(reading.value):
        return "not-valid", _UNUSABLE.get(reading.validity, "of no validity that is known"), ""
    if reading.time is not None and reading.time > received + _AHEAD:
        return "time-ahead", "the clock of the device is ahead", "set its clock"
    if reading.time is not None and since is not None and reading.time < since:
        return "before-association", "measured before the device was associated with this patient", ""
    return None


def facts_of(report: Report, *, root: str) -> tuple[dict[str, Sequence[Series | Finding]], MessageReport]:
    """Return the facts of a message by pseudonym, and what became of each reading. A source is a metric of a device: two sensors of one kind stay apart.

    Parameters
    ----------
    root : of those identifications that are pseudonyms here.
    """
    tally = Tally("device", "sdc")
    rows: dict[tuple[str, str, str, str], list[tuple[int, float, int, int]]] = {}
    findings: dict[str, list[Finding]] = {}
    source = f"sdc:{report.device.removeprefix('urn:uuid:')}"
    for reading in report.readings:
        tally.read += 1
        place = f"version {reading.version}"
        patient = patient_of(report.patients, reading.mds, root)
        refusal = _refusal(reading, report.received, report.since.get(reading.mds))
        coded = _coded(reading)
        if refusal is not None or len(coded) == 3:
            tally.refuse(*_with_place(refusal or coded, place))
        elif not patient:
            tally.refuse(*_with_place(_NOBODY, place))
        else:
            assert reading.value is not None  # _refusal said so
            time = report.received if reading.time is None else reading.time
            tally.mapped += 1
            rows.setdefault((patient, coded[0], coded[1], reading.handle), []).append(
                (time, reading.value, max(report.received, time), _USABLE[reading.validity])
            )
    for alert in report.alerts:
        tally.read += 1
        patient = patient_of(report.patients, alert.mds, root)
        if alert.system not in _MDC_SYSTEMS or not alert.code.isdigit():
            tally.refuse("code-private", f"version {alert.version}", "an alert of the manufacturer's own")
        elif not patient:
            tally.refuse(*_with_place(_NOBODY, f"version {alert.version}"))
        else:
            tally.mapped += 1
            time = min(alert.time if alert.time is not None else report.received, report.received)
            findings.setdefault(patient, []).append(
                Finding(code=Code.parse(f"mdc:{alert.code}"), value="present" if alert.is_present else "absent", time=time, recorded=report.received,
                        source=source, site=alert.handle)
            )  # fmt: skip
    found: dict[str, list[Series | Finding]] = {}
    for (patient, code, unit, handle), taken in rows.items():
        columns = {name: np.array([row[i] for row in taken]) for i, name in enumerate(("time", "value", "recorded", "status"))}
        found.setdefault(patient, []).append(Series(code=Code.parse(code), unit=unit, source=f"{source}/{handle}", **columns))
    for patient, some in findings.items():
        found.setdefault(patient, []).extend(some)
    return dict(found), tally.report()


_NOBODY = (
    "patient-unknown", "the device is associated with nobody who is known here, or not with one alone", "associate the patient at the device, with the root of the configuration",
)  # fmt: skip


def _with_place(told: Iterable[Any], place: str) -> tuple[str, str, str, str]:
    reason, what, fix = told
    return reason, place, what, fix
