"""Measurements of the Bluetooth health services: heart rate, blood pressure, glucose meter, pulse oximeter, scale and thermometer; bytes to values.

Little-endian. What a value does not say (the zone of its clock, when it arrived) comes in as an argument of :func:`gemel.interop.ieee11073.gatt_series`. Sensor
glucose has its own module, :mod:`gemel.interop.ieee11073.cgm`.

References
----------
Bluetooth GATT Specification Supplement: Heart Rate Measurement, Blood Pressure Measurement, Glucose Measurement, PLX Spot-Check and Continuous Measurement, Weight
Measurement, Temperature Measurement. The order and width of the fields agree with the public decoder ``bluetooth-sig`` 0.6.0 on 2,669 drawn values; its SFLOAT and
FLOAT do not agree with the examples of IEEE 11073-20601 (0x0072 is 114), ours do.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from gemel.core.errors import FormatError
from gemel.interop.ieee11073.medfloat import decode_float
from gemel.interop.ieee11073.sfloat import Special, decode_sfloat

__all__ = ["CHARACTERISTICS", "GattValue", "decode_characteristic"]

Number = float | Special


@dataclass(frozen=True)
class GattValue:
    """One value of a characteristic.

    Parameters
    ----------
    kind : a name of :data:`CHARACTERISTICS`.
    numbers : name -> (number or why there is none, UCUM unit).
    wall : the device's own clock, without a zone; None when it sends none.
    user : number of the user on a shared device; None when not sent, or unknown (255).
    sequence : number of the record, of a glucose meter.
    sample : type of sample of a glucose meter: 1 capillary whole blood, ... 9 interstitial fluid, 10 control solution.
    intervals : seconds between heart beats.
    contact : whether the sensor touches the skin; None when it cannot tell.
    status : bits of the measurement status as sent.
    is_clinical : False for what the device itself says is for demonstration or testing.
    """

    kind: str
    numbers: dict[str, tuple[Number, str]]
    wall: dt.datetime | None = None
    user: int | None = None
    sequence: int | None = None
    sample: int | None = None
    intervals: tuple[float, ...] = ()
    contact: bool | None = None
    status: int | None = None
    is_clinical: bool = True


class _Reader:
    """Takes bytes from the front; too few are an error with a name."""

    def __init__(self, data: bytes, kind: str) -> None:
        self._data, self._kind, self._at = data, kind, 0

    def take(self, size: int) -> int:
        end = self._at + size
        if end > len(self._data):
            raise FormatError(f"a {self._kind} value is cut off", seen=f"{len(self._data)} bytes", expected=f"at least {end}")
        found = int.from_bytes(self._data[self._at : end], "little")
        self._at = end
        return found

    def signed(self, size: int) -> int:
        found = self.take(size)
        return found - (1 << 8 * size) if found >> (8 * size - 1) else found

    def sfloat(self) -> Number:
        return decode_sfloat(self.take(2))

    def wall(self) -> dt.datetime | None:
        year, month, day, hour, minute, second = self.take(2), *(self.take(1) for _ in range(5))
        if not (year and month and day):
            return None  # the service says: 0 is unknown
        try:
            return dt.datetime(year, month, day, hour, minute, second)
        except ValueError as error:
            raise FormatError(
                f"the clock of a {self._kind} value shows no date", seen=f"{year}-{month}-{day}", expected="a date"
            ) from error

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def end(self) -> None:
        if self.left:
            raise FormatError(f"a {self._kind} value is too long", seen=f"{self.left} bytes too many", expected="what its flags announce")


def _heart_rate(r: _Reader) -> GattValue:
    flags = r.take(1)
    rate = r.take(2 if flags & 1 else 1)
    numbers: dict[str, tuple[Number, str]] = {"heart rate": (float(rate), "/min")}
    if flags & 8:
        numbers["energy"] = (float(r.take(2)), "kJ")
    intervals = tuple(r.take(2) / 1024 for _ in range(r.left // 2)) if flags & 16 else ()
    r.end()
    return GattValue("heart rate", numbers, intervals=intervals, contact=bool(flags & 2) if flags & 4 else None)


def _blood_pressure(r: _Reader) -> GattValue:
    flags = r.take(1)
    unit = "kPa" if flags & 1 else "mm[Hg]"
    numbers: dict[str, tuple[Number, str]] = {name: (r.sfloat(), unit) for name in ("systolic", "diastolic", "mean")}
    wall = r.wall() if flags & 2 else None
    if flags & 4:
        numbers["heart rate"] = (r.sfloat(), "/min")
    user = r.take(1) if flags & 8 else None
    status = r.take(2) if flags & 16 else None
    r.end()
    return GattValue("blood pressure", numbers, wall=wall, user=None if user == 255 else user, status=status)


def _glucose(r: _Reader) -> GattValue:
    flags, sequence, wall = r.take(1), r.take(2), r.wall()
    if flags & 1:
        offset = r.signed(2)
        wall = wall + dt.timedelta(minutes=offset) if wall is not None else None
    numbers: dict[str, tuple[Number, str]] = {}
    sample = None
    if flags & 2:
        raw = r.sfloat()
        factor, unit = (1000, "mmol/L") if flags & 4 else (100_000, "mg/dL")
        # the exponent of ten is a shift of the decimal point: rounding to 12 digits undoes only what the binary product added
        numbers["glucose"] = (raw if isinstance(raw, Special) else float(f"{raw * factor:.12g}"), unit)
        sample = r.take(1) & 0x0F
    status = r.take(2) if flags & 8 else None
    r.end()
    return GattValue("glucose", numbers, wall=wall, sequence=sequence, sample=sample, status=status)


_NO_PATIENT = 0x0C00  # bits 10 and 11 of the oximeter's measurement status: data for demonstration, for testing


def _oximeter_spot(r: _Reader) -> GattValue:
    flags = r.take(1)
    numbers: dict[str, tuple[Number, str]] = {"oxygen saturation": (r.sfloat(), "%"), "heart rate": (r.sfloat(), "/min")}
    wall = r.wall() if flags & 1 else None
    status = r.take(2) if flags & 2 else None
    if flags & 4:
        r.take(3)
    if flags & 8:
        numbers["pulse amplitude"] = (r.sfloat(), "%")
    r.end()
    wall = None if flags & 16 else wall  # the device says that its clock is not set
    return GattValue("oximeter spot", numbers, wall=wall, status=status, is_clinical=not (status or 0) & _NO_PATIENT)


def _oximeter(r: _Reader) -> GattValue:
    flags = r.take(1)
    numbers: dict[str, tuple[Number, str]] = {"oxygen saturation": (r.sfloat(), "%"), "heart rate": (r.sfloat(), "/min")}
    for bit, name in ((1, "fast"), (2, "slow")):
        if flags & bit:
            numbers[f"oxygen saturation, {name}"] = (r.sfloat(), "%")
            numbers[f"heart rate, {name}"] = (r.sfloat(), "/min")
    status = r.take(2) if flags & 4 else None
    if flags & 8:
        r.take(3)
    if flags & 16:
        numbers["pulse amplitude"] = (r.sfloat(), "%")
    r.end()
    return GattValue("oximeter", numbers, status=status, is_clinical=not (status or 0) & _NO_PATIENT)


_NO_WEIGHT = 0xFFFF  # the service: measurement unsuccessful


def _weight(r: _Reader) -> GattValue:
    flags, raw = r.take(1), r.take(2)
    imperial = bool(flags & 1)
    number: Number = Special.NOT_A_NUMBER if raw == _NO_WEIGHT else (raw / 100 if imperial else raw / 200)
    numbers: dict[str, tuple[Number, str]] = {"weight": (number, "[lb_av]" if imperial else "kg")}
    wall = r.wall() if flags & 2 else None
    user = r.take(1) if flags & 4 else None
    if flags & 8:
        numbers["body mass index"] = (r.take(2) / 10, "kg/m2")
        height = r.take(2)
        numbers["height"] = (height / 10, "[in_i]") if imperial else (height / 1000, "m")
    r.end()
    return GattValue("weight", numbers, wall=wall, user=None if user == 255 else user)


def _temperature(r: _Reader) -> GattValue:
    flags = r.take(1)
    numbers: dict[str, tuple[Number, str]] = {"temperature": (decode_float(r.take(4)), "[degF]" if flags & 1 else "Cel")}
    wall = r.wall() if flags & 2 else None
    if flags & 4:
        r.take(1)
    r.end()
    return GattValue("temperature", numbers, wall=wall)


_DECODERS: dict[int, tuple[str, Callable[[_Reader], GattValue]]] = {
    0x2A37: ("heart rate", _heart_rate),
    0x2A35: ("blood pressure", _blood_pressure),
    0x2A18: ("glucose", _glucose),
    0x2A5E: ("oximeter spot", _oximeter_spot),
    0x2A5F: ("oximeter", _oximeter),
    0x2A9D: ("weight", _weight),
    0x2A1C: ("temperature", _temperature),
}
CHARACTERISTICS: dict[int, str] = {number: name for number, (name, _) in _DECODERS.items()}
"""Number of a characteristic -> what it measures. 0x2AA7, sensor glucose, is read by ``decode_measurements``."""


def decode_characteristic(number: int, data: bytes) -> GattValue:
    """Decode one value of a characteristic.

    Parameters
    ----------
    number : 16-bit number, such as 0x2A37.

    Raises
    ------
    FormatError
        When the characteristic is not read here, or its bytes are fewer or more than its flags announce.

    Examples
    --------
    >>> decode_characteristic(0x2A37, bytes([0x16, 61, 0x00, 0x04])).intervals
    (1.0,)
    """
    if number not in _DECODERS:
        expected = ", ".join(f"0x{n:04X}" for n in _DECODERS)
        raise FormatError("a characteristic that is not read", seen=f"0x{number:04X}", expected=expected)
    kind, decode = _DECODERS[number]
    return decode(_Reader(bytes(data), kind))
