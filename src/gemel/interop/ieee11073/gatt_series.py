"""Values of the Bluetooth health services as series: with codes, both times, and what was left out named."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gemel.core.code import Code
from gemel.core.errors import ValueRangeError
from gemel.core.series import Series
from gemel.core.time import MINUTE, to_ns
from gemel.interop.ieee11073.gatt import GattValue
from gemel.interop.ieee11073.nomenclature import TERMS
from gemel.interop.ieee11073.sfloat import Special
from gemel.interop.report import MessageReport, Tally

__all__ = ["gatt_series"]

_CODES = {
    "heart rate": "loinc:8867-4", "systolic": "loinc:8480-6", "diastolic": "loinc:8462-4", "mean": "loinc:8478-0", "oxygen saturation": "loinc:59408-5",
    "weight": "loinc:29463-7", "temperature": "loinc:8310-5",
}  # fmt: skip
_SAMPLES = {
    1: 160184,
    2: 160188,
    3: 160192,
    4: 160196,
    5: 160200,
    6: 160204,
    9: 160212,
}  # type of sample -> MDC code; 10 is control solution
_CONTROL = 10
_AHEAD = 2 * MINUTE


def _code(name: str, unit: str, value: GattValue) -> str:
    if name != "glucose":
        return _CODES.get(name, "")
    number = _SAMPLES.get(value.sample or 0)
    if number is None:
        return ""
    return dict(TERMS[number].codes).get(unit) or f"mdc:{number}"


def gatt_series(
    values: Iterable[tuple[GattValue, int]], *, source: str, tz: str | None = None, user: int | None = None
) -> tuple[list[Series], MessageReport]:
    """Return the series of decoded values.

    Parameters
    ----------
    values : each with when it arrived, ns UTC.
    source : pseudonym of the device.
    tz : IANA zone of the device's clock. Left out, a value that carries a clock is refused; one that carries none was true when it arrived.
    user : on a shared device, whose values to take; a value of another user, or of none, is refused then.

    Returns
    -------
    The series, and a report that counts every number of every value.

    Raises
    ------
    ValueRangeError
        When ``source`` is empty.

    Examples
    --------
    >>> from gemel.interop.ieee11073 import decode_characteristic
    >>> series, report = gatt_series([(decode_characteristic(0x2A37, bytes([0, 61])), 0)], source="strap")
    >>> str(series[0].code), float(series[0].value[0]), report.mapped
    ('loinc:8867-4', 61.0, 1)
    """
    if not source:
        raise ValueRangeError("a device without a name", seen="''", expected="a pseudonym")
    tally = Tally(source, "gatt")
    rows: dict[tuple[str, str], list[tuple[int, float, int]]] = {}
    seen: set[tuple[str, int, float, int]] = set()
    for position, (value, received) in enumerate(values, start=1):
        place = f"value {position}"
        count = max(len(value.numbers), 1)
        tally.read += count
        refusal = _unusable(value, tz, user)
        if refusal:
            tally.refuse(refusal[0], place, refusal[1], refusal[2], count)
            continue
        time = received if value.wall is None else to_ns(value.wall, tz=tz)
        if value.wall is not None and time > received + _AHEAD:
            tally.refuse("time-ahead", place, "the clock of the device is ahead", "set its clock", count)
            continue
        for name, (number, unit) in value.numbers.items():
            code = _code(name, unit, value)
            if not code:
                tally.refuse("not-mapped", place, f"{name} has no code here")
            elif number in (Special.POSITIVE_INFINITY, Special.NEGATIVE_INFINITY):
                tally.refuse("out-of-range", place, f"{name} beyond what the device measures, without its limit")
            elif isinstance(number, Special):
                tally.refuse("no-number", place, f"{name} is sent as {number.name.lower().replace('_', ' ')}")
            elif (key := (code, time, number, value.sequence or 0)) in seen:
                tally.duplicates += 1
            else:
                seen.add(key)
                tally.mapped += 1
                rows.setdefault((code, unit), []).append((time, number, max(received, time)))
    series = []
    for (code, unit), found in rows.items():
        columns = {name: np.array([row[i] for row in found]) for i, name in enumerate(("time", "value", "recorded"))}
        series.append(Series(code=Code.parse(code), unit=unit, source=source, **columns))
    return series, tally.report()


def _unusable(value: GattValue, tz: str | None, user: int | None) -> tuple[str, str, str] | None:
    if not value.numbers:
        return "no-number", "a record without a measurement", ""
    if not value.is_clinical:
        return "not-a-patient", "the device says that it demonstrates or tests", ""
    if value.sample == _CONTROL:
        return "not-a-patient", "control solution, not a person's blood", ""
    if user is not None and value.user != user:
        return "another-user", "the device names another user, or none", "name the user, or give each person a device"
    if value.wall is not None and tz is None:
        return "zone-missing", "the device's clock has no zone", "give tz"
    if value.contact is False:
        return "no-contact", "the sensor does not touch the skin", ""
    return None
