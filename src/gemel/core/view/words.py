"""Numbers, units, times and durations in words: what alt sentences, tick labels and tables have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime

from gemel.core.time import zone as zone_of

MINUS, NARROW = "\u2212", "\u202f"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MISSING = "not available"
_WRITTEN = {"1": "", "mm[Hg]": "mmHg", "Cel": "°C", "deg": "°", "a": "years", "wk": "weeks", "mo": "months"}
_SUPERSCRIPT = str.maketrans("0123456789-+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")


def number_text(value: float | None, *, digits: int = 3, sides: Sequence[float] = ()) -> str:
    """Write a number with few significant digits, but never on the wrong side of a threshold.

    Parameters
    ----------
    value : any number; not finite or none is written "not available".
    digits : significant digits; whole numbers above them are written in full up to a million.
    sides : thresholds: digits are added until the written number is on the same side as the exact one.

    Examples
    --------
    >>> number_text(142.34), number_text(1234.6), number_text(69.97), number_text(69.97, sides=(70,))
    ('142', '1,235', '70', '69.97')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    for tried in range(digits, 16):
        text = _plain(float(value), tried)
        written = float(text.replace(",", "").replace(MINUS, "-"))
        if all((written > side) - (written < side) == (value > side) - (value < side) for side in sides):
            return text
    return repr(float(value))


def _plain(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent < -4 or exponent >= max(7, digits + 4):
        text = f"{value:.{digits - 1}e}"
        mantissa, _, power = text.partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(power)}"
    else:
        text = f"{value:,.{max(digits - 1 - exponent, 0)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        text = "0" if text in ("-0", "") else text
    return text.replace("-", MINUS)


def unit_text(unit: str) -> str:
    """Write a UCUM unit as people do: `mm[Hg]` is mmHg, `10*3/uL` is 10³/µL, `1` is nothing.

    Examples
    --------
    >>> unit_text("mm[Hg]"), unit_text("10*3/uL"), unit_text("mL/min/{1.73_m2}"), unit_text("1")
    ('mmHg', '10³/µL', 'mL/min/1.73 m²', '')
    """
    if unit in _WRITTEN:
        return _WRITTEN[unit]
    text = re.sub(r"10[*^]([-+]?\d+)", lambda found: "10" + found[1].translate(_SUPERSCRIPT), unit)
    text = re.sub(r"(?<![A-Za-z])u(?=[A-Za-z])", "µ", text)
    text = re.sub(r"(?<=[A-Za-z])([-+]?\d+)", lambda found: found[1].translate(_SUPERSCRIPT), text)
    text = re.sub(r"mm\[Hg\]", "mmHg", text)
    return re.sub(r"[\[\]{}]", "", text).replace("_", " ").replace(".", "·" if "{" not in unit else ".")


def with_unit(value: float | None, unit: str, *, sides: Sequence[float] = ()) -> str:
    """Write a number and its unit, `128 mg/dL`."""
    text, written = number_text(value, sides=sides), unit_text(unit)
    return text if not written or text == MISSING else f"{text} {written}"


def span_text(lower: float, upper: float, unit: str, *, sides: Sequence[float] = ()) -> str:
    """Write an interval and its unit, both ends to the same place: `92 to 171 mg/dL`."""
    size = [math.floor(math.log10(abs(end))) if math.isfinite(end) and end else 0 for end in (lower, upper)]
    first, last = (number_text(end, digits=max(2, 3 - max(size) + own), sides=sides) for end, own in zip((lower, upper), size, strict=True))
    written = unit_text(unit)
    return f"{first} to {last}" + (f" {written}" if written else "")


def count_text(count: int, what: str, plural: str = "") -> str:
    """Write a count with its noun: `1 reading`, `2,880 readings`."""
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def local(time: int, zone: str = "UTC") -> datetime:
    """Return the wall-clock time in a zone of nanoseconds since 1970-01-01 UTC (cut to microseconds)."""
    seconds, rest = divmod(int(time), 1_000_000_000)
    return datetime.fromtimestamp(seconds, tz=zone_of(zone)).replace(microsecond=rest // 1000)


def clock_text(time: int, zone: str = "UTC") -> str:
    """Write the time of day, `14:05`, or `14:05:30` when there are seconds."""
    moment = local(time, zone)
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"


def date_text(time: int, zone: str = "UTC") -> str:
    """Write the day, `3 Mar 2026`."""
    moment = local(time, zone)
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}"


def stamp_text(time: int, zone: str = "UTC") -> str:
    """Write day and time for a table, `2026-03-03 14:05`, with seconds where there are any."""
    moment = local(time, zone)
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment.second else f"{moment:%Y-%m-%d %H:%M}"


def duration_text(nanoseconds: int) -> str:
    """Write a duration in its natural unit: `45 s`, `60 min`, `6 h`, `14 days`."""
    seconds = nanoseconds / 1e9
    for limit, size, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if abs(seconds) <= limit:
            return f"{number_text(seconds / size)} {name}"
    return f"{number_text(seconds / 86_400)} days"


def percent(level: float) -> str:
    """Write a fraction as a percentage, `0.9` as `90 %`."""
    return f"{number_text(100 * level)} %"


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
