"""Which twins an export can feed: for how many patients, what is missing, and what is too poor to be used. Nothing leaves, nothing is kept.

Two answers stand beside each other. *By the manifest*: which declared inputs are there, in a unit that can be converted, how dense and how complete. *By the twin*: whether
it would answer at the end of the record, or abstain and why; that one decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gemel.core.code import Code
from gemel.core.errors import DataError, GemelError
from gemel.core.manifest import TwinManifest, VariableSpec
from gemel.core.record import PatientRecord
from gemel.core.time import DAY, MINUTE
from gemel.core.units import convert, is_convertible

__all__ = ["Ask", "InputQuality", "PatientReadiness", "TwinReadiness", "readiness"]

Ask = Callable[[str, PatientRecord, int], str | None]
"""Asks a twin whether it would answer about a record at a time: None, or why not."""

SPARSE = 0.7
"""Share of the expected readings below which a series is called sparse (ASSUMED; the consensus on CGM asks for 70 % of 14 days)."""
GAP = 3.0
"""A pause of more than so many usual intervals is a gap (ASSUMED)."""


@dataclass(frozen=True)
class InputQuality:
    """One declared input in one record.

    Parameters
    ----------
    count : readings or events in a unit that can be converted.
    days : from the first to the last, days.
    interval : usual minutes between readings; None for events and single readings.
    complete : share of the expected readings that are there; None where there is no usual interval.
    outside : readings outside the declared domain.
    wrong_unit : readings or events whose unit cannot be converted.
    """

    name: str
    code: str
    required: bool
    count: int
    days: float = 0.0
    interval: float | None = None
    complete: float | None = None
    outside: int = 0
    wrong_unit: int = 0

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with it, in a few words each."""
        said = []
        if self.wrong_unit:
            said.append(f"{self.wrong_unit} in a unit that cannot be converted")
        if self.complete is not None and self.complete < SPARSE:
            said.append(f"{self.complete:.0%} complete")
        if self.outside:
            said.append(f"{self.outside} outside the declared range")
        return tuple(said)


@dataclass(frozen=True)
class PatientReadiness:
    """One patient and one twin. ``refusal`` is why the twin would abstain; empty when it would answer."""

    patient: str
    inputs: tuple[InputQuality, ...]
    refusal: str

    @property
    def is_ready(self) -> bool:
        """Whether the twin would answer."""
        return not self.refusal

    @property
    def missing(self) -> tuple[str, ...]:
        """Required inputs of which there is nothing."""
        return tuple(i.name for i in self.inputs if i.required and not i.count)

    @property
    def absent(self) -> tuple[str, ...]:
        """Other inputs of which there is nothing: the twin does without, less well."""
        return tuple(i.name for i in self.inputs if not i.required and not i.count)


@dataclass(frozen=True)
class TwinReadiness:
    """One twin and everybody in the export."""

    twin: str
    version: str
    title: str
    patients: tuple[PatientReadiness, ...]

    @property
    def ready(self) -> int:
        """Patients about whom it would answer."""
        return sum(p.is_ready for p in self.patients)

    @property
    def refusals(self) -> Mapping[str, int]:
        """Why it would not, and about how many; figures in the reasons taken out, so that they can be counted."""
        return Counter(_plain(p.refusal) for p in self.patients if p.refusal)

    @property
    def with_input(self) -> Mapping[str, int]:
        """Patients with anything of each declared input."""
        return (
            {i.name: sum(p.inputs[k].count > 0 for p in self.patients) for k, i in enumerate(self.patients[0].inputs)}
            if self.patients
            else {}
        )

    @property
    def faults(self) -> Mapping[str, int]:
        """Patients by input with faults."""
        return Counter(i.name for p in self.patients for i in p.inputs if i.faults)


def _plain(reason: str) -> str:
    return " ".join("…" if any(c.isdigit() for c in word) else word for word in reason.split())


def _matches(code: Code, wanted: str) -> bool:
    """Whether a code is the wanted one, or a substance of the wanted group of drugs."""
    return str(code) == wanted or (wanted.startswith("atc:") and str(code).startswith(wanted))


def _values(values: np.ndarray, unit: str, spec: VariableSpec) -> np.ndarray | None:
    for analyte in (None, "glucose"):
        if is_convertible(unit, spec.unit, analyte=analyte):
            return np.asarray(convert(values, unit, spec.unit, analyte=analyte), float)
    return None


