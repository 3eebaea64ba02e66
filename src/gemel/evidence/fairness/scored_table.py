"""Predictions of any model in a table, one row each: the columns of an audit by their names."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemel.core.errors import EvidenceError, FormatError
from gemel.core.time import to_ns
from gemel.evidence.fairness.scored import Scored, banded, labels

__all__ = ["Columns", "groups_of", "number_column", "read_columns", "scored_of"]

Table = Mapping[str, Sequence[str]]
_TRUE, _FALSE = {"1", "true", "yes", "y", "t"}, {"0", "false", "no", "n", "f", ""}
_NUMBERS = ("outcome", "probability", "value", "lower", "upper", "days")
_USUAL = {
    "outcome": ("outcome",), "probability": ("prediction", "probability"), "value": ("value",), "lower": ("lower",), "upper": ("upper",), "days": ("days",),
    "patient": ("patient", "id"), "predicted": ("time",), "occurred": ("outcome_time",), "abstained": ("abstained",), "alarmed": ("alarm",),
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """Which column is what; one that is left out is the usual one, if the table has it."""

    outcome: str | None = None
    probability: str | None = None
    value: str | None = None
    lower: str | None = None
    upper: str | None = None
    days: str | None = None
    patient: str | None = None
    predicted: str | None = None
    occurred: str | None = None
    abstained: str | None = None
    alarmed: str | None = None

    def find(self, what: str, table: Table) -> str | None:
        """Return the name of a column, or None.

        Raises
        ------
        FormatError
            When it was named and is not there.
        """
        named = getattr(self, what)
        if named is not None:
            return _there(named, table)
        return next((name for name in _USUAL[what] if name in table), None)


def _there(name: str, table: Table) -> str:
    if name not in table:
        raise FormatError(f"no column {name!r}", seen=", ".join(list(table)[:30]), expected="one of these")
    return name


def read_columns(path: Path) -> dict[str, list[str]]:
    """Read a table with a head: commas, semicolons or tabs, UTF-8.

    Raises
    ------
    FormatError
        When it is none, a row has another number of columns (the row is named), or two columns have one name.
    """
    if path.is_dir():
        raise FormatError("predictions are one table", seen=f"folder {path.name}", fix="name the file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError("the table is not UTF-8 text", seen=path.name) from None
    head = text.partition("\n")[0]
    mark = max((",", ";", "\t"), key=head.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if row]
    except csv.Error as error:
        raise FormatError("not a table", seen=f"{path.name}: {error}", expected="one row per prediction") from None
    if len(rows) < 2 or len(rows[0]) < 2 or "\0" in head:
        raise FormatError(
            "not a table of predictions", seen=path.name, expected="a head and one row per prediction, in two columns or more"
        )
    names = [name.strip() for name in rows[0]]
    if len(set(names)) != len(names):
        raise FormatError("two columns have one name", seen=sorted({n for n in names if names.count(n) > 1}))
    odd = next((i for i, row in enumerate(rows) if len(row) != len(names)), None)
    if odd is not None:
        raise FormatError("a row has another number of columns", seen=f"{len(rows[odd])} in row {odd}", expected=len(names))
    return {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(names)}


def number_column(table: Table, name: str) -> np.ndarray:
    """Return a column as numbers, NaN where nothing stands.

    Raises
    ------
    FormatError
        With the row that holds something else.
    """
    column = table[_there(name, table)]
    try:
        return np.array([float(v) if v else np.nan for v in column])
    except ValueError:
        pass
    out = np.empty(len(column))
    for row, value in enumerate(column):
        try:
            out[row] = np.nan if value.lower() in ("", "na", "nan", "null") else float(value)
        except ValueError:
            raise FormatError(f"column {name!r} holds something that is no number", seen=f"{value[:40]!r} in row {row + 1}") from None
    return out


def _flags(table: Table, name: str) -> np.ndarray:
    text = np.array([v.lower() for v in table[name]])
    odd = ~np.isin(text, list(_TRUE | _FALSE))
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        raise FormatError(
            f"column {name!r} holds something that is not yes or no",
            seen=f"{str(text[row])!r} in row {row + 1}",
            expected="1 or 0, true or false",
        )
    return np.isin(text, list(_TRUE))


def _times(table: Table, name: str, tz: str | None) -> np.ndarray:
    return np.array([to_ns(v, tz=tz) if v else np.iinfo(np.int64).min for v in table[name]], np.int64).view("datetime64[ns]")


def scored_of(
    table: Table, columns: Columns, *, inputs: Sequence[str] = (), level: float = 0.9, tz: str | None = None, keep_certain: bool = False
) -> Scored:  # fmt: skip
    """Return the rows of an audit.

    Parameters
    ----------
    table : of :func:`read_columns`.
    columns : which is what.
    inputs : columns that the model was given.
    level : of the interval between ``lower`` and ``upper``.
    tz : IANA zone of times that carry none.
    """
    found = {what: name for what in vars(columns) if (name := columns.find(what, table)) is not None}
    given: dict[str, Any] = {what: number_column(table, name) for what, name in found.items() if what in _NUMBERS}
    given |= {what: _flags(table, found[what]) for what in ("abstained", "alarmed") if what in found}
    given |= {what: _times(table, found[what], tz) for what in ("predicted", "occurred") if what in found}
    if "patient" in found:
        given["patient"] = np.array(table[found["patient"]])
        if (given["patient"] == "").any():
            raise EvidenceError(
                "a row has no patient",
                seen=f"row {int(np.flatnonzero(given['patient'] == '')[0]) + 1}",
                fix="leave the row out, or name another column",
            )
    inside = {name: np.array(table[_there(name, table)]) for name in inputs}
    taken = set(inputs) & {found.get(k) for k in ("outcome", "value", "occurred")}
    if taken:
        raise EvidenceError(
            "the outcome leaks into the inputs", seen=f"{sorted(map(str, taken))} is the outcome itself", fix="leave it out of --inputs"
        )
    return Scored(**given, inputs={k: _typed(v) for k, v in inside.items()}, level=level, keep_certain=keep_certain)


def _typed(column: np.ndarray) -> np.ndarray:
    try:
        return np.where(column == "", "nan", column).astype(float)
    except ValueError:
        return column


def groups_of(table: Table, wanted: Sequence[str]) -> dict[str, np.ndarray | None]:
    """Return labels per attribute; ``age:18:40:65`` makes bands, and a column that is not there is None: not assessable.

    Examples
    --------
    >>> found = groups_of({"age": ["17", "70"], "sex": ["f", "m"]}, ["sex", "age:18:65", "race"])
    >>> [str(v) for v in found["age"]], found["race"]
    (['under 18', '65 and over'], None)
    """
    out: dict[str, np.ndarray | None] = {}
    for item in wanted:
        name, *cuts = item.split(":")
        if name not in table:
            out[name] = None
            continue
        try:
            out[name] = banded(table[name], [float(c) for c in cuts]) if cuts else labels(table[name])
        except ValueError as error:
            if isinstance(error, EvidenceError):
                raise
            raise EvidenceError("bands are numbers", seen=item, expected="such as age:18:40:65") from None
    return out
