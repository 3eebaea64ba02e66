"""Series: many measurements of one thing, columnar. A year of CGM is one Series."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gemel.core.code import Code
from gemel.core.errors import DataError, TimeError, ValueRangeError
from gemel.core.units import convert, parse_unit

__all__ = ["ABOVE", "BELOW", "ENTERED_IN_ERROR", "EXACT", "FINAL", "PRELIMINARY", "Series"]

EXACT, BELOW, ABOVE = 0, -1, 1
"""Values of ``Series.censored``: measured; below the lower limit (value = limit); above the upper limit (value = limit)."""

FINAL, PRELIMINARY, ENTERED_IN_ERROR = 0, 1, 2
"""Values of ``Series.status``."""

_COLUMNS: dict[str, Any] = {"time": np.int64, "value": np.float64, "recorded": np.int64, "status": np.uint8, "censored": np.int8}


class Series(BaseModel):
    """Measurements of one code in one unit from one source, each with two times.

    Parameters
    ----------
    code : what was measured.
    unit : UCUM.
    time : (n,) ns UTC, when each value was true; need not be sorted.
    value : (n,) finite, in ``unit``.
    recorded : (n,) ns UTC, when each value became known. Left out: known when true.
    status : (n,) ``FINAL``, ``PRELIMINARY`` or ``ENTERED_IN_ERROR``.
    censored : (n,) ``EXACT``, ``BELOW`` or ``ABOVE``.
    source : device or file, a pseudonym.

    Notes
    -----
    The key of a measurement is (code, source, time): of two versions of it the later recorded one supersedes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    kind: Literal["series"] = "series"
    code: Code
    unit: str
    time: np.ndarray
    value: np.ndarray
    # Declared defaults of what _columns always fills in, one entry per row, before they could be used.
    recorded: np.ndarray = Field(default_factory=lambda: np.zeros(0, np.int64))
    status: np.ndarray = Field(default_factory=lambda: np.zeros(0, np.uint8))
    censored: np.ndarray = Field(default_factory=lambda: np.zeros(0, np.int8))
    source: str = "unknown"

    @model_validator(mode="before")
    @classmethod
    def _columns(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        n = len(data["time"])
        data.setdefault("recorded", data["time"])
        data.setdefault("status", np.zeros(n, np.uint8))
        data.setdefault("censored", np.zeros(n, np.int8))
        for name, dtype in _COLUMNS.items():
            column = np.array(data[name], dtype=dtype)
            if column.shape != (n,):
                raise DataError(f"column {name!r} of a series has another length than its times", seen=column.shape, expected=(n,))
            column.flags.writeable = False
            data[name] = column
        return data

    @model_validator(mode="after")
    def _valid(self) -> Series:
        parse_unit(self.unit)
        bad = ~np.isfinite(self.value)
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            raise ValueRangeError(
                f"{int(bad.sum())} value(s) of {self.code} are not finite", seen=f"{self.value[first]} at row {first}", expected="numbers",
                fix="leave missing measurements out; NaN is not 'missing'",
            )  # fmt: skip
        if (self.recorded < self.time).any() and (self.time - self.recorded).max() > 2 * 60 * 1_000_000_000:
            raise TimeError(
                f"a value of {self.code} was recorded before it was true",
                expected="recorded >= time (2 min of clock difference allowed)",
                fix="check clock and zone of the source",
            )
        return self

    def __len__(self) -> int:
        return len(self.time)

    def take(self, mask: np.ndarray) -> Series:
        """Return the rows that ``mask`` (or an index array) selects."""
        columns = {name: getattr(self, name)[mask] for name in _COLUMNS}
        return Series(code=self.code, unit=self.unit, source=self.source, **columns)

    def current(self) -> Series:
        """Return one row per time, the last recorded version, sorted by time, without those entered in error."""
        order = np.lexsort((self.recorded, self.time))
        time = self.time[order]
        last = np.ones(len(time), bool)
        last[:-1] = time[1:] != time[:-1]
        kept = order[last]
        return self.take(kept[self.status[kept] != ENTERED_IN_ERROR])

    def as_of(self, now: int) -> Series:
        """Return what was known at ``now``: rows recorded up to then."""
        return self if (self.recorded <= now).all() else self.take(self.recorded <= now)

    def between(self, start: int, stop: int) -> Series:
        """Return rows with ``start <= time < stop``."""
        return self.take((self.time >= start) & (self.time < stop))

    def append(self, other: Series) -> Series:
        """Return this series followed by the rows of ``other`` (same code, unit and source); identical rows enter once."""
        columns = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _COLUMNS}
        rows = np.rec.fromarrays(
            [columns[name].view(np.int64) if columns[name].dtype == np.float64 else columns[name] for name in _COLUMNS]
        )
        _, first = np.unique(rows, return_index=True)
        first.sort()
        return Series(code=self.code, unit=self.unit, source=self.source, **{name: column[first] for name, column in columns.items()})

    def values_in(self, unit: str, *, analyte: str | None = None) -> np.ndarray:
        """Return the values converted to ``unit``."""
        return convert(self.value, self.unit, unit, analyte=analyte)