def _rhythm(times: np.ndarray) -> tuple[float | None, float | None]:
    """Return the usual interval, minutes, and the share of expected readings that are there."""
    if len(times) < 3:
        return None, None
    step = float(np.median(np.diff(times)))
    return (step / MINUTE, min(1.0, len(times) / (1 + (times[-1] - times[0]) / step))) if step > 0 else (None, None)


def _quality(record: PatientRecord, spec: VariableSpec) -> InputQuality:
    times, values, wrong = [], [], 0
    for series in record.series:
        if not _matches(series.code, spec.code):
            continue
        current = series.current()
        found = _values(current.value, current.unit, spec)
        if found is None:
            wrong += len(current)
        else:
            times.append(current.time)
            values.append(found)
    interval, complete = _rhythm(np.unique(np.concatenate(times))) if times else (None, None)
    for fact in (*record.exposures, *record.findings):
        if not _matches(fact.code, spec.code):
            continue
        amount = getattr(fact, "quantity", None) or getattr(fact, "value", None)
        unit = getattr(amount, "unit", None)
        if amount is None or unit is None:
            times.append(np.array([fact.time]))
        elif is_convertible(unit, spec.unit) or is_convertible(unit.split("/")[0], spec.unit):  # a rate of the same amount
            times.append(np.array([fact.time]))
            if is_convertible(unit, spec.unit):
                values.append(np.atleast_1d(convert(float(amount.value), unit, spec.unit)))
        else:
            wrong += 1
    if not times:
        return InputQuality(spec.name, spec.code, spec.required, 0, wrong_unit=wrong)
    every = np.sort(np.concatenate(times))
    low, high = spec.domain or (-np.inf, np.inf)
    seen = np.concatenate(values) if values else np.zeros(0)
    return InputQuality(
        spec.name,
        spec.code,
        spec.required,
        len(every),
        float(every[-1] - every[0]) / DAY,
        interval,
        complete,
        int(((seen < low) | (seen > high)).sum()),
        wrong,
    )


def _end(record: PatientRecord, manifest: TwinManifest) -> int | None:
    """Return when the last value of a required input was known; of any input where none is required."""
    wanted = [i.code for i in manifest.inputs if i.required] or [i.code for i in manifest.inputs]
    moments = [
        max(int(s.time.max()), int(s.recorded.max())) for s in record.series if len(s) and any(_matches(s.code, code) for code in wanted)
    ]
    moments += [max(f.time, f.recorded) for f in (*record.exposures, *record.findings) if any(_matches(f.code, code) for code in wanted)]
    return max(moments) if moments else None


def readiness(records: Iterable[PatientRecord], manifests: Sequence[TwinManifest], ask: Ask | None = None) -> tuple[TwinReadiness, ...]:
    """Say which twins these records can feed.

    Parameters
    ----------
    records : of an export, one per patient.
    manifests : of the twins in question.
    ask : asks the twin itself at the end of each record; left out, a twin is ready where all its required inputs are there.

    Raises
    ------
    DataError
        When there is nobody in the export.
    """
    people = tuple(records)
    if not people:
        raise DataError("there is nobody in the export", seen="0 patients", expected="one or more", fix="gemel import says what was read")
    told = []
    for manifest in manifests:
        found = []
        for record in people:
            inputs = tuple(_quality(record, spec) for spec in manifest.inputs)
            found.append(PatientReadiness(record.id, inputs, _refusal(record, manifest, inputs, ask)))
        told.append(TwinReadiness(manifest.id, manifest.version, manifest.title, tuple(found)))
    return tuple(sorted(told, key=lambda t: (-t.ready, t.twin)))


def _refusal(record: PatientRecord, manifest: TwinManifest, inputs: Sequence[InputQuality], ask: Ask | None) -> str:
    missing = [i.name for i in inputs if i.required and not i.count]
    end = _end(record, manifest)
    if ask is None or end is None:
        wanted = missing or ([] if end is not None else [i.name for i in inputs])
        return f"missing: {', '.join(wanted)}" if wanted else ""
    try:
        return ask(manifest.id, record, end) or ""
    except GemelError as error:
        return error.what
