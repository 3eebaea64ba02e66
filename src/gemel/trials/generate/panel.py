"""Patients by visits by variables: what a generator is calibrated on and what it draws, on the scales of real instruments."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float, Int

from gemel.core.errors import DataError, EvidenceError, ValueRangeError
from gemel.core.lineage import digest
from gemel.trials.data import SMALLEST_ARM, Column, numbers

__all__ = ["NOT_ANONYMOUS", "Kind", "Panel", "Variable", "history", "inferred"]

NOT_ANONYMOUS = "synthetic is not anonymous"
"""Stands on every output: what is drawn from a model of real people may say something about one of them."""


class Kind(StrEnum):
    """How a variable varies."""

    CONTINUOUS = "continuous"
    ORDINAL = "ordinal"
    BINARY = "binary"
    ZERO_INFLATED = "zero-inflated"


@dataclass(frozen=True)
class Variable:
    """One variable and its instrument.

    Parameters
    ----------
    name : of the column.
    kind : how it varies.
    low, high : limits of the instrument, in ``unit``.
    resolution : its smallest step, in ``unit``; values are kept as whole multiples of it.
    unit : UCUM.
    is_baseline : known once, before the first visit.
    labels : words of 0 and 1, for a binary variable.
    """

    name: str
    kind: Kind
    low: float
    high: float
    resolution: float = 1.0
    unit: str = "1"
    is_baseline: bool = False
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.resolution > 0 and self.low < self.high and all(map(math.isfinite, (self.low, self.high, self.resolution)))):
            raise DataError("a variable's scale is impossible", seen=self, expected="finite low < high, resolution > 0")
        if max(abs(self.low), abs(self.high)) / self.resolution > 32767:
            raise DataError(
                "a variable has more steps than 16 bits hold",
                seen=f"{self.name}: {self.low:g} to {self.high:g} by {self.resolution:g}",
                expected="at most 32,767 steps on either side of zero",
                fix="state a coarser resolution: that of the instrument",
            )

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored steps: int8 where it suffices."""
        return np.dtype(np.int8 if max(abs(self.low), abs(self.high)) / self.resolution <= 127 else np.int16)

    @property
    def gap(self) -> int:
        """Stored number of a missing value."""
        return int(np.iinfo(self.dtype).min)

    def encode(self, values: Float[np.ndarray, "..."]) -> np.ndarray:
        """Return whole steps, inside the limits; missing becomes :attr:`gap`."""
        steps = np.rint(np.clip(values, self.low, self.high) / self.resolution)
        return np.where(np.isnan(steps), self.gap, steps).astype(self.dtype)

    def decode(self, steps: np.ndarray) -> Float[np.ndarray, "..."]:
        """Return values in the unit, NaN where missing."""
        return np.where(steps == self.gap, np.nan, steps * self.resolution)


@dataclass(frozen=True)
class Panel:
    """Control patients by visit and variable, real or drawn.

    Parameters
    ----------
    variables : in the order of the last axis.
    times : (visit,) nominal times, in ``unit``, rising.
    values : (patient, visit, variable), NaN where missing; a baseline variable stands at the first visit only.
    last : (patient,) index of the last visit attended.
    event : (patient,) index of the visit at which the event had happened first; the number of visits where it had not.
    subjects : identifiers of real people; empty for virtual ones.
    study : (patient,) index into ``studies``.
    notes : what was done to the data.
    """

    variables: tuple[Variable, ...]
    times: Float[np.ndarray, " visit"]
    values: Float[np.ndarray, "patient visit variable"]
    last: Int[np.ndarray, " patient"]
    event: Int[np.ndarray, " patient"]
    unit: str = "d"
    subjects: tuple[str, ...] = ()
    study: Int[np.ndarray, " patient"] = field(default_factory=lambda: np.zeros(0, int))
    studies: tuple[str, ...] = ("study",)
    event_name: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.study):
            object.__setattr__(self, "study", np.zeros(len(self.values), int))
        for array in (self.times, self.values, self.last, self.event, self.study):
            array.setflags(write=False)

    @property
    def n(self) -> int:
        """Patients."""
        return len(self.values)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the variables."""
        return tuple(v.name for v in self.variables)

    @property
    def hash(self) -> str:
        """Of all that a generator learns from; rows may come in any order."""
        order = sorted(range(self.n), key=self.subjects.__getitem__) if self.subjects else list(range(self.n))
        arrays = [getattr(self, k)[order] for k in ("values", "last", "event", "study")]
        return digest([self.variables, self.times, self.unit, self.subjects and sorted(self.subjects), *arrays])

    def index(self, name: str) -> int:
        """Return the place of a variable.

        Raises
        ------
        DataError
            When there is none of that name.
        """
        if name not in self.names:
            raise DataError("there is no such variable", seen=name, expected=", ".join(self.names), fix="check the spelling")
        return self.names.index(name)

    def take(self, rows: Int[np.ndarray, " row"] | Bool[np.ndarray, " patient"]) -> Panel:
        """Return some of the patients."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        subjects = tuple(self.subjects[i] for i in rows) if self.subjects else ()
        parts = {k: getattr(self, k)[rows] for k in ("values", "last", "event", "study")}
        return replace(self, subjects=subjects, **parts)

    def columns(self) -> tuple[list[tuple[int, int]], Float[np.ndarray, "patient column"]]:
        """Return (variable, visit) of each column, baseline variables once, and the values side by side."""
        places = [(j, t) for j, v in enumerate(self.variables) for t in range(1 if v.is_baseline else len(self.times))]
        return places, np.stack([self.values[:, t, j] for j, t in places], axis=1)


