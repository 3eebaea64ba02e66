"""Time: nanoseconds since 1970 UTC as integers; zones only at the edge.

``core`` has no clock: whoever needs *now* passes it in.
"""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from gemel.core.errors import TimeError

__all__ = ["DAY", "HOUR", "MINUTE", "SECOND", "Instant", "iso", "local_minutes_of_day", "local_to_utc", "minutes_since", "to_ns", "zone"]

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

Instant = int | str | dt.datetime | np.datetime64
"""What is accepted as a time: ns since 1970 UTC, ISO 8601 text, an aware datetime, numpy datetime64 (UTC)."""


def zone(name: str) -> ZoneInfo:
    """Find a time zone by its IANA name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError) as error:
        raise TimeError(
            f"unknown time zone {name!r}", expected="an IANA name such as 'Europe/Berlin' or 'UTC'", fix="correct the zone"
        ) from error


def to_ns(value: Instant, *, tz: str | None = None) -> int:
    """Turn any accepted time into nanoseconds since 1970 UTC.

    Parameters
    ----------
    value : the time.
    tz : IANA zone for a time that carries none. Without it such a time is refused.

    Examples
    --------
    >>> to_ns("1970-01-01T00:01:00Z")
    60000000000
    """
    if isinstance(value, bool):
        raise TimeError("a truth value is not a time", seen=value, expected="ISO 8601 or integer nanoseconds UTC")
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            raise TimeError("missing time", seen=str(value), expected="ISO 8601", fix="remove the row or give its time")
        return int(value.astype("datetime64[ns]").astype(np.int64))
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise TimeError(f"cannot read time {value!r}", expected="ISO 8601, e.g. 2026-01-31T08:05:00Z") from error
    if value.tzinfo is None:
        if tz is None:
            raise TimeError(
                "time without a zone",
                seen=value.isoformat(),
                expected="an offset (…+01:00 or Z) or a zone",
                fix="add the offset or name the zone",
            )
        value = value.replace(tzinfo=zone(tz))
    delta = value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (delta.days * 86400 + delta.seconds) * SECOND + delta.microseconds * 1000


def iso(ns: int) -> str:
    """Write nanoseconds since 1970 UTC as ISO 8601 with a final Z.

    Examples
    --------
    >>> iso(60_000_000_000)
    '1970-01-01T00:01:00Z'
    """
    text = str(np.datetime64(int(ns), "ns"))
    head, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return f"{head}.{fraction}Z" if fraction else f"{head}Z"


def minutes_since(time: np.ndarray, epoch: int) -> np.ndarray:
    """Minutes from ``epoch`` to each time, exact to the nanosecond before the division."""
    return (np.asarray(time, np.int64) - np.int64(epoch)) / float(MINUTE)


def _offsets(time: np.ndarray, tz: str) -> np.ndarray:
    """UTC offset in ns at each UTC time: zoneinfo once per day present, and per quarter of an hour on the days on which it changes."""
    info = zone(tz)
    base = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

    def at(marks: np.ndarray, minutes: int) -> np.ndarray:
        moments = [(base + dt.timedelta(minutes=minutes * int(m))).astimezone(info) for m in marks]
        return np.array([int((moment.utcoffset() or dt.timedelta()).total_seconds()) for moment in moments], np.int64)

    time = np.asarray(time, np.int64)
    days, inverse = np.unique(time // DAY, return_inverse=True)
    found = at(days, 1440)
    changes = found != at(days + 1, 1440)
    out = found[inverse]
    if changes.any():
        rows = changes[inverse]
        marks, place = np.unique(time[rows] // (15 * MINUTE), return_inverse=True)
        out[rows] = at(marks, 15)[place]
    return out * SECOND


def local_minutes_of_day(time: np.ndarray, tz: str) -> np.ndarray:
    """Local wall-clock minutes since midnight, 0 <= m < 1440, with daylight saving."""
    local = np.asarray(time, np.int64) + _offsets(time, tz)
    return (local % DAY) / float(MINUTE)


def local_to_utc(local_ns: np.ndarray, tz: str) -> tuple[np.ndarray, int]:
    """Turn wall-clock times into UTC.

    Parameters
    ----------
    local_ns : (n,) wall-clock nanoseconds, as if the clock were UTC.
    tz : IANA zone.

    Returns
    -------
    (n,) UTC nanoseconds, and how many fell into a daylight-saving jump (skipped or doubled hour: the earlier reading is taken).
    """
    local_ns = np.asarray(local_ns, np.int64)
    guess = local_ns - _offsets(local_ns, tz)
    before = local_ns - _offsets(guess - 3 * HOUR, tz)
    after = local_ns - _offsets(guess + 3 * HOUR, tz)
    utc = np.where(before + _offsets(before, tz) == local_ns, before, after)
    odd = (before != after) & ((before + _offsets(before, tz) == local_ns) == (after + _offsets(after, tz) == local_ns))
    return utc, int(odd.sum())
