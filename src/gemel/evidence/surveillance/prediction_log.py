"""A log of predictions and of what became of them: the one thing that surveillance needs of a model, ours or any other.

One row per prediction. ``time`` is when it was made, ``recorded`` when its outcome became known: a late outcome never changes what a chart
said before. Identifiers of people are pseudonyms; they are never printed.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from gemel.core.errors import EvidenceError, FormatError, TimeError
from gemel.core.lineage import digest
from gemel.core.time import iso, to_ns

__all__ = ["KNOWN_COLUMNS", "PredictionLog", "log_of", "read_log"]

UNKNOWN = np.iinfo(np.int64).max
"""The recorded time of an outcome that is not there."""
NUMBERS = ("prediction", "outcome", "lower", "upper", "crps", "pit", "innovation", "alarmed", "overridden", "abstained")
KNOWN_COLUMNS: Mapping[str, str] = {
    "time": "when the prediction was made, ISO 8601",
    "recorded": "when its outcome became known, ISO 8601; empty while there is none",
    "patient": "pseudonym",
    "prediction": "probability of the event, or the predicted value",
    "outcome": "0 or 1, or the value; empty while unknown",
    "lower": "lower end of the predictive interval",
    "upper": "upper end of the predictive interval",
    "crps": "continuous ranked probability score, in the unit of the outcome",
    "pit": "probability integral transform of the outcome, 0 to 1",
    "innovation": "(observed - predicted) / predicted standard deviation",
    "group": "subgroup that is watched apart",
    "device": "device or software that delivered the inputs",
    "alarmed": "1 when the prediction rang an alarm for a person",
    "overridden": "1 when that person decided otherwise",
    "acted": "when somebody acted, ISO 8601",
    "abstained": "1 when the model abstained",
}
"""Columns with a meaning; every other one is an input of the model: numbers, or words of a category."""


@dataclass(frozen=True)
class PredictionLog:
    """Predictions in order of time; every array is (row,).

    Parameters
    ----------
    time, recorded : ns UTC; ``recorded`` is the largest integer where no outcome is known.
    patient : pseudonyms.
    kind : *event* (probabilities of 0 or 1) or *value*.
    numbers : columns of :data:`KNOWN_COLUMNS` that hold numbers, NaN where empty.
    acted : ns UTC, or the largest integer.
    group : names of subgroups; empty strings where there are none.
    inputs, categories : other columns, as numbers (NaN where empty) and as words.
    notes : what was assumed.
    """

    time: np.ndarray
    recorded: np.ndarray
    patient: np.ndarray
    kind: Literal["event", "value"]
    numbers: dict[str, np.ndarray]
    acted: np.ndarray
    group: np.ndarray
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    categories: dict[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.time)

    @property
    def hash(self) -> str:
        """First 32 hexadecimal digits of the hash of everything that stands in it."""
        columns = [self.time, self.recorded, self.patient.tolist(), self.kind, self.numbers, self.acted, self.group.tolist()]
        return digest([*columns, self.inputs, {k: v.tolist() for k, v in self.categories.items()}])[:32]

    @property
    def known(self) -> np.ndarray:
        """(row,) whether prediction and outcome are both there."""
        return np.isfinite(self.numbers["prediction"]) & np.isfinite(self.numbers["outcome"]) & (self.recorded < UNKNOWN)

    def take(self, rows: np.ndarray) -> PredictionLog:
        """Return some of the rows, in the order given (indices or a mask)."""
        return replace(
            self,
            time=self.time[rows], recorded=self.recorded[rows], patient=self.patient[rows], acted=self.acted[rows], group=self.group[rows],
            numbers={k: v[rows] for k, v in self.numbers.items()}, inputs={k: v[rows] for k, v in self.inputs.items()},
            categories={k: v[rows] for k, v in self.categories.items()},
        )  # fmt: skip

    def as_of(self, now: int) -> PredictionLog:
        """Return what was known at ``now``: later predictions are left out, outcomes recorded later are not there."""
        seen = self.take(self.time <= now)
        hidden = seen.recorded > now
        numbers = {k: np.where(hidden & np.isin(k, ("outcome", "crps", "pit", "innovation")), np.nan, v) for k, v in seen.numbers.items()}
        acted = np.where(seen.acted > now, UNKNOWN, seen.acted)
        return replace(seen, recorded=np.where(hidden, UNKNOWN, seen.recorded), numbers=numbers, acted=acted)


def _number(text: str, column: str, row: int) -> float:
    if not text:
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise FormatError(
            f"column {column!r} holds numbers only", seen=f"a cell that is none, row {row}", expected="a finite number, or nothing"
        )
    return value


def _moment(text: str, column: str, row: int, tz: str | None) -> int:
    if not text:
        return UNKNOWN
    try:
        return to_ns(text, tz=tz)
    except TimeError as error:
        raise TimeError(f"row {row}, column {column!r}: {error.what}", expected=error.expected, fix=error.fix) from error


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def log_of(
    rows: Sequence[Mapping[str, str | None]], *, kind: Literal["event", "value"] | None = None, tz: str | None = None
) -> PredictionLog:
    """Build a log from rows of text; rows are counted from 1.

    Parameters
    ----------
    rows : column -> text; see :data:`KNOWN_COLUMNS`.
    kind : *event* or *value*. Left out: *event* when all outcomes are 0 or 1, or when all predictions lie in [0, 1] and no interval stands beside them.
    tz : zone of times that carry none.

    Raises
    ------
    FormatError
        For a missing column or a cell that is no number.
    TimeError
        When time runs backwards: a prediction before the one above it, an outcome known before its prediction was made.
    EvidenceError
        For a probability outside [0, 1], an outcome of an event that is not 0 or 1, an interval that ends before it begins, or a PIT outside [0, 1].
    """
    if not rows:
        raise FormatError("the log is empty", expected="one row per prediction")
    columns = [c for c in rows[0] if c]
    missing = [c for c in ("time", "patient", "prediction", "outcome") if c not in columns]
    if missing:
        raise FormatError("the log lacks a column", seen=", ".join(columns)[:200], expected=", ".join(missing), fix="rename or add it")
    text = {c: [(row.get(c) or "").strip() for row in rows] for c in columns}
    notes: list[str] = []
    times = np.array([_moment(t, "time", i, tz) for i, t in enumerate(text["time"], 1)], np.int64)
    numbers = {c: np.array([_number(t, c, i) for i, t in enumerate(text[c], 1)], float) for c in NUMBERS if c in text}
    has_outcome = np.isfinite(numbers["outcome"])
    if "recorded" in text:
        recorded = np.array([_moment(t, "recorded", i, tz) for i, t in enumerate(text["recorded"], 1)], np.int64)
        _refuse(has_outcome & (recorded == UNKNOWN), "an outcome without the time at which it became known", "recorded", TimeError)
        recorded = np.where(has_outcome, recorded, UNKNOWN)
    else:
        recorded = np.where(has_outcome, times, UNKNOWN)
        notes.append("no column 'recorded': every outcome is taken as known at the time of its prediction, so delays cannot be seen")
    _refuse(times == UNKNOWN, "a prediction without a time", "time", TimeError)
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        i = int(back[0]) + 1
        raise TimeError(
            "time runs backwards",
            seen=f"row {i + 1} at {iso(int(times[i]))}, row {i} at {iso(int(times[i - 1]))}",
            expected="rows in order of time",
            fix="sort the log by time, or correct the clock",
        )
    early = np.flatnonzero(recorded < times)
    if len(early):
        i = int(early[0])
        raise TimeError(
            "time runs backwards: an outcome was known before its prediction was made",
            seen=f"row {i + 1}: recorded {iso(int(recorded[i]))}, predicted {iso(int(times[i]))} ({len(early)} such rows)",
            expected="recorded at or after time",
            fix="correct the times; such a prediction knew its answer",
        )
    found = kind or _kind(numbers)
    _check(numbers, found)
    acted = np.array([_moment(t, "acted", i, tz) for i, t in enumerate(text["acted"], 1)], np.int64) if "acted" in text else None
    others = [c for c in columns if c not in KNOWN_COLUMNS]
    numeric = [c for c in others if all(_is_number(t) for t in text[c] if t) and any(text[c])]
    return PredictionLog(
        time=times, recorded=recorded, patient=np.array(text["patient"]), kind=found, numbers=numbers,
        acted=np.full(len(rows), UNKNOWN) if acted is None else acted,
        group=np.array(text["group"]) if "group" in text else np.full(len(rows), ""),
        inputs={c: np.array([_number(t, c, i) for i, t in enumerate(text[c], 1)]) for c in numeric},
        categories={c: np.array(text[c]) for c in [*(c for c in others if c not in numeric), *(["device"] if "device" in text else [])]},
        notes=tuple(notes),
    )  # fmt: skip


def _refuse(rows: np.ndarray, what: str, seen: str, error: type[EvidenceError] | type[TimeError]) -> None:
    bad = np.flatnonzero(rows)
    if len(bad):
        raise error(
            what, seen=f"column {seen!r}, row {bad[0] + 1} ({len(bad)} such rows)", fix="repair these rows, or leave them out and say so"
        )


def _kind(numbers: Mapping[str, np.ndarray]) -> Literal["event", "value"]:
    outcome, prediction = (x[np.isfinite(x)] for x in (numbers["outcome"], numbers["prediction"]))
    binary = len(outcome) > 0 and bool(np.isin(outcome, (0.0, 1.0)).all())
    probable = "lower" not in numbers and len(prediction) > 0 and bool(((prediction >= 0) & (prediction <= 1)).all())
    return "event" if binary or probable else "value"


def _check(numbers: Mapping[str, np.ndarray], kind: str) -> None:
    p, y = numbers["prediction"], numbers["outcome"]
    if kind == "event":
        bad = np.flatnonzero((p < 0) | (p > 1))
        if len(bad):
            raise EvidenceError(
                "a predicted probability lies outside [0, 1]",
                seen=f"{p[bad[0]]:g} in row {bad[0] + 1} ({len(bad)} such rows)",
                expected="0 to 1",
                fix="a log of values, not of probabilities, is read with --kind value",
            )
        _refuse(np.isfinite(y) & ~np.isin(y, (0.0, 1.0)), "the outcome of an event must be 0 or 1", "outcome", EvidenceError)
    if ("lower" in numbers) != ("upper" in numbers):
        raise FormatError("an interval needs both ends", expected="columns 'lower' and 'upper'")
    if "lower" in numbers:
        _refuse(numbers["lower"] > numbers["upper"], "an interval ends before it begins", "upper", EvidenceError)
    for name in ("pit", "alarmed", "overridden", "abstained"):
        if name in numbers:
            x = numbers[name]
            _refuse((x < 0) | (x > 1), f"{name} lies outside [0, 1]", name, EvidenceError)
    if "crps" in numbers:
        _refuse(numbers["crps"] < 0, "a CRPS is negative", "crps", EvidenceError)
    abstained = numbers.get("abstained", np.zeros(len(p))) == 1
    _refuse(~np.isfinite(p) & ~abstained, "a row has neither a prediction nor abstained = 1", "prediction", EvidenceError)


def read_log(path: Path, *, kind: Literal["event", "value"] | None = None, tz: str | None = None) -> PredictionLog:
    """Read a log from a CSV file; see :func:`log_of`.

    Raises
    ------
    FormatError
        When it is no CSV of text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as source:
            rows = list(csv.DictReader(source))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path.name} is no CSV of text", seen=type(error).__name__, expected="UTF-8, one row per prediction") from error
    wide = next((i for i, row in enumerate(rows, 1) if None in row), None)
    if wide is not None:
        raise FormatError(f"{path.name} has a row with more cells than columns", seen=f"row {wide}", fix="quote cells that hold a comma")
    return log_of(rows, kind=kind, tz=tz)