def inferred(name: str, values: Float[np.ndarray, " row"], *, is_baseline: bool, labels: tuple[str, ...] = ()) -> Variable:
    """Return the variable that a column looks like: two values, whole numbers, many zeros, or anything else at the resolution seen.

    Raises
    ------
    DataError
        When the column is empty or does not vary.
    """
    known = values[~np.isnan(values)]
    if not len(known) or np.ptp(known) == 0:
        raise DataError("a column says nothing", seen=f"{name}: {len(known)} values, all the same", fix="leave it out")
    distinct = np.unique(known)
    if len(distinct) == 2 and set(distinct.tolist()) == {0.0, 1.0}:
        return Variable(name, Kind.BINARY, 0.0, 1.0, is_baseline=is_baseline, labels=labels)
    whole = bool((known == np.rint(known)).all())
    resolution = 1.0 if whole else _resolution(known)
    low, high = float(known.min()), float(known.max())
    zeros = float((known == 0).mean())
    if low == 0 and 0.2 < zeros < 1:
        kind = Kind.ZERO_INFLATED
    else:
        kind = Kind.ORDINAL if whole and len(distinct) <= 30 else Kind.CONTINUOUS
    resolution = max(resolution, 10.0 ** math.ceil(math.log10(max(abs(low), abs(high)) / 32767)))
    low, high = math.floor(low / resolution + 1e-6) * resolution, math.ceil(high / resolution - 1e-6) * resolution
    return Variable(name, kind, low, high, resolution, is_baseline=is_baseline)


def _resolution(known: np.ndarray) -> float:
    """Return the smallest power of ten, down to 1e-6, of which all values are multiples."""
    for power in range(1, 7):
        scaled = known * 10.0**power
        if np.abs(scaled - np.rint(scaled)).max() < 1e-6 * max(1.0, float(np.abs(scaled).max())) / 1e3:
            return 10.0**-power
    return 1e-6


