"""Dates and times as far as they are known: a year, a month, a day, an hour, a minute, seconds with their digits.

References
----------
FHIRPath 2.0.0, sections 6.2.1 (comparison of what is known to different precision) and 6.6.6 (arithmetic).
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal

from gemel.core.errors import DataError

__all__ = ["Temporal"]

_DATE = r"(?P<y>[0-9]{4})(?:-(?P<m>[0-9]{2})(?:-(?P<d>[0-9]{2}))?)?"
_CLOCK = r"(?P<h>[0-9]{2})(?::(?P<n>[0-9]{2})(?::(?P<s>[0-9]{2}(?:\.[0-9]{1,12})?))?)?"
_PATTERNS = {
    "date": re.compile(_DATE + r"\Z"),
    "dateTime": re.compile(_DATE + r"(?:T(?:" + _CLOCK + r")?(?P<z>Z|[+-][0-9]{2}:[0-9]{2})?)?\Z"),
    "time": re.compile("T?" + _CLOCK + r"\Z"),
}
_DIGITS = {4: 1, 6: 2, 8: 3, 10: 4, 12: 5, 14: 6, 17: 6}  # precision in digits -> parts
_LOW = (1, 1, 1, 0, 0, Decimal("0.000"))
_UNITS = ("year", "month", "day", "hour", "minute", "second")
_PER = {"week": ("day", 7), "millisecond": ("second", Decimal("0.001"))}
_FACTORS = {("month", 0): 12, ("day", 0): 365, ("day", 1): 30, ("hour", 2): 24, ("minute", 2): 1440, ("second", 2): 86400,
            ("minute", 3): 60, ("second", 3): 3600, ("second", 4): 60}  # fmt: skip
_WIDEST = dt.timedelta(hours=26)  # from UTC-12 to UTC+14


def _days(year: int, month: int) -> int:
    return 31 if month == 12 else (dt.date(year, month + 1, 1) - dt.date(year, month, 1)).days


@dataclass(frozen=True, slots=True)
class Temporal:
    """A date, dateTime or time: ``parts`` from the largest to the smallest that is known, ``zone`` in minutes from UTC where given.

    Examples
    --------
    >>> str(Temporal.parse("2014-01", "date"))
    '2014-01'
    """

    kind: str
    parts: tuple[int | Decimal, ...]
    zone: int | None = None
    utc: bool = False

    @staticmethod
    def parse(text: str, kind: str) -> Temporal | None:
        """Read a text of that kind (``date``, ``dateTime``, ``time``); None when it is none."""
        found = _PATTERNS[kind].match(text)
        if found is None:
            return None
        groups = found.groupdict()
        parts: list[int | Decimal] = []
        for name in "ymdhns":
            if kind == "time" and name in "ymd":
                continue
            piece = groups.get(name)
            if piece is None:
                break
            parts.append(Decimal(piece) if name == "s" else int(piece))
        offset = groups.get("z")
        zone = None if offset is None else _zone(offset)
        if not _possible(parts, kind, zone):
            return None
        return Temporal(kind, tuple(parts), zone, offset == "Z")

    @property
    def _full(self) -> tuple[int | Decimal, ...]:
        """The parts with those of a date in front of a time."""
        return (1, 1, 1, *self.parts) if self.kind == "time" else self.parts

    def __str__(self) -> str:
        full = self._full
        clock = ":".join(f"{int(p):02d}" for p in full[3:5])
        if len(full) > 5:
            whole, dot, fraction = f"{full[5]:f}".partition(".")
            clock += f":{int(whole):02d}{dot}{fraction}"
        if self.kind == "time":
            return clock
        date = "-".join(f"{int(p):0{4 if i == 0 else 2}d}" for i, p in enumerate(full[:3]))
        if self.kind == "date":
            return date
        zone = ""
        if self.zone is not None:
            zone = "Z" if self.utc else f"{'-' if self.zone < 0 else '+'}{abs(self.zone) // 60:02d}:{abs(self.zone) % 60:02d}"
        return date + ("T" + clock + zone if clock else "")

    def _moment(self) -> dt.datetime:
        """The earliest moment it may mean, in UTC where a zone is given."""
        full = self._full
        y, m, d, h, n, s = (*full, *_LOW[len(full) :])
        start = dt.datetime(int(y), int(m), int(d), int(h), int(n), int(s), int((Decimal(s) % 1) * 10**6))
        return start if self.zone is None else start - dt.timedelta(minutes=self.zone)

    def comparable(self) -> tuple[int | Decimal, ...]:
        """Return the parts in UTC where a zone is given."""
        full = self._full
        if self.zone in (None, 0) or len(full) < 4:
            return full
        try:
            moved = self._moment()
        except (OverflowError, ValueError):
            return full
        seconds = (moved.second + Decimal(full[5]) % 1,) if len(full) > 5 else ()
        return (moved.year, moved.month, moved.day, moved.hour, moved.minute, *seconds)[: len(full)]

    def against(self, other: Temporal) -> int | None:
        """Return -1, 0 or 1 as it lies before, at or after another; None where that is not known."""
        if (self.kind == "time") != (other.kind == "time"):
            return None
        mine, theirs = self.comparable(), other.comparable()
        timed = len(mine) > 3 and len(theirs) > 3 and self.kind != "time"
        if timed and (self.zone is None) != (other.zone is None):
            try:
                gap = self._moment() - other._moment()
            except (OverflowError, ValueError):
                return None
            return None if abs(gap) <= _WIDEST else (1 if gap > dt.timedelta() else -1)
        for one, two in zip(mine, theirs, strict=False):
            if one != two:
                return 1 if one > two else -1
        return 0 if len(mine) == len(theirs) else None

    def plus(self, amount: Decimal, unit: str) -> Temporal:
        """Add an amount of a calendar unit (``year`` to ``millisecond``); what is finer than what is known is counted in whole units of it.

        Raises
        ------
        DataError
            When the result lies outside the years 1 to 9999.
        """
        amount = Decimal(int(amount))
        if unit in _PER:
            unit, factor = _PER[unit]
            amount *= factor
        full = self._full
        last = len(full) - 1
        if _UNITS.index(unit) > last:
            amount = Decimal(int(amount / _FACTORS[unit, last]))
            unit = _UNITS[last]
        try:
            return self._moved(full, amount, unit)
        except (OverflowError, ValueError):
            raise DataError(
                "the date lies outside the calendar", seen=f"{amount} {unit}", expected="years 1 to 9999", fix="add less"
            ) from None

    def _moved(self, full: tuple[int | Decimal, ...], amount: Decimal, unit: str) -> Temporal:
        if unit in ("year", "month") and self.kind != "time":
            months = int(full[0]) * 12 + (int(full[1]) - 1 if len(full) > 1 else 0) + int(amount) * (12 if unit == "year" else 1)
            year, month = divmod(months, 12)
            dt.date(year, 1, 1)
            day = (min(int(full[2]), _days(year, month + 1)),) if len(full) > 2 else ()
            parts = (year, month + 1, *day, *full[3:])[: len(full)]
            return Temporal(self.kind, parts, self.zone, self.utc)
        y, m, d, h, n, s = (*full, *_LOW[len(full) :])
        scale = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}[unit]
        total = int(h) * 3600 + int(n) * 60 + Decimal(s) + amount * scale
        days, rest = divmod(total, 86400)
        if rest < 0:
            days, rest = days - 1, rest + 86400
        seconds = rest % 60 + (Decimal(s) * 0)  # keeps the digits of the seconds
        date = dt.date(int(y), int(m), int(d))
        if self.kind != "time":
            date += dt.timedelta(days=int(days))
        parts = (date.year, date.month, date.day, int(rest // 3600), int(rest % 3600 // 60), seconds)[: len(full)]
        return Temporal(self.kind, parts[3:] if self.kind == "time" else parts, self.zone, self.utc)

    def boundary(self, digits: int | None, low: bool) -> Temporal | None:
        """Return the first or last moment it may mean, to a precision in digits (date 4, 6, 8; dateTime to 17; time 2, 4, 6, 9)."""
        wanted = {"date": 8, "dateTime": 17, "time": 9}[self.kind] if digits is None else digits
        count = {2: 4, 4: 5, 6: 6, 9: 6}.get(wanted) if self.kind == "time" else _DIGITS.get(wanted)
        if count is None or (self.kind == "date" and count > 3):
            return None
        full = list(self._full[:count])
        zone, utc = (self.zone, self.utc) if count > 3 else (None, False)
        for i in range(len(full), count):
            if low:
                full.append(_LOW[i])
            else:
                full.append((0, 12, _days(int(full[0]), int(full[1])) if i == 2 else 0, 23, 59, Decimal("59.999"))[i])
        if count == 6 and wanted in (9, 17):
            second = Decimal(full[5])
            fraction = "." in f"{second:f}"
            full[5] = second if fraction and -second.as_tuple().exponent >= 3 else second + (  # type: ignore[operator]
                Decimal("0.000") if low or fraction else Decimal("0.999")
            )  # fmt: skip
        if self.kind == "dateTime" and count > 3 and zone is None:
            zone = 14 * 60 if low else -12 * 60
        return Temporal(self.kind, tuple(full[3:] if self.kind == "time" else full), zone, utc)

    @property
    def precision(self) -> int:
        """How many digits are known: 4 for a year, 8 for a day, 17 to the millisecond; for a time 2 to 9."""
        return sum(sign.isdigit() for sign in str(Temporal(self.kind, self.parts)))


def _zone(text: str) -> int:
    if text == "Z":
        return 0
    minutes = int(text[1:3]) * 60 + int(text[4:6])
    return -minutes if text[0] == "-" else minutes


def _possible(parts: list[int | Decimal], kind: str, zone: int | None) -> bool:
    full = [1, 1, 1, *parts] if kind == "time" else parts
    y, m, d, h, n, s = (*full, *_LOW[len(full) :])
    if not (1 <= y and 1 <= m <= 12 and 0 <= h < 24 and 0 <= n < 60 and 0 <= s < 61 and abs(zone or 0) <= 14 * 60):
        return False
    return 1 <= d <= _days(int(y), int(m))
