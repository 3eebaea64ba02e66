"""Times of HL7 v2: YYYY[MM[DD[HH[MM[SS[.SSSS]]]]]][+/-ZZZZ], with the site's zone where none is sent."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

from gemel.core.errors import TimeError
from gemel.core.time import SECOND, zone

__all__ = ["day_of", "read_time"]

_EPOCH = dt.date(1970, 1, 1).toordinal()


def _bad(text: str) -> TimeError:
    return TimeError(
        "cannot read a time", seen=f"{len(text)} characters", expected="YYYYMMDD[HHMM[SS]][+ZZZZ]", fix="correct it at the sender"
    )


@lru_cache(maxsize=1024)
def day_of(digits: str) -> int:
    """Days since 1970 of a date, YYYYMMDD."""
    try:
        return dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).toordinal() - _EPOCH
    except ValueError as error:
        raise _bad(digits) from error


@lru_cache(maxsize=256)
def _offset(text: str) -> int:
    """Seconds that a zone's clock is ahead of UTC."""
    hours, minutes = int(text[1:3]), int(text[3:])
    if hours > 14 or minutes > 59:
        raise _bad(text)
    return (hours * 60 + minutes) * (-60 if text[0] == "-" else 60)


def _local(seconds: int, tz: str) -> tuple[int, bool]:
    """Turn seconds on a site's wall clock into UTC, and say whether that hour was skipped or came twice."""
    try:
        wall = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)
        local = wall.replace(tzinfo=zone(tz))
        utc = local.astimezone(dt.UTC)
        ahead, other = local.utcoffset(), local.replace(fold=1).utcoffset()
        return int(utc.timestamp()), ahead != other
    except (ValueError, OverflowError) as error:
        raise _bad(str(seconds)) from error


def read_time(text: str, tz: str) -> tuple[int, tuple[str, ...]]:
    """Read a time of HL7 v2.

    Parameters
    ----------
    text : as sent; the first component of a TS.
    tz : IANA zone of the site, for a time without an offset.

    Returns
    -------
    ns since 1970 UTC, and what was assumed, in words.

    Raises
    ------
    TimeError
        When it is empty, coarser than a day, or not a time.

    References
    ----------
    HL7 Version 2.8.2, section 2A.2.77 (DTM).

    Examples
    --------
    >>> read_time("19700101010203.5+0100", "UTC")
    (123500000000, ())
    >>> read_time("19700102", "UTC")
    (86400000000000, ('time of day missing: start of the day taken', 'time without a zone: UTC assumed'))
    """
    digits, offset, fraction = text, "", ""
    if len(text) > 5 and text[-5] in "+-":
        digits, offset = text[:-5], text[-5:]
    if "." in digits:
        digits, _, fraction = digits.partition(".")
    whole = digits + offset[1:] + fraction
    if (
        len(digits) not in (8, 10, 12, 14)
        or not (whole.isascii() and whole.isdigit())
        or len(fraction) > 9
        or (fraction and len(digits) != 14)
    ):
        raise _bad(text)
    hour, minute, second = int(digits[8:10] or 0), int(digits[10:12] or 0), int(digits[12:14] or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise _bad(text)
    seconds = day_of(digits[:8]) * 86_400 + hour * 3600 + minute * 60 + second
    nanoseconds = int(fraction.ljust(9, "0")) if fraction else 0
    if offset and len(digits) > 8:
        return (seconds - _offset(offset)) * SECOND + nanoseconds, ()
    assumed: list[str] = []
    if len(digits) == 8:
        assumed.append("time of day missing: start of the day taken")
    if offset:
        seconds -= _offset(offset)
    else:
        seconds, odd = _local(seconds, tz)
        assumed.append(f"time without a zone: {tz} assumed")
        if odd:
            assumed.append("time skipped or doubled by daylight saving: the earlier reading taken")
    return seconds * SECOND + nanoseconds, tuple(assumed)