def history(
    columns: Mapping[str, Column],
    *,
    subject: str,
    visit: str,
    variables: Sequence[str] = (),
    baseline: Sequence[str] = (),
    described: Mapping[str, Variable] | None = None,
    event: str = "",
    study: str = "",
    unit: str = "d",
) -> Panel:
    """Check the long table of a control arm, one row per patient and visit, and return its panel.

    Parameters
    ----------
    columns : name -> values, all of one length.
    subject, visit : who and when; visits are numbers, nominal times in ``unit``.
    variables : what is measured at visits; left out, every other column.
    baseline : what is known once; the first value of each patient counts.
    described : scales of the instruments; what is not described is inferred, and said so.
    event : a column of 0 and 1: whether the event had happened by that visit; once it has, it stays.
    study : which study a patient was in; a patient is in one.

    Raises
    ------
    DataError
        For missing columns, duplicate patients and visits, words where numbers belong, a value beyond its instrument.
    EvidenceError
        For fewer than :data:`~gemel.trials.data.SMALLEST_ARM` patients or two visits.
    """
    used = [subject, visit, *([event] if event else []), *([study] if study else [])]
    variables = tuple(variables) or tuple(c for c in columns if c not in {*used, *baseline})
    absent = [c for c in (*used, *baseline, *variables) if c not in columns]
    if absent or not variables:
        raise DataError("a column is missing", seen=absent or "no variable", expected=", ".join(columns), fix="check the spelling")
    who = [str(v) for v in columns[subject]]
    when = numbers(columns[visit])
    if when is None or np.isnan(when).any():
        raise DataError("a visit is not a number", seen=visit, expected=f"nominal times in {unit}", fix="use the numeric visit column")
    double = [k for k, n in Counter(zip(who, when.tolist(), strict=True)).items() if n > 1]
    if double:
        raise DataError(
            "a subject has a visit twice", seen=f"{len(double)} times", expected="one row per subject and visit", fix="choose one"
        )
    people, times = sorted(set(who)), np.unique(when)
    if len(people) < SMALLEST_ARM or len(times) < 2:
        raise EvidenceError(
            "the history is too small", seen=f"{len(people)} patients, {len(times)} visits", expected=f"{SMALLEST_ARM} patients, two visits"
        )
    place = {p: i for i, p in enumerate(people)}
    row, at, notes = np.array([place[w] for w in who]), np.searchsorted(times, when), []
    values = np.full((len(people), len(times), len(baseline) + len(variables)), np.nan)
    made = []
    for j, name in enumerate((*baseline, *variables)):
        found, labels = _read(name, columns[name])
        variable = (described or {}).get(name)
        if variable is None:
            variable = inferred(name, found, is_baseline=name in baseline, labels=labels)
            notes.append(f"{name}: taken as {variable.kind.value}, {variable.low:g} to {variable.high:g} by {variable.resolution:g}")
        variable = replace(variable, is_baseline=name in baseline, labels=labels)
        outside = np.flatnonzero((found < variable.low - 1e-9) | (found > variable.high + 1e-9))
        if len(outside):
            raise ValueRangeError(
                "a value lies beyond its instrument",
                seen=f"{name} = {found[outside][0]:g}",
                expected=f"{variable.low:g} to {variable.high:g} {variable.unit}",
            )
        values[row, at, j] = found
        made.append(variable)
        if name in baseline:
            known = ~np.isnan(values[:, :, j])
            first = np.where(known.any(axis=1), values[np.arange(len(people)), known.argmax(axis=1), j], np.nan)
            values[:, :, j] = np.nan
            values[:, 0, j] = first
    seen = np.asarray(np.any(np.isfinite(values[:, :, len(baseline) :]), axis=2))
    if not seen.any(axis=1).all():
        raise DataError("a patient has no value at any visit", seen=f"{int((~seen.any(axis=1)).sum())} patients", fix="leave them out")
    last = len(times) - 1 - seen[:, ::-1].argmax(axis=1)
    groups, names = _groups([str(v) for v in columns[study]] if study else ["study"] * len(who), row, len(people))
    return Panel(
        tuple(made), times, values, last, _events(columns[event] if event else (), row, at, (len(people), len(times))), unit, tuple(people), groups, names, event, tuple(notes)
    )  # fmt: skip


def _read(name: str, values: Column) -> tuple[np.ndarray, tuple[str, ...]]:
    found = numbers(values)
    if found is not None:
        return found, ()
    words = sorted({str(v).strip() for v in values} - {"", "NA", "."})
    if len(words) != 2:
        raise DataError(
            "a column holds words",
            seen=f"{name}: {len(words)} different",
            expected="numbers, or two words",
            fix="code an order as numbers, or leave it out",
        )
    return np.array([words.index(str(v).strip()) if str(v).strip() in words else np.nan for v in values], float), tuple(words)


def _groups(said: list[str], row: np.ndarray, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    names = sorted(set(said))
    code = np.array([names.index(s) for s in said])
    of = np.full(n, -1)
    of[row] = code
    if (of[row] != code).any():
        raise DataError("a patient is in two studies", seen=f"{int((of[row] != code).sum())} rows", expected="one study per patient")
    return of, tuple(names)


def _events(said: Column, row: np.ndarray, at: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    happened = np.zeros(shape, bool)
    if len(said):
        found = numbers(said)
        if found is None or not set(np.unique(found[~np.isnan(found)]).tolist()) <= {0.0, 1.0}:
            raise DataError("an event is not 0 or 1", seen="other values", expected="0 until it has happened, 1 from then on")
        happened[row, at] = found == 1
        known = np.zeros(shape, bool)
        known[row, at] = ~np.isnan(found)
        if (known & ~happened & np.maximum.accumulate(happened, axis=1)).any():
            raise DataError("an event is taken back", seen="0 after 1", expected="1 from the visit at which it had happened")
    return np.where(happened.any(axis=1), happened.argmax(axis=1), shape[1])
