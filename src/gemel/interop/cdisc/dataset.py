"""A data set of a study, whatever file it came from: variables with labels and formats, and their values by column."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gemel.core.errors import DataError, FormatError

__all__ = ["Dataset", "Value", "Variable", "is_date", "iso_text"]

Value = str | float | None

_DAY, _STAMP = dt.date(1960, 1, 1), dt.datetime(1960, 1, 1)
_DATES = ("DATE", "YYMMDD", "DDMMYY", "MMDDYY", "E8601DA", "B8601DA", "IS8601DA", "DAY", "MONYY", "WEEKDATE", "WORDDATE", "JULIAN")
_STAMPS = ("DATETIME", "E8601DT", "B8601DT", "IS8601DT", "DATEAMPM")
_TIMES = ("TIME", "HHMM", "E8601TM", "B8601TM", "IS8601TM", "TOD")


@dataclass(frozen=True)
class Variable:
    """One variable: its name, what it is, and how SAS shows it.

    Parameters
    ----------
    is_number : or text.
    length : bytes in a transport file; 8 for numbers.
    format : display format with its width, as ``DATE9.``; empty when there is none.
    key : place among the sort keys from 1, or 0.
    """

    name: str
    label: str = ""
    is_number: bool = False
    length: int = 8
    format: str = ""
    informat: str = ""
    key: int = 0


@dataclass(frozen=True)
class Dataset:
    """Columns of one data set with what is said about them.

    Parameters
    ----------
    columns : name -> (row,) values: text; numbers, None where missing. Dates are numbers as SAS counts them, see :meth:`dated`.
    special : name -> row -> kind of a missing number that is not plain, ``.A`` to ``.Z`` or ``._``.
    created : when the file says it was made, as the file writes it.

    Raises
    ------
    DataError
        When columns and variables do not belong together.
    """

    name: str
    variables: tuple[Variable, ...]
    columns: Mapping[str, Sequence[Value]]
    label: str = ""
    special: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    created: str = ""

    def __post_init__(self) -> None:
        names = [v.name for v in self.variables]
        lengths = {len(self.columns[n]) for n in names if n in self.columns}
        if len(set(names)) < len(names) or set(names) != set(self.columns) or len(lengths) > 1:
            raise DataError(
                "variables and columns do not belong together",
                seen=f"{len(names)} variables, {len(self.columns)} columns of lengths {sorted(lengths)}",
                expected="one column a variable, all of one length",
            )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.columns[self.variables[0].name]) if self.variables else 0

    def variable(self, name: str) -> Variable:
        """Return a variable by name.

        Raises
        ------
        DataError
            When there is none.
        """
        for v in self.variables:
            if v.name == name:
                return v
        raise DataError("a column is missing", seen=name, expected=f"one of {', '.join(v.name for v in self.variables)}")

    def dated(self) -> dict[str, list[Value]]:
        """Return the columns with dates, date-times and times (by display format) as ISO 8601 text, and whole numbers as they are."""
        return {
            v.name: [None if x is None else iso_text(float(x), v.format) for x in self.columns[v.name]] if is_date(v) else list(self.columns[v.name])
            for v in self.variables
        }  # fmt: skip


def _stem(format_: str) -> str:
    return format_.upper().rstrip("0123456789.")


def is_date(variable: Variable) -> bool:
    """Whether a variable is a date, a date-time or a time of day, by its display format."""
    return variable.is_number and _stem(variable.format) in (*_DATES, *_STAMPS, *_TIMES)


def iso_text(value: float, format_: str) -> str:
    """Write a SAS date (days since 1960-01-01), date-time (seconds since then) or time (seconds) as ISO 8601.

    Raises
    ------
    FormatError
        When it lies outside the calendar.

    Examples
    --------
    >>> iso_text(19724, "DATE9."), iso_text(86400.5, "DATETIME20."), iso_text(3661, "TIME5.")
    ('2014-01-01', '1960-01-02T00:00:00.500000', '01:01:01')
    """
    try:
        stem = _stem(format_)
        if stem in _STAMPS:
            return (_STAMP + dt.timedelta(seconds=value)).isoformat()
        if stem in _TIMES:
            return (dt.datetime.min + dt.timedelta(seconds=value)).time().isoformat()
        return (_DAY + dt.timedelta(days=math.floor(value))).isoformat()
    except (OverflowError, ValueError) as error:
        raise FormatError("a date lies outside the calendar", seen=f"{value:g} as {format_}", expected="years 1 to 9999") from error
